"""How wide the vectors of compiled loops are: measured, where a processor has wider ones than its compiler takes.

For most Intel servers LLVM keeps to 256 of 512 bits, because early ones ran slower with all of them. Whether these
loops do is measured once for a kind of processor (0.2 s) and remembered beside what numba has compiled, whose key holds
the choice. Nothing is measured without AVX-512, where the compiler takes all of it anyway (AMD) and where numba was
told (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES).
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import codegen, config
from numba.core.caching import CompileResultCacheImpl

WIDE = ",-prefer-256-bit"  # behind the features of a processor: 512 bits wherever there are
ROWS, COLUMNS = 512, 1_536  # what a cache holds: beyond it, other programs' reading decides (measured)
TURNS, RUNS = 10, 60  # alternating turns of 2 ms each: a processor needs about one to be at its speed for that width
GAIN = 1.05  # below this the compiler's choice stays
# The sum of a matrix of bytes times a vector: what a decoding step does most.
PRODUCT = """
define float @product(FLOATS %vector, BYTES %matrix, i64 %rows, i64 %columns) {
start: br label %row
row:
  %r = phi i64 [0, %start], [%r1, %end]
  %sum = phi float [0.0, %start], [%t1, %end]
  %first = mul i64 %r, %columns
  %numbers = getelementptr i8, BYTES %matrix, i64 %first
  br label %column
column:
  %i = phi i64 [0, %row], [%i1, %column]
  %t = phi float [%sum, %row], [%t1, %column]
  %a = getelementptr float, FLOATS %vector, i64 %i
  %b = getelementptr i8, BYTES %numbers, i64 %i
  %x = load float, FLOATS %a
  %n = load i8, BYTES %b
  %y = sitofp i8 %n to float
  %xy = fmul fast float %x, %y
  %t1 = fadd fast float %t, %xy
  %i1 = add nuw i64 %i, 1
  %more = icmp ult i64 %i1, %columns
  br i1 %more, label %column, label %end
end:
  %r1 = add nuw i64 %r, 1
  %again = icmp ult i64 %r1, %rows
  br i1 %again, label %row, label %done
done: ret float %t1
}
"""


class Product:
    """PRODUCT, compiled for a processor with these features."""

    def __init__(self, processor: str, features: str) -> None:
        floats, numbers = ir.FloatType().as_pointer(), ir.IntType(8).as_pointer()  # written as this LLVM writes them
        module = llvm.parse_assembly(PRODUCT.replace("FLOATS", str(floats)).replace("BYTES", str(numbers)))
        target = llvm.Target.from_default_triple()
        machine = target.create_target_machine(cpu=processor, features=features, opt=3, jit=True)
        module.triple, module.data_layout = llvm.get_process_triple(), str(machine.target_data)
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = True
        passes = llvm.create_pass_builder(machine, options)
        passes.getModulePassManager().run(module, passes)
        self.is_wide = "zmm" in machine.emit_assembly(module)
        self.engine = llvm.create_mcjit_compiler(module, machine)
        self.engine.finalize_object()
        kind = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        self.run = kind(self.engine.get_function_address("product"))

    def __call__(self, vector: np.ndarray, matrix: np.ndarray) -> float:
        return self.run(vector.ctypes.data, matrix.ctypes.data, *matrix.shape)


def fastest(function: Callable[[], object]) -> float:
    """Seconds of the fastest of RUNS calls, which other programs have disturbed least."""
    times = [time.perf_counter()]
    for _ in range(RUNS):
        function()
        times.append(time.perf_counter())
    return min(end - start for start, end in pairwise(times))


def is_faster_wide(processor: str, features: str) -> bool:
    """Whether this machine, as LLVM names it, runs loops faster with vectors wider than LLVM would take for it."""
    codegen.initialize_llvm()
    normal = Product(processor, features)
    if normal.is_wide:
        return False
    wide = Product(processor, features + WIDE)
    vector, matrix = np.ones(COLUMNS, np.float32), np.ones((ROWS, COLUMNS), np.int8)
    turns = [[fastest(partial(way, vector, matrix)) for way in (normal, wide)] for _ in range(TURNS)]
    before, after = (min(times) for times in zip(*turns, strict=True))
    return before > GAIN * after


def choose_features() -> str | None:
    """The features that numba is to compile for, if they are not those it would take itself."""
    processor, features = llvm.get_host_cpu_name(), codegen.get_host_cpu_features()
    override = config.CPU_NAME, config.CPU_FEATURES  # type: ignore[attr-defined]
    if "+avx512f" not in features or override != (None, None):
        return None
    folder = Path(CompileResultCacheImpl(choose_features).locator.get_cache_path())
    place = folder / f"vectors-{processor}-{crc32(features.encode()):08x}.txt"
    choice = ""
    with suppress(OSError):
        choice = place.read_text(encoding="utf-8")
    if choice not in ("wide", "normal"):
        choice = "wide" if is_faster_wide(processor, features) else "normal"
        written = place.with_suffix(f".{os.getpid()}")
        written.write_text(choice, encoding="utf-8")
        written.replace(place)
    return features + WIDE if choice == "wide" else None
