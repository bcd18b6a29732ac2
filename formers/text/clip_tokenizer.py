"""The tokenizer of CLIP: bytes in pairs, a mark at the end of every word, everything in small letters.

vocab.json and merges.txt      as other libraries file it
bpe_simple_vocab_16e6.txt.gz   as its authors did: the pairs alone, which the vocabulary follows from
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors, trainers

from formers.errors import CheckpointError, ConfigError
from formers.files import MOST_JSON, read_bytes, read_json
from formers.text.budget import check_ids
from formers.text.faults import opening
from formers.text.rule_tokenizer import RuleTokenizer, add_tokens, ids_of, put_parts, read_merges
from formers.text.tokenizer_class import CLIP, CLIP_DECODER, check_class
from formers.text.tokenizer_files import TokenizerSettings
from formers.text.training import cut_words

ORIGINAL = "bpe_simple_vocab_16e6.txt.gz"
PAIRS = 49408 - 2 * 256 - 2  # that count of the file, which holds more
END = "</w>"
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def load_clip(folder: Path, settings: TokenizerSettings, config: Mapping[str, Any]) -> RuleTokenizer:
    """The vocabulary of a folder, with CLIP's rules. Raises CheckpointError for a file that is none."""
    path = folder / "vocab.json"
    if path.exists():
        check_class("vocab.json and merges.txt", settings.values, config, folder)
        vocab: Mapping[str, Any] = read_json(path, dict[str, Any])
        check_ids(vocab, str(path))
        merges: Sequence[tuple[str, str]] = read_merges(folder / "merges.txt", vocab)
    else:
        path = folder / ORIGINAL
        vocab, merges = read_original(path)
    names = settings.special_names(CLIP)
    with opening(str(path)):
        rules = rules_of(vocab, merges, names["unk_token"])
    add_tokens(rules, settings.to_add(names), settings, path)
    put_ends(rules, names)
    return RuleTokenizer(rules, {**settings.values, **names}, ids=ids_of(config))


def rules_of(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]], unknown: str) -> tokenizers.Tokenizer:
    """CLIP's rules on a vocabulary."""
    bpe = models.BPE(dict(vocab), list(merges), end_of_word_suffix=END, unk_token=unknown)
    rules = tokenizers.Tokenizer(bpe)
    rules.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)
    rules.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    put_parts(rules, {"decoder": CLIP_DECODER})
    return rules


def put_ends(rules: tokenizers.Tokenizer, names: Mapping[str, str]) -> None:
    """Have a beginning and an end around every text."""
    start, end = names["bos_token"], names["eos_token"]
    rules.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} {start} $B {end}",
        special_tokens=[(name, rules.get_vocab()[name]) for name in {start, end}],
    )


def vocabulary(merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The numbers that follow from pairs: letters, letters that end a word, the pairs, beginning and end."""
    letters = byte_letters()
    pieces = [
        *letters,
        *(letter + END for letter in letters),
        *map("".join, merges),
        CLIP["bos_token"],
        CLIP["eos_token"],
    ]
    return {piece: number for number, piece in enumerate(pieces)}


def train_clip(texts: Iterable[str], vocab: int) -> RuleTokenizer:
    """A tokenizer like CLIP's, of the pairs that are commonest in these texts: at most `vocab` tokens, no text unknown.

    Raises ConfigError where `vocab` has no room for single letters.
    """
    least = len(vocabulary([]))
    if vocab < least:
        raise ConfigError(f"vocab ({vocab}) must be at least {least}: the bytes, alone and at the end of a word")
    rules = rules_of({}, [], CLIP["unk_token"])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab - 2, min_frequency=2, show_progress=False, end_of_word_suffix=END,
        initial_alphabet=sorted(byte_letters()),
    )  # fmt: skip
    rules.train_from_iterator(cut_words(texts), trainer)
    merges = [(first, second) for first, second in json.loads(rules.to_str())["model"]["merges"]]
    rules = rules_of(vocabulary(merges := merges[: vocab - least]), merges, CLIP["unk_token"])
    rules.add_special_tokens([CLIP["bos_token"], CLIP["eos_token"]])
    put_ends(rules, CLIP)
    return RuleTokenizer(rules, {"tokenizer_class": "CLIPTokenizer", **CLIP})


def read_original(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The vocabulary and the pairs of the authors' file. Raises CheckpointError for another one."""
    try:
        lines = gzip.decompress(read_bytes(path, most=MOST_JSON)).decode().split("\n")
        merges = [(first, second) for first, second in (line.split() for line in lines[1 : PAIRS + 1])]
        if len(merges) < PAIRS:
            raise ValueError(f"{len(merges):,} pairs, expected {PAIRS:,}")
    except (OSError, EOFError, ValueError) as fault:
        raise CheckpointError(f"{path} is not CLIP's vocabulary ({fault}); get the file again") from fault
    return vocabulary(merges), merges


def byte_letters() -> list[str]:
    """The letter of each byte, first those that are their own (Radford et al. 2019)."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, own), *(chr(256 + number) for number in range(256 - len(own)))]
