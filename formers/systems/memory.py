"""Whether a new model has room on this machine, before any of it is made."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from formers.errors import ConfigError
from formers.pretrained.family import Outline

Network = TypeVar("Network", bound=nn.Module)
COPIES = 4  # weights, gradients, two moments
LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container


def parameters_of(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def machine_memory() -> int | None:
    """Bytes of memory that this machine, or its container, has; None where it does not say."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    limit = LIMIT.read_text("ascii").strip() if LIMIT.is_file() else ""
    return min(total, int(limit)) if limit.isdecimal() else total


def new_model(network: Callable[[Any], Network], config: Any) -> Network:
    """A model of these sizes that has learned nothing.

    Raises ConfigError where training it takes more memory than the machine has.
    """
    with Outline():
        size = parameters_of(network(config))
    need, there = COPIES * 4 * size, machine_memory()
    if there is not None and need > there:
        raise ConfigError(
            f"[model]: {size:,} parameters with gradients and optimizer take {need / 2**30:,.1f} GB, but this machine "
            f"has {there / 2**30:,.1f} GB of memory; make model.dim, model.hidden, the layers or rows.vocab smaller"
        )
    return network(config)
