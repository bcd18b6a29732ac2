"""`formers list`: what there is to choose from, and every field of a recipe."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from formers.cli.options import Change
from formers.cli.output import note, show_table
from formers.fields import help_of
from formers.recipe import Recipe, load_recipe, names
from formers.registry import systems


def run(
    recipe: Annotated[str | None, typer.Argument(help="A recipe, to see its fields.", metavar="[RECIPE]")] = None,
    change: Change = None,
) -> None:
    """List what there is: recipes, systems, families, data; or a recipe's fields."""
    if recipe is not None:
        show_fields(load_recipe(recipe, change or ()))
    else:
        show_everything()


def show_fields(recipe: Recipe) -> None:
    """Every field with its value and what it is."""
    note(recipe.comment or recipe.name)
    rows = []
    for section, values in recipe.sections.items():
        texts = help_of(type(values))
        rows += [(f"{section}.{field}", _written(getattr(values, field)), text) for field, text in texts.items()]
    show_table(f"recipe {recipe.name} (system {recipe.system})", ["field", "value", "what it is"], rows)
    note(f"Change a field: formers train {recipe.name} --set section.key=value")


def show_everything() -> None:
    """The names that other verbs take."""
    from formers.data.sources import BUILTIN
    from formers.pretrained.families import FAMILIES

    show_table("recipes (formers train NAME, formers list NAME)", ["name", "what it does"], names().items())
    show_table(
        "systems",
        ["name", "what it is", "verbs"],
        [(each.name, each.title, ", ".join(verb.name for verb in each.verbs)) for each in systems()],
    )
    show_table(
        "families of published checkpoints (any verb that fits: formers generate FOLDER, classify, encode ...)",
        ["model_type"],
        [(name,) for name in FAMILIES],
    )
    show_table(
        "built-in data (formers data NAME)",
        ["name", "columns"],
        [(name, ", ".join(made.columns)) for name, made in BUILTIN.items()],
    )


def _written(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
