"""Folders as people have them: foreign keys, old keys, files that disagree, heads and numbers that are not built."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import formers
from formers.adapters.bitfit import learn_biases
from formers.cli import app
from formers.errors import CheckpointError
from formers.models.causal import CausalConfig, CausalLM
from formers.models.encoder import Encoder
from formers.models.heads import HeadConfig, MaskedWords, Pretraining, SequenceClassifier
from formers.models.transformer import Transformer
from formers.pretrained.files import read_weights, weight_files, write_folder
from formers.pretrained.load import load_model, save_model
from formers.pretrained.peft.adapters import load_adapted, save_adapter
from formers.systems.sizes import CausalSizes, EncoderSizes, TransformerSizes

# Keys of published files that say nothing about the network, and one that says that something is off.
HARMLESS = {
    "language": "de",
    "name": "x",
    "author": "someone",
    "license": "mit",
    "eos_token_ids": [0],
    "use_mrope": False,
    "vocab_size_or_config_json_file": 30,
}


def randomised(model):
    with torch.no_grad():
        for parameter in model.state_dict().values():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def encoder(network=Encoder, form="bert", **head):
    config = EncoderSizes(form=form, dim=8, heads=2, hidden=8, length=9).config(30)
    return randomised(network(config) if network is Encoder else network(HeadConfig(encoder=config, **head)))


def decoder(form="llama"):
    return randomised(CausalLM(CausalSizes(form=form, dim=8, layers=2, heads=2, hidden=16, length=9).config(30)))


def translator(form="bart"):
    sizes = TransformerSizes(form=form, dim=8, encoder_layers=1, decoder_layers=1, heads=2, hidden=8, length=9)
    return randomised(Transformer(sizes.config(30)))


def edit(folder, *absent, **changes):
    path = folder / "config.json"
    raw = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in raw.items() if key not in absent}))


def config_of(folder, name="config.json"):
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize(
    ("make", "cls"),
    [(encoder, "BertModel"), (decoder, "LlamaForCausalLM"), (translator, "BartForConditionalGeneration")],
)
def test_foreign_keys_are_noted_once_and_kept(make, cls, tmp_path, caplog):
    save_model(tmp_path / "theirs", make())
    edit(tmp_path / "theirs", **HARMLESS, architectures=[cls])
    with caplog.at_level(logging.WARNING, "formers"):
        loaded = load_model(tmp_path / "theirs")
        load_model(tmp_path / "theirs")
    (note,) = loaded.notes
    assert all(key in note for key in HARMLESS) and "\n" not in note
    assert [record.getMessage() for record in caplog.records] == [note]
    save_model(tmp_path / "ours", loaded.model)
    assert HARMLESS.items() <= config_of(tmp_path / "ours").items()


@pytest.mark.parametrize(
    ("make", "changes", "named"),
    [
        (
            decoder,
            {"attn_logit_softcapping": 50.0, "num_local_experts": 8},
            ("attn_logit_softcapping", "num_local_exp"),
        ),
        (decoder, {"sliding_window": 4, "quantization_config": {"bits": 4}}, ("sliding_window", "quantization_config")),
        (encoder, {"alibi": True, "position_embedding_type": "relative_key"}, ("alibi", "position_embedding_type")),
        (
            translator,
            {"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "n_inner": 9},
            ("rope_scaling", "n_inner"),
        ),
    ],
)
def test_keys_that_say_what_is_computed_are_refused_together(make, changes, named, tmp_path):
    """What some family computes is not skipped in silence, whichever family the file is of; unless it is known."""
    save_model(tmp_path, make())
    edit(tmp_path, **changes, license="mit")
    with pytest.raises(CheckpointError, match="--ignore-key NAME") as refused:
        load_model(tmp_path)
    assert all(name in str(refused.value) for name in named) and "license" not in str(refused.value)
    first, *others = changes
    with pytest.raises(CheckpointError, match=others[0]) as refused:
        load_model(tmp_path, ignore_keys=[first])
    assert first not in str(refused.value).replace(others[0], "")
    loaded = load_model(tmp_path, ignore_keys=list(changes))
    save_model(tmp_path / "ours", loaded.model)
    kept = config_of(tmp_path / "ours")
    assert kept["license"] == "mit" and "quantization_config" not in kept


@pytest.mark.parametrize(
    "off",
    [
        {"rope_scaling": {"type": "default"}, "partial_rotary_factor": 1.0, "attn_logit_softcapping": None},
        {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28},
        {"layer_types": ["full_attention"] * 2, "num_local_experts": 0, "logits_scaling": 1.0},
        {"embedding_size": 8, "num_key_value_heads": 2, "is_encoder_decoder": False},
    ],
)
def test_keys_that_say_that_something_is_off(off, tmp_path):
    save_model(tmp_path, encoder())
    edit(tmp_path, **off)
    assert load_model(tmp_path).family == "bert"


def test_a_key_hardly_other_than_one_that_is_read(tmp_path):
    save_model(tmp_path, encoder())
    edit(tmp_path, "layer_norm_eps", layer_norm_epss=1e-3)
    with pytest.raises(CheckpointError, match=r'layer_norm_epss.*did you mean "layer_norm_eps"'):
        load_model(tmp_path)


def test_keys_are_ignored_by_every_way_in(tmp_path):
    save_model(tmp_path / "m", encoder(SequenceClassifier, labels=("a", "b")))
    edit(tmp_path / "m", alibi=True)
    assert formers.load(tmp_path / "m", ignore_keys=["alibi"]).labels == ("a", "b")
    with pytest.raises(CheckpointError, match="alibi"):
        formers.load(tmp_path / "m")
    adapter = tmp_path / "adapter"
    model = load_model(tmp_path / "m", ignore_keys=["alibi"]).model
    learn_biases(model)
    save_adapter(adapter, model, base=str(tmp_path / "m"), kind="bitfit")
    assert type(load_model(adapter, ignore_keys=["alibi"]).model) is SequenceClassifier
    with pytest.raises(CheckpointError, match="alibi"):
        load_adapted(adapter, load_model)
    for command in (("export", "m", "out"), ("inspect", "m", "parameters"), ("adapt", "merge", "m", "adapter", "both")):
        arguments = [str(tmp_path / part) if part in ("m", "out", "adapter", "both") else part for part in command]
        refused = CliRunner().invoke(app, arguments)
        assert refused.exit_code == 2 and "--ignore-key" in refused.stderr
        assert CliRunner().invoke(app, [*arguments, "--ignore-key", "alibi"]).exit_code == 0


def test_a_folder_without_model_type(tmp_path):
    save_model(tmp_path, encoder(MaskedWords))
    edit(tmp_path, "model_type")
    loaded = load_model(tmp_path)
    assert loaded.family == "bert" and type(loaded.model) is MaskedWords and "read as bert" in loaded.notes[0]
    edit(tmp_path, "architectures")
    with pytest.raises(CheckpointError, match=r'has no model_type; add the line "model_type": "bert".*known: marian'):
        load_model(tmp_path)
    edit(tmp_path, architectures=["SomethingElse"])
    with pytest.raises(CheckpointError, match="has no model_type"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["num_labels", "_num_labels"])
def test_the_number_of_labels_counts_before_their_names(name, tmp_path):
    save_model(tmp_path, encoder(SequenceClassifier, labels=tuple(f"x{i}" for i in range(50))))
    edit(tmp_path, **{name: 50}, id2label={"0": "NEGATIVE", "1": "POSITIVE"}, label2id={"NEGATIVE": 0, "POSITIVE": 1})
    if name == "_num_labels":  # which readers have never taken for more than a note
        with pytest.raises(CheckpointError, match=r"holds 50 labels, but .*_num_labels says 50 and id2label names 2"):
            load_model(tmp_path)
        return
    assert load_model(tmp_path).model.config.labels == tuple(f"LABEL_{i}" for i in range(50))
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert list(theirs.config.id2label.values()) == list(load_model(tmp_path).model.config.labels)
    edit(tmp_path, num_labels=3)
    with pytest.raises(CheckpointError, match="holds 50 labels, but num_labels says 3 and id2label names 2"):
        load_model(tmp_path)


def test_a_whole_file_beside_stale_shards(tmp_path):
    old, new = encoder(), encoder()
    tensors = {name: tensor.clone() for name, tensor in old.state_dict().items()}
    save_model(tmp_path, new)
    for name, content in weight_files({f"x.{name}": tensor for name, tensor in tensors.items()}, 800).items():
        write = tmp_path / name
        write.write_bytes(content) if isinstance(content, bytes) else content(write)
    assert (tmp_path / "model.safetensors.index.json").exists()
    loaded = load_model(tmp_path).model.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in new.state_dict().items())


# --- saving keeps what was read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "training"),
    [
        (encoder, {"attention_probs_dropout_prob": 0.3, "classifier_dropout": 0.2, "initializer_range": 0.5}),
        (decoder, {"attention_dropout": 0.3, "initializer_range": 0.5}),
        (translator, {"attention_dropout": 0.3, "activation_dropout": 0.1, "encoder_layerdrop": 0.1}),
    ],
)
def test_settings_of_training_are_kept(make, training, tmp_path):
    save_model(tmp_path / "theirs", make(), generation={"eos_token_id": 2})
    edit(tmp_path / "theirs", **training, id2label={"0": "bad", "1": "good"}, task_specific_params={"a": {"b": 1}})
    loaded = load_model(tmp_path / "theirs")
    save_model(tmp_path / "ours", loaded.model)
    written = config_of(tmp_path / "ours")
    assert training.items() <= written.items()
    assert written["id2label"] == {"0": "bad", "1": "good"} and written["task_specific_params"] == {"a": {"b": 1}}


def test_ids_that_were_absent_stay_absent(tmp_path):
    """A padding that is made up would freeze a row of the embedding in other libraries."""
    save_model(tmp_path / "theirs", decoder())
    (tmp_path / "theirs" / "generation_config.json").write_text('{"eos_token_id": 2, "top_k": 7, "strange": [1]}')
    edit(tmp_path / "theirs", "pad_token_id", "bos_token_id", "decoder_start_token_id")
    formers.load(tmp_path / "theirs").save(tmp_path / "ours")
    written = config_of(tmp_path / "ours", "generation_config.json")
    assert {"eos_token_id": 2, "top_k": 7, "strange": [1]}.items() <= written.items()
    absent = {"pad_token_id", "decoder_start_token_id"}
    assert not absent & written.keys() and not absent & config_of(tmp_path / "ours").keys()
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert model.config.pad_token_id is None and model.get_input_embeddings().padding_idx is None
    save_model(tmp_path / "given", load_model(tmp_path / "theirs").model, generation={"pad_token_id": 5})
    assert config_of(tmp_path / "given", "generation_config.json")["pad_token_id"] == 5


def test_a_model_is_saved_as_what_it_was_read(tmp_path):
    made = encoder(SequenceClassifier, "roberta", labels=("a", "b"))
    save_model(tmp_path / "theirs", made, family="camembert", generation={"pad_token_id": 1})
    formers.load(tmp_path / "theirs").save(tmp_path / "ours")
    assert config_of(tmp_path / "ours")["model_type"] == "camembert"
    edit(tmp_path / "theirs", license="mit")
    other = load_model(tmp_path / "theirs").model
    save_model(tmp_path / "other", other, family="roberta")
    assert config_of(tmp_path / "other")["license"] == "mit"


def gemma(folder, dtype=torch.bfloat16):
    transformers = pytest.importorskip("transformers")
    config = transformers.Gemma3TextConfig(
        vocab_size=37,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=24,
        head_dim=8,
        max_position_embeddings=32,
        sliding_window=4,
    )
    model = transformers.Gemma3ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    model = model.to(dtype).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # which the package says too, but pytest starts anew
def test_norms_of_gemma_in_bf16_are_exact(tmp_path):
    """They are stored around zero, where bf16 has more digits than around one."""
    original = gemma(tmp_path / "theirs")
    stored = load_file(tmp_path / "theirs" / "model.safetensors")
    loaded = load_model(tmp_path / "theirs", dtype=torch.bfloat16)
    norm = loaded.model.stack.norm.weight
    assert norm.dtype == torch.float32 and torch.equal(norm, stored["model.norm.weight"].float() + 1)
    save_model(tmp_path / "ours", loaded.model)
    written = load_file(tmp_path / "ours" / "model.safetensors")
    assert written.keys() == stored.keys()
    assert all(
        torch.equal(written[name], tensor) and written[name].dtype == tensor.dtype for name, tensor in stored.items()
    )
    tokens = torch.tensor([[3, 4, 5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(tokens).float(), original(tokens).logits.float(), atol=0.15, rtol=0.1)
    assert type(loaded.model.config) is CausalConfig


def test_heads_that_are_left_behind_are_named(tmp_path):
    save_model(tmp_path / "theirs", encoder(Pretraining))
    edit(tmp_path / "theirs", "architectures")
    loaded = load_model(tmp_path / "theirs")
    (note,) = loaded.notes
    assert type(loaded.model) is Encoder and "cls.predictions, cls.seq_relationship" in note
    assert 'names no "architectures"' in note
    edit(tmp_path / "theirs", architectures=["BertForMaskedLM"])
    (note,) = load_model(tmp_path / "theirs").notes
    assert "cls.seq_relationship" in note and "cls.predictions" not in note
    edit(tmp_path / "theirs", architectures=["BertForPreTraining"])
    assert load_model(tmp_path / "theirs").notes == ()


# --- what is not built ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "name", "built"),
    [
        (decoder, "LlamaForSomethingNew", "LlamaForCausalLM"),
        (lambda: decoder("gpt2"), "GPT2ForQuestionAnswering", "GPT2LMHeadModel"),
        (translator, "BartForCausalLM", "BartForConditionalGeneration"),
        (lambda: translator("t5"), "T5ForTokenClassification", "T5ForConditionalGeneration"),
        (lambda: translator("marian"), "MarianForCausalLM", "MarianMTModel"),
        (encoder, "BertLMHeadModel", "BertForMaskedLM"),
    ],
)
def test_heads_that_are_not_built_are_refused_by_class(make, name, built, tmp_path):
    save_model(tmp_path, make())
    edit(tmp_path, architectures=[name])
    with pytest.raises(
        CheckpointError, match=f"architectures {name} of model_type .* is not supported; known: .*{built}"
    ):
        load_model(tmp_path)


def test_old_names_of_classes_are_read(tmp_path):
    for make, name in [(lambda: translator("t5"), "T5WithLMHeadModel"), (decoder, "LLaMAForCausalLM")]:
        save_model(tmp_path / name, make())
        edit(tmp_path / name, architectures=[name])
        load_model(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.to(torch.float8_e4m3fn), "1 weights as float8_e4m3fn .*get this model in bf16, fp16 or fp32"),
        (lambda x: x.to(torch.complex64), "1 weights as complex64"),
        (lambda x: x.to(torch.int8), "is stored as int8, expected fractions"),
    ],
)
def test_numbers_that_are_not_read(change, message, tmp_path):
    save_model(tmp_path, decoder())
    tensors = load_file(tmp_path / "model.safetensors")
    name = next(name for name in tensors if "q_proj" in name)
    save_file({**tensors, name: change(tensors[name])}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("told", "activation"),
    [
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, "Identity"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}, "Sigmoid"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "Identity"),
        ({}, "Sigmoid"),
    ],
)
def test_cross_encoders_under_their_old_key(told, activation, tmp_path):
    save_model(tmp_path / "m", encoder(SequenceClassifier, labels=("score",), kind="number"))
    edit(tmp_path / "m", "problem_type", **told)
    opened = formers.load(tmp_path / "m")
    assert opened.activation.endswith(activation)
    opened.save(tmp_path / "ours")
    assert formers.load(tmp_path / "ours").activation == opened.activation
    assert told.items() <= config_of(tmp_path / "ours").items()


def test_a_pipe_in_place_of_a_file_is_refused(tmp_path):
    import os

    write_folder(tmp_path / "m", {})
    os.mkfifo(tmp_path / "m" / "model.safetensors")
    with pytest.raises(CheckpointError, match="no regular file"):
        read_weights(tmp_path / "m")
