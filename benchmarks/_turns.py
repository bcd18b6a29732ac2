"""Two functions in turns: the only fair way to time on a machine that others use too."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from tests.torchvision_operators import declare

OPERATORS = declare()  # before transformers or timm, which could not be imported beside a torchvision of another build


def compare(what: str, amount: float, mine: Callable[[], object], other: Callable[[], object], repeats: int) -> dict:
    """Both warmed up, then in turns; amount per second of each side's median, and the median of the ratios."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for i in range(repeats + 1):
        for side, function in enumerate((mine, other)):
            start = time.perf_counter()
            function()
            if i:
                seconds[side].append(time.perf_counter() - start)
    ratios = [b / a for a, b in zip(*seconds, strict=True)]
    a, b = (statistics.median(s) for s in seconds)
    return {
        "what": what,
        "formers": amount / a,
        "theirs": amount / b,
        "ratio": statistics.median(ratios),
        "seconds": seconds,
    }


def show(results: Sequence[dict], repeats: int, theirs: str = "transformers") -> None:
    """The table of a benchmark."""
    machine = platform.processor() or platform.machine()
    print(
        f"\n{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"median of {repeats} alternating runs"
    )
    print(f"{'':44}{'formers':>12}{theirs:>14}{'ratio':>8}")
    for row in results:
        print(f"{row['what']:44}{row['formers']:12,.1f}{row['theirs']:14,.1f}{row['ratio']:8.2f}x")
