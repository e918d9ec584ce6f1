"""What a file may unpack to, said by the file itself: texts that repeat in Parquet, compressed Arrow, deep XML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Image, List, Value

from hf_tl.data import parquet_bounds, tables, xml_text
from hf_tl.data.arrow_messages import packed
from hf_tl.data.parquet_bounds import check_unpacked
from hf_tl.data.tables import read_table
from hf_tl.data.undecoded import changed, kept_undecoded, undecoded
from hf_tl.data.xml_text import WrongXml, read_xml
from hf_tl.errors import DataError


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=1500)
    return path


def check_repeats(path: Path, most_values: int, most_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parquet_bounds, "MAX_BYTES", most_bytes)
        patched.setattr(parquet_bounds, "MAX_RATIO", 0)
        check_unpacked(path, most_values)


def test_a_text_that_repeats_counts_as_often_as_it_does(tmp_path: Path) -> None:
    """3000 rows of 100 bytes, which stand in the file twice: once a row group."""
    texts = ["x" * 100] * 3000
    path = parquet(tmp_path / "a.parquet", text=texts, number=list(range(3000)))
    assert path.stat().st_size < 40_000
    check_repeats(path, 10_000, 300_000)
    with pytest.raises(DataError, match=r"a\.parquet: texts that repeat unpack to more than 299,999 bytes"):
        check_repeats(path, 10_000, 299_999)


@pytest.mark.parametrize(
    "values", [[["x" * 50, "x" * 50]] * 3000, [{"a": "x" * 100}] * 3000, [{"a": ["x" * 100]}] * 3000],
    ids=["lists", "records", "lists in records"],
)  # fmt: skip
def test_texts_inside_of_lists_and_records_count(values: Any, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", column=values)
    check_repeats(path, 10_000, 300_000)
    with pytest.raises(DataError, match="texts that repeat unpack to more than 299,000 bytes"):
        check_repeats(path, 10_000, 299_000)


def test_more_values_than_a_file_can_hold(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", few=[1] * 2000, lists=[[7, 7]] * 2000)
    check_repeats(path, 4000, 10**6)
    with pytest.raises(DataError, match=r"column 'lists.*has 4,000 values"):
        check_repeats(path, 3999, 10**6)
    wide = parquet(tmp_path / "b.parquet", bytes=pa.array([b"x" * 1000] * 2000, pa.binary(1000)))
    check_repeats(wide, 4000, 2_000_000)
    with pytest.raises(DataError, match="column 'bytes' has 2,000 values"):
        check_repeats(wide, 4000, 1_999_999)


def test_batches_are_as_large_as_memory_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda self, size, **options: seen.append(size) or real(self, size, **options)
    )
    path = parquet(tmp_path / "a.parquet", text=["x" * 100] * 3000)
    for at_once in (1, 10**9):
        monkeypatch.setattr(parquet_bounds, "READ_AT_ONCE", at_once)
        with pytest.raises(DataError, match="texts that repeat"):
            check_repeats(path, 10_000, 50_000)
    assert seen == [1000, parquet_bounds.BATCH]


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_compressed_columns_of_arrow(compression: str | None, dictionary: bool, tmp_path: Path) -> None:
    values = pa.array(["a", "b", "a"] * 50)
    table = pa.table({"a": values.dictionary_encode() if dictionary else values})
    path = tmp_path / "a.arrow"
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_stream(stream, table.schema, options=options) as writer:
        writer.write_table(table)
    with pa.memory_map(str(path)) as stream:
        assert packed(stream) is (compression is not None)
    if compression is not None:
        with pytest.raises(DataError, match="its columns are compressed"):
            read_table(path)
    elif not dictionary:
        assert len(read_table(path)) == 150


def test_an_arrow_stream_of_no_batches(tmp_path: Path) -> None:
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as stream, pa.ipc.new_stream(stream, pa.schema({"a": pa.int64()})):
        pass
    with pa.memory_map(str(tmp_path / "a.arrow")) as stream:
        assert packed(stream) is False


@pytest.mark.parametrize(
    ("names", "good"), [(["a", "b"], True), (["a", ""], False), (["a", 3], False), ([], False), ("ab", False)]
)
def test_names_of_classes_are_texts(names: Any, good: bool, tmp_path: Path) -> None:
    feature = ClassLabel(names=["x"])
    feature.names = names
    for features in ({"label": feature}, {"label": List(feature)}):
        if good:
            tables._check_classes(tmp_path, {"text": Value("string"), **features})
        else:
            with pytest.raises(DataError, match=r"the classes of column '?label'? are .*, expected a list of names"):
                tables._check_classes(tmp_path, features)


def test_xml_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.xml"
    file.write_text("<a><b>text<c/></b><b/></a>")
    assert [each.tag for each in read_xml(file).iter()] == ["a", "b", "c", "b"] and read_xml(file).findtext(
        "b"
    ) == "text"
    monkeypatch.setattr(xml_text, "MAX_DEPTH", 3)
    read_xml(file)  # siblings are no deeper
    monkeypatch.setattr(xml_text, "MAX_DEPTH", 2)
    with pytest.raises(WrongXml, match="more than 2 elements deep"):
        read_xml(file)
    monkeypatch.undo()
    monkeypatch.setattr(xml_text, "MAX_BYTES", file.stat().st_size)
    read_xml(file)
    monkeypatch.setattr(xml_text, "MAX_BYTES", file.stat().st_size - 1)
    with pytest.raises(WrongXml, match="larger than 25 bytes"):
        read_xml(file)
    monkeypatch.undo()
    file.write_text('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>')
    with pytest.raises(WrongXml, match="it declares a document type"):
        read_xml(file)
    file.write_text("<a>")
    with pytest.raises(WrongXml):
        read_xml(file)


def test_columns_of_whatever_form_are_kept_plain() -> None:
    """Images inside of lists and records, too, are not opened when a row is read."""
    image, text = Image(), Value("string")

    def plain_of(feature: Any) -> Any:
        return changed(feature, kept_undecoded)

    assert plain_of(text) is text and plain_of(Image(decode=False)) == Image(decode=False)
    assert plain_of(image) == Image(decode=False)
    record = {"a": image, "b": text}
    assert plain_of(record) == {"a": Image(decode=False), "b": text}
    plain = {"b": text}
    assert plain_of(plain) is plain
    both, texts = [image, text], (text, text)
    assert plain_of(both) == [Image(decode=False), text] and plain_of(texts) is texts
    assert plain_of(List(image)) == List(Image(decode=False))
    inside = List({"a": text})
    assert plain_of(inside) is inside
    rows = Dataset.from_dict({"a": [[{"bytes": b"none", "path": None}]]}, features=Features({"a": List(Image())}))
    assert undecoded(rows)[0]["a"] == [{"bytes": b"none", "path": None}]
