"""The optimizer with decay where it belongs, the scaling of the gradients, the running average of the weights."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from formers.errors import CheckpointError, TrainingError
from formers.training.config import TrainConfig
from formers.training.muon import Muon


class Optimizer(Protocol):
    """What changes the weights, in groups whose `lr` is set before each step."""

    param_groups: list[dict[str, Any]]
    state: defaultdict[Tensor, Any]
    """Of each weight."""

    def step(self) -> Any: ...

    def zero_grad(self, set_to_none: bool = ...) -> None: ...


UNDECAYED = ("norm", "embed", "position", "bias")


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """name -> parameter, of those that learn; a shared one once."""
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if not weights:
        raise TrainingError("no weight of this model learns (requires_grad is False everywhere): nothing to train")
    return weights


def set_learning(model: nn.Module) -> None:
    """Training mode; but a batch norm whose weights are frozen is frozen whole, with the statistics that it has."""
    model.train()
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and not any(w.requires_grad for w in part.parameters()):
            part.eval()


def buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that belong to the model's state, a shared one once."""
    kept = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name in kept}


def decayed(model: nn.Module) -> set[str]:
    """The names of the weights that decay: matrices, but no embeddings, norms, biases or position tables."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)}
    return {
        name
        for name, weight in trainable(model).items()
        if weight.ndim >= 2
        and id(weight) not in tables
        and not any(word.startswith(UNDECAYED) for part in name.split(".") for word in part.split("_"))
    }


LAYER = re.compile(r"^(.*?)\b(?:blocks\.(\d+)|stages\.(\d+)\.(\d+))\.")  # of a stack, of a residual network
# What stands in a layer, neither first nor last: of these two, and of the networks of latents and noise
INNER = re.compile(r"\b(?:blocks\.\d+|stages\.\d+\.\d+|(?:residuals|attentions|layers)\.\d+|resample)\.")


def depths(model: nn.Module) -> dict[str, int]:
    """name -> depth of what learns: 0 below the blocks of the one stack, 1 and up in them, one more above.

    What a model makes before its stack stands below, what it makes after it above. Raises TrainingError for a model
    without layers, or with layers in two places.
    """
    names = [name for name, _ in model.named_parameters()]
    inside = {name: place.groups("0") for name in names if (place := LAYER.match(name))}
    stacks = {place[0] for place in inside.values()}
    if len(stacks) != 1:
        got = f"this {type(model).__name__} has {len(stacks)}"
        raise TrainingError(f"train.layer_decay is for models with one stack of layers, {got}; set it to 1")
    order = sorted({tuple(map(int, place[1:])) for place in inside.values()})
    depth = {place: number for number, place in enumerate(order, 1)}
    first = min(names.index(name) for name in inside)
    return {
        name: depth[tuple(map(int, inside[name][1:]))]
        if name in inside
        else 0
        if names.index(name) < first
        else len(order) + 1
        for name in trainable(model)
    }


def parameter_groups(
    model: nn.Module, names: Iterable[str] | None = None, *, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """What learns (or those of these names), decayed or not, as an optimizer takes it; the rate is set at every step.

    Each group takes the `share` of it that is layer_decay to the power of the layers above (Howard & Ruder 2018).
    """
    weights, decaying = trainable(model), decayed(model)
    depth = depths(model) if layer_decay != 1 else dict.fromkeys(weights, 0)
    top = max(depth.values())
    wanted = weights.keys() if names is None else set(names)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for decays in (True, False):
        for name, weight in weights.items():
            if name in wanted and (name in decaying) == decays:
                groups.setdefault((top - depth[name], decays), []).append(weight)
    return [
        {"params": group, "weight_decay": weight_decay if decays else 0.0, "share": layer_decay**above}
        for (above, decays), group in groups.items()
    ]


def adamw(
    model: nn.Module,
    names: Iterable[str] | None = None,
    *,
    weight_decay: float = 0.01,
    betas: tuple[float, float] = (0.9, 0.98),
    epsilon: float = 1e-8,
    layer_decay: float = 1.0,
) -> torch.optim.AdamW:
    """Fused AdamW over `parameter_groups` (Loshchilov & Hutter 2019)."""
    groups = parameter_groups(model, names, weight_decay=weight_decay, layer_decay=layer_decay)
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=epsilon, fused=True)


def make_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """The one that a run asks for, over what learns. Raises TrainingError where it is not for such a model."""
    decays: dict[str, Any] = {"weight_decay": config.weight_decay, "layer_decay": config.layer_decay}
    if config.optimizer == "adamw":
        return adamw(model, betas=config.betas, epsilon=config.epsilon, **decays)
    matrices = {name for name in decayed(model) if INNER.search(name)}
    if not matrices:
        got = f"this {type(model).__name__} has none that learn"
        raise TrainingError(f"train.optimizer muon is for the matrices of layers, {got}; set it to adamw")
    rest = adamw(model, trainable(model).keys() - matrices, betas=config.betas, epsilon=config.epsilon, **decays)
    return Muon(parameter_groups(model, matrices, **decays), rest)


def optimizer_tensors(optimizer: Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's memory by weight name: `optimizer.<weight>|<what>`."""
    return {
        f"optimizer.{name}|{key}": value
        for name, weight in trainable(model).items()
        for key, value in optimizer.state.get(weight, {}).items()
    }


def restore_optimizer(optimizer: Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    weights = trainable(model)
    for key, value in tensors.items():
        if not key.startswith("optimizer."):
            continue
        name, _, what = key.removeprefix("optimizer.").rpartition("|")
        if name not in weights:
            what = f"optimizer state of a weight {name} that does not learn in this model"
            raise CheckpointError(f"the checkpoint has {what}")
        weight = weights[name]
        # in the weight's own order of memory (channels last), which the fused update takes for granted
        place = torch.empty_like(weight, dtype=value.dtype) if value.shape == weight.shape else torch.empty_like(value)
        optimizer.state[weight][what] = place.copy_(value).to(weight.device)


def scale_gradients(gradients: list[Tensor], factor: float | Tensor, clip: float) -> Tensor:
    """Multiply summed gradients by `factor` (the mean) and clip their global norm; gives that norm.

    The norm is of the mean, before clipping. One pass, and nothing is read back from the device.
    """
    norm = torch.nn.utils.get_total_norm(gradients) * factor
    scale = torch.clamp(clip / (norm + 1e-6), max=1.0) * factor if clip else torch.as_tensor(factor, device=norm.device)
    torch._foreach_mul_(gradients, scale.to(gradients[0].dtype))
    return norm


class Average:
    """Running average of the weights, and of what batch norms have seen; at update t it keeps
    min(`decay`, (1 + t) / (10 + t)) of itself."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        statistics = {name: buffer for name, buffer in buffers(model).items() if buffer.is_floating_point()}
        self.weights: dict[str, Tensor] = {**trainable(model), **statistics}
        self.means = {name: weight.detach().clone() for name, weight in self.weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights as they are after update number `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = [weight.detach() for weight in self.weights.values()]
        torch._foreach_lerp_(list(self.means.values()), weights, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside, and its own again, bit for bit, afterwards."""
        own = {name: weight.detach().clone() for name, weight in self.weights.items()}
        try:
            self._put(self.means)
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, weight in self.weights.items():
            weight.copy_(values[name])
