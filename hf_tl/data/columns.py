"""Which column plays which role, and with that, which task: by configuration, then by name, then by kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd
from datasets import Dataset, Features, Image, Value
from datasets.features import ClassLabel

from hf_tl.data.sources import FILE
from hf_tl.errors import ConfigError, DataError, did_you_mean, listing
from hf_tl.task import Column, Task, all_tasks

MOST_CLASSES = 1000


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


KINDS: Mapping[str, Callable[[Dataset, str], bool]] = {"text": _is_text, "image": _is_image, "label": _is_label}
"""`Column.kind` -> whether a column can be that; a new kind is a function here."""


def describe(features: Features) -> str:
    shown = [
        f"{name} ({getattr(feature, 'dtype', None) or type(feature).__name__})"
        for name, feature in features.items()
        if name != FILE
    ]
    return ", ".join(shown) or "none"


def match(task: Task, rows: Dataset, given: Mapping[str, str], need_labels: bool = True) -> dict[str, str]:
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
        if name not in names:
            hint = did_you_mean(name, names) or "."
            raise ConfigError(f"data.columns.{role}: there is no column {name!r}{hint} Columns: {listing(names)}.")
    out: dict[str, str] = {}
    # Roles whose column is named come first, so that what is left is judged by kind.
    for column in task.columns:
        if column.role in given:
            _check_kind(column, rows, given[column.role])
            out[column.role] = given[column.role]
    for column in task.columns:
        if column.role not in out:
            found = _by_name(column, rows, [name for name in names if name not in out.values()])
            if found:
                out[column.role] = found
    for column in task.columns:
        if column.role in out or not (column.required and (need_labels or column.kind != "label")):
            continue
        rest = [name for name in names if name not in out.values() and KINDS[column.kind](rows, name)]
        if column.kind == "text":
            rest = _wordy(rows, rest)
        if len(rest) != 1:
            what = f"could be any of {listing(rest)}" if rest else "is not among them"
            example = rest[0] if rest else "NAME"
            raise DataError(
                f"data.columns.{column.role}: the columns are {describe(rows.features)}; the {column.kind} column "
                f"{what}; say which with data.columns.{column.role}={example}"
            )
        out[column.role] = rest[0]
    return out


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
        if found is not None and KINDS[column.kind](rows, found):
            return found
    return None


def _check_kind(column: Column, rows: Dataset, name: str) -> None:
    if KINDS[column.kind](rows, name):
        return
    feature = rows.features[name]
    what = getattr(feature, "dtype", None) or type(feature).__name__
    wanted = {
        "text": "texts",
        "image": "pictures",
        "label": f"classes (at most {MOST_CLASSES}, each with several rows)",
    }
    values = [str(value)[:30] for value in rows[:3][name]]
    raise DataError(
        f"data.columns.{column.role}: column {name!r} is {what} such as {listing(values)}, "
        f"expected {wanted.get(column.kind, column.kind)}."
    )


def infer_task(rows: Dataset, given: Mapping[str, str]) -> tuple[Task, dict[str, str], str]:
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
        if given and not set(given) <= {column.role for column in task.columns}:
            continue
        try:
            fits.append((task, match(task, rows, given)))
        except (ConfigError, DataError) as error:
            errors.append((task, error))
    if len(fits) == 1:
        task, columns = fits[0]
        shown = ", ".join(f"{role} from column {name!r}" for role, name in columns.items())
        return task, columns, f"Task {task.name}: {shown}."
    if fits:
        raise DataError(f"task: the data fit {listing(task.name for task, _ in fits)}; say which with --task.")
    if errors:
        raise errors[0][1]
    if given:
        raise ConfigError(f"data.columns: no task has the roles {listing(given)}; columns: {describe(rows.features)}.")
    raise DataError(f"data.path: the columns are {describe(rows.features)}, which fit no task of hf_tl.")
