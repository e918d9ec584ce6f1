"""Which columns of texts are numbers: only those of which nothing is lost."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_tl.data.typed import typed


def column(*values: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1", "-2", None, "0"], [1, -2, None, 0]),
        ([" 1", "2 "], [1, 2]),
        (["1.5", "2", "-1e3", ".5"], [1.5, 2.0, -1000.0, 0.5]),
        (["0101", "101"], ["0101", "101"]),  # codes
        (["01", "1", "2"], ["01", "1", "2"]),
        (["01.5", "2.5"], ["01.5", "2.5"]),
        (["1", "2", "x"], ["1", "2", "x"]),
        (["1", "N/A"], ["1", "N/A"]),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"]),  # beyond int64
        (["12345678901234567890", "1.5"], ["12345678901234567890", "1.5"]),  # a float keeps 15 digits
        (["+1", "-1"], ["+1", "-1"]),
        (["1,5", "2"], ["1,5", "2"]),
        (["nan", "inf"], ["nan", "inf"]),
        (["True", "False", None], [True, False, None]),
        (["true", "no"], ["true", "no"]),
        (["  ", "1"], [None, 1]),
        (["  ", "a"], ["  ", "a"]),
        ([None, None], [None, None]),
    ],
)
def test_texts_as_values(texts: list[str | None], values: list[Any]) -> None:
    found, comma = typed(column(*texts))
    assert found.to_pylist() == values and not comma
    assert [type(each) for each in found.to_pylist()] == [type(each) for each in values]


def test_decimal_commas() -> None:
    assert typed(column("1,5", "2", None), "any")[0].to_pylist() == [1.5, 2.0, None]
    assert typed(column("1,500", "2,250"), "any")[0].to_pylist() == [1.5, 2.25]  # where the comma parts nothing else
    assert typed(column("1,500", "2,250"), "clear")[0].to_pylist() == ["1,500", "2,250"]  # they may be thousands
    assert typed(column("1,500", "2,25"), "clear")[0].to_pylist() == [1.5, 2.25]
    assert typed(column("01,5", "2,5"), "any")[0].to_pylist() == ["01,5", "2,5"]
    assert typed(column("1", "2"), "any") == (pa.chunked_array([[1, 2]]), False)


@given(st.lists(st.none() | st.integers(-(2**62), 2**62), min_size=1))
def test_whole_numbers_come_back(values: list[int | None]) -> None:
    texts = [None if value is None else str(value) for value in values]
    found = typed(column(*texts))[0].to_pylist()
    assert found == (values if all(value is None or len(str(abs(value))) < 19 for value in values) else texts)


@given(st.lists(st.floats(-1e12, 1e12, allow_subnormal=False), min_size=1))
def test_decimals_come_back(values: list[float]) -> None:
    assert typed(column(*map(repr, values)))[0].to_pylist() == values


@given(st.lists(st.from_regex(r"0\d{1,6}", fullmatch=True), min_size=1))
def test_no_code_is_lost(values: list[str]) -> None:
    assert typed(column(*values))[0].to_pylist() == values
