"""A few pictures of one shape with their captions, and small towers that learn them."""

from __future__ import annotations

from pathlib import Path

from formers.data.builtin.shapes import scene

SIZES = ["model.kind=vit", "model.height=16", "model.patch=8", "model.dim=32", "model.layers=1", "model.heads=2",
         "model.hidden=32", "model.text_dim=32", "model.text_layers=1", "model.text_heads=2", "model.text_hidden=32",
         "model.projection=16", "model.length=16"]  # fmt: skip


def table(root: Path, count: int = 8, captions: list[str] | None = None) -> Path:
    """A CSV of so many pictures that show different shapes, each with its name as caption and label."""
    root.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    index = 0
    while len(names) < count:
        one = scene("train", index, most=1, side=16)
        index += 1
        if (name := one.shapes[0].name) not in names:
            (root / f"{len(names)}.png").write_bytes(one.png())
            names.append(name)
    captions = names if captions is None else captions
    lines = [
        "image,caption,shape",
        *(f"{n}.png,{c},{name}" for n, (c, name) in enumerate(zip(captions, names, strict=True))),
    ]
    path = root / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def changes(path: Path, *more: str) -> list[str]:
    """Of the recipe "clip", to learn such a table and to be judged by it."""
    return [*SIZES, f"data.train={path}", f"data.validation={path}", "rows.batch=8", "train.steps=150",
            "train.warmup=5", "train.rate=4e-3", "train.average=0", "train.evaluate_every=150", "train.save_every=0",
            "train.sample_every=0", "train.log_every=150", "rows.vocab=200", *more]  # fmt: skip
