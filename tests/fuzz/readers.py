"""Every reader that there is: which files of which sample are changed, and how they are read and used then.

A new reader is one entry of READERS (and, where no sample has such a file, a function in samples.py).
"""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from samples import ROWS, SAMPLES, TEXTS

from formers.data.documents import read_documents
from formers.data.source import Source
from formers.data.sources import read_table
from formers.data.texts import read_column
from formers.decoding.options import DecodingOptions
from formers.errors import FormersError
from formers.files import read_json
from formers.images.decode import decode
from formers.images.preprocess import load_preprocessor
from formers.recipe import load_recipe, origin_of
from formers.registry import load, locate, system, system_of, verbs, verbs_of
from formers.systems.chat.session import read_messages
from formers.systems.conversing import encoder_of, read_template
from formers.systems.painting.options import Painting
from formers.systems.preferences.task import read_arrays
from formers.systems.suites.sets import read_labelled, read_scored
from formers.systems.system import Origin, resolve
from formers.systems.texts import Texts
from formers.systems.vectors.index import VectorIndex
from formers.text.open import load_tokenizer


@dataclass(frozen=True)
class Reader:
    samples: tuple[str, ...]
    files: tuple[str, ...]
    """Patterns of the files that are changed, one at a time; those that a sample lacks do not count."""
    read: Callable[[Path, Path], Any]
    """(folder of the sample, changed file): reads it, and uses what was read."""
    share: int = 1
    """How often it comes, beside the others."""


def first(texts: list[str] = TEXTS) -> Texts:
    return Texts.of(texts[:2])


# class of a loaded system -> the verb that is tried, and its options
ASKED: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "Translator": ("translate", lambda: {"texts": first()}),
    "LanguageModel": ("generate", lambda: {"prompt": "I ate", "decoding": DecodingOptions(max_tokens=6)}),
    "Classifier": ("classify", lambda: {"texts": first()}),
    "MaskedModel": ("fill", lambda: {"texts": Texts.of(["I [MASK] an apple"])}),
    "Tagger": ("tag", lambda: {"texts": first()}),
    "Answerer": ("answer", lambda: {"questions": ("What?",), "passage": TEXTS[0]}),
    "Chooser": ("choose", lambda: {"question": "What?", "choices": ("a", "b")}),
    "SentenceEncoder": ("encode", lambda: {"texts": first()}),
}


def use(opened: Any) -> None:
    """Ask a loaded system something, and save it."""
    verb, options = ASKED[type(opened).__name__]
    declared = verbs()[verb][0][1]
    list(resolve(declared.run)(opened, resolve(declared.options)(**options())))
    with tempfile.TemporaryDirectory() as place:
        opened.save(Path(place) / "saved")


def read_model(folder: Path, _: Path) -> None:
    system_of(locate(folder, allow_bin=True))
    use(load(folder, allow_bin=True))


def read_adapted(folder: Path, _: Path) -> None:
    read_model(folder / "adapter", _)


def read_tokenizer(folder: Path, _: Path) -> None:
    tokenizer = load_tokenizer(folder, {})
    if tokenizer is not None:
        decoded = [tokenizer.decode(ids) for ids in tokenizer.encode(TEXTS[:2])]
        tokenizer.pieces(list(range(tokenizer.vocab))[:100])
        list(map(tokenizer.unknown_share, [TEXTS[:1], decoded]))
        tokenizer.files()


def read_chat(folder: Path, _: Path) -> None:
    language = load(folder)
    encoder_of(language).encode([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])


def read_run(folder: Path, _: Path) -> None:
    """Open it, draw its curve, go on with it."""
    from formers.launch import train
    from formers.recipe import recipe_of
    from formers.training.run import Run

    origin_of(str(folder))
    use(load(folder))
    list(Run(folder).read_events())
    Run(folder).decisions()
    list(train(recipe_of(str(folder), ["train.steps=4"]), run=folder))


def read_curve(folder: Path, _: Path) -> None:
    from formers.launch import save_curve

    save_curve(folder)


def read_data(folder: Path, file: Path) -> None:
    """As the table that it is, and as the rows of its system."""
    name = file.name.partition(".")[0].partition("-")[0]
    rows = ROWS[name]
    attempts: list[Callable[[], Any]] = [
        lambda: read_table(file),
        lambda: read_table(file, columns=list(rows[0]), text=[], drop_empty=True).named(next(iter(rows[0]))),
        lambda: read_column(str(file), None),
        lambda: read_documents(str(file), separator="blank", drop_empty=True),
        lambda: rows_of(name, file),
    ]
    if name == "scored":
        attempts.append(lambda: read_scored(file))
    if name == "classification":
        attempts.append(lambda: read_labelled(file, pairs=False))
    start = zlib.crc32(file.name.encode()) if not file.is_file() else zlib.crc32(file.read_bytes()[:4096])
    refused = []
    for number in range(len(attempts)):  # one may refuse what another reads; another one begins in each case
        attempt = attempts[(start + number) % len(attempts)]
        try:
            return attempt()
        except FormersError as fault:
            refused.append(fault)
    raise refused[-1]


def rows_of(name: str, file: Path) -> Any:
    kind = resolve(system("embedding" if name == "scored" else name).rows)
    rows = kind(rows={"scored": "scored"}.get(name, "pairs")) if kind.__name__ == "EmbeddingRows" else kind()
    return Source(train=str(file), held_out=2).tables(**rows.reading(Source(train=str(file))))


def read_requests(folder: Path, file: Path) -> None:
    """What a server answers."""
    from starlette.testclient import TestClient

    from formers.server.app import make_app
    from formers.server.models import Models, Served

    model = folder.parent / "language"
    declared = system("chat")
    served = Served("small", declared, load(model), verbs_of(declared), Origin("small"))
    client = TestClient(make_app(Models({"small": served})), base_url="http://127.0.0.1")
    if not file.is_file():
        raise FormersError("a body is no file")
    verb = file.stem.removeprefix("request-")
    answer = client.post(f"/{verb}", content=file.read_bytes(), headers={"content-type": "application/json"})
    if answer.status_code != 200:
        assert answer.status_code in (400, 404, 422), answer.status_code
        raise FormersError(json.loads(answer.text)["error"])
    if answer.headers["content-type"] == "application/json":
        json.loads(answer.text)


def read_picture(_: Path, file: Path) -> None:
    assert decode(file, file.name).mode == "RGB"


def read_preprocessor(_: Path, file: Path) -> None:
    """Read it, use it, write it."""
    folder = file.parent
    config = read_json(file) if folder.name == "timm" else {"model_type": folder.name, "image_size": 16}
    preprocessor = load_preprocessor(folder, config)
    if preprocessor is not None:
        assert preprocessor(Image.new("RGB", (30, 21))).shape[1:] == (preprocessor.height, preprocessor.width)
        preprocessor.files()


def read_array(_: Path, file: Path) -> None:
    assert all(isinstance(array, np.ndarray) for array in read_arrays(file).values())


def read_painter(folder: Path, file: Path) -> None:
    """The folder, or the same in one file; with the LoRA and the learned word."""
    painter = load(folder / ("model" if folder / "model" in file.parents else "one.safetensors"))
    added = {"lora": (str(folder / "lora.safetensors"),), "inversion": (str(folder / "cat.safetensors"),)}
    list(painter.paint(Painting(prompt="a <cat>", steps=1, size="4x4", **added)))
    with tempfile.TemporaryDirectory() as place:
        painter.save(Path(place) / "saved")


def read_index(folder: Path, _: Path) -> None:
    index = VectorIndex.load(folder)
    index.search(np.eye(8, dtype=np.float32), 3, model=index.model)
    with tempfile.TemporaryDirectory() as place:
        index.save(Path(place))


ENCODERS = tuple(name for name in SAMPLES if "-" in name)
CAUSAL = ("gpt2", "llama", "qwen3_in_shards")
MODELS = (*ENCODERS, *CAUSAL, "bart", "marian", "t5", "sentence")
READERS: dict[str, Reader] = {
    "config": Reader(MODELS, ("config.json",), read_model, 6),
    "generation config": Reader((*CAUSAL, "bart", "marian", "t5"), ("generation_config.json",), read_model, 3),
    "weights": Reader(MODELS, ("*.safetensors",), read_model, 3),
    "index": Reader(("qwen3_in_shards",), ("model.safetensors.index.json",), read_model, 2),
    "pickled weights": Reader(("gpt_as_bin", "llama_as_bins"), ("*.bin",), read_model, 3),
    "pickled index": Reader(("llama_as_bins",), ("pytorch_model.bin.index.json",), read_model),
    "tokenizer": Reader(("bert-SequenceClassifier", "llama", "bart"), ("tokenizer.json",), read_tokenizer, 6),
    "tokenizer settings": Reader(
        (*CAUSAL, "bert-SequenceClassifier", "marian", "t5", "bert_vocabulary", "deberta_pieces"),
        ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        read_tokenizer,
        3,
    ),
    "tokenizer in a model": Reader(
        ("llama", "bart", "marian", "t5", "gpt2"), ("tok*", "*.spm", "spi*", "v*"), read_model, 2
    ),
    "vocabulary": Reader(
        ("gpt2", "marian", "bert_vocabulary"), ("vocab.json", "merges.txt", "vocab.txt"), read_tokenizer, 3
    ),
    "sentencepiece": Reader(("marian", "t5", "deberta_pieces"), ("*.spm", "*.model"), read_tokenizer, 3),
    "chat template": Reader(("llama",), ("chat_template.jinja",), read_chat, 3),
    "chat template in settings": Reader(("gpt2",), ("tokenizer_config.json",), read_chat),
    "template file": Reader(
        ("texts",), ("template.jinja",), lambda _, file: read_template(str(file), {}).render([]), 2
    ),
    "adapter config": Reader(("adapter",), ("adapter/adapter_config.json",), read_adapted, 4),
    "adapter weights": Reader(("adapter",), ("adapter/adapter_model.safetensors",), read_adapted, 2),
    "changes": Reader(("changes",), ("adapter/changes.json", "adapter/head.json"), read_adapted, 2),
    "changed weights": Reader(("changes",), ("adapter/changes.safetensors",), read_adapted),
    "system name": Reader(("llama",), ("formers.json",), read_model),
    "system name of an adapter": Reader(("changes",), ("adapter/formers.json",), read_adapted),
    "sentence folder": Reader(("sentence",), ("modules.json", "*sentence*.json", "*_*/config.json"), read_model, 4),
    "dense weights": Reader(("sentence",), ("2_Dense/model.safetensors",), read_model),
    "checkpoint": Reader(("run",), ("checkpoints/*/training.*", "checkpoints/best.json"), read_run, 3),
    "run": Reader(("run",), ("environment.json", "events.jsonl", "recipe.toml"), read_run, 3),
    "curve": Reader(("run",), ("events.jsonl",), read_curve),
    "recipe": Reader(("texts",), ("recipe.toml",), lambda _, file: load_recipe(file), 3),
    "data": Reader(("data",), ("*",), read_data, 12),
    "SQuAD": Reader(("data",), ("answering-squad.json",), read_data, 2),
    "CoNLL": Reader(("data",), ("*.conll*",), read_data, 2),
    "gguf": Reader(("gguf_file",), ("model.gguf",), lambda folder, _: read_model(folder, _), 4),
    "conversation": Reader(("texts",), ("conversation.json",), lambda _, file: read_messages(file), 2),
    "request": Reader(("texts",), ("request-*.json",), read_requests, 3),
    "picture": Reader(("pictures",), ("*",), read_picture, 6),
    "preprocessor": Reader(("preprocessors",), ("*/*.json",), read_preprocessor, 4),
    "painter": Reader(("painting",), ("model/*.json", "model/*/*.json", "tokenizer/*"), read_painter, 4),
    "painter's weights": Reader(("painting",), ("model/*/*.safetensors", "one.safetensors"), read_painter, 2),
    "painter's additions": Reader(("painting",), ("lora.safetensors", "cat.safetensors"), read_painter, 3),
    "vectors": Reader(("vectors",), ("index.json", "vectors-0.f32"), read_index, 2),
    "arrays": Reader(("arrays",), ("arrays.npz",), read_array),
}
