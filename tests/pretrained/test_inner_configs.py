"""Configs within a config: old files with all that they carry, what goes before what, faults named where they are."""

from __future__ import annotations

import json

import pytest
import torch

from formers.blocks.stack import StackConfig
from formers.errors import CheckpointError
from formers.models.clip import CLIP, CLIPConfig, PictureTowerConfig, TextTowerConfig
from formers.models.resnet import ResNetConfig
from formers.models.vit import ViTConfig
from formers.pretrained.load import load_model, save_model

STACK = StackConfig(dim=8, layers=1, heads=2, hidden=12, activation="gelu_quick")
BODY = ViTConfig(stack=STACK, height=8, width=8, patch=4, patch_bias=False, norm_input=True)
CONFIG = CLIPConfig(
    picture=PictureTowerConfig(body=BODY, projection=6),
    text=TextTowerConfig(stack=STACK, vocab=20, length=7, projection=6),
)
# what configs of 2022 carry in each tower
CARRIED = json.loads("""{
    "_name_or_path": "", "add_cross_attention": false, "architectures": null, "attention_dropout": 0.0,
    "bad_words_ids": null, "bos_token_id": 0, "chunk_size_feed_forward": 0, "cross_attention_hidden_size": null,
    "decoder_start_token_id": null, "diversity_penalty": 0.0, "do_sample": false, "dropout": 0.0,
    "early_stopping": false, "encoder_no_repeat_ngram_size": 0, "exponential_decay_length_penalty": null,
    "finetuning_task": null, "forced_bos_token_id": null, "forced_eos_token_id": null,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "initializer_factor": 1.0, "initializer_range": 0.02,
    "is_decoder": false, "is_encoder_decoder": false, "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    "length_penalty": 1.0, "max_length": 20, "min_length": 0, "no_repeat_ngram_size": 0, "num_beam_groups": 1,
    "num_beams": 1, "num_return_sequences": 1, "output_attentions": false, "output_hidden_states": false,
    "output_scores": false, "pad_token_id": 1, "prefix": null, "problem_type": null, "projection_dim": 512,
    "pruned_heads": {}, "remove_invalid_values": false, "repetition_penalty": 1.0, "return_dict": true,
    "return_dict_in_generate": false, "sep_token_id": null, "task_specific_params": null, "temperature": 1.0,
    "tf_legacy_loss": false, "tie_encoder_decoder": false, "tie_word_embeddings": true, "tokenizer_class": null,
    "top_k": 50, "top_p": 1.0, "torch_dtype": null, "torchscript": false, "transformers_version": "4.16.0.dev0",
    "typical_p": 1.0, "use_bfloat16": false
}""")


def folder_with(tmp_path, change):
    torch.manual_seed(0)
    save_model(tmp_path, CLIP(CONFIG))
    path = tmp_path / "config.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    return tmp_path


def test_an_old_file_is_read_without_a_word_and_its_other_keys_are_kept(tmp_path, capsys):
    def change(raw):
        raw |= {"text_config_dict": None, "vision_config_dict": None, "logit_scale_init_value": 2.6592}
        raw["text_config"] |= CARRIED | {"eos_token_id": 2, "note": "mine"}
        raw["vision_config"] |= CARRIED

    loaded = load_model(folder_with(tmp_path, change))
    assert loaded.model.config == CONFIG
    assert [note.split("reads ")[1] for note in loaded.notes] == ["text_config.note; kept when the model is saved"]
    save_model(tmp_path / "again", loaded.model)
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert written["text_config"]["note"] == "mine" and written["text_config"]["initializer_range"] == 0.02


def test_the_second_dictionary_of_a_tower_goes_first(tmp_path):
    def change(raw):
        raw["text_config_dict"] = {**raw["text_config"], "eos_token_id": 19, "hidden_act": "gelu"}
        raw["text_config"] = {"hidden_size": 512}

    text = load_model(folder_with(tmp_path, change)).model.config.text
    assert (text.end, text.stack.activation) == (19, "gelu")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_act", "sin", "text_config.hidden_act = 'sin' is not computed here; known: gelu_new"),
        ("hiden_size", 8, "unknown key 'text_config.hiden_size' .8.; did you mean \"hidden_size\""),
        ("num_experts", 8, "unknown key 'text_config.num_experts'"),
        ("eos_token_id", [1, 2], r"text_config.eos_token_id = \[1, 2\] is not computed here, expected one token"),
        ("hidden_size", "8", "text_config"),
        ("projection_dim", 3, None),
    ],
)
def test_a_fault_is_named_where_it_is(key, value, message, tmp_path):
    folder = folder_with(tmp_path, lambda raw: raw["text_config"].update({key: value}))
    if message is None:
        assert load_model(folder).model.config == CONFIG
        return
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)


def test_a_key_of_a_tower_is_ignored_by_its_whole_name(tmp_path):
    folder = folder_with(tmp_path, lambda raw: raw["text_config"].update({"num_experts": 8}))
    assert load_model(folder, ignore_keys=["text_config.num_experts"]).model.config == CONFIG


def test_towers_that_no_family_has_are_written_in_our_own_layout(tmp_path):
    picture = PictureTowerConfig(body=ResNetConfig(stem_width=4, widths=(8,), depths=(1,)), projection=6)
    model = CLIP(CLIPConfig(picture=picture, text=CONFIG.text)).eval()
    save_model(tmp_path, model)
    loaded = load_model(tmp_path)
    assert loaded.family == "formers-clip" and loaded.model.config == model.config
    pictures, tokens = torch.randn(2, 3, 12, 12), torch.tensor([[1, 2, 19]])
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(pictures, tokens), model(pictures, tokens))
