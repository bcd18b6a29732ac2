"""A small published Llama in another project's format (llama2.c), read here into our parts: it tells its story."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch

from formers.blocks.stack import StackConfig
from formers.decoding.search import complete
from formers.decoding.strategies import Greedy
from formers.models.causal import CausalConfig, CausalLM

STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball."
)
START = 1  # <s>


@pytest.fixture(scope="module")
def assets(shared):
    folder = shared / "assets"
    for name in ("stories260K.bin", "tok512.bin"):
        if not (folder / name).is_file():
            pytest.skip(f"{folder / name} is not on this machine")
    assert STORY in (shared / "README.md").read_text("utf-8")
    return folder


def read_model(path):
    """Header of seven int32, then float32: embedding, each kind of weight for all layers, final norm."""
    content = path.read_bytes()
    dim, hidden, layers, heads, kv_heads, vocab, length = struct.unpack_from("<7i", content)
    assert vocab > 0  # a negative one says that the head is not the embedding
    numbers, at = torch.from_numpy(np.frombuffer(content, np.float32, offset=28).copy()), 0

    def take(*shape):
        nonlocal at
        size = int(np.prod(shape))
        at += size
        return numbers[at - size : at].reshape(shape)

    def half_split(rows, count):
        """llama2.c turns neighbouring pairs of features, we turn pairs half a head apart."""
        return rows.unflatten(0, (count, -1, 2)).transpose(1, 2).flatten(0, 2)

    head_dim = dim // heads
    tables = {"embedding": take(vocab, dim), "norm_attention": take(layers, dim)}
    tables |= {
        "q": take(layers, heads * head_dim, dim),
        "k": take(layers, kv_heads * head_dim, dim),
        "v": take(layers, kv_heads * head_dim, dim),
        "o": take(layers, dim, heads * head_dim),
    }
    tables |= {
        "norm_feed_forward": take(layers, dim),
        "gate": take(layers, hidden, dim),
        "down": take(layers, dim, hidden),
        "up": take(layers, hidden, dim),
        "norm": take(dim),
    }
    assert at + 2 * length * head_dim // 2 == len(numbers)  # the rest are the cosines and sines of its positions
    stack = StackConfig(
        dim=dim,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        hidden=hidden,
        norm="rms",
        norm_eps=1e-5,
        activation="silu",
        gated=True,
        bias="",
        feed_forward_bias=False,
    )
    model = CausalLM(CausalConfig(stack=stack, vocab=vocab, length=length)).eval()
    state = {"embedding.weight": tables["embedding"], "stack.norm.weight": tables["norm"]}
    for i in range(layers):
        block = f"stack.blocks.{i}."
        turned = {"q": half_split(tables["q"][i], heads), "k": half_split(tables["k"][i], kv_heads)}
        state |= {f"{block}attention.{name}.weight": turned.get(name, tables[name][i]) for name in "qkvo"}
        state |= {f"{block}feed_forward.{name}.weight": tables[name][i] for name in ("gate", "up", "down")}
        state |= {f"{block}{name}.weight": tables[name][i] for name in ("norm_attention", "norm_feed_forward")}
    model.load_state_dict(state)
    return model


def read_pieces(path, vocab):
    """The longest length, then a score, a length and the bytes of every token."""
    content = path.read_bytes()
    longest, at, pieces = struct.unpack_from("<i", content)[0], 4, []
    for _ in range(vocab):
        _, size = struct.unpack_from("<fi", content, at)
        pieces.append(content[at + 8 : at + 8 + size])
        at += 8 + size
    assert at == len(content) and max(map(len, pieces)) <= longest
    return pieces


def test_the_story_is_told_word_for_word(assets):
    model = read_model(assets / "stories260K.bin")
    pieces = read_pieces(assets / "tok512.bin", model.config.vocab)
    assert model.config.stack.kv_heads == 4 and model.config.stack.heads == 8
    [[told]] = complete(model, torch.tensor([[START]]), model.begin(capacity=80), Greedy(), stop=(START, 2), limit=80)
    text = b"".join(pieces[token] for token in told.tokens).decode()
    assert text.lstrip().startswith(STORY)
