"""Parquet files: their columns within a budget, whatever their footer claims."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from formers.data.class_names import stored_class_names
from formers.data.columns import Columns
from formers.data.files import fault, located, no_column, quoted, regular
from formers.data.limits import budget
from formers.data.objects import flatten
from formers.extras import optional

INDEX = "__index_level_0__"  # what pandas calls the numbers of its rows
TEXTS = ("STRING", "NONE")  # logical types of what Arrow can leave in its dictionary
BATCH = 65536  # rows that are decoded at a time, and where they could come to far more than the file
CAREFUL = 256


@contextmanager
def opened_parquet(name: str, **options: Any) -> Iterator[Any]:
    """A Parquet file, with options of pyarrow's ParquetFile; its faults are ours."""
    parquet = optional("pyarrow.parquet", "parquet", f"{name}: reading Parquet")
    arrow = importlib.import_module("pyarrow")
    regular(name)
    try:
        with parquet.ParquetFile(located(name), **options) as file:
            yield file
    except PermissionError:
        raise fault(name, "no permission to read it; allow it with: chmod u+r") from None
    # besides Arrow's own: a date that Python has none of, text that is none, more than there is memory
    except (arrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise fault(name, f"broken Parquet file ({error}); copy or write it again") from None


def pick(name: str, columns: Sequence[str], wanted: Sequence[str] | None) -> list[str] | None:
    """The columns to load: the wanted ones, and `translation` (WMT layout) for those not at the top."""
    if wanted is None:
        return None
    top = [column for column in wanted if column in columns]
    lost = [column for column in wanted if column not in columns]
    if lost and "translation" not in columns:
        raise no_column(name, wanted, columns)
    return top + ["translation"] * (bool(lost) and "translation" not in top)


def read_parquet(name: str, wanted: list[str] | None) -> Columns:
    """The wanted columns of a Parquet file.

    Texts are decoded with their dictionaries: one long text that stands in a million rows is in memory once, and what
    it would come to is counted before.
    """
    with opened_parquet(name) as file:
        footer, schema = file.metadata, file.schema_arrow
        picked = pick(name, schema.names, wanted) or [column for column in schema.names if column != INDEX]
        texts, most = check_footer(name, file, picked)
    allowed, rows, size = budget(), 0, 0
    values: dict[str, list] = {column: [] for column in picked}
    with opened_parquet(name, read_dictionary=texts) as file:
        for batch in file.iter_batches(batch_size=most, columns=picked):
            rows += batch.num_rows
            size += sum(map(decoded_bytes, batch.columns))
            allowed.check(name, rows=rows, bytes=size)
            for column, array in zip(batch.schema.names, batch.columns, strict=True):
                values[column] += plain(array)
    if rows != footer.num_rows:
        raise fault(name, f"broken Parquet file (its footer says {footer.num_rows:,} rows, but there are {rows:,})")
    return flatten(name, values, wanted)._replace(names=stored_class_names(schema.metadata))


def check_footer(name: str, file: Any, columns: Sequence[str]) -> tuple[list[str], int]:
    """The columns of texts, which are decoded with their dictionaries, and the rows to decode at a time.

    Raises DataError for a footer that claims more than the budget.
    """
    footer, allowed = file.metadata, budget()
    twice = next((column for column in columns if file.schema_arrow.names.count(column) > 1), None)
    if twice is not None:
        raise fault(name, f"two columns are named {quoted(twice)}; rename one")
    allowed.check(name, rows=footer.num_rows)
    size = values = 0
    texts, batch = set(), BATCH
    for group in map(footer.row_group, range(footer.num_row_groups)):
        for place in range(group.num_columns):
            chunk = group.column(place)
            path = chunk.path_in_schema
            if not any(path == column or path.startswith(f"{column}.") for column in columns):
                continue
            if chunk.num_values < 0 or chunk.total_uncompressed_size < 0:
                raise fault(name, f"broken Parquet file (a negative size in the column {quoted(path)})")
            size, values = size + chunk.total_uncompressed_size, values + chunk.num_values
            if chunk.physical_type != "BYTE_ARRAY":
                continue
            if path in columns and file.schema.column(place).logical_type.type in TEXTS:
                texts.add(path)
            elif chunk.num_values * chunk.total_uncompressed_size > allowed.bytes:
                batch = CAREFUL  # each value may be as long as the whole chunk, by way of its dictionary
    allowed.check(name, bytes=size, values=values)
    return sorted(texts), batch


def decoded_bytes(array: Any) -> int:
    """What an Arrow array comes to without its dictionaries."""
    types = importlib.import_module("pyarrow.types")
    if types.is_dictionary(array.type):
        compute = importlib.import_module("pyarrow.compute")
        return compute.sum(compute.take(compute.binary_length(array.dictionary), array.indices)).as_py() or 0
    return sum(map(decoded_bytes, inner)) if (inner := inner_arrays(array)) else array.nbytes


def inner_arrays(array: Any) -> list[Any]:
    """What lists and structures hold."""
    types = importlib.import_module("pyarrow.types")
    if types.is_struct(array.type):
        return array.flatten()
    nested = types.is_list(array.type) or types.is_large_list(array.type) or types.is_fixed_size_list(array.type)
    return [array.flatten()] if nested else []


def plain(array: Any) -> list:
    """The values of an array; equal texts of a dictionary are one object."""
    if not importlib.import_module("pyarrow.types").is_dictionary(array.type):
        return array.to_pylist()
    words = array.dictionary.to_pylist()
    return [None if place is None else words[place] for place in array.indices.to_pylist()]
