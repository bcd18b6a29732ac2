"""How a checkpoint wants to be decoded: the generation keys of config.json and generation_config.json."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from formers.decoding.filters import Filter, forbid, forced, minimum_length, no_repeat_ngram, repetition_penalty


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

        def get(name: str, default: Any) -> Any:
            value = raw.get(name)
            return default if value is None else value

        stop = get("eos_token_id", ())
        stop = tuple(stop) if isinstance(stop, list | tuple) else (stop,)
        pad = get("pad_token_id", -1)
        pad = pad if pad >= 0 else next(iter(stop), 0)  # Llama 1 writes -1 for none
        return cls(
            start=get("decoder_start_token_id", get("bos_token_id", pad)),
            stop=stop,
            pad=pad,
            bos=get("bos_token_id", None),
            beams=get("num_beams", 1),
            length_penalty=get("length_penalty", 1.0),
            early_stopping=get("early_stopping", False),
            forbidden=tuple(ids[0] for ids in get("bad_words_ids", ()) if len(ids) == 1),
            forced_first=get("forced_bos_token_id", None),
            forced_last=get("forced_eos_token_id", None),
            minimum=get("min_length", 0),
            no_repeat=get("no_repeat_ngram_size", 0),
            repetition=get("repetition_penalty", 1.0),
            sample=get("do_sample", None),
            temperature=get("temperature", None),
            top_k=get("top_k", None),
            top_p=get("top_p", None),
            min_p=get("min_p", None),
        )

    def raw(self) -> dict[str, Any]:
        """The same as generation_config.json."""
        open_ones = {
            "bos_token_id": self.bos,
            "forced_bos_token_id": self.forced_first,
            "forced_eos_token_id": self.forced_last,
            "do_sample": self.sample,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "min_p": self.min_p,
        }
        return {
            "decoder_start_token_id": self.start,
            **({"eos_token_id": self.stop[0] if len(self.stop) == 1 else list(self.stop)} if self.stop else {}),
            "pad_token_id": self.pad,
            "num_beams": self.beams,
            "length_penalty": self.length_penalty,
            "early_stopping": self.early_stopping,
            **({"bad_words_ids": [[i] for i in self.forbidden]} if self.forbidden else {}),
            **({"min_length": self.minimum} if self.minimum else {}),
            **({"no_repeat_ngram_size": self.no_repeat} if self.no_repeat else {}),
            **({"repetition_penalty": self.repetition} if self.repetition != 1.0 else {}),
            **{key: value for key, value in open_ones.items() if value is not None},
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
