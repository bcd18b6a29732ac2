"""Encoders of texts and pictures as ONNX graphs, which run without Python; names of inputs and outputs are the field's.

input_ids, attention_mask (, token_type_ids) (batch, length) -> last_hidden_state, sentence_embedding | logits ...
pixel_values (batch, channels, height, width) -> last_hidden_state, pooler_output | logits
of CLIP: input_ids, attention_mask -> text_embeds; pixel_values -> image_embeds, of length one
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.attention import SDPBackend, sdpa_kernel

from formers.blocks.pooling import pool
from formers.errors import CheckpointError, PackageError
from formers.files import replaced_file, try_file
from formers.models.clip import CLIP, PictureTower, TextTower
from formers.models.heads import MultipleChoice, Pretraining, SpanFinder, body
from formers.models.picture_classifier import PictureClassifier
from formers.models.resnet import ResNet
from formers.models.sentence import SentenceHead
from formers.models.vit import ViT

ENDING = ".onnx"
OTHER_ENDINGS = (".bin", ".gguf", ".onx", ".ort", ".pb", ".pt", ".pth", ".safetensors", ".tflite")
MOST_BYTES = 2**31 - 2**24  # of the weights in one file of protobuf, the graph beside them
OUTPUTS: dict[type[nn.Module], tuple[str, ...]] = {
    Pretraining: ("prediction_logits", "seq_relationship_logits"),
    SpanFinder: ("start_logits", "end_logits"),
}


class TextGraph(nn.Module):
    """An encoder, its heads too, with the inputs of the field; a sentence head makes one vector more of each text."""

    def __init__(self, model: nn.Module, head: SentenceHead | None) -> None:
        super().__init__()
        self.model, self.head = model, head

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        keep = attention_mask != 0
        x = self.model(input_ids, segments=token_type_ids, keep=keep)
        if isinstance(self.model, SpanFinder):
            return x.unbind(-1)
        return x if self.head is None else (x, self.head(x, keep))


class PictureGraph(nn.Module):
    def __init__(self, model: ViT | ResNet | PictureClassifier | PictureTower) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Any:
        x = self.model(pixel_values)
        if isinstance(self.model, PictureTower):
            return F.normalize(x, dim=-1)
        return x if isinstance(self.model, PictureClassifier) else (x, self.model.pool(x))


class TowerGraph(nn.Module):
    """The tower of texts, whose texts are not cut here: a graph has no lengths of its own."""

    def __init__(self, model: TextTower) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        c = self.model.config
        tokens = input_ids.masked_fill(attention_mask == 0, c.pad)
        ends = (tokens if c.end is None else (tokens == c.end).int()).argmax(1)  # which a graph does not check
        x = pool(self.model.hidden(tokens), at=ends) if c.causal else self.model.hidden(tokens)[:, -1]
        return F.normalize(x if self.model.project is None else self.model.project(x), dim=-1)


def is_graph(path: Path, *, overwrite: bool = False) -> bool:
    """Whether a graph is to be written at `path`, and not a folder. Raises CheckpointError for a name that says another
    kind of file, and for a file that is there, unless `overwrite`; OSError where none can be written.
    """
    if path.suffix in OTHER_ENDINGS and not path.is_dir():
        raise CheckpointError(f"cannot write {path}: a model is written as a folder, or as a graph FILE{ENDING}")
    if path.suffix != ENDING:
        return False
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} is there; name another file, or give --overwrite")
    try_file(path)
    return True


def write_graph(
    path: Path,
    model: nn.Module,
    *,
    head: SentenceHead | None = None,
    size: tuple[int, int] | None = None,
    tower: str = "",
) -> str:
    """Write an encoder of texts or pictures as one .onnx file, whole or not at all; gives what goes in and comes out.

    Batch and length are free (of a text up to the model's own), of a ResNet height and width too; a ViT reads pictures
    of `size`, (height, width), its own unless given; tower: picture or text, of
    CLIP. Raises CheckpointError for other models, weights that are not plain numbers or too large for one file, and
    PackageError without onnx and onnxscript.
    """
    if isinstance(model, CLIP) != bool(tower):
        what = "has two towers: say which, --tower picture or --tower text" if not tower else "has no --tower to choose"
        raise CheckpointError(f"a {type(model).__name__} {what}")
    model = model.get_submodule(tower)
    graph, inputs, dims, outputs = described(model, head, size)
    if not all(find_spec(package) for package in ("onnx", "onnxscript")):
        raise PackageError('ONNX needs the packages onnx and onnxscript: pip install "formers[onnx]"')
    weights = list(graph.state_dict().values())
    if strange := [weight for weight in weights if type(weight.detach()) is not Tensor]:
        raise CheckpointError(f"a graph holds plain numbers, got {type(strange[0]).__name__}; leave out --int8")
    if (count := sum(weight.nbytes for weight in weights)) > MOST_BYTES:
        raise CheckpointError(f"{count:,} bytes of weights do not fit one {ENDING} file (2 GB); try --dtype fp16")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        warnings.simplefilter("ignore")  # of the exporter's own parts
        program = torch.onnx.export(
            graph.eval(),
            tuple(inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple(dims for _ in inputs),
            verbose=False,
        )
    assert program is not None
    for given in program.model.graph.inputs:  # the exporter keeps silent about a free size that it has fixed
        assert given.shape is not None and not any(isinstance(given.shape[axis], int) for axis in dims), given
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # lines of source and the paths of this machine
    with replaced_file(path) as beside:
        program.save(beside, external_data=False)
    return f"{', '.join(inputs)} -> {', '.join(outputs)}"


def described(
    model: nn.Module, head: SentenceHead | None, size: tuple[int, int] | None
) -> tuple[nn.Module, Mapping[str, Tensor], Mapping[int, Dim], Sequence[str]]:
    """The graph of a model, an example of what it reads, the free sizes of that by their dimension, what it gives.

    Raises CheckpointError for a model that is no encoder.
    """
    batch = Dim("batch")
    if isinstance(model, TextTower):
        c = model.config
        length = min(7, c.length) if c.causal else c.length  # else a text is filled up before
        free = {0: batch, **({1: Dim("length", max=c.length)} if c.causal else {})}
        example = {"input_ids": torch.randint(0, c.vocab, (2, length)), "attention_mask": torch.ones(2, length).long()}
        return TowerGraph(model), example, free, ("text_embeds",)
    if isinstance(model, ViT | ResNet | PictureClassifier | PictureTower):
        inner = model.body if isinstance(model, PictureClassifier | PictureTower) else model
        free = {0: batch}
        if isinstance(inner, ViT):
            height, width = size or (inner.config.height, inner.config.width)
        else:
            height, width = size or (96, 64)
            free |= {2: Dim("height"), 3: Dim("width")}
        example = {"pixel_values": torch.randn(2, inner.config.channels, height, width)}
        outputs = ("logits",) if inner is not model else ("last_hidden_state", "pooler_output")
        outputs = ("image_embeds",) if isinstance(model, PictureTower) else outputs
        return PictureGraph(model), example, free, outputs
    encoder = body(model)
    if encoder is None:
        kind = type(model).__name__
        raise CheckpointError(f"a {kind} is not written as a graph: encoders of texts and pictures are; write a folder")
    config = encoder.config
    length = min(7, config.length)
    shape = (2, 3, length) if isinstance(model, MultipleChoice) else (2, length)
    choices = {1: Dim("choices")} if isinstance(model, MultipleChoice) else {}
    free = {0: batch, **choices, len(shape) - 1: Dim("length", max=config.length)}
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if config.segments > 1 else [])]
    example = {name: torch.ones(shape, dtype=torch.long) for name in names}
    whole = ("last_hidden_state", *(["sentence_embedding"] if head is not None else []))
    return TextGraph(model, head), example, free, OUTPUTS.get(type(model), whole if model is encoder else ("logits",))
