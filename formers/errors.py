"""What can be wrong with a user's input: every class here is one clear line, printed by the CLI with exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FormersError(Exception):
    """A fault in what the user gave: says what, where, what was got, what was expected and how to fix it."""


class ConfigError(FormersError):
    """A number, name or recipe key that cannot be used."""


class DataError(FormersError):
    """A data file or a row of it that cannot be used."""


class CheckpointError(FormersError):
    """A model folder, weight file or tokenizer that cannot be used."""


class TrainingError(FormersError):
    """A training that cannot start or go on."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean "steps"?` when a known name is close to `name`, else the list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f'; did you mean "{close[0]}"?' if close else f"; known: {', '.join(known)}"
