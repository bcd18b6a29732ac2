"""What masked training reads and has to predict, row by row, for people to check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from formers.systems.begin import Beginning
from formers.systems.lessons import Lessons, evenly
from formers.systems.masked.data import MaskedBatches
from formers.systems.masked.task import MaskedTask, ReplacedTask, prepare

STYLES = {"masked": "black on yellow", "random": "white on blue", "kept": "black on green"}
MARKS = {"masked": "", "random": "~", "kept": "="}


@dataclass(frozen=True)
class MaskedLesson:
    """One row: its tokens, what the model reads in their place, and which it has to predict."""

    title: str
    original: Sequence[str]
    shown: Sequence[str]
    kinds: Sequence[str]
    """Of each token: "" (left alone), or to be predicted: masked, random (another one stands there), kept."""
    follows: bool | None
    """Whether the second segment follows the first; None where there is one text only."""

    @property
    def summary(self) -> str:
        """One line: where it is from, how many tokens are to be said and what stands in their place."""
        numbers = {kind: self.kinds.count(kind) for kind in MARKS}
        counts = ", ".join(f"{number} {kind}" for kind, number in numbers.items() if number)
        pair = {None: "", True: "; the second segment follows", False: "; the second segment is of elsewhere"}
        total = sum(numbers.values())
        return f"{self.title}: {total} of {len(self.kinds)} tokens to be said ({counts}){pair[self.follows]}"

    def line(self) -> str:
        tokens = zip(self.shown, self.kinds, strict=True)
        shown = " ".join(f"⟦{MARKS[kind]}{piece}⟧" if kind else piece for piece, kind in tokens)
        return "\n".join([self.summary, self.first, f"shown:    {shown}", self.last])

    def spans(self) -> Sequence[tuple[str, str]]:
        tokens = zip(self.shown, self.kinds, strict=True)
        shown = [span for piece, kind in tokens for span in ((piece, STYLES.get(kind, "dim")), (" ", ""))]
        return [(self.summary, "bold"), (f"\n{self.first}\nshown:    ", ""), *shown, (f"\n{self.last}", "")]

    @property
    def first(self) -> str:
        return f"original: {' '.join(self.original)}"

    @property
    def last(self) -> str:
        tokens = zip(self.original, self.kinds, strict=True)
        return f"to say:   {' '.join(piece for piece, kind in tokens if kind)}"


def lessons(beginning: Beginning, split: str, count: int) -> Lessons:
    """Rows of "train" or "validation" as the first epoch reads them, evenly over the data."""
    prepared = prepare(beginning)
    task = prepared.task
    assert isinstance(task, MaskedTask | ReplacedTask)
    batches = task.validation if split == "validation" else prepared.batches
    assert isinstance(batches, MaskedBatches)
    pieces = task.masked.reader.tokenizer.pieces
    rows = []
    for row in evenly(len(batches.plan(0).places), count):
        batch = batches.collate([row])
        original, shown = batch.original()[0].tolist(), batch.tokens[0].tolist()
        kinds = [
            "" if not hidden else "kept" if was == now else "masked" if now == task.masked.mask else "random"
            for was, now, hidden in zip(original, shown, batch.hidden[0].tolist(), strict=True)
        ]
        follows = None if batch.follows is None else not bool(batch.follows[0])
        rows.append(MaskedLesson(batches.where(row), pieces(original), pieces(shown), kinds, follows))

    def draw(path: Path) -> None:
        from formers.pictures.figure import save
        from formers.pictures.masking import MaskedRow, draw_masking

        save(draw_masking([MaskedRow(row.summary, row.original, row.shown, row.kinds) for row in rows]), path)

    return Lessons(
        rows,
        marks="⟦[MASK]⟧ hidden, ⟦~such⟧ a random token, ⟦=such⟧ kept: all to be said",
        colours="masked, random and kept tokens in colour",
        picture=draw,
    )
