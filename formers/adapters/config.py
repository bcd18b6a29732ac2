"""The [adapter] section of a recipe: which few weights learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import nn

from formers.adapters.bitfit import learn_biases, learn_last, share
from formers.adapters.lora import add_lora
from formers.fields import Between, Natural, check

PAPER = ("q", "v")  # what Hu et al. 2021 adapt


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Which few weights of the model in model.start learn."""

    kind: Literal["none", "lora", "bitfit", "head"] = "none"
    """none (all weights learn), lora, bitfit (biases) or head (the output head; the last block if it has none)."""
    rank: Natural = 8
    """Rank of LoRA's update of a matrix."""
    alpha: Annotated[float, Between(above=0)] = 16.0
    """LoRA's update is scaled by alpha / rank."""
    dropout: Annotated[float, Between(0, below=1)] = 0.0
    """Share of the inputs of LoRA's update set to zero while training."""
    targets: tuple[str, ...] = ()
    """Parts that are adapted: ends of names, all-linear, regular expressions (empty: q and v; all biases; the head)."""
    rank_stabilised: bool = False
    """Scale LoRA's update by alpha / sqrt(rank) instead (Kalajdzievski 2023)."""
    norms: bool = False
    """BitFit: the gains of the norms learn too."""

    def __post_init__(self) -> None:
        check(self, "adapter")


def adapt(model: nn.Module, config: AdapterConfig, seed: int = 0, *, whole: Sequence[str] = ()) -> str:
    """Freeze the model but for what `config` says, and the weights `whole`; gives a line for the report."""
    if config.kind == "lora":
        adapted = add_lora(
            model,
            rank=config.rank,
            alpha=config.alpha,
            dropout=config.dropout,
            targets=config.targets or PAPER,
            rank_stabilised=config.rank_stabilised,
            seed=seed,
            without={name.rpartition(".")[0] for name in whole},
        )
        what = f"LoRA of rank {config.rank} beside {len(adapted)} matrices"
    elif config.kind == "bitfit":
        names = learn_biases(model, targets=config.targets, norms=config.norms)
        what = f"{len(names)} biases{' and gains of norms' if config.norms else ''}"
    elif whole and not config.targets:
        what = "no other weights"
        model.requires_grad_(False)
    else:
        what = f"{len(learn_last(model, config.targets))} weights that come last"
    if whole:
        places = dict(model.named_parameters())
        for name in whole:
            places[name].requires_grad_(True)
        what += f", and the head ({', '.join(sorted({name.rpartition('.')[0] for name in whole}))})"
    some, every = share(model)
    return f"adapter: {what}: {some:,} of {every:,} numbers learn ({some / every:.2%})"
