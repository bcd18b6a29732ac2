"""The models of a server: each with its system's verbs, and a thread of its own that answers one request at a time."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from formers.errors import ConfigError, nearest
from formers.fields import Field, build, check, fields_of
from formers.systems.kinds import KINDS, typed_of
from formers.systems.system import FILLED, Event, Origin, System, Verb, resolve

END = object()


@dataclass
class Served:
    """A loaded model under the name that requests use."""

    name: str
    system: System
    opened: Any
    verbs: Mapping[str, Verb]
    origin: Origin
    worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def options(self, verb: Verb, given: Mapping[str, Any]) -> Any:
        """A request's fields as the verb's options. Raises ConfigError for unknown ones and values that do not fit."""
        settings = resolve(verb.options)
        values = dict(given)
        for name, known in open_fields(settings).items():
            if known.kind in KINDS and name in values:
                values[name] = known.kind.of_request(values[name], f"POST /{verb.name} {name}")
            elif typed_of(known).inline and not str(values.get(name) or "data:").startswith("data:"):
                values[name] = f"data:,{values[name]}"  # whatever it is, it names no file
        if closed := [name for name in values if name in fields_of(settings) and name not in open_fields(settings)]:
            raise ConfigError(f"POST /{verb.name}: {closed[0]} names a file of the server; send the text itself")
        if "origin" in fields_of(settings):
            values["origin"] = self.origin
        options = build(settings, values, f"POST /{verb.name}")
        check(options)
        return options

    def run(self, verb: Verb, options: Any) -> Iterator[Event]:
        """What the verb gives, computed in the model's own thread; leaving the iteration early ends it there too."""
        events: queue.Queue[Any] = queue.Queue(maxsize=64)
        left = threading.Event()

        def put(event: Any) -> None:
            while not left.is_set():
                try:
                    return events.put(event, timeout=0.2)
                except queue.Full:
                    continue
            return None

        def work() -> None:
            try:
                for event in resolve(verb.run)(self.opened, options):
                    if left.is_set():
                        return
                    put(event)
            finally:
                put(END)

        done = self.worker.submit(work)
        try:
            while (event := events.get()) is not END:
                yield event
            done.result()  # raises what went wrong
        finally:
            left.set()


def open_fields(settings: type) -> dict[str, Field]:
    """The fields that a request may give: all but those that name files, and the model's origin."""

    def is_open(known: Field) -> bool:
        typed = typed_of(known)
        return known.kind not in (*FILLED, Path) and (typed.inline or not typed.file)

    return {name: known for name, known in fields_of(settings).items() if is_open(known)}


@dataclass(frozen=True)
class Models:
    """All models of a server by name."""

    served: Mapping[str, Served]

    @classmethod
    def load(cls, sources: list[str], **how: Any) -> Models:
        """Open every source as `formers.load` does. Raises ConfigError for two models of one name."""
        from formers.recipe import origin_of
        from formers.registry import load, locate, system_of, verbs_of

        served: dict[str, Served] = {}
        for source in sources:
            origin = origin_of(source)
            name = Path(source).name.removesuffix(".gguf") or source
            if name in served:
                raise ConfigError(f'two models are called "{name}" ({served[name].origin.name}, {source}); rename one')
            where = {key: how[key] for key in ("allow_bin", "offline") if key in how}
            place = locate(source, **where)
            system = system_of(place, source)
            served[name] = Served(name, system, load(place, **how), verbs_of(system), origin)
        return cls(served)

    def verbs(self) -> dict[str, Verb]:
        """Every verb that some model has, by name."""
        return {name: verb for model in self.served.values() for name, verb in model.verbs.items()}

    def find(self, verb: str, name: str | None) -> Served:
        """The model that a request means: the one it names, or the only one that has the verb."""
        able = {key: model for key, model in self.served.items() if verb in model.verbs}
        if name is None:
            if len(able) == 1:
                return next(iter(able.values()))
            raise ConfigError(f'POST /{verb}: say which model: "model": {" or ".join(map(repr, able))}')
        if name not in self.served:
            raise ConfigError(f'there is no model "{name}"{nearest(name, self.served)}')
        if name not in able:
            model = self.served[name]
            raise ConfigError(
                f"{name} is for {model.system.name}, which has no {verb}; it has: {', '.join(model.verbs)}"
            )
        return able[name]


def schema_of(settings: type) -> dict[str, Any]:
    """The options as JSON Schema, for the API's description."""
    names: dict[Any, str] = {int: "integer", float: "number", str: "string", bool: "boolean"}
    properties: dict[str, Any] = {}
    required = []
    for name, known in open_fields(settings).items():
        kind = getattr(known.kind, "__origin__", known.kind)
        shape: dict[str, Any] = {"type": names.get(kind, "string")}
        if known.kind in KINDS:
            shape = dict(known.kind.schema)
        elif kind is tuple:
            inner = next(iter(getattr(known.kind, "__args__", ())), str)
            shape = {"type": "array", "items": {"type": names[inner]} if inner in names else {}}
        if typed_of(known).inline:
            shape["contentEncoding"] = "base64"
        if known.words:
            shape["enum"] = list(known.words)
        if known.default is dataclasses.MISSING:
            required.append(name)
        elif isinstance(known.default, bool | int | float | str):
            shape["default"] = known.default
        properties[name] = {**shape, "description": known.help}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
