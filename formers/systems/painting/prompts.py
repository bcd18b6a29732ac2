"""Prompts as a text tower reads them: weights of words, more tokens than it has places for, words learned later.

    a (red:1.3) circle, [small]  ->  "a " 1, "red" 1.3, " circle, " 1, "small" 1 / 1.1  ->  tokens  ->  states

What is particular:
  * Weights are those of the common web interface (AUTOMATIC1111): the states of a chunk are multiplied by the weights
    of their tokens, then by one number that gives the chunk the mean it had.
  * A prompt of more tokens than fit is cut, which is said, or read in chunks, each with a beginning and an end of its
    own, whose states stand behind each other. Of several texts all have as many chunks as the longest, empty ones.
  * Padding is read like any token, as the published models were trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from formers.errors import ConfigError, shown
from formers.models.clip import TextTower
from formers.notes import note
from formers.text.tokenizer import Tokenizer

STRONGER = 1.1  # what a pair of ( ) multiplies by, and [ ] divides by
MARKS = re.compile(r"\\([\\()\[\]])|([(\[])|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|([)\]])|([^\\()\[\]:]+|.)", re.S)


class Weighted(NamedTuple):
    """A piece of a prompt."""

    text: str
    weight: float


def weighted(prompt: str) -> list[Weighted]:
    r"""The pieces of a prompt with their weights: `(a)` 1.1, `((a))` 1.21, `[a]` 1 / 1.1, `(a:1.3)` 1.3, `\(` is a (.

    A bracket that is never closed reaches to the end; one that was never opened is a letter.
    """
    pieces: list[Weighted] = []
    open_at: dict[str, list[int]] = {"(": [], "[": []}

    def multiply(start: int, factor: float) -> None:
        pieces[start:] = [Weighted(text, weight * factor) for text, weight in pieces[start:]]

    for mark in MARKS.finditer(prompt):
        escaped, opens, weight, closes, _ = mark.groups()
        kind = {")": "(", "]": "["}.get(closes, "(")
        if opens:
            open_at[opens].append(len(pieces))
        elif (weight or closes) and open_at[kind]:
            factor = float(weight) if weight else STRONGER if kind == "(" else 1 / STRONGER
            multiply(open_at[kind].pop(), factor)
        else:
            pieces.append(Weighted(escaped or mark[0], 1.0))
    for kind, factor in (("(", STRONGER), ("[", 1 / STRONGER)):
        for start in open_at[kind]:
            multiply(start, factor)
    joined: list[Weighted] = []
    for piece in pieces:
        if joined and joined[-1].weight == piece.weight:
            joined[-1] = Weighted(joined[-1].text + piece.text, piece.weight)
        else:
            joined.append(piece)
    return joined


class PromptReader:
    """A text tower with its tokenizer, and words that were learned after it (textual inversion, Gal et al. 2022)."""

    def __init__(self, tower: TextTower, tokenizer: Tokenizer, learned: Mapping[str, Tensor] | None = None) -> None:
        """learned: word -> its vectors, (vectors, dim). Raises ConfigError for vectors of another tower's width."""
        self.tower, self.tokenizer = tower, tokenizer
        frame = tokenizer.encode([""])[0]
        self.before, self.end = frame[:-1], frame[-1]
        self.pad = tokenizer.pad or 0  # as `Reader` fills texts up
        self.own, width = tower.config.vocab, tower.config.stack.dim
        self.numbers: dict[
            str, list[int]
        ] = {}  # of a learned word in small letters: the numbers behind the tower's own
        rows: list[Tensor] = []
        for word, vectors in (learned or {}).items():
            if vectors.shape[-1] != width:
                what = f"the learned word {shown(word)} has vectors of {vectors.shape[-1]} numbers"
                raise ConfigError(f"{what}, but this model's text encoder reads {width}: it is for another model")
            start = self.own + len(rows)
            self.numbers[word.lower()] = list(range(start, start + len(vectors)))
            rows += list(vectors)
        self.rows = torch.stack(rows) if rows else torch.zeros(0, width)
        words = "|".join(map(re.escape, sorted(self.numbers, key=len, reverse=True)))
        self.words = re.compile(rf"(?<!\w)({words})(?!\w)", re.I) if words else None

    @property
    def room(self) -> int:
        """Tokens of a chunk, without its beginning and end: 75 of a tower of 77."""
        return self.tower.config.length - len(self.before) - 1

    def tokens(self, prompt: str) -> list[tuple[int, float]]:
        """The tokens of a prompt, and the weight of each."""
        return [(number, weight) for text, weight in weighted(prompt) for number in self.plain(text)]

    def plain(self, text: str) -> Iterator[int]:
        """The tokens of a text without marks, learned words among them."""
        for piece in [text] if self.words is None else self.words.split(text):
            yield from self.numbers.get(piece.lower()) or self.tokenizer.encode_plain([piece])[0]

    def text_of(self, numbers: Sequence[int]) -> str:
        """What tokens say, for the reader of a message."""
        names = {number: word for word, own in self.numbers.items() for number in own}
        words = [names.get(number) or self.tokenizer.decode([number]) for number in numbers]
        return " ".join(dict.fromkeys(words)) if self.numbers else self.tokenizer.decode(numbers)

    def chunks(self, prompt: str, *, several: bool) -> list[list[tuple[int, float]]]:
        """The tokens of each chunk; without `several` one, and what is cut is said."""
        tokens, room = self.tokens(prompt), self.room
        if len(tokens) > room and not several:
            cut = self.text_of([number for number, _ in tokens[room:]])
            what = f"the prompt {shown(prompt)} has {len(tokens)} tokens, of which {room} are read"
            note(f"{what}; cut: {shown(cut)} (--chunks reads all)")
            tokens = tokens[:room]
        return [tokens[start : start + room] for start in range(0, max(1, len(tokens)), room)]

    @torch.no_grad()
    def states(self, prompts: Sequence[str], *, chunks: bool = False) -> Float[Tensor, "prompts keys dim"]:
        """The states of prompts; chunks: of all their tokens, with as many chunks of each as the longest has."""
        rows = [self.chunks(prompt, several=chunks) for prompt in prompts]
        most = max(map(len, rows))
        return torch.stack([torch.cat([self.chunk(part) for part in (row + [[]] * most)[:most]]) for row in rows])

    def chunk(self, part: Sequence[tuple[int, float]]) -> Float[Tensor, "keys dim"]:
        """The states of one chunk, whatever else is read with it: alone, so that a batch changes nothing."""
        length = self.tower.config.length
        numbers = [*self.before, *(number for number, _ in part), self.end]
        numbers += [self.pad] * (length - len(numbers))
        states = self.hidden(torch.tensor(numbers, device=self.tower.embedding.weight.device))
        weights = states.new_ones(length)
        weights[len(self.before) :][: len(part)] = states.new_tensor([weight for _, weight in part])
        if bool((weights == 1).all()):
            return states
        heavier = states * weights[:, None]
        return heavier * (states.mean() / heavier.mean())

    def hidden(self, numbers: Tensor) -> Float[Tensor, "keys dim"]:
        """What the tower says of a row of tokens, of which some are learned words."""
        if not len(self.rows):
            return self.tower.hidden(numbers[None])[0].float()
        different, places = numbers.unique(return_inverse=True)
        own = self.tower.embedding(different.clamp(max=self.own - 1))
        learned = self.rows.to(own)[(different - self.own).clamp(min=0)]
        vectors = torch.where((different < self.own)[:, None], own, learned)
        return self.tower.hidden(places[None], table=nn.Embedding.from_pretrained(vectors))[0].float()


def prompted(
    reader: PromptReader, prompts: Sequence[str], negatives: Sequence[str], *, chunks: bool = False
) -> tuple[Float[Tensor, "prompts keys dim"], Float[Tensor, "prompts keys dim"]]:
    """The states of prompts and of what they should not be, equally long; one negative stands for all prompts."""
    negatives = list(negatives) * (len(prompts) if len(negatives) == 1 else 1)
    states = reader.states([*prompts, *negatives], chunks=chunks)
    return states[: len(prompts)], states[len(prompts) :]
