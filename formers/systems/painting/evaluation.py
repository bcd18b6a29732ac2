"""The verb `evaluate` of painters, and quality against steps: what a classifier sees in what they paint."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from formers.errors import ConfigError
from formers.fields import Between, Natural, Part
from formers.systems.looks import Picture, of_what, quoted
from formers.systems.measure import ALL_MEDIA, MeasureMedia, measured
from formers.systems.painting.many import USUAL_WAY, SamplerOptions, paint_prompts
from formers.systems.system import NOWHERE, Event, Origin, Progress, ResultTable, Typed, cost, share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from formers.data.pictures import PictureTable
    from formers.systems.painting.data import PaintingRows
    from formers.systems.painting.judge import Judge, Verdict
    from formers.systems.painting.system import Painter
    from formers.systems.system import Report

SHEET = 24  # painted pictures of a sheet
PROMPTS = 500  # that are judged, where nobody says how many


@dataclass(frozen=True, kw_only=True)
class EvaluatePainter:
    """What to measure a painter on."""

    data: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Rows to measure with (default for a run: its test data)."""
    image: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the picture."""
    text: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the caption."""
    judge: Annotated[str, Typed("CLASSIFIER", file=True)] = ""
    """A run or folder of a classifier of pictures, which says whether what is painted shows its caption."""
    label: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the labels that a picture of the caption must have (default: the caption is the label)."""
    way: Annotated[SamplerOptions, Part()] = USUAL_WAY
    """How to go from noise to a picture."""
    measure: Annotated[MeasureMedia, Part()] = ALL_MEDIA
    """What every encoder's `evaluate` has."""


@dataclass(frozen=True, kw_only=True)
class StepsLook:
    """A look at how many steps are needed."""

    origin: Origin = NOWHERE
    """The model."""
    text: Annotated[str, Typed("PROMPT", positional=True)] = ""
    """What is painted, in words; with --judge not needed."""
    step: Annotated[tuple[int, ...], Typed("N")] = (4, 10, 20, 50)
    """A number of steps."""
    samplers: Annotated[tuple[str, ...], Typed("SAMPLER")] = ("ddim", "euler", "dpm++")
    """How to go from noise to picture."""
    guidance: Annotated[float, Between(0)] = 7.5
    """How closely to follow the prompt."""
    seed: Annotated[int, Between(0, 2**53)] = 1
    """Of the noise of the first picture."""
    distilled: Annotated[str, Typed("MODEL", file=True)] = ""
    """The same model distilled for few steps, which paints with lcm and needs no guidance: one more line."""
    judge: Annotated[str, Typed("CLASSIFIER", file=True)] = ""
    """A classifier that says of many captions whether their pictures show them: a table and a curve."""
    data: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Rows whose captions are painted for it."""
    captions: Annotated[str, Typed(metavar="COLUMN")] = "caption"
    """Column of these captions."""
    labels: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the labels that a picture of the caption must have (default: the caption is the label)."""
    count: Natural = 100
    """So many of these rows."""

    def __post_init__(self) -> None:
        if self.judge and not self.data:
            raise ConfigError("--judge says of many captions whether their pictures show them: give --data SOURCE too")


@dataclass(frozen=True)
class ClaimedRows:
    """The rows of a painter with the labels that a judge expects."""

    rows: PaintingRows
    label: str

    def reading(self, source: Any) -> dict[str, Any]:
        """How `Source` reads them."""
        given = self.rows.reading(source)
        return {**given, "columns": list(dict.fromkeys([*given["columns"], self.label]))}


@dataclass(frozen=True)
class Claims:
    """Captions to paint, and which labels a judge is to see of each."""

    judge: Judge
    prompts: Sequence[str]
    labels: NDArray[Any]

    def judged(
        self, painter: Painter, way: SamplerOptions, what: str, before: int = 0, total: int = 0
    ) -> Generator[Event, None, tuple[Verdict, list[Any]]]:
        """What the judge sees in the pictures of all captions, and the first of these.

        before, total: pictures that were painted earlier, and all of them.
        """
        from formers.systems.painting.judge import Verdict
        from formers.systems.picture_looks import as_bytes

        verdict, tiles, done = Verdict(self.judge, self.labels), list[Any](), before
        for some in paint_prompts(painter, self.prompts, way):
            verdict.see([some])
            done += len(some)
            tiles += [*as_bytes(some[: SHEET - len(tiles)])] if len(tiles) < SHEET else []
            yield Progress(done, total or len(self.prompts), what)
        return verdict, tiles


def claims_of(
    judge: Judge, origin: Origin, rows: PaintingRows, data: str, label: str, count: int
) -> tuple[Claims, PictureTable]:
    """Captions of the rows to judge with, and these rows. label: column of what a judge is to see ("": the caption).

    Raises ConfigError for rows without captions, DataError for labels that the judge does not know.
    """
    from formers.systems.begin import judged_on

    if not rows.text:
        raise ConfigError("rows without captions say nothing to paint, so nothing can be judged; name a column: --text")
    label = label or rows.text
    flags = {rows.image: "--image COLUMN", rows.text: "--text COLUMN", label: "--label COLUMN"}
    table: Any = judged_on(origin, "painting", ClaimedRows(rows, label), data, count, flags)
    return Claims(judge, rows.captions(table), judge.claims(table.table, label)), table


def rows_of(painter: Painter, origin: Origin) -> PaintingRows:
    """How the rows of a run are read, else usual ones of such a model."""
    from formers.systems.painting.data import PaintingRows
    from formers.systems.painting.paint import channels_of

    usual = PaintingRows(text="caption" if painter.parts.text else "", grey=channels_of(painter) == 1)
    rows: PaintingRows = origin.section("rows", "painting") or usual
    return rows


def evaluate(painter: Painter, options: EvaluatePainter) -> Iterator[Event]:
    """The loss on the rows; with a judge also what it sees in painted pictures of their captions."""
    from formers.systems.begin import judged_on
    from formers.systems.painting.data import PaintingBatches
    from formers.systems.painting.judge import open_judge
    from formers.systems.painting.paint import USUAL
    from formers.systems.painting.task import PaintingConfig, PaintingTask
    from formers.systems.reading import reading

    begin, origin, claims = time.perf_counter(), options.measure.origin, None
    usual, count = rows_of(painter, origin), options.measure.count
    rows = replace(usual, image=options.image or usual.image, text=options.text or usual.text)
    table: Any
    if options.judge:
        claims, table = claims_of(
            open_judge(options.judge), origin, rows, options.data, options.label, count or PROMPTS
        )
    else:
        flags = {rows.image: "--image COLUMN", rows.text: "--text COLUMN"}
        table = judged_on(origin, "painting", rows, options.data, count, flags)
    batches = PaintingBatches(table, painter, rows, painter.side or USUAL, empty=0)
    with reading(painter.model):
        report = PaintingTask(painter, batches, PaintingConfig(), learn_text=False).evaluate()
    more: dict[str, Any] = {}
    if claims is not None:
        pictures = ((some + 1) / 2 for _, some in batches.order.plain())
        report, more = yield from judged(painter, options.way, report, claims, pictures)
    yield measured(report, "painting", origin, table, begin, unit="pictures", **more)


def judged(
    painter: Painter, way: SamplerOptions, report: Report, claims: Claims, pictures: Iterator[Any]
) -> Generator[Event, None, tuple[Report, dict[str, Any]]]:
    """The report with what a judge sees in painted and in real pictures of captions, and a sheet of the former."""
    from formers.metrics.frechet import frechet_distance
    from formers.systems.painting.judge import ALL, Verdict

    verdict, tiles = yield from claims.judged(painter, way, "painting")
    real, name = Verdict(claims.judge, claims.labels), claims.judge.name
    real.see(pictures)
    shares, distance = verdict.shares, frechet_distance(verdict.features, real.features)
    scores = [*report.scores, share("agreement", shares[ALL]), cost("frechet", distance, "")]
    columns = ["what", "painted", "real pictures"]
    cells = [(kind, f"{part:.1%}", f"{real.shares[kind]:.1%}") for kind, part in shares.items()]
    table = ResultTable(f"right, as {name} sees it", columns, cells, columns[1:])
    facts = {**report.facts, "judge": name, **asdict(way), "painted": shares, "real": real.shares}
    files = dict.fromkeys(
        (".png", ".svg", ".pdf"), partial(write_sheet, tiles, claims.prompts, verdict.right[ALL].tolist())
    )
    return replace(report, scores=scores, facts=facts, tables=[table]), {"files": files}


def write_sheet(tiles: Sequence[Any], prompts: Sequence[str], right: Sequence[bool], path: Path) -> None:
    """The first pictures with their captions, marked where the judge does not see these in them."""
    from formers.pictures.figure import save
    from formers.pictures.sheet import draw_sheet

    words = [prompt if fine else f"[wrong] {prompt}" for prompt, fine in zip(prompts, right, strict=False)]
    save(draw_sheet(tiles, words[: len(tiles)], "painted, and what for"), path)


# ---- how many steps are needed -----------------------------------------------------------------------------------


def steps(painter: Painter, options: StepsLook) -> Iterator[Event]:
    """The prompt painted by each sampler in each number of steps; with a judge how many captions are shown right."""
    way = SamplerOptions(guidance=options.guidance, seed=options.seed)
    lines = {name: (painter, replace(way, sampler=name)) for name in options.samplers}
    if options.distilled:
        lines["lcm, distilled"] = open_distilled(options.distilled), replace(way, sampler="lcm", guidance=1.0)
    if not options.judge:
        of_what("steps", options)
    if options.text.strip():
        yield from steps_sheet(lines, options)
    if options.judge:
        yield from steps_curve(lines, options)


Lines = Mapping[str, "tuple[Painter, SamplerOptions]"]


def open_distilled(name: str) -> Painter:
    """The painter in a folder or a run."""
    from formers.pretrained.source import load_source
    from formers.systems.painting.system import open_painter
    from formers.training.run import model_folder

    return open_painter(load_source(model_folder(name)))


def steps_sheet(lines: Lines, options: StepsLook) -> Iterator[Event]:
    """A row for each sampler, a column for each number of steps."""
    from formers.pictures.sheet import draw_sheet
    from formers.systems.picture_looks import as_bytes

    tiles, names, total = list[Any](), list[str](), len(lines) * len(options.step)
    for name, (painter, way) in lines.items():
        for count in options.step:
            (some,) = paint_prompts(painter, [options.text], replace(way, steps=count))
            tiles += [*as_bytes(some)]
            names.append(f"{name}, {count} steps")
            yield Progress(len(tiles), total, "painting")
    title = quoted(options.text)
    yield Picture("steps", lambda: draw_sheet(tiles, names, title, columns=len(options.step)))


def steps_curve(lines: Lines, options: StepsLook) -> Iterator[Event]:
    """Share of the captions that a judge sees in their pictures, of each sampler over the number of steps."""
    from formers.pictures.lines import draw_lines
    from formers.systems.painting.judge import ALL, open_judge

    judge = open_judge(options.judge)
    rows = replace(rows_of(next(iter(lines.values()))[0], options.origin), text=options.captions)
    claims, table = claims_of(judge, options.origin, rows, options.data, options.labels, options.count)
    count, shares = len(claims.prompts), dict[str, list[float]]()
    total = count * len(lines) * len(options.step)
    for name, (painter, way) in lines.items():
        shares[name] = []
        for number in options.step:
            before = count * (len(shares) - 1) * len(options.step) + count * len(shares[name])
            work = claims.judged(painter, replace(way, steps=number), f"{name}, {number} steps", before, total)
            verdict, _ = yield from work
            shares[name].append(verdict.shares[ALL])
    cells = [(name, *(f"{share:.1%}" for share in values)) for name, values in shares.items()]
    columns = ["sampler", *(f"{number} steps" for number in options.step)]
    title = f"captions of {table.described} that {judge.name} sees in their pictures ({count:,} each)"
    yield ResultTable(title, columns, cells, columns[1:])
    percent = {f"% of {count:,} captions shown right": {name: [100 * x for x in y] for name, y in shares.items()}}
    what = f"{options.origin.short}, judged by {judge.name}"
    yield Picture("curve", lambda: draw_lines(options.step, percent, what, "steps", doubling=True))
