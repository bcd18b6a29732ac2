"""What holds for the sizes of every new model, whatever its form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from formers.errors import ConfigError, nearest


def check_sizes(sizes: Any, forms: Mapping[str, Any], counts: Sequence[str]) -> None:
    """Refuse an unknown form, a count below 1, heads that do not share dim evenly, an impossible dropout."""
    if sizes.form not in forms:
        raise ConfigError(f'model.form "{sizes.form}" is not known{nearest(sizes.form, forms)}')
    for name in counts:
        if getattr(sizes, name) < 1:
            raise ConfigError(f"model.{name} ({getattr(sizes, name)}) must be at least 1")
    pairs = 2 if forms[sizes.form].positions == "rotary" else 1  # rotary turns pairs of features
    if sizes.dim % (sizes.heads * pairs):
        raise ConfigError(
            f"model.dim ({sizes.dim}) must be a multiple of {'2 * ' if pairs == 2 else ''}model.heads ({sizes.heads})"
        )
    if not 0 <= sizes.dropout < 1:
        raise ConfigError(f"model.dropout ({sizes.dropout}) must be in [0, 1)")
