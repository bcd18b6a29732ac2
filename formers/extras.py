"""Libraries that only an extra installs."""

from __future__ import annotations

import importlib
from types import ModuleType

from formers.errors import PackageError


def optional(module: str, extra: str, what: str) -> ModuleType:
    """Import a library that only an extra installs. Raises PackageError, with how to get it, where it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the library is there, and something of its own is broken: not ours to explain away
        raise PackageError(f'{what} needs the package {package}: pip install "formers[{extra}]"') from None
