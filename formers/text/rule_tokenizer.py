"""Tokenizers that are a tokenizer.json: rules run by the `tokenizers` library."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from html import unescape
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

from formers.errors import CheckpointError, shown
from formers.files import MOST_JSON, as_json, parse_json, read_bytes, read_json, replace_file
from formers.text.budget import check_budget, check_ids
from formers.text.faults import lacks_unknown, opening, reading
from formers.text.tokenizer import Watch, share
from formers.text.tokenizer_class import DEBERTA, GPT2, ROBERTA, check_class, settled, tokenizer_class
from formers.text.tokenizer_files import TokenizerSettings, TokenizerShape, check_places

KINDS = ("pad", "eos", "bos", "unk")
# What encoders' vocabularies call the token that stands for a hidden word, the first and the separating one.
MASKS, FIRSTS, SEPARATORS = ("[MASK]", "<mask>"), ("[CLS]", "<s>"), ("[SEP]", "</s>")
# Regular expressions are tried on longer and longer runs, each for so many seconds; published ones take a hundredth.
RUNS, SLOW, MOST_UNITS = (64, 128, 256, 1024), 0.5, 300
CHINESE = re.compile("[\u4e00-\u9fff]{2,}")  # a vocabulary of single characters has no such piece


class RuleTokenizer:
    """The `Tokenizer` contract over `tokenizers.Tokenizer`; one vocabulary for both sides."""

    def __init__(
        self,
        rules: tokenizers.Tokenizer,
        settings: Mapping[str, Any],
        *,
        start: int | None = None,
        ids: Mapping[str, int] | None = None,
    ) -> None:
        """settings: tokenizer_config.json ("pad_token": "<pad>" ...); ids: those that it leaves open."""
        rules.no_padding()
        rules.no_truncation()
        rules.encode_special_tokens = bool(settings.get("split_special_tokens"))
        self.rules, self.settings, self.start = rules, dict(settings), start
        known = {kind: rules.token_to_id(str(settings.get(f"{kind}_token") or "")) for kind in KINDS}
        known = {**(ids or {}), **{kind: number for kind, number in known.items() if number is not None}}
        self.pad, self.eos, self.bos, self.unk = (known.get(kind) for kind in KINDS)
        self.byte_level = b"ByteLevel" in (b"" if rules.decoder is None else rules.decoder.__getstate__())
        self.unescapes = bool(settings.get("unescape_html"))
        self.watch = Watch(None if self.byte_level or self.unk in (self.eos, self.bos) else self.unk)

    @cached_property
    def vocab(self) -> int:  # listing a vocabulary takes a tenth of loading a small model
        return max(self.rules.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @property
    def own_vocab(self) -> int:
        return max(self.rules.get_vocab(with_added_tokens=False).values(), default=-1) + 1

    @property
    def target_vocab(self) -> int:
        return self.vocab

    def copy(self) -> tokenizers.Tokenizer:
        """Rules of their own, for whoever changes their state (cutting)."""
        rules = type(self.rules).from_str(self.rules.to_str())
        rules.encode_special_tokens = self.rules.encode_special_tokens
        return rules

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self._encode(texts, specials=True)

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        return self._encode(texts, specials=False)

    def _encode(self, texts: Sequence[str], *, specials: bool) -> list[list[int]]:
        with reading(texts):
            rows = [each.ids for each in self.rules.encode_batch(self.cleaned(texts), add_special_tokens=specials)]
        return self.watch.checked(rows, texts, self.rules.num_special_tokens_to_add(False) if specials else 0)

    def cleaned(self, rows: Sequence[Any]) -> list[Any]:
        """Texts, or pairs of texts, as the rules should see them: open_clip reads `&amp;amp;` as &."""
        if not self.unescapes:
            return list(rows)
        return [unescape(unescape(row)) if isinstance(row, str) else tuple(self.cleaned(row)) for row in rows]

    def encode_target(self, texts: Sequence[str]) -> list[list[int]]:
        return self.encode(texts)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        with reading((), "the tokenizer's decoder"):
            return self.rules.decode(list(ids), skip_special_tokens=skip_special)

    def pieces(self, ids: Sequence[int], *, source: bool = False) -> list[str]:
        names = [self.rules.id_to_token(each) or f"<{each}>" for each in ids]
        return [self.rules.decoder.decode([name]) for name in names] if self.byte_level else names

    def unknown_share(self, texts: Iterable[str]) -> float:
        return share(self.encode_plain(list(texts)), self.unk)

    def files(self) -> dict[str, bytes]:
        ids = {kind: getattr(self, kind) for kind in KINDS}
        specials = {f"{kind}_token": self.rules.id_to_token(id) for kind, id in ids.items() if id is not None}
        dropped = ("added_tokens_decoder", "auto_map")
        settings = {key: value for key, value in self.settings.items() if key not in dropped and value is not None}
        settings = encoder_specials(self.rules) | settings | specials
        # any reader builds this tokenizer from tokenizer.json alone
        settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        rules = self.rules.to_str(pretty=True).encode()
        return {"tokenizer.json": rules, "tokenizer_config.json": as_json(settings)}

    def save(self, folder: str | Path) -> None:
        for name, content in self.files().items():
            replace_file(Path(folder) / name, content)


def encoder_specials(rules: tokenizers.Tokenizer) -> dict[str, str]:
    """cls_token, sep_token and mask_token of rules that put the first two around a text; nothing for others."""
    around = rules.encode("").tokens
    first = next((name for name in FIRSTS if name in around), None)
    separator = next((name for name in SEPARATORS if name in around), None)
    if first is None or separator is None:
        return {}
    found = {"cls_token": first, "sep_token": separator}
    mask = next((name for name in MASKS if rules.token_to_id(name) is not None), None)
    return found if mask is None else {**found, "mask_token": mask}


def refuse_chinese_words(vocab: Iterable[str], path: Path) -> None:
    """RoFormer's Chinese checkpoints were trained on words that the segmenter jieba finds: no use without it."""
    word = next((piece for piece in vocab if CHINESE.fullmatch(piece)), None)
    if word:
        what = f"{path} is a vocabulary of Chinese words (such as {word}), which jieba finds in a text"
        raise CheckpointError(f"{what}; that is not done here: use a RoFormer with a vocabulary of word pieces")


def load(folder: Path, settings: TokenizerSettings, config: Mapping[str, Any]) -> RuleTokenizer:
    """tokenizer.json of a folder, with what its small files say. Raises CheckpointError when it is not one."""
    path = folder / "tokenizer.json"
    try:
        data = read_bytes(path, most=MOST_JSON)
    except OSError as fault:
        raise CheckpointError(f"{path} cannot be read ({fault.strerror}); get the file again") from fault
    table = parse_json(data, TokenizerShape, str(path))
    check_budget(table, str(path))
    known = tokenizer_class(settings.values, config)
    with opening(str(path)):
        rules = tokenizers.Tokenizer.from_buffer(data)
        rules.no_padding()
        rules.no_truncation()
        try_out(rules)
        try_expressions(rules, table, str(path))
    if parts := settled(table, known, settings.values, str(path)):
        put_parts(rules, parts)
    if config.get("model_type") == "roformer":
        refuse_chinese_words(rules.get_vocab(), path)
    usual = {key: name for key, name in (known.names if known else {}).items() if rules.token_to_id(name) is not None}
    names = {**usual, **settings.stated}
    if isinstance(rules.model, models.WordPiece) and known and "unk_token" in names:
        rules.model.unk_token = names["unk_token"]
    there = {token.content for token in rules.get_added_tokens_decoder().values()}
    there -= {token.content for _, token in settings.added}  # which say anew how they take spaces; names alone do not
    add_tokens(rules, [each for each in settings.to_add(settings.stated) if each.content not in there], settings, path)
    start = config.get("decoder_start_token_id")
    return RuleTokenizer(rules, {**settings.values, **names}, start=start, ids=ids_of(config))


def put_parts(rules: tokenizers.Tokenizer, parts: Mapping[str, Any]) -> None:
    """Put the normalizer, the pre_tokenizer or the decoder into rules, as a tokenizer.json writes them."""
    empty = {"type": "BPE", "vocab": {}, "merges": []}
    source = tokenizers.Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": [], "model": empty, **parts}))
    for part in parts:
        setattr(rules, part, getattr(source, part))


def try_out(rules: tokenizers.Tokenizer, words: Sequence[str] = ()) -> None:
    """Run every step of the rules, on runs that expressions with loops within loops are lost in, and around `words`.

    Raises what their library raises; a word that has no piece is no fault.
    """
    runs = [letter * 64 + end for letter in "a1 " for end in ("!", "é")]
    ids: list[int] = []
    for text in ("", "a B.", *runs, *(f"ñ{word} ñ {word}ñ" for word in words)):
        for second in (None, "é 1"):
            with ExitStack() as stack:
                stack.push(lacks_unknown)
                ids += rules.encode(text, second).ids
    rules.decode(ids)


def try_expressions(rules: tokenizers.Tokenizer, table: Mapping[str, Any], what: str) -> None:
    """Run the regular expressions on long runs of what they name. Raises CheckpointError where one takes too long.

    The library ends a match that tries ten million ways, but not thousands of matches that try somewhat fewer.
    """
    parts = {
        part: json.dumps(table.get(part), ensure_ascii=False) for part in ("normalizer", "pre_tokenizer", "decoder")
    }
    source = "".join(text for text in parts.values() if '"Regex"' in text)
    if not source:
        return
    units = {*"a1 .\n中é", *re.findall(r"\w{2,20}", source), *source}
    named = "\0" + "".join(sorted({*source}))[:MOST_UNITS]  # a match that ends in what is not there is not tried
    for length, unit in ((length, unit) for length in RUNS for unit in sorted(units)[:MOST_UNITS]):
        run, begin = unit * (length // len(unit)) + named, time.thread_time()
        if rules.normalizer is not None:
            rules.normalizer.normalize_str(run)
        if rules.pre_tokenizer is not None:
            rules.pre_tokenizer.pre_tokenize_str(run)
        if rules.decoder is not None:
            rules.decoder.decode([run])
        if time.thread_time() - begin > SLOW:
            fault = (
                f"a regular expression of it takes over {SLOW} seconds for {shown(unit)} {length // len(unit):,} times"
            )
            raise CheckpointError(f"{what}: {fault}; write it without repetitions of the same one after the other")


def add_tokens(
    rules: tokenizers.Tokenizer, tokens: Sequence[AddedToken], settings: TokenizerSettings, what: Path
) -> None:
    """Add tokens to the rules, and say where one has another id than its file says. Raises CheckpointError."""
    fresh = [token for token in tokens if rules.token_to_id(token.content) is None]
    rules.add_tokens(list(tokens))
    with opening(f"{what} with the added tokens beside it"):
        try_out(rules, [token.content for token in fresh[:100]])
    check_places(rules.token_to_id, settings, what.parent)


def load_byte_level(folder: Path, settings: TokenizerSettings, config: Mapping[str, Any]) -> RuleTokenizer:
    """vocab.json and merges.txt: byte-level BPE (GPT-2), with what the vocabulary has around it.

    `<s> A </s></s> B </s>` (BART, RoBERTa), or `[CLS] A [SEP] B [SEP]` (DeBERTa's first version).
    """
    values, path = settings.values, folder / "vocab.json"
    check_class("vocab.json and merges.txt", values, config, folder)
    vocab = read_json(path, dict[str, Any])
    check_ids(vocab, str(path))
    merges = read_merges(folder / "merges.txt", vocab)
    with opening(str(path)):
        rules = tokenizers.Tokenizer(models.BPE(vocab, merges))
    space = bool(values.get("add_prefix_space"))
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    rules.decoder = decoders.ByteLevel()
    usual = next((each for each in (ROBERTA, DEBERTA) if {each["cls_token"], each["sep_token"]} <= vocab.keys()), GPT2)
    names = {key: name for key, name in usual.items() if name in vocab} | settings.stated
    add_tokens(rules, settings.to_add(names, wide_mask=True), settings, path)
    vocab = rules.get_vocab()
    first, last = ((name, vocab.get(name, 0)) for name in (names.get("cls_token", ""), names.get("sep_token", "")))
    if usual is ROBERTA:
        rules.post_processor = processors.RobertaProcessing(last, first, add_prefix_space=space)
    elif usual is DEBERTA:
        single = f"{first[0]} $A {last[0]}"
        rules.post_processor = processors.TemplateProcessing(
            single=single, pair=f"{single} $B:1 {last[0]}:1", special_tokens=[first, last]
        )
    else:
        rules.post_processor = ends(rules, names, values)
    start = config.get("decoder_start_token_id")
    return RuleTokenizer(rules, {**values, **names}, start=start, ids=ids_of(config))


def ends(rules: tokenizers.Tokenizer, names: Mapping[str, str], values: Mapping[str, Any]) -> Any:
    """bos before and eos after each text, where add_bos_token and add_eos_token ask for them."""
    asked = {kind: names[f"{kind}_token"] for kind in ("bos", "eos") if values.get(f"add_{kind}_token")}
    sides = [
        [*([f"{asked['bos']}:{side}"] if "bos" in asked else ()), f"${text}:{side}",
         *([f"{asked['eos']}:{side}"] if "eos" in asked else ())]
        for side, text in enumerate("AB")
    ]  # fmt: skip
    ids = [(name, rules.token_to_id(name)) for name in set(asked.values())]
    if not ids:
        return processors.ByteLevel(trim_offsets=False)
    return processors.TemplateProcessing(single=sides[0], pair=[*sides[0], *sides[1]], special_tokens=ids)


def read_merges(path: Path, vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    """The pairs of merges.txt. Raises CheckpointError when a line is no pair of pieces of the vocabulary."""
    merges = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        pair = tuple(line.split(" "))
        if len(pair) != 2 or "".join(pair) not in vocab or not set(pair) <= vocab.keys():
            raise CheckpointError(f"{path} line {number}: {shown(line)} is not a merge of pieces in vocab.json")
        merges.append(pair)
    return merges


def read_text(path: Path) -> str:
    """A file of lines. Raises CheckpointError for one that is no text in UTF-8."""
    try:
        return read_bytes(path, most=MOST_JSON).decode()
    except (OSError, ValueError) as fault:
        raise CheckpointError(f"{path} cannot be read ({fault}); get the file again") from fault


def ids_of(config: Mapping[str, Any]) -> dict[str, int]:
    """Special ids that a model's config gives; the first one where it lists several."""
    given = {kind: config.get(f"{kind}_token_id") for kind in KINDS}
    ids = {kind: id[0] if isinstance(id, list) and id else id for kind, id in given.items()}
    return {kind: id for kind, id in ids.items() if type(id) is int}
