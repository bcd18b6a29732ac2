"""A declared verb as a command: its dataclass of options as arguments and options, its results shown."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from formers.cli.inputs import passage_of, standard_input, texts_of, typed_of
from formers.cli.show import Output, show
from formers.errors import ConfigError
from formers.fields import Escaped, Field, build, check, fields_of
from formers.systems.system import Origin, System, Texts, Verb, resolve

MODEL_HELP = "A run, a model folder, a .gguf file, or a hub id (owner/name[@revision])."
# parameter -> (its type, how it is written, its help): what every verb takes beside its own options
EVERYWHERE: dict[str, tuple[Any, Any]] = {
    "out": (Path, typer.Option("--out", metavar="FILE", help="Write here instead of standard output.")),
    "as_json": (bool, typer.Option("--json", help="Print one JSON object for each result.")),
    "dtype": (str, typer.Option("--dtype", metavar="fp32|bf16|fp16|int8", help="Number format of the weights.")),
    "int8": (bool, typer.Option("--int8", help="Weights of eight bits: the same as --dtype int8.")),
    "device": (str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1 ... (default: cpu).")),
    "allow_bin": (bool, typer.Option("--allow-bin", help="Also read pytorch_model.bin (weights only, no code).")),
    "offline": (bool, typer.Option("--offline", help="Take hub models from the cache only.")),
}
METAVARS = {int: "N", float: "X", str: "TEXT", Path: "FILE"}
Declared = Sequence[tuple[System, Verb]]


def command(declared: Declared) -> Any:
    """The function that typer makes a command of: one verb, as every system that has it declares it."""
    fields = union(declared)
    texts = next((field for field in fields.values() if field.kind is Texts), None)
    passages = {name for name, field in fields.items() if typed_of(field).passage}
    dashes = {name for name, field in fields.items() if typed_of(field).dash}

    def run(**values: Any) -> None:
        model, own = values.pop("model"), {name: values.pop(name) for name in EVERYWHERE}
        given = unescaped({name: value for name, value in values.items() if value not in (None, [], ())}, fields)
        if own["int8"] and own["dtype"] not in (None, "int8"):
            raise ConfigError(f"--int8 and --dtype {own['dtype']}: give one of them")
        if texts is not None:
            given[texts.name] = texts_of(given, texts)
        for name in given.keys() & dashes:
            given[name] = standard_input() if given[name] == "-" else given[name]
        for name in given.keys() & passages:
            given[name] = passage_of(given[name], flag(name))
        perform(declared, model, given, own)

    parameters = [parameter("model", str, typer.Argument(metavar="MODEL", help=MODEL_HELP, show_default=False))]
    for name, field in fields.items():
        parameters += parameters_of(name, field)
    parameters += declared_options()
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__doc__ = declared[0][1].help
    return run


def unescaped(given: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    """The values, with line feeds where a shell hands over a backslash and a letter."""
    marked = {name for name, field in fields.items() if any(isinstance(extra, Escaped) for extra in field.extras)}
    return {name: list(map(Escaped.read, value)) if name in marked else value for name, value in given.items()}


def declared_options() -> list[inspect.Parameter]:
    """What every verb takes beside its own options."""
    return [
        parameter(name, kind if kind is bool else kind | None, option, False if kind is bool else None)
        for name, (kind, option) in EVERYWHERE.items()
    ]


def perform(declared: Declared, model: str, given: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Build the options, open the model, run the verb, show what it gives; faults come in this order."""
    from formers.registry import load, locate, system_of, verbs_of

    able = {verb.options: verb for _, verb in declared if given.keys() <= fields_of(resolve(verb.options)).keys()}
    offline = True if own["offline"] else None
    # what is wrong with the options is said first, where it is clear whose they are
    options: Any = options_of(next(iter(able.values())), given) if len(able) == 1 else None
    output = Output(own["out"], own["as_json"], declared[0][1].endings)
    system = system_of(locate(model, allow_bin=own["allow_bin"], offline=offline), model)
    verb = verbs_of(system).get(declared[0][1].name)
    if verb is None:
        raise wrong_system(model, system, declared)
    if type(options) is not resolve(verb.options):
        options = options_of(verb, given, system)
    assert options is not None  # one way or the other
    opened = load(
        model, dtype="int8" if own["int8"] else own["dtype"], device=own["device"], allow_bin=own["allow_bin"],
        offline=offline,
    )  # fmt: skip
    if "origin" in fields_of(resolve(verb.options)):
        options = dataclasses.replace(options, origin=origin_of(model))
    show(resolve(verb.run)(opened, options), output)


def options_of(verb: Verb, given: Mapping[str, Any], system: System | None = None) -> Any:
    """The verb's dataclass of options; an option of another system's is refused."""
    settings = resolve(verb.options)
    known = fields_of(settings)
    for name in given:
        if name not in known:
            assert system is not None
            raise ConfigError(f"{flag(name)} does not go with a {system.name} model; leave it out")
    options = build(settings, given, f"formers {verb.name}")
    check(options, flag)
    return options


def origin_of(model: str) -> Origin:
    from formers.cli.recipes import run_recipe

    recipe = run_recipe(model)
    return Origin(model) if recipe is None else Origin(model, recipe.sections, recipe.system)


def wrong_system(model: str, system: System, declared: Declared) -> ConfigError:
    """What to do with a model instead."""
    wanted = " or ".join(dict.fromkeys(owner.name for owner, _ in declared))
    return ConfigError(
        f"{model} is for {system.name}, expected a model for {wanted}; try: formers {system.example.format(model)}"
    )


def union(declared: Declared) -> dict[str, Field]:
    """The fields of all options by name; what only some systems have says so."""
    fields: dict[str, Field] = {}
    for _, verb in declared:
        for name, field in fields_of(resolve(verb.options)).items():
            fields.setdefault(name, field)
    return {name: field for name, field in fields.items() if field.kind is not Origin}


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def written(name: str, field: Field) -> str:
    """A field as one types it: `--beams`, or what stands for an argument."""
    typed = typed_of(field)
    if field.kind is Texts:
        return "FILE" if typed.source else f"{typed.metavar or 'TEXT'}..."
    return typed.metavar or "TEXT" if typed.positional else flag(name)


def parameter(name: str, kind: Any, written: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, written])


def parameters_of(name: str, field: Field) -> list[inspect.Parameter]:
    """What a field is on the command line; texts are arguments and the lines of a file."""
    typed = typed_of(field)
    if field.kind is Texts:
        metavar = "[FILE]" if typed.source else f"[{typed.metavar or 'TEXT'}]..."
        arguments = typer.Argument(metavar=metavar, help=field.help, show_default=False)
        file = typer.Option("--file", metavar="FILE", help="The lines of a file, or a column of a table (--column).")
        column = typer.Option("--column", metavar="NAME", help="The column of --file with the texts.")
        return [
            parameter(name, list[str] | None, arguments, None),
            parameter("file", str | None, file, None),
            parameter("column", str | None, column, None),
        ]
    if typing.get_origin(field.kind) in (types.UnionType, typing.Union):  # which has no form on a command line
        return []
    several = typing.get_origin(field.kind) is tuple
    kind = typing.get_args(field.kind)[0] if several else field.kind
    kind = str if field.words else kind
    metavar = typed.metavar or "|".join(field.words) or METAVARS.get(kind, "")
    required = field.default is dataclasses.MISSING
    wanted = list[kind] if several else kind  # type: ignore[valid-type]
    if typed.positional:
        metavar = (metavar if required else f"[{metavar}]") + ("..." if several else "")
        argument = typer.Argument(metavar=metavar, help=field.help, show_default=False)
        return [parameter(name, wanted, argument) if required else parameter(name, wanted | None, argument, None)]
    if kind is bool:
        names = f"{flag(name)}/--no-{flag(name)[2:]}" if typed.negatable else flag(name)
        return [parameter(name, bool | None, typer.Option(names, help=field.help, show_default=False), None)]
    more = "; may be given many times" if several else ""
    if field.default not in (None, "", (), dataclasses.MISSING):
        more = f" (default: {field.default})"
    option = typer.Option(flag(name), metavar=metavar, help=_with(field.help, more), show_default=False)
    return [parameter(name, wanted, option) if required else parameter(name, wanted | None, option, None)]


def _with(text: str, more: str) -> str:
    return f"{text.removesuffix('.')}{more}." if more else text
