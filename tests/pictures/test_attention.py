"""Attention: numbers stand at the right places, whatever is mapped; labels do not cover each other."""

import numpy as np
import pytest
import torch
from PIL import Image

from formers.pictures.attention import AttentionMap, draw_attention
from formers.pictures.figure import save
from tests.pictures.conftest import labels_stand_apart, picture, small


def panels_of(drawn, beginnings=("mean", "head")):
    return [axes for axes in drawn.axes if axes.get_title().startswith(beginnings)]


@pytest.mark.parametrize(("layers", "heads", "length", "head"), [(2, 2, 7, None), (4, 3, 60, None), (3, 4, 12, 2)])
def test_attention_shows_the_row_of_the_first_token(layers, heads, length, head, tmp_path):
    maps = np.random.default_rng(0).dirichlet(np.ones(length), (layers, heads, length)).astype(np.float32)
    tokens = ["[CLS]", *(f"word{i}" for i in range(length - 2)), "[SEP]"]
    drawn = draw_attention([AttentionMap(maps, tokens, tokens)], "a title", layer=1, head=head, first=True)
    panels = {axes.get_title(): axes for axes in drawn.axes if axes.images}
    assert f"head {1 if head is None else head + 1}" in panels
    shown = panels[f"what [CLS] looks at, mean of {heads} heads"].images[0].get_array()
    assert np.allclose(shown, maps[:, :, 0].mean(1))
    shown = panels["what [CLS] looks at in layer 2"].images[0].get_array()
    assert np.allclose(shown, maps[1, :, 0])
    both_ways = panels[f"head {1 if head is None else head + 1}"].images[0].get_array()
    assert np.allclose(both_ways, maps[1, head or 0])  # an encoder looks ahead, too: nothing is grey
    assert small(drawn, tmp_path / "a.png")


@pytest.mark.parametrize(("heads", "source", "target"), [(1, 3, 2), (4, 9, 11), (8, 30, 40), (9, 100, 70)])
def test_two_maps_of_any_size_draw_labels_that_do_not_overlap(heads, source, target, tmp_path):
    def maps(queries, keys):
        near = -(torch.arange(queries)[:, None] * keys / queries - torch.arange(keys)).abs()
        return torch.randn(2, heads, queries, keys).mul(2).add(near).softmax(-1).numpy()

    words = [f"▁{'word' * (1 + i % 4)}{i}" for i in range(max(source, target))]
    words[:2] = ["$x$", "漢字"]
    one = AttentionMap(maps(source, source), words[:source], words[:source], "encoder")
    other = AttentionMap(maps(target, source), words[:target], words[:source], "cross")
    drawn = draw_attention([one, other], "$a$ [b]")
    picture(save(drawn, tmp_path / "attention.png"))
    panels = panels_of(drawn)
    assert len(panels) == 2 * (heads + (heads > 1))
    assert sum(labels_stand_apart(axes) for axes in panels) >= 4
    largest = panels[0].images[0].get_array()
    assert np.allclose(largest, one.weights[-1].mean(0))
    assert np.allclose(panels[-1].images[0].get_array(), other.weights[-1, -1])


@pytest.mark.parametrize(
    ("layers", "heads", "length", "head"),
    [(1, 1, 1, None), (1, 1, 3, 0), (2, 5, 9, None), (12, 12, 30, None), (3, 4, 200, 2), (32, 32, 20, None)],
)
def test_heads_of_any_size_have_labels_that_do_not_overlap(layers, heads, length, head, tmp_path):
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    maps = torch.randn(layers, heads, length, length).mul(2).masked_fill(future, -torch.inf).softmax(-1).numpy()
    words = [f" {'word' * (1 + i % 4)}{i}" for i in range(length)]
    words[:1] = ["$x$"]
    drawn = draw_attention([AttentionMap(maps, words, words)], "$a$ [b]", layer=layers - 1, head=head)
    path = save(drawn, tmp_path / "heads.png")
    with Image.open(path) as opened:
        assert opened.size[0] < 4000 and opened.size[1] < 4000
    numbers = range(heads) if head is None else [head]
    assert [axes.get_title() for axes in panels_of(drawn, "head")] == [f"head {i + 1}" for i in numbers]
    assert sum(labels_stand_apart(axes) for axes in panels_of(drawn)) >= 2


def test_the_future_is_drawn_as_such():
    maps = np.tril(np.full((1, 1, 4, 4), 0.25, dtype=np.float32))
    drawn = draw_attention([AttentionMap(maps, list("abcd"), list("abcd"))], "x")
    (image,) = drawn.subfigs[0].axes[0].images
    assert (np.ma.getmaskarray(image.get_array()) == np.triu(np.ones((4, 4), dtype=bool), 1)).all()
