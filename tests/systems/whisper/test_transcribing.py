"""Windows decoded by a small model with random weights: prompts, trials, batches, languages, words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from formers.errors import CheckpointError, ConfigError
from formers.pretrained.load import load_model
from formers.systems.whisper.decode import compression_ratio, strategies
from formers.systems.whisper.hallucinations import believed, is_odd
from formers.systems.whisper.options import ListenOptions, WindowOptions
from formers.systems.whisper.system import Transcriber, open_whisper
from formers.systems.whisper.word_times import Segment, Word, at_ends, believable, joined, without_pauses
from formers.text.speech_tokens import SpeechTokens
from formers.text.training import train_byte_bpe


@pytest.fixture(scope="module")
def memory(transcriber):
    mels = torch.randn(5, 80, transcriber.size, generator=torch.Generator().manual_seed(3))
    return transcriber.encode([mels])


def test_a_window_is_decoded_alike_alone_and_with_others(transcriber, memory):
    prompt = transcriber.tokens.opening("en", "transcribe", timestamps=True)
    options = WindowOptions(fallback=False)
    together = transcriber.decoder.texts(memory, prompt, options)
    for row, text in enumerate(together):
        (alone,) = transcriber.decoder.texts(memory[row : row + 1], prompt, options)
        assert alone.tokens == text.tokens
        assert alone.avg_logprob == pytest.approx(text.avg_logprob, abs=1e-4)
        assert alone.no_speech_prob == pytest.approx(text.no_speech_prob, abs=1e-5)


def test_texts_follow_the_rules_of_timestamps(transcriber, memory):
    tokens = transcriber.tokens
    prompt = tokens.opening("en", "transcribe", timestamps=True)
    for text in transcriber.decoder.texts(memory, prompt, WindowOptions()):
        times = [token for token in text.tokens if token >= tokens.begin]
        assert text.tokens[0] >= tokens.begin and times == sorted(times)
        assert not {tokens.start, tokens.no_speech, tokens.no_timestamps} & {*text.tokens}


def test_trials():
    assert [t for t, _ in strategies(WindowOptions())] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert [t for t, _ in strategies(WindowOptions(temperature=0.6))] == [0.6, 0.8, 1.0]
    (only,) = strategies(WindowOptions(beams=5, fallback=False))
    assert only[1].width == 5
    assert compression_ratio("a " * 200) > 2.4 > compression_ratio("ask not what your country can do for you")


def test_what_is_wrong_is_tried_again_alone(transcriber, memory):
    prompt = transcriber.tokens.opening("en", "transcribe", timestamps=True)
    hopeless = WindowOptions(logprob_threshold=0.0, no_speech_threshold=1.0)
    first = transcriber.decoder.texts(memory, prompt, hopeless)
    assert {text.temperature for text in first} == {1.0}
    assert first == transcriber.decoder.texts(memory, prompt, hopeless)  # the same seed, the same texts
    silent = replace(hopeless, no_speech_threshold=0.0)
    assert {text.temperature for text in transcriber.decoder.texts(memory, prompt, silent)} == {0.0}


def test_prompts(transcriber):
    tokens, opening = transcriber.tokens, [1, 2]
    assert transcriber.prompt([], opening, "") == opening
    assert transcriber.prompt([7, 8], opening, "") == [tokens.previous, 7, 8, *opening]
    most = transcriber.model.config.length // 2 - 1
    long = transcriber.prompt(list(range(100)), opening, "one")
    hot = tokens.encode(" one")
    assert long == [tokens.previous, *hot, *range(100 - most + len(hot), 100), *opening]


def test_languages_need_a_multilingual_model(transcriber):
    with pytest.raises(ConfigError, match="this model knows English only"):
        transcriber.transcribe(np.zeros(100, np.float32), language="de")
    with pytest.raises(ConfigError, match="knows English only, got translate"):
        transcriber.transcribe(np.zeros(100, np.float32), task="translate")
    assert transcriber.detect(np.zeros(1600, np.float32)) == {"en": 1.0}


def test_languages_are_told(transcriber, memory):
    own = transcriber.tokens
    two = replace(own, languages={"en": own.start + 1, "de": own.start + 2}, tasks={"transcribe": 5, "translate": 6})
    several = replace(transcriber.decoder, tokens=two)
    first, *_ = several.languages(memory)
    assert sum(first.values()) == pytest.approx(1) and list(first.values()) == sorted(first.values(), reverse=True)
    assert two.opening("de", "translate", timestamps=True) == [own.start, own.start + 2, 6]
    with pytest.raises(ConfigError, match='no language "dee"; did you mean "de"'):
        two.opening("dee", "translate", timestamps=True)


def test_saved_and_opened_again(transcriber, memory, tmp_path):
    transcriber.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    again = open_whisper(loaded)
    assert loaded.system == "whisper" and again.extractor == transcriber.extractor
    assert again.tokens.begin == transcriber.tokens.begin
    prompt = transcriber.tokens.opening("en", "transcribe", timestamps=True)
    texts = [one.decoder.texts(memory, prompt, WindowOptions()) for one in (transcriber, again)]
    assert texts[0] == texts[1]


def test_another_tokenizer_is_refused():
    with pytest.raises(CheckpointError, match=r"no <\|startoftranscript\|>, so it is none of a speech model"):
        SpeechTokens.of(train_byte_bpe(["a b"], 300), 300)


def test_every_part_of_a_recording_is_listened_to(transcriber, monkeypatch):
    """Whatever a model says, windows go on and cover what there is."""
    samples = np.random.default_rng(0).standard_normal(7 * 16_000).astype(np.float32) * 0.1
    for batch, threshold in ((1, 0), (3, 0), (1, 0.5)):
        window = WindowOptions(fallback=False)
        options = ListenOptions(vad="none", batch=batch, window=window, hallucination_silence_threshold=threshold)
        ends = [event.done for event in Transcriber.listen(transcriber, lambda: [samples], options, words=True)]
        assert ends == sorted(ends) and ends[-1] == 700


def test_punctuation_and_pauses():
    words = [
        Word(" “", 0, 0.1),
        Word("Ask", 0.1, 0.4),
        Word(",", 0.4, 0.5),
        Word(" not", 0.5, 0.8),
        Word(".", 0.8, 4.0),
    ]
    words += [Word(" What", 4.0, 9.0), Word(" for", 9.0, 9.3)]
    shortened = believable(words)
    assert shortened[4].end < 2 and shortened[5].start > 8
    assert [word.text for word in joined(words)] == [" “Ask,", " not.", " What", " for"]


def times(words):
    return [(round(word.start, 2), round(word.end, 2)) for word in words]


def test_words_do_not_lie_in_pauses():
    words = [Word(" fellow", 1, 2.4), Word(" ask", 2.4, 4), Word(" not", 4, 4.5), Word(" what", 6.1, 6.2)]
    cut = without_pauses(words, [(0, 0.5), (2.1, 3.2), (5, 7)])
    assert times(cut) == [(1, 2.1), (3.2, 4), (4, 4.5), (6.1, 6.2)]


def test_words_at_the_ends_of_a_segment_are_as_long_as_is_believed():
    """With usual words of 0.3 s, a first one that begins in the segment before and a last one that never ends."""
    words = [Word(" one", 1, 8), Word(" two", 8, 8.3), Word(" three", 8.3, 12)]
    assert times(at_ends(words, Segment(7.7, 9, ""), 0.3, 0.0)) == [(7.4, 8), (8, 8.3), (8.3, 9)]
    assert times(at_ends(words[:1], Segment(7.9, 8, ""), 0.3, 7.5)) == [(7.7, 8)]
    words = [Word(" one", 0, 1.5), Word(" two", 1.5, 8)]
    assert times(at_ends(words, Segment(0, 8, ""), 0.3, 0.0)) == [(6.8, 7.4), (7.4, 8)]
    assert times(at_ends(words[1:], Segment(1.5, 8, ""), 0.3, 7.9)) == [(1.5, 8)]


def segment(start, end, confidence, length=0.3):
    return Segment(start, end, "", [Word(f" {i}", start, start + length, confidence) for i in range(4)])


def test_what_nobody_said_is_left_out():
    said, odd = segment(1, 4, 0.9), segment(20, 22, 0.05)
    assert not is_odd(said) and is_odd(odd) and is_odd(segment(1, 2, 0.9, length=0.02))
    assert not is_odd(Segment(0, 1, "", [])) and not is_odd(Segment(0, 1, "", [Word(" .", 0, 0, 0.0)]))
    within = {"before": 0.0, "window": (0.0, 30.0), "end": 60.0}
    assert believed([said], 2, **within) == ([said], None)
    assert believed([said, odd], 2, **within) == ([said], 20)  # silence before it, and behind it
    assert believed([said, odd, segment(23, 29, 0.9)], 2, **within) == ([said, odd, segment(23, 29, 0.9)], None)
    assert believed([odd, said], 2, **within) == ([], 20)  # the silence that begins a window is passed over
    assert believed([said, odd], 2, **within | {"end": 23.0}) == ([said], 23)  # nothing is behind it


def test_heads_that_are_not_there_are_named(transcriber):
    generation = {**transcriber.generation, "alignment_heads": [[0, 1], [1, 2]]}
    other = Transcriber(transcriber.model, transcriber.tokens, transcriber.extractor, generation)
    with pytest.raises(CheckpointError, match=r"alignment_heads names \[1, 2\], but there are 2 layers of 2 heads"):
        other.transcribe(np.ones(16_000, np.float32), words=True, vad="none")
