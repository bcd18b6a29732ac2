"""Batches that are made ahead change nothing: the same bits, the same faults, and no thread is left."""

import signal
import threading

import numpy as np
import pytest
import torch
from training_toy import ToyBatches, ToyTask, config, final, run_all

from formers.errors import DataError
from formers.training import Run, Stepped, Stopped, train, trainer
from formers.training.order import Cursor
from formers.training.prefetch import Prefetch
from formers.training.seeding import seed_from

USUAL = {"steps": 10, "save_every": 2, "evaluate_every": 3, "average": 0.9, "accumulate": 2, "schedule": "inverse_sqrt"}


class Watched(ToyBatches):
    """Remembers where each batch was made; row 5 of epoch 2 is broken where `broken` says so."""

    def __init__(self, broken=False):
        super().__init__()
        self.broken, self.threads, self.plans = broken, [], 0

    def epoch(self, epoch):
        self.plans = epoch
        return super().epoch(epoch)

    def collate(self, rows):
        self.threads.append(threading.current_thread().name)
        if self.broken and self.plans == 2 and 5 in rows:
            raise DataError('train.tsv, line 6: column "text" is broken')
        return super().collate(rows)


def ahead():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def toy():
    return ToyTask(dropout=0.3, batch_norm=True)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_batch_of_the_toy_is_a_function_of_its_rows():
    batches = ToyBatches()
    seed_from(1)
    first = batches.collate([1, 2, 3])
    seed_from(2)
    state = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert torch.equal(batches.collate([1, 2, 3]), first)
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == state


@pytest.mark.parametrize("depth", [1, 3])
def test_the_weights_are_the_same_bits(tmp_path, depth):
    run_all(tmp_path / "plain", toy(), **USUAL, prefetch=0)
    batches = Watched()
    _, events = run_all(tmp_path / "ahead", toy(), batches, **USUAL, prefetch=depth)
    assert same(final(tmp_path / "plain"), final(tmp_path / "ahead"))
    assert sum(name.startswith("prefetch") for name in batches.threads) == 20  # never more than the steps need
    losses = [
        [line["loss"] for line in Run(tmp_path / name).read_events() if line["event"] == "stepped"]
        for name in ("plain", "ahead")
    ]
    assert losses[0] == losses[1] and not ahead()


@pytest.mark.parametrize(("share", "threads"), [(0.0, 10), (1e9, 0)])
def test_a_thread_where_batches_are_slow_to_make(tmp_path, monkeypatch, share, threads):
    monkeypatch.setattr(trainer, "WORTH_A_THREAD", share)
    batches = Watched()
    run_all(tmp_path, batches=batches, prefetch=-1)
    assert sum(name.startswith("prefetch") for name in batches.threads) == threads


def test_a_run_goes_on_with_and_without(tmp_path):
    run_all(tmp_path / "whole", toy(), **USUAL, prefetch=0)
    for steps, depth in ((3, 2), (7, 0), (10, 1)):
        run_all(tmp_path / "parts", toy(), **USUAL | {"steps": steps}, prefetch=depth)
    assert same(final(tmp_path / "whole"), final(tmp_path / "parts"))


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_fault_comes_at_its_step(tmp_path, depth):
    events = []
    with pytest.raises(DataError, match=r'^train\.tsv, line 6: column "text" is broken$'):
        for event in train(toy(), Watched(broken=True), config(steps=20, prefetch=depth), Run(tmp_path)):
            events.append(event)
    step = max(event.step for event in events if isinstance(event, Stepped))
    rows = ToyBatches().epoch(2)
    assert step == 2 * len(rows) + next(place for place, batch in enumerate(rows) if 5 in batch)
    assert not ahead()


def test_no_thread_is_left_however_it_ends(tmp_path):
    events = train(toy(), ToyBatches(), config(), Run(tmp_path / "closed"))
    for event in events:
        if isinstance(event, Stepped):
            break
    assert len(ahead()) == 1
    events.close()
    assert not ahead()
    events = train(toy(), ToyBatches(), config(), Run(tmp_path / "stopped"))
    next(events), next(events)
    signal.raise_signal(signal.SIGINT)
    assert isinstance(list(events)[-1], Stopped) and not ahead()
    events = train(toy(), ToyBatches(), config(), Run(tmp_path / "pressed"))
    next(events), next(events)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    events.close()
    assert not ahead()


def test_the_position_is_after_what_was_taken():
    def share(rows):
        return rows, 1.0

    plain = Cursor(ToyBatches())
    with Prefetch(Cursor(ToyBatches()), share, depth=3, total=9) as batches:
        assert batches.position == (0, 0)
        for _ in range(9):
            (rows,) = plain.take(1)
            assert batches.take().rows == rows and batches.position == (plain.epoch, plain.index)
