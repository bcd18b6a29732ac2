"""How tokens are drawn, which every verb that writes text takes alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from formers.fields import Between, Count, Natural, check


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The likeliest token each time, unless an option asks for drawing."""

    max_tokens: Natural | None = None
    """Most tokens to write; fewer at the model's length."""
    temperature: Annotated[float, Between(0)] | None = None
    """Draw tokens: below 1 sharper, above 1 flatter; 0: the likeliest (default: as the model asks, where one draws)."""
    top_k: Count | None = None
    """Draw from the N likeliest (0: all)."""
    top_p: float | None = None
    """Draw from the fewest likeliest whose probabilities reach X."""
    min_p: float | None = None
    """Draw from what is at least X times as likely as the likeliest."""
    repetition_penalty: float | None = None
    """Above 1: what was said is worth less."""
    stop: tuple[str, ...] = ()
    r"""Text that ends the text (\n: a line feed)."""
    seed: int | None = None
    """Draw the same text every time."""

    def __post_init__(self) -> None:
        check(self)

    def decoding(self) -> dict[str, Any]:
        """The same for `DecodingOptions`: what is given; line feeds and tabs as a shell hands them over."""
        stops = tuple(text.replace("\\n", "\n").replace("\\t", "\t") for text in self.stop)
        return {name: value for name, value in {**vars(self), "stop": stops}.items() if value is not None}
