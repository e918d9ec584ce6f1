"""What a Parquet file unpacks to, asked before it is: how large its pages are, and how often a value that stands there
once is repeated in the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hf_tl.data.parquet_pages import Column, read_pages
from hf_tl.errors import DataError

MAX_BYTES, MAX_RATIO = 256 * 1024**2, 200
"""Bytes that a table may always unpack to, and the bytes for each of its own that it may have above that."""
READ_AT_ONCE = 64 * 1024**2
"""Bytes."""
BATCH = 65_536


def check_unpacked(path: Path, most_values: int) -> None:
    """Goes by the headers of the pages, as every reader does: the footer may say that they are smaller.

    Raises:
        DataError: its pages, or texts that repeat in them, unpack to far more than a file of its size means, or a
            column has more than `most_values` values.
    """
    most = max(MAX_BYTES, MAX_RATIO * path.stat().st_size)
    with pq.ParquetFile(path) as file:
        columns = read_pages(path, file.metadata)
        size = sum(column.size for column in columns.values())
        if size > most:
            raise DataError(
                f"{path}: unpacks to {size:,} bytes, {MAX_RATIO} times its size: no table that was written."
            )
        suspects = _suspects(path, file, columns, most_values, most)
        groups, rows = file.metadata.num_row_groups, max(1, file.metadata.num_rows)
    if suspects:
        batch = max(1000, min(BATCH, READ_AT_ONCE * rows // (size + path.stat().st_size)))
        for column in suspects.values():
            if column.delta:  # each value may be as long as its page
                batch = min(batch, max(1, READ_AT_ONCE // max(1, column.largest)))
        _check_texts(path, suspects, groups, batch, most)


def _suspects(
    path: Path, file: Any, columns: dict[int, Column], most_values: int, most_bytes: int
) -> dict[str, Column]:
    """The columns of texts that may unpack to more than `most_bytes`, each text as often as it repeats."""
    out = {}
    for index, column in columns.items():
        said = file.schema.column(index)
        width = said.length if said.physical_type == "FIXED_LEN_BYTE_ARRAY" else 8
        if column.values > most_values or column.values * width > max(most_bytes, 8 * most_values):
            raise DataError(
                f"{path}: column {said.path[:100]!r} has {column.values:,} values, more than a file of its size can "
                "hold."
            )
        repeats = said.physical_type == "BYTE_ARRAY" and (column.dictionary or column.delta)
        if repeats and column.values * column.size > most_bytes:
            out[said.path] = column
    return out


def _check_texts(path: Path, suspects: dict[str, Column], groups: int, batch: int, most: int) -> None:
    """Adds up the lengths of texts; those of a dictionary come as numbers into it, and are read once."""
    once = [name for name, column in suspects.items() if not column.delta]
    total = 0
    with pq.ParquetFile(path, read_dictionary=once) as file:
        # group by group: a batch of two has two lists of different texts, which Arrow cannot put into records and lists
        for group in range(groups):
            for part in file.iter_batches(batch, row_groups=[group], columns=list(suspects), use_threads=False):
                total += sum(_length(column) for column in part.columns)
                if total > most:
                    raise DataError(
                        f"{path}: texts that repeat unpack to more than {most:,} bytes: no table that was written."
                    )


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
