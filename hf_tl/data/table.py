"""What reading a file of rows gives."""

from __future__ import annotations

from dataclasses import dataclass, field

from datasets import Dataset


@dataclass(frozen=True)
class Table:
    """The rows of one file."""

    rows: Dataset
    """Column names without surrounding space."""
    places: list[str]
    """Where each row stands in the file, such as `line 3`."""
    notes: list[str] = field(default_factory=list)
    """What of the reading a person should know."""
