"""Whisper with every parameter random -> our load -> equal logits and texts -> our save -> it loads."""

from __future__ import annotations

import pytest
import torch

from formers.blocks.fused import fused
from formers.decoding.search import complete
from formers.decoding.strategies import Beam, Greedy
from formers.models.whisper import Whisper
from formers.pretrained.load import load_model, save_model

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 61,
    "num_mel_bins": 5,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 28,
    "max_source_positions": 11,
    "max_target_positions": 17,
    "pad_token_id": 1,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "decoder_start_token_id": 2,
    "suppress_tokens": [],
    "begin_suppress_tokens": [],
}


def randomise(model):
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in model.named_parameters():  # the encoder's positions too: what is stored counts
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3 + centre)
    return model.eval()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    config = transformers.WhisperConfig(**SIZES)
    model = randomise(transformers.WhisperForConditionalGeneration(config))
    folder = tmp_path_factory.mktemp("whisper")
    model.save_pretrained(folder)
    return model, load_model(folder)


@pytest.fixture(scope="module")
def mels():
    return torch.randn(3, 5, 22, generator=torch.Generator().manual_seed(2))


def test_logits_both_ways(pair, mels, tmp_path):
    theirs, loaded = pair
    assert type(loaded.model) is Whisper
    tokens = torch.randint(0, 61, (3, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(input_features=mels, decoder_input_ids=tokens).logits
        assert (loaded.model(mels, tokens) - expected).abs().max() < 1e-4
        save_model(tmp_path / "again", loaded.model)
        again = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path / "again")
        assert (again(input_features=mels, decoder_input_ids=tokens).logits - expected).abs().max() < 1e-4
        keep = torch.arange(9) < torch.tensor([[9], [4], [1]])
        padded = loaded.model(mels, tokens.where(keep, 1), keep=keep)
        assert (padded - expected)[keep].abs().max() < 1e-4


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("beams", [1, 3])
def test_texts(pair, mels, beams, compiled):
    theirs, loaded = pair
    model, prompt = loaded.model, torch.tensor([[2, 5, 7]] * 3)
    expected = transformers.generation.GenerationMixin.generate(
        theirs, mels, decoder_input_ids=prompt, max_new_tokens=12, num_beams=beams, do_sample=False
    )
    strategy = Greedy() if beams == 1 else Beam(beams)
    with torch.no_grad():
        cache = model.begin(mels, capacity=17)
        if compiled:
            with fused(model):
                assert model.decoder.steps is None or model.decoder.steps.reads
                done = complete(model, prompt, cache, strategy, stop=(1,), limit=12)
        else:
            done = complete(model, prompt, cache, strategy, stop=(1,), limit=12)
    for row, (best, *_) in zip(expected.tolist(), done, strict=True):
        text = row[3:]
        assert best.tokens == (text[: text.index(1)] if 1 in text else text)
