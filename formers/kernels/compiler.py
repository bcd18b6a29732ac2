"""Whether numba is there to compile the loops, and what processor it is told."""

from __future__ import annotations

from functools import cache as once
from types import ModuleType

import torch

# On Intel's servers LLVM keeps to 256 of 512 bits, because the first ones lowered their clock for more. On one of them
# decoding was 1.13 to 1.15 times as fast with all (BENCHMARKS.md); those before Ice Lake, which lack the instructions
# named here, stay as they are. On AMD's LLVM takes all of them anyway. No small loop at start foretold the gain.
ALL_BITS_FROM, ALL_BITS = "+avx512vbmi2", ",-prefer-256-bit"


@once
def load_loops() -> ModuleType | None:
    """The loops for a few rows, where numba is there to compile them (NUMBA_DISABLE_JIT=1: nowhere)."""
    try:
        from numba import config, get_num_threads
        from numba.core.codegen import get_host_cpu_features

        settings = vars(config)  # read when the first loop is defined; numba's files hold them in their key
        if settings["DISABLE_JIT"]:
            return None
        if settings["CPU_NAME"] is settings["CPU_FEATURES"] is None:
            settings["CPU_FEATURES"] = choose_features(get_host_cpu_features())
        from formers.kernels import loops
    except (ImportError, RuntimeError):  # RuntimeError: there is no folder where numba could keep what it compiled
        return None
    threads = torch.get_num_threads()
    get_num_threads()  # starts numba's threads, which are PyTorch's too, and sets their number for both
    torch.set_num_threads(threads)
    return loops


def choose_features(features: str) -> str | None:
    """What numba is to compile for on a processor with these features; None: for them, as it would (other processors).

    NUMBA_CPU_FEATURES, where it is set, decides instead.
    """
    return features + ALL_BITS if ALL_BITS_FROM in features else None
