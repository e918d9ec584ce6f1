"""Table files as rows: every format, and what is said of files that are not as they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset

from hf_tl.data import parquet_bounds, tables
from hf_tl.data.tables import is_table, read_table
from hf_tl.errors import DataError

ROWS = [{"text": "a, b", "label": 1}, {"text": "ä", "label": 2}]


def file_of(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_which_files_are_tables() -> None:
    for name in ("a.csv", "a.TSV", "b/a.jsonl", "a.ndjson", "a.json", "a.parquet", "a.arrow", "a.txt"):
        assert is_table(Path(name))
    for name in ("csv", "a.csv.gz", "a.xlsx", "a.png", "a"):
        assert not is_table(Path(name))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", 'text,label\n"a, b",1\nä,2\n'),
        ("d.csv", '\ufeff text , label\r\n"a, b",1\r\nä,2\r\n'),
        ("d.csv", 'text;label\n"a, b";1\nä;2\n'),
        ("d.csv", 'text|label\n"a, b"|1\nä|2\n'),
        ("d.csv", "text\tlabel\na, b\t1\nä\t2\n"),
        ("d.tsv", "text\tlabel\na, b\t1\nä\t2\n"),
        ("d.CSV", 'text,label\n\n"a, b",1\n\nä,2\n'),
        ("d.jsonl", '{"text": "a, b", "label": 1}\n\n{"label": 2, "text": "ä"}\n'),
        ("d.ndjson", '\ufeff{"text": "a, b", "label": 1}\n{"text": "ä", "label": 2}'),
        ("d.json", '{"text": "a, b", "label": 1}\n{"text": "ä", "label": 2}\n'),  # lines under the other name
        ("d.json", json.dumps(ROWS)),
        ("d.json", json.dumps({"version": 2, "data": ROWS})),
    ],
)
def test_every_text_format_gives_the_same_rows(name: str, content: str, tmp_path: Path) -> None:
    assert read_table(file_of(tmp_path, name, content)).to_list() == ROWS


def test_binary_formats_and_lines_of_text(tmp_path: Path) -> None:
    Dataset.from_list(ROWS).to_parquet(str(tmp_path / "d.parquet"))
    assert read_table(tmp_path / "d.parquet").to_list() == ROWS
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    assert read_table(next((tmp_path / "saved").glob("*.arrow"))).to_list() == ROWS
    lines = read_table(file_of(tmp_path, "d.txt", "\ufeff one \n\n  two, three\n"))
    assert lines.to_list() == [{"text": "one"}, {"text": "two, three"}]


def test_only_an_empty_field_is_missing(tmp_path: Path) -> None:
    rows = read_table(file_of(tmp_path, "d.csv", "text,label\nNA,None\nnull,nan\n,x\n"))
    assert rows.to_list() == [
        {"text": "NA", "label": "None"},
        {"text": "null", "label": "nan"},
        {"text": None, "label": "x"},
    ]


def test_the_separator_is_that_of_the_header(tmp_path: Path) -> None:
    # commas in texts say nothing where the header has none
    rows = read_table(file_of(tmp_path, "d.csv", "text;label\na,b,c;1\nd,e;2\n"))
    assert rows.to_list() == [{"text": "a,b,c", "label": 1}, {"text": "d,e", "label": 2}]
    # with a comma in it, it is a comma
    rows = read_table(file_of(tmp_path, "e.csv", "a;b;c,label\nx,1\n"))
    assert rows.to_list() == [{"a;b;c": "x", "label": 1}]
    rows = read_table(file_of(tmp_path, "f.csv", "text\nsome words\n"))
    assert rows.to_list() == [{"text": "some words"}]
    rows = read_table(file_of(tmp_path, "g.tsv", "a,b\tlabel\nx\t1\n"))
    assert rows.column_names == ["a,b", "label"]


def test_keys_that_some_rows_lack(tmp_path: Path) -> None:
    rows = read_table(file_of(tmp_path, "d.jsonl", '{"a": 1}\n{"b": "x", "a": 2}\n'))
    assert rows.to_list() == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("d.csv", "", r"d\.csv: the file is empty\.$"),
        ("d.csv", "\n\n", r"d\.csv: the file is empty\.$"),
        ("d.csv", "text,label\n", r"d\.csv: has columns but no rows\.$"),
        ("d.txt", " \n\n", r"d\.txt: has columns but no rows\.$"),
        ("d.jsonl", "\n \n", r"d\.jsonl: has no rows\.$"),
        ("d.json", "[]", r"d\.json: has no rows\.$"),
        ("d.csv", "a,b\n1,2\n1,2,3\n", r"d\.csv, line 3: 3 fields where the header has 2; .*double quotes"),
        ("d.csv", "a,b\n1,2,3\n4,5,6\n", r"d\.csv: the rows have more fields than the header"),
        ("d.csv", b"text\nsch\xf6n\n", r"d\.csv: not UTF-8 \(byte \d+\); save it as UTF-8"),
        ("d.txt", b"sch\xf6n\n", r"d\.txt: not UTF-8 \(byte 3\)"),
        ("d.jsonl", '{"a": 1}\n\n{"a": \n', r"d\.jsonl, line 3, column \d+: not JSON"),
        ("d.jsonl", '{"a": 1}\n[1]\n', r"d\.jsonl, line 2: expected an object, found list"),
        ("d.json", '[\n{"a": 1},\n{"a" 2}]', r"d\.json, line 3, column \d+: not JSON"),
        ("d.json", "3", r"d\.json: expected a list of objects, found int"),
        ("d.json", "[1, 2]", r"d\.json: expected a list of objects, found list"),
        ("d.json", '{"a": [{"x": 1}], "b": [{"x": 2}]}', r"d\.json: expected a list of objects, found dict"),
        ("d.parquet", "nonsense", r"d\.parquet: cannot be read \("),
        ("d.arrow", "nonsense", r"d\.arrow: cannot be read \("),
        ("d.csv", "text, text,label\na,b,c\n", r"d\.csv: two columns have the same name \(text, text, label\)"),
    ],
)
def test_what_is_said_of_a_wrong_file(name: str, content: Any, sentence: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, name, content)
    with pytest.raises(DataError, match=sentence) as caught:
        read_table(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_the_number_of_columns_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_COLUMNS", 3)
    for suffix in (".csv", ".parquet", ".arrow", ".jsonl"):
        for count in (3, 4):
            rows = Dataset.from_dict({f"c{index}": ["a", "b"] for index in range(count)})
            path = tmp_path / f"{count}{suffix}"
            if suffix == ".csv":
                rows.to_csv(path, index=False)
            elif suffix == ".parquet":
                rows.to_parquet(path)
            elif suffix == ".jsonl":
                rows.to_json(path)
            else:
                with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_stream(stream, rows.data.schema) as writer:
                    writer.write_table(rows.data.table)
            if count == 3:
                assert read_table(path).num_columns == 3
            else:
                with pytest.raises(DataError, match=rf"4{suffix}: has 4 columns, expected at most 3"):
                    read_table(path)


def test_a_table_of_far_more_rows_than_its_size_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is the same throughout takes next to no space in Parquet."""
    path = tmp_path / "d.parquet"
    Dataset.from_dict({"a": [7] * 50_000}).to_parquet(path)
    assert len(read_table(path)) == 50_000
    monkeypatch.setattr(tables, "FREE_ROWS", 49_999 - tables.ROWS_A_BYTE * path.stat().st_size)
    with pytest.raises(DataError, match="says that it has 50,000 rows, more than a file of its size can hold"):
        read_table(path)
    monkeypatch.undo()
    monkeypatch.setattr(parquet_bounds, "MAX_BYTES", 0)
    monkeypatch.setattr(parquet_bounds, "MAX_RATIO", 0.01)
    with pytest.raises(DataError, match="no table that was written"):
        read_table(path)


def test_records_inside_records_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d.parquet"
    Dataset.from_dict({"a": [{"b": {"c": 1}}]}).to_parquet(path)  # a is one deep, c three
    monkeypatch.setattr(tables, "DEPTH", 3)
    assert read_table(path)[0]["a"] == {"b": {"c": 1}}
    monkeypatch.setattr(tables, "DEPTH", 2)
    with pytest.raises(DataError, match="its columns are records of records, too many or more than 2 deep"):
        read_table(path)


def test_text_tables_of_an_archive_are_as_dense_as_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FREE_ROWS", 5), ("LINES_A_BYTE", 2), ("FREE_VALUES", 9), ("VALUES_A_BYTE", 3)):
        monkeypatch.setattr(tables, name, value)
    lines = file_of(tmp_path, "lines.csv", "a\n" * 9)
    tables.check_density(lines, 2)  # it may have 5 + 2 * 2
    with pytest.raises(DataError, match=r"lines\.csv: has 9 lines, .* of 1 bytes can mean \(it may have 7\)"):
        tables.check_density(lines, 1)
    values = file_of(tmp_path, "values.csv", "a,b;c\t[{|" * 2 + ",,,,")  # 16 marks
    with pytest.raises(DataError, match=r"values\.csv: has 16 values, .*\(it may have 15\)"):
        tables.check_density(values, 2)
    tables.check_density(values, 3)
    tables.check_density(file_of(tmp_path, "a.parquet", "\n" * 99), 0)  # says itself how large it is
