"""CLIP in use: vectors of pictures and texts in one space, labels by words.

pictures -> preprocessor -> tower \
                                   unit vectors -> similarities -> recalls; softmax over labels written as captions
texts -> reader -> tower          /
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.errors import CheckpointError, ConfigError
from formers.images.preprocess import Preprocessor
from formers.metrics.classification import accuracy
from formers.metrics.retrieval import ranks, recall, unit
from formers.models.clip import CLIP
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.systems.clip.data import CaptionBatches
from formers.systems.measure import means
from formers.systems.picture_bodies import used
from formers.systems.reading import logits_of, read_by
from formers.systems.system import Report, cost, share
from formers.text.reader import Reader, Row
from formers.text.tokenizer import Tokenizer
from formers.training.contrastive import ALL, Losses, in_batch, sigmoid
from formers.training.task import Loss

if TYPE_CHECKING:
    from PIL.Image import Image

Vectors = NDArray[np.float32]
TEMPLATE = "a photo of a {}"
RECALLS = (1, 5, 10)
AT_ONCE = 64  # pictures of a batch


class ClipModel:
    """Two towers with what reads pictures and texts for them: what `formers.load` gives for CLIP and SigLIP."""

    def __init__(
        self, model: CLIP, tokenizer: Tokenizer | None, preprocessor: Preprocessor | None, *, family: str | None = None
    ) -> None:
        self.model, self.tokenizer, self.family = model, tokenizer, family
        self._preprocessor = preprocessor
        self._reader = None if tokenizer is None else text_reader(tokenizer, model.config.text.length)

    @property
    def preprocessor(self) -> Preprocessor:
        """Raises ConfigError for a model without one."""
        return read_by(self._preprocessor, "pictures")

    @property
    def reader(self) -> Reader:
        """Raises ConfigError for a model without tokenizer files."""
        if self._reader is None:
            raise ConfigError("this model folder has no tokenizer files, so text cannot be read; put tokenizer.json, "
                              "or vocab.json and merges.txt, beside config.json")  # fmt: skip
        return self._reader

    @property
    def device(self) -> torch.device:
        return self.model.logit_scale.device

    def encode_pictures(self, images: Sequence[Image]) -> Vectors:
        """(pictures, dim), float32, each of length one."""
        starts = range(0, len(images), AT_ONCE)
        return self.picture_vectors(self.preprocessor.batch(images[start : start + AT_ONCE]) for start in starts)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """(texts, dim), float32, each of length one."""
        encodings = self.reader.read(list(texts), offsets=False)
        return self.text_vectors([Row(encoding.ids, ()) for encoding in encodings])

    def picture_vectors(self, batches: Iterable[Tensor]) -> Vectors:
        """Of pictures as the model reads them."""
        parts, weight = [np.zeros((0, self.model.config.picture.width), np.float32)], self.model.logit_scale
        with used(self.model.picture):
            for pictures in batches:
                parts.append(self.model.encode_picture(pictures.to(self.device, weight.dtype)).float().cpu().numpy())
        return np.concatenate(parts)

    def text_vectors(self, rows: Sequence[Row]) -> Vectors:
        """Of texts that are read."""
        if not rows:
            return np.zeros((0, self.model.config.picture.width), np.float32)
        encode = self.model.encode_text
        vectors = logits_of(self.model.text, self.reader, rows, call=lambda texts: encode(texts.tokens, texts.keep))
        return torch.stack(vectors).numpy()

    # ---- labels by words

    def class_vectors(self, labels: Sequence[str], templates: Sequence[str] = (TEMPLATE,)) -> Vectors:
        """(labels, dim): the mean vector of each label in all templates, of length one (Radford et al. 2021, 3.1.4).

        Raises ConfigError for no labels, and for a template without {}.
        """
        if not labels or not all(label.strip() for label in labels):
            got = "there are none" if not labels else f"one of the {len(labels)} is empty"
            raise ConfigError(f'labels: {got}, expected words such as "cat,dog"')
        if wrong := [template for template in templates if "{}" not in template]:
            raise ConfigError(f'the template "{wrong[0]}" has no {{}}, where the label goes; such as "{TEMPLATE}"')
        texts = [template.replace("{}", label) for label in labels for template in templates]
        return unit(self.encode_texts(texts).reshape(len(labels), len(templates), -1).mean(1))

    @torch.no_grad()
    def probabilities(self, pictures: Vectors, classes: Vectors) -> Vectors:
        """(pictures, labels) of their vectors: the softmax of the scaled similarities."""
        x, y = (torch.from_numpy(vectors).to(self.device) for vectors in (pictures, classes))
        return self.model.similarities(x, y).float().softmax(-1).cpu().numpy()

    def zero_shot(
        self, images: Sequence[Image], labels: Sequence[str], templates: Sequence[str] = (TEMPLATE,)
    ) -> Vectors:
        """(pictures, labels): the probability of each label, none of which was trained; see `class_vectors`."""
        classes = self.class_vectors(labels, templates)
        return self.probabilities(self.encode_pictures(images), classes)

    # ---- judged

    @contextmanager
    @torch.no_grad()
    def between(self, start: Mapping[str, Tensor], share: float) -> Iterator[None]:
        """Inside, the weights are so much its own, the rest those of a start (WiSE-FT, Wortsman et al. 2022).

        Raises ConfigError for the weights of another model.
        """
        state = {name: weight for name, weight in self.model.state_dict().items() if weight.is_floating_point()}
        strange = [name for name, weight in state.items() if name not in start or start[name].shape != weight.shape]
        if strange:
            what = f"{len(strange):,} of the {len(state):,} weights of the start have another name or shape"
            raise ConfigError(f"{what}, the first is {strange[0]}; give the model that this one was trained from")
        own = {name: weight.clone() for name, weight in state.items()}
        for name, weight in state.items():
            weight.copy_(torch.lerp(start[name].to(weight), weight, share))
        try:
            yield
        finally:
            for name, weight in state.items():
                weight.copy_(own[name])

    def contrast(self, u: Tensor, v: Tensor, same: Tensor, own: slice = ALL) -> Losses:
        """The loss of each picture with its caption among those of a batch; what is known to be alike is no negative.

        u, v: unit vectors of pictures and of their captions; same: as in `CaptionBatch`. `parts["floor"]` is the loss
        of guessing.
        """
        model, rows = self.model, torch.arange(len(u), device=u.device)[own]
        alike = (same[:, :, None] == same[:, None]).any(0)
        allowed = ~alike | torch.eye(len(u), dtype=torch.bool, device=u.device)
        weights = None if bool(allowed.all()) else allowed
        count = allowed.sum(1).to(u.dtype)[rows]
        scale = model.logit_scale.exp()
        if model.logit_bias is None:
            losses = in_batch(u, v, weights, scale=scale, symmetric=True, own=own)
            floor = count.log()
        else:
            losses = sigmoid(u, v, weights, scale=scale, bias=model.logit_bias, own=own)
            floor = count.log() + (count - 1) * (count / (count - 1).clamp(min=1)).log()
        return Losses(losses.each, {**losses.parts, "floor": floor, "scale": scale.expand(len(rows))})

    def evaluate(
        self,
        batches: CaptionBatches,
        labels: Sequence[str] = (),
        expected: NDArray[np.int64] | None = None,
        templates: Sequence[str] = (TEMPLATE,),
    ) -> Report:
        """Loss, recalls both ways, and with labels the zero-shot accuracy, whose answers are `expected` (rows,)."""
        if batches.order.once is None:
            there, u = batches.order.encoded(self.picture_vectors)
        else:
            there, kept = batches.order.kept
            u = kept.numpy()
        texts = [batches.texts[row] for row in there] if batches.once is None else []
        v, same = self.text_vectors(texts) if texts else batches.kept[there].numpy(), batches.same[:, there]
        loss = means(self.losses_of(u, v, same, batches.config.batch))
        scores = [cost("loss", loss["loss"])]
        for name, ranked in (("text", ranks(u, v, [*same], [*same])), ("picture", ranks(v, u, [*same], [*same]))):
            scores += [share(f"{name}_recall_{most}", recall(ranked, most)) for most in RECALLS]
        if labels and expected is not None:
            predicted = (u @ self.class_vectors(labels, templates).T).argmax(1)
            scores.append(share("zero_shot", accuracy(predicted, expected[there])))
        facts = {"pictures": len(there), "floor": loss["floor"], "scale": loss["scale"]}
        return Report(scores, facts=facts | ({"labels": len(labels)} if labels else {}))

    @torch.no_grad()
    def losses_of(self, u: Vectors, v: Vectors, same: NDArray[np.int64], size: int) -> Iterable[Loss]:
        """Of all vectors, so many at a time as a batch has."""
        for start in range(0, max(1, len(u) - size + 1), size):
            rows = slice(start, start + size)
            x, y, alike = (torch.from_numpy(part).to(self.device) for part in (u[rows], v[rows], same[:, rows]))
            yield self.contrast(x, y, alike).sum()

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout of CLIP, where that has a word for all, else our own."""
        self.model.clamp_scale()
        save_model(folder, self.model, tokenizer=self.tokenizer, preprocessor=self._preprocessor, system="clip")


def text_reader(tokenizer: Tokenizer, length: int) -> Reader:
    """What reads texts for a tower of so many positions."""
    return Reader(tokenizer, length, segments=1)


def open_towers(loaded: Loaded) -> ClipModel:
    """The system of a loaded checkpoint."""
    if not isinstance(loaded.model, CLIP):
        raise CheckpointError(f"{loaded.folder} is a {type(loaded.model).__name__}, expected a CLIP with both towers")
    return ClipModel(loaded.model, loaded.tokenizer, loaded.preprocessor, family=loaded.family)
