"""The labels of a picture or a sound, likeliest first, whatever gives them: a head, or texts beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from formers.data.labels import LabelKind

THRESHOLD = 0.5  # how likely each of several labels must be


@dataclass(frozen=True)
class RankedLabels:
    """The labels of a picture or a sound, likeliest first."""

    picture: str | None
    """The name of a picture."""
    sound: str | None
    """The name of a sound."""
    label: str
    """The likeliest label; of several, those over the threshold joined by ", "."""
    probabilities: dict[str, float]
    """Of the likeliest labels (one of them: all labels together sum to 1)."""
    alone: bool = field(default=False, metadata={"json": False})
    """Whether it is the only one: its line does not name it."""

    def line(self) -> str:
        listed = [f"{label} {probability:.1%}" for label, probability in self.probabilities.items()]
        return "\t".join([*([] if self.alone else [self.picture or self.sound or ""]), *(listed or ["(none)"])])

    def spans(self) -> Sequence[tuple[str, str]]:
        """Probabilities as bars."""
        if not self.alone:
            return [(self.line(), "")]
        width = max(map(len, self.probabilities), default=0)
        return [
            part
            for place, (label, probability) in enumerate(self.probabilities.items())
            for part in (
                (("\n" if place else "") + f"{label:<{width}} {probability:>6.1%} ", "bold" if place == 0 else ""),
                ("█" * round(30 * probability), "cyan"),
            )
        ]


def likeliest(
    name: str,
    row: NDArray[np.float32],
    labels: Sequence[str],
    top: int,
    *,
    kind: LabelKind = "one",
    alone: bool = False,
    word: Literal["picture", "sound"] = "picture",
) -> RankedLabels:
    """The `top` likeliest labels of what is named so, a picture or a sound, whose probabilities are `row`."""
    order = np.argsort(-row, kind="stable")
    over = order[:1] if kind == "one" else [place for place in order if row[place] >= THRESHOLD]
    label = ", ".join(labels[place] for place in over)
    names = {"picture": None, "sound": None, word: name}
    return RankedLabels(
        **names, label=label, probabilities={labels[i]: float(row[i]) for i in order[:top]}, alone=alone
    )
