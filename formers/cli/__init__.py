"""The command `formers`: one module per verb, imported when that verb is used, so that help comes at once.

Everything wrong with what the user gave is a FormersError: one line on stderr and exit code 2;
`--debug` shows the trace.
"""

from __future__ import annotations

import copy
import os
import sys
import traceback
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import formers
from formers.errors import FormersError, nearest

# Idle OpenMP threads soon sleep instead of spinning on: as fast on a quiet machine, and several times faster where
# other programs want the cores too. Read when torch is loaded, so it must be said before.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

# verb -> (its module, whose function `run` is the command; its help in one line)
VERBS = {
    "train": ("formers.cli.train", "Train a recipe in a run folder, or go on with a run."),
    "translate": ("formers.cli.translate", "Translate texts, a file, or standard input line by line."),
    "generate": ("formers.cli.generate", "Continue a text with a language model, or begin one."),
    "chat": ("formers.cli.chat", "Talk with a language model."),
    "fill": ("formers.cli.fill", "Say which words fit where a text has [MASK]."),
    "classify": ("formers.cli.classify", "Give texts, or pairs of texts, their label or number."),
    "tag": ("formers.cli.tag", "Give every word of a text its label."),
    "answer": ("formers.cli.answer", "Find the answer to a question in a passage."),
    "encode": ("formers.cli.encode", "Turn texts into vectors: NumPy, JSONL or Parquet."),
    "similarity": ("formers.cli.similarity", "Say how alike two texts are."),
    "mine": ("formers.cli.mine", "Find the pairs of a file that say the same."),
    "cluster": ("formers.cli.cluster", "Put the texts of a file into groups that say the same."),
    "rerank": ("formers.cli.rerank", "Order passages by how well they fit a query, reading both together."),
    "adapt": ("formers.cli.adapt", "Fine-tune few weights of a model (LoRA, biases, head), merge adapters."),
    "compare": ("formers.cli.compare", "Train a recipe in several variants, and print their scores as a table."),
    "evaluate": ("formers.cli.evaluate", "Measure a model: BLEU of translations, perplexity, multiple choice."),
    "inspect": ("formers.cli.inspect", "Look inside: attention, logit lens, probabilities, weights, learning curve."),
    "data": ("formers.cli.data", "Show examples of a data source, and how long they are."),
    "export": ("formers.cli.export", "Write a model as a Hugging Face folder with safetensors."),
    "list": ("formers.cli.list", "List what there is: recipes, systems, families, data; or a recipe's fields."),
}
TRAINING = ("train", "adapt", "compare")
DEBUG = "formers.debug"
INTERRUPTED = 130  # what a shell reports for SIGINT


class Verbs(TyperGroup):
    """Knows the verbs by name and help; the module of one is imported when it is run."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Only what the list of verbs shows; `resolve_command` gives the real one."""
        if cmd_name not in VERBS:
            return None
        shown = typer.Typer(add_completion=False)
        shown.command(cmd_name, help=VERBS[cmd_name][1])(lambda: None)
        return typer.main.get_command(shown)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in VERBS:
            return args[0], self.load(args[0]), args[1:]
        if not ctx.resilient_parsing:
            ctx.fail(f'there is no verb "{args[0]}"{nearest(args[0], VERBS)}')
        return None, None, args

    def load(self, verb: str) -> Any:
        """The command of a verb; --debug and --threads are understood before and after it."""
        if verb in TRAINING:
            # oneDNN keeps what it made for the last 1,024 shapes of a product. Batches of a training have ever new
            # ones: memory grows and grows, and steps are no faster for it (measured). Read when torch is loaded.
            os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "100")
        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        app.command(verb)(import_module(VERBS[verb][0]).run)
        command = typer.main.get_command(app)
        for parameter in self.params:
            if parameter.name in ("debug", "threads"):
                again = copy.copy(parameter)
                again.expose_value = False
                command.params.append(again)
        return command

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
    app(prog_name="formers")
