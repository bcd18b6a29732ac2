"""A family: which model of ours, and the two maps (config and weights) to a published layout of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from formers.blocks.stack import StackConfig
from formers.errors import CheckpointError
from formers.pretrained.config_map import ConfigMap, Native
from formers.pretrained.mapping import Rule, as_rules, theirs_for, to_ours, to_theirs

CLASS = "_class_name"  # the key of config.json that says what a part of a folder of diffusers is
RANDOM: set[Any] = {torch.Tensor.uniform_, torch.Tensor.normal_}
RANDOM |= {nn.init.trunc_normal_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_}


class Outline(TorchFunctionMode):
    """A model is made without memory for its weights: each comes from the checkpoint, or loading fails.

    So nothing is drawn at random, and sizes that a file only claims cost nothing before they are compared.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in RANDOM:
            return args[0] if args else kwargs["tensor"]
        if func is torch.empty:
            return func(*args, **{**(kwargs or {}), "device": "meta"})
        return func(*args, **(kwargs or {}))


def outlined(kind: type[nn.Module], config: Any, where: str) -> nn.Module:
    """A model without memory for its weights. Raises CheckpointError for sizes that do not go together."""
    try:
        with Outline():
            return kind(config)
    except (ValueError, ArithmeticError, RuntimeError, TypeError) as fault:
        raise CheckpointError(f"{where}: {str(fault).splitlines()[0]}") from fault


class Built(NamedTuple):
    """A model made of a checkpoint."""

    model: nn.Module
    prefix: str
    """The prefix change that was needed."""
    unread: tuple[str, ...]
    """Names of learned tensors that it has no place for."""


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
    written: bool = True
    """Whether models are saved so; else their files are read only."""
    generation: Mapping[str, Any] = field(default_factory=dict)
    """Token ids that the family takes for granted where its files are silent."""
    diffusers: bool = False
    """Whether files are those of that library: the type is "_class_name", and weights have a name of their own."""

    def table(self, config: Any) -> Sequence[Any]:
        return self.weights(config) if callable(self.weights) else self.weights

    def build(
        self,
        raw: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        *,
        dtype: torch.dtype | None = None,
        what: str = "the checkpoint",
    ) -> Built:
        """Our model with these weights. Raises CheckpointError."""
        where = f"config.json of {what}"
        config = self.config.to_ours(raw, tensors, what=where)
        if (layers := blocks_of(config)) > len(tensors):
            raise CheckpointError(f"{where} says {layers:,} layers, but there are {len(tensors):,} weights")
        model = outlined(self.model, config, where)
        rules = as_rules(self.table(config))
        expected = model.state_dict()
        shapes = {name: tensor.shape for name, tensor in expected.items()}
        loaded = to_ours(tensors, rules, shapes, prefixes=self.prefixes, what=what)
        for name, tensor in loaded.state.items():
            if expected[name].is_floating_point() and not tensor.is_floating_point():
                kind = str(tensor.dtype).removeprefix("torch.")
                raise CheckpointError(f"{what}: {theirs_for(name, rules)} is stored as {kind}, expected fractions")
        model.load_state_dict(self.cast(loaded.state, rules, dtype or torch.float32), assign=True)
        return Built(model.eval(), loaded.prefix, loaded.unread)

    def cast(self, state: Mapping[str, Tensor], rules: Sequence[Rule], dtype: torch.dtype) -> dict[str, Tensor]:
        """Our tensors in another type of numbers, but those that would lose digits of the file's own."""
        wide = [pattern for rule in rules if rule.op.wide for pattern in rule.target_patterns]
        if wide and dtype != torch.float32:  # a norm of another type than what it reads is one kernel less, in which
            # nothing is lost
            warnings.filterwarnings("ignore", "Mismatch dtype between input and weight", UserWarning)

        def keeps(name: str, tensor: Tensor) -> bool:
            return not tensor.is_floating_point() or any(pattern.fullmatch(name) for pattern in wide)

        return {name: tensor if keeps(name, tensor) else tensor.to(dtype) for name, tensor in state.items()}

    def narrow(self, model: nn.Module, dtype: torch.dtype) -> None:
        """Give a model that was built another type of numbers, as `build` does."""
        rules = as_rules(self.table(model.config))
        model.load_state_dict(self.cast(model.state_dict(), rules, dtype), assign=True)

    def express(
        self, model: nn.Module, ids: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """config.json and tensors of `model` in this layout; None when the way back gives another config.

        ids: token ids for config.json, one of which may say what is computed (RoBERTa counts positions from padding).
        """
        if (
            not self.written
            or type(model) is not self.model
            or self.body not in (None, *map(type, vars(model.config).values()))
        ):
            return None
        raw = self.config.to_theirs(model.config)
        if raw is None:
            return None
        if self.diffusers:
            raw = {CLASS: self.model_type, **raw}
        else:
            raw = {"model_type": self.model_type, "architectures": list(self.architectures), **raw, **(ids or {})}
        try:
            rules = as_rules(self.table(model.config))
            computed = {rule.theirs[0]: rule.computed() for rule in rules if rule.computed is not None}
            state = model.state_dict()
            tensors = {**to_theirs(state, rules), **computed}
            if any(rule.op.wide for rule in rules):  # what is held wider than the rest is not so in the file
                narrow = next(iter(state.values())).dtype
                tensors = {name: tensor.to(narrow) for name, tensor in tensors.items()}
            same = self.config.to_ours(raw, tensors) == self.config.canonical(model.config)
        except CheckpointError:  # a part that this layout has no name for
            return None
        return (raw, tensors) if same else None


def blocks_of(config: Any) -> int:
    """How many blocks a config asks for, all its stacks together."""
    if isinstance(config, StackConfig):
        return config.layers
    inner = (getattr(config, part.name) for part in fields(config)) if is_dataclass(config) else ()
    return sum(map(blocks_of, inner)) // max(1, getattr(config, "repeat", 1))
