"""Which column plays which role, and with that, which task: by configuration, then by name, then by kind."""

from __future__ import annotations

import re
from collections.abc import Mapping

from datasets import Dataset, Features, Json

from hf_tl.data.kinds import KINDS, kind_of
from hf_tl.data.sources import FILE
from hf_tl.errors import MAX_NAME, ConfigError, DataError, did_you_mean, listing
from hf_tl.task import Column, Task, all_tasks

INDEX = re.compile(r"Unnamed: \d+|__index_level_\d+__")
"""What pandas calls the numbers of rows in files."""
MAX_SHOWN = 20
"""Columns that a sentence names."""


def describe(features: Features) -> str:
    shown = [
        f"{name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + '…'} "
        f"({getattr(feature, 'dtype', None) or type(feature).__name__})"
        for name, feature in features.items()
        if name != FILE
    ]
    more = f" and {len(shown) - MAX_SHOWN} more" if len(shown) > MAX_SHOWN else ""
    return ", ".join(shown[:MAX_SHOWN]) + more or "none"


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
            elif kind_of(column).together is None:
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
        kind = kind_of(column)
        rest = [name for name in names if free(name) and not INDEX.fullmatch(name) and kind.recognised(rows, name)]
        if kind.together is not None and kind.together(rows, rest):
            out[column.role] = rest  # one 0/1 column a label
            continue
        if kind.likelier is not None:
            rest = kind.likelier(rows, rest)
        said = kind.absent(rows) if kind.absent is not None and not rest else None
        if said:
            raise DataError(said)
        if not rest:
            _check_usual(column, rows, [name for name in names if free(name)])
        if len(rest) != 1:
            what = f"could be any of {listing(rest)}" if rest else "is not among them"
            example = rest[0] if rest else "NAME"
            raise DataError(
                f"data.columns.{column.role}: the columns are {describe(rows.features)}; the {column.kind} column "
                f"{what}; say which with data.columns.{column.role}={example}"
            )
        out[column.role] = rest[0]
    return _one_form(task, out, rows, need_labels)


def remembered(
    task: Task,
    rows: Dataset,
    given: Mapping[str, str | list[str]],
    usual: Mapping[str, str],
    need_labels: bool,
) -> dict[str, str | list[str]]:
    """`data.columns` for a finished model.

    Args:
        given: what the configuration says, also of targets, which nobody needs to predict.
        usual: role -> the column that the model learned from; taken where it is there and can be that.
    """
    needed = {column.role: column for column in task.columns if need_labels or not column.target}
    kept = {role: name for role, name in given.items() if role in needed or task.column(role) is None}
    there = set(rows.column_names) - {FILE}
    learned = {
        role: name
        for role, name in usual.items()
        if role in needed and role not in kept and name in there and _can_be(needed[role], rows, name)
    }
    return {**learned, **kept}


def _one_form(task: Task, found: Columns, rows: Dataset, need_labels: bool) -> Columns:
    """The columns of the first form of the task's data that is complete."""
    if not task.forms:
        return found
    free = set() if need_labels else set(task.target_roles)
    for form in task.forms:
        if set(form.roles) - free <= set(found):
            return {role: found[role] for role in form.roles if role in found}
    forms = " or ".join(" and ".join(form.roles) for form in task.forms)
    raise DataError(
        f"data.columns: {task.name} reads {forms}, and the columns are {describe(rows.features)}; "
        f"say which is which, such as data.columns.{task.forms[0].roles[0]}=NAME"
    )


def _can_be(column: Column, rows: Dataset, name: str) -> bool:
    """Whether a column that is called so can play a role."""
    kind = kind_of(column)
    return (kind.recognised_named or kind.recognised)(rows, name)


def _by_name(column: Column, rows: Dataset, names: list[str]) -> str | None:
    lower = {name.strip().lower(): name for name in reversed(names)}
    for usual in column.names:
        found = lower.get(usual.lower())
        if found is not None and _can_be(column, rows, found):
            return found
        if found is not None and isinstance(rows.features[found], Json):
            _check_mixed(rows, found)
    return None


def _check_mixed(rows: Dataset, name: str) -> None:
    """Raises DataError where a column holds a list or a mapping among texts or numbers."""
    values = rows.with_format(None)[name][:]
    odd = [at for at, value in enumerate(values) if isinstance(value, (list, dict))]
    if odd and 2 * len(odd) < len(values):
        what = "a list" if isinstance(values[odd[0]], list) else "a mapping"
        raise DataError(f"{rows[odd[0]][FILE]}: column {name!r} is {what} here, and a text or number in other rows.")


def _named(task: Task, found: Columns) -> set[str]:
    """The roles whose columns have a usual name."""
    usual = {column.role: {name.lower() for name in column.names} for column in task.columns}
    return {role for role, name in found.items() if isinstance(name, str) and name.strip().lower() in usual[role]}


def _check_kind(column: Column, rows: Dataset, name: str) -> None:
    given = kind_of(column).recognised_given
    if given(rows, name) if given is not None else _can_be(column, rows, name):
        return
    feature = rows.features[name]
    what = getattr(feature, "dtype", None) or type(feature).__name__
    values = [str(value)[:30] for value in rows[:3][name]]
    raise DataError(
        f"data.columns.{column.role}: column {name!r} is {what} such as {listing(values)}, "
        f"expected {kind_of(column).plural}."
    )


def _check_usual(column: Column, rows: Dataset, names: list[str]) -> None:
    """Raises DataError where a column has a usual name, and values that are not what it says."""
    usual = {each.lower() for each in column.names}
    for name in names:
        if name.strip().lower() in usual and getattr(rows.features[name], "dtype", None) != "null":
            values = [str(value)[:30] for value in rows[:3][name]]
            raise DataError(
                f"data.columns.{column.role}: column {name!r} has values such as {listing(values)}, expected "
                f"{kind_of(column).plural}; data.columns.{column.role}={name} takes it if it can be read so."
            )


def _shown(name: str | list[str]) -> str:
    return repr(name) if isinstance(name, str) else listing(name)


def roles_sentence(columns: Columns) -> str:
    """`text from column 'body', label from column 'outcome'`."""
    return ", ".join(f"{role} from column {_shown(name)}" for role, name in columns.items())


def _demands(task: Task) -> tuple[bool, int, str]:
    return bool(task.forms), sum(column.required for column in task.columns), task.name


def infer_task(rows: Dataset, given: Mapping[str, str | list[str]]) -> tuple[Task, Columns, str]:
    """(task, role -> column, a sentence on why).

    Raises:
        DataError: no task fits, or several do.
        ConfigError: as `match`.
    """
    decisive = [kind for kind in KINDS.values() if kind.decisive]
    there = {kind.name for kind in decisive if any(kind.recognised(rows, name) for name in rows.column_names)}
    fits, errors = [], []
    for task in all_tasks():
        if {column.kind for column in task.columns if kind_of(column).decisive} != there:
            continue
        if not task.inferred or not set(given) <= {column.role for column in task.columns}:
            continue
        by_name = set() if given else {role for form in task.forms for role in form.by_name}
        explicit = {form.roles for form in task.forms if not form.inferred}
        try:
            columns = match(task, rows, given)
            if by_name & set(columns) <= _named(task, columns) and tuple(columns) not in explicit:
                fits.append((task, columns))
        except (ConfigError, DataError) as error:
            if not by_name:  # nobody has to have what no other task asks for
                errors.append((task, error))
    # A task that uses more of the columns is meant rather than one that leaves some aside.
    most = max((len(columns) for _, columns in fits), default=0)
    best = [(task, columns) for task, columns in fits if len(columns) == most]
    names = {task.name for task, _ in best}
    best = [(task, columns) for task, columns in best if not names & set(task.defers_to)]
    # Then one whose columns are called as usual rather than one that takes them for what is in them.
    most = max((len(_named(task, columns)) for task, columns in best), default=0)
    best = [(task, columns) for task, columns in best if len(_named(task, columns)) == most]
    if len(best) == 1:
        task, columns = best[0]
        others = [other.name for other, _ in fits if other is not task]
        also = f" The data would fit {listing(others)} too (task)." if others else ""
        return task, columns, f"Task {task.name}: {roles_sentence(columns)}.{also}"
    if fits:
        raise DataError(f"task: the data fit {listing(task.name for task, _ in fits)}; say which with --task.")
    if errors:
        # of the tasks that almost fit, the one with the fewest demands left says what is missing
        raise min(errors, key=lambda each: _demands(each[0]))[1]
    if given:
        raise ConfigError(f"data.columns: no task has the roles {listing(given)}; columns: {describe(rows.features)}.")
    raise DataError(f"data.path: the columns are {describe(rows.features)}, which fit no task of hf_tl.")
