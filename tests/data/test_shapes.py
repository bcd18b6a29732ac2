"""Made scenes: the same everywhere, drawn as they are described, with combinations that training never sees."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from formers.data.builtin.shapes import (
    COLOURS,
    FORMS,
    NAMES,
    OPPOSITE,
    captioned,
    every,
    is_held_out,
    relation,
    scene,
    shapes,
)
from formers.data.sources import read_table
from formers.errors import DataError

SCENES = [scene("train", index) for index in range(60)]


def test_a_scene_depends_on_seed_split_and_index_only():
    assert scene("train", 7, 3) == scene("train", 7, 3) == [scene("train", index, 3) for index in range(9)][7]
    others = [scene("train", 8, 3), scene("train", 7, 4), scene("test", 7, 3), scene("validation", 7, 3)]
    assert len({scene("train", 7, 3), *others}) == 5
    assert (scene("train", 7).draw(48) == scene("train", 7).draw(48)).all()
    assert captioned("test", 9, 2)[:4] == captioned("test", 4, 2)


def test_held_out_combinations_are_in_the_test_split_only():
    kinds = {(form, colour) for form in FORMS for colour in COLOURS if is_held_out(form, colour)}
    assert len(kinds) == len({form for form, _ in kinds}) == len({colour for _, colour in kinds}) == 8
    for split in ("train", "validation"):
        seen = {(one.form, one.colour) for index in range(400) for one in scene(split, index).shapes}
        assert not seen & kinds and seen | kinds == {(form, colour) for form in FORMS for colour in COLOURS}
    firsts = {(row[0].shapes[0].form, row[0].shapes[0].colour) for row in captioned("test", 200)}
    assert firsts == kinds


def test_a_picture_shows_what_its_scene_says():
    for one in SCENES:
        assert 1 <= len(one.shapes) <= 3
        picture, masks = one.draw(64), one.masks(64)
        assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8 and not (masks.sum(0) > 1).any()
        for shape, mask, (left, top, right, bottom) in zip(one.shapes, masks, one.boxes, strict=True):
            inside = shape.coverage(64) == 1
            assert inside.any() and (picture[inside] == COLOURS[shape.colour]).all()
            assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
            down, across = np.nonzero(mask)
            measured = np.array([across.min(), down.min(), across.max() + 1, down.max() + 1]) / 64
            assert np.abs(measured - (left, top, right, bottom)).max() < 2 / 64


def test_edges_are_smooth_and_every_resolution_is_the_same_picture():
    one = scene("train", 3, most=1)
    cover = one.shapes[0].coverage(32)
    assert ((cover > 0) & (cover < 1)).sum() > 8
    small = one.draw(32).astype(float)
    large = one.draw(128).reshape(32, 4, 32, 4, 3).mean((1, 3))
    assert np.abs(small - large).mean() < 3
    assert one.image(20).size == (20, 20) and len(one.png()) > 50


def test_forms_and_colours_are_told_apart():
    masks = {
        form: next(s for s in (scene("train", i, most=1) for i in range(999)) if s.label == form) for form in FORMS
    }
    assert {form: one.label for form, one in masks.items()} == {form: form for form in FORMS}
    colours = np.array(list(COLOURS.values()), int)
    assert min(np.abs(a - b).sum() for i, a in enumerate(colours) for b in colours[:i]) > 60
    assert len(set(NAMES)) == 64


def test_captions_relations_and_questions_are_true():
    for one in SCENES:
        first = one.shapes[0]
        assert first.name in one.caption and (not one.sized or f"{first.size} {first.name}" in one.caption)
        places = {shape.name: (shape.x, shape.y) for shape in one.shapes}
        assert len(places) == len(one.shapes)
        for a, where, b in one.relations:
            across, down = np.subtract(places[a], places[b])
            assert {"left of": across < 0, "right of": across > 0, "above": down < 0, "below": down > 0}[where]
        assert all(name in one.caption for name in places) and len(one.captions) == len(places) ** 2
        answers = dict(one.questions)
        assert answers["how many shapes are there?"] == ("one", "two", "three")[len(places) - 1]
        for form, times in Counter(shape.form for shape in one.shapes).items():
            expected = next(shape.colour for shape in one.shapes if shape.form == form) if times == 1 else None
            assert answers.get(f"what colour is the {form}?") == expected
        assert [*answers.values()].count("yes") == [*answers.values()].count("no") == len(one.relations)


def test_labels_say_what_a_scene_holds_and_what_its_caption_means():
    for one in SCENES:
        first, *others = one.shapes
        assert set(one.claims) <= set(one.contents) and f"count: {len(one.shapes)}" in one.claims
        assert {f"shape: {shape.name}" for shape in one.shapes} == {x for x in one.claims if x.startswith("shape")}
        for other in others:
            where = relation(first, other)
            assert {f"relation: {first.colour} {where}", f"relation: {other.form} {OPPOSITE[where]}"} <= {*one.claims}
    kinds = {(shape.form, shape.colour) for row in every("train", 400) for shape in row[0].shapes}
    assert len(kinds) == 64 and every("train", 3)[0][0] != captioned("train", 3)[0][0]


def test_rows():
    (picture, label, shape, caption, objects, contents, claims), *_ = shapes("train", 3, 1)
    assert picture.side == 32 and label in FORMS and shape in NAMES and shape in caption
    assert objects[0]["form"] == label and len(objects[0]["box"]) == 4
    assert contents == claims == ["count: 1", f"colour: {shape.split()[0]}", f"form: {label}", f"shape: {shape}"]
    table = read_table("builtin:captioned-shapes", columns=["caption", "shape"], count=300, text=["caption"])
    assert len(table) == 300 > len(set(table.columns["caption"]))  # captions repeat
    with pytest.raises(DataError, match="expected one of train"):
        shapes("dev", 1)
