"""What training reads, and which tokens of it carry loss, for people to check: `formers data --show-loss`.

System.lessons: (Beginning, split, count) -> Lessons, split "train" or "validation", out of the batches of training
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from formers.systems.system import Coloured, Result


class ColouredResult(Result, Coloured, Protocol):
    """Both."""


@dataclass(frozen=True)
class Lesson:
    """A text as a training step reads it, and which of its tokens carry loss."""

    title: str
    pieces: Sequence[str]
    counted: Sequence[bool]

    @property
    def summary(self) -> str:
        return f"{self.title}: loss on {sum(self.counted)} of {len(self.counted)} tokens"

    def line(self) -> str:
        tokens = (f"⟦{text}⟧" if loss else f"{text}│" for text, loss in self.visible())
        return "\n".join([self.summary, "".join(tokens)])

    def spans(self) -> Sequence[tuple[str, str]]:
        tokens = ((text, "black on green" if loss else "dim") for text, loss in self.visible())
        return [(self.summary, "bold"), ("\n", ""), *tokens]

    def visible(self) -> Iterator[tuple[str, bool]]:
        """(text, whether it carries loss) of every token; line feeds are seen."""
        for piece, loss in zip(self.pieces, self.counted, strict=True):
            yield piece.replace("\n", "⏎\n") if piece.strip("\n") or not piece else "⏎" * len(piece) + piece, loss


@dataclass(frozen=True)
class Lessons:
    """Texts as training reads them: people see them together, with a word on what the marks mean."""

    lessons: Sequence[ColouredResult]
    marks: str = "loss on ⟦such⟧ tokens, none on those that end in │"
    """How tokens that carry loss are written."""
    colours: str = "loss on the tokens in colour"
    """How they look on a terminal."""
    picture: Callable[[Path], object] | None = None
    """What draws them into a file."""

    @property
    def endings(self) -> tuple[str, ...]:
        return (".png", ".svg", ".pdf") if self.picture is not None else ()

    def results(self) -> Sequence[Result]:
        return self.lessons

    def line(self) -> str:
        return "\n".join([*(f"{lesson.line()}\n" for lesson in self.lessons), self.marks])

    def spans(self) -> Sequence[tuple[str, str]]:
        return [*(span for lesson in self.lessons for span in [*lesson.spans(), ("\n\n", "")]), (self.colours, "")]

    def write(self, path: Path) -> None:
        assert self.picture is not None
        self.picture(path)


def evenly(number: int, count: int) -> list[int]:
    """`count` of `number` places, the first and the last among them."""
    count = min(number, count)
    return [place * (number - 1) // max(1, count - 1) for place in range(count)]
