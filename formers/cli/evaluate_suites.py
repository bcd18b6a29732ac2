"""`formers evaluate --suite`: encoders on the sets that papers measure them with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formers.cli.output import duration, note, show_table
from formers.errors import ConfigError, nearest

if TYPE_CHECKING:
    from formers.systems.classification.system import Classifier
    from formers.systems.encoding import SentenceEncoder
    from formers.systems.suites.sets import Encode, Results, Score

SUITES = ("sts", "senteval", "glue-like")
NAMES = {
    "spearman": "Spearman x 100",
    "pearson": "Pearson x 100",
    "accuracy": "accuracy %",
    "f1": "F1 %",
    "matthews": "Matthews x 100",
}


@dataclass(frozen=True)
class Suite:
    """What the user wants to have measured."""

    name: str
    folder: Path | None
    """Where the sets are."""
    file: str | None
    """Scored pairs of the user's own, in place of a folder (sts)."""
    only: tuple[str, ...]
    """Only these sets."""
    folds: int

    def check(self) -> None:
        """Raises ConfigError for what does not go together."""
        if self.name not in SUITES:
            raise ConfigError(f'--suite "{self.name}" is not known{nearest(self.name, SUITES)}')
        if self.file is not None and (self.name != "sts" or self.folder is not None):
            raise ConfigError("--data FILE.csv (two texts and a score) is for --suite sts, in place of --data-folder")
        if self.folder is None and self.file is None:
            raise ConfigError(
                f"--suite {self.name} on what? give --data-folder FOLDER, which holds the sets (sts/"
                "2012-test.parquet, sst2/train.parquet, sentences/mr.parquet ...)"
            )


def evaluate_suite(model: str, opened: Callable[[], Any], suite: Suite, as_json: bool) -> None:
    """Print what a suite says of a model."""
    suite.check()
    begin = time.perf_counter()
    results, vectors = measured(model, opened(), suite, (lambda score: None) if as_json else tell)
    seconds = time.perf_counter() - begin
    if as_json:
        note(
            json.dumps(
                {
                    "model": model,
                    "data": str(suite.folder or suite.file),
                    "vectors": vectors,
                    **asdict(results),
                    "seconds": seconds,
                },
                ensure_ascii=False,
            )
        )
        return
    show(model, results, vectors, seconds, str(suite.folder or suite.file))


def measured(model: str, opened: Any, suite: Suite, told: Callable[[Score], None]) -> tuple[Results, str]:
    """The results, and what they were read from."""
    from formers.systems.suites import likeness, transfer, understanding

    if is_classifier(opened):
        if suite.name != "glue-like":
            raise ConfigError(
                f"--suite {suite.name} measures sentence vectors, but {model} is a fine-tuned "
                "classifier; give --suite glue-like"
            )
        assert suite.folder is not None  # `check` has seen to it
        classify, liken = judges(opened)
        return understanding.fine_tuned(
            classify, opened.labels, liken, suite.folder, only=suite.only, tell=told
        ), "fine-tuned"
    encoder, how = sentence_encoder(model, opened)
    encode: Encode = encoder.encode
    if suite.file is not None:
        return likeness.scored_pairs(encode, Path(suite.file)), how
    assert suite.folder is not None
    if suite.name == "sts":
        return likeness.sts(encode, suite.folder, only=suite.only), how
    measure = transfer.senteval if suite.name == "senteval" else understanding.frozen
    return measure(encode, suite.folder, only=suite.only, folds=suite.folds, tell=told), how


def is_classifier(opened: Any) -> bool:
    from formers.systems.classification.system import Classifier

    return isinstance(opened, Classifier)


def judges(classifier: Classifier) -> tuple[Any, Any]:
    """How a classifier gives labels, and how a model of numbers scores pairs: one of them is None."""
    if classifier.kind == "several":
        raise ConfigError("this model gives any number of labels; the sets of this suite have one each")
    if classifier.kind == "number":
        return None, lambda pairs: classifier.score(list(zip(pairs.texts, pairs.seconds, strict=True))).astype(float)

    def classify(texts: Sequence[str], seconds: Sequence[str] | None) -> Any:
        return classifier.probabilities(texts, seconds).argmax(1)

    return classify, None


def sentence_encoder(model: str, opened: Any) -> tuple[SentenceEncoder, str]:
    """What makes the vectors: the model itself, or the mean of the hidden states of an encoder with another head."""
    from formers.models.heads import body
    from formers.models.sentence import SentenceHead
    from formers.pretrained.sentence_folder import SentenceSettings
    from formers.systems.encoding import SentenceEncoder

    if isinstance(opened, SentenceEncoder):
        dense = "".join(f", {type(step).__name__.lower()}" for step in opened.head.steps)
        return opened, f"{' and '.join(opened.head.poolings)} of the hidden states{dense}"
    encoder = body(opened.model)
    if encoder is None:
        raise ConfigError(f"{model} is a {type(opened.model).__name__}, which has no sentence vectors to measure")
    kind = type(opened.model).__name__
    made = SentenceEncoder(encoder, opened.tokenizer, SentenceHead(), SentenceSettings(), family=opened.family)
    return made, f"mean of the hidden states of a {kind}, which was not trained for sentence vectors"


# ---- showing -----------------------------------------------------------------------------------------------


def tell(score: Score) -> None:
    """One line as soon as a set has been measured: some take minutes."""
    numbers = ", ".join(f"{NAMES[name]} {value:.2f}" for name, value in score.scores.items())
    note(f"{score.set}, {score.part}: {numbers} ({duration(score.seconds)})")


def show(model: str, results: Results, vectors: str, seconds: float, data: str) -> None:
    """The table of a suite, its averages, what is missing, and what has to be known to compare."""
    kinds = list(dict.fromkeys(kind for score in results.scores for kind in score.scores))
    names = [NAMES[kind] for kind in kinds]
    lines = [
        (
            score.set if "/" not in score.set else f"   {score.set.partition('/')[2]}",
            score.part,
            *(f"{score.scores[kind]:.2f}" if kind in score.scores else "" for kind in kinds),
            f"{score.examples:,}",
            score.how,
        )
        for score in results.scores
    ]
    for which in dict.fromkeys(name.partition(" ")[2] for name in results.averages):
        values = [results.averages.get(f"{kind} {which}".strip()) for kind in kinds]
        lines.append(
            (f"average {which}".strip(), "", *("" if value is None else f"{value:.2f}" for value in values), "", "")
        )
    show_table(
        f"{model}: {results.suite} of {data}; vectors: {vectors}",
        ["set", "part", *names, "examples", "how"],
        lines,
        right=[*names, "examples"],
    )
    for name, why in results.missing.items():
        note(f"not measured: {name}: {why}")
    for line in results.notes:
        note(f"note: {line}")
    speed = f", {results.sentences / results.encoding_seconds:,.0f} per second" if results.encoding_seconds else ""
    encoded = f"{results.sentences:,} different sentences encoded in {duration(results.encoding_seconds)}{speed}; "
    note(f"{encoded if results.sentences else ''}all in {duration(seconds)}")
