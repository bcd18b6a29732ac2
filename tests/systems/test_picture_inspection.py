"""What is shown of vision is what it computes: hand-made attention, closed forms, pictures that are not square."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from formers.blocks.attention import note
from formers.blocks.stack import StackConfig
from formers.models.clip import CLIP, CLIPConfig, PictureTowerConfig, TextTowerConfig
from formers.models.picture_classifier import PictureClassifier, PictureHeadConfig
from formers.models.resnet import ResNet, ResNetConfig
from formers.models.vit import ViT, ViTConfig
from formers.systems.picture_inspection import (
    attention_distances,
    attention_of,
    attention_rollout,
    body_of,
    class_attention,
    grad_cam,
    patch_distances,
    position_similarity,
    rollout,
)

STACK = StackConfig(dim=16, layers=3, heads=2, hidden=24)
VIT = ViTConfig(stack=STACK, height=12, width=20, patch=4)
KINDS = {
    "vit": VIT,
    "distilled": replace(VIT, class_tokens=2),
    "registers": replace(VIT, registers=3, layer_scale=1.0),
    "no class": replace(VIT, class_tokens=0, pooler="attention"),
    "stem": replace(VIT, stem=2, norm_input=True, patch_bias=False),
}
RESNET = ResNetConfig(widths=(8, 12), depths=(1, 1), bottleneck=False, stem_width=8, small_stem=True)

TEXT = TextTowerConfig(stack=replace(STACK, layers=1), vocab=20, length=9, projection=8)


def random(model: nn.Module) -> nn.Module:
    for name, weight in model.named_parameters():
        nn.init.normal_(weight, mean=1.0 if "norm" in name and name.endswith("weight") else 0.0, std=0.3)
    return model


@pytest.fixture(params=KINDS)
def vit(request) -> ViT:
    return random(ViT(KINDS[request.param])).train()


def classifier(body, **head) -> PictureClassifier:
    return random(PictureClassifier(PictureHeadConfig(body=body, labels=("cat", "dog", "bird"), **head)))


def looking_at(vit: ViT, weights: torch.Tensor) -> None:
    """Every layer of the network attends so, whatever it reads."""
    for block in vit.stack.blocks:
        rows = weights.log().clamp(min=-1e4)
        block.attention = HandMade(rows)


class HandMade(nn.Module):
    """Attention whose scores are given: the queries are one-hot, the keys are the scores."""

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, query, **rest):
        tokens = len(self.scores)
        note(self, torch.eye(tokens)[None, None], self.scores.T[None, None].contiguous(), None, 1.0)
        return torch.zeros_like(query)


def test_attention_of_every_kind_is_a_share_of_every_patch(vit):
    picture = torch.randn(3, 8, 24)
    shares = class_attention(vit, picture)
    assert shares.shape == (3, 2, 2, 6) and vit.training
    whole = attention_of(vit, picture[None], lambda weights: weights[0])
    torch.testing.assert_close(whole.sum(-1), torch.ones(whole.shape[:-1]))
    rows = whole[:, :, 0] if vit.config.class_tokens else whole.mean(2)
    torch.testing.assert_close(shares.flatten(2), rows[..., vit.leading :])
    assert attention_rollout(vit, picture).shape == (2, 6)
    torch.testing.assert_close(attention_rollout(vit, picture).sum(), torch.tensor(1.0))


def test_only_what_is_taken_is_kept():
    with torch.no_grad():
        (first, *rest) = attention_of(random(ViT(VIT)), torch.randn(1, 3, 8, 8), lambda weights: weights.mean())
    assert first.shape == () and len(rest) == 2


def test_distance_of_a_hand_made_attention():
    vit = ViT(VIT)  # a grid of 3 x 5 and a class token
    tokens = 16
    itself = torch.eye(tokens)
    looking_at(vit, itself)
    pictures = torch.randn(2, 3, 12, 20)
    torch.testing.assert_close(attention_distances(vit, pictures), torch.zeros(3, 1))
    one_right = itself.clone()  # every patch looks at its right neighbour, the last of a row at itself; half at [class]
    for patch in range(15):
        if patch % 5 < 4:
            one_right[1 + patch] = itself[2 + patch]
        one_right[1 + patch] = (one_right[1 + patch] + itself[0]) / 2
    looking_at(vit, one_right)
    torch.testing.assert_close(attention_distances(vit, pictures), torch.full((3, 1), 4 * 12 / 15))
    looking_at(vit, torch.full((tokens, tokens), 1 / tokens))
    even = patch_distances((3, 5), (4, 4)).mean()
    torch.testing.assert_close(attention_distances(vit, pictures), even.expand(3, 1))


def test_distances_between_patches_of_a_grid():
    far = patch_distances((2, 3), (4, 4))
    assert far.shape == (6, 6) and far[0, 1] == 4 and far[0, 3] == 4 and far[0, 5] == pytest.approx(80**0.5)


def test_roll_out_of_identity_is_identity_and_of_one_layer_the_half_of_it():
    same = torch.eye(7)
    torch.testing.assert_close(rollout(same.expand(4, 7, 7)), same)
    weights = torch.rand(2, 7, 7).softmax(-1)
    torch.testing.assert_close(rollout(weights[:1]), (weights[0] + same) / 2)
    both = (weights[1] + same) / 2 @ ((weights[0] + same) / 2)  # the last layer reads what the first one made
    torch.testing.assert_close(rollout(weights), both)
    torch.testing.assert_close(both.sum(-1), torch.ones(7))


def test_roll_out_over_a_picture_leaves_out_what_is_no_patch():
    vit = ViT(replace(VIT, registers=2))
    weights = torch.eye(18)
    weights[0] = torch.tensor([0.2, 0.3, 0.1, *([0.0] * 14), 0.4])  # [class], registers, the last patch
    looking_at(vit, weights)
    expected = torch.zeros(3, 5)
    expected[2, 4] = 1
    torch.testing.assert_close(attention_rollout(vit, torch.randn(3, 12, 20)), expected)


def test_positions_of_a_grid_are_compared_without_those_of_tokens_in_front(vit):
    alike = position_similarity(vit)
    assert alike.shape == (3, 5, 3, 5)
    table = vit.positions.weight[vit.config.class_tokens :].detach()
    expected = torch.cosine_similarity(table[7], table[11], dim=0)  # row 2, column 3, and row 3, column 2
    torch.testing.assert_close(alike[1, 2, 2, 1], expected)
    torch.testing.assert_close(alike.view(15, 15).diagonal(), torch.ones(15))


def test_grad_cam_of_a_residual_network_is_its_head_at_every_place():
    """Behind the mean over places is one map: the gradient is its weight, the same at every place."""
    model = classifier(RESNET).train()
    picture = torch.randn(3, 16, 24)
    reasons = grad_cam(model.body, model, picture, [1])
    with torch.no_grad():
        model.eval()
        features = model.body(picture[None])[0]
        expected = torch.einsum("drc, d -> rc", features, model.out[0].weight[1]).relu() / features[0].numel()
        torch.testing.assert_close(reasons.maps[0], expected)
        torch.testing.assert_close(reasons.logits, model(picture[None])[0])
    assert expected.shape == (8, 12) and expected.max() > 0
    assert not model.body.stages[-1]._forward_hooks and all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_grad_cam_of_a_vision_transformer(kind):
    pooling = {"distilled": "teacher", "registers": "first_and_mean", "no class": "mean"}.get(kind, "pool")
    model = classifier(KINDS[kind], pooling=pooling).train().requires_grad_(False)
    picture = torch.randn(3, 8, 24)
    reasons = grad_cam(model.body, model, picture, most=2)
    assert reasons.maps.shape == (2, 2, 6) and reasons.maps.min() >= 0 and model.training
    assert reasons.labels == reasons.logits.topk(2).indices.tolist()
    assert not model.body.stack.blocks[-1]._forward_pre_hooks
    seen = []
    x = model.eval().requires_grad_().body(picture[None], seen=seen)
    read = [x[:, 0], x[:, 1]] if pooling == "teacher" else [model.features(x)]
    logits = torch.stack([head(part) for head, part in zip(model.out, read, strict=True)]).mean(0)[0]
    torch.testing.assert_close(reasons.logits, logits.detach())
    for label, shown in zip(reasons.labels, reasons.maps, strict=True):
        (slope,) = torch.autograd.grad(logits[label], seen[-2], retain_graph=True)
        patches, slope = (part[0, model.body.leading :] for part in (seen[-2].detach(), slope))
        torch.testing.assert_close(shown.flatten(), (patches @ slope.mean(0)).relu())


def test_grad_cam_of_a_hand_made_transformer_points_at_the_patch_that_speaks():
    """The last block does nothing and the head reads the mean of the patches: only one has what the label is of."""
    model = PictureClassifier(PictureHeadConfig(body=VIT, labels=("no", "yes"), pooling="mean"))
    vit = model.body
    with torch.no_grad():
        for weight in vit.parameters():
            weight.zero_()
        vit.stack.norm = None
        vit.patches.project.weight[0, 0] = 1  # the first number of a patch is the sum of its red
        model.out[0].weight.zero_()[1, 0] = 1
        model.out[0].bias.zero_()
    picture = torch.zeros(3, 12, 20)
    picture[0, 4:8, 12:16] = 1
    reasons = grad_cam(vit, model, picture, [1])
    assert reasons.maps[0].argmax() == 1 * 5 + 3 and (reasons.maps[0] > 0).sum() == 1
    assert reasons.logits.tolist() == pytest.approx([0, 16 / 15])


@pytest.mark.parametrize("body", [VIT, RESNET], ids=["vit", "resnet"])
def test_grad_cam_of_a_picture_tower_for_a_text(body):
    model = random(CLIP(CLIPConfig(picture=PictureTowerConfig(body=body, projection=8), text=TEXT))).eval()
    texts = model.encode_text(torch.tensor([[3, 4, 19], [5, 19, 0]])).detach()
    picture = torch.randn(3, 12, 20)
    reasons = grad_cam(
        body_of(model), lambda pictures: model.similarities(model.encode_picture(pictures), texts), picture, [1, 0]
    )
    assert reasons.maps.shape == ((2, 3, 5) if body is VIT else (2, 6, 10))
    assert reasons.labels == [1, 0] and (reasons.maps[0] - reasons.maps[1]).abs().max() > 0


def test_the_body_of_every_model():
    assert isinstance(body_of(ResNet(RESNET)), ResNet) and isinstance(body_of(classifier(VIT)), ViT)
