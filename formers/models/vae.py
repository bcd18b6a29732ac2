"""Autoencoders of pictures: the one that Stable Diffusion's latents come from, and a tiny one that reads the same.

    picture -> residual convolutions, halved at each level -> attention -> mean and log-variance (4 x 1/8 x 1/8)
    latents -> attention -> residual convolutions, doubled at each level -> picture

Papers: Kingma & Welling 2014; Rombach et al. 2022; the tiny one: TAESD (Bohan 2023). What is particular:
  * Pictures are from -1 to 1. What diffusion works on are latents times `scale`, so that they have a deviation of 1.
  * Its convolutions that halve a picture are padded below and on the right alone; sides that are odd lose a row.
  * The tiny one gives no distribution but latents, already scaled, and is a hundred times as fast.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from formers.blocks.convolution import through
from formers.blocks.levels import Downsample, Level, PreactivatedConvolutions, ResidualAttention, Upsample, silu

EPS = 1e-6
SMALL = 0.1  # of what a residual branch gives at first


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    channels: int = 3
    """Of the pictures."""
    latent_channels: int = 4
    widths: tuple[int, ...] = (128, 256, 512, 512)
    """Channels of each level, from the size of the pictures down; between two of them the sides are halved."""
    depth: int = 2
    """Residual blocks of each level of the encoder; the decoder has one more."""
    groups: int = 32
    """Groups of channels in the norms."""
    scale: float = 0.18215
    """Latents times this have a deviation of 1."""

    def __post_init__(self) -> None:
        check_widths(self.widths, self.groups)

    @property
    def factor(self) -> int:
        """Pixels of a picture for one of its latents, down and across."""
        return 2 ** (len(self.widths) - 1)


@dataclass(frozen=True, kw_only=True)
class TinyVAEConfig:
    channels: int = 3
    latent_channels: int = 4
    width: int = 64
    encoder_depths: tuple[int, ...] = (1, 3, 3, 3)
    """Residual blocks of each level, from the size of the pictures down."""
    decoder_depths: tuple[int, ...] = (3, 3, 3, 1)
    """The same from the latents up."""
    scale: float = 1.0
    """As of `VAEConfig`."""

    def __post_init__(self) -> None:
        ends = len(self.encoder_depths), len(self.decoder_depths)
        if ends[0] != ends[1] or not ends[0]:
            raise ValueError(f"encoder_depths ({ends[0]}) and decoder_depths ({ends[1]}) must be equally many levels")

    @property
    def factor(self) -> int:
        """As of `VAEConfig`."""
        return 2 ** (len(self.encoder_depths) - 1)


class VAE(nn.Module):
    """The autoencoder with a Gaussian of latents."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = LatentEncoder(config)
        self.quantise = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.dequantise = nn.Conv2d(config.latent_channels, config.latent_channels, 1)
        self.decoder = PictureDecoder(config)
        self.apply(initialise)

    def encode(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch latents rows columns"], Float[Tensor, "batch latents rows columns"]]:
        """Mean and log-variance of the latents of pictures from -1 to 1, without `scale`.

        Raises ValueError for another number of channels, or sides shorter than one latent.
        """
        check_picture(pictures, self.config)
        mean, logvar = self.quantise(self.encoder(pictures)).chunk(2, 1)
        return mean, logvar.clamp(-30.0, 20.0)

    def decode(
        self, latents: Float[Tensor, "batch latents rows columns"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Pictures about from -1 to 1 of latents without `scale`."""
        return self.decoder(self.dequantise(latents))


class LatentEncoder(nn.Module):
    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        c, last = config, len(config.widths) - 1
        self.convolution_in = nn.Conv2d(c.channels, c.widths[0], 3, padding=1)
        before = (c.widths[0], *c.widths)
        self.levels = nn.ModuleList(
            Level(
                residuals(before[i], width, c.depth, c), resample=None if i == last else Downsample(width, padded=False)
            )
            for i, width in enumerate(c.widths)
        )
        self.middle = make_middle(c)
        self.norm_out = nn.GroupNorm(c.groups, c.widths[-1], EPS)
        self.convolution_out = nn.Conv2d(c.widths[-1], 2 * c.latent_channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch two rows columns"]:
        x = self.convolution_in(x.contiguous(memory_format=torch.channels_last))
        for level in self.levels:
            x = level(x)
        return self.convolution_out(silu(self.norm_out(self.middle(x))))


class PictureDecoder(nn.Module):
    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        c, widths = config, config.widths[::-1]
        self.convolution_in = nn.Conv2d(c.latent_channels, widths[0], 3, padding=1)
        self.middle = make_middle(c)
        before, last = (widths[0], *widths), len(widths) - 1
        self.levels = nn.ModuleList(
            Level(residuals(before[i], width, c.depth + 1, c), resample=None if i == last else Upsample(width))
            for i, width in enumerate(widths)
        )
        self.norm_out = nn.GroupNorm(c.groups, widths[-1], EPS)
        self.convolution_out = nn.Conv2d(widths[-1], c.channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "batch latents rows columns"]) -> Float[Tensor, "batch channels height width"]:
        x = self.middle(self.convolution_in(x.contiguous(memory_format=torch.channels_last)))
        for level in self.levels:
            x = level(x)
        return self.convolution_out(silu(self.norm_out(x)))


def residuals(channels: int, width: int, depth: int, config: VAEConfig) -> list[PreactivatedConvolutions]:
    """The blocks of a level, the first of which reads so many channels."""
    widths = itertools.pairwise((channels, *(width,) * depth))
    return [PreactivatedConvolutions(before, after, groups=config.groups, eps=EPS) for before, after in widths]


def make_middle(config: VAEConfig) -> Level:
    """Two residual blocks with attention between them, as wide as the last level."""
    width = config.widths[-1]
    return Level(residuals(width, width, 2, config), [ResidualAttention(width, groups=config.groups, eps=EPS)])


class TinyVAE(nn.Module):
    """The autoencoder of a few convolutions: its layers have the numbers of TAESD's."""

    def __init__(self, config: TinyVAEConfig) -> None:
        super().__init__()
        c, width = config, config.width
        self.config = config
        layers: list[nn.Module] = []
        for i, depth in enumerate(c.encoder_depths):
            halve = nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)
            layers += [halve if i else nn.Conv2d(c.channels, width, 3, padding=1)]
            layers += [TinyConvolutions(width) for _ in range(depth)]
        self.encoder = nn.Sequential(*layers, nn.Conv2d(width, c.latent_channels, 3, padding=1))
        layers = [nn.Conv2d(c.latent_channels, width, 3, padding=1), nn.ReLU()]
        for i, depth in enumerate(c.decoder_depths):
            if i:
                layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False)]
            layers += [TinyConvolutions(width) for _ in range(depth)]
        self.decoder = nn.Sequential(*layers, nn.Conv2d(width, c.channels, 3, padding=1))
        self.apply(initialise)

    def encode(
        self, pictures: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch latents rows columns"]:
        """Latents of pictures from -1 to 1. Raises ValueError as `VAE.encode`."""
        check_picture(pictures, self.config)
        return self.encoder((pictures.contiguous(memory_format=torch.channels_last) + 1) / 2)

    def decode(
        self, latents: Float[Tensor, "batch latents rows columns"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Pictures about from -1 to 1; latents far from 0 are held within 3 of it."""
        x = 3 * torch.tanh(latents.contiguous(memory_format=torch.channels_last) / 3)
        return through(self.decoder, x) * 2 - 1


class TinyConvolutions(nn.Module):
    """relu(x + three convolutions with a ReLU between them), without norms."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second, third = (nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.layers = nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True), third)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        return torch.relu_(through(self.layers, x).add_(x))


def initialise(module: nn.Module) -> None:
    """Numbers stay as large as they come in, and each residual branch begins as nearly nothing: with PyTorch's own, a
    third of that, learning begins late."""
    for convolution in module.children():
        if isinstance(convolution, nn.Conv2d):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="linear")
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)
    if isinstance(module, PreactivatedConvolutions):
        module.convolution_out.weight.data.mul_(SMALL)
    if isinstance(module, TinyConvolutions):
        module.layers[-1].get_parameter("weight").data.mul_(SMALL)


def check_widths(widths: tuple[int, ...], groups: int) -> None:
    """Raises ValueError where the groups of the norms do not divide the channels of a level."""
    if not widths:
        raise ValueError("widths is empty, expected the channels of each level")
    for width in widths:
        if width % groups:
            raise ValueError(f"widths ({width}) must be multiples of groups ({groups})")


def check_picture(pictures: Tensor, config: VAEConfig | TinyVAEConfig) -> None:
    if pictures.shape[1] != config.channels:
        raise ValueError(f"pictures have {pictures.shape[1]} channels, but this model reads {config.channels}")
    if min(pictures.shape[-2:]) < config.factor:
        height, width = pictures.shape[-2:]
        raise ValueError(f"a picture of {width} x {height} pixels is smaller than one latent, {config.factor} pixels")
