"""LoRA as the library `peft` writes it <-> ours: adapter_config.json and the tensors of adapter_model.safetensors.

    base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight    (r, in), whatever way the layer stores its matrix
    base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight    (out, r)

Names go through the family's table. Where one matrix of theirs is several of ours (GPT-2's c_attn is q, k and v),
reading shares a and splits b; writing joins them: as they were if they share a, else a stacked and b in blocks, with
the sum of the ranks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from formers.adapters.lora import HEAD, LowRank, ends_in, linears, plain
from formers.errors import CheckpointError, ConfigError, shown
from formers.models.causal import CausalLM
from formers.models.heads import SequenceClassifier, SpanFinder, TokenClassifier
from formers.models.transformer import Transformer
from formers.pretrained.config_map import words
from formers.pretrained.mapping import (
    BROKEN,
    CONVOLUTION,
    EXTRA,
    MISSING,
    SAME,
    TRANSPOSED,
    Faults,
    Rule,
    fill,
    finite,
    rename,
    rules_of,
    shape_of,
    theirs_for,
    to_ours,
    to_theirs,
)
from formers.pretrained.peft.patterns import matches, per_module

OUTER = "base_model.model."
WHOLE = (SAME, TRANSPOSED, CONVOLUTION)  # what happens to a matrix that can be adapted
FACTOR = re.compile(r"(.+)\.lora_([AB])\.weight")
READ = words("""
    peft_type r lora_alpha lora_dropout target_modules use_rslora bias modules_to_save rank_pattern alpha_pattern
    layers_to_transform layers_pattern exclude_modules init_lora_weights
""")
# say nothing about what is computed
SILENT = words("""
    task_type auto_mapping peft_version base_model_name_or_path revision inference_mode fan_in_fan_out megatron_core
    qalora_group_size ensure_weight_tying runtime_config
""")
# ways to begin that leave the model's own weights alone; the others (pissa, olora, loftq ...) change them
INITIAL = (True, False, "gaussian", "orthogonal", "eva")
TASKS = {CausalLM: "CAUSAL_LM", Transformer: "SEQ_2_SEQ_LM"}
# of models whose head learns whole beside the adapter
TASKS_OF_HEADS: dict[str, type[nn.Module]] = {
    "SEQ_CLS": SequenceClassifier,
    "TOKEN_CLS": TokenClassifier,
    "QUESTION_ANS": SpanFinder,
}


def check(raw: Mapping[str, Any], what: str) -> None:
    """Refuse, by name, what is not computed here."""
    if raw.get("peft_type") != "LORA":
        raise CheckpointError(f"{what}: peft_type = {shown(raw.get('peft_type'))} is not computed here; known: LORA")
    for key, value in raw.items():
        if key not in READ and key not in SILENT and value:
            raise CheckpointError(f"{what}: {shown(key)[1:-1]} = {shown(value)} is not computed here")
    if raw.get("init_lora_weights") not in (None, *INITIAL):
        raise CheckpointError(
            f"{what}: init_lora_weights = {shown(raw['init_lora_weights'])} changes the model's own "
            "weights; save the adapter with peft's path_initial_model_for_weight_conversion"
        )
    if raw.get("bias", "none") not in ("none", "all", "lora_only"):
        raise CheckpointError(f"{what}: bias = {shown(raw['bias'])} is not known; known: none, all, lora_only")
    for key in ("r", "lora_alpha"):
        if key not in raw:
            raise CheckpointError(f"{what}: {key} is missing, expected a positive number")


def targeted(targets: str | Sequence[str], modules: Sequence[str], what: str) -> list[str]:
    """The modules that target_modules means: a regular expression of the whole name, or ends of names."""
    if isinstance(targets, str):
        hits = matches([targets], modules, what)[targets]
        return [module for module in modules if module in hits]
    return [module for module in modules if ends_in(module, targets)]


def read_lora(
    raw: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    rules: list[Rule],
    prefixes: Sequence[str],
    model: nn.Module,
    what: str,
) -> tuple[dict[str, LowRank], dict[str, Tensor]]:
    """Our name -> what is added to that Linear; and our name -> whole weights (`bias`, `modules_to_save`).

    Raises one CheckpointError that lists every key which does not fit the model.
    """
    check(raw, what)
    faults, whole = Faults(), {}
    factors: dict[str, dict[str, Tensor]] = {}  # their module -> "A" and "B"
    for key, tensor in tensors.items():
        name = key.removeprefix(OUTER)
        if not finite(tensor):
            faults.add(BROKEN, key)
        if (match := FACTOR.fullmatch(name)) is not None and name != key:
            factors.setdefault(match[1], {})[match[2]] = tensor
        elif name != key and is_whole(raw, name, rules):
            whole[name.replace(".base_layer.", ".")] = tensor
        else:
            faults.add(EXTRA, f"+ {key}")
    for module in [module for module, pair in factors.items() if len(pair) < 2]:
        lost = "A" if "A" not in factors[module] else "B"
        faults.add(MISSING, f"- {OUTER}{module}.lora_{lost}.weight")
        del factors[module]
    renamed, prefix = rename({f"{module}.weight": pair["A"] for module, pair in factors.items()}, rules, prefixes)
    parts: dict[str, LowRank] = {}
    every, modules = linears(model), list(factors)
    ranks = per_module(raw.get("rank_pattern"), raw["r"], modules, what)
    alphas = per_module(raw.get("alpha_pattern"), raw["lora_alpha"], modules, what)
    for name, (module, pair) in zip(renamed, factors.items(), strict=True):
        names = ours_for(name, rules)
        if not names or any(place not in every for place in names):
            faults.add(EXTRA, f"+ {OUTER}{module}")
        else:
            places = [(place, every[place]) for place in names]
            read_part(raw, module, (pair["A"], pair["B"]), (ranks[module], alphas[module]), places, parts, faults)
    if not (prefix or raw.get("layers_to_transform") or raw.get("exclude_modules")):
        theirs = dict.fromkeys(theirs_for(f"{name}.weight", rules).removesuffix(".weight") for name in every)
        for module in targeted(raw.get("target_modules") or (), list(theirs), what):
            if module not in factors:
                faults.add(MISSING, f"- {OUTER}{module}")
    faults.refuse(what)
    return parts, read_whole(whole, rules, prefixes, model, what)


def read_part(
    raw: Mapping[str, Any],
    module: str,
    pair: tuple[Tensor, Tensor],
    sizes: tuple[int, float],
    places: list[tuple[str, nn.Linear]],
    parts: dict[str, LowRank],
    faults: Faults,
) -> None:
    """One matrix of theirs, which is one or several equal ones of ours; sizes: rank and alpha."""
    (a, b), (rank, alpha) = pair, sizes
    inside, outside = places[0][1].in_features, sum(linear.out_features for _, linear in places)
    for factor, tensor, expected in (("A", a, (rank, inside)), ("B", b, (outside, rank))):
        if shape_of(tensor) != expected:
            faults.add("wrong shape", f"{OUTER}{module}.lora_{factor}.weight {shape_of(tensor)}, expected {expected}")
            return
    stabilised, dropout = bool(raw.get("use_rslora")), raw.get("lora_dropout", 0.0)
    for (name, _), piece in zip(places, b.chunk(len(places)), strict=True):
        parts[name] = LowRank(a.clone(), piece.clone(), alpha=alpha, rank_stabilised=stabilised, dropout=dropout)


def is_whole(raw: Mapping[str, Any], name: str, rules: list[Rule]) -> bool:
    """Whether this may be a weight itself: one that the config names, an adapted head, or embeddings, kept unasked."""
    module = name.rpartition(".")[0]
    if name.endswith(".base_layer.weight") or ours_for(name, rules) in (["embedding"], [HEAD]):
        return True
    saved = raw.get("modules_to_save") or ()
    if any(f"{part}." in f"{module}." for part in saved):  # at any place in it
        return True
    return raw.get("bias", "none") != "none" and name.endswith(".bias")


def read_whole(
    whole: Mapping[str, Tensor],
    rules: list[Rule],
    prefixes: Sequence[str],
    model: nn.Module,
    what: str,
    *,
    ties: bool = False,
) -> dict[str, Tensor]:
    """Whole weights under our names, each of which must be one of the model's; those that it has already left out.

    ties: a weight may be one that their model has in several places (ours has it once).
    """
    state, faults, same = to_ours(whole, rules, prefixes=prefixes, what=what).state, Faults(), set()
    with plain(model):
        places = dict(model.named_parameters())
    for name, tensor in state.items():
        place = places.get(name)
        if place is None:
            faults.add(EXTRA, f"+ {theirs_for(name, rules)}")
        elif place.shape != tensor.shape:
            faults.add("wrong shape", f"{theirs_for(name, rules)} {shape_of(tensor)} for {shape_of(place)}")
        elif torch.equal(place, tensor.to(place)):
            same.add(name)
        elif not ties and (shared := [rule for rule in rules if name in rule.targets and is_tied(rule)]):
            faults.add("one tensor with others in this model", " = ".join(shared[0].theirs))
    faults.refuse(what)
    return {name: tensor for name, tensor in state.items() if name not in same}


def is_tied(rule: Rule) -> bool:
    """Whether a tensor of ours stands in several modules of theirs (`gamma` is but another name for a weight)."""
    return len({name.rpartition(".")[0] for name in rule.theirs}) > 1


def ours_for(name: str, rules: list[Rule]) -> list[str]:
    """The modules of ours that a matrix of theirs is; none where it is no matrix that can be adapted."""
    hits = [(rule, match) for rule in rules for pattern in rule.patterns if (match := pattern.fullmatch(name))]
    if len(hits) != 1 or hits[0][0].op not in WHOLE:
        return []
    rule, match = hits[0]
    return [fill(target, match.groupdict()).removesuffix(".weight") for target in rule.targets]


def write_lora(
    parts: Mapping[str, LowRank], rules: list[Rule], model: nn.Module
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """adapter_config.json and the tensors of an adapter. Raises CheckpointError for a part that has no name there."""
    groups, joined = joined_parts(parts, rules, model)
    tensors = {}
    for module, part in joined.items():
        tensors[f"{OUTER}{module}.lora_A.weight"] = part.a.detach().contiguous()
        tensors[f"{OUTER}{module}.lora_B.weight"] = part.b.detach().contiguous()
    theirs = {theirs_for(f"{name}.weight", rules).removesuffix(".weight") for name in linears(model)}
    first = next(iter(parts.values()))
    if any((part.rank_stabilised, part.dropout) != (first.rank_stabilised, first.dropout) for part in parts.values()):
        raise ConfigError("parts of one adapter differ in dropout or in the kind of scaling, which the file cannot say")
    rank = Counter(part.rank for part in joined.values()).most_common(1)[0][0]
    alpha = Counter(part.alpha for part in joined.values()).most_common(1)[0][0]
    return {
        "peft_type": "LORA",
        "task_type": TASKS.get(type(model)),
        "inference_mode": True,
        "r": rank,
        "lora_alpha": number(alpha),
        "lora_dropout": first.dropout,
        "use_rslora": first.rank_stabilised,
        "bias": "none",
        "target_modules": shortest(set(joined), theirs),
        "modules_to_save": None,
        "init_lora_weights": True,
        "fan_in_fan_out": any(rule.op is TRANSPOSED for rule in groups.values()),
        "rank_pattern": {module: part.rank for module, part in joined.items() if part.rank != rank},
        "alpha_pattern": {module: number(part.alpha) for module, part in joined.items() if part.alpha != alpha},
    }, tensors


def joined_parts(
    parts: Mapping[str, LowRank], rules: list[Rule], model: nn.Module
) -> tuple[dict[str, Rule], dict[str, LowRank]]:
    """Their module -> its rule; and -> what is added to it. Raises CheckpointError for a part without a name there."""
    every = linears(model)
    groups: dict[str, tuple[Rule, list[str]]] = {}  # their module -> its rule, and the parts of it that we have
    for place in parts:
        hits = [(rule, match) for rule, _, match in rules_of(f"{place}.weight", rules)]
        if len(hits) != 1 or hits[0][0].op not in WHOLE:
            raise CheckpointError(f"the adapter of {place} has no name in this layout, so it cannot be written")
        rule, match = hits[0]
        module, *names = (
            fill(name, match.groupdict()).removesuffix(".weight") for name in (rule.theirs[0], *rule.targets)
        )
        groups.setdefault(module, (rule, names))
    joined = {
        module: join([parts.get(name) for name in names], [every[name].out_features for name in names])
        for module, (_, names) in groups.items()
    }
    return {module: rule for module, (rule, _) in groups.items()}, joined


def with_whole(
    raw: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    whole: Mapping[str, Tensor],
    rules: list[Rule],
    model: nn.Module,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The same with whole weights of ours beside it (`modules_to_save`): a head that learned.

    A module is named by the shortest name below which everything is in the file.
    """
    if not whole:
        return dict(raw), dict(tensors)
    stored = to_theirs(whole, rules)
    with plain(model):
        other = {theirs_for(name, rules) for name, _ in model.named_parameters()} - stored.keys()
    modules = set()
    for name in stored:
        parts = name.split(".")
        starts = (".".join(parts[:count]) for count in range(1, len(parts)))
        modules.add(next((start for start in starts if not any(rest.startswith(start + ".") for rest in other)), name))
    task = next((task for task, kind in TASKS_OF_HEADS.items() if type(model) is kind), None)
    kept = {OUTER + name: tensor.detach().contiguous() for name, tensor in stored.items()}
    return {**raw, "modules_to_save": sorted(modules), "task_type": task or raw["task_type"]}, {**tensors, **kept}


def join(parts: Sequence[LowRank | None], sizes: Sequence[int]) -> LowRank:
    """One adapter of the matrix whose rows are these parts' below each other; None changes nothing."""
    there = [part for part in parts if part is not None]
    first = there[0]
    kind: dict[str, Any] = {"rank_stabilised": first.rank_stabilised, "dropout": first.dropout}
    if len(there) == len(parts) and all(torch.equal(part.a, first.a) and part.scale == first.scale for part in there):
        return LowRank(first.a, torch.cat([part.b for part in there]), alpha=first.alpha, **kind)
    rank = sum(part.rank for part in there)
    b = first.b.new_zeros(sum(sizes), rank)
    row = column = 0
    for part, size in zip(parts, sizes, strict=True):
        if part is not None:
            b[row : row + size, column : column + part.rank] = part.b.detach() * (part.scale / first.scale)
            column += part.rank
        row += size
    alpha = first.alpha * (rank / first.rank) ** (0.5 if first.rank_stabilised else 1.0)
    return LowRank(torch.cat([part.a for part in there]), b, alpha=alpha, **kind)


def shortest(wanted: set[str], every: set[str]) -> list[str]:
    """The shortest ends of names that mean these modules and no other."""
    for length in range(1, max(name.count(".") for name in wanted) + 1):
        ends = {".".join(name.split(".")[-length:]) for name in wanted}
        if {name for name in every if ends_in(name, sorted(ends))} == wanted:
            return sorted(ends)
    return sorted(wanted)


def number(value: float) -> float | int:
    """A whole number without its point, as other readers expect."""
    return int(value) if float(value).is_integer() else value
