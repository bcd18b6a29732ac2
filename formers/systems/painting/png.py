"""The text in a painted PNG file: all that paints it again, and the same as the common web interface writes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from PIL import Image

from formers.errors import DataError
from formers.fields import build
from formers.files import expanded, parse_json
from formers.images.decode import BROKEN
from formers.systems.painting.options import Painting, file_and_scale

OURS, THEIRS = "formers", "parameters"  # names of the chunks
DIGESTS, MODEL = "sha256", "model"
LEFT_OUT = ("axes", "preview", "again", "given", "origin")  # of the options: what does not change the picture
SAMPLERS = {
    "ddpm": "DDPM", "ddim": "DDIM", "pndm": "PLMS", "euler": "Euler", "euler-a": "Euler a", "heun": "Heun",
    "dpm++": "DPM++ 2M", "unipc": "UniPC", "lcm": "LCM",
}  # fmt: skip
CURVES = ("karras", "exponential")  # of the spacings, what they call a schedule type


def chunks(painting: Painting) -> dict[str, str]:
    """Name -> text of the chunks of a picture that was painted so."""
    values = {field.name: getattr(painting, field.name) for field in fields(painting) if field.name not in LEFT_OUT}
    values["grid"] = [*painting.grid, *painting.axes]
    values = {name: value for name, value in values.items() if value not in (None, "", [], ())}
    files = {path: digest(path) for paths in files_of(painting).values() for path in paths}
    ours = {**values, **({DIGESTS: files} if files else {}), MODEL: model_of(painting)}
    return {THEIRS: parameters(painting), OURS: json.dumps(ours, sort_keys=True)}


def files_of(painting: Painting) -> dict[str, list[str]]:
    """The files that a painting reads, by the options that name them."""
    files = {name: [getattr(painting, name)] for name in ("image", "mask") if getattr(painting, name)}
    return {**files, "lora": [file_and_scale(text)[0] for text in painting.lora], "inversion": [*painting.inversion]}


def model_of(painting: Painting) -> str:
    return painting.origin.short if painting.origin.name else ""


def digest(name: str) -> str:
    with expanded(name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parameters(painting: Painting) -> str:
    """The settings as AUTOMATIC1111's web interface writes them below a picture, and reads them again."""
    steps, guidance = painting.pace
    rows: dict[str, Any] = {"Steps": steps, "Sampler": SAMPLERS.get(painting.sampler, painting.sampler)}
    if painting.spacing in CURVES:
        rows["Schedule type"] = painting.spacing.capitalize()
    rows |= {"CFG scale": f"{guidance:g}", "Seed": painting.seed, "Size": painting.size}
    rows["Model"] = model_of(painting)
    if painting.strength is not None:
        rows["Denoising strength"] = f"{painting.strength:g}"
    if painting.eta:
        rows["Eta DDIM"] = f"{painting.eta:g}"
    if painting.mask:
        rows["Mask blur"] = painting.blur
    if painting.upscale > 1:
        rows |= {"Hires upscale": painting.upscale, "Hires upscaler": "Lanczos"}
    negative = f"\nNegative prompt: {painting.negative}" if painting.negative else ""
    line = ", ".join(f"{name}: {quoted(value)}" for name, value in rows.items() if value != "")
    loras = "".join(f" <lora:{Path(file).stem}:{scale:g}>" for file, scale in map(file_and_scale, painting.lora))
    return f"{painting.prompt}{loras}{negative}\n{line}"


def quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(sign in text for sign in ',:\n"') else text


def painting_of(name: str, changes: Mapping[str, Any]) -> Painting:
    """What painted a file, with these options in place of its own.

    Raises DataError for a file that is none of ours, and where the picture that it began with is another one now.
    """
    try:
        with Image.open(expanded(name), formats=["PNG"]) as image:
            text = image.text.get(OURS)  # type: ignore[attr-defined]
    except FileNotFoundError:
        raise DataError(f"{name}: there is no such file") from None
    except BROKEN as fault:
        raise DataError(f"{name} is no PNG file that can be read") from fault
    if text is None:
        raise DataError(f"{name} does not say how it was painted; --again takes a PNG file that formers paint wrote")
    what = f"the text in {name}"
    values: dict[str, Any] = parse_json(text, dict[str, Any], what, error=DataError, fix="name another file")
    digests = values.pop(DIGESTS, {})
    values.pop(MODEL, None)
    if strange := values.keys() & set(LEFT_OUT):  # such as a file to write
        raise DataError(f"{what} has {', '.join(sorted(strange))}, which is none of a picture's settings")
    painting: Painting = build(Painting, values, what)
    for file, paths in files_of(painting).items():
        for path in paths if file not in changes else ():
            if not expanded(path).is_file():
                raise DataError(f"{name} was painted with {path}, which is not there; give it with --{file}")
            if digest(path) != digests.get(path):
                got = f"{path} is not the {file} any more that {name} was painted with"
                raise DataError(f"{got}; give that, or this one, with --{file}")
    return replace(painting, **changes)
