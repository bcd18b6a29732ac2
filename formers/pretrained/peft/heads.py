"""The head that an adapter brings along: one body is the base of a classifier, a tagger, a finder of answers.

A head is saved whole beside the adapter's own numbers (peft's `modules_to_save`). Which model it makes of the base says
    head.json            ours: class and config of the adapted model, whatever the base is
    adapter_config.json  peft's: its task_type, and the number of labels is that of the rows in the file
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from formers.adapters.lora import adapted
from formers.errors import CheckpointError, nearest, shown
from formers.files import Content, as_json, read_json
from formers.models.causal import CausalLM
from formers.models.encoder import Encoder, EncoderConfig
from formers.models.heads import (
    HEADS,
    HeadConfig,
    MultipleChoice,
    SequenceClassifier,
    SpanFinder,
    TokenClassifier,
    network_of,
)
from formers.pretrained.families import family_of_class
from formers.pretrained.family import Family, outlined
from formers.pretrained.loaded import Loaded
from formers.pretrained.mapping import EXTRA, Faults, as_rules, shape_of, theirs_for, to_ours
from formers.pretrained.peft.lora import OUTER, TASKS_OF_HEADS
from formers.pretrained.peft.shapes import HEAD_FORMAT, HeadShape
from formers.pretrained.provenance import LABELS
from formers.shapes import revive

HEAD_FILE = "head.json"
DECODERS = ("score.", "classification_head.")  # of labels on a decoder, where Family.head is empty
# Heads that are made anew for most tasks: they learn whole, whatever else does.
OF_TASKS = (SequenceClassifier, TokenClassifier, SpanFinder, MultipleChoice)
ALL: tuple[type[nn.Module], ...] = (Encoder, *HEADS)
CLASSES = {kind.__name__: kind for kind in ALL}


def head_parts(model: nn.Module, *, same: bool) -> list[str]:
    """The weights of an encoder's head that learn whole beside an adapter: the head, and the dense layer before it.

    same: the base has this very head; then it learns only where it belongs to a task.
    """
    if not isinstance(model, HEADS) or (same and not isinstance(model, OF_TASKS)):
        return []
    names = [name for name, _ in model.named_parameters()]
    return [name for name in names if not name.startswith("encoder.") or name.startswith("encoder.pooler.")]


def learned_head(model: nn.Module) -> dict[str, Tensor]:
    """The weights of an encoder's head that learned beside an adapter; nothing where no weight was frozen."""
    weights = dict(model.named_parameters())
    if any(module.base.weight.requires_grad for module in adapted(model).values()):
        return {}
    learned = [name for name in head_parts(model, same=False) if weights[name].requires_grad]
    return {name: weights[name] for name in learned if ".adapters." not in name}


def head_files(model: nn.Module) -> dict[str, Content]:
    """head.json of an adapted encoder, and of a label on a decoder; nothing for other models."""
    if not isinstance(model, ALL):
        return {}
    config: Any = model.config
    return {HEAD_FILE: as_json({"format": HEAD_FORMAT, "model": type(model).__name__, "config": asdict(config)})}


def with_head(folder: Path, raw: Mapping[str, Any], tensors: Mapping[str, Tensor], loaded: Loaded) -> nn.Module:
    """The base as the model that an adapter folder was made for: itself, or its body with the head of the folder.

    Raises CheckpointError where weights of the head are neither in the folder nor in the base.
    """
    base = network_of(loaded.model)
    if not isinstance(base, Encoder | CausalLM):
        return loaded.model
    config = given(folder) or guessed(raw, tensors, loaded)
    if config is None or (type(loaded.model) is config[0] and loaded.model.config == config[1]):
        return loaded.model
    kind, sizes = config
    encoder = sizes if kind is Encoder else sizes.encoder
    for ours, theirs in ((encoder.stack, base.config.stack), (encoder.vocab, base.config.vocab)):
        if ours != theirs:
            raise CheckpointError(f"{folder / HEAD_FILE} is of another body than {loaded.folder}: {ours}, but {theirs}")
    model = outlined(kind, sizes, str(folder / HEAD_FILE))
    inner = network_of(model).state_dict()
    state = {name: tensor.clone() for name, tensor in base.state_dict().items() if name in inner}
    outside = {} if kind is Encoder else own_state(model, loaded.model)
    rules = as_rules(family_of_class(loaded.family, kind).table(sizes))
    brought = to_ours(whole_weights(tensors), rules, what=f"the adapter {folder}").state
    prefix = "" if kind is Encoder else "encoder."
    state = {**{prefix + name: tensor for name, tensor in state.items()}, **outside, **brought}
    faults, places = Faults(), model.state_dict()
    for name in places.keys() | state.keys():
        if name not in state:
            faults.add("neither in it nor in its base", theirs_for(name, rules))
        elif name not in places:
            faults.add(EXTRA, f"+ {theirs_for(name, rules)}")
        elif places[name].shape != state[name].shape:
            shapes = f"{shape_of(state[name])} for {shape_of(places[name])}"
            faults.add("wrong shape", f"{theirs_for(name, rules)} {shapes}")
    faults.refuse(f"the adapter {folder}")
    model.load_state_dict(state, assign=True)
    return model.eval()


def adapted_family(folder: Path, raw: Mapping[str, Any], names: Iterable[str], base: Family) -> Family:
    """The family of the model that `with_head` gives for a base of this family; names: of the adapter's tensors."""
    if base.model not in (*ALL, CausalLM):
        return base
    config = given(folder)
    kind = TASKS_OF_HEADS.get(str(raw.get("task_type"))) if config is None else config[0]
    if kind is None:
        return base
    family = family_of_class(base.model_type, kind)
    brings_head = any(whole_name(name).startswith(family.head or DECODERS) for name in names if ".lora_" not in name)
    return family if brings_head or config is not None else base


def own_state(model: nn.Module, base: nn.Module) -> dict[str, Tensor]:
    """The head's weights of a base that has the same head of the same size."""
    if type(model) is not type(base):
        return {}
    sizes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    return {
        name: tensor.clone()
        for name, tensor in base.state_dict().items()
        if not name.startswith("encoder.") and sizes.get(name) == tensor.shape
    }


def given(folder: Path) -> tuple[type[nn.Module], Any] | None:
    """What head.json says, None where there is none."""
    path = folder / HEAD_FILE
    if not path.exists():
        return None
    raw = read_json(path, HeadShape)
    if raw["model"] not in CLASSES:
        raise CheckpointError(f"{path}: there is no model {shown(raw['model'])}{nearest(raw['model'], CLASSES)}")
    kind = CLASSES[raw["model"]]
    try:
        return kind, revive(EncoderConfig if kind is Encoder else HeadConfig, raw["config"])
    except (KeyError, TypeError, ValueError) as fault:
        raise CheckpointError(f"{path}: {fault}") from fault


def guessed(
    raw: Mapping[str, Any], tensors: Mapping[str, Tensor], loaded: Loaded
) -> tuple[type[nn.Module], Any] | None:
    """What peft's task_type says, with as many labels as there are rows; None where the base's own head is meant."""
    kind = TASKS_OF_HEADS.get(str(raw.get("task_type")))
    if kind is None:
        return None
    family = family_of_class(loaded.family, kind)
    whole = whole_weights(tensors)
    settings, where = {**loaded.config, "architectures": list(family.architectures)}, f"config.json of {loaded.folder}"
    headless = {name: tensor for name, tensor in whole.items() if not name.startswith(family.head or DECODERS)}
    config = family.config.to_ours(settings, headless, what=where)  # whose labels may be those of another head
    rows = to_ours(whole, family.table(config), what="the adapter").state.get("out.weight")
    if rows is None:
        return None
    if kind is not SpanFinder and len(rows) != len(config.labels):
        settings = {key: value for key, value in settings.items() if key not in LABELS}
        settings["id2label"] = {str(i): f"LABEL_{i}" for i in range(len(rows))}
    return kind, family.config.to_ours(settings, whole, what=where)


def whole_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of an adapter's file that stand in place of the base's own, under the names of the model's files."""
    return {whole_name(name): tensor for name, tensor in tensors.items() if ".lora_" not in name}


def whole_name(name: str) -> str:
    """What the model's own files call a weight of an adapter's file."""
    return name.removeprefix(OUTER).replace(".base_layer.", ".")
