"""Language models: continue a text, say how likely one is.

    text -> tokens -> CausalLM.extend (prefill, then one token at a time) -> generate (greedy, sampling, beams) -> text
"""

from __future__ import annotations

from pathlib import Path

import torch

from formers.decoding.settings import Settings
from formers.errors import ConfigError
from formers.models.causal import CausalLM
from formers.pretrained.load import Loaded, save_model
from formers.text.tokenizer import Tokenizer


class LanguageModel:
    """A decoder with its tokenizer: what `formers.load` gives for language models."""

    def __init__(
        self, model: CausalLM, tokenizer: Tokenizer | None, settings: Settings, *, family: str | None = None
    ) -> None:
        self.model, self.tokenizer, self.settings, self.family = model, tokenizer, settings, family

    @property
    def device(self) -> torch.device:
        return self.model.embedding.weight.device

    def needs_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise ConfigError("this model folder has no tokenizer files, so text cannot be read; add tokenizer.json, "
                              "or vocab.json + merges.txt (the .model itself works)")
        return self.tokenizer

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout."""
        save_model(folder, self.model, tokenizer=self.tokenizer, generation=self.settings.raw(), family=self.family)


def open_language(loaded: Loaded) -> LanguageModel:
    """The system of a loaded checkpoint."""
    assert isinstance(loaded.model, CausalLM)  # the registry names this opener for families of it only
    return LanguageModel(loaded.model, loaded.tokenizer, Settings.of(loaded.config), family=loaded.family)
