"""Words with tags and texts with spans, in the forms that annotators and corpora write: CoNLL's columns of words, one
word a row with the number of its sentence (Kaggle), spans as lists of start, end and label (doccano, spaCy)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Value

from hf_tl.data.annotations import FILE
from hf_tl.data.table import Table
from hf_tl.errors import DataError, shortened

TAG = re.compile(r"O|[BILUSEMbilusem][-_]\S+")
START = "-DOCSTART-"
HEAD = 400
"""Lines by which a file is known."""
MAX_LINE = 100_000
MAX_FIELDS = 50
SPAN_KEYS = (
    ("start", "start_offset", "begin"),
    ("end", "end_offset"),
    ("label", "entity", "entity_group", "entity_type", "type", "tag", "category"),
)
"""The names of start, end and label of a span."""
UNIVERSAL = ("", "tokens", "lemmas", "pos_tags", "xpos_tags", "features", "heads", "relations", "", "")
"""What the columns of Universal Dependencies are (https://universaldependencies.org/format.html)."""
SENTENCES = (
    "sentence #", "sentence_#", "sentence_id", "sentence id", "sentence_idx", "sent_id", "sentence_number", "sentence",
)  # fmt: skip
NUMBER = re.compile(r"\s*(sentence|sent)?[\s:_#-]*\d+(\.0)?\s*", re.IGNORECASE)
"""What stands in a column that tells sentences apart."""
WORDS = ("word", "token", "words", "tokens")
WORD_TAGS = ("tag", "ner_tag", "ner", "bio", "iob", "label", "tags", "labels")


# columns of words


def is_tagged(path: Path) -> bool:
    """Whether a file is columns of words: as many on each line, the last of them a tag, and empty lines between
    sentences. What such files are called says too little, and `.txt` nothing."""
    try:
        with path.open(encoding="utf-8-sig", errors="strict", newline=None) as stream:
            lines = [line.rstrip("\r\n") for line in islice(iter(lambda: stream.readline(MAX_LINE), ""), HEAD)]
    except (OSError, ValueError):
        return False
    filled = [fields for line in lines if (fields := _fields(line)) and not _is_comment(line, fields)]
    if len(filled) < 2 or len({len(fields) for fields in filled}) > 1 or len(filled[0]) < 2:
        return False
    tags = [fields[-1] for fields in filled]
    apart = len(filled) < len(lines) or len(lines) < HEAD
    return apart and all(TAG.fullmatch(tag) for tag in tags) and any(tag != "O" for tag in tags)


def _fields(line: str) -> list[str]:
    """The fields of a line; none where it ends a sentence."""
    if not line.strip() or line.startswith(START):
        return []
    fields = line.rstrip().split("\t") if "\t" in line.rstrip() else line.split()
    return [field.strip() for field in fields]


def _is_comment(line: str, fields: list[str]) -> bool:
    """Whether a line before a sentence tells about it; within one, a `#` is a word."""
    return line.startswith("#") and not (len(fields) > 1 and TAG.fullmatch(fields[-1]))


def _sentences(path: Path) -> Iterator[tuple[int, list[list[str]]]]:
    """(number of the first line, fields of each word) of each sentence."""
    found: list[list[str]] = []
    first = 0
    with path.open(encoding="utf-8-sig", newline=None) as stream:
        for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE), ""), 1):
            if len(line) == MAX_LINE:
                raise DataError(f"{path}, line {number}: has more than {MAX_LINE:,} characters, expected one word.")
            fields = _fields(line)
            if not found and _is_comment(line, fields):
                continue
            if fields:
                first = first if found else number
                found.append(fields)
            elif found:
                yield first, found
                found = []
    if found:
        yield first, found


def read_tagged(path: Path) -> Table:
    """`tokens` and the tags of each. The last column is `ner_tags` where it is written so
    (B-, I-, O) and `tags` otherwise; of four, the middle ones are CoNLL-2003's `pos_tags` and `chunk_tags`."""
    places, sentences = [], []
    width = 0
    for number, words in _sentences(path):
        for at, fields in enumerate(words):
            width = width or len(fields)
            if len(fields) != width or width < 2 or not all(fields):
                raise DataError(
                    f"{path}, line {number + at}: found {len(fields)} columns ({shortened(' '.join(fields))}), "
                    f"expected {f'{width} as above' if width > 1 else 'a word and its tag'}."
                )
        sentences.append(words)
        places.append(f"line {number}")
    if not sentences:
        raise DataError(f"{path}: has no rows.")
    if width > MAX_FIELDS:
        raise DataError(f"{path}: has {width} columns, expected at most {MAX_FIELDS}.")
    names = _names(sentences, width, width > 2 and _numbered(sentences[:HEAD]))
    columns = {name: [[fields[at] for fields in words] for words in sentences] for at, name in enumerate(names) if name}
    return Table(Dataset.from_dict(columns), places)


def _numbered(sentences: list[list[list[str]]]) -> bool:
    """Whether the first column counts the words of each sentence."""
    found = [[fields[0] for fields in words] for words in sentences]
    counted = all(
        numbers in ([str(at) for at in range(first, first + len(numbers))] for first in (0, 1)) for numbers in found
    )
    return counted and any(len(numbers) > 1 for numbers in found)


def _names(sentences: list[list[list[str]]], width: int, numbered: bool) -> list[str]:
    """The name of each column; none for one that is not kept."""
    first = 1 if numbered else 0
    names = [f"column_{at + 1}" for at in range(width)]
    names[0], names[first] = "", "tokens"
    tagged = [
        at
        for at in range(first + 1, width)
        if all(TAG.fullmatch(fields[at]) for words in sentences[:HEAD] for fields in words)
    ]
    if numbered and len(tagged) > 1:  # entities, and entities within them
        names[tagged[0]], names[tagged[1]] = "ner_tags", "nested_tags"
    else:
        names[-1] = "ner_tags" if width - 1 in tagged else "tags"
        if width == 4 and not numbered:
            names[1:3] = "pos_tags", "chunk_tags"
    return names


def read_universal(path: Path) -> Table:
    """Universal Dependencies: words, lemmas, parts of speech; not what words are contracted to, nor empty nodes."""
    places, columns = [], {name: list[list[str]]() for name in UNIVERSAL if name}
    for number, words in _sentences(path):
        words = [fields for fields in words if not re.fullmatch(r"\d+[-.]\d+", fields[0])]
        wrong = next((fields for fields in words if len(fields) != len(UNIVERSAL)), None)
        if wrong is not None:
            raise DataError(f"{path}, line {number}: a word has {len(wrong)} columns, expected {len(UNIVERSAL)}.")
        places.append(f"line {number}")
        for at, name in enumerate(UNIVERSAL):
            if name:
                columns[name].append([fields[at] for fields in words])
    if not places:
        raise DataError(f"{path}: has no rows.")
    return Table(Dataset.from_dict(columns), places)


# one word a row


def word_columns(rows: Dataset) -> list[str] | None:
    """[number of the sentence, word, tag, further tags], of rows that are words."""
    lower = {name.strip().lower(): name for name in reversed(rows.column_names)}
    found = []
    for usual in (SENTENCES, WORDS, WORD_TAGS):
        name = next((lower[each] for each in usual if each in lower), None)
        if name is None or not isinstance(rows.features[name], (Value, ClassLabel)):
            return None
        found.append(name)
    if not all(NUMBER.fullmatch(str(each)) for each in rows[:HEAD][found[0]] if each is not None):
        return None
    if str(getattr(rows.features[found[1]], "dtype", "")).startswith(("int", "float")):
        return None
    more = [lower[name] for name in ("pos", "pos_tag", "pos_tags") if name in lower][:1]
    return [*found, *more]


def as_sentences(rows: Dataset, columns: list[str], name: str) -> Dataset:
    """Words of consecutive rows with the same number, or none after the first, as one row."""
    plain = rows.with_format(None)
    numbers, words, tags, *more = (list(plain[each]) for each in columns)
    feature = rows.features[columns[2]]
    if isinstance(feature, ClassLabel):
        tags = [None if tag is None else feature.names[tag] for tag in tags]
    starts: list[int] = []
    before = None
    for at, number in enumerate(numbers):
        given = number is not None and bool(str(number).strip())
        if at == 0 or (given and number != before):
            starts.append(at)
        before = number if given else before
    spans = list(zip(starts, [*starts[1:], len(words)], strict=True))

    def cut(values: list[Any]) -> list[list[str]]:
        return [["" if each is None else str(each) for each in values[start:end]] for start, end in spans]

    out = {name: cut(words), "ner_tags": cut(tags), **({"pos_tags": cut(more[0])} if more else {})}
    out[FILE] = [rows[start][FILE] for start in starts]
    return Dataset.from_dict(out)


# spans


def as_spans(value: Any) -> Any:
    """Spans as records of start, end and label; anything else as it is."""
    if not isinstance(value, list) or not value:
        return value
    if all(_is_triple(each) for each in value):
        return [{"start": start, "end": end, "label": label} for start, end, label in value]
    keys = _span_keys(value[0])
    if keys and all(isinstance(each, dict) and set(keys) <= set(each) for each in value):
        return [dict(zip(("start", "end", "label"), (each[key] for key in keys), strict=True)) for each in value]
    if all(_has_labels(each) for each in value):
        return [
            {"start": each["start"], "end": each["end"], "label": label} for each in value for label in each["labels"]
        ]
    return value


def _span_keys(value: Any) -> list[str] | None:
    """The keys of start, end and label in a record that is a span by other names."""
    if not isinstance(value, dict) or {"start", "end", "label"} <= set(value):
        return None
    found = [next((key for key in names if key in value), None) for names in SPAN_KEYS]
    return None if None in found else [str(key) for key in found]


def _is_triple(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 3
        and all(isinstance(each, int) and not isinstance(each, bool) for each in value[:2])
        and isinstance(value[2], str)
    )


def _has_labels(value: Any) -> bool:
    """Whether it is a span as Label Studio writes it."""
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(key), int) for key in ("start", "end"))
        and isinstance(value.get("labels"), list)
    )


def spacy_row(value: Any) -> Any:
    """spaCy's pair of a text and `{"entities": [...]}` as a row; anything else as it is."""
    if (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], dict)
        and isinstance(value[1].get("entities"), list)
    ):
        return {"text": value[0], "spans": as_spans(value[1]["entities"])}
    return value
