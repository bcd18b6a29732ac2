"""Every key of generation_config.json that changes what is written, against transformers' `generate`."""

import json

import pytest
import torch

from formers.decoding import Beam, Greedy, complete
from formers.decoding.filters import epsilon_cutoff, eta_cutoff, typical_p
from formers.decoding.options import DecodingOptions
from formers.decoding.settings import NOT_OBEYED, Settings
from formers.decoding.strategies import Sample
from formers.decoding.writer import TokenSources, Writer, Writing
from formers.errors import CheckpointError, DataError
from formers.notes import note
from formers.pretrained.load import load_model, save_model

transformers = pytest.importorskip("transformers")

VOCAB, EOS, PAD, START, LIMIT = 60, 0, 59, 59, 14
PROMPTS = [[5, 9, 3], [8, 2, 2, 7, 41], [33]]
SOURCES = [[5, 9, 3, EOS], [8, 2, 2, 7, 41, 13, EOS], [33, 33, EOS]]
# one key each, and what must change something
KEYS = [
    {"suppress_tokens": [17, 48, 5, 99999]},
    {"begin_suppress_tokens": list(range(3, 40))},
    {"begin_suppress_tokens": list(range(3, 40)), "forced_bos_token_id": 9},
    {"bad_words_ids": [[54], [5], [40, 23], [28, 2], [16, 54, 17], [5, 5, 5], [EOS]]},
    {"sequence_bias": [[[33], 3.0], [[40, 23], -9.0], [[28, 2], -50.0], [[5], -5.5], [[9, 16, 54], -4.0]]},
    {"min_new_tokens": 9},
    {"min_length": 10},
    {"max_new_tokens": 5},
    {"max_length": 9},
    {"repetition_penalty": 1.7},
    {"encoder_repetition_penalty": 2.5},
    {"no_repeat_ngram_size": 2},
    {"encoder_no_repeat_ngram_size": 1},
    {"encoder_no_repeat_ngram_size": 2},
    {"exponential_decay_length_penalty": [3, 1.6]},
    {"forced_bos_token_id": 9},
    {"forced_eos_token_id": EOS},
    {"forced_eos_token_id": [EOS, 4]},
    {"remove_invalid_values": True, "bad_words_ids": [[17], [28, 2], [5]]},
    {"renormalize_logits": True, "suppress_tokens": list(range(3, 50))},
    {"length_penalty": 0.4, "early_stopping": True},
    {"eos_token_id": [EOS, 4, 17], "min_new_tokens": 3},
    {"repetition_penalty": 1.3, "min_new_tokens": 4, "sequence_bias": [[[7], 2.0]], "begin_suppress_tokens": [EOS, 7]},
]


class Numbers:
    """A tokenizer whose texts are the numbers of their tokens."""

    def decode(self, ids):
        return " ".join(map(str, ids))


def randomised(model, seed, often):
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.3)
    with torch.no_grad():  # some texts end: the stop token comes where another one came
        head = model.get_output_embeddings().weight
        head[EOS] = 1.1 * head[often]
    return model.eval()


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """(theirs, ours, folder)"""
    config = transformers.LlamaConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, bos_token_id=1, eos_token_id=EOS, pad_token_id=PAD,
    )  # fmt: skip
    return saved(randomised(transformers.LlamaForCausalLM(config), 6, 7), tmp_path_factory)


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    config = transformers.T5Config(
        vocab_size=VOCAB, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2,
        relative_attention_num_buckets=8, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
        pad_token_id=PAD, eos_token_id=EOS, decoder_start_token_id=START,
    )  # fmt: skip
    return saved(randomised(transformers.T5ForConditionalGeneration(config), 4, 16), tmp_path_factory)


def saved(theirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    theirs.save_pretrained(folder)
    return theirs, load_model(folder).model, folder


def base(keys, prompts_are_read):
    start = {} if prompts_are_read else {"decoder_start_token_id": START}
    return {"eos_token_id": EOS, "pad_token_id": PAD, **start, **keys}


def theirs_of(model, row, keys, **how):
    """What `generate` writes after one row alone, without the stop token."""
    config = transformers.GenerationConfig(**keys)
    limit = {} if {"max_length", "max_new_tokens"} & keys.keys() else {"max_new_tokens": LIMIT}
    ids = torch.tensor([row])
    mask = torch.ones_like(ids)
    found = model.generate(ids, attention_mask=mask, generation_config=config, do_sample=False, **limit, **how)[0]
    begin = 1 if model.config.is_encoder_decoder else len(row)
    ends = keys["eos_token_id"] if isinstance(keys["eos_token_id"], list) else [keys["eos_token_id"]]
    text = found[begin:].tolist()
    # what fills rows up after the end, a beam's too
    return text[: next((at for at, token in enumerate(text) if token in ends), len(text))]


def ours_of(model, rows, keys, beams):
    """All rows in one batch, of different lengths."""
    settings = Settings.of(keys, VOCAB)
    writer = Writer(model, Numbers(), settings, settings.stop)
    asked = None if settings.maximum or settings.maximum_new else LIMIT
    options = DecodingOptions(max_tokens=asked, beams=beams, length_penalty=settings.length_penalty)
    if "decoder_start_token_id" not in keys:
        written = writer.write(rows, options)
    else:
        written = writer.write([[START] for _ in rows], options, TokenSources(model, rows, PAD))
    return [several[0].tokens for several in written]


def name_of(keys):
    return "+".join(keys)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("keys", KEYS, ids=name_of)
@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_a_key_is_obeyed_as_there(kind, keys, beams, request):
    theirs, ours, _ = request.getfixturevalue(kind)
    rows = PROMPTS if kind == "llama" else SOURCES
    keys = base(keys, kind == "llama")
    reference = [theirs_of(theirs, row, keys, num_beams=beams) for row in rows]
    assert ours_of(ours, rows, keys, beams) == reference


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_the_cases_say_something(kind, request):
    """A key that changes no text would prove nothing."""
    theirs, _, _ = request.getfixturevalue(kind)
    rows, silent = PROMPTS if kind == "llama" else SOURCES, []
    plain = [theirs_of(theirs, row, base({}, kind == "llama"), num_beams=3) for row in rows]
    for keys in KEYS:
        if [theirs_of(theirs, row, base(keys, kind == "llama"), num_beams=3) for row in rows] == plain:
            silent.append(name_of(keys))
    assert len(silent) <= 2, silent


def test_a_streamed_text_obeys_too(llama):
    _, ours, _ = llama
    for keys in KEYS:
        settings = Settings.of(base(keys, True), VOCAB)
        writer = Writer(ours, Numbers(), settings, settings.stop)
        options = DecodingOptions(max_tokens=None if settings.maximum or settings.maximum_new else LIMIT, beams=1)
        for prompt in PROMPTS:
            ((written,),) = writer.write([prompt], options)
            stream = Writing(writer, prompt, options)
            assert "".join(stream) == written.text and stream.result.reason == written.reason
            held = len(prompt) - 1
            if held:  # as a chat does: the beginning is in the cache
                cache = ours.begin(capacity=0)
                cache.reserve(64)
                with torch.no_grad():
                    ours.extend(torch.tensor([prompt[:held]]), cache)
                again = Writing(writer, prompt[held:], options, cache=cache, read=prompt[:held])
                assert "".join(again) and again.tokens == written.tokens


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (typical_p(0.3), transformers.TypicalLogitsWarper(0.3)),
        (typical_p(0.95), transformers.TypicalLogitsWarper(0.95)),
        (epsilon_cutoff(0.01), transformers.EpsilonLogitsWarper(0.01)),
        (epsilon_cutoff(0.9), transformers.EpsilonLogitsWarper(0.9)),
        (eta_cutoff(0.02), transformers.EtaLogitsWarper(0.02)),
    ],
)
def test_samplers_leave_what_theirs_leave(ours, theirs):
    generator = torch.Generator().manual_seed(1)
    for sharp in (0.3, 1.0, 4.0):
        logits = sharp * torch.randn(40, 200, generator=generator)
        logits[torch.rand(40, 200, generator=generator) < 0.2] = -torch.inf
        tokens = torch.zeros(40, 1, dtype=torch.long)
        assert torch.equal(ours(logits.clone(), tokens), theirs(tokens, logits.clone()))


def test_the_samplers_of_a_checkpoint_are_used():
    keys = {"temperature": 0.7, "top_k": 9, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.8, "epsilon_cutoff": 0.02,
            "eta_cutoff": 0.03}  # fmt: skip
    strategy = DecodingOptions(seed=1).strategy(Settings.of({"eos_token_id": EOS, **keys}), [[1]])
    assert isinstance(strategy, Sample) and {name: getattr(strategy, name) for name in keys} == keys
    warpers = [
        transformers.TemperatureLogitsWarper(0.7), transformers.TopKLogitsWarper(9), transformers.TopPLogitsWarper(0.9),
        transformers.MinPLogitsWarper(0.1), transformers.TypicalLogitsWarper(0.8),
        transformers.EpsilonLogitsWarper(0.02), transformers.EtaLogitsWarper(0.03),
    ]  # fmt: skip
    logits = 2 * torch.randn(50, 100, generator=torch.Generator().manual_seed(2))
    tokens, reference, found = torch.zeros(50, 1, dtype=torch.long), logits.clone(), logits.clone()
    for theirs in warpers:
        reference = theirs(tokens, reference)
    for ours in strategy.filters():
        found = ours(found, tokens)
    assert torch.equal(found.isfinite(), reference.isfinite())
    assert torch.allclose(found.softmax(-1), reference.softmax(-1), atol=1e-6)


def test_a_forced_end_is_no_end_of_its_own(llama):
    _, ours, _ = llama
    settings = Settings.of(
        {"eos_token_id": EOS, "forced_eos_token_id": EOS, "suppress_tokens": [], "min_new_tokens": 5}
    )
    writer = Writer(ours, Numbers(), settings, settings.stop)
    ((written,),) = writer.write([PROMPTS[0]], DecodingOptions(max_tokens=5))
    assert len(written.tokens) == 4 and written.reason == "length"


def test_a_prompt_as_long_as_the_checkpoint_allows(llama):
    _, ours, _ = llama
    settings = Settings.of({"eos_token_id": EOS, "max_length": 4})
    writer = Writer(ours, Numbers(), settings, settings.stop)
    assert len(writer.write([[5, 9, 3]], DecodingOptions())[0][0].tokens) <= 1
    with pytest.raises(DataError, match=r"4 tokens stand before the text, but .* max_length is 4"):
        writer.write([[5, 9, 3, 3]], DecodingOptions())
    assert writer.write([[5, 9, 3, 3]], DecodingOptions(max_tokens=3))


# ---- what is not obeyed, and what is wrong -----------------------------------------------------------------


@pytest.fixture
def lines(caplog):
    note.cache_clear()
    caplog.set_level("WARNING", "formers")
    return lambda: [record.getMessage() for record in caplog.records]


STRANGE = {
    "constraints": [1], "diversity_penalty": 0.5, "dola_layers": "low", "force_words_ids": [[3]],
    "forced_decoder_ids": [[1, 2]], "guidance_scale": 2.0, "max_time": 3.0, "num_beam_groups": 2,
    "num_return_sequences": 3, "penalty_alpha": 0.6, "stop_strings": ["a"], "token_healing": True, "top_h": 0.3,
    "watermarking_config": {"bias": 2.0},
}  # fmt: skip


def test_what_is_not_obeyed_is_named_in_one_line(lines):
    assert STRANGE.keys() == NOT_OBEYED.keys()
    Settings.of({"eos_token_id": EOS, **STRANGE})
    (line,) = lines()
    assert all(f"{key} = " in line for key in STRANGE)
    Settings.of({"eos_token_id": EOS, "guidance_scale": 1.0, "num_beam_groups": 1, "top_h": None, "constraints": []})
    assert len(lines()) == 1


def test_sampling_that_nobody_asks_for_is_named(lines):
    settings = Settings.of({"eos_token_id": EOS, "do_sample": True, "num_beams": 4})
    DecodingOptions(temperature=0.0).strategy(settings, [[1]])
    DecodingOptions(beams=4).strategy(settings, [[1]])
    assert lines() == []
    DecodingOptions(beams=1).strategy(settings, [[1]])
    DecodingOptions(seed=1).strategy(settings, [[1]])
    DecodingOptions(stop="a", temperature=0.0).strategy(settings, [[1]])
    assert len(lines()) == 3
    assert "do_sample" in lines()[0] and all("num_beams = 4 is not obeyed" in line for line in lines()[1:])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"num_beams": "4"}, "num_beams is '4', expected a whole number"),
        ({"num_beams": 0}, "num_beams is 0, expected at least 1"),
        ({"bad_words_ids": [7]}, "bad_words_ids[0] is 7"),
        ({"bad_words_ids": [[]]}, "bad_words_ids[0] is empty"),
        ({"bad_words_ids": {"a": 1}}, "bad_words_ids is {'a': 1}"),
        ({"sequence_bias": [[[7], "x"]]}, "sequence_bias[0][1] is 'x', expected a number"),
        ({"sequence_bias": [[[7]]]}, "sequence_bias[0] has 1 values, expected 2"),
        ({"exponential_decay_length_penalty": [3]}, "exponential_decay_length_penalty has 1 values"),
        ({"exponential_decay_length_penalty": [3, -1.0]}, "exponential_decay_length_penalty[1] is -1.0"),
        ({"eos_token_id": "</s>"}, "eos_token_id"),
        ({"eos_token_id": [[1]]}, "eos_token_id[0] is"),
        ({"decoder_start_token_id": 60}, "decoder_start_token_id is 60, which is none of the 60 tokens"),
        ({"decoder_start_token_id": 1, "forced_bos_token_id": -3}, "forced_bos_token_id is -3"),
        ({"early_stopping": "often"}, "early_stopping is 'often'"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0"),
        ({"temperature": True}, "temperature is True"),
        ({"min_length": 1.5}, "min_length is 1.5"),
        ({"suppress_tokens": "7" * 9999}, "suppress_tokens is '777"),
    ],
    ids=str,
)
def test_what_no_settings_are_is_one_line(keys, message):
    with pytest.raises(CheckpointError) as fault:
        Settings.of(keys, VOCAB)
    assert message in str(fault.value) and len(str(fault.value)) < 400


# ---- saving ------------------------------------------------------------------------------------------------


def test_all_survives_saving(llama, tmp_path):
    _, _, folder = llama
    keys = {"bos_token_id": 1, "eos_token_id": [EOS, 4], "chat_format": "chatml", "max_window_size": 6144,
            "top_h": None, "assistant_early_exit": 3, "transformers_version": "4.0", **STRANGE}  # fmt: skip
    for one in KEYS:
        keys |= one
    keys |= {"typical_p": 0.9, "epsilon_cutoff": 0.1, "eta_cutoff": 0.2, "do_sample": True, "num_beams": 1}
    (folder / "generation_config.json").write_text(json.dumps(keys))
    loaded = load_model(folder)
    settings = Settings.of(loaded.generation, VOCAB)
    save_model(tmp_path / "b", loaded.model, generation=settings.raw())
    written = json.loads((tmp_path / "b" / "generation_config.json").read_text())
    assert {key: written[key] for key in keys} == keys
    assert Settings.of(load_model(tmp_path / "b").generation, VOCAB) == settings
    assert "decoder_start_token_id" not in written


def test_what_has_changed_is_written_over_what_was_read():
    from dataclasses import replace

    settings = Settings.of({"eos_token_id": 3, "num_beams": 2, "odd": 1, "bad_words_ids": [[7], [1, 2]]})
    raw = replace(settings, stop=(3, 5), beams=4, forbidden=()).raw()
    assert raw == {"eos_token_id": [3, 5], "num_beams": 4, "odd": 1, "bad_words_ids": [[1, 2]]}


def test_a_file_of_settings_stands_alone(llama, tmp_path):
    """As elsewhere: config.json's old settings count only where there is no generation_config.json."""
    _, _, folder = llama
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**raw, "num_beams": 4, "suppress_tokens": [7]}))
    (folder / "generation_config.json").write_text(json.dumps({"top_k": 3}))
    generation = load_model(folder).generation
    assert "num_beams" not in generation and generation["eos_token_id"] == EOS and generation["top_k"] == 3
    (folder / "generation_config.json").unlink()
    assert load_model(folder).generation["num_beams"] == 4


def test_lists_of_filters_are_those_of_their_sentences(t5):
    from formers.decoding.filters import forbid

    _, ours, _ = t5
    source = torch.tensor([[5, 9, EOS], [5, 9, EOS]])
    start = torch.full((2, 1), START)
    for strategy in (Greedy(), Beam(3)):
        how = {"stop": [EOS], "limit": 6, "pad": PAD}
        with torch.no_grad():
            one = complete(ours, start, ours.begin(source, capacity=6), strategy, filters=[forbid(range(1, 30))], **how)
            each = complete(
                ours, start, ours.begin(source, capacity=6), strategy, filters=[[], [forbid(range(1, 30))]], **how
            )
        assert each[1][0].tokens == one[0][0].tokens != each[0][0].tokens
