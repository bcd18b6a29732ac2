"""What is in the data of a recipe or in a source, before anything is trained on it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from formers.errors import ConfigError, DataError, nearest
from formers.notes import note
from formers.phrases import short
from formers.recipe import names, names_recipe, recipe_of, run_file, run_folder
from formers.systems.system import Event, ResultTable, System, resolve

if TYPE_CHECKING:
    from formers.data.media import MediaTable
    from formers.data.sources import Table
    from formers.pictures.sounds import DrawnSound
    from formers.sound.decode import Sound
    from formers.systems.begin import Beginning


LONGEST = 400  # characters of a text that are shown
EXAMPLES, ON_A_SHEET = 8, 40
CHANGED = 3  # how often a picture is shown as training changes it
CLASSES = 20  # that are listed
ENDINGS = (".png", ".svg", ".pdf")  # of a contact sheet


@dataclass(frozen=True)
class Preview:
    """What there is to see of rows, and what draws a contact sheet where they are pictures."""

    tables: Sequence[ResultTable]
    lines: Sequence[str]
    sheet: Callable[[Path], object] | None = None


def preview(
    name: str,
    split: str,
    examples: int | None,
    *,
    count: int | None = None,
    source: str | None = None,
    target: str | None = None,
    changes: Sequence[str] = (),
) -> Preview:
    """What is in a source or in the data of a recipe. examples: rows to show; source, target: columns to show."""
    from formers.data.media import MediaTable
    from formers.data.medium import SOUNDS
    from formers.data.sources import BUILTIN

    rows = rows_of(name, split, count, source, target, changes)
    if isinstance(rows, MediaTable):
        judged = judged_beside(name, rows, changes) if split == "train" else None
        view = of_media(rows, judged, split, examples)
        if rows.medium is SOUNDS or split != "train" or name in BUILTIN or not names_recipe(name):
            return view
        return replace(view, sheet=lambda path: draw_changed(name, changes, examples, path, view.sheet))
    picked = evenly(len(rows), EXAMPLES if examples is None else examples)
    cells = [(row + 1, *(shown(values[row]) for values in rows.columns.values())) for row in picked]
    tables = [ResultTable(f"{rows.name}, {split}", ["row", *rows.columns], cells, right=["row"])] if picked else []
    return Preview(tables, lengths(rows))


def evenly(count: int, most: int) -> list[int]:
    """At most so many of the numbers below `count`, from all over."""
    return list(range(0, count, max(1, count // max(1, most))))[:most]


def shown(value: Any) -> Any:
    """A value for a cell: of a long text its beginning, a conversation on one line."""
    if isinstance(value, list) and value and all(isinstance(turn, dict) and "role" in turn for turn in value):
        value = " | ".join(f"{turn['role']}: {turn.get('content')}" for turn in value)
    return short(value, LONGEST) if isinstance(value, str) and len(value) > LONGEST else value


def rows_of(
    name: str, split: str, count: int | None, source: str | None, target: str | None, changes: Sequence[str] = ()
) -> Table | MediaTable:
    """The table that NAME means: a recipe's own reading of its data, or a source as it is."""
    from formers.data.media import read_media
    from formers.data.media_columns import first_row, media_column
    from formers.data.sources import BUILTIN, read_table

    if name not in BUILTIN and names_recipe(name):
        sections = recipe_of(name, changes).sections
        given = {key: value for key, value in (("source", source), ("target", target)) if value is not None}
        known = {field.name for field in fields(sections["rows"])}
        if stray := next((key for key in given if key not in known), None):
            raise ConfigError(f"--{stray}: the data of {name} has no such setting")
        data, rows = sections["data"], replace(sections["rows"], **given)
        if count is not None and data.held_out >= 1:
            data = replace(data, count=count, held_out=count)
        table = data.read(split, **rows.reading(data))
        if table is None:
            raise ConfigError(f"{name} names no {split} data: data.{split} is empty")
        return table if count is None or count >= len(table) else table.select(range(count))
    if changes:
        raise ConfigError(f'--set {changes[0]}: changes a field of a recipe, and "{name}" is none')
    if name in BUILTIN and not Path(name).exists():
        name = f"builtin:{name}"
    elif re.fullmatch(r"[\w-]+", name) and not Path(name).exists():
        raise ConfigError(f'there is no data "{name}"{nearest(name, [*BUILTIN, *names()])}, or name a file')
    columns = [column for column in (source, target) if column]
    first = first_row(name, split)
    there = media_column({column: first[column] for column in columns if column in first} if columns else first)
    if there is None:
        return read_table(name, columns=columns or None, split=split, count=count)
    files, medium = there
    others = [
        column for column in columns or [name for name, value in first.items() if is_plain(value)] if column != files
    ]
    return read_media(medium, name, columns=others, files=files, split=split, count=count)


def is_plain(value: Any) -> bool:
    """Whether a value can be a label, several, or a caption."""
    return all(isinstance(part, str | int | float) for part in (value if isinstance(value, list) else [value]))


def judged_beside(name: str, rows: MediaTable, changes: Sequence[str]) -> MediaTable | None:
    """The rows to judge with that belong to those to learn from, if there are any."""
    from formers.data.media import read_media
    from formers.data.source import Source

    source: Source = Source(train=rows.name)
    reading: dict[str, Any] = {"reader": partial(read_media, rows.medium), "files": rows.column}
    if names_recipe(name):
        sections = recipe_of(name, changes).sections
        source, reading = sections["data"], sections["rows"].reading(sections["data"])
    return source.read("test", **reading) or source.read("validation", **reading)


def of_media(rows: MediaTable, judged: MediaTable | None, split: str, examples: int | None) -> Preview:
    """Some of the files with what is said of them, their classes and texts, and what is wrong with them."""
    from formers.data.medium import SOUNDS
    from formers.data.picture_report import picture_lines
    from formers.data.sound_report import sound_lines
    from formers.decoding.ctc import frames_needed

    said = {column: named(rows, column) for column in rows.table.columns if column != rows.column}
    classes = {column: tally for column, values in said.items() if (tally := classes_of(values))}
    cells = [
        (
            row + 1,
            rows.named(row).removeprefix(rows.name).lstrip(", /"),
            size_of(rows, row),
            *(shown(values[row]) for values in said.values()),
        )
        for row in evenly(len(rows), EXAMPLES if examples is None else examples)
    ]
    head = ["row", "place", "size", *said]
    tables = [ResultTable(f"{rows.name}, {split}", head, cells, right=["row", "size"])] if cells else []
    tables += [class_table(column, f"{rows.medium.word}s", tally, len(rows)) for column, tally in classes.items()]
    texts = {column: values for column, values in said.items() if column not in classes}
    label = next(iter(classes), "")
    if rows.medium is SOUNDS:
        text = next((column for column, values in texts.items() if all(isinstance(one, str) for one in values)), "")
        report = sound_lines(rows, judged, label=label, text=text, frames_needed=frames_needed)
    else:
        report = picture_lines(rows, judged, label=label)
    lines = [f"examples: {len(rows):,}", *report, *lengths(replace(rows.table, columns=texts))[1:]]
    return Preview(tables, lines, lambda path: draw(rows, said, ON_A_SHEET if examples is None else examples, path))


def named(rows: MediaTable, column: str) -> list:
    """The values of a column, numbers of classes as their names where the source has these."""
    from formers.data.labels import file_names

    values = rows.table.columns[column]
    names = file_names(rows.table, column) if all(type(value) is int for value in values) else ()
    return [names[value] if 0 <= value < len(names) else value for value in values] if names else values


def classes_of(values: Sequence[Any]) -> Counter:
    """How often each class occurs; none where the values are no classes but captions."""
    tally = Counter(part for value in values for part in (value if isinstance(value, list) else [value]))
    few = len(tally) <= max(20, len(values) // 20) and not any(isinstance(one, float) for one in tally)
    return tally if few else Counter()


def class_table(column: str, what: str, tally: Counter, count: int) -> ResultTable:
    rows = [(name, f"{times:,}", f"{times / count:.1%}") for name, times in tally.most_common(CLASSES)]
    if len(tally) > CLASSES:
        rest = sum(tally.values()) - sum(times for _, times in tally.most_common(CLASSES))
        rows.append((f"and {len(tally) - CLASSES} more", f"{rest:,}", f"{rest / count:.1%}"))
    return ResultTable(f"{len(tally)} classes", [column, what, "share"], rows, right=[what, "share"])


def cell(value: Any) -> str:
    """A label, several, or a caption."""
    return short(", ".join(map(str, value if isinstance(value, list) else [value])), LONGEST)


def size_of(rows: MediaTable, row: int) -> str:
    """Width and height, or seconds; that a file cannot be read is among the lines."""
    from formers.data.medium import SOUNDS

    try:
        if rows.medium is SOUNDS:
            return f"{rows.sound(row).seconds:.2f} s"
        width, height = rows.image(row).size
    except DataError:
        return "unreadable"
    return f"{width} x {height}"


def draw(rows: MediaTable, said: Mapping[str, list], most: int, path: Path) -> object:
    """A contact sheet of pictures or sounds from all over the table."""
    import numpy as np

    from formers.data.medium import SOUNDS
    from formers.pictures.figure import save
    from formers.pictures.sheet import draw_sheet
    from formers.pictures.sounds import draw_sounds

    files: list[Any] = []
    titles = []
    for row in evenly(len(rows), most):
        try:
            files.append(heard(rows.sound(row)) if rows.medium is SOUNDS else np.asarray(rows.image(row)))
        except DataError as error:
            note(str(error))
            continue
        titles.append(" | ".join(cell(values[row]) for values in said.values()))
    if not files:
        raise DataError(f"{rows.name}: none of the {rows.medium.word}s can be read")
    draw_files = draw_sounds if rows.medium is SOUNDS else draw_sheet
    return save(draw_files(files, titles, f"{rows.name} ({len(rows):,} {rows.medium.word}s)"), path)


def heard(sound: Sound) -> DrawnSound:
    """A sound as it is drawn: with the bands of a model that reads it at its own rate."""
    from formers.pictures.sounds import DrawnSound
    from formers.sound.features import mel_picture

    return DrawnSound(sound.samples, sound.seconds, mel_picture(sound))


def draw_changed(name: str, changes: Sequence[str], examples: int | None, path: Path, plain: Any) -> object:
    """A contact sheet of pictures as the model of a recipe gets them, each beside what training makes of it; where that
    is nothing, `plain` draws them with what is said of them."""
    from formers.images.augment import PLAIN
    from formers.pictures.figure import save
    from formers.pictures.sheet import draw_sheet

    with begun(name, changes) as (declared, beginning):
        batches: Any = resolve(declared.prepare)(beginning).batches
    if batches.config.augmentation == PLAIN:
        return plain(path)
    rows, before = batches.pixels.read(evenly(len(batches.table), ON_A_SHEET // 4 if examples is None else examples))
    seeds = [[(batches.seed, epoch, int(row)) for row in rows] for epoch in range(CHANGED)]
    versions = [before, *(batches.config.augmentation(before, epoch) for epoch in seeds)]
    pictures = [version[at].permute(1, 2, 0).squeeze(2).numpy() for at in range(len(rows)) for version in versions]
    titles = [text for row in rows for text in (batches.table.where(row), *[""] * CHANGED)]
    title = f"{name}: each picture as it is read, and changed in {CHANGED} epochs"
    return save(draw_sheet(pictures, titles, title, columns=2 * len(versions)), path)


def lengths(table: Table) -> list[str]:
    """How many rows there are, and for each column of text a line on its lengths in words."""
    import numpy as np

    from formers.data.report import LengthReport

    lines = [f"examples: {len(table):,}"]
    for name, values in table.columns.items():
        texts = [value for value in values if isinstance(value, str)]
        if texts:
            words = np.array([len(text.split()) for text in texts])
            lines.append(
                f"{name}: {LengthReport(name, words).histogram()} mean {words.mean():.1f}, "
                f"median {np.median(words):.0f}, longest {words.max()} words; "
                f"{len(set(texts)):,} different texts"
            )
    return lines


def lessons_of(name: str, split: str, count: int, changes: Sequence[str]) -> Iterator[Event]:
    """The tokens of examples as training reads them, those that carry loss marked."""
    from formers.registry import systems

    if not names_recipe(name):
        raise ConfigError(f'--show-loss needs a recipe or a run, got "{name}"{nearest(name, names())}')
    with begun(name, changes) as (declared, beginning):
        if not declared.lessons:
            able = ", ".join(system.name for system in systems() if system.lessons)
            what = "has no single text whose tokens carry loss"
            raise ConfigError(f'--show-loss: the system "{declared.name}" {what}; it is for {able}')
        if split == "test":
            raise ConfigError("--show-loss shows what is trained on: --split train, or validation")
        yield resolve(declared.lessons)(beginning, split, count)


@contextmanager
def begun(name: str, changes: Sequence[str]) -> Iterator[tuple[System, Beginning]]:
    """The system of a recipe, and the beginning of its training; nothing of it stays."""
    from formers.registry import locate, system
    from formers.systems.begin import Beginning

    recipe, folder = recipe_of(name, changes), run_folder(name)
    start = recipe.sections["model"].start
    with TemporaryDirectory() as empty:  # a tokenizer that is trained for this only
        kept = folder if (folder / "tokenizer").is_dir() and run_file(name) else Path(empty)
        yield system(recipe.system), Beginning(recipe.sections, kept, locate(start) if start else None)
