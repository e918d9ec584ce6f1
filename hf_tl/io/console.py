"""What the command line prints and writes: text that is safe to show, tables, JSON, and files of predictions."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
import string
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_tl.errors import ConfigError, listing, redact
from hf_tl.files import replacing_file

FORMATS = (".jsonl", ".csv", ".parquet")
RUN = ("=", "+", "-", "@", "\u2212")
"""What formulas of spreadsheets begin with."""
NUMBER = re.compile(r"[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf)")


def is_main_process() -> bool:
    """Whether this process speaks for the run (`torchrun` and `accelerate launch` set RANK)."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def working() -> Iterator[None]:
    """While a command works, what libraries print goes to stderr: stdout belongs to the result."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


JOINERS = "\u200c\u200d"
"""Part of how words and emoji are written; they steer nothing."""
STEERS = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of what a terminal may obey, that turns the direction of writing, or that is no character."""
DRAWS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[[AK]|\r")
"""What progress bars and help texts send to a terminal: colours, up a line, to its start."""


def duration(seconds: float) -> str:
    """`0.2 s`, `45 s`, `3 min`, `2.1 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def plain(text: object) -> str:
    """`text` on one line, with control characters written out, so that no label or file name steers the terminal."""
    return _written_out(str(text), keep=JOINERS)


def shown(text: str) -> str:
    """`text` of several lines, each `plain`."""
    return _written_out(text, keep=JOINERS + "\n")


def visible(text: object) -> str:
    """Text in which nothing hides: control characters, and those that turn the direction of writing, as `\\x1b`.

    Tabs and line ends stay.
    """
    return "".join(
        character
        if character in "\n\t"
        or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
        or character in "\u200c\u200d"  # joiners: part of how words and emoji are written
        else repr(character)[1:-1]
        for character in str(text)
    )


def _written_out(text: str, keep: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character in keep or unicodedata.category(character) not in STEERS else _code(character)
        for character in text
    )


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


class _Shown:
    """A stream of which a terminal shows all and obeys nothing, whoever prints: libraries, warnings, progress bars."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if not text.isprintable():
            drawn = DRAWS.findall(text) if self._stream.isatty() else []
            pieces = DRAWS.split(text) if drawn else [text.replace("\r\n", "\n").replace("\r", "\n")]
            kept = (_written_out(piece, keep=JOINERS + "\n\t") for piece in pieces)
            text = "".join(piece + draw for piece, draw in itertools.zip_longest(kept, drawn, fillvalue=""))
        try:
            self._stream.write(text)
        except UnicodeEncodeError:  # a terminal of another encoding
            code = self._stream.encoding
            self._stream.write(text.encode(code, "backslashreplace").decode(code))
        except BrokenPipeError:
            self._nobody_reads()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._nobody_reads()

    def _nobody_reads(self) -> None:
        """Such as `| head -1`, which has seen enough: the work goes on, and its exit code says how it ended."""
        with open(os.devnull, "w") as devnull, contextlib.suppress(OSError, ValueError):
            os.dup2(devnull.fileno(), self._stream.fileno())  # for what is flushed at the end, too

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)


@contextlib.contextmanager
def nothing_steers() -> Iterator[None]:
    """While a command runs, what is printed is shown, never obeyed."""
    out, err = sys.stdout, sys.stderr
    if isinstance(out, _Shown):  # a command that calls another
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as devnull:  # for a stream that was closed before we began
        sys.stdout, sys.stderr = _Shown(out or devnull), _Shown(err or devnull)
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            sys.stdout, sys.stderr = out, err


def say(sentence: str) -> None:
    """A line for the person, on stderr."""
    if is_main_process():
        print(shown(redact(sentence)), file=sys.stderr, flush=True)


def show(result: Any, text: str, as_json: bool) -> None:
    """The result on stdout: as one JSON object, or as text."""
    if is_main_process():
        print(to_json(result) if as_json else shown(text), flush=True)


def to_json(value: Any) -> str:
    """Strict JSON on one line: a number that is not finite becomes null, anything unknown its text. Characters that
    steer a terminal are written as JSON's escapes, which are the same text."""
    text = json.dumps(_finite(value), ensure_ascii=False, default=str, allow_nan=False)
    if text.isprintable():
        return text
    return "".join(
        json.dumps(each)[1:-1] if unicodedata.category(each) in STEERS and each not in JOINERS else each
        for each in text
    )


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


def between(found: Mapping[str, float], digits: int = 3) -> str:
    """`0.541 to 1.000`: the interval of a metric, or that there is none."""
    low, high = found["low"], found["high"]
    return f"{low:.{digits}f} to {high:.{digits}f}" if math.isfinite(low) and math.isfinite(high) else "no interval"


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

    In CSV the scores stand in one column per label, `score: <label>`, and a text that a spreadsheet would take for a
    formula has an apostrophe before it (`cell`). JSONL and Parquet have every text as it is.
    """
    suffix = path.suffix.lower()
    with replacing_file(path) as temporary:
        if suffix == ".jsonl":
            temporary.write_text("".join(to_json(row) + "\n" for row in rows), encoding="utf-8")
        elif suffix == ".csv":
            _write_csv(rows, temporary)
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), temporary)


def _write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    import csv

    flat: list[dict[str, Any]] = []
    for row in rows:
        out: dict[str, Any] = {}
        for key, value in row.items():
            if isinstance(value, Mapping):
                out.update({f"{key.removesuffix('s')}: {name}": item for name, item in value.items()})
            elif isinstance(value, (list, tuple)):
                out[key] = to_json(value)
            else:
                out[key] = value
        flat.append(out)
    columns = list(dict.fromkeys(key for row in flat for key in row))
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(cell(column) for column in columns)
        writer.writerows([cell(row.get(column, "")) for column in columns] for row in flat)


def cell(value: Any) -> Any:
    """A value as it stands in CSV: a text that a spreadsheet would run is marked as text, with an apostrophe before it.

    It runs what begins with `=`, `+`, `-` or `@`, of whatever width, also after spaces, quotes and what is invisible; a
    text that is a number stays one.
    """
    text = value if isinstance(value, str) or value is None else str(value)
    if not isinstance(text, str) or NUMBER.fullmatch(text):
        return value
    first = text.lstrip(string.whitespace + "\"'\u2018\u2019\u201c\u201d`")
    first = next((each for each in first if each.isprintable() and not each.isspace()), "")
    runs = unicodedata.normalize("NFKC", first)[:1] in RUN or text[:1] in ("\t", "\r", "\n")
    return f"'{text}" if runs else value
