"""A painter of 16 x 16 pixels and a judge of them, both with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from formers.blocks.stack import StackConfig
from formers.images.preprocess import Preprocessor
from formers.models.clip import TextTower, TextTowerConfig
from formers.models.picture_classifier import PictureClassifier, PictureHeadConfig
from formers.models.resnet import ResNetConfig
from formers.models.unet import UNet, UNetConfig
from formers.models.vae import VAE, VAEConfig
from formers.pretrained.diffusers_folder import DiffusionParts
from formers.pretrained.load import save_model
from formers.systems.painting.system import Painter
from formers.text.clip_tokenizer import END, byte_letters
from formers.text.open import load_tokenizer

SIDE = 16


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    for name, weight in model.named_parameters():
        torch.nn.init.normal_(weight, 1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.2)
    return model.eval()


def painter(folder: Path, *, text: bool = True, vae: bool = True, **scheduler) -> Painter:
    """folder: where the files of its tokenizer go."""
    torch.manual_seed(0)
    letters = byte_letters()
    pieces = [*letters, *(letter + END for letter in letters), "re", f"red{END}", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text(f"#version: 0.2\nr e\nre d{END}\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "CLIPTokenizer"}')
    stack = StackConfig(dim=8, layers=1, heads=2, hidden=12, activation="gelu_quick")
    tower = TextTower(TextTowerConfig(stack=stack, vocab=len(pieces), length=24, projection=0))
    channels, size = (4, SIDE // 2) if vae else (3, SIDE)
    unet = UNet(UNetConfig(
        channels=channels, out_channels=channels, widths=(8, 16), depth=1, attention=(True, False), heads=(2, 2),
        memory_dim=8 if text else None, groups=4, size=size, linear=True,
    ))  # fmt: skip
    keys = {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    return Painter(DiffusionParts(
        unet=randomised(unet),
        vae=randomised(VAE(VAEConfig(widths=(8, 8), depth=1, groups=4))) if vae else None,
        text=randomised(tower) if text else None,
        tokenizer=load_tokenizer(folder, {"model_type": "clip_text_model"}) if text else None,
        scheduler={**keys, **scheduler},
    ))  # fmt: skip


def judge(folder: Path, labels: tuple[str, ...], kind: str = "several") -> Path:
    """A classifier in a folder."""
    torch.manual_seed(0)
    body = ResNetConfig(stem_width=4, widths=(4, 8), depths=(1, 1), bottleneck=False, small_stem=True)
    model = PictureClassifier(PictureHeadConfig(body=body, labels=labels, kind=kind))
    preprocessor = Preprocessor(SIDE, SIDE, SIDE, crop=True, mean=(0.5,) * 3, std=(0.5,) * 3)
    save_model(folder, randomised(model), preprocessor=preprocessor, system="images")
    return folder
