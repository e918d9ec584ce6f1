"""What JSON has that columns cannot hold as it is, one row and one value after the other: lists where a record is
expected, lists of several types, texts here and lists there."""

from __future__ import annotations

from typing import Any

from hf_tl.data.conversations import are_turns, as_written
from hf_tl.data.tagged import as_spans, spacy_row


def as_row(value: Any) -> Any:
    """A line of a file, or an item of a list, as the record that it stands for; anything else as it is."""
    row = {"messages": value} if are_turns(value) else spacy_row(value)
    return {key: as_spans(as_written(each)) for key, each in row.items()} if isinstance(row, dict) else row
