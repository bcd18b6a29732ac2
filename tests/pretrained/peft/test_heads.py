"""Adapters of encoders with heads: the numbers of `peft` both ways, the head on any base, every fault by name."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

import formers
from formers.adapters.bitfit import learn_last
from formers.adapters.config import AdapterConfig, adapt
from formers.adapters.lora import adapters, add_lora
from formers.errors import CheckpointError
from formers.models.encoder import Encoder
from formers.models.heads import HeadConfig, SequenceClassifier, TokenClassifier, body
from formers.pretrained.load import load_model, model_class, save_model
from formers.pretrained.peft.adapters import load_adapter, save_adapter
from formers.pretrained.peft.heads import head_parts
from formers.pretrained.peft.shapes import HEAD_FORMAT
from formers.text.training import train_word_pieces

transformers = pytest.importorskip("transformers", reason="the reference for published layouts")
peft = pytest.importorskip("peft", reason="the reference for adapters")

pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"), pytest.mark.filterwarnings("ignore::UserWarning")]
SMALL = {
    "vocab_size": 41,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 34,
}
DISTIL = {"vocab_size": 41, "dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 24, "max_position_embeddings": 34}
SIZES = {
    "Bert": SMALL,
    "Roberta": SMALL | {"pad_token_id": 1, "type_vocab_size": 1},
    "DistilBert": DISTIL,
    "Electra": SMALL | {"embedding_size": 8},
    "DebertaV2": SMALL | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0},
}
TARGETS = {
    "Bert": ["query", "value"],
    "Roberta": ["query", "value"],
    "DistilBert": ["q_lin", "v_lin"],
    "Electra": ["query", "value"],
    "DebertaV2": ["query_proj", "value_proj"],
}


def randomise(weights, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in weights:
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)


def tiny(kind, ending, folder, labels=3, seed=7):
    config = getattr(transformers, f"{kind}Config")(**SIZES[kind], num_labels=labels)
    made = getattr(transformers, kind + ending)(config)
    randomise(made.parameters(), seed)
    made.save_pretrained(folder)
    made.config._name_or_path = made.name_or_path = str(folder)
    return made.eval()


def tokens():
    return torch.randint(3, 41, (3, 11), generator=torch.Generator().manual_seed(1))


def output(model):
    """Of ours or theirs, for the same tokens."""
    with torch.no_grad():
        if type(model).__module__.startswith("formers."):
            return model(tokens())
        found = model(input_ids=tokens())
        return found.logits if "logits" in found else torch.stack([found.start_logits, found.end_logits], -1)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def theirs_adapted(reference, task, **more):
    kind = type(reference).__name__.partition("For")[0].removesuffix("Model")
    config = peft.LoraConfig(r=3, lora_alpha=5, task_type=task, target_modules=TARGETS[kind], **more)
    model = peft.get_peft_model(reference, config).eval()
    randomise([weight for weight in model.parameters() if weight.requires_grad], 11)
    return model


CASES = [
    ("Bert", "ForSequenceClassification", "SEQ_CLS"),
    ("Bert", "ForTokenClassification", "TOKEN_CLS"),
    ("Bert", "ForQuestionAnswering", "QUESTION_ANS"),
    ("Roberta", "ForSequenceClassification", "SEQ_CLS"),
    ("DistilBert", "ForSequenceClassification", "SEQ_CLS"),
    ("Electra", "ForSequenceClassification", "SEQ_CLS"),
    ("DebertaV2", "ForSequenceClassification", "SEQ_CLS"),
]


@pytest.mark.parametrize(("kind", "ending", "task"), CASES)
def test_what_peft_saves_we_open(kind, ending, task, tmp_path):
    model = theirs_adapted(tiny(kind, ending, tmp_path / "base", labels=2), task)
    model.save_pretrained(tmp_path / "adapter")
    opened = load_model(tmp_path / "adapter")
    assert opened.family == load_model(tmp_path / "base").family and not adapters(opened.model)
    close(output(opened.model), output(model))
    with pytest.raises(AssertionError):
        close(output(load_model(tmp_path / "base").model), output(model))


@pytest.mark.parametrize(("kind", "ending", "task"), CASES)
def test_what_we_save_peft_opens(kind, ending, task, tmp_path):
    reference = tiny(kind, ending, tmp_path / "base", labels=2)
    loaded = load_model(tmp_path / "base")
    base = output(loaded.model)
    line = adapt(loaded.model, AdapterConfig(kind="lora", rank=3, alpha=5.0), whole=head_parts(loaded.model, same=True))
    assert "4 matrices, and the head" in line
    randomise([weight for weight in loaded.model.parameters() if weight.requires_grad], 5)
    mine = output(loaded.model)
    assert (mine - base).abs().max() > 0.01
    save_adapter(tmp_path / "adapter", loaded.model, base=str(tmp_path / "base"), family=loaded.family)
    theirs = peft.PeftModel.from_pretrained(reference, tmp_path / "adapter").eval()
    assert theirs.peft_config["default"].task_type == task
    close(output(theirs), mine)
    close(output(load_model(tmp_path / "adapter").model), mine)
    # written again by them, it is the same file
    theirs.save_pretrained(tmp_path / "again")
    first, second = (load_file(tmp_path / each / "adapter_model.safetensors") for each in ("adapter", "again"))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("base", ["Model", "ForMaskedLM", "ForPreTraining", "ForTokenClassification"])
def test_a_head_on_another_base(base, tmp_path):
    """The usual way with peft: the base is a body or was pre-trained, the head is new and lies in the adapter."""
    whole = tiny("Bert", "ForSequenceClassification", tmp_path / "whole", labels=4)
    other = tiny("Bert", base, tmp_path / "base", seed=3)
    other.base_model.load_state_dict(whole.base_model.state_dict(), strict=False)
    other.save_pretrained(tmp_path / "base")
    whole.name_or_path = str(tmp_path / "base")
    more = ["pooler"] if base in ("ForTokenClassification", "ForMaskedLM") else []  # which has none
    model = theirs_adapted(whole, "SEQ_CLS", modules_to_save=[*more, "classifier"])
    model.save_pretrained(tmp_path / "adapter")
    opened = load_model(tmp_path / "adapter")
    assert isinstance(opened.model, SequenceClassifier)
    close(output(opened.model), output(model))
    assert opened.model.config.labels == tuple(f"LABEL_{i}" for i in range(4))
    assert model_class(tmp_path / "adapter") is SequenceClassifier
    save_model(tmp_path / "merged", opened.model)
    close(output(transformers.BertForSequenceClassification.from_pretrained(tmp_path / "merged").eval()), output(model))


@pytest.mark.parametrize("kind", ["lora", "bitfit", "head"])
@pytest.mark.parametrize("chosen", [SequenceClassifier, TokenClassifier])
def test_our_head_on_a_body_keeps_its_labels(kind, chosen, tmp_path):
    tiny("Bert", "ForMaskedLM", tmp_path / "base")
    encoder = body(load_model(tmp_path / "base").model)
    sizes = (
        encoder.config
        if chosen is TokenClassifier
        else encoder.config.__class__(**{**vars(encoder.config), "pooler": "tanh"})
    )
    model = chosen(HeadConfig(encoder=sizes, labels=("no", "yes", "maybe"), pooling="mean"))
    model.encoder.load_state_dict(encoder.state_dict(), strict=False)
    model.eval()
    adapt(model, AdapterConfig(kind=kind, rank=2), whole=head_parts(model, same=False))
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert {"out.weight", "out.bias"} <= learning
    assert ("encoder.pooler.weight" in learning) == (chosen is SequenceClassifier)
    assert "encoder.embedding.weight" not in learning
    if kind == "head":
        assert not [name for name in learning if "stack" in name]
    randomise([weight for weight in model.parameters() if weight.requires_grad], 5)
    save_adapter(tmp_path / "adapter", model, base=str(tmp_path / "base"), kind=kind, family="bert")
    opened = load_model(tmp_path / "adapter").model
    assert opened.config == model.config and model_class(tmp_path / "adapter") is chosen
    close(output(opened), output(model))


def test_a_body_alone_from_a_base_with_a_head(tmp_path):
    tiny("Bert", "ForMaskedLM", tmp_path / "base")
    encoder = body(load_model(tmp_path / "base").model)
    add_lora(encoder)
    randomise([weight for weight in encoder.parameters() if weight.requires_grad], 5)
    save_adapter(tmp_path / "adapter", encoder, base=str(tmp_path / "base"), family="bert")
    opened = load_model(tmp_path / "adapter").model
    assert isinstance(opened, Encoder) and model_class(tmp_path / "adapter") is Encoder
    close(output(opened), output(encoder))


@pytest.mark.parametrize("ending", ["Model", "ForMaskedLM", "ForSequenceClassification"])
def test_biases_of_the_same_model(ending, tmp_path):
    """The bias of a norm has two names in the files of BERT, that of the words stands in two places."""
    tiny("Bert", ending, tmp_path / "base")
    model = load_model(tmp_path / "base").model
    adapt(model, AdapterConfig(kind="bitfit", norms=True))
    randomise([weight for weight in model.parameters() if weight.requires_grad], 5)
    save_adapter(tmp_path / "adapter", model, base=str(tmp_path / "base"), kind="bitfit", family="bert")
    opened = load_model(tmp_path / "adapter").model
    assert type(opened) is type(model)
    close(output(opened), output(model))


def test_biases_from_peft(tmp_path):
    model = theirs_adapted(tiny("Bert", "ForSequenceClassification", tmp_path / "base"), "SEQ_CLS", bias="all")
    model.save_pretrained(tmp_path / "adapter")
    close(output(load_model(tmp_path / "adapter").model), output(model))


def test_targets_of_encoders(tmp_path):
    tiny("Bert", "ForSequenceClassification", tmp_path / "base")
    for targets, expected in (
        (["q", "v"], 4),
        (["attention.o", "up", "down"], 6),
        (["all-linear"], 12),
        ([r"encoder\.stack\.blocks\.1\..*\.[qkv]"], 3),
    ):
        model = load_model(tmp_path / "base").model
        adapt(model, AdapterConfig(kind="lora", rank=2, targets=tuple(targets)), whole=head_parts(model, same=True))
        assert len(adapters(model)["default"]) == expected
    model = load_model(tmp_path / "base").model
    with pytest.raises(formers.errors.ConfigError, match='"out" means no linear part'):
        adapt(model, AdapterConfig(kind="lora", targets=("out",)), whole=head_parts(model, same=True))


def test_the_head_is_what_comes_last(tmp_path):
    tiny("Bert", "ForMaskedLM", tmp_path / "base")
    model = load_model(tmp_path / "base").model
    assert all(name.startswith("words.") for name in learn_last(model))
    assert any(name.startswith("stack.blocks.1.") for name in learn_last(body(model)))


def test_an_adapter_beside_others_does_not_save_the_model(tmp_path):
    """Where nothing was frozen the factors alone are written."""
    tiny("Bert", "ForSequenceClassification", tmp_path / "base")
    first = load_model(tmp_path / "base").model
    add_lora(first)
    save_adapter(tmp_path / "one", first, base=str(tmp_path / "base"), family="bert")
    again = load_model(tmp_path / "base").model
    load_adapter(again, tmp_path / "one", name="one", family="bert")
    save_adapter(tmp_path / "two", again, name="one", family="bert")
    for folder in ("one", "two"):
        assert all(".lora_" in key for key in load_file(tmp_path / folder / "adapter_model.safetensors"))


def test_faults(tmp_path):
    reference = tiny("Bert", "ForSequenceClassification", tmp_path / "whole")
    tiny("Bert", "ForTokenClassification", tmp_path / "base")
    reference.name_or_path = str(tmp_path / "base")
    theirs_adapted(reference, "SEQ_CLS").save_pretrained(tmp_path / "adapter")
    with pytest.raises(CheckpointError, match=r"neither in it nor in its base .*bert\.pooler\.dense\.weight"):
        load_model(tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({key: tensor for key, tensor in tensors.items() if "classifier.bias" not in key}, path)
    with pytest.raises(CheckpointError, match=r"neither in it nor in its base .*classifier\.bias"):
        load_model(tmp_path / "adapter")
    save_file(tensors | {"base_model.model.classifier.strange": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="strange"):
        load_model(tmp_path / "adapter")
    (tmp_path / "adapter" / "head.json").write_text(json.dumps({"format": "another"}))
    with pytest.raises(CheckpointError, match=r"head\.json: (config|model) is missing"):
        load_model(tmp_path / "adapter")
    for kv_heads in (0, -(10**18), 1):
        sizes = asdict(load_model(tmp_path / "whole").model.config)
        sizes["encoder"]["stack"]["kv_heads"] = kv_heads
        head = {"format": HEAD_FORMAT, "model": "SequenceClassifier", "config": sizes}
        (tmp_path / "adapter" / "head.json").write_text(json.dumps(head))
        with pytest.raises(CheckpointError, match=r"head\.json is of another body than"):
            load_model(tmp_path / "adapter")


DATA = ["a good day", "a bad night", "good good", "bad bad dog", "the good dog", "the bad day"] * 6


@pytest.mark.parametrize("kind", ["lora", "bitfit"])
def test_a_run_saves_its_head(kind, tmp_path):
    """`formers train classification` on a body: the run holds an adapter with the head, and opens as a classifier."""
    from formers.systems.sizes import EncoderSizes

    tokenizer = train_word_pieces(DATA, 60)
    torch.manual_seed(0)
    sizes = EncoderSizes(dim=16, heads=2, hidden=32, layers=2, length=16)
    save_model(tmp_path / "base", Encoder(sizes.config(tokenizer.vocab)), tokenizer=tokenizer)
    rows = "\n".join(json.dumps({"text": text, "label": "good" if "good" in text else "bad"}) for text in DATA)
    (tmp_path / "data.jsonl").write_text(rows + "\n")
    run = tmp_path / "run"
    list(
        formers.train(
            "classification",
            [
                f'model.start="{tmp_path / "base"}"',
                f'data.train="{tmp_path / "data.jsonl"}"',
                "train.steps=6",
                "train.save_every=3",
                "train.evaluate_every=3",
                "train.threads=1",
                "train.precision=fp32",
                f"adapter.kind={kind}",
                "adapter.rank=2",
                "train.sample_every=0",
            ],
            run=run,
        )
    )
    checkpoint = run / "checkpoints" / "000006"
    assert not (checkpoint / "config.json").exists() and (checkpoint / "head.json").exists()
    found = formers.load(run)
    assert found.labels == ("bad", "good")
    assert found.classify("good dog").label in found.labels
