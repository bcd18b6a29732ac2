"""The config map of a family: their config.json <-> our dataclass, and no key that is not understood."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from torch import Tensor

from formers.errors import CheckpointError, nearest

Raw = Mapping[str, Any]


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def pairs(text: str) -> dict[str, str]:
    """A table of names, "theirs=ours theirs=ours"."""
    return {theirs: ours for theirs, _, ours in (pair.partition("=") for pair in text.split())}


# Keys of any config.json that say nothing about what the network computes.
GENERATION = words("""
    assistant_confidence_threshold assistant_early_exit assistant_lookbehind bad_words_ids
    begin_suppress_tokens bos_token_id cache_implementation decoder_start_token_id diversity_penalty
    do_sample early_stopping encoder_no_repeat_ngram_size encoder_repetition_penalty eos_token_id
    epsilon_cutoff eta_cutoff exponential_decay_length_penalty force_bos_token_to_be_generated
    forced_bos_token_id forced_decoder_ids
    forced_eos_token_id guidance_scale length_penalty low_memory max_length
    max_new_tokens max_time min_length min_new_tokens min_p no_repeat_ngram_size num_assistant_tokens
    num_assistant_tokens_schedule num_beam_groups num_beams num_return_sequences output_logits
    output_scores pad_token_id penalty_alpha prefix remove_invalid_values renormalize_logits
    repetition_penalty return_dict_in_generate sep_token_id sequence_bias suppress_tokens
    target_lookbehind temperature top_k top_p typical_p use_cache
""")
BOOKKEEPING = words("""
    _attn_implementation_autoset _commit_hash _name_or_path _num_labels add_cross_attention architectures
    chunk_size_feed_forward cross_attention_hidden_size dtype finetuning_task gradient_checkpointing
    id2label is_decoder label2id model_type name_or_path num_labels output_attentions output_hidden_states
    output_past problem_type return_dict task_specific_params tf_legacy_loss tie_encoder_decoder
    tokenizer_class torch_dtype torchscript transformers_version use_bfloat16 xla_device
""")
# Would change the computation, so they must be empty or off.
MUST_BE_OFF = ("pruned_heads", "quantization_config", "per_layer_config", "auto_map")

# Theirs -> ours; of several the first is written.
ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "silu": "silu",
    "gelu": "gelu",
    "relu": "relu",
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "quick_gelu": "gelu_quick",
}


@dataclass(frozen=True, kw_only=True)
class ConfigMap:
    """theirs -> ours; a key of `names` may feed several fields ("encoder.dim decoder.dim"), with values."""

    config: type
    names: Mapping[str, str | tuple[str, Mapping[Any, Any]]]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Ours -> the value that every model of this family has."""
    defaults: Raw = field(default_factory=dict)
    """Theirs -> what an absent key (or null) means."""
    nullable: frozenset[str] = frozenset()
    """Theirs whose null says something else than their absence."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Their second name for a key; both must agree."""
    checked: Mapping[str, Any] = field(default_factory=dict)
    """Theirs -> the only value that our model computes (or a function of the file that gives it)."""
    derived: Callable[[Raw, Mapping[str, Tensor]], Mapping[str, Any]] = lambda raw, tensors: {}
    """Ours that need several keys, or a look at the stored tensors."""
    reads: Sequence[str] = ()
    """Their keys that `derived` reads."""
    written: Callable[[Any], Mapping[str, Any]] = lambda config: {}
    """Theirs that `names` does not give, when saving."""
    ignored: frozenset[str] = frozenset()
    canonical: Callable[[Any], Any] = lambda config: config
    """Ours -> the one of its spellings that reading gives (no kv_heads where they are as many as heads)."""

    def to_ours(self, raw: Raw, tensors: Mapping[str, Tensor], *, what: str = "config.json") -> Any:
        """Our config from theirs. Raises CheckpointError for unknown keys and values not computed here."""
        raw = {key: value for key, value in raw.items() if value is not None or key in self.nullable}
        for alias, key in self.aliases.items():
            if alias in raw and raw.setdefault(key, raw[alias]) != raw[alias]:
                raise CheckpointError(f"{what}: {alias} = {raw[alias]!r}, but {key} = {raw[key]!r}")
        given, raw = raw, {**self.defaults, **raw}
        self.check(given, raw, what)
        ours: dict[str, Any] = dict(self.fixed)
        for key, target in self.names.items():
            paths, values = (target, None) if isinstance(target, str) else target
            if key not in raw:
                raise CheckpointError(f"{what} lacks {key}")
            value = raw[key]
            if values is not None and value not in list(values):  # which compares, and a list has no hash
                known = ", ".join(map(str, values))
                raise CheckpointError(f"{what}: {key} = {value!r} is not computed here; known: {known}")
            ours.update(dict.fromkeys(paths.split(), value if values is None else values[value]))
        try:
            ours.update(self.derived(raw, tensors))
            return self.canonical(nest(self.config, ours))
        except KeyError as fault:
            raise CheckpointError(f"{what} lacks {fault.args[0]}") from fault
        except (TypeError, ValueError) as fault:
            raise CheckpointError(f"{what}: {fault}") from fault

    def check(self, given: Raw, raw: Raw, what: str) -> None:
        """Refuse a key that nobody reads, and a value that our model does not compute."""
        read = {*self.names, *self.aliases, *self.checked, *self.defaults, *self.reads}
        passed = {*self.ignored, *GENERATION, *BOOKKEEPING, *MUST_BE_OFF}
        for key in given:
            if key not in read and key not in passed:
                raise CheckpointError(f"{what} has the unknown key {key!r} ({given[key]!r}){near(key, read)}")
        for key in MUST_BE_OFF:
            if given.get(key):
                raise CheckpointError(f"{what}: {key} = {given[key]!r} is not computed here")
        for key, value in self.checked.items():
            expected = value(raw) if callable(value) else value
            if key in given and given[key] != expected:
                raise CheckpointError(
                    f"{what}: {key} = {json.dumps(given[key])}, but this family computes {json.dumps(expected)} only"
                )

    def to_theirs(self, config: Any) -> dict[str, Any] | None:
        """Their config from ours, or None when this family has no word for it (see `Family.expresses`)."""
        config, raw = self.canonical(config), {}
        for key, target in self.names.items():
            paths, values = (target, None) if isinstance(target, str) else target
            ours, *others = (attrgetter(path)(config) for path in paths.split())
            if any(value != ours for value in others):
                return None
            if values is None:
                raw[key] = ours
            elif back := [theirs for theirs, value in values.items() if value == ours]:
                raw[key] = back[0]
            else:
                return None
        return {**raw, **self.written(config)}


@dataclass(frozen=True)
class Native:
    """Our own layout: config.json holds our dataclass as it is, under "config"."""

    config: type

    def to_ours(self, raw: Raw, tensors: Mapping[str, Tensor], *, what: str = "config.json") -> Any:
        try:
            return revive(self.config, raw["config"])
        except KeyError as fault:
            raise CheckpointError(f"{what} lacks {fault}") from fault
        except (TypeError, ValueError) as fault:
            raise CheckpointError(f"{what}: {fault}") from fault

    def to_theirs(self, config: Any) -> dict[str, Any] | None:
        return {"config": dataclasses.asdict(config)}

    def canonical(self, config: Any) -> Any:
        return config


def near(key: str, known: set[str]) -> str:
    """A hint only where a known key is close: the list of all would be long."""
    hint = nearest(key, known)
    return hint if "did you mean" in hint else "; it may change what the model computes, so it is not skipped"


def nest(kind: type, values: Mapping[str, Any]) -> Any:
    """A dataclass from dotted names: {"encoder.dim": 8, "vocab": 9} -> C(encoder=S(dim=8), vocab=9)."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *folders, name = path.split(".")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[name] = value
    return revive(kind, tree)


def revive(kind: type, tree: Mapping[str, Any]) -> Any:
    """A dataclass, and those within it, from a tree of plain values; an unknown key says what was meant."""
    hints = typing.get_type_hints(kind)
    for key in tree:
        if key not in hints:
            raise ValueError(f"{kind.__name__} has no field {key!r}{nearest(key, hints)}")
    return kind(**{key: _as_hinted(hints[key], value, key) for key, value in tree.items()})


def fits(kind: Any, tree: Mapping[str, Any]) -> bool:
    """Whether a dataclass has all of these fields."""
    return tree.keys() <= {field.name for field in dataclasses.fields(kind)}


JSON_NAMES = {tuple: "a list", int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
JSON_NAMES[type(None)] = "null"


def _as_hinted(hint: Any, value: Any, key: str) -> Any:
    """What JSON cannot say: a dataclass from an object (`Stretch | None` too), a tuple from a list, 0 for 0.0."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    last = [kind for kind in kinds if dataclasses.is_dataclass(kind)][-1:]  # whose words a fault has
    for kind in kinds:
        if dataclasses.is_dataclass(kind) and isinstance(value, Mapping) and ([kind] == last or fits(kind, value)):
            return revive(typing.cast(type, kind), value)
        if typing.get_origin(kind) is tuple and isinstance(value, list):
            return tuple(value)
        if kind is float and type(value) is int:
            return float(value)
        if typing.get_origin(kind) is typing.Literal and value not in typing.get_args(kind):
            raise ValueError(f"{key} is {value!r}, expected {' or '.join(map(repr, typing.get_args(kind)))}")
    plain = tuple(kind for kind in (typing.get_origin(option) or option for option in kinds) if isinstance(kind, type))
    if len(plain) == len(kinds) and not isinstance(value, plain):
        names = " or ".join(JSON_NAMES.get(kind, "an object") for kind in plain)
        raise ValueError(f"{key} is {value!r}, expected {names}")
    return value
