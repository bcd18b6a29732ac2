"""`formers list`: what there is to choose from, and every field of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from formers.cli.command import own_command, spelled
from formers.cli.options import Change
from formers.cli.output import note, show_table
from formers.fields import fields_of, values_of
from formers.recipe import Recipe, load_recipe, names, names_recipe
from formers.registry import NAMES, looks, system, systems, verbs_of
from formers.systems.system import FILLED, System, Typed, resolve


@dataclass(frozen=True)
class ListOptions:
    """What to list."""

    name: Annotated[str | None, Typed("NAME", positional=True)] = None
    """A system or a recipe, to see all of it."""
    set: Change = ()
    """Change a field of the recipe."""


@own_command
def run(options: ListOptions) -> None:
    """List what there is: recipes, systems, families, data; or a system's verbs and a recipe's fields."""
    name = options.name
    if name is None:
        show_everything()
        return
    if name in NAMES:
        show_system(system(name))
    if name not in NAMES or names_recipe(name):
        show_fields(load_recipe(name, options.set))


def show_system(declared: System) -> None:
    """Verbs with their options, looks, scores and recipes, as the system declares them."""
    note(f"{declared.name}: {declared.title}")
    rows: list[tuple[str, str, str]] = []
    for verb in verbs_of(declared).values():
        rows.append((verb.name, "", verb.help))
        known = fields_of(resolve(verb.options)).items()
        rows += [("", spelled(name, field), field.help) for name, field in known if field.kind not in FILLED]
    example = declared.example.format("MODEL")
    show_table(f"verbs (formers VERB MODEL; example: formers {example})", ["verb", "option", "what it does"], rows)
    show_table("looks (formers inspect MODEL LOOK)", ["look", "what it shows"],
               [(look.name, look.help) for look in looks(declared).values()])  # fmt: skip
    show_table("scores (formers evaluate MODEL; train.monitor)", ["score", "what it says"], declared.scores.items())
    own = [(name, text) for name, text in names().items() if load_recipe(name).system == declared.name]
    show_table("recipes (formers train NAME)", ["name", "what it does"], own)


def show_fields(recipe: Recipe) -> None:
    """Every field with its value and what it is."""
    note(recipe.comment or recipe.name)
    rows = []
    for section, values in recipe.sections.items():
        known = fields_of(values.__class__)
        rows += [(f"{section}.{name}", _written(value), known[name].help) for name, value in values_of(values).items()]
    show_table(f"recipe {recipe.name} (system {recipe.system})", ["field", "value", "what it is"], rows)
    note(f"Change a field: formers train {recipe.name} --set section.key=value")


def show_everything() -> None:
    """The names that other verbs take."""
    from formers.cli import OWN
    from formers.data.sources import BUILTIN
    from formers.pretrained.families import FAMILIES

    show_table("recipes (formers train NAME, formers list NAME)", ["name", "what it does"], names().items())
    show_table(
        "systems",
        ["name", "what it is", "verbs"],
        [(each.name, each.title, ", ".join(verb.name for verb in each.verbs)) for each in systems()],
    )
    show_table("verbs of no system (formers VERB --help)", ["verb", "what it does"], OWN.items())
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
