"""Folders of sentence-transformers: written ones open there with equal vectors, theirs open here, faults are said."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import formers
from formers.errors import CheckpointError
from formers.models.encoder import Encoder
from formers.models.sentence import Dense, Normalise, SentenceHead
from formers.pretrained.load import save_model
from formers.pretrained.sentence_folder import SentenceSettings, read_sentence_folder
from formers.systems.embedding.system import SentenceEncoder
from formers.systems.sizes import EncoderSizes
from formers.text.training import train_word_pieces

TEXTS = ["a small dog runs", "Two Men are playing music in the street", "a dog", "music"]
DIM = 16


def encoder(head: SentenceHead, settings: SentenceSettings | None = None) -> SentenceEncoder:
    """A small BERT with random weights everywhere."""
    tokenizer = train_word_pieces([text.lower() for text in TEXTS] * 4, 80)
    model = Encoder(EncoderSizes(dim=DIM, heads=2, layers=2, hidden=32, length=24).config(tokenizer.vocab))
    for parameter in [*model.parameters(), *head.parameters()]:
        torch.nn.init.normal_(parameter, std=0.3)
    return SentenceEncoder(model.eval(), tokenizer, head, settings or SentenceSettings())


def dense(**options) -> Dense:
    return Dense(DIM, 8, **options)


HEADS = {
    "mean": lambda: SentenceHead(),
    "first": lambda: SentenceHead(("first",), [Normalise()]),
    "max": lambda: SentenceHead(("max",)),
    "last": lambda: SentenceHead(("last",)),
    "mean_sqrt": lambda: SentenceHead(("mean_sqrt",)),
    "several": lambda: SentenceHead(("first", "max", "mean")),
    "other order": lambda: SentenceHead(("mean", "first")),
    "dense": lambda: SentenceHead(("mean",), [dense(), Normalise()]),
    "dense without bias": lambda: SentenceHead(("mean",), [Normalise(), dense(bias=False, activation="identity")]),
}


@pytest.mark.parametrize("name", HEADS)
def test_written_folders_open_there_with_equal_vectors_and_here_again(name, tmp_path):
    theirs = pytest.importorskip("sentence_transformers")
    made = encoder(HEADS[name](), SentenceSettings(length=7))
    made.save(tmp_path / "model")
    reference = theirs.SentenceTransformer(str(tmp_path / "model"), device="cpu")
    ours = made.encode(TEXTS)
    assert reference.max_seq_length == 7
    np.testing.assert_allclose(ours, reference.encode(TEXTS), atol=1e-5)
    again = formers.load(tmp_path / "model")
    assert isinstance(again, SentenceEncoder) and again.length == 7 and again.note == ""
    np.testing.assert_array_equal(again.encode(TEXTS), ours)
    reference.save(str(tmp_path / "theirs"))  # with the names of its own version
    np.testing.assert_allclose(formers.load(tmp_path / "theirs").encode(TEXTS), ours, atol=1e-6)


def test_prompts_are_kept_and_may_be_left_out_of_the_pooling(tmp_path):
    theirs = pytest.importorskip("sentence_transformers")
    settings = SentenceSettings(
        prompts={"query": "two men: ", "plain": ""}, default_prompt="query", include_prompt=False, similarity="dot"
    )
    encoder(SentenceHead(), settings).save(tmp_path)
    reference, ours = theirs.SentenceTransformer(str(tmp_path), device="cpu"), formers.load(tmp_path)
    assert ours.settings.similarity == reference.similarity_fn_name == "dot"
    np.testing.assert_allclose(ours.encode(TEXTS), reference.encode(TEXTS), atol=1e-5)
    plain = ours.encode(TEXTS, prompt_name="plain")
    np.testing.assert_allclose(plain, reference.encode(TEXTS, prompt_name="plain"), atol=1e-5)
    assert np.abs(plain - ours.encode(TEXTS)).max() > 1e-3
    np.testing.assert_allclose(ours.similarity(TEXTS), reference.similarity(*[reference.encode(TEXTS)] * 2), atol=1e-4)


def test_lower_case_is_of_the_folder_where_the_tokenizer_keeps_case(tmp_path):
    theirs = pytest.importorskip("sentence_transformers")
    made = encoder(SentenceHead(), SentenceSettings(lowercase=True))
    rules = json.loads(made.tokenizer.rules.to_str())
    rules["normalizer"] = None
    made.tokenizer.rules = type(made.tokenizer.rules).from_str(json.dumps(rules))
    made.save(tmp_path)
    ours = formers.load(tmp_path)
    upper = [text.upper() for text in TEXTS]
    np.testing.assert_array_equal(ours.encode(upper), ours.encode([text.lower() for text in TEXTS]))
    reference = theirs.SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(ours.encode(upper), reference.encode(upper), atol=1e-5)


def test_an_old_layout_with_the_encoder_in_a_subfolder(tmp_path):
    made = encoder(SentenceHead(("max",)))
    made.save(tmp_path)
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "config_sentence_transformers.json").unlink()
    (tmp_path / "0_Transformer").mkdir()
    for file in [
        *tmp_path.glob("*.safetensors"),
        *tmp_path.glob("tokenizer*"),
        tmp_path / "config.json",
        tmp_path / "sentence_bert_config.json",
    ]:
        shutil.move(file, tmp_path / "0_Transformer" / file.name)
    np.testing.assert_array_equal(formers.load(tmp_path).encode(TEXTS), made.encode(TEXTS))


def test_a_config_that_names_a_head_without_weights_is_read_as_the_body(tmp_path):
    made = encoder(SentenceHead())
    made.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    np.testing.assert_array_equal(formers.load(tmp_path).encode(TEXTS), made.encode(TEXTS))


def test_a_plain_encoder_gets_the_mean_and_says_so(tmp_path):
    theirs = pytest.importorskip("sentence_transformers")
    made = encoder(SentenceHead())
    save_model(tmp_path, made.model, tokenizer=made.tokenizer)
    ours = formers.load(tmp_path)
    assert "no modules.json" in ours.note and ours.length == 24
    reference = theirs.SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(ours.encode(TEXTS), reference.encode(TEXTS), atol=1e-5)


def change(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def entries(place: Path, number: int, **values) -> None:
    listed = json.loads(place.read_text())
    listed[number].update(values)
    place.write_text(json.dumps(listed))


def link_out(folder: Path) -> None:
    other = folder.parent.parent / f"{folder.parent.name}-outside"
    shutil.move(folder, other)
    folder.symlink_to(other)


FAULTS = {
    "module LSTM is not supported": lambda f: entries(f / "modules.json", 2, type="sentence_transformers.models.LSTM"),
    "first module is BoW": lambda f: entries(f / "modules.json", 0, type="sentence_transformers.models.BoW"),
    "names a folder outside": lambda f: entries(f / "modules.json", 1, path="../1_Pooling"),
    "modules.json is not valid JSON": lambda f: (f / "modules.json").write_text("{}[]"),
    "modules.json: it is {}, expected a list": lambda f: (f / "modules.json").write_text("{}"),
    r"\[1\].path is missing": lambda f: (f / "modules.json").write_text(
        '[{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}, {"idx": 1, "type": "x"}]'
    ),
    r"\[1\].idx is True": lambda f: entries(f / "modules.json", 1, idx=True),
    "'custom_st.Pooling' is a module of its own": lambda f: entries(f / "modules.json", 1, type="custom_st.Pooling"),
    "'Transformer' is a module of its own": lambda f: entries(f / "modules.json", 0, type="Transformer"),
    "names a folder outside its own: '1_Pooling'": lambda f: link_out(f / "1_Pooling"),
    "pooling_mode_mean_tokens is 'yes'": lambda f: change(f / "1_Pooling/config.json", pooling_mode_mean_tokens="yes"),
    "pooling_mode is 3, expected": lambda f: change(f / "1_Pooling/config.json", pooling_mode=3),
    "in_features is missing": lambda f: (f / "2_Dense/config.json").write_text("{}"),
    "out_features is 0": lambda f: change(f / "2_Dense/config.json", out_features=0),
    "the weights of .* are": lambda f: change(f / "2_Dense/config.json", out_features=10**12),
    "prompts.query is 3": lambda f: change(f / "config_sentence_transformers.json", prompts={"query": 3}),
    "no Pooling module": lambda f: (f / "modules.json").write_text(
        '[{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}]'
    ),
    "pooling 'weightedmean' is not supported": lambda f: change(
        f / "1_Pooling/config.json", pooling_mode="weightedmean"
    ),
    "pools vectors of 99": lambda f: change(f / "1_Pooling/config.json", word_embedding_dimension=99),
    "activation_function evil.run": lambda f: change(f / "2_Dense/config.json", activation_function="evil.run"),
    "use_residual": lambda f: change(f / "2_Dense/config.json", use_residual=True),
    "from 17 .in_features.": lambda f: change(f / "2_Dense/config.json", in_features=17),
    "the weights of": lambda f: change(f / "2_Dense/config.json", out_features=9),
    "similarity_fn_name 'cosin'.*cosine": lambda f: change(
        f / "config_sentence_transformers.json", similarity_fn_name="cosin"
    ),
    "default_prompt_name 'q' is none": lambda f: change(
        f / "config_sentence_transformers.json", default_prompt_name="q", prompts={"query": ""}
    ),
    "max_seq_length is 0": lambda f: change(f / "sentence_bert_config.json", max_seq_length=0),
    "1_Pooling has no config.json": lambda f: (f / "1_Pooling/config.json").unlink(),
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_fault_is_one_line(message, tmp_path):
    encoder(SentenceHead(("mean",), [dense()])).save(tmp_path)
    FAULTS[message](tmp_path)
    with pytest.raises(CheckpointError, match=message) as fault:
        formers.load(tmp_path)
    assert "\n" not in str(fault.value) and str(tmp_path) in str(fault.value)


def test_reading_gives_what_was_written(tmp_path):
    made = encoder(
        SentenceHead(("mean",), [dense(), Normalise()]),
        SentenceSettings(length=9, prompts={"a": "b"}, similarity="euclidean"),
    )
    made.save(tmp_path)
    head, settings, note = read_sentence_folder(tmp_path, DIM)
    assert (head.poolings, settings, note) == (("mean",), made.settings, "")
    assert torch.equal(head.steps[0].linear.weight, made.head.steps[0].linear.weight) and head.normalised
