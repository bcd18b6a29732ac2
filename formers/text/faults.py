"""What goes wrong in a tokenizer's library, as one line each: text that is no Unicode, faults and panics of rules."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from formers.errors import CheckpointError, DataError, FormersError, shown

Texts = str | Iterable["Texts"]
HALF = re.compile("[\ud800-\udfff]")


def check_unicode(texts: Texts) -> None:
    """Raises DataError for a text with half of a character in it, which bytes of another encoding become."""
    if not isinstance(texts, str):
        for text in texts:
            check_unicode(text)
    elif half := HALF.search(texts):
        number = ord(half[0])
        byte = f"the byte 0x{number - 0xDC00:02x}, which is not UTF-8" if 0xDC80 <= number <= 0xDCFF else ascii(half[0])
        what = f"the text {shown(texts)} is not Unicode: character {half.start() + 1} is {byte}"
        raise DataError(f"{what}; give the text in UTF-8")


@dataclass(frozen=True)
class LibraryFaults:
    """A block in which a library's faults become ours; where nothing goes wrong it costs nothing."""

    ours: Callable[[BaseException], FormersError | None]
    """What a fault becomes; None: it stays itself."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        if fault is not None and (ours := self.ours(fault)) is not None:
            raise ours from None


def reading(texts: Texts, what: str = "the tokenizer") -> LibraryFaults:
    """Around every call that gives texts to a library: its faults become a DataError or a CheckpointError.

    What the library prints of a panic stays on standard error: its hook is out of Python's reach, and to lead the
    process's standard error elsewhere (`opening`) would take with it what other threads say, in every call.
    """

    def ours(fault: BaseException) -> FormersError | None:
        if isinstance(fault, TypeError | ValueError | RuntimeError):  # what the libraries say of half characters
            check_unicode(texts)
        return CheckpointError(f"{what} cannot read {shown(texts)}: {fault!s:.200}") if of_library(fault) else None

    return LibraryFaults(ours)


def of_library(fault: BaseException) -> bool:
    """Whether it is a fault of the tokenizers library: a bare Exception, or a panic, which is none at all."""
    return type(fault) is Exception or type(fault).__module__ == "pyo3_runtime"


def lacks_unknown(kind: object, fault: BaseException | None, trace: object) -> bool:
    """Whether a text had a word without a piece, in a vocabulary without a token for that."""
    return type(fault) is Exception and "unk" in str(fault).lower()


@contextmanager
def opening(what: str) -> Iterator[None]:
    """Around the making of a library's rules, and the first trial of them. Raises CheckpointError."""

    def ours(fault: BaseException) -> FormersError | None:
        known = of_library(fault) or isinstance(fault, ValueError | TypeError | OverflowError)
        return CheckpointError(f"{what} is not a tokenizer ({fault!s:.200}); get the file again") if known else None

    with LibraryFaults(ours), _without_panics():
        yield


@contextmanager
def _without_panics() -> Iterator[None]:
    """Standard error without what the library prints of a panic, which is several lines of its own source."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile())
            kept = os.dup(2)
        except OSError:  # no place for the file, or no standard error: then there is nothing to hold back
            yield
            return
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            if (printed := file.read()) and b"panicked at" not in printed:
                os.write(2, printed)
