"""The command in one of several processes that a launcher has started: the first of them speaks."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from formers.errors import ConfigError

T = TypeVar("T")


def follows() -> bool:
    """Whether this is not the first of several processes; needs no torch, and takes what contradicts itself for no."""
    rank, size = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    return rank.isdecimal() and size.isdecimal() and 0 < int(rank) < int(size)


def alike(action: Callable[[], T]) -> T:
    """What an action gives that all processes take: where it is a fault in one of them, the first says it.

    Raises ConfigError for variables of a launcher that are empty or contradict each other.
    """
    if not os.environ.keys() & {"RANK", "WORLD_SIZE", "LOCAL_RANK"}:
        return action()
    from formers.training.distributed import join

    return join().together(action)


def alone(verb: str) -> None:
    """Refuse several processes. Raises ConfigError."""

    def refuse() -> None:
        raise ConfigError(f"formers {verb} trains in one process: start it without torchrun")

    if os.environ.get("WORLD_SIZE", "1") != "1":
        alike(refuse)
