"""Tokenizers trained on the text of a new model: byte-level BPE, one token a character, or word pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from formers.errors import ConfigError
from formers.notes import note
from formers.text.faults import check_unicode
from formers.text.tokenizer import UNK, Tokenizer

if TYPE_CHECKING:
    import tokenizers

END = "<|endoftext|>"
BYTES = 256
WORD_PIECE_SPECIALS = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")}


LETTERS = 1_000  # of a word that pieces are learned from: the time that a word takes grows with its square
# a word is letters and digits, or marks, or white space
LONG = re.compile(rf"\w{{{LETTERS}}}(?=\w)|[^\w\s]{{{LETTERS}}}(?=[^\w\s])|\s{{{LETTERS}}}(?=\s)")


def cut_words(texts: Iterable[str]) -> Iterator[str]:
    """The texts, those with a word of more than `LETTERS` letters in pieces. Raises DataError for no Unicode."""
    cut = 0
    for text in texts:
        check_unicode(text)
        end = 0
        for match in LONG.finditer(text) if len(text) > LETTERS else ():
            yield text[end : match.end()]
            cut, end = cut + 1, match.end()
        yield text[end:] if end else text
    if cut:
        note(f"words of more than {LETTERS:,} letters are cut to learn a tokenizer from them ({cut:,} cuts)")


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
        vocab_size=vocab,
        min_frequency=min_count,
        special_tokens=[END],
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    rules.train_from_iterator(cut_words(texts), trainer)
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

    alphabet = sorted({character for text in cut_words(texts) for character in text})
    if not alphabet:
        raise ConfigError("there is not a single character to make a vocabulary of")
    ids = {name: number for number, name in enumerate((END, UNK, *alphabet))}
    rules = tokenizers.Tokenizer(models.BPE(ids, [], unk_token=UNK))  # pair encoding without a pair
    rules.decoder = decoders.Fuse()
    rules.add_special_tokens([END, UNK])
    if opening:
        _open(rules)
    return RuleTokenizer(rules, {"bos_token": END, "eos_token": END, "unk_token": UNK})


def train_word_pieces(texts: Iterable[str], vocab: int, *, lowercase: bool = True, min_count: int = 2) -> Tokenizer:
    """Word pieces as in BERT (Schuster and Nakajima 2012): pieces within a word begin with `##`.

    `[PAD] [UNK] [CLS] [SEP] [MASK]` have ids 0 to 4; `encode` gives [CLS] text [SEP]. lowercase also takes accents off.
    Deterministic. Raises ConfigError when `vocab` leaves no room for a piece.
    """
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

    from formers.text.rule_tokenizer import RuleTokenizer

    if vocab <= len(WORD_PIECE_SPECIALS):
        raise ConfigError(f"vocab ({vocab}) must be more than the {len(WORD_PIECE_SPECIALS)} special tokens")
    texts, names = list(cut_words(texts)), list(WORD_PIECE_SPECIALS.values())

    def learn(size: int, first: list[str]) -> dict[str, int]:
        """Pieces by id, those of `first` before all others."""
        rules = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
        rules.normalizer = normalizer
        rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=size, min_frequency=min_count, show_progress=False, special_tokens=first
        )
        rules.train_from_iterator(texts, trainer)
        return rules.get_vocab()

    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    # The library numbers letters within a word as it meets them, in another order each time, and ties are decided by
    # number: so these are found first, and given in order.
    letters = sorted(piece for piece in learn(0, names) if piece.startswith("##"))
    rules = tokenizers.Tokenizer(models.WordPiece(learn(vocab, names + letters), unk_token="[UNK]"))
    rules.add_special_tokens(names)
    rules.normalizer = normalizer
    rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rules.decoder = decoders.WordPiece()
    ids = [(name, rules.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    rules.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids
    )
    return RuleTokenizer(rules, {**WORD_PIECE_SPECIALS, "do_lower_case": lowercase})


def _open(rules: tokenizers.Tokenizer) -> None:
    """Have `encode` begin every text with the end of the text before."""
    from tokenizers import processors

    ids = [(END, rules.token_to_id(END))]
    rules.post_processor = processors.TemplateProcessing(single=f"{END} $A", pair=f"{END} $A $B:1", special_tokens=ids)
