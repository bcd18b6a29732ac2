"""The global random generators: seeded anew at every step, so seed, step and rank decide what is random."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy
import torch


def seed_from(*numbers: int) -> None:
    """Seed torch (all devices), numpy and Python from these numbers together.

    The trainer calls it with (seed, step, rank) before every step. So the random state never has to be saved,
    a resumed run draws what the uninterrupted one drew, and evaluation cannot disturb training.
    """
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    seed = int.from_bytes(digest, "little")
    torch.default_generator.manual_seed(seed >> 1)
    if torch.cuda.is_initialized():  # else torch.manual_seed would queue a call with a stack trace
        torch.cuda.manual_seed_all(seed >> 1)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed >> 1)
    numpy.random.seed(seed & 0xFFFFFFFF)
    random.seed(seed)


@contextmanager
def preserved() -> Iterator[None]:
    """Put all random states back afterwards."""
    python, array, cpu = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)
        numpy.random.set_state(array)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
