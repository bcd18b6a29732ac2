"""The logit lens as a picture."""

import numpy as np

from formers.pictures.lens import draw_lens


def test_each_layer_says_its_answer_in_the_colour_of_its_probability():
    said = [["a", " b"], ["\n", " word"], ["▁c", "$d$"]]
    shares = np.array([[0.1, 0.2], [0.3, 0.4], [0.9, 1.0]], dtype=np.float32)
    drawn = draw_lens([" one", " two"], [" two", ""], said, shares, "x")
    axes = drawn.axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "a", (1, 0): "b", (0, 1): "↵", (1, 1): "word", (0, 2): "c", (1, 2): "$d$"}
    assert [each.get_text() for each in axes.get_xticklabels()] == ["one", "two"]
    assert [each.get_text() for each in axes.get_yticklabels()] == ["embedding", "1", "2: output"]
    np.testing.assert_array_equal(axes.images[0].get_array(), shares)
