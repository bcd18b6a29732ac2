"""The families that load and save, by the type that config.json names; one table each, read on demand."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence

from torch import nn

from formers.errors import CheckpointError, nearest, shown
from formers.pretrained.family import Family

# model_type -> module of this folder and name in it: a family, or a list with one for each head that a model of this
# type may have. Saving tries them in this order, and the native layouts last.
FAMILIES = {
    "marian": "marian:FAMILY",
    "bart": "bart:FAMILIES",
    "mbart": "mbart:FAMILY",
    "m2m_100": "mbart:M2M_100",
    "t5": "t5:FAMILIES",
    "mt5": "t5:MULTILINGUAL",
    "gpt2": "gpt:GPT2",
    "openai-gpt": "gpt:GPT",
    "gpt_neo": "gpt:NEO",
    "llama": "llama:LLAMA",
    "mistral": "llama:MISTRAL",
    "qwen2": "llama:QWEN2",
    "qwen3": "llama:QWEN3",
    "gemma3_text": "gemma:FAMILIES",
    "bert": "bert:FAMILIES",
    "roberta": "roberta:ROBERTA",
    "xlm-roberta": "roberta:XLM_ROBERTA",
    "camembert": "roberta:CAMEMBERT",
    "distilbert": "distilbert:FAMILIES",
    "albert": "albert:FAMILIES",
    "electra": "electra:FAMILIES",
    "mpnet": "mpnet:FAMILIES",
    "roformer": "roformer:FAMILIES",
    "deberta-v2": "deberta:FAMILIES",
    "vit": "vit:FAMILIES",
    "deit": "vit:DEITS",
    "dinov2": "dinov2:FAMILIES",
    "dinov2_with_registers": "dinov2:REGISTERS",
    "dinov3_vit": "dinov3:FAMILIES",
    "resnet": "resnet:FAMILIES",
    "timm-vit": "timm:VITS",
    "timm-resnet": "timm:RESNETS",
    "whisper": "whisper:FAMILY",
    "clip": "clip:FAMILIES",
    "clip_text_model": "clip:TEXTS",
    "clip_vision_model": "clip:PICTURES",
    "siglip": "siglip:FAMILIES",
    "siglip_text_model": "siglip:TEXTS",
    "siglip_vision_model": "siglip:PICTURES",
    "audio-spectrogram-transformer": "spectrogram:FAMILIES",
    "parakeet_ctc": "parakeet:FAMILY",
    "parakeet_encoder": "parakeet:BODY",
    "wav2vec2-conformer": "wav2vec2_conformer:FAMILIES",
    "UNet2DConditionModel": "diffusion:UNET",
    "AutoencoderKL": "diffusion:AUTOENCODER",
    "AutoencoderTiny": "diffusion:TINY",
    "formers-causal": "native:CAUSAL",
    "formers-transformer": "native:TRANSFORMER",
    "formers-encoder": "native:ENCODERS",
    "formers-vision": "native:VISION",
    "formers-clip": "native:CLIPS",
    "formers-autoencoder": "native:AUTOENCODERS",
    "formers-sound": "native:SOUND",
    "formers-diffusion": "native:DIFFUSION",
}


def families(model_type: str | None = None) -> list[Family]:
    """All families, or those of a model_type, in the order in which saving tries them; an encoder has one per head.

    Raises CheckpointError for a model_type that is not known here.
    """
    if model_type is None:
        return [kind for name in FAMILIES for kind in families(name)]
    if model_type not in FAMILIES:
        raise CheckpointError(f"model_type {shown(model_type)} is not supported{nearest(model_type, FAMILIES)}")
    module, _, name = FAMILIES[model_type].partition(":")
    declared = getattr(importlib.import_module(f"formers.pretrained.families.{module}"), name)
    return [declared] if isinstance(declared, Family) else declared


def family(model_type: str, architectures: Sequence[str] = (), weights: Iterable[str] | None = None) -> Family:
    """The family of a config.json. Where its type has several, `architectures` (class names) say which; without, or
    in a file that lacks what only that head has, the first of which the file has the `weights` (names).
    Raises CheckpointError for a type or a head that is not known here.
    """
    kinds, names = families(model_type), None if weights is None else list(weights)

    def stored(kind: Family) -> bool:
        return names is None or not kind.head or any(name.startswith(kind.head) for name in names)

    plain = next(filter(stored, kinds), kinds[0])
    if not architectures or not any(kind.architectures for kind in kinds):  # layouts of ours have no names of classes
        return plain
    for kind in kinds:
        if {*kind.architectures, *kind.also} & {*architectures}:
            return kind if stored(kind) else plain
    known = ", ".join(name for kind in kinds for name in kind.architectures)
    given = ", ".join(shown(name)[1:-1] for name in architectures[:8])
    raise CheckpointError(f"architectures {given} of model_type {model_type!r} is not supported; known: {known}")


def guess_type(architectures: Sequence[str]) -> str | None:
    """The model_type of class names, None where none of them is known. Reads all families."""
    for kind in families():
        if {*kind.architectures, *kind.also} & {*architectures} and not kind.model_type.startswith("formers-"):
            return kind.model_type
    return None


def family_of_class(model_type: str, model: type[nn.Module]) -> Family:
    """The family of a model_type for a class of ours. Raises CheckpointError where it has none."""
    for kind in families(model_type):
        if kind.model is model:
            return kind
    raise CheckpointError(f"model_type {model_type!r} has no {model.__name__}")
