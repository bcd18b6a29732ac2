"""How a checkpoint wants to be decoded: the generation keys of config.json and generation_config.json."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from formers.decoding.filters import Filter, forbid, forced, minimum_length, no_repeat_ngram, repetition_penalty

KEYS = {
    "beams": "num_beams", "length_penalty": "length_penalty", "early_stopping": "early_stopping",
    "minimum": "min_length", "no_repeat": "no_repeat_ngram_size", "repetition": "repetition_penalty",
    "bos": "bos_token_id", "forced_first": "forced_bos_token_id", "forced_last": "forced_eos_token_id",
    "sample": "do_sample", "temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p",
}  # fmt: skip
"""Field -> its key in generation_config.json, of those that are written there as they are."""
ALWAYS = {"beams", "length_penalty", "early_stopping"}  # are written, the others where they change something


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Token ids and defaults; what is None or empty the checkpoint leaves open."""

    start: int
    stop: tuple[int, ...]
    pad: int
    """What fills rows up: the end of a text where a model has no padding of its own, as is usual."""
    bos: int | None = None
    beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    forbidden: tuple[int, ...] = ()
    forced_first: int | None = None
    forced_last: int | None = None
    """Kept for saving: it is said at the checkpoint's own `max_length`, which is no limit here."""
    minimum: int = 0
    no_repeat: int = 0
    repetition: float = 1.0
    sample: bool | None = None
    """Whether its makers draw tokens rather than take the likeliest."""
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Settings:
        """Read a Hugging Face configuration (config.json overlaid with generation_config.json)."""
        raw = {key: value for key, value in raw.items() if value is not None}
        stop = raw.get("eos_token_id", ())
        stop = tuple(stop) if isinstance(stop, list | tuple) else (stop,)
        pad = raw.get("pad_token_id", -1)
        pad = pad if pad >= 0 else next(iter(stop), 0)  # Llama 1 writes -1 for none
        start = raw.get("decoder_start_token_id", raw.get("bos_token_id", pad))
        forbidden = tuple(ids[0] for ids in raw.get("bad_words_ids", ()) if len(ids) == 1)
        plain = {name: raw[key] for name, key in KEYS.items() if key in raw}
        return cls(start=start, stop=stop, pad=pad, forbidden=forbidden, **plain)

    def raw(self) -> dict[str, Any]:
        """The same as generation_config.json."""
        stop = {"eos_token_id": self.stop[0] if len(self.stop) == 1 else list(self.stop)} if self.stop else {}
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {field.name for field in fields(self) if own[field.name] != field.default}
        return {
            "decoder_start_token_id": self.start,
            **stop,
            "pad_token_id": self.pad,
            **({"bad_words_ids": [[i] for i in self.forbidden]} if self.forbidden else {}),
            **{key: own[name] for name, key in KEYS.items() if name in changed | ALWAYS},
        }

    def filters(self, *, more_forbidden: Collection[int] = ()) -> list[Filter]:
        """What these settings do to the logits."""
        chain: list[Filter] = []
        if self.repetition != 1.0:
            chain.append(repetition_penalty(self.repetition))
        if self.no_repeat:
            chain.append(no_repeat_ngram(self.no_repeat))
        if self.forbidden or more_forbidden:
            chain.append(forbid({*self.forbidden, *more_forbidden}))
        if self.minimum:
            chain.append(minimum_length(self.minimum, self.stop))
        if self.forced_first is not None:
            chain.append(forced({1: self.forced_first}))
        return chain
