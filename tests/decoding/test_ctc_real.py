"""Decoding real CTC posteriors: a recogniser of text in pictures, the only such network that can be had offline."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from formers.decoding.ctc import PrefixBeam, align, beam, greedy, log_likelihood, words_of

WIDTH, TEXT = 480, "Hello small world 1984"


@pytest.fixture(scope="module")
def recognised():
    """(log-probabilities of a line of text that is drawn, what its tokens write, where in the picture words stand)."""
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime runs the recogniser")
    package = find_spec("rapidocr_onnxruntime")
    if package is None:
        pytest.skip("rapidocr-onnxruntime is not installed: pip install --no-deps rapidocr-onnxruntime==1.4.4")
    matplotlib = pytest.importorskip("matplotlib", reason="the font comes with it")
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", 30)
    picture = Image.new("RGB", (WIDTH, 48), "white")
    ImageDraw.Draw(picture).text((8, 6), TEXT, font=font, fill="black")
    places, end = [], 0
    for word in TEXT.split():
        start = TEXT.index(word, end)
        end = start + len(word)
        places.append((8 + font.getlength(TEXT[:start]), 8 + font.getlength(TEXT[:end])))
    pixels = (np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 255 - 0.5) / 0.5
    file = next(Path(package.submodule_search_locations[0]).glob("models/*rec_infer.onnx"))
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    letters = session.get_modelmeta().custom_metadata_map["character"].splitlines()
    (shares,) = session.run(None, {session.get_inputs()[0].name: pixels})
    return torch.from_numpy(shares[0]).clamp(min=1e-12).log(), ["", *letters, " "], places


def said(tokens, pieces) -> str:
    return "".join(pieces[token] for token in tokens).strip()


def test_greedy_and_beam_read_the_text(recognised):
    log_probs, pieces, _ = recognised
    assert said(greedy(log_probs[None], 0)[0], pieces) == TEXT
    best, *others = beam(log_probs, pieces, 0, PrefixBeam(nbest=4))
    assert said(best.tokens, pieces) == TEXT
    assert best.total == pytest.approx(log_likelihood(log_probs, best.tokens, 0), abs=0.02)
    for hypothesis in others:  # alignments of those that were once left out are missed
        assert hypothesis.total < log_likelihood(log_probs, hypothesis.tokens, 0) + 1e-3


def test_words_are_where_they_stand_in_the_picture(recognised):
    log_probs, pieces, places = recognised
    tokens = [pieces.index(letter) for letter in TEXT]
    words = words_of(align(log_probs, tokens, 0), pieces)
    assert " ".join(word.text for word in words) == TEXT
    frame = WIDTH / len(log_probs)
    for word, (left, right) in zip(words, places, strict=True):
        assert left - 2 * frame <= word.start * frame < word.end * frame <= right + 2 * frame
        assert word.confidence > 0.5


def test_a_hot_word_wins_where_the_picture_is_doubtful(recognised):
    """A stain on the second letter; what is sure stays as it is."""
    log_probs, pieces, _ = recognised
    span = align(log_probs, [pieces.index(letter) for letter in TEXT], 0)[1]
    stained = log_probs.exp()
    stained[span.start : span.end, pieces.index("a")] = 0.3 * stained[span.start : span.end, pieces.index("e")]
    stained = (stained / stained.sum(-1, keepdim=True)).log()
    hot = PrefixBeam(hot_words=("hallo",))
    assert said(beam(stained, pieces, 0)[0].tokens, pieces) == TEXT
    assert said(beam(stained, pieces, 0, hot)[0].tokens, pieces) == TEXT.replace("e", "a")
    assert said(beam(log_probs, pieces, 0, hot)[0].tokens, pieces) == TEXT
