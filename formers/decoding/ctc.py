"""Tokens out of frames by connectionist temporal classification (Graves et al. 2006), and where in time they are.

log-probabilities (frames, vocab) -> greedy | beam (+ language model, hot words) -> tokens -> align -> spans -> words

A frame says a token or the blank; equal neighbours are one token, then blanks go. What is particular:
  * A text is as likely as all its alignments together: the beam adds them up, greedy takes the best one.
  * A token that follows an equal one needs a blank between them: `frames_needed`.
  * A language model of any tokenizer helps: it is asked for whole words, once each of them is complete.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from typing import Annotated, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from formers.errors import DataError
from formers.fields import Between, Natural, check

IMPOSSIBLE = -1e9  # a log-probability that is finite, so that a path through it is still told from none
CONTEXT = 64  # words that a language model reads before the next
MEMORY = 1 << 16  # words whose scores are remembered
Best = tuple[NDArray[np.float64], NDArray[np.float64]]  # the best alignment that is in each blank, in each token


class WordScores(Protocol):
    """A language model: the log-probability of each word after the text before it ("" at the beginning)."""

    def __call__(self, words: Sequence[tuple[str, str]]) -> Sequence[float]:
        """words: (text before, word)."""


@dataclass(frozen=True, kw_only=True)
class PrefixBeam:
    """How texts are searched for: those kept at every frame, and what besides the frames makes one better."""

    width: Natural = 16
    """Texts that are kept at every frame."""
    nbest: Natural = 1
    """Texts that are given back, best first."""
    language_weight: Annotated[float, Between(0)] = 0.5
    """How much a log-probability of the language model counts beside one of the frames."""
    word_bonus: float = 0.5
    """Added for every word where there is a language model, which alone would like texts to be short."""
    hot_words: tuple[str, ...] = ()
    """Words and phrases to expect, such as names; the case does not matter."""
    hot_bonus: float = 5.0
    """Added for every hot word or phrase."""
    least: float = -10.0
    """Tokens less likely than this (natural logarithm), and texts so much worse than the best, are not looked at."""
    most: Natural = 40
    """Most tokens that are looked at in a frame."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class CtcHypothesis:
    """A text as tokens: the log-probability of all its alignments, and what it is ranked by."""

    tokens: list[int]
    total: float
    score: float


@dataclass(frozen=True)
class TokenSpan:
    """The frames [start, end) in which a token is said, and its probability in the surest of them."""

    token: int
    start: int
    end: int
    confidence: float


@dataclass(frozen=True)
class WordSpan:
    """The frames [start, end) of a word, and the product of its tokens' confidences."""

    text: str
    start: int
    end: int
    confidence: float


def greedy(log_probs: Float[Tensor, "rows frames vocab"], blank: int, lengths: Tensor | None = None) -> list[list[int]]:
    """The tokens of the likeliest alignment of every row; lengths: how many of its frames are real."""
    best = log_probs.argmax(-1)
    tokens = best != blank
    tokens[:, 1:] &= best[:, 1:] != best[:, :-1]
    if lengths is not None:
        tokens &= torch.arange(best.shape[1], device=best.device) < lengths.to(best.device)[:, None]
    return [row[real].tolist() for row, real in zip(best, tokens, strict=True)]


def log_likelihood(log_probs: Float[Tensor, "frames vocab"], tokens: Sequence[int], blank: int) -> float:
    """The log-probability of a text: of all its alignments together; -inf where there is none."""
    return -float(_ctc(log_probs.float().cpu(), tokens, blank))


def _ctc(log_probs: Tensor, tokens: Sequence[int], blank: int) -> Tensor:
    targets, lengths = torch.tensor([[*tokens]], dtype=torch.long), torch.tensor([len(tokens)])
    return F.ctc_loss(log_probs[:, None], targets, torch.tensor([len(log_probs)]), lengths, blank, reduction="sum")


def frames_needed(tokens: Sequence[int] | Sequence[str] | NDArray[np.int32]) -> int:
    """The fewest frames that can say these tokens, or characters: one each, and a blank between equal neighbours."""
    row = np.asarray(tokens)
    return len(row) + int((row[1:] == row[:-1]).sum())


# ---- a given text ------------------------------------------------------------------------------------------------


def align(log_probs: Float[Tensor, "frames vocab"], tokens: Sequence[int], blank: int) -> list[TokenSpan]:
    """When each token of a given text is said: the likeliest of its alignments (Viterbi).

    Memory grows with the square root of the frames. Raises DataError for more tokens than these frames can say.
    """
    frames, needed = len(log_probs), frames_needed(tokens)
    if needed > frames:
        repeated = f" ({needed - len(tokens)} of them need a blank before them)" if needed > len(tokens) else ""
        raise DataError(
            f"a text of {len(tokens):,} tokens{repeated} needs {needed:,} frames, but the sound has {frames:,}; give "
            "the text of this sound, or the whole sound"
        )
    if not tokens:
        return []
    path = _viterbi(log_probs.detach().float().cpu().numpy(), np.asarray(tokens), blank)
    inside = np.flatnonzero(path % 2)
    labels = path[inside] // 2
    starts = inside[np.searchsorted(labels, np.arange(len(tokens)))]
    ends = inside[np.searchsorted(labels, np.arange(len(tokens)), side="right") - 1] + 1
    said = log_probs[torch.from_numpy(inside).to(log_probs.device), torch.tensor(tokens)[labels].to(log_probs.device)]
    surest = np.maximum.reduceat(said.detach().float().cpu().numpy(), np.searchsorted(labels, np.arange(len(tokens))))
    rows = zip(tokens, starts.tolist(), ends.tolist(), np.exp(surest).tolist(), strict=True)
    return [TokenSpan(*row) for row in rows]


def occupancy(
    log_probs: Float[Tensor, "frames vocab"], tokens: Sequence[int], blank: int
) -> Float[Tensor, "tokens frames"]:
    """How likely each token of a given text is being said in each frame, over all alignments of it.

    It is the gradient of the likelihood. Equal neighbours count as different, so no blank is asked for between them.
    """
    places = torch.cat([log_probs[:, [blank]], log_probs[:, list(tokens)]], 1).detach().float().cpu()
    places.requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(_ctc(places, range(1, len(tokens) + 1), 0), places)
    return (places.detach().exp() - slope)[:, 1:].T.clamp(min=0)  # PyTorch gives that of what softmax reads


def _viterbi(log_probs: NDArray[np.float32], tokens: NDArray[np.int64], blank: int) -> NDArray[np.int64]:
    """The state at every frame: 2 i + 1 in token i, 2 i in the blank before it.

    What is best is kept at the beginning of every block of frames; on the way back, a block is computed again for the
    states that may have led to where the path is.
    """
    frames, block, count = len(log_probs), max(1, math.isqrt(len(log_probs))), len(tokens)
    skips = np.full(count, -math.inf)  # added where the blank before a token may be left out
    skips[1:][tokens[1:] != tokens[:-1]] = 0.0

    def steps(start: int, best: Best, low: int, high: int) -> list[Best]:
        """What is best at `start` and the frames after it up to the end of the block, for tokens low to high."""
        said = np.maximum(log_probs[start + 1 : start + block + 1], IMPOSSIBLE)
        made = [best]
        for silence, row in zip(said[:, blank], said[:, tokens[low:high]], strict=True):
            blanks, spoken = best
            after = np.maximum(blanks[:-1], spoken)
            np.maximum(after[1:], spoken[:-1] + skips[low + 1 : high], out=after[1:])
            after += row
            silent = blanks + silence
            np.maximum(silent[1:], spoken + silence, out=silent[1:])
            best = silent, after
            made.append(best)
        return made

    best = np.full(count + 1, -math.inf), np.full(count, -math.inf)
    best[0][0], best[1][0] = np.maximum(log_probs[0, [blank, tokens[0]]], IMPOSSIBLE)
    starts, kept = range(0, frames - 1, block), []
    for start in starts:
        kept.append(best)
        best = steps(start, best, 0, count)[-1]
    state = 2 * count - int(best[1][-1] > best[0][-1])
    path = np.full(frames, state)
    for start, (blanks, spoken) in zip(reversed(starts), reversed(kept), strict=True):
        low, high = max(0, state // 2 - block - 2), min(count, state // 2 + 1)
        rows = steps(start, (blanks[low : high + 1], spoken[low:high]), low, high)[:-1]
        for frame, (blanks, spoken) in zip(range(start + len(rows) - 1, start - 1, -1), reversed(rows), strict=True):
            at, token = state // 2 - low, state % 2
            ways = [(spoken[at] if token else blanks[at], 0)]
            if token or at:
                ways.append((blanks[at] if token else spoken[at - 1], 1))
            if token and at:
                ways.append((spoken[at - 1] + skips[low + at], 2))
            state -= max(ways, key=lambda way: way[0])[1]
            path[frame] = state
    return path


def words_of(spans: Sequence[TokenSpan], pieces: Sequence[str]) -> list[WordSpan]:
    """The words of a text and their frames; pieces: what each token of the vocabulary writes, white space included."""
    words: list[WordSpan] = []
    ended = True
    for span in spans:
        for place, part in enumerate(pieces[span.token].split(" ")):
            ended |= place > 0
            if part and ended:
                words.append(WordSpan(part, span.start, span.end, span.confidence))
            elif part:
                last = words[-1]
                confidence = last.confidence * span.confidence
                words[-1] = replace(last, text=last.text + part, end=span.end, confidence=confidence)
            ended &= not part
    return words


# ---- a text to be found ------------------------------------------------------------------------------------------


def beam(
    log_probs: Float[Tensor, "frames vocab"],
    pieces: Sequence[str],
    blank: int,
    options: PrefixBeam = PrefixBeam(),
    language: WordScores | None = None,
) -> list[CtcHypothesis]:
    """The best texts of these frames, best first (prefix beam search; Hannun et al. 2014).

    score = log P(text | frames) + language_weight * log P(words) + word_bonus * words + hot_bonus * hot words.
    pieces: as in `words_of`.
    """
    hot = tuple(dict.fromkeys(" ".join(phrase.casefold().split()) for phrase in options.hot_words))
    worth = _Worth(options, tuple(filter(None, hot)), language)
    alive = [_Prefix(blank=0.0)]
    log_probs = log_probs.detach().float().cpu()
    likely = log_probs.topk(min(options.most, log_probs.shape[1]))
    for frame, values, tokens in zip(log_probs.numpy(), likely.values.tolist(), likely.indices.tolist(), strict=True):
        more = [(t, value) for t, value in zip(tokens, values, strict=True) if t != blank and value > options.least]
        floor = max(prefix.total + prefix.worth + prefix.hope for prefix in alive) + values[0] + options.least
        after = _after(alive, frame, more, floor, blank, pieces, worth)
        alive = nlargest(options.width, after, key=lambda prefix: prefix.total + prefix.worth + prefix.hope)
    for prefix in alive:
        worth.end(prefix)
    best = sorted(alive, key=lambda prefix: -(prefix.total + prefix.worth))[: options.nbest]
    return [CtcHypothesis(prefix.tokens(), prefix.total, prefix.total + prefix.worth) for prefix in best]


@dataclass(slots=True)
class _Prefix:
    """A text so far: the log-probability of its alignments that end in a blank and of those that end in its token."""

    blank: float = -math.inf
    own: float = -math.inf
    before: _Prefix | None = None
    token: int = -1
    key: int = 0
    """Of its tokens: the same text is the same prefix, however it was reached."""
    text: str = ""
    """Its last complete words."""
    word: str = ""
    """What stands behind them."""
    worth: float = 0.0
    """What the words, and hot words, are worth."""
    hope: float = 0.0
    """The share of a hot word's bonus that its beginning gets, until it is clear what it becomes."""
    hot: tuple[tuple[str, int], ...] = ()
    """Hot words that it may be in, and how many of their letters it has."""

    @property
    def total(self) -> float:
        return _either(self.blank, self.own)

    def longer(self, token: int, key: int) -> _Prefix:
        """With one more token, which no alignment has said yet."""
        inf = math.inf
        return _Prefix(-inf, -inf, self, token, key, self.text, self.word, self.worth, self.hope, self.hot)

    def tokens(self) -> list[int]:
        """All of it."""
        tokens, prefix = [], self
        while prefix.before is not None:
            tokens.append(prefix.token)
            prefix = prefix.before
        return tokens[::-1]


def _after(
    alive: Sequence[_Prefix],
    frame: NDArray[np.float32],
    more: Sequence[tuple[int, float]],
    floor: float,
    blank: int,
    pieces: Sequence[str],
    worth: _Worth,
) -> list[_Prefix]:
    """All texts after one more frame; more: tokens that may follow, the likeliest first; floor: the least rank."""
    after = {prefix.key: prefix for prefix in alive}
    before = [(prefix, prefix.blank, prefix.total) for prefix in alive]
    for prefix, _, total in before:
        prefix.blank = total + float(frame[blank])
        prefix.own += float(frame[prefix.token])  # of the empty text it is and stays -inf
    new = []
    for prefix, ended, total in before:
        for token, value in more:
            if total + value + prefix.worth + prefix.hope < floor:
                break  # the others are less likely still
            reached = (ended if token == prefix.token else total) + value
            if reached == -math.inf:  # an equal token with no blank before it
                continue
            key = hash((prefix.key, token))
            longer = after.get(key)
            if longer is None:
                longer = after[key] = prefix.longer(token, key)
                new.append(longer)
            longer.own = _either(longer.own, reached)
    worth.extended(new, pieces)
    return list(after.values())


class _Worth:
    """What texts are worth besides their frames: words of a language model, hot words."""

    def __init__(self, options: PrefixBeam, hot: tuple[str, ...], language: WordScores | None) -> None:
        self.options, self.hot, self.language = options, hot, language
        self.known: dict[tuple[str, str], float] = {}

    def extended(self, prefixes: Sequence[_Prefix], pieces: Sequence[str]) -> None:
        """After each got its last token."""
        if self.language is None and not self.hot:
            return
        ended = list[tuple[_Prefix, str, str]]()
        for prefix in prefixes:
            for letter in pieces[prefix.token]:
                self.hotter(prefix, letter)
                if letter != " ":
                    prefix.word += letter
                elif prefix.word:
                    ended.append((prefix, prefix.text, prefix.word))
                    prefix.text = " ".join([*prefix.text.split(" ")[1 - CONTEXT :], prefix.word]).lstrip()
                    prefix.word = ""
        self.score(ended)

    def end(self, prefix: _Prefix) -> None:
        """The text ends here, and so does its last word."""
        self.hotter(prefix, " ")
        if prefix.word:
            self.score([(prefix, prefix.text, prefix.word)])

    def score(self, ended: Sequence[tuple[_Prefix, str, str]]) -> None:
        """Add what the language model says of words that are complete."""
        if self.language is None:
            return
        if len(self.known) > MEMORY:
            self.known.clear()
        wanted = dict.fromkeys((text, word) for _, text, word in ended if (text, word) not in self.known)
        self.known |= zip(wanted, self.language(list(wanted)) if wanted else (), strict=True)
        for prefix, text, word in ended:
            prefix.worth += self.options.language_weight * self.known[text, word] + self.options.word_bonus

    def hotter(self, prefix: _Prefix, letter: str) -> None:
        """After one more letter: hot words begun, gone on with, complete, or missed."""
        if not self.hot or (letter == " " and not prefix.word):
            return
        if letter == " ":
            prefix.worth += self.options.hot_bonus * sum(count == len(phrase) for phrase, count in prefix.hot)
        begun = prefix.hot if prefix.word else (*prefix.hot, *((phrase, 0) for phrase in self.hot))
        going = [
            (phrase, count + len(folded))
            for phrase, count in begun
            if (folded := letter.casefold()) and phrase.startswith(folded, count)
        ]
        prefix.hot = tuple(going)
        prefix.hope = self.options.hot_bonus * max((count / len(phrase) for phrase, count in going), default=0.0)


def _either(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
