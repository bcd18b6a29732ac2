"""What the files of a model say that it does not hold itself: kept here while it lives, written when it is saved.

Models know nothing of checkpoints, and a model that was read is saved in many places; so it is kept beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from formers.models.heads import network_of
from formers.pretrained.config_map import ConfigMap, Native
from formers.pretrained.families import families
from formers.pretrained.family import Family
from formers.pretrained.keys import GENERATION, MUST_BE_OFF

# Ours where the model is written: what kind of model it is, its labels, the type of its numbers.
OWN = {"model_type", "architectures", "torch_dtype", "dtype", "_class_name"}
LABELS = {"id2label", "label2id", "num_labels", "_num_labels", "problem_type"}


@dataclass(frozen=True)
class Provenance:
    """A model's files as they were read."""

    family: str
    """Its model_type."""
    config: Mapping[str, Any]
    """config.json."""
    generation: Mapping[str, Any]
    """generation_config.json."""

    @property
    def writing(self) -> dict[str, Any]:
        """How texts are written: what config.json says, and generation_config.json over it."""
        said = {key: value for key, value in self.config.items() if key in GENERATION and value is not None}
        return {**said, **self.generation}

    def settings(self, kind: Family, given: Mapping[str, Any]) -> dict[str, Any]:
        """generation_config.json with what is given over it, but for ids that only stand in for absent ones.

        A padding that is made up would freeze its row of the embedding in readers that take it for one.
        """
        said = self.writing
        usual = {**kind.generation, **{key: value for key, value in said.items() if value is not None}}
        ends = usual.get("eos_token_id", 0)
        pad = usual.get("pad_token_id", -1)
        pad = pad if pad >= 0 else next(iter(ends), 0) if isinstance(ends, list) else ends
        start = usual.get("decoder_start_token_id", usual.get("bos_token_id", pad))
        stand_ins = {"pad_token_id": pad, "decoder_start_token_id": start}
        absent = {key for key in stand_ins if said.get(key) is None or said[key] < 0}
        made_up = {key for key in absent if given.get(key) == stand_ins[key]}
        return {**said, **{key: value for key, value in given.items() if key not in made_up}}

    def config_of(self, kind: Family, written: Mapping[str, Any]) -> dict[str, Any]:
        """config.json of the model as a family writes it, with all keys that say nothing of what is computed."""
        if kind.model_type == self.family:
            return kept(self.config, written, kind.config)
        names = families(self.family)[0].config.unknown(self.config)
        return {**written, **{key: self.config[key] for key in names if not must_be_off(key, self.config)}}


def kept(raw: Mapping[str, Any], written: Mapping[str, Any], config: ConfigMap | Native) -> dict[str, Any]:
    """What is written, with the keys of a file that say nothing of what is computed, those of inner configs too."""
    reads = config.read | GENERATION | OWN | (LABELS if "id2label" in written else set())
    theirs = {key: raw[key] for key in raw if key not in reads and not must_be_off(key, raw)}
    parts = config.within.items()
    inner = {key: kept(part.of(raw, key), written[key], part.map) for key, part in parts if key in written}
    return {**written, **theirs, **inner}


def must_be_off(key: str, raw: Mapping[str, Any]) -> bool:
    return key in MUST_BE_OFF and bool(raw[key])


_OF: WeakKeyDictionary[nn.Module, Provenance] = WeakKeyDictionary()


def remember(model: nn.Module, provenance: Provenance | None) -> None:
    """Keep what the files of a model say, also for other heads that are put on its body."""
    if provenance is not None:
        _OF[model] = _OF[network_of(model)] = provenance


def provenance_of(model: nn.Module) -> Provenance | None:
    """What the files say that a model was read from, None for one that was made here."""
    return _OF.get(model) or _OF.get(network_of(model))
