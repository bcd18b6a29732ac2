"""Recipes as the command line names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from formers.recipe import Recipe, default_folder, load_recipe, names


def named(name: str) -> Recipe | None:
    """The recipe of that name, TOML file or run folder; None where the name means something else."""
    place = Path(name).expanduser()
    if (place / "recipe.toml").is_file():
        return load_recipe(place / "recipe.toml")
    if name in names() or name.removesuffix("/tiny") in names() or place.suffix == ".toml":
        return load_recipe(name)
    return None


def run_recipe(model: str) -> Recipe | None:
    """The recipe that a model was trained with, where it is a run."""
    kept = Path(model).expanduser() / "recipe.toml"
    return load_recipe(kept) if kept.is_file() else None


def chosen(name: str, changes: Sequence[str]) -> Recipe:
    """The recipe to train; a run folder means the recipe that it was begun with."""
    kept = Path(name).expanduser() / "recipe.toml"
    return load_recipe(kept if kept.is_file() else name, changes)


def run_folder(name: str) -> Path:
    """Where a recipe is trained unless --run says: runs/<name>; a run that is there: itself."""
    path = Path(name).expanduser()
    if (path / "recipe.toml").is_file():
        return path
    return path.parent if path.name == "recipe.toml" else default_folder(name)
