"""Pictures of vision: numbers stand at the right places, whatever the size; small files that open."""

import numpy as np
import pytest

from formers.pictures.distances import draw_distances
from formers.pictures.figure import save
from formers.pictures.matrix import draw_matrix
from formers.pictures.overlay import draw_overlays
from formers.pictures.patches import draw_patches
from formers.pictures.positions import draw_position_grid
from tests.pictures.conftest import picture

RANDOM = np.random.default_rng(0)


def scene(height, width):
    """Smooth, as photographs are."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows / height, columns / width, (rows + columns) / (height + width)], -1).astype(np.float32)


def inside(figure, path):
    """Nothing that is written leaves the page."""
    opened = picture(save(figure, path))
    pixels = np.asarray(opened.convert("L"))
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge > 250).mean() > 0.95


@pytest.mark.parametrize(("count", "size"), [(1, (48, 48)), (3, (32, 80)), (13, (60, 40)), (17, (28, 28))])
def test_maps_lie_over_the_picture(count, size, tmp_path):
    maps = RANDOM.random((count, 4, 5)).astype(np.float32)
    drawn = draw_overlays(scene(*size), maps, [f"head {i + 1}: $9" for i in range(count)], "a title", "%")
    panels = [axes for axes in drawn.axes if axes.images]
    assert len(panels) == count + 1 and len(panels[0].images) == 1
    for axes, own in zip(panels[1:], maps, strict=True):
        below, over = axes.images
        assert np.array_equal(over.get_array(), own)
        assert over.get_extent() == [-0.5, size[1] - 0.5, size[0] - 0.5, -0.5]
        assert np.ptp(below.get_array(), axis=-1).max() == 0  # grey
    assert panels[1].images[1].norm.vmax <= maps.max()
    inside(drawn, tmp_path / "maps.png")


def test_a_map_of_nothing_and_a_scale_that_is_given(tmp_path):
    drawn = draw_overlays(scene(20, 20), np.zeros((1, 2, 2), dtype=np.float32), ["x"], "x", "share", most=1.0)
    (image,) = drawn.axes[1].images[1:]
    assert (image.norm.vmax, image.norm.gamma) == (1, 1)
    inside(drawn, tmp_path / "maps.png")


@pytest.mark.parametrize(("grid", "front"), [((2, 2), []), ((3, 7), ["class"]), ((16, 16), ["class", *"abcdefghij"])])
def test_patches_are_cut_where_the_model_cuts_them(grid, front, tmp_path):
    whole = scene(8 * grid[0], 8 * grid[1])
    drawn = draw_patches((255 * scene(50, 90)).astype(np.uint8), whole, grid, front, "x.jpg")
    first, cut, tokens = drawn.subfigs[0].axes + drawn.subfigs[1].axes
    assert first.get_title() == "the picture: 90 x 50 pixels"
    assert f"{grid[1]} x {grid[0]} = {grid[0] * grid[1]} patches of 8 x 8" in cut.get_title()
    sheet = np.asarray(cut.images[0].get_array())
    assert np.array_equal(sheet[-8:, -8:], whole[-8:, -8:]) and np.array_equal(sheet[1:9, 1:9], whole[:8, :8])
    assert f"{len(front) + grid[0] * grid[1]} tokens" in tokens.get_title()
    assert np.array_equal(tokens.images[-1].get_array(), whole[-8:, -8:])
    assert np.array_equal(tokens.images[0].get_array(), whole[:8, :8])
    inside(drawn, tmp_path / "patches.png")


@pytest.mark.parametrize("grid", [(1, 1), (2, 5), (14, 14), (37, 20)])
def test_every_place_of_a_grid_has_a_tile_where_there_is_room(grid, tmp_path):
    similarity = RANDOM.random((*grid, *grid)).astype(np.float32)
    drawn = draw_position_grid(similarity, "positions")
    sheet, axes = drawn.axes[0].images[0].get_array(), drawn.axes[0]
    rows, columns = ([int(tick.get_text()) - 1 for tick in axis.get_ticklabels()] for axis in (axes.yaxis, axes.xaxis))
    assert max(len(rows), len(columns)) <= 16 and (grid[0] > 16 or rows == list(range(grid[0])))
    assert np.array_equal(sheet[: grid[0], : grid[1]], similarity[rows[0], columns[0]])
    assert np.array_equal(sheet[-grid[0] :, -grid[1] :], similarity[rows[-1], columns[-1]])
    if grid != (1, 1):
        inside(drawn, tmp_path / "positions.png")


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (12, 6), (32, 16)])
def test_every_head_has_a_point(layers, heads, tmp_path):
    distances = 100 * RANDOM.random((layers, heads)).astype(np.float32)
    drawn = draw_distances(distances, 60.0, 16, "distances")
    points = drawn.axes[0].collections[0].get_offsets()
    assert points.shape == (layers * heads, 2) and sorted(points[:, 1]) == pytest.approx(sorted(distances.flat))
    assert (np.round(points[:, 0]).reshape(layers, heads) == np.arange(1, layers + 1)[:, None]).all()
    inside(drawn, tmp_path / "distances.png")


@pytest.mark.parametrize("count", [2, 8, 32])
def test_captions_stand_beside_rows_and_pictures_over_columns(count, tmp_path):
    cosines = RANDOM.random((count, count)).astype(np.float32)
    probabilities = cosines / cosines.sum(0)
    pictures = [(255 * scene(20 + i, 40)).astype(np.uint8) for i in range(count)]
    captions = [f"a photo of {'some ' * i}$apples$" for i in range(count)]
    drawn = draw_matrix(pictures, captions, cosines, probabilities, "captions")
    left, right = drawn.axes[:2]
    assert np.array_equal(left.images[0].get_array(), cosines)
    assert np.array_equal(right.images[0].get_array(), probabilities)
    assert len(left.images) == count + 1 and len(left.get_yticklabels()) == count
    assert len(left.texts) == (count * count if count <= 12 else 0)
    framed = [(patch.get_x() + 0.5, patch.get_y() + 0.5) for patch in right.patches]
    assert framed == list(enumerate(probabilities.argmax(0)))
    inside(drawn, tmp_path / "matrix.png")
