"""Records of JSON as columns: of one type each, and nothing lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Json, LargeList, List, Value
from hypothesis import given
from hypothesis import strategies as st

from hf_tl.data.objects import from_objects
from hf_tl.data.tables import plain_types, read_places, read_table


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([0, "1", 0], ["0", "1", "0"]),
        (["a", 5, 2.0, 2.5, True], ["a", "5", "2", "2.5", "True"]),
        ([1, 2**64 - 1], ["1", str(2**64 - 1)]),
        ([1, 2.5], [1.0, 2.5]),
        ([2**60 + 1, 0.5], [str(2**60 + 1), "0.5"]),  # a float would lose digits
        (["a", float("nan"), None], ["a", None, None]),
        ([1.5, float("nan")], [1.5, None]),
        (["a", ["a", "b"]], [["a"], ["a", "b"]]),
        (["a", {"b": 1}], ["a", {"b": 1}]),
        ([{"b": 1}, {"b": "x"}], [{"b": 1}, {"b": "x"}]),
        ([[1, 2**64], [3, 4]], [[1, str(2**64)], [3, 4]]),
    ],
)
def test_values_of_a_column(values: list[Any], found: list[Any]) -> None:
    assert from_objects([{"c": value, "text": "x"} for value in values])["c"][:] == found


def test_keys_that_the_first_row_lacks() -> None:
    rows = from_objects([{"text": "a"}, {"text": "b", "label": "x"}, {"label": "y", "other": 1}])
    assert rows.to_list() == [
        {"text": "a", "label": None, "other": None},
        {"text": "b", "label": "x", "other": None},
        {"text": None, "label": "y", "other": 1},
    ]
    assert rows.features["label"] == Value("string")
    mixed = from_objects([{"meta": "x", "text": "a"}, {"meta": {"k": 1}, "text": "b"}])
    assert isinstance(mixed.features["meta"], Json) and mixed.features["text"] == Value("string")


def test_lines_and_rows_are_counted_as_the_file_has_them(tmp_path: Path) -> None:
    lines = tmp_path / "d.jsonl"
    lines.write_text('{"a": 1}\n\n\n{"a": 2}\n')
    assert read_places(lines).places == ["line 1", "line 4"]
    listed = tmp_path / "d.json"
    listed.write_text('[\n{"a": 1},\n\n{"a": 2}]')
    assert read_places(listed).places == ["row 1", "row 2"]
    texts = tmp_path / "d.txt"
    texts.write_text("\none\n\ntwo\n")
    assert read_places(texts).places == ["line 2", "line 4"]


def test_types_of_parquet(tmp_path: Path) -> None:
    from decimal import Decimal

    table = pa.table(
        {
            "score": pa.array([Decimal("1.5"), None]),
            "count": pa.array([Decimal("3"), Decimal("4")]),
            "text": pa.array(["a", "b"], pa.large_string()),
            "view": pa.array(["a", "b"], pa.string_view()),
            "labels": pa.array([["a"], ["b"]], pa.large_list(pa.large_string())),
            "half": pa.array([1.5, 2.0], pa.float16()),
        }
    )
    pq.write_table(table, tmp_path / "d.parquet")
    rows = read_table(tmp_path / "d.parquet")
    assert {name: getattr(feature, "dtype", None) for name, feature in rows.features.items() if name != "labels"} == {
        "score": "float64", "count": "int64", "text": "string", "view": "string", "half": "float32",
    }  # fmt: skip
    assert rows.to_list() == [
        {"score": 1.5, "count": 3, "text": "a", "view": "a", "labels": ["a"], "half": 1.5},
        {"score": None, "count": 4, "text": "b", "view": "b", "labels": ["b"], "half": 2.0},
    ]


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
VALUE = st.none() | TEXT | st.lists(TEXT, min_size=1, max_size=3).map(lambda texts: {"k": texts})
ROW = st.fixed_dictionaries(
    {"text": TEXT}, optional={"id": st.integers(-(2**63), 2**63 - 1), "score": st.floats(-1e6, 1e6), "meta": VALUE}
)


@given(st.lists(ROW, min_size=1, max_size=6), st.sampled_from(["d.jsonl", "d.json"]))
def test_what_pythons_json_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], name: str
) -> None:
    path = tmp_path_factory.mktemp("d") / name
    path.write_text(json.dumps(rows) if name == "d.json" else "".join(json.dumps(row) + "\n" for row in rows))
    found = read_table(path)
    names = {key for row in rows for key in row}
    assert set(found.column_names) == names
    assert found.to_list() == [{key: row.get(key) for key in found.column_names} for row in rows]


@given(st.lists(st.tuples(TEXT, st.none() | st.integers(-9, 9), st.lists(TEXT, max_size=2)), min_size=1, max_size=6))
def test_what_pyarrow_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("d") / "d.parquet"
    text, number, labels = zip(*rows, strict=True)
    types = [pa.large_string(), pa.int16(), pa.large_list(pa.string())]
    arrays = [pa.array(each, kind) for each, kind in zip((text, number, labels), types, strict=True)]
    pq.write_table(pa.table(arrays, ["text", "number", "labels"]), path)
    assert [tuple(row.values()) for row in read_table(path).to_list()] == rows


def test_types_inside_of_records_are_plain_too() -> None:
    kinds = {"a": LargeList(Value("large_string")), "b": {"c": Value("float16"), "d": Value("string_view")}}
    rows = Dataset.from_dict({"a": [["x"]], "b": [{"c": 0.5, "d": "y"}]}, features=Features(kinds))
    found = plain_types(rows)
    assert found.features == {"a": List(Value("string")), "b": {"c": Value("float32"), "d": Value("string")}}
    assert found[0] == {"a": ["x"], "b": {"c": 0.5, "d": "y"}} and plain_types(found) is found
