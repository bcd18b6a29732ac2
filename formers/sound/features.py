"""What a family's models read of a sound: log-mel spectrograms in four exact forms, as one value, read from a folder.

    samples -> frames of 25 ms, 10 ms apart -> power of each frequency -> mel bands -> logarithm -> normalised

What is particular: every form is a view of overlapping rows, a real FFT of as many at a time as the cache holds, and a
matrix product. All but Whisper's are in float64: quiet bands beside loud ones are then right to 1e-4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from formers.errors import CheckpointError, nearest, shown
from formers.fields import Between
from formers.files import as_json, read_json
from formers.shapes import fault
from formers.sound.decode import Samples, Sound

FILE, NESTED = "preprocessor_config.json", "processor_config.json"
Kind = Literal["whisper", "fbank", "nemo", "wave"]
ENDING = "FeatureExtractor"
CLASSES: dict[str, Kind] = {"Whisper": "whisper", "AST": "fbank", "Parakeet": "nemo", "Wav2Vec2": "wave"}
USUAL = {
    "whisper": "Whisper", "audio-spectrogram-transformer": "AST", "parakeet_ctc": "Parakeet",
    "parakeet_encoder": "Parakeet", "wav2vec2-conformer": "Wav2Vec2",
}  # fmt: skip
AUDIOSET = (-4.2677393, 4.5689974)  # mean and deviation of the log-mels of AST's first data set
QUIETEST = -10.0  # Whisper's log10 of nothing
LEAST_FBANK = 2.0**-23  # power of a band below which Kaldi's logarithm ends
AT_ONCE = 256  # frames that are transformed together
GUARD = 2.0**-24  # what NeMo adds to every power

Positive = Annotated[int, Between(1, 2**20)]


class ExtractorShape(TypedDict, total=False):
    """preprocessor_config.json of a model of sounds: null stands for what its class does."""

    feature_extractor_type: str | None
    feature_size: Positive | None
    sampling_rate: Annotated[int, Between(1000, 768_000)] | None
    hop_length: Positive | None
    n_fft: Positive | None
    win_length: Positive | None
    chunk_length: Positive | None
    preemphasis: Annotated[float, Between(0, 1)] | None
    num_mel_bins: Positive | None
    max_length: Positive | None
    do_normalize: bool | None
    mean: float | None
    std: Annotated[float, Between(above=0)] | None
    padding_value: float | None
    dither: float | None


class NestedExtractor(TypedDict, total=False):
    """processor_config.json, of tokenizer and sounds together."""

    feature_extractor: ExtractorShape


class Features(NamedTuple):
    """What a model reads of several sounds."""

    values: Tensor
    """(rows, frames, mels), or (rows, samples) of kind wave."""
    lengths: Tensor
    """How many frames, or samples, of each row are real; the others are padding."""


@dataclass(frozen=True)
class FeatureExtractor:
    """Sounds become features as transformers' extractors of the same file make them, within 1e-4."""

    kind: Kind
    """whisper: log10, at most 8 below the loudest; fbank: Kaldi's, as AST reads it; nemo: each band normalised over
    the clip, as Parakeet reads it; wave: the samples themselves, normalised.
    """
    mels: int = 80
    rate: int = 16_000
    """Samples a second of what comes in."""
    frames: int | None = None
    """To so many every sound is padded or cut, as published models of Whisper (3,000) and AST (1,024) want it; None:
    to the longest of the batch.
    """
    hop: int = 160
    window: int = 400
    fft: int = 512
    emphasis: float = 0.97
    """How much of the sample before is taken off."""
    normalise: bool = True
    """Of fbank and wave."""
    mean: float = AUDIOSET[0]
    std: float = AUDIOSET[1]
    """Of fbank: those of the data, see `measured`; features are (x - mean) / (2 std)."""
    source: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """The file that it was read from; what that says beside is written again."""

    def __call__(self, sounds: Sequence[Samples | Tensor] | Samples | Tensor) -> Features:
        """Features of one sound or several, float32. Each row is the same alone as in a batch, but for padding."""
        several = [sounds] if isinstance(sounds, np.ndarray | Tensor) and sounds.ndim == 1 else sounds
        rows = [self._row(torch.as_tensor(wave, dtype=torch.float32)) for wave in several]
        longest = self.frames or max(len(values) for values, _, _ in rows)
        batch = torch.stack([_padded(values[:longest], longest, empty) for values, _, empty in rows])
        return Features(batch, torch.tensor([min(length, longest) for _, length, _ in rows]))

    def log_mels(self, wave: Tensor) -> Tensor:
        """The logarithms of the mel bands of one sound, (samples,) -> (frames, mels), before any normalisation."""
        if self.kind == "fbank":
            wave = pad(wave, (0, max(0, self.window - len(wave))))
        elif self.kind == "nemo":
            wave = pad(torch.cat([wave[:1], wave[1:] - self.emphasis * wave[:-1]]), (self.window // 2,) * 2)
        else:
            wave = reflected(wave, self.window // 2)
        return self._of_frames(wave)

    def stream(self, pieces: Iterable[Samples]) -> Iterator[Tensor]:
        """The `log_mels` of a long sound that comes in pieces, in the same frames as of the whole followed by silence.

        Of kind whisper, which scales them by the loudest of all: `scaled`.
        """
        half, count, given = self.window // 2, 0, 0
        waiting = torch.empty(0)
        for piece in pieces:
            waiting, count = torch.cat([waiting, torch.as_tensor(piece)]), count + len(piece)
            if not given and len(waiting) > self.window:
                waiting, given = reflected(waiting, half)[:-half], 1
            if given and len(waiting) >= self.window:
                yield self._of_frames(waiting)
                waiting = waiting[(len(waiting) - self.window) // self.hop * self.hop + self.hop :]
        if not given and count:
            waiting = reflected(pad(waiting, (0, self.window)), half)[: -half - self.window]
        frames = (len(waiting) - half) // self.hop  # those whose middle lies before the end
        if frames > 0:
            yield self._of_frames(pad(waiting, (0, self.window)))[:frames]

    def scaled(self, log_mels: Tensor, loudest: float) -> Tensor:
        """Log-mels as Whisper reads them; loudest: the largest of the whole sound."""
        return log_mels.clamp(min=loudest - 8).add_(4).div_(4)

    def measured(self, sounds: Iterable[Samples | Tensor]) -> FeatureExtractor:
        """The same with the mean and deviation of these sounds, of all their frames and bands."""
        count, total, squares = 0, 0.0, 0.0
        for wave in sounds:
            values = self.log_mels(torch.as_tensor(wave, dtype=torch.float32)).double()
            count, total = count + values.numel(), total + float(values.sum())
            squares += float(values.square().sum())
        mean = total / max(1, count)
        std = math.sqrt(max(0.0, squares / max(1, count) - mean**2))
        return replace(self, mean=round(mean, 4), std=round(max(std, 1e-3), 4))

    def files(self) -> dict[str, bytes]:
        """The file that keeps it, which transformers reads too."""
        name = next(name for name, kind in CLASSES.items() if kind == self.kind)
        written: dict[str, Any] = {
            "feature_extractor_type": name + ENDING,
            "sampling_rate": self.rate,
            "padding_value": 0.0,
        }
        if self.kind == "fbank":
            written |= {"num_mel_bins": self.mels, "max_length": self.frames, "do_normalize": self.normalise}
            written |= {"mean": self.mean, "std": self.std, "feature_size": 1}
        elif self.kind == "wave":
            written |= {"do_normalize": self.normalise, "feature_size": 1}
        else:
            written |= {"feature_size": self.mels, "hop_length": self.hop, "n_fft": self.fft}
        if self.kind == "nemo":
            written |= {"win_length": self.window, "preemphasis": self.emphasis}
        if self.kind == "whisper" and self.frames is not None:
            written |= {"chunk_length": self.frames * self.hop // self.rate}
        kept = {key: value for key, value in self.source.items() if key != "mel_filters"}
        return {FILE: as_json({**kept, **written})}

    def _row(self, wave: Tensor) -> tuple[Tensor, int, float]:
        """The features of a sound, how many are real, and the value of padding."""
        if self.kind == "wave":
            values = (wave - wave.mean()) / (wave.var(correction=0) + 1e-7).sqrt() if self.normalise else wave
            return values, len(wave), 0.0
        if self.kind == "fbank":
            mean, scale = (self.mean, 2 * self.std) if self.normalise else (0.0, 1.0)
            values = (self.log_mels(wave) - mean) / scale
            return values, len(values), -mean / scale  # zeros, which are normalised too
        length = max(1, len(wave) // self.hop)
        if self.kind == "nemo":
            values = self.log_mels(wave).double()  # of silence the deviation is exactly 0, not a rounding error
            real = values[:length]
            deviation = ((real - real.mean(0)).square().sum(0) / max(1, length - 1)).sqrt()
            values = ((values - real.mean(0)) / (deviation + 1e-5)).float()
            values[length:] = 0
            return values, length, 0.0
        if self.frames is not None:  # silence behind it, of which only the first frames are computed
            most = self.frames * self.hop
            wave = _padded(wave[:most], min(most, len(wave) + 2 * self.window))
        values = self.log_mels(wave)[:-1]
        loudest = float(values.max())
        return self.scaled(values, loudest), length, (max(loudest - 8, QUIETEST) + 4) / 4

    def _of_frames(self, wave: Tensor) -> Tensor:
        """The logarithms of the bands of every whole window in a sound."""
        kaldi, window = self.kind == "fbank", hann(self.window, periodic=self.kind == "whisper")
        wave = wave.float() if self.kind == "whisper" else wave.double()
        frames, window = wave.unfold(0, self.window, self.hop), window.to(wave.dtype)
        if kaldi:  # of a frame less its mean; its first sample has the weight 0, so what stands before does not matter
            means = frames.mean(1, keepdim=True) * (1 - self.emphasis)
            frames = torch.cat([wave[:1], wave[1:] - self.emphasis * wave[:-1]]).unfold(0, self.window, self.hop)
        bands = torch.empty(len(frames), self.mels)
        for start in range(0, len(frames), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            spectrum = torch.fft.rfft((frames[some] - means[some] if kaldi else frames[some]) * window, self.fft)
            power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag).float()
            torch.mm(power, self._filters(), out=bands[some])
        match self.kind:
            case "whisper":
                return bands.clamp_(min=10**QUIETEST).log10_()
            case "fbank":
                return bands.clamp_(min=LEAST_FBANK).log_()
            case _:
                return bands.add_(GUARD).log_()

    def _filters(self) -> Tensor:
        kaldi, highest = self.kind == "fbank", 8000.0 if self.kind == "whisper" else self.rate / 2
        return mel_filters(self.mels, self.fft, self.rate, 20.0 if kaldi else 0.0, highest, kaldi)


@cache
def hann(window: int, *, periodic: bool) -> Tensor:
    return torch.hann_window(window, periodic=periodic, dtype=torch.float64)


@cache
def mel_filters(mels: int, fft: int, rate: int, lowest: float, highest: float, kaldi: bool) -> Tensor:
    """Triangles over the frequencies of an FFT, (fft // 2 + 1, mels), between two frequencies in Hz.

    Kaldi's are straight on its mel scale and 1 high; Slaney's are straight over the frequency and have one area.
    """
    bins = np.arange(fft // 2 + 1) * rate / fft
    low, high = to_mel(np.array([lowest, highest]), kaldi).tolist()
    ends = np.linspace(low, high, mels + 2)
    if kaldi:
        bins = to_mel(bins, kaldi)
    else:
        ends = from_mel(ends)
    rising = (bins[:, None] - ends[:-2]) / (ends[1:-1] - ends[:-2])
    falling = (ends[2:] - bins[:, None]) / (ends[2:] - ends[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling))
    if not kaldi:
        filters *= 2 / (ends[2:] - ends[:-2])
    return torch.from_numpy(filters.astype(np.float32))


LINEAR, STEP = 1000.0, np.log(6.4) / 27  # Slaney's scale: 15 mels up to 1 kHz, then 27 for a factor of 6.4


def to_mel(hertz: NDArray[np.float64], kaldi: bool) -> NDArray[np.float64]:
    if kaldi:
        return 1127 * np.log(1 + hertz / 700)
    return np.where(hertz < LINEAR, hertz * 3 / 200, 15 + np.log(np.maximum(hertz, LINEAR) / LINEAR) / STEP)


def from_mel(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hz of Slaney's mels."""
    return np.where(mels < 15, mels * 200 / 3, LINEAR * np.exp(STEP * (mels - 15)))


def reflected(wave: Tensor, count: int) -> Tensor:
    """A sound with so many samples before and behind it as it has there, backwards; zeros where it is too short."""
    filled = _padded(wave, max(len(wave), count + 1))
    before, behind = filled[1 : count + 1].flip(0), filled[-count - 1 : -1].flip(0)  # padding by reflection is slow
    return torch.cat([before, filled, behind])[: len(wave) + 2 * count]


def _padded(values: Tensor, length: int, value: float = 0.0) -> Tensor:
    missing = length - len(values)
    return pad(values, (*(0, 0) * (values.ndim - 1), 0, missing), value=value) if missing else values


def load_extractor(folder: Path, config: Mapping[str, Any], ignore: Sequence[str] = ()) -> FeatureExtractor | None:
    """The extractor that a model folder describes, beside its weights or in its processor; None in none.

    config: config.json of the model; ignore: keys that change nothing. Raises CheckpointError for what is not
    computed here.
    """
    raw, what = None, str(folder / FILE)
    if (folder / NESTED).exists():
        raw = read_json(folder / NESTED, NestedExtractor).get("feature_extractor")
        what = f"{folder / NESTED}: feature_extractor"
    if raw is None and (folder / FILE).exists():
        raw, what = read_json(folder / FILE), str(folder / FILE)
        if "sampling_rate" not in raw:  # the settings of pictures
            return None
        if message := fault(raw, ExtractorShape):
            raise CheckpointError(f"{what}: {message}")
    if raw is None:
        return None
    name = raw.get("feature_extractor_type") or USUAL.get(str(config.get("model_type")), "")
    if (short := name.removesuffix(ENDING)) not in CLASSES:
        names = [known + ENDING for known in CLASSES]
        raise CheckpointError(f"{what}: the extractor {shown(name)} is not computed here{nearest(name, names)}")
    return _parsed({key: value for key, value in raw.items() if key not in ignore}, short, what)


def _parsed(raw: Mapping[str, Any], name: str, what: str) -> FeatureExtractor:
    """What a file of transformers does."""
    for key in ("padding_value", "dither"):
        if raw.get(key):
            fix = f"if it changes nothing for your sounds, say --ignore-key {key}"
            raise CheckpointError(f"{what}: {key} is {shown(raw[key])}, which is not computed here; {fix}")
    said = {key: value for key, value in raw.items() if value is not None}
    kind, rate = CLASSES[name], said.get("sampling_rate", 16_000)
    usual = usual_extractor(kind, rate=rate)
    if kind == "wave":
        return replace(usual, normalise=said.get("do_normalize", True), source=raw)
    if kind == "fbank":
        return replace(
            usual,
            mels=said.get("num_mel_bins", 128),
            frames=said.get("max_length", 1024),
            normalise=said.get("do_normalize", True),
            mean=said.get("mean", AUDIOSET[0]),
            std=said.get("std", AUDIOSET[1]),
            source=raw,
        )
    hop, fft = said.get("hop_length", usual.hop), said.get("n_fft", usual.fft)
    return replace(
        usual,
        mels=said.get("feature_size", 80),
        hop=hop,
        fft=fft,
        window=fft if kind == "whisper" else said.get("win_length", usual.window),
        frames=said.get("chunk_length", 30) * rate // hop if kind == "whisper" else None,
        emphasis=said.get("preemphasis", 0.97),
        source=raw,
    )


def usual_extractor(
    kind: Kind, *, mels: int | None = None, frames: int | None = None, rate: int = 16_000
) -> FeatureExtractor:
    """The extractor of a kind with the windows of its family: 25 ms at 16 kHz, one every 10 ms."""
    fft = 400 if kind == "whisper" else 512
    return FeatureExtractor(kind, mels or (128 if kind == "fbank" else 80), rate, frames, fft=fft)


def mel_picture(sound: Sound) -> NDArray[np.float32]:
    """The log-mels of a sound at the rate that it has, (frames, 80): windows of 25 ms, one every 10 ms."""
    window = max(16, sound.rate // 40)
    fft = max(512, 1 << (window - 1).bit_length())
    extractor = FeatureExtractor("fbank", 80, sound.rate, hop=max(1, sound.rate // 100), window=window, fft=fft)
    return extractor.log_mels(torch.from_numpy(sound.samples)).numpy()
