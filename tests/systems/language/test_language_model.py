"""Language models write, stream, score and choose: the same whatever else is in the batch, with honest endings."""

import math
import re

import pytest
import torch

from formers.decoding.options import DecodingOptions, seeds
from formers.decoding.settings import Settings
from formers.errors import ConfigError, DataError
from formers.systems.language_model import LanguageModel
from tests.systems.language.toy import FORMS, TEXT, language

PROMPTS = ["The capital", "Once upon a time, there was", "", "Lily", "Lily", "a girl named 🙂"]
WAYS = [
    {},
    {"temperature": 1.0, "seed": 3},
    {"top_k": 9, "seed": 1, "samples": 3},
    {"beams": 3},
    {"repetition_penalty": 1.4, "no_repeat_ngram": 2},
    {"stop": ["e", "an"], "temperature": 1.2, "seed": 5},
]


@pytest.fixture(scope="module", params=FORMS)
def model(request):
    return language(request.param)


@pytest.mark.parametrize("options", WAYS, ids=lambda each: " ".join(each) or "greedy")
def test_a_batch_is_its_prompts_one_by_one(model, options):
    found = model.generate(PROMPTS, max_tokens=12, **options)
    alone = [model.generate(prompt, max_tokens=12, **options) for prompt in PROMPTS]
    if "seed" in options:  # the second of the same prompts goes its own way
        assert str(found[3]) != str(found[4]) or "stop" in options
        found, alone = found[:4] + found[5:], alone[:4] + alone[5:]
    for many, few in zip(found, alone, strict=True):
        for one, other in zip(listed(many), listed(few), strict=True):
            assert (one.text, one.tokens, one.reason, one.stop) == (other.text, other.tokens, other.reason, other.stop)
            assert one.scores == pytest.approx(other.scores, abs=1e-5)


def listed(found):
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize(
    "options",
    [each for each in WAYS if not {"samples", "beams"} & each.keys()],
    ids=lambda each: " ".join(each) or "greedy",
)
def test_a_stream_is_what_generate_gives(model, options):
    for prompt in PROMPTS:
        whole, writing = (go(prompt, max_tokens=12, **options) for go in (model.generate, model.stream))
        assert "".join(writing) == whole.text == writing.text
        assert writing.result.tokens == whole.tokens and writing.result.reason == whole.reason
        assert writing.result.scores == pytest.approx(whole.scores, abs=1e-6)


def test_scores_are_those_of_a_full_forward_pass(model):
    found = model.generate("The capital", max_tokens=12, temperature=1.0, seed=3)
    prompt = model.tokenizer.encode_plain(["The capital"])[0]
    said = found.tokens + [model.ends[0]] * (len(found.scores) - len(found.tokens))
    with torch.no_grad():
        logits = model.model(torch.tensor([prompt + said]))[0, len(prompt) - 1 : -1]
    own = logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None])[:, 0]
    assert found.scores == pytest.approx(own.tolist(), abs=1e-4)


def test_no_prompt_begins_at_the_start_token(model):
    assert model.opening == [] and model.start == model.tokenizer.bos
    assert model.generate(max_tokens=5).tokens == model.generate("<|endoftext|>", max_tokens=5).tokens
    bare = LanguageModel(model.model, model.tokenizer, Settings(start=0, stop=(), pad=0))
    bare.tokenizer.bos, kept = None, bare.tokenizer.bos
    try:
        assert bare.start == bare.tokenizer.eos
        bare.tokenizer.eos = None
        with pytest.raises(ConfigError, match="no start token"):
            bare.generate()
    finally:
        bare.tokenizer.bos = bare.tokenizer.eos = kept


def test_shapes_of_the_results(model):
    assert str(model.generate("Lily", max_tokens=3)) == model.generate("Lily", max_tokens=3).text
    assert [len(each) for each in model.generate(["a", "b"], max_tokens=3, samples=2)] == [2, 2]
    assert len(model.generate("a", max_tokens=3, samples=1)) == 1
    assert model.generate([]) == []


def test_seeds():
    model = language()
    one, two = model.generate("Lily", max_tokens=9, samples=2, seed=1)
    assert one.tokens != two.tokens
    assert [one, two] == model.generate("Lily", max_tokens=9, samples=2, seed=1)
    assert model.generate("Lily", max_tokens=9, seed=2) != model.generate("Lily", max_tokens=9, seed=1)
    assert seeds(1, [[5, 6], [7]])[0] == seeds(1, [[8], [5, 6]])[1] != seeds(1, [[5, 6], [5, 6]])[1]


def test_what_is_left_open_is_as_the_checkpoint_says():
    settings = Settings(start=0, stop=(), pad=0, sample=True, temperature=0.6, top_p=0.9, top_k=7, repetition=1.3)
    assert not DecodingOptions().draws and not DecodingOptions(temperature=0, seed=1).draws
    found = DecodingOptions(seed=1).strategy(settings, [[1]])
    assert (found.temperature, found.top_p, found.top_k) == (0.6, 0.9, 7)
    found = DecodingOptions(temperature=1.5, top_k=0, top_p=1.0).strategy(settings, [[1]])
    assert (found.temperature, found.top_p, found.top_k) == (1.5, 1.0, 0)
    assert (
        len(DecodingOptions().filters(settings)) == 1
        and DecodingOptions(repetition_penalty=1.0).filters(settings) == []
    )


def test_stop_strings_end_a_text(model):
    for seed in range(50):
        whole = model.generate("Once", max_tokens=20, temperature=1.0, seed=seed)
        if (words := re.search(r"(?<=.)[ -~]{3}", whole.text)) is not None:
            break
    middle = words[0]  # its characters are of several tokens
    found = model.generate("Once", max_tokens=20, temperature=1.0, seed=seed, stop=["never", middle])
    assert found.text == whole.text[: whole.text.index(middle)]
    assert found.stop == middle and found.reason == "stop"
    assert found.tokens == whole.tokens[: len(found.tokens)] and len(found.scores) == len(found.tokens)


def test_the_end_of_the_context(model):
    """A text of 48 tokens at most; a full prompt still has one answer."""
    long = model.tokenizer.decode(range(40, 40 + 47))
    ids = model.tokenizer.encode_plain([long])[0]
    room = 48 + 1 - len(ids)
    found = model.generate([long, "Lily"], max_tokens=100, repetition_penalty=5.0)
    assert found[0].reason == "stop" or len(found[0].tokens) == room
    assert found[1].reason == "stop" or len(found[1].tokens) == 49 - len(model.tokenizer.encode_plain(["Lily"])[0])
    assert any(each.reason == "length" for each in found)


def test_a_prompt_that_is_too_long(model):
    long = TEXT * 2
    count = len(model.tokenizer.encode_plain([long])[0])
    with pytest.raises(DataError, match=rf"prompt 2 has {count} tokens, but this model reads at most 48"):
        model.generate(["a", long])
    with pytest.raises(DataError, match=r"the prompt has .* truncate"):
        model.stream(long)
    ids = model.tokenizer.encode_plain([long])[0]
    for most, kept in ((9, 40), (100, 25)):
        options = DecodingOptions(max_tokens=most, truncate=True)
        assert model.read(long, options, "x") == ids[-kept:]
        assert len(model.generate(long, max_tokens=most, truncate=True).scores) <= most


@pytest.mark.parametrize("wrong", [
    {"max_tokens": 0}, {"temperature": -1}, {"temperature": math.nan}, {"top_p": 0}, {"top_p": 2}, {"top_k": -1},
    {"min_p": 2}, {"repetition_penalty": 0}, {"samples": 0}, {"samples": 2, "temperature": 0}, {"beams": 0},
    {"beams": 2, "stop": "x"}, {"beams": 2, "temperature": 1.0}, {"no_repeat_ngram": -1},
], ids=str)  # fmt: skip
def test_wrong_options_are_told_at_once(wrong):
    with pytest.raises(ConfigError, match=r"got .*expected|got .*give|must be"):
        DecodingOptions(**wrong)


def test_streams_are_of_one_text(model):
    for wrong in ({"samples": 2}, {"beams": 2}):
        with pytest.raises(ConfigError, match="with one sample and one beam"):
            model.stream("a", **wrong)


def test_the_model_stays_as_it_was():
    model = language().model.train()
    lm = LanguageModel(model, language().tokenizer, Settings(start=0, stop=(0,), pad=0))
    lm.generate("a", max_tokens=2)
    stream = iter(lm.stream("a", max_tokens=4))
    next(stream)
    assert torch.is_grad_enabled()
    stream.close()
    lm.score("Once upon")
    lm.choose("a", ["b", "c"])
    assert model.training


# Likelihood


def naive(model, ids, window, stride):
    """Token by token, each in the first window that has it."""
    found, body = [], [model.start, *ids]
    for at in range(1, len(body)):
        begin = 0
        while begin + window <= at:
            begin += stride
        with torch.no_grad():
            logits = model.model(torch.tensor([body[begin:at]]))[0, -1]
        found.append(logits.log_softmax(-1)[body[at]].item())
    return found


@pytest.mark.parametrize(("window", "stride"), [(48, 24), (16, 8), (16, 15), (9, 1), (2, 1)])
def test_scores_in_windows(model, window, stride):
    ids = model.tokenizer.encode_plain([TEXT])[0]
    found = model.score(TEXT, window=window, stride=stride)
    assert found.tokens == ids and found.bytes == len(TEXT.encode())
    assert found.scores == pytest.approx(naive(model, ids, window, stride), abs=1e-4)
    assert found.perplexity == pytest.approx(math.exp(-sum(found.scores) / len(ids)))
    assert model.perplexity(TEXT, window=window, stride=stride) == found.perplexity
    assert found.bits_per_byte == pytest.approx(-sum(found.scores) / math.log(2) / len(TEXT))


def test_a_short_text_is_one_window(model):
    ids = model.tokenizer.encode_plain(["Once upon"])[0]
    assert model.score("Once upon").scores == pytest.approx(naive(model, ids, 48, 24), abs=1e-4)
    assert model.score("Once upon", window=48).scores == model.score("Once upon").scores


def test_the_tokenizers_own_start_stands_before_every_window():
    model = language()
    from tokenizers import processors

    model.tokenizer.rules.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", model.tokenizer.rules.token_to_id("<|im_start|>"))]
    )
    (start,) = model.opening
    ids = model.tokenizer.encode_plain([TEXT])[0]
    found, body, expected = model.score(TEXT, window=17, stride=8), ids, []
    for at in range(len(body)):
        begin = 0
        while begin + 16 <= at:
            begin += 8
        with torch.no_grad():
            logits = model.model(torch.tensor([[start, *body[begin:at]]]))[0, -1]
        expected.append(logits.log_softmax(-1)[body[at]].item())
    assert found.scores == pytest.approx(expected, abs=1e-4)
    long = TEXT * 3
    kept = model.read(long, DecodingOptions(max_tokens=5, truncate=True), "x")
    assert kept[0] == start and len(kept) == 44 and kept[1:] == model.tokenizer.encode_plain([long])[0][-43:]


def test_faults_of_scoring(model):
    for wrong in ({"window": 1}, {"window": 49}, {"window": 8, "stride": 8}, {"stride": 0}):
        with pytest.raises(ConfigError, match=r"got .*expected"):
            model.score("Once upon a time", **wrong)
    with pytest.raises(DataError, match="too short"):
        model.score("")


# Preferences


def likelihood(model, prompt, choice):
    whole = model.tokenizer.encode_plain([f"{prompt} {choice}"])[0]
    count = len(whole) - len(model.tokenizer.encode_plain([prompt])[0])
    with torch.no_grad():
        logits = model.model(torch.tensor([whole]))[0, :-1].log_softmax(-1)
    return logits.gather(1, torch.tensor(whole[1:])[:, None])[-count:].sum().item()


def test_choices_are_scored_after_the_question(model):
    choices = ["Paris", "a little girl named Lily", "time."]
    found = model.choose("The capital of France is", choices)
    expected = [likelihood(model, "The capital of France is", choice) for choice in choices]
    assert found.totals == pytest.approx(expected, abs=1e-4)
    assert found.index == max(range(3), key=expected.__getitem__)
    per_byte = [total / len(choice) for total, choice in zip(expected, choices, strict=True)]
    assert found.normalised == pytest.approx(per_byte, abs=1e-5)
    assert found.normalised_index == max(range(3), key=per_byte.__getitem__)


def test_examples_stand_before_the_question_and_are_read_once(model, monkeypatch):
    chooser = model.chooser([("Who", "Lily"), ("What", "a girl")])
    read, questions = [], ("Where is", "Where was", "Where is")
    expected = [
        [likelihood(model, f"Who Lily\n\nWhat a girl\n\n{question}", choice) for choice in ("time", "Paris")]
        for question in questions
    ]
    features = model.model.features

    def counted(tokens, **options):
        read.append(tokens.shape[1])
        return features(tokens, **options)

    monkeypatch.setattr(model.model, "features", counted)
    found = [chooser.choose(question, ["time", "Paris"]).totals for question in questions]
    for totals, own in zip(found, expected, strict=True):
        assert totals == pytest.approx(own, abs=1e-4)
    examples = len(model.tokenizer.encode_plain(["Who Lily\n\nWhat a girl\n\n"])[0])
    assert read[0] >= examples and sum(read[1:]) < examples  # prefix, choices, and then only what is new


def test_faults_of_choices(model):
    for wrong in ([], ["one"], ["one", ""], "text"):
        with pytest.raises(DataError, match="expected at least two texts"):
            model.choose("a", wrong)
    with pytest.raises(DataError, match=r"with 2 examples and its longest choice has .* at most 48; give fewer"):
        model.choose("a", ["b", "c"], examples=[(TEXT, "x")] * 2)
    with pytest.raises(DataError, match="shorten it"):
        model.choose(TEXT, ["b", "c"])


def test_a_question_may_be_empty(model):
    found = model.choose("", ["Paris", "Lily"])
    assert found.totals == pytest.approx([model.score(each).total for each in ("Paris", "Lily")], abs=1e-4)


def test_saving_and_loading(tmp_path):
    import formers

    model = language(chat=True)
    model.model.float()
    model.save(tmp_path / "model")
    again = formers.load(tmp_path / "model")
    assert again.generate("Lily", max_tokens=8) == model.generate("Lily", max_tokens=8)
    assert again.template.source == model.template.source and again.settings.stop == model.settings.stop


def test_without_a_tokenizer():
    model = language()
    bare = LanguageModel(model.model, None, model.settings)
    for act in (bare.generate, bare.stream, lambda: bare.score("a"), lambda: bare.choose("a", ["b", "c"])):
        with pytest.raises(ConfigError, match="has no tokenizer files"):
            act()
