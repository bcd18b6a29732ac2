"""`formers evaluate` for masked language models: how well the hidden words of a text are said."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from formers.cli.options import is_run
from formers.cli.output import note, show_table
from formers.cli.recipes import named
from formers.errors import DataError

if TYPE_CHECKING:
    from formers.systems.masked import MaskedModel

SHOWN = {
    "masked_accuracy": "% of the hidden words whose likeliest word is right",
    "perplexity": "of a hidden word",
    "masked_loss": "nats of a hidden word",
    "next_accuracy": "% of the pairs of segments judged rightly",
    "next_loss": "nats of a pair",
}


def evaluate_masked(model: str, masked: MaskedModel, text: str | None, count: int | None, as_json: bool) -> None:
    """Measure on a text, or on the test data of a run: the same words are hidden every time.

    Words are hidden as the run's recipe says, else as BERT's were; next sentences are judged where the model can and
    the text has documents. count: only about so many rows.
    """
    from formers.blocks.mode import inference
    from formers.data.masked import MaskedData
    from formers.data.segments import Sentences
    from formers.models.heads import Pretraining
    from formers.systems.masked_tasks import judge, rows_of

    words = masked.words
    recipe = named(model) if is_run(model) else None
    config = recipe.sections["data"] if recipe is not None and recipe.system == "masked" else MaskedData()
    if text is not None:
        config = replace(config, train=text, validation=text, test=text, count=0)
    table = config.read("test") or config.read("validation") or config.tables()[1]
    reader, length = masked.reader, config.length
    if length:
        reader = type(reader)(reader.tokenizer, length, segments=reader.segments)
    sentences = Sentences(table, config.column, reader.rules, reader.tokenizer.unk)
    judged = isinstance(words, Pretraining)
    try:
        rows = rows_of(sentences, replace(config, next_sentence=judged), reader)
    except DataError:  # one document, or none with two sentences: no pairs to judge
        if not judged:
            raise
        rows, judged = rows_of(sentences, replace(config, next_sentence=False), reader), False
    begin = time.perf_counter()
    with inference(words):
        scores = judge(words, rows, count or 0)
    seconds = time.perf_counter() - begin
    result: dict[str, Any] = {
        "model": model,
        "text": table.name,
        "documents": len(sentences),
        "rows": min(count or len(rows.plan(0).places), len(rows.plan(0).places)),
        "unknown": sentences.unknown,
        **scores,
        "seconds": seconds,
    }
    if as_json:
        note(json.dumps(result, ensure_ascii=False))
        return
    lines = [(name.replace("_", " "), f"{scores[name]:.3f}", what) for name, what in SHOWN.items() if name in scores]
    if isinstance(words, Pretraining) and not judged:
        lines.append(("next accuracy", "-", "not judged: the text is one document, or none has two sentences"))
    lines.append(("unknown", f"{100 * sentences.unknown:.3f}", "% of the tokens"))
    title = f"{model}: {result['rows']:,} rows of {table.name}, {len(sentences):,} document(s)"
    show_table(title, ["score", "value", "what"], lines, right=["value"])
