"""Pictures of encoders: numbers stand at the right places, labels do not cover each other, files are small."""

import numpy as np
import pytest

from formers.errors import ConfigError, DataError
from formers.studio.encoder_pictures import MOST_GROUPS, attention, confusion, embedding_map, groups
from formers.studio.pictures import save
from formers.studio.projection import plane

SMALL = 300_000  # bytes


def small(drawn, place):
    return save(drawn, place).stat().st_size < SMALL


def titles(drawn):
    return [axes.get_title() for axes in drawn.axes]


@pytest.mark.parametrize(("layers", "heads", "length", "head"), [(2, 2, 7, None), (4, 3, 60, None), (3, 4, 12, 2)])
def test_attention_shows_the_row_of_the_first_token(layers, heads, length, head, tmp_path):
    maps = np.random.default_rng(0).dirichlet(np.ones(length), (layers, heads, length)).astype(np.float32)
    tokens = ["[CLS]", *(f"word{i}" for i in range(length - 2)), "[SEP]"]
    drawn = attention(tokens, maps, 1, head, "a title")
    panels = {axes.get_title(): axes for axes in drawn.axes if axes.images}
    assert f"head {1 if head is None else head + 1}" in panels
    shown = panels[f"what [CLS] looks at, mean of {heads} heads"].images[0].get_array()
    assert np.allclose(shown, maps[:, :, 0].mean(1))
    shown = panels["what [CLS] looks at in layer 2"].images[0].get_array()
    assert np.allclose(shown, maps[1, :, 0])
    both_ways = panels[f"head {1 if head is None else head + 1}"].images[0].get_array()
    assert np.allclose(both_ways, maps[1, head or 0])  # an encoder looks ahead, too: nothing is grey
    assert small(drawn, tmp_path / "a.png")


def test_confusions_are_counts_on_shares_of_the_row(tmp_path):
    table = np.array([[8, 2], [1, 3]])
    drawn = confusion(table, ["no", "yes"], title="a $file$")
    axes = drawn.axes[0]
    assert np.allclose(axes.images[0].get_array(), [[0.8, 0.2], [0.25, 0.75]])
    assert sorted(text.get_text() for text in axes.texts) == ["1", "2", "3", "8"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["no (10)", "yes (4)"]
    assert "78.6% right" in drawn.get_suptitle() and small(drawn, tmp_path / "c.png")
    many = confusion(np.eye(50, dtype=int), [f"label {i}" for i in range(50)])
    assert not many.axes[0].texts and small(many, tmp_path / "m.png")
    assert "0.0% right" in confusion(np.zeros((2, 2), int), ["a", "b"]).get_suptitle()
    with pytest.raises(ValueError, match="as many labels"):
        confusion(table, ["no"])


def test_a_map_has_a_colour_for_each_label_and_texts_that_do_not_overlap(tmp_path):
    random = np.random.default_rng(0)
    places = random.standard_normal((30, 2))
    drawn = embedding_map(places, [f"text number {i}" for i in range(30)], ["a", "b", "b"] * 10, "a map", ("x", "y"))
    axes = drawn.axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["b (20)", "a (10)"]
    assert small(drawn, tmp_path / "m.png")
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) > 10
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    many = embedding_map(random.standard_normal((900, 2)), ["t"] * 900, None, "many")
    assert not many.axes[0].texts and many.axes[0].get_legend() is None and small(many, tmp_path / "n.png")


def test_labels_beyond_those_that_colours_tell_apart_are_one_group():
    labels = [f"{i:02d}" for i in range(MOST_GROUPS + 5)] + ["00"]
    names, found = groups(labels, len(labels))
    assert len(names) == MOST_GROUPS + 5 and names[0] == "00"
    assert len(found) == MOST_GROUPS + 1 and found[-1][0] == "" and len(found[-1][1]) == 5
    assert sorted(np.concatenate([rows for _, rows in found])) == list(range(len(labels)))


def test_principal_components():
    random = np.random.default_rng(0)
    x = random.standard_normal((50, 1)) * [[3.0, 4.0, 0.0]] + random.standard_normal((50, 3)) * 0.01
    found = plane(x)
    assert found.places.shape == (50, 2) and "variance" in found.names[0] and "100.0%" in found.names[0]
    along = (x - x.mean(0)) @ [0.6, 0.8, 0]
    assert np.allclose(found.places[:, 0], along, atol=0.05)
    distances = np.linalg.norm(found.places[:, None] - found.places, axis=-1)
    assert np.allclose(distances, np.linalg.norm(x[:, None] - x, axis=-1), atol=0.1)
    assert plane(np.zeros((4, 1))).places.shape == (4, 2)


def test_tsne_keeps_neighbours_together_and_is_the_same_every_time():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    random = np.random.default_rng(0)
    x = np.concatenate([random.standard_normal((15, 8)), 12 + random.standard_normal((15, 8))])
    found = plane(x, "tsne")
    assert found.names == ("", "") and np.array_equal(found.places, plane(x, "tsne").places)
    middles = found.places[:15].mean(0), found.places[15:].mean(0)
    spread = np.linalg.norm(found.places[:15] - middles[0], axis=1).max()
    assert np.linalg.norm(middles[0] - middles[1]) > spread


def test_what_cannot_be_put_into_a_plane():
    with pytest.raises(ConfigError, match='"pcs" is not known; did you mean "pca"'):
        plane(np.zeros((5, 3)), "pcs")
    with pytest.raises(DataError, match="got 2 texts, expected at least 3"):
        plane(np.zeros((2, 3)))


def test_umap_is_named_where_it_is_missing():
    try:
        import umap  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="pip install umap-learn"):
            plane(np.zeros((5, 3)), "umap")
    else:
        pytest.skip("umap is installed here")
