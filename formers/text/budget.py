"""What the rules of a tokenizer.json may make of a text: a bound, worked out before the library sees them.

    normalizer, pre_tokenizer, decoder   Replace by a longer text, again and again    at most GROWTH times the text
    precompiled_charsmap                 says how much memory it wants                what it has
    post_processor                       special tokens of many ids                   at most SPECIALS ids
    model                                ids far apart are a table with holes         below MOST
                                         long words take their square                 at most WORD letters

A few kilobytes of such rules would otherwise take gigabytes for one short text, within one call of the library.
"""

from __future__ import annotations

import base64
import re
import struct
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, cast

from formers.errors import CheckpointError, shown
from formers.text.tokenizer_files import MOST

GROWTH = 1_000  # published: up to 650 by this bound, of which up to 18 by compatibility forms are real
SPECIALS = 10_000
WORD = 10_000  # published: 100 or 200
DEPTH = 100  # of sequences within sequences; the library itself reads 128
OTHER = "\ue000"  # stands for every character that no rule names
FORMS = {"NFD": 4.0, "NFC": 3.0, "NFKD": 18.0, "NFKC": 18.0}  # most characters that one becomes
NOWHERE = re.compile(r"\(\?|\\[bBAzZGK]|[\^$*?|]|\{0?,")  # what an expression needs to match between two characters
Table = Mapping[str, Any]
Weights = dict[str, float]


def check_budget(table: Table, what: str) -> None:
    """Raises CheckpointError for rules by which one text could become far more than it is."""
    _check_model(table["model"], what)
    before = [*_steps(table.get("normalizer"), "normalizers"), *_steps(table.get("pre_tokenizer"), "pretokenizers")]
    for part, steps in (("text", before), ("decoded text", _steps(table.get("decoder"), "decoders"))):
        _check_characters(steps, what)
        if (times := growth(steps)) > GROWTH:
            fault = (
                f"{what}: its rules may make a {part} {times:,.0f} times as long"
                if times < 1e9
                else (f"{what}: its rules may make a {part} longer without bound")
            )
            raise CheckpointError(f"{fault}, expected at most {GROWTH:,} times; get the file again")
    for step in _steps(table.get("post_processor"), "processors"):
        _check_template(step, what)


def growth(steps: Sequence[Table]) -> float:
    """At most how many times as long a text is after the steps.

    From the last step to the first, each character has a weight: the most that it can become from there on.
    """
    weights: Weights = dict.fromkeys({OTHER, " ", *"".join(map(_named, steps))}, 1.0)
    for step in reversed(steps):
        weights = _before(step, weights)
        if max(weights.values()) > 1e9:
            break
    return max(weights.values())


def _before(step: Table, after: Weights) -> Weights:
    """The weights before a step, from those after it."""
    kind: Any = _text(step, "type")
    most = max(after.values())

    def weigh(text: str) -> float:
        return sum(after.get(letter, after[OTHER]) for letter in text)

    if kind == "Replace":
        pattern, content = _pattern(step), weigh(_text(step, "content"))
        if "String" in pattern and (plain := pattern["String"]):
            share = content / len(plain)
            return {letter: max(own, share) if letter in plain else own for letter, own in after.items()}
        if "String" in pattern or NOWHERE.search(pattern.get("Regex", "|")):
            return {letter: own + content for letter, own in after.items()}  # between any two characters
        return {letter: max(own, content) for letter, own in after.items()}
    if kind in FORMS:
        named = {
            letter: max(own, weigh(unicodedata.normalize(cast(Any, kind), letter))) for letter, own in after.items()
        }
        return {**named, OTHER: after[OTHER] * FORMS[kind]}
    if kind == "Precompiled":
        return dict.fromkeys(after, most * max(1, *map(len, _replacements(step))))
    if kind == "ByteLevel":  # each byte is a letter, of two bytes at most
        return {letter: most * len(letter.encode("utf-8", "replace")) for letter in after} | {OTHER: most * 2}
    if kind in ("Prepend", "Metaspace"):  # a word may be one character
        mark = weigh(_text(step, "prepend") or _text(step, "replacement"))
        return {letter: own + mark for letter, own in after.items()}
    if kind in ("Lowercase", "BertNormalizer"):  # the second puts spaces around some
        space = 2 * after[" "] if kind == "BertNormalizer" else 0.0
        lower = {letter: max(own, weigh(letter.lower())) + space for letter, own in after.items()}
        return {**lower, OTHER: after[OTHER] + space}
    return after


def _check_model(model: Table, what: str) -> None:
    vocab, letters, merges = model.get("vocab"), model.get("max_input_chars_per_word"), model.get("merges")
    if isinstance(vocab, dict):
        check_ids(vocab, what)
    if isinstance(letters, int) and letters > WORD:
        raise CheckpointError(f"{what}: max_input_chars_per_word is {letters:,}, expected at most {WORD:,}")
    # the library cuts the prefix off whatever is there
    if (prefix := _text(model, "continuing_subword_prefix")) and isinstance(merges, list):
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in merges)
        if not all(isinstance(pair, list) and str(pair[-1:][0]).startswith(prefix) for pair in pairs if pair):
            raise CheckpointError(f"{what}: a merge does not begin with continuing_subword_prefix {shown(prefix)}")


def check_ids(vocab: Mapping[str, Any], what: str) -> None:
    """Raises CheckpointError for ids that are no numbers below a few million, or not those of one token each."""
    ids = vocab.values()
    if set(map(type, ids)) <= {int} and min(ids, default=0) >= 0 and max(ids, default=0) < MOST:
        if len(set(ids)) < len(ids):
            seen: dict[int, str] = {}
            first, second = next(
                (seen[id], token) for token, id in vocab.items() if seen.setdefault(id, token) != token
            )
            raise CheckpointError(f"{what}: {shown(first)} and {shown(second)} have the same id, {vocab[second]}")
        return
    bad = next(token for token, id in vocab.items() if type(id) is not int or not 0 <= id < MOST)
    raise CheckpointError(f"{what}: the id of {shown(bad)} is {shown(vocab[bad])}, expected a number below {MOST:,}")


def _check_characters(steps: Sequence[Table], what: str) -> None:
    for step in steps:
        if step.get("type") == "Precompiled" and not _replacements(step):
            raise CheckpointError(f"{what}: precompiled_charsmap is no table of characters; get the file again")


def _check_template(step: Table, what: str) -> None:
    tokens = step.get("special_tokens")
    for side in ("single", "pair"):
        pieces = step.get(side)
        if step.get("type") != "TemplateProcessing" or not isinstance(pieces, list) or not isinstance(tokens, dict):
            continue
        inner = [piece[kind]["id"] for piece in pieces for kind in _kinds(piece) if kind == "Sequence"]
        wanted = ["A"] if side == "single" else ["A", "B"]
        if sorted(map(str, inner)) != wanted:
            raise CheckpointError(f"{what}: post_processor.{side} must have {' and '.join(wanted)} once")
        specials = [piece[kind]["id"] for piece in pieces for kind in _kinds(piece) if kind == "SpecialToken"]
        lists = [
            tokens.get(name, {}).get("ids", ()) for name in map(str, specials) if isinstance(tokens.get(name), dict)
        ]
        if (ids := sum(len(each) for each in lists if isinstance(each, list))) > SPECIALS:
            raise CheckpointError(
                f"{what}: post_processor puts {ids:,} ids around a text, expected {SPECIALS:,} at most"
            )


def _kinds(piece: Any) -> list[str]:
    """What a piece of a template is; nothing for what the library refuses."""
    if not isinstance(piece, dict):
        return []
    return [kind for kind, value in piece.items() if isinstance(value, dict) and "id" in value]


def _replacements(step: Table) -> list[str]:
    """The texts in a table of replaced characters; none for what is no such table."""
    try:
        data = base64.b64decode(_text(step, "precompiled_charsmap"), validate=True)
        [size] = struct.unpack_from("<I", data)
    except (ValueError, struct.error):
        return []
    return [] if size % 4 or size + 4 > len(data) else data[4 + size :].decode("utf-8", "replace").split("\0")


def _steps(part: Any, inner: str, depth: int = 0) -> list[Table]:
    """The steps of a part of the rules, those of sequences one after the other; nothing for what is no step."""
    if not isinstance(part, dict) or depth > DEPTH:  # which the library refuses
        return []
    steps = part.get(inner)
    if part.get("type") != "Sequence" or not isinstance(steps, list):
        return [part]
    return [step for each in steps for step in _steps(each, inner, depth + 1)]


def _named(step: Table) -> str:
    """The characters that a step names."""
    return "".join(
        (_pattern(step).get("String", ""), *(_text(step, key) for key in ("content", "prepend", "replacement")))
    )


def _pattern(step: Table) -> Mapping[str, str]:
    pattern = step.get("pattern")
    return {key: str(value) for key, value in pattern.items()} if isinstance(pattern, dict) else {}


def _text(step: Table, key: str) -> str:
    value = step.get(key)
    return value if isinstance(value, str) else ""
