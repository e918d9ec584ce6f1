"""Texts of a table as numbers, only where nothing of how they are written is lost: codes keep their zeros."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

WHOLE = r"^(0|-?[1-9]\d{0,17})$"
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
COMMA = r"^[+-]?\d+(,\d+)?$"
CODE = r"^[+-]?0\d"
"""Leading zeros: a code, not a number."""
LONG = r"^[+-]?\d{16,}"
"""More digits than a float keeps."""
YES_NO = ({"True", "False"}, {"true", "false"}, {"TRUE", "FALSE"})


def typed(column: pa.ChunkedArray, decimal_comma: str | None = None) -> tuple[pa.ChunkedArray, bool]:
    """(column, whether its numbers had decimal commas): whole numbers, decimals or booleans where every value is
    written as one and no two values that differ would become the same whole number; else the texts as they are.

    Args:
        decimal_comma: whether a comma may be a decimal point: `any`, `clear` (not if each could part thousands), None.
    """
    bare = pc.utf8_trim_whitespace(column)
    bare = pc.if_else(pc.equal(bare, ""), pa.scalar(None, pa.string()), bare)
    if bare.null_count == len(bare):
        return (pa.chunked_array([pa.nulls(len(column))]) if column.null_count == len(column) else column), False
    few = pc.unique(bare.slice(0, 1000)).drop_null().to_pylist()
    if any(set(few) <= words for words in YES_NO) and any(
        set(pc.unique(bare).drop_null().to_pylist()) <= words for words in YES_NO
    ):
        return pc.equal(pc.utf8_lower(bare), "true"), False
    if _all(bare, WHOLE):
        return bare.cast(pa.int64()), False
    if _all(bare, NUMBER) and _any(bare, r"[.eE]") and not _any(bare, CODE) and not _any(bare, LONG):
        return _floats(bare), False
    if decimal_comma and _all(bare, COMMA) and _any(bare, ",") and not _any(bare, CODE):
        if decimal_comma == "any" or _any(bare, r",(\d{1,2}|\d{4,})$"):
            return _floats(pc.replace_substring(bare, ",", ".")), True
    return column, False


def _all(values: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _any(values: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(values, pattern)).as_py())


def _floats(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(pd.to_numeric(values.to_pandas()), pa.float64(), from_pandas=True)])
