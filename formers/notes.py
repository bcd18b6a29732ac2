"""What a user should know though nothing is wrong: one line on stderr, each said once."""

from __future__ import annotations

import logging
from functools import cache

from formers.errors import one_line

LOGGER = logging.getLogger("formers")  # without handlers of its own, Python writes its warnings to stderr as they are


@cache
def note(text: str) -> None:
    """Say it, once in a process."""
    LOGGER.warning(one_line(text))
