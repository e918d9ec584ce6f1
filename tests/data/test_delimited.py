"""CSV and TSV: separators, quotes and lines as people's programs write them, and the random tables of Python's csv."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_tl.data.delimited import Delimited, read_delimited
from hf_tl.errors import DataError


def read(folder: Path, name: str, content: str | bytes, names: list[str] | None = None) -> Delimited:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_delimited(path, names)


def columns(found: Delimited) -> dict[str, list[Any]]:
    return {name: column.to_pylist() for name, column in zip(found.names, found.columns, strict=True)}


def test_a_tsv_is_not_quoted(tmp_path: Path) -> None:
    """GLUE's files: quotes are signs of the texts, also at the beginning of a field."""
    lines = ['"fine" he said\t1', '"so he went\t0', 'it is "good\t1', '"\t0', 'x "\t1']
    found = read(tmp_path, "d.tsv", "sentence\tlabel\n" + "\n".join(lines) + "\n")
    assert columns(found) == {
        "sentence": ['"fine" he said', '"so he went', 'it is "good', '"', 'x "'], "label": [1, 0, 1, 0, 1],
    }  # fmt: skip
    assert found.lines == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ('sentence\tlabel\n"a ""b"" c"\t1\nd\t0\n', ['a "b" c', "d"]),  # doubled: a program that quotes
        ('sentence\tlabel\n"a\tb"\t1\n"c\nd"\t0\n', ["a\tb", "c\nd"]),  # nothing else makes whole rows of it
        ('"sentence"\t"label"\n"a b"\t"1"\n"c"\t"0"\n', ["a b", "c"]),  # every field
        ('sentence\tlabel\n"Hello there"\t1\nc\t0\n', ['"Hello there"', "c"]),  # a text in quotes
    ],
)
def test_a_tsv_that_a_program_quoted(content: str, texts: list[str], tmp_path: Path) -> None:
    assert columns(read(tmp_path, "d.tsv", content))["sentence"] == texts


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ('text,label\n"he said ""hi"", ok",1\nb,0\n', ['he said "hi", ok', "b"]),
        (
            'text,label\n"he said \\"hi\\", ok",1\n"a \\n b",0\n"C:\\\\dir",1\n',
            ['he said "hi", ok', "a \\n b", "C:\\dir"],
        ),
        ('text,label\n"C:\\dir\\",1\nb,0\n', ["C:\\dir\\", "b"]),  # a backslash that escapes nothing
        ("text,label\nfirst\\, second,1\nb,0\n", ["first, second", "b"]),
        ('text, label\n"x, y", 1\nb, 0\n', ["x, y", "b"]),
        ('text, "label"\n"x, y", "1"\nb, "0"\n', ["x, y", "b"]),
        ('text,label\n"he said,1\nfoo,0\nbar,1\n', ['"he said', "foo", "bar"]),  # quotes that never close
        ('text,label\n"he said,1\nfoo,0\nbar",0\nbaz,1\n', ['"he said', "foo", 'bar"', "baz"]),  # over whole rows
        ('text,label\n"one, two\nthree, four",0\nb,1\n', ["one, two\nthree, four", "b"]),  # a poem
        ('text,label\n5" disk,1\nb "c" d,0\n', ['5" disk', 'b "c" d']),
    ],
)
def test_the_quotes_of_a_csv(content: str, texts: list[str], tmp_path: Path) -> None:
    assert next(iter(columns(read(tmp_path, "d.csv", content)).values())) == texts


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("sep=;\ntext;label\na,b;1\nc;0\n", {"text": ["a,b", "c"], "label": [1, 0]}),
        ('"sep=|"\r\ntext|label\r\na,b|1\r\n', {"text": ["a,b"], "label": [1]}),
        ("text, whole;label\na;1\nb;0\n", {"text, whole": ["a", "b"], "label": [1, 0]}),
        ("text;score\na, b;3,5\nc, d;4\n", {"text": ["a, b", "c, d"], "score": [3.5, 4.0]}),
        ("a;b;c,label\nx,1\n", {"a;b;c": ["x"], "label": [1]}),
        ("text\nsome words, and more\n", {"text": ["some words, and more"]}),
        ('text\n"some words, and ""more"""\n', {"text": ['some words, and "more"']}),
        ("a,b,\n1,x,\n2,y,\n", {"a": [1, 2], "b": ["x", "y"]}),  # each line ends with a separator
        (",a\n0,x\n1,y\n", {"Unnamed: 0": [0, 1], "a": ["x", "y"]}),  # the index of pandas
        ("a,a\n0,x\n1,y\n", {"a": [0, 1], "a.1": ["x", "y"]}),
        ("a,b\nx,1\ny\n,\n,\n", {"a": ["x", "y"], "b": [1, None]}),  # empty rows below the last are none
        ("a,b\rx,1\ry,2\r", {"a": ["x", "y"], "b": [1, 2]}),  # lines of old Macs
        ("a,b\nx\ry,1\nz,2\n", {"a": ["x\ry", "z"], "b": [1, 2]}),  # a lone carriage return
    ],
)
def test_separators_and_headers(content: str, found: dict[str, list[Any]], tmp_path: Path) -> None:
    assert columns(read(tmp_path, "d.csv", content)) == found


def test_the_line_is_that_of_the_file(tmp_path: Path) -> None:
    content = 'text,label\r\n"a\r\n\r\nb",0\r\n\r\nc,0\r\n"d\re",1\r\nf,1\r\n'
    found = read(tmp_path, "d.csv", content)
    assert columns(found)["text"] == ["a\r\n\r\nb", "c", "d\re", "f"] and found.lines == [2, 6, 7, 8]
    assert read(tmp_path, "s.csv", "sep=;\n\na;b\n\n1;2\n").lines == [5]


def test_a_header_that_is_repeated(tmp_path: Path) -> None:
    found = read(tmp_path, "d.csv", "text,label\na,1\ntext,label\nb,2\n")
    assert columns(found) == {"text": ["a", "b"], "label": [1, 2]} and found.lines == [2, 4]
    assert found.notes == ["Line 3 repeats the header and is left out."]


def test_a_file_without_a_header(tmp_path: Path) -> None:
    found = read(tmp_path, "cola.tsv", "gj04\t1\t\tOur friends\ngj04\t0\t*\tno\n", ["source", "label", "star", "text"])
    assert columns(found) == {
        "source": ["gj04", "gj04"], "label": [1, 0], "star": [None, "*"], "text": ["Our friends", "no"],
    }  # fmt: skip
    assert found.lines == [1, 2]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a,b\n1,2\n1,2,3\n", r"d\.csv, line 3: 3 fields where the header has 2; .*double quotes"),
        ('a,b\n"x\ny",2\n\n1,2,3\n', r"d\.csv, line 5: 3 fields"),
        ("a,b\n1,2,3\n4,5,6\n", r"d\.csv: the rows have more fields than the header"),
        ('a,b\n"x, y,1\nz,2\n', r"d\.csv, line 2: the quotes that open here do not close"),
        ('a,b\n"x, y"z,1\nz,2\n', r"d\.csv, line 2: text stands after quotes that close"),
        ("\n\n", r"d\.csv: the file is empty"),
        ("sep=;\n", r"d\.csv: the file is empty"),
    ],
)
def test_what_is_said_of_a_table_that_is_none(content: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=sentence):
        read(tmp_path, "d.csv", content)


def test_utf_16_with_its_mark(tmp_path: Path) -> None:
    """Excel's "Unicode text"."""
    found = read(tmp_path, "d.tsv", "text\tlabel\nä\tx\n".encode("utf-16"))
    assert columns(found) == {"text": ["ä"], "label": ["x"]}


LETTERS = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufdd0") | st.sampled_from(
    ',;|\t"\n\\'
)
TEXTS = st.text(LETTERS, min_size=1, max_size=12).map(lambda text: f"t{text}.")
NUMBERS = st.integers(-(10**15), 10**15)
ROWS = st.lists(st.tuples(TEXTS, st.none() | TEXTS, NUMBERS), min_size=2, max_size=8)


@given(
    ROWS,
    st.sampled_from([",", ";", "|", "\t"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_pythons_csv_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], separator: str, quoting: Any, encoding: str, end: str
) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator=end)
    writer.writerows([["text", "more", "number"], *rows])
    path = tmp_path_factory.mktemp("d") / ("d.tsv" if separator == "\t" else "d.csv")
    path.write_bytes(stream.getvalue().encode(encoding))
    found = read_delimited(path)
    assert list(zip(*columns(found).values(), strict=True)) == rows
    before = [sum(str(each).count("\n") for row in rows[:at] for each in row) for at in range(len(rows))]
    assert found.lines == [2 + at + breaks for at, breaks in enumerate(before)]
