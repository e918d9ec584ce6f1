"""Rows checked and labels made ids: what is missing, unreadable or not learnable is said before anything expensive."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from datasets import ClassLabel, Dataset, List, Value

from hf_tl.config import DataConfig
from hf_tl.data.kinds import check_input, kind_of, kinds_of
from hf_tl.data.label_values import label_name
from hf_tl.data.sources import FILE
from hf_tl.errors import DataError, did_you_mean, listing
from hf_tl.task import Task

Splits = dict[str, Dataset]
T = TypeVar("T")


def to_roles(rows: Dataset, columns: Mapping[str, str | list[str]]) -> Dataset:
    """Only the columns that play a role, under the roles' names, and FILE; several 0/1 columns become one of lists of
    their names."""
    single: dict[str, str] = {}
    for role, names in columns.items():
        if isinstance(names, str):
            single[role] = names
            continue
        flags = rows.with_format(None).select_columns(names).to_pandas()
        wrong = ~flags.isin([0, 1])
        if wrong.to_numpy().any():
            index, name = next((i, n) for n in names for i in np.flatnonzero(wrong[n])[:1])
            raise DataError(
                f"{rows[int(index)][FILE]}: column {name!r} has {flags[name].tolist()[index]!r}, expected 0 or 1 as "
                f"for every column of data.columns.{role}."
            )
        lists = [[name for name in names if row[name]] for row in flags.to_dict("records")]
        feature = List(ClassLabel(names=names))
        rows = rows.add_column(f"__{role}__", lists).cast_column(f"__{role}__", feature)
        single[role] = f"__{role}__"
    columns = single
    chosen = rows.select_columns([*columns.values(), FILE])
    away = {old: f"\0{role}" for role, old in columns.items()}
    chosen = chosen.rename_columns(away)
    return chosen.rename_columns({f"\0{role}": role for role in columns})


def check_inputs(rows: Dataset, task: Task, config: DataConfig, notes: list[str]) -> Dataset:
    """Rows whose values are as the kinds of their columns want them: texts there, images decodable. Others stop the
    run or are left out.

    Raises:
        DataError: the first bad row, with `data.on_error=skip` as the way to leave such rows out.
    """
    for column in task.columns:
        kind = kind_of(column)
        if kind.check is None or column.role not in rows.column_names:
            continue
        bad: dict[int, str] = {}
        values = rows.with_format(None)[column.role]
        for index, value in enumerate(values):
            wrong = check_input(value, kind, column)
            if wrong:
                if config.on_error == "stop":
                    raise DataError(
                        f"{rows[index][FILE]}: {wrong}; fix or remove it, or leave such rows out with "
                        "data.on_error=skip."
                    )
                bad[index] = wrong
        if bad:
            places = [str(rows[index][FILE]) for index in bad]
            notes.append(f"{len(bad)} rows are skipped ({next(iter(bad.values()))}): {listing(places, most=5)}.")
            rows = rows.select([index for index in range(len(rows)) if index not in bad])
        if kind.survey is not None and not column.target:
            notes += [note for note in kind.survey(rows, column.role, FILE) if note not in notes]
    return rows


def _natural(name: str) -> tuple[Any, ...]:
    """Sorts numbers by value and words by letters: 2 before 10, `a2` before `a10`."""
    return tuple(
        (0, int(part), "") if re.fullmatch(r"\d{1,4000}", part) else (1, 0, part.lower())
        for part in re.split(r"(\d+)", name)
        if part
    )


def sort_key(name: str) -> tuple[Any, ...]:
    """Orders labels: numbers by value, then words by letters."""
    number = re.fullmatch(r"-?\d{1,4000}", name)  # more digits Python does not read
    return ((0, int(name)), name) if number else ((1, 0), _natural(name), name)


def named_labels(rows: Dataset, role: str) -> list[str | None]:
    """The label of each row as a name."""
    feature = rows.features[role]
    values = rows.with_format(None)[role]
    if isinstance(feature, ClassLabel):
        wrong = next((i for i, value in enumerate(values) if value is not None and value >= len(feature.names)), None)
        if wrong is not None:
            raise DataError(
                f"{rows[wrong][FILE]}: the label is class {values[wrong]}, and there are {len(feature.names)} classes."
            )
        return [None if value is None or value < 0 else feature.names[value] for value in values]
    return [label_name(value) for value in values]


def _labelled(
    splits: Splits,
    read: Callable[[Dataset], list[T | None]],
    lacking: str,
    config: DataConfig,
    notes: list[str],
    wrong: Callable[[T], str | None] = lambda value: None,
) -> dict[str, list[T]]:
    """By split what `read` gives of each row that has a label. Rows of which it gives None are skipped, saying
    `lacking`, and those with which something is `wrong`; a split besides train without one label is left out.

    Raises:
        DataError: the first such row, when `data.on_error` is `stop`; or no row is left.
    """
    out: dict[str, list[T]] = {}
    for split in list(splits):
        found = read(splits[split])
        if found and all(value is None for value in found) and split != "train" and len(splits) > 1:
            notes.append(f"The {split} split has no labels and is not used.")
            del splits[split]
            continue
        said = [lacking if value is None else wrong(value) for value in found]
        skip_rows(splits, split, {index: each for index, each in enumerate(said) if each}, config, notes)
        out[split] = [value for value, each in zip(found, said, strict=True) if value is not None and not each]
    return out


def encode_labels(
    splits: Splits, role: str, config: DataConfig, known: Sequence[str] | None, notes: list[str]
) -> tuple[str, ...]:
    """Labels as int64 ids into the returned names, in place of the column `role` of `splits`.

    Order: the data's own (ClassLabel), else numbers by value and words by letters. With `known`, a model's own names
    and order.

    Raises:
        DataError: a missing label, a label that train lacks, one class only, a class with too few examples.
    """
    names = _labelled(splits, lambda rows: named_labels(rows, role), "the label is missing", config, notes)
    feature = next(iter(splits.values())).features[role]
    if known is not None:
        labels = tuple(known)
    elif isinstance(feature, ClassLabel):
        labels = tuple(feature.names)
    else:
        labels = tuple(sorted(set(names["train"]), key=sort_key))
    ids = {label_name(name) or name: index for index, name in enumerate(labels)}
    _say_unified(splits, role, notes)
    for split, found in names.items():
        for index, name in enumerate(found):
            if name not in ids:
                where = splits[split][index][FILE]
                if known is not None:
                    hint = did_you_mean(name, labels) or f"; its labels are {listing(labels)}."
                    raise DataError(f"{where}: label {name!r} is not one of the model's{hint}")
                hint = did_you_mean(name, labels) or "."
                raise DataError(f"{where}: label {name!r} is in the {split} split but not in train{hint}")
    for split in splits:
        replace_column(splits, split, role, [ids[name] for name in names[split]], Value("int64"))
    if known is None:
        _check_classes(names["train"], labels, config, notes)
    return labels


def _say_unified(splits: Splits, role: str, notes: list[str]) -> None:
    """Says which labels are one but for their Unicode form or characters that nobody sees."""
    written: dict[str | None, set[str]] = {}
    for rows in splits.values():
        for value in set(rows.with_format(None)[role]) if getattr(rows.features[role], "dtype", "") == "string" else ():
            written.setdefault(label_name(value), set()).add(str(value).strip())
    same = [name for name, ways in written.items() if name is not None and len(ways) > 1]
    if same:
        notes.append(f"Labels {listing(same)} are written in several ways that look the same; each is one class.")


def replace_column(splits: Splits, split: str, role: str, values: list[Any], feature: Any) -> None:
    """Puts `values` in place of a column."""
    rows = splits[split].remove_columns(role).add_column(role, values)
    splits[split] = rows.cast_column(role, feature)


def skip_rows(splits: Splits, split: str, bad: Mapping[int, str], config: DataConfig, notes: list[str]) -> None:
    """Leaves the rows `bad` (index -> what is wrong) out of a split.

    Raises:
        DataError: the first of them, when `data.on_error` is `stop`.
    """
    if not bad:
        return
    rows = splits[split]
    first = min(bad)
    if config.on_error == "stop":
        raise DataError(
            f"{rows[first][FILE]}: {bad[first]}; fix or remove it, or skip such rows with data.on_error=skip."
        )
    places = rows.select(sorted(bad)[:5])[FILE]
    more = f" and {len(bad) - len(places)} more" if len(bad) > len(places) else ""
    notes.append(f"{len(bad)} rows of {split} are skipped ({bad[first]}): {listing(map(str, places))}{more}.")
    splits[split] = rows.select([index for index in range(len(rows)) if index not in bad])
    if len(splits[split]) == 0:
        raise DataError(f"data.path: no row of the {split} split is left ({bad[first]}).")


def encode_rows(
    splits: Splits,
    split: str,
    roles: Sequence[str],
    encode: Callable[..., Any],
    config: DataConfig,
    notes: list[str],
    *,
    feature: Any = None,
) -> list[Any]:
    """Reads the columns `roles` of a split, tries `encode` on the values of each row, and skips the rows of which it
    raises ValueError.

    Args:
        feature: where given, what was made, of this type, takes the place of the last of the columns.

    Returns:
        What was made of each row that is left.

    Raises:
        DataError: the first bad row, when `data.on_error` is `stop`; or no row is left.
    """
    rows = splits[split].with_format(None)
    found: list[Any] = []
    bad: dict[int, str] = {}
    for index, values in enumerate(zip(*(rows[role] for role in roles), strict=True)):
        try:
            found.append(encode(*values))
        except ValueError as error:
            bad[index] = str(error)
    skip_rows(splits, split, bad, config, notes)
    if feature is not None:
        replace_column(splits, split, roles[-1], found, feature)
    return found


def problem_of(splits: Splits, role: str, config: DataConfig, known_problem: str | None = None) -> str:
    """Transformers' `problem_type` of a label column: as configured, else several labels for lists, regression for
    numbers that are not whole or too many to be classes, else one label."""
    if config.problem or known_problem:
        return str(config.problem or known_problem)
    rows = next(iter(splits.values()))
    feature = rows.features[role]
    if getattr(feature, "feature", None) is not None:
        return "multi_label_classification"
    if isinstance(feature, ClassLabel) or not feature.dtype.startswith(("int", "uint", "float")):
        return "single_label_classification"
    values = np.array([value for value in rows.with_format(None)[role] if value is not None], dtype=np.float64)
    values = values[~np.isnan(values)]
    integers = (values == np.round(values)).all()
    few = len(np.unique(values)) <= max(20, len(values) // 2)
    return "single_label_classification" if integers and few else "regression"


def encode_numbers(splits: Splits, role: str, config: DataConfig, notes: list[str]) -> None:
    """Numbers to regress on, as float32, in place of the column `role`.

    Raises:
        DataError: a missing value or something that is no number, or all of train's the same.
    """

    def number(value: Any) -> float | None:
        try:
            return float(value) if np.isfinite(float(value)) else None
        except (TypeError, ValueError):
            return None

    def read(rows: Dataset) -> list[float | None]:
        return [number(value) for value in rows.with_format(None)[role]]

    for split, found in _labelled(splits, read, "the label is not a number", config, notes).items():
        replace_column(splits, split, role, found, Value("float32"))
    train = splits.get("train")
    if train is not None and len(set(train[role])) < 2:
        raise DataError("data.path: every label of train is the same number; there is nothing to learn.")


def encode_label_sets(
    splits: Splits, role: str, config: DataConfig, known: Sequence[str] | None, notes: list[str]
) -> tuple[str, ...]:
    """Lists of labels as 0/1 vectors, float32 (labels,), in place of the column `role`; returns the labels' names.

    Raises:
        DataError: a missing list, a label that train lacks, or fewer than two labels.
    """
    feature = next(iter(splits.values())).features[role]
    inner = getattr(feature, "feature", None)

    def read(rows: Dataset) -> list[list[str | None] | None]:
        values = rows.with_format(None)[role]
        if inner is None:  # one label a row, asked for as several
            values = [None if value is None else [value] for value in values]
        if isinstance(inner, ClassLabel):
            names: Any = dict(enumerate(inner.names))
            values = [None if value is None else [names.get(index) for index in value] for value in values]
        return [None if value is None else [label_name(each) for each in value] for value in values]

    def wrong(names: list[str | None]) -> str | None:
        return "a label of the list is missing" if None in names else None

    lacking = "the labels are missing, where [] says that there are none"
    read_labels = _labelled(splits, read, lacking, config, notes, wrong)
    named = {split: [list(map(str, names)) for names in found] for split, found in read_labels.items()}
    if known is not None:
        labels = tuple(known)
    elif isinstance(inner, ClassLabel):
        labels = tuple(inner.names)
    else:
        labels = tuple(sorted({name for row in named["train"] for name in row}, key=sort_key))
    if len(labels) < 2:
        raise DataError(f"data.path: train has {len(labels)} label only; choosing several needs at least two.")
    ids = {label_name(name) or name: index for index, name in enumerate(labels)}
    for split, rows in named.items():
        vectors = np.zeros((len(rows), len(labels)), dtype=np.float32)
        for index, row in enumerate(rows):
            for name in row:
                if name not in ids:
                    where = splits[split][index][FILE]
                    lacking = (
                        "is not one of the model's"
                        if known is not None
                        else f"is in the {split} split but not in train"
                    )
                    raise DataError(f"{where}: label {name!r} {lacking}{did_you_mean(name, labels) or '.'}")
                vectors[index, ids[name]] = 1
        replace_column(splits, split, role, vectors.tolist(), List(Value("float32"), length=len(labels)))
    unused = (
        [name for index, name in enumerate(labels) if not any(row[index] for row in splits["train"][role])]
        if known is None
        else []
    )
    if unused:
        notes.append(f"{listing(unused)} have no example in train.")
    return labels


def _check_classes(found: Sequence[str | None], labels: Sequence[str], config: DataConfig, notes: list[str]) -> None:
    counts = Counter(found)
    present = [name for name in labels if counts[name]]
    if len(present) < 2:
        raise DataError(f"data.path: train has one class only ({listing(present)}); a classifier needs at least two.")
    few = [name for name in present if counts[name] < config.min_per_class]
    if few:
        raise DataError(
            f"data.path: {listing(few)}: fewer than {config.min_per_class} examples "
            "in train; add some, remove the class, or allow it with data.min_per_class=1."
        )
    nothing = [name for name in present if name.lower() in ("nan", "null", "n/a", "#n/a")]
    if nothing:
        notes.append(f"{listing(nothing)} is taken as a class; remove such rows if it stands for a missing label.")
    empty = [name for name in labels if not counts[name]]
    if empty:
        notes.append(f"{listing(empty)} have no example in train.")
    alike: dict[str, list[str]] = {}
    for name in present:
        alike.setdefault(re.sub(r"[\s_-]+", " ", name.lower()), []).append(name)
    for group in alike.values():
        if len(group) > 1:
            notes.append(
                f"Labels {listing(group)} differ only in case or punctuation and are kept as different classes."
            )


def decoded(rows: Dataset, task: Task) -> Dataset:
    """Values decoded when read, as their kinds are; FILE as `file`."""
    for role, kind in kinds_of(task, rows.column_names).items():
        if kind.decode is not None:
            rows = kind.decode(rows, role)
    return rows.rename_column(FILE, "file")
