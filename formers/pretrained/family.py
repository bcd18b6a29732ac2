"""A family: which model of ours, and the two maps (config and weights) to a published layout of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from formers.errors import CheckpointError
from formers.pretrained.config_map import ConfigMap, Native
from formers.pretrained.mapping import as_rules, to_ours, to_theirs

RANDOM: set[Any] = {torch.Tensor.uniform_, torch.Tensor.normal_}
RANDOM |= {nn.init.trunc_normal_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_}


class WithoutDice(TorchFunctionMode):
    """Skips random initialisation: every parameter comes from the checkpoint, or loading fails."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in RANDOM:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True, kw_only=True)
class Family:
    model_type: str
    """The value of "model_type" in config.json."""
    model: type[nn.Module]
    config: ConfigMap | Native
    weights: Sequence[Any] | Callable[[Any], Sequence[Any]]
    """The table, or a function of our config that gives it."""
    prefixes: tuple[str, ...] = ()
    """Changes of prefix that published files need: "+model." before every name, "-bert." taken off."""
    architectures: tuple[str, ...] = ()
    """Class names that other libraries look for in config.json."""
    also: tuple[str, ...] = ()
    """Class names of files that are read as this, too: a body, or what the class was called before."""
    head: tuple[str, ...] = ()
    """Beginnings of the names of what only a head has; a file without any of them holds the body alone."""
    body: type | None = None
    """The class of the config of what a head stands on; None: the model is no head."""
    generation: Mapping[str, Any] = field(default_factory=dict)
    """Token ids that the family takes for granted where its files are silent."""

    def table(self, config: Any) -> Sequence[Any]:
        return self.weights(config) if callable(self.weights) else self.weights

    def build(
        self,
        raw: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        *,
        dtype: torch.dtype | None = None,
        what: str = "the checkpoint",
    ) -> tuple[nn.Module, str]:
        """Our model with these weights, and the prefix change that was needed. Raises CheckpointError."""
        config = self.config.to_ours(raw, tensors, what=f"config.json of {what}")
        try:
            with WithoutDice():
                model = self.model(config)
        except ValueError as fault:  # sizes that do not go together
            raise CheckpointError(f"config.json of {what}: {fault}") from fault
        shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
        loaded = to_ours(tensors, self.table(config), shapes, prefixes=self.prefixes, what=what)
        state = {
            name: tensor.to(dtype or torch.float32) if tensor.is_floating_point() else tensor
            for name, tensor in loaded.state.items()
        }
        model.load_state_dict(state, assign=True)
        return model.to(dtype or torch.float32).eval(), loaded.prefix

    def express(
        self, model: nn.Module, ids: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """config.json and tensors of `model` in this layout; None when the way back gives another config.

        ids: token ids for config.json, one of which may say what is computed (RoBERTa counts positions from padding).
        """
        if type(model) is not self.model or self.body not in (None, type(vars(model.config).get("encoder"))):
            return None
        raw = self.config.to_theirs(model.config)
        if raw is None:
            return None
        raw = {"model_type": self.model_type, "architectures": list(self.architectures), **raw, **(ids or {})}
        try:
            rules = as_rules(self.table(model.config))
            computed = {rule.theirs[0]: rule.computed() for rule in rules if rule.computed is not None}
            tensors = {**to_theirs(model.state_dict(), rules), **computed}
            same = self.config.to_ours(raw, tensors) == self.config.canonical(model.config)
        except CheckpointError:  # a part that this layout has no name for
            return None
        return (raw, tensors) if same else None
