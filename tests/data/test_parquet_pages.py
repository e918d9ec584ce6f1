"""How large a Parquet file really is stands before its pages; what its footer says of them is another matter."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_tl.data import parquet_bounds, parquet_pages
from hf_tl.data.parquet_pages import Column, read_pages
from hf_tl.data.tables import check_parquet, read_table
from hf_tl.errors import DataError

ROWS = 3000
TABLE = pa.table({
    "text": [f"row {index}" for index in range(ROWS)],
    "repeats": ["the same", "another"] * (ROWS // 2),
    "number": np.arange(ROWS, dtype=np.int32),
    "few": [[index] * (index % 3) for index in range(ROWS)],
    "nothing": pa.array([None] * ROWS, pa.string()),
})  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "pages of version 2": {"data_page_version": "2.0"},
    "small pages": {"data_page_size": 500, "write_batch_size": 100},
    "groups": {"row_group_size": 700, "compression": "gzip"},
    "not packed": {"compression": "none", "use_dictionary": False, "write_page_checksum": True},
    "deltas": {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY", "number": "PLAIN"}},
}


@pytest.mark.parametrize("way", WAYS)
def test_an_honest_footer_says_the_same(way: str, tmp_path: Path) -> None:
    """But for the headers themselves, which it counts, and which nothing unpacks."""
    pq.write_table(TABLE, tmp_path / "d.parquet", **{"compression": "zstd", **WAYS[way]})
    with pq.ParquetFile(tmp_path / "d.parquet") as file:
        found = read_pages(tmp_path / "d.parquet", file.metadata)
        for index, column in found.items():
            chunks = [file.metadata.row_group(group).column(index) for group in range(file.metadata.num_row_groups)]
            said = sum(chunk.total_uncompressed_size for chunk in chunks)
            assert column.values == sum(chunk.num_values for chunk in chunks)
            assert 0 < column.size < said and said - column.size < 200 * (said // 400 + 5)
            assert column.dictionary == any(chunk.has_dictionary_page for chunk in chunks)
            assert column.largest <= column.size
    assert [name for index, name in enumerate(TABLE.column_names) if found[index].delta] == ["text"] * (way == "deltas")
    check_parquet(tmp_path / "d.parquet")
    assert read_table(tmp_path / "d.parquet")["text"][-1] == "row 2999"


def varint(value: int, size: int = 0) -> bytes:
    """A number as Thrift writes it, in at least so many bytes."""
    value, out = 2 * value, b""
    while value > 127 or len(out) + 1 < size:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def lying(path: Path, table: Any, **options: Any) -> Path:
    """A file whose footer says that everything in it is 1,000 bytes long."""
    pq.write_table(table, path, compression="zstd", **options)
    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    footer = content[start:]
    with pq.ParquetFile(path) as file:
        for group in range(file.metadata.num_row_groups):
            found = file.metadata.row_group(group)
            for size in (found.total_byte_size, found.column(0).total_uncompressed_size):
                footer = footer.replace(varint(size), varint(1000, len(varint(size))))
    path.write_bytes(content[:start] + footer)
    with pq.ParquetFile(path) as file:
        assert file.metadata.row_group(0).total_byte_size == 1000
        assert file.metadata.row_group(0).column(0).total_uncompressed_size == 1000
    return path


LARGE = "x " * 500_000
LIES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a text 20 times": ([LARGE] * 20, {"use_dictionary": False}, "unpacks to 20,000,"),
    "of version 2": ([LARGE] * 20, {"use_dictionary": False, "data_page_version": "2.0"}, "unpacks to 20,000,"),
    "in groups": ([LARGE] * 20, {"use_dictionary": False, "row_group_size": 5}, "unpacks to 20,000,"),
    "a dictionary": (
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(5000, dtype=np.int8)), pa.array([LARGE])), {},
        "texts that repeat unpack to more than 10,000,000 bytes",
    ),
    "deltas": (
        [LARGE[:200_000]] * 100, {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
        "texts that repeat unpack to more than 10,000,000 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_footer_that_understates_is_not_believed(lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before anything is unpacked."""
    column, options, words = LIES[lie]
    monkeypatch.setattr(parquet_bounds, "MAX_BYTES", 10_000_000)
    path = lying(tmp_path / "d.parquet", pa.table({"text": column}), **options)
    assert path.stat().st_size < 50_000
    with pytest.raises(DataError, match=words):
        read_table(path)


def test_where_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(TABLE.select(["text"]), path, use_dictionary=False)
    with pq.ParquetFile(path) as file:
        size = read_pages(path, file.metadata)[0].size
    monkeypatch.setattr(parquet_bounds, "MAX_RATIO", 0)
    monkeypatch.setattr(parquet_bounds, "MAX_BYTES", size)
    check_parquet(path)
    monkeypatch.setattr(parquet_bounds, "MAX_BYTES", size - 1)
    with pytest.raises(DataError, match=f"unpacks to {size:,} bytes"):
        check_parquet(path)


def test_values_are_counted_where_they_are(tmp_path: Path) -> None:
    """A list in one row, of which the footer says that it is shorter."""
    numbers = pa.array(np.zeros(5_000_000, dtype=np.int8))
    column = pa.ListArray.from_arrays(pa.array([0, len(numbers)], pa.int32()), numbers)
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"label": column}), path, compression="zstd")
    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    path.write_bytes(content[:start] + content[start:].replace(varint(5_000_000), varint(1000, 4)))
    with pq.ParquetFile(path) as file:
        assert file.metadata.row_group(0).column(0).num_values == 1000
    with pytest.raises(DataError, match=r"column 'label\.list\.element' has 5,000,000 values"):
        read_table(path)


def test_too_many_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(TABLE.select(["number"]), path, use_dictionary=False, data_page_size=100, write_batch_size=30)
    monkeypatch.setattr(parquet_pages, "BYTES_A_PAGE", path.stat().st_size + 1)
    monkeypatch.setattr(parquet_pages, "FREE_PAGES", 100)  # of 30 numbers each
    check_parquet(path)
    monkeypatch.setattr(parquet_pages, "FREE_PAGES", 99)
    with pytest.raises(DataError, match="more pages than a file of its size"):
        check_parquet(path)


# one header


def header(content: bytes) -> tuple[dict[int, int], int]:
    found, length = parquet_pages._Compact(content).whole()
    return found.numbers, length


def test_a_field_is_what_readers_take_it_for() -> None:
    """A later one counts, of another kind none, whatever way its number is written."""
    two = b"\x15" + varint(0) + b"\x15" + varint(7)
    assert header(two + b"\x00" + b"rest") == ({1: 0, 2: 7}, 5)
    assert header(two + b"\x05\x04" + varint(9) + b"\x00")[0] == {1: 0, 2: 9}  # number 2 again, written whole
    assert header(two + b"\x05" + varint(65_538) + varint(9) + b"\x00")[0] == {1: 0, 2: 9}  # of 16 bits
    assert header(two + b"\x06\x04" + varint(9) + b"\x00")[0] == {1: 0, 2: 7}  # of 64 bits: passed over
    assert header(two + b"\x18" + b"\x03abc" + b"\x17" + b"8 bytes." + b"\x11\x00")[0] == {1: 0, 2: 7}
    found, _ = parquet_pages._Compact(b"\x5c\x15\x06\x15\x10\x00\x15\x08\x00").whole()
    assert found.parts[5].numbers == {1: 3, 2: 8} and found.numbers == {6: 4}
    column = Column()
    column.add(parquet_pages.Header({2: 10}, {5: found.parts[5]}))
    assert column == Column(values=3, size=10, largest=10, dictionary=True)


@pytest.mark.parametrize(
    "content", [b"\x19\x15\x00\x00", b"\x1b\x00\x00", b"\x1c" * 40, b"\x15" + b"\xff" * 20, b"\x1d\x00"]
)
def test_what_no_header_has(content: bytes) -> None:
    with pytest.raises(ValueError):
        header(content)


def test_any_damage_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(TABLE.select(["text", "number"]), path)
    content = path.read_bytes()
    for at in range(4, len(content) - 8, 1499):
        for byte in (0x00, 0xFF):
            path.write_bytes(content[:at] + bytes([byte]) + content[at + 1 :])
            with contextlib.suppress(DataError):
                read_table(path)
