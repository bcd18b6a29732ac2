"""Tokenizers of many languages: a token beside each text says which one it is in, another which one to write.

eng_Latn A </s>     NLLB, M2M-100, mBART-50: the decoder's first token is that of the language to write
A </s> en_XX        mBART: the decoder starts with it
>>fra<< A </s>      Marian: the encoder reads which language to write, where somebody asks for one
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from formers.errors import CheckpointError, ConfigError, nearest, shown
from formers.files import as_json, read_json
from formers.text.piece_tokenizer import PieceTokenizer, Side, check_specials, pieces_of, read_pieces
from formers.text.rule_tokenizer import RuleTokenizer
from formers.text.tokenizer import EOS, PAD, UNK, Tokenizer

CONFIG, PIECES = "tokenizer_config.json", "sentencepiece.bpe.model"
# The token of a language: of NLLB, of mBART, of M2M-100 and of Marian.
CODE = re.compile(r"([a-z]{3}_[A-Z][a-z]{3})|([a-z]{2,3}_[A-Z]{2})|__([a-z]{2,4})__|>>([\w-]+)<<")
USUAL_SOURCES = ("eng_Latn", "en_XX", "en")  # of a folder that names none
# model_type -> the class whose files it has, where they do not say
CLASSES = {"m2m_100": "M2M100Tokenizer", "mbart": "MBartTokenizer"}
FAIRSEQ = ("<s>", "<mask>")  # its other special tokens, which are no text
NOTHING = re.compile(r"(\b\B)")  # no piece is whole whatever the model says


@dataclass(frozen=True)
class Languages:
    """The languages of a vocabulary, and which two are meant."""

    ids: Mapping[str, int]
    """Name -> its token."""
    place: Literal["before", "behind", "asked"]
    """Where a text has the token of its own language; asked: it has that of the language to write, before it."""
    kind: str = ""
    """The class that reads these files elsewhere; "": that of the tokenizer within."""
    source: str = ""
    """What texts are in."""
    target: str = ""
    """What is to be written; "": nobody has said."""

    def named(self, name: str) -> str:
        """Raises ConfigError for a language that is none of these."""
        if name and name not in self.ids:
            raise ConfigError(f'there is no language "{name}"{nearest(name, self.ids)}')
        return name

    def check_target(self) -> None:
        """Raises ConfigError where a language to write must be named and is not."""
        if self.place != "asked" and not self.target:
            known = ", ".join([*self.ids][:8])
            raise ConfigError(
                f"this model writes {len(self.ids)} languages ({known} ...); say which one (--to, in Python to=)"
            )

    def name_of(self, token: object) -> str:
        """The language that a token stands for, "" for none."""
        return next((name for name, number in self.ids.items() if number == token), "")


class LanguageTokenizer:
    """The `Tokenizer` contract over a tokenizer without languages."""

    def __init__(self, inner: Tokenizer, languages: Languages) -> None:
        self.inner, self.languages = inner, languages
        self.pad, self.eos, self.bos, self.unk, self.start = inner.pad, inner.eos, inner.bos, inner.unk, inner.start
        self.watch = inner.watch
        names = inner.names if isinstance(inner, PieceTokenizer) else {}
        self.silent = {*languages.ids.values(), *(number for number, name in names.items() if name in FAIRSEQ)}
        if languages.place == "asked":  # what no decoder writes of itself is text
            self.silent = set()

    def speaking(self, *, source: str = "", target: str = "") -> LanguageTokenizer:
        """The same between other languages; "" leaves one as it is. Raises ConfigError for unknown ones."""
        own = self.languages
        if source and own.place == "asked":
            raise ConfigError(f'a text says nothing of its language to this model; leave "{source}" out')
        spoken = replace(own, source=own.named(source) or own.source, target=own.named(target) or own.target)
        return LanguageTokenizer(self.inner, spoken)

    @property
    def target_code(self) -> int | None:
        """The token of the language to write."""
        return self.languages.ids.get(self.languages.target)

    @property
    def vocab(self) -> int:
        return self.inner.vocab

    @property
    def own_vocab(self) -> int:
        return self.inner.own_vocab

    @property
    def target_vocab(self) -> int:
        return self.inner.target_vocab

    def around(self, rows: Iterable[Sequence[int]], code: int | None) -> list[list[int]]:
        """Rows of tokens with the end of text and the token of a language."""
        codes, ends = [] if code is None else [code], [] if self.eos is None else [self.eos]
        if self.languages.place == "behind":
            return [[*row, *ends, *codes] for row in rows]
        return [[*codes, *row, *ends] for row in rows]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        asked = self.languages.place == "asked"
        code = self.target_code if asked else self.languages.ids.get(self.languages.source)
        return self.around(self.inner.encode_plain(texts), code)

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        return self.inner.encode_plain(texts)

    def encode_target(self, texts: Sequence[str]) -> list[list[int]]:
        if self.languages.place == "asked":
            return self.inner.encode_target(texts)
        return self.around(self.inner.encode_plain(texts), self.target_code)

    def beginning(self, text: str) -> list[int]:
        """The first tokens of what a decoder writes that begins with this text."""
        (row,) = self.encode_target([text])
        end = len(row) - 1 - row[::-1].index(self.eos) if self.eos in row else len(row)
        return row[:end]

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        silent = self.silent if skip_special else set()
        return self.inner.decode([number for number in ids if number not in silent], skip_special)

    def pieces(self, ids: Sequence[int], *, source: bool = False) -> list[str]:
        return self.inner.pieces(ids, source=source)

    def unknown_share(self, texts: Iterable[str]) -> float:
        return self.inner.unknown_share(texts)

    def files(self) -> dict[str, bytes]:
        files, own = self.inner.files(), self.languages
        if own.place == "asked":
            return files
        settings = json.loads(files.get(CONFIG, b"{}"))
        settings |= {"src_lang": own.source or None, "tgt_lang": own.target or None}
        settings |= {"tokenizer_class": own.kind} if own.kind else {}
        return {**files, CONFIG: as_json(settings)}

    def save(self, folder: str | Path) -> None:
        for name, content in self.files().items():
            (Path(folder) / name).write_bytes(content)


def class_of(settings: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The class of a tokenizer of many languages, without "Fast"; "" for another one."""
    kind = str(settings.get("tokenizer_class") or "").removesuffix("Fast")
    if kind.startswith(("Nllb", "MBart", "M2M100")):
        return kind
    return CLASSES.get(str(config.get("model_type")), "")


def with_languages(tokenizer: Tokenizer, settings: Mapping[str, Any], config: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer with the languages of its vocabulary, as its files say; itself where it has none."""
    kind = class_of(settings, config)
    if isinstance(tokenizer, PieceTokenizer) and not kind:
        ids = languages_of({token: number for token, number in tokenizer.source.ids.items() if token[:2] == ">>"})
        return LanguageTokenizer(tokenizer, Languages(ids, "asked")) if ids else tokenizer
    if not kind or not isinstance(tokenizer, RuleTokenizer | PieceTokenizer):
        return tokenizer
    names = tokenizer.source.ids if isinstance(tokenizer, PieceTokenizer) else added_ids(tokenizer)
    ids = languages_of(names)
    if not ids:
        return tokenizer
    if any("_" in name and len(name) > 5 for name in ids):  # M2M-100's model_type and class may stand beside them
        kind = "NllbTokenizer"
    if kind == "MBartTokenizer" and not settings.get("tokenizer_class") and isinstance(tokenizer, RuleTokenizer):
        kind = "MBart50Tokenizer" if set(tokenizer.encode([""])[0][:1]) & set(ids.values()) else kind
    behind = kind == "MBartTokenizer" or (kind == "NllbTokenizer" and bool(settings.get("legacy_behaviour")))
    languages = Languages(ids, "behind" if behind else "before", kind)
    spoken = {key: str(settings[key]) for key in ("src_lang", "tgt_lang") if settings.get(key)}
    for key, name in spoken.items():
        if name not in ids:
            raise CheckpointError(f"{CONFIG}: {key} is {shown(name)}, which is none of its {len(ids)} languages")
    usual = next((name for name in USUAL_SOURCES if name in ids), next(iter(ids)))
    forced = languages.name_of(config.get("forced_bos_token_id")) or languages.name_of(tokenizer.start)
    source, target = spoken.get("src_lang", usual), forced or spoken.get("tgt_lang", "")
    return LanguageTokenizer(tokenizer, replace(languages, source=source, target=target))


def added_ids(tokenizer: RuleTokenizer) -> dict[str, int]:
    return {token.content: number for number, token in tokenizer.rules.get_added_tokens_decoder().items()}


def languages_of(ids: Mapping[str, int]) -> dict[str, int]:
    """Name of each language -> its token, in the order of these."""
    named = ((CODE.fullmatch(token), number) for token, number in ids.items())
    found = {next(filter(None, match.groups())): number for match, number in named if match}
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def load_many(folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> PieceTokenizer:
    """sentencepiece.bpe.model of fairseq: with vocab.json (M2M-100) that has the ids, else after fairseq's four tokens
    (NLLB, mBART); the languages follow, in the order in which the folder names them.

    Raises CheckpointError for a folder that names no languages.
    """
    model, place = read_pieces(folder / PIECES), folder / PIECES
    named = settings.get("additional_special_tokens") or settings.get("extra_special_tokens") or ()
    codes = [token for each in named if CODE.fullmatch(token := text_of(each))]
    if not codes:
        names = "additional_special_tokens of tokenizer_config.json or special_tokens_map.json"
        raise CheckpointError(f"{place} has no tokens of languages; name them in their order in {names}")
    stored = [PIECES]
    if (folder / "vocab.json").exists():
        ids: dict[str, int] = read_json(folder / "vocab.json", dict[str, int])
        stored.append("vocab.json")
        first = len(ids)
    else:
        ids = {token: number for number, token in enumerate(("<s>", PAD, EOS, UNK))}
        ids |= {piece: number + 1 for number, piece in enumerate(pieces_of(model, place)) if number > 2}
        first = model.get_piece_size() + 1
    check_specials(ids, place, (EOS, UNK, PAD))
    ids |= {code: first + number for number, code in enumerate(codes)}
    ids.setdefault("<mask>", max(ids.values()) + 1)
    side = Side(model=model, ids=ids, unknown=ids[UNK], own=max(ids.values()) + 1, whole=NOTHING)
    files = {name: (folder / name).read_bytes() for name in stored}
    about = {**settings, "additional_special_tokens": codes}
    files[CONFIG] = as_json({key: value for key, value in about.items() if value is not None})
    return PieceTokenizer(side, side, start=config.get("decoder_start_token_id"), files=files)


def text_of(token: Any) -> str:
    return str(token.get("content")) if isinstance(token, Mapping) else str(token)
