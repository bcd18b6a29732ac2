"""Tokenizers of published encoders that have no tokenizer.json, as rules: WordPiece, and SentencePiece's unigrams.

vocab.txt       BERT, DistilBERT, ELECTRA, MPNet, RoFormer: one piece a line, its id is its line
spiece.model    ALBERT, SigLIP
spm.model       DeBERTa-v2 and v3
spiece.model    the encoder of T5, whose tokenizer is SentencePiece's own where it translates
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from string import punctuation
from typing import TYPE_CHECKING, Any

from formers.errors import CheckpointError, ConfigError
from formers.text.budget import GROWTH, growth
from formers.text.faults import opening
from formers.text.piece_file import CONTROL, UNUSED, USER, PieceFile, parse_pieces, read_piece_file
from formers.text.piece_tokenizer import PieceTokenizer
from formers.text.rule_tokenizer import RuleTokenizer, add_tokens, ids_of, read_text, refuse_chinese_words
from formers.text.tokenizer_class import ALBERT, BERT, DEBERTA, MPNET, SIGLIP, check_class
from formers.text.tokenizer_files import TokenizerSettings

if TYPE_CHECKING:
    import tokenizers


def load_word_pieces(folder: Path, settings: TokenizerSettings, config: Mapping[str, Any]) -> RuleTokenizer:
    """vocab.txt, with tokenizer_config.json's do_lower_case, tokenize_chinese_chars and strip_accents."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    path, values = folder / "vocab.txt", settings.values
    check_class(path.name, values, config, folder)
    vocab = read_lines(path)
    if config.get("model_type") == "roformer":
        refuse_chinese_words(vocab, path)
    usual = MPNET if config.get("model_type") == "mpnet" or "[CLS]" not in vocab else BERT
    check_names(vocab, usual, settings, path)
    names = settings.special_names(usual)
    rules = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token=names["unk_token"]))
    rules.normalizer = normalizers.BertNormalizer(
        lowercase=values.get("do_lower_case") is not False,
        strip_accents=values.get("strip_accents"),
        handle_chinese_chars=values.get("tokenize_chinese_chars") is not False,
    )
    rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rules.decoder = decoders.WordPiece()
    return finish(rules, names, settings, config, path, tight_mask=usual is BERT)


def load_albert(folder: Path, settings: TokenizerSettings, config: Mapping[str, Any]) -> RuleTokenizer:
    """spiece.model of ALBERT: text in small letters and without accents unless the settings say otherwise.

    As its authors did, a comma after a digit is never in one piece with it.
    """
    from tokenizers import decoders, normalizers, pre_tokenizers

    path, values = folder / "spiece.model", settings.values
    check_class(path.name, values, config, folder)
    pieces = read_unigrams(path)
    steps: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not values.get("keep_accents"):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if values.get("do_lower_case") is not False:
        steps.append(normalizers.Lowercase())
    steps += characters(pieces, path)
    check_pieces(pieces, ALBERT, settings, path)
    rules = unigrams(pieces, path, lambda text: 100.0 if re.search(r"\d,\Z", text) else 0.0)
    rules.normalizer = normalizers.Sequence(steps)
    prefix = "never" if values.get("add_prefix_space") is False else "always"
    words = pre_tokenizers.Metaspace(prepend_scheme=prefix)
    rules.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), words])
    rules.decoder = decoders.Metaspace(prepend_scheme=prefix)
    return finish(rules, settings.special_names(ALBERT), settings, config, path)


def load_deberta(folder: Path, settings: TokenizerSettings, config: Mapping[str, Any]) -> RuleTokenizer:
    """spm.model of DeBERTa-v2 and v3: text as the SentencePiece model itself normalises it."""
    from tokenizers import decoders, normalizers, pre_tokenizers

    path, values = folder / "spm.model", settings.values
    check_class(path.name, values, config, folder)
    pieces = read_unigrams(path)
    check_pieces(pieces, DEBERTA, settings, path)
    rules = unigrams(pieces, path)
    lower = [normalizers.Lowercase()] if values.get("do_lower_case") else []
    rules.normalizer = normalizers.Sequence([*lower, *own_steps(pieces, path)])
    prefix = "always" if pieces.dummy_prefix else "never"
    prefix = "first" if values.get("add_prefix_space") is False else prefix
    words = pre_tokenizers.Metaspace(prepend_scheme=prefix)
    marks = [pre_tokenizers.Punctuation("isolated")] if values.get("split_by_punct") else []
    rules.pre_tokenizer = pre_tokenizers.Sequence([*marks, words])
    rules.decoder = decoders.Metaspace(prepend_scheme=prefix)
    return finish(rules, settings.special_names(DEBERTA), settings, config, path)


def load_siglip(folder: Path, settings: TokenizerSettings, config: Mapping[str, Any]) -> RuleTokenizer:
    """spiece.model of SigLIP: text in small letters unless the settings say otherwise, without punctuation."""
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    path, values = folder / "spiece.model", settings.values
    pieces = read_unigrams(path)
    steps: list[Any] = [] if values.get("do_lower_case") is False else [normalizers.Lowercase()]
    steps += [normalizers.Replace(Regex(f"[{re.escape(punctuation)}]"), ""), *characters(pieces, path)]
    steps += [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    check_pieces(pieces, SIGLIP, settings, path)
    rules = unigrams(pieces, path)
    rules.normalizer = normalizers.Sequence(steps)
    rules.pre_tokenizer, rules.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    names = settings.special_names(SIGLIP)
    add_tokens(rules, settings.to_add(names), settings, path)
    put_end(rules, names["eos_token"])
    return RuleTokenizer(rules, {**values, **names}, ids=ids_of(config))


def as_rules(tokenizer: PieceTokenizer) -> RuleTokenizer:
    """The tokenizer of a T5 as rules of the tokenizers library, which know where in a text each token stands.

    Raises ConfigError for another tokenizer of SentencePiece, which no encoder reads with.
    """
    from tokenizers import AddedToken, normalizers, pre_tokenizers

    path, ids = Path("spiece.model"), tokenizer.source.ids
    if path.name not in tokenizer.stored:
        raise ConfigError(
            "encoders read with tokenizer.json, vocab.txt or spiece.model; this tokenizer has other files"
        )
    pieces = parse_pieces(tokenizer.stored[path.name], path)
    rules = unigrams(pieces, path)
    for name in sorted(tokenizer.special | ids.keys() - {piece.text for piece in pieces.pieces}, key=ids.__getitem__):
        rules.add_special_tokens([AddedToken(name, lstrip=True, rstrip=True, normalized=False)])
    if any(rules.token_to_id(name) != number for name, number in ids.items()):
        raise ConfigError("the tokens that are added to spiece.model have numbers apart; put tokenizer.json beside it")
    rules.normalizer = normalizers.Sequence(own_steps(pieces, path))
    rules.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always" if pieces.dummy_prefix else "never")
    put_end(rules, tokenizer.names[tokenizer.ends[0][0]])
    read = RuleTokenizer(rules, {}, ids={"pad": tokenizer.pad or 0, "unk": tokenizer.source.unknown})
    read.watch = tokenizer.watch
    return read


def put_end(rules: Any, end: str) -> None:
    """Every text, and each of a pair, ends with this token."""
    from tokenizers import processors

    rules.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, rules.token_to_id(end))]
    )


def read_lines(path: Path) -> dict[str, int]:
    """piece -> id, which is its line. Raises CheckpointError for a file that is not text."""
    lines = read_text(path).split("\n")
    return {line.removesuffix("\r"): number for number, line in enumerate(lines if lines[-1] else lines[:-1])}


def read_unigrams(path: Path) -> PieceFile:
    """A SentencePiece file of the kind that these models have."""
    pieces = read_piece_file(path)
    if not pieces.unigram or pieces.byte_fallback:
        kind = "bytes for unknown characters" if pieces.unigram else "another kind than unigrams"
        what = f"{path} has {kind}, which no published ALBERT, DeBERTa or SigLIP has"
        raise CheckpointError(f"{what}; put the model's tokenizer.json beside it")
    return pieces


def characters(pieces: PieceFile, path: Path) -> list[Any]:
    """The step that replaces characters, where there is one."""
    from tokenizers import normalizers

    if not pieces.characters:
        return []
    table = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(pieces.characters).decode()}
    with opening(f"the table of characters of {path}"):
        if growth([table]) > GROWTH:
            raise ValueError("one character becomes thousands")
        step = normalizers.Precompiled(pieces.characters)
        step.normalize_str("aé½")
    return [step]


def own_steps(pieces: PieceFile, path: Path) -> list[Any]:
    """How SentencePiece itself normalises a text for this model."""
    from tokenizers import Regex, normalizers

    spaces = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex(r"\A | \z"), "")]
    return characters(pieces, path) + (spaces if pieces.remove_spaces else [])


def unigrams(pieces: PieceFile, path: Path, penalty: Any = lambda text: 0.0) -> Any:
    """Rules that split as the file says, its control and user pieces whole."""
    import tokenizers
    from tokenizers import AddedToken, models

    lowest = 1e4  # an unused piece is never worth it
    scores = [
        (piece.text, piece.score - penalty(piece.text) - (lowest if piece.kind == UNUSED else 0.0))
        for piece in pieces.pieces
    ]
    with opening(str(path)):
        rules = tokenizers.Tokenizer(models.Unigram(scores, unk_id=pieces.unknown, byte_fallback=False))
    rules.add_special_tokens([piece.text for piece in pieces.pieces if piece.kind == CONTROL])
    rules.add_tokens([AddedToken(piece.text, normalized=False) for piece in pieces.pieces if piece.kind == USER])
    return rules


def check_pieces(pieces: PieceFile, usual: Mapping[str, str], settings: TokenizerSettings, path: Path) -> None:
    """The same of `check_names`, but for the mask, which these files lack."""
    vocab = {piece.text: number for number, piece in enumerate(pieces.pieces)}
    check_names(vocab, {key: name for key, name in usual.items() if key != "mask_token"}, settings, path)


def check_names(vocab: Mapping[str, int], usual: Mapping[str, str], settings: TokenizerSettings, path: Path) -> None:
    """Raises CheckpointError where a usual special token is missing and the files name no other."""
    if missing := sorted({name for key, name in usual.items() if name not in vocab and not settings.values.get(key)}):
        listed = {token.content for _, token in settings.added}
        if missing := [name for name in missing if name not in listed]:
            advice = "name those that it has in tokenizer_config.json, or get the file again"
            raise CheckpointError(f"{path} lacks the special pieces {', '.join(missing)}; {advice}")


def finish(
    rules: tokenizers.Tokenizer,
    names: Mapping[str, str],
    settings: TokenizerSettings,
    config: Mapping[str, Any],
    path: Path,
    *,
    tight_mask: bool = False,
) -> RuleTokenizer:
    """The special tokens, and how texts and pairs stand between them.

    `[CLS] A [SEP] B [SEP]`, or in RoBERTa's way, as MPNet does, `<s> A </s></s> B </s>`.
    """
    from tokenizers import processors

    # the space before a mask belongs to the mask, but for BERT
    add_tokens(rules, settings.to_add(names, wide_mask=not tight_mask), settings, path)
    first, separator = names["cls_token"], names["sep_token"]
    vocab = rules.get_vocab()
    ids = [(name, vocab[name]) for name in (first, separator)]
    if names.get("bos_token") == "<s>":
        rules.post_processor = processors.RobertaProcessing(ids[1], ids[0], add_prefix_space=False)
    else:
        rules.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {separator}", pair=f"{first} $A {separator} $B:1 {separator}:1", special_tokens=ids
        )
    return RuleTokenizer(rules, {**settings.values, **names}, ids=ids_of(config))
