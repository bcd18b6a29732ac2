"""`formers inspect`: the looks that a model's system declares, as pictures and tables."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from formers.cli.command import EVERYWHERE, MODEL_HELP, declared_options, flag, parameter, parameters_of, union
from formers.cli.options import is_run, out_file
from formers.cli.output import note
from formers.cli.show import Output, show
from formers.errors import ConfigError, nearest
from formers.fields import build, check, fields_of
from formers.registry import load, locate, looks, system_of, systems
from formers.systems.looks import Picture, quoted
from formers.systems.system import Event, Look, Origin, System, resolve

# every look by name, with the systems that have it
LOOKS: dict[str, list[tuple[System, Look]]] = {}
for declared in systems():
    for declared_look in declared.looks:
        LOOKS.setdefault(declared_look.name, []).append((declared, declared_look))


def run(**values: Any) -> None:
    """Look inside: attention, logit lens, probabilities, weights, learning curve.

    Every model shows its attention, positions, parameters and the curve of its run; [bold]formers list SYSTEM[/bold]
    says what else there is.
    """
    model, what = values.pop("model"), values.pop("what")
    own = {name: values.pop(name) for name in EVERYWHERE if name in values}
    if what not in LOOKS:
        raise ConfigError(f'inspect MODEL "{what}" is not known{nearest(what, LOOKS)}')
    out_file(own["out"])
    options = options_of(LOOKS[what][0][1], model, {name: value for name, value in values.items() if value is not None})
    look, opened = LOOKS[what][0][1], None
    if look.opens:
        offline = True if own["offline"] else None
        system = system_of(locate(model, allow_bin=own["allow_bin"], offline=offline), model)
        if what not in looks(system):
            raise ConfigError(
                f'{model} is a {system.name} model, which has no "{what}" to inspect; it has: '
                f"{', '.join(looks(system))}"
            )
        look = looks(system)[what]
        dtype = "int8" if own["int8"] else own["dtype"]
        opened = load(model, dtype=dtype, device=own["device"], allow_bin=own["allow_bin"], offline=offline)
    folder = Path(model).expanduser() / "samples" if is_run(model) else Path()
    show(drawn(resolve(look.run)(opened, options), own["out"] or folder / f"{what}.png"), Output())


def options_of(look: Look, model: str, given: dict[str, Any]) -> Any:
    """What the look is given; an option of another look's is refused."""
    settings = resolve(look.options)
    for name, value in given.items():
        if name in fields_of(settings):
            continue
        if name == "text":
            raise ConfigError(f'"{look.name}" is not of a text, got {quoted(value)}; leave it out')
        owner = next(other for other, owners in LOOKS.items() if name in fields_of(resolve(owners[0][1].options)))
        raise ConfigError(f'{flag(name)} is of "{owner}", got it with "{look.name}"; leave it out')
    options = build(settings, {**given, "origin": Origin(model)}, f"formers inspect MODEL {look.name}")
    check(options, flag)
    return options


def drawn(events: Iterable[Event], path: Path) -> Iterator[Event]:
    """The events; a picture is written."""
    for event in events:
        if isinstance(event, Picture):
            event.write(path)
            note(f"wrote {path}")
        else:
            yield event


def signature() -> list[inspect.Parameter]:
    """MODEL, WHAT, and the options of all looks."""
    names = list(LOOKS)
    help_text = f"{', '.join(names[:-1])} or {names[-1]}, as the model has."
    parameters = [
        parameter("model", str, typer.Argument(metavar="MODEL", help=MODEL_HELP, show_default=False)),
        parameter("what", str, typer.Argument(metavar="WHAT", help=help_text, show_default=False)),
    ]
    for name, field in union([pair for owners in LOOKS.values() for pair in owners]).items():
        parameters += parameters_of(name, field)
    return parameters + [each for each in declared_options() if each.name != "as_json"]


run.__signature__ = inspect.Signature(signature())  # type: ignore[attr-defined]
run.__annotations__ = {each.name: each.annotation for each in run.__signature__.parameters.values()}  # type: ignore[attr-defined]
