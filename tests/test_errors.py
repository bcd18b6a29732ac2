"""Messages: what is a slip of what."""

import pytest

from formers.errors import near, nearest


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("trian", ["train", "task"], "train"),
        ("pcs", ["pca", "umap"], "pca"),
        ("blue", ["bleu", "chrf"], "bleu"),
        ("vocabulary", ["vocab", "length"], "vocab"),
        ("word", ["words_per_text"], "words_per_text"),
        ("label", ["table", "text"], None),
        ("translate", ["transcribe"], None),
        ("mean", ["max"], None),
        ("fr", ["de", "en"], None),
        ("de_de", ["de_DE", "fr_XX"], "de_DE"),
        ("x" * 10_000, ["x"], None),
        ("", ["a"], None),
    ],
)
def test_only_near_names_are_meant(name, known, meant):
    assert near(name, known) == meant
    assert nearest(name, known) == (f'; did you mean "{meant}"?' if meant else f"; known: {', '.join(sorted(known))}")
