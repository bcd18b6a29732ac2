"""Tokenizers for a new language model, trained on its text: byte-level BPE, or one token a character."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from formers.errors import ConfigError
from formers.text.tokenizer import UNK, Tokenizer

if TYPE_CHECKING:
    import tokenizers

END = "<|endoftext|>"
BYTES = 256


def train_byte_bpe(texts: Iterable[str], vocab: int, *, opening: bool = False, min_count: int = 2) -> Tokenizer:
    """Byte-level byte-pair encoding as in GPT-2 (Radford et al. 2019, 2.2): no text is ever unknown.

    `<|endoftext|>` (id 0) ends a text and begins the next. opening: `encode` puts it before every text, as a model
    wants that learned whole documents; GPT-2, which learned a stream, does without. Fewer than `vocab` tokens come
    out where the texts have no more pairs that occur `min_count` times. Deterministic. Raises ConfigError when
    `vocab` has no room for the 256 bytes.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    from formers.text.rule_tokenizer import RuleTokenizer

    if vocab < BYTES + 1:
        raise ConfigError(f"vocab ({vocab}) must be at least {BYTES + 1}: the {BYTES} bytes and {END}")
    rules = tokenizers.Tokenizer(models.BPE())
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, min_frequency=min_count, special_tokens=[END], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    rules.train_from_iterator(texts, trainer)
    if opening:
        _open(rules)
    return RuleTokenizer(rules, {"bos_token": END, "eos_token": END})


def characters(texts: Iterable[str], *, opening: bool = False) -> Tokenizer:
    """One token for each character of `texts`, white space included; any other character is `<unk>`.

    `<|endoftext|>` (id 0) and `opening` as in `train_byte_bpe`. Raises ConfigError for texts without a character.
    """
    import tokenizers
    from tokenizers import decoders, models

    from formers.text.rule_tokenizer import RuleTokenizer

    found: set[str] = set()
    for text in texts:
        found.update(text)
    if not found:
        raise ConfigError("there is not a single character to make a vocabulary of")
    ids = {name: number for number, name in enumerate((END, UNK, *sorted(found)))}
    rules = tokenizers.Tokenizer(models.BPE(ids, [], unk_token=UNK))  # pair encoding without a pair
    rules.decoder = decoders.Fuse()
    rules.add_special_tokens([END, UNK])
    if opening:
        _open(rules)
    return RuleTokenizer(rules, {"bos_token": END, "eos_token": END, "unk_token": UNK})


def _open(rules: tokenizers.Tokenizer) -> None:
    """Have `encode` begin every text with the end of the text before."""
    from tokenizers import processors

    ids = [(END, rules.token_to_id(END))]
    rules.post_processor = processors.TemplateProcessing(single=f"{END} $A", pair=f"{END} $A $B:1", special_tokens=ids)
