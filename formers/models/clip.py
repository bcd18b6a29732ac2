"""CLIP and SigLIP: a tower that reads pictures and one that reads texts, whose vectors meet in one space.

    pictures -> ViT or ResNet -> pool -> project \
                                                  unit vectors -> scaled similarities
    tokens -> embed + position -> Stack -> pool -> project /

Papers: Radford et al. 2021 (CLIP); Zhai et al. 2023 (SigLIP). What is particular:
  * CLIP's texts are read causally and end in a token whose vector is theirs: what stands behind it is cut off, which
    changes nothing.
  * SigLIP's texts are always filled up to their full length, padding is read like any token, and the last vector is
    theirs; a bias stands beside the scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from formers.blocks.dropout import dropout
from formers.blocks.embedding import embed
from formers.blocks.pooling import first_of, pool
from formers.blocks.position import Learned
from formers.blocks.stack import Stack, StackConfig
from formers.errors import ConfigError, nearest
from formers.models.resnet import ResNet, ResNetConfig
from formers.models.vit import SIZES, ViT, ViTConfig

MOST_SCALE = math.log(100)  # of the logarithm of the scale (Radford et al. 2021, 2.5)
START = math.log(1 / 0.07)


@dataclass(frozen=True, kw_only=True)
class TextTowerConfig:
    stack: StackConfig
    vocab: int = 49408
    length: int = 77
    causal: bool = True
    """A token sees those before it, and the end of a text is its vector; else all see all, and the last one is."""
    end: int | None = None
    """The token that ends a text where it stands first; None: the one with the highest number."""
    pad: int = 0
    """What fills up a text that is not read causally."""
    projection: int = 512
    """Numbers of a vector after the last map; 0: there is none."""
    projection_bias: bool = False


@dataclass(frozen=True, kw_only=True)
class PictureTowerConfig:
    body: ViTConfig | ResNetConfig
    projection: int = 512
    """Numbers of a vector after the last map; 0: there is none."""

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self.projection or width_of(self.body)


@dataclass(frozen=True, kw_only=True)
class CLIPConfig:
    picture: PictureTowerConfig
    text: TextTowerConfig
    bias: bool = False
    """Similarities have a learned bias beside their scale (SigLIP)."""

    def __post_init__(self) -> None:
        texts = self.text.projection or self.text.stack.dim
        if texts != self.picture.width:
            raise ValueError(f"vectors of texts have {texts} numbers, but those of pictures {self.picture.width}")

    @property
    def vocab(self) -> int:
        return self.text.vocab


def width_of(body: ViTConfig | ResNetConfig) -> int:
    """Numbers of what a body of vision pools."""
    return body.stack.dim if isinstance(body, ViTConfig) else body.widths[-1]


class TextTower(nn.Module):
    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        c, s = config, config.stack
        self.config = config
        self.embedding = nn.Embedding(c.vocab, s.dim)
        self.positions = Learned(c.length, s.dim)
        self.stack = Stack(s, causal=c.causal)
        self.project = nn.Linear(s.dim, c.projection, bias=c.projection_bias) if c.projection else None
        self.initialise()

    def initialise(self) -> None:
        """As CLIP's authors did: the deeper the stack, the smaller what each block adds."""
        dim, layers = self.config.stack.dim, self.config.stack.layers
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.01)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                added = (2 * layers) ** -0.5 if name.endswith((".o", ".down")) else 1.0
                nn.init.normal_(module.weight, std=dim**-0.5 * (2**-0.5 if name.endswith(".up") else added))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def hidden(
        self,
        tokens: Int[Tensor, "batch length"],
        *,
        last: bool = False,
        seen: list[Tensor] | None = None,
        table: nn.Embedding | None = None,
    ) -> Float[Tensor, "batch asked dim"]:
        """Hidden states of the tokens as they are; last, seen: as in `Stack`; table: vectors in place of its own."""
        x = embed(tokens, table or self.embedding, self.positions)
        return self.stack(dropout(x, self.config.stack.dropout, self.training), last=last, seen=seen)

    def forward(
        self, tokens: Int[Tensor, "batch length"], keep: Bool[Tensor, "batch length"] | None = None
    ) -> Float[Tensor, "batch width"]:
        """The vector of each text, of any length; keep: True is a real token, padding stands behind a text.

        Raises ValueError for a text without its end, or longer than the positions that are learned.
        """
        if not self.config.causal:
            x = self.hidden(self.filled(tokens, keep), last=True)[:, -1]
        else:
            ends = self.ends(tokens)
            length = int(ends.max()) + 1
            single = bool((ends == length - 1).all())  # then no other vector of the last block is needed
            x = self.hidden(tokens[:, :length], last=single)
            x = x[:, -1] if single else pool(x, at=ends)
        return x if self.project is None else self.project(x)

    def ends(self, tokens: Int[Tensor, "batch length"]) -> Int[Tensor, " batch"]:
        """Where each text ends."""
        return tokens.argmax(1) if self.config.end is None else first_of(tokens, self.config.end)

    def filled(
        self, tokens: Int[Tensor, "batch length"], keep: Bool[Tensor, "batch length"] | None
    ) -> Int[Tensor, "batch full"]:
        """The tokens with padding up to the model's length, whatever padding they came with."""
        c = self.config
        tokens = tokens if keep is None else tokens.masked_fill(~keep, c.pad)
        return F.pad(tokens, (0, max(0, c.length - tokens.shape[1])), value=c.pad)


class PictureTower(nn.Module):
    def __init__(self, config: PictureTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.body = ViT(config.body) if isinstance(config.body, ViTConfig) else ResNet(config.body)
        width = width_of(config.body)
        self.project = nn.Linear(width, config.projection, bias=False) if config.projection else None
        if self.project is not None:
            nn.init.normal_(self.project.weight, std=width**-0.5)

    def forward(self, pictures: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch vector"]:
        """The vector of each picture."""
        x = self.body.pool(self.body(pictures))
        return x if self.project is None else self.project(x)


class CLIP(nn.Module):
    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.picture = PictureTower(config.picture)
        self.text = TextTower(config.text)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10) if config.bias else START))
        self.logit_bias = nn.Parameter(torch.tensor(-10.0)) if config.bias else None

    def encode_picture(self, pictures: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch dim"]:
        """Unit vectors of pictures."""
        return F.normalize(self.picture(pictures), dim=-1)

    def encode_text(
        self, tokens: Int[Tensor, "batch length"], keep: Bool[Tensor, "batch length"] | None = None
    ) -> Float[Tensor, "batch dim"]:
        """Unit vectors of texts; keep: True is a real token, padding stands behind a text."""
        return F.normalize(self.text(tokens, keep), dim=-1)

    def forward(
        self,
        pictures: Float[Tensor, "pictures channels height width"],
        tokens: Int[Tensor, "texts length"],
        keep: Bool[Tensor, "texts length"] | None = None,
    ) -> Float[Tensor, "pictures texts"]:
        """Scaled similarities of every picture with every text."""
        return self.similarities(self.encode_picture(pictures), self.encode_text(tokens, keep))

    def similarities(
        self, pictures: Float[Tensor, "pictures dim"], texts: Float[Tensor, "texts dim"]
    ) -> Float[Tensor, "pictures texts"]:
        """The logits of unit vectors: their cosine times the scale, with the bias if any."""
        logits = self.logit_scale.exp() * pictures @ texts.T
        return logits if self.logit_bias is None else logits + self.logit_bias

    @torch.no_grad()
    def clamp_scale(self) -> None:
        """Keep the scale between 1 and 100, after each step of a training."""
        self.logit_scale.clamp_(0, MOST_SCALE)


_STACK = StackConfig(dim=512, layers=12, heads=8, hidden=2048, activation="gelu_quick")
# Published sizes of the text tower by that of the picture tower, and the numbers of a vector.
TEXTS = {
    "base": (_STACK, 512),
    "large": (replace(_STACK, dim=768, heads=12, hidden=3072), 768),
    "huge": (replace(_STACK, dim=1024, layers=24, heads=16, hidden=4096, activation="gelu"), 1024),
}


def preset(name: str) -> CLIPConfig:
    """The config of a published size with its patch, such as "clip-base/32"."""
    form, _, patch = name.partition("/")
    size = form.removeprefix("clip-")
    if size not in TEXTS or not patch.isdecimal():
        raise ConfigError(f'there is no size "{name}"{nearest(name, [f"clip-{size}/32" for size in TEXTS])}')
    text, vector = TEXTS[size]
    layers, dim, heads, hidden = SIZES[size]
    stack = replace(text, layers=layers, dim=dim, heads=heads, hidden=hidden)
    body = ViTConfig(stack=stack, patch=int(patch), patch_bias=False, norm_input=True)
    return CLIPConfig(
        picture=PictureTowerConfig(body=body, projection=vector),
        text=TextTowerConfig(stack=text, end=49407, projection=vector),
    )
