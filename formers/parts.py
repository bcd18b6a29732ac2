"""Models that a recipe builds on: those of its section [parts], each a folder, or a recipe that is trained before it.

[parts]                          RUN/parts/vae: the run of that recipe, with the data of this one
vae = "reconstruction/latent"    where it names none of its own
text = "runs/clip"               a folder or hub id: used as it is
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from formers.errors import ConfigError
from formers.fields import fields_of, values_of
from formers.files import expanded, resolved
from formers.recipe import Recipe, is_recipe, load_recipe, places
from formers.registry import NAMES, locate, system
from formers.systems.system import ModelClass


class RecipePart(NamedTuple):
    """One field of [parts] that names something."""

    name: str
    source: str
    """What it names."""
    classes: tuple[str, ...]
    """What its model may be."""
    recipe: Recipe | None
    """None of a folder."""

    def check(self, kind: str) -> None:
        """Raises ConfigError for a model of another class."""
        if kind not in self.classes:
            raise ConfigError(f"parts.{self.name}: {self.source} is a {kind}, expected a {' or '.join(self.classes)}")

    def place(self, folder: Path) -> Path:
        """The model, for the run in `folder`. Raises CheckpointError where there is none."""
        return locate(self.source if self.recipe is None else folder_of(folder, self.name))


def folder_of(run: Path, name: str) -> Path:
    """The run in which a part of the recipe in the folder `run` is trained."""
    return run / "parts" / name


def parts_of(recipe: Recipe, above: tuple[Path, ...] = ()) -> list[RecipePart]:
    """What [parts] names, in order.

    above: the recipes whose part this one is. Raises ConfigError for a recipe that is not there, is one of those above,
    or trains none of the models that the part may be, and for a folder that holds another model; CheckpointError for
    one that is not there.
    """
    above = (*above, file_of(recipe.name))
    parts = list(named(recipe))
    for part in parts:
        if part.recipe is None:
            from formers.pretrained.source import source_class

            part.check(source_class(part.place(Path())).__name__)
            continue
        if file_of(part.source) in above:
            raise ConfigError(f"parts.{part.name} of {recipe.name} is {part.source}, which has it as a part itself; "
                              "name a folder, or another recipe")  # fmt: skip
        able = system(part.recipe.system).models
        if not {*able} & {*part.classes}:
            got, expected = (" or ".join(classes) for classes in (able, part.classes))
            raise ConfigError(f"parts.{part.name}: {part.source} trains a {got}, expected a {expected}")
        parts_of(part.recipe, above)
    return parts


def named(recipe: Recipe) -> Iterator[RecipePart]:
    section: Any = recipe.sections.get("parts")
    for name, source in {} if section is None else values_of(section).items():
        if not source:
            continue
        classes = next(
            extra.names for extra in fields_of(section.__class__)[name].extras if isinstance(extra, ModelClass)
        )
        trained = is_recipe(source) or (source.partition("/")[0] in NAMES and not os.path.exists(expanded(source)))
        data = values_of(recipe.sections["data"])
        yield RecipePart(name, source, classes, load_recipe(source, data=data) if trained else None)


def file_of(name: str) -> Path:
    """The file of a recipe."""
    return resolved(expanded(places().get(name.removesuffix("/tiny"), name)))
