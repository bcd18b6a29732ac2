"""How anything is trained: `for event in train(task, batches, TrainConfig(steps=500), Run("runs/x")):`."""

from formers.training.config import TrainConfig
from formers.training.events import Evaluated, Event, Finished, Reported, Sampled, Saved, Started, Stepped, Stopped
from formers.training.run import Run
from formers.training.task import Batches, Loss, Task
from formers.training.trainer import train

__all__ = [
    "train", "TrainConfig", "Run", "Task", "Batches", "Loss",
    "Event", "Reported", "Started", "Stepped", "Evaluated", "Sampled", "Saved", "Stopped", "Finished",
]  # fmt: skip
