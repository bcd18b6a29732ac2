"""Graphs that are exported: ONNX Runtime computes what the model computes, at sizes that no example had."""

from __future__ import annotations

from dataclasses import replace

import numpy
import pytest
import torch

from formers.blocks.stack import StackConfig
from formers.errors import CheckpointError, PackageError
from formers.models.causal import CausalConfig, CausalLM
from formers.models.clip import CLIP, CLIPConfig, PictureTowerConfig, TextTowerConfig
from formers.models.encoder import FORMS, Encoder
from formers.models.heads import (
    HeadConfig,
    MultipleChoice,
    Pretraining,
    SequenceClassifier,
    SpanFinder,
    TokenClassifier,
)
from formers.models.picture_classifier import PictureClassifier, PictureHeadConfig
from formers.models.resnet import ResNet, ResNetConfig
from formers.models.sentence import Dense, Normalise, SentenceHead
from formers.models.vit import ViT, ViTConfig
from formers.pretrained.onnx import is_graph, write_graph

runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.usefixtures("no_shape_checks")

STACK = StackConfig(dim=16, layers=1, heads=2, hidden=24)
LENGTH = 70  # over what is computed in tiles
# form of the encoder: what stands on it
HEADS = {
    "bert": None,
    "mpnet": "sentence",
    "roberta": SpanFinder,
    "deberta": SequenceClassifier,
    "albert": Pretraining,
    "distilbert": MultipleChoice,
    "roformer": TokenClassifier,
}


def randomised(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.1 if parameter.ndim == 4 else 0.3
            parameter.copy_(torch.randn_like(parameter) * scale + ("norm" in name and name.endswith("weight")))
    return model.eval()


def encoder_config(form):
    config = FORMS[form]
    stack = replace(config.stack, dim=16, layers=1, heads=2, hidden=24, dropout=0.0)
    width = 8 if config.embedding_dim else None
    return replace(config, stack=stack, vocab=30, length=LENGTH, embedding_dim=width, repeat=1)


def run(path, **inputs):
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == list(inputs)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {key: value.numpy() for key, value in inputs.items()}), strict=True))


def equal(given, expected):
    assert numpy.std(given) > 0.01
    numpy.testing.assert_allclose(given, expected.numpy(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("causal", [True, False])
def test_towers_at_another_batch_size(causal, tmp_path):
    text = TextTowerConfig(stack=STACK, vocab=50, length=12, causal=causal, end=49, projection=10)
    body = ViTConfig(stack=STACK, height=24, width=16, patch=8)
    clip = randomised(CLIP(CLIPConfig(picture=PictureTowerConfig(body=body, projection=10), text=text)))
    assert write_graph(tmp_path / "p.onnx", clip, tower="picture") == "pixel_values -> image_embeds"
    assert write_graph(tmp_path / "t.onnx", clip, tower="text") == "input_ids, attention_mask -> text_embeds"
    with torch.no_grad():
        for count, length in ((5, 9), (1, 12)):
            length = length if causal else 12
            pictures = torch.randn(count, 3, 24, 16)
            equal(run(tmp_path / "p.onnx", pixel_values=pictures)["image_embeds"], clip.encode_picture(pictures))
            tokens, keep = torch.randint(0, 49, (count, length)), torch.ones(count, length).long()
            tokens[:, 5] = 49
            keep[0, 6:], keep[-1, 7:] = 0, 0
            expected = clip.encode_text(tokens, keep != 0)
            equal(run(tmp_path / "t.onnx", input_ids=tokens, attention_mask=keep)["text_embeds"], expected)
    with pytest.raises(CheckpointError, match="say which, --tower picture or --tower text"):
        write_graph(tmp_path / "no.onnx", clip)
    with pytest.raises(CheckpointError, match="a ViT has no --tower to choose"):
        write_graph(tmp_path / "no.onnx", ViT(body), tower="text")


@pytest.mark.parametrize("form", HEADS)
def test_texts_at_other_sizes_with_padding(form, tmp_path):
    config, kind = encoder_config(form), HEADS[form]
    labels = HeadConfig(encoder=config, labels=("a", "b", "c"), pooling="mean" if form == "deberta" else "first")
    model = randomised(kind(labels) if isinstance(kind, type) else Encoder(config))
    head = SentenceHead(("mean", "max"), [Dense(32, 5), Normalise()]).eval() if kind == "sentence" else None
    shown = write_graph(tmp_path / "model.onnx", model, head=head)
    assert shown.startswith("input_ids, attention_mask") and [path.name for path in tmp_path.iterdir()] == [
        "model.onnx"
    ]
    for batch, length in ((3, 11), (1, LENGTH), (4, 2)):
        shape = (batch, 4, length) if kind is MultipleChoice else (batch, length)
        tokens, keep = torch.randint(0, 30, shape), torch.ones(shape, dtype=torch.long)
        if length > 2:
            keep[-1, ..., length - 4 :], keep[0, ..., :3] = 0, 0
        inputs = {"input_ids": tokens, "attention_mask": keep}
        segments = torch.randint(0, 2, shape) if config.segments > 1 else None
        if segments is not None:
            inputs["token_type_ids"] = segments
        outputs = run(tmp_path / "model.onnx", **inputs)
        with torch.no_grad():
            expected = model(tokens, segments=segments, keep=keep.bool())
            if kind is None:
                assert list(outputs) == ["last_hidden_state"]
                equal(outputs["last_hidden_state"], expected)
            elif kind == "sentence":
                equal(outputs["last_hidden_state"], expected)
                equal(outputs["sentence_embedding"], head(expected, keep.bool()))
            elif kind is SpanFinder:
                equal(outputs["start_logits"], expected[..., 0])
                equal(outputs["end_logits"], expected[..., 1])
            elif kind is Pretraining:
                equal(outputs["prediction_logits"], expected[0])
                equal(outputs["seq_relationship_logits"], expected[1])
            else:
                assert list(outputs) == ["logits"]
                equal(outputs["logits"], expected)


def picture_models():
    vit = ViTConfig(stack=STACK, height=14, width=28, patch=7, registers=2, layer_scale=0.5, antialias=True)
    teacher = PictureHeadConfig(body=replace(vit, class_tokens=2, registers=0), labels=("a", "b"), pooling="teacher")
    cnn = ResNetConfig(channels=1, stem_width=8, widths=(8, 16), depths=(1, 2), bottleneck=False)
    return {
        "vit": (ViT(vit), (14, 28), None),
        "rotary": (ViT(replace(vit, positions="rotary")), (14, 28), None),
        "vit of another size": (ViT(vit), (42, 21), (42, 21)),
        "teacher": (PictureClassifier(teacher), (14, 28), None),
        "resnet": (ResNet(cnn), (45, 70), None),
        "cnn": (PictureClassifier(PictureHeadConfig(body=cnn, labels=("a", "b", "c"))), (33, 32), None),
    }


@pytest.mark.parametrize("name", picture_models())
def test_pictures_at_other_sizes(name, tmp_path):
    model, shape, size = picture_models()[name]
    model = randomised(model)
    write_graph(tmp_path / "model.onnx", model, size=size)
    for batch in (1, 5):
        pictures = torch.randn(batch, 1 if name in ("resnet", "cnn") else 3, *shape)
        outputs = run(tmp_path / "model.onnx", pixel_values=pictures)
        with torch.no_grad():
            expected = model(pictures)
            if "logits" not in outputs:
                equal(outputs["last_hidden_state"], expected)
                equal(outputs["pooler_output"], model.pool(expected))
            else:
                equal(outputs["logits"], expected)


def test_what_is_no_encoder_is_refused(tmp_path, monkeypatch):
    model = CausalLM(CausalConfig(stack=STACK, vocab=20, length=30))
    with pytest.raises(
        CheckpointError, match="a CausalLM is not written as a graph: encoders of texts and pictures are"
    ):
        write_graph(tmp_path / "model.onnx", model)
    model = SequenceClassifier(HeadConfig(encoder=model.config, labels=("a", "b"), pooling="last"))
    with pytest.raises(CheckpointError, match="a SequenceClassifier is not written as a graph"):
        write_graph(tmp_path / "model.onnx", model)
    monkeypatch.setattr("formers.pretrained.onnx.find_spec", lambda name: None)
    with pytest.raises(
        PackageError, match=r'ONNX needs the packages onnx and onnxscript: pip install "formers\[onnx\]"'
    ):
        write_graph(tmp_path / "model.onnx", Encoder(encoder_config("bert")))
    assert not list(tmp_path.iterdir())


def test_where_it_is_written(tmp_path):
    assert not is_graph(tmp_path / "folder") and not is_graph(tmp_path / "model.v2")
    assert is_graph(tmp_path / "model.onnx")
    with pytest.raises(CheckpointError, match=r"a model is written as a folder, or as a graph FILE\.onnx"):
        is_graph(tmp_path / "model.safetensors")
    (tmp_path / "model.onnx").write_text("mine")
    with pytest.raises(CheckpointError, match="is there; name another file, or give --overwrite"):
        is_graph(tmp_path / "model.onnx")
    assert is_graph(tmp_path / "model.onnx", overwrite=True) and (tmp_path / "model.onnx").read_text() == "mine"
