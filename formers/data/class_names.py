"""Names of numbered classes, as data sets of the hub and Parquet files written by `datasets` carry them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

ClassNames = dict[str, tuple[str, ...]]  # column -> name of class 0, 1, ...


def class_names(features: object) -> ClassNames:
    """Read off the features of a data set, in the form of their `to_dict`; a column of lists has the names of these."""
    columns = features if isinstance(features, Mapping) else {}
    return {column: names for column, feature in columns.items() for names in _names(feature)}


def stored_class_names(metadata: Mapping[bytes, bytes] | None) -> ClassNames:
    """Read off the metadata of a Parquet schema; what is not as `datasets` writes it holds none."""
    try:
        return class_names(json.loads((metadata or {})[b"huggingface"])["info"]["features"])
    except (KeyError, TypeError, ValueError):
        return {}


def _names(feature: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(feature, list) and len(feature) == 1:  # lists, as older versions write them
        yield from _names(feature[0])
    elif isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel":
        if isinstance(names := feature.get("names"), list):
            yield tuple(map(str, names))
    elif isinstance(feature, Mapping) and isinstance(feature.get("_type"), str) and "feature" in feature:
        yield from _names(feature["feature"])
