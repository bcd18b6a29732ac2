"""Tokenizers that are SentencePiece models: Marian's pair and its vocabulary, T5's with sentinels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formers.errors import CheckpointError, FormersError
from formers.files import as_json, read_json, replace_file
from formers.text.tokenizer import EOS, PAD, UNK, share

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

# Marian's target language (">>fra<<") at the very beginning; T5's sentinels anywhere, with the spaces around.
LANGUAGE, SENTINEL = re.compile(r"\A(>>.+?<<)"), re.compile(r"\s*(<extra_id_\d+>)\s*")


@dataclass(frozen=True)
class Side:
    """One language: how a text falls into pieces, and the id of each piece."""

    model: SentencePieceProcessor
    ids: Mapping[str, int]
    unknown: int
    whole: re.Pattern[str]
    """What is one piece whatever the model says; one group."""

    def encode(self, text: str) -> list[int]:
        pieces: list[str] = []
        for i, part in enumerate(self.whole.split(text)):
            if i % 2 and part in self.ids:
                pieces.append(part)
            elif part:
                pieces += self.model.encode(part, out_type=str)
        return [self.ids.get(piece, self.unknown) for piece in pieces]


class PieceTokenizer:
    """The `Tokenizer` contract over SentencePiece; `</s>` ends every text."""

    def __init__(self, source: Side, target: Side, *, start: int | None, files: Mapping[str, bytes]) -> None:
        self.source, self.target, self.stored = source, target, dict(files)
        self.eos, self.unk = target.ids.get(EOS), target.ids.get(UNK)
        self.pad = source.ids.get(PAD)  # of two vocabularies the source's: Marian's configs name that one
        self.bos: int | None = None
        self.start = self.pad if start is None else start
        self.names = {number: piece for piece, number in target.ids.items()}
        self.source_names = {number: piece for piece, number in source.ids.items()}

    @property
    def vocab(self) -> int:
        return max(self.source.ids.values()) + 1

    @property
    def target_vocab(self) -> int:
        return max(self.target.ids.values()) + 1

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[*self.source.encode(text), self.source.ids[EOS]] for text in texts]

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.source.encode(text) for text in texts]

    def encode_target(self, texts: Sequence[str]) -> list[list[int]]:
        return [[*self.target.encode(text), self.target.ids[EOS]] for text in texts]

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        pieces = [self.names.get(int(id), UNK) for id in ids]
        if not skip_special:
            return "".join(pieces).replace("▁", " ").strip()
        plain = [piece for piece in pieces if piece not in (PAD, EOS, UNK) and not SENTINEL.fullmatch(piece)]
        return self.target.model.decode_pieces(plain).strip() if plain else ""

    def pieces(self, ids: Sequence[int], *, source: bool = False) -> list[str]:
        names = self.source_names if source else self.names
        return [names.get(int(id), f"<{int(id)}>") for id in ids]

    def unknown_share(self, texts: Iterable[str]) -> float:
        return share(self.encode_plain(list(texts)), self.source.unknown)

    def files(self) -> dict[str, bytes]:
        return dict(self.stored)

    def save(self, folder: str | Path) -> None:
        for name, content in self.files().items():
            replace_file(Path(folder) / name, content)


def load_marian(folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> PieceTokenizer:
    """source.spm, target.spm and vocab.json with the ids of both (target_vocab.json: of the second)."""
    names = ["source.spm", "target.spm", "vocab.json"]
    vocab = targets = read_vocabulary(folder / "vocab.json")
    if settings.get("separate_vocabs"):
        targets = read_vocabulary(folder / "target_vocab.json")
        names.append("target_vocab.json")
    source = Side(read_pieces(folder / "source.spm"), vocab, vocab[UNK], LANGUAGE)
    target = Side(read_pieces(folder / "target.spm"), targets, targets[UNK], LANGUAGE)
    stored = {name: (folder / name).read_bytes() for name in names}
    stored["tokenizer_config.json"] = as_json({**settings, "tokenizer_class": "MarianTokenizer"})
    return PieceTokenizer(source, target, start=config.get("decoder_start_token_id"), files=stored)


def load_t5(folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> PieceTokenizer:
    """spiece.model, and 100 sentinels (unless told) after it, of which `<extra_id_0>` has the highest id."""
    model = read_pieces(folder / "spiece.model")
    size, extra = model.get_piece_size(), int(settings.get("extra_ids", 100))
    ids = {model.id_to_piece(i): i for i in range(size)}
    ids.update({f"<extra_id_{i}>": size + extra - 1 - i for i in range(extra)})
    side = Side(model, ids, model.unk_id(), SENTINEL)
    check_specials(ids, folder / "spiece.model", (EOS, UNK))
    about = {**settings, "tokenizer_class": "T5Tokenizer", "extra_ids": extra}
    stored = {"spiece.model": (folder / "spiece.model").read_bytes(), "tokenizer_config.json": as_json(about)}
    return PieceTokenizer(side, side, start=config.get("decoder_start_token_id"), files=stored)


def read_vocabulary(path: Path) -> dict[str, int]:
    if not path.exists():
        raise CheckpointError(f"{path.parent} lacks {path.name}, which separate_vocabs asks for")
    vocab = read_json(path)
    check_specials(vocab, path, (EOS, UNK, PAD))
    return vocab


def check_specials(vocab: Mapping[str, int], path: Path, names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in vocab]:
        raise CheckpointError(f"{path} lacks the pieces {', '.join(missing)}")


def read_pieces(path: Path) -> SentencePieceProcessor:
    """A SentencePiece model. Raises FormersError without the package, CheckpointError for another file."""
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as fault:
        advice = 'pip install "formers[sentencepiece]"'
        raise FormersError(f"{path.name} needs the sentencepiece package: {advice}") from fault
    try:
        model = SentencePieceProcessor()
        model.LoadFromSerializedProto(path.read_bytes())
        if not model.get_piece_size():
            raise RuntimeError("no pieces")
    except (RuntimeError, OSError) as fault:
        raise CheckpointError(f"{path} is not a SentencePiece model ({fault}); get the file again") from fault
    return model
