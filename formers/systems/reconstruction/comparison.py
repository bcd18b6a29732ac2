"""An autoencoder held against simpler methods on the same rows and codes of the same size: tables and pictures."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.fields import changed
from formers.images.colour import merged, parted, to_lab
from formers.metrics.pictures import colourfulness, psnr, squared_error, ssim
from formers.metrics.retrieval import of_same_class
from formers.phrases import duration
from formers.pictures.figure import save
from formers.pictures.lines import draw_lines
from formers.pictures.map import draw_maps
from formers.pictures.sheet import draw_sheet
from formers.systems.begin import Beginning
from formers.systems.picture_batches import AT_ONCE
from formers.systems.picture_looks import as_bytes, spread
from formers.systems.reconstruction.classical_methods import WINDOWS, Coded, Rows, filled, lsa, median, pca
from formers.systems.reconstruction.data import CountedDocuments, PictureRepairs, frequencies
from formers.systems.reconstruction.system import Reconstructor
from formers.systems.system import Event, Progress, Report, ResultTable
from formers.systems.vectors.projection import plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Batches = PictureRepairs | CountedDocuments
Compared = Generator[Event, None, tuple[list[ResultTable], dict[str, Any]]]
MOST_NUMBERS = 2**28  # that linear codes are learned from: a gigabyte
MOST_MAPPED = 5_000  # points of a map
MOST_RESTORED = 1_000  # pictures at every level
SHOWN = 8  # pictures of a sheet
OURS = "autoencoder"
# Levels at which models that restore are judged, whatever they were trained at.
LEVELS = {
    "noise": ("sigma", (0.05, 0.1, 0.15, 0.25, 0.35, 0.5), "standard deviation of the noise"),
    "pepper": ("pepper", (0.02, 0.05, 0.1, 0.2, 0.3), "share of the pixels that are black or white"),
    "obstacles": ("hidden", (0.05, 0.1, 0.2, 0.3, 0.4), "share of the picture that is hidden"),
}


def compare(opened: Reconstructor, sections: Mapping[str, Any], folder: Path, seconds: float) -> Iterator[Event]:
    """The report on the test data of a run (its validation data where it has none), and pictures drawn in its folder.

    seconds: of training. Raises DataError where the data are too few for codes of this size.
    """
    beginning = Beginning(sections, folder)
    table, seed = beginning.judged(), beginning.source.seed
    pictures: dict[str, Figure] = {}
    if opened.config.task == "reconstruct":
        batches = opened.batches(table, beginning.rows, seed=seed)
        tables, facts = yield from codes(opened, beginning, batches, pictures)
    else:
        rows = spread(len(table), MOST_RESTORED)
        batches = opened.batches(table.select(rows), beginning.rows, seed=seed)
        assert isinstance(batches, PictureRepairs)
        work = colours if opened.config.task == "colour" else levels
        tables, facts = yield from work(opened, batches, pictures)
    files = [str(save(figure, folder / "comparison" / f"{name}.png")) for name, figure in pictures.items()]
    title = f"{folder}: {len(batches.table):,} rows of {batches.table.described}; trained {duration(seconds)}"
    facts = {"model": str(folder), "data": batches.table.name, "seconds": seconds, **facts, "pictures": files}
    tables[0] = replace(tables[0], title=f"{title}; {tables[0].title}".removesuffix("; "))
    yield Report((), title, facts, tables=tables, notes=[f"pictures: {', '.join(files)}"])


# ---- codes: an autoencoder that compresses beside PCA or LSA ------------------------------------------------------


def codes(opened: Reconstructor, beginning: Beginning, batches: Batches, pictures: dict[str, Figure]) -> Compared:
    """Errors, retrieval of the same class and maps, with codes of one size learned from the same rows."""
    size, whole = math.prod(opened.config.code), math.prod(opened.config.inputs)
    table = beginning.tables()[0]
    step = -(-len(table) * whole // MOST_NUMBERS)
    learning = opened.batches(table.select(range(0, len(table), step)), beginning.rows)
    _, train = yield from read(learning, "reading training rows")
    numbers, rows = yield from read(batches, "reading test rows")
    ours, linear = f"autoencoder ({size:,})", f"{'LSA' if opened.config.words else 'PCA'} ({size:,})"
    if isinstance(batches, CountedDocuments):
        documents = frequencies(torch.from_numpy(rows)).split(AT_ONCE)
        by_words, ceiling = lsa(train, rows, size)
        methods = {ours: Coded(opened.codes(documents)), linear: by_words, f"TF-IDF ({whole:,})": ceiling}
        guessed = train.sum(0) + 1  # no word is impossible
        guess = math.exp(-(rows @ np.log(guessed / guessed.sum())).sum() / rows.sum())
        measures = {ours: [opened.evaluate(batches).value("perplexity")], "frequency of each word": [guess]}
        columns = ["perplexity"]
    else:
        parts = torch.from_numpy(rows).view(-1, *opened.config.inputs).split(AT_ONCE)
        restored = np.concatenate([opened.reconstruct(part).flatten(1).numpy() for part in parts])
        methods = {ours: Coded(opened.codes(parts), restored), linear: pca(train, rows, size)}
        pictures["pictures"] = restored_sheet(rows, methods, opened.config.inputs)
        measures = {name: errors(rows, method.restored) for name, method in methods.items()}
        methods |= {f"raw pixels ({whole:,})": Coded(rows)}
        columns = ["squared_error", "rmse"]
    del train
    classes = classes_of(batches, beginning.rows.label, numbers)
    within = "" if size == 2 else ": first two components"
    pictures["maps"] = draw_maps(
        {f"{name}{within}": in_the_plane(methods[name].codes[:MOST_MAPPED]) for name in (ours, linear)},
        None if classes is None else classes[:MOST_MAPPED].tolist(),
        "codes in the plane" + (", a colour for each class" if classes is not None else ""),
    )
    facts: dict[str, Any] = {name: dict(zip(columns, values, strict=True)) for name, values in measures.items()}
    tables = []
    if classes is not None and len(classes) > 1:
        shares = yield from retrieved(methods, classes, cosine=bool(opened.config.words))
        for name, values in shares.items():
            facts.setdefault(name, {}).update(nearest_neighbour_agreement=values[1], retrieved=values)
        columns.append("nearest_neighbour_agreement")
        percent = {name: [100 * share for share in values.values()] for name, values in shares.items()}
        measure, counts = "% of those retrieved that are of the query's class", list(shares[ours])
        title, across = "retrieval of the same class", "number retrieved"
        pictures["retrieval"] = draw_lines(counts, {measure: percent}, title, across, doubling=True)
        cells = [
            [f"{n:,}", *(f"{x:.2f}" for x in values)] for n, *values in zip(counts, *percent.values(), strict=True)
        ]
        tables.append(ResultTable(measure, ["retrieved", *percent], cells, ["retrieved", *percent]))
    names = [name.replace("_", " ") for name in columns]
    cells = [[name, *(number(values.get(column), column) for column in columns)] for name, values in facts.items()]
    return [ResultTable("", ["method", *names], cells, names), *tables], {"methods": facts}


def retrieved(
    methods: Mapping[str, Coded], classes: NDArray[np.str_], *, cosine: bool
) -> Generator[Event, None, dict[str, dict[int, float]]]:
    """method -> number retrieved -> the share of the same class."""
    labels, shares = np.unique(classes, return_inverse=True)[1], {}
    for place, (name, method) in enumerate(methods.items(), 1):
        shares[name] = of_same_class(method.codes, labels, cosine=cosine)
        yield Progress(place, len(methods), "retrieving")
    return shares


def read(batches: Batches, what: str) -> Generator[Event, None, tuple[NDArray[np.int64], Rows]]:
    """The numbers of the rows that can be read, and the pixels of their pictures, or their counts of words."""
    numbers: list[int] = []
    parts: list[Rows] = []
    if isinstance(batches, CountedDocuments):
        return np.arange(len(batches)), np.concatenate([batch.targets.numpy() for batch in batches.judged()])
    for rows, pictures in batches.order.plain():
        numbers += rows.tolist()
        parts.append(pictures.flatten(1).numpy())
        yield Progress(len(numbers), len(batches), what)
    return np.array(numbers), np.concatenate(parts)


def classes_of(batches: Batches, column: str, numbers: NDArray[np.int64]) -> NDArray[np.str_] | None:
    """The name of each row's class; None where there is no column of classes."""
    table = batches.table if isinstance(batches, CountedDocuments) else batches.table.table
    return np.array([str(name) for name in table.named(column)])[numbers] if column else None


def errors(rows: Rows, restored: Rows | None) -> list[float]:
    """Squared error of a picture, summed over its pixels, and root of the mean squared error of a pixel."""
    assert restored is not None
    error = float(squared_error(torch.from_numpy(rows), torch.from_numpy(restored)).double().mean())
    return [error, math.sqrt(error / rows.shape[1])]


def in_the_plane(vectors: Rows) -> NDArray[np.float64]:
    """Codes of two numbers as they are, larger ones by their principal components."""
    return vectors.astype(np.float64) if vectors.shape[1] == 2 else plane(vectors).places


def restored_sheet(rows: Rows, methods: Mapping[str, Coded], shape: Sequence[int]) -> Figure:
    """The first pictures as they are and as they come out of the codes, with their squared errors."""
    lines = {"as it is": torch.from_numpy(rows[:SHOWN])}
    lines |= {
        name: torch.from_numpy(some.restored[:SHOWN]) for name, some in methods.items() if some.restored is not None
    }
    error = {name: squared_error(pictures, lines["as it is"]).tolist() for name, pictures in lines.items()}
    titles = [name if name == "as it is" else f"{name}: {value:.1f}" for name in lines for value in error[name]]
    tiles = [tile for pictures in lines.values() for tile in as_bytes(pictures.view(-1, *shape))]
    return draw_sheet(tiles, titles, "through the codes and back: squared error", columns=min(SHOWN, len(rows)))


def number(value: float | None, name: str = "") -> str:
    """A number for people; an agreement is a share."""
    return "" if value is None else f"{100 * value:.2f}%" if name.endswith("agreement") else f"{value:.4g}"


# ---- repair: an autoencoder that restores beside a filter ------------------------------------------------------------


def levels(opened: Reconstructor, batches: PictureRepairs, pictures: dict[str, Figure]) -> Compared:
    """PSNR and SSIM of pictures that were made worse by so much, of ours, and of a median filter (of the best of some
    windows, at every level) or a harmonic fill."""
    corruption = batches.rows.corruption
    field, places, across = LEVELS[corruption.corruption]
    classical = "harmonic fill" if corruption.corruption == "obstacles" else "median filter"
    scores: dict[str, dict[str, list[float]]] = {"PSNR (dB)": defaultdict(list), "SSIM": defaultdict(list)}
    for place, level in enumerate(places):
        worse_by = changed(corruption, field, (level, level))
        parts: dict[str, list[Tensor]] = defaultdict(list)
        shown: dict[str, Tensor] = {}
        for rows, true in batches.order.plain():
            worse, mask = worse_by.corrupt(true, np.random.default_rng([batches.seed, int(rows[0])]))
            results = {"made worse": worse, OURS: opened.reconstruct(worse, mask)}
            if mask is not None:
                results[classical] = filled(worse, mask)
            else:
                results |= {f"{classical} {side}": median(worse, side) for side in WINDOWS}
            for name, result in results.items():
                parts[name].append(torch.stack([psnr(result, true), ssim(result, true)]))
            shown = shown or {"as it is": true[:SHOWN], **{name: some[:SHOWN] for name, some in results.items()}}
            yield Progress(place * len(batches) + int(rows[-1]) + 1, len(places) * len(batches), "restoring")
        means = {name: torch.cat(values, 1).mean(1).tolist() for name, values in parts.items()}
        best = max((name for name in means if name.startswith(classical)), key=lambda name: means[name][0])
        for name in ("made worse", OURS, classical):
            for measure, value in zip(scores, means[best if name == classical else name], strict=True):
                scores[measure][name].append(value)
        if place == len(places) // 2:
            simple = {classical: shown[best]}
            shown = {name: some for name, some in shown.items() if not name.startswith(classical)}
            pictures["pictures"] = repaired_sheet({**shown, **simple}, f"{across}: {level:g}")
    pictures["levels"] = draw_lines(places, scores, f"{opened.config.task}: how near to what it should be", across)
    tables = []
    for measure, methods in scores.items():
        cells = [[f"{level:g}", *map(number, values)] for level, *values in zip(places, *methods.values(), strict=True)]
        tables.append(ResultTable(measure, [field, *methods], cells, [field, *methods]))
    return tables, {field: list(places), **scores}


def colours(opened: Reconstructor, batches: PictureRepairs, pictures: dict[str, Figure]) -> Compared:
    """How near pictures are to what they should be, and how colourful: grey, ours, and as they truly are."""
    parts: dict[str, list[Tensor]] = defaultdict(list)
    for rows, true in batches.order.plain():
        lightness, colour = parted(true, opened.config.space)
        grey = merged(lightness, torch.zeros_like(colour), opened.config.space)
        results = {"as it is": true, "grey": grey, OURS: opened.reconstruct(true)}
        for name, result in results.items():
            distance = (to_lab(result) - to_lab(true)).square().sum(1).sqrt().flatten(1).mean(1)
            measures = [colourfulness(result), distance, psnr(result, true), ssim(result, true)]
            parts[name].append(torch.stack(measures))
        if rows[0] == 0:
            shown = {name: result[:SHOWN] for name, result in results.items()}
            pictures["pictures"] = repaired_sheet(shown, "colours of grey pictures")
        yield Progress(int(rows[-1]) + 1, len(batches), "colouring")
    columns = ["colourfulness", "error in L*a*b*", "PSNR (dB)", "SSIM"]
    means = {name: torch.cat(values, 1).mean(1).tolist() for name, values in parts.items()}
    means["as it is"] = means["as it is"][:1]
    cells = [[name, *map(number, values), *[""] * (4 - len(values))] for name, values in means.items()]
    facts = {name: dict(zip(columns, values, strict=False)) for name, values in means.items()}
    return [ResultTable("", ["method", *columns], cells, columns)], {"methods": facts}


def repaired_sheet(shown: Mapping[str, Tensor], title: str) -> Figure:
    """The same pictures in several forms, the first as they are, with their PSNR."""
    tiles, titles, true = [], [], shown["as it is"]
    for name, pictures in shown.items():
        tiles += list(as_bytes(pictures))
        titles += [name if pictures is true else f"{name}: {value:.1f} dB" for value in psnr(pictures, true).tolist()]
    return draw_sheet(tiles, titles, title, columns=len(true))
