"""Folders of sentence-transformers: modules.json names an encoder and what makes one vector of its hidden states.

    modules.json · sentence_bert_config.json · config_sentence_transformers.json · 1_Pooling/ · 2_Dense/ · 2_Normalize/

What is written here opens in that library too, from its old versions on: they know the oldest of its names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict

import torch
from torch import Tensor

from formers.errors import CheckpointError, nearest, shown
from formers.fields import Between
from formers.files import Content, as_json, leads_out, read_json
from formers.models.sentence import Dense, Normalise, SentenceHead
from formers.pretrained.config_map import pairs
from formers.pretrained.files import CONFIG, as_safetensors, read_weights

MODULES, SETTINGS = "modules.json", "config_sentence_transformers.json"
# Where the encoder's length is: the last of these names are of 2019 and 2020.
LENGTHS = [f"sentence_{kind}_config.json" for kind in "bert roberta distilbert camembert albert xlm-roberta".split()]
# Their pooling mode -> ours, in the order in which several are put one behind the other.
MODES = {**{"cls": "first", "max": "max", "mean": "mean", "mean_sqrt_len_tokens": "mean_sqrt"}, "lasttoken": "last"}
OLD_MODES = pairs("""
    pooling_mode_cls_token=cls pooling_mode_max_tokens=max pooling_mode_mean_tokens=mean
    pooling_mode_mean_sqrt_len_tokens=mean_sqrt_len_tokens pooling_mode_weightedmean_tokens=weightedmean
    pooling_mode_lasttoken=lasttoken
""")
ACTIVATIONS = {name: name.lower() for name in ("Tanh", "Identity", "ReLU", "GELU", "SiLU", "Sigmoid")}
PLACES = {"Identity": "linear"}  # torch.nn.modules.linear.Identity; all others are in .activation
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
KNOWN = "Transformer, Pooling, Dense, Normalize, Dropout"
LIBRARY = "sentence_transformers."  # begins the types of its own modules; others are code that a folder brings along


class ModuleShape(TypedDict):
    """An entry of modules.json."""

    idx: int
    path: str
    type: str


class PoolingShape(TypedDict, total=False):
    """1_Pooling/config.json."""

    embedding_dimension: int
    word_embedding_dimension: int
    pooling_mode: str | list[str] | None
    pooling_mode_cls_token: bool
    pooling_mode_max_tokens: bool
    pooling_mode_mean_tokens: bool
    pooling_mode_mean_sqrt_len_tokens: bool
    pooling_mode_weightedmean_tokens: bool
    pooling_mode_lasttoken: bool
    include_prompt: bool


class DenseShape(TypedDict, total=False):
    """2_Dense/config.json."""

    in_features: Required[Annotated[int, Between(1)]]
    out_features: Required[Annotated[int, Between(1)]]
    bias: bool
    activation_function: str
    use_residual: bool
    module_input_name: str | None


class ReadingShape(TypedDict, total=False):
    """sentence_bert_config.json."""

    max_seq_length: Annotated[int, Between(1)] | None
    do_lower_case: bool | None


class SentenceShape(TypedDict, total=False):
    """config_sentence_transformers.json."""

    prompts: dict[str, str | None] | None
    default_prompt_name: str | None
    similarity_fn_name: str | None


@dataclass(frozen=True, kw_only=True)
class SentenceSettings:
    """What a sentence encoder does with texts and vectors, beside its weights."""

    length: int | None = None
    """Most tokens of a text; None: as the tokenizer or the encoder says."""
    lowercase: bool = False
    """Texts are read in lower case, whatever the tokenizer does."""
    include_prompt: bool = True
    """Whether the tokens of a prompt count when a text is pooled."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Name -> what is put in front of a text."""
    default_prompt: str | None = None
    """The prompt of texts that name none."""
    similarity: str = "cosine"
    """How two vectors are compared: cosine, dot, euclidean or manhattan (these two: minus the distance)."""


def sentence_files(head: SentenceHead, dim: int, settings: SentenceSettings) -> dict[str, Content]:
    """The files that make a sentence encoder of an encoder's folder: what `save_model` takes as `extra`.

    dim: the width of the hidden states.
    """
    entries = [("", "Transformer"), ("1_Pooling", "Pooling")]
    about = {
        "__version__": {},
        "prompts": dict(settings.prompts),
        "default_prompt_name": settings.default_prompt,
        "similarity_fn_name": settings.similarity,
        "model_type": "SentenceTransformer",
    }
    files: dict[str, Content] = {
        LENGTHS[0]: as_json({"max_seq_length": settings.length, "do_lower_case": settings.lowercase}),
        "1_Pooling/config.json": as_json(pooling_config(head, dim, settings)),
        SETTINGS: as_json(about),
    }
    for number, step in enumerate(head.steps, 2):
        kind = "Dense" if isinstance(step, Dense) else "Normalize"
        entries.append((f"{number}_{kind}", kind))
        if isinstance(step, Dense):
            files.update(dense_files(step, f"{number}_{kind}"))
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(entries)
    ]
    return {**files, MODULES: (json.dumps(modules, indent=2) + "\n").encode()}


def pooling_config(head: SentenceHead, dim: int, settings: SentenceSettings) -> dict[str, Any]:
    """1_Pooling/config.json with the old keys, which old and new versions read; they fix the order of several."""
    theirs = [mode for mode, ours in MODES.items() if ours in head.poolings]
    ordered = tuple(MODES[mode] for mode in theirs)
    config: dict[str, Any] = {"word_embedding_dimension": dim}
    if ordered == head.poolings:
        config.update({key: mode in theirs for key, mode in OLD_MODES.items() if mode in MODES})
    else:  # an order of its own: only version 5.4 and later have a word for it
        names = {ours: mode for mode, ours in MODES.items()}
        config["pooling_mode"] = [names[pooling] for pooling in head.poolings]
    return config if settings.include_prompt else {**config, "include_prompt": False}


def dense_files(step: Dense, path: str) -> dict[str, Content]:
    name = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == step.activation)
    linear = step.linear
    config = {
        "in_features": linear.in_features,
        "out_features": linear.out_features,
        "bias": linear.bias is not None,
        "activation_function": f"torch.nn.modules.{PLACES.get(name, 'activation')}.{name}",
    }
    weights = {f"linear.{key}": tensor for key, tensor in linear.state_dict().items()}
    return {f"{path}/config.json": as_json(config), f"{path}/model.safetensors": as_safetensors(weights)}


@dataclass(frozen=True)
class Modules:
    """modules.json: (kind, folder) of each in order."""

    folder: Path
    entries: list[tuple[str, Path]]

    @property
    def body(self) -> Path:
        """The folder of the encoder: the folder itself, or 0_Transformer of old layouts."""
        return self.entries[0][1]

    @property
    def pools(self) -> bool:
        """Whether these are sentence vectors; a cross-encoder has a list of modules, too."""
        return any(kind == "Pooling" for kind, _ in self.entries)


def read_modules(folder: Path) -> Modules | None:
    """modules.json of a folder, None where it has none. Raises CheckpointError for one that cannot be followed."""
    path = folder / MODULES
    if not path.exists():
        return None
    modules = sorted(read_json(path, list[ModuleShape]), key=lambda module: module["idx"])
    for module in modules:
        if not module["type"].startswith(LIBRARY):
            what = f"{path}: {shown(module['type'])} is a module of its own, whose code is not run here"
            raise CheckpointError(f"{what}; known: {KNOWN} of {LIBRARY.rstrip('.')}")
    entries = [(module["type"].rpartition(".")[2], module["path"]) for module in modules]
    for kind, place in entries:
        if Path(place).is_absolute() or ".." in Path(place).parts or leads_out(folder / place, folder):
            raise CheckpointError(f"{path} names a folder outside its own: {shown(place)} of {kind}")
    if not entries or entries[0][0] != "Transformer":
        got = entries[0][0] if entries else "nothing"
        raise CheckpointError(
            f"{path}: the first module is {got:.40}, expected Transformer; this model is not supported"
        )
    return Modules(folder, [(kind, folder / place) for kind, place in entries])


def body_folder(folder: Path) -> tuple[Path, bool]:
    """Where config.json and weights are, and whether only the body of the model is wanted: the config.json of a
    sentence encoder may name a head that its weights do not have.
    """
    modules = read_modules(folder)
    return (folder, False) if modules is None else (modules.body, modules.pools)


def read_sentence_folder(folder: Path, dim: int) -> tuple[SentenceHead, SentenceSettings, str]:
    """What makes vectors of hidden states of `dim`, the settings, and a note for the user ("": nothing to say).

    A folder without modules.json gets mean pooling, as sentence-transformers gives it.
    Raises CheckpointError for modules that are not supported and files that are not what they should be.
    """
    modules = read_modules(folder)
    if modules is None:
        note = f"{folder} has no {MODULES}: its vectors are the mean of all tokens, which it may not be trained for"
        return SentenceHead(), SentenceSettings(), note
    if not modules.pools:
        raise CheckpointError(f"{folder / MODULES} has no Pooling module, so this model gives no vector of a text")
    head, include_prompt = SentenceHead(), True
    steps: list[Dense | Normalise] = []
    width = dim
    for kind, place in modules.entries[1:]:
        if kind == "Pooling":
            poolings, include_prompt = read_pooling(place, dim)
            width = dim * len(poolings)
        elif kind == "Dense":
            step = read_dense(place, width)
            steps.append(step)
            width = step.linear.out_features
        elif kind == "Normalize":
            steps.append(Normalise())
        elif kind != "Dropout":  # which does nothing but in training
            raise CheckpointError(f"{folder / MODULES}: module {kind:.40} is not supported; known: {KNOWN}")
    head = SentenceHead(poolings, steps)
    return head, read_settings(folder, modules.body, include_prompt), ""


def read_pooling(place: Path, dim: int) -> tuple[tuple[str, ...], bool]:
    """The poolings, and whether a prompt counts."""
    config = read_json(place / CONFIG, PoolingShape)
    width = config.get("embedding_dimension", config.get("word_embedding_dimension", dim))
    if width != dim:
        raise CheckpointError(f"{place / CONFIG}: pools vectors of {width} numbers, but the encoder's have {dim}")
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in OLD_MODES.items() if config.get(key)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if strange := [mode for mode in modes if mode not in MODES]:
        raise CheckpointError(
            f"{place / CONFIG}: pooling {shown(strange[0])} is not supported; known: {', '.join(MODES)}"
        )
    return tuple(MODES[mode] for mode in modes), bool(config.get("include_prompt", True))


def read_dense(place: Path, width: int) -> Dense:
    """The dense layer of a folder, which reads vectors of `width`."""
    where = place / CONFIG
    config = read_json(where, DenseShape)
    if config.get("use_residual") or config.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise CheckpointError(f"{where}: a dense layer with use_residual, or of tokens, is not supported")
    given = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    name = given.rpartition(".")[2]
    if name not in ACTIVATIONS or not given.startswith("torch."):
        raise CheckpointError(f"{where}: activation_function {given:.100} is not supported{nearest(name, ACTIVATIONS)}")
    reads, gives, bias = config["in_features"], config["out_features"], bool(config.get("bias", True))
    if reads != width:
        raise CheckpointError(f"{where}: from {reads} (in_features) to {gives} (out_features), expected from {width}")
    tensors = read_weights(place)
    expected = {"linear.weight": (gives, width), **({"linear.bias": (gives,)} if bias else {})}
    got = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if got != expected:
        raise CheckpointError(f"the weights of {place} are {shown(got)}, expected {expected}")
    step = Dense(width, gives, bias=bias, activation=ACTIVATIONS[name])
    state: dict[str, Tensor] = {key: tensor.to(torch.float32) for key, tensor in tensors.items()}
    step.load_state_dict(state, assign=True)
    return step.eval()


def read_settings(folder: Path, body: Path, include_prompt: bool) -> SentenceSettings:
    """Length and case from the encoder's folder, prompts and the comparison from the whole model's."""
    place = next((body / name for name in LENGTHS if (body / name).exists()), None)
    reading = {} if place is None else read_json(place, ReadingShape)
    whole = read_json(folder / SETTINGS, SentenceShape) if (folder / SETTINGS).exists() else {}
    prompts = {name: text or "" for name, text in (whole.get("prompts") or {}).items()}
    default, where = whole.get("default_prompt_name"), folder / SETTINGS
    if default is not None and default not in prompts:
        hint = nearest(default, prompts)
        raise CheckpointError(f"{where}: default_prompt_name {shown(default)} is none of its prompts{hint}")
    similarity = whole.get("similarity_fn_name") or "cosine"
    if similarity not in SIMILARITIES:
        hint = nearest(similarity, SIMILARITIES)
        raise CheckpointError(f"{where}: similarity_fn_name {shown(similarity)} is not known{hint}")
    return SentenceSettings(
        length=reading.get("max_seq_length"),
        lowercase=bool(reading.get("do_lower_case")),
        prompts=prompts,
        include_prompt=include_prompt,
        default_prompt=default,
        similarity=similarity,
    )
