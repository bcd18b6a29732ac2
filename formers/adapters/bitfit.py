"""Learn some of the model's own weights: its biases (BitFit, Ben Zaken et al. 2022), or only what comes last."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from formers.adapters.lora import HEAD, ends_in
from formers.errors import ConfigError

NORMS = nn.LayerNorm | nn.RMSNorm | nn.GroupNorm | nn.modules.batchnorm._BatchNorm


def learn_biases(model: nn.Module, *, targets: Sequence[str] = (), norms: bool = False) -> list[str]:
    """Freeze all but the biases (those of `targets` only, ends of the names of their modules); gives their names.

    norms: the gains of the norms learn too. Raises ConfigError where there are none, as in the Llama form.
    """
    biases = []
    for place, module in model.named_modules():
        if targets and not ends_in(place, targets):
            continue
        for name, _ in module.named_parameters(place, recurse=False):
            if name.rpartition(".")[2] == "bias" or (norms and isinstance(module, NORMS)):
                biases.append(name)
    if not biases:
        where = f" in {', '.join(targets)}" if targets else ""
        fix = "adapt it with LoRA" if norms else "adapt it with LoRA, or let the norms learn"
        raise ConfigError(f"this model has no biases{where}, so BitFit has nothing to learn; {fix}")
    return learn(model, biases)


def learn_last(model: nn.Module, targets: Sequence[str] = ()) -> list[str]:
    """Freeze all but what comes last; gives the names of the weights that learn.

    That is the output head where it is a matrix of its own, or stands on an encoder; else (it is the embedding) the
    last block and the norm after it; or the modules of these names.
    """
    wanted = [f".{target}." for target in targets or last_parts(model)]
    names = [name for name, _ in model.named_parameters() if any(part in f".{name}" for part in wanted)]
    if not names:
        raise ConfigError(f"adapter targets {', '.join(targets)} mean no part of this model that can learn")
    return learn(model, names)


def last_parts(model: nn.Module) -> list[str]:
    """The names of the modules that `learn_last` trains."""
    children = dict(model.named_children())
    if isinstance(children.get(HEAD), nn.Linear):
        return [HEAD]
    if "encoder" in children and "decoder" not in children:  # an encoder with a head
        return [name for name in children if name != "encoder"]
    stacks: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) and not name.startswith(tuple(f"{s}." for s in stacks)):
            stacks.append(name)
    if not stacks:
        raise ConfigError("this model has neither a head of its own nor blocks: say in adapter.targets what learns")
    owner = stacks[-1].rpartition(".")[0]
    last = f"{stacks[-1]}.{len(list(model.get_submodule(stacks[-1]).children())) - 1}"
    norms = [name for name, module in model.named_modules() if isinstance(module, NORMS)]
    return [last, *(name for name in norms if name.rpartition(".")[0] == owner)]


def learn(model: nn.Module, names: Sequence[str]) -> list[str]:
    """Only the parameters of these names learn."""
    model.requires_grad_(False)
    parameters = dict(model.named_parameters())
    for name in names:
        parameters[name].requires_grad_(True)
    return list(names)


def learning(model: nn.Module) -> dict[str, Tensor]:
    """name -> weight, of those that learn."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def share(model: nn.Module) -> tuple[int, int]:
    """(numbers that learn, all numbers) of a model."""
    counts = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    return sum(count for count, learns in counts if learns), sum(count for count, _ in counts)
