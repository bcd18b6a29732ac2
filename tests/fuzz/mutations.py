"""What is done to a file: other bytes, other text, other JSON, or something else than a file in its place."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

HUGE, LONG, DEEP_LIST, DEEP_OBJECT = (
    "@huge@",
    "@long@",
    "@deep list@",
    "@deep object@",
)  # written by hand: json.dumps refuses them
BY_HAND = {
    json.dumps(HUGE): "1" * 5000,
    json.dumps(LONG): "1" * 400,  # too large for a float, though json reads it
    json.dumps(DEEP_LIST): "[" * 100_000 + "]" * 100_000,
    json.dumps(DEEP_OBJECT): '{"a":' * 20_000 + "1" + "}" * 20_000,
}
NUMBERS = [0, 1, 2, 3, 7, 100, 0.5, 1e-9, 1e308, -1, -7, -0.5, 2**31 - 1, 2**31, 2**63, 2**64, 10**9, 10**18, -(10**18)]
TEXTS = [
    "", " ", "x", "0", "true", "null", "\n", "\0", "a\nb", "\ud800", "\N{GRINNING FACE}", "\u202e", "\x1b[2J",
    "x" * 1000, "../x", "/dev/zero", "~", "~x", ".", "a/b", "..", "(a+)+$", "(.*.*)*b", "(", "[", "*", "(?P<a>", "{}",
    "%s", "{{ a }}", "{% for i in range(99999999) %}{% endfor %}", "{{ 'a' * 999999999 }}", "{{ messages",
    "{:>999999999}", "\\u0000",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, *NUMBERS, float("nan"), float("inf"), -float("inf"), *TEXTS, HUGE, LONG, DEEP_LIST,
    DEEP_OBJECT, [], [None], [1], ["a"], [[]], [1, "a", None], [0] * 10_000, list(range(300)), {},
    {"a": 1}, {"": None}, [{}],
]  # fmt: skip
SNIPPETS = [
    b"\n", b"\n\n", b"\r\n", b"\r", b"\t", b",", b";", b'"', b"'", b"\\", b"\0", b"\xff", b"\xed\xa0\x80",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xe2\x80\xa8", b"\x1f\x8b", b"#", b"-", b"=", b"[", b"]", b"{", b"}", b"{{", b"}}",
    b"{%", b"%}", b"1e999", b"nan", b"-1", b"99999999999999999999", b"true", b"x" * 70_000, b"\n" * 10_000,
    b"'%*d' % (99999999, 1)", b"{% set a = 'a' * 99999999 %}", b"{{ range(999999) | list }}",
    b"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
]  # fmt: skip


def mutate(path: Path, random: Random, others: list[Path]) -> str:
    """Change one file in its place; gives what was done. others: files to take pieces of."""
    if random.random() < 0.04:
        return replace(path, random)
    content = path.read_bytes()
    changed, what = change(path.name, content, random, others)
    path.unlink()
    path.write_bytes(changed)
    return what


def change(name: str, content: bytes, random: Random, others: list[Path]) -> tuple[bytes, str]:
    """Other content of a file of this name, and what was done."""
    if name.endswith(".gz") and random.random() < 0.7:
        inner, what = change(name.removesuffix(".gz"), gzip.decompress(content), random, others)
        if random.random() < 0.1:
            inner, what = inner * (400 * 2**20 // max(1, len(inner))), "repeated up to 400 MB"
        return gzip.compress(inner, 1, mtime=0), f"gzip of {what}"
    structure = STRUCTURES.get(Path(name).suffix)
    if structure is not None and random.random() < 0.75:
        try:
            return structure(content, random)
        except (ValueError, LookupError, RecursionError):
            pass  # no such structure in it: bytes, then
    text = Path(name).suffix not in (".safetensors", ".bin", ".gguf", ".parquet", ".npz", ".spm", ".model", ".gz")
    if text and random.random() < 0.6:
        return change_text(content, random)
    return change_bytes(content, random, others)


# ---- something else than a file ------------------------------------------------------------------------------------


def replace(path: Path, random: Random) -> str:
    """Put a pipe, a device, a folder, a link, nothing or an empty file where a file is."""
    what = random.choice(["pipe", "device", "folder", "link to nothing", "link to itself", "link out", "gone", "empty"])
    content = path.read_bytes()
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "folder":
        path.mkdir()
    elif what == "link to nothing":
        path.symlink_to("nowhere")
    elif what == "link to itself":
        path.symlink_to(path.name)
    elif what == "link out":
        outside = path.parents[1] / f"outside-{path.name}"
        outside.write_bytes(content)
        path.symlink_to(outside)
    elif what == "empty":
        path.touch()
    return what


# ---- JSON ----------------------------------------------------------------------------------------------------------


def change_json(content: bytes, random: Random) -> tuple[bytes, str]:
    """Other values, keys and places in a JSON document. Raises ValueError where it is none."""
    tree = [json.loads(content)]
    done = [change_tree(tree, random) for _ in range(random.choice([1, 1, 1, 2, 3]))]
    text = as_text(tree[0])
    if isinstance(tree[0], dict) and tree[0] and random.random() < 0.05:
        key = random.choice(list(tree[0]))
        text = f"{{{json.dumps(key)}: {as_text(random.choice(VALUES))}, {text[1:]}"
        done.append(f"{key} twice")
    return text.encode(), ", ".join(done)


def change_lines(content: bytes, random: Random) -> tuple[bytes, str]:
    """Change one line of JSON."""
    lines = content.split(b"\n")
    number = random.choice([i for i, line in enumerate(lines) if line.strip()])
    lines[number], what = change_json(lines[number], random)
    return b"\n".join(lines), f"line {number + 1}: {what}"


def as_text(tree: Any) -> str:
    text = json.dumps(tree)
    for mark, written in BY_HAND.items():
        text = text.replace(mark, written)
    return text


def places(tree: Any, path: str = "") -> list[tuple[Any, Any, str]]:
    """(container, key, name) of every value."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    out = []
    for key, value in list(items)[:400]:  # of a vocabulary the front is enough
        name = f"{path}.{key}"
        out += [(tree, key, name), *places(value, name)]
    return out


def change_tree(tree: list[Any], random: Random) -> str:
    """One change anywhere in `tree[0]`; gives what it was."""
    every = places(tree)
    shallow = [place for place in every if place[2].count(".") <= 3]
    container, key, name = random.choice(shallow if random.random() < 0.5 else every)
    value = container[key]
    kind = random.choice(["replace"] * 6 + ["remove", "rename", "wrap", "swap", "scale", "repeat", "add", "empty"])
    if kind == "remove":
        del container[key]
        if not tree:
            tree.append(None)
    elif kind == "rename" and isinstance(container, dict):
        new = random.choice([key + "_", key.upper(), "", key[::-1], random.choice(TEXTS)])
        container[new] = container.pop(key)
    elif kind == "wrap":
        container[key] = random.choice([[value], {"a": value}, {name.rpartition(".")[2]: value}, [value] * 3])
    elif kind == "swap":
        other, other_key, _ = random.choice(every)
        container[key], other[other_key] = json.loads(json.dumps([other[other_key], value]))
    elif kind == "scale" and isinstance(value, int | float):
        container[key] = random.choice(
            [-value, value * 10, value * 10**6, value + 1, value / 3, str(value), bool(value)]
        )
    elif kind == "repeat" and isinstance(value, list | str):
        container[key] = value * random.choice([2, 10, 1000])
    elif kind == "add" and isinstance(value, dict):
        value[random.choice([*TEXTS, "a", "type", "path", "id"])] = random.choice(VALUES)
    elif kind == "empty" and isinstance(value, list | dict | str):
        container[key] = type(value)()
    else:
        container[key] = random.choice(VALUES)
        kind = f"replace by {container[key]!r:.30}"
    return f"{kind} {name[2:]}"


# ---- text and bytes ------------------------------------------------------------------------------------------------


def change_text(content: bytes, random: Random) -> tuple[bytes, str]:
    """Lines and words removed, repeated, moved; signs put in."""
    lines = content.split(b"\n")
    number = random.randrange(len(lines))
    kind = random.choice(
        ["insert", "insert", "insert", "remove line", "repeat line", "swap lines", "cut line", "value"]
    )
    if kind == "insert":
        at, piece = random.randrange(len(content) + 1), random.choice(SNIPPETS)
        return content[:at] + piece + content[at:], f"insert {piece[:20]!r} at {at}"
    if kind == "value":  # what stands behind a = in TOML, or between spaces
        values = list(re.finditer(rb"(?<=[= \t,\[])[^\s,\[\]]+", content))
        if values:
            match, new = random.choice(values), random.choice(VALUES)
            piece = as_text(new).encode()
            return content[: match.start()] + piece + content[match.end() :], f"{match[0][:20]!r} is {piece[:20]!r}"
    if kind == "remove line":
        del lines[number]
    elif kind == "repeat line":
        lines[number : number + 1] = [lines[number]] * random.choice([2, 10, 1000])
    elif kind == "swap lines":
        other = random.randrange(len(lines))
        lines[number], lines[other] = lines[other], lines[number]
    else:
        lines[number] = lines[number][: random.randrange(len(lines[number]) + 1)]
    return b"\n".join(lines), f"{kind} {number + 1}"


def change_bytes(content: bytes, random: Random, others: list[Path]) -> tuple[bytes, str]:
    """Bits turned, bytes cut, zeroed, inserted, spliced, numbers made extreme."""
    data = bytearray(content)
    kind = random.choice(["flip", "flip", "cut", "zero", "insert", "splice", "number", "number", "remove", "empty"])
    # half of the time near the beginning, where headers are
    at = random.randrange(max(1, min(len(data), 512) if random.random() < 0.5 else len(data)))
    if kind == "flip":
        for _ in range(random.choice([1, 1, 3, 20])):
            if data:
                data[random.randrange(len(data)) if random.random() < 0.5 else min(at, len(data) - 1)] ^= (
                    1 << random.randrange(8)
                )
    elif kind == "cut":
        del data[at:]
    elif kind == "zero":
        size = random.choice([1, 8, 64, 1000])
        data[at : at + size] = bytes(len(data[at : at + size]))
    elif kind == "insert":
        data[at:at] = random.randbytes(random.choice([1, 4, 100]))
    elif kind == "splice":
        other = random.choice(others).read_bytes() if others else content
        data[at:] = other[random.randrange(len(other) + 1) :]
    elif kind == "number":
        form = random.choice(["<I", "<Q", "<B"])
        highest = 2 ** (8 * struct.calcsize(form)) - 1
        value = min(random.choice([0, 1, 2, 255, highest, highest // 2, highest // 8]), highest)
        data[at : at + struct.calcsize(form)] = struct.pack(form, value)
    elif kind == "remove":
        del data[at : at + random.choice([1, 4, 8, 100])]
    else:
        data.clear()
    return bytes(data), f"{kind} at {at}"


# ---- containers ----------------------------------------------------------------------------------------------------


def change_safetensors(content: bytes, random: Random) -> tuple[bytes, str]:
    """Another JSON header before the same numbers; sometimes its length is a lie."""
    (size,) = struct.unpack_from("<Q", content)
    header, what = change_json(content[8 : 8 + size], random)
    length = random.choice([len(header)] * 8 + [0, 2**40, len(header) + 1])
    return struct.pack("<Q", length) + header + content[8 + size :], f"header: {what}"


def change_bin(content: bytes, random: Random) -> tuple[bytes, str]:
    """Other objects in a PyTorch pickle: a tensor of another kind, or something that is none."""
    import torch

    tree: Any = torch.load(io.BytesIO(content), weights_only=True)
    name, one = random.choice(list(tree.items())), torch.ones(1)
    news: dict[str, Any] = {
        "stretched": one.expand(10**11),
        "sparse": torch.sparse_coo_tensor([[0]], [1.0], (10**6,), check_invariants=True),
        "meta": torch.empty(10**6, 10**6, device="meta"),
        "empty": torch.empty(0),
        "complex": one.to(torch.complex64),
        "a bool": one.bool(),
        "nan": name[1] * float("nan"),
        "quantised": torch.quantize_per_tensor(one, 0.1, 0, torch.qint8),
        "number": 3,
        "none": None,
        "dict": {"a": one},
    }
    what, new = random.choice(list(news.items()))
    if random.random() < 0.2:
        tree = random.choice([{"state_dict": tree}, [tree], one, {1: one}, {}, {"": one}])
    else:
        tree[name[0]] = new
    out = io.BytesIO()
    torch.save(tree, out, _use_new_zipfile_serialization=random.random() < 0.8)
    return out.getvalue(), f"{name[0]} is {what}"


def change_parquet(content: bytes, random: Random) -> tuple[bytes, str]:
    """Columns of other kinds, names and sizes, and other metadata."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(io.BytesIO(content))
    at = random.randrange(table.num_columns)
    rows, name = len(table), table.column_names[at]
    news: dict[str, Callable[[], Any]] = {
        "numbers": lambda: pyarrow.array(range(rows)),
        "bytes": lambda: pyarrow.array([b"\xff\xfe"] * rows),
        "times": lambda: pyarrow.array([2**62] * rows, pyarrow.timestamp("ns")),
        "lists": lambda: pyarrow.array([["a"], None, []] * rows).slice(0, rows),
        "objects": lambda: pyarrow.array([{"a": 1, "en": "b"}] * rows),
        "nothing": lambda: pyarrow.nulls(rows),
        "words of a dictionary": lambda: pyarrow.array(["a"] * rows).dictionary_encode(),
        "one long text": lambda: pyarrow.array(["x" * 100_000] * rows),
        "truths": lambda: pyarrow.array([True] * rows),
    }
    kind = random.choice([*news, "many rows", "metadata", "name"])
    if kind == "many rows":
        table = pyarrow.table({name: pyarrow.nulls(10**8) for name in table.column_names})
    elif kind == "metadata":
        text, _ = change_json(CLASS_NAMES, random)
        table = table.replace_schema_metadata({"huggingface": text})
    elif kind == "name":
        names = [*table.column_names]
        names[at] = random.choice(["", "translation", names[0], "\n", "x" * 1000])
        table = table.rename_columns(names)
    else:
        table = table.set_column(at, name, news[kind]())
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out, compression="zstd")
    return out.getvalue(), f"{name}: {kind}"


CLASS_NAMES = b'{"info": {"features": {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}}}'
STRUCTURES: dict[str, Callable[[bytes, Random], tuple[bytes, str]]] = {
    ".json": change_json,
    ".jsonl": change_lines,
    ".safetensors": change_safetensors,
    ".bin": change_bin,
    ".parquet": change_parquet,
}
