"""Which column plays which role, and with that, which task: by configuration, then by name, then by kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
from datasets import Dataset, Features, Image, Value
from datasets.features import ClassLabel

from hf_tl.data.sources import FILE, no_class
from hf_tl.errors import LONGEST_NAME, ConfigError, DataError, did_you_mean, listing
from hf_tl.task import Column, Task, all_tasks

MOST_CLASSES = 1000
MOST_SHOWN = 20
"""Columns that a sentence names."""


def _is_text(rows: Dataset, name: str) -> bool:
    feature = rows.features[name]
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string")


def _is_image(rows: Dataset, name: str) -> bool:
    return isinstance(rows.features[name], Image)


def _is_label(rows: Dataset, name: str) -> bool:
    """One class a row: a ClassLabel, booleans, or strings and whole numbers of which there are few."""
    feature = rows.features[name]
    if isinstance(feature, ClassLabel):
        return True
    if not isinstance(feature, Value):
        return False
    if feature.dtype == "bool":
        return True
    values = pd.Series(rows.with_format(None)[name]).dropna()
    distinct = values.nunique()
    if feature.dtype.startswith("float") and not (values == values.round()).all():
        return False
    return bool(0 < distinct <= min(MOST_CLASSES, max(20, len(values) // 2)))


def _is_target(rows: Dataset, name: str) -> bool:
    """What can be learned, once it is called a label: as `_is_label`, numbers, or lists of labels."""
    feature = rows.features[name]
    inner = getattr(feature, "feature", None)
    if inner is not None:
        return isinstance(inner, (ClassLabel, Value))
    numeric = isinstance(feature, Value) and feature.dtype.startswith(("int", "uint", "float"))
    return numeric or _is_label(rows, name)


def _is_list_of(*kinds: str) -> Callable[[Dataset, str], bool]:
    def check(rows: Dataset, name: str) -> bool:
        inner = getattr(rows.features[name], "feature", None)
        if isinstance(inner, ClassLabel):
            return "int" in kinds
        return isinstance(inner, Value) and inner.dtype.startswith(kinds)

    return check


def _is_record(*keys: str) -> Callable[[Dataset, str], bool]:
    """A mapping, or a list of mappings, that has at least `keys`."""

    def check(rows: Dataset, name: str) -> bool:
        feature = rows.features[name]
        inner = getattr(feature, "feature", feature)
        return isinstance(inner, dict) and set(keys) <= set(inner)

    return check


def _is_texts(rows: Dataset, name: str) -> bool:
    """A mapping of at least two texts, such as language -> sentence."""
    feature = rows.features[name]
    return (
        isinstance(feature, dict)
        and len(feature) > 1
        and all(isinstance(e, Value) and e.dtype in ("string", "large_string") for e in feature.values())
    )


KINDS: Mapping[str, Callable[[Dataset, str], bool]] = {
    "text": _is_text,
    "image": _is_image,
    "label": _is_label,
    "words": _is_list_of("string", "large_string"),
    "tags": _is_list_of("string", "large_string", "int"),
    "spans": _is_record("start", "end", "label"),
    "answers": _is_record("text", "answer_start"),
    "objects": _is_record("bbox"),
    "messages": _is_record("role", "content"),
    "texts": _is_texts,
}
"""`Column.kind` -> whether a column can be that; a new kind is a function here."""
NAMED: Mapping[str, Callable[[Dataset, str], bool]] = {**KINDS, "label": _is_target}
"""The same for a column that has a usual name or is named by the configuration."""


def describe(features: Features) -> str:
    shown = [
        f"{name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + '…'} "
        f"({getattr(feature, 'dtype', None) or type(feature).__name__})"
        for name, feature in features.items()
        if name != FILE
    ]
    more = f" and {len(shown) - MOST_SHOWN} more" if len(shown) > MOST_SHOWN else ""
    return ", ".join(shown[:MOST_SHOWN]) + more or "none"


Columns = dict[str, str | list[str]]
"""Role -> column name, or for labels the names of several 0/1 columns."""


def match(task: Task, rows: Dataset, given: Mapping[str, str | list[str]], need_labels: bool = True) -> Columns:
    """Role -> column name.

    Raises:
        ConfigError: `data.columns` names a role or a column that does not exist.
        DataError: a role without a column, or with several that could be it.
    """
    names = [name for name in rows.column_names if name != FILE]
    known = [column.role for column in task.columns]
    for role, name in given.items():
        if role not in known:
            raise ConfigError(
                f"data.columns.{role}: {task.name} has no such role{did_you_mean(role, known) or '.'} "
                f"Its roles are {listing(known)}."
            )
        for each in [name] if isinstance(name, str) else name:
            if each not in names:
                hint = did_you_mean(each, names) or "."
                raise ConfigError(f"data.columns.{role}: there is no column {each!r}{hint} Columns: {listing(names)}.")
    out: Columns = {}

    def free(name: str) -> bool:
        return not any(name == taken or (isinstance(taken, list) and name in taken) for taken in out.values())

    # Roles whose column is named come first, so that what is left is judged by kind.
    for column in task.columns:
        if column.role in given:
            found = given[column.role]
            if isinstance(found, str):
                _check_kind(column, rows, found)
            elif column.kind != "label":
                raise ConfigError(f"data.columns.{column.role}: found {len(found)} columns, expected one.")
            out[column.role] = found
    for column in task.columns:
        if column.role not in out:
            named = _by_name(column, rows, [name for name in names if free(name)])
            if named:
                out[column.role] = named
    for column in task.columns:
        if column.role in out or not (column.required and (need_labels or not column.target)):
            continue
        rest = [name for name in names if free(name) and KINDS[column.kind](rows, name)]
        if column.kind == "label" and len(rest) > 1 and all(_is_flag(rows, name) for name in rest):
            out[column.role] = rest  # one 0/1 column a label
            continue
        if column.kind == "text":
            rest = _wordy(rows, rest)
        if not rest and names == ["image"] and column.kind == "label":
            first = Path(str(rows[0][FILE]))
            raise DataError(f"{first}: {no_class(first.parent)}")
        if len(rest) != 1:
            what = f"could be any of {listing(rest)}" if rest else "is not among them"
            example = rest[0] if rest else "NAME"
            raise DataError(
                f"data.columns.{column.role}: the columns are {describe(rows.features)}; the {column.kind} column "
                f"{what}; say which with data.columns.{column.role}={example}"
            )
        out[column.role] = rest[0]
    return _one_form(task, out, rows, need_labels)


def _one_form(task: Task, found: Columns, rows: Dataset, need_labels: bool) -> Columns:
    """The columns of the first form of the task's data that is complete."""
    if not task.forms:
        return found
    free = set() if need_labels else set(task.target_roles)
    for form in task.forms:
        if set(form) - free <= set(found):
            return {role: found[role] for role in form if role in found}
    forms = " or ".join(" and ".join(form) for form in task.forms)
    raise DataError(
        f"data.columns: {task.name} reads {forms}, and the columns are {describe(rows.features)}; "
        f"say which is which, such as data.columns.{task.forms[0][0]}=NAME"
    )


def _is_flag(rows: Dataset, name: str) -> bool:
    """Nothing but 0 and 1, or booleans."""
    return set(rows.with_format(None)[name]) <= {0, 1, None}


def _wordy(rows: Dataset, names: list[str]) -> list[str]:
    """Of several text columns those with several words a row, since ids and file names have one."""
    if len(names) < 2:
        return names
    sample = rows[:100]
    words = {name: sum(len(str(value).split()) for value in sample[name]) / len(sample[name]) for name in names}
    many = [name for name in names if words[name] >= 3]
    return many or names


def _by_name(column: Column, rows: Dataset, names: list[str]) -> str | None:
    lower = {name.strip().lower(): name for name in reversed(names)}
    for usual in column.names:
        found = lower.get(usual.lower())
        if found is not None and NAMED[column.kind](rows, found):
            return found
    return None


def _named(task: Task, found: Columns) -> set[str]:
    """The roles whose columns have a usual name."""
    usual = {column.role: {name.lower() for name in column.names} for column in task.columns}
    return {role for role, name in found.items() if isinstance(name, str) and name.strip().lower() in usual[role]}


def _check_kind(column: Column, rows: Dataset, name: str) -> None:
    if NAMED[column.kind](rows, name):
        return
    feature = rows.features[name]
    what = getattr(feature, "dtype", None) or type(feature).__name__
    wanted = {
        "text": "texts",
        "image": "pictures",
        "label": f"classes (at most {MOST_CLASSES}, each with several rows), numbers or lists of labels",
        "words": "lists of words",
        "tags": "lists of tags, one a word",
        "spans": "records of start, end and label",
        "answers": "records of text and answer_start",
        "objects": "records of bbox and category",
        "messages": "lists of role and content",
        "texts": "records of texts, such as one a language",
    }
    values = [str(value)[:30] for value in rows[:3][name]]
    raise DataError(
        f"data.columns.{column.role}: column {name!r} is {what} such as {listing(values)}, "
        f"expected {wanted.get(column.kind, column.kind)}."
    )


def _shown(name: str | list[str]) -> str:
    return repr(name) if isinstance(name, str) else listing(name)


def _demands(task: Task) -> tuple[bool, int, str]:
    return bool(task.forms), sum(column.required for column in task.columns), task.name


def infer_task(rows: Dataset, given: Mapping[str, str | list[str]]) -> tuple[Task, Columns, str]:
    """(task, role -> column, a sentence on why).

    Raises:
        DataError: no task fits, or several do.
        ConfigError: as `match`.
    """
    pictures = [name for name in rows.column_names if _is_image(rows, name)]
    fits, errors = [], []
    for task in all_tasks():
        if bool(pictures) != any(column.kind == "image" for column in task.columns):
            continue
        if not task.inferred or not set(given) <= {column.role for column in task.columns}:
            continue
        by_name = {column.role for column in task.columns if column.by_name and not given}
        try:
            columns = match(task, rows, given)
            if by_name & set(columns) <= _named(task, columns) and tuple(columns) not in task.asked_for:
                fits.append((task, columns))
        except (ConfigError, DataError) as error:
            if not by_name:  # nobody has to have what no other task asks for
                errors.append((task, error))
    # A task that uses more of the columns is meant rather than one that leaves some aside.
    most = max((len(columns) for _, columns in fits), default=0)
    best = [(task, columns) for task, columns in fits if len(columns) == most]
    names = {task.name for task, _ in best}
    best = [(task, columns) for task, columns in best if not names & set(task.yields_to)]
    # Then one whose columns are called as usual rather than one that takes them for what is in them.
    most = max((len(_named(task, columns)) for task, columns in best), default=0)
    best = [(task, columns) for task, columns in best if len(_named(task, columns)) == most]
    if len(best) == 1:
        task, columns = best[0]
        shown = ", ".join(f"{role} from column {_shown(name)}" for role, name in columns.items())
        others = [other.name for other, _ in fits if other is not task]
        also = f" The data would fit {listing(others)} too (task)." if others else ""
        return task, columns, f"Task {task.name}: {shown}.{also}"
    if fits:
        raise DataError(f"task: the data fit {listing(task.name for task, _ in fits)}; say which with --task.")
    if errors:
        # of the tasks that almost fit, the one with the fewest demands left says what is missing
        raise min(errors, key=lambda each: _demands(each[0]))[1]
    if given:
        raise ConfigError(f"data.columns: no task has the roles {listing(given)}; columns: {describe(rows.features)}.")
    raise DataError(f"data.path: the columns are {describe(rows.features)}, which fit no task of hf_tl.")
