"""`formers inspect`: the looks that a model's system declares, as pictures and tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from formers.cli.command import checked, flag, taken, takes, union, written
from formers.cli.options import MODEL, Destination, Opening
from formers.cli.output import note
from formers.cli.show import Output, show
from formers.errors import ConfigError, nearest
from formers.fields import Field, fields_of
from formers.recipe import run_file
from formers.registry import load, looks, systems
from formers.systems.looks import Picture, quoted
from formers.systems.system import Event, Look, Origin, System, Typed, resolve

MEDIA = ("picture", "sound")
# every look by name, with the systems that have it
LOOKS: dict[str, list[tuple[System, Look]]] = {}
for declared in systems():
    for declared_look in declared.looks:
        LOOKS.setdefault(declared_look.name, []).append((declared, declared_look))


def run(model: str, what: str, out: Path | None = None, **values: Any) -> None:
    """Look inside: attention, logit lens, probabilities, weights, learning curve.

    Every model shows its attention, positions, parameters and the curve of its run; [bold]formers list SYSTEM[/bold]
    says what else there is.
    """
    if what not in LOOKS:
        raise ConfigError(f'inspect MODEL "{what}" is not known{nearest(what, LOOKS)}')
    Output(out)  # checked before the long work that ends in writing it
    given = written(values)
    opening = taken(Opening, given)
    look, opened = LOOKS[what][0][1], None
    # what is wrong with the options is said first, where all systems take the same ones
    options = options_of(look, model, given) if len({one.options for _, one in LOOKS[what]}) == 1 else None
    if look.opens:
        place, system = opening.located(model)
        if what not in looks(system):
            names = ", ".join(looks(system))
            raise ConfigError(f'{model} is for {system.name}, which has no "{what}" to inspect; it has: {names}')
        look = looks(system)[what]
        options = options_of(look, model, given) if options is None else options
        opened = load(place, **opening.arguments())
    folder = Path(model).expanduser() / "samples" if run_file(model) else Path()
    show(drawn(resolve(look.run)(opened, options), out or folder / f"{what}.png"), Output())


def options_of(look: Look, model: str, given: dict[str, Any]) -> Any:
    """What the look is given; an option of another look's is refused."""
    settings = resolve(look.options)
    kind = next((name for name in MEDIA if name in fields_of(settings)), "text")  # what its argument is
    given = {kind if name == "text" else name: value for name, value in given.items()}
    for name, value in given.items():
        if name in fields_of(settings):
            continue
        if name == "text":
            raise ConfigError(f'"{look.name}" is not of a text, got {quoted(value)}; leave it out')
        every = (one for owners in LOOKS.values() for _, one in owners)
        owner = next(one.name for one in every if name in fields_of(resolve(one.options)))
        of = "of other models" if owner == look.name else f'of "{owner}"'
        raise ConfigError(f'{flag(name)} is {of}, got it with "{look.name}"; leave it out')
    return checked(settings, {**given, "origin": Origin(model)}, f"inspect MODEL {look.name}")


def drawn(events: Iterable[Event], path: Path) -> Iterator[Event]:
    """The events; a picture is written."""
    for event in events:
        if isinstance(event, Picture):
            event.write(path)
            note(f"wrote {path}")
        else:
            yield event


WHAT_HELP = f"{', '.join(list(LOOKS)[:-1])} or {list(LOOKS)[-1]}, as the model has."
WHAT = Field("what", str, dataclasses.MISSING, WHAT_HELP, False, (Typed("WHAT", positional=True),))
OPTIONS = {**union([pair for owners in LOOKS.values() for pair in owners]), "out": fields_of(Destination)["out"]}
either, typed = "The text that is read, or the file of the picture or sound.", Typed("TEXT|FILE", positional=True)
OPTIONS = {name: option for name, option in OPTIONS.items() if name not in MEDIA}  # one argument is one of them
OPTIONS["text"] = dataclasses.replace(OPTIONS["text"], help=either, extras=(typed,))
takes(run, {"model": MODEL, "what": WHAT, **OPTIONS, **fields_of(Opening)}, run.__doc__)
