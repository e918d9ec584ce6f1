"""Excel workbooks: the one sheet that has something in it, its cells as the CSV that Excel would save of it."""

from __future__ import annotations

import datetime
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import pyarrow as pa
from datasets import Dataset

from hf_tl.config import DataConfig
from hf_tl.data.annotations import FILE
from hf_tl.data.headers import check_header
from hf_tl.data.table import Table
from hf_tl.data.tables import FREE_VALUES, MAX_COLUMNS, VALUES_A_BYTE
from hf_tl.data.typed import typed
from hf_tl.errors import DataError, listing

MAX_BYTES, MAX_RATIO = 256 * 1024**2, 200
"""Bytes that a workbook may always unpack to, and the bytes for each of its own that it may have above that."""
DOCTYPE = re.compile(rb"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)
FAR = re.compile(rb"""\sr\s*=\s*["'](?![A-Za-z]{0,3}\d{0,7}["'])([^"']{0,40}["']|[^"']{41})|\sr\s{20}|\sr\s*=\s{20}""")
"""A place that is none, or beyond Excel's last column or row: openpyxl would make the empty cells up to it."""
WIDE = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")
"""How XML in two bytes a sign begins, in which nothing of these would be found."""
BLOCK = 1 << 20
BROKEN = (
    zipfile.BadZipFile, zlib.error, ParseError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    OverflowError, RuntimeError, EOFError,
)  # fmt: skip
"""What openpyxl raises at files that are no workbooks."""


def read_excel(path: Path, config: DataConfig) -> Table:
    """The rows of a workbook.

    Raises:
        DataError: openpyxl is missing, no workbook, several sheets with something in them, or more than a file of its
            size can mean.
    """
    try:
        import openpyxl
    except ImportError:
        raise DataError(
            f"{path}: reading Excel files needs the package openpyxl, which is missing: pip install openpyxl, or save "
            "the sheet as CSV."
        ) from None
    try:
        _check_size(path)
        book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
        try:
            sheets = {
                name: _filled(book[name], path) for name in book.sheetnames if hasattr(book[name], "reset_dimensions")
            }
            first = {name: next(rows, None) for name, rows in sheets.items()}
            used = [name for name, row in first.items() if row is not None]
            if not used:
                raise DataError(f"{path}: the workbook is empty.")
            if len(used) > 1:
                raise DataError(
                    f"{path}: has the sheets {listing(used)}; keep only the one that is meant, or save it as CSV."
                )
            header = first[used[0]]
            assert header is not None
            return _as_table(path, config, header[1], sheets[used[0]])
        finally:
            book.close()
    except DataError:
        raise
    except BROKEN as error:
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(f"{path}: no Excel file that can be read ({first_line[:200].rstrip('.')}).") from None


def _check_size(path: Path) -> None:
    """Raises DataError at what unpacks to far more than its size, and at documents that declare entities."""
    most = max(MAX_BYTES, MAX_RATIO * path.stat().st_size)
    size = 0
    with zipfile.ZipFile(path) as packed:
        for info in packed.infolist():
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(f"{path}: is packed in a way that Excel does not write; save the sheet as CSV.")
            with packed.open(info) as stream:
                before = b""
                while block := stream.read(BLOCK):
                    size += len(block)
                    if size > most:
                        raise DataError(f"{path}: unpacks to more than {most:,} bytes; save the sheet as CSV.")
                    text = before[-100:] + block
                    if DOCTYPE.search(text) or (not before and block.startswith(WIDE)):
                        raise DataError(f"{path}: declares a document type, which no workbook has; save it as CSV.")
                    if FAR.search(text):
                        raise DataError(f"{path}: has a cell beyond the last that Excel has; save the sheet as CSV.")
                    before = block


def _filled(sheet: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number, texts) of the rows that have something in them.

    Raises:
        DataError: more columns or values than a file of its size can mean.
    """
    sheet.reset_dimensions()  # they are what the file says, and rows are filled up to them
    size = path.stat().st_size
    values = length = 0
    for row in sheet.iter_rows():
        cells = [(cell.column, _text(cell)) for cell in row if getattr(cell, "column", None) and _text(cell)]
        if not cells:
            continue
        width = cells[-1][0]
        values += width
        length += sum(len(text) for _, text in cells)
        if width > MAX_COLUMNS:
            raise DataError(f"{path}: has {width:,} columns, expected at most {MAX_COLUMNS:,}.")
        if values > FREE_VALUES + VALUES_A_BYTE * size or length > max(MAX_BYTES, MAX_RATIO * size):
            raise DataError(f"{path}: has more text than a file of {size:,} bytes can mean; save the sheet as CSV.")
        texts = [""] * width
        for at, text in cells:
            texts[at - 1] = text
        yield row[0].row if hasattr(row[0], "row") else next(c.row for c in row if hasattr(c, "row")), texts


def _text(cell: Any) -> str:
    """A cell as Excel writes it to CSV; a formula that failed is empty."""
    value = cell.value
    if value is None or cell.data_type == "e":
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    return str(value)


def _as_table(path: Path, config: DataConfig, header: list[str], rows: Iterator[tuple[int, list[str]]]) -> Table:
    columns: list[list[str | None]] = [[] for _ in header]
    places = []
    for number, texts in rows:
        if len(texts) > len(header):
            raise DataError(f"{path}, row {number}: has {len(texts)} columns where the header has {len(header)}.")
        for column, text in zip(columns, [*texts, *[""] * (len(header) - len(texts))], strict=True):
            column.append(text or None)
        places.append(f"row {number}")
    if not places:
        raise DataError(f"{path}: has columns but no rows.")
    names = [name.strip() or f"Unnamed: {at}" for at, name in enumerate(header)]
    if len(set(names)) < len(names) or FILE in names:
        raise DataError(f"{path}: two columns have the same name, or one is called {FILE!r} ({listing(names)}).")
    found = [typed(pa.chunked_array([pa.array(column, pa.string())]))[0] for column in columns]
    table = Table(Dataset(pa.table(found, names=names)), places)
    check_header(path, table.rows, table.places, config)
    return table
