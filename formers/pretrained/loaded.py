"""A model as it was read, with all that its folder says beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

from torch import nn

from formers.errors import CheckpointError
from formers.files import Content, as_json, read_json
from formers.images.preprocess import Preprocessor
from formers.notes import note
from formers.pretrained.keys import GENERATION as GENERATION_KEYS
from formers.shapes import Closed
from formers.sound.features import FeatureExtractor
from formers.text.chat import ChatTemplate
from formers.text.tokenizer import Tokenizer

MOST_MISSING = 4  # published folders lack one or two rows, and all those of tokens that were added later
IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
SYSTEM = "formers.json"  # beside config.json, for us alone: {"system": "classification"}


class SystemShape(TypedDict):
    """formers.json."""

    system: str


@dataclass(frozen=True)
class Loaded:
    model: nn.Module
    family: str
    """Its model_type."""
    config: dict[str, Any]
    """config.json with generation_config.json over it."""
    tokenizer: Tokenizer | None
    folder: Path
    """Where it was read: a folder, or a .gguf file."""
    prefix: str = ""
    """The change of prefix that the weight names needed, as in `Family.prefixes`."""
    template: ChatTemplate | None = None
    """How conversations are written; its `files()` go into `save_model`'s `extra`."""
    system: str | None = None
    """The system that it was trained for, where its folder says so."""
    notes: tuple[str, ...] = ()
    """What was said of the folder when it was read, though nothing is wrong with it."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """generation_config.json as it is."""
    preprocessor: Preprocessor | None = None
    """How pictures become what the model reads, where its folder says so."""
    extractor: FeatureExtractor | None = None
    """The same of sounds."""

    @property
    def generation(self) -> dict[str, Any]:
        """Token ids and decoding defaults alone: what `save_model` takes as `generation`.

        Where there is a generation_config.json, config.json only fills in ids, as elsewhere.
        """
        keys = IDS if self.settings else GENERATION_KEYS
        return {**{key: value for key, value in self.config.items() if key in keys}, **self.settings}


def check_vocabulary(tokenizer: Tokenizer | None, model: nn.Module, folder: Path) -> None:
    """A tokenizer may have fewer ids than the model has rows, which are often rounded up, and a few more.

    More is noted, and a text that has such a token is an error when it is read. Raises CheckpointError for a
    tokenizer of another model.
    """
    config: Any = model.config
    rows = getattr(config, "vocab", None)
    if tokenizer is None or rows is None:  # a model of pictures has none
        return
    target_rows = vars(config).get("target_vocab") or rows
    sides = (("", rows, tokenizer.vocab), ("target ", target_rows, tokenizer.target_vocab))
    for side, rows, ids in sides:
        if ids <= rows:
            continue
        what = f"the tokenizer has {ids} ids, the model {rows}"
        if tokenizer.own_vocab > rows + MOST_MISSING or rows != config.vocab:
            raise CheckpointError(f"the {side}vocabulary of {folder} does not match its model: {what}")
        tokenizer.watch.rows = rows
        note(f"{folder}: {what}; a text with one of the last {ids - rows} tokens cannot be read")


def system_file(system: str | None) -> dict[str, Content]:
    """The file that names the system of a checkpoint; none without a name."""
    return {} if system is None else {SYSTEM: as_json({"system": system})}


def read_system(folder: Path) -> str | None:
    """The system that a folder names, None where it names none. Raises CheckpointError for anything but a name."""
    path = folder / SYSTEM
    if not path.exists():
        return None
    return str(read_json(path, Annotated[SystemShape, Closed()])["system"])
