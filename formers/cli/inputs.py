"""Standard input in place of a file that an option names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from formers.data.standard_input import spooled
from formers.errors import ConfigError
from formers.fields import Field
from formers.systems.kinds import typed_of


@contextmanager
def files_of(given: dict[str, Any], fields: Mapping[str, Field]) -> Iterator[None]:
    """Within it, standard input is a file: where an option that names a file or data source says -, it names that."""
    asked = [name for name in given.keys() & fields.keys() if typed_of(fields[name]).file and given[name] == "-"]
    if not asked:
        yield
        return
    if len(asked) > 1:
        raise ConfigError(f"standard input comes once: give - for one of {', '.join(sorted(asked))}")
    with spooled(plain=typed_of(fields[asked[0]]).plain) as given[asked[0]]:
        yield
