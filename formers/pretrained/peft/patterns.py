"""Regular expressions of an adapter_config.json against names of modules, in bounded time.

Python's own may run for years on an expression of ten characters, and nothing in the process can end them. So those
that are more than a name run in a process of their own, which is given some seconds for all of them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from formers.errors import CheckpointError, shown

SECONDS, LONGEST = 5, 10_000  # characters of an expression
PLAIN = re.compile(r"(?:[\w.-]|\\\.)*")  # matched in one pass
OF_ENDS = r"(.*\.)?({})"
T = TypeVar("T")
MATCHER = """
import json, re, sys
patterns, names = json.load(sys.stdin)
print(json.dumps([[bool(re.fullmatch(pattern, name)) for name in names] for pattern in patterns]))
"""


def per_module(values: Mapping[str, T] | None, usual: T, modules: Sequence[str], what: str) -> dict[str, T]:
    """What rank_pattern or alpha_pattern says of modules: the first pattern that the end of its name matches."""
    values = values or {}
    hits = matches(values, modules, what, ends=True)
    return {
        module: next((value for pattern, value in values.items() if module in hits[pattern]), usual)
        for module in modules
    }


def matches(patterns: Iterable[str], names: Sequence[str], what: str, *, ends: bool = False) -> dict[str, set[str]]:
    """pattern -> those of the names that it matches, the whole of them or (`ends`) what stands behind a point.

    Raises CheckpointError for one that is no regular expression, too long, or not done within seconds.
    """
    table: dict[str, set[str]] = {}
    slow: dict[str, str] = {}
    for pattern in patterns:
        try:
            if len(pattern) > LONGEST:
                raise re.error(f"it has {len(pattern):,} characters, expected at most {LONGEST:,}")
            compiled = re.compile(OF_ENDS.format(pattern) if ends else pattern)
        except (re.error, RecursionError, OverflowError) as fault:
            raise CheckpointError(f"{what}: {shown(pattern)} is no regular expression of modules ({fault})") from fault
        if PLAIN.fullmatch(pattern):
            table[pattern] = {name for name in names if compiled.fullmatch(name)}
        else:
            slow[compiled.pattern] = pattern
    if slow:
        hits = apart(list(slow), list(names), what)
        table |= {pattern: hits[whole] for whole, pattern in slow.items()}
    return table


def apart(patterns: list[str], names: list[str], what: str) -> dict[str, set[str]]:
    """The same in another process. Raises CheckpointError where its time is over."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", MATCHER],
            input=json.dumps([patterns, names]),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as fault:
        which = ", ".join(map(shown, patterns[:3]))
        why = f"take more than {SECONDS} seconds for {len(names):,} names; write them without nested repetitions"
        raise CheckpointError(f"{what}: the regular expressions {which} {why}") from fault
    rows = json.loads(done.stdout)
    return {
        pattern: {name for name, hit in zip(names, row, strict=True) if hit}
        for pattern, row in zip(patterns, rows, strict=True)
    }
