"""Learning to label pictures: any body of vision with a head, from the beginning or from a checkpoint.

picture -> random changes, mixing -> PictureClassifier -> logits -> cross-entropy | binary cross-entropy
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
from numpy.typing import NDArray
from torch import nn

from formers.data.labels import Labels, learn_labels
from formers.data.picture_report import picture_lines
from formers.errors import ConfigError
from formers.fields import Between, Count, check
from formers.images.preprocess import Preprocessor
from formers.models.picture_classifier import PictureClassifier, PictureHeadConfig
from formers.models.resnet import ResNet
from formers.models.vit import ViT
from formers.systems.begin import Beginning, Prepared, on_device
from formers.systems.images.data import LabelledPictures, PictureBatch, PictureBatches
from formers.systems.images.system import PictureModel, is_convolutional
from formers.systems.labelling import balanced_weights, shares, summed_loss, uneven
from formers.systems.memory import new_model
from formers.systems.picture_sizes import PictureSizes, check_filled
from formers.training.task import Loss

SAMPLES = 3  # pictures of the validation data that are shown


@dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """What is learned of a picture, and how."""

    kind: Literal["auto", "one", "several"] = "auto"
    """one (of the labels), several (any number of them), auto: what the labels look like."""
    label_smoothing: Annotated[float, Between(0, below=1)] = 0.0
    """Share of the probability that is spread over all labels (one of the labels only)."""
    mixup: Annotated[float, Between(0)] = 0.0
    """Pictures are mixed with others of their batch, in shares from Beta(mixup, mixup), such as 0.2 (0: not)."""
    cutmix: Annotated[float, Between(0)] = 0.0
    """A rectangle of another picture is put in, of an area from Beta(cutmix, cutmix), such as 1 (0: not)."""
    class_weights: Literal["none", "balanced"] = "none"
    """none; balanced: a label counts for more the rarer it is, all labels together for the same."""
    freeze: Count = 0
    """How many of the lowest blocks do not learn, and what is below them (0: everything learns)."""
    samples: tuple[str, ...] = ()
    """Files of pictures to classify now and then while training; empty: some of the validation data."""

    def __post_init__(self) -> None:
        check(self, "task")


class ImagesTask:
    """What the trainer sees: the loss of the labels, and scores on held-out pictures."""

    def __init__(
        self,
        pictures: PictureModel,
        validation: PictureBatches,
        config: ImagesConfig,
        weights: NDArray[Any] | None = None,
    ) -> None:
        """weights: how much each label counts; None: all the same."""
        self.pictures, self.validation, self.config = pictures, validation, config
        self.model, self.save = pictures.head, pictures.save
        self.evaluate = partial(pictures.evaluate, validation)
        self.format = torch.channels_last if is_convolutional(self.model) else torch.contiguous_format
        self.model.to(memory_format=self.format)
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=pictures.device)

    def loss(self, batch: PictureBatch) -> Loss:
        """Summed over the pictures (of several labels, over these too); a weighted one counts as its weight."""
        pictures = batch.pictures.to(self.pictures.device).contiguous(memory_format=self.format)
        total, count = summed_loss(
            self.pictures.kind,
            self.model(pictures).float(),
            batch.labels.to(self.pictures.device),
            weights=self.weights,
            smoothing=self.config.label_smoothing,
        )
        return Loss(total, count)

    def sample(self) -> Sequence[tuple[str, str]]:
        """Pictures with their likeliest labels."""
        from formers.systems.pictures import Pictures

        if self.config.samples:
            named = [picture for group in Pictures.of_files(self.config.samples) for picture in group]
        else:
            table = self.validation.table
            named = [(table.where(row), table.image(row)) for row in range(min(SAMPLES, len(table)))]
        rows = self.pictures.classify([image for _, image in named])
        return [
            (name, self.pictures.likeliest(name, row, 3, alone=True).line().replace("\t", ", "))
            for (name, _), row in zip(named, rows, strict=True)
        ]

    def set_recompute(self) -> None:
        if not isinstance(self.model.body, ViT):
            raise ConfigError("train.recompute is for transformers, but this model is a residual network; set it to "
                              "false")  # fmt: skip
        self.model.body.stack.recompute = True


def prepare(beginning: Beginning) -> Prepared:
    """Labelled pictures, model and task of a recipe, and the lines of the report on them."""
    rows, config, source = beginning.rows, beginning.task, beginning.source
    table, held_out = beginning.tables()
    loaded = None if beginning.start is None else beginning.loaded()
    old = None if loaded is None else loaded.model
    if loaded is not None and not isinstance(old, PictureClassifier | ViT | ResNet):
        raise ConfigError(f"{beginning.start} is a {type(old).__name__}, expected a model of pictures, such as vit, "
                          "dinov2 or resnet")  # fmt: skip
    learned = old.config.labels if isinstance(old, PictureClassifier) else ()
    labels = learn_labels(table.table, rows.label, config.kind, known=learned, separator=rows.separator)
    if labels.kind == "number":
        raise ConfigError(f'the column "{rows.label}" holds numbers with fractions, expected labels; choose another '
                          "with --set rows.label=COLUMN")  # fmt: skip
    body, preprocessor, size = begun_body(beginning.sizes, rows, old, loaded and loaded.preprocessor, table)
    model, head = with_head(old, body, labels)
    frozen = freeze(model, config.freeze)
    batches = PictureBatches(
        table, preprocessor, rows, labels, seed=source.seed, mixup=config.mixup, cutmix=config.cutmix
    )
    validation = PictureBatches(held_out, preprocessor, rows, labels, seed=source.seed)
    weights = None if config.class_weights == "none" else balanced_weights(labels, batches.labels)
    task = ImagesTask(PictureModel(on_device(model), preprocessor), validation, config, weights)
    lines = [
        f"training data: {table.described}",
        f"examples: {len(table):,}",
        *picture_lines(table, held_out, label=rows.label),
        shares(labels, batches.labels),
        *(uneven(labels, batches.labels) if config.class_weights == "none" else []),
        f"validation: {held_out.name}, {len(held_out):,} examples",
        size,
        head,
        *frozen,
    ]
    return beginning.prepared(task, batches, lines, batch=f"{rows.batch:,} pictures")


def begun_body(
    sizes: PictureSizes, rows: LabelledPictures, old: nn.Module | None, read: Preprocessor | None, table: Any
) -> tuple[ViT | ResNet, Preprocessor, str]:
    """The body to train, what its pictures go through, and both in words: new, or of a checkpoint at the wanted size.

    read: the checkpoint's preprocessor.
    """
    if old is None:
        config = sizes.config()
        body = new_model(ResNet if sizes.kind == "resnet" else ViT, config)
        preprocessor = rows.preprocessor(sizes.side, table)
        return body, preprocessor, f"pictures: {preprocessor.height} x {preprocessor.width}, a new {sizes.kind}"
    inner = old.body if isinstance(old, PictureClassifier) else old
    assert isinstance(inner, ViT | ResNet)
    if read is None:
        raise ConfigError(f"model.start: {sizes.start} has no preprocessor_config.json; put the one of its publication "
                          "beside config.json")  # fmt: skip
    side = (sizes.height or read.height, sizes.width or sizes.height or read.width)
    was = (read.height, read.width)
    preprocessor = read if side == was else resized(read, side)
    if isinstance(inner, ResNet):
        body: ViT | ResNet = ResNet(replace(inner.config, drop_path=sizes.drop_path))
        body.load_state_dict(inner.state_dict())
    else:
        check_filled(side, inner.config.patch)
        body = at_size(inner, side, sizes)
    change = f", interpolated from {was[0]} x {was[1]}" if side != was and isinstance(inner, ViT) else ""
    return body, preprocessor, f"pictures: {side[0]} x {side[1]}{change}, the {type(inner).__name__} of {sizes.start}"


def resized(preprocessor: Preprocessor, side: tuple[int, int]) -> Preprocessor:
    """The same at another size: what is cut off stays the same share."""
    if isinstance(preprocessor.resize, int):
        resize: Any = round(preprocessor.resize * min(side) / min(preprocessor.height, preprocessor.width))
        return replace(preprocessor, height=side[0], width=side[1], resize=resize, crop=True)
    return replace(preprocessor, height=side[0], width=side[1], resize=side, crop=False)


@torch.no_grad()
def at_size(body: ViT, side: tuple[int, int], sizes: PictureSizes) -> ViT:
    """The same with positions of pictures of another size, and with the recipe's dropout."""
    stack = replace(body.config.stack, dropout=sizes.dropout)
    grid = (side[0] // body.config.patch, side[1] // body.config.patch)
    larger = ViT(replace(body.config, stack=stack, height=side[0], width=side[1], drop_path=sizes.drop_path))
    larger.load_state_dict({**body.state_dict(), "positions.weight": body.positions(grid)})
    return larger


def with_head(old: nn.Module | None, body: ViT | ResNet, labels: Labels) -> tuple[PictureClassifier, str]:
    """The classifier on a body, and in words where its head is from: the checkpoint's where it has these labels."""
    wanted: dict[str, Any] = {"labels": labels.names, "kind": labels.kind}
    if isinstance(old, PictureClassifier):
        config = replace(old.config, body=body.config, **wanted)
    else:
        config = PictureHeadConfig(body=body.config, **wanted)
    model = PictureClassifier(config)
    model.body = body
    if isinstance(old, PictureClassifier) and (old.config.labels, old.config.kind) == (labels.names, labels.kind):
        model.out.load_state_dict(old.out.state_dict())
        return model, f"the checkpoint's head of {len(labels.names)} label(s) kept"
    return model, f"a new head of {len(labels.names)} label(s)"


def freeze(model: PictureClassifier, count: int) -> list[str]:
    """Keep the lowest `count` blocks and what is below them; gives the line of the report, none for 0."""
    body = model.body
    if isinstance(body, ViT):
        blocks = list(body.stack.blocks)
        below: list[Any] = [body.stem, body.patches, body.positions, body.norm_input, *body.front()]
    else:
        blocks, below = [block for stage in body.stages for block in stage], [body.stem]  # type: ignore[union-attr]
    if not 0 <= count <= len(blocks):
        raise ConfigError(f"task.freeze ({count}) must be from 0 to {len(blocks)}: the model has {len(blocks)} blocks")
    if not count:
        return []
    for part in [*below, *blocks[:count]]:
        if part is not None:
            part.requires_grad_(False)
    learning = sum(weight.numel() for weight in body.parameters() if weight.requires_grad)
    total = sum(weight.numel() for weight in body.parameters())
    return [f"frozen: the lowest {count} of {len(blocks)} blocks and what is below; {learning / total:.1%} of the body "
            "learns"]  # fmt: skip
