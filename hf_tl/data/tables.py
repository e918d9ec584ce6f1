"""Table files as `datasets.Dataset`, with errors that name file and line."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, LargeList, List, Value
from datasets.exceptions import DatasetsError

from hf_tl.data.arrow_messages import packed
from hf_tl.data.delimited import read_delimited
from hf_tl.data.json_rows import as_row, as_rows
from hf_tl.data.objects import from_objects
from hf_tl.data.parquet_bounds import check_unpacked
from hf_tl.data.table import Table
from hf_tl.data.undecoded import converted
from hf_tl.errors import DataError, shortened
from hf_tl.io.json_text import DEPTH, parse_json, read_text

MAX_JSON = 2 * 1024**3
"""Bytes of a JSON file; COCO's own have half a gigabyte."""
MAX_COLUMNS = 10_000
FREE_ROWS, ROWS_A_BYTE = 200_000, 8
"""A file may have so many rows, and so many more a byte: a column that is the same throughout takes next to none."""
FREE_VALUES, VALUES_A_BYTE, LINES_A_BYTE = 2_000_000, 8, 2
"""The same of a text that was in an archive, for each byte of the archive."""
RESERVED = "__file__"
UNREADABLE = (
    struct.error,
    pa.ArrowException,
    DatasetsError,
    OSError,
    ValueError,
    TypeError,
    OverflowError,
    NotImplementedError,
    RecursionError,
    AttributeError,
    KeyError,
    IndexError,
)
"""What pandas, Arrow and `datasets` raise at files that they cannot read."""
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow", ".txt")


def is_table(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def read_table(path: Path) -> Dataset:
    """The rows of `read_places`."""
    return read_places(path).rows


def read_places(path: Path, names: Sequence[str] | None = None) -> Table:
    """The rows of one file.

    Args:
        names: of the columns, for a CSV or TSV file without a header.

    Raises:
        DataError: empty, unreadable, ragged, not UTF-8, or more rows or columns than can be; names the file and, where
            there is one, the line.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty.")
    suffix = path.suffix.lower()
    unit, notes = "row", list[str]()
    found: Sequence[int] = ()
    try:
        if suffix in (".csv", ".tsv"):
            rows, found, notes = _read_delimited(path, names)
            unit = "line"
        elif suffix == ".parquet":
            rows = _read_parquet(path)
        elif suffix == ".txt":
            rows, found = _read_lines(path)
            unit = "line"
        elif suffix == ".arrow":
            rows = _read_arrow(path)
        else:
            rows, found = _read_json(path)
            unit = "line" if found else "row"
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8.") from None
    except UNREADABLE as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(f"{path}: cannot be read ({first.rstrip('.')}).") from error
    if len(rows) == 0:
        raise DataError(f"{path}: has columns but no rows." if rows.column_names else f"{path}: has no rows.")
    _check_classes(path, rows.features)
    rows = plain_types(_named(path, rows))
    return Table(rows, [f"{unit} {number}" for number in found or range(1, len(rows) + 1)], notes)


def _named(path: Path, rows: Dataset) -> Dataset:
    names = [name.strip() for name in rows.column_names]
    if len(set(names)) < len(names):
        raise DataError(f"{path}: two columns have the same name ({', '.join(names)}).")
    if RESERVED in names:
        raise DataError(f"{path}: a column is called {RESERVED!r}, which hf_tl keeps for itself; rename it.")
    return rows.rename_columns({old: new for old, new in zip(rows.column_names, names, strict=True) if old != new})


def plain_types(rows: Dataset) -> Dataset:
    """Decimals as numbers, and every kind of text of Arrow's as one, also inside of lists and records."""
    return converted(rows, _plain)


def _plain(feature: Any) -> Any:
    if isinstance(feature, LargeList):
        return List(feature.feature)
    if not isinstance(feature, Value):
        return feature
    if feature.dtype in ("large_string", "string_view"):
        return Value("string")
    decimal = re.fullmatch(r"decimal\d+\((\d+), (-?\d+)\)", feature.dtype)
    if decimal:
        return Value("int64" if decimal[2] == "0" and int(decimal[1]) <= 18 else "float64")
    return Value("float32") if feature.dtype == "float16" else feature


def check_density(path: Path, packed: int) -> None:
    """A table written as text that was in an archive: what is the same throughout takes next to no space there.

    Args:
        packed: bytes of the archive.

    Raises:
        DataError: more lines or values than so many bytes can mean; each takes far more memory than its text.
    """
    if path.suffix.lower() in (".parquet", ".arrow"):
        return
    counts = dict.fromkeys(b"\n\r,;\t|[{", 0)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            for mark in counts:
                counts[mark] += block.count(mark)
    lines = max(counts.pop(mark) for mark in b"\n\r")
    for found, most, what in (
        (lines, FREE_ROWS + LINES_A_BYTE * packed, "lines"),
        (sum(counts.values()), FREE_VALUES + VALUES_A_BYTE * packed, "values"),
    ):
        if found > most:
            raise DataError(
                f"{path.name}: has {found:,} {what}, more than an archive of {packed:,} bytes can mean (it may have "
                f"{most:,}); unpack it by hand."
            )


def _read_parquet(path: Path) -> Dataset:
    check_parquet(path)
    return Dataset.from_parquet(str(path), keep_in_memory=False)


def check_parquet(path: Path) -> None:
    """Raises DataError at a Parquet file with more rows, columns, depth, values or bytes than a file of its size can
    mean; nothing of it is unpacked before."""
    with pq.ParquetFile(path) as file:
        _check_shape(path, file.metadata.num_rows, file.schema_arrow)
    check_unpacked(path, FREE_ROWS + ROWS_A_BYTE * path.stat().st_size)


def _read_arrow(path: Path) -> Dataset:
    with pa.memory_map(str(path)) as stream:
        _check_shape(path, 0, pa.ipc.open_stream(stream).schema)
        stream.seek(0)
        if packed(stream):
            raise DataError(
                f"{path}: its columns are compressed, so that nothing says how large they are; save it as Parquet, or "
                "as Arrow without compression."
            )
    rows = Dataset.from_file(str(path))
    _check_shape(path, len(rows), rows.data.schema)
    rows.data.table.validate(full=True)  # Arrow believes its files, and lies in them end the process
    return rows


def _check_shape(path: Path, rows: int, schema: pa.Schema) -> None:
    """Raises DataError at more rows, columns or depth than a file of its size can mean."""
    most = FREE_ROWS + ROWS_A_BYTE * path.stat().st_size
    if rows > most:
        raise DataError(f"{path}: says that it has {rows:,} rows, more than a file of its size can hold.")
    _check_width(path, len(schema))
    types = [(field.type, 1) for field in schema]
    while types:
        kind, depth = types.pop()
        if depth > DEPTH or len(types) > MAX_COLUMNS:
            raise DataError(f"{path}: its columns are records of records, too many or more than {DEPTH} deep.")
        types += [(kind.field(index).type, depth + 1) for index in range(kind.num_fields)]


def _check_classes(path: Path, features: Any) -> None:
    """Raises DataError where the names of classes that the file brings along are no texts."""
    for column, feature in features.items():
        inner = getattr(feature, "feature", feature)
        if not isinstance(inner, ClassLabel):
            continue
        names: Any = inner.names
        if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
            raise DataError(
                f"{path}: the classes of column {shortened(column)} are {shortened(names)}, expected a list of names."
            )


def _check_width(path: Path, columns: int) -> None:
    if columns > MAX_COLUMNS:
        raise DataError(f"{path}: has {columns:,} columns, expected at most {MAX_COLUMNS:,}.")


def _read_delimited(path: Path, names: Sequence[str] | None) -> tuple[Dataset, list[int], list[str]]:
    found = read_delimited(path, names, MAX_COLUMNS)
    return Dataset(pa.table(found.columns, names=found.names)), found.lines, found.notes


def _read_lines(path: Path) -> tuple[Dataset, list[int]]:
    with path.open(encoding="utf-8-sig") as stream:
        lines = {number: line.strip() for number, line in enumerate(stream, 1) if line.strip()}
    return Dataset.from_dict({"text": list(lines.values())}), list(lines)


def _read_json(path: Path) -> tuple[Dataset, list[int]]:
    """(rows, the line of each; none where they are the items of one list)."""
    if path.suffix.lower() == ".json":
        text = read_text(path, error=DataError, most=MAX_JSON)
        try:
            value = parse_json(text, str(path), error=DataError, nan=True, most=MAX_JSON)
        except DataError as error:
            if "Extra data" in str(error):  # one object a line, under the other name
                return _read_objects(path)
            raise
        value = as_rows(value)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise DataError(f"{path}: expected a list of objects, found {type(value).__name__}.")
        return _from_objects(path, value), []
    return _read_objects(path)


def _read_objects(path: Path) -> tuple[Dataset, list[int]]:
    rows, lines = [], []
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            row = as_row(parse_json(line, f"{path}, line {number}", error=DataError, nan=True, most=MAX_JSON))
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}: expected an object, found {type(row).__name__}.")
            rows.append(row)
            lines.append(number)
    if not rows:
        raise DataError(f"{path}: has no rows.")
    return _from_objects(path, rows), lines


def _from_objects(path: Path, rows: list[dict[str, Any]]) -> Dataset:
    _check_width(path, len({name: None for row in rows for name in row}))
    return from_objects(rows)
