"""`formers adapt`: a model is adapted, the adapter shown, merged, and every fault is one line."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import formers
from formers.adapters.changes import adapter_changes
from formers.errors import ConfigError
from formers.recipe import load_recipe
from tests.cli.conftest import SMALL, fails, works

KEPT = [change for change in SMALL if not change.startswith("model.")]
SETS = [part for change in [*KEPT, "train.rate=0.01"] for part in ("--set", change)]


def test_adapt_show_and_merge(trained, tmp_path):
    how = "rank=2,alpha=8,targets=q+cross_attention.v,rslora=true"
    shown = works("adapt", trained.folder, "--lora", how, "--plain", *SETS)
    assert "adapter: LoRA of rank 2 beside 7 matrices: " in shown
    assert "formers translate runs/translation-lora 'I ate an apple'" in shown
    recipe = load_recipe("runs/translation-lora/recipe.toml").sections
    assert recipe["model"].start == str(trained.folder)
    assert (recipe["adapter"].rank, recipe["adapter"].alpha, recipe["adapter"].rank_stabilised) == (2, 8.0, True)
    shown = works("adapt", "show", "runs/translation-lora")
    assert "lora of " + str(trained.folder / "checkpoints") in shown and "alpha / sqrt(rank)" in shown
    rows = [line.split() for line in shown.splitlines() if line.startswith(("q_proj", "v_proj"))]
    assert [row[:-1] for row in sorted(rows)] == [
        ["q_proj", "5", "16", "x", "16", "2", "5.65685"],
        ["v_proj", "2", "16", "x", "16", "2", "5.65685"],
    ]
    assert all(float(row[-1]) > 0 for row in rows)

    works("adapt", "merge", trained.folder, "runs/translation-lora", "merged")
    merged, opened = (formers.load(name).model.state_dict() for name in ("merged", "runs/translation-lora"))
    assert merged.keys() == opened.keys() and all(torch.equal(merged[name], opened[name]) for name in merged)
    both = ["runs/translation-lora"] * 2
    works("adapt", "merge", trained.folder, *both, "half", "--shares", "0.25,0.5")
    base, half = (formers.load(name).model.state_dict() for name in (trained.folder, "half"))
    for name in base:
        torch.testing.assert_close(half[name] - base[name], 0.75 * (merged[name] - base[name]))
    assert (tmp_path / "merged" / "tokenizer.json").is_file()


@pytest.mark.parametrize(("option", "kind"), [("--bitfit", "bitfit"), ("--head", "head")])
def test_biases_and_what_comes_last(trained, option, kind):
    works("adapt", trained.folder, option, "--plain", *SETS)
    shown = works("adapt", "show", f"runs/translation-{kind}")
    assert f"{kind} of " in shown and "in place of the model's own" in shown
    works("adapt", "merge", trained.folder, f"runs/translation-{kind}", "merged")
    merged, base = (formers.load(name).model.state_dict() for name in ("merged", trained.folder))
    changed = {name for name in base if not torch.equal(base[name], merged[name])}
    assert changed
    assert all(name.endswith("bias") if kind == "bitfit" else name.startswith("decoder.") for name in changed)


def test_the_lora_option():
    assert adapter_changes("lora", None) == ["adapter.kind=lora"]
    assert adapter_changes("lora", "rank=4,targets=all-linear") == [
        "adapter.kind=lora",
        "adapter.rank=4",
        "adapter.targets=['all-linear']",
    ]
    with pytest.raises(ConfigError, match=r'--lora rnk=4: expected KEY=VALUE; did you mean "rank"'):
        adapter_changes("lora", "rnk=4")


FAULTS = [
    (["adapt", "merge", "a", "b"], "adapt merge: got 2 names, expected MODEL, or: merge MODEL ADAPTER... OUT"),
    (["adapt", "show"], "adapt show: got 0 names, expected MODEL"),
    (["adapt", "mergee", "a", "b", "c"], 'did you mean "merge"?'),
    (["adapt", "nothing/here/there"], "there is no such run"),
    (["adapt", "x", "--bitfit", "--head"], "give one of --lora, --bitfit and --head"),
    (["adapt", "merge", "a", "b", "c", "--shares", "1,x"], "--shares 1,x: expected numbers"),
    (["adapt", "merge", "a", "b", "c", "--shares", "1,2"], "got 2 numbers for 1 adapters"),
]


@pytest.mark.parametrize(("arguments", "part"), FAULTS, ids=[" ".join(each) for each, _ in FAULTS])
def test_faults(arguments, part):
    assert part in fails(*arguments)


def test_faults_of_folders(trained, tmp_path):
    assert 'target "q_proj" means no linear part of this model; it has: q, k' in fails(
        "adapt", trained.folder, "--lora", "targets=q_proj", *SETS
    )
    assert "rank 99 is more than" in fails("adapt", trained.folder, "--lora", "rank=99", *SETS, "--fresh")
    assert "rank: got 'x' (str), expected int" in fails("adapt", trained.folder, "--lora", "rank=x", *SETS)
    assert "holds a whole model, no adapter" in fails("adapt", "show", trained.folder)
    works("adapt", trained.folder, "--plain", *SETS, "--run", "run")
    place = next((tmp_path / "run" / "checkpoints").glob("0*"))
    shutil.copytree(place, tmp_path / "moved")
    raw = json.loads((tmp_path / "moved" / "adapter_config.json").read_text())
    (tmp_path / "moved" / "adapter_config.json").write_text(json.dumps(raw | {"base_model_name_or_path": "gone"}))
    message = fails("translate", "moved", "I ate an apple")
    assert "'gone', is not there; merge it by hand: formers adapt merge MODEL moved OUT" in message
    works("adapt", "merge", trained.folder, "moved", "whole")
    (tmp_path / "moved" / "adapter_config.json").write_text(json.dumps(raw | {"r": 3}))
    assert "wrong shape" in fails("adapt", "merge", trained.folder, "moved", "other")
    assert load_file(tmp_path / "whole" / "model.safetensors")


def test_a_language_model_learns_conversations_unless_told(tmp_path):
    small = ["model.dim=32", "model.layers=1", "model.hidden=48", "model.heads=2", "rows.vocab=300", "train.steps=2"]
    sets = [part for change in [*small, "train.evaluate_every=0", "train.sample_every=0"] for part in ("--set", change)]
    works("train", "language", "--run", "base", "--plain", *sets)
    few = ["data.count=40", "data.held_out=8", "task.answered=0", *small[-1:], *sets[-3::2]]
    shown = works("adapt", "base", "--plain", *[part for change in few for part in ("--set", change)])
    assert "formers chat runs/language-lora" in shown
    assert "lora of " in works("adapt", "show", "runs/language-lora")
    assert works("generate", "runs/language-lora", "The", "--max-tokens", "3")
