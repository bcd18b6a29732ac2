"""What is added to a painter while it paints: LoRA files, each with a scale, and files of words learned later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from formers.adapters.lora import add, put_back
from formers.errors import ConfigError
from formers.kernels.weight import Weight
from formers.pretrained.diffusers_folder import DiffusionParts
from formers.pretrained.inversion import read_inversion
from formers.pretrained.peft.diffusion_lora import FAMILIES, read_diffusion_lora
from formers.systems.painting.options import file_and_scale


@contextmanager
def with_loras(parts: DiffusionParts, files: Sequence[str]) -> Iterator[None]:
    """Inside, the UNet and the tower of texts are those with these files (FILE:SCALE) merged into their matrices.

    Raises CheckpointError for a file that does not fit, ConfigError for a model in int8.
    """
    models = {name: model for name, model in parts.models() if name in FAMILIES}
    if files and any(isinstance(weight, Weight) for model in models.values() for weight in model.parameters()):
        raise ConfigError("a LoRA cannot be added to a model in int8; open it as fp32 or bf16")
    before = []
    try:
        for path, scale in map(file_and_scale, files):
            for part, adapter in read_diffusion_lora(path, models).items():
                before.append((models[part], add(models[part], adapter, scale)))
        yield
    finally:
        for model, weights in reversed(before):
            put_back(model, weights)


def learned_words(files: Sequence[str]) -> dict[str, Tensor]:
    """Word -> its vectors, of all these files. Raises CheckpointError, ConfigError for a word that two files have."""
    words: dict[str, Tensor] = {}
    for path in files:
        for word, vectors in read_inversion(path).items():
            if word in words:
                raise ConfigError(f'{path} has the word "{word}", which another file has too; give one of them')
            words[word] = vectors
    return words
