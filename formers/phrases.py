"""Numbers and texts as people read them: durations, a text on one line."""

from __future__ import annotations

from formers.errors import on_a_line, shortened


def duration(seconds: float) -> str:
    """`12 s`, `2:05` (minutes), `1:02:05`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def short(text: str, most: int = 100) -> str:
    """On one line, cut when long: an untrained model can go on for ever."""
    return shortened(on_a_line(text), most)
