"""`formers data RECIPE --show-loss` of masked words: original, shown and wanted tokens; --out draws them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from formers.cli.options import out_file
from formers.cli.output import console, note
from formers.cli.recipes import run_folder
from formers.recipe import Recipe

STYLES = {"masked": "black on yellow", "random": "white on blue", "kept": "black on green"}
MARKS = {"masked": "", "random": "~", "kept": "="}


def show_masking(name: str, recipe: Recipe, split: str, count: int, out: Path | None) -> None:
    """Print the rows as training reads them; colours on a terminal, brackets elsewhere."""
    from rich.text import Text

    from formers.registry import locate
    from formers.systems.masked_lessons import masked_lessons

    out_file(out)
    folder, start = run_folder(name), recipe.sections["model"].start
    place, colours = console(), console().is_terminal
    with TemporaryDirectory() as empty:  # a tokenizer that is trained for this only
        kept = folder if (folder / "tokenizer").is_dir() and (Path(name) / "recipe.toml").is_file() else Path(empty)
        begin = locate(start) if start else None
        lessons = list(masked_lessons(recipe.sections, kept, begin, split=split, count=count))
    for lesson in lessons:
        place.print(Text(lesson.summary(), style="bold"), soft_wrap=True)
        place.print(Text("original: " + " ".join(lesson.original)), soft_wrap=True)
        shown = Text("shown:    ")
        for piece, kind in zip(lesson.shown, lesson.kinds, strict=True):
            if colours:
                shown.append(piece, style=STYLES.get(kind, "dim"))
                shown.append(" ")
            else:
                shown.append(f"⟦{MARKS[kind]}{piece}⟧ " if kind else f"{piece} ")
        place.print(shown, soft_wrap=True)
        place.print(Text("to say:   " + " ".join(said_of(lesson.original, lesson.chosen))), soft_wrap=True)
        place.print()
    note(
        "masked, random and kept tokens in colour"
        if colours
        else "⟦[MASK]⟧ hidden, ⟦~such⟧ a random token, ⟦=such⟧ kept: all to be said"
    )
    if out is not None:
        from formers.pictures.figure import save
        from formers.pictures.masking import MaskedRow, draw_masking

        rows = [MaskedRow(lesson.summary(), lesson.original, lesson.shown, lesson.kinds) for lesson in lessons]
        note(f"picture: {save(draw_masking(rows), out)}")


def said_of(pieces: Sequence[str], chosen: Sequence[bool]) -> list[str]:
    return [piece for piece, said in zip(pieces, chosen, strict=True) if said]
