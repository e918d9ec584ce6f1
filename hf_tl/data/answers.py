"""Questions with answers in their contexts, in the forms that they are kept in: SQuAD's own file, columns of the text
and place of an answer, and records that were written into a table as text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset, List, Value

from hf_tl.data.annotations import put_in_place
from hf_tl.data.table import Table
from hf_tl.data.texts import STRINGS
from hf_tl.data.written import from_text
from hf_tl.errors import DataError
from hf_tl.io.json_text import kind_of, read_json

MAX_JSON = 2 * 1024**3
HEAD = 1 << 20
"""Bytes by which a file is known."""
SQUAD = re.compile(rb'"qas"\s*:\s*\[')
TEXTS = ("answer_text", "answers_text", "answer", "answers", "text")
STARTS = ("answer_start", "answer_starts", "answers_start", "start", "start_index", "answer_start_index", "start_char")
CONTEXTS, QUESTIONS = ("context", "passage", "document"), ("question", "query")
FEATURE = {"text": List(Value("string")), "answer_start": List(Value("int64"))}
LOOKED_AT = 50


# SQuAD's own file


def is_squad(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return SQUAD.search(stream.read(HEAD)) is not None
    except OSError:
        return False


def read_squad(path: Path) -> Table:
    """Rows of `id`, `title`, `context`, `question` and `answers` from SQuAD's `data`, `paragraphs` and `qas`; an
    impossible question has no answer."""
    value = read_json(path, error=DataError, nan=True, most=MAX_JSON)
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "title", "context", "question", "answers")}
    places = []
    for title, number, paragraph in _paragraphs(value, str(path)):
        where = f"{path}, paragraph {number}"
        context = paragraph.get("context")
        if not isinstance(context, str) or not isinstance(paragraph.get("qas"), list):
            raise DataError(f"{where}: expected a text under 'context' and a list under 'qas'.")
        for index, each in enumerate(paragraph["qas"], 1):
            place = f"paragraph {number}, question {index}"
            if not isinstance(each, dict) or not isinstance(each.get("question"), str):
                raise DataError(f"{path}, {place}: expected a record with a text under 'question'.")
            answers = [] if each.get("is_impossible") is True else each.get("answers", [])
            if not isinstance(answers, list) or not all(isinstance(one, dict) for one in answers):
                raise DataError(
                    f"{path}, {place}: 'answers' is {kind_of(answers)}, expected a list of text and answer_start."
                )
            row = {
                "id": str(each.get("id", "")), "title": title, "context": context, "question": each["question"],
                "answers": {
                    "text": [_text(one.get("text")) for one in answers],
                    "answer_start": [whole(one.get("answer_start")) for one in answers],
                },
            }  # fmt: skip
            for name, one in row.items():
                columns[name].append(one)
            places.append(place)
    if not columns["id"]:
        raise DataError(f"{path}: has no questions.")
    return Table(Dataset.from_dict(columns).cast_column("answers", FEATURE), places)


def _paragraphs(value: Any, where: str) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(title of the article, number from 1 on, paragraph); the list of articles or paragraphs may also stand alone."""
    articles = value.get("data", value.get("paragraphs")) if isinstance(value, dict) else value
    if not isinstance(articles, list):
        raise DataError(f"{where}: 'data' is {kind_of(articles)}, expected SQuAD's list of articles.")
    count = 0
    for article in articles:
        if not isinstance(article, dict):
            raise DataError(f"{where}: an article is {kind_of(article)}, expected a record with 'paragraphs'.")
        inside = [article] if "qas" in article else article.get("paragraphs")
        if not isinstance(inside, list) or not all(isinstance(each, dict) for each in inside):
            raise DataError(f"{where}: 'paragraphs' of an article is {kind_of(inside)}, expected a list of records.")
        for paragraph in inside:
            count += 1
            yield str(article.get("title", "")), count, paragraph


# columns


def _usual(rows: Dataset, names: tuple[str, ...]) -> str | None:
    lower = {name.strip().lower(): name for name in reversed(rows.column_names)}
    return next((lower[name] for name in names if name in lower), None)


def _type(rows: Dataset, name: str) -> Any:
    """The type of a column's values, or of what their lists hold."""
    feature = rows.features[name]
    return getattr(feature, "feature", feature)


def _is(rows: Dataset, name: str, *types: str) -> bool:
    kind = _type(rows, name)
    return isinstance(kind, Value) and kind.dtype.startswith(types)


def written_answers(rows: Dataset) -> list[str] | None:
    """The column of records of text and answer_start that are written as text."""
    name = _usual(rows, ("answers", "answer"))
    if name is None or not isinstance(rows.features[name], Value) or not _is(rows, name, *STRINGS):
        return None
    texts = [text for text in rows.select(range(min(len(rows), LOOKED_AT))).with_format(None)[name] if text]
    return [name] if texts and all(re.match(r"\s*[\[{].*answer_start", text, re.DOTALL) for text in texts) else None


def read_answers(columns: list[str]) -> Callable[[Any], Any]:
    def one(text: Any) -> Any:
        if text is None:
            return None
        try:
            return answers_of(from_text(text))
        except ValueError:
            return {"text": [text[:200]], "answer_start": [-1]}  # refused, with its place, where answers are checked

    return one


def flat_answers(rows: Dataset) -> list[str] | None:
    """[text, start] where an answer and its place are columns of their own."""
    text, start = _usual(rows, TEXTS), _usual(rows, STARTS)
    if text is None or start is None or not _is(rows, text, *STRINGS) or text in _asked(rows):
        return None
    sure = None not in _asked(rows) or start.lower().startswith("answer")
    return [text, start] if sure and _is(rows, start, "int", "uint", "float", *STRINGS) else None


def bare_answers(rows: Dataset) -> list[str] | None:
    """[text] where the place of an answer is not told, and most answers stand in their contexts."""
    text, (context, question) = _usual(rows, TEXTS[:-1]), _asked(rows)
    if text is None or context is None or question is None or text in (context, question):
        return None
    if not isinstance(rows.features[text], Value) or not _is(rows, text, *STRINGS):
        return None
    sample = rows.select(range(min(len(rows), LOOKED_AT))).with_format(None)
    pairs = [(answer, about or "") for answer, about in zip(sample[text], sample[context], strict=True) if answer]
    return [text] if pairs and sum(a in b for a, b in pairs) * 2 > len(pairs) else None


def _asked(rows: Dataset) -> tuple[str | None, str | None]:
    """The columns of contexts and questions."""
    return _usual(rows, CONTEXTS), _usual(rows, QUESTIONS)


def with_answers(rows: Dataset, columns: list[str], name: str) -> Dataset:
    """Rows whose columns of `flat_answers` or `bare_answers` are one of records. An answer without a place is the first
    in its context that is written so; one that is not there has the place -1, and is refused where answers are
    checked."""
    plain = rows.with_format(None)
    texts = [_list_in(text) for text in plain[columns[0]]] if len(columns) > 1 else plain[columns[0]]
    if len(columns) > 1:
        starts: list[Any] = [_list_in(start) for start in plain[columns[1]]]
    else:
        contexts = plain[str(_usual(rows, CONTEXTS))]
        starts = [(about or "").find(text) if text else None for text, about in zip(texts, contexts, strict=True)]
    values = [answers_of({"text": text, "answer_start": start}) for text, start in zip(texts, starts, strict=True)]
    return put_in_place(rows, columns, name, values, FEATURE)


def _list_in(value: Any) -> Any:
    """A list that was written as text; anything else as it is."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        try:
            return from_text(value)
        except ValueError:
            return value
    return value


def answers_of(value: Any) -> Any:
    """Answers as a record of lists, the places as whole numbers; a missing answer is none."""
    if isinstance(value, list):
        value = {key: [each.get(key) for each in value if isinstance(each, dict)] for key in ("text", "answer_start")}
    if not isinstance(value, dict):
        raise ValueError("expected a record of text and answer_start")
    texts, starts = (_listed(value.get(key)) for key in ("text", "answer_start"))
    if not any(isinstance(text, str) and text.strip() for text in texts):
        return {"text": [], "answer_start": []}
    return {"text": [_text(text) for text in texts], "answer_start": [whole(start) for start in starts]}


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def whole(value: Any) -> int:
    """A place in a text, also of tables that have only floats or texts; -1, which is none, for all else."""
    try:
        number = float(value)
        return int(number) if math.isfinite(number) and number == int(number) and abs(number) < 2**53 else -1
    except (TypeError, ValueError):
        return -1
