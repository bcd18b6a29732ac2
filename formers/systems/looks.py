"""What there is to see of every model: names and places only."""

from formers.systems.system import Look

EVERY: tuple[Look, ...] = ()
