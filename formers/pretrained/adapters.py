"""Adapter folders: LoRA in peft's format, other fine-tunings of a few weights in one of our own.

A folder holds what was learned and the name of the model that it belongs to:
    adapter_config.json, adapter_model.safetensors    LoRA, which `peft` opens too
    changes.json, changes.safetensors                 the new values of the weights that learned (BitFit, a head), for
                                                      which `peft` has no format; names are those of the model's files
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from formers.adapters import lora
from formers.adapters.bitfit import learning
from formers.adapters.lora import LowRank, attach, merge_into_base, plain
from formers.errors import CheckpointError
from formers.files import Content, as_json, read_json
from formers.models.heads import HeadConfig
from formers.pretrained import hub
from formers.pretrained.adapter_heads import head_files, learned_head, with_head
from formers.pretrained.families import families, family, family_of_model
from formers.pretrained.files import CONFIG, GENERATION, as_safetensors, read_safetensors, write_folder
from formers.pretrained.lora_files import read_lora, read_whole, with_whole, write_lora
from formers.pretrained.mapping import Rule, as_rules, fill, to_theirs

if TYPE_CHECKING:
    from formers.pretrained.family import Family
    from formers.pretrained.load import Loaded

PEFT = ("adapter_config.json", "adapter_model.safetensors")
CHANGES = ("changes.json", "changes.safetensors")
BASE, FORMAT = "base_model_name_or_path", "formers changes 1"


@dataclass(frozen=True)
class Adapter:
    """What a folder holds, before it meets a model."""

    folder: Path
    raw: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def kind(self) -> str:
        """lora, or what learned in a folder of our own format (bitfit, head)."""
        return "lora" if "peft_type" in self.raw else str(self.raw["kind"])

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
    """The config and tensors of an adapter folder. Raises CheckpointError for missing or broken files."""
    folder = Path(folder).expanduser()
    if not is_adapter(folder):
        raise CheckpointError(
            f"{folder} holds no adapter (it has no {PEFT[0]} and no {CHANGES[0]})"
            if not (folder / CONFIG).exists()
            else f"{folder} holds a whole model, no adapter"
        )
    names = PEFT if (folder / PEFT[0]).exists() else CHANGES
    raw = read_json(folder / names[0])
    if names is CHANGES and (raw.get("format") != FORMAT or not isinstance(raw.get("kind"), str)):
        raise CheckpointError(f"{folder / names[0]}: format = {raw.get('format')!r} is not known; known: {FORMAT}")
    if not (folder / names[1]).exists():
        raise CheckpointError(f"{folder} has no {names[1]}")
    tensors = read_safetensors(folder / names[1])
    # with bias = "all" peft also writes the biases of a saved module as it was, and a second time as it is
    spare = (".original_module.", ".modules_to_save.") if names is PEFT else ()
    kept = {key: value for key, value in tensors.items() if not any(each in key for each in spare)}
    return Adapter(folder, raw, kept)


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
        raise CheckpointError(
            f"the adapter {folder} replaces whole weights ({names} ...), so it cannot lie beside "
            "others; formers.load opens it, formers adapt merge writes the whole model"
        )
    attach(model, fitted.parts, name)
    return list(fitted.parts)


@torch.no_grad()
def merge_adapter(model: nn.Module, fitted: Fitted, share: float = 1.0) -> None:
    """Put an adapter, or a share of it, into a plain model for good."""
    places = dict(model.named_parameters())
    for place, tensor in fitted.whole.items():
        places[place].lerp_(tensor.to(places[place]), share) if share != 1 else places[place].copy_(tensor)
    if fitted.parts:
        attach(model, fitted.parts)
        lora.activate(model, {"default": share})
        merge_into_base(model)


def save_adapter(
    folder: str | Path,
    model: nn.Module,
    *,
    base: str = "",
    name: str = "default",
    kind: str = "lora",
    family: str | None = None,
    extra: Mapping[str, Content] | None = None,
) -> Path:
    """Write one adapter of a model (kind "lora", peft's format), or the weights that learn (any other kind).

    base: the model it belongs to, for whoever opens the folder: a path or a hub id. extra: more files, such as a
    chat template that the model itself does not have.
    """
    if (Path(folder) / CONFIG).exists():
        raise CheckpointError(f"{folder} holds a whole model: write the adapter into a folder of its own")
    table = as_rules(layout(model, family).table(model.config))
    hub_id, _, revision = base.partition("@") if hub.is_id(base) else (base, "", "")
    about = {BASE: hub_id or None, "revision": revision or None}
    if kind == "lora":
        known = lora.adapters(model)
        if name not in known:
            raise CheckpointError(f'this model has no adapter "{name}"; it has: {", ".join(known) or "none"}')
        raw, tensors = write_lora(known[name], table, model)
        raw, tensors = with_whole(raw, tensors, learned_head(model), table, model)
        names = PEFT
    else:
        raw, tensors = {"format": FORMAT, "kind": kind}, to_theirs(whole_groups(model, table), table)
        names = CHANGES
    files: Mapping[str, Content] = {names[0]: as_json({**raw, **about}), names[1]: as_safetensors(tensors)}
    return write_folder(folder, {**files, **head_files(model), **(extra or {})})


def whole_groups(model: nn.Module, table: list[Rule]) -> dict[str, Tensor]:
    """The weights that learn, and those that the files keep in one tensor with them."""
    found = learning(model)
    state = dict(model.named_parameters())
    for name in list(found):
        for rule in table:
            for pattern in rule.target_patterns:
                if len(rule.targets) > 1 and (match := pattern.fullmatch(name)):
                    found.update(
                        {
                            each: state[each]
                            for target in rule.targets
                            if (each := fill(target, match.groupdict())) in state
                        }
                    )
    return found


def layout(model: nn.Module, model_type: str | None) -> Family:
    """The family whose names an adapter of this model uses."""
    from formers.pretrained.load import express

    if model_type is not None:
        return family_of_model(model_type, model)
    with plain(model):
        return express(model, None)[0]


def family_of(folder: Path) -> str | None:
    """The model_type of a model folder, through the adapters in between; None where no config.json says it."""
    raw = config_of(folder)
    return None if raw is None else raw["model_type"]


def config_of(folder: Path) -> dict[str, Any] | None:
    """config.json of a model folder, through the adapters in between; None where there is none."""
    if folder.is_dir() and is_adapter(folder):
        return config_of(base_of(read_adapter(folder)))
    return read_json(folder / CONFIG) if (folder / CONFIG).exists() else None


def model_class(place: Path) -> type[nn.Module]:
    """The class of the model in a folder; that of a .gguf file, or of a type with several heads, is read with it."""
    name = family_of(place)
    if name is None or len(families(name)) > 1:
        from formers.pretrained.load import load_model

        return type(load_model(place).model)
    return family(name).model


def base_of(adapter: Adapter, *, allow_bin: bool = False) -> Path:
    """The folder of the model that an adapter belongs to."""
    name = adapter.base
    by_hand = f"merge it by hand: formers adapt merge MODEL {adapter.folder} OUT"
    if not name:
        raise CheckpointError(f"{adapter.folder} does not say which model it belongs to ({BASE}); {by_hand}")
    for place in (Path(name).expanduser(), adapter.folder / name):
        if place.exists():
            if place.resolve() == adapter.folder.resolve():
                raise CheckpointError(f"{adapter.folder} names itself as the model it belongs to; {by_hand}")
            return place
    if hub.is_gguf(name):
        return hub.fetch_gguf(name)
    if hub.is_id(name):
        return hub.fetch(name, allow_bin=allow_bin)
    raise CheckpointError(f"the model that {adapter.folder} belongs to, {name}, is not there; {by_hand}")


def adapter_base(adapter: Adapter, loaded: Loaded) -> Loaded:
    """The model that an adapter is merged into: as it was read, an encoder with the head that the adapter is for."""
    model = with_head(adapter.folder, adapter.raw, adapter.tensors, loaded)
    if model is loaded.model:
        return loaded
    config: Any = model.config
    number = isinstance(config, HeadConfig) and config.kind == "number"
    told = {key: value for key, value in loaded.config.items() if key not in ("id2label", "label2id", "problem_type")}
    return replace(loaded, model=model, config={**told, "problem_type": "regression"} if number else told)


def load_adapted(folder: Path, *, allow_bin: bool = False) -> Loaded:
    """The model that an adapter folder belongs to with the adapter merged into it, fp32 on the CPU.

    A tokenizer, chat template or generation_config.json in the folder takes the place of the model's own.
    """
    from formers.pretrained.load import check_vocabulary, load_model
    from formers.text.chat import load_template
    from formers.text.tokenizer import load_tokenizer

    adapter = read_adapter(folder)
    loaded = adapter_base(adapter, load_model(base_of(adapter, allow_bin=allow_bin), allow_bin=allow_bin))
    merge_adapter(loaded.model, fit(adapter, loaded.model, family_of_model(loaded.family, loaded.model)))
    generation = read_json(folder / GENERATION) if (folder / GENERATION).exists() else {}
    config = {**loaded.config, **generation}
    tokenizer = load_tokenizer(folder, config)
    check_vocabulary(tokenizer, loaded.model, folder)
    return replace(
        loaded,
        folder=folder,
        config=config,
        tokenizer=tokenizer or loaded.tokenizer,
        template=load_template(folder) or loaded.template,
    )
