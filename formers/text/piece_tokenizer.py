"""Tokenizers that are SentencePiece models: Marian's pair and its vocabulary, T5's with sentinels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formers.errors import CheckpointError
from formers.extras import optional
from formers.files import MOST_JSON, as_json, read_bytes, read_json, replace_file
from formers.text.budget import check_ids
from formers.text.faults import reading
from formers.text.tokenizer import EOS, PAD, UNK, Watch, share
from formers.text.tokenizer_class import T5, check_class
from formers.text.tokenizer_files import ADDED, CONFIG, SPECIALS, TokenizerSettings, check_places

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

LANGUAGE = r"\A(?P<language>>>.+?<<)"  # of Marian: the target language, at the very beginning
SENTINEL = re.compile(r"<extra_id_\d+>")  # of T5


@dataclass(frozen=True)
class Side:
    """One language: how a text falls into pieces, and the id of each piece."""

    model: SentencePieceProcessor
    ids: Mapping[str, int]
    unknown: int
    own: int
    """The highest id before tokens were added, plus one."""
    whole: re.Pattern[str]
    """What is one piece whatever the model says, and the spaces around it; the piece is the group that matches."""

    def encode(self, text: str) -> list[int]:
        pieces: list[str] = []
        end = 0
        for match in self.whole.finditer(text):
            if (piece := match[match.lastgroup or 0]) in self.ids:
                pieces += [*self.cut(text[end : match.start()]), piece]
                end = match.end()
        return [self.ids.get(piece, self.unknown) for piece in (*pieces, *self.cut(text[end:]))]

    def cut(self, text: str) -> list[str]:
        return list(self.model.encode(text, out_type=str)) if text else []


class PieceTokenizer:
    """The `Tokenizer` contract over SentencePiece; `</s>` ends every text."""

    def __init__(
        self,
        source: Side,
        target: Side,
        *,
        start: int | None,
        files: Mapping[str, bytes],
        names: Mapping[str, str] = T5,
        special: Iterable[str] = (),
    ) -> None:
        """names: of eos, unk and pad; special: other tokens that are left out of decoded text."""
        self.source, self.target, self.stored = source, target, dict(files)
        self.special = {*names.values(), *special}
        self.eos, self.unk = target.ids.get(names["eos_token"]), target.ids.get(names["unk_token"])
        self.ends = [[side.ids[names["eos_token"]]] for side in (source, target)]
        # of two vocabularies the source's: Marian's configs name that one
        self.pad = source.ids.get(names["pad_token"])
        self.bos: int | None = None
        self.start = self.pad if start is None else start
        self.names = {number: piece for piece, number in target.ids.items()}
        self.source_names = {number: piece for piece, number in source.ids.items()}
        self.watch = Watch(source.unknown)

    @property
    def vocab(self) -> int:
        return max(self.source.ids.values()) + 1

    @property
    def own_vocab(self) -> int:
        return max(side.own for side in (self.source, self.target))

    @property
    def target_vocab(self) -> int:
        return max(self.target.ids.values()) + 1

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self._encode(self.source, texts, self.ends[0])

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        return self._encode(self.source, texts, [])

    def encode_target(self, texts: Sequence[str]) -> list[list[int]]:
        return self._encode(self.target, texts, self.ends[1])

    def _encode(self, side: Side, texts: Sequence[str], ends: list[int]) -> list[list[int]]:
        with reading(texts):
            rows = [[*side.encode(text), *ends] for text in texts]
        return self.watch.checked(rows, texts, len(ends))

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        pieces = [self.names.get(int(id), UNK) for id in ids]
        if not skip_special:
            return "".join(pieces).replace("▁", " ").strip()
        plain = [piece for piece in pieces if piece not in self.special and not SENTINEL.fullmatch(piece)]
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


def load_marian(folder: Path, settings: TokenizerSettings, config: Mapping[str, Any]) -> PieceTokenizer:
    """source.spm, target.spm and vocab.json with the ids of both (target_vocab.json: of the second)."""
    check_class("source.spm, target.spm and vocab.json", settings.values, config, folder)
    names = ["source.spm", "target.spm", "vocab.json"]
    vocab = targets = read_vocabulary(folder / "vocab.json")
    if settings.values.get("separate_vocabs"):
        targets = read_vocabulary(folder / "target_vocab.json")
        names.append("target_vocab.json")
    sides = [
        side_of(read_pieces(folder / name), dict(ids), ids[UNK], settings, language=True)
        for name, ids in (("source.spm", vocab), ("target.spm", targets))
    ]
    about = {**settings.values, "tokenizer_class": "MarianTokenizer"}
    return piece_tokenizer(folder, sides, names, about, settings, config)


def load_t5(folder: Path, settings: TokenizerSettings, config: Mapping[str, Any]) -> PieceTokenizer:
    """spiece.model, and 100 sentinels (unless told) after it, of which `<extra_id_0>` has the highest id."""
    check_class("spiece.model", settings.values, config, folder)
    if settings.values.get("split_special_tokens"):
        what = f"{folder}: split_special_tokens of tokenizer_config.json is not done for spiece.model"
        raise CheckpointError(f"{what}; put the model's tokenizer.json beside it")
    model = read_pieces(folder / "spiece.model")
    size, extra = model.get_piece_size(), settings.values.get("extra_ids", 100)
    ids = {piece: number for number, piece in enumerate(pieces_of(model, folder / "spiece.model"))}
    ids.update({f"<extra_id_{i}>": size + extra - 1 - i for i in range(extra)})
    check_specials(ids, folder / "spiece.model", (EOS, UNK))
    side = side_of(model, ids, model.unk_id(), settings)
    about = {**settings.values, "tokenizer_class": "T5Tokenizer", "extra_ids": extra}
    return piece_tokenizer(folder, [side, side], ["spiece.model"], about, settings, config)


def side_of(
    model: SentencePieceProcessor,
    ids: dict[str, int],
    unknown: int,
    settings: TokenizerSettings,
    *,
    language: bool = False,
) -> Side:
    """One language, with the special and added tokens as whole pieces; those without an id get the next ones."""
    own = max(ids.values()) + 1
    added = settings.to_add(settings.special_names(T5) | settings.stated)
    stated = {token.content: number for number, token in settings.added}
    for token in added:
        if token.content not in ids and (token.content in stated or token.content not in T5.values()):
            free = language and stated.get(token.content, -1) not in {-1, *ids.values()}
            ids[token.content] = stated[token.content] if free else max(ids.values()) + 1
    if settings.values.get("split_special_tokens"):
        added = [token for token in added if not token.special]
    always = (
        set() if language else set(T5.values())
    )  # T5 reads the control pieces of its model in a text, Marian its own names
    names = sorted({*always, *(token.content for token in added)} & ids.keys(), key=len, reverse=True)
    whole = rf"\s*(?P<piece>{'|'.join([*map(re.escape, names), SENTINEL.pattern])})\s*"
    return Side(model, ids, unknown, own, re.compile(f"{LANGUAGE}|{whole}" if language else whole))


def piece_tokenizer(
    folder: Path,
    sides: Sequence[Side],
    files: Sequence[str],
    about: Mapping[str, Any],
    settings: TokenizerSettings,
    config: Mapping[str, Any],
) -> PieceTokenizer:
    """The tokenizer, with the files that it was read from."""
    check_places(sides[0].ids.get, settings, folder)
    names = settings.special_names(T5)
    for side in sides:
        check_specials(side.ids, folder / files[-1], [names["eos_token"]])
    paths = [folder / name for name in (*files, SPECIALS, ADDED) if (folder / name).exists()]
    stored = {path.name: read_bytes(path, most=MOST_JSON) for path in paths} | {CONFIG: as_json(about)}
    special = [token.content for token in settings.to_add(settings.stated) if token.special]
    start = config.get("decoder_start_token_id")
    return PieceTokenizer(*sides, start=start, files=stored, names=names, special=special)


def read_vocabulary(path: Path) -> dict[str, int]:
    if not path.exists():
        raise CheckpointError(f"{path.parent} lacks {path.name}, which separate_vocabs asks for")
    vocab: dict[str, int] = read_json(path, dict[str, Any])
    check_ids(vocab, str(path))
    check_specials(vocab, path, (EOS, UNK, PAD))
    return vocab


def check_specials(vocab: Mapping[str, int], path: Path, names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in vocab]:
        raise CheckpointError(f"{path} lacks the pieces {', '.join(missing)}")


def pieces_of(model: SentencePieceProcessor, path: Path) -> list[str]:
    """The pieces of a model in the order of their numbers. Raises CheckpointError for one that is no text."""
    try:
        return [model.id_to_piece(number) for number in range(model.get_piece_size())]
    except UnicodeDecodeError as fault:
        raise CheckpointError(f"{path} holds a piece that is no UTF-8 ({fault}); get the file again") from fault


def read_pieces(path: Path) -> SentencePieceProcessor:
    """A SentencePiece model. Raises PackageError without the package, CheckpointError for another file."""
    sentencepiece: Any = optional("sentencepiece", "sentencepiece", path.name)
    try:
        model: SentencePieceProcessor = sentencepiece.SentencePieceProcessor()
        model.LoadFromSerializedProto(read_bytes(path, most=MOST_JSON))
        if not model.get_piece_size():
            raise RuntimeError("no pieces")
    except (RuntimeError, OSError) as fault:
        raise CheckpointError(f"{path} is not a SentencePiece model ({fault}); get the file again") from fault
    return model
