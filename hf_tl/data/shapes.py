"""Columns in the shapes that datasets commonly have, made into the columns that tasks read.

A shape is one record in `SHAPES`: which columns it is known by, and what is made of them. A task that is asked for sees
only what its columns can be; columns that `data.columns` names are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from hf_tl.data import answers, tagged
from hf_tl.data import conversations as chat
from hf_tl.data.annotations import put_in_place
from hf_tl.data.kinds import KINDS
from hf_tl.errors import DataError, listing
from hf_tl.task import Task

Rows = dict[str, Dataset]


@dataclass(frozen=True)
class Shape:
    """One way to keep something in columns."""

    name: str
    """As notes call it."""
    kind: str
    """Of `hf_tl.data.kinds.KINDS`: of the column that is made."""
    column: str
    """The name of the column that is made."""
    found: Callable[[Dataset], list[str] | None]
    """`(rows) -> the columns that it is made of`, or None."""
    made: Callable[[Dataset, list[str], str], Dataset]
    """`(rows, columns, name) -> rows` without these columns and with one called `name`."""
    asked: bool = False
    """Whether it is looked for only where the task is given: its names may mean other things."""
    unanswered: bool = False
    """Whether it is looked for only where nothing has to be learned."""


def by_row(make: Callable[[list[str]], Callable[..., Any]], feature: Any = None) -> Callable[..., Dataset]:
    """`Shape.made` of a shape that makes one value of each row: `make(columns)` is what makes it of their values."""

    def made(rows: Dataset, columns: list[str], name: str) -> Dataset:
        plain, one = rows.with_format(None), make(columns)
        values = [one(*each) for each in zip(*(plain[each] for each in columns), strict=True)]
        return put_in_place(rows, columns, name, values, feature)

    return made


def _refused(rows: Dataset, columns: list[str], name: str) -> Dataset:
    chosen = columns[0]
    role = "messages" if chat.are_turns(next((each for each in rows[chosen] if each), None)) else "completion"
    raise DataError(
        f"data.columns: {listing(columns)} hold preferences (for DPO and reward models), which hf_tl does not train "
        f"on; data.columns.{role}={chosen} trains on the preferred answers alone, and TRL's DPOTrainer on both."
    )


SHAPES = (
    Shape("preferences", "messages", "", chat.preferences, _refused),
    Shape("turns", "messages", "messages", chat.turns_column, by_row(lambda columns: chat.from_turns)),
    Shape("turns", "messages", "messages", chat.prompt_and_completion, by_row(lambda columns: chat.joined)),
    Shape("questions and answers", "messages", "messages", chat.sure_pair, by_row(chat.conversation_of)),
    Shape("questions and answers", "messages", "messages", chat.any_pair, by_row(chat.conversation_of), asked=True),
    Shape(
        "questions", "messages", "messages", chat.question_only,
        by_row(lambda columns: chat.conversation_of(columns, answered=False)), unanswered=True,
    ),
    Shape(
        "answers written as text", "answers", "answers", answers.written_answers,
        by_row(answers.read_answers, answers.FEATURE),
    ),
    Shape("answers and their places", "answers", "answers", answers.flat_answers, answers.with_answers),
    Shape(
        "answers, each where it first stands in its context", "answers", "answers", answers.bare_answers,
        answers.with_answers,
    ),
    Shape("one word a row", "words", "tokens", tagged.word_columns, tagged.as_sentences),
)  # fmt: skip
"""In the order in which they are looked for; of each kind of column one is made."""


def shaped(
    splits: Rows, task: Task | None, given: Mapping[str, str | list[str]], notes: list[str], need_labels: bool = True
) -> Rows:
    """Splits with the columns that their shapes mean.

    Args:
        task: the one that was asked for, if any.
        given: `data.columns`; what it names is not touched.

    Raises:
        DataError: data of a shape that no task reads.
    """
    kinds = {column.kind for column in task.columns} if task is not None else None
    out, done = dict(splits), set[str]()
    for shape in SHAPES:
        if shape.kind in done or (kinds is not None and shape.kind not in kinds):
            continue
        if (shape.asked and task is None) or (shape.unanswered and need_labels):
            continue
        found = {split: _found(shape, rows, given) for split, rows in out.items()}
        first = next((columns for columns in found.values() if columns), None)
        if first is None:
            continue
        own = given.get(shape.column)
        name = own if isinstance(own, str) and own in first else shape.column
        out = {
            split: shape.made(rows, columns, name) if (columns := found[split]) else rows for split, rows in out.items()
        }
        notes.append(f"{listing(first)} ({shape.name}) are read as the column {name!r}.")
        done.add(shape.kind)
    return out


def _found(shape: Shape, rows: Dataset, given: Mapping[str, str | list[str]]) -> list[str] | None:
    """The columns of a shape, where the configuration names none of them for anything else, and no other column holds
    already what would be made."""
    named = {
        each
        for role, names in given.items()
        for each in ([names] if isinstance(names, str) else names)
        if role != shape.column or each not in rows.column_names
    }
    columns = shape.found(rows)
    if columns is None or named & set(columns):
        return None
    own = given.get(shape.column)
    if own in rows.column_names and own not in columns:
        return None
    there = (name for name in rows.column_names if name not in columns)
    return None if any(KINDS[shape.kind].recognised(rows, name) for name in there) else columns
