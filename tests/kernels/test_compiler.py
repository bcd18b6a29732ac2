"""What the loops are compiled for: all bits of a vector where that was measured to be faster, or what a user sets."""

import os
import subprocess
import sys

import pytest

from formers.kernels.compiler import ALL_BITS, choose_features, load_loops

if load_loops() is None:
    pytest.skip("numba is not installed, or told to compile nothing", allow_module_level=True)

CODE = """if True:
    from formers.kernels.compiler import load_loops
    print(load_loops().dot.targetctx.codegen().magic_tuple()[-1])"""


def compiled_for(code=CODE, **environment):
    settings = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CPU_")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=settings | environment
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ("+avx2,-avx512f,-avx512vbmi2", None),
        ("+avx2,+avx512f,-avx512vbmi2", None),
        ("+avx512f,+avx512vbmi2", "+avx512f,+avx512vbmi2" + ALL_BITS),
        ("", None),
    ],
)
def test_all_bits_where_they_were_measured_to_be_faster(features, expected):
    assert choose_features(features) == expected


def test_the_choice_is_in_the_key_of_what_numba_keeps():
    from numba.core.codegen import get_host_cpu_features

    features = get_host_cpu_features()
    assert compiled_for() == (choose_features(features) or features)


def test_a_user_decides():
    assert compiled_for(NUMBA_CPU_FEATURES="+avx2") == "+avx2"
    assert not compiled_for(NUMBA_CPU_NAME="generic")


def test_importing_the_library_starts_no_compiler():
    code = "import sys, formers, formers.blocks.attention; print('numba' in sys.modules, 'llvmlite' in sys.modules)"
    assert compiled_for(code) == "False False"
