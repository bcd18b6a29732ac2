"""Recipes: strict TOML <-> frozen dataclasses. A recipe is everything that a training run depends on."""

from __future__ import annotations

import dataclasses
import json
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from formers.errors import ConfigError, nearest
from formers.registry import SYSTEMS, System

FOLDER = Path(__file__).parent / "recipes"
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
}


@dataclass(frozen=True)
class Recipe:
    """A system's name and its filled-in sections ([model], [data], [task], [train])."""

    name: str
    system: str
    sections: dict[str, Any]
    comment: str = ""

    def to_toml(self) -> str:
        """The resolved recipe; reading it gives the same recipe again."""
        lines = [self.comment or f"# {self.name}", f'system = "{self.system}"']
        for section, values in self.sections.items():
            lines += ["", f"[{section}]"]
            lines += [f"{f.name} = {_toml(getattr(values, f.name))}" for f in dataclasses.fields(values)]
        return "\n".join(lines) + "\n"

    def flat(self) -> dict[str, Any]:
        """Every value under its dotted name."""
        return {
            f"{section}.{field.name}": getattr(values, field.name)
            for section, values in self.sections.items()
            for field in dataclasses.fields(values)
        }

    def changes(self, other: Recipe) -> list[str]:
        """Dotted names whose values differ, those that a resumed run may change left out."""
        mine, theirs = self.flat(), other.flat()
        return [
            f"{name} ({theirs[name]!r} -> {mine[name]!r})"
            for name in mine
            if name in theirs and mine[name] != theirs[name] and name not in MAY_CHANGE
        ]


def names() -> dict[str, str]:
    """Shipped recipes: name -> their first line."""
    found = {}
    for path in sorted(FOLDER.rglob("*.toml")):
        name = path.relative_to(FOLDER).with_suffix("").as_posix().removesuffix("/tiny")
        found[name] = path.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ")
    return found


def default_folder(name: str) -> Path:
    """Where a recipe is trained: runs/translation-multi30k for "translation/multi30k", runs/<stem> for a file."""
    path = Path(name)
    return Path("runs") / (path.stem if path.suffix == ".toml" else name.replace("/", "-"))


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A shipped recipe ("translation", "translation/multi30k") or a TOML file, with `section.key=value` overrides."""
    path = Path(name)
    if path.suffix != ".toml":
        path = FOLDER / f"{name}.toml"
        path = path if path.is_file() else FOLDER / str(name) / "tiny.toml"
        if not path.is_file():
            raise ConfigError(f'there is no recipe "{name}"{nearest(str(name), names())}')
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such recipe file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from error
    first = text.split("\n", 1)[0]
    return build(raw, overrides, name=str(name), where=str(path), comment=first if first.startswith("#") else "")


def build(raw: Mapping[str, Any], overrides: Sequence[str], *, name: str, where: str, comment: str = "") -> Recipe:
    """A recipe from parsed TOML; every unknown name and wrong type is refused."""
    if "system" not in raw:
        raise ConfigError(f'{where}: the key "system" is missing; known systems: {", ".join(SYSTEMS)}')
    if raw["system"] not in SYSTEMS:
        raise ConfigError(f'{where}: there is no system "{raw["system"]}"{nearest(str(raw["system"]), SYSTEMS)}')
    system = SYSTEMS[raw["system"]]
    kinds = system.sections()
    given = {
        section: dict(values) if isinstance(values, dict) else values
        for section, values in raw.items()
        if section != "system"
    }
    for section, values in given.items():
        if section not in kinds or not isinstance(values, dict):
            raise ConfigError(f"{where}: there is no section [{section}]{nearest(section, kinds)}")
    for (section, field), value in _parse(overrides, kinds):
        hints = typing.get_type_hints(kinds[section])
        if field in hints:
            _checked(value, hints[field], f"--set {section}.{field}")
        given.setdefault(section, {})[field] = value
    sections = {
        section: _fill(kind, given.get(section, {}), f"{where}: [{section}]") for section, kind in kinds.items()
    }
    return Recipe(name, raw["system"], sections, comment)


def _parse(overrides: Sequence[str], kinds: Mapping[str, type]) -> Iterator[tuple[tuple[str, str], Any]]:
    for text in overrides:
        key, equals, value = text.partition("=")
        section, dot, field = key.strip().partition(".")
        if not equals or not dot:
            raise ConfigError(f"--set {text}: expected section.key=value, for example train.steps=50")
        if section not in kinds:
            raise ConfigError(f"--set {text}: there is no section [{section}]{nearest(section, kinds)}")
        hint = typing.get_type_hints(kinds[section]).get(field)
        if hint is str:
            yield (section, field), value.strip().strip('"')
            continue
        try:
            yield (section, field), tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            yield (section, field), value.strip()


def _fill(kind: type, given: Mapping[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    for key in given:
        if key not in hints:
            raise ConfigError(f'{where} has no key "{key}"{nearest(key, hints)}')
    return kind(**{key: _checked(value, hints[key], f"{where} {key}") for key, value in given.items()})


def _checked(value: Any, hint: Any, where: str) -> Any:
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        if isinstance(value, list | tuple):
            return tuple(_checked(item, inner, where) for item in value)
    elif hint is float and type(value) is int:
        return float(value)
    elif type(value) is hint:
        return value
    wanted = "list" if typing.get_origin(hint) is tuple else hint.__name__
    raise ConfigError(f"{where}: got {value!r} ({type(value).__name__}), expected {wanted}")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)


__all__ = ["Recipe", "System", "build", "load_recipe", "names"]
