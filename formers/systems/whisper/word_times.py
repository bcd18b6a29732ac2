"""When each word is said: cross-attention that follows the sound, warped in time, and what is done to its faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor

from formers.blocks.attention import recording
from formers.decoding.alignment import token_starts
from formers.models.whisper import Whisper
from formers.systems.transcripts import Segment, Word
from formers.text.speech_tokens import AHEAD, BEHIND, SpeechTokens

POSITION = 0.02  # seconds
ENDS = ".。!！?？"
LONGEST = 0.7  # seconds of a usual word, at most
EARLY = 0.5  # seconds by which a word may leave the times that the model gave its segment


@dataclass(frozen=True)
class Aligner:
    """Words and their times in a window."""

    model: Whisper
    tokens: SpeechTokens
    heads: Sequence[tuple[int, int]]
    """(layer, head) of cross-attention that follows the sound; none: all heads of the upper half of the layers."""

    def weights(self, memory: Tensor, opening: Sequence[int], text: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(heads, tokens, positions) while this text is read in a window (1, positions, dim), its end too; and the
        probability of each token of the text.
        """
        row = torch.tensor([[*opening, *text, self.tokens.end]], device=memory.device)
        blocks = self.model.decoder.blocks
        with torch.no_grad(), recording() as maps:
            logits = self.model.logits(self.model.decode(row, memory))[0].float()
        layers = [maps.of(block.cross_attention)[0] for block in blocks]  # type: ignore[arg-type]
        heads = self.heads or [(i, j) for i in range(len(layers) // 2, len(layers)) for j in range(len(layers[i]))]
        told = logits[len(opening) - 1 : -2, : self.tokens.end].softmax(-1)
        probabilities = told.gather(1, torch.tensor(text, device=told.device)[:, None])[:, 0]
        return torch.stack([layers[layer][head] for layer, head in heads]).float().cpu(), probabilities.cpu()

    def words(
        self, memory: Tensor, opening: Sequence[int], text: Sequence[int], language: str, positions: int
    ) -> list[Word]:
        """The words of a window's text, in seconds from its beginning; positions: those of sound, not of silence."""
        if not text:
            return []
        opening = [*opening] if self.tokens.no_timestamps in opening else [*opening, self.tokens.no_timestamps]
        weights, probabilities = self.weights(memory, opening, text)
        # the end of the text has a row too: what comes before it ends there
        starts = token_starts(weights[:, :, : max(2, positions)], len(opening) - 1)
        words, at = [], 0
        for tokens in self.tokens.words(text, language):
            end = at + len(tokens)
            confidence = float(probabilities[at:end].mean())
            begins, ends = POSITION * float(starts[at]), POSITION * float(starts[end])
            words.append(Word(self.tokens.decode(tokens), begins, ends, confidence))
            at = end
        return words


def usual_length(words: Sequence[Word]) -> float:
    """Seconds of a usual word; twice that is the longest that is believed at a pause."""
    return min(LONGEST, median([word.end - word.start for word in words if word.end > word.start] or [0.0]))


def believable(words: Sequence[Word]) -> list[Word]:
    """The words with those shortened that lie over a pause: the first, the last, those around the end of a sentence."""
    most = 2 * usual_length(words)
    done: list[Word] = []
    for i, word in enumerate(words):
        if word.end - word.start > most:
            if i and (word.text.strip() in ENDS or i == len(words) - 1):
                word = replace(word, end=word.start + most)
            elif not i or words[i - 1].text.strip()[-1:] in ENDS:
                word = replace(word, start=word.end - most)
        done.append(word)
    return done


def joined(words: Sequence[Word]) -> list[Word]:
    """The words with punctuation that stands alone written to the word that it belongs to."""
    done: list[Word] = []
    for word in reversed(words):  # what belongs to the word behind it
        alone = word.text.startswith(" ") and word.text.strip() in AHEAD and word.text.strip()
        if done and alone:
            done[-1] = replace(done[-1], text=word.text + done[-1].text)
        else:
            done.append(word)
    together: list[Word] = []
    for word in reversed(done):
        if together and word.text and not together[-1].text.endswith(" ") and word.text in BEHIND:
            together[-1] = replace(together[-1], text=together[-1].text + word.text)
        else:
            together.append(word)
    return together


def without_pauses(words: Sequence[Word], pauses: Sequence[tuple[float, float]]) -> list[Word]:
    """The words cut where they reach into a pause, or over one: the longer part of them stays; pauses: in seconds."""
    done = []
    for word in words:
        for begin, end in pauses:
            before, behind = begin - word.start, word.end - end
            if word.start < end and begin < word.end and max(before, behind) > 0:
                word = replace(word, end=min(word.end, begin)) if before >= behind else replace(word, start=end)
        done.append(word)
    return done


def at_ends(words: Sequence[Word], segment: Segment, usual: float, before: float) -> list[Word]:
    """The words of a segment with those at its ends shortened that reach beyond it; before: when speech ended last.

    Source: OpenAI's rules.
    """
    first, *rest = words
    longest = 2 * usual
    if first.end - before > 2 * longest and (rest[0].end if rest else first.end) - first.start > longest * len(
        words[:2]
    ):
        if rest and rest[0].end - rest[0].start > longest:
            cut = max((first.start + rest[0].end) / 2, rest[0].end - longest)
            first, rest[0] = replace(first, end=cut), replace(rest[0], start=cut)
        first = replace(first, start=max(first.start, first.end - longest))
    if first.start + EARLY < segment.start < first.end:
        first = replace(first, start=min(first.end - usual, segment.start))
    *rest, last = first, *rest
    if last.start < segment.end < last.end - EARLY:
        last = replace(last, end=max(last.start + usual, segment.end))
    return [*rest, last]


def with_words(
    segments: Sequence[Segment], words: Sequence[Word], counts: Sequence[int], before: float = 0.0
) -> list[Segment]:
    """The segments with their words, whose times are then theirs; counts: how many characters of text each has.

    before: seconds at which speech ended last.
    """
    done, rest, usual = [], list(words), usual_length(words)
    for segment, count in zip(segments, counts, strict=True):
        own: list[Word] = []
        while rest and count > 0:
            own.append(rest.pop(0))
            count -= len(own[-1].text)
        if own:
            own = at_ends(own, segment, usual, before)
            segment = replace(segment, start=own[0].start, end=own[-1].end, words=own)
            before = segment.end
        done.append(segment)
    return done
