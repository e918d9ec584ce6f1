"""What label columns may hold besides one name a row: lists written as text, vectors of 0 and 1, numbers with gaps."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, List, Value

from hf_tl.config import DataConfig
from hf_tl.data.annotations import FILE
from hf_tl.errors import DataError, shortened

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
GAPS = {"n/a", "na", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", "."}
"""Words that mean that there is nothing, among numbers."""
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
FLAGS = re.compile(r"[01]([ ,;|]+[01])+")
LISTED = re.compile(r"\[.*\]|\(.*\)|\{.*\}", re.S)
QUOTED = r"""'([^']*)'|"([^"]*)["]"""
MAX_TEXT = 100_000
"""Characters of a list that is written as text."""
RARE = 0.02
"""Share of rows below which -1 beside 0, 1, ... is no class."""

UNSEEN = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\ufeff]")
"""Characters that nobody sees, of those that mean nothing inside a word."""

Splits = dict[str, Dataset]


def label_name(value: Any) -> str | None:
    """A label as people write it: whole numbers without a point, texts stripped, in one Unicode form (NFC) and without
    invisible characters; None when it is missing."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    text = UNSEEN.sub("", unicodedata.normalize("NFC", str(value)))
    return (
        re.sub(r"[\xa0\u2000-\u200a\u202f\u3000]", " ", text).strip("\u200c\u200d \t\r\n\v\f\x1c\x1d\x1e\x1f\x85")
        or None
    )


def settle_labels(
    splits: Splits, role: str, config: DataConfig, problem: str | None, known: Sequence[str] | None, notes: list[str]
) -> None:
    """Puts lists in place of texts and vectors that mean them, and nothing in place of what means nothing, in all
    splits; what was decided is said in `notes`, with the key that decides otherwise.

    Args:
        problem: as configured, or of a finished model.
        known: the labels of a finished model.

    Raises:
        DataError: a row whose label has no meaning among the others.
    """
    feature = next(iter(splits.values())).features[role]
    inner = getattr(feature, "feature", None)
    if isinstance(inner, Value):
        _settle_lists(splits, role, known, notes)
    elif isinstance(feature, Value) and feature.dtype == "string":
        if problem in (None, MULTI) and (read := _list_reader(_every(splits, role), problem == MULTI, known)):
            _replace(splits, role, read[0], List(Value("string")))
            notes.append(
                f"The labels are lists written as text ({read[1]}): several labels a row. "
                f"data.problem={SINGLE} takes each text as one label."
            )
            _settle_lists(splits, role, known, notes)
        elif problem in (None, REGRESSION):
            _settle_gaps(splits, role, config, notes)
    elif isinstance(feature, Value) and feature.dtype.startswith(("int", "float")) and config.problem is None:
        _settle_minus_one(splits, role, config, known, notes)


def say_numbers(splits: Splits, role: str, notes: list[str]) -> None:
    """Says of whole numbers that they are taken as classes, unless they plainly count some."""
    rows = splits["train"]
    feature = rows.features[role]
    if isinstance(feature, ClassLabel) or not getattr(feature, "dtype", "").startswith(("int", "uint", "float")):
        return
    found = sorted({int(value) for value in rows.with_format(None)[role] if value is not None and value == value})
    if found and (found != list(range(len(found))) or len(found) > 10):
        notes.append(
            f"The labels are {len(found)} different whole numbers from {found[0]} to {found[-1]}, taken as classes; "
            f"data.problem={REGRESSION} learns them as numbers."
        )


def _every(splits: Splits, role: str) -> list[Any]:
    return [value for rows in splits.values() for value in rows.with_format(None)[role] if value is not None]


def _replace(splits: Splits, role: str, change: Callable[[Any], Any], feature: Any) -> None:
    for split, rows in splits.items():
        values = [None if value is None else change(value) for value in rows.with_format(None)[role]]
        splits[split] = rows.remove_columns(role).add_column(role, values, feature=feature)


# lists


def _settle_lists(splits: Splits, role: str, known: Sequence[str] | None, notes: list[str]) -> None:
    """Vectors of 0 and 1 as the lists of their labels.

    Raises:
        DataError: numbers that are no classes, such as shares.
    """
    values = [value for value in _every(splits, role) if value]
    numbers = [[_number(each) for each in value] for value in values]
    if not values or any(each is None for value in numbers for each in value):
        return
    lengths = {len(value) for value in numbers}
    if len(lengths) == 1 and max(lengths) > 1 and all(each in (0, 1) for value in numbers for each in value):
        width = max(lengths)
        names = list(known) if known is not None and len(known) == width else [f"LABEL_{at}" for at in range(width)]
        feature = List(ClassLabel(names=names))
        _replace(splits, role, lambda value: [at for at, each in enumerate(value) if _number(each) == 1], feature)
        notes.append(
            f"The labels are vectors of 0 and 1: {width} labels, called {names[0]} to {names[-1]}; lists of names in "
            "their place name them."
        )
        return
    for rows in splits.values():
        for index, value in enumerate(rows.with_format(None)[role]):
            odd = next((each for each in value or () if (_number(each) or 0) % 1), None)
            if odd is not None:
                raise DataError(
                    f"{rows[index][FILE]}: the labels are lists of numbers such as {odd:g}, expected names, whole "
                    "numbers, or vectors of 0 and 1."
                )


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return float(value) if NUMBER.fullmatch(value) else None
    return float(value) if isinstance(value, (int, float)) else None


def _list_reader(
    values: list[str], asked: bool, known: Sequence[str] | None
) -> tuple[Callable[[str], list[str]], str] | None:
    """(what reads the list in a text, an example), where the texts of a column are lists."""
    texts = Counter(value.strip() for value in values if value.strip())
    if not texts:
        return None
    example = shortened(max(texts, key=len) if len(texts) < 1000 else next(iter(texts)))
    if all(LISTED.fullmatch(text) and _items(text) is not None for text in texts):
        return (lambda value: _items(value.strip()) or []), example
    flags = [text for text in texts if FLAGS.fullmatch(text)]
    if len(flags) == len(texts) and len({len(re.findall("[01]", text)) for text in texts}) == 1:
        return (lambda value: re.findall("[01]", value)), example
    for separator in ("|", ";", ",", " "):
        if any(separator in text for text in texts) and _means_lists(texts, separator, asked, known):
            example = shortened(next(text for text in texts if separator in text))
            return (lambda value, by=separator: _parts(value, by)), example
    return None


def _parts(text: str, separator: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(separator) if part.strip()))


def _means_lists(texts: Counter[str], separator: str, asked: bool, known: Sequence[str] | None) -> bool:
    """Whether a separator parts labels: each part is a label elsewhere, or, but for spaces, they recur in many
    combinations."""
    joint = [text for text in texts if separator in text]
    parts = Counter(part for text in texts for part in _parts(text, separator))
    if known is not None:
        return set(parts) <= set(known) and not set(joint) <= set(known)
    alone = set(texts) - set(joint)
    if all(part in alone for text in joint for part in _parts(text, separator)):
        return True
    if separator in "|;":
        again = all(parts[part] > 1 for text in joint for part in _parts(text, separator))
        return asked or (len(parts) < len(texts) and again)
    if asked and separator == ",":
        return True
    if separator == " " and not asked:  # names of several words have words in common, too
        return False
    counts = {len(_parts(text, separator)) for text in texts}
    return len(counts) > 2 and len(texts) >= 2 * len(parts)


def _items(text: str) -> list[str] | None:
    """The items of a list as Python, JSON or NumPy write it; None where it is none."""
    if len(text) > MAX_TEXT:
        return None
    if text in ("[]", "()", "{}", "set()"):
        return []
    if re.search(r"""['"]\s+['"]""", text):  # NumPy's, without commas
        return [single or double for single, double in re.findall(QUOTED, text)]
    found: Any = None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
            break
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    if found is None and text[0] == "[":
        bare = [part.strip() for part in re.split(r"[,\s]\s*", text[1:-1].strip())]
        return bare if all(re.fullmatch(r"[\w.+-]+", part) for part in bare) else None
    if not isinstance(found, (list, tuple, set)):
        return None
    items = sorted(found, key=str) if isinstance(found, set) else list(found)
    return [str(each) for each in items] if all(isinstance(each, (str, int, float)) for each in items) else None


# numbers


def _settle_gaps(splits: Splits, role: str, config: DataConfig, notes: list[str]) -> None:
    """`N/A` among numbers as missing.

    Raises:
        DataError: the first of them, when `data.on_error` is `stop`.
    """
    values = [value.strip() for value in _every(splits, role) if value.strip()]
    gaps = [value for value in values if value.lower() in GAPS]
    numbers = [value for value in values if NUMBER.fullmatch(value)]
    if not gaps or len(gaps) + len(numbers) < len(values) or len(set(numbers)) < 2 or len(gaps) > len(numbers):
        return
    if any(re.match(r"\s*[+-]?0\d", value) for value in numbers):  # codes
        return
    for rows in splits.values():
        for index, value in enumerate(rows.with_format(None)[role]):
            if value is not None and value.strip().lower() in GAPS and config.on_error == "stop":
                kept = "" if config.problem else f", or take it as a class with data.problem={SINGLE}"
                raise DataError(
                    f"{rows[index][FILE]}: the label is {value.strip()!r} where the others are numbers; leave such "
                    f"rows out with data.on_error=skip{kept}."
                )
    notes.append(f"{len(gaps)} labels such as {gaps[0]!r} among the numbers are taken as missing.")
    whole = all(re.fullmatch(r"[+-]?\d{1,18}", value) for value in numbers)

    def number(value: str) -> float | int | None:
        if not NUMBER.fullmatch(value):
            return None
        return int(value) if whole else float(value)

    _replace(splits, role, number, Value("int64" if whole else "float64"))


def _settle_minus_one(
    splits: Splits, role: str, config: DataConfig, known: Sequence[str] | None, notes: list[str]
) -> None:
    """-1 as no label, as GLUE and SNLI mean it: in a split that has no other, or rarely beside 0, 1, ...

    Raises:
        DataError: the first of the rare ones, when `data.on_error` is `stop`.
    """
    found = {split: Counter(v for v in rows.with_format(None)[role] if v is not None) for split, rows in splits.items()}
    classes = {str(name) for name in known} if known is not None else {f"{value:g}" for value in found.get("train", {})}
    if known is None and -1 in found.get("train", {}):
        counts = found["train"]
        others = sorted(value for value in counts if value != -1)
        counted = len(others) > 1 and others == list(range(len(others)))
        if not counted:
            return
        if counts[-1] >= RARE * sum(counts.values()):
            notes.append("The label -1 is taken as a class of its own; remove such rows if it stands for no label.")
            return
    elif "-1" in classes or not any(counts[-1] for counts in found.values()):
        return
    elif any(set(counts) > {-1} for split, counts in found.items() if split != "train") and known is None:
        return  # named where labels are encoded
    for split, rows in splits.items():
        whole_split = set(found[split]) == {-1}
        if found[split][-1] and config.on_error == "stop" and not whole_split:
            index = next(at for at, value in enumerate(rows.with_format(None)[role]) if value == -1)
            kept = "" if known is not None else f", or take it as a class with data.problem={SINGLE}"
            raise DataError(
                f"{rows[index][FILE]}: the label is -1, which stands for no label in GLUE and SNLI; leave such rows "
                f"out with data.on_error=skip{kept}."
            )
    feature = next(iter(splits.values())).features[role]
    _replace(splits, role, lambda value: None if value == -1 else value, feature)
