"""Table files as `datasets.Dataset`, with errors that name file and line."""

from __future__ import annotations

import csv
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from datasets import Dataset

from hf_tl.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow", ".txt")


def is_table(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def read_table(path: Path) -> Dataset:
    """The rows of one file; column names without surrounding space.

    Raises:
        DataError: empty, unreadable, ragged or not UTF-8; names the file and, where there is one, the line.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty.")
    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            rows = _read_csv(path)
        elif suffix == ".parquet":
            rows = Dataset.from_parquet(str(path), keep_in_memory=False)
        elif suffix == ".txt":
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
            rows = Dataset.from_dict({"text": [line for line in lines if line]})
        elif suffix == ".arrow":
            rows = Dataset.from_file(str(path))
        else:
            rows = _read_json(path)
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8.") from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({str(error).splitlines()[0]}).") from error
    if len(rows) == 0:
        raise DataError(f"{path}: has columns but no rows." if rows.column_names else f"{path}: has no rows.")
    names = [name.strip() for name in rows.column_names]
    if len(set(names)) < len(names):
        raise DataError(f"{path}: two columns have the same name ({', '.join(names)}).")
    return rows.rename_columns({old: new for old, new in zip(rows.column_names, names, strict=True) if old != new})


def _read_csv(path: Path) -> Dataset:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        head = stream.readline()
    separator = "\t" if path.suffix.lower() == ".tsv" else _separator(head)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", pd.errors.ParserWarning)  # that what is beyond the header is dropped
            # "None", "NA" and "null" are words that people write; only an empty field is missing.
            frame = pd.read_csv(
                path, sep=separator, encoding="utf-8-sig", keep_default_na=False, na_values=[""], skip_blank_lines=True,
                index_col=False,
            )  # fmt: skip
    except pd.errors.ParserWarning:
        raise DataError(f"{path}: the rows have more fields than the header.") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: the file is empty.") from None
    except pd.errors.ParserError as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if found:
            wanted, line, saw = found.groups()
            raise DataError(
                f"{path}, line {line}: {saw} fields where the header has {wanted}; "
                "a text that holds the separator must stand in double quotes."
            ) from None
        raise DataError(f"{path}: not a valid table ({str(error).strip()}).") from None
    return Dataset.from_pandas(frame, preserve_index=False)


def _separator(head: str) -> str:
    counts = {separator: head.count(separator) for separator in (",", ";", "\t", "|")}
    best = max(counts, key=lambda separator: counts[separator])
    if counts[best] == 0:
        return ","
    try:
        return csv.Sniffer().sniff(head, delimiters=",;\t|").delimiter if counts[","] == 0 else ","
    except csv.Error:
        return best


def _read_json(path: Path) -> Dataset:
    rows: list[dict[str, Any]] = []
    if path.suffix.lower() == ".json":
        try:
            value = json.loads(path.read_text(encoding="utf-8-sig"))
        except json.JSONDecodeError as error:
            if error.msg == "Extra data":  # one object a line, under the other name
                return _lines(path)
            raise DataError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}).") from None
        if isinstance(value, dict):
            lists = [item for item in value.values() if isinstance(item, list)]
            value = lists[0] if len(lists) == 1 else value
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise DataError(f"{path}: expected a list of objects, found {type(value).__name__}.")
        rows = value
        return Dataset.from_list(rows)
    return _lines(path)


def _lines(path: Path) -> Dataset:
    rows = []
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}, line {number}: not valid JSON ({error.msg}).") from None
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}: expected an object, found {type(row).__name__}.")
            rows.append(row)
    if not rows:
        raise DataError(f"{path}: has no rows.")
    names = {name: None for row in rows for name in row}
    return Dataset.from_list([{name: row.get(name) for name in names} for row in rows])
