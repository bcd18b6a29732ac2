"""Parity of encoders, bodies and heads: a reference with every parameter random -> our load -> equal outputs -> our
save -> it loads without a missing weight -> equal again; published spellings of files."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from formers.errors import CheckpointError
from formers.models.encoder import FORMS, PRESETS, Encoder, preset
from formers.models.heads import HEADS, HeadConfig, MaskedWords, Pretraining, ReplacedTokens, body
from formers.pretrained.families import families, family, family_of_class
from formers.pretrained.foreign import settle
from formers.pretrained.load import load_model, save_model
from formers.systems.sizes import EncoderSizes

transformers = pytest.importorskip("transformers")

VOCAB, LENGTHS = 37, (13, 7, 1)
LABELS = {0: "no", 1: "yes", 2: "perhaps"}
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
}
DISTIL = {"vocab_size": VOCAB, "dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 24, "max_position_embeddings": 20}
DEBERTA = SIZES | {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["c2p", "p2c"]}
V3 = DEBERTA | {"position_buckets": 3, "max_relative_positions": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
COMMON = ("MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice")
BERT_HEADS = (*COMMON, "PreTraining", "NextSentencePrediction")
# name: (their name, model_type, config, heads)
CASES = {
    "bert": ("Bert", "bert", SIZES | {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3}, BERT_HEADS),
    "roberta": ("Roberta", "roberta", SIZES | {"type_vocab_size": 1}, COMMON),
    "xlm-roberta": ("XLMRoberta", "xlm-roberta", SIZES | {"pad_token_id": 2}, COMMON[:2]),
    "camembert": ("Camembert", "camembert", SIZES, COMMON[1:2]),
    "distilbert": ("DistilBert", "distilbert", DISTIL | {"activation": "relu"}, COMMON),
    "albert": ("Albert", "albert", SIZES | {"embedding_size": 8}, (*COMMON, "PreTraining")),
    "albert-groups": (
        "Albert",
        "albert",
        SIZES | {"num_hidden_layers": 4, "num_hidden_groups": 2, "embedding_size": 16},
        (),
    ),
    "albert-inner": (
        "Albert",
        "albert",
        SIZES | {"num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 3, "embedding_size": 8},
        ("SequenceClassification",),
    ),
    "electra": ("Electra", "electra", SIZES | {"embedding_size": 8}, (*COMMON, "PreTraining")),
    "electra-wide": ("Electra", "electra", SIZES | {"embedding_size": 16, "hidden_act": "relu"}, ("PreTraining",)),
    "mpnet": ("MPNet", "mpnet", SIZES, COMMON),
    "roformer": ("RoFormer", "roformer", SIZES | {"summary_type": "first", "hidden_act": "silu"}, COMMON),
    "roformer-narrow": (
        "RoFormer",
        "roformer",
        SIZES | {"embedding_size": 8, "summary_type": "first", "summary_use_proj": True, "summary_activation": "tanh"},
        ("MaskedLM", "MultipleChoice"),
    ),
    "roformer-values": (
        "RoFormer",
        "roformer",
        SIZES | {"rotary_value": True, "summary_type": "first"},
        ("MaskedLM", "SequenceClassification"),
    ),
    "deberta-v3": ("DebertaV2", "deberta-v2", V3 | {"pooler_hidden_act": "tanh"}, COMMON),
    "deberta-own": ("DebertaV2", "deberta-v2", V3 | {"share_att_key": False, "norm_rel_ebd": "none"}, ()),
    "deberta-c2p": ("DebertaV2", "deberta-v2", V3 | {"pos_att_type": "c2p", "share_att_key": False}, ()),
    "deberta-plain": ("DebertaV2", "deberta-v2", DEBERTA | {"type_vocab_size": 2}, ()),
    "deberta-v2": (
        "DebertaV2",
        "deberta-v2",
        V3 | {"conv_kernel_size": 3, "conv_act": "gelu", "conv_groups": 2, "position_biased_input": True},
        COMMON[:2],
    ),
}
PAIRS = [(case, head) for case in CASES for head in ("Model", *(f"For{head}" for head in CASES[case][3]))]


def reference(case, head="Model", **changes):
    name, _, sizes, _ = CASES[case]
    torch.manual_seed(7)
    labels = {}
    if head in ("ForSequenceClassification", "ForTokenClassification"):
        labels = {"id2label": LABELS, "label2id": {name: i for i, name in LABELS.items()}}
    model = getattr(transformers, name + head)(getattr(transformers, f"{name}Config")(**sizes, **labels, **changes))
    with torch.no_grad():
        for each, parameter in model.named_parameters():
            if parameter.requires_grad:  # a table of sines is no parameter
                norm = "norm" in each.lower() and each.endswith("weight")
                parameter.copy_(torch.randn_like(parameter) * 0.3 + norm)
    return model.eval()


def inputs(choices=0):
    """Three rows padded on the right, without the ids that some families count as padding."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(4, VOCAB, (3, 13), generator=generator)
    keep = torch.arange(13)[None] < torch.tensor(LENGTHS)[:, None]
    segments = (torch.arange(13)[None] >= torch.tensor([[5], [3], [1]])).long() * keep
    if choices:
        tokens, keep, segments = (torch.stack([x, x.flip(0)], 1) for x in (tokens, keep, segments))
    return tokens, keep, segments


def both(mine, model, head, *, segments):
    """Our outputs and theirs, flat, at real tokens."""
    tokens, keep, kinds = inputs(2 if head == "ForMultipleChoice" else 0)
    pad = model.config.pad_token_id
    more = {"token_type_ids": kinds} if segments else {}
    with torch.no_grad():
        ours = mine(tokens, keep=keep, segments=kinds if segments else None)
        told = model(input_ids=torch.where(keep, tokens, pad), attention_mask=keep.long(), **more)
    if head == "ForPreTraining" and "prediction_logits" in told:
        second = told.get("seq_relationship_logits", told.get("sop_logits"))
        return (
            torch.cat([ours[0][keep].flatten(), ours[1].flatten()]),
            torch.cat([told.prediction_logits[keep].flatten(), second.flatten()]),
        )
    if head == "ForQuestionAnswering":
        return ours[keep], torch.stack([told.start_logits, told.end_logits], -1)[keep]
    if head == "Model":
        pooled = told.get("pooler_output")
        assert (pooled is None) == (mine.pooler is None)
        expected = told.last_hidden_state[keep].flatten()
        if pooled is None:
            return ours[keep].flatten(), expected
        with torch.no_grad():
            return torch.cat([ours[keep].flatten(), mine.pool(ours, keep).flatten()]), torch.cat(
                [expected, pooled.flatten()]
            )
    of_text = head in ("ForSequenceClassification", "ForMultipleChoice", "ForNextSentencePrediction")
    return (ours, told.logits) if of_text else (ours[keep], told.logits[keep])


@pytest.mark.parametrize(("case", "head"), PAIRS)
def test_outputs_equal_the_reference_both_ways(case, head, tmp_path):
    name, model_type, sizes, _ = CASES[case]
    original = reference(case, head)
    original.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    assert loaded.family == model_type
    save_model(tmp_path / "ours", loaded.model, family=model_type)
    written = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert written["architectures"] == [name + head]
    again, info = type(original).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert again.config.id2label == original.config.id2label or not written.get("id2label")
    assert load_model(tmp_path / "ours").model.config == loaded.model.config
    segments = original.config.to_dict().get("type_vocab_size", 0) > 1
    for model in (original, again.eval()):
        mine, expected = both(loaded.model, model, head, segments=segments)
        assert expected.std() > 0.02
        torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-4)


def edit(folder, change=None, **changes):
    """Change config.json (None takes a key out), and the weights by a function."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    if change is not None:
        tensors = change(load_file(folder / "model.safetensors"))
        tensors = {name: each.clone() for name, each in tensors.items()}
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def old(tensors):
    """Names of files that were converted from TensorFlow, and the numbers of positions that they hold."""

    def name(each):
        return each.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    return {name(each): x for each, x in tensors.items()} | {"bert.embeddings.position_ids": torch.arange(20)[None]}


@pytest.mark.parametrize("architectures", [["BertForMaskedLM"], ["BertForPreTraining"], None])
def test_a_file_of_pretraining_serves_its_parts(architectures, tmp_path):
    """As bert-base-uncased is published: both heads and the pooler, whatever architectures says."""
    original = reference("bert", "ForPreTraining")
    original.save_pretrained(tmp_path)
    edit(tmp_path, old, architectures=architectures)
    loaded = load_model(tmp_path)
    name = architectures[0] if architectures else "BertModel"
    kind = {"BertForMaskedLM": MaskedWords, "BertForPreTraining": Pretraining, "BertModel": Encoder}[name]
    assert type(loaded.model) is kind and body(loaded.model).config.pooler == "tanh"
    assert loaded.prefix == ("" if architectures else "-bert.")
    part = original if kind is Pretraining else getattr(transformers, name)(original.config).eval()
    known = part.state_dict().keys()
    state = original.state_dict() | {each.removeprefix("bert."): x for each, x in original.state_dict().items()}
    part.load_state_dict({each: x for each, x in state.items() if each in known})
    mine, expected = both(loaded.model, part, name.removeprefix("Bert"), segments=True)
    torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-4)


def test_a_body_in_a_file_that_names_a_head(tmp_path):
    """As all-mpnet-base-v2 is published."""
    original = reference("mpnet")
    original.save_pretrained(tmp_path)
    edit(tmp_path, architectures=["MPNetForMaskedLM"])
    loaded = load_model(tmp_path).model
    assert type(loaded) is Encoder
    torch.testing.assert_close(*both(loaded, original, "Model", segments=False), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("case", ["bert", "roberta", "albert", "mpnet"])
def test_a_body_without_pooler(case, tmp_path):
    name, model_type, _, _ = CASES[case]
    config = reference(case).config
    original = getattr(transformers, f"{name}Model")(config, add_pooling_layer=False).eval()
    original.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs").model
    assert loaded.config.pooler == ""
    torch.testing.assert_close(*both(loaded, original, "Model", segments=False), atol=1e-4, rtol=1e-4)
    save_model(tmp_path / "ours", loaded)
    assert load_model(tmp_path / "ours").model.config == loaded.config


def test_deberta_word_heads_of_its_authors(tmp_path):
    """deberta-v3-base: no architectures, two heads beside the body; and the newer word head of transformers."""
    reference("deberta-v3", "ForMaskedLM", legacy=False).save_pretrained(tmp_path)
    loaded = load_model(tmp_path).model
    original = reference("deberta-v3", "ForMaskedLM", legacy=False)
    torch.testing.assert_close(*both(loaded, original, "ForMaskedLM", segments=False), atol=1e-4, rtol=1e-4)
    fakes = {
        "mask_predictions.classifier.weight": torch.ones(1, 16),
        "mask_predictions.LayerNorm.bias": torch.ones(16),
        "deberta.embeddings.position_embeddings.weight": torch.ones(20, 16),
    }
    edit(tmp_path, lambda tensors: tensors | fakes, architectures=None)
    assert type(load_model(tmp_path).model) is Encoder


def test_words_of_an_own_matrix_are_refused(tmp_path):
    reference("bert", "ForMaskedLM").save_pretrained(tmp_path)
    own = {"cls.predictions.decoder.weight": torch.ones(VOCAB, 16)}
    edit(tmp_path, lambda tensors: tensors | own, tie_word_embeddings=False)
    with pytest.raises(CheckpointError, match=r"tied but different \(1\): .*cls.predictions.decoder.weight"):
        load_model(tmp_path)


def test_a_classifier_without_its_head_names_what_is_missing(tmp_path):
    reference("roberta", "ForSequenceClassification").save_pretrained(tmp_path)
    edit(tmp_path, lambda tensors: {name: x for name, x in tensors.items() if "out_proj" not in name})
    with pytest.raises(CheckpointError, match=r"missing \(2\): - classifier.out_proj.bias, - classifier.out_proj.weig"):
        load_model(tmp_path)
    edit(tmp_path, architectures=["RobertaForCausalLM"])
    with pytest.raises(CheckpointError, match="RobertaForCausalLM of model_type 'roberta' is not supported; known: Ro"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("told", "labels", "kind"),
    [
        ({"problem_type": "multi_label_classification"}, ("no", "yes", "perhaps"), "several"),
        ({"problem_type": None}, ("no", "yes", "perhaps"), "one"),
        ({"id2label": {"0": "score"}, "label2id": {"score": 0}}, ("score",), "number"),
        ({"id2label": {"0": "a"}, "label2id": {"a": 0}, "problem_type": "single_label_classification"}, ("a",), "one"),
        ({"id2label": None, "label2id": {"b": 1, "a": 0}}, ("a", "b"), "one"),
        ({"id2label": None, "label2id": None}, ("LABEL_0", "LABEL_1"), "one"),
        ({"id2label": {"0": "x", "1": "x", "2": "y"}}, ("x (0)", "x (1)", "y"), "one"),
        ({"id2label": {"1": "b", "2": "a"}}, "id2label numbers its labels 1, 2, expected 0 to 1", ""),
        ({"problem_type": "regression"}, "problem_type regression with 3 labels", ""),
        ({"problem_type": "ranking"}, "problem_type 'ranking' is not known; known: single_label", ""),
    ],
)
def test_labels(told, labels, kind):
    fields = family("bert", ["BertForSequenceClassification"]).config
    raw = {"model_type": "bert", "id2label": {str(i): name for i, name in LABELS.items()}, **SIZES, **told}
    if isinstance(labels, str):
        with pytest.raises(CheckpointError, match=labels):
            fields.to_ours(raw, {})
        return
    config = fields.to_ours(raw, {})
    assert (config.labels, config.kind, config.pooling) == (labels, kind, "first")
    assert fields.to_ours(json.loads(json.dumps(fields.to_theirs(config))), {}) == config


@pytest.mark.parametrize("model", HEADS)
@pytest.mark.parametrize("form", FORMS)
def test_what_no_published_layout_can_say_has_a_layout_of_ours(form, model, tmp_path):
    torch.manual_seed(0)
    encoder = EncoderSizes(form=form, dim=8, heads=2, hidden=8, length=9).config(11)
    config = HeadConfig(encoder=encoder, labels=("a", "b"), pooling="mean")
    made = model(config).eval()
    save_model(tmp_path, made)
    loaded = load_model(tmp_path)
    assert loaded.family == "formers-encoder" and loaded.model.config == config and type(loaded.model) is model
    assert all(torch.equal(x, made.state_dict()[name]) for name, x in loaded.model.state_dict().items())


def test_positions_that_a_token_id_would_move(tmp_path):
    """RoBERTa counts positions from its padding: another padding is another model, which is not written as one."""
    config = EncoderSizes(form="roberta", dim=8, heads=2, hidden=8, length=9).config(11)
    for offset, pad, kind in ((2, 1, "roberta"), (2, 0, "formers-encoder"), (1, 0, "roberta")):
        model = Encoder(replace(config, position_offset=offset))
        save_model(tmp_path / f"{offset}-{pad}", model, generation={"pad_token_id": pad})
        loaded = load_model(tmp_path / f"{offset}-{pad}")
        assert loaded.family == kind and loaded.model.config == model.config


def test_families_are_found_by_model():
    for model_type in sorted({kind for _, kind, _, _ in CASES.values()}):
        for each in families(model_type):
            assert family_of_class(model_type, each.model) is not None
            assert family(model_type, each.architectures).model is each.model
    with pytest.raises(CheckpointError, match="'mpnet' has no ReplacedTokens"):
        family_of_class("mpnet", ReplacedTokens)


BERT = {
    "architectures": ["BertForMaskedLM"],
    "attention_probs_dropout_prob": 0.1,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "transformers_version": "4.6.0.dev0",
    "type_vocab_size": 2,
    "use_cache": True,
    "vocab_size": 30522,
}
PLAIN = {
    key: BERT[key]
    for key in (
        "attention_probs_dropout_prob",
        "hidden_act",
        "hidden_dropout_prob",
        "hidden_size",
        "initializer_range",
        "intermediate_size",
        "max_position_embeddings",
        "num_attention_heads",
        "num_hidden_layers",
    )
}
PUBLISHED = {
    "bert": BERT
    | {
        "directionality": "bidi",
        "pooler_fc_size": 768,
        "pooler_num_attention_heads": 12,
        "pooler_num_fc_layers": 3,
        "pooler_size_per_head": 128,
        "pooler_type": "first_token_transform",
    },
    "roberta": PLAIN
    | {
        "model_type": "roberta",
        "bos_token_id": 0,
        "eos_token_id": 2,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 514,
        "pad_token_id": 1,
        "type_vocab_size": 1,
        "vocab_size": 50265,
    },
    "distilbert": {
        "model_type": "distilbert",
        "activation": "gelu",
        "attention_dropout": 0.1,
        "dim": 768,
        "dropout": 0.1,
        "hidden_dim": 3072,
        "initializer_range": 0.02,
        "max_position_embeddings": 512,
        "n_heads": 12,
        "n_layers": 6,
        "pad_token_id": 0,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": False,
        "tie_weights_": True,
        "vocab_size": 30522,
    },
    "albert": PLAIN
    | {
        "model_type": "albert",
        "attention_probs_dropout_prob": 0,
        "bos_token_id": 2,
        "classifier_dropout_prob": 0.1,
        "down_scale_factor": 1,
        "embedding_size": 128,
        "eos_token_id": 3,
        "gap_size": 0,
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0,
        "inner_group_num": 1,
        "layer_norm_eps": 1e-12,
        "net_structure_type": 0,
        "num_hidden_groups": 1,
        "num_memory_blocks": 0,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": 30000,
    },
    "electra": PLAIN
    | {
        "model_type": "electra",
        "embedding_size": 128,
        "hidden_size": 256,
        "intermediate_size": 1024,
        "layer_norm_eps": 1e-12,
        "num_attention_heads": 4,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "summary_activation": "gelu",
        "summary_last_dropout": 0.1,
        "summary_type": "first",
        "summary_use_proj": True,
        "type_vocab_size": 2,
        "vocab_size": 30522,
    },
    "mpnet": PLAIN
    | {
        "model_type": "mpnet",
        "bos_token_id": 0,
        "eos_token_id": 2,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 514,
        "pad_token_id": 1,
        "relative_attention_num_buckets": 32,
        "vocab_size": 30527,
    },
    "roformer": PLAIN
    | {
        "model_type": "roformer",
        "embedding_size": 768,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 1536,
        "pad_token_id": 0,
        "rotary_value": False,
        "type_vocab_size": 2,
        "use_cache": True,
        "vocab_size": 50000,
    },
    "deberta-v2": PLAIN
    | {
        "model_type": "deberta-v2",
        "layer_norm_eps": 1e-07,
        "max_relative_positions": -1,
        "norm_rel_ebd": "layer_norm",
        "pad_token_id": 0,
        "padding_idx": 0,
        "pooler_dropout": 0,
        "pooler_hidden_act": "gelu",
        "pooler_hidden_size": 768,
        "pos_att_type": "p2c|c2p",
        "position_biased_input": False,
        "position_buckets": 256,
        "relative_attention": True,
        "share_att_key": True,
        "type_vocab_size": 0,
        "vocab_size": 128100,
    },
}
NAMED = {
    "bert": "bert-base",
    "roberta": "roberta-base",
    "distilbert": "distilbert-base",
    "albert": "albert-base",
    "electra": "electra-small",
    "mpnet": "mpnet-base",
    "roformer": "roformer-base",
    "deberta-v2": "deberta-v3-base",
}


@pytest.mark.parametrize("model_type", PUBLISHED)
def test_published_configs(model_type):
    fields = family(model_type).config
    config = fields.to_ours(PUBLISHED[model_type], {})
    assert config == replace(preset(NAMED[model_type]), pooler="")
    assert fields.to_ours(json.loads(json.dumps(fields.to_theirs(config))), {}) == config


@pytest.mark.parametrize("name", PRESETS)
def test_sizes_are_those_of_transformers(name):
    config = preset(name)
    model_type = {"deberta": "deberta-v2"}.get(PRESETS[name][0], PRESETS[name][0])
    raw = {"model_type": model_type, **family(model_type).config.to_theirs(config)}
    with torch.device("meta"):
        ours = Encoder(config)
        theirs = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**raw))
    expected = sum(each.numel() for each in theirs.parameters() if each.requires_grad)
    assert sum(each.numel() for each in ours.parameters()) == expected


@pytest.mark.parametrize(
    ("model_type", "change", "message"),
    [
        (
            "bert",
            {"position_embedding_type": "relative_key"},
            'position_embedding_type = "relative_key", but .*"absolute"',
        ),
        ("bert", {"is_decoder": True}, "is_decoder = true"),
        ("bert", {"hidden_activation": "relu"}, "unknown key 'hidden_activation'"),
        ("bert", {"hidden_act": "mish"}, "hidden_act = 'mish' is not computed here; known: gelu_new"),
        ("bert", {"type_vocab_size": 0}, "type_vocab_size is 0, expected at least 1"),
        ("roberta", {"pad_token_id": -1}, "pad_token_id is -1, expected at least 0"),
        ("albert", {"inner_group_num": 0}, "inner_group_num is 0, expected at least 1"),
        ("albert", {"num_hidden_groups": 5}, r"num_hidden_layers \(12\) must be a multiple of num_hidden_groups \(5\)"),
        ("electra", {"summary_type": "mean"}, 'summary_type = "mean"'),
        ("mpnet", {"pad_token_id": 0}, "pad_token_id = 0, but this family computes 1 only"),
        ("mpnet", {"relative_attention_num_buckets": 64}, "relative_attention_num_buckets = 64"),
        ("deberta-v2", {"pos_att_type": "c2p|p2p"}, "pos_att_type 'p2p' is not computed here; known: c2p, p2c"),
        ("deberta-v2", {"norm_rel_ebd": "batch"}, "norm_rel_ebd = 'batch'"),
        ("deberta-v2", {"conv_kernel_size": 4}, "conv_kernel_size is 4, expected an odd number"),
        ("deberta-v2", {"conv_kernel_size": 3, "conv_act": "mish"}, "conv_act = 'mish' is not computed here"),
        ("deberta-v2", {"relative_attention": False}, "relative_attention = false"),
        ("deberta-v2", {"embedding_size": 128}, "embedding_size = 128, but this family computes 768 only"),
        ("deberta-v2", {"pooler_hidden_size": 128}, "pooler_hidden_size = 128"),
        ("deberta-v2", {"attention_head_size": 16}, "attention_head_size = 16, but this family computes 64 only"),
    ],
)
def test_refusals(model_type, change, message):
    with pytest.raises(CheckpointError, match=message) as told:
        kind, raw = family(model_type), PUBLISHED[model_type] | change
        kind.config.to_ours(settle(raw, kind, (), "config.json")[0], {})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("RobertaForMaskedLM", {"hidden_act": "relu"}, "hidden_act = 'relu' in a word head of this family"),
        ("RoFormerForMultipleChoice", {}, "summary_type = 'last' is not computed here; known: first"),
        (
            "RoFormerForMultipleChoice",
            {"summary_type": "first", "summary_activation": "tanh"},
            "without summary_use_proj",
        ),
        ("DebertaV2ForSequenceClassification", {"pooler_hidden_act": "mish"}, "pooler_hidden_act = 'mish'"),
        ("RoFormerForSequenceClassification", {"hidden_act": "quick_gelu"}, "pooler is 'gelu_quick', expected"),
    ],
)
def test_refusals_of_heads(name, change, message):
    model_type = {"Ro": "roberta", "RF": "roformer", "De": "deberta-v2"}["RF" if name.startswith("RoF") else name[:2]]
    with pytest.raises(CheckpointError, match=message):
        family(model_type, [name]).config.to_ours(PUBLISHED[model_type] | change, {})
