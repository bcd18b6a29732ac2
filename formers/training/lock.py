"""A run folder belongs to one process at a time. The system frees it when that process ends, however it ends."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from formers.errors import TrainingError
from formers.notes import note

LOCK = ".lock"  # stays in the folder: to remove it would let two processes hold two files of this name


@contextmanager
def hold(folder: Path, doing: str = "trains in it", instead: str = "train in another folder (--run)") -> Iterator[None]:
    """Keep other processes, and other trainings of this one, out of a folder, which is made.

    doing, instead: what the process does that is in it, and what another may do. Raises TrainingError, which names that
    process; OSError. Nothing is held on Windows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8", errors="replace") as file:
        if not _lock(file):
            file.seek(0)
            raise TrainingError(f"{folder} is in use: {_in_words(file.readline().strip(), doing, instead)}")
        if not (folder / LOCK).exists() or not os.path.samestat(os.fstat(file.fileno()), (folder / LOCK).stat()):
            raise TrainingError(f"{folder} was replaced by another process just now; try again")
        file.truncate(0)
        file.write(f"{os.getpid()} {platform.node()} {time.strftime('%Y-%m-%d %H:%M')}\n")
        file.flush()
        yield


def _lock(file: IO[str]) -> bool:
    """Whether the file is ours now."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as fault:  # some network disks have no locks
        note(f"{file.name} cannot be locked ({fault.strerror}): see to it that only one process trains there")
    return True


def _in_words(holder: str, doing: str, instead: str) -> str:
    """Who holds a folder, by the line in its lock, and what to do."""
    number, _, since = holder.partition(" ")
    if number == str(os.getpid()):
        return "an earlier training of this very process has not ended; end it, or close its events"
    who = f"process {number} ({since})" if since else "another process"
    return f"{who} {doing}; wait for it, stop it, or {instead}"
