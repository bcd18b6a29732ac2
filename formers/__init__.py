"""formers: the transformer family from one small set of readable parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = ["FormersError", "load", "search", "train"]

if TYPE_CHECKING:
    from formers.errors import FormersError
    from formers.launch import train
    from formers.registry import load
    from formers.retrieval import search

_PLACES = {
    "FormersError": "formers.errors",
    "load": "formers.registry",
    "search": "formers.retrieval",
    "train": "formers.launch",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `import formers` alone costs nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module 'formers' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value
