"""Speed of vision against what a user would pick instead: same weights, same pictures and texts, fp32, both cores.

    python benchmarks/vision.py [--repeats 5] [--only vit,int8,resnet,train-vit,train-cnn,clip-pictures,clip-texts]

Weights are random, of published sizes. vit, resnet: ViT-S/16 and ResNet-50 on 8 pictures of 224 x 224, against
transformers, and against ONNX Runtime where onnx, onnxscript and onnxruntime are installed, on the graph that
`formers export` writes; int8: ours against our fp32; train-vit: a step of ViT-S/16 on 16 pictures against transformers
in a plain loop; train-cnn: a step of ResNet-18 on 16 pictures against timm in a plain loop, which both compute in fp32,
ours in bf16 as well, as train.precision = "auto" has it where that is faster; clip-pictures, clip-texts: CLIP B/32 on 8
pictures, and on 64 texts of 5 to 13 tokens, which the reference pads as its processor does by itself, to the longest,
and to 77 as its authors did. Outputs and losses are compared before anything is timed. Reading and
preprocessing a JPEG: vision_reading.py.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from _turns import asked, compare, has_onnx_runtime, onnx_session, same, show
from torch import Tensor, nn

import formers
from formers.models.clip import CLIP
from formers.models.picture_classifier import PictureClassifier
from formers.models.vit import ViT
from formers.pretrained.load import load_model
from formers.pretrained.onnx import write_graph
from formers.systems.images.system import PictureModel
from formers.training.optimizer import adamw, scale_gradients
from formers.training.precision import autocast

import timm  # isort: skip (after _turns)
import transformers  # isort: skip

PICTURES, SIDE, LABELS = 8, 224, 1000
TRAINED = 16  # pictures in a step
TEXTS, SHORTEST, LONGEST, FULL = 64, 5, 13, 77  # tokens of texts
PARTS = ("vit", "int8", "resnet", "train-vit", "train-cnn", "clip-pictures", "clip-texts")
SMALL = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}


def main() -> None:
    options = asked(__doc__, PARTS)
    parts, results = options.only.split(","), []
    if {"vit", "int8"} & set(parts):
        config = transformers.ViTConfig(**SMALL, num_labels=LABELS)
        results += forward("ViT-S/16", transformers.ViTForImageClassification(config), parts, "vit", options.repeats)
    if "resnet" in parts:
        config = transformers.ResNetConfig(num_labels=LABELS)
        results += forward(
            "ResNet-50", transformers.ResNetForImageClassification(config), parts, "resnet", options.repeats
        )
    if "train-vit" in parts:
        config = transformers.ViTConfig(**SMALL, num_labels=LABELS)
        reference = transformers.ViTForImageClassification(config)
        results += training("ViT-S/16", reference, lambda x: reference(x).logits, options.repeats)
    if "train-cnn" in parts:
        reference = timm.create_model("resnet18", num_classes=LABELS)
        results += training("ResNet-18", reference, reference, options.repeats)
    if {"clip-pictures", "clip-texts"} & set(parts):
        results += clip(parts, options.repeats)
    show(results, options.repeats, theirs="theirs")
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def saved(reference: nn.Module, folder: str) -> None:
    """A reference with statistics of batch norms that are not 0 and 1, as its library writes it."""
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1), module.running_var.uniform_(0.5, 1.5)
    if isinstance(reference, transformers.PreTrainedModel):
        reference.save_pretrained(folder)
        return
    timm.models.save_for_hf(reference, folder, model_config={"num_classes": LABELS}, safe_serialization=True)


def forward(name: str, reference: nn.Module, parts: list[str], part: str, repeats: int) -> list[dict]:
    pictures = torch.randn(PICTURES, 3, SIDE, SIDE)
    results: list[dict] = []
    with tempfile.TemporaryDirectory() as folder:
        saved(reference.eval(), folder)
        model, small = PictureModel(load_model(folder).model, None), None
        if "int8" in parts and part == "vit":
            small = PictureModel(formers.load(folder, dtype="int8").model, None)

        def ours(system: PictureModel = model) -> Tensor:
            return next(system.outputs([pictures], system.model))

        @torch.no_grad()
        def theirs() -> Tensor:
            return reference(pictures).logits

        if part in parts:
            same(f"{name}, transformers", ours(), theirs())
            what = f"{name}, pictures/s"
            results.append(compare(f"{what}, transformers", PICTURES, ours, theirs, repeats))
            if (onnx := onnx_runtime(folder, model.model, pictures)) is not None:
                same(f"{name}, ONNX Runtime", ours(), onnx())
                results.append(compare(f"{what}, ONNX Runtime", PICTURES, ours, onnx, repeats))
        if small is not None:
            alike = F.cosine_similarity(ours(small), ours())
            print(f"{name}, int8: cosine of the logits to fp32 {alike.mean():.4f}, at least {alike.min():.4f}")
            results.append(compare(f"{name}, int8, our fp32", PICTURES, lambda: ours(small), ours, repeats))
    return results


def onnx_runtime(folder: str, model: nn.Module, pictures: Tensor) -> Callable[[], Tensor] | None:
    """The model as our own export writes it."""
    if not has_onnx_runtime():
        return None
    path = Path(folder) / "model.onnx"
    write_graph(path, model)
    session = onnx_session(path)
    given = {"pixel_values": pictures.numpy()}
    return lambda: torch.from_numpy(session.run(None, given)[0])


def training(name: str, reference: nn.Module, call: Callable[[Tensor], Tensor], repeats: int) -> list[dict]:
    """A step: forward, backward, gradients clipped, AdamW; here as the trainer does it, there as is usual."""
    pictures, labels = torch.randn(TRAINED, 3, SIDE, SIDE), torch.randint(LABELS, (TRAINED,))
    with tempfile.TemporaryDirectory() as folder:
        saved(reference, folder)
        model = load_model(folder).model
    assert isinstance(model, PictureClassifier)
    order = torch.contiguous_format if isinstance(model.body, ViT) else torch.channels_last
    model.to(memory_format=order)  # type: ignore[call-overload]
    mine, theirs = adamw(model), torch.optim.AdamW(reference.parameters(), lr=1e-6, fused=True)
    for group in mine.param_groups:
        group["lr"] = 1e-6

    def loss_of() -> Tensor:
        return F.cross_entropy(model(pictures.contiguous(memory_format=order)).float(), labels, reduction="sum")

    def step(precision: str = "fp32") -> None:
        with autocast(precision, "cpu"):
            loss = loss_of()
        loss.backward()
        scale_gradients([weight.grad for weight in model.parameters() if weight.grad is not None], 1 / TRAINED, 1.0)
        mine.step()
        mine.zero_grad()

    def reference_step() -> None:
        F.cross_entropy(call(pictures), labels).backward()
        nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        theirs.step()
        theirs.zero_grad()

    model.train(), reference.train()
    with torch.no_grad():
        same(f"{name}, loss", loss_of() / TRAINED, F.cross_entropy(call(pictures), labels))
    library = type(reference).__module__.partition(".")[0]
    return [
        compare(f"{name}, training in {form}, {library}", TRAINED, partial(step, form), reference_step, repeats)
        for form in ("fp32", "bf16")
    ]


def clip(parts: list[str], repeats: int) -> list[dict]:
    """CLIP B/32: each tower, up to unit vectors."""
    from formers.systems.reading import reading

    config = transformers.CLIPConfig()
    config.text_config.eos_token_id = config.text_config.vocab_size - 1
    reference: Any = transformers.CLIPModel(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        saved(reference, folder)
        model = load_model(folder).model
    assert isinstance(model, CLIP)
    results = []
    if "clip-pictures" in parts:
        pictures = torch.randn(PICTURES, 3, SIDE, SIDE)

        def ours() -> Tensor:
            with reading(model):
                return model.encode_picture(pictures)

        @torch.no_grad()
        def theirs() -> Tensor:
            return F.normalize(reference.get_image_features(pictures).pooler_output, dim=-1)

        same("CLIP B/32, pictures", ours(), theirs())
        results.append(compare("CLIP B/32, pictures/s, transformers", PICTURES, ours, theirs, repeats))
    if "clip-texts" in parts:
        lengths = torch.randint(SHORTEST, LONGEST + 1, (TEXTS, 1))
        lengths[0] = LONGEST
        end, place = config.text_config.eos_token_id, torch.arange(FULL)
        tokens = torch.randint(1, end - 1, (TEXTS, FULL)).where(place < lengths - 1, end)

        def our_texts() -> Tensor:
            with reading(model):
                return model.encode_text(tokens[:, :LONGEST])

        for length, name in ((LONGEST, "padded to the longest"), (FULL, "padded to 77")):
            given = {"input_ids": tokens[:, :length], "attention_mask": (place < lengths)[:, :length].long()}

            @torch.no_grad()
            def their_texts(given: dict[str, Tensor] = given) -> Tensor:
                return F.normalize(reference.get_text_features(**given).pooler_output, dim=-1)

            same(f"CLIP B/32, texts {name}", our_texts(), their_texts())
            results.append(compare(f"CLIP B/32, texts/s, {name}", TEXTS, our_texts, their_texts, repeats))
    return results


if __name__ == "__main__":
    main()
