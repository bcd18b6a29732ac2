"""`formers inspect` of language models: every kind draws, the terminal shows the model's numbers, faults are said."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from formers.cli import inspect, inspect_language
from formers.cli.inspect import KINDS, OF_TEXT, positions, weights
from formers.cli.inspect_language import show_coloured
from formers.decoding.settings import Settings
from formers.models.causal import FORMS, CausalLM
from formers.studio import language_pictures, pictures
from formers.systems.inspection import likelihoods
from formers.systems.language import LanguageModel
from formers.text.training import END, train_byte_bpe
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


@pytest.mark.parametrize("what", [each for each in KINDS["language"] if each not in ("parameters", "curve")])
def test_every_kind_draws_a_picture(folder, tmp_path, what):
    more = [TEXT] if what in OF_TEXT else []
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
    best = language_pictures.share(float(shares.max()))
    assert f'"{pictures.visible(said)}"' in rows[-1] and rows[-1].endswith(f"{best}      1") and best in rows[-1]


def test_probabilities_on_a_pipe_are_numbers(folder, small):
    shown = works("inspect", folder, "probabilities", TEXT)
    tokens = small.tokenizer.encode_plain([TEXT])[0]
    with torch.no_grad():
        shares = small.model(torch.tensor([[0, *tokens]]))[0].softmax(-1)[range(len(tokens)), tokens]
    table = shown[: shown.index("least likely")].splitlines()[3:]
    rows = [line.rsplit(maxsplit=3) for line in table if line.strip()]
    assert len(rows) == len(tokens) and "\x1b" not in shown
    assert [row[0] for row in rows] == [f'"{pictures.visible(each)}"' for each in small.tokenizer.pieces(tokens)]
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
    assert sum(count for _, _, count, _ in weights(network)) == sum(p.numel() for p in network.parameters())
    assert any(note == "shared: is embedding.weight" for *_, note in weights(network)) == tied
    drawn = positions(network, form)
    assert len(drawn.axes) == (8 if local else 4)  # two pictures and their scales, for each kind of layer
    picture(pictures.save(drawn, tmp_path / "positions.png"))


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
        'is a translation model, which has no "lens" to inspect; it has: attention, positions, parameters, curve'
    )
    long = "dog " * 200
    assert "tokens, but this model reads at most 160; shorten it" in fails("inspect", folder, "lens", long)
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_no_picture_has_room_for(folder, monkeypatch):
    monkeypatch.setitem(inspect_language.MOST, "attention", 5)
    assert "tokens, but a picture has room for 5; shorten it" in fails("inspect", folder, "attention", TEXT)


def test_a_model_without_a_start_token_does_not_judge_the_first_one(folder, small, monkeypatch):
    monkeypatch.setattr(LanguageModel, "start_or_none", lambda self: None)
    shown = works("inspect", folder, "probabilities", "the cat sat")
    count = len(small.tokenizer.encode_plain(["the cat sat"])[0])
    assert f"{count - 1} tokens, " in shown
    assert "expected at least 2" in fails("inspect", folder, "probabilities", "a")


def test_help_names_the_kinds_of_every_system():
    text = inspect.run.__doc__
    titles = {"language": "Language models", "translation": "Translation models", "embedding": "Embedding models"}
    for system, kinds in KINDS.items():
        listed = re.search(rf"{titles.get(system, 'Other encoders')}:\[/bold\](.*?)\n\n?( *\[|$|\s*\Z)", text, re.S)[1]
        assert re.findall(r"\w+", re.sub(r"\(.*?\)", "", listed)) == list(kinds)
    assert "probabilities" in works("inspect", "--help")


# ---- pictures ----------------------------------------------------------------------------------------------


def test_share_has_two_digits():
    cases = {
        1.0: "100%",
        0.9997: "100%",
        0.62: "62%",
        0.0621: "6.2%",
        0.000031: "0.0031%",
        1e-9: "<0.001%",
        0.0: "<0.001%",
    }
    assert {each: language_pictures.share(each) for each in cases} == cases


def test_pieces_are_shown_on_one_line_without_controls():
    assert pictures.visible("▁a\n\t\x1b[0m") == " a↵⇥\\x1b[0m"
    assert pictures.label("▁") == pictures.label(" ") == "␣"
    assert pictures.label("▁word") == "word" and pictures.label("x" * 20) == "x" * 13 + "…"


def test_a_terminal_is_given_colours(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    show_coloured(["<s>"], [" the", " cat", "\n", "dog[/red]"], [0.9, 0.0001, 0.5, 1.0])
    shown = capsys.readouterr().out
    assert "48;2;" in shown and "dog[/red]" in shown
    assert len({*re.findall(r"48;2;\d+;\d+;\d+", shown)}) > 4


@pytest.mark.parametrize(
    ("layers", "heads", "length", "head"),
    [(1, 1, 1, None), (1, 1, 3, 0), (2, 5, 9, None), (12, 12, 30, None), (3, 4, 200, 2), (32, 32, 20, None)],
)
def test_heads_of_any_size_have_labels_that_do_not_overlap(layers, heads, length, head, tmp_path):
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    maps = torch.randn(layers, heads, length, length).mul(2).masked_fill(future, -torch.inf).softmax(-1).numpy()
    words = [f" {'word' * (1 + i % 4)}{i}" for i in range(length)]
    words[:1] = ["$x$"]
    drawn = language_pictures.heads(words, maps, layers - 1, head, "$a$ [b]")
    path = pictures.save(drawn, tmp_path / "heads.png")
    with Image.open(path) as opened:
        assert opened.size[0] < 4000 and opened.size[1] < 4000
    grid = [axes for axes in drawn.subfigs[0].axes if axes.get_title().startswith("head")]
    numbers = range(heads) if head is None else [head]
    assert [axes.get_title() for axes in grid] == [f"head {i + 1}" for i in numbers]
    labelled = 0
    for axes in grid:
        for axis, side in ((axes.xaxis, "x"), (axes.yaxis, "y")):
            boxes = [tick.label1.get_window_extent() for tick in axis.get_major_ticks() if tick.label1.get_visible()]
            ends = sorted((getattr(box, f"{side}0"), getattr(box, f"{side}1")) for box in boxes)
            assert all(before[1] <= after[0] + 1.5 for before, after in pairwise(ends)), side
            labelled += bool(boxes)
    assert labelled >= 2


def test_the_future_is_drawn_as_such(tmp_path):
    maps = np.tril(np.full((1, 1, 4, 4), 0.25, dtype=np.float32))
    drawn = language_pictures.heads(list("abcd"), maps, 0, None, "x")
    (image,) = drawn.subfigs[0].axes[0].images
    assert (np.ma.getmaskarray(image.get_array()) == np.triu(np.ones((4, 4), dtype=bool), 1)).all()


def test_the_picture_of_the_lens_says_what_was_said():
    said = [["a", " b"], ["\n", " word"], ["▁c", "$d$"]]
    shares = np.array([[0.1, 0.2], [0.3, 0.4], [0.9, 1.0]], dtype=np.float32)
    drawn = language_pictures.lens([" one", " two"], [" two", ""], said, shares, "x")
    axes = drawn.axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "a", (1, 0): "b", (0, 1): "↵", (1, 1): "word", (0, 2): "c", (1, 2): "$d$"}
    assert [each.get_text() for each in axes.get_xticklabels()] == ["one", "two"]
    assert [each.get_text() for each in axes.get_yticklabels()] == ["embedding", "1", "2: output"]
    np.testing.assert_array_equal(axes.images[0].get_array(), shares)


def test_coloured_text_stays_on_the_page_and_breaks_its_lines(tmp_path):
    names = [f" {'longer' * (i % 3)}word" for i in range(120)]
    names[7] = "\n"
    drawn = language_pictures.coloured_text([END, *names], [None, *np.linspace(1e-9, 1, 120)], ["note"], "title")
    picture(pictures.save(drawn, tmp_path / "text.png"))
    page = drawn.axes[0]
    boxes = [(box.get_y(), box.get_x(), box.get_x() + box.get_width()) for box in page.patches]
    assert len(boxes) == 121 and all(0 < left < right < 11 * 72 for _, left, right in boxes)
    for before, after in pairwise(boxes):
        assert after[0] > before[0] or after[1] >= before[2]  # the next line, or to the right
    assert boxes[9][0] > boxes[8][0]  # after the line break
    shown = [text.get_text() for text in page.texts]
    assert "100%" in shown and "<0.001%" in shown and "note" in shown and END in shown


def test_the_likelihoods_of_the_command_are_those_of_the_system(folder, small):
    shown = works("inspect", folder, "probabilities", "the dog")
    found = likelihoods(small.model, [0, *small.tokenizer.encode_plain(["the dog"])[0]])
    for each in found.probability:
        assert f"{each:.4g}" in shown
