"""What the pages of a Parquet file say of themselves, read without unpacking them: what its footer says of them is not
what a reader goes by.

A column chunk is a row of pages, each behind a header in Thrift's compact protocol:
https://parquet.apache.org/docs/file-format/data-pages/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from hf_tl.errors import DataError

FREE_PAGES, BYTES_A_PAGE = 200_000, 100
"""Pages that a file may have, and one more for so many of its bytes."""
WINDOW, MAX_HEADER = 1024, 16 * 1024**2
"""Bytes that are read of a header at first, and that it may have."""
DEPTH = 16
DICTIONARY, DELTA = (2, 8), 7
"""Encodings by which a value stands for a longer one: as a number of a dictionary, or by what differs from the one
before it."""
SIZE, PACKED = 2, 3
"""Fields of a page's header: its bytes unpacked, and as they stand in the file."""
DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 5, 7, 8
"""The fields with more of a page, one for each kind; the first number in them is how many values it has."""


@dataclass
class Column:
    """The pages of one column."""

    values: int = 0
    size: int = 0
    """Bytes, unpacked."""
    largest: int = 0
    """Bytes of the largest of them."""
    dictionary: bool = False
    delta: bool = False

    def add(self, header: Header) -> None:
        """A page more."""
        size = header.numbers[SIZE]
        self.size += size
        self.largest = max(self.largest, size)
        self.dictionary |= DICTIONARY_PAGE in header.parts
        for part, encoding in ((DATA_PAGE, 2), (DATA_PAGE_V2, 4)):
            if part in header.parts:
                numbers = header.parts[part].numbers
                self.values += max(0, numbers.get(1, 0))
                self.dictionary |= numbers.get(encoding) in DICTIONARY
                self.delta |= numbers.get(encoding) == DELTA


@dataclass
class Header:
    """A struct of Thrift, by the numbers of its fields."""

    numbers: dict[int, int] = field(default_factory=dict)
    parts: dict[int, Header] = field(default_factory=dict)


def read_pages(path: Path, metadata: Any) -> dict[int, Column]:
    """Index of a column -> what its pages say, in all row groups.

    Args:
        metadata: of pyarrow's `ParquetFile`.

    Raises:
        DataError: more pages than a file of its size can have, or they are not as the format says.
    """
    out: dict[int, Column] = {}
    left = FREE_PAGES + path.stat().st_size // BYTES_A_PAGE
    with path.open("rb") as stream:
        for group in range(metadata.num_row_groups):
            found = metadata.row_group(group)
            for index in range(found.num_columns):
                column = out.setdefault(index, Column())
                for header in _headers(path, stream, found.column(index)):
                    left -= 1
                    if left < 0:
                        raise DataError(f"{path}: has more pages than a file of its size can hold.")
                    column.add(header)
    return out


def _headers(path: Path, stream: IO[bytes], chunk: Any) -> Iterator[Header]:
    """The headers of a column chunk's pages."""
    at = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < at:
        at = chunk.dictionary_page_offset
    end = at + chunk.total_compressed_size
    while at < end:
        stream.seek(at)
        content = stream.read(WINDOW)
        while True:
            try:
                header, length = _Compact(content).whole()
                break
            except IndexError:  # it is longer than what was read
                more = stream.read(7 * len(content))
                if not more or len(content) > MAX_HEADER:
                    raise _damaged(path) from None
                content += more
            except ValueError:
                raise _damaged(path) from None
        packed = header.numbers.get(PACKED, -1)
        if not (0 <= header.numbers.get(SIZE, -1) < 2**31 and 0 <= packed < 2**31):
            raise _damaged(path)
        yield header
        at += length + packed


def _damaged(path: Path) -> DataError:
    return DataError(f"{path}: the header of a page is not as Parquet's format says; save it again.")


class _Compact:
    """A struct in Thrift's compact protocol: its numbers of 32 bits and its structs; all else is passed over, as
    readers do where a field is of another kind than they expect.

    https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
    """

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def whole(self) -> tuple[Header, int]:
        """(the struct, its length).

        Raises:
            IndexError: it goes on behind the data.
            ValueError: it is none that a page has.
        """
        return self._struct(0), self.at

    def _struct(self, depth: int) -> Header:
        if depth > DEPTH:
            raise ValueError("too deep")
        out, number = Header(), 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            number = (number + 2**15) % 2**16 - 2**15  # of 16 bits
            kind = head & 15
            if kind == 12:
                out.parts[number] = self._struct(depth + 1)
            elif kind == 5:
                out.numbers[number] = self._signed()
            elif kind in (4, 6):
                self._signed()
            elif kind in (3, 7, 8):
                self._skip({3: 1, 7: 8}.get(kind) or self._varint())
            elif kind not in (1, 2):  # those have no value; lists and maps are in no header
                raise ValueError(f"no field of kind {kind} belongs there")
        return out

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("a number of too many bytes")

    def _signed(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.data):
            raise IndexError("it goes on")
