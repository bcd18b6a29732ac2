"""Folders of speech as others publish them: they open as such, and what is written down equals the reference's."""

import json

import numpy as np
import pytest
import torch

import formers
from formers.data.builtin.dialtones import strings
from formers.errors import on_a_line
from formers.systems.speech.system import Recogniser
from formers.text.open import load_tokenizer
from tests.cli.conftest import works
from tests.parity.test_sound_families import reference

transformers = pytest.importorskip("transformers")

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", "E", "'"]  # as many as the tiny model of waves has


def words(*parts: str) -> dict[str, int]:
    return {part: number for number, part in enumerate(parts)}


def letters(folder, names=LETTERS, **more):
    """The tokenizer of wav2vec 2.0 with these letters, in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(words(*names)))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), **more)
    tokenizer.save_pretrained(folder)
    return tokenizer


def pieces(folder):
    """Parakeet's: pieces of words, a mark before each, and the blank behind all."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    rules = Tokenizer(models.BPE(words("<unk>", "▁", "a", "b", "▁a", "▁b", "ab", "▁ab"), [], unk_token="<unk>"))
    rules.pre_tokenizer, rules.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    rules.add_special_tokens(["<unk>", "<pad>"])
    tokenizer = transformers.ParakeetTokenizer(tokenizer_object=rules, unk_token="<unk>", pad_token="<pad>")
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.fixture(scope="module", params=["wave-relative", "wave-rotary", "parakeet"])
def published(request, tmp_path_factory):
    """(folder, model, tokenizer, extractor) of the reference."""
    folder = tmp_path_factory.mktemp("published")
    model = reference(request.param)
    model.save_pretrained(folder)
    if request.param == "parakeet":
        extractor = transformers.ParakeetFeatureExtractor(feature_size=16)
        tokenizer = pieces(folder)
    else:
        extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=request.param == "wave-rotary")
        tokenizer = letters(folder)
    extractor.save_pretrained(folder)
    return folder, model, tokenizer, extractor


def test_it_opens_as_speech_and_writes_what_the_reference_writes(published, tmp_path):
    folder, model, tokenizer, extractor = published
    speech = formers.load(folder)
    assert isinstance(speech, Recogniser) and speech.blank == tokenizer.pad_token_id
    for seed in range(4):
        wave = np.random.default_rng(seed).normal(0, 0.1, 3000).astype(np.float32)
        read = extractor(wave, sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            logits = model(**read).logits
        expected = tokenizer.batch_decode(logits.argmax(-1), skip_special_tokens=True)[0]
        (log_probs,) = speech.log_probs([wave])
        torch.testing.assert_close(log_probs, logits[0, : len(log_probs)].log_softmax(-1), atol=2e-3, rtol=1e-3)
        tokens = speech.hypothesis(log_probs).tokens
        assert speech.decode(tokens) == on_a_line(expected)
    speech.save(tmp_path / "ours")
    assert formers.load(tmp_path / "ours", system="speech").pieces == speech.pieces


def test_a_text_is_aligned_in_the_capitals_that_a_model_has(published):
    speech = formers.load(published[0])
    if speech.family != "parakeet_ctc":
        assert speech.tokens("e e") == speech.tokens("E E") == [5, 4, 5]


def test_commands_read_it(published, tmp_path):
    folder, *_ = published
    (sound, _), *_ = strings("test", 1, 5)
    (tmp_path / "a.wav").write_bytes(sound.wav())
    assert "segments" in json.loads(works("transcribe", folder, tmp_path / "a.wav", "--json"))


@pytest.mark.parametrize("more", [{}, {"word_delimiter_token": "#"}, {"do_lower_case": True}])
def test_letters_are_read_as_the_reference_reads_them(more, tmp_path):
    mark = more.get("word_delimiter_token", "|")
    names = ["<pad>", "<s>", "</s>", "<unk>", mark, "A", "B", "'", "É", "SH"]
    theirs = letters(tmp_path, names, **more)
    ours = load_tokenizer(tmp_path, {"model_type": "wav2vec2-conformer"})
    assert ours.vocab == len(names) and (ours.pad, ours.unk) == (0, 3)
    for text in ("A B", "AB'A É", " A  Q", "a b é"):
        assert ours.encode_plain([text])[0] == theirs(text).input_ids, text
    ids = [5, 4, 6, 7, 8]
    assert ours.decode([0, *ids, 2]) == theirs.decode(ids)
    assert load_tokenizer(ours_saved(ours, tmp_path / "again"), {}).encode_plain(["A B"]) == ours.encode_plain(["A B"])


def ours_saved(tokenizer, folder):
    folder.mkdir()
    tokenizer.save(folder)
    return folder
