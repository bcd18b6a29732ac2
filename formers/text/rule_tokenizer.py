"""Tokenizers that are a tokenizer.json: rules run by the `tokenizers` library."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

from formers.errors import CheckpointError
from formers.files import as_json, read_json, replace_file
from formers.text.tokenizer import share

KINDS = ("pad", "eos", "bos", "unk")
# What encoders' vocabularies call the token that stands for a hidden word, the first and the separating one.
MASKS, FIRSTS, SEPARATORS = ("[MASK]", "<mask>"), ("[CLS]", "<s>"), ("[SEP]", "</s>")
CHINESE = re.compile("[\u4e00-\u9fff]{2,}")  # a vocabulary of single characters has no such piece


def token_names(text: str) -> dict[str, str]:
    """Special tokens as tokenizer_config.json names them: "bos=<s> eos=</s>"."""
    return {f"{kind}_token": name for kind, _, name in (pair.partition("=") for pair in text.split())}


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
        self.rules, self.settings, self.start = rules, dict(settings), start
        known = {kind: rules.token_to_id(str(settings.get(f"{kind}_token") or "")) for kind in KINDS}
        known = {**(ids or {}), **{kind: number for kind, number in known.items() if number is not None}}
        self.pad, self.eos, self.bos, self.unk = (known.get(kind) for kind in KINDS)
        self.byte_level = "ByteLevel" in json.dumps(json.loads(rules.to_str())["decoder"])

    @property
    def vocab(self) -> int:
        return max(self.rules.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @property
    def target_vocab(self) -> int:
        return self.vocab

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.rules.encode_batch(list(texts))]

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.rules.encode_batch(list(texts), add_special_tokens=False)]

    def encode_target(self, texts: Sequence[str]) -> list[list[int]]:
        return self.encode(texts)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
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


def load(folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> RuleTokenizer:
    """tokenizer.json of a folder. Raises CheckpointError when it is not one."""
    path = folder / "tokenizer.json"
    try:
        rules = tokenizers.Tokenizer.from_buffer(path.read_bytes())
    except (ValueError, OSError) as fault:
        raise CheckpointError(f"{path} is not a tokenizer ({fault}); get the file again") from fault
    if config.get("model_type") == "roformer":
        refuse_chinese_words(rules.get_vocab(), path)
    return RuleTokenizer(rules, settings, start=config.get("decoder_start_token_id"), ids=ids_of(config))


def load_byte_level(folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> RuleTokenizer:
    """vocab.json and merges.txt: byte-level BPE (GPT-2), with what the vocabulary has around it.

    `<s> A </s></s> B </s>` (BART, RoBERTa), or `[CLS] A [SEP] B [SEP]` (DeBERTa's first version).
    """
    vocab = read_json(folder / "vocab.json")
    merges = read_merges(folder / "merges.txt", vocab)
    rules = tokenizers.Tokenizer(models.BPE(vocab, merges))
    space = bool(settings.get("add_prefix_space", False))
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    rules.decoder = decoders.ByteLevel()
    if "<s>" in vocab and "</s>" in vocab:
        first, last = ("<s>", vocab["<s>"]), ("</s>", vocab["</s>"])
        rules.post_processor = processors.RobertaProcessing(last, first, add_prefix_space=space)
        defaults = token_names("bos=<s> eos=</s> unk=<unk> pad=<pad> cls=<s> sep=</s>")
    elif "[CLS]" in vocab and "[SEP]" in vocab:
        rules.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(name, vocab[name]) for name in ("[CLS]", "[SEP]")],
        )
        defaults = token_names("bos=[CLS] eos=[SEP] unk=[UNK] pad=[PAD] cls=[CLS] sep=[SEP]")
    else:
        rules.post_processor = processors.ByteLevel(trim_offsets=False)
        defaults = token_names("bos=<|endoftext|> eos=<|endoftext|> unk=<|endoftext|>")
    names = {**defaults, **{key: value for key, value in settings.items() if key in defaults}}
    rules.add_special_tokens([name for name in dict.fromkeys(names.values()) if name in vocab])
    for mask in ("<mask>", "[MASK]"):
        if mask in vocab:  # the space before a mask belongs to the mask
            rules.add_special_tokens([AddedToken(mask, lstrip=True, special=True)])
            names["mask_token"] = mask
    start = config.get("decoder_start_token_id")
    return RuleTokenizer(rules, {**settings, **names}, start=start, ids=ids_of(config))


def read_merges(path: Path, vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    """The pairs of merges.txt. Raises CheckpointError when a line is no pair of pieces of the vocabulary."""
    merges = []
    for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        pair = tuple(line.split(" "))
        if len(pair) != 2 or "".join(pair) not in vocab or not set(pair) <= vocab.keys():
            raise CheckpointError(f"{path} line {number}: {line!r} is not a merge of pieces in vocab.json")
        merges.append(pair)
    return merges


def ids_of(config: Mapping[str, Any]) -> dict[str, int]:
    """Special ids that a model's config gives; the first one where it lists several."""
    given = {kind: config.get(f"{kind}_token_id") for kind in KINDS}
    ids = {kind: id[0] if isinstance(id, list) and id else id for kind, id in given.items()}
    return {kind: id for kind, id in ids.items() if isinstance(id, int)}
