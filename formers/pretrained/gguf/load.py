"""Models from GGUF files (llama.cpp): their metadata and tensor names -> Hugging Face's, whose families do the rest.

    metadata -> config.json's keys -> our config          blk.0.attn_q -> model.layers.0.self_attn.q_proj -> ours

What is particular:
  * Llama's query and key rows are stored for neighbouring pairs of rotary features; here pairs lie half a head apart.
  * Gemma's norm weights are stored with the 1 added that its code adds again.
  * GPT-2's matrices are stored (out, in), unlike in its own files.
  * Llama 3's stretched rotary positions are stored as a factor per frequency, not as the numbers these come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from formers.errors import CheckpointError, nearest
from formers.pretrained.config_map import pairs, words
from formers.pretrained.families import family
from formers.pretrained.family import Family
from formers.pretrained.gguf.container import Entry, GgufFile, open_gguf
from formers.pretrained.gguf.tokenizer import gguf_tokenizer, special_ids
from formers.pretrained.loaded import Loaded, check_vocabulary
from formers.pretrained.mapping import EXTRA, TRANSPOSED, Faults, Op, Row, as_rules, fill
from formers.pretrained.provenance import Provenance, remember
from formers.text.chat import ChatTemplate, special_texts

Raw = dict[str, Any]
ROPE_FREQUENCIES = "rope_freqs.weight"
SIZES = pairs("""
    context_length=max_position_embeddings embedding_length=hidden_size block_count=num_hidden_layers
    feed_forward_length=intermediate_size attention.head_count=num_attention_heads
    attention.head_count_kv=num_key_value_heads attention.layer_norm_rms_epsilon=rms_norm_eps
""")
GPT2_SIZES = pairs("""
    context_length=n_positions embedding_length=n_embd block_count=n_layer feed_forward_length=n_inner
    attention.head_count=n_head attention.layer_norm_epsilon=layer_norm_epsilon
""")
FRACTIONS = ("epsilon", "freq_base", "freq_base_swa", "factor", "scale_linear")  # the rest are whole numbers
OPTIONAL = {"attention.head_count_kv"}  # absent: as many as heads
# read below, or known to say nothing about what the network computes
READ = words("""
    vocab_size attention.key_length attention.value_length attention.sliding_window attention.sliding_window_pattern
    attention.causal rope.dimension_count rope.freq_base rope.freq_base_swa rope.scaling.type rope.scaling.factor
    rope.scaling.original_context_length rope.scaling.finetuned rope.scale_linear tensor_data_layout
""")
LAYER = pairs("""
    attn_norm=input_layernorm attn_q=self_attn.q_proj attn_k=self_attn.k_proj attn_v=self_attn.v_proj
    attn_output=self_attn.o_proj ffn_norm=post_attention_layernorm
    ffn_gate=mlp.gate_proj ffn_up=mlp.up_proj ffn_down=mlp.down_proj
""")
QK_NORMS = pairs("attn_q_norm=self_attn.q_norm attn_k_norm=self_attn.k_norm")
GEMMA_NORMS = QK_NORMS | pairs("""
    attn_norm=input_layernorm post_attention_norm=post_attention_layernorm
    ffn_norm=pre_feedforward_layernorm post_ffw_norm=post_feedforward_layernorm
""")
OUTER = pairs("token_embd=model.embed_tokens output_norm=model.norm output=lm_head")
GPT2_LAYER = pairs("""
    attn_norm=ln_1 attn_qkv=attn.c_attn attn_output=attn.c_proj ffn_norm=ln_2 ffn_up=mlp.c_fc ffn_down=mlp.c_proj
""")
GPT2_OUTER = pairs("""
    token_embd=transformer.wte position_embd=transformer.wpe output_norm=transformer.ln_f output=lm_head
""")
MINUS_ONE = Op("minus one", lambda x: x - 1, lambda x: x + 1)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One value of general.architecture: which family it is, and the two maps to that family's own names."""

    model_type: str
    sizes: Mapping[str, str] = field(default_factory=lambda: SIZES)
    outer: Mapping[str, str] = field(default_factory=lambda: OUTER)
    layer: Mapping[str, str] = field(default_factory=lambda: LAYER)
    layers: str = "model.layers"
    """What their list of blocks is called."""
    ops: Callable[[Raw], Mapping[str, Op]] = lambda raw: {}
    """Stored name of a tensor -> what to do with it."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    more: Callable[[GgufFile, Raw], Mapping[str, Any]] = lambda file, raw: {}
    """Keys of the config that need several keys of the file."""

    def rows(self, raw: Raw) -> list[Row]:
        """The table, stored name -> name in the family's own files."""
        ops = self.ops(raw)
        names = {
            **self.outer,
            **{f"blk.{{i}}.{theirs}": f"{self.layers}.{{i}}.{name}" for theirs, name in self.layer.items()},
        }
        rows: list[Row] = []
        for theirs, name in names.items():
            op = ops.get(theirs.removeprefix("blk.{i}."))
            row = (theirs + ".{p}", name + ".{p}")
            rows.append(row if op is None else (*row, op))
        return rows


def load_gguf(
    path: str | Path, *, dtype: torch.dtype | None = None, device: str | torch.device | None = None
) -> Loaded:
    """A .gguf file as our model in evaluation mode (fp32 unless `dtype`), with its tokenizer and template.

    Reads the architectures of `ARCHITECTURES` and the types of `gguf_file.TYPES`, one tensor at a time. Raises
    CheckpointError, one line: not such a file, cut short, a type, key or tensor that is not known here.
    """
    file = open_gguf(path)
    raw, architecture = read_config(file)
    kind = family(raw["model_type"])
    tokenizer = gguf_tokenizer(file.metadata, what=str(file.path))  # first: it faults sooner, and frees its memory
    tensors = read_tensors(file, architecture, raw, dtype or torch.float32)
    model, prefix, _ = kind.build(raw, tensors, dtype=dtype, what=str(file.path))
    remember(model, Provenance(kind.model_type, {}, special_ids(file.metadata)))
    check_vocabulary(tokenizer, model, file.path)
    config = {**kind.generation, **raw, **special_ids(file.metadata)}
    model = model if device is None else model.to(device)
    template = None
    if tokenizer is not None and "chat_template" in tokenizer.settings:
        settings, where = tokenizer.settings, f"the chat template of {file.path}"
        template = ChatTemplate(settings["chat_template"], special_texts(settings), where=where)
    return Loaded(model, kind.model_type, config, tokenizer, file.path, prefix, template)


def gguf_family(path: str | Path) -> Family:
    """The family of a file, from its header alone."""
    return family(architecture_of(open_gguf(path))[1].model_type)


def architecture_of(file: GgufFile) -> tuple[str, Architecture]:
    """The name of a file's architecture, which begins its keys, and what it is here. Raises CheckpointError."""
    what, name = file.path, str(file.metadata.get("general.architecture"))
    if (parts := file.metadata.get("split.count", 0)) not in (0, 1):
        raise CheckpointError(f"{what} is one of {parts} parts; join them with llama-gguf-split --merge")
    if name not in ARCHITECTURES:
        raise CheckpointError(f"{what}: architecture {name!r} is not supported{nearest(name, ARCHITECTURES)}")
    return name, ARCHITECTURES[name]


def read_config(file: GgufFile) -> tuple[Raw, Architecture]:
    """config.json as the family's own files would have it. Raises CheckpointError for a key not known here."""
    what, (prefix, architecture) = file.path, architecture_of(file)
    given = {
        key.removeprefix(f"{prefix}."): value for key, value in file.metadata.items() if key.startswith(f"{prefix}.")
    }
    for key, value in given.items():
        if key not in {*architecture.sizes, *READ} and value:
            raise CheckpointError(
                f"{what} has the unknown key {prefix}.{key} ({value!r:.60}); it may change what the model computes, "
                "so it is not skipped"
            )
    raw: Raw = {"model_type": architecture.model_type, **architecture.fixed}
    for key, name in architecture.sizes.items():
        if (value := plain(file, key, None)) is not None:
            raw[name] = value
        elif key not in OPTIONAL:
            raise CheckpointError(f"{what} lacks {prefix}.{key}")
    table = file.entries.get("token_embd.weight")
    if table is None:
        raise CheckpointError(f"{what} lacks the tensor token_embd.weight")
    blocks = {name.split(".")[1] for name in file.entries if name.startswith("blk.")}
    for key, stored in (("embedding_length", table.shape[-1]), ("block_count", len(blocks))):
        if (size := raw[architecture.sizes[key]]) != stored:  # before a model of such a size is made
            raise CheckpointError(f"{what}: {prefix}.{key} is {size}, but its tensors say {stored}")
    raw |= {"vocab_size": table.shape[0], "tie_word_embeddings": is_tied(file)}
    raw |= architecture.more(file, raw)
    return raw, architecture


def plain(file: GgufFile, key: str, default: Any) -> Any:
    """A positive number of the metadata, `default` where it is absent or 0.

    A list with one for each layer counts where all are equal; 32 bits give 1e-05 and not 9.999999747e-06.
    """
    name = f"{file.metadata['general.architecture']}.{key}"
    value = file.metadata.get(name, default)
    if isinstance(value, list) and value and all(item == value[0] for item in value):
        value = value[0]
    if value == 0:
        value = default
    kinds = int | float if key.endswith(FRACTIONS) else int
    if value is not default and (isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf):
        shown = f"{value[:4]} ..." if isinstance(value, list) else repr(value)
        raise CheckpointError(f"{file.path}: {name} is {shown}, expected one positive number")
    return float(str(np.float32(value))) if isinstance(value, float) else value


def is_tied(file: GgufFile) -> bool:
    """Whether the output head is the embedding: no head is stored, or the same numbers again."""
    head, table = file.entries.get("output.weight"), file.entries["token_embd.weight"]
    if head is None:
        return True
    return (head.kind, head.shape) == (table.kind, table.shape) and file.stored(head) == file.stored(table)


def read_tensors(file: GgufFile, architecture: Architecture, raw: Raw, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors under the names of the family's own files; matrices in `dtype`, the rest in fp32."""
    left_out = {ROPE_FREQUENCIES, *(["output.weight"] if raw["tie_word_embeddings"] else [])}
    rules, faults = as_rules(architecture.rows(raw)), Faults()
    matched: list[tuple[Entry, str, Op]] = []
    for entry in file.entries.values():  # every name is looked at before the first number is read
        hits = [(rule, match) for rule in rules if (match := rule.patterns[0].fullmatch(entry.name))]
        if hits:
            rule, match = hits[0]
            matched.append((entry, fill(str(rule.ours), match.groupdict()), rule.op))
        elif entry.name not in left_out:
            faults.add(EXTRA, f"+ {entry.name}")
    faults.refuse(str(file.path))
    tensors = {}
    for entry, name, op in matched:
        if entry.name not in left_out:
            tensor = file.tensor(entry.name, dtype if len(entry.shape) > 1 else torch.float32)
            try:
                tensors[name] = op.forward(tensor)
            except RuntimeError as fault:
                raise CheckpointError(
                    f"{file.path}: tensor {entry.name} of shape {entry.shape} does not fit the heads ({fault})"
                ) from fault
    return tensors


# --- Llama, Qwen, Gemma: rotary positions -----------------------------------------------------------------------------


def rotary(file: GgufFile, raw: Raw) -> Raw:
    """Size of a head, rotary base and stretch. Raises CheckpointError for what is not computed here."""
    heads = raw["num_attention_heads"]
    size = plain(file, "attention.key_length", raw["hidden_size"] // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        if (other := plain(file, key, size)) != size:
            raise CheckpointError(
                f"{file.path}: {key} is {other}, but the heads are {size} wide, and only equal ones are computed here"
            )
    if file.metadata.get(f"{file.metadata['general.architecture']}.attention.causal", True) is not True:
        raise CheckpointError(f"{file.path} is an encoder (attention.causal is false); this reads decoders only")
    base = plain(file, "rope.freq_base", 10000.0)
    keys = {"head_dim": size, "rope_theta": base, "num_key_value_heads": raw.get("num_key_value_heads", heads)}
    stretch = rope_scaling(file, base, size)
    return keys if stretch is None else {**keys, "rope_scaling": stretch}


def rope_scaling(file: GgufFile, base: float, size: int) -> Raw | None:
    """The rope_scaling of config.json: of the metadata, or what the stored factors per frequency come from."""
    kind = file.metadata.get(f"{file.metadata['general.architecture']}.rope.scaling.type")
    factor = plain(file, "rope.scaling.factor", plain(file, "rope.scale_linear", 1.0))
    if kind is None and factor != 1:
        kind = "linear"
    if kind not in (None, "none"):
        original = plain(file, "rope.scaling.original_context_length", None) if kind == "yarn" else None
        stretch = {"rope_type": kind, "factor": factor, "original_max_position_embeddings": original}
        return {key: value for key, value in stretch.items() if value is not None}
    if ROPE_FREQUENCIES not in file.entries:
        return None
    factors = file.tensor(ROPE_FREQUENCIES).double()
    if factors.shape != (size // 2,):
        raise CheckpointError(
            f"{file.path}: {ROPE_FREQUENCIES} has shape {tuple(factors.shape)}, expected ({size // 2},)"
        )
    if bool((factors == 1).all()):
        return None
    turns = base ** -(torch.arange(0, size, 2, dtype=torch.float64) / size)
    most = float(str(np.float32(factors.max())))
    # Many triples (low, high, original) give the same factors; with the published low and high, find the original.
    for original in (8192, *(2**power for power in range(5, 24))):
        share = ((original * turns / (2 * math.pi) - 1.0) / (4.0 - 1.0)).clamp(0, 1)
        if torch.allclose(1 / ((1 - share) / most + share), factors, rtol=1e-4, atol=0):
            return {
                "rope_type": "llama3",
                "factor": most,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": original,
            }
    raise CheckpointError(f"{file.path}: {ROPE_FREQUENCIES} holds factors that are not those of Llama 3's stretch")


def unturned(heads: int) -> Op:
    """Rows of each head from neighbouring pairs (0, 1), (2, 3) ... to pairs half a head apart, and back."""

    def order(x: Tensor, *pair: int) -> Tensor:
        return x.unflatten(0, (heads, *pair)).transpose(1, 2).flatten(0, 2)

    return Op("unturned", lambda x: order(x, -1, 2), lambda x: order(x, 2, -1))


def llama(file: GgufFile, raw: Raw) -> Raw:
    window = plain(file, "attention.sliding_window", None)
    if window:
        return {**rotary(file, raw), "model_type": "mistral", "sliding_window": window}
    biases = {"attention_bias": "blk.0.attn_output.bias", "mlp_bias": "blk.0.ffn_up.bias"}
    return {**rotary(file, raw), **{key: name in file.entries for key, name in biases.items()}}


def gemma(file: GgufFile, raw: Raw) -> Raw:
    layers, window = raw["num_hidden_layers"], plain(file, "attention.sliding_window", None)
    local = file.metadata.get("gemma3.attention.sliding_window_pattern")
    if not isinstance(local, list):
        pattern = plain(file, "attention.sliding_window_pattern", 6)
        local = [(i + 1) % pattern != 0 for i in range(layers)]
    keys = rotary(file, raw)
    # the 27B model alone scales by another number; llama.cpp too knows it by its 62 layers
    scale = raw["hidden_size"] // raw["num_attention_heads"] if layers == 62 else keys["head_dim"]
    return {
        **keys,
        "rope_local_base_freq": plain(file, "rope.freq_base_swa", 10000.0),
        "layer_types": ["sliding_attention" if window and near else "full_attention" for near in local],
        "query_pre_attn_scalar": scale,
        **({"sliding_window": window} if window else {}),
    }


SILU = {"hidden_act": "silu"}
ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture(
        model_type="llama",
        fixed=SILU,
        more=llama,
        ops=lambda raw: {
            "attn_q": unturned(raw["num_attention_heads"]),
            "attn_k": unturned(raw["num_key_value_heads"]),
        },
    ),
    "qwen2": Architecture(model_type="qwen2", fixed=SILU, more=rotary),
    "qwen3": Architecture(model_type="qwen3", fixed=SILU, more=rotary, layer={**LAYER, **QK_NORMS}),
    "gemma3": Architecture(
        model_type="gemma3_text",
        fixed={"hidden_activation": "gelu_pytorch_tanh"},
        more=gemma,
        layer=LAYER | GEMMA_NORMS,
        ops=lambda raw: dict.fromkeys(("output_norm", *GEMMA_NORMS), MINUS_ONE),
    ),
    "gpt2": Architecture(
        model_type="gpt2",
        sizes=GPT2_SIZES,
        outer=GPT2_OUTER,
        layer=GPT2_LAYER,
        layers="transformer.h",
        fixed={"activation_function": "gelu_new"},
        ops=lambda raw: dict.fromkeys(("attn_qkv", "attn_output", "ffn_up", "ffn_down"), TRANSPOSED),
    ),
}
