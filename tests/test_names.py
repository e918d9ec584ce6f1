"""Names of columns and splits that YAML takes for something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hf_tl.config import load_config, parse_overrides
from hf_tl.errors import ConfigError

LEAST = {"model": "m", "data": "d.csv"}


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("data.columns.text=1", "1"),
        ("data.columns.text=007", "007"),
        ("data.columns.text=no", "no"),
        ("data.columns.text=True", "True"),
        ("data.columns.text=1.10", "1.10"),
        ("data.columns.text=2024-01-01", "2024-01-01"),
        ("data.columns.text=label: final", "label: final"),
        ("data.columns.text=the text, whole", "the text, whole"),
        ("data.columns.text={a}", "{a}"),
        ("data.columns.text=@handle", "@handle"),
        ("data.columns.text='no'", "no"),
        ("data.columns.text=[a, 1, no]", ["a", "1", "no"]),
        ('data.columns.text=["a, b", c]', ["a, b", "c"]),
        ("data.columns.text=null", None),
    ],
)
def test_a_column_is_what_is_written(override: str, found: Any) -> None:
    assert parse_overrides([override])["data"]["columns"]["text"] == found


def test_other_names() -> None:
    assert parse_overrides(["data.splits.train=1", "data.name=0101", "data.revision=1234567"]) == {
        "data": {"splits": {"train": "1"}, "name": "0101", "revision": "1234567"}
    }
    assert parse_overrides(["data.split_column=false"])["data"]["split_column"] is False
    assert parse_overrides(["data.split_column=off"])["data"]["split_column"] is False
    assert parse_overrides(["data.split_column=1"])["data"]["split_column"] == "1"
    assert parse_overrides(["data.validation=0.2"]) == {"data": {"validation": 0.2}}
    assert load_config(LEAST, parse_overrides(["data.column_names=a, b,1"])).data.column_names == ["a", "b", "1"]
    assert load_config(LEAST, parse_overrides(["data.column_names=[a, 1]"])).data.column_names == ["a", "1"]


def test_names_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("model: m\ndata: {path: d.csv, columns: {text: 1, label: [2, x]}, column_names: [1, 2]}\n")
    data = load_config(file).data
    assert data.columns == {"text": "1", "label": ["2", "x"]} and data.column_names == ["1", "2"]
    file.write_text("model: m\ndata: {path: d.csv, columns: {text: no}}\n")
    with pytest.raises(
        ConfigError, match=r"data\.columns: .*yes, no, on and off as true and false; put the name in quotes"
    ):
        load_config(file)
