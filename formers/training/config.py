"""TrainConfig: every number of a training run. The line below a field is its help, in CLI and studio."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
import textwrap
from dataclasses import dataclass

from formers.errors import ConfigError, nearest
from formers.training.schedule import SCHEDULES

PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, how fast and how carefully to train."""

    steps: int = 1000
    """How many updates of the weights in all."""
    rate: float = 1e-3
    """Peak learning rate, reached at the end of the warm-up."""
    warmup: int = 100
    """Steps over which the learning rate rises linearly from zero."""
    schedule: str = "cosine"
    """How the learning rate falls after the warm-up: inverse_sqrt, cosine, linear or constant."""
    final_rate: float = 0.0
    """Learning rate towards which it falls (constant: does not fall)."""
    accumulate: int = 1
    """Batches whose gradients are added up before one update."""
    prefetch: int = -1
    """Batches that a thread makes ahead while the model learns (0: none; -1: one, where a start finds it worth it)."""
    clip: float = 1.0
    """Largest global norm of the gradient; longer ones are scaled down (0: off)."""
    weight_decay: float = 0.01
    """Decay of the weight matrices (not of norms, biases and embeddings)."""
    layer_decay: float = 1.0
    """Learning rate of each layer as a share of that of the layer above it (1: all learn alike)."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay of AdamW's running means of the gradient and of its square."""
    epsilon: float = 1e-8
    """AdamW's guard against a division by zero."""
    average: float = 0.0
    """Decay of the running average of the weights, which is then evaluated and saved (0: off)."""
    precision: str = "auto"
    """Number format of the forward pass: fp32, bf16, or auto (bf16 if a short probe finds it faster here)."""
    compile: bool = False
    """Compile the model with torch.compile: a slow start, faster steps."""
    recompute: bool = False
    """Recompute activations in the backward pass: less memory, about a third slower."""
    evaluate_every: int = 100
    """Steps between evaluations on the validation data, also done after the last step (0: never)."""
    save_every: int = 100
    """Steps between checkpoints; the last step, a stop and a new best are always saved (0: only those)."""
    sample_every: int = 0
    """Steps between samples of what the model can do (0: never)."""
    log_every: int = 10
    """Steps between reports of the training loss."""
    keep: int = 2
    """How many of the latest checkpoints to keep, besides the best."""
    monitor: str = "loss"
    """The validation score that names the best checkpoint; lower is better for losses and errors."""
    patience: int = 0
    """Stop after this many evaluations without a new best (0: never)."""
    seed: int = 1
    """Seed of everything random in training."""
    threads: int = 0
    """CPU threads (0: as torch finds best)."""

    def __post_init__(self) -> None:
        for name, known in (("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f'train.{name} "{getattr(self, name)}" is not known{nearest(getattr(self, name), known)}'
                )
        for name in ("steps", "accumulate", "log_every", "keep"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        for name in (
            "warmup",
            "clip",
            "weight_decay",
            "evaluate_every",
            "save_every",
            "sample_every",
            "patience",
            "threads",
        ):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        self._check("prefetch", self.prefetch >= -1, "-1 or more")
        for name in ("rate", "epsilon"):
            self._check(name, 0 < getattr(self, name) < math.inf, "a positive number")
        self._check("final_rate", 0 <= self.final_rate <= self.rate, f"in [0, train.rate = {self.rate}]")
        self._check("average", 0 <= self.average < 1, "in [0, 1)")
        self._check("layer_decay", 0 < self.layer_decay <= 1, "in (0, 1]")
        fit = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        self._check("betas", fit, "two numbers in [0, 1)")
        self._check("patience", not (self.patience and not self.evaluate_every), "0 where train.evaluate_every is 0")

    def _check(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ConfigError(f"train.{name} ({getattr(self, name)}) must be {rule}")


def field_help(config: type) -> dict[str, str]:
    """field -> the docstring line below it, from the source of a dataclass; each must have one."""
    body = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for node, below in itertools.pairwise(body.body):
        match node, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = text.strip()
    missing = [field.name for field in dataclasses.fields(config) if field.name not in found]
    assert not missing, f"{config.__name__}: no docstring below {missing}"
    return found
