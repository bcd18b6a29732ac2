"""Adapter folders: the same numbers as `peft` both ways, every fault by name, our own format for other changes."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from formers.adapters.bitfit import learn_biases, learn_last
from formers.adapters.lora import LowRank, activate, adapters, add_lora, merge, plain, unmerge
from formers.errors import CheckpointError
from formers.pretrained.load import load_model, model_class, save_model
from formers.pretrained.peft import patterns
from formers.pretrained.peft.adapters import load_adapter, read_adapter, save_adapter
from formers.pretrained.peft.lora import join

transformers = pytest.importorskip("transformers", reason="the reference for published layouts")

# of the references, about each other
pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"), pytest.mark.filterwarnings("ignore::UserWarning")]
SMALL = {"vocab_size": 37, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
CAUSAL = SMALL | {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}
GPT2 = SMALL | {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
BART = SMALL | {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 32,
    "decoder_start_token_id": 2,
}
T5 = SMALL | {"d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 1}
MODELS = {
    "llama": ("Llama", "ForCausalLM", CAUSAL),
    "qwen2": ("Qwen2", "ForCausalLM", CAUSAL),
    "gpt2": ("GPT2", "LMHeadModel", GPT2),
    "bart": ("Bart", "ForConditionalGeneration", BART),
    "marian": ("Marian", "MTModel", BART),
    "t5": ("T5", "ForConditionalGeneration", T5),
}
# model, how we adapt it, how peft adapts it
CASES = {
    "llama q v": ("llama", {"targets": ["q", "v"]}, {"target_modules": ["q_proj", "v_proj"]}),
    "llama rslora": (
        "llama",
        {"targets": ["all-linear"], "rank_stabilised": True},
        {"target_modules": "all-linear", "use_rslora": True},
    ),
    "llama head": ("llama", {"targets": ["head", "o"]}, {"target_modules": ["lm_head", "o_proj"]}),
    "llama one layer": (
        "llama",
        {"targets": [r"stack\.blocks\.1\..*"]},
        {"target_modules": ["q_proj"], "layers_to_transform": [1]},
    ),
    "llama ranks": (
        "llama",
        {"targets": ["k", "gate"]},
        {
            "target_modules": ["q_proj", "down_proj"],
            "rank_pattern": {"layers.1.*.down_proj": 2},
            "alpha_pattern": {"q_proj": 9},
        },
    ),
    "qwen2": ("qwen2", {"targets": ["k", "up", "down"]}, {"target_modules": r".*\.1\..*(k|up)_proj"}),
    "gpt2 q v": ("gpt2", {"targets": ["q", "v"]}, {"target_modules": ["c_attn"]}),
    "gpt2 all": ("gpt2", {"targets": ["all-linear"]}, {"target_modules": ["c_attn", "c_fc", "mlp.c_proj"]}),
    "gpt2 rslora": (
        "gpt2",
        {"targets": ["k", "q", "o"], "rank_stabilised": True},
        {"target_modules": ["c_attn"], "use_rslora": True, "fan_in_fan_out": True},
    ),
    "gpt2 biases": ("gpt2", {"targets": ["up"]}, {"target_modules": ["c_fc"], "bias": "all"}),
    "bart": ("bart", {"targets": ["cross_attention.q", "v"]}, {"target_modules": ["q_proj", "fc1"]}),
    "marian": ("marian", {"targets": ["all-linear"]}, {"target_modules": ["encoder_attn.v_proj"]}),
    "t5": ("t5", {"targets": ["q", "up"]}, {"target_modules": ["q", "v", "wo"]}),
}


def tiny(name, folder):
    """A reference with every parameter random, saved; and a fresh copy of it as often as asked."""
    kind, ending, sizes = MODELS[name]
    made = getattr(transformers, kind + ending)(getattr(transformers, kind + "Config")(**sizes))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for each, tensor in made.named_parameters():
            if "embed_positions" not in each or tensor.requires_grad:
                centre = 1.0 if ("norm" in each or "ln_" in each) and each.endswith("weight") else 0.0
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.2 + centre)
    made.save_pretrained(folder)
    return lambda: type(made).from_pretrained(folder).eval()


def learned(parts, seed=3):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in parts:
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.2)


def learn(model, name="default"):
    learned([weight for part in adapters(model)[name].values() for weight in (part.a, part.b)])


def logits(model):
    """Of ours or theirs, for the same tokens."""
    generator = torch.Generator().manual_seed(1)
    tokens, target = (torch.randint(3, 37, (3, length), generator=generator) for length in (11, 6))
    ours = type(model).__module__.startswith("formers.")
    with torch.no_grad():
        if type(model).__name__ == "CausalLM":
            return model(tokens)
        if ours:
            return model(tokens, target)
        if model.config.is_encoder_decoder:
            return model(input_ids=tokens, decoder_input_ids=target, use_cache=False).logits
        return model(input_ids=tokens, use_cache=False).logits


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_what_we_save_peft_opens(case, tmp_path):
    peft = pytest.importorskip("peft", reason="the reference for adapters")
    name, how, _ = CASES[case]
    reference = tiny(name, tmp_path / "base")
    loaded = load_model(tmp_path / "base")
    base = logits(loaded.model)
    places = add_lora(loaded.model, rank=3, alpha=5.0, **how)
    learn(loaded.model)
    mine = logits(loaded.model)
    assert (mine - base).abs().max() > 0.01
    save_adapter(tmp_path / "adapter", loaded.model, base=str(tmp_path / "base"), family=loaded.family)
    theirs = peft.PeftModel.from_pretrained(reference(), tmp_path / "adapter").eval()
    assert isinstance(theirs, (peft.PeftModelForCausalLM, peft.PeftModelForSeq2SeqLM))
    used = {key.replace(".default", "") for key in theirs.state_dict() if "lora_" in key}
    assert used == load_file(tmp_path / "adapter" / "adapter_model.safetensors").keys()
    close(logits(theirs), mine)
    # back again, beside an untouched model, and merged by the folder alone
    again = load_model(tmp_path / "base").model
    found = load_adapter(again, tmp_path / "adapter", family=loaded.family)
    assert set(places) <= set(found)  # a fused matrix brings its other parts, unchanged
    close(logits(again), mine)
    opened = load_model(tmp_path / "adapter")
    assert opened.family == loaded.family and not adapters(opened.model)
    close(logits(opened.model), mine)
    close(logits(theirs.merge_and_unload()), logits(opened.model))


@pytest.mark.parametrize("case", CASES)
def test_what_peft_saves_we_open(case, tmp_path):
    peft = pytest.importorskip("peft", reason="the reference for adapters")
    name, _, how = CASES[case]
    reference = tiny(name, tmp_path / "base")()
    reference.config._name_or_path = reference.name_or_path = str(tmp_path / "base")
    task = "SEQ_2_SEQ_LM" if reference.config.is_encoder_decoder else "CAUSAL_LM"
    theirs = peft.get_peft_model(reference, peft.LoraConfig(r=3, lora_alpha=5, task_type=task, **how)).eval()
    learned([weight for key, weight in theirs.named_parameters() if weight.requires_grad])
    theirs.save_pretrained(tmp_path / "adapter")
    opened = load_model(tmp_path / "adapter")
    close(logits(opened.model), logits(theirs))
    with pytest.raises(AssertionError):
        close(logits(load_model(tmp_path / "base").model), logits(theirs))
    beside = load_model(tmp_path / "base").model
    if "bias" in how:
        with pytest.raises(CheckpointError, match="replaces whole weights"):
            load_adapter(beside, tmp_path / "adapter")
        return
    load_adapter(beside, tmp_path / "adapter", name="theirs")
    close(logits(beside), logits(theirs))
    # ours again: the file that we write from it is theirs, factor by factor
    save_adapter(tmp_path / "again", beside, name="theirs")
    first, second = (load_file(tmp_path / each / "adapter_model.safetensors") for each in ("adapter", "again"))
    factors = {key for key in first if ".lora_" in key}  # beside an adapted head they keep the head itself
    assert factors == second.keys() and all(torch.equal(first[key], second[key]) for key in factors)
    back = peft.PeftModel.from_pretrained(tiny(name, tmp_path / "copy")(), tmp_path / "again").eval()
    close(logits(back), logits(theirs))


def test_several_adapters_from_folders(tmp_path):
    tiny("llama", tmp_path / "base")
    model = load_model(tmp_path / "base").model
    outputs = {}
    for name, targets in (("formal", ["q"]), ("rude", ["v", "down"])):
        one = load_model(tmp_path / "base").model
        add_lora(one, targets=targets, rank=2, name=name)
        learn(one, name)
        save_adapter(tmp_path / name, one, name=name)
        outputs[name] = logits(one)
        load_adapter(model, tmp_path / name, name=name)
    for name, expected in outputs.items():
        activate(model, name)
        assert torch.equal(logits(model), expected)
    with pytest.raises(CheckpointError, match='no adapter "polite"; it has: formal, rude'):
        save_adapter(tmp_path / "x", model, name="polite")
    # the merged model is written as a whole without losing the adapters
    merge(model)
    with plain(model):
        save_model(tmp_path / "merged", model)
    unmerge(model)
    close(logits(load_model(tmp_path / "merged").model), outputs["rude"])
    assert torch.equal(logits(model), outputs["rude"])


def test_a_joined_adapter_keeps_what_it_computes():
    parts = [LowRank(torch.randn(r, 5), torch.randn(4, r), alpha=alpha) for r, alpha in ((2, 3.0), (4, 1.0))]
    whole = join([parts[0], None, parts[1]], [4, 4, 4])
    assert whole.rank == 6
    expected = torch.cat([parts[0].delta(), torch.zeros(4, 5), parts[1].delta()])
    torch.testing.assert_close(whole.delta(), expected)


# -- our own format


@pytest.mark.parametrize("name", ["gpt2", "bart", "llama"])
@pytest.mark.parametrize("kind", ["bitfit", "head"])
def test_changes_are_kept_to_the_bit(name, kind, tmp_path):
    tiny(name, tmp_path / "base")
    loaded = load_model(tmp_path / "base")
    before = logits(loaded.model)
    names = learn_last(loaded.model) if kind == "head" else learn_biases(loaded.model, norms=True)
    learned([loaded.model.get_parameter(each) for each in names])
    save_adapter(tmp_path / "out", loaded.model, base=str(tmp_path / "base"), kind=kind, family=loaded.family)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"changes.json", "changes.safetensors"}
    opened = load_model(tmp_path / "out")
    assert torch.equal(logits(opened.model), logits(loaded.model)) and not torch.equal(before, logits(opened.model))
    assert read_adapter(tmp_path / "out").kind == kind


def test_biases_of_queries_only_where_files_keep_q_k_and_v_together(tmp_path):
    tiny("gpt2", tmp_path / "base")
    loaded = load_model(tmp_path / "base")
    learned([loaded.model.get_parameter(each) for each in learn_biases(loaded.model, targets=["q"])])
    save_adapter(tmp_path / "out", loaded.model, base=str(tmp_path / "base"), kind="bitfit")
    assert list(load_file(tmp_path / "out" / "changes.safetensors")) == [
        f"transformer.h.{i}.attn.c_attn.bias" for i in (0, 1)
    ]
    assert torch.equal(logits(load_model(tmp_path / "out").model), logits(loaded.model))


# -- what does not fit


@pytest.fixture
def folder(tmp_path):
    tiny("llama", tmp_path / "base")
    loaded = load_model(tmp_path / "base")
    add_lora(loaded.model, rank=2)
    learn(loaded.model)
    return save_adapter(tmp_path / "adapter", loaded.model, base=str(tmp_path / "base"))


def edit(folder, change=None, **config):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    for key, value in (change or {}).items():
        if value is None:
            del tensors[key]
        else:
            tensors[key] = value
    save_file(tensors, path)
    raw = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(raw | config))


Q = "base_model.model.model.layers.0.self_attn.q_proj"
FAULTS = [
    (
        {f"{Q}.lora_A.weight": torch.ones(2, 9)},
        {},
        rf"wrong shape \(1\): {Q}.lora_A.weight \(2, 9\), expected \(2, 16\)",
    ),
    ({f"{Q}.lora_A.weight": torch.ones(5, 16)}, {}, r"lora_A.weight \(5, 16\), expected \(2, 16\)"),
    ({f"{Q}.lora_B.weight": torch.ones(8, 2)}, {}, r"lora_B.weight \(8, 2\), expected \(16, 2\)"),
    ({f"{Q}.lora_B.weight": None}, {}, rf"missing \(2\): - {Q}, - {Q}.lora_B.weight"),
    ({f"{Q}.lora_A.weight": None, f"{Q}.lora_B.weight": None}, {}, rf"missing \(1\): - {Q}$"),
    ({f"{Q}.lora_A.weight": torch.full((2, 16), torch.nan)}, {}, "NaN or infinity"),
    (
        {
            "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight": torch.ones(2, 16),
            "base_model.model.model.layers.7.self_attn.q_proj.lora_B.weight": torch.ones(16, 2),
        },
        {},
        r"not known to this model \(1\): \+ base_model.model.model.layers.7.self_attn.q_proj$",
    ),
    ({f"{Q}.lora_magnitude_vector": torch.ones(16)}, {}, rf"not known .*: \+ {Q}.lora_magnitude_vector"),
    ({"model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(2, 16)}, {}, r"\+ model.layers.0.self_attn"),
    ({"base_model.model.model.norm.bias": torch.ones(16)}, {"bias": "all"}, r"not known .*model.norm.bias"),
    ({}, {"r": 3}, r"wrong shape \(4\)"),
    ({}, {"r": 0}, "r is 0, expected at least 1"),
    ({}, {"lora_alpha": None}, "lora_alpha is None, expected a number"),
    ({}, {"bias": "some"}, "bias = 'some' is not known"),
    ({}, {"use_dora": True}, "use_dora = True is not computed here"),
    ({}, {"layer_replication": [[0, 2], [1, 2]]}, "layer_replication = .* is not computed here"),
    ({}, {"some_new_thing": "on"}, "some_new_thing = 'on' is not computed here"),
    ({}, {"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa' changes the model's own weights"),
    ({}, {"peft_type": "IA3"}, "peft_type = 'IA3' is not computed here; known: LORA"),
    ({}, {"target_modules": ["q_proj", "v_proj", "o_proj"]}, r"missing \(2\): - .*layers.0.self_attn.o_proj, - "),
]


@pytest.mark.parametrize(("change", "config", "part"), FAULTS)
def test_an_adapter_that_does_not_fit_is_refused(folder, change, config, part):
    edit(folder, change, **config)
    with pytest.raises(CheckpointError, match=part) as fault:
        load_model(folder)
    assert "\n" not in str(fault.value)
    with pytest.raises(CheckpointError, match=part):
        load_adapter(load_model(folder.parent / "base").model, folder)


def test_an_adapter_of_another_model_is_refused_naming_its_keys(folder, tmp_path):
    tiny("gpt2", tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"adapter does not fit: not known to this model \(4\): \+ " + Q):
        load_adapter(load_model(tmp_path / "other").model, folder)


def test_whole_modules_are_read_where_they_are_modules_of_their_own(folder):
    head = torch.randn(37, 16)
    edit(folder, {"base_model.model.lm_head.weight": head}, modules_to_save=["lm_head"])
    opened = load_model(folder).model
    assert torch.equal(opened.get_parameter("head.weight"), head)
    raw = json.loads((folder.parent / "base" / "config.json").read_text())
    assert raw["tie_word_embeddings"] is False


def test_a_head_that_is_the_embedding_cannot_be_replaced_alone(tmp_path):
    tiny("gpt2", tmp_path / "base")
    loaded = load_model(tmp_path / "base")
    add_lora(loaded.model, rank=2)
    out = save_adapter(tmp_path / "adapter", loaded.model, base=str(tmp_path / "base"))
    edit(out, {"base_model.model.lm_head.weight": torch.randn(37, 16)}, modules_to_save=["lm_head"])
    with pytest.raises(CheckpointError, match=r"one tensor with others in this model .*wte.weight = lm_head.weight"):
        load_model(out)


def test_embeddings_that_were_saved_unasked_and_did_not_change(folder):
    weights = load_file(folder.parent / "base" / "model.safetensors")
    kept = {f"base_model.model.{name}": weights[name] for name in ("model.embed_tokens.weight", "lm_head.weight")}
    edit(folder, kept)
    load_adapter(load_model(folder.parent / "base").model, folder)
    edit(folder, {name: weight + 1 for name, weight in kept.items()})
    assert torch.equal(load_model(folder).model.embedding.weight, weights["model.embed_tokens.weight"] + 1)
    with pytest.raises(CheckpointError, match="replaces whole weights"):
        load_adapter(load_model(folder.parent / "base").model, folder)
    edit(folder, {"base_model.model.lm_head.weight": torch.ones(38, 16)})
    with pytest.raises(CheckpointError, match=r"wrong shape \(1\): lm_head.weight \(38, 16\) for \(37, 16\)"):
        load_model(folder)


def test_an_adapter_of_an_adapter_and_adapters_that_name_each_other(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "second")
    edit(tmp_path / "second", base_model_name_or_path=str(folder))
    load_model(tmp_path / "second")
    edit(folder, base_model_name_or_path=str(tmp_path / "second"))
    for place in (folder, tmp_path / "second"):
        for read in (load_model, model_class):
            with pytest.raises(CheckpointError, match="belongs to adapters that name each other"):
                read(place)


@pytest.mark.parametrize(
    "config, message",
    [
        ({"r": True}, "r is True, expected a whole number"),
        ({"r": 10**400}, "r is 10+…, expected a whole number"),
        ({"lora_dropout": 2}, "lora_dropout is 2, expected"),
        ({"target_modules": [3]}, r"target_modules\[0\] is 3, expected a text"),
        ({"rank_pattern": {"q_proj": "2"}}, "rank_pattern.q_proj is '2', expected a whole number"),
        ({"rank_pattern": {"(": 2}}, r"'\(\.\*|'\(' is no regular expression"),
        ({"modules_to_save": "lm_head"}, "modules_to_save is 'lm_head', expected a list of texts or null"),
        ({"base_model_name_or_path": 3}, "base_model_name_or_path is 3, expected a text or null"),
        ({"base_model_name_or_path": "~nobody/x"}, "'~nobody/x', is not there"),
        ({"base_model_name_or_path": "x" * 5000}, "…, is not there"),
        ({"peft_type": "LORA" * 1000}, "peft_type = 'LORALORA.*… is not computed here"),
        ({"peft_type": None}, "peft_type is None, expected a text"),
    ],
)
def test_what_a_config_may_not_say(folder, config, message):
    edit(folder, **config)
    with pytest.raises(CheckpointError, match=message) as fault:
        load_model(folder)
    assert len(str(fault.value)) < 600


@pytest.mark.parametrize("key", ["target_modules", "alpha_pattern", "rank_pattern"])
def test_a_pattern_that_would_run_for_years_ends(folder, key, monkeypatch):
    monkeypatch.setattr(patterns, "SECONDS", 1)
    slow = r"(\w+\.?)+\1(\w+)*!"
    edit(folder, **{key: slow if key == "target_modules" else {slow: 4}})
    with pytest.raises(CheckpointError, match="take more than 1 seconds"):
        load_model(folder)


def test_where_the_model_is(folder, tmp_path):
    # a path beside the adapter, for folders that move together
    edit(folder, base_model_name_or_path="../base")
    load_model(folder)
    for name, part in (
        (None, "does not say which model"),
        (str(tmp_path / "gone"), "gone', is not there"),
        (str(folder), "names itself"),
    ):
        edit(folder, base_model_name_or_path=name)
        with pytest.raises(CheckpointError, match=rf"{part}.*formers adapt merge MODEL"):
            load_model(folder)


def test_folders_that_are_none(folder, tmp_path):
    with pytest.raises(CheckpointError, match="holds a whole model, no adapter"):
        read_adapter(tmp_path / "base")
    with pytest.raises(CheckpointError, match="holds no adapter"):
        read_adapter(tmp_path / "none")
    with pytest.raises(CheckpointError, match="holds a whole model: write the adapter"):
        save_adapter(tmp_path / "base", load_model(folder).model)
    (folder / "adapter_model.safetensors").write_bytes(b"x" * 99)
    with pytest.raises(CheckpointError, match="truncated or corrupted"):
        load_model(folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no adapter_model.safetensors"):
        load_model(folder)


def test_an_adapter_of_an_adapter(folder, tmp_path):
    middle = load_model(folder)
    add_lora(middle.model, targets=["up"], rank=2)
    learn(middle.model)
    save_adapter(tmp_path / "second", middle.model, base=str(folder), family=middle.family)
    close(logits(load_model(tmp_path / "second").model), logits(middle.model))


def test_another_type_of_number(folder):
    opened = load_model(folder, dtype=torch.bfloat16).model
    assert {weight.dtype for weight in opened.parameters()} == {torch.bfloat16}
