"""The shapes of adapter_config.json (peft's), changes.json and head.json (ours)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

from formers.fields import Between

CHANGES_FORMAT, HEAD_FORMAT = "formers changes 1", "formers head 1"


class Belonging(TypedDict, total=False):
    """Which model an adapter belongs to."""

    base_model_name_or_path: str | None
    revision: str | None


class AdapterShape(Belonging, total=False):
    """adapter_config.json; of what it says of LoRA, the keys that are read."""

    peft_type: str
    task_type: str | None
    r: Annotated[int, Between(1)]
    lora_alpha: Annotated[float, Between(above=0)]
    lora_dropout: Annotated[float, Between(0, below=1)]
    target_modules: str | list[str] | None
    exclude_modules: str | list[str] | None
    modules_to_save: list[str] | None
    use_rslora: bool
    bias: str
    rank_pattern: dict[str, Annotated[int, Between(1)]] | None
    alpha_pattern: dict[str, Annotated[float, Between(above=0)]] | None
    layers_to_transform: int | list[int] | None
    layers_pattern: str | list[str] | None
    init_lora_weights: bool | str | None


class ChangesShape(Belonging):
    """changes.json: bitfit, head."""

    format: Literal["formers changes 1"]
    kind: str


class HeadShape(TypedDict):
    """head.json: class and config of a model."""

    format: Literal["formers head 1"]
    model: str
    config: dict[str, Any]
