"""Photographs read and preprocessed in a second, against `transformers`: JPEG bytes to what a model reads.

    python benchmarks/vision_reading.py [FOLDER] [--pictures 16] [--repeats 9]

Without FOLDER: 500 x 375 JPEGs drawn here. The reference decodes with Pillow and preprocesses with each family's
processor, by turns with ours: its Pillow backend, whose pixels are equal within 1e-6, which is looked at before, and
where torchvision is installed that backend too, whose pixels differ by a grey level.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from _turns import compare, show
from PIL import Image
from torch import Tensor

from formers.images.decode import decode
from formers.images.preprocess import Preprocessor, load_preprocessor

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViT", {}),
    "dinov2": ("Bit", {"size": {"shortest_edge": 256}, **IMAGENET}),
    "resnet": ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.875, **IMAGENET}),
    "clip": ("CLIP", {}),
    "siglip": ("Siglip", {}),
}


def drawn(seed: int, height: int = 375, width: int = 500) -> bytes:
    """A picture with as much detail of every size as a photograph has, as a JPEG."""
    random = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for level in range(9):
        noise = Image.fromarray(random.integers(0, 256, (2**level, 2**level, 3), dtype=np.uint8))
        total += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC)) / 1.5**level
    file = io.BytesIO()
    Image.fromarray((total * (255 / total.max())).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def theirs_of(family: str, pil: str) -> Any:
    """The processor of a family; pil: "Pil" for that backend, else torchvision's."""
    name, settings = FILES[family]
    place = f"transformers.models.{name.lower()}.image_processing_{pil.lower()}{'_' if pil else ''}{name.lower()}"
    return getattr(import_module(place), f"{name}ImageProcessor{pil}")(**settings)


def ours_of(family: str) -> Preprocessor:
    """Ours, from the file that theirs writes."""
    with tempfile.TemporaryDirectory() as folder:
        theirs_of(family, "Pil").save_pretrained(folder)
        mine = load_preprocessor(Path(folder), {"model_type": family})
    assert mine is not None
    return mine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    if options.folder:
        paths = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        files = [path.read_bytes() for path in islice(paths, options.pictures)]
    else:
        files = [drawn(seed) for seed in range(options.pictures)]
    print(f"{len(files)} JPEGs of {sum(map(len, files)) / len(files) / 1000:.0f} kB")
    backends = ["Pil", ""] if OPERATORS is not None else ["Pil"]
    results: dict[str, list[dict]] = {backend: [] for backend in backends}
    for family in FILES:
        mine = ours_of(family)
        for backend in backends:
            theirs = theirs_of(family, backend)

            def read(mine: Preprocessor = mine) -> Tensor:
                return mine.batch([decode(file, "a picture") for file in files])

            def reference(theirs: Any = theirs) -> Tensor:
                images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
                return theirs(images, return_tensors="pt").pixel_values

            far = (read() - reference()).abs().max()
            assert far <= (1e-6 if backend else 0.06), f"{family}: pixels differ by {far}"
            row = compare(f"{family}: pictures a second", len(files), read, reference, options.repeats)
            results[backend].append(row)
    for backend in backends:
        show(results[backend], options.repeats, "Pillow" if backend else "torchvision")


if __name__ == "__main__":
    main()
