"""Text as it comes, token by token: no character in halves, no part of a stop string shown."""

from __future__ import annotations

from collections.abc import Sequence

from formers.decoding.decodable import Decodes
from formers.errors import ConfigError

CONTEXT = 8  # tokens of the prompt that are decoded along: whether a text begins with a space depends on them
BROKEN = "\ufffd"  # how a decoder shows bytes that are no character, or not yet one
LONGEST = 8  # tokens that may wait for a character to be complete; it has four bytes
ENDING = 3  # of these, tokens that may still belong to an unfinished one


class TextStream:
    """The text of the tokens that `add` is given, a piece as soon as it is certain.

    The pieces joined are what `tokenizer.decode` gives for all tokens after `before` (special tokens are left out),
    up to the first stop string. Of several stop strings the one that is complete first counts, whatever the tokens.
    beginning: text of tokens in `before` that belongs to this one; stop strings in it do not count.
    """

    def __init__(
        self, tokenizer: Decodes, before: Sequence[int] = (), stop: Sequence[str] = (), beginning: str = ""
    ) -> None:
        if not all(stop):
            raise ConfigError('a stop string is empty, expected text such as "\\n"')
        self.tokenizer, self.stop = tokenizer, tuple(stop)
        count = CONTEXT
        while count < CONTEXT + LONGEST and BROKEN in tokenizer.decode(before[-count:]):
            count += 1  # it begins within a character, which would spoil all bytes after it
        self.window = list(before[-count:])  # tokens: those told already that matter to the next, then the others
        self.told = len(self.window)
        self.shown = len(tokenizer.decode(self.window)) if self.window else 0
        self.held = ""  # may be the beginning of a stop string
        self.text = beginning
        """All pieces so far."""
        self.stopped: str | None = None
        """The stop string that was met."""

    def add(self, token: int) -> str:
        """The text that is certain now and was not before; may be empty."""
        self.window.append(token)
        text = self.tokenizer.decode(self.window)
        if not text.endswith(BROKEN):
            return self.tell(text, len(self.window))
        if len(self.window) - self.told > LONGEST:  # no character is that long: these bytes are none
            return self.tell(self.tokenizer.decode(self.window[:-ENDING]), len(self.window) - ENDING)
        return ""

    def hold(self, tokens: Sequence[int]) -> None:
        """Many tokens at once, whose text `end` gives."""
        self.window += tokens

    def end(self) -> str:
        """What was held back, when no more tokens come."""
        if self.stopped is not None:
            return ""
        piece = self.tell(self.tokenizer.decode(self.window), len(self.window))
        rest, self.held = ("", "") if self.stopped is not None else (self.held, "")
        self.text += rest
        return piece + rest

    def tell(self, text: str, count: int) -> str:
        """Take the first `count` tokens of the window, which read `text`, as certain."""
        fresh = text[self.shown :]
        if fresh:  # otherwise the old ones still matter: a special token says nothing of the next one's space
            self.window = self.window[self.told :]
            count -= self.told
            text = self.tokenizer.decode(self.window[:count])
        self.told, self.shown = count, len(text)
        return self.free(fresh)

    def free(self, fresh: str) -> str:
        """As much of the held text and `fresh` as cannot belong to a stop string."""
        said = self.held + fresh
        met = min(((at + len(each), at, each) for each in self.stop if (at := said.find(each)) >= 0), default=None)
        if met is not None:
            _, at, self.stopped = met
            piece, self.held = said[:at], ""
        else:
            kept = max((common_end(said, each) for each in self.stop), default=0)
            piece, self.held = said[: len(said) - kept], said[len(said) - kept :]
        self.text += piece
        return piece


def common_end(text: str, stop: str) -> int:
    """How many characters at the end of `text` begin `stop`."""
    for count in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:count]):
            return count
    return 0
