"""Adapter folders: LoRA in peft's format, other fine-tunings of a few weights in one of our own.

A folder holds what was learned and the name of the model that it belongs to:
    adapter_config.json, adapter_model.safetensors    LoRA, which `peft` opens too
    changes.json, changes.safetensors                 the new values of the weights that learned (BitFit, a head), for
                                                      which `peft` has no format; names are those of the model's files
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from formers.adapters import lora
from formers.adapters.bitfit import learning
from formers.adapters.lora import LowRank, attach, plain
from formers.errors import CheckpointError, shown
from formers.files import Content, as_json, expanded, read_json, resolved
from formers.models.heads import HeadConfig
from formers.pretrained import hub
from formers.pretrained.express import express
from formers.pretrained.families import family_of_class
from formers.pretrained.family import Family
from formers.pretrained.files import (
    CONFIG,
    GENERATION,
    as_safetensors,
    read_safetensors,
    safetensors_names,
    write_folder,
)
from formers.pretrained.keys import GenerationShape
from formers.pretrained.loaded import Loaded, check_vocabulary, read_system, system_file
from formers.pretrained.mapping import Rule, as_rules, fill, rules_of, to_theirs
from formers.pretrained.peft.heads import head_files, learned_head, with_head
from formers.pretrained.peft.lora import read_lora, read_whole, with_whole, write_lora
from formers.pretrained.peft.shapes import CHANGES_FORMAT, AdapterShape, ChangesShape
from formers.pretrained.provenance import provenance_of, remember
from formers.text.chat import load_template
from formers.text.open import load_tokenizer

Loader = Callable[..., Loaded]  # `load_model`: what opens the model that an adapter belongs to
PEFT = ("adapter_config.json", "adapter_model.safetensors")
CHANGES = ("changes.json", "changes.safetensors")
BASE = "base_model_name_or_path"


@dataclass(frozen=True)
class Adapter:
    """What a folder holds, before it meets a model."""

    folder: Path
    raw: dict[str, Any]
    """Its adapter_config.json or changes.json."""
    weights: Path

    @cached_property
    def names(self) -> list[str]:
        """The names of its tensors, from the header. Raises CheckpointError for a broken file, as `tensors` does."""
        # with bias = "all" peft also writes the biases of a saved module as it was, and a second time as it is
        spare = (".original_module.", ".modules_to_save.") if self.kind == "lora" else ()
        return [name for name in safetensors_names(self.weights) if not any(part in name for part in spare)]

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        stored = read_safetensors(self.weights)
        return {name: stored[name] for name in self.names}

    @property
    def kind(self) -> str:
        """lora, or what learned in a folder of our own format (bitfit, head)."""
        return "lora" if self.weights.name == PEFT[1] else str(self.raw["kind"])

    @property
    def base(self) -> str | None:
        """The model that it belongs to, as the folder says: a path, or owner/name[@revision]."""
        name, revision = self.raw.get(BASE), self.raw.get("revision")
        return f"{name}@{revision}" if name and revision and hub.is_id(name) else name


@dataclass(frozen=True)
class Fitted:
    """An adapter under the names of a model: added to Linears, and whole weights in place of the model's own."""

    parts: dict[str, LowRank] = field(default_factory=dict)
    whole: dict[str, Tensor] = field(default_factory=dict)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no whole model."""
    return not (folder / CONFIG).exists() and any((folder / kind[0]).exists() for kind in (PEFT, CHANGES))


def read_adapter(folder: str | Path) -> Adapter:
    """An adapter folder, its tensors not yet read. Raises CheckpointError for missing files or a broken config."""
    folder = expanded(folder)
    if (folder / CONFIG).exists():
        raise CheckpointError(f"{folder} holds a whole model, no adapter")
    if not is_adapter(folder):
        raise CheckpointError(f"{folder} holds no adapter (it has no {PEFT[0]} and no {CHANGES[0]})")
    names = PEFT if (folder / PEFT[0]).exists() else CHANGES
    raw = read_json(folder / names[0], AdapterShape if names is PEFT else ChangesShape)
    if not (folder / names[1]).exists():
        raise CheckpointError(f"{folder} has no {names[1]}")
    return Adapter(folder, raw, folder / names[1])


def fit(adapter: Adapter, model: nn.Module, kind: Family) -> Fitted:
    """An adapter under our names. Raises one CheckpointError that lists every key that does not fit the model."""
    rules, what = as_rules(kind.table(model.config)), f"the adapter {adapter.folder}"
    if adapter.kind == "lora":
        return Fitted(*read_lora(adapter.raw, adapter.tensors, rules, kind.prefixes, model, what))
    return Fitted(whole=read_whole(adapter.tensors, rules, kind.prefixes, model, what, ties=True))


def load_adapter(
    model: nn.Module, folder: str | Path, *, name: str = "default", family: str | None = None
) -> list[str]:
    """Put the adapter of a folder beside the model's Linears as `name`, the active one; gives what it changes.

    family: the model_type whose names the folder uses; None: the first that expresses the model. Raises
    CheckpointError for keys or shapes that do not fit, and for an adapter that replaces whole weights, which cannot lie
    beside another (`formers.load(folder)` opens it).
    """
    adapter = read_adapter(folder)
    fitted = fit(adapter, model, layout(model, family))
    if fitted.whole:
        names = ", ".join(sorted(fitted.whole)[:3])
        what = f"the adapter {folder} replaces whole weights ({names} ...), so it cannot lie beside others"
        raise CheckpointError(f"{what}; formers.load opens it, formers adapt merge writes the whole model")
    attach(model, fitted.parts, name)
    return list(fitted.parts)


@torch.no_grad()
def merge_adapter(model: nn.Module, fitted: Fitted, share: float = 1.0) -> None:
    """Put an adapter, or a share of it, into a plain model for good."""
    places = dict(model.named_parameters())
    for place, tensor in fitted.whole.items():
        places[place].lerp_(tensor.to(places[place]), share) if share != 1 else places[place].copy_(tensor)
    lora.add(model, fitted.parts, share)


def save_adapter(
    folder: str | Path,
    model: nn.Module,
    *,
    base: str = "",
    name: str = "default",
    kind: str = "lora",
    family: str | None = None,
    system: str | None = None,
    extra: Mapping[str, Content] | None = None,
) -> Path:
    """Write one adapter of a model (kind "lora", peft's format), or the weights that learn (any other kind).

    base: the model it belongs to, for whoever opens the folder: a path or a hub id. system: the name of the system that
    the adapted model is for. extra: more files, such as a chat template that the model itself does not have.
    """
    if (Path(folder) / CONFIG).exists():
        raise CheckpointError(f"{folder} holds a whole model: write the adapter into a folder of its own")
    table = as_rules(layout(model, family).table(model.config))
    about = about_base(base)
    if kind == "lora":
        there = lora.adapters(model)
        if name not in there:
            raise CheckpointError(f'this model has no adapter "{name}"; it has: {", ".join(there) or "none"}')
        raw, tensors = write_lora(there[name], table, model)
        raw, tensors = with_whole(raw, tensors, learned_head(model), table, model)
        names = PEFT
    else:
        raw, tensors = {"format": CHANGES_FORMAT, "kind": kind}, to_theirs(whole_groups(model, table), table)
        names = CHANGES
    files: Mapping[str, Content] = {names[0]: as_json({**raw, **about}), names[1]: as_safetensors(tensors)}
    return write_folder(folder, {**files, **head_files(model), **system_file(system), **(extra or {})})


def about_base(base: str) -> dict[str, str | None]:
    """The model that an adapter belongs to, as its JSON says it."""
    hub_id, _, revision = base.partition("@") if hub.is_id(base) else (base, "", "")
    return {BASE: hub_id or None, "revision": revision or None}


def base_file(base: str) -> dict[str, Content]:
    """The same alone, beside a file of weights that says nothing."""
    return {PEFT[0]: as_json(about_base(base))}


def whole_groups(model: nn.Module, table: list[Rule]) -> dict[str, Tensor]:
    """The weights that learn, and those that the files keep in one tensor with them."""
    weights = learning(model)
    state = dict(model.named_parameters())
    for name in list(weights):
        for rule, _, match in rules_of(name, table):
            parts = [fill(target, match.groupdict()) for target in rule.targets]
            weights |= {part: state[part] for part in parts if part in state}
    return weights


def layout(model: nn.Module, model_type: str | None) -> Family:
    """The family whose names an adapter of this model uses."""
    if model_type is not None:
        return family_of_class(model_type, type(model))
    with plain(model):
        return express(model, None)[0]


def family_of(folder: Path) -> str | None:
    """The model_type of a model folder, through the adapters in between; None where no config.json says it."""
    raw = config_of(folder)
    return None if raw is None else raw.get("model_type")


def config_of(folder: Path) -> dict[str, Any] | None:
    """config.json of a model folder, through the adapters in between; None where there is none."""
    if folder.is_dir() and is_adapter(folder):
        return config_of(base_of(read_adapter(folder)))
    return read_json(folder / CONFIG) if (folder / CONFIG).exists() else None


def base_of(adapter: Adapter, *, allow_bin: bool = False) -> Path:
    """The folder of the model that an adapter belongs to. Raises CheckpointError, for adapters in a circle too."""
    place = named_base(adapter, allow_bin=allow_bin)
    seen, at = {resolved(adapter.folder)}, place
    while at.is_dir() and is_adapter(at):
        if resolved(at) in seen:
            names = ", ".join(sorted(map(str, seen)))
            raise CheckpointError(f"{adapter.folder} belongs to adapters that name each other: {names}")
        seen.add(resolved(at))
        at = named_base(read_adapter(at), allow_bin=allow_bin)
    return place


def by_hand(adapter: Adapter) -> str:
    return f"merge it by hand: formers adapt merge MODEL {adapter.folder} OUT"


def named_base(adapter: Adapter, *, allow_bin: bool) -> Path:
    """What the folder of an adapter names: a model, or another adapter."""
    name = adapter.base
    if not name:
        raise CheckpointError(f"{adapter.folder} does not say which model it belongs to ({BASE}); {by_hand(adapter)}")
    for place in (expanded(name), adapter.folder / name):
        if os.path.exists(place):  # Path.exists raises for a name that is too long
            if place.resolve() == resolved(adapter.folder):
                raise CheckpointError(f"{adapter.folder} names itself as the model it belongs to; {by_hand(adapter)}")
            return place
    if hub.is_gguf(name):
        return hub.fetch_gguf(name)
    if hub.is_id(name):
        return hub.fetch(name, allow_bin=allow_bin)
    what = f"the model that {adapter.folder} belongs to, {shown(name)}, is not there"
    raise CheckpointError(f"{what}; {by_hand(adapter)}")


def merged(adapter: Adapter, loaded: Loaded, share: float = 1.0) -> Loaded:
    """A model with an adapter, or a share of it, merged into it; an encoder gets the head that the adapter is for."""
    model = with_head(adapter.folder, adapter.raw, adapter.tensors, loaded)
    if model is not loaded.model:
        config: Any = model.config
        number = isinstance(config, HeadConfig) and config.kind == "number"
        labels = ("id2label", "label2id", "problem_type")
        kept = {key: value for key, value in loaded.config.items() if key not in labels}
        settings = {**kept, "problem_type": "regression"} if number else kept
        remember(model, provenance_of(loaded.model))
        loaded = replace(loaded, model=model, config=settings, system=None)
    merge_adapter(model, fit(adapter, model, family_of_class(loaded.family, type(model))), share)
    return loaded


def load_adapted(folder: Path, load: Loader, *, allow_bin: bool = False) -> Loaded:
    """The model that an adapter folder belongs to, as `load` reads it, with the adapter merged; fp32 on the CPU.

    A tokenizer, chat template or generation_config.json in the folder takes the place of the model's own.
    """
    adapter = read_adapter(folder)
    loaded = merged(adapter, load(base_of(adapter, allow_bin=allow_bin), allow_bin=allow_bin))
    generation = read_json(folder / GENERATION, GenerationShape) if (folder / GENERATION).exists() else {}
    config = {**loaded.config, **generation}
    if (before := provenance_of(loaded.model)) is not None:
        remember(loaded.model, replace(before, generation={**before.generation, **generation}))
    tokenizer = load_tokenizer(folder, config)
    check_vocabulary(tokenizer, loaded.model, folder)
    return replace(
        loaded,
        folder=folder,
        config=config,
        settings=generation or loaded.settings,
        tokenizer=tokenizer or loaded.tokenizer,
        template=load_template(folder) or loaded.template,
        system=read_system(folder) or loaded.system,
    )
