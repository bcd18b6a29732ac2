"""What goes wrong in a tokenizer's library, as one line each: text that is no Unicode, faults and panics of rules."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from formers.errors import CheckpointError, DataError, shown

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


@contextmanager
def reading(texts: Texts, what: str = "the tokenizer") -> Iterator[None]:
    """Around every call that gives texts to a library: its faults become a DataError or a CheckpointError.

    Costs nothing where nothing goes wrong.
    """
    try:
        yield
    except BaseException as fault:
        if isinstance(fault, TypeError | ValueError):  # of which UnicodeEncodeError is one
            check_unicode(texts)
        if of_library(fault):
            raise CheckpointError(f"{what} cannot read {shown(texts)}: {fault!s:.200}") from None
        raise


def of_library(fault: BaseException) -> bool:
    """Whether it is a fault of the tokenizers library: a bare Exception, or a panic, which is none at all."""
    return type(fault) is Exception or type(fault).__module__ == "pyo3_runtime"


@contextmanager
def ignoring_unknown() -> Iterator[None]:
    """Around a trial text, which may have a word without a piece in a vocabulary without a token for that."""
    try:
        yield
    except BaseException as fault:
        if type(fault) is not Exception or "unk" not in str(fault).lower():
            raise


@contextmanager
def opening(what: str) -> Iterator[None]:
    """Around the making of a library's rules, and the first trial of them. Raises CheckpointError."""
    try:
        with _without_panics():
            yield
    except BaseException as fault:
        if of_library(fault) or isinstance(fault, ValueError | TypeError | OverflowError):
            raise CheckpointError(f"{what} is not a tokenizer ({fault!s:.200}); get the file again") from None
        raise


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
