"""`formers paint` as one types it: files, what they say, what is kept, and what cannot be painted."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from formers.diffusion.samplers import SAMPLERS
from formers.diffusion.scheduler import SPACINGS
from formers.errors import DataError
from formers.fields import fields_of
from formers.models.unet import UNet, UNetConfig
from formers.pretrained.diffusers_folder import DiffusionParts
from formers.registry import system, verbs_of
from formers.server.app import make_app
from formers.server.models import Models, Served
from formers.systems.painting.options import Painting
from formers.systems.painting.paint import Painted, soft
from formers.systems.painting.png import SAMPLERS as THEIR_SAMPLERS
from formers.systems.painting.png import chunks
from formers.systems.painting.preview import fit, rough
from formers.systems.painting.system import Painter
from formers.systems.system import Origin
from tests.cli.conftest import call, fails, works
from tests.systems.painting import tiny_folder

pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning", "ignore::FutureWarning")
PROMPT = "a red circle"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to paint in, with a picture and a mask."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save("in.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[10:40, 10:50] = 255
    Image.fromarray(mask).save("mask.png")
    return tmp_path


def painted(painter, **options):
    return [event.pixels for event in painter.paint(Painting(prompt=PROMPT, **options)) if isinstance(event, Painted)]


def test_words_are_those_of_the_samplers():
    fields = fields_of(Painting)
    assert fields["sampler"].words == ("", *SAMPLERS) and fields["spacing"].words == ("", *SPACINGS)
    assert THEIR_SAMPLERS.keys() == SAMPLERS.keys()


@pytest.mark.parametrize("sampler", ["ddim", "euler-a", "lcm"])
def test_a_picture_has_its_own_seed_and_the_same_bytes_in_any_batch(painter, sampler):
    several = painted(painter, steps=4, seed=5, count=3, sampler=sampler)
    for number, pixels in enumerate(several):
        assert np.array_equal(painted(painter, steps=4, seed=5 + number, sampler=sampler)[0], pixels)
    assert not np.array_equal(several[0], several[1])


def test_steps_count_all_pictures_and_both_ways(painter):
    moments = [event for event in painter.paint(Painting(prompt=PROMPT, steps=10, count=2, sampler="ddim", upscale=2))]
    steps = [(event.step, event.steps) for event in moments if not isinstance(event, Painted)]
    assert steps == [(step, 26) for step in range(1, 27)]
    assert [event.pixels.shape for event in moments if isinstance(event, Painted)] == [(128, 128, 3)] * 2


def test_files_are_never_written_over(model, place):
    first = call("paint", model, PROMPT, "--steps", "2", "--count", "2")
    assert first.stderr.splitlines() == ["wrote out.png", "wrote out-1.png"] and not first.stdout
    before = (place / "out.png").read_bytes()
    assert call("paint", model, PROMPT, "--steps", "2", "--out", "out.png").stderr == "wrote out-2.png\n"
    assert (place / "out.png").read_bytes() == before == (place / "out-2.png").read_bytes()
    line = json.loads(works("paint", model, PROMPT, "--steps", "2", "--json"))
    assert base64.b64decode(line["png"]) == before and line["seed"] == 1 and line["size"] == "64x64"


@pytest.mark.parametrize("options", [
    ["--steps", "3", "--sampler", "ddim", "--eta", "0.4", "--negative", 'grün, "matt"', "--rescale", "0.3"],
    ["--steps", "4", "--image", "in.png", "--strength", "0.5", "--spacing", "karras", "--sampler", "dpm++"],
    ["--steps", "4", "--image", "in.png", "--mask", "mask.png", "--blur", "2"],
    ["--steps", "5", "--upscale", "2"],
    ["--steps", "2", "--grid", "guidance=1,5", "sampler=ddim,lcm"],
])  # fmt: skip
def test_again_is_the_same_byte_for_byte(model, place, options):
    assert works("paint", model, PROMPT, *options, "--seed", "7") == ""
    assert works("paint", model, "--again", "out.png") == ""
    assert (place / "out.png").read_bytes() == (place / "out-1.png").read_bytes()


def test_what_is_given_beside_it_wins(model, place):
    works("paint", model, PROMPT, "--steps", "3", "--guidance", "2", "--seed", "4")
    works("paint", model, "--again", "out.png", "--steps", "50", "--seed", "1", "--sampler", "lcm", "--out", "b.png")
    own = json.loads(Image.open("b.png").text["formers"])
    assert (own["steps"], own["seed"], own["guidance"], own["sampler"]) == (50, 1, 2.0, "lcm")
    works("paint", model, "--again", "out.png", "--grid", "guidance=1,4", "seed=1,2,3", "--out", "c.png")
    assert json.loads(Image.open("c.png").text["formers"])["grid"] == ["guidance=1,4", "seed=1,2,3"]


@pytest.mark.parametrize(("options", "usual"), [([], (50, 7.5)), (["--sampler", "lcm"], (4, 1.0))])
def test_a_sampler_has_its_own_usual_steps_and_guidance(model, place, options, usual):
    works("paint", model, PROMPT, *options)
    own = json.loads(Image.open("out.png").text["formers"])
    assert (own["steps"], own["guidance"]) == usual


def test_the_picture_painted_over_must_be_the_same(model, place):
    works("paint", model, PROMPT, "--steps", "3", "--image", "in.png")
    Image.new("RGB", (64, 64), "red").save("in.png")
    assert "in.png is not the image any more" in fails("paint", model, "--again", "out.png")
    works("paint", model, "--again", "out.png", "--image", "in.png")
    (place / "in.png").unlink()
    assert "painted with in.png, which is not there" in fails("paint", model, "--again", "out.png")


def test_the_web_interface_reads_it():
    """Its rules: prompt, negative prompt, and a last line of at least three `Name: value`, quoted where need be."""
    options = {"negative": "grey,\nblurry", "sampler": "euler-a", "size": "512x768", "seed": 9, "guidance": 6.5}
    painting = Painting(prompt="a cat: (red:1.3), big\nin the sun", origin=Origin("runs/a, b"), **options)
    *prompt, last = chunks(painting)["parameters"].split("\n")
    assert prompt == ["a cat: (red:1.3), big", "in the sun", "Negative prompt: grey,", "blurry"]
    values = dict(re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last))
    assert json.loads(values.pop("Model")) == "a, b"
    assert values == {"Steps": "50", "Sampler": "Euler a", "CFG scale": "6.5", "Seed": "9", "Size": "512x768"}


@pytest.mark.parametrize("blur", [0, 3])
def test_pixels_outside_of_a_mask_are_the_same(model, place, blur):
    works("paint", model, PROMPT, "--steps", "3", "--image", "in.png", "--mask", "mask.png", "--blur", blur)
    before, after = np.asarray(Image.open("in.png")), np.asarray(Image.open("out.png"))
    hole = np.asarray(Image.open("mask.png")) > 0
    assert np.array_equal(before[~hole], after[~hole]) and (before[hole] != after[hole]).mean() > 0.9


def test_a_soft_edge_lies_inside():
    mask = torch.zeros(1, 1, 1, 12)
    mask[..., 2:] = 1
    assert soft(mask, 3).flatten().tolist() == [0, 0, 0.25, 0.5, 0.75, *[1] * 7]


def test_a_small_matrix_stands_in_for_the_decoder(painter, model, place):
    class Mixing(torch.nn.Module):
        """An autoencoder that mixes the colours of squares: which the matrix undoes."""

        def __init__(self):
            super().__init__()
            self.config = painter.parts.vae.config
            self.mix = torch.randn(4, 3)

    mixing = Mixing()
    simple = Painter(painter.parts)
    simple.latents = lambda pictures, own=(): torch.einsum(
        "lc,bchw->blhw", mixing.mix, torch.nn.functional.avg_pool2d(pictures, 8)
    ) - 2  # fmt: skip
    picture = torch.rand(1, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    shown = np.asarray(rough(fit(simple), simple.latents(picture), 1))
    assert np.abs(shown - 255 * picture[0, :, ::8, ::8].permute(1, 2, 0).numpy()).max() <= 1
    works("paint", model, PROMPT, "--steps", "3", "--preview", "p.jpg")
    with Image.open("p.jpg") as image:
        assert image.size == (64, 64)
    assert "p.gif: expected a name that ends in .png" in fails("paint", model, PROMPT, "--preview", "p.gif")


@pytest.mark.parametrize("grid", [[], ["--grid", "seed=1,2,3"]])
def test_ctrl_c_keeps_what_is_finished(model, place, monkeypatch, grid):
    predict, calls = Painter.predict, []

    def interrupted(self, *inputs):
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return predict(self, *inputs)

    monkeypatch.setattr(Painter, "predict", interrupted)
    done = call("paint", model, PROMPT, "--steps", "4", "--sampler", "ddim", "--preview", "p.png",
                *(grid or ["--count", "3"]))  # fmt: skip
    assert done.exit_code == 130 and done.stderr.splitlines() == ["wrote out.png", "formers: interrupted"]
    assert sorted(path.name for path in place.glob("*.png")) == ["in.png", "mask.png", "out.png", "p.png"]


def test_pixels_and_no_words(place):
    config = UNetConfig(
        channels=1, out_channels=1, widths=(8,), attention=(True,), heads=(2,), memory_dim=None, groups=4, size=9
    )
    painter = Painter(DiffusionParts(unet=tiny_folder.randomise(UNet(config))))
    Image.new("L", (9, 9), 90).save("grey.png")
    (pixels,) = painted(painter, steps=3)
    assert pixels.shape == (9, 9) and pixels.std() > 1
    assert painted(painter, steps=3, image="grey.png", strength=0.7)[0].shape == (9, 9)
    assert rough(fit(painter), torch.zeros(1, 1, 9, 9), 1).size == (9, 9)


@pytest.mark.parametrize(("options", "wrong"), [
    ([], "there is no prompt: say what to paint"),
    ([PROMPT, "and", "more"], "got 'and' after the prompt; put the whole prompt into quotes"),
    ([PROMPT, "--size", "60x64"], "size (60x64) must be divisible by 8, the pixels of a latent: try --size 64x64"),
    ([PROMPT, "--size", "800000x800000"], "GB to decode, but this machine has"),
    ([PROMPT, "--size", "big"], "size ('big') must be two numbers such as 512x512"),
    ([PROMPT, "--size", "0x8"], "must be two numbers"),
    ([PROMPT, "--image", "in.png", "--strength", "1.5"], "strength (1.5) must be in (0, 1]"),
    ([PROMPT, "--image", "in.png", "--strength", "0"], "strength (0.0) must be in (0, 1]"),
    ([PROMPT, "--image", "in.png", "--strength", "nan"], "strength (nan) must be in (0, 1]"),
    ([PROMPT, "--image", "in.png", "--strength", "0.1", "--steps", "5"], "at least 0.2 with 5 steps"),
    ([PROMPT, "--strength", "0.5"], "strength says how much of a picture is left: give one"),
    ([PROMPT, "--mask", "mask.png"], "a mask says where to paint anew in a picture: give it too"),
    ([PROMPT, "--image", "in.png", "--mask", "small.png"],
     "small.png has 32 x 64 pixels, but in.png has 64 x 64; give a mask of the same size"),
    ([PROMPT, "--image", "in.png", "--mask", "black.png"], "black.png has no white, which says where to paint anew"),
    ([PROMPT, "--image", "in.png", "--mask", "thin.png"], "thin.png is white in spots too small"),
    ([PROMPT, "--image", "in.png", "--mask", "mask.png", "--size", "128x64"], "--size must be that of it, 64x64"),
    ([PROMPT, "--image", "odd.png"], "size (61x64) must be divisible by 8"),
    ([PROMPT, "--image", "odd.png", "--mask", "odd.png"], "cut odd.png and its mask to such a size"),
    ([PROMPT, "--image", "in.png", "--mask", "mask.png", "--upscale", "2"], "do one after the other"),
    ([PROMPT, "--upscale", "3"], "upscale (3) must be 1, 2 or 4"),
    ([PROMPT, "--image", "nowhere.png"], "nowhere.png cannot be read"),
    ([PROMPT, "--sampler", "eular"], 'did you mean "euler"'),
    ([PROMPT, "--sampler", "lcm", "--spacing", "karras"], "lcm has a spacing of its own"),
    ([PROMPT, "--eta", "0.5", "--sampler", "euler"], "is of ddim alone"),
    ([PROMPT, "--steps", "0"], "steps (0) must be at least 1"),
    ([PROMPT, "--grid", "guidence=1,2"], 'grid: "guidence" is no axis; did you mean "guidance"?'),
    ([PROMPT, "--grid", "guidance=1,b"], "grid: guidance is 'b', expected a number"),
    ([PROMPT, "--grid", "guidance=1,-2"], "guidance (-2.0) must be 0 or more"),
    ([PROMPT, "--grid", "seed=1,2", "seed=3"], "grid: seed is given twice"),
    ([PROMPT, "--grid", "seed="], "grid: seed has no values"),
    ([PROMPT, "--grid", "seed=1,2", "--count", "2"], "give the axis seed=1,2,3"),
    ([PROMPT, "--out", "a.jpg"], "--out a.jpg: expected a name that ends in .png"),
    (["--again", "in.png"], "in.png does not say how it was painted"),
    (["--again", "nothing.png"], "nothing.png: there is no such file"),
    (["--again", "text.png"], "text.png is no PNG file that can be read"),
    (["--again", "evil.png"], "the text in evil.png has preview, which is none of a picture's settings"),
    (["--again", "wrong.png"], "the text in wrong.png has no key \"stepps\"; did you mean \"steps\"?"),
])  # fmt: skip
def test_what_cannot_be_painted(model, place, options, wrong):
    Image.new("L", (32, 64), 255).save("small.png")
    Image.new("L", (64, 64), 0).save("black.png")
    Image.new("RGB", (61, 64)).save("odd.png")
    thin = Image.new("L", (64, 64), 0)
    thin.putpixel((3, 3), 255)
    thin.save("thin.png")
    (place / "text.png").write_text("no picture")
    for name, text in (("evil", {"preview": "/etc/passwd"}), ("wrong", {"stepps": 3})):
        from PIL.PngImagePlugin import PngInfo

        chunk = PngInfo()
        chunk.add_text("formers", json.dumps(text))
        Image.new("RGB", (8, 8)).save(f"{name}.png", pnginfo=chunk)
    assert wrong in fails("paint", model, *options)
    assert not list(place.glob("out*.png"))


def test_a_model_that_fills_holes_needs_one(tmp_path_factory, place):
    model = tiny_folder.write(tmp_path_factory.mktemp("inpainting"), inpainting=True)
    assert "this model fills holes: give --image PICTURE and --mask PICTURE" in fails("paint", model, PROMPT)


def test_a_sampler_that_does_not_know_the_prediction(tmp_path_factory, place):
    folder = tmp_path_factory.mktemp("clean")
    model = tiny_folder.write(folder, scheduler="DDIMScheduler", prediction_type="sample")
    line = fails("paint", model, PROMPT, "--sampler", "pndm", "--steps", "3")
    assert "pndm cannot sample from a network that predicts sample; choose ddpm, ddim" in line


def test_no_numbers_stop_it_with_the_step(painter, monkeypatch):
    predict = Painter.predict
    monkeypatch.setattr(
        Painter, "predict", lambda *inputs: predict(*inputs) * (float("nan") if inputs[2][0] < 400 else 1)
    )
    with pytest.raises(DataError, match=r"no finite numbers after step 4 of 5"):
        painted(painter, steps=5, sampler="ddim")


@pytest.mark.parametrize("fault", [
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), MemoryError(),
])  # fmt: skip
def test_too_little_memory_says_what_to_lower(painter, monkeypatch, fault):
    def full(*inputs):
        raise fault

    monkeypatch.setattr(Painter, "predict", full)
    with pytest.raises(DataError, match="out of memory at 64x64 pixels; lower --size, or try --dtype bf16"):
        painted(painter, steps=5)
    with pytest.raises(DataError, match=r"upscaled 2 times\); lower --upscale or --size"):
        painted(painter, steps=5, upscale=2)
    monkeypatch.setattr(Painter, "predict", lambda *inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        painted(painter, steps=5)


def test_over_http(painter):
    declared = system("painting")
    served = Served("toy", declared, painter, verbs_of(declared), Origin("toy"))
    client = TestClient(make_app(Models({"toy": served})), base_url="http://127.0.0.1")
    (result,) = client.post("/paint", json={"prompt": PROMPT, "steps": 3, "seed": 4}).json()["results"]
    image = Image.open(io.BytesIO(base64.b64decode(result["png"])))
    assert np.array_equal(np.asarray(image), painted(painter, steps=3, seed=4)[0])
    assert json.loads(image.text["formers"])["model"] == "toy"
    with client.stream("POST", "/paint", json={"prompt": PROMPT, "steps": 3, "stream": True}) as answer:
        assert "event: progress" in answer.read().decode()
    for name in ("image", "mask", "preview", "again"):
        refused = client.post("/paint", json={"prompt": PROMPT, name: "in.png"})
        assert refused.status_code == 400 and f"{name} names a file" in refused.json()["error"]
    assert "given" in client.post("/paint", json={"prompt": PROMPT, "given": ["a"]}).json()["error"]
