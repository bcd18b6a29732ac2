"""The tokenizer of a model folder, whatever files it is, and joint BPE training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from formers.errors import ConfigError
from formers.text import (
    clip_tokenizer,
    encoder_tokenizer,
    language_tokenizer,
    letter_tokenizer,
    piece_tokenizer,
    rule_tokenizer,
)
from formers.text.tokenizer import EOS, PAD, UNK, Tokenizer
from formers.text.tokenizer_class import CLIP, WAV2VEC2, class_name, tokenizer_class
from formers.text.tokenizer_files import TokenizerSettings, read_tokenizer_settings
from formers.text.training import cut_words

OPEN_CLIP = "open_clip_config.json"  # in whose folders texts may have marks of HTML


def load_tokenizer(folder: str | Path, config: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer of a model folder with its languages, None when it has no tokenizer files."""
    folder = Path(folder)
    settings = read_tokenizer_settings(folder)
    if (folder / OPEN_CLIP).exists() and not (folder / "config.json").exists():
        settings = replace(settings, values={**settings.values, "unescape_html": True})
    tokenizer = read_tokenizer(folder, settings, config)
    return None if tokenizer is None else language_tokenizer.with_languages(tokenizer, settings.values, config)


def read_tokenizer(folder: Path, settings: TokenizerSettings, config: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer of the files that are there.

    `config` gives the ids that the tokenizer files leave open (pad_token_id, decoder_start_token_id ...).
    Looks for tokenizer.json, then source.spm, target.spm and vocab.json (Marian), spiece.model (T5; ALBERT where
    model_type or tokenizer_class says so), spm.model (DeBERTa-v2), sentencepiece.bpe.model (M2M-100, NLLB, mBART),
    vocab.json and merges.txt (GPT-2, BART, RoBERTa, CLIP), bpe_simple_vocab_16e6.txt.gz (CLIP),
    vocab.json alone (wav2vec 2.0), vocab.txt (BERT).
    Raises CheckpointError for a file that is not what its name says.
    """
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if "tokenizer.json" in names:
        return rule_tokenizer.load(folder, settings, config)
    if {"source.spm", "target.spm", "vocab.json"} <= names:
        return piece_tokenizer.load_marian(folder, settings, config)
    if "spiece.model" in names:
        name, model = class_name(settings.values, config), config.get("model_type")
        if name == "Albert" or model == "albert":
            return encoder_tokenizer.load_albert(folder, settings, config)
        if name == "Siglip" or (not name and model in ("siglip", "siglip_text_model")):
            return encoder_tokenizer.load_siglip(folder, settings, config)
        return piece_tokenizer.load_t5(folder, settings, config)
    if "spm.model" in names:
        return encoder_tokenizer.load_deberta(folder, settings, config)
    if language_tokenizer.PIECES in names and language_tokenizer.class_of(settings.values, config):
        return language_tokenizer.load_many(folder, settings.values, config)
    known = tokenizer_class(settings.values, config)
    if clip_tokenizer.ORIGINAL in names or (known and known.names is CLIP and {"vocab.json", "merges.txt"} <= names):
        return clip_tokenizer.load_clip(folder, settings, config)
    if {"vocab.json", "merges.txt"} <= names:
        return rule_tokenizer.load_byte_level(folder, settings, config)
    if "vocab.json" in names and known and known.names is WAV2VEC2:
        return letter_tokenizer.load_letters(folder, settings, config)
    if "vocab.txt" in names:
        return encoder_tokenizer.load_word_pieces(folder, settings, config)
    return None


def train_bpe(
    texts: Iterable[str], vocab: int, specials: Sequence[str] = (EOS, UNK, PAD), *, min_count: int = 2
) -> Tokenizer:
    """Joint byte-pair encoding of all `texts` (Sennrich et al. 2016); `</s>` ends every encoded text.

    Text is brought to NFC; a space belongs to the word after it; punctuation marks and digits stand alone.
    The specials take the first ids in the order given; decoders start with `<pad>`, as Marian's do.
    Deterministic. Raises ConfigError when `vocab` leaves no room or a special is missing.
    """
    if missing := [name for name in (EOS, UNK, PAD) if name not in specials]:
        raise ConfigError(f"specials lack {', '.join(missing)}")
    if vocab <= len(specials):
        raise ConfigError(f"vocab ({vocab}) must be more than the {len(specials)} special tokens")
    rules = tokenizers.Tokenizer(models.BPE(unk_token=UNK))
    rules.normalizer = normalizers.NFC()
    marks, digits = pre_tokenizers.Punctuation("isolated"), pre_tokenizers.Digits(individual_digits=True)
    rules.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), marks, digits])
    rules.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, min_frequency=min_count, special_tokens=list(specials), show_progress=False
    )
    rules.train_from_iterator(cut_words(texts), trainer)
    ends = [(EOS, specials.index(EOS))]
    rules.post_processor = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=ends)
    settings = {"eos_token": EOS, "unk_token": UNK, "pad_token": PAD}
    return rule_tokenizer.RuleTokenizer(rules, settings, start=specials.index(PAD))


def read_settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json and what else names special tokens, those as plain strings."""
    return dict(read_tokenizer_settings(folder).values)
