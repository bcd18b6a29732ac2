"""What a classifier sees in pictures beside what their captions claim, by kind of label."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from formers.data.sources import Table, read_table
from formers.errors import ConfigError, DataError
from formers.systems.painting.judge import Verdict, open_judge
from tests.systems.painting.tiny_painter import SIDE, judge

LABELS = ("colour: red", "colour: blue", "form: ring", "count: 1")


@pytest.fixture(scope="module")
def seer(tmp_path_factory):
    return open_judge(str(judge(tmp_path_factory.mktemp("judge"), LABELS)))


def test_every_kind_of_label_is_right_where_all_that_is_claimed_is_there(seer):
    claims = np.array([[1, 0, 1, 1], [1, 1, 0, 1], [0, 0, 1, 0]], bool)
    found = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 1, 1]], bool)
    right = {kind: rows.tolist() for kind, rows in seer.right(found, claims).items()}
    assert right == {
        "colour": [True, False, True], "form": [True] * 3, "count": [True, False, True], "all": [True, False, True]
    }  # fmt: skip


def test_labels_without_a_kind_are_one(tmp_path):
    one = open_judge(str(judge(tmp_path, ("cat", "dog", "9"), "one")))
    table = Table("rows", {"label": ["dog", "cat"]})
    claims = one.claims(table, "label")
    assert claims.tolist() == [[False, True, False], [True, False, False]]
    assert {kind: rows.tolist() for kind, rows in one.right(claims[::-1], claims).items()} == {"all": [False, False]}
    (found, features), *_ = one.seen([torch.rand(5, 3, SIDE, SIDE)])
    assert found.sum(1).tolist() == [1] * 5 and features.shape == (5, 8)
    with pytest.raises(DataError, match='"cow" is not among those learned'):
        one.claims(Table("rows", {"label": ["cow"]}), "label")


def test_a_verdict_counts_pictures_however_they_come(seer):
    pictures = torch.rand(7, 3, SIDE, SIDE)
    whole = Verdict(seer, np.ones((7, 4), bool))
    whole.see([pictures])
    parts = Verdict(seer, np.ones((7, 4), bool))
    parts.see([pictures[:3]])
    parts.see([pictures[3:]])
    assert parts.shares == whole.shares and parts.features.shape == (7, 8)
    np.testing.assert_allclose(parts.features, whole.features, atol=1e-5)


def test_grey_pictures_and_other_sizes_are_read(seer):
    (found, _), *_ = seer.seen([torch.rand(2, 1, 9, 9)])
    assert found.shape == (2, 4)


def test_captions_of_shapes_have_their_labels():
    table = read_table("builtin:captioned-shapes", columns=["caption", "claims"], text=[], split="test", count=20)
    names = tuple(sorted({name for row in table.columns["claims"] for name in row}))
    assert {name.partition(": ")[0] for name in names} == {"count", "colour", "form", "shape", "relation"}


def test_a_model_without_labels_is_no_judge(tmp_path):
    from formers.images.preprocess import Preprocessor
    from formers.models.resnet import ResNet, ResNetConfig
    from formers.pretrained.load import save_model

    body = ResNet(ResNetConfig(stem_width=4, widths=(4,), depths=(1,), bottleneck=False, small_stem=True))
    preprocessor = Preprocessor(SIDE, SIDE, SIDE, crop=True, mean=(0.5,) * 3, std=(0.5,) * 3)
    save_model(tmp_path, body, preprocessor=preprocessor, system="images")
    with pytest.raises(ConfigError, match="is a ResNet, which gives pictures no labels; a judge is a classifier"):
        open_judge(str(tmp_path))
