"""The small files beside a vocabulary: what they must look like, and the settings and added tokens that they give.

tokenizer_config.json     settings, names of special tokens, added_tokens_decoder
special_tokens_map.json   names of special tokens: those that count where there is no added_tokens_decoder
added_tokens.json         tokens after the vocabulary: those that count where there is no added_tokens_decoder
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from tokenizers import AddedToken

from formers.errors import CheckpointError
from formers.fields import Between
from formers.files import read_json
from formers.notes import note

CONFIG, SPECIALS, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
NAMED = tuple(f"{kind}_token" for kind in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))  # ids are given in order
EXTRA = ("extra_special_tokens", "additional_special_tokens")
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
MOST = 2**23  # ids: published vocabularies have at most a million
Id = Annotated[int, Between(0, MOST)]


class ContentShape(TypedDict):
    content: str


class TokenShape(ContentShape, total=False):
    """An added token as a file writes it."""

    single_word: bool
    lstrip: bool
    rstrip: bool
    normalized: bool
    special: bool


Name = str | TokenShape | None


class SpecialsShape(TypedDict, total=False):
    bos_token: Name
    eos_token: Name
    unk_token: Name
    sep_token: Name
    pad_token: Name
    cls_token: Name
    mask_token: Name
    additional_special_tokens: list[str | TokenShape] | None
    extra_special_tokens: list[str | TokenShape] | dict[str, str | TokenShape] | None


class ConfigShape(SpecialsShape, total=False):
    tokenizer_class: str | None
    do_lower_case: bool | None
    strip_accents: bool | None
    tokenize_chinese_chars: bool | None
    keep_accents: bool | None
    split_by_punct: bool | None
    split_special_tokens: bool | None
    add_prefix_space: bool | None
    add_bos_token: bool | None
    add_eos_token: bool | None
    separate_vocabs: bool | None
    unescape_html: bool | None
    extra_ids: Annotated[int, Between(0, 100_000)]
    truncation_side: Literal["left", "right"] | None
    model_max_length: Annotated[float, Between(1)] | None
    added_tokens_decoder: dict[str, TokenShape]


class ModelShape(TypedDict):
    model: dict[str, Any]


class TokenizerShape(ModelShape, total=False):
    """tokenizer.json: what stands in it beside the vocabulary; the library checks the rest."""

    added_tokens: list[TokenShape] | None
    normalizer: dict[str, Any] | None
    pre_tokenizer: dict[str, Any] | None
    post_processor: dict[str, Any] | None
    decoder: dict[str, Any] | None


@dataclass(frozen=True)
class TokenizerSettings:
    """What the small files of a folder say of its tokenizer."""

    values: Mapping[str, Any] = field(default_factory=dict)
    """tokenizer_config.json with the special tokens as plain strings."""
    tokens: Mapping[str, AddedToken] = field(default_factory=dict)
    """Special tokens whose file says how they take the spaces around them, by their key: "mask_token"."""
    added: tuple[tuple[int, AddedToken], ...] = ()
    """Tokens after the vocabulary with the ids that they should have, in that order."""

    @property
    def stated(self) -> dict[str, str]:
        """The special tokens that the files name, by their keys."""
        names = self.values.items()
        return {key: name for key, name in names if key.endswith("_token") and isinstance(name, str) and name}

    def special_names(self, usual: Mapping[str, str]) -> dict[str, str]:
        """The names of the special tokens: as the files say, else the usual ones."""
        return {**usual, **{key: name for key, name in self.stated.items() if key in usual}}

    def to_add(self, names: Mapping[str, str], *, wide_mask: bool = False) -> list[AddedToken]:
        """What is added to a vocabulary: the added tokens, the special ones of `names`, and the extra ones.

        wide_mask: the mask takes the space before it, where no file says anything of that.
        """
        listed = {token.content: token for _, token in self.added}
        special = set(names.values())
        for token in listed.values():
            token.special = token.special or token.content in special
        for key in NAMED:
            if (name := names.get(key)) and name not in listed:
                plain = AddedToken(name, lstrip=wide_mask and key == "mask_token", special=True)
                listed[name] = self.tokens.get(key, plain)
        for token in self.extra():
            listed.setdefault(token.content, token)
        return list(listed.values())

    def extra(self) -> Iterator[AddedToken]:
        """Special tokens without a part to play."""
        for key in EXTRA:
            tokens = self.values.get(key) or ()
            for token in tokens.values() if isinstance(tokens, Mapping) else tokens:
                yield as_token(token, special=True)
        yield from (as_token(name, special=True) for key, name in self.stated.items() if key not in NAMED)


def read_tokenizer_settings(folder: Path) -> TokenizerSettings:
    """What the small files of a folder say. Raises CheckpointError for one of another shape."""
    values: dict[str, Any] = _read(folder / CONFIG, ConfigShape)
    decoder = values.get("added_tokens_decoder")
    if decoder is None:
        values |= _read(folder / SPECIALS, SpecialsShape)
    names = {key: value for key, value in values.items() if key.endswith("_token")}
    plain = {key: value["content"] if isinstance(value, dict) else value for key, value in names.items()}
    flagged = {key: as_token(value, special=True) for key, value in names.items() if isinstance(value, dict)}
    if decoder is not None:
        added = [(_number(key, folder / CONFIG), as_token(token)) for key, token in decoder.items()]
    else:
        special = {*filter(None, plain.values()), *(token.content for token in TokenizerSettings(values).extra())}
        ids = _read(folder / ADDED, dict[str, Id])
        added = [
            (id, AddedToken(name, normalized=name not in special, special=name in special)) for name, id in ids.items()
        ]
    return TokenizerSettings(values | plain, flagged, tuple(sorted(added, key=lambda pair: pair[0])))


def as_token(value: str | Mapping[str, Any], *, special: bool | None = None) -> AddedToken:
    """A token as a file writes it; special: whatever the file says."""
    if isinstance(value, str):
        return AddedToken(value, special=bool(special))
    flags = {key: bool(value[key]) for key in FLAGS if key in value}
    return AddedToken(value["content"], **(flags if special is None else {**flags, "special": special}))


def check_places(id_of: Callable[[str], int | None], settings: TokenizerSettings, folder: Path) -> None:
    """A note where the files give an added token another id than the one it has after its vocabulary."""
    for number, token in settings.added:
        if (id := id_of(token.content)) not in (None, number):
            note(f"{folder}: the added token {token.content!r} has the id {id}, though its files say {number}")
            return


def _read(path: Path, shape: Any) -> dict[str, Any]:
    return dict(read_json(path, shape)) if path.exists() else {}


def _number(key: str, path: Path) -> int:
    if not (key.isascii() and key.isdigit() and len(key) < 10 and int(key) < MOST):
        what = f"{path}: added_tokens_decoder has the id {key!r:.40}"
        raise CheckpointError(f"{what}, expected a number below {MOST:,}")
    return int(key)
