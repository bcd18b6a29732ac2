"""Options that several verbs share, and the model that they open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from formers.errors import ConfigError

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A run, a model folder, a .gguf file, or a hub id (owner/name[@revision]).",
        show_default=False,
    ),
]
Beams = Annotated[
    int | None, typer.Option("--beams", min=1, metavar="N", help="Beams; 1 is greedy (default: as the model asks).")
]
LengthPenalty = Annotated[
    float | None,
    typer.Option(
        "--length-penalty", metavar="X", help="Above 1: longer; below 1: shorter (default: as the model asks)."
    ),
]
AllowBin = Annotated[bool, typer.Option("--allow-bin", help="Also read pytorch_model.bin (weights only, no code).")]
Offline = Annotated[bool, typer.Option("--offline", help="Take hub models from the cache only.")]
Dtype = Annotated[
    str | None, typer.Option("--dtype", metavar="fp32|bf16|fp16|int8", help="Number format of the weights.")
]
Device = Annotated[str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1 ... (default: cpu).")]
Change = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a field of the recipe; may be given many times."),
]
Source = Annotated[str | None, typer.Option("--source", metavar="COLUMN", help="Column to translate from.")]
Target = Annotated[str | None, typer.Option("--target", metavar="COLUMN", help="Column to translate into.")]


MaxTokens = Annotated[
    int, typer.Option("--max-tokens", min=1, metavar="N", help="Most tokens to write; fewer at the model's length.")
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        metavar="X",
        help="Draw tokens: below 1 sharper, above 1 flatter; 0: the likeliest (default: the likeliest, unless another "
        "option asks for drawing, then as the model asks).",
    ),
]
TopK = Annotated[int | None, typer.Option("--top-k", min=0, metavar="N", help="Draw from the N likeliest (0: all).")]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", metavar="X", help="Draw from the fewest likeliest whose probabilities reach X."),
]
MinP = Annotated[
    float | None,
    typer.Option("--min-p", metavar="X", help="Draw from what is at least X times as likely as the likeliest."),
]
RepetitionPenalty = Annotated[
    float | None, typer.Option("--repetition-penalty", metavar="X", help="Above 1: what was said is worth less.")
]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="TEXT", help=r"Text that ends the text (\n: a line feed); may be given many times."),
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Draw the same text every time.")]


def stops(given: list[str] | None) -> tuple[str, ...]:
    """--stop with line feeds and tabs for what a shell hands over as a backslash and a letter."""
    return tuple(text.replace("\\n", "\n").replace("\\t", "\t") for text in given or ())


VERB_OF = {
    "translation": 'formers translate {} "I ate an apple"',
    "language": 'formers generate {} "Once upon a time"',
    "masked": 'formers fill {} "The capital of France is [MASK]."',
    "classification": 'formers classify {} "A text"',
    "tagging": 'formers tag {} "A text"',
    "answering": 'formers answer {} "A question?" --passage FILE',
    "embedding": 'formers encode {} "A text"',
}


def open_model(
    source: str,
    *,
    system: str | None = None,
    allow_bin: bool = False,
    offline: bool = False,
    dtype: str | None = None,
    device: str | None = None,
) -> Any:
    """What `formers.load` gives; `offline` False leaves the choice to the environment (HF_HUB_OFFLINE).

    system: what it must be ("translation", "language").
    """
    from formers.registry import SYSTEM_OF_MODEL, load

    found = load(source, dtype=dtype, device=device, allow_bin=allow_bin, offline=True if offline else None)
    kind = SYSTEM_OF_MODEL[type(found.model).__name__]
    if system is not None and kind != system:
        raise ConfigError(f"{source} is for {kind}, expected a model for {system}; try: {VERB_OF[kind].format(source)}")
    return found


def is_run(source: str) -> bool:
    """Whether MODEL names a run folder."""
    return (Path(source).expanduser() / "recipe.toml").is_file()


def out_file(path: Path | None) -> Path | None:
    """--out, checked before the long work that ends in writing it."""
    if path is not None and path.is_dir():
        raise ConfigError(f"--out {path}: is a folder, expected a file")
    if path is not None and not path.parent.is_dir():
        raise ConfigError(f"--out {path}: the folder {path.parent} does not exist")
    return path


def system_of(source: str, *, offline: bool = False) -> str:
    """The system of MODEL, without reading its weights: that of a run's recipe, else of its model class."""
    from formers.cli.recipes import named
    from formers.pretrained.load import model_class
    from formers.registry import SYSTEM_OF_MODEL, locate

    recipe = named(source) if is_run(source) else None
    if recipe is not None:
        return recipe.system
    return SYSTEM_OF_MODEL[model_class(locate(source, offline=True if offline else None)).__name__]
