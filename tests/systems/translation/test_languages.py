"""Translation between named languages: as transformers writes with the same ids, by command, trained, saved."""

from __future__ import annotations

import json

import pytest
import torch

import formers
from formers.errors import ConfigError
from formers.pretrained.load import load_model
from tests.cli.conftest import fails, works
from tests.text.test_language_tokenizer import LINES, mbart, nllb  # noqa: F401  fixtures

transformers = pytest.importorskip("transformers")

SIZES = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 48,
}
# name: (model_type, two languages to write)
KINDS = {"nllb": ("m2m_100", ("fra_Latn", "deu_Latn")), "mbart": ("mbart", ("ro_RO", "de_DE"))}


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    """As transformers saves it, with every parameter random."""
    tokens = request.getfixturevalue(request.param)
    place = tmp_path_factory.mktemp(f"model-{request.param}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokens)
    kind, languages = KINDS[request.param]
    start = 2 if kind == "m2m_100" else tokenizer.convert_tokens_to_ids(languages[0])
    config = transformers.AutoConfig.for_model(
        kind, **SIZES, vocab_size=len(tokenizer), decoder_start_token_id=start, forced_eos_token_id=None
    )
    torch.manual_seed(5)
    model = transformers.AutoModelForSeq2SeqLM.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(float("norm" in name and name.endswith("weight")), 0.5)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def reference(folder, texts, language, beams=1, source="", most=9):
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if source:
        tokenizer.src_lang = source
    code = tokenizer.convert_tokens_to_ids(language)
    how = {"forced_bos_token_id": code} if model.config.model_type == "m2m_100" else {"decoder_start_token_id": code}
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    out = model.generate(**inputs, **how, num_beams=beams, do_sample=False, max_new_tokens=most, early_stopping=False)
    return [text.strip() for text in tokenizer.batch_decode(out, skip_special_tokens=True)]


def test_translations_are_those_of_the_reference(folder):
    translator = formers.load(folder, system="translation")
    kind, languages = next(row for row in KINDS.values() if row[0] == translator.family)
    texts = LINES[:5]
    written = set()
    for to in languages:
        for beams in (1, 3):
            expected = reference(folder, texts, to, beams)
            assert translator.translate(texts, to=to, beams=beams, max_tokens=9) == expected
            written.add(tuple(expected))
    assert len(written) > 1, "the language makes no difference"
    other = {"m2m_100": "zho_Hans", "mbart": "ar_AR"}[kind]
    expected = reference(folder, texts, languages[1], source=other)
    assert translator.translate(texts, to=languages[1], source_language=other, max_tokens=9) == expected


def test_commands(folder):
    kind = load_model(folder).family
    to = next(languages for name, languages in KINDS.values() if name == kind)[1]
    texts = LINES[:3]
    translator = formers.load(folder)
    expected = translator.translate(texts, to=to, max_tokens=9)
    assert works("translate", folder, *texts, "--to", to, "--max-tokens", 9).splitlines() == expected
    told = json.loads(works("translate", folder, texts[0], "--to", to, "--scores", "--json", "--max-tokens", 9))
    assert told["translation"] == expected[0] and len(told["log_probabilities"]) == len(told["tokens"])
    assert "did you mean" in fails("translate", folder, "I", "--to", to.lower())
    if kind == "m2m_100":
        line = fails("translate", folder, "I ate bread.")
        assert "this model writes 4 languages (" in line and "say which one (--to, in Python to=)" in line


def test_a_prefix_follows_the_language(folder):
    translator = formers.load(folder)
    to = next(languages for name, languages in KINDS.values() if name == translator.family)[1]
    spoken = translator.speaking(to=to)
    assert spoken.translate("I ate bread.", prefix="you saw", max_tokens=6).startswith("you saw")
    code = spoken.tokenizer.target_code
    assert (spoken.forced("you saw")[0] == code) is (translator.family == "m2m_100")
    assert (spoken.settings.forced_first == code) is (translator.family == "m2m_100")
    assert (spoken.settings.start == code) is (translator.family == "mbart")


def test_saved_and_loaded_writes_the_same_language(folder, tmp_path):
    translator = formers.load(folder)
    to = next(languages for name, languages in KINDS.values() if name == translator.family)[1]
    spoken = translator.speaking(to=to)
    spoken.save(tmp_path / "model")
    again = formers.load(tmp_path / "model")
    assert again.family == translator.family and again.tokenizer.languages == spoken.tokenizer.languages
    assert again.translate(LINES[:3], max_tokens=9) == spoken.translate(LINES[:3], max_tokens=9)
    assert reference(tmp_path / "model", LINES[:3], to) == spoken.translate(LINES[:3], max_tokens=9)


def test_training_goes_on_between_two_languages(folder, tmp_path):
    kind = load_model(folder).family
    to = next(languages for name, languages in KINDS.values() if name == kind)[1]
    (tmp_path / "pairs.csv").write_text("en,de\n" + "".join(f"{line},{line}\n" for line in LINES))
    given = [f"data.train={tmp_path / 'pairs.csv'}", "data.held_out=4", f"model.start={folder}", f"rows.to={to}"]
    given += ["train.steps=2", "train.precision=fp32", "train.evaluate_every=2", "task.decoded=2"]
    works("train", "translation", "--run", tmp_path / "run", *(part for each in given for part in ("--set", each)))
    trained = formers.load(tmp_path / "run")
    assert trained.family == kind and trained.tokenizer.languages.target == to
    told = json.loads(works("evaluate", tmp_path / "run", "--count", 2, "--json"))
    assert "bleu" in told
    unsaid = [part for part in given if "rows.to" not in part]
    if kind == "m2m_100":
        line = fails("train", "translation", "--run", tmp_path / "b", *(p for s in unsaid for p in ("--set", s)))
        assert "say which one" in line


def test_models_without_languages_refuse_one(tmp_path):
    line = fails("train", "translation", "--run", tmp_path / "run", "--set", "rows.to=fra")
    assert '"fra" is for a model that tells languages apart; name one in model.start' in line
    from formers.text.open import train_bpe
    from tests.systems.translation.test_system import ROWS, SOURCE, untrained

    table = SOURCE.read("train", **ROWS.reading(SOURCE))
    translator = untrained(train_bpe(table.columns["en"] + table.columns["de"], 300))
    with pytest.raises(ConfigError, match='this model tells no languages apart; leave "fra" out'):
        translator.translate("I ate", to="fra")
