"""Where somebody speaks: by the energy of frames, or by Silero's small network (extra `vad`).

level of each frame -> louder than the quietest tenth -> spans, grown by a margin, of a fourth of a second and more
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from formers.errors import PackageError
from formers.sound.decode import Samples

Span = tuple[int, int]  # frames: the first, and the one behind the last

LOUDER = 0.8  # log10 of the power of a voice above that of the quietest tenth of all frames
MARGIN = 25  # frames of 10 ms before and behind a voice that belong to it
LEAST = 5  # frames within the margin that are loud: a click is no voice
CHUNK, CONTEXT = 512, 64  # samples at 16 kHz that Silero judges at once, and of those before that it hears again
LIKELY, UNLIKELY = 0.5, 0.35  # a voice begins above the one and lasts until below the other


def voiced(level: NDArray[np.float32]) -> list[Span]:
    """The spans with a voice; level: log10 of the power of each frame of 10 ms, such as the mean of its log-mels.

    Steady noise and silence have none, however loud.
    """
    return spans(level > np.percentile(level, 10) + LOUDER, MARGIN, LEAST) if len(level) else []


def spans(active: NDArray[np.bool_], margin: int = 0, least: int = 0) -> list[Span]:
    """Where frames are active or more than `least` within a margin are, one span after the other."""
    near = np.convolve(active, np.ones(2 * margin + 1), "same")[: len(active)] > least if len(active) else active
    edges = np.flatnonzero(np.diff(np.concatenate([[0], near.astype(np.int8), [0]])))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def silero_voiced(pieces: Iterable[Samples]) -> list[Span]:
    """The same by Silero's network, in frames of 10 ms; pieces: of a sound at 16 kHz.

    Raises PackageError where the package is not installed.
    """
    shares = np.concatenate([np.zeros(0, np.float32), *silero_shares(pieces)])
    active, on = np.zeros(len(shares), bool), False
    for chunk, share in enumerate(shares):
        on = share > (UNLIKELY if on else LIKELY)
        active[chunk] = on
    return spans(np.repeat(active, CHUNK)[:: 16_000 // 100], MARGIN // 5)


def silero_shares(pieces: Iterable[Samples]) -> Iterator[NDArray[np.float32]]:
    """How likely each 32 ms hold a voice, 0 to 1, a piece at a time."""
    weights = silero_weights()
    lstm = torch.nn.LSTM(128, 128)
    names = {f"{name}_l0": weights[f"lstm_cell.{name}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    lstm.load_state_dict(names)
    state, waiting = None, torch.zeros(CONTEXT)
    with torch.inference_mode():
        for piece in chain(pieces, [np.zeros(CHUNK - 1, np.float32)]):
            waiting = torch.cat([waiting, torch.as_tensor(piece)])
            if (count := (len(waiting) - CONTEXT) // CHUNK) > 0:
                chunks = waiting[: count * CHUNK + CONTEXT].unfold(0, CHUNK + CONTEXT, CHUNK)
                hidden, state = lstm(silero_features(chunks, weights)[:, None], state)
                output = F.conv1d(
                    hidden[:, 0, :, None].relu(), weights["final_conv.weight"], weights["final_conv.bias"]
                )
                yield output[:, 0, 0].sigmoid().numpy()
                waiting = waiting[count * CHUNK :]


def silero_features(chunks: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """What its recurrent cell reads of each chunk, (chunks, 576) -> (chunks, 128): magnitudes, four convolutions."""
    padded = F.pad(chunks[:, None], (0, 64), mode="reflect")
    real, imaginary = F.conv1d(padded, weights["stft_conv.weight"], stride=128).chunk(2, 1)
    values = (real.square() + imaginary.square()).sqrt()
    for number, stride in enumerate((1, 2, 2, 1), 1):
        weight, bias = weights[f"conv{number}.weight"], weights[f"conv{number}.bias"]
        values = F.conv1d(values, weight, bias, stride=stride, padding=1).relu()
    return values[:, :, 0]


def silero_weights() -> dict[str, Tensor]:
    """The weights in the package, which is not imported: that would change the number of threads."""
    from safetensors.torch import load_file

    package = find_spec("silero_vad")
    if package is None or package.origin is None:
        raise PackageError('the voice activity of Silero needs the package silero-vad: pip install "formers[vad]"')
    return load_file(Path(package.origin).parent / "data" / "silero_vad_16k.safetensors")
