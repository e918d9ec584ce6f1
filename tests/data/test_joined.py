"""Files of one split that differ: columns by name, types that mean the same as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Image, List, Value

from hf_tl.config import DataConfig
from hf_tl.data.joined import joined
from hf_tl.data.sources import FILE, read_source
from hf_tl.errors import DataError


def part(name: str, feature: Any = None, **columns: list[Any]) -> Dataset:
    count = len(next(iter(columns.values())))
    rows = Dataset.from_dict({**columns, FILE: [f"{name}, line {index + 2}" for index in range(count)]})
    return rows if feature is None else rows.cast_column("label", feature)


def labels(*parts: Dataset) -> list[Any]:
    return joined("train", parts, [])["label"][:]


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ([0, 1], [0.0, 1.0], [0, 1, 0, 1]),
        ([0, 1], ["a", "b"], ["0", "1", "a", "b"]),
        ([0.0, 1.5], ["a", "b"], ["0", "1.5", "a", "b"]),
        ([True, False], [1, 0], ["True", "False", "1", "0"]),
        ([None, None], ["a", "b"], [None, None, "a", "b"]),
        (["a", "b"], [None, None], ["a", "b", None, None]),
        ([["a"], []], [[], []], [["a"], [], [], []]),
        ([["a"], []], [[1], []], [["a"], [], ["1"], []]),
        (["a", "b"], [{"k": 1}, None], ["a", "b", {"k": 1}, None]),
        ([{"k": 1}], [{"k": "x"}], [{"k": 1}, {"k": "x"}]),
    ],
)
def test_types_that_are_joined(first: list[Any], second: list[Any], found: list[Any]) -> None:
    assert (
        labels(part("a.csv", label=first, n=[1] * len(first)), part("b.csv", label=second, n=[2] * len(second)))
        == found
    )


def test_widths_of_numbers_and_names_of_classes() -> None:
    small = part("a.csv", Value("int8"), label=[1, 2])
    assert labels(small, part("b.csv", label=[3])) == [1, 2, 3]
    classes = part("a.csv", ClassLabel(names=["no", "yes"]), label=[1, 0])
    assert labels(classes, part("b.csv", label=["maybe"])) == ["yes", "no", "maybe"]
    assert labels(classes, classes) == [1, 0, 1, 0]
    large = part("a.csv", Value("large_string"), label=["a"])
    assert labels(large, part("b.csv", label=["b"])) == ["a", "b"]
    assert labels(part("a", List(Value("large_string")), label=[["a"]]), part("b", label=[["b"]])) == [["a"], ["b"]]


def test_columns_are_joined_by_name(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("text,label\none,x\n")
    second.write_text(",label,text\n0,y,two\n")
    source = read_source(DataConfig(path=[str(first), str(second)]))
    rows = source.splits["train"].to_list()
    assert [(row["text"], row["label"], row["Unnamed: 0"]) for row in rows] == [("one", "x", None), ("two", "y", 0)]
    assert source.notes == [f"Column 'Unnamed: 0' of {second} is missing in {first}."]
    assert source.splits["train"][FILE][:] == [f"{first}, line 2", f"{second}, line 2"]


def test_csv_and_json_lines_are_joined(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.jsonl"
    first.write_text("text,label,note\none,0,\n")
    second.write_text('{"text": "two", "label": 1.0, "note": "n"}\n')
    rows = read_source(DataConfig(path=[str(first), str(second)])).splits["train"].to_list()
    assert [(row["text"], row["label"], row["note"]) for row in rows] == [("one", 0.0, None), ("two", 1.0, "n")]


def test_what_cannot_be_joined_is_named() -> None:
    with pytest.raises(DataError, match=r"different columns: b\.csv has 'other', a\.csv 'label'"):
        joined("train", [part("a.csv", label=[1]), part("b.csv", other=[1])], [])
    pixel = {"bytes": b"x", "path": None}
    images = part("b.csv", Image(decode=False), label=[pixel])
    with pytest.raises(
        DataError, match=r"do not fit together: column 'label' is PIL\.Image\.Image in b\.csv, string in a\.csv"
    ):
        joined("train", [part("a.csv", label=["x"]), images], [])
