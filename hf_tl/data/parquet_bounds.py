"""What a Parquet file unpacks to: a value that repeats stands in it once, and however often in the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hf_tl.errors import DataError

READ_AT_ONCE = 64 * 1024**2
"""Bytes, as far as the file says how large its rows are."""
BATCH = 65_536


def check_repeats(path: Path, most_values: int, most_bytes: int) -> None:
    """Reads no value twice: texts come as numbers into the list of different ones, whose lengths are added up.

    Raises:
        DataError: a column has more than `most_values` values, or they take more than `most_bytes`.
    """
    with pq.ParquetFile(path) as file:
        suspects = _suspects(path, file, most_values, most_bytes)
        size, rows = file.metadata.serialized_size, max(1, file.metadata.num_rows)
        for group in range(file.metadata.num_row_groups):
            size += file.metadata.row_group(group).total_byte_size
    if not suspects:
        return
    total = 0
    with pq.ParquetFile(path, read_dictionary=suspects) as file:
        batch = max(1000, min(BATCH, READ_AT_ONCE * rows // max(1, size)))
        # group by group: a batch of two has two lists of different texts, which Arrow cannot put into records and lists
        for group in range(file.metadata.num_row_groups):
            for part in file.iter_batches(batch, row_groups=[group], columns=suspects, use_threads=False):
                total += sum(_length(column) for column in part.columns)
                if total > most_bytes:
                    raise DataError(
                        f"{path}: texts that repeat unpack to more than {most_bytes:,} bytes: "
                        "no table that was written."
                    )


def _suspects(path: Path, file: Any, most_values: int, most_bytes: int) -> list[str]:
    """The columns of texts that may unpack to more than that."""
    worst: dict[str, int] = {}
    values: dict[str, int] = {}
    for group in range(file.metadata.num_row_groups):
        found = file.metadata.row_group(group)
        for index in range(found.num_columns):
            chunk = found.column(index)
            name, kind = chunk.path_in_schema, chunk.physical_type
            width = file.schema.column(index).length if kind == "FIXED_LEN_BYTE_ARRAY" else 8
            values[name] = values.get(name, 0) + chunk.num_values
            if values[name] > most_values or values[name] * width > max(most_bytes, 8 * most_values):
                raise DataError(
                    f"{path}: column {name[:100]!r} has {values[name]:,} values, more than a file of its size can hold."
                )
            if kind == "BYTE_ARRAY" and chunk.has_dictionary_page:
                worst[name] = worst.get(name, 0) + chunk.num_values * chunk.total_uncompressed_size
    return [name for name, size in worst.items() if size > most_bytes]


def _length(array: Any) -> int:
    """Bytes of the texts in an array of texts, or of records or lists of them."""
    if isinstance(array, pa.DictionaryArray):
        lengths = pc.binary_length(array.dictionary).take(array.indices)
        return int(pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0)
    if isinstance(array, pa.StructArray):
        return sum(_length(each) for each in array.flatten())
    if isinstance(array, (pa.ListArray, pa.LargeListArray, pa.FixedSizeListArray, pa.MapArray)):
        return _length(array.flatten() if not isinstance(array, pa.MapArray) else array.items)
    return int(array.nbytes)
