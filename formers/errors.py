"""What can be wrong with a user's input: every class here is one clear line, printed by the CLI with exit code 2."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Iterable, Mapping, Sequence

MOST = 100  # characters of a value that a message shows
NEAR = 0.75  # of difflib's likeness: "trian" is 0.8 like "train", "table" 0.6 like "label"
LONGEST = 400  # characters of a word of it


class FormersError(Exception):
    """A fault in what the user gave: says what, where, what was got, what was expected and how to fix it.

    One line, whatever the values in it hold; a word that no path or name is as long as is cut.
    """

    def __str__(self) -> str:
        return " ".join(shortened(word, LONGEST) for word in one_line(super().__str__()).split(" "))


class ConfigError(FormersError):
    """A number, name or recipe key that cannot be used."""


class DataError(FormersError):
    """A data file or a row of it that cannot be used."""


class TextsError(DataError):
    """Texts among several that cannot be used: place, counted from 0, -> why."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        self.reasons = dict(sorted(reasons.items()))
        place, reason = next(iter(self.reasons.items()))
        super().__init__(f"text {place + 1}: {reason}")

    def among(self, places: Sequence[int]) -> TextsError:
        """The same where the texts were a part of others, at these places."""
        return TextsError({places[place]: reason for place, reason in reversed(self.reasons.items())})


class PackageError(FormersError):
    """A package that is needed and not installed; no DataError, since no row or file is at fault and left out."""


class CheckpointError(FormersError):
    """A model folder, weight file or tokenizer that cannot be used."""


class TrainingError(FormersError):
    """A training that cannot start or go on."""


class PeerFault(FormersError):
    """What process 0 of several tells the user, raised in another one, which has nothing more to say."""


def one_line(text: str) -> str:
    """A text with its lines joined, and with what a terminal would obey, or could not show, written as escapes."""
    joined = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in joined)


def shown(value: object) -> str:
    """A value as a message shows it: as Python writes it, cut at 100 characters."""
    return shortened(repr(value), MOST)


def on_a_line(text: str) -> str:
    """A text with every white space in it as one space."""
    return " ".join(text.split())


def shortened(text: str, most: int) -> str:
    """A text as it is, or cut so that it has `most` characters with the sign that it was."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def near(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is a slip of, whatever its case: very like it, one letter of three differs, or it
    begins like it.
    """
    names, name = {other.lower(): other for other in sorted(known, reverse=True)}, name[:MOST].lower()
    alike = difflib.get_close_matches(name, sorted(names), n=1, cutoff=NEAR)
    alike += [other for other in names if len(other) == len(name) > 2 and sum(map(str.__ne__, other, name)) == 1]
    long = [other for other in names if min(len(other), len(name)) > 3]
    alike += [other for other in long if other.startswith(name) or name.startswith(other)]
    return names[alike[0]] if alike else None


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean "steps"?` when a known name is near to `name`, else the list of known names."""
    known = sorted(known)
    close = near(name, known)
    return f'; did you mean "{close}"?' if close else f"; known: {', '.join(known)}"


def escaped(fault: UnicodeError) -> tuple[str, int]:
    """What a terminal or pipe cannot show, as JSON escapes it: lines of JSON stay what they are."""
    assert isinstance(fault, UnicodeEncodeError)
    units = fault.object[fault.start : fault.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)), fault.end


codecs.register_error("formers.escaped", escaped)
