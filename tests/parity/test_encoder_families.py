"""Parity of encoders, bodies and heads: a reference with every parameter random -> our load -> equal outputs -> our
save -> it loads without a missing weight -> equal again; published spellings of files."""

from __future__ import annotations

import json

import pytest
import torch

from formers.pretrained.load import load_model, save_model

transformers = pytest.importorskip("transformers")

VOCAB, LENGTHS = 37, (13, 7, 1)
LABELS = {0: "no", 1: "yes", 2: "perhaps"}
SIZES = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 24, "max_position_embeddings": 20}
DISTIL = {"vocab_size": VOCAB, "dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 24, "max_position_embeddings": 20}
DEBERTA = SIZES | {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["c2p", "p2c"]}
V3 = DEBERTA | {"position_buckets": 3, "max_relative_positions": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm",
                "legacy": True}
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
    "albert-groups": ("Albert", "albert", SIZES | {"num_hidden_layers": 4, "num_hidden_groups": 2,
                                                   "embedding_size": 16}, ()),
    "electra": ("Electra", "electra", SIZES | {"embedding_size": 8}, (*COMMON, "PreTraining")),
    "electra-wide": ("Electra", "electra", SIZES | {"embedding_size": 16, "hidden_act": "relu"}, ("PreTraining",)),
    "mpnet": ("MPNet", "mpnet", SIZES, COMMON),
    "roformer": ("RoFormer", "roformer", SIZES | {"summary_type": "first", "hidden_act": "silu"}, COMMON),
    "roformer-narrow": ("RoFormer", "roformer", SIZES | {
        "embedding_size": 8, "summary_type": "first", "summary_use_proj": True, "summary_activation": "tanh"},
        ("MaskedLM", "MultipleChoice")),
    "deberta-v3": ("DebertaV2", "deberta-v2", V3 | {"pooler_hidden_act": "tanh"}, COMMON),
    "deberta-own": ("DebertaV2", "deberta-v2", V3 | {"share_att_key": False, "norm_rel_ebd": "none"}, ()),
    "deberta-c2p": ("DebertaV2", "deberta-v2", V3 | {"pos_att_type": "c2p", "share_att_key": False}, ()),
    "deberta-plain": ("DebertaV2", "deberta-v2", DEBERTA | {"type_vocab_size": 2}, ()),
    "deberta-v2": ("DebertaV2", "deberta-v2", V3 | {
        "conv_kernel_size": 3, "conv_act": "gelu", "conv_groups": 2, "position_biased_input": True}, COMMON[:2]),
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
        return (torch.cat([ours[0][keep].flatten(), ours[1].flatten()]),
                torch.cat([told.prediction_logits[keep].flatten(), second.flatten()]))
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
                [expected, pooled.flatten()])
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
