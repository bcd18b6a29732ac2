"""Small files and folders that load, one of every kind that is read: what the mutations begin with."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors.torch import save_file
from torch import nn

from formers.adapters.bitfit import learn_biases
from formers.adapters.lora import add_lora
from formers.blocks.stack import StackConfig
from formers.files import as_json
from formers.models.causal import CausalLM
from formers.models.clip import TextTower, TextTowerConfig
from formers.models.encoder import Encoder
from formers.models.heads import (
    HeadConfig,
    MaskedWords,
    MultipleChoice,
    SequenceClassifier,
    SpanFinder,
    TokenClassifier,
)
from formers.models.sentence import Dense, Normalise, SentenceHead
from formers.models.transformer import Transformer
from formers.models.unet import UNet, UNetConfig
from formers.models.vae import VAE, VAEConfig
from formers.pretrained.diffusers_folder import DiffusionParts, save_diffusers
from formers.pretrained.layouts.latent_diffusion import ORIGINAL_UNET, ORIGINAL_VAE, TEXT
from formers.pretrained.load import load_model, save_model
from formers.pretrained.mapping import to_theirs
from formers.pretrained.peft.adapters import save_adapter
from formers.pretrained.sentence_folder import SentenceSettings
from formers.systems.embedding.system import SentenceEncoder
from formers.systems.sizes import CausalSizes, EncoderSizes, TransformerSizes
from formers.text.clip_tokenizer import END, byte_letters
from formers.text.open import load_tokenizer, train_bpe
from formers.text.training import train_byte_bpe, train_word_pieces

WORDS = "I ate an apple you eat the pear we see a house green small tree reads book walks dog cat under table".split()
TEXTS = [" ".join(random.Random(n).choices(WORDS, k=6)) + "." for n in range(60)]
# What published config.json files hold beside what is computed.
BESIDE = {
    "_name_or_path": "x", "transformers_version": "4.40.0", "torch_dtype": "float32", "use_cache": True,
    "output_attentions": False, "return_dict": True,
    "id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1},
    "pruned_heads": {}, "task_specific_params": None, "problem_type": None, "temperature": 1.0,
}  # fmt: skip
GENERATION = {
    "max_length": 20, "num_beams": 2, "do_sample": False, "temperature": 0.9, "top_k": 5, "top_p": 0.9,
    "repetition_penalty": 1.1, "length_penalty": 0.9, "no_repeat_ngram_size": 2, "bad_words_ids": [[3]],
    "min_length": 1,
    "suppress_tokens": [5], "begin_suppress_tokens": [6], "forced_eos_token_id": 1, "early_stopping": True,
}  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '>' }}{{ message['content'] | trim }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
Sample = Callable[[Path], Any]
SAMPLES: dict[str, Sample] = {}


def sample(build: Sample) -> Sample:
    """Register what writes the folder of its name."""
    SAMPLES[build.__name__] = build
    return build


def edit(path: Path, **changes: Any) -> None:
    """Give a JSON file other keys."""
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **changes}, indent=1))


# ---- models --------------------------------------------------------------------------------------------------------


def encoder_config(form: str, vocab: int) -> Any:
    narrow = {"embedding_dim": 8} if form in ("albert", "electra") else {}
    return EncoderSizes(form=form, dim=16, heads=2, layers=1, hidden=24, length=40, **narrow).config(vocab)


def write_encoder(folder: Path, form: str, kind: Callable[..., nn.Module], purpose: str) -> None:
    tokenizer = train_word_pieces(TEXTS, 90)
    body = encoder_config(form, tokenizer.vocab)
    labels = {"labels": ("no", "yes")} if kind in (SequenceClassifier, TokenClassifier) else {}
    save_model(folder, kind(HeadConfig(encoder=body, **labels)).eval(), tokenizer=tokenizer)
    edit(folder / "config.json", **{key: value for key, value in BESIDE.items() if not labels or "label" not in key})


def encoder_sample(form: str, kind: Callable[..., nn.Module], purpose: str = "") -> None:
    SAMPLES[f"{form}-{kind.__name__}"] = lambda folder: write_encoder(folder, form, kind, purpose)


for form, head in {
    "bert": SequenceClassifier,
    "roberta": MaskedWords,
    "distilbert": TokenClassifier,
    "albert": SpanFinder,
    "electra": SequenceClassifier,
    "mpnet": MaskedWords,
    "roformer": MultipleChoice,
    "deberta": TokenClassifier,
}.items():
    encoder_sample(form, head)


def write_causal(folder: Path, form: str, **more: Any) -> None:
    tokenizer = train_byte_bpe(TEXTS, 300)
    sizes = CausalSizes(form=form, dim=16, heads=2, layers=1, hidden=24, length=64)
    save_model(folder, CausalLM(sizes.config(tokenizer.vocab)).eval(), tokenizer=tokenizer, **more)
    edit(folder / "generation_config.json", **GENERATION)
    edit(folder / "tokenizer_config.json", chat_template=TEMPLATE, model_max_length=64, added_tokens_decoder=ADDED)
    edit(
        folder / "special_tokens_map.json",
        eos_token={"content": "<|endoftext|>", "lstrip": False},
        bos_token="<|endoftext|>",
    )


ADDED = {"0": {"content": "<|endoftext|>", "lstrip": False, "normalized": False, "special": True}}


@sample
def gpt2(folder: Path) -> None:
    """With vocab.json and merges.txt instead of tokenizer.json."""
    write_causal(folder, "gpt2")
    rules = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(rules["vocab"]))
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in rules["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (folder / "added_tokens.json").write_text(json.dumps({"<|endoftext|>": 0}))
    (folder / "tokenizer.json").unlink()


@sample
def llama(folder: Path) -> None:
    write_causal(folder, "llama", system="chat")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    edit(folder / "config.json", rope_scaling=None, attention_bias=False, pretraining_tp=1, mlp_bias=False)


@sample
def qwen3_in_shards(folder: Path) -> None:
    write_causal(folder, "qwen3", shard_bytes=8000)


@sample
def gpt_as_bin(folder: Path) -> None:
    write_causal(folder, "gpt")
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@sample
def llama_as_bins(folder: Path) -> None:
    write_causal(folder, "llama")
    from safetensors.torch import load_file

    tensors, places = load_file(folder / "model.safetensors"), {}
    for number in range(2):
        name = f"pytorch_model-0000{number + 1}-of-00002.bin"
        part = dict(list(tensors.items())[number::2])
        torch.save(part, folder / name)
        places |= dict.fromkeys(part, name)
    edit(folder / "pytorch_model.bin.index.json", metadata={"total_size": 1}, weight_map=places)
    (folder / "model.safetensors").unlink()


def write_transformer(folder: Path, form: str, tokenizer: Any) -> None:
    sizes = TransformerSizes(form=form, dim=16, encoder_layers=1, decoder_layers=1, heads=2, hidden=24, length=40)
    vocab = max(tokenizer.vocab, tokenizer.target_vocab)
    save_model(folder, Transformer(sizes.config(vocab)).eval(), tokenizer=tokenizer)
    edit(folder / "generation_config.json", **GENERATION)


@sample
def bart(folder: Path) -> None:
    write_transformer(folder, "bart", train_bpe(TEXTS, 80))


def train_pieces(prefix: Path, **options: Any) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 5),
        model_prefix=str(prefix),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    prefix.with_suffix(".vocab").unlink()


@sample
def marian(folder: Path) -> None:
    from formers.text.open import load_tokenizer

    for side in ("source", "target"):
        train_pieces(folder / side)
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    pieces = [model.id_to_piece(number) for number in range(3, model.vocab_size())]
    names = ["</s>", "<unk>", *pieces, "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    edit(folder / "tokenizer_config.json", source_lang="en", target_lang="de", model_max_length=40)
    write_transformer(folder, "marian", load_tokenizer(folder, {"pad_token_id": len(names) - 1}))


@sample
def t5(folder: Path) -> None:
    from formers.text.open import load_tokenizer

    train_pieces(folder / "spiece", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    edit(folder / "tokenizer_config.json", extra_ids=3, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    write_transformer(folder, "t5", load_tokenizer(folder, {}))


@sample
def deberta_pieces(folder: Path) -> None:
    """A tokenizer alone, and vocab.txt beside it in another folder."""
    pieces = {"bos_piece": "[CLS]", "eos_piece": "[SEP]", "pad_piece": "[PAD]", "unk_piece": "[UNK]"}
    ids = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
    train_pieces(folder / "spm", **ids, **pieces, user_defined_symbols=["[MASK]"])
    edit(folder / "tokenizer_config.json", do_lower_case=False, vocab_type="spm")


@sample
def bert_vocabulary(folder: Path) -> None:
    tokenizer = train_word_pieces(TEXTS, 90)
    ids = tokenizer.rules.get_vocab()
    (folder / "vocab.txt").write_text("\n".join(sorted(ids, key=ids.__getitem__)) + "\n")
    edit(folder / "tokenizer_config.json", do_lower_case=True, strip_accents=None, tokenize_chinese_chars=True)
    edit(
        folder / "special_tokens_map.json", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]", pad_token="[PAD]"
    )
    (folder / "added_tokens.json").write_text(json.dumps({"<new>": len(ids)}))


# ---- beside a model ------------------------------------------------------------------------------------------------


def adapter_config(**changes: Any) -> dict[str, Any]:
    return {
        "task_type": "CAUSAL_LM",
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"layers.0.*": 4},
        "auto_mapping": None,
    }


@sample
def adapter(folder: Path) -> None:
    write_causal(folder / "model", "llama")
    model = load_model(folder / "model").model
    add_lora(model, targets=["q", "v"], rank=2)
    save_adapter(folder / "adapter", model, base="../model")
    edit(folder / "adapter" / "adapter_config.json", **adapter_config())


@sample
def changes(folder: Path) -> None:
    write_encoder(folder / "model", "bert", SequenceClassifier, "")
    model = load_model(folder / "model").model
    learn_biases(model)
    save_adapter(folder / "adapter", model, base="../model", kind="bitfit", system="classification")


@sample
def sentence(folder: Path) -> None:
    tokenizer = train_word_pieces(TEXTS, 90)
    model = Encoder(encoder_config("bert", tokenizer.vocab)).eval()
    head = SentenceHead(("mean",), [Dense(16, 8), Normalise()])
    settings = SentenceSettings(length=20, prompts={"query": "a "}, default_prompt="query")
    SentenceEncoder(model, tokenizer, head, settings).save(folder)


@sample
def gguf_file(folder: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    write_causal(folder / "model", "llama")
    loaded = load_model(folder / "model")
    config: Any = loaded.model.config
    writer.add_context_length(config.length)
    writer.add_embedding_length(16)
    writer.add_block_count(1)
    writer.add_feed_forward_length(24)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(10000.0)
    rules = json.loads(loaded.tokenizer.rules.to_str())["model"]  # type: ignore[union-attr]
    ids = rules["vocab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(ids, key=ids.__getitem__))
    writer.add_token_types([3] + [1] * (len(ids) - 1))
    writer.add_token_merges([" ".join(pair) if isinstance(pair, list) else pair for pair in rules["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_chat_template(TEMPLATE)
    from safetensors.torch import load_file

    names = {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "model.layers.0": "blk.0",
    }  # fmt: skip
    for name, tensor in load_file(folder / "model" / "model.safetensors").items():
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    shutil.rmtree(folder / "model")


@sample
def run(folder: Path) -> None:
    """Three steps of a small tagger, which may go on to the fourth."""
    from formers.launch import train

    for _ in train(RECIPE, RECIPE_CHANGES, run=folder):
        pass


RECIPE = "tagging"
RECIPE_CHANGES = [
    *"model.dim=8 model.layers=1 model.heads=2 model.hidden=8 model.length=24 data.count=24 data.held_out=6".split(),
    *"rows.vocab=60 train.steps=3 train.warmup=1 train.evaluate_every=2 train.save_every=1".split(),
    *"train.sample_every=3 train.log_every=1 train.precision=fp32 train.keep=2 train.prefetch=0".split(),
]  # fmt: skip


# ---- data ----------------------------------------------------------------------------------------------------------

PAIRS = [{"en": text, "de": text.upper()} for text in TEXTS[:8]]
LABELLED = [{"text": text, "label": ("bad", "good")[n % 2]} for n, text in enumerate(TEXTS[:8])]
ROWS: dict[str, list[dict[str, Any]]] = {
    "translation": PAIRS,
    "classification": LABELLED,
    "tagging": [{"tokens": text.split(), "tags": ["O", "B-A", "I-A"] * 2} for text in TEXTS[:8]],
    "answering": [
        {
            "context": text,
            "question": "What?",
            "answers": [text.split()[1]],
            "answer_starts": [len(text.split()[0]) + 1],
        }
        for text in TEXTS[:8]
    ],
    "choice": [{"question": text, "choices": ["a", "b"], "answer": n % 2} for n, text in enumerate(TEXTS[:8])],
    "embedding": [{"anchor": text, "positive": text, "negative": "x"} for text in TEXTS[:8]],
    "scored": [{"sentence1": text, "sentence2": text, "score": n / 8} for n, text in enumerate(TEXTS[:8])],
    "language": [{"text": text} for text in TEXTS[:8]],
    "chat": [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]}
        for text in TEXTS[:8]
    ],
    "preferences": [
        {"messages": [{"role": "user", "content": text}], "chosen": "Yes.", "rejected": "No."} for text in TEXTS[:8]
    ],
}


def flat(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def as_table(rows: list[dict[str, Any]], sign: str) -> str:
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, delimiter=sign, lineterminator="\n")
    writer.writerows([list(rows[0]), *([flat(value) for value in row.values()] for row in rows)])
    return out.getvalue()


@sample
def data(folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    for name, rows in ROWS.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
        (folder / f"{name}.json").write_text(json.dumps(rows))
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"{name}.parquet")
        if all(isinstance(value, str | float) for value in rows[0].values()):
            for sign, suffix in ((",", ".csv"), ("\t", ".tsv")):
                (folder / f"{name}{suffix}").write_text(as_table(rows, sign))
                (folder / f"{name}{suffix}.gz").write_bytes(gzip.compress(as_table(rows, sign).encode(), mtime=0))
    (folder / "language.txt").write_text("\n".join(TEXTS[:8]))
    (folder / "language.txt.gz").write_bytes(gzip.compress("\n".join(TEXTS[:8]).encode(), mtime=0))
    words = "".join(f"{word} {tag}\n" for word, tag in zip(TEXTS[0].split(), "OOBIOO", strict=True)) + "\n"
    (folder / "tagging.conll").write_text(words * 4)
    columns = "".join(f"{n}\t{word}\tx\tNOUN{chr(9)}{chr(9).join('______')}\n" for n, word in enumerate(WORDS[:5], 1))
    (folder / "tagging.conllu").write_text(f"# text\n{columns}\n" * 4)
    asked = [
        {"question": "What?", "id": "1", "answers": [{"text": WORDS[0], "answer_start": 0}], "is_impossible": False},
        {"question": "Who?", "id": "2", "answers": [], "is_impossible": True},
    ]
    passages = [{"context": " ".join(WORDS[n:]), "qas": asked[n:]} for n in range(2)]
    squad = {"version": "2.0", "data": [{"title": "a", "paragraphs": passages}]}
    (folder / "answering-squad.json").write_text(json.dumps(squad))


@sample
def texts(folder: Path) -> None:
    """A recipe, a conversation, a template, requests to a server."""
    from formers.recipe import load_recipe

    (folder / "recipe.toml").write_text(load_recipe(RECIPE, RECIPE_CHANGES).to_toml())
    talk = [{"role": "system", "content": "Be kind."}, *ROWS["chat"][0]["messages"]]
    (folder / "conversation.json").write_text(json.dumps(talk))
    (folder / "template.jinja").write_text(TEMPLATE)
    requests = {
        "generate": {"prompt": "I ate", "max_tokens": 3, "logprobs": True},
        "chat": {"messages": talk[:2], "system": "", "max_tokens": 2, "temperature": 0.5, "seed": 1},
        "choose": {"question": "a", "choices": ["b", "c"], "stream": False},
    }
    for name, body in requests.items():
        (folder / f"request-{name}.json").write_bytes(as_json(body))


@sample
def vectors(folder: Path) -> None:
    """An index, one of whose keys was removed."""
    import numpy

    from formers.systems.vectors.index import VectorIndex

    index = VectorIndex("m")
    index.add(list("abcdefgh"), numpy.eye(8, dtype=numpy.float32), [[i, 1] for i in range(8)], model="m")
    index.remove("c")
    index.save(folder)


@sample
def arrays(folder: Path) -> None:
    numpy.savez(folder / "arrays.npz", mark=numpy.array("x"), train=numpy.zeros((4, 2), numpy.float32))


@sample
def pictures(folder: Path) -> None:
    """Of every kind of file, in most modes."""
    from PIL import Image

    from formers.images.decode import ORIENTATION

    colours = Image.effect_noise((24, 17), 90).convert("RGB")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    colours.save(folder / "a.jpg", exif=exif)
    colours.convert("CMYK").save(folder / "inks.jpg", quality=90, progressive=True)
    colours.convert("RGBA").save(folder / "clear.png", exif=exif)
    colours.quantize(16).save(folder / "palette.png", transparency=3)
    Image.fromarray(numpy.arange(400, dtype=numpy.uint16).reshape(20, 20) * 99).save(folder / "deep.png")
    colours.save(folder / "frames.gif", save_all=True, append_images=[colours.rotate(90)])
    for kind in ("webp", "bmp", "tiff", "ppm", "ico", "jp2"):
        colours.save(folder / f"a.{kind}")
    colours.save(folder / "packed.tiff", compression="tiff_lzw")
    Image.fromarray(numpy.linspace(0, 1, 400, dtype=numpy.float32).reshape(20, 20)).save(folder / "fractions.tiff")


@sample
def preprocessors(folder: Path) -> None:
    """Every form in which a model folder says how its pictures are read."""
    beside = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "do_convert_rgb": None}
    values = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "resample": 3, **beside}
    cropped = {"size": {"shortest_edge": 20}, "do_center_crop": True, "crop_size": {"height": 16, "width": 16}}
    clip = {"image_processor_type": "CLIPImageProcessor", **cropped, **values}
    convnext = {"feature_extractor_type": "ConvNextFeatureExtractor", "size": {"shortest_edge": 16}, "crop_pct": 0.9}
    timm = {"input_size": [3, 16, 16], "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center"}
    open_clip = {"size": 16, "mode": "RGB", "interpolation": "bicubic", "resize_mode": "squash", "mean": [0.5] * 3}
    tower = {"vision_cfg": {"image_size": 16}}
    for name, file, content in (
        ("vit", "preprocessor_config.json", {"size": 16, **values}),
        ("clip", "processor_config.json", {"image_processor": clip, "processor_class": "CLIPProcessor"}),
        ("resnet", "preprocessor_config.json", convnext),
        ("open_clip", "open_clip_config.json", {"model_cfg": tower, "preprocess_cfg": open_clip}),
        ("timm", "config.json", {"architecture": "vit_tiny", "pretrained_cfg": {**timm, "mean": [0.5] * 3}}),
    ):  # fmt: skip
        (folder / name).mkdir()
        (folder / name / file).write_text(json.dumps(content))


@sample
def painting(folder: Path) -> None:
    """A folder of diffusers, the same in one file, a LoRA and a learned word for it."""
    letters = byte_letters()
    pieces = [*letters, *(letter + END for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer/vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    tokenizer = load_tokenizer(folder / "tokenizer", {"model_type": "clip_text_model"})
    stack = StackConfig(dim=8, layers=1, heads=1, hidden=8, activation="gelu_quick")
    parts = DiffusionParts(
        unet=UNet(UNetConfig(widths=(32,), depth=1, attention=(True,), heads=(8,), memory_dim=8, size=4)),
        vae=VAE(VAEConfig(widths=(32,), depth=1)),
        text=TextTower(TextTowerConfig(stack=stack, vocab=len(pieces), length=12, projection=0)),
        tokenizer=tokenizer,
    )
    save_diffusers(folder / "model", parts)
    tables = {"model.diffusion_model.": (parts.unet, ORIGINAL_UNET), "first_stage_model.": (parts.vae, ORIGINAL_VAE),
              "cond_stage_model.transformer.": (parts.text, TEXT)}  # fmt: skip
    tensors = {
        prefix + name: tensor.contiguous()
        for prefix, (model, kind) in tables.items()
        for name, tensor in to_theirs(model.state_dict(), kind.table(model.config)).items()  # type: ignore[union-attr]
    }
    save_file(tensors, folder / "one.safetensors")
    settings = {"unet.lora_alpha": 1, "unet.alpha_pattern": {"conv_in": 2}}
    lora = {"unet.conv_in.lora_A.weight": torch.ones(1, 4, 3, 3), "unet.conv_in.lora_B.weight": torch.ones(32, 1, 1, 1)}
    save_file(lora, folder / "lora.safetensors", {"lora_adapter_metadata": json.dumps(settings)})
    save_file({"<cat>": torch.ones(2, 8)}, folder / "cat.safetensors")
