"""`formers search`: pictures of a folder, found by words or by a picture."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import Annotated

from formers.cli.command import own_command
from formers.cli.options import Destination, Opening
from formers.cli.show import Output, show
from formers.fields import Part
from formers.retrieval import Search, searching

DRAWN = (".png", ".svg", ".pdf")


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What to search for, and where its results go."""

    search: Annotated[Search, Part()]
    """Where, and for what."""
    destination: Annotated[Destination, Part()] = field(default_factory=Destination)
    """A list, or as --out FILE.png a picture beside it."""
    opening: Annotated[Opening, Part()] = field(default_factory=Opening)
    """How the model is opened."""


@own_command
def run(options: SearchOptions) -> None:
    """Find pictures of a folder by words, or by a picture."""
    destination = options.destination
    output = Output(destination.out, destination.json, (*DRAWN, ".tsv", ".txt", ".json", ".jsonl"))
    sheet = output.path if output.path is not None and output.path.suffix in DRAWN else None
    with closing(searching(options.search, options.opening.arguments(), sheet)) as events:
        show(events, Output(None, destination.json) if sheet else output)
