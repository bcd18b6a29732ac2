"""Recipes: strict TOML <-> frozen dataclasses. A recipe is everything that a training run depends on."""

from __future__ import annotations

import json
import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from formers import fields
from formers.errors import ConfigError, nearest, shown
from formers.fields import convert, fields_of, values_of
from formers.files import expanded, read_source
from formers.notes import note
from formers.phrases import short
from formers.registry import NAMES, sections, system
from formers.systems.system import Origin

FOLDER = Path(__file__).parent / "systems"  # each system has its recipes/ below it
# A resumed run may change these: they do not change what the steps already taken were.
MAY_CHANGE = {
    "train.steps",
    "train.log_every",
    "train.evaluate_every",
    "train.save_every",
    "train.sample_every",
    "train.keep",
    "train.patience",
    "data.test",
    "task.samples",
}


@dataclass(frozen=True)
class Recipe:
    """A system's name and its filled-in sections ([model], [data], [rows], [task], [train])."""

    name: str
    system: str
    sections: dict[str, Any]
    comment: str = ""

    def to_toml(self) -> str:
        """The resolved recipe; reading it gives the same recipe again."""
        lines = [self.comment or f"# {self.name}", f'system = "{self.system}"']
        for section, values in self.sections.items():
            lines += ["", f"[{section}]"]
            lines += [f"{name} = {_toml(value)}" for name, value in values_of(values).items()]
        return "\n".join(lines) + "\n"

    def flat(self) -> dict[str, Any]:
        """Every value under its dotted name."""
        return {
            f"{section}.{name}": value
            for section, values in self.sections.items()
            for name, value in values_of(values).items()
        }

    def example(self, seen: Sequence[str] = ()) -> str:
        """What to try first with {} for the model: on samples of the recipe, where the verb takes nothing but texts.

        seen: samples of the run, for data that are not the recipe's own; without them, dots stand for a text.
        """
        example, own = system(self.system).example, not self.sections["data"].train.startswith("builtin:")
        samples = getattr(self.sections["task"], "samples", ()) or (seen if own else ())
        texts = [
            text for text in (short(" ".join(text.split())) for text in samples) if text and " | " not in text
        ]  # a pair
        if own:
            texts.sort(key=len)
        quoted = re.findall(r'"[^"]*"', example)
        alone = re.fullmatch(r'\w+ \{\}( "[^"]*")+', example)
        if not (alone and len(texts) >= len(quoted)):
            return re.sub(r'"[^"]*"', '"..."', example) if own else example
        words = [shlex.quote(text).replace("{", "{{").replace("}", "}}") for text in texts[: len(quoted)]]
        return " ".join([example.partition(' "')[0], *words])

    def changes(self, other: Recipe) -> list[str]:
        """Dotted names whose values differ, those that a resumed run may change left out."""
        mine, theirs = self.flat(), other.flat()
        return [
            f"{name} ({theirs[name]!r} -> {mine[name]!r})"
            for name in mine
            if name in theirs and mine[name] != theirs[name] and name not in MAY_CHANGE
        ]


@cache
def places() -> dict[str, Path]:
    """Shipped recipes: name -> file. systems/x/recipes/tiny.toml is "x", a.toml beside it "x/a", b/c.toml "b/c"."""
    files = {}
    for path in sorted(FOLDER.glob("*/recipes/**/*.toml")):
        owner, inside = path.relative_to(FOLDER).parts[0], path.relative_to(FOLDER).parts[2:]
        parts = inside if len(inside) > 1 else (owner, *inside)
        files["/".join(parts).removesuffix(".toml").removesuffix("/tiny")] = path
    return dict(sorted(files.items()))


def names() -> dict[str, str]:
    """Shipped recipes: name -> their first line."""
    return {name: path.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ") for name, path in places().items()}


def default_folder(name: str) -> Path:
    """Where a recipe is trained: runs/translation-multi30k for "translation/multi30k", runs/<stem> for a file."""
    path = Path(name)
    return Path("runs") / (path.stem if path.suffix == ".toml" else name.replace("/", "-"))


def load_recipe(
    name: str | Path, overrides: Sequence[str] = (), *, data: Mapping[str, Any] = MappingProxyType({})
) -> Recipe:
    """A shipped recipe ("translation", "translation/multi30k") or a TOML file, with `section.key=value` overrides.

    data: of [data], what stands there unless the recipe says it itself.
    """
    path = Path(name)
    if path.suffix != ".toml":
        shipped = places().get(str(name).removesuffix("/tiny"))
        if shipped is None:
            raise ConfigError(f'there is no recipe "{name}"{nearest(str(name), names())}')
        path = shipped
    text = read_source(expanded(path), error=ConfigError)
    raw = parse_toml(text, str(path))
    first = text.split("\n", 1)[0]
    if data and isinstance(own := raw.setdefault("data", {}), dict):
        raw["data"] = {**data, **{key: value for key, value in own.items() if value != ""}}
    return build(raw, overrides, name=str(name), where=str(path), comment=first if first.startswith("#") else "")


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Raises ConfigError, one line."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number too long, brackets nested too deep
        raise ConfigError(f"{where}: not a TOML file: {error}") from error


def run_file(name: str) -> Path | None:
    """The recipe that a run folder was begun with; None where the name is no run."""
    path = expanded(name) / "recipe.toml"
    return path if os.path.exists(path) else None


def recipe_of(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe to train; a run folder means the recipe that it was begun with."""
    return load_recipe(run_file(name) or name, overrides)


def is_recipe(name: str) -> bool:
    """Whether it is a shipped recipe or a TOML file."""
    return name.removesuffix("/tiny") in places() or Path(name).suffix == ".toml"


def names_recipe(name: str) -> bool:
    """Whether it is a shipped recipe, a TOML file or a run folder, and not a source of data."""
    return is_recipe(name) or run_file(name) is not None


def run_folder(name: str) -> Path:
    """Where a recipe is trained unless --run says: runs/<name>; a run that is there: itself."""
    path = expanded(name)
    if run_file(name) is not None:
        return path
    return path.parent if path.name == "recipe.toml" else default_folder(name)


def origin_of(model: str) -> Origin:
    """What a model is called, and the recipe that it was trained with, where it is a run."""
    if (path := run_file(model)) is None:
        return Origin(model)
    try:
        recipe = load_recipe(path)
    except ConfigError as fault:  # its weights are as good as they were
        note(f"{model} is opened without its recipe, so data have to be named: {fault}")
        return Origin(model, recipe_is_bad=True)
    return Origin(model, recipe.sections, recipe.system)


def build(raw: Mapping[str, Any], overrides: Sequence[str], *, name: str, where: str, comment: str = "") -> Recipe:
    """A recipe from parsed TOML; every unknown name and wrong type is refused."""
    if "system" not in raw:
        raise ConfigError(f'{where}: the key "system" is missing; known systems: {", ".join(NAMES)}')
    if raw["system"] == "instruct":
        raise ConfigError(f'{where}: since formers 0.2.0 the system "instruct" is called "chat"; write system = "chat"')
    if raw["system"] not in NAMES:
        raise ConfigError(f"{where}: there is no system {shown(raw['system'])}{nearest(str(raw['system']), NAMES)}")
    declared = system(raw["system"])
    kinds = sections(declared)
    given: dict[str, Any] = {
        section: dict(values) if isinstance(values, dict) else values
        for section, values in raw.items()
        if section != "system"
    }
    for section, values in given.items():
        if section not in kinds or not isinstance(values, dict):
            raise ConfigError(f"{where}: there is no section [{section}]{nearest(section, kinds)}")
    refuse_old(given.get("data", {}), kinds, where)
    changed = dict(_parse(overrides, kinds))
    own_data = given.get("data", {}).get("train")
    other_data = own_data and own_data != changed.get(("data", "train"), own_data)
    if other_data and isinstance(given.get("task"), dict):
        given["task"].pop("samples", None)  # which are of the recipe's own data: others show what they have
    for (section, name_), value in changed.items():
        known = fields_of(kinds[section])
        if name_ in known:
            convert(value, known[name_], f"--set {section}.{name_}")
        given.setdefault(section, {})[name_] = value
    given["data"] = {**declared.data, **given.get("data", {})}
    filled = {
        section: fields.build(kind, given.get(section, {}), f"{where}: [{section}]") for section, kind in kinds.items()
    }
    return Recipe(name, raw["system"], filled, comment)


def refuse_old(data: Mapping[str, Any], kinds: Mapping[str, type], where: str) -> None:
    """Refuse a [data] of before 0.2.0, which held what is in [rows] now."""
    if moved := [key for key in data if key not in fields_of(kinds["data"]) and key in fields_of(kinds["rows"])]:
        raise ConfigError(
            f"{where}: since formers 0.2.0 [data] says only where rows come from; write these keys under [rows]: "
            f"{', '.join(moved)}"
        )


def _parse(overrides: Sequence[str], kinds: Mapping[str, type]) -> Iterator[tuple[tuple[str, str], Any]]:
    for text in overrides:
        key, equals, value = text.partition("=")
        section, dot, name = key.strip().partition(".")
        if not equals or not dot:
            raise ConfigError(f"--set {text}: expected section.key=value, for example train.steps=50")
        if section not in kinds:
            raise ConfigError(f"--set {text}: there is no section [{section}]{nearest(section, kinds)}")
        if section == "data":
            refuse_old({name: value}, kinds, f"--set {text}")
        known = fields_of(kinds[section]).get(name)
        if known is not None and (known.kind is str or known.words):
            yield (section, name), value.strip().strip('"')
            continue
        try:
            yield (section, name), tomllib.loads(f"value = {value}")["value"]
        except (ValueError, RecursionError):
            yield (section, name), value.strip()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)
