"""Cases: a file is changed at random and read; whatever it holds, a reader loads or refuses it in one line.

Each case is a process of its own, forked from one that has everything imported, with limits on memory and time. What
goes wrong is kept below build/fuzz/, and its seed and number do it again.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import gc
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from mutations import mutate
from readers import READERS
from samples import SAMPLES

from formers.decoding.options import DecodingOptions
from formers.errors import FormersError
from formers.fields import fields_of
from formers.registry import sections, systems
from formers.systems.system import resolve

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "fuzz"
MEMORY = 2 * 2**30  # bytes beyond what the process has at its start
SECONDS, WALL = 10, 60  # of the processor; of the clock, for what waits without computing
LONGEST = 2000  # characters of a message
FINE = ("loaded", "refused")
FAULTS = {"other": "other exceptions", "hang": "hangs", "memory": f"beyond {MEMORY >> 30} GB"}


@dataclass
class Case:
    """One changed file, and how reading it ended."""

    number: int
    reader: str = ""
    file: str = ""
    change: str = ""
    outcome: str = ""
    """loaded, refused (in one line), other, hang, memory."""
    message: str = ""
    trace: str = ""
    started: float = field(default_factory=time.monotonic)

    def line(self, seed: int) -> str:
        again = f"make fuzz SEED={seed} CASE={self.number}"
        return f"{self.outcome}: {self.reader}: {self.file}: {self.change}: {self.message[:300]}\n    again: {again}"


# ---- in the process of a case --------------------------------------------------------------------------------------


def attempt(case: Case, seed: int, samples: Path, work: Path, unchanged: bool) -> Case:
    """Change a file and read it."""
    random = Random(f"{seed}:{case.number}")
    if unchanged:
        every = [(name, sample) for name, reader in READERS.items() for sample in reader.samples]
        case.reader, name = every[case.number % len(every)]
    else:
        case.reader = random.choices(list(READERS), [reader.share for reader in READERS.values()])[0]
        name = random.choice(READERS[case.reader].samples)
    reader, folder = READERS[case.reader], work / name
    shutil.copytree(samples / name, folder)
    if case.reader == "request":
        shutil.copytree(samples / "llama", work / "language")
    files = sorted({path for pattern in reader.files for path in folder.glob(pattern) if path.is_file()})
    assert files, f"{case.reader}: the sample {name} has none of its files"
    file = random.choice(files)
    case.file = str(file.relative_to(work))
    others = sorted(path for path in folder.rglob("*") if path.is_file())
    case.change = "unchanged" if unchanged else mutate(file, random, others)
    (work / "begun").write_text(json.dumps(vars(case)))  # for a process that is killed
    limit()
    os.chdir(work)  # no file that a text may name is beside
    try:
        reader.read(folder, file)
        case.outcome = "loaded"
    except FormersError as fault:
        case.outcome, case.message = "refused", str(fault)
        if wrong := fault_of(case.message):
            case.outcome, case.message = "other", f"{wrong}: {case.message}"
        if unchanged:
            case.outcome = "other"
        if any(map(is_memory, causes(fault))):
            case.outcome = "memory"
        case.trace = traceback.format_exc()
    except BaseException as fault:
        case.outcome = "memory" if any(map(is_memory, causes(fault))) else "other"
        case.message, case.trace = f"{type(fault).__name__}: {fault}", traceback.format_exc()
    return case


def limit() -> None:
    """From now on this process has so much more memory, and so much time."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.register(signal.SIGXCPU, chain=True)  # says where it hangs
    faulthandler.dump_traceback_later(WALL - 1)


def fault_of(message: str) -> str:
    """What is wrong with the message of a FormersError; "" where nothing is."""
    if not message.strip() or len(message.splitlines()) != 1:
        return "not one line"
    if len(message) > LONGEST:
        return f"{len(message):,} characters long"
    return "advises weights_only" if "weights_only" in message else ""


def causes(fault: BaseException | None) -> Iterator[BaseException]:
    while fault is not None:
        yield fault
        fault = fault.__cause__ or fault.__context__


def is_memory(fault: BaseException) -> bool:
    texts = ("allocate memory", "bad_alloc", "Cannot allocate", "malloc of size", "realloc of size")
    return isinstance(fault, MemoryError) or any(text in str(fault) for text in texts)


# ---- in the process that forks them --------------------------------------------------------------------------------


def import_all() -> None:
    """Import what a case may need, so that a fork has it."""
    import gguf  # noqa: F401
    import numba  # noqa: F401
    import numpy.ma  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import sentencepiece  # noqa: F401
    import starlette.testclient  # noqa: F401
    import torch._dynamo

    import formers.data.builtin.parts
    import formers.launch
    import formers.pictures.curve
    import formers.pretrained.gguf.load
    import formers.server.app  # noqa: F401
    from formers.pretrained.families import families

    torch.set_num_threads(1)
    families()
    for each in systems():
        kinds = [*sections(each).values(), *(resolve(verb.options) for verb in each.verbs)]
        list(map(fields_of, kinds))  # which read their source
        for place in (each.open, each.prepare, each.task, *(verb.run for verb in each.verbs)):
            resolve(place)
    fields_of(DecodingOptions)
    gc.collect()
    gc.freeze()  # what is here stays shared


def forked(work: Path, job: Any) -> tuple[int, int]:
    """Do it in a process with output of its own; gives its id, and a descriptor that closes when it ends."""
    end, beginning = os.pipe()
    if (child := os.fork()) == 0:
        os.close(end)
        code = 1
        try:
            with (work / "output").open("w") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            job()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(beginning)
    return child, end


def build_samples(folder: Path) -> None:
    """Write all samples in one process, so that this one stays without threads and is as it was."""

    def build() -> None:
        for name, sample in SAMPLES.items():
            torch.manual_seed(0)
            (folder / name).mkdir()
            sample(folder / name)

    child, end = forked(folder, build)
    os.close(end)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"the samples cannot be built: {(folder / 'output').read_text()}")


def run_cases(
    numbers: list[int], seed: int, workers: int, samples: Path, place: Path, unchanged: bool
) -> Iterator[tuple[Case, Path]]:
    """Every case as it ends, and its folder."""
    waiting, running = list(reversed(numbers)), {}
    while waiting or running:
        while waiting and len(running) < workers:
            case = Case(waiting.pop())
            work = place / str(case.number)
            work.mkdir()

            def job(case: Case = case, work: Path = work) -> None:
                ended = attempt(case, seed, samples, work, unchanged)
                (work / "outcome").write_text(json.dumps(vars(ended)))

            child, end = forked(work, job)
            running[end] = (case, child, work)
        ready, _, _ = select.select(list(running), [], [], 1)
        now = time.monotonic()
        for end, (case, child, work) in list(running.items()):
            late = now - case.started > WALL
            if end not in ready and not late:
                continue
            if late:
                os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            os.close(end)
            del running[end]
            yield ended(case, status, late, work), work


def ended(case: Case, status: int, late: bool, work: Path) -> Case:
    """How a case ended, from what it wrote or from what killed it."""
    output = (work / "output").read_text(errors="replace") if (work / "output").exists() else ""
    if (work / "outcome").exists():
        return Case(**json.loads((work / "outcome").read_text()))
    if (work / "begun").exists():
        case = Case(**json.loads((work / "begun").read_text()))
    case.trace = output[-4000:]
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if late or killed in (signal.SIGXCPU, signal.SIGKILL):
        case.outcome, case.message = "hang", f"over {WALL if late else SECONDS} s"
    elif "memory allocation of" in output or "bad_alloc" in output or "Cannot allocate" in output:
        case.outcome, case.message = "memory", "the process was ended"
    else:
        case.outcome, case.message = "other", f"the process ended by signal {killed}: {output.strip()[-200:]}"
    return case


def where(case: Case) -> str:
    """What faults have in common: the kind and the last line of ours that it went through."""
    lines = [line.strip() for line in case.trace.splitlines() if "/formers/" in line and "File" in line]
    place = lines[-1].partition("/formers/")[2] if lines else ""
    return f"{case.outcome} {case.message.partition(':')[0][:60]} {place}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Change files at random and read them.")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="this one only, with all that it says")
    parser.add_argument("--reader", help="only cases of readers whose name begins so: adapter,gguf")
    parser.add_argument("--unchanged", action="store_true", help="read every sample as it is: all must load")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    import_all()
    if options.reader:
        for name in [name for name in READERS if not name.startswith(tuple(options.reader.split(",")))]:
            del READERS[name]
    if options.unchanged:
        options.cases = sum(len(reader.samples) for reader in READERS.values())
    numbers = [options.case] if options.case is not None else range(options.first, options.first + options.cases)
    outcomes: collections.Counter[str] = collections.Counter()
    kinds: collections.Counter[str] = collections.Counter()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="formers-fuzz-") as name:
        samples, place = Path(name) / "samples", Path(name) / "cases"
        samples.mkdir()
        place.mkdir()
        build_samples(samples)
        for case, work in run_cases(list(numbers), options.seed, options.workers, samples, place, options.unchanged):
            outcomes[case.outcome] += 1
            if options.case is not None or case.outcome not in FINE:
                kept = KEPT / f"{options.seed}-{case.number}"
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(work, kept, symlinks=True, ignore=special)
                (kept / "report").write_text(f"{case.line(options.seed)}\n{case.trace}\n")
                kinds[where(case)] += case.outcome not in FINE
                print(f"{case.line(options.seed)}\n    kept: {kept.relative_to(ROOT)}", flush=True)
                if options.case is not None:
                    print(case.trace)
            shutil.rmtree(work, ignore_errors=True)
    for kind, count in kinds.most_common():
        print(f"{count:5}  {kind}")
    faults = ", ".join(f"{outcomes[kind]} {name}" for kind, name in FAULTS.items())
    print(
        f"{sum(outcomes.values()):,} cases of seed {options.seed} in {time.monotonic() - begun:.0f} s: "
        f"{outcomes['loaded']:,} loaded, {outcomes['refused']:,} refused in one line; {faults}"
    )
    return int(any(outcomes[kind] for kind in FAULTS))


def special(folder: str, names: list[str]) -> list[str]:
    """Pipes, which cannot be copied."""
    return [name for name in names if (Path(folder) / name).is_fifo()]
