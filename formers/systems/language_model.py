"""Language models: continue a text, say how likely one is, choose between answers.

text -> tokens -> CausalLM.extend (prefill, then one token at a time) -> generate (greedy, sampling, beams) -> text
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import torch

from formers.blocks.mode import inference
from formers.decoding.log_probabilities import Scored, score_text
from formers.decoding.options import DecodingOptions
from formers.decoding.settings import Settings
from formers.decoding.writer import Continuation, Writer, Writing
from formers.errors import ConfigError
from formers.files import Content, as_json
from formers.models.causal import CausalLM
from formers.pretrained.files import GENERATION
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded, system_file
from formers.systems.choices import NO_START, Choice, LikelihoodChooser
from formers.text.chat import ChatTemplate
from formers.text.tokenizer import Tokenizer


class LanguageModel:
    """A decoder with its tokenizer: what `formers.load` gives for language models."""

    def __init__(
        self,
        model: CausalLM,
        tokenizer: Tokenizer | None,
        settings: Settings,
        *,
        family: str | None = None,
        template: ChatTemplate | None = None,
        system: str = "language",
    ) -> None:
        """template: how a conversation is written for this model; system: whose name its folder bears."""
        self.model, self.tokenizer, self.settings, self.family = model, tokenizer, settings, family
        self.template, self.system = template, system

    @property
    def device(self) -> torch.device:
        return self.model.embedding.weight.device

    @overload
    def generate(self, prompts: str = ..., *, samples: int, **options: Any) -> list[Continuation]: ...
    @overload
    def generate(self, prompts: Sequence[str], *, samples: int, **options: Any) -> list[list[Continuation]]: ...
    @overload
    def generate(self, prompts: str = ..., **options: Any) -> Continuation: ...
    @overload
    def generate(self, prompts: Sequence[str], **options: Any) -> list[Continuation]: ...
    def generate(self, prompts: str | Sequence[str] = "", **options: Any) -> Any:
        """What the model writes after a prompt (a `Continuation`, whose str is its text), or after each of several
        (a list of them); an empty prompt is the beginning of a text. With `samples` or `nbest`, each becomes a list.

        options: the fields of `DecodingOptions`; greedy unless they ask for sampling. Raises DataError for a prompt
        longer than the model reads, without `truncate`.
        """
        wanted = DecodingOptions(**options)
        listed = [prompts] if isinstance(prompts, str) else list(prompts)
        whats = ["the prompt" if isinstance(prompts, str) else f"prompt {i + 1}" for i in range(len(listed))]
        ids = [self.read(text, wanted, what) for text, what in zip(listed, whats, strict=True)]
        written = self.writer().write(ids, wanted)
        out = written if wanted.several else [texts[0] for texts in written]
        return out[0] if isinstance(prompts, str) else out

    def stream(self, prompt: str = "", **options: Any) -> Writing:
        """The same for one prompt, as it is written: iterate for pieces of text; `.result` when it has ended."""
        wanted = DecodingOptions(**options)
        return Writing(self.writer(), self.read(prompt, wanted, "the prompt"), wanted)

    def score(self, text: str, *, window: int | None = None, stride: int | None = None) -> Scored:
        """The log-probability of every token of a text, each given those before it.

        A text longer than `window` tokens (default: what the model reads) is read in windows that begin `stride`
        tokens apart (default: half a window), and a token counts in the first window that has it: then every token
        but the first window's has at least window - stride tokens before it. The first token follows the start
        token; where the tokenizer puts one before every text, it stands before every window too, else before the
        first only. Without any start token the first token is not counted.
        """
        tokens = self.needs_tokenizer().encode_plain([text])[0]
        with inference(self.model):
            return score_text(
                self.model, text, tokens, opening=self.opening, start=self.start_or_none(), window=window, stride=stride
            )

    def perplexity(self, text: str, *, window: int | None = None, stride: int | None = None) -> float:
        """exp(-mean log-probability of a token), by the windows of `score`."""
        return self.score(text, window=window, stride=stride).perplexity

    def choose(self, question: str, choices: Sequence[str], *, examples: Sequence[tuple[str, str]] = ()) -> Choice:
        """The likeliest of several continuations of a question, after `examples` of questions with their answers.

        `.index` is the place of the likeliest, `.normalised_index` of the likeliest per byte. For many questions
        after the same examples see `chooser`, which reads those once.
        """
        return self.chooser(examples).choose(question, choices)

    def chooser(self, examples: Sequence[tuple[str, str]] = ()) -> LikelihoodChooser:
        """Chooses again and again after the same examples."""
        return LikelihoodChooser(self.model, self.needs_tokenizer(), self.opening, self.start_or_none(), examples)

    def read(self, text: str, options: DecodingOptions, what: str) -> list[int]:
        """A prompt as tokens; names of special tokens in it are read as those tokens."""
        tokenizer = self.needs_tokenizer()
        ids = [*self.opening, *tokenizer.encode_plain([text])[0]]
        ids = ids or [self.start]
        return self.writer().fit(ids, options, what, len(self.opening))

    @cached_property
    def opening(self) -> list[int]:
        """What the tokenizer puts before every text: a start token, or nothing."""
        tokenizer = self.needs_tokenizer()
        (whole,), (plain,) = tokenizer.encode(["a"]), tokenizer.encode_plain(["a"])
        at = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), 0)
        return whole[:at]

    @property
    def start(self) -> int:
        """The token that begins a text: the beginning of a sequence, or the end of the text before (GPT-2)."""
        token = self.start_or_none()
        if token is None:
            raise ConfigError(NO_START)
        return token

    def start_or_none(self) -> int | None:
        tokens = (self.needs_tokenizer().bos, self.settings.bos, *self.ends)
        return next((token for token in tokens if token is not None), None)

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end a text."""
        eos = None if self.tokenizer is None else self.tokenizer.eos
        return self.settings.stop or (() if eos is None else (eos,))

    def writer(self, ends: tuple[int, ...] | None = None) -> Writer:
        """ends: tokens that end a text, instead of the model's own."""
        return Writer(self.model, self.needs_tokenizer(), self.settings, self.ends if ends is None else ends)

    def needs_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise ConfigError(
                "this model folder has no tokenizer files, so text cannot be read; add tokenizer.json, "
                "or vocab.json + merges.txt (the .model itself works)"
            )
        return self.tokenizer

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout."""
        save_model(
            folder,
            self.model,
            tokenizer=self.tokenizer,
            generation=self.settings.raw(),
            family=self.family,
            extra=None if self.template is None else self.template.files(),
            system=self.system,
        )

    def beside(self) -> dict[str, Content]:
        """What an adapter of it needs besides weights: where a text ends, how a conversation is written."""
        template = {} if self.template is None else self.template.files()
        return {GENERATION: as_json(self.settings.raw()), **template, **system_file(self.system)}


def open_language(loaded: Loaded, system: str = "") -> LanguageModel:
    """The system of a loaded checkpoint; `system`: the one that it is trained for now."""
    assert isinstance(loaded.model, CausalLM)  # the registry names this opener for families of it only
    return LanguageModel(
        loaded.model,
        loaded.tokenizer,
        Settings.of(loaded.generation, loaded.model.config.vocab),
        family=loaded.family,
        template=loaded.template,
        system=system or loaded.system or "language",
    )
