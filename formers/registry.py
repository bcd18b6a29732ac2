"""Which systems there are, what a recipe comes to, and which system a checkpoint opens as."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from formers.errors import CheckpointError, ConfigError, nearest
from formers.files import expanded, resolved
from formers.systems.system import Look, System, Verb, resolve

if TYPE_CHECKING:
    from formers.systems.answering.system import Answerer
    from formers.systems.begin import Prepared
    from formers.systems.choice.system import Chooser
    from formers.systems.classification.system import Classifier
    from formers.systems.clip.system import ClipModel
    from formers.systems.embedding.system import SentenceEncoder
    from formers.systems.images.system import PictureModel
    from formers.systems.language_model import LanguageModel
    from formers.systems.masked.system import MaskedModel
    from formers.systems.painting.system import Painter
    from formers.systems.reconstruction.system import Reconstructor
    from formers.systems.sounds.system import SoundModel
    from formers.systems.speech.system import Recogniser
    from formers.systems.tagging.system import Tagger
    from formers.systems.translation.system import Translator
    from formers.systems.whisper.system import Transcriber

# One folder of systems/ each: its `SYSTEM`.
NAMES = (
    "translation",
    "masked",
    "classification",
    "tagging",
    "answering",
    "choice",
    "embedding",
    "language",
    "chat",
    "preferences",
    "images",
    "clip",
    "reconstruction",
    "painting",
    "sounds",
    "speech",
    "whisper",
)  # fmt: skip
SAMPLE = 256  # tokens that an int8 language model reads when it is loaded
# Sections that the recipes of every system have.
EVERYWHERE = {"train": "training.config:TrainConfig", "adapter": "adapters.config:AdapterConfig"}


@cache
def system(name: str) -> System:
    """The declaration of a system. Raises ConfigError for a name that is none."""
    if name not in NAMES:
        raise ConfigError(f'there is no system "{name}"{nearest(name, NAMES)}')
    declared = import_module(f"formers.systems.{name}").SYSTEM
    assert isinstance(declared, System) and declared.name == name
    return declared


def systems() -> list[System]:
    return [system(name) for name in NAMES]


@cache
def verbs() -> dict[str, list[tuple[System, Verb]]]:
    """Every verb by name, with the systems that declare it."""
    found: dict[str, list[tuple[System, Verb]]] = {}
    for declared in systems():
        for verb in declared.verbs:
            found.setdefault(verb.name, []).append((declared, verb))
    return found


def verbs_of(declared: System) -> dict[str, Verb]:
    """The verbs of a system's models; those of systems that open alike too, where it has none of that name."""
    alike = [each for each in systems() if each.open == declared.open]
    return {verb.name: verb for each in [*alike, declared] for verb in each.verbs}


def looks(declared: System) -> dict[str, Look]:
    """What there is to see of a system's models; systems that open alike show the same."""
    return {look.name: look for each in systems() if each.open == declared.open for look in each.looks}


def sections(declared: System) -> dict[str, type]:
    """Recipe section -> the dataclass that it fills."""
    places = {"model": declared.sizes, "parts": declared.parts, "data": "data.source:Source"}
    places |= {"rows": declared.rows, "task": declared.task, **EVERYWHERE}
    return {name: resolve(place) for name, place in places.items() if place}


def prepare(
    name: str, filled: dict[str, Any], folder: Path, parts: Mapping[str, Path] = MappingProxyType({})
) -> Prepared:
    """Task, batches and report of a system's recipe, for the run in `folder`; parts: the models of [parts]."""
    import torch

    from formers.systems.begin import Beginning

    start, adapter = filled["model"].start, filled["adapter"]
    if adapter.kind != "none" and not start:
        raise ConfigError(
            f'adapter.kind "{adapter.kind}" changes a few weights of a trained model: name it in model.start'
        )
    place = locate(start) if start else None
    torch.manual_seed(filled["train"].seed)
    prepared: Prepared = resolve(system(name).prepare)(Beginning(filled, folder, place, parts))
    if adapter.kind == "none":
        return prepared
    assert place is not None
    base = str(resolved(place)) if os.path.exists(expanded(start)) else start
    return resolve("systems.adapted:adapted")(prepared, adapter, place=place, base=base, seed=filled["train"].seed)


def system_of(place: Path, source: str | Path = "") -> System:
    """The system that a model folder or .gguf file opens as; no weights are read.

    What the checkpoint says, else the one that its model class belongs to.
    """
    from formers.pretrained.loaded import read_system
    from formers.pretrained.source import source_class

    return _system_of(read_system(place) if place.is_dir() else None, source_class(place).__name__, source or place)


def _system_of(named: str | None, kind: str, source: str | Path) -> System:
    owner = next((declared for declared in systems() if kind in declared.models), None)
    if owner is None:
        raise CheckpointError(f"{source}: no system opens a {kind}")
    if named is None:
        return owner
    if named not in NAMES:
        raise CheckpointError(f'{source}: formers.json names the system "{named}"{nearest(named, NAMES)}')
    return system(named) if system(named).open == owner.open else owner


class LoadSettings(TypedDict, total=False):
    """How a model is opened, see `load`."""

    dtype: str | None
    device: str | None
    allow_bin: bool
    offline: bool | None
    ignore_keys: Sequence[str]


@overload
def load(source: str | Path, *, system: Literal["translation"], **how: Unpack[LoadSettings]) -> Translator: ...
@overload
def load(
    source: str | Path, *, system: Literal["language", "chat", "preferences"], **how: Unpack[LoadSettings]
) -> LanguageModel: ...
@overload
def load(source: str | Path, *, system: Literal["masked"], **how: Unpack[LoadSettings]) -> MaskedModel: ...
@overload
def load(source: str | Path, *, system: Literal["classification"], **how: Unpack[LoadSettings]) -> Classifier: ...
@overload
def load(source: str | Path, *, system: Literal["tagging"], **how: Unpack[LoadSettings]) -> Tagger: ...
@overload
def load(source: str | Path, *, system: Literal["answering"], **how: Unpack[LoadSettings]) -> Answerer: ...
@overload
def load(source: str | Path, *, system: Literal["choice"], **how: Unpack[LoadSettings]) -> Chooser: ...
@overload
def load(source: str | Path, *, system: Literal["embedding"], **how: Unpack[LoadSettings]) -> SentenceEncoder: ...
@overload
def load(source: str | Path, *, system: Literal["images"], **how: Unpack[LoadSettings]) -> PictureModel: ...
@overload
def load(source: str | Path, *, system: Literal["clip"], **how: Unpack[LoadSettings]) -> ClipModel: ...
@overload
def load(source: str | Path, *, system: Literal["reconstruction"], **how: Unpack[LoadSettings]) -> Reconstructor: ...
@overload
def load(source: str | Path, *, system: Literal["painting"], **how: Unpack[LoadSettings]) -> Painter: ...
@overload
def load(source: str | Path, *, system: Literal["sounds"], **how: Unpack[LoadSettings]) -> SoundModel: ...
@overload
def load(source: str | Path, *, system: Literal["speech"], **how: Unpack[LoadSettings]) -> Recogniser: ...
@overload
def load(source: str | Path, *, system: Literal["whisper"], **how: Unpack[LoadSettings]) -> Transcriber: ...
@overload
def load(source: str | Path, *, system: str | None = ..., **how: Unpack[LoadSettings]) -> Any: ...
def load(
    source: str | Path,
    *,
    system: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    allow_bin: bool = False,
    offline: bool | None = None,
    ignore_keys: Sequence[str] = (),
) -> Any:
    """The system of a run, a folder in the Hugging Face layout, a .gguf or .safetensors file, or a hub id.

    source: of a hub `owner/name[@revision]`. system: what it must be, which also tells a type checker what comes.
    dtype: "fp32" (default), "bf16", "fp16"; or "int8" (CPU only, for use and not for training), "int8:64" with a scale
    for every 64 columns instead of one per row. allow_bin: also read pytorch_model.bin (weights only, no code).
    ignore_keys: keys of config.json to take for absent, which are not computed here and are known to change nothing.
    """
    from formers.pretrained.load import DTYPES
    from formers.pretrained.source import load_source

    kind, colon, group = (dtype or "fp32").partition(":")
    if kind not in (*DTYPES, "int8"):
        raise ConfigError(f'dtype "{dtype}" is not known{nearest(kind, [*DTYPES, "int8"])}')
    if colon and (kind != "int8" or not group.isdecimal() or int(group) < 1):
        raise ConfigError(f'dtype "{dtype}": expected one of {", ".join(DTYPES)}, int8 or int8:GROUP such as int8:64')
    if kind == "int8" and device not in (None, "cpu"):
        raise ConfigError(f'dtype "{dtype}" runs on the CPU only, got device "{device}"; try bf16 there')
    if device is not None:
        check_device(device)
    folder = locate(source, allow_bin=allow_bin, offline=offline)
    loaded = load_source(folder, dtype=DTYPES.get(kind), device=device, allow_bin=allow_bin, ignore_keys=ignore_keys)
    if kind == "int8":
        in_integers(loaded.model, int(group or 0))
    return open_loaded(loaded, system, source)


def in_integers(model: Any, group: int) -> None:
    """A language model reads tokens from all over its vocabulary, to find the columns that int8 has to spare.

    What writes no text is multiplied in integers throughout.
    """
    import torch

    from formers.kernels.weight import choose_columns, quantise
    from formers.models.causal import CausalLM
    from formers.models.heads import network_of
    from formers.models.transformer import Transformer
    from formers.models.whisper import Whisper

    if isinstance(model, Whisper):  # its encoder writes no text
        quantise(model.encoder, group=group, integers=True)
        for part in (model.decoder, model.embedding):
            quantise(part, group=group)
        return
    quantise(model, group=group, integers=not isinstance(network_of(model), CausalLM | Transformer))
    if isinstance(model, CausalLM):
        tokens = torch.linspace(0, model.config.vocab - 1, min(SAMPLE, model.config.length)).long()
        choose_columns(model, lambda: model.features(tokens[None]))


def open_loaded(loaded: Any, wanted: str | None = None, source: str | Path = "") -> Any:
    """The system of a model that was read (`formers.pretrained.loaded.Loaded`)."""
    declared = _system_of(loaded.system, type(loaded.model).__name__, source or loaded.folder)
    if wanted is not None and system(wanted).open != declared.open:
        raise ConfigError(f"{source} is for {declared.name}, expected a model for {wanted}")
    opener = resolve(declared.open)
    if isinstance(opener, type):
        return opener(loaded.model, loaded.tokenizer, family=loaded.family)
    return opener(loaded)


def check_device(name: str) -> None:
    """Refuse a device that this machine does not have."""
    import torch

    known = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name not in known and not (name == "cuda" and len(known) > 1):
        raise ConfigError(f'device "{name}" is not here{nearest(name, known)}')


def locate(source: str | Path, *, allow_bin: bool = False, offline: bool | None = None) -> Path:
    """The model folder that `source` names: a run's best checkpoint, the folder itself, or a hub snapshot.

    Or the .gguf file: `source` itself, the only one of a folder without config.json, `owner/name/file.gguf` of a hub;
    or Stable Diffusion in one .safetensors file.
    """
    path = expanded(source)
    if os.path.isdir(path / "checkpoints"):  # methods of Path raise for a name that is too long
        from formers.training.run import Run

        folder = Run(path).usable()
        if folder is None:
            raise CheckpointError(f"{path}: this run has no checkpoint yet; train it first, or wait for the first save")
        return folder
    if os.path.exists(path):
        if not path.is_dir() and path.suffix not in (".gguf", ".safetensors"):
            from formers.pretrained.files import refuse_pickle

            refuse_pickle(path)
            what = "a folder (a run, or a model in the Hugging Face layout), a .gguf or a .safetensors file"
            raise CheckpointError(f"{path}: expected {what}, got a file")
        return path if path.is_file() else _only_gguf(path)
    if path.parts[:1] == ("runs",):  # would be taken for a hub id
        raise CheckpointError(f"{source}: there is no such run yet; train it first, or name another one")
    from formers.pretrained.hub import fetch, fetch_gguf, is_gguf, is_id

    if is_gguf(str(source)) and not os.path.isdir(path.parent):
        return fetch_gguf(str(source), offline=offline)
    if is_id(str(source)):
        return fetch(str(source), offline=offline, allow_bin=allow_bin)
    raise CheckpointError(f"{source}: there is no such run, folder or file, and it is not a hub id (owner/name)")


def _only_gguf(folder: Path) -> Path:
    """The .gguf file of a folder that holds one and is nothing else; any other folder as it is."""
    found = [] if (folder / "config.json").exists() else sorted(folder.glob("*.gguf"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:8])
        raise CheckpointError(f"{folder} holds {len(found)} .gguf files; name the one to use: {names}")
    return found[0] if found else folder
