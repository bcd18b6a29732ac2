"""The name tables: which systems there are, what their recipes hold, which system a checkpoint belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from formers.errors import CheckpointError, ConfigError, nearest

SAMPLE = 256  # tokens that an int8 language model reads when it is loaded
# Sections that the recipes of every system have.
EVERYWHERE = {"train": "training.config:TrainConfig", "adapter": "adapters.config:AdapterConfig"}


@dataclass(frozen=True)
class System:
    """Where a system's parts are, as "module:name" within this package, imported when asked for."""

    model: str
    """Sizes of a new model: the section [model] of a recipe."""
    data: str
    task: str
    prepare: str
    """What makes task, batches and report of a recipe's sections."""
    open: str
    """What makes the system of a loaded checkpoint."""

    def sections(self) -> dict[str, type]:
        """Recipe section -> the dataclass that it fills."""
        places = {"model": self.model, "data": self.data, "task": self.task, **EVERYWHERE}
        return {name: _find(place) for name, place in places.items()}


SYSTEMS = {
    "translation": System(
        model="systems.sizes:TransformerSizes",
        data="data.parallel:ParallelData",
        task="systems.translation:TranslationConfig",
        prepare="systems.translation:prepare",
        open="systems.translation:open_translator",
    ),
    "language": System(
        model="systems.sizes:CausalSizes",
        data="data.language:TextData",
        task="systems.language_tasks:LanguageConfig",
        prepare="systems.language_tasks:prepare",
        open="systems.language:open_language",
    ),
    "instruct": System(
        model="systems.sizes:CausalSizes",
        data="data.conversations:ConversationData",
        task="systems.instruct:InstructConfig",
        prepare="systems.instruct:prepare",
        open="systems.language:open_language",
    ),
    "preferences": System(
        model="systems.sizes:CausalSizes",
        data="data.preferences:PreferenceData",
        task="systems.preferences:PreferenceConfig",
        prepare="systems.preferences:prepare",
        open="systems.language:open_language",
    ),
    "masked": System(
        model="systems.sizes:EncoderSizes",
        data="data.masked:MaskedData",
        task="systems.masked_tasks:MaskedConfig",
        prepare="systems.masked_tasks:prepare",
        open="systems.masked:open_masked",
    ),
    "classification": System(
        model="systems.sizes:EncoderSizes",
        data="data.labelled:LabelledData",
        task="systems.classification_tasks:ClassificationConfig",
        prepare="systems.classification_tasks:prepare",
        open="systems.classification:open_classifier",
    ),
    "tagging": System(
        model="systems.sizes:EncoderSizes",
        data="data.tagged:TaggedData",
        task="systems.tagging:TaggingConfig",
        prepare="systems.tagging:prepare",
        open="systems.tagging:open_tagger",
    ),
    "answering": System(
        model="systems.sizes:EncoderSizes",
        data="data.passages:PassageData",
        task="systems.answering_tasks:AnsweringConfig",
        prepare="systems.answering_tasks:prepare",
        open="systems.answering:open_answerer",
    ),
    "embedding": System(
        model="systems.sizes:EncoderSizes",
        data="data.likeness:LikenessData",
        task="systems.embedding:EmbeddingConfig",
        prepare="systems.embedding_tasks:prepare",
        open="systems.encoding:open_encoder",
    ),
}
# Which system serves the checkpoints of a model class.
SYSTEM_OF_MODEL = {
    "Transformer": "translation",
    "CausalLM": "language",
    "Encoder": "embedding",
    "MaskedWords": "masked",
    "Pretraining": "masked",
    "NextSentence": "masked",
    "ReplacedTokens": "masked",
    "TokenClassifier": "tagging",
    "SequenceClassifier": "classification",
    "MultipleChoice": "classification",
    "SpanFinder": "answering",
}


def prepare(system: str, sections: dict[str, Any], folder: Path) -> tuple[Any, Any, list[str]]:
    """The task, the batches and the lines of the report of a system's recipe, for the run in `folder`."""
    start, adapter = sections["model"].start, sections["adapter"]
    if adapter.kind != "none" and not start:
        raise ConfigError(
            f'adapter.kind "{adapter.kind}" changes a few weights of a trained model: name it in model.start'
        )
    place = locate(start) if start else None
    prepared = _find(SYSTEMS[system].prepare)(sections, folder, place)
    if adapter.kind == "none":
        return prepared
    base = str(place.resolve()) if place is not None and Path(start).expanduser().exists() else start
    adapted = _find("systems.adapted:adapted")
    return adapted(prepared, adapter, place=place, base=base, seed=sections["train"].seed)


def load(
    source: str | Path,
    *,
    dtype: str | None = None,
    device: str | None = None,
    allow_bin: bool = False,
    offline: bool | None = None,
) -> Any:
    """The system of a run, a folder in the Hugging Face layout, a .gguf file, or a hub id `owner/name[@revision]`.

    dtype: "fp32" (default), "bf16", "fp16"; or "int8" (CPU only, for use and not for training), "int8:64" with a scale
    for every 64 columns instead of one per row. allow_bin: also read pytorch_model.bin (weights only, no code).
    Raises CheckpointError: no such source, damaged files, unknown keys or weights.
    """
    from formers.pretrained.load import DTYPES, load_model

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
    loaded = load_model(folder, dtype=DTYPES.get(kind), device=device, allow_bin=allow_bin)
    if kind == "int8":
        _to_int8(loaded.model, int(group or 0))
    return open_loaded(loaded)


def _to_int8(model: Any, group: int) -> None:
    """A language model reads tokens from all over its vocabulary, to find the columns that int8 has to spare."""
    import torch

    from formers.blocks.weight import choose_columns, quantise
    from formers.models.causal import CausalLM
    from formers.models.heads import body

    quantise(model, group=group, integers=body(model) is not None)
    if isinstance(model, CausalLM):
        tokens = torch.linspace(0, model.config.vocab - 1, min(SAMPLE, model.config.length)).long()
        choose_columns(model, lambda: model.features(tokens[None]))


def open_loaded(loaded: Any) -> Any:
    """The system of a model that was read (`formers.pretrained.load.Loaded`)."""
    return _find(SYSTEMS[SYSTEM_OF_MODEL[type(loaded.model).__name__]].open)(loaded)


def check_device(name: str) -> None:
    """Refuse a device that this machine does not have."""
    import torch

    known = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name not in known and not (name == "cuda" and len(known) > 1):
        raise ConfigError(f'device "{name}" is not here{nearest(name, known)}')


def locate(source: str | Path, *, allow_bin: bool = False, offline: bool | None = None) -> Path:
    """The model folder that `source` names: a run's best checkpoint, the folder itself, or a hub snapshot.

    Or the .gguf file: `source` itself, the only one of a folder without config.json, `owner/name/file.gguf` of a hub.
    """
    path = Path(source).expanduser()
    if (path / "checkpoints").is_dir():
        from formers.training.run import Run

        run = Run(path)
        folder = run.best() or run.latest()
        if folder is None:
            raise CheckpointError(f"{path}: this run has no checkpoint yet; train it first, or wait for the first save")
        return folder
    if path.exists():
        if not path.is_dir() and path.suffix != ".gguf":
            raise CheckpointError(
                f"{path}: expected a folder (a run, or a model in the Hugging Face layout) or a .gguf file, got a file"
            )
        return path if path.is_file() else _only_gguf(path)
    if path.parts[:1] == ("runs",):  # would be taken for a hub id
        raise CheckpointError(f"{source}: there is no such run yet; train it first, or name another one")
    from formers.pretrained.hub import fetch, fetch_gguf, is_gguf, is_id

    if is_gguf(str(source)) and not path.parent.is_dir():
        return fetch_gguf(str(source), offline=offline)
    if is_id(str(source)):
        return fetch(str(source), offline=offline, allow_bin=allow_bin)
    raise CheckpointError(f"{source}: there is no such run, folder or .gguf file, and it is not a hub id (owner/name)")


def _only_gguf(folder: Path) -> Path:
    """The .gguf file of a folder that holds one and is nothing else; any other folder as it is."""
    found = [] if (folder / "config.json").exists() else sorted(folder.glob("*.gguf"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:8])
        raise CheckpointError(f"{folder} holds {len(found)} .gguf files; name the one to use: {names}")
    return found[0] if found else folder


def _find(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"formers.{module}"), name)
