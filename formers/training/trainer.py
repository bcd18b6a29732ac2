"""Training: a generator that improves `task.model` and yields what happened.

State is (step, data position, weights, optimizer, average, best). Everything random is a pure function of
(seed, step, rank), and the data's order of (seed, epoch): so a run that was killed goes on to the same bits.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from formers.errors import ConfigError, near, nearest
from formers.training import checkpoint
from formers.training.config import TrainConfig
from formers.training.distributed import Replicas, World, company, join
from formers.training.events import Evaluated, Event, Finished, Sampled, Saved, Started, Stepped, Stopped
from formers.training.interrupt import Interrupt
from formers.training.optimizer import Average, make_optimizer, set_learning, trainable
from formers.training.order import Cursor
from formers.training.precision import Precision, decide, undisturbed
from formers.training.prefetch import Prefetch
from formers.training.run import Run
from formers.training.seeding import preserved, seed_from
from formers.training.state import State, fingerprint, improves, restore, tensors_of
from formers.training.task import Batches, Task
from formers.training.update import Update, Updater

WORTH_A_THREAD = 0.1  # of the time of forward and backward: what making a batch has to take
UNITS = ("tokens", "pictures", "sounds")  # the part of a loss that speed is counted in
EVALUATION = -1  # in place of the step: every evaluation draws the same random numbers


def train(task: Task, batches: Batches, config: TrainConfig, run: Run, *, held: bool = False) -> Iterator[Event]:
    """Train `task.model` on `batches` until `config.steps`, from the run's last checkpoint on if it has one.

    Under `torchrun` every process calls this; only rank 0 writes, evaluates and yields events. The first
    SIGINT or SIGTERM ends it after the step, saved. held: the caller keeps others out of the run. Raises
    TrainingError (nothing to train, loss not finite, a folder that is in use or cannot be written), CheckpointError (a
    checkpoint that cannot be written or read), ConfigError (train.monitor is not a score of the task).
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    world = join()
    with ExitStack() as stack:
        stack.enter_context(company(world))
        if not held:
            world.together(lambda: stack.enter_context(run.hold()) if world.main else None)
        interrupt = stack.enter_context(Interrupt())
        for event in Training(task, batches, config, run, world).events(interrupt):
            if world.main:
                yield event


@dataclass
class Tally:
    """Sums over the steps since the last report."""

    total: float = 0.0
    count: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    steps: int = 0
    last: Update | None = None

    def add(self, update: Update, seconds: float) -> None:
        """Take in one update."""
        self.total, self.count, self.last = self.total + update.total, self.count + update.count, update
        self.seconds, self.steps = self.seconds + seconds, self.steps + 1
        for name, value in update.parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + value

    def sums(self) -> dict[str, Any]:
        """What a checkpoint keeps of it: JSON, which has no NaN."""
        parts = {name: value if math.isfinite(value) else None for name, value in self.parts.items()}
        return {"total": self.total, "count": self.count, "parts": parts, "seconds": self.seconds, "steps": self.steps}

    @classmethod
    def of(cls, sums: Mapping[str, Any]) -> Tally:
        """What `sums` gave."""
        parts = {name: math.nan if value is None else value for name, value in sums.get("parts", {}).items()}
        return cls(**{**sums, "parts": parts})


class Training:
    """One call of `train`, in one process."""

    def __init__(self, task: Task, batches: Batches, config: TrainConfig, run: Run, world: World) -> None:
        self.task, self.batches, self.config, self.run, self.world = task, batches, config, run, world
        self.weights = list(trainable(task.model).values())
        self.device = self.weights[0].device
        self.optimizer = make_optimizer(task.model, config)
        self.average = Average(task.model, config.average) if config.average else None
        self.state = State(frozen=fingerprint(task.model))
        self.tally = Tally()

    def events(self, interrupt: Interrupt) -> Iterator[Event]:
        """The whole of training, every event recorded in the run folder before it is yielded."""
        resumed = self.begin()
        if lost := self.lost_save():
            yield self.tell(lost)
        if self.ended():
            yield self.finished(already=True)
            return
        precision = self.prepare()
        yield self.tell(self.started(resumed, precision))
        reason = ""
        with self.prefetch(precision.seconds[precision.name]) as batches:
            while not self.ended() and not reason:
                stop = self.step(batches, interrupt.raised)
                if self.due(self.config.log_every):
                    yield self.tell(self.stepped())
                better = False
                if self.due(self.config.evaluate_every):
                    evaluated = self.evaluate()
                    better = evaluated.best
                    yield self.tell(evaluated)
                if self.due(self.config.sample_every):
                    yield self.tell(self.sample())
                reason = "signal" if stop and not self.ended() else ""
                if better or reason or self.due(self.config.save_every) or self.ended():
                    yield self.tell(self.save())
        if reason or self.worn_out():
            yield self.tell(Stopped(step=self.state.step, reason=reason or "patience", message=self.advice()))
        if not reason:
            yield self.tell(self.finished())

    def tell(self, event: Event) -> Event:
        if self.world.main:
            self.run.record(event)
        return event

    def due(self, every: int) -> bool:
        return every > 0 and (self.state.step % every == 0 or self.state.step == self.config.steps)

    def ended(self) -> bool:
        return self.state.step >= self.config.steps or self.worn_out()

    def worn_out(self) -> bool:
        return 0 < self.config.patience <= self.state.stale and self.state.step < self.config.steps

    # -- before the first step

    def begin(self) -> bool:
        """Open the run folder and take up its last checkpoint; gives whether there was one."""
        self.world.from_main(lambda: self.run.open(self.config.seed))
        folder = self.world.from_main(self.run.latest)
        if folder is not None:
            self.state = self.world.together(lambda: restore(folder, self.task.model, self.optimizer, self.average))
            self.tally = Tally.of(self.state.tally)
            if self.state.best and self.state.best["monitor"] != self.config.monitor:
                self.state.best, self.state.stale = None, 0
        self.world.from_main(self.rewind)
        self.cursor = Cursor(self.batches, self.state.epoch, self.state.index)
        return folder is not None

    def rewind(self) -> None:
        checkpoint.tidy(self.run.checkpoints, self.config.keep, self.state.best)
        self.run.rewind(self.state.step)

    def lost_save(self) -> Saved | None:
        """The event of a checkpoint that was complete when the process was killed before it could say so."""
        step = self.state.step
        if not self.world.main or not step:
            return None
        if any(line["event"] == "saved" and line["step"] == step for line in self.run.read_events()):
            return None
        return Saved(step=step, folder=str(checkpoint.path_of(self.run.checkpoints, step)), seconds=0.0)

    def prepare(self) -> Precision:
        """Everything that has to be settled before the first step, on the model as it will be trained."""
        task, config, world = self.task, self.config, self.world
        set_learning(task.model)
        if config.recompute:
            task.set_recompute()
        precision = self.decide_precision()
        self.state.precision = asdict(precision)
        self.updater = Updater(
            self.batches.describe,
            config,
            weights=self.weights,
            optimizer=self.optimizer,
            average=self.average,
            replicas=Replicas(task, world, unused=world.size > 1 and self.leaves_unused()),
            precision=precision,
            world=world,
            kept=lambda: self.run.latest() is not None,
        )
        if config.compile:
            task.model.compile()
        return precision

    def decide_precision(self) -> Precision:
        """The recipe's precision; for "auto" what an earlier start measured, or else a probe now."""
        return Precision(**self.world.from_main(self.decision))

    def decision(self) -> dict[str, Any]:
        wanted = self.config.precision
        decision: dict[str, Any] = {**(self.run.decisions().get("precision") or self.state.precision)}
        mine = bool(decision) and decision["device"] == self.device.type and decision["name"] in decision["seconds"]
        if not (mine and (decision["decided"] == "probe" if wanted == "auto" else decision["name"] == wanted)):
            decision = asdict(decide(wanted, self.task, self.first_batch, self.device))
            self.run.decide("precision", decision)
        return decision

    def first_batch(self) -> object:
        seed_from(self.config.seed, self.state.step + 1, self.world.rank)
        return self.batches.collate(self.world.share(self.cursor.peek())[0])

    def prefetch(self, batch_seconds: float) -> Prefetch:
        """What the remaining steps learn from; a thread for batches that are quickly made costs more than it saves."""
        depth = self.config.prefetch
        if depth < 0:
            depth = int(min(self.seconds_to_collate() for _ in range(2)) > WORTH_A_THREAD * batch_seconds)
        total = (self.config.steps - self.state.step) * self.config.accumulate
        return Prefetch(self.cursor, self.world.share, depth=depth, total=total)

    def seconds_to_collate(self) -> float:
        start = time.perf_counter()
        self.first_batch()
        return time.perf_counter() - start

    def leaves_unused(self) -> bool:
        """Whether some weight has no part in the first batch: DDP must then look for such at every step."""
        with undisturbed(self.task.model):
            self.task.loss(self.first_batch()).total.backward()
            unused = any(weight.grad is None for weight in self.weights)
        return self.world.sum(torch.tensor(float(unused), device=self.device)).item() > 0

    def started(self, resumed: bool, precision: Precision) -> Started:
        seconds = precision.seconds[precision.name]
        return Started(
            step=self.state.step,
            steps=self.config.steps,
            resumed=resumed,
            device=str(self.device),
            processes=self.world.size,
            parameters=sum(weight.numel() for weight in self.task.model.parameters()),
            trainable=sum(weight.numel() for weight in self.weights),
            precision=precision.name,
            decided=precision.decided,
            batch_seconds=seconds,
            estimate_seconds=seconds * (self.config.steps - self.state.step) * self.config.accumulate,
            gain=precision.gain,
        )

    # -- one step, and what follows it

    def step(self, batches: Prefetch, stop: bool) -> bool:
        """One update of the weights; gives whether any process was told to stop."""
        start = time.perf_counter()
        state, number = self.state, self.state.step + 1
        seed_from(self.config.seed, number, self.world.rank)
        update = self.updater(number, (batches.take() for _ in range(self.config.accumulate)), stop)
        state.step, (state.epoch, state.index) = number, batches.position
        seconds = time.perf_counter() - start
        state.seconds += seconds
        self.tally.add(update, seconds)
        return update.stop

    def stepped(self) -> Stepped:
        tally, self.tally = self.tally, Tally()
        assert tally.last
        count = max(tally.count, 1e-12)
        unit = next((name for name in UNITS if name in tally.parts), UNITS[0])
        speed = tally.parts.pop(unit, tally.count) / tally.seconds
        return Stepped(
            step=self.state.step,
            epoch=self.state.epoch,
            loss=tally.total / count,
            parts={name: value / count for name, value in tally.parts.items()},
            norm=tally.last.norm,
            rate=tally.last.rate,
            tokens_per_second=speed,
            seconds=tally.seconds,
            remaining_seconds=tally.seconds / tally.steps * (self.config.steps - self.state.step),
            unit=unit,
        )

    @contextmanager
    def aside(self) -> Iterator[None]:
        """The model as it will be used: averaged weights, eval mode, no gradients; random states put back."""
        with self.average.applied() if self.average else nullcontext(), preserved(), torch.no_grad():
            seed_from(self.config.seed, EVALUATION)
            self.task.model.eval()
            try:
                yield
            finally:
                set_learning(self.task.model)

    def evaluate(self) -> Evaluated:
        start = time.perf_counter()
        scores = self.world.from_main(self.scores)
        monitor, best = self.config.monitor, self.state.best
        value, lower, _ = scores.get(monitor, (math.nan, True, ""))
        better = improves(value, best["value"] if best else None, lower_is_better=lower)
        if better:
            self.state.best = {"step": self.state.step, "monitor": monitor, "value": value}
        self.state.stale = 0 if better else self.state.stale + 1
        return Evaluated(
            step=self.state.step,
            metrics={name: value for name, (value, _, _) in scores.items()},
            units={name: unit for name, (_, _, unit) in scores.items()},
            monitor=monitor,
            best=better,
            seconds=time.perf_counter() - start,
        )

    def scores(self) -> dict[str, tuple[float, bool, str]]:
        """Name -> value, whether lower is better, unit."""
        with self.aside():
            report = self.task.evaluate()
        scores = {one.name: (float(one.value), one.lower_is_better, one.unit) for one in report.scores}
        monitor = self.config.monitor
        if scores and monitor not in scores:
            close = nearest(monitor, scores) if near(monitor, scores) else ""
            which = f"the scores of this task, {', '.join(scores)}{close}; choose one: --set train.monitor=NAME"
            raise ConfigError(f'train.monitor "{monitor}" is not among {which}')
        return scores

    def sample(self) -> Sampled:
        return Sampled(step=self.state.step, samples=self.world.from_main(self.samples))

    def samples(self) -> list[tuple[str, str]]:
        with self.aside():
            return self.run.save_samples(self.state.step, self.task.sample())

    def save(self) -> Saved:
        start = time.perf_counter()
        folder = self.world.from_main(self.write)
        return Saved(step=self.state.step, folder=str(folder), seconds=time.perf_counter() - start)

    def write(self) -> Path:
        root, state = self.run.checkpoints, self.state
        state.tally = self.tally.sums()
        tensors = tensors_of(self.task.model, self.optimizer, self.average)
        if self.average:
            tensors = {
                name: value.detach().clone() if name.startswith(("weight.", "buffer.")) else value
                for name, value in tensors.items()
            }
        with self.aside():
            folder = checkpoint.write(root, state.step, self.task.save, tensors, asdict(state))
        checkpoint.tidy(root, self.config.keep, state.best)
        return folder

    # -- the end

    def advice(self) -> str:
        state = self.state
        if not self.worn_out():
            return f"stopped and saved at step {state.step}: the same command goes on from here"
        best = f" than {state.best['value']:.6g} at step {state.best['step']}" if state.best else ""
        return f"no better {self.config.monitor}{best} in {state.stale} evaluations: raise train.patience"

    def finished(self, already: bool = False) -> Finished:
        state, folder = self.state, self.run.usable()
        message = ""
        if already:
            complete = f"this run is finished at step {state.step}: raise train.steps to go on"
            message = self.advice() if self.worn_out() else complete
        return Finished(
            step=state.step,
            seconds=state.seconds,
            folder=str(folder) if folder else None,
            best_step=state.best["step"] if state.best else None,
            best_value=state.best["value"] if state.best else None,
            peak_memory=peak_memory(),
            peak_device_memory=torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0,
            already=already,
            message=message,
        )


def peak_memory() -> int:
    """Most bytes that this process held so far; 0 where the system does not tell (Windows)."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
