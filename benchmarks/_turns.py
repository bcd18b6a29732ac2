"""Two functions in turns: the only fair way to time on a machine that others use too."""

from __future__ import annotations

import argparse
import importlib.util
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.torchvision_operators import declare

FAR = 1e-4  # of the largest output
OPERATORS = declare()  # before transformers or timm, which could not be imported beside a torchvision of another build


def asked(what: str | None, parts: Sequence[str]) -> argparse.Namespace:
    """--repeats, --only and --out of a benchmark of several parts; numbers are drawn anew from the same seed."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default=",".join(parts), help=f"of {', '.join(parts)}")
    parser.add_argument("--out", type=Path, help="also write the results as JSON")
    options = parser.parse_args()
    for part in options.only.split(","):
        if part not in parts:
            raise SystemExit(f"--only: there is no {part}; there are {', '.join(parts)}")
    torch.manual_seed(0)
    return options


def same(what: str, mine: torch.Tensor, theirs: torch.Tensor) -> None:
    """Ends the benchmark where two outputs are not the same: there is nothing to compare then."""
    far = ((mine - theirs).abs().max() / theirs.abs().max()).item()
    print(f"{what}: outputs differ by {far:.1e} of the largest", flush=True)
    if far > FAR:
        raise SystemExit(f"{what}: outputs are not the same")


def has_onnx_runtime() -> bool:
    """Whether a graph can be written and run; says so where not."""
    found = all(importlib.util.find_spec(name) for name in ("onnxruntime", "onnx", "onnxscript"))
    if not found:
        print("ONNX Runtime: left out, onnxruntime, onnx and onnxscript are not installed")
    return found


def onnx_session(path: str | Path) -> Any:
    """A graph in ONNX Runtime, with as many threads as torch has."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])


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
