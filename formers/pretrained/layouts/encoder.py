"""What the families of encoders share: one table of the body and one of each head make all of a family.

A body is named without a prefix, in files of heads with one ("bert."). The dense layer in front of a label is the
encoder's pooler here; the files of many families have it in the classifier. `LayerNorm.gamma` and `.beta` are the
names of files converted from TensorFlow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from formers.errors import shown
from formers.models.encoder import Encoder, EncoderConfig
from formers.models.heads import (
    HeadConfig,
    MaskedWords,
    MultipleChoice,
    NextSentence,
    Pretraining,
    ReplacedTokens,
    SequenceClassifier,
    SpanFinder,
    TokenClassifier,
)
from formers.pretrained.config_map import ACTIVATIONS, ConfigMap, Raw, pairs, words
from formers.pretrained.family import Family
from formers.pretrained.layouts.causal import canonical_stack
from formers.pretrained.mapping import Row, Rows, Rule, as_rules, dropped, tied, unread

NAMES: dict[str, Any] = {
    **pairs("""
        hidden_size=stack.dim num_hidden_layers=stack.layers num_attention_heads=stack.heads
        intermediate_size=stack.hidden hidden_dropout_prob=stack.dropout layer_norm_eps=stack.norm_eps vocab_size=vocab
    """),
    "hidden_act": ("stack.activation", ACTIVATIONS),
}
DEFAULTS: Raw = {"hidden_act": "gelu", "hidden_dropout_prob": 0.1, "layer_norm_eps": 1e-12}
POST_NORM = {"stack.norm_first": False}
CHECKED: Raw = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}
# training only, notes of tools, sizes that the weights say themselves; a head that is not tied is told by its weights
IGNORED = words("""
    attention_probs_dropout_prob classifier_dropout classifier_dropout_prob initializer_range tie_word_embeddings
    attention_dropout directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers
    pooler_size_per_head pooler_type sentence_transformers transformers.js_config neftune_noise_alpha
    _attn_implementation _num_labels model_max_length summary_last_dropout summary_first_dropout
""")
MOST_DIGITS = 9  # of the number of a label
KINDS = {"single_label_classification": "one", "multi_label_classification": "several", "regression": "number"}
# Heads of pre-training, which lie unused in many published files of another head, or of a body
PRETRAINED = (MaskedWords, Pretraining, NextSentence, ReplacedTokens)
POOLED = (Pretraining, NextSentence, SequenceClassifier, MultipleChoice)  # read the pooled vector
# What the class of a head is called after its family's name
ARCHITECTURES: dict[type[nn.Module], str] = {
    MaskedWords: "ForMaskedLM",
    Pretraining: "ForPreTraining",
    NextSentence: "ForNextSentencePrediction",
    SequenceClassifier: "ForSequenceClassification",
    TokenClassifier: "ForTokenClassification",
    SpanFinder: "ForQuestionAnswering",
    MultipleChoice: "ForMultipleChoice",
    ReplacedTokens: "ForPreTraining",
}
OURS = (
    "attention.q attention.k attention.v attention.o norm_attention feed_forward.up feed_forward.down norm_feed_forward"
)
BERT_LAYER = (
    "attention.self.query attention.self.key attention.self.value attention.output.dense "
    "attention.output.LayerNorm intermediate.dense output.dense output.LayerNorm"
)


@dataclass(frozen=True)
class Head:
    """A head as a family files it; names are whole on both sides.

    Where it is none of `POOLED`, a pooler in the file is kept, but not asked for.
    """

    model: type[nn.Module]
    rows: Rows
    tied: tuple[str, ...] = ()
    """Second names of the embedding: the matrix that makes words of vectors."""
    dense: str = ""
    """Where the dense layer in front of the label is filed; "": it is the body's pooler."""
    activation: str | Callable[[Raw], str] = "tanh"
    """Of that layer."""
    written: Callable[[EncoderConfig], Mapping[str, Any]] = lambda config: {}
    """Keys of config.json that only this head reads."""
    check: Callable[[Raw], None] = lambda raw: None
    """Raises ValueError for a config that this head does not compute."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a family files a body: the map of its config, relative to the encoder, and the names of its weights."""

    model_type: str
    prefix: str
    """Of the body's names in files of heads: "bert."."""
    name: str
    """What its classes are called: "Bert"."""
    rows: Callable[[EncoderConfig], Rows]
    """All but the token embedding and the pooler."""
    names: Mapping[str, Any] = field(default_factory=lambda: NAMES)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    defaults: Raw = field(default_factory=lambda: DEFAULTS)
    aliases: Mapping[str, str] = field(default_factory=dict)
    checked: Raw = field(default_factory=lambda: CHECKED)
    reads: tuple[str, ...] = ()
    derived: Callable[[Raw], Mapping[str, Any]] = lambda raw: {}
    written: Callable[[EncoderConfig], Mapping[str, Any]] = lambda config: {}
    ignored: frozenset[str] = frozenset()
    pooler: str = ""
    """The body's pooler, without the prefix; "" where bodies of this family have none."""
    strays: tuple[str, ...] = ()
    """Names of weights in published files of any head that nothing computes with."""


def norm(theirs: str, ours: str) -> list[Rule]:
    """A LayerNorm, with the names that TensorFlow gave it."""
    return [
        tied(f"{ours}.weight", f"{theirs}.weight", f"{theirs}.gamma"),
        tied(f"{ours}.bias", f"{theirs}.bias", f"{theirs}.beta"),
    ]


def layer(prefix: str, names: str = BERT_LAYER, blocks: str = "stack.blocks.{i}") -> list[Rule]:
    """One block; names: q, k, v, o, their norm, up, down, their norm."""
    rows: list[Row | Iterable[Rule]] = []
    for theirs, ours in zip(names.split(), OURS.split(), strict=True):
        if ours.startswith("norm"):
            rows.append(norm(f"{prefix}.{theirs}", f"{blocks}.{ours}"))
        else:
            rows.append((f"{prefix}.{theirs}.{{p}}", f"{blocks}.{ours}.{{p}}"))
    return as_rules(rows)


def embeddings(config: EncoderConfig) -> list[Rule]:
    """Positions, segments and norm, under the names of BERT."""
    rows: list[Row | Iterable[Rule]] = [
        norm("embeddings.LayerNorm", "norm"),
        dropped("embeddings.position_ids", "embeddings.token_type_ids"),
    ]
    if config.positions == "learned":
        rows.append(("embeddings.position_embeddings.weight", "positions.weight"))
    if config.segments:
        rows.append(("embeddings.token_type_embeddings.weight", "segments.weight"))
    return as_rules(rows)


def word_rows(dense: str, normed: str, *bias: str) -> Rows:
    """The layers of a word head: its dense layer, its norm, the names of its bias."""
    return [(f"{dense}.{{p}}", "words.dense.{p}"), norm(normed, "words.norm"), tied("words.bias", *bias)]


def label_row(theirs: str) -> Rows:
    return [(f"{theirs}.{{p}}", "out.{p}")]


def exact_gelu(raw: Raw) -> None:
    """Of word heads with a gelu of their own, whatever hidden_act says."""
    if ACTIVATIONS[raw["hidden_act"]] != "gelu":
        raise ValueError(f"hidden_act = {raw['hidden_act']!r} in a word head of this family, which computes gelu only")


def canonical(config: EncoderConfig) -> EncoderConfig:
    """The config without what changes nothing."""
    d = config.disentangled
    if d is not None and not d.kernel:
        d = replace(d, convolution_groups=1, convolution_activation="tanh")
    return replace(
        config,
        stack=canonical_stack(config.stack),
        disentangled=d,
        position_offset=config.position_offset if config.positions == "learned" else 0,
        relative_distance=config.relative_distance if config.relative_buckets else 128,
    )


def labels(raw: Raw) -> tuple[str, ...]:
    """Names of the classes in order, of a number that names them otherwise only so many, as in transformers.

    A name that several have is followed by its number. Raises ValueError where id2label does not number them from 0.
    """
    named = raw.get("id2label") or {number: name for name, number in (raw.get("label2id") or {}).items()}
    count = raw.get("num_labels", len(named) or raw.get("_num_labels", 2))
    if len(named) != count:
        return tuple(f"LABEL_{i}" for i in range(count))
    for number in named:
        if not str(number).isdecimal() or len(str(number)) > MOST_DIGITS:
            raise ValueError(f"id2label or label2id numbers a label {shown(number)}, expected a whole number from 0")
    by_number = {int(number): str(name) for number, name in sorted(named.items(), key=lambda item: int(item[0]))}
    if list(by_number) != list(range(len(by_number))):
        numbers = ", ".join(map(str, list(by_number)[:8])) + (" ..." if len(by_number) > 8 else "")
        raise ValueError(f"id2label numbers its labels {numbers}, expected 0 to {len(by_number) - 1}")
    counts = Counter(by_number.values())
    return tuple(name if counts[name] == 1 else f"{name} ({i})" for i, name in by_number.items())


def about_labels(raw: Raw, tensors: Mapping[str, Tensor], model: type[nn.Module], rows: Rows) -> dict[str, Any]:
    """Labels and kind of a classifier. Source: transformers, where one label without a problem_type is a number.

    rows: of the head, one of which is the map to the labels. Raises ValueError where that has not as many.
    """
    if model not in (SequenceClassifier, TokenClassifier):
        return {}
    names = counted_labels(raw, tensors, rows)
    if model is TokenClassifier:
        return {"labels": names}
    problem = raw.get("problem_type") or ("regression" if len(names) == 1 else "single_label_classification")
    if problem not in KINDS:
        raise ValueError(f"problem_type {problem!r} is not known; known: {', '.join(KINDS)}")
    if KINDS[problem] == "number" and len(names) != 1:
        raise ValueError(f"problem_type regression with {len(names)} labels is not computed here, expected 1")
    return {"labels": names, "kind": KINDS[problem]}


def counted_labels(raw: Raw, tensors: Mapping[str, Tensor], rows: Rows) -> tuple[str, ...]:
    """The labels, as many as the map to them has rows. Raises ValueError where the file says another number."""
    names = labels(raw)
    for rule in as_rules(rows):
        if not (rule.ours or "").startswith("out."):
            continue
        name = rule.theirs[0].replace("{p}", "weight")
        weight = tensors.get(name)
        if weight is not None and weight.ndim == 2 and len(weight) != len(names):
            says = [f"{key} says {raw[key]}" for key in ("num_labels", "_num_labels") if key in raw]
            says += [f"{key} names {len(raw[key])}" for key in ("id2label", "label2id") if raw.get(key)]
            expected = " and ".join(says) or "no key says so, which means 2"
            raise ValueError(f"{name} holds {len(weight)} labels, but {expected}")
    return names


def written_labels(config: HeadConfig, model: type[nn.Module]) -> dict[str, Any]:
    if model not in (SequenceClassifier, TokenClassifier):
        return {}
    return label_keys(config.labels, config.kind if model is SequenceClassifier else "")


def label_keys(names: Sequence[str], kind: str = "") -> dict[str, Any]:
    """How config.json writes labels, and what kind of them a text or picture has."""
    numbered: dict[str, Any] = {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }
    problem = [name for name, ours in KINDS.items() if ours == kind]
    return {**numbered, "problem_type": problem[0]} if problem else numbered


def within(paths: str, outer: str = "encoder.") -> str:
    """Paths of the config of a body as those of the config around it."""
    return " ".join(f"{outer}{path}" for path in paths.split())


def names_within(names: Mapping[str, Any], outer: str = "encoder.") -> dict[str, Any]:
    """The same of the names of a `ConfigMap`."""
    return {
        key: within(ours, outer) if isinstance(ours, str) else (within(ours[0], outer), ours[1])
        for key, ours in names.items()
    }


def values_within(values: Mapping[str, Any], outer: str = "encoder.") -> dict[str, Any]:
    return {within(path, outer): value for path, value in values.items()}


def moved(rows: Rows, theirs: str, ours: str) -> list[Rule]:
    """The same rows with prefixes on both sides."""
    return [
        replace(rule, theirs=tuple(theirs + name for name in rule.theirs), ours=rule.ours and ours + rule.ours)
        for rule in as_rules(rows)
    ]


def stored(tensors: Mapping[str, Tensor], layout: Layout) -> bool:
    """Whether a file has the body's pooler."""
    names = (f"{prefix}{layout.pooler}.weight" for prefix in ("", layout.prefix))
    return bool(layout.pooler) and any(name in tensors for name in names)


def families_of(layout: Layout, heads: Sequence[Head]) -> list[Family]:
    """The body, then one family for each head."""
    return [body_family(layout, heads), *(head_family(layout, head, heads) for head in heads)]


def body_family(layout: Layout, heads: Sequence[Head]) -> Family:
    def derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        return {"pooler": "tanh" if stored(tensors, layout) else "", **layout.derived(raw)}

    def weights(config: EncoderConfig) -> Rows:
        pooler = [(f"{layout.pooler}.{{p}}", "pooler.{p}")] if layout.pooler and config.pooler else []
        unused = {name for head in heads if head.model in PRETRAINED for name in own_names(head)}
        return [
            ("embeddings.word_embeddings.weight", "embedding.weight"),
            *layout.rows(config),
            *pooler,
            unread(*sorted(unused), *layout.strays),
        ]

    return Family(
        model_type=layout.model_type,
        model=Encoder,
        config=config_map(
            layout,
            config=EncoderConfig,
            names=layout.names,
            fixed={**POST_NORM, **layout.fixed},
            derived=derived,
            written=layout.written,
            canonical=canonical,
        ),
        weights=weights,
        prefixes=(f"-{layout.prefix}",),
        architectures=(f"{layout.name}Model",),
    )


def head_family(layout: Layout, head: Head, heads: Sequence[Head]) -> Family:
    def derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        head.check(raw)
        activation = head.activation if isinstance(head.activation, str) else head.activation(raw)
        pooler = activation if head.model in POOLED or (not head.dense and stored(tensors, layout)) else ""
        encoder = {"pooler": pooler, **layout.derived(raw)}
        return {**values_within(encoder), **about_labels(raw, tensors, head.model, head.rows)}

    def written(config: HeadConfig) -> dict[str, Any]:
        encoder: Any = config.encoder  # of no other class, as `Family.body` sees to
        return {**layout.written(encoder), **head.written(encoder), **written_labels(config, head.model)}

    def weights(config: HeadConfig) -> Rows:
        encoder: Any = config.encoder
        own = layout.prefix + layout.pooler
        rows: list[Row | Iterable[Rule]] = [
            tied("encoder.embedding.weight", f"{layout.prefix}embeddings.word_embeddings.weight", *head.tied),
            moved(layout.rows(encoder), layout.prefix, "encoder."),
            *head.rows,
        ]
        if encoder.pooler and (head.dense or layout.pooler):
            rows.append((f"{head.dense or own}.{{p}}", "encoder.pooler.{p}"))
        if layout.pooler and head.dense:  # one that is stored beside it reads nothing
            rows.append(dropped(f"{own}.{{p}}"))
        read = {*own_names(head), *(name for rule in as_rules(rows) for name in rule.theirs)}
        unused = {name for other in heads if other.model in PRETRAINED for name in own_names(other)} - read
        return [*rows, unread(*sorted(unused), *layout.strays)]

    return Family(
        model_type=layout.model_type,
        model=head.model,
        config=config_map(
            layout,
            config=HeadConfig,
            names=names_within(layout.names),
            fixed=values_within({**POST_NORM, **layout.fixed}),
            derived=derived,
            written=written,
            canonical=lambda config: replace(config, encoder=canonical(config.encoder)),
        ),
        weights=weights,
        body=EncoderConfig,
        architectures=(f"{layout.name}{ARCHITECTURES[head.model]}",),
        head=tuple(sorted({name.partition("{")[0] for name in own_names(head)})),
    )


def own_names(head: Head) -> list[str]:
    """Names of the weights that only this head has."""
    dense = [f"{head.dense}.{{p}}"] if head.dense else []
    return [*dense, *head.tied, *(name for rule in as_rules(head.rows) for name in rule.theirs)]


def config_map(layout: Layout, **own: Any) -> ConfigMap:
    """The map with what body and heads of a family share."""
    return ConfigMap(
        defaults=layout.defaults,
        aliases=layout.aliases,
        checked=layout.checked,
        reads=layout.reads,
        ignored=IGNORED | layout.ignored,
        **own,
    )
