"""Rows checked and labels encoded: which names, in which order, and what is said of rows that will not do."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Image, List, Value
from PIL import Image as Pillow

from hf_tl.config import DataConfig
from hf_tl.data.rows import (
    check_inputs,
    decoded,
    encode_label_sets,
    encode_labels,
    encode_numbers,
    encode_rows,
    label_name,
    named_labels,
    problem_of,
    replace_column,
    skip_rows,
    sort_key,
    to_roles,
)
from hf_tl.data.sources import FILE
from hf_tl.errors import DataError
from hf_tl.task import get_task

TEXT, IMAGE = get_task("text-classification"), get_task("image-classification")


def rows_of(**columns: list[Any]) -> Dataset:
    count = len(next(iter(columns.values())))
    return Dataset.from_dict({**columns, FILE: [f"d.csv, line {index + 2}" for index in range(count)]})


def config(**options: Any) -> DataConfig:
    return DataConfig(path="-", **options)


def labelled(*labels: Any, feature: Any = None) -> Dataset:
    rows = rows_of(label=list(labels))
    return rows if feature is None else rows.cast_column("label", feature)


def encoded(splits: dict[str, Dataset], known: Any = None, **options: Any) -> tuple[tuple[str, ...], list[str]]:
    notes: list[str] = []
    return encode_labels(splits, "label", config(**options), known, notes), notes


# roles


def test_columns_take_the_names_of_their_roles() -> None:
    rows = rows_of(label=["first", "second"], text=[1, 0], other=["x", "y"])
    found = to_roles(rows, {"text": "label", "label": "text"})  # they change places
    assert sorted(found.column_names) == [FILE, "label", "text"]
    assert found["text"][:] == ["first", "second"] and found["label"][:] == [1, 0]
    assert found[FILE][:] == ["d.csv, line 2", "d.csv, line 3"]


def test_columns_of_zeros_and_ones_become_lists_of_their_names() -> None:
    rows = rows_of(text=["a", "b", "c"], red=[1, 0, 1], blue=[0, 0, 1])
    found = to_roles(rows, {"text": "text", "label": ["red", "blue"]})
    assert found.features["label"].feature.names == ["red", "blue"]
    assert found["label"][:] == [[0], [], [0, 1]]
    assert to_roles(rows, {"label": ["blue", "red"]})["label"][:] == [[1], [], [0, 1]]
    with pytest.raises(DataError, match=r"d\.csv, line 4: column 'blue' has 2, expected 0 or 1"):
        to_roles(rows_of(red=[1, 0, 1], blue=[0, 0, 2]), {"label": ["red", "blue"]})
    with pytest.raises(DataError, match=r"d\.csv, line 3: column 'red' has nan, .* data\.columns\.label"):
        to_roles(rows_of(red=[1, None, 1], blue=[0, 0, 2]), {"label": ["red", "blue"]})


# inputs


def test_texts_that_are_missing_or_empty() -> None:
    rows = rows_of(text=["a", None, "  \n", "b"], label=[0, 1, 0, None])
    with pytest.raises(DataError, match=r"^d\.csv, line 3: the text is missing; .*data\.on_error=skip"):
        check_inputs(rows, TEXT, config(), [])
    with pytest.raises(DataError, match=r"^d\.csv, line 2: the text is empty; "):
        check_inputs(rows.select([2]).remove_columns(FILE).add_column(FILE, ["d.csv, line 2"]), TEXT, config(), [])
    notes: list[str] = []
    found = check_inputs(rows, TEXT, config(on_error="skip"), notes)
    assert found["text"][:] == ["a", "b"]  # a missing label is no missing input
    assert notes == ["2 rows are skipped (the text is missing): 'd.csv, line 3', 'd.csv, line 4'."]
    good = rows.select([0, 3])
    notes.clear()
    assert check_inputs(good, TEXT, config(), notes) is good and not notes


def test_every_text_is_checked() -> None:
    rows = rows_of(text=["a", "b"], text_pair=["c", " "])
    with pytest.raises(DataError, match=r"line 3: the text_pair is empty"):
        check_inputs(rows, TEXT, config(), [])
    many = rows_of(text=[""] * 7 + ["a"])
    notes: list[str] = []
    assert len(check_inputs(many, TEXT, config(on_error="skip"), notes)) == 1
    assert notes[0].startswith("7 rows are skipped") and notes[0].endswith("'d.csv, line 6' and 2 more.")


def png(mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Pillow.new(mode, (4, 3)).save(stream, "PNG")
    return stream.getvalue()


def test_images_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(png())
    values = [
        {"bytes": png(), "path": None},
        {"bytes": None, "path": str(tmp_path / "good.png")},
        {"bytes": b"nonsense", "path": None},
        {"bytes": png()[:40], "path": None},
        {"bytes": None, "path": str(tmp_path / "none.png")},
        None,
        {"bytes": None, "path": None},
    ]
    rows = rows_of(image=values).cast_column("image", Image(decode=False))
    notes: list[str] = []
    found = check_inputs(rows, IMAGE, config(on_error="skip"), notes)
    assert found[FILE][:] == ["d.csv, line 2", "d.csv, line 3"]
    assert notes[0].startswith("5 rows are skipped (the image cannot be read (it is not an image of a known format)")
    for index, words in (
        (2, "not an image of a known format"),
        (4, "cannot be read"),
        (5, "is missing"),
        (6, "is missing"),
    ):
        with pytest.raises(DataError, match=rf"line {index + 2}: .*{words}"):
            check_inputs(rows.select([index]), IMAGE, config(), [])


# names and order of labels


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, None), (float("nan"), None), ("", None), ("  ", None), (" a b ", "a b"), (3, "3"), (3.0, "3"), (2.5, "2.5"),
     (np.float32(4), "4"), (True, "True"), ("3.0", "3.0"), (0, "0")],
)  # fmt: skip
def test_a_label_as_people_write_it(value: Any, name: str | None) -> None:
    assert label_name(value) == name


def test_numbers_are_ordered_by_value_and_words_by_letters() -> None:
    names = ["b", "a10", "10", "a2", "-3", "2", "B", "Zoo", "1.5", "a"]
    assert sorted(names, key=sort_key) == ["-3", "2", "10", "1.5", "a", "a2", "a10", "B", "b", "Zoo"]
    assert sorted(["x 10 y", "x 9 y"], key=sort_key) == ["x 9 y", "x 10 y"]


def test_named_labels() -> None:
    rows = labelled(1, -1, None, 0, feature=ClassLabel(names=["no", "yes"]))
    assert named_labels(rows, "label") == ["yes", None, None, "no"]
    assert named_labels(labelled(" a", None, ""), "label") == ["a", None, None]


@pytest.mark.parametrize("wrong", [2, 3])
def test_a_number_of_no_class(wrong: int) -> None:
    rows = labelled(1, wrong, feature=ClassLabel(num_classes=4)).cast_column("label", Value("int64"))
    rows.info.features["label"] = ClassLabel(names=["no", "yes"])  # as a file may say
    with pytest.raises(DataError, match=rf"d\.csv, line 3: the label is class {wrong}, and there are 2 classes"):
        named_labels(rows, "label")


def test_labels_are_encoded_in_order() -> None:
    splits = {"train": labelled("b", "a", "b", "a"), "test": labelled("a", "b")}
    labels, notes = encoded(splits)
    assert labels == ("a", "b") and not notes
    assert splits["train"]["label"][:] == [1, 0, 1, 0] and splits["test"]["label"][:] == [0, 1]
    assert splits["train"].features["label"] == Value("int64")
    numbers = {"train": labelled(*[10, 9, 2] * 2)}
    assert encoded(numbers)[0] == ("2", "9", "10") and numbers["train"]["label"][:3] == [2, 1, 0]


def test_a_class_label_keeps_the_datas_own_order_and_its_classes_without_examples() -> None:
    feature = ClassLabel(names=["z", "never", "a"])
    splits = {"train": labelled(0, 2, 0, 2, feature=feature), "test": labelled(1, feature=feature)}
    labels, notes = encoded(splits)
    assert labels == ("z", "never", "a") and splits["train"]["label"][:] == [0, 2, 0, 2]
    assert splits["test"]["label"][:] == [1] and notes == ["'never' have no example in train."]


def test_the_order_of_known_labels_is_the_models() -> None:
    """Rows to be measured: their own order or number of classes says nothing."""
    splits = {"test": labelled("a", "b", "b", feature=ClassLabel(names=["a", "b"]))}
    labels, notes = encoded(splits, known=("b", "c", "a"))
    assert labels == ("b", "c", "a") and splits["test"]["label"][:] == [2, 0, 0] and not notes
    one = {"test": labelled("c", "c")}
    assert encoded(one, known=("b", "c", "a"))[0] == ("b", "c", "a") and one["test"]["label"][:] == [1, 1]
    with pytest.raises(DataError, match=r"line 3: label 'pos' is not one of the model's; its labels are 'b', 'c'"):
        encoded({"test": labelled("b", "pos")}, known=("b", "c"))
    with pytest.raises(DataError, match=r"label 'positiv' is not one of the model's; did you mean 'positive'"):
        encoded({"test": labelled("positiv")}, known=("positive", "negative"))


def test_a_label_that_train_lacks_is_named_with_its_row() -> None:
    splits = {"train": labelled(*["cat", "dog"] * 2), "validation": labelled("cat", "dgo")}
    with pytest.raises(
        DataError, match=r"d\.csv, line 3: label 'dgo' is in the validation split but not in train; did"
    ):
        encoded(splits)


def test_missing_labels() -> None:
    train = labelled("a", None, "b", "a", "b", " ")
    with pytest.raises(DataError, match=r"d\.csv, line 3: the label is missing; .*data\.on_error=skip"):
        encoded({"train": train})
    splits = {"train": train}
    labels, notes = encoded(splits, on_error="skip")
    assert labels == ("a", "b") and splits["train"]["label"][:] == [0, 1, 0, 1]
    assert splits["train"][FILE][:] == [f"d.csv, line {line}" for line in (2, 4, 5, 6)]
    assert notes == ["2 rows of train are skipped (the label is missing): 'd.csv, line 3', 'd.csv, line 7'."]


def test_a_split_without_labels_is_set_aside() -> None:
    splits = {"train": labelled(*["a", "b"] * 2), "test": labelled("", None)}
    assert encoded(splits)[1] == ["The test split has no labels and is not used."] and list(splits) == ["train"]
    with pytest.raises(DataError, match="line 2: the label is missing"):
        encoded({"train": labelled(None, None), "test": labelled("a", "b")})  # train is none to set aside
    with pytest.raises(DataError, match="line 2: the label is missing"):
        encoded({"test": labelled(None, None)}, known=("a", "b"))  # nor the only one
    with pytest.raises(DataError, match=r"no row of the train split is left \(the label is missing\)"):
        encoded({"train": labelled(None, None)}, on_error="skip")
    partly = {"train": labelled(*["a", "b"] * 2), "test": labelled("a", None)}
    with pytest.raises(DataError, match="line 3: the label is missing"):
        encoded(partly)


def test_what_no_classifier_can_learn() -> None:
    with pytest.raises(DataError, match=r"train has one class only \('a'\)"):
        encoded({"train": labelled("a", "a", "a")})
    with pytest.raises(DataError, match=r"'b': fewer than 2 examples in train"):
        encoded({"train": labelled("a", "a", "b")})
    assert encoded({"train": labelled("a", "a", "b")}, min_per_class=1)[0] == ("a", "b")
    with pytest.raises(DataError, match=r"'b': fewer than 3 examples"):
        encoded({"train": labelled("a", "a", "a", "b", "b")}, min_per_class=3)
    assert encoded({"train": labelled("a", "a", "b", "b")})[0] == ("a", "b")
    assert encoded({"test": labelled("a")}, known=("a", "b"))[0] == ("a", "b")  # one row to be measured is no fault


def test_labels_that_differ_in_writing_only_are_said() -> None:
    _, notes = encoded({"train": labelled(*["Not spam", "not_spam", "spam", "not-spam"] * 2)})
    assert len(notes) == 1 and "'Not spam'" in notes[0] and "'not_spam'" in notes[0] and "'spam'" not in notes[0]
    assert "differ only in case or punctuation" in notes[0]


# rows left out


def test_rows_are_skipped_or_stop() -> None:
    splits = {"train": rows_of(text=["a", "b", "c"])}
    notes: list[str] = []
    skip_rows(splits, "train", {}, config(), notes)
    assert len(splits["train"]) == 3 and not notes
    with pytest.raises(DataError, match=r"^d\.csv, line 3: it is blue; fix or remove it, or .*data\.on_error=skip"):
        skip_rows(splits, "train", {2: "it is red", 1: "it is blue"}, config(), notes)
    skip_rows(splits, "train", {2: "it is red", 1: "it is blue"}, config(on_error="skip"), notes)
    assert splits["train"]["text"][:] == ["a"]
    assert notes == ["2 rows of train are skipped (it is blue): 'd.csv, line 3', 'd.csv, line 4'."]
    with pytest.raises(DataError, match="no row of the train split is left"):
        skip_rows(splits, "train", {0: "it is red"}, config(on_error="skip"), notes)


def test_rows_are_encoded_and_what_cannot_be_is_skipped_or_stops() -> None:
    def longer(text: str, more: str) -> str:
        if text == "b":
            raise ValueError("it is blue")
        return text + more

    def splits() -> Any:
        return {"train": rows_of(text=["a", "b", "c"], more=["x", "y", "z"])}

    with pytest.raises(DataError, match=r"^d\.csv, line 3: it is blue; fix or remove it"):
        encode_rows(splits(), "train", ("text", "more"), longer, config(), [])
    given, notes = splits(), list[str]()
    skipping = config(on_error="skip")
    assert encode_rows(given, "train", ("text", "more"), longer, skipping, notes) == ["ax", "cz"]
    assert given["train"]["more"][:] == ["x", "z"] and "1 rows of train are skipped (it is blue)" in notes[0]
    given = splits()
    encode_rows(given, "train", ("text", "more"), longer, skipping, notes, feature=Value("string"))
    assert given["train"]["more"][:] == ["ax", "cz"] and given["train"]["text"][:] == ["a", "c"]


def test_a_column_is_replaced() -> None:
    splits = {"train": rows_of(label=["a", "b"], text=["x", "y"])}
    replace_column(splits, "train", "label", [5, 6], Value("int32"))
    assert splits["train"]["label"][:] == [5, 6] and splits["train"].features["label"] == Value("int32")
    assert splits["train"]["text"][:] == ["x", "y"]


# which problem


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([0, 1, 2] * 10, "single_label_classification"),
        ([1.0, 2.0, 5.0] * 10, "single_label_classification"),  # whole, as pandas has a column with a gap
        ([1.0, None, 5.0] * 10, "single_label_classification"),
        ([1.5, 2.0, 5.0] * 10, "regression"),
        (list(range(20)), "single_label_classification"),  # at most 20 different ones
        (list(range(21)), "regression"),
        (list(range(30)) * 2, "single_label_classification"),  # or at most half as many as rows
        ([*range(31), *range(29)], "regression"),
        ([float("nan"), *map(float, range(20))], "single_label_classification"),
        (["a", "b"], "single_label_classification"),
        ([True, False], "single_label_classification"),
        ([["a"], ["a", "b"]], "multi_label_classification"),
        ([[1], [0, 2]], "multi_label_classification"),
    ],
)
def test_the_problem_of_labels(values: list[Any], problem: str) -> None:
    assert problem_of({"train": labelled(*values)}, "label", config()) == problem


def test_the_problem_as_configured_or_of_a_finished_model() -> None:
    many = {"train": labelled(*range(100))}
    assert problem_of(many, "label", config(problem="single_label_classification")) == "single_label_classification"
    assert problem_of(many, "label", config(), "multi_label_classification") == "multi_label_classification"
    both = problem_of(many, "label", config(problem="regression"), "multi_label_classification")
    assert both == "regression"
    classes = labelled(*range(100), feature=ClassLabel(num_classes=100))
    assert problem_of({"train": classes}, "label", config()) == "single_label_classification"


# numbers


def test_numbers_are_read() -> None:
    splits = {"train": labelled("1.5", "2", " 3e2 "), "test": labelled(4, 5, 6)}
    encode_numbers(splits, "label", config(), [])
    assert splits["train"]["label"][:] == [1.5, 2.0, 300.0] and splits["test"]["label"][:] == [4.0, 5.0, 6.0]
    assert splits["train"].features["label"] == Value("float32")


def test_what_is_no_number() -> None:
    for bad in ("x", None, "inf", "nan"):
        with pytest.raises(DataError, match=r"d\.csv, line 3: the label is not a number"):
            encode_numbers({"train": labelled("1", bad, "2")}, "label", config(), [])
    splits, notes = {"train": labelled("1", "x", "2")}, list[str]()
    encode_numbers(splits, "label", config(on_error="skip"), notes)
    assert splits["train"]["label"][:] == [1.0, 2.0] and notes[0].startswith("1 rows of train are skipped")
    with pytest.raises(DataError, match="every label of train is the same number"):
        encode_numbers({"train": labelled(3, 3, 3)}, "label", config(), [])
    encode_numbers({"test": labelled(3, 3, 3)}, "label", config(), [])  # to measure on, it will do
    splits, notes = {"train": labelled(1, 2), "test": labelled(None, None)}, []
    encode_numbers(splits, "label", config(), notes)
    assert list(splits) == ["train"] and notes == ["The test split has no labels and is not used."]
    for alone in ("train", "test"):
        with pytest.raises(DataError, match="line 2: the label is not a number"):
            encode_numbers({alone: labelled(None, None)}, "label", config(), [])
    with pytest.raises(DataError, match="line 3: the label is not a number"):  # one that lacks some is not set aside
        encode_numbers({"train": labelled(1, 2), "test": labelled(3, None)}, "label", config(), [])


# sets of labels


def sets(splits: dict[str, Dataset], known: Any = None, **options: Any) -> tuple[tuple[str, ...], list[str]]:
    notes: list[str] = []
    return encode_label_sets(splits, "label", config(**options), known, notes), notes


def test_sets_of_labels_become_vectors() -> None:
    splits = {"train": labelled(["b", "a"], [], ["b"]), "test": labelled(["a"])}
    labels, notes = sets(splits)
    assert labels == ("a", "b") and not notes
    assert splits["train"]["label"][:] == [[1, 1], [0, 0], [0, 1]] and splits["test"]["label"][:] == [[1, 0]]
    assert splits["train"].features["label"] == List(Value("float32"), length=2)
    numbers = {"train": labelled([10], [9, 2])}
    assert sets(numbers)[0] == ("2", "9", "10") and numbers["train"]["label"][0] == [0, 0, 1]
    single = {"train": labelled("x", "y")}  # one label a row, asked for as several
    assert sets(single)[0] == ("x", "y") and single["train"]["label"][:] == [[1, 0], [0, 1]]


def test_sets_of_class_labels_and_of_known_ones() -> None:
    feature = List(ClassLabel(names=["z", "y", "x"]))
    splits = {"train": labelled([0, 2], [2], feature=feature)}
    assert sets(splits) == (("z", "y", "x"), ["'y' have no example in train."])
    assert splits["train"]["label"][:] == [[1, 0, 1], [0, 0, 1]]
    test = {"test": labelled(["a"], ["b", "c"])}
    assert sets(test, known=("c", "a", "b")) == (("c", "a", "b"), [])
    assert test["test"]["label"][:] == [[0, 1, 0], [1, 0, 1]]


def test_sets_of_labels_that_will_not_do() -> None:
    with pytest.raises(DataError, match=r"line 3: label 'c' is in the test split but not in train"):
        sets({"train": labelled(["a"], ["b"]), "test": labelled(["a"], ["b", "c"])})
    with pytest.raises(DataError, match=r"line 2: label 'alpah' is not one of the model's; did you mean 'alpha'"):
        sets({"test": labelled(["alpah"])}, known=("alpha", "beta"))
    with pytest.raises(DataError, match="train has 1 label only"):
        sets({"train": labelled(["a"], ["a"], [])})
    with pytest.raises(DataError, match=r"line 3: the labels are missing"):
        sets({"train": labelled(["a", "b"], None)})
    splits = {"train": labelled(["a", "b"], None)}
    assert sets(splits, on_error="skip")[1] == [
        "1 rows of train are skipped (the labels are missing, where [] says that there are none): 'd.csv, line 3'."
    ]
    splits = {"train": labelled(["a", "b"]), "test": labelled(None, None)}
    assert sets(splits)[1] == ["The test split has no labels and is not used."] and list(splits) == ["train"]
    with pytest.raises(DataError, match="the labels are missing"):
        sets({"test": labelled(None, None)}, known=("a", "b"))
    with pytest.raises(DataError, match="the labels are missing"):
        sets({"train": labelled(None, None), "test": labelled(["a", "b"])})


def test_images_are_decoded_when_read() -> None:
    rows = rows_of(image=[{"bytes": png("L"), "path": None}], text=["a"]).cast_column("image", Image(decode=False))
    found = decoded(rows, IMAGE)
    assert found[0]["image"].size == (4, 3) and found[0]["file"] == "d.csv, line 2" and FILE not in found.column_names
