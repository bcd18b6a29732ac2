"""Tokenizers out of the metadata of GGUF files, as rules of the `tokenizers` library.

    tokens, merges, pre     -> byte-level BPE, cut into words as the name in tokenizer.ggml.pre says ("gpt2")
    tokens, scores, bytes   -> BPE over characters, rarer ones as bytes, a space written as "▁" ("llama")

The reference for what the keys mean is llama.cpp. Where the model's own tokenizer.json does more than that (Qwen
brings text to NFC), its own rules are followed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from formers import shapes
from formers.errors import CheckpointError, nearest, shown
from formers.fields import Between
from formers.text.rule_tokenizer import RuleTokenizer

Metadata = Mapping[str, Any]
PREFIX = "tokenizer.ggml."
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4  # values of token_type; 5: unused, 6: a byte
IDS = {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "pad": "padding_token_id"}
# Tokens that end a turn, whichever of them the file calls eos: generation stops at each (as llama.cpp does).
ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<|end|>")

# How text is cut into words before BPE: facts of the published tokenizers.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


LONGEST = 10_000  # letters of a token: the ways to build it from two others take their square
ID = Annotated[int, Between(0, 2**32)]
SHAPES: dict[str, Any] = {
    **dict.fromkeys(("model", "pre"), str | None),
    **dict.fromkeys((*IDS.values(), "eot_token_id", "eom_token_id"), ID | None),
    **dict.fromkeys(("add_bos_token", "add_eos_token", "add_space_prefix"), bool | None),
    "tokens": list | None,
}


@dataclass(frozen=True)
class Words:
    """One value of tokenizer.ggml.pre."""

    split: str | None = None
    """An expression of the words; None: GPT-2's."""
    digits: bool = False
    """Every digit stands alone, before anything else."""
    whole: bool = False
    """A word that is a token is that token, whatever the merges say."""
    bos: bool = False
    """A text begins with bos where add_bos_token is silent."""
    nfc: bool = False


GPT2, DIGITS, QWEN = Words(), Words(digits=True), Words(QWEN2, nfc=True)
LLAMA_BPE = Words(LLAMA3, whole=True, bos=True)
PRE = {
    **dict.fromkeys("default gpt-2 gpt2 olmo mpt phi-2".split(), GPT2),
    **dict.fromkeys("smollm starcoder refact minerva-7b".split(), DIGITS),
    **dict.fromkeys("llama-bpe llama3 llama-v3 falcon3 pixtral midm-2.0".split(), LLAMA_BPE),
    **dict.fromkeys("qwen2 megrez".split(), QWEN),
    "smaug-bpe": Words(LLAMA3),
    "deepseek-r1-qwen": Words(QWEN2),
    "tekken": Words(TEKKEN, whole=True, bos=True),
}


def gguf_tokenizer(metadata: Metadata, *, what: str) -> RuleTokenizer | None:
    """The tokenizer that a file describes, None where it describes none; `what` names the file in errors.

    A byte-level vocabulary without tokenizer.ggml.pre is cut as GPT-2 cuts; a name that is not known here is
    refused, since wrong words would make every answer worse without a sign. Raises CheckpointError.
    """
    check_shape(metadata, what)
    kind = metadata.get(PREFIX + "model")
    if kind in (None, "no_vocab", "none"):
        return None
    if kind not in ("gpt2", "llama"):
        raise CheckpointError(f"{what}: {PREFIX}model is {shown(kind)}, which is not read here; known: gpt2, llama")
    vocabulary = GgufVocabulary(metadata, what)
    add_bos = metadata.get(PREFIX + "add_bos_token")
    if kind == "gpt2":
        name = metadata.get(PREFIX + "pre") or "default"
        if name not in PRE:
            fault = f"{what}: {PREFIX}pre {shown(name)} is not known, so its texts would be cut wrongly"
            raise CheckpointError(f"{fault}{nearest(name, PRE)}")
        rules, bos = byte_level(vocabulary, PRE[name], bool(metadata.get(PREFIX + "add_space_prefix"))), PRE[name].bos
    else:
        rules, bos = scored(vocabulary, bool(metadata.get(PREFIX + "add_space_prefix", True))), True
    bos = bos if add_bos is None else bool(add_bos)
    eos = bool(metadata.get(PREFIX + "add_eos_token"))
    add_specials(rules, vocabulary)
    surround(rules, vocabulary, bos=bos, eos=eos)
    settings: dict[str, Any] = {f"{name}_token": vocabulary.tokens[number] for name, number in vocabulary.ids.items()}
    settings |= {"add_bos_token": bos, "add_eos_token": eos}
    if isinstance(template := metadata.get("tokenizer.chat_template"), str):
        settings["chat_template"] = template
    return RuleTokenizer(rules, settings, ids=vocabulary.ids)


def check_shape(metadata: Metadata, what: str) -> None:
    """Raises CheckpointError where a value about the tokenizer is of another kind than it should be."""
    values = {PREFIX + name: hint for name, hint in SHAPES.items()} | {"tokenizer.chat_template": str | None}
    if fault := next(filter(None, (shapes.fault(metadata.get(key), hint, key) for key, hint in values.items())), ""):
        raise CheckpointError(f"{what}: {fault}")


class GgufVocabulary:
    """The lists of a file, checked against each other."""

    def __init__(self, metadata: Metadata, what: str) -> None:
        self.what, self.metadata = what, metadata
        self.tokens = self.listed("tokens", str)
        if self.tokens is None:
            raise CheckpointError(f"{what} lacks {PREFIX}tokens")
        if (letters := max(map(len, self.tokens), default=0)) > LONGEST:
            raise CheckpointError(f"{what}: a token has {letters:,} letters, expected at most {LONGEST:,}")
        self.vocab = {token: number for number, token in enumerate(self.tokens)}
        if len(self.vocab) != len(self.tokens):
            twice = next(token for number, token in enumerate(self.tokens) if self.vocab[token] != number)
            raise CheckpointError(f"{what}: the token {shown(twice)} is in {PREFIX}tokens twice")
        self.kinds = self.listed("token_type", int) or [NORMAL] * len(self.tokens)
        self.scores = self.listed("scores", float)
        for name, values in (("token_type", self.kinds), ("scores", self.scores)):
            if values is not None and len(values) != len(self.tokens):
                raise CheckpointError(f"{what}: {PREFIX}{name} has {len(values)} values for {len(self.tokens)} tokens")
        self.ids = ids_of(metadata, len(self.tokens), what)

    def listed(self, name: str, kind: type) -> Any:
        values = self.metadata.get(PREFIX + name)
        if values is not None and not (isinstance(values, list) and all(isinstance(value, kind) for value in values)):
            raise CheckpointError(f"{self.what}: {PREFIX}{name} is not a list of {kind.__name__}")
        return values

    def merges(self) -> list[tuple[str, str]] | None:
        """The merges of the file, best first. Raises CheckpointError for one that is not of tokens."""
        lines = self.listed("merges", str)
        if lines is None:
            return None
        pairs = []
        for number, line in enumerate(lines):
            left, _, right = line.partition(" ")
            if not (left in self.vocab and right in self.vocab and left + right in self.vocab):
                raise CheckpointError(
                    f"{self.what}: {PREFIX}merges[{number}] {shown(line)} is not a merge of two tokens"
                )
            pairs.append((left, right))
        return pairs

    def merges_of_scores(self) -> list[tuple[str, str]]:
        """Every way to build a token from two others; the token with the highest score is built first."""
        if self.scores is None:
            raise CheckpointError(f"{self.what} lacks {PREFIX}scores")
        rows = zip(self.tokens, self.scores, self.kinds, strict=True)
        normal = {token: score for token, score, kind in rows if kind == NORMAL}
        ways = [
            (-score, -cut, token[:cut], token[cut:])
            for token, score in normal.items()
            for cut in range(1, len(token))
            if token[:cut] in normal and token[cut:] in normal
        ]
        return [(left, right) for *_, left, right in sorted(ways)]


def byte_level(vocabulary: GgufVocabulary, words: Words, space: bool) -> tokenizers.Tokenizer:
    """Byte-level BPE (GPT-2)."""
    merges = vocabulary.merges()
    if merges is None:
        raise CheckpointError(f"{vocabulary.what} lacks {PREFIX}merges")
    rules = tokenizers.Tokenizer(models.BPE(vocabulary.vocab, merges, ignore_merges=words.whole))
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if words.digits else []
    if words.split is not None:
        steps.append(pre_tokenizers.Split(Regex(words.split), "isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=space, use_regex=words.split is None))
    rules.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if words.nfc:
        rules.normalizer = normalizers.NFC()
    rules.decoder = decoders.ByteLevel()
    return rules


def scored(vocabulary: GgufVocabulary, space: bool) -> tokenizers.Tokenizer:
    """BPE as SentencePiece does it: a space is "▁", `space` puts one first, unknown characters become bytes."""
    unk = vocabulary.tokens[vocabulary.ids["unk"]] if "unk" in vocabulary.ids else None
    merges = vocabulary.merges_of_scores()
    rules = tokenizers.Tokenizer(models.BPE(vocabulary.vocab, merges, unk_token=unk, fuse_unk=True, byte_fallback=True))
    marked = normalizers.Replace(" ", "▁")
    rules.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), marked]) if space else marked
    first = [decoders.Strip(" ", 1, 0)] if space else []
    rules.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *first])
    return rules


def add_specials(rules: tokenizers.Tokenizer, vocabulary: GgufVocabulary) -> None:
    """Control tokens and those of the user are never cut; the first kind is left out of decoded text."""
    named = set(vocabulary.ids.values())
    special, plain = [], []
    for number, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.kinds, strict=True)):
        if kind in (CONTROL, UNKNOWN) or (number in named and token):
            special.append(AddedToken(token, normalized=False, special=True))
        elif kind == USER_DEFINED and token:
            plain.append(AddedToken(token, normalized=False, special=False))
    rules.add_special_tokens(special)
    rules.add_tokens(plain)


def surround(rules: tokenizers.Tokenizer, vocabulary: GgufVocabulary, *, bos: bool, eos: bool) -> None:
    """bos before and eos after every text, where the file asks for them."""
    wanted = [name for name, asked in (("bos", bos), ("eos", eos)) if asked]
    if missing := [name for name in wanted if name not in vocabulary.ids]:
        if f"{PREFIX}add_{missing[0]}_token" not in vocabulary.metadata:
            return  # a default of its kind, for a vocabulary that has no such token
        raise CheckpointError(f"{vocabulary.what}: add_{missing[0]}_token is set, but {IDS[missing[0]]} is not")
    if not wanted:
        return
    # $A is the text; "bos" and "eos" stand for the tokens, whose own names may hold what a template cannot
    template = [*(["bos:0"] if bos else []), "$A:0", *(["eos:0"] if eos else [])]
    numbers = {name: vocabulary.ids[name] for name in wanted}
    tokens = [{"id": name, "ids": [id], "tokens": [vocabulary.tokens[id]]} for name, id in numbers.items()]
    rules.post_processor = processors.TemplateProcessing(single=template, special_tokens=tokens)


def ids_of(metadata: Metadata, size: int, what: str) -> dict[str, int]:
    """The special ids that a file gives. Raises CheckpointError for one that is no token."""
    # what SentencePiece gives the first three ids to, for old files that do not say
    silent = {"unk": 0, "bos": 1, "eos": 2} if metadata.get(PREFIX + "model") == "llama" else {}
    ids = {}
    for name, key in IDS.items():
        number = metadata.get(PREFIX + key, silent.get(name))
        if number is None:
            continue
        if not isinstance(number, int) or not 0 <= number < size:
            raise CheckpointError(f"{what}: {PREFIX}{key} is {shown(number)}, but there are {size} tokens")
        ids[name] = number
    return ids


def special_ids(metadata: Metadata) -> dict[str, Any]:
    """bos_token_id, eos_token_id (a list where several tokens end a turn) and pad_token_id, as for `Settings`."""
    check_shape(metadata, "the file")
    tokens: Sequence[str] = metadata.get(PREFIX + "tokens") or ()
    if not tokens:
        return {}
    ids = ids_of(metadata, len(tokens), "the file")
    kinds = metadata.get(PREFIX + "token_type") or [CONTROL] * len(tokens)
    wanted = set(ENDS)
    named = {token: number for number, token in enumerate(tokens) if token in wanted and kinds[number] == CONTROL}
    ends = [
        ids.get("eos"),
        *(metadata.get(PREFIX + key) for key in ("eot_token_id", "eom_token_id")),
        *(named[name] for name in ENDS if name in named),
    ]
    ends = list(dict.fromkeys(number for number in ends if number is not None))
    named_ids: dict[str, Any] = {f"{name}_token_id": ids[name] for name in ("bos", "pad") if name in ids}
    return named_ids | ({"eos_token_id": ends[0] if len(ends) == 1 else ends} if ends else {})
