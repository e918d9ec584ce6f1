"""What the command line prints and writes: text that is safe to show, tables, JSON, and files of predictions."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_tl.errors import ConfigError, listing

FORMATS = (".jsonl", ".csv", ".parquet")


def is_main_process() -> bool:
    """Whether this process speaks for the run (`torchrun` and `accelerate launch` set RANK)."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def working() -> Iterator[None]:
    """While a command works, what libraries print goes to stderr: stdout belongs to the result."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def plain(text: object) -> str:
    """`text` on one line, with control characters written out, so that no label or file name steers the terminal."""
    return "".join(
        character if unicodedata.category(character) not in ("Cc", "Cf", "Zl", "Zp") else f"\\x{ord(character):02x}"
        for character in str(text)
    )


def say(sentence: str) -> None:
    """A line for the person, on stderr."""
    if is_main_process():
        print("\n".join(plain(line) for line in sentence.splitlines()), file=sys.stderr, flush=True)


def show(result: Any, text: str, as_json: bool) -> None:
    """The result on stdout: as one JSON object, or as text."""
    if is_main_process():
        print(to_json(result) if as_json else text, flush=True)


def to_json(value: Any) -> str:
    """Strict JSON on one line: a number that is not finite becomes null, anything unknown its text."""
    return json.dumps(_finite(value), ensure_ascii=False, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def table(rows: Sequence[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Columns aligned to the left, two spaces apart."""
    cells = [[plain(cell) for cell in row] for row in ([header] if header else []) + list(rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))] if cells else []
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def shorten(text: object, width: int = 60) -> str:
    line = " ".join(plain(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def check_rows_file(path: Path) -> None:
    """Raises ConfigError unless predictions can be written to `path`; asked before the work."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"--output: {path} ends in none of {listing(FORMATS)}, so its format is not known.")
    if not path.parent.is_dir():
        raise ConfigError(f"--output: there is no folder {path.parent}.")


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Predictions as JSONL, CSV or Parquet by the ending of `path`, whole or not at all.

    In CSV the scores stand in one column per label, `score: <label>`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    suffix = path.suffix.lower()
    try:
        if suffix == ".jsonl":
            temporary.write_text("".join(to_json(row) + "\n" for row in rows), encoding="utf-8")
        elif suffix == ".csv":
            _write_csv(rows, temporary)
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), temporary)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    import csv

    flat: list[dict[str, Any]] = []
    for row in rows:
        out: dict[str, Any] = {}
        for key, value in row.items():
            if isinstance(value, Mapping):
                out.update({f"{key.removesuffix('s')}: {name}": item for name, item in value.items()})
            else:
                out[key] = value
        flat.append(out)
    columns = list(dict.fromkeys(key for row in flat for key in row))
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(flat)
