"""The config map of a family: their config.json <-> our dataclass."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from formers.errors import CheckpointError, shown
from formers.pretrained.keys import BOOKKEEPING, GENERATION, MUST_BE_OFF, Raw, pairs, words
from formers.shapes import revive

__all__ = ["ACTIVATIONS", "ConfigMap", "Inner", "Native", "Raw", "pairs", "words"]

# Theirs -> ours; of several the first is written.
ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "silu": "silu",
    "gelu": "gelu",
    "relu": "relu",
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "quick_gelu": "gelu_quick",
}


class Inner(NamedTuple):
    """A config within another."""

    path: str
    """Where ours has it: "picture.body"."""
    map: ConfigMap
    instead: str = ""
    """Their key whose value stands for all of it, where there is one."""

    def of(self, raw: Raw, key: str) -> Raw:
        """The inner config of a file; empty where it has none."""
        return raw.get(self.instead) or raw.get(key) or {}


@dataclass(frozen=True, kw_only=True)
class ConfigMap:
    """theirs -> ours; a key of `names` may feed several fields ("encoder.dim decoder.dim"), with values."""

    config: type
    names: Mapping[str, str | tuple[str, Mapping[Any, Any]]]
    within: Mapping[str, Inner] = field(default_factory=dict)
    """Theirs that are a config of their own."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Ours -> the value that every model of this family has."""
    defaults: Raw = field(default_factory=dict)
    """Theirs -> what an absent key (or null) means."""
    nullable: frozenset[str] = frozenset()
    """Theirs whose null says something else than their absence."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Their second name for a key; both must agree."""
    checked: Mapping[str, Any] = field(default_factory=dict)
    """Theirs -> the only value that our model computes (or a function of the file that gives it)."""
    derived: Callable[[Raw, Mapping[str, Tensor]], Mapping[str, Any]] = lambda raw, tensors: {}
    """Ours that need several keys, or a look at the stored tensors."""
    reads: Sequence[str] = ()
    """Their keys that `derived` reads."""
    written: Callable[[Any], Mapping[str, Any]] = lambda config: {}
    """Theirs that `names` does not give, when saving."""
    ignored: frozenset[str] = frozenset()
    canonical: Callable[[Any], Any] = lambda config: config
    """Ours -> the one of its spellings that reading gives (no kv_heads where they are as many as heads)."""

    @property
    def read(self) -> frozenset[str]:
        """Their keys that say what is computed."""
        inner = [name for key, part in self.within.items() for name in (key, part.instead) if name]
        return frozenset((*self.names, *inner, *self.aliases, *self.checked, *self.defaults, *self.reads))

    def unknown(self, raw: Raw) -> list[str]:
        """The keys of a file that neither this family reads nor any says nothing with."""
        known = self.read | self.ignored | GENERATION | BOOKKEEPING | {*MUST_BE_OFF}
        return [key for key in raw if key not in known and not (key == "is_encoder_decoder" and raw[key] is False)]

    def not_computed(self, raw: Raw) -> list[str]:
        """What the keys of a file say that our model does not compute, one text for each of them."""
        raw = self.completed(raw)
        texts = [f"{key} = {shown(raw[key])} is not computed here" for key in MUST_BE_OFF if raw.get(key)]
        for key, value in self.checked.items():
            try:
                expected = value(raw) if callable(value) else value
            except KeyError:  # which is told where it is read
                continue
            if key in raw and raw[key] != expected:
                family = f"but this family computes {json.dumps(expected)} only"
                texts.append(f"{key} = {shown(json.dumps(raw[key]))[1:-1]}, {family}")
        for key, part in self.within.items():
            texts += [f"{key}.{text}" for text in part.map.not_computed(part.of(raw, key))]
        return texts

    def completed(self, raw: Raw) -> dict[str, Any]:
        """The keys of a file that are not null, and what those mean that are absent."""
        given = {key: value for key, value in raw.items() if value is not None or key in self.nullable}
        return {**self.defaults, **given}

    def to_ours(self, raw: Raw, tensors: Mapping[str, Tensor], *, what: str = "config.json") -> Any:
        """Our config from theirs. Raises CheckpointError for values that are not computed here."""
        try:
            if texts := self.not_computed(raw):
                raise ValueError("; ".join(texts))
            return self.canonical(nest(self.config, self.values(raw, tensors)))
        except KeyError as fault:
            raise CheckpointError(f"{what} lacks {fault.args[0]}") from fault
        except (TypeError, ValueError, ArithmeticError) as fault:
            raise CheckpointError(f"{what}: {fault}") from fault

    def values(self, raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Ours by their dotted names. Raises ValueError; KeyError for a key that is absent."""
        given = {key: value for key, value in raw.items() if value is not None}
        for alias, key in self.aliases.items():
            if alias in given and given.setdefault(key, given[alias]) != given[alias]:
                raise ValueError(f"{alias} = {shown(given[alias])}, but {key} = {shown(given[key])}")
        raw = self.completed({**raw, **given})
        ours: dict[str, Any] = {}
        for key, part in self.within.items():
            try:
                inner = part.map.values(part.of(raw, key), tensors)
            except KeyError as fault:
                raise KeyError(f"{key}.{fault.args[0]}") from fault
            except ValueError as fault:
                raise ValueError(f"{key}.{fault}") from fault
            ours |= {f"{part.path}.{path}": value for path, value in inner.items()}
        ours |= self.fixed
        for key, target in self.names.items():
            paths, values = (target, None) if isinstance(target, str) else target
            value = raw[key]
            if values is not None and value not in list(values):  # which compares, and a list has no hash
                raise ValueError(f"{key} = {shown(value)} is not computed here; known: {', '.join(map(str, values))}")
            ours.update(dict.fromkeys(paths.split(), value if values is None else values[value]))
        return {**ours, **self.derived(raw, tensors)}

    def to_theirs(self, config: Any) -> dict[str, Any] | None:
        """Their config from ours, or None when this family has no word for it (see `Family.expresses`)."""
        config, raw = self.canonical(config), {}
        for key, target in self.names.items():
            paths, values = (target, None) if isinstance(target, str) else target
            ours, *others = (attrgetter(path)(config) for path in paths.split())
            if any(value != ours for value in others):
                return None
            if values is None:
                raw[key] = ours
            elif back := [theirs for theirs, value in values.items() if value == ours]:
                raw[key] = back[0]
            else:
                return None
        for key, part in self.within.items():
            inner = attrgetter(part.path)(config)
            raw[key] = part.map.to_theirs(inner) if type(inner) is part.map.config else None
            if raw[key] is None:
                return None
        return {**raw, **self.written(config)}


@dataclass(frozen=True)
class Native:
    """Our own layout: config.json holds our dataclass as it is, under "config"."""

    config: type
    within: ClassVar[Mapping[str, Inner]] = {}

    def to_ours(self, raw: Raw, tensors: Mapping[str, Tensor], *, what: str = "config.json") -> Any:
        if "config" not in raw:
            raise CheckpointError(f"{what} lacks 'config'")
        try:
            return revive(self.config, raw["config"], "config")
        except ValueError as fault:
            raise CheckpointError(f"{what}: {fault}") from fault

    @property
    def read(self) -> frozenset[str]:
        return frozenset({"config"})

    def unknown(self, raw: Raw) -> list[str]:
        return [key for key in raw if key not in self.read | GENERATION | BOOKKEEPING]

    def not_computed(self, raw: Raw) -> list[str]:
        return []

    def to_theirs(self, config: Any) -> dict[str, Any] | None:
        return {"config": dataclasses.asdict(config)}

    def canonical(self, config: Any) -> Any:
        return config


def nest(kind: type, values: Mapping[str, Any]) -> Any:
    """A dataclass from dotted names: {"encoder.dim": 8, "vocab": 9} -> C(encoder=S(dim=8), vocab=9)."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *folders, name = path.split(".")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[name] = value
    return revive(kind, tree)
