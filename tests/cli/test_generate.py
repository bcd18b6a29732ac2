"""`formers generate`: conditional or not, streamed, sampled, explained; and what cannot be done in one line."""

import pytest

import formers
from tests.cli.conftest import call, fails, works
from tests.systems.language.toy import TEXT, language


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    model = language(length=60, chat=True)
    model.model.float()
    place = tmp_path_factory.mktemp("language") / "model"
    model.save(place)
    return place


@pytest.fixture(scope="session")
def model(folder):
    return formers.load(folder)


def test_a_text_goes_on(folder, model):
    expected = model.generate("The capital", max_tokens=8).text
    assert works("generate", folder, "The capital", "--max-tokens", 8) == expected + "\n"
    assert works("generate", folder, "-", "--max-tokens", 8, stdin="The capital\n") == expected + "\n"
    assert (
        works("generate", folder, "-", "--max-tokens", 8, stdin="The\ncapital")
        == model.generate("The\ncapital", max_tokens=8).text + "\n"
    )


def test_a_text_begins(folder, model):
    assert works("generate", folder, "--max-tokens", 8) == model.generate(max_tokens=8).text + "\n"


def test_sampling(folder, model):
    given = ["--temperature", 0.8, "--top-k", 20, "--top-p", 0.95, "--min-p", 0.01, "--repetition-penalty", 1.2,
             "--seed", 4, "--max-tokens", 6, "--samples", 2]  # fmt: skip
    one, two = model.generate(
        "Lily",
        temperature=0.8,
        top_k=20,
        top_p=0.95,
        min_p=0.01,
        repetition_penalty=1.2,
        seed=4,
        max_tokens=6,
        samples=2,
    )
    assert works("generate", folder, "Lily", *given) == f"--- 1\n{one}\n--- 2\n{two}\n"


def test_stop_strings(folder, model):
    whole = model.generate("Lily", max_tokens=12, seed=1).text
    stop = whole[2:4]
    assert works("generate", folder, "Lily", "--max-tokens", 12, "--seed", 1, "--stop", stop, "--stop", "\\n\\n") == (
        whole[: whole.index(stop)] + "\n"
    )


def test_log_probabilities(folder, model):
    found = model.generate("Lily", max_tokens=5)
    text, rest = works("generate", folder, "Lily", "--max-tokens", 5, "--logprobs"), found.text + "\n"
    assert text.startswith(rest)
    scores = [float(line.split()[0]) for line in text.removeprefix(rest).splitlines()]
    assert scores == pytest.approx(found.scores, abs=1e-4)


def test_the_end_of_the_context_is_told(folder, model):
    count = len(model.tokenizer.encode_plain([TEXT])[0])
    said = fails("generate", folder, TEXT)
    assert f"the prompt has {count} tokens, but this model reads at most 60" in said and "truncate" in said
    assert works("generate", folder, TEXT, "--truncate", "--max-tokens", 4)
    result = call("generate", folder, "Lily", "--repetition-penalty", 9)
    found = model.generate("Lily", repetition_penalty=9)
    assert ("has reached the 60 tokens" in result.stderr) == (found.reason == "length")


def test_faults(folder, trained):
    assert "temperature (-1.0) must be 0 or more" in fails("generate", folder, "a", "--temperature", -1)
    assert "top_p: got 3.0" in fails("generate", "nothing", "a", "--top-p", 3)  # said before the model is looked for
    assert "samples: got 2 with temperature 0" in fails("generate", folder, "a", "--samples", 2, "--temperature", 0)
    assert "stop string is empty" in fails("generate", "nothing", "a", "--stop", "")
    assert "are not Unicode" in fails("generate", "nothing", "a", "--stop", "caf\udce9")
    assert "line 2, byte 2: not UTF-8" in fails("generate", folder, "-", stdin=b"ok\nh\xff\n")
    assert "there is no such run" in fails("generate", "nothing", "a")
    said = fails("generate", trained.folder, "a")
    assert "is for translation, expected a model for language; try: formers translate" in said
    said = fails("translate", folder, "a")
    assert "is for language, expected a model for translation; try: formers generate" in said
    assert call("generate", folder, "--max-tokens", 0).exit_code == 2


def test_a_model_without_tokenizer(folder, tmp_path):
    works("export", folder, "bare")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "bare" / name).unlink()
    assert "has no tokenizer files" in fails("generate", "bare", "a")
