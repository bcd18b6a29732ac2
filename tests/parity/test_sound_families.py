"""Parity of sound: a reference with every parameter random -> our load -> equal outputs, other lengths too -> our save
-> it loads without a missing weight -> equal again. Features are random: what makes them is tested where it stands."""

from __future__ import annotations

import json

import pytest
import torch

from formers.models.conformer import Conformer, ConformerEncoder
from formers.models.spectrogram import SpectrogramTransformer
from formers.pretrained.load import load_model, save_model

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
AST = {**SIZES, "num_mel_bins": 24, "max_length": 30, "patch_size": 8, "frequency_stride": 5, "time_stride": 6}
LABELS = {0: "dog", 1: "rain", 2: "bell"}
FAST = {**SIZES, "num_mel_bins": 16, "subsampling_conv_channels": 6, "conv_kernel_size": 5}
SMALL_FRONT = {"subsampling_factor": 4, "attention_bias": False, "convolution_bias": False, "scale_input": False}
WAVE = {
    **SIZES,
    "vocab_size": 7,
    "conv_dim": [8, 8, 6],
    "conv_kernel": [10, 3, 2],
    "conv_stride": [5, 2, 2],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "conv_depthwise_kernel_size": 5,
    "layer_norm_eps": 1e-3,
}
LAYERED = {"feat_extract_norm": "layer", "conv_bias": True}
# name: (class, config)
CASES = {
    "ast": ("ASTForAudioClassification", AST | {"id2label": LABELS, "label2id": {n: i for i, n in LABELS.items()}}),
    "ast-body": ("ASTModel", AST | {"qkv_bias": False}),
    "parakeet": ("ParakeetForCTC", {"vocab_size": 9, "pad_token_id": 8, "encoder_config": FAST}),
    "parakeet-plain": ("ParakeetForCTC", {"vocab_size": 9, "pad_token_id": 8, "encoder_config": FAST | SMALL_FRONT}),
    "parakeet-encoder": ("ParakeetEncoder", FAST),
    "wave-relative": ("Wav2Vec2ConformerForCTC", WAVE),
    "wave-rotary": ("Wav2Vec2ConformerForCTC", WAVE | LAYERED | {"position_embeddings_type": "rotary"}),
    "wave-none": ("Wav2Vec2ConformerForCTC", WAVE | LAYERED | {"position_embeddings_type": None}),
    "wave-body": ("Wav2Vec2ConformerModel", WAVE | {"hidden_act": "silu"}),
}


def reference(case):
    name, sizes = CASES[case]
    kind = getattr(transformers, name)
    torch.manual_seed(7)
    model = kind(kind.config_class(**sizes))
    with torch.no_grad():
        for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
            if not parameter.is_floating_point() or name.endswith(("inv_freq", ".pe")):  # computed, not learned
                continue
            around = "norm" in name and name.endswith("weight")
            parameter.copy_(torch.randn_like(parameter) * 0.3 + around)
            if name.endswith("running_var"):
                parameter.abs_().add_(0.5)
    return model.eval()


def inputs(case):
    """Features of a batch, and the lengths of its rows."""
    torch.manual_seed(3)
    if case.startswith("ast"):
        return torch.randn(3, 30, 24), None
    if case.startswith("parakeet"):
        lengths = torch.tensor([53, 37, 9])  # behind which are zeros, as the reference's features have them
        return torch.randn(3, 53, 16) * (torch.arange(53) < lengths[:, None])[..., None], lengths
    return torch.randn(3, 400), torch.tensor([400, 333, 90])


def theirs(model, features, lengths):
    mask = None if lengths is None else (torch.arange(features.shape[1]) < lengths[:, None]).long()
    with torch.no_grad():
        out = model(features, attention_mask=mask)
    return out.logits if "logits" in out else out.last_hidden_state


def ours(model, features, lengths):
    with torch.no_grad():
        if isinstance(model, SpectrogramTransformer):
            return model(features), None
        return model(features, lengths=lengths)


@pytest.mark.parametrize("case", CASES)
def test_outputs_equal_the_reference_both_ways(case, tmp_path):
    original = reference(case)
    original.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    model_type = original.config.model_type
    assert loaded.family == model_type and not loaded.notes
    body = ConformerEncoder if case.endswith(("encoder", "body")) else Conformer
    assert type(loaded.model) is (SpectrogramTransformer if case.startswith("ast") else body)
    save_model(tmp_path / "ours", loaded.model, family=model_type)
    written = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert written["architectures"] == [type(original).__name__]
    again, info = type(original).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert load_model(tmp_path / "ours").model.config == loaded.model.config
    features, lengths = inputs(case)
    for model in (original, again.eval()):
        for given in (None, lengths):
            expected = theirs(model, features, given)
            got, frames = ours(loaded.model, features, given)
            assert expected.std() > 0.02 and got.shape == expected.shape
            for row in range(len(got)):
                end = None if frames is None else int(frames[row])
                torch.testing.assert_close(got[row, :end], expected[row, :end], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("frames", [24, 44])
def test_a_spectrogram_of_another_length_has_the_positions_in_the_middle_or_between(frames, tmp_path):
    original = reference("ast")
    original.save_pretrained(tmp_path)
    model = load_model(tmp_path).model
    rows, columns = 4, (frames - 8) // 6 + 1
    table = original.audio_spectrogram_transformer.embeddings.position_embeddings.data
    grid = table[:, 2:].mT.unflatten(-1, (rows, 4))
    if columns <= 4:
        grid = grid[..., 2 - columns // 2 : 2 - columns // 2 + columns]
    else:
        grid = torch.nn.functional.interpolate(grid, (rows, columns), mode="bilinear")
    other = transformers.ASTForAudioClassification(
        transformers.ASTConfig(**CASES["ast"][1] | {"max_length": frames})
    ).eval()
    state = original.state_dict()
    state["audio_spectrogram_transformer.embeddings.position_embeddings"] = torch.cat(
        [table[:, :2], grid.flatten(2).mT], 1
    )
    other.load_state_dict(state)
    features = torch.randn(2, frames, 24)
    with torch.no_grad():
        torch.testing.assert_close(model(features), other(features).logits, atol=1e-4, rtol=1e-4)
