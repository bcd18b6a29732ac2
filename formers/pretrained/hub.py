"""Model folders from a hub, into its cache: safetensors, JSON and tokenizer files; or one .gguf file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from formers.errors import CheckpointError

ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*(@[^@\s]+)?")
GGUF_FILE = re.compile(r"([^/@]+/[^/@]+)/([^@]+\.gguf)(@[^@\s]+)?")
FILES = ["*.json", "*.safetensors", "*.model", "*.spm", "*.txt", "*.jinja"]
# folders of the same weights for other frameworks
SKIPPED = ["onnx/*", "openvino/*", "flax/*", "coreml/*", "README*", "LICENSE*"]


def is_id(source: str) -> bool:
    """Whether `source` is spelled like a hub id: `owner/name` or `owner/name@revision`."""
    return ID.fullmatch(source) is not None


def is_gguf(source: str) -> bool:
    """Whether `source` is spelled like one .gguf file of a hub id: `owner/name/file.gguf`, perhaps with `@revision`."""
    parts = GGUF_FILE.fullmatch(source)
    return parts is not None and is_id(parts[1])


def fetch_gguf(source: str, *, offline: bool | None = None) -> Path:
    """The local file of `owner/name/file.gguf[@revision]`. Raises what `fetch` raises, and for a missing file."""
    parts = GGUF_FILE.fullmatch(source)
    if parts is None:
        raise CheckpointError(f"{source!r} must look like owner/name/file.gguf or owner/name/file.gguf@revision")
    id, file = parts[1] + (parts[3] or ""), parts[2]
    path = fetch(id, offline=offline, only=(file,)) / file
    if not path.is_file():
        raise CheckpointError(f"{id} has no file {file}")
    return path


def fetch(
    id: str,
    *,
    revision: str | None = None,
    offline: bool | None = None,
    allow_bin: bool = False,
    only: Sequence[str] = (),
) -> Path:
    """The local folder of `owner/name` or `owner/name@revision`, downloaded unless the cache has it.

    Follows the environment: HF_ENDPOINT, HF_HUB_OFFLINE, HF_HUB_CACHE, HF_HOME, HF_TOKEN.
    Pickled weights come only with `allow_bin`; `only`: nothing but these files.
    Raises CheckpointError when the id or revision does not exist, when it needs a permission, or when neither
    network nor cache has it.
    """
    from huggingface_hub import errors, snapshot_download

    if not is_id(id):
        raise CheckpointError(f"{id!r} is not a hub id; it must look like owner/name or owner/name@revision")
    name, _, pinned = id.partition("@")
    if pinned and revision and pinned != revision:
        raise CheckpointError(f"{id} names the revision {pinned}, but revision is {revision}")
    revision = pinned or revision
    shown = f"{name}@{revision}" if revision else name
    offline = switch("HF_HUB_OFFLINE") if offline is None else offline
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    # the library's own class where it is not an OSError (httpx), for a connection that breaks on the way
    broken = (OSError, getattr(errors, "HTTPError", OSError))
    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                cache_dir=cache_folder(),
                endpoint=endpoint,
                local_files_only=offline,
                allow_patterns=[*only] if only else [*FILES, "*.bin"] if allow_bin else FILES,
                ignore_patterns=None if only else SKIPPED,
            )
        )
    except errors.GatedRepoError as fault:
        advice = f"accept its terms at {endpoint}/{name}, and set HF_TOKEN"
        raise CheckpointError(f"{shown} needs a permission: {advice}") from fault
    except errors.RepositoryNotFoundError as fault:
        raise CheckpointError(f"{endpoint} has no model {name}, or it is private (HF_TOKEN)") from fault
    except errors.RevisionNotFoundError as fault:
        raise CheckpointError(f"{name} has no revision {revision!r}") from fault
    except errors.HFValidationError as fault:
        raise CheckpointError(f"{id!r} is not a hub id: {fault}") from fault
    except errors.LocalEntryNotFoundError as fault:
        if offline:
            missing = f"{shown} is not complete in the cache {cache_folder()}"
            raise CheckpointError(f"{missing}, and offline is set") from fault
        raise CheckpointError(f"{shown} is not in the cache, and {endpoint} cannot be reached") from fault
    except broken as fault:
        raise CheckpointError(f"downloading {shown} from {endpoint} broke off: {str(fault).splitlines()[0]}") from fault


def cache_folder() -> Path:
    """Where downloads are kept, as the environment says now."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def switch(name: str) -> bool:
    return os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")
