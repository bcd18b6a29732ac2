"""`formers evaluate`: how good a model is on a test set, and how fast.

Here: translations; `evaluate_language.py`: language models; `evaluate_classification.py`: labels of texts;
`evaluate_masked.py`: hidden words; `evaluate_suites.py`: the sets that papers measure encoders with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from formers.cli.evaluate_answering import evaluate_answering
from formers.cli.evaluate_classification import evaluate_classification
from formers.cli.evaluate_language import evaluate_language
from formers.cli.evaluate_masked import evaluate_masked
from formers.cli.evaluate_suites import SUITES, Suite, evaluate_suite
from formers.cli.evaluate_tagging import evaluate_tagging
from formers.cli.options import (
    AllowBin,
    Beams,
    Device,
    Dtype,
    LengthPenalty,
    Model,
    Offline,
    Source,
    Target,
    is_run,
    open_model,
    out_file,
    system_of,
)
from formers.cli.output import note, short, show_table
from formers.cli.recipes import named
from formers.errors import ConfigError

if TYPE_CHECKING:
    from formers.data.parallel import ParallelData
    from formers.data.sources import Table

# system -> its function here: (model, what opens it, data, count, columns, --out, --json)
OTHERS: dict[str, Callable[..., None]] = {
    "tagging": evaluate_tagging,
    "answering": evaluate_answering,
    "classification": evaluate_classification,
}
SCORES = {"exact_match": "exact match", "bleu": "BLEU", "chrf": "chrF"}


def run(
    model: Model,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="SOURCE", help="Pairs to translate, labelled texts (default for a run: its test data)."
        ),
    ] = None,
    source: Source = None,
    target: Target = None,
    beams: Beams = None,
    length_penalty: LengthPenalty = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, metavar="N", help="Only the first N pairs or questions.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write the translations, or a picture of the confusions, here."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option("--text", metavar="FILE", help="A text that a language model reads: perplexity, bits per byte."),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            "--window", min=2, metavar="N", help="Tokens that are read at a time (default: all that the model reads)."
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            "--stride", min=1, metavar="N", help="Tokens from one window to the next (default: half a window)."
        ),
    ] = None,
    choices: Annotated[
        str | None,
        typer.Option(
            "--choices",
            metavar="FILE.jsonl",
            help='Questions for a language model: {"question": ..., "choices": [...], "answer": text or place}.',
        ),
    ] = None,
    shots: Annotated[
        int, typer.Option("--shots", min=0, metavar="N", help="The first N questions are examples and are not asked.")
    ] = 0,
    second: Annotated[
        str | None, typer.Option("--second", metavar="COLUMN", help="Column of the second text (labelled pairs).")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="COLUMN", help="Column of the label (labelled texts).")
    ] = None,
    suite: Annotated[
        str | None, typer.Option("--suite", metavar="|".join(SUITES), help="Measure an encoder as the papers do.")
    ] = None,
    data_folder: Annotated[
        Path | None, typer.Option("--data-folder", metavar="FOLDER", help="The sets of --suite: FOLDER/sst2/ ...")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="SET", help="Only this set of --suite; may be given many times."),
    ] = None,
    folds: Annotated[int, typer.Option("--folds", min=2, metavar="N", help="Folds of --suite (SentEval: 10).")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    allow_bin: AllowBin = False,
    offline: Offline = False,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Measure a model: BLEU of translations, perplexity, multiple choice.

    A translation model translates --data; a classifier labels it (columns: --source, --second, --label); a language
    model reads --text, or answers --choices. A run without any of them is measured on its own test data. Any encoder is
    measured by --suite: sts (cosines), senteval (classifiers on frozen vectors), glue-like.
    """
    out_file(out)
    if suite is None and (data_folder is not None or only):
        raise ConfigError(f"--data-folder and --only are of --suite {'|'.join(SUITES)}")
    if suite is not None:
        asked_for = Suite(suite, data_folder, data, tuple(only or ()), folds)
        asked_for.check()
        evaluate_suite(
            model,
            lambda: open_model(model, allow_bin=allow_bin, offline=offline, dtype=dtype, device=device),
            asked_for,
            as_json,
        )
        return
    recipe = named(model) if is_run(model) else None
    asked = text is not None or choices is not None
    if not asked and (system := system_of(model, offline=offline)) in OTHERS:

        def classifier() -> Any:
            return open_model(model, system=system, allow_bin=allow_bin, offline=offline, dtype=dtype, device=device)

        names = {"text": source, "second": second, "label": label}
        OTHERS[system](model, classifier, data, count, names, out, as_json)
        return
    if choices is None and not model.endswith(".gguf") and system_of(model, offline=offline) == "masked":
        if data is not None or out is not None:
            raise ConfigError("--data and --out are not for masked language models, which read --text")
        masked = open_model(model, system="masked", allow_bin=allow_bin, offline=offline, dtype=dtype, device=device)
        evaluate_masked(model, masked, text, count, as_json)
        return
    if text is not None or choices is not None or (recipe is not None and recipe.system != "translation"):
        if data is not None or out is not None:
            raise ConfigError("--data and --out are for translations; a language model reads --text or --choices")

        def opened() -> Any:
            return open_model(
                model, system="language", allow_bin=allow_bin, offline=offline, dtype=dtype, device=device
            )

        evaluate_language(model, opened, text, choices, window, stride, shots, count, as_json)
        return
    table, config = pairs(model, data, source, target, count)
    sources, targets = table.columns[config.source], table.columns[config.target]
    translator = open_model(
        model, system="translation", allow_bin=allow_bin, offline=offline, dtype=dtype, device=device
    )
    begin = time.perf_counter()
    scores, signatures, found = translator.evaluate(sources, targets, beams=beams, length_penalty=length_penalty)
    seconds = time.perf_counter() - begin
    if out is not None:
        out.write_text("".join(text.replace("\n", " ") + "\n" for text in found), encoding="utf-8")
    result = {
        "model": model,
        "data": table.name,
        "sentences": len(found),
        **scores,
        "signatures": signatures,
        "sentences_per_second": len(found) / seconds,
    }
    if as_json:
        note(json.dumps(result, ensure_ascii=False))
        return
    title = f"{model}: {len(found):,} sentences of {table.name}, {config.source} -> {config.target}"
    speed = f"{len(found) / seconds:.1f}"
    show_scores(title, scores, signatures, speed)
    show_examples({config.source: sources, "said": found, config.target: targets})
    if out is not None:
        note(f"translations: {out}")


def show_scores(title: str, scores: dict[str, float], signatures: dict[str, str], speed: str) -> None:
    """The scores, with what makes them comparable."""
    rows = [(SCORES[name], f"{scores[name]:.2f}", signatures.get(name, "% of sentences")) for name in SCORES]
    rows.append(("speed", speed, "sentences per second, scoring included"))
    show_table(title, ["score", "value", "signature"], rows, right=["value"])


def show_examples(texts: dict[str, list[str]], count: int = 3) -> None:
    """A few sentences from all over the data: the source, what the model said, what was expected."""
    total = len(texts["said"])
    chosen = list(range(0, total, max(1, total // count)))[:count]
    rows = [(name, short(lines[i])) for i in chosen for name, lines in [*texts.items(), ("", [""] * total)]]
    show_table("examples", ["", "text"], rows[:-1])


def pairs(
    model: str, data: str | None, source: str | None, target: str | None, count: int | None
) -> tuple[Table, ParallelData]:
    """The pairs to judge with: SOURCE, or the test data of a run's recipe (else its validation data)."""
    from formers.data.parallel import ParallelData

    recipe = named(model) if is_run(model) else None
    config = recipe.sections["data"] if recipe else ParallelData()
    config = replace(
        config, source=source or config.source, target=target or config.target, held_out=count or config.held_out
    )
    if data is not None:
        config = replace(config, test=data)
    elif recipe is None:
        raise ConfigError(
            f"{model} is not a run, so it has no test data of its own: give --data SOURCE "
            "(a translation model), or --text FILE or --choices FILE (a language model)"
        )
    table = config.read("test") or config.read("validation") or config.tables()[1]
    return table.select(range(min(count or len(table), len(table)))), config
