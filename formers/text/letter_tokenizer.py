"""The tokenizer of wav2vec 2.0: a vocab.json of single letters, in which a mark stands for the space between words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers

from formers.files import read_json
from formers.text.budget import check_ids
from formers.text.faults import opening
from formers.text.rule_tokenizer import RuleTokenizer, add_tokens, ids_of
from formers.text.tokenizer_class import WAV2VEC2, check_class
from formers.text.tokenizer_files import TokenizerSettings

MARK = "word_delimiter_token"


def load_letters(folder: Path, settings: TokenizerSettings, config: Mapping[str, Any]) -> RuleTokenizer:
    """The vocabulary of a folder, whose mark between words (usually |) is written as a space here.

    do_lower_case: the vocabulary has capitals, texts small letters. Raises CheckpointError for another file.
    """
    path, values = folder / "vocab.json", dict(settings.values)
    check_class("vocab.json", values, config, folder)
    stored = read_json(path, dict[str, Any])
    check_ids(stored, str(path))
    mark, names = values.pop(MARK, None) or "|", settings.special_names(WAV2VEC2)
    names = {key: name for key, name in names.items() if name in stored}
    lower, special = bool(values.get("do_lower_case")), set(names.values())
    spelt = {name: " " if name == mark else name.lower() if lower and name not in special else name for name in stored}
    vocab = {spelt[name]: number for name, number in stored.items()}
    with opening(str(path)):
        # pair encoding without a pair: each letter is its own token, what is longer is found as a whole
        rules = tokenizers.Tokenizer(models.BPE(vocab, [], unk_token=names.get("unk_token")))
    if lower:
        rules.normalizer = normalizers.Lowercase()
    rules.decoder = decoders.Fuse()
    added = tuple(pair for pair in settings.added if pair[1].content not in stored)  # the others are spelt as above
    settings = replace(settings, values=values, added=added)
    longer = [AddedToken(name, normalized=False) for name in vocab if len(name) > 1 and name not in special]
    add_tokens(rules, [*settings.to_add(names), *longer], settings, path)
    return RuleTokenizer(rules, {**values, **names}, ids=ids_of(config))
