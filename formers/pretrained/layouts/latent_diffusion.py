"""Stable Diffusion as its authors filed it (Rombach et al. 2022): the tables of its three networks, and their sizes.

    model.diffusion_model.input_blocks.1.0.in_layers.0.weight    blocks are counted through all levels
    first_stage_model.decoder.up.3.block.0.norm1.weight          a decoder's levels from the pictures down
    cond_stage_model.transformer.text_model. ...                 1.x: the tower of texts as in CLIP's own files
    cond_stage_model.model.transformer.resblocks. ...            2.x: as in open_clip's, the last layer but one is read

There is no config: sizes are those of the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from formers.errors import CheckpointError
from formers.models.unet import UNetConfig
from formers.models.vae import VAEConfig
from formers.pretrained.config_map import pairs
from formers.pretrained.families.clip import OPEN_TEXT, TEXTS
from formers.pretrained.families.diffusion import AUTOENCODER, BLOCK, UNET
from formers.pretrained.mapping import CONVOLUTION, SAME, Row, Rows, dropped

GROUPS, HEADS, HEAD_DIM = 32, 8, 64  # 1.x has so many heads, 2.x heads of so many numbers
IN_UNET = pairs("""
    in_layers.0=norm_in in_layers.2=convolution_in emb_layers.1=time out_layers.0=norm_out
    out_layers.3=convolution_out skip_connection=shortcut
""")
IN_CODER = pairs("""
    norm1=norm_in conv1=convolution_in norm2=norm_out conv2=convolution_out nin_shortcut=shortcut
""")
Tensors = Mapping[str, Tensor]


def residual(theirs: str, ours: str, names: Mapping[str, str]) -> list[Row]:
    return [(f"{theirs}.{old}.{{p}}", f"{ours}.{new}.{{p}}") for old, new in names.items()]


def transformer(theirs: str, ours: str, op: Any) -> list[Row]:
    return [
        (f"{theirs}.norm.{{p}}", f"{ours}.norm.{{p}}"),
        (f"{theirs}.proj_in.{{p}}", f"{ours}.project_in.{{p}}", op),
        (f"{theirs}.proj_out.{{p}}", f"{ours}.project_out.{{p}}", op),
        *((f"{theirs}.transformer_blocks.0.{old}.{{p}}", f"{ours}.block.{new}.{{p}}") for old, new in BLOCK.items()),
    ]


def unet_rows(config: UNetConfig) -> Rows:
    op, last = SAME if config.linear else CONVOLUTION, len(config.widths) - 1
    rows: list[Row] = []
    number = 1
    for level, attends in enumerate(config.attention):
        for i in range(config.depth):
            rows += residual(f"input_blocks.{number}.0", f"down.{level}.residuals.{i}", IN_UNET)
            rows += transformer(f"input_blocks.{number}.1", f"down.{level}.attentions.{i}", op) if attends else []
            number += 1
        if level < last:
            rows.append((f"input_blocks.{number}.0.op.{{p}}", f"down.{level}.resample.convolution.{{p}}"))
            number += 1
    for i, place in enumerate((0, 2)):
        rows += residual(f"middle_block.{place}", f"middle.residuals.{i}", IN_UNET)
    rows += transformer("middle_block.1", "middle.attentions.0", op)
    number = 0
    for level, attends in enumerate(reversed(config.attention)):
        for i in range(config.depth + 1):
            rows += residual(f"output_blocks.{number}.0", f"up.{level}.residuals.{i}", IN_UNET)
            rows += transformer(f"output_blocks.{number}.1", f"up.{level}.attentions.{i}", op) if attends else []
            number += 1
        if level < last:
            theirs = f"output_blocks.{number - 1}.{1 + attends}.conv"
            rows.append((f"{theirs}.{{p}}", f"up.{level}.resample.convolution.{{p}}"))
    return [
        *rows,
        ("time_embed.{i}.{p}", "time.{i}.{p}"),
        ("input_blocks.0.0.{p}", "convolution_in.{p}"),
        ("out.0.{p}", "norm_out.{p}"),
        ("out.2.{p}", "convolution_out.{p}"),
    ]


def coder_rows(theirs: str, levels: Mapping[int, int]) -> list[Row]:
    """An encoder or decoder; levels: their number of each of ours."""
    rows: list[Row] = []
    kind, change = ("up", "upsample") if theirs == "decoder" else ("down", "downsample")
    for ours, number in levels.items():
        level = f"{theirs}.{kind}.{number}"
        rows += residual(f"{level}.block.{{i}}", f"{theirs}.levels.{ours}.residuals.{{i}}", IN_CODER)
        rows.append((f"{level}.{change}.conv.{{p}}", f"{theirs}.levels.{ours}.resample.convolution.{{p}}"))
    for i in (0, 1):
        rows += residual(f"{theirs}.mid.block_{i + 1}", f"{theirs}.middle.residuals.{i}", IN_CODER)
    attention = f"{theirs}.middle.attentions.0"
    return [
        *rows,
        (f"{theirs}.mid.attn_1.norm.{{p}}", f"{attention}.norm.{{p}}"),
        *((f"{theirs}.mid.attn_1.{name}.{{p}}", f"{attention}.attention.{name}.{{p}}", CONVOLUTION) for name in "qkv"),
        (f"{theirs}.mid.attn_1.proj_out.{{p}}", f"{attention}.attention.o.{{p}}", CONVOLUTION),
        (f"{theirs}.norm_out.{{p}}", f"{theirs}.norm_out.{{p}}"),
        (f"{theirs}.conv_in.{{p}}", f"{theirs}.convolution_in.{{p}}"),
        (f"{theirs}.conv_out.{{p}}", f"{theirs}.convolution_out.{{p}}"),
    ]


def vae_rows(config: VAEConfig) -> Rows:
    count = len(config.widths)
    return [
        *coder_rows("encoder", {level: level for level in range(count)}),
        *coder_rows("decoder", {level: count - 1 - level for level in range(count)}),
        ("quant_conv.{p}", "quantise.{p}"),
        ("post_quant_conv.{p}", "dequantise.{p}"),
    ]


ORIGINAL_UNET, ORIGINAL_VAE = replace(UNET, weights=unet_rows), replace(AUTOENCODER, weights=vae_rows)
TEXT = TEXTS[0]
OPEN_CLIP_TEXT = replace(TEXT, weights=[*OPEN_TEXT, dropped("text_projection", "logit_scale")], prefixes=())


def about_unet(tensors: Tensors, where: str) -> dict[str, Any]:
    """Its config.json, as diffusers would write it."""
    numbers = [int(name.split(".")[1]) for name in tensors if name.endswith(".0.op.weight")]
    blocks = {name.split(".")[1] for name in tensors if name.startswith("input_blocks.")}
    depth = min(numbers, default=len(blocks)) - 1
    starts: list[str] = []
    while f"input_blocks.{1 + len(starts) * (depth + 1)}.0.in_layers.2.weight" in tensors:
        starts.append(f"input_blocks.{1 + len(starts) * (depth + 1)}")
    widths = [side(tensors, f"{start}.0.in_layers.2.weight", 0, where) for start in starts]
    attends = [f"{start}.1.norm.weight" in tensors for start in starts]
    linear = tensor(tensors, "middle_block.1.proj_in.weight", where).ndim == 2
    kinds = [f"{'CrossAttn' * level}{{}}Block2D" for level in attends]
    return {
        "in_channels": side(tensors, "input_blocks.0.0.weight", 1, where),
        "out_channels": side(tensors, "out.2.weight", 0, where),
        "block_out_channels": widths,
        "layers_per_block": depth,
        "down_block_types": [kind.format("Down") for kind in kinds],
        "up_block_types": [kind.format("Up") for kind in reversed(kinds)],
        "cross_attention_dim": side(tensors, "middle_block.1.transformer_blocks.0.attn2.to_k.weight", 1, where),
        "attention_head_dim": [max(1, width // HEAD_DIM) for width in widths] if linear else HEADS,
        "use_linear_projection": linear,
        "norm_num_groups": GROUPS,
    }


def about_vae(tensors: Tensors, where: str) -> dict[str, Any]:
    """Its config.json, as diffusers would write it."""
    widths: list[int] = []
    while (name := f"encoder.down.{len(widths)}.block.0.conv1.weight") in tensors:
        widths.append(side(tensors, name, 0, where))
    depth = sum(name.startswith("encoder.down.0.block.") and name.endswith(".conv1.weight") for name in tensors)
    channels = side(tensors, "encoder.conv_in.weight", 1, where)
    return {
        "in_channels": channels,
        "out_channels": channels,
        "latent_channels": side(tensors, "post_quant_conv.weight", 1, where),
        "block_out_channels": widths,
        "layers_per_block": depth,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "norm_num_groups": GROUPS,
        "scaling_factor": 0.18215,
    }


def about_text(tensors: Tensors, where: str, *, open_clip: bool) -> dict[str, Any]:
    """Its config.json, as CLIP's own files have it."""
    if open_clip:
        names = "token_embedding.weight", "positional_embedding", "transformer.resblocks.{}.mlp.c_fc.weight"
    else:
        inside = "text_model." if any(name.startswith("text_model.") for name in tensors) else ""
        names = (
            f"{inside}embeddings.token_embedding.weight",
            f"{inside}embeddings.position_embedding.weight",
            f"{inside}encoder.layers.{{}}.mlp.fc1.weight",
        )
    table, positions, layer = names
    layers = 0
    while layer.format(layers) in tensors:
        layers += 1
    dim = side(tensors, table, 1, where)
    return {
        "vocab_size": side(tensors, table, 0, where),
        "hidden_size": dim,
        "intermediate_size": side(tensors, layer.format(0), 0, where),
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, dim // HEAD_DIM),
        "max_position_embeddings": side(tensors, positions, 0, where),
        "hidden_act": "gelu" if open_clip else "quick_gelu",
        "eos_token_id": 2,  # which means the token with the highest number
    }


def tensor(tensors: Tensors, name: str, where: str) -> Tensor:
    if name not in tensors:
        raise CheckpointError(f"{where} has no {name}, which every Stable Diffusion 1.x or 2.x has")
    return tensors[name]


def side(tensors: Tensors, name: str, dim: int, where: str) -> int:
    """A side of a tensor. Raises CheckpointError for one that is missing, or has fewer."""
    shape = tensor(tensors, name, where).shape
    if len(shape) <= dim:
        raise CheckpointError(f"{where}: {name} has the shape {tuple(shape)}, expected at least {dim + 1} sides")
    return shape[dim]
