"""Which column plays which role, and which task that makes: by configuration, by name, by kind."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Image, List, Value

from hf_tl.data.columns import describe, infer_task, match
from hf_tl.data.kinds import KINDS
from hf_tl.data.recognition import are_flags
from hf_tl.data.sources import FILE
from hf_tl.errors import ConfigError, DataError
from hf_tl.task import get_task

TEXT, IMAGE, TOKENS = (
    get_task(name) for name in ("text-classification", "image-classification", "token-classification")
)
PIXEL = {"bytes": b"", "path": None}


def rows_of(**columns: list[Any]) -> Dataset:
    count = len(next(iter(columns.values())))
    return Dataset.from_dict({**columns, FILE: [f"d/{index}, line 1" for index in range(count)]})


def images(**columns: list[Any]) -> Dataset:
    count = len(next(iter(columns.values()))) if columns else 2
    rows = rows_of(image=[PIXEL] * count, **columns)
    return rows.cast_column("image", Image(decode=False))


def is_kind(kind: str, values: list[Any], feature: Any = None, named: bool = False) -> bool:
    rows = Dataset.from_dict({"x": values}, features=Features({"x": feature}) if feature is not None else None)
    record = KINDS[kind]
    return (record.recognised_named or record.recognised if named else record.recognised)(rows, "x")


@pytest.mark.parametrize(
    ("values", "named", "expected"),
    [
        (["a", "b"] * 5, False, True),
        ([True, False], False, True),
        ([1, 0] * 20, False, True),
        ([1.0, None, 2.0] * 20, False, True),
        ([0.5, 1.0] * 20, False, False),  # amounts
        (list(range(20)), False, True),  # at most 20 different ones ...
        (list(range(21)), False, False),
        (list(range(30)) * 2, False, True),  # ... or half as many as there are rows
        ([*range(31), *range(29)], False, False),
        ([f"text {index}" for index in range(40)], False, False),
        ([*range(1000), *range(1000)], False, True),
        ([*range(1001), *range(1001)], False, False),  # more than MAX_CLASSES
        ([None, None], False, False),
        # a column that is called a label may hold amounts and lists
        ([0.5, 1.0] * 20, True, True),
        (list(range(100)), True, True),
        ([["a"], ["b"]], True, True),
        ([[[1]], [[2]]], True, False),
        ([f"text {index}" for index in range(40)], True, False),
    ],
)
def test_what_can_be_a_label(values: list[Any], named: bool, expected: bool) -> None:
    assert is_kind("label", values, named=named) is expected


def test_features_that_can_be_a_label() -> None:
    many = ClassLabel(num_classes=50)
    assert is_kind("label", list(range(50)), many) and is_kind("label", list(range(50)), many, named=True)
    assert not is_kind("label", [{"a": 1}] * 4) and not is_kind("label", [{"a": 1}] * 4, named=True)
    assert is_kind("label", [[0], [1]], List(many), named=True) and not is_kind("label", [[0], [1]], List(many))
    assert not is_kind("label", [datetime.date(2020, 1, day) for day in range(1, 30)] * 1, named=True)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("text", ["a"], True),
        ("text", [1], False),
        ("text", [["a"]], False),
        ("words", [["a", "b"]], True),
        ("words", [[1]], False),
        ("words", ["a b"], False),
        ("tags", [["B-x"]], True),
        ("tags", [[1]], True),
        ("tags", [[0.5]], False),
        ("tags", [1], False),
        ("spans", [[{"start": 0, "end": 1, "label": "x", "more": 1}]], True),
        ("spans", [[{"start": 0, "end": 1}]], False),
        ("spans", [["x"]], False),
        ("answers", [{"text": ["a"], "answer_start": [0]}], True),
        ("answers", [{"text": ["a"]}], False),
        ("objects", [{"bbox": [[1, 2, 3, 4]], "category": [1]}], True),
        ("objects", [{"box": [[1, 2, 3, 4]]}], False),
        ("messages", [[{"role": "user", "content": "a"}]], True),
        ("messages", [[{"role": "user"}]], False),
        ("texts", [{"en": "a", "fr": "b"}], True),
        ("texts", [{"en": "a"}], False),
        ("texts", [{"en": "a", "n": 1}], False),
        ("texts", ["a"], False),
    ],
)
def test_kinds_of_columns(kind: str, values: list[Any], expected: bool) -> None:
    assert is_kind(kind, values) is expected


def test_kinds_by_feature() -> None:
    assert is_kind("text", ["a"], Value("large_string")) and is_kind(
        "texts", [{"a": "x", "b": "y"}], {"a": Value("large_string"), "b": Value("string")}
    )
    assert is_kind("tags", [[0]], List(ClassLabel(names=["O"]))) and not is_kind(
        "words", [[0]], List(ClassLabel(names=["O"]))
    )
    recognised = KINDS["image"].recognised
    assert recognised(images(), "image") and not recognised(rows_of(image=["a.png"]), "image")


# roles


def test_roles_by_configuration_then_name_then_kind() -> None:
    rows = rows_of(text=["a b c", "d e f"], body=["g h i", "j k l"], label=["x", "y"])
    assert match(TEXT, rows, {}) == {"text": "text", "label": "label"}
    assert match(TEXT, rows, {"text": "body"}) == {"text": "body", "label": "label"}
    assert match(TEXT, rows.remove_columns("text"), {}) == {"text": "body", "label": "label"}
    strange = rows_of(one=["some words here", "and others there"], two=["x", "y"])
    assert match(TEXT, strange, {"label": "two"}) == {"text": "one", "label": "two"}


def test_usual_names_have_an_order_and_no_case() -> None:
    rows = rows_of(CONTENT=["a", "b"], **{" Sentence ": ["c", "d"]}, label=["x", "y"])
    assert match(TEXT, rows, {})["text"] == " Sentence "  # `sentence` stands before `content`
    wrong_kind = rows_of(text=[1.5, 2.5], content=["c", "d"], label=["x", "y"])
    assert match(TEXT, wrong_kind, {})["text"] == "content"
    twice = rows_of(text=["a", "b"], TEXT=["c", "d"], label=["x", "y"])
    assert match(TEXT, twice, {})["text"] == "text"  # of two, the first


def test_a_column_plays_one_role() -> None:
    pair = rows_of(sentence1=["a b", "c d"], sentence2=["e f", "g h"], label=["x", "y"])
    assert match(TEXT, pair, {}) == {"text": "sentence1", "text_pair": "sentence2", "label": "label"}
    assert match(TEXT, pair, {"text": "sentence2"}) == {"text": "sentence2", "label": "label"}
    flags = rows_of(words=["a b c"] * 4, a=[0, 1] * 2, b=[1, 0] * 2)
    assert match(TEXT, flags, {"label": ["a", "b"]}) == {"label": ["a", "b"], "text": "words"}


def test_of_several_texts_the_one_with_words() -> None:
    rows = rows_of(code=["x1", "x2"] * 10, said=["three words here", "and so on"] * 10, label=["x", "y"] * 10)
    assert match(TEXT, rows, {})["text"] == "said"
    exact = rows_of(code=["two words"] * 20, said=["a b c"] * 20, label=["x", "y"] * 10)  # three words are many
    assert match(TEXT, exact, {})["text"] == "said"
    short = rows_of(one=["a", "b"], two=["c", "d"], label=["x", "y"])
    with pytest.raises(
        DataError, match=r"text column could be any of 'one', 'two'; say which with data\.columns\.text=one"
    ):
        match(TEXT, short, {})


def test_flags_are_the_labels_together() -> None:
    rows = rows_of(text=["a b c"] * 4, red=[0, 1, 1, 0], blue=[True, False, None, True])
    assert match(TEXT, rows, {}) == {"text": "text", "label": ["red", "blue"]}
    assert are_flags(rows, ["red", "blue"]) and not are_flags(rows, ["red"]) and not are_flags(rows, [])
    numbers = rows_of(text=["a b c"] * 4, red=[0, 1, 1, 0], blue=[0, 2, 1, 0])
    with pytest.raises(DataError, match=r"label column could be any of 'red', 'blue'"):
        match(TEXT, numbers, {})


def test_labels_are_not_needed_to_predict() -> None:
    rows = rows_of(text=["a b c", "d e f"])
    assert match(TEXT, rows, {}, need_labels=False) == {"text": "text"}
    with pytest.raises(
        DataError,
        match=r"data\.columns\.label: the columns are text \(string\); the label column is not among.*label=NAME",
    ):
        match(TEXT, rows, {})
    with pytest.raises(DataError, match=r"the text column is not among them"):
        match(TEXT, rows_of(label=[1, 2]), {}, need_labels=False)


def test_wrong_roles_and_columns() -> None:
    rows = rows_of(text=["a b c", "d e f"], label=["x", "y"], number=[1.5, 2.5])
    with pytest.raises(
        ConfigError,
        match=r"columns\.txet: text-classification has no such role; did you mean 'text'\? .*'text_pair', 'label'",
    ):
        match(TEXT, rows, {"txet": "text"})
    with pytest.raises(
        ConfigError,
        match=r"data\.columns\.text: there is no column 'lable'; did you mean 'label'\? Columns: 'text', 'label', 'num",
    ):
        match(TEXT, rows, {"text": "lable"})
    with pytest.raises(ConfigError, match=r"there is no column 'b'\. Columns"):
        match(TEXT, rows, {"label": ["label", "b"]})
    with pytest.raises(ConfigError, match=r"data\.columns\.text: found 2 columns, expected one"):
        match(TEXT, rows, {"text": ["text", "label"]})
    with pytest.raises(
        DataError, match=r"data\.columns\.text: column 'number' is float64 such as '1\.5', '2\.5', expected texts\."
    ):
        match(TEXT, rows, {"text": "number"})
    assert match(TEXT, rows, {"label": "number"})["label"] == "number"  # amounts, since it was named
    with pytest.raises(ConfigError, match="there is no column '__file__'"):
        match(TEXT, rows, {"text": FILE})


def test_images_outside_of_a_class() -> None:
    with pytest.raises(DataError, match=r"d/0, line 1: lies in no class folder"):
        match(IMAGE, images(), {})
    assert match(IMAGE, images(colour=["red", "blue"]), {}) == {"image": "image", "label": "colour"}


def test_forms_of_data() -> None:
    words = rows_of(tokens=[["a"]], ner_tags=[["O"]], text=["a"])
    assert match(TOKENS, words, {}) == {"words": "tokens", "tags": "ner_tags"}  # the first form that is whole
    spans = rows_of(text=["a"], entities=[[{"start": 0, "end": 1, "label": "x"}]])
    assert match(TOKENS, spans, {}) == {"text": "text", "spans": "entities"}
    assert match(TOKENS, spans.remove_columns("entities"), {}, need_labels=False) == {"text": "text"}
    with pytest.raises(
        DataError,
        match=r"data\.columns: token-classification reads words and tags or text and spans, and .* text \(string\)",
    ):
        match(TOKENS, spans.remove_columns("entities"), {})


# tasks


def task_of(rows: Dataset, given: dict[str, str | list[str]] | None = None) -> str:
    return infer_task(rows, given or {})[0].name


TWO = ["some words here", "and others there"]


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({"text": TWO, "label": ["x", "y"]}, "text-classification"),
        ({"a": TWO, "b": [0, 1]}, "text-classification"),
        ({"tokens": [["a"], ["b"]], "ner_tags": [["O"], ["B-x"]]}, "token-classification"),
        (
            {"question": TWO, "context": TWO, "answers": [{"text": ["a"], "answer_start": [0]}] * 2},
            "question-answering",
        ),
        ({"article": TWO, "highlights": TWO}, "summarization"),
        ({"translation": [{"en": "a", "fr": "b"}] * 2}, "translation"),
        ({"sentence1": TWO, "sentence2": TWO, "score": [0.1, 0.9]}, "sentence-similarity"),
        ({"anchor": TWO, "positive": TWO}, "sentence-similarity"),
        ({"sentence1": TWO, "sentence2": TWO, "label": [0, 1]}, "text-classification"),
        ({"prompt": TWO, "completion": TWO}, "text-generation"),
        ({"messages": [[{"role": "user", "content": "a"}]] * 2}, "text-generation"),
    ],
)
def test_the_task_that_data_suggest(columns: dict[str, list[Any]], name: str) -> None:
    assert task_of(rows_of(**columns)) == name


def test_the_task_that_images_suggest() -> None:
    assert task_of(images(label=["x", "y"])) == "image-classification"
    assert task_of(images(text=TWO, label=["x", "y"])) == "image-classification"  # not of the text
    objects = [{"bbox": [[1, 2, 3, 4]], "category": ["cat"]}] * 2
    assert task_of(images(objects=objects)) == "object-detection"
    masks = images(mask=[PIXEL] * 2).cast_column("mask", Image(decode=False))
    assert task_of(masks) == "image-segmentation"


def test_why_the_task_is_said() -> None:
    rows = rows_of(text=TWO, label=["x", "y"])
    task, columns, why = infer_task(rows, {})
    assert (task.name, columns) == ("text-classification", {"text": "text", "label": "label"})
    assert why == "Task text-classification: text from column 'text', label from column 'label'."
    _, columns, why = infer_task(rows_of(text=TWO, a=[0, 1], b=[1, 0]), {})
    assert columns["label"] == ["a", "b"] and "label from column 'a', 'b'." in why


def test_roles_that_are_named_choose_the_task() -> None:
    rows = rows_of(one=TWO, two=TWO)
    assert task_of(rows, {"document": "one", "summary": "two"}) == "summarization"
    assert task_of(rows, {"source": "one", "target": "two"}) == "translation"
    with pytest.raises(
        ConfigError, match=r"data\.columns: no task has the roles 'sumary'; columns: one \(string\), two \(string\)"
    ):
        task_of(rows, {"sumary": "one"})


def test_data_that_fit_no_task() -> None:
    with pytest.raises(DataError, match=r"data\.columns\.label: .*not among them"):
        task_of(rows_of(text=TWO))
    with pytest.raises(
        DataError, match=r"data\.columns\.label: the columns are image \(PIL\.Image\.Image\), label \(null\)"
    ):
        task_of(images(label=[None, None]))


def test_columns_are_described() -> None:
    rows = images(label=["x", "y"])
    assert describe(rows.features) == "image (PIL.Image.Image), label (string)"
    assert describe(Features({FILE: Value("string")})) == "none"
    assert describe(Features({"a": List(Value("int64")), "b": {"c": Value("string")}})) == "a (List), b (dict)"


def test_a_list_among_texts_is_named() -> None:
    """It is no reason to take another column for the text."""
    texts = ["a film", "a plot", {"en": "a cast"}, "an end"]
    rows = Dataset.from_dict(
        {"text": texts, "title": ["x y z"] * 4, "label": ["p", "q"] * 2}, on_mixed_types="use_json"
    )
    rows = rows.add_column(FILE, [f"d.jsonl, line {at + 1}" for at in range(4)])
    with pytest.raises(DataError, match=r"^d\.jsonl, line 3: column 'text' is a mapping here, and a text or number in"):
        match(TEXT, rows, {})
    assert match(TEXT, rows.rename_column("text", "meta"), {})["text"] == "title"  # one that is not used


# many classes


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("label", [f"cat{index % 1300}" for index in range(3900)], True),  # more than MAX_CLASSES
        ("intent_label", [f"intent{index % 45}" for index in range(60)], True),  # more than half as many as rows
        ("label", [f"intent {index}" for index in range(60)], False),  # each another: ids, or texts
        (
            "label",
            ["a text of many words that was written twice"] * 2 + [f"{index} " * 9 for index in range(60)],
            False,
        ),
        ("target", [f"cat{index % 45}" for index in range(60)], False),  # it may be a text to write
    ],
)
def test_a_column_that_is_called_a_label_may_have_many_classes(name: str, labels: list[str], expected: bool) -> None:
    rows = rows_of(text=[f"a text of number {index}" for index in range(len(labels))], **{name: labels})
    assert KINDS["label"].recognised_named is not None
    assert KINDS["label"].recognised_named(rows, name) is expected
    # what the configuration names is taken as it is
    assert match(TEXT, rows, {"label": name})["label"] == name
    if expected and name == "label":
        assert match(TEXT, rows, {})["label"] == name


def test_a_column_of_too_many_names_is_named() -> None:
    """It is not said that there is none."""
    rows = rows_of(
        body=[f"a text of number {at}" for at in range(3900)], product=[f"cat{at % 1300}" for at in range(3900)]
    )
    with pytest.raises(
        DataError,
        match=r"column 'product' has 1,300 different values in 3,900 rows, .*data\.columns\.label=product says",
    ):
        match(TEXT, rows, {"text": "body"})


def test_the_index_of_pandas_plays_no_role() -> None:
    rows = rows_of(**{"Unnamed: 0": list(range(6)), "text": ["some words here"] * 6, "kind": [0, 1] * 3})
    assert match(TEXT, rows, {}) == {"text": "text", "label": "kind"}


def test_a_usual_name_with_other_values_is_not_denied() -> None:
    rows = rows_of(text=[f"a text of number {at}" for at in range(40)], score=[f"{at}%" for at in range(40)])
    with pytest.raises(DataError, match=r"column 'score' has values such as '0%', '1%', '2%', expected classes"):
        match(TEXT, rows, {})
