"""LoRA files of Stable Diffusion <-> ours: one safetensors file for the UNet and the tower of texts.

    lora_unet_mid_block_attentions_0_proj_in.lora_down.weight · .lora_up.weight · .alpha   kohya's form, lora_te_ too
    unet.mid_block.attentions.0.proj_in.lora_A.weight · .lora_B.weight                     diffusers', text_encoder. too
    unet.mid_block.attentions.0. ... .attn1.processor.to_q_lora.down.weight · .up.weight   the same, older

What is particular:
  * Kohya's names have no points: they are looked up among those of the model, of diffusers' and of the authors' files.
  * What is added is up times down times alpha / rank; without an alpha it is up times down.
  * Convolutions are adapted too: down has their size, up size 1.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from torch import Tensor, nn

from formers.adapters.lora import LowRank
from formers.errors import CheckpointError, shown
from formers.files import Content, expanded, parse_json
from formers.models.unet import UNet
from formers.pretrained.families import family_of_class
from formers.pretrained.files import as_safetensors, read_metadata, read_safetensors, refuse_pickle
from formers.pretrained.keys import Positive
from formers.pretrained.layouts.latent_diffusion import unet_rows
from formers.pretrained.mapping import BROKEN, EXTRA, MISSING, Faults, Rule, as_rules, fill, finite, rules_of, shape_of
from formers.pretrained.peft.lora import WHOLE, joined_parts
from formers.pretrained.peft.patterns import per_module

WEIGHTS = "pytorch_lora_weights.safetensors"  # as diffusers looks for it
METADATA = "lora_adapter_metadata"  # what diffusers says beside the tensors, as JSON
FAMILIES = {"unet": "UNet2DConditionModel", "text_encoder": "clip_text_model"}
KOHYA = {"lora_unet_": "unet", "lora_te_": "text_encoder"}
FACTOR = re.compile(r"(.+?)(?:\.lora_|\.lora\.|\.lora_linear_layer\.|_lora\.)(A|B|down|up)(?:\.default)?\.weight")
ALPHA = re.compile(r"(.+)\.(alpha)")
SIDES = {"A": "down", "B": "up"}
OLD = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}  # in a tower of texts
# What stands in a key of another kind of adapter, and what that is.
REFUSED = {
    **dict.fromkeys(("lora_te1_", "lora_te2_", "text_encoder_2."), "of Stable Diffusion XL"),
    ".lora_mid.": "a convolution in three factors (Tucker)",
    **dict.fromkeys(("dora_scale", "lora_magnitude_vector"), "a LoRA with magnitudes (DoRA)"),
    ".hada_": "a product of two LoRAs (LoHa)",
    ".lokr_": "a Kronecker product (LoKr)",
    ".oft_": "a rotation (OFT)",
    ".diff": "a whole difference of weights",
}
MetadataShape = TypedDict(
    "MetadataShape",
    {
        "unet.lora_alpha": Positive,
        "unet.alpha_pattern": dict[str, Positive] | None,
        "text_encoder.lora_alpha": Positive,
        "text_encoder.alpha_pattern": dict[str, Positive] | None,
    },
    total=False,
)
Parts = dict[str, dict[str, LowRank]]  # unet, text_encoder: the name of each matrix of ours, and what is added


def read_diffusion_lora(path: str | Path, models: Mapping[str, nn.Module]) -> Parts:
    """What a file adds to the matrices of `models` (unet, text_encoder), in fp32.

    Raises one CheckpointError that lists every key which does not fit, with the shapes where they are another model's;
    and for a pickle, or another kind of adapter.
    """
    path = expanded(path)
    refuse_pickle(path)
    tensors, faults = read_safetensors(path), Faults()
    factors: dict[str, dict[str, Tensor]] = {}  # what stands before "lora" in a key: down, up, alpha
    for key, tensor in tensors.items():
        if kind := next((kind for part, kind in REFUSED.items() if part in key), None):
            raise CheckpointError(f"{path}: {shown(key)[1:-1]} is {kind}, which is not computed here")
        match = FACTOR.fullmatch(key) or ALPHA.fullmatch(key)
        if match is None:
            faults.add(EXTRA, f"+ {key}")
        elif not finite(tensor):
            faults.add(BROKEN, key)
        else:
            factors.setdefault(match[1], {})[SIDES.get(match[2], match[2])] = tensor
    places = {stem: place_of(stem) for stem in factors}
    alphas = written_alphas(path, places.values())
    names = {part: dict(names_of(part, model)) for part, model in models.items()}
    parts: Parts = {part: {} for part in models}
    for stem, pair in factors.items():
        part, module = places[stem]
        if module not in names.get(part, {}):
            faults.add(EXTRA, f"+ {stem}")
        elif lost := [side for side in ("down", "up") if side not in pair]:
            faults.add(MISSING, f"- {stem}, {' and '.join(lost)}")
        else:
            alpha = pair["alpha"].item() if "alpha" in pair else alphas.get((part, module), len(pair["down"]))
            matrices = {name: models[part].get_parameter(f"{name}.weight") for name in names[part][module]}
            parts[part].update(fitted(stem, pair["down"], pair["up"], float(alpha), matrices, faults))
    faults.refuse(f"the LoRA {path}")
    if not factors:
        raise CheckpointError(f"{path} holds no LoRA")
    return parts


def fitted(
    stem: str, down: Tensor, up: Tensor, alpha: float, matrices: Mapping[str, Tensor], faults: Faults
) -> dict[str, LowRank]:
    """One matrix of theirs, which is one or several equal ones of ours."""
    inside, outside = next(iter(matrices.values())).shape[1:], sum(len(weight) for weight in matrices.values())
    for side, factor, expected in (("down", down, ("rank", *inside)), ("up", up, (outside, len(down)))):
        if without_ones(factor.shape[1:]) != without_ones(expected[1:]) or (side == "up" and len(factor) != outside):
            faults.add("wrong shape", f"{stem} {side} {shape_of(factor)} for ({', '.join(map(str, expected))})")
            return {}
    a = down.float().reshape(len(down), *inside)
    pieces = up.float().reshape(outside, -1).chunk(len(matrices))
    return {name: LowRank(a, piece, alpha=alpha) for name, piece in zip(matrices, pieces, strict=True)}


def without_ones(shape: Sequence[Any]) -> tuple[Any, ...]:
    """Numbers in and the size of a convolution, which a matrix does not have."""
    return tuple(shape[:1]) if tuple(shape[1:]) in ((), (1, 1)) else tuple(shape)


def place_of(stem: str) -> tuple[str, str]:
    """Part and module that are meant by what stands before "lora" in a key; "" for the part where it names none."""
    for prefix, part in KOHYA.items():
        if stem.startswith(prefix):
            return part, stem.removeprefix(prefix)
    part, _, module = stem.partition(".")
    if part not in FAMILIES:  # the oldest files are of the UNet alone
        part, module = "unet" if ".processor." in stem else "", stem
    module = module.replace(".processor.", ".")
    start, _, last = module.rpartition(".")
    if part == "text_encoder":
        return part, f"{start}.{OLD.get(last, last)}"
    return part, f"{module}.0" if last == "to_out" else module


def names_of(part: str, model: nn.Module) -> Iterator[tuple[str, list[str]]]:
    """Every name that files have for a matrix of theirs, and those of ours that it is."""
    for rules in (table_of(part, model), *([as_rules(unet_rows(model.config))] if isinstance(model, UNet) else [])):
        for name, weight in model.named_parameters():
            hits = rules_of(name, rules)
            if name.endswith(".weight") and weight.ndim > 1 and len(hits) == 1 and hits[0][0].op in WHOLE:
                rule, _, match = hits[0]
                theirs, *ours = (
                    fill(each, match.groupdict()).removesuffix(".weight") for each in (rule.theirs[0], *rule.targets)
                )
                for alias in {theirs, theirs.removeprefix("text_model."), theirs.replace(".", "_")}:
                    yield alias, ours


def table_of(part: str, model: nn.Module) -> list[Rule]:
    config: Any = model.config
    return as_rules(family_of_class(FAMILIES[part], type(model)).table(config))


def written_alphas(path: Path, places: Collection[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """The alphas that diffusers writes beside the tensors, of each part and module."""
    what = f"{path}, {METADATA}"
    alphas: dict[tuple[str, str], float] = {}
    settings = parse_json(read_metadata(path).get(METADATA) or "{}", MetadataShape, what)
    for part in FAMILIES:
        if (alpha := settings.get(f"{part}.lora_alpha")) is not None:
            modules = [module for own, module in places if own == part]
            of_modules = per_module(settings.get(f"{part}.alpha_pattern"), alpha, modules, what)
            alphas |= {(part, module): of_modules[module] for module in modules}
    return alphas


def diffusion_lora_files(
    models: Mapping[str, nn.Module], parts: Mapping[str, Mapping[str, LowRank]]
) -> dict[str, Content]:
    """The file of adapters of `models` (unet, text_encoder) in the form of diffusers, their scale multiplied in."""
    tensors = {}
    for part, adapter in parts.items():
        rules, joined = joined_parts(adapter, table_of(part, models[part]), models[part])
        for module, added in joined.items():
            backward = rules[module].op.backward
            tensors[f"{part}.{module}.lora_A.weight"] = backward(added.a.detach())
            tensors[f"{part}.{module}.lora_B.weight"] = backward(added.b.detach() * added.scale)
    return {WEIGHTS: as_safetensors(tensors)}
