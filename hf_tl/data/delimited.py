"""Tables that are written as text (CSV, TSV): which separator and quotes, and every field as it stands.

Neither is declared anywhere, so both are found: a way of reading is right when every record has as many fields as the
header, every quote that opens closes, and no field swallows what look like rows.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hf_tl.data.typed import typed
from hf_tl.errors import DataError, shortened
from hf_tl.task import usual_names

SEPARATORS = (",", "\t", ";", "|")
NONE = "\x1f"
"""Stands for the separator of a table of one column: whatever is written there is text."""
LONE = "\ufdd0"
"""Stands for a carriage return in the middle of a line while the line is read."""
SAMPLE, BLOCK = 200, 50_000
"""Records that the separator is judged by, and records that become Arrow at once."""
SEEN = 10_000
"""Different values of a column that are kept to compare with."""
MAX_HEADER = 1024**2
"""Characters of the first line of a table."""
RFC: dict[str, Any] = {"doublequote": True}
BACKSLASH: dict[str, Any] = {"doublequote": True, "escapechar": "\\"}
SPACED: dict[str, Any] = {"doublequote": True, "skipinitialspace": True}
PLAIN: dict[str, Any] = {"quoting": csv.QUOTE_NONE}


class Unfit(Exception):
    """A way of reading that cannot be meant: what speaks against it, and the line."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line, self.what = line, what


@dataclass
class Delimited:
    """A table as it is written."""

    names: list[str]
    columns: list[pa.ChunkedArray]
    """Typed: numbers only where every value is one, and nothing of how it is written is lost."""
    lines: list[int]
    """The line of the file on which each record begins."""
    notes: list[str] = field(default_factory=list)


@dataclass
class _Reading:
    header: list[str]
    blocks: list[list[pa.Array]]
    lines: list[int]
    short: list[int]
    """Lines of records with fewer fields than the header."""
    repeats: list[int]
    """Lines that have the header again, as in files that were put one below the other."""
    quoted: bool
    """Whether the quotes in the fields, taken as they stand, are those of a writer that quotes."""


def read_delimited(path: Path, names: Sequence[str] | None = None, most: int = 10_000) -> Delimited:
    """The table in a CSV or TSV file.

    Args:
        names: of the columns, for a file whose first line is a row.
        most: columns that it may have.

    Raises:
        DataError: empty, ragged, or quotes that do not close; names the line.
        UnicodeDecodeError: not UTF-8 (nor UTF-16 with a mark at its start).
    """
    before = csv.field_size_limit(path.stat().st_size + 1)
    try:
        _check_head(path, most)
        skipped, separator = _separator(path)
        if names and separator == NONE and len(names) > 1:
            separator = "\t" if path.suffix.lower() == ".tsv" else ","
        found = _best(path, separator, skipped, names)
    finally:
        csv.field_size_limit(before)
    return _as_table(found, separator)


def _as_table(found: _Reading, separator: str) -> Delimited:
    columns = [pa.chunked_array([block[at] for block in found.blocks], pa.string()) for at in range(len(found.header))]
    out = Delimited([], [], found.lines)
    seen: Counter[str] = Counter()
    commas: list[str] = []
    for at, (name, column) in enumerate(zip(found.header, columns, strict=True)):
        if not name.strip():
            if column.null_count == len(column):
                continue  # each line ends with a separator
            name = f"Unnamed: {at}"
        seen[name] += 1
        name = name if seen[name] == 1 else f"{name}.{seen[name] - 1}"
        values, comma = typed(column, decimal_comma={";": "any", "\t": "clear"}.get(separator))
        commas += [name] if comma else []
        out.names.append(name)
        out.columns.append(values)
    if found.repeats:
        more = f" and {len(found.repeats) - 1} more" if len(found.repeats) > 1 else ""
        out.notes.append(f"Line {found.repeats[0]}{more} repeats the header and is left out.")
    if commas:
        shown = ", ".join(shortened(name) for name in commas)
        out.notes.append(f"The comma in the numbers of column {shown} is read as a decimal point.")
    return out


# which separator


def _encoding(path: Path) -> str:
    with path.open("rb") as stream:
        return "utf-16" if stream.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _lines(path: Path) -> Iterator[str]:
    """Lines as an editor counts them: a carriage return inside one is no end where the file has line feeds."""
    encoding = _encoding(path)
    with path.open("rb") as stream:
        feeds = any(b"\n" in block for block in iter(lambda: stream.read(1 << 20), b""))
    with path.open(encoding=encoding, newline="\n" if feeds else "") as text:
        for line in text:
            if "\r" in line:
                body = line.rstrip("\r\n")
                if "\r" in body and feeds:
                    line = body.replace("\r", LONE) + line[len(body) :]
            yield line


def _check_head(path: Path, most: int) -> None:
    """Raises DataError at a first line that is longer, or has more separators, than that of a table."""
    with path.open(encoding=_encoding(path), newline="") as text:
        head = text.readline(MAX_HEADER)
    if len(head) >= MAX_HEADER:
        raise DataError(f"{path}: the first line is longer than {MAX_HEADER:,} characters, so it names no columns.")
    width = 1 + max(head.count(separator) for separator in SEPARATORS)
    if width > most:
        raise DataError(f"{path}: has {width:,} columns, expected at most {most:,}.")


def _separator(path: Path) -> tuple[int, str]:
    """(lines to skip, separator): what Excel's `sep=` says, else what cuts the first records as it cuts the header."""
    lines: list[str] = []
    for line in _lines(path):
        lines.append(line)
        if len(lines) >= SAMPLE:
            break
    at = next((index for index, line in enumerate(lines) if line.strip()), None)
    if at is None:
        raise DataError(f"{path}: the file is empty.")
    if said := re.fullmatch(r'"?sep=(.)"?[\r\n,;\t ]*', lines[at], re.I):
        return at + 1, said[1]
    if path.suffix.lower() == ".tsv" and "\t" in lines[at]:
        return 0, "\t"
    whole = len(lines) < SAMPLE
    fits = {each: _share(lines, each, whole) for each in SEPARATORS if each in lines[at]}
    fits = {each: share for each, share in fits.items() if share is not None}
    return 0, max(fits, key=lambda each: fits[each] or 0) if fits else NONE


def _share(lines: list[str], separator: str, whole: bool) -> float | None:
    """Of the records after the header the share that has as many fields; None where the header has one only."""
    try:
        records = [each for each in csv.reader(iter(lines), delimiter=separator) if each]
    except csv.Error:
        return 0.0
    if len(records[0]) < 2:
        return None
    body = records[1:] if whole or len(records) < 3 else records[1:-1]
    return sum(len(each) == len(records[0]) for each in body) / len(body) if body else 1.0


# which quotes


def _best(path: Path, separator: str, skipped: int, names: Sequence[str] | None) -> _Reading:
    """The first way of reading after which every record is whole; else the one with the fewest that lack fields."""
    tabs = separator == "\t"
    short: list[_Reading] = []
    errors: list[Unfit] = []
    for way in [PLAIN, RFC, BACKSLASH] if tabs else [RFC, BACKSLASH, SPACED, PLAIN]:
        try:
            found = _read(path, separator, way, skipped, names)
        except Unfit as error:
            errors.append(error)
            continue
        if not found.short and not found.quoted:
            return found
        if tabs or way in (RFC, BACKSLASH):
            short.append(found)
    if short:
        return min(short, key=lambda each: (len(each.short), each.quoted))
    where = f", line {errors[0].line}" if errors[0].line else ""
    raise DataError(f"{path}{where}: {errors[0].what}") from None


def _read(path: Path, separator: str, way: dict[str, Any], skipped: int, names: Sequence[str] | None) -> _Reading:
    """Reads a whole file in one way.

    Raises:
        Unfit: a record with more fields than the header, a quote that does not close or closes within a field.
    """
    records = _records(path, separator, way, skipped)
    header = list(names) if names else next((record for _, record, _ in records), None)
    if header is None:
        raise DataError(f"{path}: the file is empty.")
    width = len(header)
    out = _Reading(header, [], [], [], [], False)
    swallows = _Swallows(separator, width) if way is not PLAIN and separator != NONE else None
    quotes = _Quotes(width) if way is PLAIN else None
    if quotes and not names:
        quotes.look(header)
    named = not names and width > 1 and any(each.strip().lower() in usual_names() for each in header)
    rows: list[list[str]] = []
    longer: list[tuple[int, int]] = []
    for line, record, raw in records:
        if len(record) != width:
            if len(record) > width and any(each.strip() for each in record[width:]):
                longer.append((line, len(record)))
            if len(record) < width:
                if not any(each.strip() for each in record):
                    continue  # an empty line
                out.short.append(line)
            record = [*record[:width], *[""] * (width - len(record))]
        if record == header and named:
            out.repeats.append(line)
            continue
        if swallows and (len(raw) > 1 or len(out.lines) < SEEN):
            swallows.look(line, record, raw)
        if quotes:
            quotes.look(record)
        out.lines.append(line)
        rows.append(record)
        if len(rows) >= BLOCK:
            out.blocks.append(_block(rows, width))
            rows = []
    _check_longer(longer, len(out.lines), width)
    if swallows:
        swallows.check()
    while width > 1 and rows and not any(rows[-1]):  # what a spreadsheet writes below its last row
        del rows[-1], out.lines[-1]
    out.blocks.append(_block(rows, width))
    out.quoted = quotes is not None and quotes.written
    return out


def _block(rows: list[list[str]], width: int) -> list[pa.Array]:
    """Columns of texts; what is empty is missing."""
    columns: list[Any] = list(zip(*rows, strict=True)) or [[]] * width
    texts = [pa.array(column, pa.string()) for column in columns]
    return [pc.if_else(pc.equal(each, ""), pa.scalar(None, pa.string()), each) for each in texts]


def _check_longer(longer: list[tuple[int, int]], rows: int, width: int) -> None:
    if not longer:
        return
    line, saw = longer[0]
    if len(longer) == rows > 1:
        raise Unfit(0, "the rows have more fields than the header.")
    raise Unfit(
        line, f"{saw} fields where the header has {width}; a text that holds the separator must stand in double quotes."
    )


def _records(
    path: Path, separator: str, way: dict[str, Any], skipped: int
) -> Iterator[tuple[int, list[str], list[str]]]:
    """(first line, fields, lines) of each record, the header first; empty lines are none."""
    taken: list[str] = []
    lone = False

    def lines() -> Iterator[str]:
        nonlocal lone
        for line in itertools.islice(_lines(path), skipped, None):
            taken.append(line)
            lone = lone or LONE in line
            yield _only_escapes(line, separator) if way is BACKSLASH and "\\" in line else line

    reader = csv.reader(lines(), delimiter=separator, strict=True, **way)
    while True:
        line = reader.line_num + 1 + skipped
        taken.clear()
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = "the quotes that open here do not close"
            if "end of data" not in str(error):
                line = reader.line_num + skipped
                what = "text stands after quotes that close"
            raise Unfit(line, f"{what}; a quote inside a text in quotes is written twice.") from None
        if record:
            if lone:
                record = [each.replace(LONE, "\r") for each in record]
            yield line, record, taken


def _only_escapes(line: str, separator: str) -> str:
    """Backslashes that escape nothing doubled, so that they stay."""
    special = f'\\"\r\n{separator}'
    return re.sub(r"\\(.|\r?\n)", lambda each: each[0] if each[1][0] in special else f"\\{each[0]}", line, flags=re.S)


class _Swallows:
    """Records over several lines of which each looks like a row: a quote that nobody closed, and the next one."""

    def __init__(self, separator: str, width: int) -> None:
        self.separator, self.width = separator, width
        self.first: set[str] = set()
        self.last: set[str] = set()
        self.suspects: list[tuple[int, list[str]]] = []

    def look(self, line: int, record: list[str], raw: list[str]) -> None:
        if len(raw) > 1:
            if self.width > 1 and all(each.count(self.separator) == self.width - 1 for each in raw):
                self.suspects.append((line, [each.rstrip("\r\n") for each in raw]))
            return
        for values, value in ((self.first, record[0]), (self.last, record[-1])):
            if len(values) < SEEN:
                values.add(value.strip())

    def check(self) -> None:
        for line, raw in self.suspects:
            starts = [each.split(self.separator)[0].strip() for each in raw[1:]]
            ends = [each.rsplit(self.separator, 1)[1].strip() for each in raw[:-1]]
            if _like(starts, self.first) or _like(ends, self.last):
                raise Unfit(
                    line,
                    f"the quotes that open here close {len(raw) - 1} lines below, over what look like rows; close "
                    "them, or write a quote inside a text in quotes twice.",
                )


def _like(values: list[str], known: set[str]) -> bool:
    """Whether all are values of a column: ones that it has elsewhere, or numbers in a column of numbers."""
    if all(value in known for value in values):
        return True
    number = re.compile(r"-?\d+(\.\d+)?")
    return (
        bool(known)
        and all(number.fullmatch(value) for value in values)
        and all(number.fullmatch(each) for each in known if each)
    )


class _Quotes:
    """Whether the quotes of a table read as it stands were put there by a program: they stand around whole fields,
    and inside of those they are doubled."""

    def __init__(self, width: int) -> None:
        self.well = self.ill = self.doubled = 0
        self.filled, self.wrapped = [0] * width, [0] * width

    def look(self, record: list[str]) -> None:
        for at, value in enumerate(record):
            if not value:
                continue
            self.filled[at] += 1
            if '"' not in value:
                continue
            inner = value[1:-1]
            if len(value) > 1 and value[0] == value[-1] == '"' and '"' not in inner.replace('""', ""):
                self.well += 1
                self.wrapped[at] += 1
                self.doubled += '""' in inner
            else:
                self.ill += 1

    @property
    def written(self) -> bool:
        always = any(
            filled > 1 and filled == wrapped for filled, wrapped in zip(self.filled, self.wrapped, strict=True)
        )
        return self.well > 0 and not self.ill and (self.doubled > 0 or always)
