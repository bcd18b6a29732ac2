"""What is in the data, said before the first step: lengths, what is left out and why, what the vocabulary covers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BARS = " ▁▂▃▄▅▆▇█"


@dataclass
class LengthReport:
    """Tokens per row of one side."""

    name: str
    lengths: NDArray[np.int64]
    unknown_share: float = 0.0

    def histogram(self, bins: int = 24) -> str:
        """A one-line picture of the lengths from 0 to the longest."""
        if not len(self.lengths):
            return ""
        counts, _ = np.histogram(self.lengths, bins=bins, range=(0, max(1, int(self.lengths.max()))))
        steps = np.ceil(counts / counts.max() * (len(BARS) - 1)).astype(int)
        return "".join(BARS[i] for i in steps)

    def line(self) -> str:
        mean, middle, high = self.lengths.mean(), np.median(self.lengths), np.quantile(self.lengths, 0.99)
        return (
            f"{self.name}: {self.histogram()} mean {mean:.1f}, median {middle:.0f}, 99% {high:.0f}, "
            f"longest {self.lengths.max()} tokens; unknown {self.unknown_share:.3%}"
        )


@dataclass
class DataReport:
    """`dropped`: reason -> number of rows left out."""

    examples: int
    sides: list[LengthReport]
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        total = self.examples + sum(self.dropped.values())
        left_out = [f"left out: {n:,} ({n / max(total, 1):.2%}) {why}" for why, n in self.dropped.items() if n]
        sides = [side.line() for side in self.sides]
        return [f"examples: {self.examples:,}", *sides, *(left_out or ["left out: none"]), *self.notes]
