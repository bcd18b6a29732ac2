"""A painter with the tiny autoencoder of another folder: `--fast`."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from formers.errors import CheckpointError
from formers.models.vae import TinyVAE, TinyVAEConfig
from formers.pretrained.load import save_model
from formers.systems.painting.options import Painting
from formers.systems.painting.preview import LivePreview
from tests.systems.painting.tiny_painter import painter, randomised


def test_a_tiny_autoencoder_decodes(tmp_path):
    own, name = painter(tmp_path), str(tmp_path / "tiny")
    tiny = randomised(TinyVAE(TinyVAEConfig(width=4, encoder_depths=(1, 1), decoder_depths=(1, 1))))
    save_model(name, tiny)
    request = Painting(prompt="red", steps=2, sampler="ddim")
    *moments, (slow, _) = own.paint(request)
    *_, (fast, again) = own.paint(replace(request, fast=name))
    wanted = ((tiny.decode(moments[-1].latents) + 1) / 2).clamp(0, 1)
    assert np.abs(fast - wanted[0].permute(1, 2, 0).detach().numpy() * 255).max() <= 0.51
    assert (fast != slow).any()
    assert again.fast == name
    LivePreview(own.hastened(name), str(tmp_path / "p.png")).follow(moments[-1])
    assert np.asarray(Image.open(tmp_path / "p.png")).shape == fast.shape


def test_another_folder(tmp_path):
    own = painter(tmp_path)
    save_model(tmp_path / "whole", own.parts.vae)
    with pytest.raises(CheckpointError, match=r"whole is a VAE, expected a TinyVAE \(AutoencoderTiny\)"):
        own.hastened(str(tmp_path / "whole"))
    other = TinyVAE(TinyVAEConfig(width=4, encoder_depths=(1, 1), decoder_depths=(1, 1), latent_channels=8))
    save_model(tmp_path / "other", other)
    with pytest.raises(CheckpointError, match="gives latents of 4 channels, but its vae reads 8"):
        own.hastened(str(tmp_path / "other"))
