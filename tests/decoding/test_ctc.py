"""CTC against enumeration of all alignments: greedy, beams with everything that helps them, a given text in time."""

import itertools
import math
from collections import defaultdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from formers.decoding.ctc import PrefixBeam, align, beam, frames_needed, greedy, log_likelihood, occupancy, words_of
from formers.errors import ConfigError, DataError

PIECES = ("<blank>", "a", " ", "b c")


def posteriors(seed: int, frames: int, vocab: int, sharpness: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(frames, vocab, generator=generator)).log_softmax(-1)


def collapsed(path, blank: int) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token != blank)


def enumerated(log_probs: torch.Tensor, blank: int) -> dict[tuple[int, ...], list[tuple[float, tuple[int, ...]]]]:
    """Text -> its alignments, each with its log-probability."""
    texts = defaultdict(list)
    frames, vocab = log_probs.shape
    rows = log_probs.double().tolist()
    for path in itertools.product(range(vocab), repeat=frames):
        texts[collapsed(path, blank)].append((sum(row[t] for row, t in zip(rows, path, strict=True)), path))
    return texts


def summed(values) -> float:
    return float(torch.tensor(list(values), dtype=torch.float64).logsumexp(0))


sizes = {"seed": st.integers(0, 10_000), "frames": st.integers(1, 5), "vocab": st.integers(2, 4)}


@given(**sizes, last=st.booleans())
def test_a_text_is_as_likely_as_all_its_alignments_and_a_wide_beam_is_exact(seed, frames, vocab, last):
    blank = vocab - 1 if last else 0
    log_probs = posteriors(seed, frames, vocab)
    texts = {text: summed(score for score, _ in paths) for text, paths in enumerated(log_probs, blank).items()}
    for text, total in texts.items():
        assert log_likelihood(log_probs, text, blank) == pytest.approx(total, abs=1e-4)
    wide = PrefixBeam(width=10_000, nbest=10_000, least=-100.0)
    hypotheses = beam(log_probs, [""] * vocab, blank, wide)
    assert {tuple(one.tokens): one.total for one in hypotheses} == pytest.approx(texts, abs=1e-4)
    assert [one.score for one in hypotheses] == sorted((one.score for one in hypotheses), reverse=True)
    narrow = beam(log_probs, [""] * vocab, blank, PrefixBeam(width=3, nbest=3))
    assert all(one.total <= texts[tuple(one.tokens)] + 1e-4 for one in narrow)  # it sees no more than there is


@given(**sizes)
def test_the_words_of_a_language_model_and_hot_words_count_as_declared(seed, frames, vocab):
    log_probs = posteriors(seed, frames, 4)
    options = PrefixBeam(
        width=10_000,
        nbest=10_000,
        least=-100.0,
        language_weight=0.7,
        word_bonus=0.3,
        hot_words=("A", "c  b", "aa"),
        hot_bonus=2.0,
    )

    def word_score(text: str, word: str) -> float:
        return -0.1 * len(word) ** 2 - 0.05 * sum(map(ord, text[-3:])) - (word == "ab")

    def scores(words):
        assert len(set(words)) == len(words)
        return [word_score(*pair) for pair in words]

    expected = {}
    for tokens, paths in enumerated(log_probs, 0).items():
        words = "".join(PIECES[token] for token in tokens).split()
        score = summed(score for score, _ in paths)
        score += sum(0.7 * word_score(" ".join(words[:i]), word) + 0.3 for i, word in enumerate(words))
        hot = [["a"], ["c", "b"], ["aa"]]
        score += 2.0 * sum(words[i : i + len(one)] == one for one in hot for i in range(len(words)))
        expected[tokens] = score
    hypotheses = beam(log_probs, PIECES, 0, options, scores)
    assert {tuple(one.tokens): one.score for one in hypotheses} == pytest.approx(expected, abs=1e-4)
    assert hypotheses[0].score == pytest.approx(max(expected.values()), abs=1e-4)


@given(**sizes)
def test_greedy_is_the_likeliest_alignment_and_aligning_its_text_finds_it(seed, frames, vocab):
    log_probs = posteriors(seed, frames, vocab)
    best = log_probs.argmax(-1).tolist()
    (tokens,) = greedy(log_probs[None], 0)
    assert tuple(tokens) == collapsed(best, 0)
    assert path_of(align(log_probs, tokens, 0), frames, 0) == best
    longer = torch.cat([log_probs, posteriors(seed + 1, 3, vocab)])
    assert greedy(torch.stack([longer, longer]), 0, torch.tensor([frames, frames + 3]))[0] == tokens


def path_of(spans, frames: int, blank: int) -> list[int]:
    path = [blank] * frames
    for span in spans:
        path[span.start : span.end] = [span.token] * (span.end - span.start)
    return path


@given(**sizes, silenced=st.booleans())
def test_a_given_text_is_aligned_as_enumeration_says(seed, frames, vocab, silenced):
    log_probs = posteriors(seed, frames, vocab)
    if silenced:
        log_probs[seed % frames, seed % vocab] = -math.inf
    for tokens, paths in enumerated(log_probs, 0).items():
        spans = align(log_probs, list(tokens), 0)
        assert [span.token for span in spans] == list(tokens)
        path = path_of(spans, frames, 0)
        assert collapsed(path, 0) == tokens
        total = sum(float(row[token]) for row, token in zip(log_probs, path, strict=True))
        assert total == pytest.approx(max(score for score, _ in paths), abs=1e-4)
        for span in spans:
            surest = float(log_probs[span.start : span.end, span.token].exp().max())
            assert span.confidence == pytest.approx(surest, abs=1e-6)


@given(**sizes)
def test_the_frames_of_a_token_are_those_of_all_alignments(seed, frames, vocab):
    log_probs = posteriors(seed, frames, vocab)
    for tokens, paths in enumerated(log_probs, 0).items():
        if not tokens or any(one == other for one, other in itertools.pairwise(tokens)):
            continue
        expected = torch.zeros(len(tokens), frames)
        whole = summed(score for score, _ in paths)
        for score, path in paths:
            runs = [(token, len(list(run))) for token, run in itertools.groupby(path)]
            frame = place = 0
            for token, length in runs:
                if token:
                    expected[place, frame : frame + length] += math.exp(score - whole)
                    place += 1
                frame += length
        torch.testing.assert_close(occupancy(log_probs, tokens, 0), expected, atol=1e-4, rtol=0)


@given(seed=st.integers(0, 1000), frames=st.integers(20, 60), count=st.integers(0, 9))
def test_blocks_do_not_change_an_alignment(seed, frames, count):
    """Longer ones, which are taken a block at a time, against one pass over all frames."""
    log_probs = posteriors(seed, frames, 5)
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 5, (count,), generator=generator).tolist()
    path = path_of(align(log_probs, tokens, 0), frames, 0)
    assert collapsed(path, 0) == tuple(tokens)
    total = sum(float(row[token]) for row, token in zip(log_probs, path, strict=True))
    assert total == pytest.approx(plain_viterbi(log_probs, tokens), abs=1e-3)


def plain_viterbi(log_probs, tokens) -> float:
    labels = [0, *itertools.chain.from_iterable((token, 0) for token in tokens)]
    best = [-math.inf] * len(labels)
    best[: min(2, len(labels))] = [float(log_probs[0, label]) for label in labels[:2]]
    for frame in log_probs[1:].tolist():
        best = [
            frame[label]
            + max(
                best[s],
                best[s - 1] if s else -math.inf,
                best[s - 2] if s > 1 and label and label != labels[s - 2] else -math.inf,
            )
            for s, label in enumerate(labels)
        ]
    return max(best[-2:])


@given(st.lists(st.integers(1, 3), max_size=5), st.integers(1, 8))
def test_the_fewest_frames_are_the_fewest_that_have_an_alignment(tokens, frames):
    possible = frames >= frames_needed(tokens)
    log_probs = posteriors(0, frames, 4)
    assert (log_likelihood(log_probs, tokens, 0) > -math.inf) == possible
    if not possible:
        with pytest.raises(
            DataError, match=rf"{len(tokens)} tokens.* needs {frames_needed(tokens)} frames.* {frames};"
        ):
            align(log_probs, tokens, 0)


def test_words_begin_and_end_with_their_tokens():
    pieces, log_probs = ("<blank>", " he", "llo", " ", "a", " b "), torch.full((9, 6), -20.0)
    for frame, token in enumerate((0, 1, 1, 0, 2, 5, 4, 3, 4)):
        log_probs[frame, token] = math.log(0.5)
    (tokens,) = greedy(log_probs[None], 0)
    words = words_of(align(log_probs, tokens, 0), pieces)
    assert [(word.text, word.start, word.end) for word in words] == [
        ("hello", 1, 5),
        ("b", 5, 6),
        ("a", 6, 7),
        ("a", 8, 9),
    ]
    assert [word.confidence for word in words] == pytest.approx([0.25, 0.5, 0.5, 0.5])


def test_a_hot_word_is_found_where_the_frames_are_unsure():
    """The hope of its first letters keeps a text in a narrow beam until the word is whole."""
    pieces = ["<blank>", *"abcdn "]
    log_probs = torch.full((9, 7), -30.0)
    for frame, (likely, other) in enumerate(("dd", "ab", "nn", "  ", "bb", "aa", "dc", "dc", "aa")):
        log_probs[frame, pieces.index(likely)] = math.log(0.9)
        if other != likely:
            log_probs[frame, pieces.index(other)] = math.log(0.1)
    narrow = {"width": 2}
    assert said(log_probs, pieces, PrefixBeam(**narrow)) == "dan bada"
    assert said(log_probs, pieces, PrefixBeam(**narrow, hot_words=("BACA",))) == "dan baca"
    assert said(log_probs, pieces, PrefixBeam(width=8, hot_words=("bac",))) == "dan bada"  # no whole word
    assert said(log_probs, pieces, PrefixBeam(**narrow, hot_words=("dbn baca",), hot_bonus=9.0)) == "dbn baca"


def said(log_probs, pieces, options) -> str:
    return "".join(pieces[token] for token in beam(log_probs, pieces, 0, options)[0].tokens)


def test_a_setting_out_of_bounds_is_named():
    with pytest.raises(ConfigError, match="width"):
        PrefixBeam(width=0)
