"""Model folders on disk: reading with one clear line per fault, and writing all or nothing."""

from __future__ import annotations

import json
import pickle
import re
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from formers.errors import CheckpointError, shown
from formers.files import Content, as_json, expanded, read_json, regular, replaced_folder, resolved, write_file
from formers.pretrained.keys import ConfigShape, GenerationShape
from formers.pretrained.open_clip import OPEN_CLIP_CONFIG, open_clip_config

CONFIG, GENERATION, WEIGHTS = "config.json", "generation_config.json", "model.safetensors"
INDEX = WEIGHTS + ".index.json"
DIFFUSION = "diffusion_pytorch_model.safetensors"  # of a part of a folder of diffusers
PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
BIN, BIN_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
# What belongs to a model: a save replaces these, and leaves every other file of the folder alone.
OWNED = """
    config.json generation_config.json model.safetensors model.safetensors.index.json model-*-of-*.safetensors
    diffusion_pytorch_model*.safetensors diffusion_pytorch_model.safetensors.index.json
    tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json vocab.json target_vocab.json
    merges.txt source.spm target.spm spiece.model formers.json preprocessor_config.json processor_config.json
""".split()

# The numbers that weights are read in; whole ones are positions and masks.
CODES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U8": torch.uint8, "BOOL": torch.bool},
}
TYPES = frozenset(CODES.values())
# what an unpickler stumbles into, depending on the byte where a file is broken
BROKEN_PICKLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    struct.error,
)


class WeightMap(TypedDict):
    """The index of shards."""

    weight_map: dict[str, str]


def read_config(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json, and generation_config.json (empty when absent)."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder" if folder.exists() else f"{folder} does not exist")
    if is_open_clip(folder):
        return open_clip_config(folder / OPEN_CLIP_CONFIG), {}
    if not (folder / CONFIG).exists():
        raise CheckpointError(f"{folder} has no {CONFIG}; it is not a model folder")
    generation = folder / GENERATION
    settings = read_json(generation, GenerationShape) if generation.exists() else {}
    return read_json(folder / CONFIG, ConfigShape), settings


def is_open_clip(folder: Path) -> bool:
    """Whether a folder is in open_clip's form and in no other."""
    return (folder / OPEN_CLIP_CONFIG).exists() and not (folder / CONFIG).exists()


def whole_file(folder: Path) -> Path | None:
    """The file that holds all weights of a folder; None where there are shards, or a pickle."""
    names = OPEN_CLIP[:2] if is_open_clip(folder) else (WEIGHTS, DIFFUSION, *map(half, (WEIGHTS, DIFFUSION)))
    return next((folder / name for name in names if (folder / name).exists()), None)


def half(name: str) -> str:
    """The name of a file of weights in fp16, which may stand beside the one in fp32 or alone."""
    return name.replace(".safetensors", ".fp16.safetensors")


def index_file(folder: Path) -> Path | None:
    """The index of a folder's shards; None where it has none."""
    places = (folder / f"{name}.index.json" for name in (WEIGHTS, DIFFUSION))
    return next((path for path in places if path.exists()), None)


def read_weights(folder: Path, *, allow_bin: bool = False) -> dict[str, Tensor]:
    """Every tensor of a folder, from one file or from the shards that its index names, on the CPU.

    Pickled files are refused unless `allow_bin`, and then read without running code (`weights_only`).
    Raises CheckpointError for a missing, truncated or corrupted file.
    """
    if (path := whole_file(folder)) is not None:  # whole, whatever shards an older save has left beside it
        return read_part(path)
    if (index := index_file(folder)) is not None:
        return read_shards(folder, index.name, read_part)
    whole, expected = (OPEN_CLIP[-1], OPEN_CLIP[0]) if is_open_clip(folder) else (BIN, WEIGHTS)
    pickled = whole if (folder / whole).exists() or not (folder / BIN_INDEX).exists() else BIN_INDEX
    if not (folder / pickled).exists():
        raise CheckpointError(f"{folder} has no {expected}")
    if not allow_bin:
        what = f"{folder} has {pickled} only, a pickle, which can run code"
        raise CheckpointError(f"{what}; convert it with: formers export {folder} OUT --allow-bin")
    return read_shards(folder, BIN_INDEX, read_bin) if pickled == BIN_INDEX else read_bin(folder / whole)


def read_part(path: Path) -> dict[str, Tensor]:
    """One file of weights; those of diffusion are convolutions, which all take another order in memory."""
    return read_safetensors(path, mapped=not path.name.startswith(DIFFUSION.partition(".")[0]))


def weight_names(folder: Path) -> Iterator[str]:
    """The names of the tensors that `read_weights` gives; no tensor is read. Raises CheckpointError as that does."""
    if (path := whole_file(folder)) is not None:
        yield from safetensors_names(path)
    elif (index := index_file(folder)) is not None:
        yield from shard_places(folder, index.name)
    else:
        yield from read_weights(folder)


def shard_places(folder: Path, index: str) -> dict[str, str]:
    """The names of the tensors of all shards, and the file of each."""
    places: dict[str, str] = read_json(folder / index, WeightMap)["weight_map"]
    return places


def read_shards(folder: Path, index: str, read: Callable[[Path], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of all shards; the index must name exactly what they hold."""
    places = shard_places(folder, index)
    shards = sorted(set(places.values()))
    ending = Path(index.removesuffix(".index.json")).suffix
    if strange := [name for name in shards if not re.fullmatch(rf"[\w.+-]{{1,200}}\{ending}", name)]:
        raise CheckpointError(f"{folder / index}: {shown(strange[0])} is no name of a {ending} file in its folder")
    if missing := [name for name in shards if not (folder / name).exists()]:
        count, names = f"{len(missing)} of {len(shards)}", ", ".join(missing[:4])
        raise CheckpointError(f"{folder} lacks {count} shards ({names}); get them again")
    tensors: dict[str, Tensor] = {}
    for name in shards:
        tensors.update(read(folder / name))
    if lost := sorted(places.keys() - tensors.keys()):
        names = shown(", ".join(lost[:4]))[1:-1]
        raise CheckpointError(f"the shards of {folder} lack {len(lost)} weights of {index}: {names}")
    return tensors


def read_safetensors(path: Path, *, mapped: bool = True) -> dict[str, Tensor]:
    """The tensors of one file, which stay parts of it until they are used.

    mapped=False: each is read into memory of its own, which is free again as soon as it is replaced by another form of
    it; of a mapped file all stays in memory. Raises CheckpointError naming the file, its size and what to do.
    """
    with safetensors_faults(path):
        return readable(path, load_file(path) if mapped else copied(path))


def copied(path: Path) -> dict[str, Tensor]:
    names = safetensors_names(path)  # which checks the header
    tensors = {}
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start - 8))
        if any(header[name]["dtype"] not in CODES for name in names):
            return load_file(path)
        for name in names:
            tensors[name] = torch.empty(header[name]["shape"], dtype=CODES[header[name]["dtype"]])
            file.seek(start + header[name]["data_offsets"][0])
            place: Any = tensors[name].reshape(-1).view(torch.uint8).numpy()
            file.readinto(place)
    return tensors


def safetensors_names(path: Path) -> list[str]:
    """The names of the tensors of one file, from its header. Raises what `read_safetensors` raises."""
    with safetensors_faults(path), safe_open(path, "pt") as file:
        return list(file.keys())


def read_metadata(path: Path) -> dict[str, str]:
    """What a file says beside its tensors. Raises what `read_safetensors` raises."""
    with safetensors_faults(path), safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def refuse_pickle(path: Path) -> None:
    """Raises CheckpointError for a file that is no safetensors, by its name."""
    if path.suffix in PICKLES:
        what = f"{path} is a pickle, which can run code, so it is not read"
        raise CheckpointError(f"{what}; get it as .safetensors, or convert it where you trust it")


def readable(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file. Raises CheckpointError for numbers of eight bits and less, whose scales are a scheme."""
    if strange := [name for name, tensor in tensors.items() if tensor.dtype not in TYPES]:
        kind = str(tensors[strange[0]].dtype).removeprefix("torch.")
        what = f"{path} holds {len(strange)} weights as {kind} ({shown(strange[0])[1:-1]})"
        raise CheckpointError(f"{what}, which is not read here; get this model in bf16, fp16 or fp32")
    return tensors


@contextmanager
def safetensors_faults(path: Path) -> Iterator[None]:
    try:
        regular(path)  # a pipe would never end
        yield
    except SafetensorError as fault:
        size = path.stat().st_size
        if size < 1024 and path.read_bytes().startswith(b"version https://git-lfs"):
            raise CheckpointError(f"{path} is a Git LFS pointer, no weights; run git lfs pull") from fault
        what = f"{path} ({size:,} bytes) is truncated or corrupted ({shown(str(fault))[1:-1]})"
        raise CheckpointError(f"{what}; delete it and get it again") from fault
    except OSError as fault:
        raise CheckpointError(f"cannot read {path}: {fault.strerror or fault}") from fault


def read_bin(path: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch pickle, without running code."""
    try:
        regular(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on kinds of pickles and tensors: they are read, or refused below
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except BROKEN_PICKLE as fault:
        raise CheckpointError(f"{path} cannot be read ({pickle_fault(fault)}); get it again") from fault
    plain = isinstance(tensors, dict) and all(isinstance(name, str) for name in tensors)
    if not plain or not all(map(is_dense, tensors.values())):
        raise CheckpointError(f"{path} holds more than named, dense tensors, so it is not read")
    return readable(path, tensors)


def pickle_fault(fault: BaseException) -> str:
    """What is wrong with a pickle, in short; PyTorch's own words advise to run its code."""
    if code := re.search(r"GLOBAL ([\w.]+)", str(fault)):
        return f"it wants {code[1]:.60}, which is no tensor: code of a pickle is never run"
    return "it is damaged, or holds more than tensors" if "weights_only" in str(fault) else shown(str(fault))[1:-1]


def is_dense(value: Any) -> bool:
    """Whether it is a tensor all of whose numbers are there; a small file may say that one number is a trillion."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and value.untyped_storage().nbytes() >= value.nbytes
    )


def as_safetensors(tensors: Mapping[str, Tensor]) -> Callable[[Path], None]:
    """A writer of these tensors, for `write_folder`."""

    def write(path: Path) -> None:
        plain = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
        try:
            save_file(plain, path, {"format": "pt"})
        except SafetensorError as fault:  # its writer reports a full disk this way
            raise OSError(str(fault)) from fault

    return write


def weight_files(tensors: Mapping[str, Tensor], shard_bytes: int, whole: str = WEIGHTS) -> dict[str, Content]:
    """The files of these tensors by name: one (`whole`), or shards of at most that size and their index.

    A tensor that is larger is alone in its shard. The names and the index are those that other libraries look for.
    """
    shards: list[dict[str, Tensor]] = [{}]
    size = 0  # of the last one
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    if len(shards) == 1:
        return {whole: as_safetensors(tensors)}
    files: dict[str, Content] = {}
    places: dict[str, str] = {}
    for i, shard in enumerate(shards, 1):
        file = f"{Path(whole).stem}-{i:05}-of-{len(shards):05}.safetensors"
        files[file] = as_safetensors(shard)
        places.update(dict.fromkeys(shard, file))
    total = sum(tensor.nbytes for tensor in tensors.values())
    return {**files, f"{whole}.index.json": as_json({"metadata": {"total_size": total}, "weight_map": places})}


def write_folder(path: str | Path, files: Mapping[str, Content]) -> Path:
    """Write a folder all or nothing: into a temporary sibling, flushed to the disk, then renamed.

    Model files of an older save are replaced, any other file of the folder is kept. Raises CheckpointError
    when the disk is full or the place is not writable; then the folder is as it was.
    """
    path = resolved(expanded(path))
    if path.exists() and not path.is_dir():
        raise CheckpointError(f"cannot write the folder {path}: a file of that name exists")
    try:
        with replaced_folder(path, lambda name: not any(fnmatch(name, owned) for owned in OWNED)) as fresh:
            for name, content in files.items():
                write_file(fresh / name, content)
    except OSError as fault:
        raise CheckpointError(f"cannot write {path}: {fault.strerror or fault}") from fault
    return path
