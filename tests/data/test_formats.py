"""Formats of files: columns of words, SQuAD's own, saved datasets, compressed tables, workbooks, and the others."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hf_tl.config import DataConfig
from hf_tl.data import load_data
from hf_tl.data.annotations import FILE
from hf_tl.data.formats import FORMATS, OTHERS, is_data_file, read_file
from hf_tl.data.sources import read_source
from hf_tl.errors import DataError

ROWS = [{"text": f"number {index}", "label": "ab"[index % 2]} for index in range(12)]
CSV = "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS)
CONLL = """-DOCSTART- -X- -X- O

Ada NNP B-NP B-PER
lives VBZ B-VP O

# NN B-NP O
Rome NNP I-NP B-LOC
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_TL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def rows_of(path: Path, **options: Any) -> dict[str, list[dict[str, Any]]]:
    """split -> rows, without where they are from."""
    found = read_source(DataConfig(path=str(path), **options)).splits
    return {split: rows.remove_columns(FILE).to_list() for split, rows in found.items()}


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# columns of words


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "train.IOB2"])
def test_columns_of_words(name: str, tmp_path: Path) -> None:
    rows = read_source(DataConfig(path=str(written(tmp_path / name, CONLL)))).splits["train"]
    assert rows[0] == {
        "tokens": ["Ada", "lives"],
        "pos_tags": ["NNP", "VBZ"],
        "chunk_tags": ["B-NP", "B-VP"],
        "ner_tags": ["B-PER", "O"],
        FILE: f"{tmp_path / name}, line 3",
    }
    assert rows[1]["tokens"] == ["#", "Rome"] and rows[1][FILE].endswith("line 6")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("New York\tB-LOC\nis\tO\n\nbig\tO\n", {"tokens": [["New York", "is"], ["big"]],
                                                "ner_tags": [["B-LOC", "O"], ["O"]]}),
        (
            "# a comment\n1\tAda\tB-PER\tO\n2\tRome\tO\tB-LOC\n\n1\tx\tO\tO\n",
            {"tokens": [["Ada", "Rome"], ["x"]], "ner_tags": [["B-PER", "O"], ["O"]],
             "nested_tags": [["O", "B-LOC"], ["O"]]},
        ),
        ("Ada x I-PER\r\nis y O\r\n\r\n \r\nin z O\r\n",
         {"tokens": [["Ada", "is"], ["in"]], "column_2": [["x", "y"], ["z"]], "ner_tags": [["I-PER", "O"], ["O"]]}),
    ],
    ids=["tabs", "numbered", "three columns"],
)  # fmt: skip
def test_other_columns_of_words(content: str, expected: dict[str, Any], tmp_path: Path) -> None:
    for name in ("a.txt", "a.tsv", "a.bio"):
        assert Dataset.from_list(rows_of(written(tmp_path / name, content))["train"]).to_dict() == expected


def test_columns_without_entities_are_known_by_their_name(tmp_path: Path) -> None:
    content = "Ada NNP\nlives VBZ\n\nhere RB\n"
    assert rows_of(written(tmp_path / "a.conll", content))["train"][1] == {"tokens": ["here"], "tags": ["RB"]}
    assert rows_of(written(tmp_path / "a.txt", content))["train"][0] == {"text": "Ada NNP"}


def test_texts_that_are_no_columns(tmp_path: Path) -> None:
    for content in ("I O\nyou and O\n", "two words\nother words\n\n", "B-2 or not B-2\n", "a O\nb O\n\n"):
        assert "text" in rows_of(written(tmp_path / "a.txt", content))["train"][0]


def test_a_word_without_a_tag_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.conll, line 4: found 1 columns \('lives'\), expected 2 as above"):
        rows_of(written(tmp_path / "a.conll", "x O\n\nAda B-PER\nlives\n"))
    with pytest.raises(DataError, match=r"line 1: found 1 columns \('Ada'\), expected a word and its tag"):
        rows_of(written(tmp_path / "a.conll", "Ada\nlives\n"))


def test_universal_dependencies(tmp_path: Path) -> None:
    lines = ["# text = vámonos al mar", "1-2\tvámonos" + "\t_" * 8, "1\tvamos\tir\tVERB\tV" + "\t_" * 5,
             "2\tnos\tnosotros\tPRON\tP" + "\t_" * 5, "2.1\tempty" + "\t_" * 8, ""]  # fmt: skip
    (row,) = rows_of(written(tmp_path / "a.conllu", "\n".join(lines)))["train"]
    assert row["tokens"] == ["vamos", "nos"] and row["pos_tags"] == ["VERB", "PRON"]
    assert row["lemmas"] == ["ir", "nosotros"] and row["xpos_tags"] == ["V", "P"]


signs = st.characters(codec="utf-8", exclude_categories=("Z", "C"))
word = st.text(signs, min_size=1, max_size=8).filter(lambda text: not text.startswith(("#", "-DOCSTART-", "0", "1")))
tag = st.sampled_from(["O", "B-PER", "I-PER", "B-ORG", "S-x.y"])
sentences = st.lists(st.lists(st.tuples(word, tag), min_size=1, max_size=6), min_size=2, max_size=5)


@settings(max_examples=50, deadline=None)
@given(sentences, st.sampled_from(["\t", " "]), st.sampled_from(["\n", "\r\n"]), st.integers(0, 2))
def test_random_columns_of_words_are_read_back(found: Any, separator: str, end: str, more: int) -> None:
    middle = [f"{separator}x"] * more
    lines = [f"{one}{''.join(middle)}{separator}{its}" for sentence in found for one, its in [*sentence, ("", "")]]
    text = end.join("" if line.startswith(separator) else line for line in lines)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.conll"
        path.write_bytes(text.encode())
        rows = read_file(path, DataConfig(path="x"), Path(folder)).rows
        assert [list(zip(row["tokens"], row["ner_tags"], strict=True)) for row in rows] == found


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.lists(word, min_size=1, max_size=3), st.lists(word, max_size=4)), min_size=1, max_size=5))
def test_random_lines_of_fasttext_are_read_back(lines: list[tuple[list[str], list[str]]]) -> None:
    lines = [(labels, [each for each in words if not each.startswith("__label__")]) for labels, words in lines]
    text = "\n\n".join(" ".join([*(f"__label__{each}" for each in labels), *words]) for labels, words in lines)
    single = all(len(labels) == 1 for labels, _ in lines)
    wanted = [{"text": " ".join(words), "label": labels[0] if single else labels} for labels, words in lines]
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "train.txt", text)
        assert read_file(path, DataConfig(path="x"), Path(folder)).rows.to_list() == wanted


def test_fasttext_keeps_the_spaces_of_a_text(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "__label__x  two  spaces \n__label__y b\n")
    assert rows_of(path)["train"] == [{"text": "two  spaces", "label": "x"}, {"text": "b", "label": "y"}]


# SQuAD


def squad(answer: dict[str, Any], **more: Any) -> dict[str, Any]:
    question = {"id": "7", "question": "Where?", "answers": [answer], **more}
    return {"title": "Ada", "paragraphs": [{"context": "Ada was born in Rome.", "qas": [question]}]}


def test_squad_of_both_versions(tmp_path: Path) -> None:
    rome = {"text": "Rome", "answer_start": 16}
    impossible = squad({}, answers=[], is_impossible=True, plausible_answers=[rome])
    whole = {"version": "v2.0", "data": [squad(rome), impossible]}
    first, then = rows_of(written(tmp_path / "train-v2.0.json", json.dumps(whole)))["train"]
    assert first == {
        "id": "7", "title": "Ada", "context": "Ada was born in Rome.", "question": "Where?",
        "answers": {"text": ["Rome"], "answer_start": [16]},
    }  # fmt: skip
    assert then["answers"] == {"text": [], "answer_start": []}
    for other in (whole["data"], whole["data"][0]["paragraphs"] + whole["data"][1]["paragraphs"]):  # type: ignore[index]
        assert [row["answers"] for row in rows_of(written(tmp_path / "o.json", json.dumps(other)))["train"]] == [
            first["answers"], then["answers"],
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"data": [{"qas": [{"question": 1}], "context": "a"}]}, "paragraph 1, question 1: expected a record"),
        ({"data": [{"qas": [], "context": 1}]}, "paragraph 1: expected a text under 'context'"),
        ({"data": [{"qas": [{"question": "q", "answers": "a"}], "context": "a"}]}, "'answers' is a text"),
        ({"data": {"qas": []}}, "'data' is a mapping, expected SQuAD's list"),
        ({"data": [{"paragraphs": 3, "x": {"qas": []}}]}, "'paragraphs' of an article is a number"),
        ({"data": [{"qas": [], "context": "a"}]}, "has no questions"),
    ],
)  # fmt: skip
def test_squad_that_is_wrong(value: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"a.json.*{said}"):
        rows_of(written(tmp_path / "a.json", json.dumps(value)))


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(texts, st.lists(st.tuples(texts, st.integers(0, 9)), max_size=3)), min_size=1, max_size=4))
def test_random_squad_is_read_back(paragraphs: list[tuple[str, list[tuple[str, int]]]]) -> None:
    data = [
        {"paragraphs": [{"context": about, "qas": [
            {"question": question, "answers": [{"text": "a", "answer_start": at}]} for question, at in asked]}]}
        for about, asked in paragraphs
    ]  # fmt: skip
    wanted = [(about, question, [at]) for about, asked in paragraphs for question, at in asked]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        path.write_text(json.dumps({"data": data}), encoding="utf-8")
        if not wanted:
            with pytest.raises(DataError, match="has no questions"):
                read_file(path, DataConfig(path="x"), Path(folder))
            return
        rows = read_file(path, DataConfig(path="x"), Path(folder)).rows
        assert [(row["context"], row["question"], row["answers"]["answer_start"]) for row in rows] == wanted


# saved datasets


def test_saved_data_sets(tmp_path: Path) -> None:
    rows = Dataset.from_list(ROWS).cast_column("label", ClassLabel(names=["b", "a"]))
    rows.save_to_disk(tmp_path / "one", num_shards=3)
    assert [row["text"] for row in rows_of(tmp_path / "one")["train"]] == [row["text"] for row in ROWS]
    assert load_data(DataConfig(path=str(tmp_path / "one"))).labels == ("b", "a"), "its own names and order"
    DatasetDict(train=rows, test_sft=rows.select(range(3))).save_to_disk(tmp_path / "both")
    found = read_source(DataConfig(path=str(tmp_path / "both"))).splits
    assert {split: len(each) for split, each in found.items()} == {"train": 12, "test": 3}
    named = {"train": "test_sft"}
    assert len(rows_of(tmp_path / "both", splits=named)["train"]) == 3
    rows.save_to_disk(tmp_path / "apart" / "train")
    rows.select([0]).save_to_disk(tmp_path / "apart" / "validation")
    assert len(rows_of(tmp_path / "apart")["validation"]) == 1


def test_the_leavings_of_a_cache_are_no_rows(tmp_path: Path) -> None:
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "d")
    Dataset.from_list(ROWS * 3).save_to_disk(tmp_path / "other")
    next((tmp_path / "other").glob("*.arrow")).rename(tmp_path / "d" / "cache-0123.arrow")
    assert len(rows_of(tmp_path / "d")["train"]) == 12


@pytest.mark.parametrize("name", ["missing.arrow", "../other/data-00000-of-00001.arrow", "/etc/passwd", 3, None])
def test_a_saved_data_set_names_its_own_files_alone(name: Any, tmp_path: Path) -> None:
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "other")
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "d")
    written(tmp_path / "d" / "state.json", json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(DataError, match=r"state\.json: names the file .* which is not beside it"):
        rows_of(tmp_path / "d")


def test_a_state_of_somebody_else_is_not_asked(tmp_path: Path) -> None:
    written(tmp_path / "d" / "train.csv", CSV)
    for content in ("{", "[1]", '{"_data_files": 3}'):
        written(tmp_path / "d" / "state.json", content)
        with pytest.raises(DataError, match="state"):  # a table like any other
            rows_of(tmp_path / "d")


# a file for each text


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), texts.filter(str.strip)), min_size=6, max_size=9), st.booleans())
def test_random_folders_of_texts_are_read_back(found: list[tuple[str, str]], apart: bool) -> None:
    found = [("a", "x"), ("b", "y"), *found]
    with tempfile.TemporaryDirectory() as folder:
        for at, (name, text) in enumerate(found):
            for split in ("train", "test") if apart else ("",):
                written(Path(folder) / split / name / f"{at:02}.txt", text)
        splits = rows_of(Path(folder))
    wanted = sorted((name, text.replace("\r\n", "\n").strip()) for name, text in found)
    assert set(splits) == ({"train", "test"} if apart else {"train"})
    for rows in splits.values():
        assert sorted((row["label"], row["text"].replace("\r\n", "\n")) for row in rows) == wanted


def test_texts_of_a_line_each_are_no_folder_of_texts(tmp_path: Path) -> None:
    written(tmp_path / "train" / "a.txt", "one\ntwo\n")
    written(tmp_path / "test" / "a.txt", "three\n")
    assert rows_of(tmp_path) == {"train": [{"text": "one"}, {"text": "two"}], "test": [{"text": "three"}]}
    for at in range(6):
        written(tmp_path / "texts" / "ab"[at % 2] / f"{at}.txt", "" if at == 3 else "x")
    with pytest.raises(DataError, match=r"3\.txt: the text is empty; remove the file"):
        rows_of(tmp_path / "texts")


# compressed tables


def zstandard(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    return bytes(sink.getvalue().to_pybytes())


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard,
}  # fmt: skip


@pytest.mark.parametrize("ending", PACK)
def test_compressed_tables(ending: str, tmp_path: Path, cache: Path) -> None:
    for name, content in (("a.csv", CSV), ("b.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))):
        path = written(tmp_path / f"{name}{ending}", PACK[ending](content.encode()))
        assert rows_of(path) == {"train": ROWS}
    first = read_source(DataConfig(path=str(path))).splits["train"][0][FILE]
    assert first == f"{path}, line 1" and str(cache) not in first
    written(tmp_path / "d" / f"train.csv{ending}", PACK[ending](CSV.encode()))
    written(tmp_path / "d" / f"test.csv{ending}", PACK[ending](CSV.encode()))
    assert rows_of(tmp_path / "d") == {"train": ROWS, "test": ROWS}
    path = written(tmp_path / f"c.conll{ending}", PACK[ending](CONLL.encode()))
    assert read_source(DataConfig(path=str(path))).splits["train"][1][FILE] == f"{path}, line 6"


def test_several_streams_one_after_the_other(tmp_path: Path) -> None:
    for ending, pack in PACK.items():
        halves = CSV[:50].encode(), CSV[50:].encode()
        assert rows_of(written(tmp_path / f"a.csv{ending}", b"".join(map(pack, halves)))) == {"train": ROWS}, ending


@pytest.mark.parametrize("ending", PACK)
def test_compressed_files_are_bounded(
    ending: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hf_tl.data.archives.FREE_BYTES", 1_000_000)
    path = written(tmp_path / f"a.csv{ending}", PACK[ending](b"text,label\n" + b"x" * 3_000_000))
    with pytest.raises(DataError, match=r"a\.csv.*: unpacks to more than [\d,]+ bytes"):
        rows_of(path)
    assert not [file for file in cache.rglob("*") if file.is_file()]
    for data in (b"no such thing", PACK[ending](CSV.encode())[:-9]):
        with pytest.raises(DataError, match=r"a\.csv.*: cannot be unpacked"):
            rows_of(written(tmp_path / f"a.csv{ending}", data))


def test_more_lines_than_so_few_bytes_can_mean(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv.gz", gzip.compress(b"a\n" * 2_000_000))
    with pytest.raises(DataError, match=r"a\.csv\.gz: has 2,000,000 lines, more than .* can mean"):
        rows_of(path)


def test_an_archive_in_an_archive_is_judged_by_the_outer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_tl.data.archives.FREE_BYTES", 500_000)
    inner = gzip.compress(b"text,label\n" + b"x" * 50_000_000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a.csv.gz", inner)
    most = 200 * (tmp_path / "a.zip").stat().st_size
    assert most < 500_000
    with pytest.raises(DataError, match="unpacks to more than 500,000 bytes"):
        rows_of(tmp_path / "a.zip")


def test_a_compressed_table_beside_images_of_an_archive(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hf_tl.data.archives.FREE_BYTES", 500_000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("names.csv.gz", gzip.compress(b"image,label\n" + b"x" * 50_000_000))
        for at in range(6):
            image = tmp_path / f"{at}.png"
            Image.new("RGB", (4, 4), (40 * at, 0, 0)).save(image)
            out.write(image, f"{'ab'[at % 2]}/{at}.png")
    assert [row["label"] for row in rows_of(tmp_path / "a.zip")["train"]] == ["a"] * 3 + ["b"] * 3
    assert not [file for file in cache.rglob("*") if file.name == "names.csv"]


def test_errors_in_compressed_files_name_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl.gz", gzip.compress(b'{"a": 1}\n{"a": \n'))
    with pytest.raises(DataError, match=r"^\S*a\.jsonl\.gz, line 2"):
        rows_of(path)
    with pytest.raises(DataError, match=r"parquet is compressed by itself; unpack it and give a\.parquet"):
        rows_of(written(tmp_path / "a.parquet.gz", gzip.compress(b"x")))


# workbooks


def workbook(path: Path, *sheets: list[list[Any]]) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for index, rows in enumerate(sheets):
        sheet = book.create_sheet(f"S{index}")
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_workbooks(tmp_path: Path) -> None:
    cells = [["text", "label"], ['a, "b"\nc', "x"], [None, None], ["0101", "y"], [" =1", None]]
    path = workbook(tmp_path / "a.xlsx", cells, [])
    rows = read_source(DataConfig(path=str(path))).splits["train"]
    assert rows["text"] == ['a, "b"\nc', "0101", " =1"] and rows["label"] == ["x", "y", None]
    assert rows[FILE] == [f"{path}, row 2", f"{path}, row 4", f"{path}, row 5"]


def test_numbers_of_workbooks(tmp_path: Path) -> None:
    rows = rows_of(workbook(tmp_path / "a.xlsx", [["x", "y", "z"], [1, 0.5, True], [2, 3, False]]))["train"]
    assert rows == [{"x": 1, "y": 0.5, "z": True}, {"x": 2, "y": 3.0, "z": False}]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(texts.filter(str.isprintable), st.integers(-(10**9), 10**9)), min_size=1, max_size=6))
def test_random_workbooks_are_read_back(rows: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cells = [["text", "n"], *[[f"t{text}", number] for text, number in rows]]
        path = workbook(Path(folder) / "a.xlsx", cells)
        assert [(row["text"], row["n"]) for row in read_file(path, DataConfig(path="x"), Path(folder)).rows] == [
            (f"t{t}", n) for t, n in rows
        ]


def test_workbooks_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["a", "b"], [1, 2]]
    for sheets, said in (([rows, rows], "has the sheets 'S0', 'S1'; keep only"), ([[]], "the workbook is empty"),
                         ([[*rows, [1, 2, 3]]], "row 3: has 3 columns where the header has 2")):  # fmt: skip
        with pytest.raises(DataError, match=said):
            rows_of(workbook(tmp_path / "a.xlsx", *sheets))
    with pytest.raises(DataError, match="no Excel file that can be read"):
        rows_of(written(tmp_path / "b.xlsx", b"PK no zip"))
    with zipfile.ZipFile(tmp_path / "c.xlsx", "w", zipfile.ZIP_LZMA) as out:
        out.writestr("xl/workbook.xml", "<x/>")
    with pytest.raises(DataError, match="packed in a way that Excel does not write"):
        rows_of(tmp_path / "c.xlsx")
    bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaa">]><x>&a;</x>'
    for content, said in (
        (bomb.encode(), "declares a document type"),
        (bomb.encode("utf-16"), "declares a document type"),
        (b'<row><c r = "AAAAA1"/>', "beyond the last"),
        (b"<row r='99999999'>", "beyond the last"),
        (b"<row r='1e9'>", "beyond the last"),
        (b"<row r='&#49;00000000'>", "beyond the last"),
    ):
        with zipfile.ZipFile(tmp_path / "c.xlsx", "w") as out:
            out.writestr("xl/workbook.xml", content)
        with pytest.raises(DataError, match=said):
            rows_of(tmp_path / "c.xlsx")
    monkeypatch.setattr("hf_tl.data.excel.MAX_BYTES", 1000)
    monkeypatch.setattr("hf_tl.data.excel.MAX_RATIO", 1)
    with pytest.raises(DataError, match="unpacks to more than"):
        rows_of(workbook(tmp_path / "d.xlsx", rows))


def test_a_workbook_with_a_cell_far_away(tmp_path: Path) -> None:
    """Rows and columns between take no memory."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active["A1"], book.active["A2"], book.active["XFD1048576"] = "text", "x", "far"
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(DataError, match="has 16,384 columns"):
        rows_of(tmp_path / "a.xlsx")


def test_openpyxl_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(DataError, match="needs the package openpyxl, which is missing: pip install openpyxl, or save"):
        rows_of(written(tmp_path / "a.xlsx", b"x"))


# the others


@pytest.mark.parametrize("ending", sorted(OTHERS))
def test_other_formats_are_named(ending: str, tmp_path: Path) -> None:
    file = written(tmp_path / "d" / f"data{ending}", b"x")
    alone = () if ending in (".yaml", ".yml") else (file,)  # a yaml alone is looked at as YOLO's
    for path in (*alone, file.parent):
        with pytest.raises(DataError) as error:
            rows_of(path)
        assert OTHERS[ending] in str(error.value)


def test_which_files_are_data() -> None:
    for name in ("a.csv", "a.TSV.gz", "a.jsonl.zst", "a.xlsx", "a.conllu", "a.parquet", "a.txt.xz", "train.BIO"):
        assert is_data_file(Path(name)), name
    for name in ("a", "csv", "a.gz", "a.parquet.gz", "a.xlsx.zst", "a.png", "a.xls"):
        assert not is_data_file(Path(name)), name
    assert not {ending for form in FORMATS for ending in form.endings} & set(OTHERS)


def test_csv_is_written_as_python_writes_it(tmp_path: Path) -> None:
    """The base of workbooks."""
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["text", "label"], ['a\n"b"', "x"]])
    assert rows_of(tmp_path / "a.csv")["train"] == [{"text": 'a\n"b"', "label": "x"}]
