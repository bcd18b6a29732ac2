"""A small reader of CTranslate2's model.bin: Whisper's weights in it, as transformers names them."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

KINDS = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_variables(path):
    """Name -> array."""
    data, at = path.read_bytes(), 0

    def number(kind):
        nonlocal at
        (value,) = struct.unpack_from(f"<{kind}", data, at)
        at += struct.calcsize(f"<{kind}")
        return value

    def text():
        nonlocal at
        size = number("H")
        at += size
        return data[at - size : at - 1].decode()

    assert number("I") == 6 and text() == "WhisperSpec" and number("I") == 3
    variables = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = KINDS[number("B")], number("I")
        variables[name] = np.frombuffer(data, kind, size // np.dtype(kind).itemsize, at).reshape(shape)
        at += size
    return variables


def whisper_folder(source: Path, folder: Path) -> Path:
    """A folder as transformers has it, of a folder of CTranslate2."""
    theirs = {
        name: torch.from_numpy(value.copy()).float() for name, value in read_variables(source / "model.bin").items()
    }
    ours = {
        "model.decoder.embed_tokens.weight": theirs["decoder/embeddings/weight"],
        "model.encoder.embed_positions.weight": theirs["encoder/position_encodings/encodings"],
        "model.decoder.embed_positions.weight": theirs["decoder/position_encodings/encodings"],
    }
    norms = {"gamma": "weight", "beta": "bias"}
    for i in (1, 2):
        ours |= {f"model.encoder.conv{i}.{p}": theirs[f"encoder/conv{i}/{p}"] for p in ("weight", "bias")}
    for side in ("encoder", "decoder"):
        for p, name in norms.items():
            ours[f"model.{side}.layer_norm.{name}"] = theirs[f"{side}/layer_norm/{p}"]
        for i in range(4):
            here, there = f"model.{side}.layers.{i}", f"{side}/layer_{i}"
            parts = {"self_attn": "self_attention"} | ({"encoder_attn": "attention"} if side == "decoder" else {})
            for own, other in parts.items():
                for p, name in norms.items():
                    ours[f"{here}.{own}_layer_norm.{name}"] = theirs[f"{there}/{other}/layer_norm/{p}"]
                for p in ("weight", "bias"):
                    first = theirs[f"{there}/{other}/linear_0/{p}"]
                    if own == "self_attn":
                        q, k, v = first.chunk(3)
                        out = theirs[f"{there}/{other}/linear_1/{p}"]
                    else:
                        q, (k, v) = first, theirs[f"{there}/{other}/linear_1/{p}"].chunk(2)
                        out = theirs[f"{there}/{other}/linear_2/{p}"]
                    ours |= {f"{here}.{own}.{x}_proj.{p}": y for x, y in (("q", q), ("k", k), ("v", v), ("out", out))}
                assert not ours.pop(f"{here}.{own}.k_proj.bias").any()
            for p, name in norms.items():
                ours[f"{here}.final_layer_norm.{name}"] = theirs[f"{there}/ffn/layer_norm/{p}"]
            for n, name in (("linear_0", "fc1"), ("linear_1", "fc2")):
                ours |= {f"{here}.{name}.{p}": theirs[f"{there}/ffn/{n}/{p}"] for p in ("weight", "bias")}
    folder.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in ours.items()}, folder / "model.safetensors")
    about = json.loads((source / "config.json").read_text())
    ids = {"bos_token_id": 50256, "eos_token_id": 50256, "pad_token_id": 50256, "decoder_start_token_id": 50257}
    sizes = {
        f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (("layers", 4), ("attention_heads", 6))
    }
    sizes |= {"encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536, "d_model": 384, "vocab_size": 51864}
    config = {"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"], **sizes, **ids}
    generation = {
        "alignment_heads": about["alignment_heads"],
        "suppress_tokens": about["suppress_ids"],
        "begin_suppress_tokens": about["suppress_ids_begin"],
        "no_timestamps_token_id": 50362,
        "max_length": 448,
        **ids,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps(generation))
    shutil.copy(source / "tokenizer.json", folder)
    return folder
