"""`formers inspect` of language models: every kind draws, the terminal shows the model's numbers, faults are said."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from formers.cli.show import Output, show
from formers.decoding.settings import Settings
from formers.models.causal import FORMS, CausalLM
from formers.pictures.figure import save, visible
from formers.pictures.positions import draw_positions
from formers.pictures.text import share
from formers.registry import looks, system
from formers.systems import looks as every
from formers.systems.inspection import parameter_table, position_tables
from formers.systems.language.inspection import likelihoods
from formers.systems.language.looks import LikelyText
from formers.systems.language_model import LanguageModel
from formers.text.training import train_byte_bpe
from tests.cli.conftest import fails, works

SIZES = {"dim": 32, "layers": 3, "heads": 2, "hidden": 48}
TEXT = "the cat sat on the mat,\nthe $x$ [red]dog[/red] über 漢字"


@pytest.fixture(scope="session")
def small() -> LanguageModel:
    """Three layers of random weights and a byte-level tokenizer."""
    torch.manual_seed(0)
    tokenizer = train_byte_bpe(["the cat sat on the mat, the dog sat too, über alles"] * 3, 290)
    form = FORMS["llama"]
    model = CausalLM(replace(form, stack=replace(form.stack, **SIZES), vocab=tokenizer.vocab, length=160)).eval()
    for name, weight in model.named_parameters():
        nn.init.normal_(weight, mean=1.0 if "norm" in name else 0.0, std=0.3)
    return LanguageModel(model, tokenizer, Settings(start=0, stop=(0,), pad=0, bos=0))


@pytest.fixture(scope="session")
def folder(small, tmp_path_factory):
    place = tmp_path_factory.mktemp("language") / "model"
    small.save(place)
    return place


def picture(path) -> Image.Image:
    assert path.stat().st_size < 300_000
    with Image.open(path) as opened:
        opened.load()
    assert len(opened.convert("RGB").getcolors(200_000)) > 20  # something is drawn
    return opened


@pytest.mark.parametrize("what", [each for each in looks(system("language")) if each not in ("parameters", "curve")])
def test_every_kind_draws_a_picture(folder, tmp_path, what):
    more = [] if what == "positions" else [TEXT]
    more += ["--max-tokens", "20"] if what == "cache" else []
    assert works("inspect", folder, what, *more).splitlines()[-1] == f"wrote {what}.png"
    picture(tmp_path / f"{what}.png")


def test_layer_and_head_are_chosen(folder, tmp_path):
    works("inspect", folder, "attention", TEXT, "--layer", "1", "--head", "2", "--out", "one.png")
    works("inspect", folder, "attention", TEXT, "--layer", "3", "--out", "three.png")
    assert picture(tmp_path / "one.png").tobytes() != picture(tmp_path / "three.png").tobytes()


def test_the_table_of_the_lens_ends_in_what_the_model_says(folder, small):
    shown = works("inspect", folder, "lens", TEXT)
    tokens = small.tokenizer.encode_plain([TEXT])[0]
    with torch.no_grad():
        shares = small.model(torch.tensor([tokens]))[0, -1].softmax(-1)
    (said,) = small.tokenizer.pieces([int(shares.argmax())])
    rows = [line for line in shown.splitlines() if re.match(r"(embedding|\d)", line)]
    assert len(rows) == 4 and rows[0].startswith("embedding") and rows[-1].startswith("3: output")
    best = share(float(shares.max()))
    assert f'"{visible(said)}"' in rows[-1] and rows[-1].endswith(f"{best}      1") and best in rows[-1]


def test_probabilities_on_a_pipe_are_numbers(folder, small):
    shown = works("inspect", folder, "probabilities", TEXT)
    tokens = small.tokenizer.encode_plain([TEXT])[0]
    with torch.no_grad():
        shares = small.model(torch.tensor([[0, *tokens]]))[0].softmax(-1)[range(len(tokens)), tokens]
    table = shown[: shown.index("least likely")].splitlines()[3:]
    rows = [line.rsplit(maxsplit=3) for line in table if line.strip()]
    assert len(rows) == len(tokens) and "\x1b" not in shown
    assert [row[0] for row in rows] == [f'"{visible(each)}"' for each in small.tokenizer.pieces(tokens)]
    np.testing.assert_allclose([float(row[1]) for row in rows], shares, rtol=1e-3)
    np.testing.assert_allclose([float(row[2]) for row in rows], -shares.log2(), atol=6e-3)
    mean = -shares.log2().mean().item()
    assert f"{len(tokens)} tokens, {mean:.2f} bits each on average (perplexity {2**mean:.4g})" in shown
    worst = shares.argmin().item()
    assert re.search(rf'least likely\n.*\n.*\n +{worst + 1}   "', shown)


def test_the_cache_is_timed_at_growing_lengths_and_says_the_same(folder):
    shown = works("inspect", folder, "cache", "the cat", "--max-tokens", "30")
    rows = [line.split() for line in shown.splitlines() if re.match(r" *\d+ ", line)]
    lengths = [int(row[0]) for row in rows]
    assert len(rows) == 10 and lengths == sorted(lengths) and lengths[-1] - lengths[0] == 29
    assert all(float(row[1]) > 0 and float(row[2]) > 0 for row in rows)
    assert "both write the same 30 tokens" in shown


def test_parameters_add_up(folder, small):
    shown = works("inspect", folder, "parameters")
    count = sum(weight.numel() for weight in small.model.parameters())
    assert f"all {count:,}" in " ".join(shown.split())
    assert "shared: is embedding.weight" in shown
    assert re.search(r"stack\.blocks\.\*\.attention\.q\.weight +32 x 32 +3 +3,072", shown)
    assert len(shown.splitlines()) < 30  # alike layers are one row


def test_other_number_formats(folder):
    options = ["--dtype", "int8"], []
    small, large = (works("inspect", folder, "parameters", *more).splitlines()[-1] for more in options)
    assert small.endswith(" as int8") and large.endswith(" as float32")
    assert float(small.split()[0]) < float(large.split()[0])
    for what, dtype in (("attention", "int8"), ("lens", "bf16"), ("probabilities", "bf16"), ("cache", "int8")):
        more = ["--max-tokens", "5"] if what == "cache" else []
        assert f"wrote {what}.png" in works("inspect", folder, what, "the cat", "--dtype", dtype, *more)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tied", [True, False])
def test_every_form_shows_its_positions_and_parameters(form, tied, tmp_path):
    made = FORMS[form]
    config = replace(made, stack=replace(made.stack, **SIZES), vocab=50, tied=tied)
    local = {"windows": (4, 0, 4), "local_rotary_base": 100.0} if made.positions == "rotary" else {}
    network = CausalLM(replace(config, **local))
    table = list(parameter_table(network))
    assert sum(row.numbers for row in table) == sum(p.numel() for p in network.parameters())
    assert any(row.note == "shared: is embedding.weight" for row in table) == tied
    drawn = draw_positions(*position_tables(network, 40)[1:], form)
    assert len(drawn.axes) == (8 if local else 4)  # two pictures and their scales, for each kind of layer
    picture(save(drawn, tmp_path / "positions.png"))


def test_faults(folder, trained, tmp_path):
    assert 'did you mean "probabilities"?' in fails("inspect", folder, "probabilites", "hi")
    assert "lens of what? formers inspect" in fails("inspect", folder, "lens")
    assert "--layer (4) must be 1 to 3" in fails("inspect", folder, "attention", "hi", "--layer", "4")
    assert "--head (3) must be 1 to 2" in fails("inspect", folder, "attention", "hi", "--head", "3")
    assert "--target is of translation models" in fails("inspect", folder, "attention", "a", "--target", "b")
    assert '--layer is of "attention", got it with "lens"' in fails("inspect", folder, "lens", "a", "--layer", "1")
    assert '"positions" is not of a text, got “hi”' in fails("inspect", folder, "positions", "hi")
    assert "--max-tokens (400) must be at most 1" in fails("inspect", folder, "cache", "a", "--max-tokens", "400")
    assert "is not a run folder" in fails("inspect", folder, "curve")
    said = fails("inspect", trained.folder, "lens", "hi")
    assert said.endswith(
        'is for translation, which has no "lens" to inspect; it has: attention, positions, parameters, curve'
    )
    long = "dog " * 200
    assert "tokens, but this model reads at most 160; shorten it" in fails("inspect", folder, "lens", long)
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_no_picture_has_room_for(folder, monkeypatch):
    monkeypatch.setattr(every, "MOST_READ", 5)
    assert "tokens, but a picture has room for 5; shorten it" in fails("inspect", folder, "attention", TEXT)


def test_a_model_without_a_start_token_does_not_judge_the_first_one(folder, small, monkeypatch):
    monkeypatch.setattr(LanguageModel, "start_or_none", lambda self: None)
    shown = works("inspect", folder, "probabilities", "the cat sat")
    count = len(small.tokenizer.encode_plain(["the cat sat"])[0])
    assert f"{count - 1} tokens, " in shown
    assert "expected at least 2" in fails("inspect", folder, "probabilities", "a")


def test_the_help_names_every_look():
    text = works("inspect", "--help")
    assert all(name in text for name in looks(system("language")))
    assert list(looks(system("chat"))) == list(looks(system("language")))


def test_a_terminal_is_given_colours(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    likely = [0.9, 0.0001, 0.5, 1.0]
    show([LikelyText(["<s>"], [" the", " cat", "\n", "dog[/red]"], likely, [0.0] * 4, [1] * 4)], Output())
    shown = capsys.readouterr().out
    assert "48;2;" in shown and "dog[/red]" in shown
    assert len({*re.findall(r"48;2;\d+;\d+;\d+", shown)}) > 4


def test_the_likelihoods_of_the_command_are_those_of_the_system(folder, small):
    shown = works("inspect", folder, "probabilities", "the dog")
    found = likelihoods(small.model, [0, *small.tokenizer.encode_plain(["the dog"])[0]])
    for each in found.probability:
        assert f"{each:.4g}" in shown
