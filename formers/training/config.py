"""TrainConfig: every number of a training run. The line below a field is its help, in CLI and studio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from formers.errors import ConfigError
from formers.fields import Between, Count, Natural, OneOf, check
from formers.training.schedule import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, how fast and how carefully to train."""

    steps: Natural = 1000
    """How many updates of the weights in all."""
    rate: Annotated[float, Between(above=0)] = 1e-3
    """Peak learning rate, reached at the end of the warm-up."""
    warmup: Count = 100
    """Steps over which the learning rate rises linearly from zero."""
    schedule: Annotated[str, OneOf(tuple(SCHEDULES))] = "cosine"
    """How the learning rate falls after the warm-up: inverse_sqrt, cosine, linear or constant."""
    final_rate: float = 0.0
    """Learning rate towards which it falls (constant: does not fall)."""
    accumulate: Natural = 1
    """Batches whose gradients are added up before one update."""
    prefetch: Annotated[int, Between(-1)] = -1
    """Batches that a thread makes ahead while the model learns (0: none; -1: one, where a start finds it worth it)."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """How gradients become updates: AdamW, or Muon for the matrices of layers and AdamW for the rest."""
    clip: Annotated[float, Between(0)] = 1.0
    """Largest global norm of the gradient; longer ones are scaled down (0: off)."""
    weight_decay: Annotated[float, Between(0)] = 0.01
    """Decay of the weight matrices (not of norms, biases and embeddings)."""
    layer_decay: Annotated[float, Between(above=0, most=1)] = 1.0
    """Learning rate of each layer as a share of that of the layer above it (1: all learn alike)."""
    betas: Annotated[tuple[float, float], Between(0, below=1)] = (0.9, 0.98)
    """Decay of AdamW's running means of the gradient and of its square."""
    epsilon: Annotated[float, Between(above=0)] = 1e-8
    """AdamW's guard against a division by zero."""
    average: Annotated[float, Between(0, below=1)] = 0.0
    """Decay of the running average of the weights, which is then evaluated and saved (0: off)."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the forward pass: fp32, bf16, or auto (bf16 if a short probe finds it faster here)."""
    compile: bool = False
    """Compile the model with torch.compile: a slow start, faster steps."""
    recompute: bool = False
    """Recompute activations in the backward pass: less memory, about a third slower."""
    evaluate_every: Count = 100
    """Steps between evaluations on the validation data, also done after the last step (0: never)."""
    save_every: Count = 100
    """Steps between checkpoints; the last step, a stop and a new best are always saved (0: only those)."""
    sample_every: Count = 0
    """Steps between samples of what the model can do (0: never)."""
    log_every: Natural = 10
    """Steps between reports of the training loss."""
    keep: Natural = 2
    """How many of the latest checkpoints to keep, besides the best."""
    monitor: str = "loss"
    """The validation score that names the best checkpoint; lower is better for losses and errors."""
    patience: Count = 0
    """Stop after this many evaluations without a new best (0: never)."""
    seed: int = 1
    """Seed of everything random in training."""
    threads: Count = 0
    """CPU threads (0: as torch finds best)."""

    def __post_init__(self) -> None:
        check(self, "train")
        self._check("final_rate", 0 <= self.final_rate <= self.rate, f"in [0, train.rate = {self.rate}]")
        self._check("betas", len(self.betas) == 2, "two numbers in [0, 1)")
        self._check("patience", not (self.patience and not self.evaluate_every), "0 where train.evaluate_every is 0")

    def _check(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ConfigError(f"train.{name} ({getattr(self, name)}) must be {rule}")
