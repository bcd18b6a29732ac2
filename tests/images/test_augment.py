"""Random changes are those that are said, each a function of its picture's seeds alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from formers.errors import ConfigError
from formers.images import augment
from formers.images.augment import GREY, KINDS, OF_COLOURS, OF_PLACES, PLAIN, Augmentation, mixed, uniform

EVERYTHING = Augmentation(flip=0.5, shift=3, area=0.4, colour=0.4, changes=3, strength=0.7, erase=0.5, noise=0.1)
SINGLE = {
    "flip": Augmentation(flip=0.5),
    "shift": Augmentation(shift=4),
    "black": Augmentation(shift=4, border="black"),
    "area": Augmentation(area=0.3),
    "colour": Augmentation(colour=0.5),
    "changes": Augmentation(changes=2),
    "erase": Augmentation(erase=0.5),
    "noise": Augmentation(noise=0.1),
    "everything": EVERYTHING,
}


def pictures(n=20, channels=3, height=24, width=17, seed=0):
    shape = (n, channels, height, width)
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def seeds(n, epoch=0):
    return [(1, epoch, row) for row in range(n)]


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_depends_on_its_own_seeds_alone(name, channels):
    before = pictures(40, channels)
    batch = before.clone()
    changed = SINGLE[name](batch, seeds(40))
    assert changed.dtype == torch.uint8 and changed.shape == batch.shape and torch.equal(batch, before)
    assert not torch.equal(changed, batch) and not torch.equal(changed, SINGLE[name](batch, seeds(40, epoch=1)))
    order = torch.randperm(40)
    again = SINGLE[name](batch[order], [seeds(40)[i] for i in order])
    assert torch.equal(again, changed[order])
    torch.set_num_threads(2)
    assert torch.equal(SINGLE[name](batch[7:8], seeds(40)[7:8]), changed[7:8])


def test_nothing_is_changed_without_settings():
    batch = pictures()
    assert torch.equal(PLAIN(batch, seeds(20)), batch)


def test_one_change_does_not_draw_anothers_numbers():
    batch = pictures(60)
    flipped = Augmentation(flip=0.5)(batch, seeds(60))
    both = Augmentation(flip=0.5, erase=0.3)(batch, seeds(60))
    same = (flipped == both).flatten(1).all(1)
    assert 0.5 < same.float().mean() < 0.9


def test_pictures_are_mirrored_and_moved():
    batch = pictures(200)
    flipped = Augmentation(flip=0.3)(batch, seeds(200))
    mirrored = (flipped == batch.flip(-1)).flatten(1).all(1)
    assert ((flipped == batch).flatten(1).all(1) | mirrored).all() and 0.2 < mirrored.float().mean() < 0.4
    for border, pad in (("reflect", "reflect"), ("black", "constant")):
        moved = Augmentation(shift=2, border=border)(batch, seeds(200)).numpy()
        padded = np.pad(batch.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), pad)
        windows = np.lib.stride_tricks.sliding_window_view(padded, batch.shape[2:], (2, 3))  # (n, c, 5, 5, h, w)
        same = (windows == moved[:, :, None, None]).all((1, 4, 5))
        assert same.any((1, 2)).all() and same.any(0).all()  # every move, and nothing else


def test_a_part_is_enlarged():
    ramp = (torch.arange(32).float() * 8)[None, None, None].expand(50, 3, 32, 32)
    batch = ramp.round().to(torch.uint8).contiguous()
    cut = Augmentation(area=0.25)(batch, seeds(50)).float()
    steps = cut[:, 0, 5, 20] - cut[:, 0, 5, 10]
    assert (steps <= 81).all() and (steps >= 10 * 8 * 0.5 / 1.16 - 2).all() and steps.std() > 3
    assert cut.min() >= 0 and (cut[:, 0].std(1) <= 1).all()  # nothing from outside, and no turn


def test_a_rectangle_is_erased():
    batch = pictures(300, height=32, width=32).clamp(max=100)
    erased = (Augmentation(erase=0.5)(batch, seeds(300)) == int(GREY)).all(1)
    share = erased.float().mean((1, 2))
    assert 0.4 < (share > 0).float().mean() < 0.6 and share.max() < 0.36
    for mask in erased[share > 0][:20]:
        assert torch.equal(mask, mask.any(0)[None] & mask.any(1)[:, None])


def test_noise_is_normal_and_of_no_picture_more_than_is_said():
    batch = torch.full((200, 3, 32, 32), 128, dtype=torch.uint8)
    added = Augmentation(noise=0.1)(batch, seeds(200)).double() - 128
    deviations = added.flatten(1).std(1) / 255
    assert deviations.max() < 0.105 and deviations.min() < 0.01 and 0.045 < deviations.mean() < 0.055
    assert added.mean().abs() < 0.1
    single = (added / added.flatten(1).std(1).view(-1, 1, 1, 1))[deviations > 0.05]
    assert abs((single.abs() < 1).double().mean() - 0.683) < 0.02  # within one deviation


def photograph(size=(480, 400)):
    colours = pictures(1, height=5, width=6)[0].permute(1, 2, 0).numpy() // 2 + 20
    return Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)


def tensor_of(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


def array_of(values):
    return augment.as_bytes(values)[0].permute(1, 2, 0).numpy().astype(int)


@pytest.mark.parametrize("amount", [-0.5, 0.4])
def test_changes_of_colours_are_those_of_pillow(amount):
    image = photograph()
    values, amounts = tensor_of(image).float(), np.array([amount])
    theirs = {"brightness": "Brightness", "contrast": "Contrast", "saturation": "Color", "sharpness": "Sharpness"}
    for name, enhancer in theirs.items():
        expected = np.asarray(getattr(ImageEnhance, enhancer)(image).enhance(1 + amount)).astype(int)
        assert abs(array_of(getattr(augment, name)(values, amounts)) - expected).max() <= 2, name
    amounts = np.array([0.5 * np.sign(amount)])
    for name, expected, tolerance in (
        ("posterise", ImageOps.posterize(image, 6), 0),
        ("solarise", ImageOps.solarize(image, 128), 0),
        ("stretch", ImageOps.autocontrast(image), 1),
        ("equalise", ImageOps.equalize(image), 3),
    ):
        assert abs(array_of(OF_COLOURS[name](values, amounts)) - np.asarray(expected)).max() <= tolerance, name


def test_changes_of_places_are_those_of_pillow():
    image = photograph((97, 61))
    theirs = {
        "rotate": image.rotate(15, Image.Resampling.BILINEAR, fillcolor=(128,) * 3),
        "move across": (1, 0, 0.15 * 97, 0, 1, 0),
        "move down": (1, 0, 0, 0, 1, 0.15 * 61),
        "shear across": (1, 0.15, -0.15 * 61 / 2, 0, 1, 0),
        "shear down": (1, 0, 0, 0.15, 1, -0.15 * 97 / 2),
    }
    for name, expected in theirs.items():
        if isinstance(expected, tuple):
            affine, bilinear = Image.Transform.AFFINE, Image.Resampling.BILINEAR
            expected = image.transform(image.size, affine, expected, bilinear, fillcolor=(128,) * 3)
        kinds, amounts = np.array([[KINDS.index(name)]]), np.array([[0.5]])
        ours = array_of(PLAIN._turned(tensor_of(image), np.zeros((1, 15)), kinds, amounts))
        assert abs(ours - np.asarray(expected)).mean() <= 1.5, name


def test_every_kind_of_change_comes_up_and_changes_something():
    dice = uniform(seeds(5000), 17)
    kinds = (dice[:, 15] * len(KINDS)).astype(int)
    assert (np.bincount(kinds, minlength=14) > 250).all() and len(KINDS) == 14
    batch = tensor_of(photograph((48, 40))).repeat(200, 1, 1, 1)
    changed = (Augmentation(changes=1)(batch, seeds(200)) != batch).flatten(1).any(1)
    for kind in range(1, 14):
        assert changed[kinds[:200] == kind].any(), KINDS[kind]
    assert not changed[kinds[:200] == 0].any()
    assert {*OF_PLACES} | {*OF_COLOURS} | {"nothing"} == {*KINDS}


def test_random_numbers_are_even_and_unlike():
    numbers = uniform([(seed, epoch, row) for seed in range(4) for epoch in range(5) for row in range(500)], 8)
    assert numbers.min() >= 0 and numbers.max() < 1 and len(np.unique(numbers)) == numbers.size
    assert abs(numbers.mean(0) - 0.5).max() < 0.02 and abs(numbers.var(0) - 1 / 12).max() < 0.005
    assert abs(np.corrcoef(numbers.T) - np.eye(8)).max() < 0.05
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.05
    assert np.array_equal(uniform([(1, 2, 3)], 4), uniform([(0, 0, 0), (1, 2, 3)], 6)[1:, :4])


def test_settings_have_bounds():
    for wrong in ({"flip": 1.5}, {"shift": -1}, {"area": 0.0}, {"border": "grey"}, {"colour": -0.1}, {"changes": -1}):
        with pytest.raises(ConfigError, match=f"rows.{next(iter(wrong))}"):
            replace(PLAIN, **wrong)
    with pytest.raises(ConfigError, match=r"rows.shift \(17\) must be below the sides of the pictures \(17 pixels\)"):
        Augmentation(shift=17)(pictures(), seeds(20))


# ---- mixing ---------------------------------------------------------------------------------------------------------


def test_pictures_and_targets_are_mixed_in_the_same_shares():
    values = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 16, 12)
    targets = torch.eye(8)
    shares = []
    for number in range(40):
        mixture, soft = mixed(values, targets, np.random.default_rng(number), mixup=0.8)
        assert torch.allclose(soft.sum(1), torch.ones(8)) and (soft >= 0).all()
        assert torch.allclose(mixture[:, 0, 0, 0], soft @ torch.arange(8.0), atol=1e-5)
        assert torch.equal(mixture, mixture[:, :1, :1, :1].expand_as(mixture))
        shares.append(float(soft.diagonal().max()))
    assert 0.3 < np.mean(shares) < 1 and np.std(shares) > 0.1


def test_a_rectangle_of_another_picture_has_its_share_of_the_target():
    values = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 16, 12)
    for number in range(40):
        mixture, soft = mixed(values, torch.eye(8), np.random.default_rng(number), cutmix=1.0)
        assert torch.allclose(mixture.mean((1, 2, 3)), soft @ torch.arange(8.0), atol=1e-4)
        assert set(mixture.unique().tolist()) <= set(range(8))


def test_both_kinds_of_mixing_take_turns_and_none_changes_nothing():
    values, targets = torch.rand(8, 3, 16, 16), torch.eye(8)
    mixtures = [mixed(values, targets, np.random.default_rng(i), mixup=0.4, cutmix=1.0)[0] for i in range(60)]
    cut = [bool((mixture == values).flatten(1).any(1).all()) for mixture in mixtures]
    assert 15 < sum(cut) < 50
    same, soft = mixed(values, targets, np.random.default_rng(0))
    assert torch.equal(same, values) and torch.equal(soft, targets)
    first, again = (mixed(values, targets, np.random.default_rng(3), mixup=0.4)[0] for _ in range(2))
    assert torch.equal(first, again)
