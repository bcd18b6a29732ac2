"""How wide vectors are: what is measured, when, and that it is remembered."""

import importlib
import subprocess
import sys

import numpy as np
import pytest

from formers.kernels.compiler import load_loops

if load_loops() is None:
    pytest.skip("numba is not installed, or told to compile nothing", allow_module_level=True)

vectors = importlib.import_module("formers.kernels.vectors")
HOST = vectors.codegen.get_host_cpu_features()
VECTOR, MATRIX = np.arange(32, dtype=np.float32), np.ones((3, 32), np.int8)
avx512 = pytest.mark.skipif("+avx512f" not in HOST, reason="this processor has no AVX-512")


def counted(monkeypatch, processor, features, answers):
    """As if this were another processor; the list says how often it was measured."""
    measured = []
    monkeypatch.setattr(vectors.config, "CPU_FEATURES", None)
    monkeypatch.setattr(vectors.llvm, "get_host_cpu_name", lambda: processor)
    monkeypatch.setattr(vectors.codegen, "get_host_cpu_features", lambda: features)
    monkeypatch.setattr(vectors, "is_faster_wide", lambda *given: measured.append(given) or answers)
    return measured


def test_the_product_that_is_measured_is_one():
    vectors.codegen.initialize_llvm()
    assert vectors.Product("", "")(VECTOR, MATRIX) == MATRIX.sum(0) @ VECTOR


@avx512
@pytest.mark.parametrize(("features", "wide"), [("", False), (vectors.WIDE, True)])
def test_a_server_of_intel_has_wider_vectors_than_its_compiler_takes(features, wide):
    vectors.codegen.initialize_llvm()
    product = vectors.Product("icelake-server", HOST + features)
    assert product.is_wide is wide and product(VECTOR, MATRIX) == MATRIX.sum(0) @ VECTOR


@avx512
@pytest.mark.parametrize(("faster", "expected"), [(0.5, True), (2.0, False), (0.99, False)])
def test_the_faster_width_is_taken(faster, expected, monkeypatch):
    times = iter([1.0, faster] * vectors.TURNS)
    monkeypatch.setattr(vectors, "fastest", lambda function: next(times))
    assert vectors.is_faster_wide("icelake-server", HOST) is expected
    assert vectors.is_faster_wide("znver4", HOST) is False  # the compiler takes all: nothing is measured


@pytest.mark.parametrize(("wide", "expected"), [(True, "+avx512f" + vectors.WIDE), (False, None)])
def test_what_was_measured_is_remembered_for_this_processor(wide, expected, monkeypatch, tmp_path):
    monkeypatch.setattr(vectors.config, "CACHE_DIR", str(tmp_path))
    measured = counted(monkeypatch, "one", "+avx512f", wide)
    assert [vectors.choose_features() for _ in range(2)] == [expected] * 2 and len(measured) == 1
    counted(monkeypatch, "two", "+avx512f", not wide)
    assert (vectors.choose_features() is None) is wide
    for file in tmp_path.rglob("vectors-two-*"):
        file.write_text("")  # somebody's disk was full
    assert (vectors.choose_features() is None) is wide


@pytest.mark.parametrize(("name", "given"), [("CPU_NAME", "generic"), ("CPU_FEATURES", "+avx512f")])
def test_nothing_is_measured_where_numba_was_told_or_there_is_one_width(name, given, monkeypatch, tmp_path):
    monkeypatch.setattr(vectors.config, "CACHE_DIR", str(tmp_path))
    measured = counted(monkeypatch, "one", "+avx2,-avx512f", True)
    assert vectors.choose_features() is None
    measured += counted(monkeypatch, "one", "+avx512f", True)
    monkeypatch.setattr(vectors.config, name, given)
    assert vectors.choose_features() is None and not measured


@avx512
def test_the_choice_is_what_numba_compiles_for():
    code = """if True:
        from formers.kernels import vectors
        from formers.kernels.compiler import load_loops
        vectors.choose_features = lambda: vectors.codegen.get_host_cpu_features() + vectors.WIDE
        print(load_loops().dot.targetctx.codegen().magic_tuple()[-1].endswith(vectors.WIDE))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_importing_the_library_measures_nothing():
    code = "import sys, formers, formers.blocks.attention; print('numba' in sys.modules, 'llvmlite' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
