"""Speech: what is said in recordings of any length, and when, by the letters of a Conformer's frames.

samples -> extractor -> Conformer -> log-probabilities of frames -> pauses -> greedy | beam -> align -> words, segments
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from formers.decoding.ctc import (
    CtcHypothesis,
    PrefixBeam,
    TokenSpan,
    WordScores,
    align,
    beam,
    greedy,
    log_likelihood,
    words_of,
)
from formers.decoding.search import complete
from formers.decoding.strategies import Greedy
from formers.errors import ConfigError, DataError, on_a_line
from formers.metrics.speech import word_errors
from formers.models.conformer import Conformer, keep_of
from formers.models.hybrid import HybridConformer
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.sound.decode import Samples
from formers.sound.features import FeatureExtractor
from formers.systems.reading import read_by, reading
from formers.systems.speech.data import ClipBatch, ClipBatches, outside
from formers.systems.system import Report, cost, share
from formers.systems.transcripts import Segment, Transcript, Word
from formers.text.tokenizer import Tokenizer

WINDOW, MARGIN = 30.0, 3.0  # seconds of a long recording that are read together; of them, at either end, for context
PAUSE, MOST = 0.6, 20.0  # seconds of blanks that end a segment; after so many seconds a shorter one does
SILENT = -30.0  # the log-probability of any token in silence
SHOWN = 3  # texts of an evaluation
GREEDY = PrefixBeam(width=1)


class Reading(NamedTuple):
    """What a model makes of a batch."""

    logits: Tensor
    """(clips, frames, vocab), fp32."""
    frames: Tensor
    """(clips,) the real ones."""
    memory: Tensor
    """(clips, frames, dim), what a decoder reads."""


class Recogniser:
    """A Conformer with its tokens and its extractor: what `formers.load` gives for models of speech with CTC."""

    def __init__(
        self,
        model: Conformer | HybridConformer,
        tokenizer: Tokenizer | None,
        extractor: FeatureExtractor | None,
        *,
        family: str | None = None,
    ) -> None:
        self.model, self._tokenizer, self._extractor, self.family = model, tokenizer, extractor, family
        self.blank = model.config.blank

    @property
    def tokenizer(self) -> Tokenizer:
        """Raises ConfigError for a model without one."""
        if self._tokenizer is None:
            raise ConfigError("this model folder has no tokenizer files, so its letters have no names; put the "
                              "tokenizer.json of its publication beside config.json")  # fmt: skip
        return self._tokenizer

    @property
    def extractor(self) -> FeatureExtractor:
        """Raises ConfigError for a model without one."""
        return read_by(self._extractor, "sounds")

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @cached_property
    def pieces(self) -> list[str]:
        """What each token writes, with a blank where a word begins; special ones and the CTC blank write nothing."""
        tokenizer, vocab = self.tokenizer, self.model.config.vocab
        names = tokenizer.pieces(range(min(tokenizer.vocab, vocab)))
        kept = [bool(tokenizer.decode([token, token])) or name == " " for token, name in enumerate(names)]
        names = [name.replace("▁", " ") if real else "" for name, real in zip(names, kept, strict=True)]
        names += [""] * (vocab - len(names))
        names[self.blank] = ""
        return names

    @cached_property
    def step(self) -> int:
        """Samples from one frame to the next."""
        encoder = self.model.config.encoder
        if encoder.waves:
            return int(torch.tensor([stride for _, _, stride in encoder.waves]).prod())
        return self.extractor.hop << encoder.halvings

    @property
    def second(self) -> float:
        """Seconds of a frame."""
        return self.step / self.extractor.rate

    # ---- frames ----------------------------------------------------------------------------------------------

    def read(self, features: Tensor, lengths: Tensor) -> Reading:
        """The logits of a batch of features."""
        weight = next(self.model.parameters())
        memory, frames = self.model.encoder(features.to(weight.device, weight.dtype), lengths=lengths.to(weight.device))
        return Reading(self.model.out(memory).float(), frames, memory)

    def log_probs(self, waves: Sequence[Samples]) -> list[Tensor]:
        """(frames, vocab) of every sound, at the extractor's rate, on the CPU; of digital silence all are blank.

        Raises DataError for one too short.
        """
        shortest = min(map(len, waves))
        if self.model.config.encoder.waves and shortest < self.model.encoder.front.least:
            raise DataError(
                f"a sound of {shortest} samples is too short: this model reads {self.model.encoder.front.least}"
            )
        with reading(self.model):
            logits, frames, _ = self.read(*self.extractor(list(waves)))
        rows = logits.log_softmax(-1).cpu()
        for row, wave in zip(rows, waves, strict=True):
            if not np.any(wave):  # features of it are no sound that a model has learned from
                row.fill_(SILENT)[:, self.blank] = 0
        return [row[:count] for row, count in zip(rows, frames.tolist(), strict=True)]

    def stream(self, pieces: Iterable[Samples]) -> Iterator[Tensor]:
        """The same of one sound of any length that comes in pieces, in windows whose ends are only context."""
        size, margin = (round(seconds * self.extractor.rate) // self.step for seconds in (WINDOW, MARGIN))
        waiting, first = torch.empty(0), 0
        for piece in pieces:
            waiting = torch.cat([waiting, torch.from_numpy(piece)])
            while len(waiting) > size * self.step:
                yield self.log_probs([waiting[: size * self.step].numpy()])[0][first : size - margin]
                waiting, first = waiting[(size - 2 * margin) * self.step :], margin
        if len(waiting):
            yield self.log_probs([waiting.numpy()])[0][first:]

    def spoken(self, log_probs: Iterable[Tensor]) -> Iterator[tuple[int, Tensor]]:
        """(first frame, log-probabilities) of parts between pauses, none of them long."""
        waiting, start = torch.empty(0, self.model.config.vocab), 0
        pause, most = round(PAUSE / self.second), round(MOST / self.second)
        for rows in log_probs:
            waiting = torch.cat([waiting, rows])
            while (cut := pause_in(waiting.argmax(-1) == self.blank, pause, most)) is not None:
                yield start, waiting[:cut]
                waiting, start = waiting[cut:], start + cut
        if len(waiting):
            yield start, waiting

    # ---- texts -----------------------------------------------------------------------------------------------

    def hypothesis(
        self, log_probs: Tensor, options: PrefixBeam = GREEDY, language: WordScores | None = None
    ) -> CtcHypothesis:
        """The best text of some frames; how likely it is, is not reckoned for a greedy one (NaN)."""
        if options.width == 1 and language is None and not options.hot_words:
            return CtcHypothesis(greedy(log_probs[None], self.blank)[0], math.nan, math.nan)
        return beam(log_probs, self.pieces, self.blank, options, language)[0]

    def transcribe(
        self, sound: Samples | Iterable[Samples], options: PrefixBeam = GREEDY, language: WordScores | None = None
    ) -> Transcript:
        """What is said in samples (n,) at the extractor's rate, or in pieces of them, with the times of words."""
        pieces = [sound] if isinstance(sound, np.ndarray) else sound
        return Transcript(list(self.segments(pieces, options, language)))

    def segments(
        self, pieces: Iterable[Samples], options: PrefixBeam = GREEDY, language: WordScores | None = None
    ) -> Iterator[Segment]:
        """What is said between two pauses, as soon as it is known."""
        for start, log_probs in self.spoken(self.stream(pieces)):
            best = self.hypothesis(log_probs, options, language)
            tokens = best.tokens
            if words := self.words(align(log_probs, tokens, self.blank), start):
                total = log_likelihood(log_probs, tokens, self.blank) if math.isnan(best.total) else best.total
                facts = {"tokens": tokens, "avg_logprob": total / max(1, len(tokens))}
                text = "".join(word.text for word in words)
                yield Segment(words[0].start, words[-1].end, text, words, facts)

    def words(self, spans: Sequence[TokenSpan], start: int = 0) -> list[Word]:
        """The words of aligned tokens in seconds; start: the frame that they count from."""
        return [
            Word(f" {word.text}", (start + word.start) * self.second, (start + word.end) * self.second, word.confidence)
            for word in words_of(spans, self.pieces)
        ]

    def align(self, sound: Samples, text: str) -> list[Word]:
        """When each word of a text is said in samples (n,). Raises DataError for a text that does not fit them."""
        tokens = self.tokens(text)
        return self.words(align(torch.cat(list(self.stream([sound]))), tokens, self.blank))

    def tokens(self, text: str) -> list[int]:
        """A text as this model says it, all in capitals, or none, where it knows only such letters.

        Raises DataError for characters outside its vocabulary.
        """
        text, tokenizer, known = on_a_line(text), self.tokenizer, "".join(self.pieces)
        text = text.upper() if known.isupper() else text.lower() if known.islower() else text
        (tokens,) = tokenizer.encode_plain([text])
        if not tokens:
            raise DataError("the text to align is empty, expected what is said in the recording")
        if tokenizer.unk in tokens or not all(self.pieces[token] for token in tokens):
            what = f"the text has {outside(text, tokenizer)}, outside this model's vocabulary"
            raise DataError(f"{what}; write it as the texts that it learned from")
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        return on_a_line("".join(self.pieces[token] for token in tokens))

    def dictated(self, batch: Reading, limit: int = 200) -> list[list[int]]:
        """What a decoder writes of each clip of a batch, greedily."""
        assert isinstance(self.model, HybridConformer)
        start = torch.full((len(batch.memory), 1), self.blank, device=batch.memory.device)
        cache = self.model.begin(batch.memory, batch.frames, capacity=limit)
        texts = complete(self.model, start, cache, Greedy(), stop={self.blank}, limit=limit)
        return [best[0].tokens for best in texts]

    # ---- evaluation ------------------------------------------------------------------------------------------

    def evaluate(
        self, batches: ClipBatches, options: PrefixBeam = GREEDY, language: WordScores | None = None
    ) -> Report:
        """Loss per token, word and character errors of all clips, unchanged."""
        total, tokens, silent, frames = 0.0, 0, 0, 0
        said, texts, dictated = list[str](), list[str](), list[str]()
        for batch in batches.plain():
            with reading(self.model):
                read = self.read(batch.features, batch.lengths)
                if isinstance(self.model, HybridConformer):
                    dictated += map(self.decode, self.dictated(read))
            log_probs = read.logits.log_softmax(-1).cpu()
            total += float(self.ctc(log_probs, read.frames.cpu(), batch))
            tokens, frames = tokens + int(batch.counts.sum()), frames + int(read.frames.sum())
            real = keep_of(read.frames.cpu(), log_probs.shape[1])
            silent += int(((log_probs.argmax(-1) == self.blank) & real).sum())
            rows = (row[:count] for row, count in zip(log_probs, read.frames.tolist(), strict=True))
            texts += [self.decode(self.hypothesis(row, options, language).tokens) for row in rows]
            said += batch.texts
        errors = word_errors(texts, said, on_a_line)
        exact = sum(map(str.__eq__, texts, said)) / len(said)
        scores = [cost("loss", total / tokens), cost("wer", errors.wer, "share"), cost("cer", errors.cer, "share")]
        scores.append(share("exact", exact))
        if dictated:
            scores.append(cost("decoder_wer", word_errors(dictated, said, on_a_line).wer, "share"))
        wrong = [i for i, (text, right) in enumerate(zip(texts, said, strict=True)) if text != right] or range(
            len(said)
        )
        facts = {
            "clips": len(said),
            "words": errors.words,
            "substitutions": errors.substitutions,
            "deletions": errors.deletions,
            "insertions": errors.insertions,
            "blank": silent / max(1, frames),
        }
        return Report(scores, facts=facts, examples=[{"said": said[i], "written": texts[i]} for i in wrong[:SHOWN]])

    def ctc(self, log_probs: Tensor, frames: Tensor, batch: ClipBatch) -> Tensor:
        """The CTC loss, summed; a clip with fewer frames than its text needs counts as nothing."""
        targets, counts = batch.targets.to(log_probs.device), batch.counts.to(log_probs.device)
        rows = log_probs.transpose(0, 1)
        return F.ctc_loss(rows, targets, frames, counts, self.blank, reduction="sum", zero_infinity=True)

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout where its family has a word for it, else our own."""
        save_model(
            folder,
            self.model,
            tokenizer=self._tokenizer,
            preprocessor=self._extractor,
            family=self.family,
            system="speech",
        )


def pause_in(silent: Tensor, pause: int, most: int) -> int | None:
    """Where to cut frames: in the middle of a pause, of the longest where they are too many; None where to wait.

    silent: (frames,) whether each says nothing. What is silent at the beginning is cut off at once.
    """
    edges = F.pad(silent.int(), (1, 1)).diff()
    starts, ends = edges.eq(1).nonzero()[:, 0].tolist(), edges.eq(-1).nonzero()[:, 0].tolist()
    for start, end in zip(starts, ends, strict=True):
        if start and end < len(silent) and end - start >= pause:
            return (start + end) // 2
    if len(silent) <= most:
        return None
    runs = [(end - start, (start + end) // 2) for start, end in zip(starts, ends, strict=True) if (start + end) // 2]
    return max(runs)[1] if runs else most


def open_speech(loaded: Loaded) -> Recogniser:
    """The system of a loaded checkpoint."""
    assert isinstance(loaded.model, Conformer | HybridConformer)  # the registry names this opener for those only
    return Recogniser(loaded.model, loaded.tokenizer, loaded.extractor, family=loaded.family)
