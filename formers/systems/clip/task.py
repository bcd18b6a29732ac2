"""Contrastive learning of pictures and captions: two new towers, a checkpoint's, or one of them locked.

pictures, captions -> CLIP -> unit vectors of all processes -> each finds its own (softmax), or every pair (sigmoid)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.blocks.mode import inference
from formers.data.labels import Labels
from formers.data.picture_report import picture_lines
from formers.errors import ConfigError
from formers.fields import Between, Count, check
from formers.images.augment import PLAIN
from formers.models.clip import CLIP, width_of
from formers.models.vit import ViT
from formers.notes import note
from formers.pretrained.loaded import Loaded
from formers.systems.begin import Beginning, Prepared, on_device
from formers.systems.clip.data import CaptionBatch, CaptionBatches
from formers.systems.clip.sizes import ClipSizes
from formers.systems.clip.system import TEMPLATE, ClipModel, text_reader
from formers.systems.memory import new_model
from formers.systems.picture_bodies import begun_body, new_preprocessor
from formers.systems.system import Report
from formers.text.clip_tokenizer import train_clip
from formers.text.tokenizer import Tokenizer
from formers.text.training import train_word_pieces
from formers.training.contrastive import chunked
from formers.training.distributed import gather
from formers.training.task import Loss

SAMPLES, CAPTIONS = 3, 100  # pictures of the validation data that are shown; captions that they choose from
STUCK = 0.95  # of the loss of guessing


@dataclass(frozen=True, kw_only=True)
class ContrastConfig:
    """How pictures and captions learn from each other, and what is measured meanwhile."""

    loss: Literal["softmax", "sigmoid"] = "softmax"
    """softmax (CLIP: each finds its own in the batch), sigmoid (SigLIP: every pair by itself)."""
    chunk: Count = 0
    """Pictures whose activations are held at a time; their vectors' gradients are cached (0: all of a batch)."""
    lock: Literal["none", "picture", "text"] = "none"
    """The tower that stays as it is (picture: LiT)."""
    interpolate: Annotated[float, Between(above=0, most=1)] = 1.0
    """WiSE-FT: what is evaluated and saved is so much of the weights learned, the rest those of the start."""
    labels: tuple[str, ...] = ()
    """Labels to choose from when zero-shot accuracy is measured (empty: those of the column rows.label)."""
    templates: tuple[str, ...] = (TEMPLATE,)
    """What a label is put into, at {}; the mean of several is its vector."""

    def __post_init__(self) -> None:
        check(self, "task")
        if not self.templates or not all("{}" in template for template in self.templates):
            raise ConfigError(f"task.templates {list(self.templates)} must each have a {{}}, where the label goes")


class ClipTask:
    """What the trainer sees: the loss of a batch, recalls and zero-shot accuracy on held-out pictures."""

    def __init__(
        self,
        clip: ClipModel,
        validation: CaptionBatches,
        config: ContrastConfig,
        labels: Sequence[str] = (),
        expected: NDArray[np.int64] | None = None,
    ) -> None:
        """labels, expected: of the validation pictures, see `ClipModel.evaluate`."""
        self.clip, self.validation, self.config, self.labels, self.expected = clip, validation, config, labels, expected
        self.model, self.evaluations, self.explained = clip.model, 0, False
        self.start: Mapping[str, Tensor] | None = None
        if config.interpolate < 1:
            self.start = {name: weight.clone() for name, weight in clip.model.state_dict().items()}

    def loss(self, batch: CaptionBatch) -> Loss:
        """Summed over the pictures; the vectors are compared in fp32, with those of all processes."""
        self.model.clamp_scale()
        device, texts = self.clip.device, batch.texts.to(self.clip.device)
        u = self.vectors("picture", self.model.encode_picture, batch.pictures.to(device))
        texts, keep = (texts, None) if isinstance(texts, Tensor) else (texts.tokens, texts.keep)
        v = self.vectors("text", self.model.encode_text, texts, keep)
        vectors, own = gather(torch.stack([u, v], 1).float())
        same = gather(batch.same.T.to(device))[0].T
        with torch.autocast(device.type, enabled=False):
            losses = self.clip.contrast(vectors[:, 0], vectors[:, 1], same, own)
        return losses.sum(pictures=len(u))

    def vectors(self, tower: str, encode: Any, inputs: Tensor, keep: Tensor | None = None) -> Tensor:
        """Of one side of a batch, a chunk at a time; a locked tower is only read with, if it was not before."""
        if inputs.ndim == 2 and inputs.is_floating_point():
            return inputs
        if self.config.lock != tower:
            return chunked(encode, self.config.chunk, inputs, keep)
        with inference(getattr(self.model, tower)), torch.no_grad():
            return encode(inputs) if keep is None else encode(inputs, keep)

    def evaluate(self) -> Report:
        """Loss, recalls, zero-shot accuracy; says once why nothing is learned, where that is so."""
        with self.interpolated():
            report = self.clip.evaluate(self.validation, self.labels, self.expected, self.config.templates)
        self.evaluations += 1
        loss, floor = report.value("loss"), float(report.facts["floor"])
        if self.evaluations > 1 and not self.explained and loss > STUCK * floor:
            self.explained = True
            note(self.explanation(loss, floor))
        return report

    def explanation(self, loss: float, floor: float) -> str:
        """Why a loss may be stuck: what guessing costs, how many captions repeat, what reaches each tower."""
        batches = self.validation
        with torch.enable_grad():
            batch = self.loss(batches.collate(batches.epoch(0)[0]))
            norms = {}
            for name in ("picture", "text"):
                weights = [weight for weight in getattr(self.model, name).parameters() if weight.requires_grad]
                wanted = batch.total / batch.count
                found = torch.autograd.grad(wanted, weights, retain_graph=True, allow_unused=True) if weights else ()
                norms[name] = sum(float(each.square().sum()) for each in found if each is not None) ** 0.5
        _, counts = np.unique(batches.same[1], return_counts=True)
        scale = float(self.model.logit_scale.detach().exp())
        reach = ", ".join(f"{norm:.1e} {name}s" for name, norm in norms.items())
        return (
            f"little is learned so far: the loss is {loss:.3f}, that of guessing {floor:.3f}; "
            f"{counts[counts > 1].sum() / counts.sum():.0%} of the captions occur more than once; cosines are "
            f"multiplied by {scale:.1f}; the gradient reaching each tower: {reach}. Try a lower train.rate, a longer "
            "train.warmup, or a larger rows.batch"
        )

    def sample(self) -> Sequence[tuple[str, str]]:
        """Pictures, each with the nearest of some captions."""
        table, captions = self.validation.table, list(dict.fromkeys(self.validation.captions[:CAPTIONS]))
        rows = range(min(SAMPLES, len(table)))
        with self.interpolated():
            cosines = self.clip.encode_pictures([table.image(row) for row in rows])
            cosines = cosines @ self.clip.encode_texts(captions).T
        best = zip(rows, cosines.argmax(1), cosines.max(1), strict=True)
        return [
            (f"{table.where(row)}: {self.validation.captions[row]}", f"{x:.3f} {captions[i]}") for row, i, x in best
        ]

    def save(self, folder: Path) -> None:
        with self.interpolated():
            self.clip.save(folder)

    def interpolated(self) -> AbstractContextManager[None]:
        """Inside, the weights are those that are evaluated and saved."""
        return nullcontext() if self.start is None else self.clip.between(self.start, self.config.interpolate)

    def set_recompute(self) -> None:
        self.model.text.stack.recompute = True
        if isinstance(self.model.picture.body, ViT):
            self.model.picture.body.stack.recompute = True


# ---- a recipe's ---------------------------------------------------------------------------------------------


def prepare(beginning: Beginning) -> Prepared:
    """Captioned pictures, towers and task of a recipe, and the lines of the report on them."""
    rows, config, source = beginning.rows, beginning.task, beginning.source
    refuse(config, beginning)
    table, held_out = beginning.tables()
    loaded = None if beginning.start is None else beginning.loaded()
    both = loaded is not None and isinstance(loaded.model, CLIP)
    if both:
        assert loaded is not None
        tokenizer = loaded.tokenizer
        if tokenizer is None:
            raise ConfigError(f"{beginning.start} has no tokenizer files; put tokenizer.json beside its config.json")
    else:
        captions = table.table.columns[rows.text]
        learn = train_clip if rows.tokenizer == "clip" else train_word_pieces
        tokenizer = beginning.tokenizer(
            lambda: learn(captions, rows.vocab), words=("", "clip"), files="tokenizer.json or vocab.txt"
        )
    model, preprocessor, words = begun(
        beginning.sizes, loaded, tokenizer, config, lambda side: new_preprocessor(side, table, rows.pictures)
    )
    clip = ClipModel(on_device(model), tokenizer, preprocessor)
    batches, validation = (
        CaptionBatches(part, preprocessor, rows, clip.reader, seed=source.seed) for part in (table, held_out)
    )
    if config.lock != "none":
        words.append(locked(clip, config.lock, batches, validation, beginning.sections["train"]))
    labels, expected = classes_of(config.labels, rows.label, table, held_out)
    lines = [
        f"training data: {table.described}",
        f"examples: {len(table):,}",
        *picture_lines(table, held_out),
        *batches.lines(),
        f"validation: {held_out.name}, {len(held_out):,} examples",
        *([f"zero-shot: {len(labels)} labels, {len(config.templates)} template(s)"] if labels else []),
        *words,
    ]
    task = ClipTask(clip, validation, config, labels, expected)
    if beginning.sections["train"].accumulate > 1:
        lines.append(
            "warning: train.accumulate adds gradients but no negatives: each batch sees only its own rows; for more of "
            "them in the same memory raise rows.batch and set task.chunk (cached gradients)"
        )
    return beginning.prepared(task, batches, lines, tokenizer, batch=f"{rows.pictures.batch:,} pictures")


def locked(clip: ClipModel, tower: str, batches: CaptionBatches, validation: CaptionBatches, train: Any) -> str:
    """Keep a tower as it is; what it makes of rows that are read often is computed once. Gives the line on it."""
    getattr(clip.model, tower).requires_grad_(False)
    rows, width = batches.config, clip.model.config.picture.width
    anew = (rows if tower == "picture" else replace(rows, augmentation=PLAIN)).anew(train, len(batches), width)
    for part in (validation,) if anew else (validation, batches):
        if tower == "picture":
            part.order.once = lambda pictures: torch.from_numpy(clip.picture_vectors(pictures))
        else:
            part.once = clip.text_vectors
    how = f"in each step ({anew})" if anew else "once"
    return f"locked: the tower of {tower}s stays as it is; its vectors are computed {how}"


def refuse(config: ContrastConfig, beginning: Beginning) -> None:
    """Raises ConfigError for what has no start, but needs one."""
    if config.lock != "none" and beginning.start is None:
        raise ConfigError(f'task.lock "{config.lock}" keeps a tower that has learned something: name it in model.start')
    if config.interpolate < 1 and (beginning.start is None or beginning.sections["adapter"].kind != "none"):
        raise ConfigError(
            f"task.interpolate ({config.interpolate}) is between the weights of model.start and those learned: name a "
            "start, and train all weights (adapter.kind none)"
        )


def begun(
    sizes: ClipSizes, loaded: Loaded | None, tokenizer: Tokenizer, config: ContrastConfig, preprocessor: Any
) -> tuple[CLIP, Any, list[str]]:
    """The towers to train, what their pictures go through, and both in words."""
    old = loaded.model if loaded is not None and isinstance(loaded.model, CLIP) else None
    bias = config.loss == "sigmoid"
    if old is not None:
        if old.config.bias != bias:
            right = "sigmoid" if old.config.bias else "softmax"
            raise ConfigError(f'{sizes.start} was trained with the loss "{right}": set task.loss="{right}"')
        assert loaded is not None
        body, read, words = begun_body(sizes.picture, replace(loaded, model=old.picture.body), preprocessor)
        model = CLIP(replace(old.config, picture=replace(old.config.picture, body=body.config)))
        state = {name: weight for name, weight in old.state_dict().items() if not name.startswith("picture.body.")}
        model.load_state_dict(state, strict=False)
        model.picture.body = body
        return model, read, [words, "both towers are the checkpoint's"]
    if config.lock == "text":
        raise ConfigError(f'task.lock "text": {sizes.start} has no tower of texts; start from a CLIP')
    reader = text_reader(tokenizer, sizes.length)
    text = sizes.text(tokenizer.vocab, tokenizer.eos if reader.separator is None else reader.separator)
    if loaded is None:
        model = new_model(CLIP, sizes.config(text, sizes.body(), bias=bias))
        height, width = sizes.picture.side
        return model, preprocessor(sizes.picture.side), [f"model reads {height} x {width} pixels: two new towers"]
    body, read, words = begun_body(sizes.picture, loaded, preprocessor)
    if config.lock == "picture":  # a map onto vectors would have to learn: those of texts go where pictures are
        text = replace(text, projection=width_of(body.config))
    whole = sizes.config(text, body.config, bias=bias)
    if config.lock == "picture":
        whole = replace(whole, picture=replace(whole.picture, projection=0))
    model = CLIP(whole)
    model.picture.body = body
    return model, read, [words, "a new tower of texts"]


def classes_of(
    given: Sequence[str], column: str, train: Any, held_out: Any
) -> tuple[tuple[str, ...], NDArray[np.int64] | None]:
    """The labels of zero-shot accuracy, and which of them each held-out picture has; none where there is no column."""
    if not column:
        if given:
            raise ConfigError("task.labels are for zero-shot accuracy, which needs --set rows.label=COLUMN")
        return (), None
    values = [*train.table.named(column), *held_out.table.named(column)] if not given else []
    labels = tuple(given) or tuple(sorted(set(map(str, values))))
    return labels, Labels("one", labels).answers(held_out.table, column)
