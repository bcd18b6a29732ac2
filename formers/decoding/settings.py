"""How a checkpoint wants to be decoded: the keys of its generation_config.json, as `transformers` obeys them."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from formers.decoding import filters
from formers.decoding.filters import Filter
from formers.errors import CheckpointError, shown
from formers.fields import Between, Count, Natural
from formers.notes import note
from formers.shapes import Sized, fault

Ids = tuple[int, ...]
Sequences = tuple[Annotated[Ids, Sized(1)], ...]
Positive = Annotated[float, Between(above=0)]
WHAT = "the generation settings (generation_config.json)"

KEYS = {
    "start": "decoder_start_token_id", "stop": "eos_token_id", "pad": "pad_token_id", "bos": "bos_token_id",
    "beams": "num_beams", "length_penalty": "length_penalty", "early_stopping": "early_stopping",
    "bad_words": "bad_words_ids", "suppressed": "suppress_tokens", "suppressed_first": "begin_suppress_tokens",
    "biases": "sequence_bias", "minimum": "min_length", "minimum_new": "min_new_tokens", "maximum": "max_length",
    "maximum_new": "max_new_tokens", "no_repeat": "no_repeat_ngram_size", "repetition": "repetition_penalty",
    "source_no_repeat": "encoder_no_repeat_ngram_size", "source_bonus": "encoder_repetition_penalty",
    "decay": "exponential_decay_length_penalty", "forced_first": "forced_bos_token_id",
    "forced_last": "forced_eos_token_id", "finite": "remove_invalid_values", "normalised": "renormalize_logits",
    "sample": "do_sample", "temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p",
    "typical_p": "typical_p", "epsilon_cutoff": "epsilon_cutoff", "eta_cutoff": "eta_cutoff",
}  # fmt: skip
"""Field -> its key in generation_config.json."""
ALWAYS = {"start", "pad", "beams", "length_penalty", "early_stopping"}  # of a new model; else what changes something
NOT_OBEYED = {
    "constraints": "", "diversity_penalty": "", "dola_layers": "", "force_words_ids": "", "forced_decoder_ids": "",
    "guidance_scale": "", "max_time": "", "num_beam_groups": "", "num_return_sequences": " (ask for samples or nbest)",
    "penalty_alpha": "", "stop_strings": " (ask for them: stop)", "token_healing": "", "top_h": "",
    "watermarking_config": "",
}  # fmt: skip
"""Keys that change what is written elsewhere -> what to do here."""
UNSET = 20  # `max_length` that old files write out though nobody chose it


class Extent(typing.NamedTuple):
    """Of a text that is wanted, what filters may ask for: see `Settings.extent`."""

    begin: int
    """Tokens before it."""
    end: int
    """Most tokens with those."""
    source: Ids
    """What an encoder reads before, or else the prompt."""


ANYWHERE = Extent(0, 0, ())


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Token ids and defaults; what is None or empty the checkpoint leaves open."""

    start: int
    stop: Ids
    pad: int
    """What fills rows up: the end of a text where a model has no padding of its own, as is usual."""
    bos: int | None = None
    beams: Natural = 1
    length_penalty: Annotated[float, Between(-50, 50)] = 1.0
    """An exponent: beyond these, the score of a text is no number."""
    early_stopping: bool | Literal["never"] = False
    forbidden: Ids = ()
    """Bad words of one token."""
    bad_words: Sequences = ()
    """Those of several."""
    suppressed: Ids = ()
    suppressed_first: Ids = ()
    """Not as the first token of a text."""
    biases: tuple[tuple[Annotated[Ids, Sized(1)], float], ...] = ()
    minimum: Count = 0
    """With the prompt."""
    minimum_new: Count = 0
    maximum: Natural | None = None
    """With the prompt, at most, where a request leaves the limit open."""
    maximum_new: Natural | None = None
    no_repeat: Count = 0
    repetition: Positive = 1.0
    source_no_repeat: Count = 0
    source_bonus: Positive = 1.0
    decay: tuple[Count, Positive] | None = None
    """After so many tokens the stop token's logit grows by this factor a token."""
    forced_first: int | None = None
    forced_last: int | Ids | None = None
    """Is said where a text is at its limit."""
    finite: bool = False
    normalised: bool = False
    sample: bool | None = None
    """Whether its makers draw tokens rather than take the likeliest."""
    temperature: Annotated[float, Between(0)] | None = None
    top_k: Count | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    epsilon_cutoff: float | None = None
    eta_cutoff: float | None = None
    given: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)
    """The keys as they were read, those too that say nothing here; they are written back."""

    @classmethod
    def of(cls, raw: Mapping[str, Any], vocab: int | None = None) -> Settings:
        """Read generation keys; `vocab`: the model's. Notes what is not obeyed. Raises CheckpointError, one line."""
        keys = {key: value for key, value in raw.items() if value is not None}
        hints = {**typing.get_type_hints(cls, include_extras=True), "stop": int | Ids}
        own: dict[str, Any] = {}
        for name, key in KEYS.items():
            if key in keys:
                if text := fault(keys[key], hints[name], key):
                    raise CheckpointError(f"{WHAT}: {text}")
                own[name] = _frozen(keys[key])
        if isinstance(own.get("stop"), int):
            own["stop"] = (own["stop"],)
        words = own.pop("bad_words", ())
        ends = own.setdefault("stop", ())
        own["forbidden"] = tuple(ids[0] for ids in words if len(ids) == 1 and ids[0] not in ends)
        own["bad_words"] = tuple(ids for ids in words if len(ids) > 1)
        if keys.get("force_bos_token_to_be_generated") is True and "bos" in own:  # BART's first files
            own.setdefault("forced_first", own["bos"])
        if own.get("maximum") == UNSET:
            del own["maximum"]
        rows = range(2**63 if vocab is None else vocab)
        pad = own.get("pad", -1)
        own["pad"] = pad if pad in rows else next((id for id in ends if id in rows), 0)  # Llama 1 writes -1 for none
        own.setdefault("start", own.get("bos", own["pad"]))
        if own.get("bos", 0) not in rows:
            del own["bos"]
        for name in ("start", "forced_first", "forced_last") if "decoder_start_token_id" in keys else ():
            ids = own.get(name)
            if any(id not in rows for id in (ids if isinstance(ids, tuple) else () if ids is None else (ids,))):
                got = f"{KEYS[name]} is {shown(ids)}, which is none of the {rows.stop:,} tokens of this model"
                raise CheckpointError(f"{WHAT}: {got}")
        strange = [
            f"{key} = {shown(keys[key])}{cure}"
            for key, cure in NOT_OBEYED.items()
            if keys.get(key) and (keys[key] is True or keys[key] != 1)
        ]
        if strange:
            note(f"{WHAT} ask for what is not obeyed here: {', '.join(strange)}")
        return cls(given=dict(raw), **own)

    def raw(self) -> dict[str, Any]:
        """The same as generation_config.json: what was read as it was, and what has changed since."""
        before = Settings.of(self.given) if self.given else Settings(start=-1, stop=(), pad=-1)
        names = [part.name for part in fields(self) if part.name not in ("given", "forbidden", "bad_words")]
        own = {name: getattr(self, name) for name in names}
        changed = {name for name in names if own[name] != getattr(before, name)}
        written = {KEYS[name]: _plain(own[name]) for name in changed | (set() if self.given else ALWAYS)}
        if "stop" in changed and len(self.stop) == 1:
            written[KEYS["stop"]] = self.stop[0]
        if (self.forbidden, self.bad_words) != (before.forbidden, before.bad_words):
            written[KEYS["bad_words"]] = _plain((*((id,) for id in self.forbidden), *self.bad_words))
        return {**self.given, **written}

    def extent(self, prompt: int, limit: int, source: tuple[int, ...]) -> Extent:
        """Of a text after `prompt` tokens, of at most `limit`, as far as these settings need to know."""
        begin = bool(self.minimum_new or self.decay or self.suppressed_first)
        reads = bool(self.source_no_repeat) or self.source_bonus != 1
        end = 0 if self.forced_last is None else prompt + limit
        return Extent(prompt if begin else 0, end, source if reads else ())

    def filters(self, extent: Extent = ANYWHERE) -> list[Filter]:
        """What these settings do to the logits of a text, in the order of `transformers`."""
        chain: list[Filter] = []
        if self.biases:
            chain.append(filters.bias(dict(self.biases)))
        if self.source_bonus != 1 and extent.source:
            chain.append(filters.source_bonus(self.source_bonus, extent.source))
        if self.repetition != 1:
            chain.append(filters.repetition_penalty(self.repetition))
        if self.no_repeat:
            chain.append(filters.no_repeat_ngram(self.no_repeat))
        if self.source_no_repeat and extent.source:
            chain.append(filters.no_source_ngram(self.source_no_repeat, extent.source))
        if self.forbidden:
            chain.append(filters.forbid(self.forbidden))
        if self.bad_words:
            chain.append(filters.bias(dict.fromkeys(self.bad_words, float("-inf"))))
        if self.minimum:
            chain.append(filters.minimum_length(self.minimum, self.stop))
        if self.minimum_new:
            chain.append(filters.minimum_length(extent.begin + self.minimum_new, self.stop))
        if self.forced_first is not None:
            chain.append(filters.forced({1: self.forced_first}))
        if self.forced_last is not None and extent.end:
            chain.append(filters.forced({extent.end - 1: self.forced_last}))
        if self.finite:
            chain.append(filters.finite())
        if self.decay:
            after, factor = self.decay
            chain.append(filters.growing_stop(extent.begin + after, factor, self.stop))
        if self.suppressed:
            chain.append(filters.forbid(self.suppressed))
        if self.suppressed_first:  # a token that is forced is not the first that a model chooses
            first = extent.begin + (extent.begin == 1 and self.forced_first is not None)
            chain.append(filters.forbid(self.suppressed_first, at=first))
        return [*chain, filters.normalise()] if self.normalised else chain


def _frozen(value: Any) -> Any:
    """Lists as tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """Tuples as lists."""
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
