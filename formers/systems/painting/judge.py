"""Whether pictures show what their prompts say, as a classifier of this library sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.labels import Labels
from formers.data.sources import Table
from formers.errors import ConfigError
from formers.images.preprocess import Preprocessor
from formers.models.picture_classifier import PictureClassifier
from formers.pretrained.load import load_model
from formers.systems.picture_bodies import used
from formers.systems.picture_looks import as_bytes
from formers.systems.ranked_labels import THRESHOLD
from formers.systems.reading import read_by
from formers.training.run import model_folder

ALL = "all"
"""Of a picture where every kind of label is right."""


class Judge:
    """A classifier of pictures: which labels it sees, and the features that it sees them by."""

    def __init__(self, name: str, model: PictureClassifier, preprocessor: Preprocessor) -> None:
        self.name, self.model, self.preprocessor = name, model, preprocessor
        self.labels = Labels(model.config.kind, model.config.labels)

    @torch.no_grad()
    def seen(self, pictures: Iterable[Tensor]) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.float32]]]:
        """(some, labels) which labels each picture has, and (some, dim) its features.

        pictures: some at a time, (some, channels, height, width) in 0 to 1.
        """
        from PIL import Image

        like = next(self.model.parameters())
        with used(self.model):
            for some in pictures:
                read = self.preprocessor.batch([Image.fromarray(pixels) for pixels in as_bytes(some.cpu())])
                heads = self.model.read(read.to(like))
                logits = self.model.label(heads).float().cpu()
                if self.labels.kind == "one":
                    found = torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]) > 0
                else:
                    found = logits.sigmoid() >= THRESHOLD
                yield found.numpy(), heads.flatten(1).float().cpu().numpy()

    def claims(self, table: Table, column: str) -> NDArray[np.bool_]:
        """(rows, labels): what pictures of these rows are to show. Raises DataError for a label that is not known."""
        answers = self.labels.answers(table, column)
        return np.eye(len(self.labels.names), dtype=bool)[answers] if answers.ndim == 1 else answers.astype(bool)

    def right(self, found: NDArray[np.bool_], claims: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
        """Kind of label -> (pictures,) whether all that is claimed of this kind is there; "all": of every kind.

        The kind of "colour: red" is colour. What is there besides is no fault: a judge that counts says so itself.
        """
        kinds = np.array([kind_of(name) for name in self.labels.names])
        missing = claims & ~found
        names = dict.fromkeys([*kinds.tolist(), ALL])
        wrong = {kind: np.any(missing if kind == ALL else missing[:, kinds == kind], axis=1) for kind in names}
        return {kind: np.logical_not(rows) for kind, rows in wrong.items()}


def kind_of(label: str) -> str:
    """colour of "colour: red"; of a plain label "all"."""
    kind, colon, _ = label.partition(": ")
    return kind if colon else ALL


def open_judge(name: str) -> Judge:
    """The classifier of a run or a folder. Raises CheckpointError, and ConfigError for a model that gives no labels."""
    loaded = load_model(model_folder(name))
    if not isinstance(loaded.model, PictureClassifier):
        kind = type(loaded.model).__name__
        what = f"{name} is a {kind}, which gives pictures no labels"
        raise ConfigError(f"{what}; a judge is a classifier, such as formers train images/shapes-judge gives")
    return Judge(Path(name).name, loaded.model, read_by(loaded.preprocessor, "pictures"))


class Verdict:
    """What a judge saw in pictures, beside what they are to show."""

    def __init__(self, judge: Judge, claims: NDArray[np.bool_]) -> None:
        """claims: (pictures, labels)"""
        self.judge, self.claims = judge, claims
        self.parts: list[tuple[NDArray[np.bool_], NDArray[np.float32]]] = []

    def see(self, pictures: Iterable[Tensor]) -> None:
        """Judge the next pictures, some at a time."""
        self.parts += self.judge.seen(pictures)

    @property
    def right(self) -> dict[str, NDArray[np.bool_]]:
        """Kind of label -> (pictures,)"""
        return self.judge.right(np.concatenate([labels for labels, _ in self.parts]), self.claims)

    @property
    def shares(self) -> dict[str, float]:
        """Kind of label -> share of the pictures that have it right."""
        return {kind: float(rows.mean()) for kind, rows in self.right.items()}

    @property
    def features(self) -> NDArray[np.float32]:
        return np.concatenate([features for _, features in self.parts])
