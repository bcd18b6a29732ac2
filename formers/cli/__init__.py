"""The command `formers`: the verbs that the systems declare, and a module for each that has a shape of its own.

Everything wrong with what the user gave is a FormersError: one line on stderr and exit code 2;
`--debug` shows the trace.
"""

from __future__ import annotations

import copy
import io
import os
import sys
import time
import traceback
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import formers
from formers.cli.command import command
from formers.cli.output import INTERRUPTED
from formers.data import limits
from formers.errors import FormersError, PeerFault, nearest
from formers.processes import follows
from formers.registry import verbs

# Idle OpenMP threads soon sleep instead of spinning on: as fast on a quiet machine, and several times faster where
# other programs want the cores too. Read when torch is loaded, so it must be said before.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

# Verbs with a screen or a shape of their own -> their help; the module of that name has the function `run`.
# All other verbs are those that the systems declare.
OWN = {
    "train": "Train a recipe in a run folder, or go on with a run.",
    "chat": "Talk with a language model.",
    "inspect": "Look inside: attention, logit lens, probabilities, weights, learning curve.",
    "adapt": "Fine-tune few weights of a model (LoRA, biases, head), merge adapters.",
    "search": "Find pictures of a folder by words, or by a picture.",
    "compare": "Train a recipe in several variants, or once, beside simpler methods, and print all scores.",
    "data": "Show examples of a data source, and how long they are.",
    "serve": "Serve models over HTTP: every verb is a route.",
    "export": "Write a model as a Hugging Face folder with safetensors, or an encoder as an ONNX graph.",
    "list": "List what there is: recipes, systems, families, data; or a system's verbs and a recipe's fields.",
}
TRAINING = ("train", "adapt", "compare")
DEBUG = "formers.debug"
USAGE: Any = typer.BadParameter.__mro__[1]  # what is wrong with a command line
LEAVE = 2.0  # seconds until a process ends for which another speaks: a launcher ends all of them with the first


def helps() -> dict[str, str]:
    """Every verb and its line of help: training, what models do, the rest."""
    declared = {name: owners[0][1].help for name, owners in verbs().items()}
    return {**{name: OWN[name] for name in ("train", "chat")}, **declared, **OWN}


class Verbs(TyperGroup):
    """Knows the verbs by name and help; what a verb needs is imported when it is run."""

    def main(self, *args: Any, **options: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="formers.escaped")
        return super().main(*args, **options)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(helps())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Only what the list of verbs shows; `resolve_command` gives the real one."""
        if (text := helps().get(cmd_name)) is None:
            return None
        shown = typer.Typer(add_completion=False)
        shown.command(cmd_name, help=text)(lambda: None)
        return typer.main.get_command(shown)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in helps():
            return args[0], self.load(args[0]), args[1:]
        if not ctx.resilient_parsing:
            ctx.fail(f'there is no verb "{args[0]}"{nearest(args[0], helps())}')
        return None, None, args

    def load(self, verb: str) -> Any:
        """The command of a verb; --debug, --threads and --budget are understood before and after it."""
        if verb in TRAINING:
            # oneDNN keeps what it made for the last 1,024 shapes of a product. Batches of a training have ever new
            # ones: memory grows and grows, and steps are no faster for it (measured). Read when torch is loaded.
            os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "100")
        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        if verb in OWN:
            app.command(verb)(import_module(f"formers.cli.{verb}").run)
        else:
            app.command(verb)(command(verbs()[verb]))
        made = typer.main.get_command(app)
        for parameter in self.params:
            if parameter.name in ("debug", "threads", "budget"):
                again = copy.copy(parameter)
                again.expose_value = False
                made.params.append(again)
        return made

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            print("formers: interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            # the reader of a pipe has gone (`| head`): nothing to say, and nothing to flush at the exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from error
        except PeerFault as error:
            time.sleep(LEAVE)
            raise typer.Exit(2) from error
        except (FormersError, OSError) as error:  # OSError: a full disk, a folder that may not be written
            if ctx.meta.get(DEBUG):
                traceback.print_exc()
            else:
                print(f"formers: error: {_one_line(error)}", file=sys.stderr)
            raise typer.Exit(2) from error


def _one_line(error: FormersError | OSError) -> str:
    text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _set_debug(ctx: typer.Context, value: bool) -> bool:
    if value:
        ctx.meta[DEBUG] = True  # one dictionary for a command and those under it
    return value


def _set_threads(value: int | None) -> int | None:
    """Torch reads these when it is imported, which no verb has done yet."""
    if value is not None:
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(value)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(value)
    return value


def _set_budget(value: float | None) -> float | None:
    if value is not None:
        os.environ[limits.VARIABLE] = str(value)
    return value


def _show_version(value: bool) -> None:
    if value:
        print(f"formers {formers.__version__}")
        raise typer.Exit


app = typer.Typer(
    name="formers",
    cls=Verbs,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", callback=_set_debug, help="Show the full trace of an error.")
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, callback=_set_threads, metavar="N", help="CPU threads (default: as torch finds best)."),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(callback=_set_budget, metavar="N", help="Read files of N times the usual most (data.budget)."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The transformer family: train, load, run, look inside.

    A first tour: [bold]formers train translation[/bold], then
    [bold]formers translate runs/translation "I ate an apple"[/bold].
    """


def main() -> None:
    """The entry point of the command."""
    if not follows():
        app(prog_name="formers")
        return
    try:
        sys.exit(app(prog_name="formers", standalone_mode=False))
    except USAGE as fault:  # which the first process shows
        time.sleep(LEAVE)
        sys.exit(fault.exit_code)
