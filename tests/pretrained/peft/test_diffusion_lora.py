"""LoRA files of Stable Diffusion: what the reference computes with one or several, kohya's form and its own two; the
way back; files that do not fit."""

import json

import pytest
import torch
from safetensors.torch import save_file

from formers.adapters.lora import adapters, add, add_lora, put_back
from formers.errors import CheckpointError
from formers.pretrained.diffusers_folder import load_diffusers
from formers.pretrained.files import write_folder
from formers.pretrained.peft.diffusion_lora import WEIGHTS, diffusion_lora_files, read_diffusion_lora
from tests.parity.test_diffusion_families import randomised

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("peft")
from tests.pretrained.diffusion_toy import tiny_pipeline  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config`", "ignore::FutureWarning")
OLD = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}
OLDEST = ("_lora.down", "_lora.up")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    pipeline = tiny_pipeline(folder)
    randomised(pipeline.unet)
    randomised(pipeline.text_encoder)
    pipeline.save_pretrained(folder)
    return folder


def matrices(model):
    """name -> shape of every matrix and convolution of theirs that can be adapted."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return {name: module.weight.shape for name, module in model.named_modules() if isinstance(module, kinds)}


def factors(shape, rank, generator):
    down, up = (rank, *shape[1:]), (shape[0], rank, *(1 for _ in shape[2:]))
    return (0.2 * torch.randn(size, generator=generator) for size in (down, up))


def kohya(pipeline, rank, seed):
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for prefix, model in (("lora_unet_", pipeline.unet), ("lora_te_text_model_", pipeline.text_encoder)):
        for name, shape in matrices(model).items():
            key = prefix + name.removeprefix("text_model.").replace(".", "_")
            down, up = factors(shape, rank, generator)
            tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(1.5)}
    return tensors


def peft(pipeline, rank, seed, *, old=False):
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for prefix, model in (("unet.", pipeline.unet), ("text_encoder.text_model.", pipeline.text_encoder)):
        for name, shape in matrices(model).items():
            down, up = factors(shape, rank, generator)
            key, names = f"{prefix}{name.removeprefix('text_model.')}", (".lora_A", ".lora_B")
            if old and "attn" in name:
                start, _, last = key.removesuffix(".0").rpartition(".")
                key, names = f"{start}.{'processor.' * ('unet' in prefix)}{OLD.get(last, last)}", OLDEST
            elif old:
                continue
            tensors |= {f"{key}{names[0]}.weight": down, f"{key}{names[1]}.weight": up}
    return tensors


FORMS = {"kohya": kohya, "peft": peft, "old": lambda *how: peft(*how, old=True)}


def prediction(parts):
    with torch.no_grad():
        memory = parts.text.hidden(torch.tensor([[3, 5, 8, 2]]))
        return parts.unet(torch.linspace(-1, 1, 256).view(1, 4, 8, 8), 500, memory)


def their_prediction(pipeline):
    with torch.no_grad():
        memory = pipeline.text_encoder(torch.tensor([[3, 5, 8, 2]])).last_hidden_state
        return pipeline.unet(torch.linspace(-1, 1, 256).view(1, 4, 8, 8), 500, memory).sample


@pytest.mark.parametrize("form", FORMS)
def test_as_the_reference(form, folder, tmp_path):
    """Two files with a share each; taken out again the weights are as they were."""
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    parts = load_diffusers(folder)
    models = {"unet": parts.unet, "text_encoder": parts.text}
    plain = prediction(parts)
    shares, before = {"a": 0.7, "b": -0.4}, []
    files = [FORMS[form](pipeline, seed + 2, seed) for seed in range(2)]
    for (name, share), tensors in zip(shares.items(), files, strict=True):
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path)
        pipeline.load_lora_weights(tmp_path, weight_name=path.name, adapter_name=name)
        for part, adapter in read_diffusion_lora(path, models).items():
            before.append((models[part], add(models[part], adapter, share)))
    pipeline.set_adapters(list(shares), list(shares.values()))
    expected = their_prediction(pipeline)
    assert (expected - plain).abs().max() > 0.1
    torch.testing.assert_close(prediction(parts), expected, atol=1e-4, rtol=1e-4)
    for model, weights in reversed(before):
        put_back(model, weights)
    assert torch.equal(prediction(parts), plain)


def test_written_for_the_reference(folder, tmp_path):
    """What our training makes, half of a joined matrix among it, is what the reference computes, and we again."""
    parts = load_diffusers(folder)
    models = {"unet": parts.unet, "text_encoder": parts.text}
    torch.manual_seed(5)
    for model, targets in zip(models.values(), (["q", "o", "up", "project_in"], ["all-linear"]), strict=True):
        add_lora(model, rank=2, alpha=3, targets=targets)
        for adapter in adapters(model)["default"].values():
            torch.nn.init.normal_(adapter.b, std=0.2)
    ours = prediction(parts)
    write_folder(tmp_path, diffusion_lora_files(models, {name: adapters(x)["default"] for name, x in models.items()}))
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    pipeline.load_lora_weights(tmp_path)
    torch.testing.assert_close(their_prediction(pipeline), ours, atol=1e-4, rtol=1e-4)
    again = load_diffusers(folder)
    for part, adapter in read_diffusion_lora(
        tmp_path / WEIGHTS, {"unet": again.unet, "text_encoder": again.text}
    ).items():
        add(again.unet if part == "unet" else again.text, adapter)
    torch.testing.assert_close(prediction(again), ours, atol=1e-4, rtol=1e-4)


def test_an_alpha_beside_the_tensors(folder, tmp_path):
    """Each module has its own: in the file's own tensors (kohya), or in the settings that diffusers writes."""
    unet = load_diffusers(folder).unet
    keys = [f"down_blocks.0.resnets.{i}.conv1" for i in (0, 1)]
    pair = {"A": torch.randn(2, 8, 3, 3), "B": torch.randn(8, 2, 1, 1)}
    tensors = {f"unet.{key}.lora_{side}.weight": factor.clone() for key in keys for side, factor in pair.items()}
    settings = {"unet.lora_alpha": 4, "unet.alpha_pattern": {keys[1]: 1}}
    save_file(tensors, tmp_path / "a.safetensors", {"lora_adapter_metadata": json.dumps(settings)})
    first, second = read_diffusion_lora(tmp_path / "a.safetensors", {"unet": unet})["unet"].values()
    whole = torch.einsum("or,rihw->oihw", pair["B"].flatten(1), pair["A"])
    torch.testing.assert_close(first.delta(), 2 * whole)
    torch.testing.assert_close(second.delta(), whole / 2)


def test_names_of_the_authors(folder, tmp_path):
    """Some files in kohya's form count the blocks through all levels."""
    unet, whole = load_diffusers(folder).unet, torch.ones(2, 8, 3, 3)
    key = "lora_unet_input_blocks_1_0_in_layers_2"
    save_file(
        {f"{key}.lora_down.weight": whole, f"{key}.lora_up.weight": torch.ones(8, 2, 1, 1)}, tmp_path / "a.safetensors"
    )
    (name,) = read_diffusion_lora(tmp_path / "a.safetensors", {"unet": unet})["unet"]
    assert name == "down.0.residuals.0.convolution_in"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"lora_unet_conv_in.lora_down.weight": (2, 9, 3, 3), "lora_unet_conv_in.lora_up.weight": (8, 2, 1, 1)},
         r"wrong shape \(1\): lora_unet_conv_in down \(2, 9, 3, 3\) for \(rank, 4, 3, 3\)"),
        ({"unet.conv_in.lora_A.weight": (2, 4, 3, 3), "unet.conv_in.lora_B.weight": (320, 2, 1, 1)},
         r"wrong shape \(1\): unet.conv_in up \(320, 2, 1, 1\) for \(8, 2\)"),
        ({"lora_unet_conv_in.lora_down.weight": (2, 4, 3, 3)}, r"missing \(1\): - lora_unet_conv_in, up"),
        ({"lora_unet_strange.lora_down.weight": (2, 4)}, r"not known to this model \(1\): \+ lora_unet_strange"),
        ({"weight": (1,)}, r"not known to this model \(1\): \+ weight"),
        ({"lora_unet_conv_in.lora_mid.weight": (1,)}, r"is a convolution in three factors \(Tucker\), which is not"),
        ({"lora_unet_conv_in.dora_scale": (1,)}, "is a LoRA with magnitudes"),
        ({"lora_te2_x.lora_down.weight": (1,)}, "is of Stable Diffusion XL"),
        ({}, "holds no LoRA"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(tensors, message, folder, tmp_path):
    save_file({key: torch.ones(shape) for key, shape in tensors.items()}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=message):
        read_diffusion_lora(tmp_path / "a.safetensors", {"unet": load_diffusers(folder).unet})


def test_no_pickle(tmp_path):
    with pytest.raises(CheckpointError, match="is a pickle, which can run code, so it is not read"):
        read_diffusion_lora(tmp_path / "a.pt", {})
