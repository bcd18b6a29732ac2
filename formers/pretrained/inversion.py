"""Textual inversion (Gal et al. 2022): a file with the vectors of a word that a tower of texts has learned.

{"<cat-toy>": (dim) or (vectors, dim)}    learned_embeds.safetensors of diffusers
{"emb_params": (vectors, dim)}            of the common web interface, where the name of the file is the word
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from formers.errors import CheckpointError, shown
from formers.files import expanded
from formers.pretrained.files import read_safetensors, refuse_pickle
from formers.pretrained.mapping import finite, shape_of

UNNAMED = "emb_params"
XL = ("clip_l", "clip_g")


def read_inversion(path: str | Path) -> dict[str, Tensor]:
    """Word -> its vectors (vectors, dim), in fp32. Raises CheckpointError for a pickle, and for another file."""
    path = expanded(path)
    refuse_pickle(path)
    tensors = read_safetensors(path)
    if any(name in tensors for name in XL):
        raise CheckpointError(f"{path} is of Stable Diffusion XL, whose two towers are not read here")
    if UNNAMED in tensors:
        tensors = {path.stem: tensors[UNNAMED]}
    if not tensors:
        raise CheckpointError(f"{path} holds no learned words")
    for word, vectors in tensors.items():
        if vectors.ndim not in (1, 2) or not vectors.is_floating_point() or not vectors.numel():
            what = f"{path}: {shown(word)} has the shape {shape_of(vectors)}"
            raise CheckpointError(f"{what}, expected (vectors, numbers): this is no file of learned words")
        if not finite(vectors):
            raise CheckpointError(f"{path}: {shown(word)} holds NaN or infinity; get the file again")
        if not word.strip():
            raise CheckpointError(f"{path} has no word for its vectors; give the file its name")
    return {word: vectors.float().reshape(-1, vectors.shape[-1]) for word, vectors in tensors.items()}
