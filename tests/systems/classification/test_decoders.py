"""Classifiers on a decoder, from the folders of others: labels as transformers gives them, commands, looks, faults."""

import json

import numpy as np
import pytest
import torch

import formers
from formers.data.batching import pad
from formers.errors import ConfigError
from formers.text.open import train_bpe
from tests.cli.conftest import fails, works
from tests.systems.classification.toy import TEXTS

transformers = pytest.importorskip("transformers")

NAMES = {0: "bad", 1: "fair", 2: "good"}
SIZES = {
    "llama": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 40,
    },
    "bart": {
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "max_position_embeddings": 40,
    },
}


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300)


@pytest.fixture(scope="module", params=SIZES)
def folder(request, tokenizer, tmp_path_factory):
    """As transformers saves it, with every parameter random."""
    kind, place = request.param, tmp_path_factory.mktemp(request.param)
    config = transformers.AutoConfig.for_model(
        kind,
        **SIZES[kind],
        vocab_size=tokenizer.vocab,
        pad_token_id=tokenizer.pad,
        eos_token_id=tokenizer.eos,
        decoder_start_token_id=tokenizer.eos,
        id2label=NAMES,
        label2id={name: i for i, name in NAMES.items()},
    )
    torch.manual_seed(5)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(float("norm" in name and name.endswith("weight")), 0.3)
    model.save_pretrained(place)
    tokenizer.save(place)
    return place


def reference(folder, tokenizer, texts):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokens, keep = pad(tokenizer.encode(texts), tokenizer.pad)
    with torch.no_grad():
        return model(input_ids=tokens, attention_mask=keep.long()).logits.softmax(-1).numpy()


def test_labels_are_those_of_the_reference(folder, tokenizer):
    classifier = formers.load(folder, system="classification")
    expected = reference(folder, tokenizer, TEXTS[:9])
    np.testing.assert_allclose(classifier.probabilities(TEXTS[:9]), expected, atol=1e-5)
    assert [row.label for row in classifier.classify(TEXTS[:9])] == [NAMES[i] for i in expected.argmax(1)]
    alone = np.concatenate([classifier.probabilities(text) for text in TEXTS[:9]])
    np.testing.assert_allclose(alone, expected, atol=1e-5)


def test_saved_and_loaded_gives_the_same(folder, tmp_path):
    before = formers.load(folder)
    before.save(tmp_path / "model")
    after = formers.load(tmp_path / "model")
    np.testing.assert_array_equal(before.probabilities(TEXTS[:4]), after.probabilities(TEXTS[:4]))
    transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")


def test_commands(folder, tokenizer, tmp_path):
    expected = reference(folder, tokenizer, TEXTS[:3])
    assert works("classify", folder, *TEXTS[:3]).splitlines() == [NAMES[i] for i in expected.argmax(1)]
    told = json.loads(works("classify", folder, TEXTS[0], "--json", "--probabilities"))
    assert told["probabilities"] == pytest.approx(
        dict(zip(NAMES.values(), expected[0].tolist(), strict=True)), abs=1e-4
    )
    assert works("rerank", folder, "food", *TEXTS[:3], "--label", "good").count("\n") == 3
    works("classify", folder, TEXTS[0], "--int8")
    assert "out.weight" in works("inspect", folder, "parameters")
    for look, *text in (("attention", TEXTS[0]), ("positions",)):
        works("inspect", folder, look, *text, "--out", tmp_path / f"{look}.png")
        assert (tmp_path / f"{look}.png").stat().st_size > 1000


def test_what_it_is_not_for(folder, tmp_path):
    with pytest.raises(ConfigError, match="expected a model for language"):
        formers.load(folder, system="language")
    if "bart" not in folder.name:
        return
    told = fails("train", "classification", "--run", tmp_path / "run", "--set", f"model.start={folder}")
    assert "is a SequenceClassifier (model_type" in told and "expected an encoder" in told and "a decoder such" in told


GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40}
BODIES = {"gpt2": GPT2, "llama": SIZES["llama"] | {"tie_word_embeddings": False}}
TRAIN = ["data.count=60", "data.held_out=20", "train.precision=fp32", "train.save_every=2", "train.evaluate_every=0"]


@pytest.mark.parametrize("kind", BODIES)
def test_a_language_model_learns_labels(kind, tokenizer, tmp_path):
    """The run is a folder of its family, gives transformers' labels, and is gone on with."""
    config = transformers.AutoConfig.for_model(
        kind, **BODIES[kind], vocab_size=tokenizer.vocab, pad_token_id=tokenizer.pad, eos_token_id=tokenizer.eos
    )
    torch.manual_seed(5)
    config.task_specific_params = {"kept": 1}
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "body")
    tokenizer.save(tmp_path / "body")
    start, run = tmp_path / "body", tmp_path / "run"
    for steps in (2, 3):
        sets = [*TRAIN, f"model.start={start}", f"train.steps={steps}", "task.freeze=1"]
        works("train", "classification", "--run", run, *(part for change in sets for part in ("--set", change)))
        classifier = formers.load(run, system="classification")
        place = sorted(run.glob("checkpoints/*/config.json"))[-1].parent
        expected = reference(place, tokenizer, TEXTS[:9])
        np.testing.assert_allclose(classifier.probabilities(TEXTS[:9]), expected, atol=1e-5)
        written = json.loads((place / "config.json").read_text())
        assert written["model_type"] == kind and written["architectures"][0].endswith("ForSequenceClassification")
        assert written["task_specific_params"] == {"kept": 1}
        start, run = run, tmp_path / "more"
    sets = [part for change in (*TRAIN, "train.steps=2", "task.kind=one") for part in ("--set", change)]
    for adapter, bases in (("lora", (tmp_path / "body", tmp_path / "run")), ("head", (tmp_path / "body",))):
        for number, base in enumerate(bases):
            place = tmp_path / f"{adapter}{number}"
            kind = [] if adapter == "lora" else ["--set", "adapter.kind=head"]
            works("adapt", base, "--recipe", "classification", "--run", place, *sets, *kind)
            adapted = formers.load(place, system="classification").probabilities(TEXTS[:4])
            works("adapt", "merge", base, place, tmp_path / f"merged-{place.name}")
            merged = formers.load(tmp_path / f"merged-{place.name}").probabilities(TEXTS[:4])
            np.testing.assert_allclose(adapted, merged, atol=1e-6)
            for path in place.rglob("head.json") if adapter == "lora" else ():
                path.unlink()  # as peft's folders are
            told = formers.load(place, system="classification").probabilities(TEXTS[:4])
            np.testing.assert_allclose(told, adapted, atol=1e-6)
