"""Whether numba is there to compile the loops, and what it is told first."""

from __future__ import annotations

from functools import cache as once
from types import ModuleType

import torch


@once
def load_loops() -> ModuleType | None:
    """The loops for a few rows, where numba is there to compile them (NUMBA_DISABLE_JIT=1: nowhere)."""
    try:
        from numba import config, get_num_threads

        if config.DISABLE_JIT:  # type: ignore[attr-defined]
            return None
        from formers.kernels import vectors

        if (features := vectors.choose_features()) is not None:
            config.CPU_FEATURES = features  # type: ignore[attr-defined]  # read when the first loop is defined
        from formers.kernels import loops
    except (ImportError, RuntimeError):  # RuntimeError: there is no folder where numba could keep what it compiled
        return None
    threads = torch.get_num_threads()
    get_num_threads()  # starts numba's threads, which are PyTorch's too, and sets their number for both
    torch.set_num_threads(threads)
    return loops
