"""Tokenizers of published encoders that have no tokenizer.json, as rules: WordPiece, and SentencePiece's unigrams.

vocab.txt       BERT, DistilBERT, ELECTRA, MPNet, RoFormer: one piece a line, its id is its line
spiece.model    ALBERT
spm.model       DeBERTa-v2 and v3
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formers.errors import CheckpointError
from formers.text.piece_file import CONTROL, UNUSED, USER, PieceFile, read_piece_file
from formers.text.rule_tokenizer import RuleTokenizer, ids_of, refuse_chinese_words, token_names

if TYPE_CHECKING:
    import tokenizers

BERT = token_names("unk=[UNK] sep=[SEP] pad=[PAD] cls=[CLS] mask=[MASK]")
MPNET = token_names("bos=<s> eos=</s> unk=[UNK] sep=</s> pad=<pad> cls=<s> mask=<mask>")
ALBERT = token_names("unk=<unk> sep=[SEP] pad=<pad> cls=[CLS] mask=[MASK] bos=[CLS] eos=[SEP]")
DEBERTA = token_names("unk=[UNK] sep=[SEP] pad=[PAD] cls=[CLS] mask=[MASK] bos=[CLS] eos=[SEP]")


def load_word_pieces(folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> RuleTokenizer:
    """vocab.txt, with tokenizer_config.json's do_lower_case, tokenize_chinese_chars and strip_accents."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    path = folder / "vocab.txt"
    vocab = read_lines(path)
    if config.get("model_type") == "roformer":
        refuse_chinese_words(vocab, path)
    usual = MPNET if config.get("model_type") == "mpnet" or "[CLS]" not in vocab else BERT
    names = special_names(usual, settings)
    check_names(vocab, names, path)
    rules = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token=names["unk_token"]))
    rules.normalizer = normalizers.BertNormalizer(
        lowercase=bool(settings.get("do_lower_case", True)),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
    )
    rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rules.decoder = decoders.WordPiece()
    return finish(rules, names, settings, config, tight_mask=usual is BERT)


def load_albert(folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> RuleTokenizer:
    """spiece.model of ALBERT: text in small letters and without accents unless the settings say otherwise.

    As its authors did, a comma after a digit is never in one piece with it.
    """
    from tokenizers import decoders, normalizers, pre_tokenizers

    path = folder / "spiece.model"
    pieces = read_unigrams(path)
    steps: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not settings.get("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if settings.get("do_lower_case", True):
        steps.append(normalizers.Lowercase())
    if pieces.characters:
        steps.append(normalizers.Precompiled(pieces.characters))
    names = special_names(ALBERT, settings)
    rules = unigrams(pieces, names, path, lambda text: 100.0 if re.search(r"\d,\Z", text) else 0.0)
    rules.normalizer = normalizers.Sequence(steps)
    rules.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    rules.decoder = decoders.Metaspace()
    return finish(rules, names, settings, config)


def load_deberta(folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> RuleTokenizer:
    """spm.model of DeBERTa-v2 and v3: text as the SentencePiece model itself normalises it."""
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    path = folder / "spm.model"
    pieces = read_unigrams(path)
    steps: list[Any] = [normalizers.Lowercase()] if settings.get("do_lower_case", False) else []
    if pieces.characters:
        steps.append(normalizers.Precompiled(pieces.characters))
    if pieces.remove_spaces:
        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex(r"\A | \z"), "")]
    names = special_names(DEBERTA, settings)
    rules = unigrams(pieces, names, path)
    rules.normalizer = normalizers.Sequence(steps)
    prefix = "always" if pieces.dummy_prefix else "never"
    words = pre_tokenizers.Metaspace(prepend_scheme=prefix)
    marks = [pre_tokenizers.Punctuation("isolated")] if settings.get("split_by_punct", False) else []
    rules.pre_tokenizer = pre_tokenizers.Sequence([*marks, words])
    rules.decoder = decoders.Metaspace(prepend_scheme=prefix)
    return finish(rules, names, settings, config)


def read_lines(path: Path) -> dict[str, int]:
    """piece -> id, which is its line. Raises CheckpointError for a file that is not text."""
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, ValueError) as fault:
        raise CheckpointError(f"{path} cannot be read ({fault}); get the file again") from fault
    return {line.removesuffix("\r"): number for number, line in enumerate(lines if lines[-1] else lines[:-1])}


def read_unigrams(path: Path) -> PieceFile:
    """A SentencePiece file of the kind that these models have."""
    pieces = read_piece_file(path)
    if not pieces.unigram or pieces.byte_fallback:
        kind = "bytes for unknown characters" if pieces.unigram else "another kind than unigrams"
        what = f"{path} has {kind}, which no published ALBERT or DeBERTa has"
        raise CheckpointError(f"{what}; put the model's tokenizer.json beside it")
    return pieces


def unigrams(pieces: PieceFile, names: Mapping[str, str], path: Path, penalty: Any = lambda text: 0.0) -> Any:
    """Rules that split as the file says, its control and user pieces whole; what it lacks of `names` is added."""
    import tokenizers
    from tokenizers import AddedToken, models

    lowest = 1e4  # an unused piece is never worth it
    scores = [
        (piece.text, piece.score - penalty(piece.text) - (lowest if piece.kind == UNUSED else 0.0))
        for piece in pieces.pieces
    ]
    vocab = {text: number for number, (text, _) in enumerate(scores)}
    check_names(vocab, {key: name for key, name in names.items() if key != "mask_token"}, path)
    rules = tokenizers.Tokenizer(models.Unigram(scores, unk_id=pieces.unknown, byte_fallback=False))
    rules.add_special_tokens([piece.text for piece in pieces.pieces if piece.kind == CONTROL])
    rules.add_tokens([AddedToken(piece.text, normalized=False) for piece in pieces.pieces if piece.kind == USER])
    return rules


def special_names(usual: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, str]:
    """The names of the special tokens: as the settings say, else the usual ones."""
    return {key: str(settings.get(key) or name) for key, name in usual.items()}


def check_names(vocab: Mapping[str, int], names: Mapping[str, str], path: Path) -> None:
    if missing := sorted({name for name in names.values() if name not in vocab}):
        advice = "name those that it has in tokenizer_config.json, or get the file again"
        raise CheckpointError(f"{path} lacks the special pieces {', '.join(missing)}; {advice}")


def finish(
    rules: tokenizers.Tokenizer,
    names: Mapping[str, str],
    settings: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    tight_mask: bool = False,
) -> RuleTokenizer:
    """The special tokens, and how texts and pairs stand between them.

    `[CLS] A [SEP] B [SEP]`, or in RoBERTa's way, as MPNet does, `<s> A </s></s> B </s>`.
    """
    from tokenizers import AddedToken, processors

    rules.add_special_tokens([name for key, name in names.items() if key != "mask_token"])
    # the space before a mask belongs to the mask, but for BERT
    rules.add_special_tokens([AddedToken(names["mask_token"], lstrip=not tight_mask, special=True)])
    first, separator = names["cls_token"], names["sep_token"]
    vocab = rules.get_vocab()
    ids = [(name, vocab[name]) for name in (first, separator)]
    if names.get("bos_token") == "<s>":
        rules.post_processor = processors.RobertaProcessing(ids[1], ids[0], add_prefix_space=False)
    else:
        rules.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {separator}", pair=f"{first} $A {separator} $B:1 {separator}:1", special_tokens=ids
        )
    return RuleTokenizer(rules, {**settings, **names}, ids=ids_of(config))
