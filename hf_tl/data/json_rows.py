"""What JSON has that columns cannot hold as it is, one row and one value after the other: lists where a record is
expected, lists of several types, texts here and lists there."""

from __future__ import annotations

from typing import Any

from hf_tl.data.conversations import are_turns, as_written
from hf_tl.data.tagged import as_spans, spacy_row


def as_rows(value: Any) -> Any:
    """The rows in the value of a whole file: a list, the only list of a record, or a table as pandas writes it, by
    columns or by rows. Anything else as it is."""
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        value = lists[0] if len(lists) == 1 else _table(value)
    return [as_row(item) for item in value] if isinstance(value, list) else value


def _table(value: dict[str, Any]) -> Any:
    """The rows of a record of columns, each a list or a record by number, or of a record of rows by number or name."""
    items = list(value.values())
    if len(items) < 2:
        return value
    if all(isinstance(item, list) and len(item) == len(items[0]) for item in items):
        columns = items if not any(isinstance(each, dict) for item in items for each in item[:1]) else None
    elif all(isinstance(item, dict) and list(item) == list(items[0]) for item in items):
        if not all(key.isdecimal() for key in items[0]):
            return items
        columns = [list(item.values()) for item in items]
    else:
        columns = None
    return value if columns is None else [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]


def as_row(value: Any) -> Any:
    """A line of a file, or an item of a list, as the record that it stands for; anything else as it is."""
    row = {"messages": value} if are_turns(value) else spacy_row(value)
    return {key: as_spans(as_written(each)) for key, each in row.items()} if isinstance(row, dict) else row
