"""What all trainings of language models share: a new model, its tokenizer, and the tokens that it learns to say."""

from __future__ import annotations

from torch import Tensor

from formers.data.packing import TextBatch
from formers.decoding.settings import Settings
from formers.errors import ConfigError
from formers.models.causal import CausalLM
from formers.systems.begin import Beginning
from formers.systems.language_model import LanguageModel
from formers.systems.memory import new_model
from formers.systems.sizes import CausalSizes
from formers.text.tokenizer import Tokenizer
from formers.text.training import characters, train_byte_bpe


def features_and_labels(model: CausalLM, batch: TextBatch) -> tuple[Tensor, Tensor]:
    """What the head reads, (labels, dim), where a label is to be said, and these labels."""
    device = model.embedding.weight.device
    documents = None if batch.documents is None else batch.documents.to(device)
    x = model.features(batch.tokens.to(device), documents=documents)
    labels = batch.labels.to(device)
    if batch.real is None:
        return x.flatten(0, 1), labels.flatten()
    real = batch.real.to(device)
    return x[real], labels[real]


def new_language(sizes: CausalSizes, tokenizer: Tokenizer) -> LanguageModel:
    """A model of these sizes that has learned nothing, and writes until its tokenizer's end of text."""
    first, last = special_ids(tokenizer)
    filler = last if tokenizer.pad is None else tokenizer.pad
    settings = Settings(start=first, stop=(last,), pad=filler, bos=first)
    return LanguageModel(new_model(CausalLM, sizes.config(tokenizer.vocab)), tokenizer, settings)


def row_length(length: int, longest: int) -> int:
    """Tokens of a row, which the model must be able to see at once."""
    if length > longest:
        raise ConfigError(f"rows.length ({length}) must not be more than the model's length ({longest})")
    return length or longest


def special_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """(start of text, end of text); the end token also begins texts where there is no other."""
    if tokenizer.eos is None:
        raise ConfigError("the tokenizer must have an end-of-text token (eos_token in tokenizer_config.json)")
    return tokenizer.eos if tokenizer.bos is None else tokenizer.bos, tokenizer.eos


def obtain_tokenizer(beginning: Beginning, texts: list[str], *, opening: bool = True) -> Tokenizer:
    """The run's own tokenizer, the one that the recipe names, or one trained now on the training text.

    opening: a new one puts its start token before a text: whole documents begin with it, so prompts must.
    """
    rows = beginning.rows

    def train() -> Tokenizer:
        if rows.tokenizer == "characters":
            return characters(texts, opening=opening)
        return train_byte_bpe(texts, rows.vocab, opening=opening)

    return beginning.tokenizer(train, words=("bpe", "characters"), files="tokenizer.json")
