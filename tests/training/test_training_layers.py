"""Layers that learn more slowly the lower they are."""

import pytest
import torch

from formers.errors import ConfigError, TrainingError
from formers.models.encoder import Encoder
from formers.models.heads import HeadConfig, SequenceClassifier
from formers.models.picture_classifier import PictureClassifier, PictureHeadConfig
from formers.models.transformer import Transformer
from formers.systems.picture_sizes import PictureSizes
from formers.systems.sizes import EncoderSizes, TransformerSizes
from formers.training.config import TrainConfig
from formers.training.optimizer import Average, adamw, depths, optimizer_tensors, restore_optimizer


def model() -> SequenceClassifier:
    encoder = EncoderSizes(dim=8, layers=3, heads=2, hidden=16, length=8).config(20)
    return SequenceClassifier(HeadConfig(encoder=encoder, labels=("a", "b")))


def test_depths():
    found = depths(model())
    assert found["encoder.embedding.weight"] == found["encoder.norm.weight"] == found["encoder.segments.weight"] == 0
    assert found["encoder.stack.blocks.0.attention.q.weight"] == 1
    assert found["encoder.stack.blocks.2.feed_forward.up.weight"] == 3
    assert found["encoder.pooler.weight"] == found["out.bias"] == 4


def test_shares_of_the_rate():
    made = model()
    optimizer = adamw(made, layer_decay=0.5, weight_decay=0.1)
    share = {id(weight): group["share"] for group in optimizer.param_groups for weight in group["params"]}
    decay = {id(weight): group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]}
    assert len(share) == len(list(made.parameters()))
    assert share[id(made.out.weight)] == 1 and decay[id(made.out.weight)] == 0.1
    assert share[id(made.encoder.stack.blocks[2].attention.q.weight)] == 0.5
    assert share[id(made.encoder.stack.blocks[0].attention.q.bias)] == 0.125
    assert decay[id(made.encoder.stack.blocks[0].attention.q.bias)] == 0
    assert share[id(made.encoder.embedding.weight)] == 0.0625
    assert all(group["share"] == 1 for group in adamw(made).param_groups)


def test_frozen_layers_have_no_group():
    made = model()
    made.encoder.embedding.requires_grad_(False)
    made.encoder.stack.blocks[0].requires_grad_(False)
    shares = {group["share"] for group in adamw(made, layer_decay=0.5).param_groups}
    assert shares == {1, 0.5, 0.25, 0.0625}  # the positions still learn


def test_lower_layers_move_less(tmp_path):
    """AdamW's first step is the rate in size, whatever the gradient: so the shares can be read off the weights."""
    from formers.training.distributed import Replicas, join
    from formers.training.precision import Precision
    from formers.training.prefetch import MicroBatch
    from formers.training.task import Loss
    from formers.training.update import Updater

    class Task:
        def __init__(self) -> None:
            self.model = model()

        def loss(self, batch):
            return Loss(self.model(batch).pow(2).sum(), 2)

    task, config = (
        Task(),
        TrainConfig(rate=1e-2, warmup=0, schedule="constant", clip=0, layer_decay=0.5, weight_decay=0.0),
    )
    before = {name: weight.detach().clone() for name, weight in task.model.named_parameters()}
    optimizer = adamw(task.model, layer_decay=config.layer_decay, weight_decay=0.0, epsilon=1e-20)
    world = join()
    weights = list(task.model.parameters())
    updater = Updater(
        str,
        config,
        weights=weights,
        optimizer=optimizer,
        average=None,
        replicas=Replicas(task, world, unused=False),
        precision=Precision("fp32", "recipe", "cpu", {"fp32": 0.0}),
        world=world,
    )
    updater(1, [MicroBatch([0, 1], torch.tensor([[2, 5, 6, 3], [2, 7, 8, 3]]), 1.0, (0, 1))], False)
    moved = {name: (weight - before[name]).abs().max().item() for name, weight in task.model.named_parameters()}
    assert moved["out.weight"] == pytest.approx(1e-2, rel=1e-3)
    assert moved["encoder.stack.blocks.2.feed_forward.up.weight"] == pytest.approx(5e-3, rel=1e-2)
    assert moved["encoder.stack.blocks.0.feed_forward.up.weight"] == pytest.approx(1.25e-3, rel=1e-2)
    assert moved["encoder.embedding.weight"] == pytest.approx(6.25e-4, rel=1e-2)


def test_what_has_no_one_stack_is_refused():
    sizes = TransformerSizes(dim=8, heads=2, hidden=16, encoder_layers=1, decoder_layers=1, length=8)
    with pytest.raises(TrainingError, match="this Transformer has 2; set it to 1"):
        adamw(Transformer(sizes.config(20)), layer_decay=0.9)
    with pytest.raises(TrainingError, match="this Linear has 0"):
        adamw(torch.nn.Linear(2, 2), layer_decay=0.9)
    with pytest.raises(ConfigError, match=r"train.layer_decay \(0\) must be in \(0, 1\]"):
        TrainConfig(layer_decay=0)
    assert isinstance(model().encoder, Encoder)


def test_depths_of_pictures():
    """Stem and patches below, each block or residual block a layer, the head above."""
    body = PictureSizes(kind="resnet", widths=(4, 8), depths=(1, 2)).config()
    classifier = PictureClassifier(PictureHeadConfig(body=body, labels=("a", "b")))
    depth = depths(classifier)
    assert depth["body.stem.convolution.weight"] == 0 and depth["out.0.weight"] == 4
    assert depth["body.stages.0.0.layers.0.norm.weight"] == 1 and depth["body.stages.1.1.layers.1.norm.bias"] == 3
    sizes = PictureSizes(dim=8, heads=2, hidden=16, layers=3, stem=1)
    depth = depths(PictureClassifier(PictureHeadConfig(body=sizes.config(), labels=("a", "b"))))
    assert {depth[name] for name in depth if "stem" in name or "positions" in name or "class_tokens" in name} == {0}
    assert depth["body.stack.blocks.2.attention.q.weight"] == 3 and depth["out.0.bias"] == 4


def test_what_batch_norms_have_seen_is_averaged_and_put_back():
    """Weights that are averaged have statistics of their own."""
    network = torch.nn.BatchNorm1d(2)
    average = Average(network, 0.5)
    network.running_mean.fill_(4.0)
    network.num_batches_tracked.fill_(7)
    average.update(100)
    with average.applied():
        assert network.running_mean.tolist() == [2.0, 2.0] and int(network.num_batches_tracked) == 7
    assert network.running_mean.tolist() == [4.0, 4.0]


def test_an_optimizer_comes_back_in_the_order_of_its_weights():
    """Channels last: the fused update takes for granted that its memory lies as the weights do."""

    def made():
        return torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)

    one, other = made(), made()
    optimizer = adamw(one)
    one(torch.randn(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    saved = {name: tensor.contiguous() for name, tensor in optimizer_tensors(optimizer, one).items()}
    again = adamw(other)
    restore_optimizer(again, other, saved)
    state = again.state[other.weight]["exp_avg"]
    assert state.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(state, optimizer.state[one.weight]["exp_avg"])
