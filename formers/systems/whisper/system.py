"""Whisper: what is said in recordings of any length.

recording -> [survey: frames, loudest, voice] -> windows -> memory -> text with times -> segments, words -> transcript
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.decoding.settings import Settings
from formers.decoding.timestamps import spans_of
from formers.decoding.writer import ready
from formers.errors import CheckpointError, ConfigError
from formers.fields import build
from formers.metrics.speech import word_errors
from formers.models.whisper import Whisper
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.sound.decode import Samples
from formers.sound.features import FeatureExtractor, usual_extractor
from formers.sound.voice import silero_voiced
from formers.systems.measure import means
from formers.systems.system import Progress, Report, Score, cost, result_of
from formers.systems.transcripts import Segment, Transcript, Word
from formers.systems.whisper.data import SpeechBatch, SpeechBatches
from formers.systems.whisper.decode import WindowDecoder, WindowText, facts_of
from formers.systems.whisper.hallucinations import believed
from formers.systems.whisper.options import ListenOptions, WindowOptions
from formers.systems.whisper.windows import (
    PAUSE,
    Frames,
    Open,
    WindowReader,
    clips_of,
    packed,
    pauses_of,
    spoken,
    survey,
)
from formers.systems.whisper.word_times import POSITION, Aligner, believable, joined, with_words, without_pauses
from formers.text.speech_tokens import SpeechTokens
from formers.training.task import Loss

EXAMPLES = 3  # of an evaluation that are shown
BEFORE = 223  # tokens of what was said before that a window knows
UNSURE = 0.5  # the temperature above which what was said is not told to the next window


@dataclass
class Listening:
    """A recording while it is listened to."""

    options: ListenOptions
    words: bool
    language: str = ""
    languages: dict[str, float] = field(default_factory=dict)
    """The probability of each, where it had to be found out."""
    before: list[int] = field(default_factory=list)
    """Tokens that the next window knows."""
    segments: list[Segment] = field(default_factory=list)
    pauses: list[tuple[float, float]] = field(default_factory=list)
    """Seconds without a voice, in which no word lies."""
    seconds: float = 0.0
    """Of the recording."""

    @property
    def ended(self) -> float:
        """The second at which speech ended last."""
        return self.segments[-1].end if self.segments else 0.0


class Alignment(NamedTuple):
    """A window that was written down."""

    mels: NDArray[np.float32]
    """(frames, bands)"""
    tokens: list[str]
    weights: NDArray[np.float32]
    """(tokens, positions), the mean of the heads that follow the sound."""
    words: list[Word]


class Transcriber:
    """A model of speech with its tokens and its extractor: what `formers.load` gives for Whisper."""

    def __init__(
        self,
        model: Whisper,
        tokens: SpeechTokens,
        extractor: FeatureExtractor,
        generation: dict[str, Any],
        *,
        family: str | None = None,
    ) -> None:
        """generation: generation_config.json, which says what is suppressed and which heads follow the sound."""
        self.model, self.tokens, self.extractor = model, tokens, extractor
        self.generation, self.family = generation, family
        settings = Settings.of({"eos_token_id": tokens.end, **generation}, model.config.vocab)
        marks = settings.suppressed if "suppress_tokens" in generation else tokens.marks()
        first = settings.suppressed_first or (*tokens.encode(" ")[:1], tokens.end)
        self.decoder = WindowDecoder(model, tokens, frozenset(tokens.special.union(marks)), frozenset(first))

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def size(self) -> int:
        """Frames of a window."""
        return 2 * self.model.config.frames

    @property
    def second(self) -> float:
        """Frames of a second."""
        return self.extractor.rate / self.extractor.hop

    @cached_property
    def aligner(self) -> Aligner:
        stack, heads = self.model.config.decoder, self.generation.get("alignment_heads") or ()
        if wrong := [pair for pair in heads if pair[0] >= stack.layers or pair[1] >= stack.heads]:
            sizes = f"{stack.layers} layers of {stack.heads} heads, counted from 0"
            raise CheckpointError(f"generation_config.json: alignment_heads names {wrong[0]}, but there are {sizes}")
        return Aligner(self.model, self.tokens, [(layer, head) for layer, head in heads])

    def transcribe(self, sound: Samples | Open, *, words: bool = False, **options: Any) -> Transcript:
        """What is said in samples (n,) at the extractor's rate, or in what `sound()` yields of them, a piece at a time.

        words: their times too; options: those of `ListenOptions`.
        """
        source: Open = (lambda: [sound]) if isinstance(sound, np.ndarray) else sound
        return result_of(self.listen(source, build(ListenOptions, options, "transcribe"), words=words))

    def detect(self, samples: Samples) -> dict[str, float]:
        """The probability of every language in the first window of a sound, the likeliest first."""
        with ready(self.model):
            found = survey([samples], self.extractor)
            reader = WindowReader([samples], self.extractor, found.loudest, self.size)
            return self.decoder.languages(self.encode([reader.window(Frames(0, self.size))]))[0]

    def aligned(self, samples: Samples, language: str = "") -> Alignment:
        """The first window of a sound written down, and which of it each token was written from."""
        state = Listening(ListenOptions(language=language), words=True, language=language)
        found = survey([samples], self.extractor)
        part = Frames(0, min(found.frames, self.size))
        mels = WindowReader([samples], self.extractor, found.loudest, self.size).window(part)
        with ready(self.model):
            memory = self.encode([mels])
            opening = self.opening(memory, state, timestamps=False)
            (text,) = self.decoder.texts(memory, opening, WindowOptions())
            weights, _ = self.aligner.weights(memory, opening, text.tokens)
            positions = (part.end + 1) // 2
            words = joined(believable(self.aligner.words(memory, opening, text.tokens, state.language, positions)))
        rows = weights.mean(0)[len(opening) - 1 : -2, :positions].numpy()
        names = [self.tokens.decode([token]) for token in text.tokens]
        return Alignment(mels[0].T[: part.end].numpy(), names, rows, words)

    @torch.no_grad()
    def encode(self, windows: Sequence[Tensor]) -> Tensor:
        """The memory of windows (1, mels, frames) each; on a CPU, which one fills, one after the other."""
        parameter = next(self.model.parameters())
        parts = windows if parameter.device.type == "cpu" else [torch.cat([*windows])]
        return torch.cat([self.model.encode(part.to(parameter.device, parameter.dtype)) for part in parts])

    def listen(
        self, sound: Open, options: ListenOptions, *, words: bool = False, timestamps: bool = True
    ) -> Generator[Progress, None, Transcript]:
        """The same, telling how far it is. Raises ConfigError."""
        self.tokens.named(options.language)
        self.tokens.opening(options.language or "en", options.task, timestamps=True)  # what it does not know, at once
        found = survey(sound(), self.extractor)
        clips = clips_of(options.clip, self.second, found.frames)
        if options.vad != "none":
            voice = found.voice if options.vad == "energy" else silero_voiced(sound())
            clips = spoken(clips, voice, 0 if options.batch > 1 else round(PAUSE * self.second))
        language = options.language or ("" if self.tokens.languages else "en")
        reader = WindowReader(sound(), self.extractor, found.loudest, self.size)
        threshold = options.hallucination_silence_threshold
        state = Listening(options, words or threshold > 0, language, seconds=found.frames / self.second)
        state.pauses = [] if options.vad == "none" else pauses_of(found, self.second)
        state.before = self.tokens.encode(f" {options.prompt.strip()}") if options.prompt else []
        with ready(self.model):
            listen = self.batched if options.batch > 1 else self.seeking
            for part in listen(clips, reader, state, timestamps):
                yield Progress(min(part.end, found.frames), found.frames, "transcribing")
        segments = state.segments if words else [replace(segment, words=[]) for segment in state.segments]
        return Transcript(segments, state.language, state.languages, state.seconds)

    def seeking(
        self, clips: Sequence[Frames], reader: WindowReader, state: Listening, timestamps: bool
    ) -> Iterator[Frames]:
        """One window after another; each begins where the last whole segment of the one before ends."""
        options, seek = state.options, 0
        prefix = self.tokens.encode(f" {options.prefix.strip()}") if options.prefix else []
        for clip in clips:
            seek = max(seek, clip.start)
            while seek < clip.end:
                part = Frames(seek, min(clip.end, seek + self.size))
                memory = self.encode([reader.window(part)])
                opening = self.opening(memory, state, timestamps)
                prompt = self.prompt(state.before, opening, options.hotwords)
                (text,) = self.decoder.texts(memory, [*prompt, *prefix], options.window)
                text = replace(text, tokens=[*prefix, *text.tokens])
                prefix = []
                segments, passed = self.segments(text, memory, opening, part, state)
                state.segments += segments
                seek += passed
                if not options.condition or text.temperature > UNSURE:
                    state.before = []
                else:
                    state.before += [token for one in segments for token in one.facts["tokens"]]
                yield part

    def batched(
        self, clips: Sequence[Frames], reader: WindowReader, state: Listening, timestamps: bool
    ) -> Iterator[Frames]:
        """Several windows together, none of which knows of another."""
        options, parts = state.options, packed(clips, self.size)
        while some := list(islice(parts, options.batch)):
            memory = self.encode([reader.window(part) for part in some])
            opening = self.opening(memory[:1], state, timestamps)
            prompt = self.prompt(state.before, opening, options.hotwords)
            for i, text in enumerate(self.decoder.texts(memory, prompt, options.window)):
                state.segments += self.segments(text, memory[i : i + 1], opening, some[i], state)[0]
            yield some[-1]

    def opening(self, memory: Tensor, state: Listening, timestamps: bool) -> list[int]:
        """What the text of a window begins with; the first window tells the language, where nobody has."""
        if not state.language:
            state.languages = self.decoder.languages(memory)[0]
            state.language = next(iter(state.languages))
        return self.tokens.opening(state.language, state.options.task, timestamps=timestamps)

    def prompt(self, before: Sequence[int], opening: Sequence[int], hotwords: str) -> list[int]:
        most = min(BEFORE, self.model.config.length // 2 - 1)
        hot = self.tokens.encode(f" {hotwords.strip()}")[:most] if hotwords else []
        known = [*hot, *[*before][max(0, len(before) - (most - len(hot))) :]] if len(hot) < most else hot
        return [*([self.tokens.previous, *known] if known else []), *opening]

    def segments(
        self, text: WindowText, memory: Tensor, opening: Sequence[int], part: Frames, state: Listening
    ) -> tuple[list[Segment], int]:
        """The segments of a window, in seconds of the recording, and how many frames of it are done with."""
        frames = part.end - part.start
        if text.is_silence(state.options.window):
            return [], frames
        positions = min(self.model.config.frames, (frames + 1) // 2)
        spans, passed = spans_of(text.tokens, self.tokens.begin, positions)
        passed = min(2 * passed, frames)
        offset = part.start / self.second
        segments = []
        for span in spans:
            said = self.tokens.decode(span.tokens)
            start, end = (offset + POSITION * min(at, positions) for at in span[:2])
            if said.strip() and start < end:
                segments.append(Segment(start, end, said, facts=facts_of(text, part.start, span.tokens)))
        if state.words and segments:
            segments = self.with_words(segments, memory, opening, offset, positions, state)
            window, again = (offset, part.end / self.second), None
            if threshold := state.options.hallucination_silence_threshold:
                segments, again = believed(segments, threshold, before=state.ended, window=window, end=state.seconds)
            if again is not None:
                passed = min(frames, max(2, round((again - offset) * self.second)))
            elif passed < frames and segments and segments[-1].end > offset:  # words end where their segment does
                passed = min(frames, max(2, round((segments[-1].end - offset) * self.second)))
        return segments, passed

    def with_words(
        self,
        segments: list[Segment],
        memory: Tensor,
        opening: Sequence[int],
        offset: float,
        positions: int,
        state: Listening,
    ) -> list[Segment]:
        text = [token for one in segments for token in one.facts["tokens"] if token < self.tokens.end]
        words = self.aligner.words(memory, opening, text, state.language, positions)
        words = [replace(word, start=offset + word.start, end=offset + word.end) for word in joined(believable(words))]
        words = without_pauses(words, state.pauses)
        return with_words(segments, words, [len(one.text) for one in segments], state.ended)

    def evaluate(self, batches: SpeechBatches, *, batch: int = 8, count: int | None = None) -> Report:
        """The loss per token, and word and character error rates of the likeliest texts, without times.

        count: only of the first so many.
        """
        losses, texts, said = [], list[str](), list[str]()
        rows = range(len(batches))[:count]
        plain = WindowOptions(fallback=False)
        with ready(self.model), torch.no_grad():
            for start in range(0, len(rows), batch):
                read = batches.collate(rows[start : start + batch])
                memory = self.encode([read.mels])
                losses.append(self.loss(read, memory))
                texts += [text.text for text in self.decoder.texts(memory, batches.opening, plain)]
                said += read.texts
        errors = word_errors(texts, said, batches.normalise)
        pairs = [(text, other) for text, other in zip(texts, said, strict=True)][:EXAMPLES]
        return Report(
            [cost("loss", means(losses)["loss"]), error("wer", errors.wer), error("cer", errors.cer)],
            facts={"recordings": len(texts), "words": errors.words},
            remarks={
                "words": f"{errors.words:,}: {errors.substitutions:,} wrong, {errors.deletions:,} missing, "
                f"{errors.insertions:,} additional"
            },
            examples=[{"said": other, "written": text} for text, other in pairs],
        )

    def loss(self, batch: SpeechBatch, memory: Tensor) -> Loss:
        """Summed cross-entropy of what is to be said; the logits of all else are never computed."""
        tokens, labels = batch.tokens.to(self.device), batch.labels.to(self.device)
        x, wanted = self.model.decode(tokens, memory), labels >= 0
        return Loss(self.model.output.cross_entropy(x[wanted], labels[wanted]), int(wanted.sum()))

    def save(self, folder: str | Path) -> None:
        """Write a folder that other libraries open too."""
        save_model(
            folder,
            self.model,
            tokenizer=self.tokens.tokenizer,
            generation=self.generation,
            family=self.family,
            preprocessor=self.extractor,
            system="whisper",
        )


def error(name: str, value: float) -> Score:
    """An error rate, which may be above one."""
    return Score(name, value, "share", lower_is_better=True)


def open_whisper(loaded: Loaded) -> Transcriber:
    """Raises CheckpointError for a folder without its tokenizer."""
    model: Any = loaded.model
    config = model.config
    extractor = loaded.extractor or usual_extractor("whisper", mels=config.bands, frames=2 * config.frames)
    if extractor.kind != "whisper" or extractor.mels != config.bands:
        raise ConfigError(
            f"preprocessor_config.json makes {extractor.mels} bands ({extractor.kind}), but the model reads "
            f"{config.bands} of Whisper's; put the one of its publication beside config.json"
        )
    tokens = SpeechTokens.of(loaded.tokenizer, config.vocab)
    return Transcriber(model, tokens, extractor, dict(loaded.generation), family=loaded.family)
