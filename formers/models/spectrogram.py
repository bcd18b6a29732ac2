"""The Audio Spectrogram Transformer: a ViT whose picture is a sound, frequencies down and time across.

    spectrograms -> overlapping patches -> [two class tokens; patches] + positions -> Stack -> mean of both -> labels

Paper: Gong et al. 2021. What is particular:
  * A clip of another length has a grid of its own, whose positions are those in the middle of the learned ones.
  * It may start from a model of pictures: kernels of three colours are summed, positions cut or read between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from formers.models.vit import ViT, ViTConfig, initialise


@dataclass(frozen=True, kw_only=True)
class SpectrogramConfig:
    body: ViTConfig
    """Its pictures are as high as there are mels, as wide as there are frames, and have one channel."""
    labels: tuple[str, ...] = ()
    """Names of the classes, in the order of the logits; without any there is no head."""
    kind: Literal["one", "several"] = "one"
    """One of the labels, or any number of them."""


class SpectrogramTransformer(nn.Module):
    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        self.config = config
        self.body = ViT(config.body)
        self.norm, self.out = None, None
        if config.labels:
            dim = config.body.stack.dim
            self.norm, self.out = nn.LayerNorm(dim, eps=config.body.stack.norm_eps), nn.Linear(dim, len(config.labels))
            initialise(self.out)

    def forward(
        self, spectrograms: Float[Tensor, "batch *shape"], *, seen: list[Tensor] | None = None
    ) -> Float[Tensor, "batch labels"] | Float[Tensor, "batch tokens dim"]:
        """Logits, without a head hidden states: class tokens, then patches from low frequencies to high ones.

        seen: as in `Stack`. Raises ValueError for other mels, or for less than a patch.
        """
        c = self.config.body
        if spectrograms.ndim != 3 or spectrograms.shape[2] != c.height or spectrograms.shape[1] < c.patch:
            shape = tuple(spectrograms.shape)
            raise ValueError(f"spectrograms are {shape}, expected (batch, {c.patch} or more frames, {c.height} mels)")
        x = self.body(spectrograms.mT[:, None], seen=seen)
        if self.norm is None or self.out is None:
            return x
        return self.out(self.norm(self.body.pool(x)))

    def vectors(self, spectrograms: Float[Tensor, "batch frames mels"]) -> Float[Tensor, "batch dim"]:
        """One vector of each sound: what the head reads."""
        return self.body.pool(self.body(spectrograms.mT[:, None]))


def spectrogram_body(stack_of: ViTConfig, *, mels: int, frames: int, stride: tuple[int, int]) -> ViTConfig:
    """The config of a body of spectrograms, with the blocks and patches of a config of pictures."""
    config = replace(stack_of, height=mels, width=frames, stride=stride)
    return replace(config, class_tokens=2, channels=1, positions="centred", pooler="classes")


@torch.no_grad()
def begun_from(body: ViT, config: ViTConfig) -> ViT:
    """A body with the weights of another: of pictures (ViT, DeiT), or of spectrograms of another length.

    A class token that is missing is a copy of the first. Raises ValueError for blocks or patches of other sizes.
    Source: Gong et al. 2021, 2.2.
    """
    if body.positions is None or not body.config.class_tokens or body.stem or body.config.registers:
        raise ValueError("a model of sounds starts from a ViT or DeiT: learned positions, a class token, no registers")
    new, old = ViT(config), body.config
    state = {name: weight for name, weight in body.state_dict().items() if not name.startswith("pooler.")}
    kernel = state["patches.project.weight"]
    if old.channels != config.channels:
        state["patches.project.weight"] = kernel.sum(1, keepdim=True)
    tokens = [min(token, old.class_tokens - 1) for token in range(config.class_tokens)]
    before, body.positions.centred = body.positions.centred, True
    places = body.positions(new.grid((config.height, config.width)))
    body.positions.centred = before
    state["positions.weight"] = torch.cat([places[tokens], places[old.class_tokens :]])
    state = {name: weight for name, weight in state.items() if not name.startswith("class_tokens.")}
    state |= {f"class_tokens.{i}": body.class_tokens[token] for i, token in enumerate(tokens)}
    try:
        new.load_state_dict(state)
    except RuntimeError as fault:
        raise ValueError(str(fault).splitlines()[-1].strip()) from fault
    return new
