"""The section [adapter] of a recipe as a command line writes it: rank=8,targets=q+v."""

from __future__ import annotations

from formers.errors import ConfigError, nearest

LORA = {"rank": "rank", "alpha": "alpha", "dropout": "dropout", "targets": "targets", "rslora": "rank_stabilised"}


def adapter_changes(kind: str, lora: str | None) -> list[str]:
    """The --set of the recipe's [adapter] section."""
    changes = [f"adapter.kind={kind}"]
    for part in filter(None, (lora or "").split(",")):
        key, equals, value = part.partition("=")
        if key not in LORA or not equals:
            raise ConfigError(f"--lora {part}: expected KEY=VALUE{nearest(key, LORA)}")
        if key == "targets":
            value = "[" + ", ".join(f"'{name}'" for name in value.split("+")) + "]"
        changes.append(f"adapter.{LORA[key]}={value}")
    return changes
