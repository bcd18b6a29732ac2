"""What `choose` takes and gives, whether an encoder or a language model chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from formers.errors import ConfigError
from formers.fields import check
from formers.systems.system import Typed


@dataclass(frozen=True, kw_only=True)
class Choose:
    """Questions with choices."""

    question: Annotated[str, Typed(positional=True, metavar="QUESTION")] = ""
    """What to choose an answer to, or the text to continue."""
    choices: Annotated[tuple[str, ...], Typed(metavar="A,B,...")] = ()
    """The choices with commas between them; given several times, one each."""
    file: Annotated[str, Typed(metavar="FILE", file=True)] = ""
    """Questions as JSONL: {"question": ..., "choices": [...]} a line."""

    def __post_init__(self) -> None:
        check(self)
        if bool(self.question) == bool(self.file) or (self.file and self.choices):
            raise ConfigError('give a question and --choices, or --file: formers choose MODEL "question" --choices a,b')
        if self.question and len(self.listed) < 2:
            raise ConfigError(f"got {len(self.listed)} choice(s), expected at least two: --choices a,b,c")

    @property
    def listed(self) -> tuple[str, ...]:
        """The choices one by one."""
        parts = self.choices[0].split(",") if len(self.choices) == 1 else self.choices
        return tuple(part.strip() for part in parts if part.strip())

    def questions(self) -> list[tuple[str, tuple[str, ...]]]:
        """Every question with its choices."""
        if not self.file:
            return [(self.question, self.listed)]
        from formers.data.questions import read_questions

        return [(question.question, question.choices) for question in read_questions(self.file, answered=False)]


@dataclass(frozen=True)
class PredictedChoice:
    """A question and the choice that fits it best; `place` counts from 0."""

    question: str
    choice: str
    place: int
    choices: Sequence[str]
    probabilities: Sequence[float]
    scores: Sequence[float] | None = None
    """Of an encoder: its logit of every choice."""
    cut: int | None = None
    """How many of the choices were too long, with their question, to be read to their end."""

    def line(self) -> str:
        return self.choice

    def spans(self) -> Sequence[tuple[str, str]]:
        """The choice, and how sure the model is."""
        return [(self.choice, "bold"), (f"  {self.probabilities[self.place]:.1%}", "dim")]
