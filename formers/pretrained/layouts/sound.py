"""What the families of Conformers share: the names of a block's parts, and how a convolution of size 1 is filed."""

from __future__ import annotations

from dataclasses import replace

from formers.models.conformer import ConformerEncoderConfig
from formers.pretrained.config_map import pairs
from formers.pretrained.layouts.causal import canonical_stack
from formers.pretrained.mapping import SAME, Op, Row, Rule

# A linear map is a convolution of size 1 in many files
POINTWISE = Op("pointwise", lambda x: x.squeeze(-1) if x.ndim == 3 else x, lambda x: x[..., None] if x.ndim == 2 else x)
NORM = "weight bias running_mean running_var"
CONVOLUTION = "convolution.gate convolution.out"  # of size 1


def block_rows(theirs: str, names: str, batch_norm: str) -> list[Row]:
    """One block: `names` as "theirs=ours", then its batch norm, of which old files may lack how often it has seen."""
    ours = "stack.blocks.{i}"
    rows: list[Row] = [
        (f"{theirs}.{name}.{{p}}", f"{ours}.{part}.{{p}}", POINTWISE if part in CONVOLUTION.split() else SAME)
        for name, part in pairs(names).items()
    ]
    norm = f"{ours}.convolution.norm"
    rows += [(f"{theirs}.{batch_norm}.{name}", f"{norm}.{name}") for name in NORM.split()]
    return [*rows, Rule((f"{theirs}.{batch_norm}.num_batches_tracked",), f"{norm}.num_batches_tracked", zeros=True)]


def canonical(config: ConformerEncoderConfig) -> ConformerEncoderConfig:
    """The config without what changes nothing in use."""
    return replace(
        config,
        stack=canonical_stack(config.stack),
        rotary_base=config.rotary_base if config.positions == "rotary" else 10000.0,
    )
