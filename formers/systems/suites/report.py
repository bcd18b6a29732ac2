"""The report of a suite on any encoder: `evaluate --suite` of every system whose models have one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formers.errors import ConfigError
from formers.models.heads import body
from formers.models.sentence import SentenceHead
from formers.pretrained.sentence_folder import SentenceSettings
from formers.systems.classification.system import Classifier
from formers.systems.embedding.system import SentenceEncoder
from formers.systems.suites import likeness, transfer, understanding
from formers.systems.suites.options import SuiteOptions
from formers.systems.suites.sets import Measuring, SuiteResults
from formers.systems.system import Event, Remark, Report, ResultTable, Score, share

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Kind of number -> what it is called, all of them shown times 100.
NAMES = {
    "spearman": "Spearman x 100",
    "pearson": "Pearson x 100",
    "accuracy": "accuracy %",
    "f1": "F1 %",
    "matthews": "Matthews x 100",
}
SHARES = ("accuracy", "f1")


def suite_report(opened: Any, options: SuiteOptions, model: str, data: str = "") -> Iterator[Event]:
    """What a suite says of a loaded system; a remark as soon as a set has been measured: some take minutes.

    model: its name; data: scored pairs of the user's own, in place of the folder (sts).
    """
    begin = time.perf_counter()
    measuring, vectors = measured(opened, options, model, data)
    while True:
        try:
            score = next(measuring)
        except StopIteration as end:
            results: SuiteResults = end.value
            break
        numbers = ", ".join(f"{NAMES[kind]} {100 * value:.2f}" for kind, value in score.scores.items())
        yield Remark(f"{', '.join(filter(None, (score.set, score.part)))}: {numbers} ({score.seconds:.0f} s)")
    seconds, source = time.perf_counter() - begin, str(options.data_folder or data)
    averages = results.averages or results.scores[0].scores
    yield Report(
        [of_kind(name, value) for name, value in averages.items()],
        title=f"{model}: {results.suite} of {source}; vectors: {vectors}",
        facts={"model": model, "data": source, "vectors": vectors, **asdict(results), "seconds": seconds},
        remarks={name.replace(" ", "_"): "average" for name in results.averages} | speed(results, seconds),
        tables=[table(results)],
        notes=[
            *(f"not measured: {name}: {why}" for name, why in results.missing.items()),
            *(f"note: {line}" for line in results.notes),
        ],
    )


def of_kind(name: str, value: float) -> Score:
    return share(name, value) if name in SHARES else Score(name.replace(" ", "_"), value)


def speed(results: SuiteResults, seconds: float) -> dict[str, str]:
    """How long it took, and how many sentences a second were encoded."""
    lines = {"time": f"{seconds:.0f} s in all"}
    if results.sentences:
        rate = results.sentences / max(results.encoding_seconds, 1e-9)
        encoded = f"{results.sentences:,} different sentences in {results.encoding_seconds:.0f} s"
        lines["encoding"] = f"{encoded}, {rate:,.0f} per second"
    return lines


def table(results: SuiteResults) -> ResultTable:
    """Every set in a row, its sources below it."""
    kinds = list(dict.fromkeys(kind for score in results.scores for kind in score.scores))
    names = [NAMES[kind] for kind in kinds]
    rows = [
        (
            score.set if "/" not in score.set else f"   {score.set.partition('/')[2]}",
            score.part,
            *(f"{100 * score.scores[kind]:.2f}" if kind in score.scores else "" for kind in kinds),
            f"{score.examples:,}",
            score.how,
        )
        for score in results.scores
    ]
    return ResultTable("sets", ["set", "part", *names, "examples", "how"], rows, right=[*names, "examples"])


# ---- models --------------------------------------------------------------------------------------------------


def measured(opened: Any, options: SuiteOptions, model: str, data: str) -> tuple[Measuring, str]:
    """The work, and what the numbers are read from."""
    folder, only = options.data_folder, options.only
    if isinstance(opened, Classifier):
        if options.suite != "glue-like":
            raise ConfigError(
                f"--suite {options.suite} measures sentence vectors, but {model} is a fine-tuned "
                "classifier; give --suite glue-like"
            )
        assert folder is not None  # `check_data` has seen to it
        classify, liken = judges(opened)
        return understanding.fine_tuned(classify, opened.labels, liken, folder, only=only), "fine-tuned"
    encoder, vectors = sentence_encoder(opened, model)
    if data:
        return likeness.scored_pairs(encoder.encode, Path(data)), vectors
    assert folder is not None
    if options.suite == "sts":
        return likeness.sts(encoder.encode, folder, only=only), vectors
    measure = transfer.senteval if options.suite == "senteval" else understanding.frozen
    return measure(encoder.encode, folder, only=only, folds=options.folds), vectors


def judges(classifier: Classifier) -> tuple[understanding.Classify | None, likeness.Liken | None]:
    """How a classifier gives labels, and how a model of numbers scores pairs: one of them is None."""
    if classifier.kind == "several":
        raise ConfigError("this model gives any number of labels; the sets of this suite have one each")
    if classifier.kind == "number":
        return None, lambda pairs: classifier.score(list(zip(pairs.texts, pairs.seconds or (), strict=True))).astype(
            float
        )

    def classify(texts: Sequence[str], seconds: Sequence[str] | None) -> NDArray[Any]:
        return classifier.probabilities(texts, seconds).argmax(1)

    return classify, None


def sentence_encoder(opened: Any, model: str) -> tuple[SentenceEncoder, str]:
    """What makes the vectors: the model itself, or the mean of the hidden states of an encoder with another head."""
    if isinstance(opened, SentenceEncoder):
        steps = "".join(f", {type(step).__name__.lower()}" for step in opened.head.steps)
        return opened, f"{' and '.join(opened.head.poolings)} of the hidden states{steps}"
    encoder, kind = body(opened.model), type(opened.model).__name__
    if encoder is None:
        raise ConfigError(f"{model} is a {kind}, which has no sentence vectors to measure")
    vectors = SentenceEncoder(encoder, opened.tokenizer, SentenceHead(), SentenceSettings())
    return vectors, f"mean of the hidden states of a {kind}, which was not trained for sentence vectors"
