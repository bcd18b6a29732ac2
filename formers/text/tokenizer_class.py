"""What the name of a tokenizer's class says: usual special tokens, and settings that go before its tokenizer.json.

The class is tokenizer_config.json's, else the one of the model_type. Where tokenizer.json and the settings of a known
class disagree the settings count, as in `transformers`; with a class that adds nothing (PreTrainedTokenizerFast) or one
that is not known here, tokenizer.json alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from formers.errors import CheckpointError, nearest, shown
from formers.notes import note

Table = dict[str, Any]
Values = Mapping[str, Any]
CASES = {"do_lower_case": ("lowercase", True), "strip_accents": ("strip_accents", None)}
PLAIN = ("", "PreTrainedTokenizer", "TokenizersBackend", "PythonBackend")


def token_names(text: str) -> dict[str, str]:
    """Special tokens as tokenizer_config.json names them: "bos=<s> eos=</s>"."""
    return {f"{kind}_token": name for kind, _, name in (pair.partition("=") for pair in text.split())}


BERT = token_names("unk=[UNK] sep=[SEP] pad=[PAD] cls=[CLS] mask=[MASK]")
MPNET = token_names("bos=<s> eos=</s> unk=[UNK] sep=</s> pad=<pad> cls=<s> mask=<mask>")
ALBERT = token_names("unk=<unk> sep=[SEP] pad=<pad> cls=[CLS] mask=[MASK] bos=[CLS] eos=[SEP]")
DEBERTA = token_names("unk=[UNK] sep=[SEP] pad=[PAD] cls=[CLS] mask=[MASK] bos=[CLS] eos=[SEP]")
ROBERTA = token_names("bos=<s> eos=</s> sep=</s> cls=<s> unk=<unk> pad=<pad> mask=<mask>")
GPT2 = token_names("unk=<|endoftext|> bos=<|endoftext|> eos=<|endoftext|>")
NEOX = token_names("unk=<|endoftext|> bos=<|endoftext|> eos=<|endoftext|> pad=<|padding|>")
QWEN = token_names("unk=<|endoftext|> eos=<|endoftext|> pad=<|endoftext|>")
T5 = token_names("eos=</s> unk=<unk> pad=<pad>")
LLAMA = token_names("unk=<unk> bos=<s> eos=</s>")
CLIP = token_names("bos=<|startoftext|> eos=<|endoftext|> unk=<|endoftext|> pad=<|endoftext|>")
SIGLIP = token_names("eos=</s> unk=<unk> pad=</s>")
WAV2VEC2 = token_names("bos=<s> eos=</s> unk=<unk> pad=<pad>")
GEMMA = token_names("unk=<unk> bos=<bos> eos=<eos> pad=<pad> mask=<mask>")


def _word_pieces(table: Table, values: Values, what: str) -> None:
    flags = {inner: values.get(key, usual) for key, (inner, usual) in CASES.items()}
    flags["lowercase"] = flags["lowercase"] is not False
    flags["handle_chinese_chars"] = values.get("tokenize_chinese_chars") is not False
    steps = [step for step in _steps(table, "normalizer", "normalizers") if step.get("type") == "BertNormalizer"]
    for step in steps:
        step.update(flags)
    if not steps and any(values.get(key) is not None for key in CASES):
        note(f"{what}: its own normalizer is followed, whatever do_lower_case and strip_accents say beside it")


def _byte_level(table: Table, values: Values, what: str) -> None:
    for step in _steps(table, "pre_tokenizer", "pretokenizers"):
        if step.get("type") == "ByteLevel":
            step["add_prefix_space"] = bool(values.get("add_prefix_space"))


def _unigrams(table: Table, values: Values, what: str, scheme: str, wanted: Mapping[str, tuple[str, bool]]) -> None:
    steps = [*_steps(table, "normalizer", "normalizers"), *_steps(table, "pre_tokenizer", "pretokenizers")]
    kinds = {step.get("type") for step in steps}
    for key, (kind, asked) in wanted.items():
        if asked != (kind in kinds):
            says = f"has {'no' if asked else 'a'} step {kind}"
            advice = f"say in tokenizer_config.json what the model was trained with ({key})"
            raise CheckpointError(f"{what} {says}, which {key} beside it contradicts; {advice}")
    _prefix(table, "always" if values.get("add_prefix_space") is not False else scheme)


def _albert(table: Table, values: Values, what: str) -> None:
    lower, accents = values.get("do_lower_case") is not False, bool(values.get("keep_accents"))
    _unigrams(
        table,
        values,
        what,
        "never",
        {"do_lower_case": ("Lowercase", lower), "keep_accents": ("StripAccents", not accents)},
    )


def _deberta(table: Table, values: Values, what: str) -> None:
    lower, marks = bool(values.get("do_lower_case")), bool(values.get("split_by_punct"))
    _unigrams(
        table, values, what, "first", {"do_lower_case": ("Lowercase", lower), "split_by_punct": ("Punctuation", marks)}
    )


def _llama(table: Table, values: Values, what: str) -> None:
    """Its space before a text is a step of the normalizer, or of the words."""
    if (space := values.get("add_prefix_space")) is None:
        return
    steps = list(_steps(table, "normalizer", "normalizers"))
    prepended = [step for step in steps if step.get("type") == "Prepend"]
    marked = [step for step in steps if step.get("type") == "Replace" and step.get("content") == "▁"]
    if marked and space != bool(prepended):
        kept = [step for step in steps if step not in prepended]
        first = [{"type": "Prepend", "prepend": "▁"}] if space else []
        table["normalizer"] = {"type": "Sequence", "normalizers": [*first, *kept]}
        ends = [step for step in _steps(table, "decoder", "decoders") if step.get("type") != "Strip"]
        strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if space else []
        table["decoder"] = {"type": "Sequence", "decoders": [*ends, *strip]}
    schemes = [step.get("prepend_scheme") for step in _steps(table, "pre_tokenizer", "pretokenizers")]
    if (space and "never" in schemes) or (not space and {"first", "always"} & {*schemes}):
        _prefix(table, "first" if space else "never")


CLIP_DECODER: Table = {
    "type": "Sequence",
    "decoders": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        {"type": "Replace", "pattern": {"String": "</w>"}, "content": " "},
        {"type": "Strip", "content": " ", "start": 0, "stop": 1},
    ],
}


def _clip(table: Table, values: Values, what: str) -> None:
    """Its files decode the mark at the end of a word as it is."""
    if [step.get("type") for step in _steps(table, "decoder", "decoders")] == ["ByteLevel"]:
        table["decoder"] = CLIP_DECODER


def _siglip2(table: Table, values: Values, what: str) -> None:
    """Gemma's rules, for texts in small letters."""
    steps = list(_steps(table, "normalizer", "normalizers"))
    if {"type": "Lowercase"} not in steps:
        table["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, *steps]}


def _prefix(table: Table, scheme: str) -> None:
    for part, inner in (("pre_tokenizer", "pretokenizers"), ("decoder", "decoders")):
        for step in _steps(table, part, inner):
            if step.get("type") == "Metaspace":
                step["prepend_scheme"] = scheme


def _steps(table: Table, part: str, inner: str) -> Iterator[Table]:
    """The steps of a part, of rules that the library has read already."""
    waiting = [table.get(part)]
    while waiting:
        step = waiting.pop(0)
        if isinstance(step, dict) and step.get("type") == "Sequence":
            waiting[:0] = step[inner]
        elif step is not None:
            yield step


@dataclass(frozen=True)
class TokenizerClass:
    files: tuple[str, ...]
    """The vocabularies that it is read from, where there is no tokenizer.json."""
    names: Mapping[str, str]
    """Its usual special tokens."""
    classes: str
    """Names of classes, without Tokenizer at the end."""
    models: str = ""
    """The model_type that it belongs to, where no class is named."""
    settle: Callable[[Table, Values, str], None] = lambda table, values, what: None
    """Brings the rules of a tokenizer.json to what the settings say."""


WORDS, PAIRS = ("vocab.txt",), ("vocab.json and merges.txt",)
BERTS = "Bert DistilBert Electra MobileBert ConvBert LayoutLM Lxmert RetriBert SqueezeBert DPRQuestionEncoder RoFormer"
KNOWN = (
    TokenizerClass(WORDS, BERT, BERTS, "bert distilbert electra mobilebert convbert roformer", _word_pieces),
    TokenizerClass(WORDS, MPNET, "MPNet", "mpnet", _word_pieces),
    TokenizerClass(PAIRS, ROBERTA, "Roberta Bart Longformer LED Mvp", "roberta bart longformer led mvp", _byte_level),
    TokenizerClass(PAIRS, DEBERTA, "Deberta", "deberta", _byte_level),
    TokenizerClass(PAIRS, GPT2, "GPT2 CodeGen", "gpt2 gptj gpt_neo opt", _byte_level),
    TokenizerClass((), NEOX, "GPTNeoX", "gpt_neox", _byte_level),
    TokenizerClass((), QWEN, "Qwen2", "qwen2 qwen3 qwen2_moe qwen3_moe", _byte_level),
    TokenizerClass(("spiece.model",), ALBERT, "Albert", "albert", _albert),
    TokenizerClass(("spiece.model",), T5, "T5 MT5", "t5 mt5"),
    TokenizerClass((*PAIRS, "bpe_simple_vocab_16e6.txt.gz"), CLIP, "CLIP", "clip clip_text_model", _clip),
    TokenizerClass(("spiece.model",), SIGLIP, "Siglip", "siglip siglip_text_model"),
    TokenizerClass((), GEMMA, "Siglip2", "siglip2", _siglip2),
    TokenizerClass(("spm.model",), DEBERTA, "DebertaV2", "deberta-v2", _deberta),
    TokenizerClass((), LLAMA, "Llama CodeLlama", "", _llama),
    TokenizerClass((), GEMMA, "Gemma", "gemma gemma2 gemma3 gemma3_text"),
    TokenizerClass(("vocab.json",), WAV2VEC2, "Wav2Vec2CTC", "wav2vec2-conformer"),
    TokenizerClass(("source.spm, target.spm and vocab.json",), T5, "Marian", "marian"),
)
BY_NAME = {name: each for each in KNOWN for name in each.classes.split()}
BY_MODEL = {name: each for each in KNOWN for name in each.models.split()}


def class_name(values: Values, config: Values) -> str:
    """The name that the files give, without what ends all such names; "" where they give none."""
    given = values.get("tokenizer_class") or config.get("tokenizer_class")
    name = given.removesuffix("Fast") if isinstance(given, str) else ""
    return "" if name in PLAIN and given else name.removesuffix("Tokenizer")


def tokenizer_class(values: Values, config: Values) -> TokenizerClass | None:
    """What is known of a folder's class; None of one that adds nothing to its tokenizer.json, or is not known."""
    if name := class_name(values, config):
        return BY_NAME.get(name)
    if values.get("tokenizer_class") or config.get("tokenizer_class"):
        return None
    return BY_MODEL.get(str(config.get("model_type")))


def check_class(file: str, values: Values, config: Values, folder: Any) -> None:
    """Raises CheckpointError where a vocabulary is of a class that reads it in another way than is done here."""
    if (name := class_name(values, config)) and file not in (BY_NAME[name].files if name in BY_NAME else ()):
        here = [each for each, known in BY_NAME.items() if file in known.files]
        what = f"{folder}: {file} of the tokenizer_class {shown(name + 'Tokenizer')} is not read here"
        raise CheckpointError(f"{what}; put the model's tokenizer.json beside it{nearest(name, here)}")


def settled(table: Table, known: TokenizerClass | None, values: Values, what: str) -> Table:
    """The parts of a tokenizer.json that its class has otherwise, as they should be. Raises CheckpointError."""
    if known is None:
        return {}
    parts = ("normalizer", "pre_tokenizer", "decoder")
    before = {part: table.get(part) for part in parts}
    after = json.loads(json.dumps(before))
    known.settle(after, values, what)
    if around := table.get("post_processor"):
        check_around(json.dumps(around, ensure_ascii=False), known, values, what)
    return {part: after[part] for part in parts if after[part] != before[part]}


def check_around(around: str, known: TokenizerClass, values: Values, what: str) -> None:
    """Raises CheckpointError where the settings name other tokens around a text than the rules put there."""
    keys: Sequence[str] = [key for key in ("cls_token", "sep_token") if key in known.names and values.get(key)]
    for key in keys:
        if json.dumps(values[key], ensure_ascii=False) not in around:
            says = f"{key} {shown(values[key])} of tokenizer_config.json is not what post_processor puts around a text"
            raise CheckpointError(f"{what}: {says}; correct one of them")
