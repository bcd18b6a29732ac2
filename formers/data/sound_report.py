"""What is in a table of sounds, said before the first step: lengths, rates, silence, clipping, texts, broken ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from formers.data.media_report import media_lines, spread
from formers.data.sounds import SoundTable
from formers.errors import DataError
from formers.sound.decode import opened

LOOKED_AT = 2000  # sounds that are looked at
DECODED_SECONDS = 3600.0  # of those whose samples are read
SILENT = 10 ** (-60 / 20)  # a sound without a sample of this height: 60 dB below full scale
FULL = 0.999  # the height of a sample that is clipped where its neighbour is too
CLIPPED = 0.001  # the share of such samples in a sound that is named
KINDS = 12  # of characters that are listed


class HeardSound(NamedTuple):
    """What a sound's file says, and its samples where they were read."""

    seconds: float = 0.0
    rate: int = 0
    channels: int = 0
    format: str = ""
    peak: float = 1.0
    clipped: float = 0.0
    """The share of its samples."""
    fault: str = ""


def sound_lines(
    train: SoundTable,
    held_out: SoundTable | None = None,
    *,
    label: str = "",
    text: str = "",
    frames_needed: Callable[[Sequence[str]], int] = len,
    frames_per_second: float = 25.0,
) -> list[str]:
    """A report on the sounds to learn from, beside those to be judged with. label, text: their columns, if any.

    frames_needed, frames_per_second: of a model that writes sounds down without a decoder, of characters.
    Of large sets a part is looked at, spread over all of it, and the lines say so.
    """
    rows = spread(len(train), LOOKED_AT)
    with ThreadPoolExecutor() as threads:
        heads = list(threads.map(lambda row: head(train, row), rows))
        whole = np.cumsum([one.seconds for one in heads]) <= DECODED_SECONDS
        heard = [*threads.map(lambda row, one, all: listened(train, row, one) if all else one, rows, heads, whole)]
    looked = f"{len(rows):,} of {len(train):,} looked at" if len(rows) < len(train) else ""
    partly = f"{int(whole.sum()):,} of {len(train):,} listened to" if whole.sum() < len(train) else ""
    lines = [*lengths(heard, f" ({looked})" if looked else "")]
    part = f" ({partly})" if partly else ""
    for name, which in (
        ("silent", [row for row, one in zip(rows, heard, strict=True) if not one.fault and one.peak < SILENT]),
        ("clipped", [row for row, one in zip(rows, heard, strict=True) if one.clipped > CLIPPED]),
    ):
        lines.append(f"{name}: {f'{len(which):,}, the first: {train.named(which[0])}' if which else 'none'}{part}")
    broken = [one.fault for one in heard if one.fault]
    lines.append(f"unreadable: {f'{len(broken):,}, the first: {broken[0]}' if broken else 'none'}{part}")
    if text:
        lines += text_lines(train, rows, heard, text, frames_needed, frames_per_second)
    return [*lines, *media_lines(train, held_out, label)]


def head(table: SoundTable, row: int) -> HeardSound:
    """What the header of a sound's file says."""
    try:
        with opened(table.content(row), table.named(row)) as file:
            return HeardSound(file.seconds, file.rate, file.channels, file.format)
    except DataError as error:
        return HeardSound(fault=str(error))


def listened(table: SoundTable, row: int, before: HeardSound) -> HeardSound:
    """The same with what its samples say."""
    if before.fault:
        return before
    try:
        sound = table.sound(row)
    except DataError as error:
        return before._replace(fault=str(error))
    full = np.abs(sound.samples) >= FULL
    return before._replace(
        seconds=sound.seconds,
        peak=float(np.abs(sound.samples).max()),
        clipped=float((full[1:] & full[:-1]).mean()) if len(full) > 1 else 0.0,
    )


def lengths(heard: Sequence[HeardSound], part: str) -> Iterator[str]:
    """A line on the lengths, rates, channels and formats of those that can be read."""
    good = [one for one in heard if not one.fault]
    if not good:
        return
    seconds = np.array([one.seconds for one in good])
    span = (
        f"{seconds.min():.2f} to {seconds.max():.2f} s, median {np.median(seconds):.2f}, {clock(seconds.sum())} in all"
    )
    rates, channels, formats = (
        shares(Counter(values), len(good))
        for values in (
            [f"{one.rate:,} Hz" for one in good],
            ["mono" if one.channels == 1 else f"{one.channels} channels" for one in good],
            [one.format for one in good],
        )
    )
    yield f"sounds: {span}; {rates}; {channels}; {formats}{part}"


def shares(tally: Counter[str], count: int) -> str:
    """`8,000 Hz`, or `8,000 Hz 75.0%, 16,000 Hz 25.0%`."""
    kinds = tally.most_common(4)
    more = f", {len(tally) - 4} others" if len(tally) > 4 else ""
    if len(tally) == 1:
        return kinds[0][0]
    return ", ".join(f"{name} {times / count:.1%}" for name, times in kinds) + more


def clock(seconds: float) -> str:
    """`42 s`, `12.3 minutes`, `3.4 hours`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def text_lines(
    table: SoundTable,
    rows: Sequence[int],
    heard: Sequence[HeardSound],
    text: str,
    frames_needed: Callable[[Sequence[str]], int],
    frames_per_second: float,
) -> Iterator[str]:
    """Lines on the characters of the texts, how fast they are spoken, and the sounds that are too short for theirs."""
    texts = table.table.columns[text]
    tally = Counter("".join(texts))
    listed = " ".join(shown(char) for char, _ in tally.most_common(KINDS))
    seldom = [shown(char) for char, times in tally.items() if times < 3]
    more = f"; fewer than 3 times: {' '.join(seldom[:KINDS])}" if seldom else ""
    yield f"characters of {text}: {len(tally)} kinds, the most frequent: {listed}{more}"
    good = [(row, one) for row, one in zip(rows, heard, strict=True) if not one.fault and one.seconds]
    if not good:
        return
    speeds = [len(texts[row]) / one.seconds for row, one in good]
    yield f"characters a second: {min(speeds):.1f} to {max(speeds):.1f}, median {np.median(speeds):.1f}"
    needed = [frames_needed(list(texts[row])) for row, _ in good]
    wanting = zip(good, needed, strict=True)
    short = [(*each, count) for each, count in wanting if count > each[1].seconds * frames_per_second]
    what = f"too short for their text at {frames_per_second:g} frames a second"
    if not short:
        yield f"{what}: none"
        return
    row, one, count = short[0]
    had = f"{one.seconds:.2f} s, {int(one.seconds * frames_per_second)} frames, {count} needed"
    yield f"{what}: {len(short):,}, the first: {table.named(row)} ({had})"


def shown(char: str) -> str:
    """A character of a list, a space as its sign."""
    return "␣" if char == " " else char
