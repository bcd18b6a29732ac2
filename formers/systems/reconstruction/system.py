"""Reconstruction: what comes out of an autoencoder, and the codes inside it.

picture -> made worse -> Autoencoder -> picture, what was right in it kept         document -> counts -> code
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from formers.data.words import WordCounts
from formers.errors import ConfigError, DataError, TextsError
from formers.images.colour import to_lab
from formers.images.corrupt import masked
from formers.images.preprocess import Preprocessor
from formers.metrics.pictures import colourfulness, psnr, squared_error, ssim
from formers.models.autoencoder import Autoencoder
from formers.models.vae import VAE, TinyVAE
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.systems.reading import read_by, reading
from formers.systems.reconstruction.data import (
    CountedDocuments,
    PictureRepairs,
    ReconstructionRows,
    counted,
    frequencies,
)
from formers.systems.reconstruction.latent import SIDE, coder_of
from formers.systems.reconstruction.repair import ReconstructionBatch, inputs_of, restored, summed_loss, targets_of
from formers.systems.system import Report, Score, cost, perplexity

if TYPE_CHECKING:
    from PIL.Image import Image

Vectors = NDArray[np.float32]
MOST_PIXELS = 2**22  # of a picture that convolutions read as it is: their memory grows with it


class Reconstructor:
    """An autoencoder with what reads its inputs: what `formers.load` gives for one."""

    def __init__(
        self, model: Autoencoder | VAE | TinyVAE, preprocessor: Preprocessor | None, *, family: str | None = None
    ) -> None:
        self.model, self._preprocessor, self.family = model, preprocessor, family
        self.coder = coder_of(model, (preprocessor.height, preprocessor.width) if preprocessor else (SIDE, SIDE))
        self.config = self.coder.config

    @property
    def preprocessor(self) -> Preprocessor:
        """Raises ConfigError for a model of documents, and for one whose folder lacks it."""
        if self.config.words:
            raise ConfigError("this model is of documents, not of pictures; its codes: formers encode MODEL TEXT")
        return read_by(self._preprocessor, "pictures")

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def encode(self, images: Sequence[Image]) -> Vectors:
        """(pictures, numbers): their codes, as they are read without holes and with their own colours."""
        pictures = self.preprocessor.batch(images)
        whole = torch.zeros(len(pictures), 1, *pictures.shape[2:], dtype=torch.bool)
        return self.codes([inputs_of(self.config, pictures, whole)])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """(texts, numbers): their codes. Raises TextsError for texts with none of the words that the model counts."""
        if not (words := self.config.words):
            raise ConfigError("this model is of pictures, not of texts; give picture files")
        counts = WordCounts(texts, words)
        reason = f"has none of the {len(words):,} words that the model counts"
        if empty := {int(place): reason for place in np.flatnonzero(counts.lengths == 0)}:
            raise TextsError(empty)
        return self.codes(frequencies(torch.from_numpy(counts.of(range(len(texts))))).split(1024))

    def codes(self, batches: Iterable[Tensor]) -> Vectors:
        """(rows, numbers): the codes of what the model reads."""
        with reading(self.model):
            parts = [self.coder.encode(self.placed(inputs)).float().cpu().flatten(1) for inputs in batches]
        return torch.cat(parts).numpy()

    def placed(self, inputs: Tensor) -> Tensor:
        """On the device and in the number format of the model."""
        return inputs.to(next(self.model.parameters()))

    def reconstruct(self, pictures: Tensor, mask: Tensor | None = None, *, resize: bool = False) -> Tensor:
        """What becomes of pictures, (n, channels, height, width) in 0 to 1, on the CPU and in the same size.

        mask: (n or 1, 1, height, width), True where a model that inpaints has to fill in; what is outside stays as it
        is. resize: pictures of another size than the model's are brought to it and back. Raises DataError for one, and
        for a mask that hides nothing or has another size.
        """
        config, side = self.config, tuple(pictures.shape[2:])
        if mask is not None:
            pictures = masked(pictures, mask)
        inputs, wanted = inputs_of(config, pictures, mask), tuple(config.inputs[1:])
        if side != wanted and not config.any_side and not resize:
            (height, width), (high, wide) = side, wanted
            what = f"a picture of {width} x {height} pixels, but this model reads {wide} x {high}"
            raise DataError(f"{what}; --resize brings it to that size and back")
        if config.any_side and not resize and side[0] * side[1] > MOST_PIXELS:
            raise DataError(
                f"a picture of {side[1]} x {side[0]} pixels takes too much memory; --resize reads it smaller"
            )
        if resize and side != wanted:
            inputs = F.interpolate(inputs, wanted, mode="bilinear", antialias=True)
        with reading(self.model):
            outputs = self.coder(self.placed(inputs)).float().cpu()
        if resize and side != wanted:
            outputs = F.interpolate(outputs, side, mode="bilinear")
        return restored(self.coder, outputs, pictures, mask)

    def batches(self, table: Any, rows: ReconstructionRows, *, seed: int = 1) -> PictureRepairs | CountedDocuments:
        """The rows of a table as this model reads them; texts with none of its words are left out."""
        if self.config.words:
            return CountedDocuments(*counted(table, rows, self.config.words, drop=True), rows, seed=seed)
        return PictureRepairs(table, self.preprocessor, rows, self.config, seed=seed)

    def evaluate(self, batches: PictureRepairs | CountedDocuments) -> Report:
        """The loss and the scores of rows, pictures made worse as in training but always in the same way."""
        return self._of_documents(batches) if isinstance(batches, CountedDocuments) else self._of_pictures(batches)

    def _of_documents(self, batches: CountedDocuments) -> Report:
        total = words = 0.0
        with reading(self.model):
            for batch in batches.judged():
                loss, count = summed_loss(self.coder, self.coder(self.placed(batch.inputs)).float().cpu(), batch)
                total, words = total + float(loss), words + float(count)
        facts = {"documents": len(batches), "words": int(words)}
        return Report([cost("loss", total / words), perplexity(total / words)], facts=facts)

    def _of_pictures(self, batches: PictureRepairs) -> Report:
        sums, pixels, count = defaultdict[str, float](float), 1, 0
        with reading(self.model):
            for _, pictures, worse, mask in batches.judged():
                outputs = self.coder(self.placed(inputs_of(self.config, worse, mask))).float().cpu()
                batch = ReconstructionBatch(worse, targets_of(self.config, pictures), mask)
                sums["loss"] += float(summed_loss(self.coder, outputs, batch)[0])
                result = restored(self.coder, outputs, worse, mask)
                for name, values in self._likeness(pictures, worse, result):
                    sums[name] += float(values.double().sum())
                pixels, count = pictures[0].numel(), count + len(pictures)
        means = {name: value / count for name, value in sums.items()}
        means["rmse"] = (means["squared_error"] / pixels) ** 0.5
        unit = "nats" if self.config.output == "logits" else ""
        units = {"loss": unit, "psnr": "dB", "psnr_before": "dB"}
        up = ("psnr", "ssim", "colourfulness")
        scores = [
            Score(name, value, units.get(name, ""), lower_is_better=not name.startswith(up))
            for name, value in means.items()
        ]
        return Report(scores, facts={"pictures": count, "unreadable": len(batches.order.pixels.refused)})

    def _likeness(self, pictures: Tensor, worse: Tensor, result: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The scores of each picture."""
        yield "squared_error", squared_error(result, pictures)
        yield "psnr", psnr(result, pictures)
        yield "ssim", ssim(result, pictures)
        if self.config.task in ("denoise", "inpaint"):
            yield "psnr_before", psnr(worse, pictures)
            yield "ssim_before", ssim(worse, pictures)
        if self.config.task == "colour":
            true = to_lab(pictures)
            for name, coloured in (("lab_error", result), ("lab_error_before", worse)):
                yield name, (to_lab(coloured) - true).square().sum(1).sqrt().flatten(1).mean(1)
            yield "colourfulness", colourfulness(result)
            yield "colourfulness_true", colourfulness(pictures)

    def save(self, folder: str | Path) -> None:
        """Write a folder in our own layout, of a model of latents in that of diffusers; words stand in config.json."""
        save_model(folder, self.model, preprocessor=self._preprocessor, system="reconstruction")


def open_reconstruction(loaded: Loaded) -> Reconstructor:
    """The system of a loaded checkpoint."""
    model: Any = loaded.model
    assert isinstance(model, Autoencoder | VAE | TinyVAE)  # the registry names this opener for such models only
    preprocessor = loaded.preprocessor
    if preprocessor is None and not isinstance(model, Autoencoder):  # as others write such folders
        size = loaded.config.get("sample_size")
        side, channels = size if isinstance(size, int) and size > 0 else SIDE, model.config.channels
        preprocessor = Preprocessor(side, side, side, crop=True, mean=(0.0,) * channels, std=(1.0,) * channels)
    return Reconstructor(model, preprocessor, family=loaded.family)
