"""Every task learns eight examples by heart in seconds; every tiny recipe runs."""

from __future__ import annotations

import formers
from formers import recipe
from formers.training.events import Evaluated, Finished, Reported, Saved


def test_translation_learns_eight_pairs_by_heart(tmp_path):
    examples = tmp_path / "eight.tsv"
    lines = [
        "en\tde",
        "I ate an apple\tIch habe einen Apfel gegessen",
        "The dog sleeps.\tDer Hund schläft.",
        "We see the house.\tWir sehen das Haus.",
        "Do you read?\tLiest du?",
        "She drinks tea.\tSie trinkt Tee.",
        "He is tall.\tEr ist groß.",
        "They go home.\tSie gehen nach Hause.",
        "It rains.\tEs regnet.",
    ]
    examples.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sizes = [
        "model.dim=64",
        "model.hidden=128",
        "model.encoder_layers=1",
        "model.decoder_layers=1",
        "model.dropout=0.0",
    ]
    events = list(
        formers.train(
            "translation",
            [
                *sizes,
                f"data.train={examples}",
                f"data.validation={examples}",
                "data.count=0",
                "rows.vocab=200",
                "task.decoded=0",
                "task.label_smoothing=0.0",
                "train.steps=150",
                "train.rate=0.003",
                "train.warmup=20",
                "train.evaluate_every=150",
                "train.precision=fp32",
                "train.monitor=loss",
                "train.sample_every=0",
                "train.save_every=0",
            ],
            run=tmp_path / "run",
        )
    )
    assert isinstance(events[0], Reported) and isinstance(events[-1], Finished)
    assert next(e for e in events if isinstance(e, Evaluated)).metrics["loss"] < 0.05
    translator = formers.load(tmp_path / "run")
    assert translator.translate("I ate an apple") == "Ich habe einen Apfel gegessen"
    assert translator.translate("We see the house.", beams=4) == "Wir sehen das Haus."


def test_every_shipped_recipe_resolves_and_reads_back_the_same():
    assert recipe.names()
    for name, comment in recipe.names().items():
        assert comment, f"{name}: the first line must say what, how long, what score"
        found = recipe.load_recipe(name)
        import tomllib

        again = recipe.build(tomllib.loads(found.to_toml()), (), name=name, where="test")
        assert again.sections == found.sections


def test_the_tiny_recipe_runs_and_its_run_can_be_loaded(tmp_path):
    events = list(
        formers.train(
            "translation",
            [
                "train.steps=3",
                "data.count=400",
                "data.held_out=20",
                "task.decoded=4",
                "train.precision=fp32",
                "train.evaluate_every=3",
            ],
            run=tmp_path / "run",
        )
    )
    assert any(isinstance(e, Saved) for e in events)
    assert isinstance(formers.load(tmp_path / "run").translate("I ate an apple", max_tokens=5), str)
