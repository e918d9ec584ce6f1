"""Label columns that hold more than one name a row, or nothing where something stands."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import ClassLabel, Dataset, List, Value

from hf_tl.config import DataConfig
from hf_tl.data.rows import encode_labels
from hf_tl.data.sources import FILE
from hf_tl.errors import DataError
from hf_tl.task import Targets
from hf_tl.tasks._classification import targets

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


def labelled(*labels: Any, feature: Any = None) -> Dataset:
    rows = Dataset.from_dict({"label": list(labels), FILE: [f"d.csv, line {at + 2}" for at in range(len(labels))]})
    return rows if feature is None else rows.cast_column("label", feature)


def learned(
    *train: Any, known: Targets | None = None, feature: Any = None, test: list[Any] | None = None, **options: Any
) -> tuple[Targets, dict[str, list[Any]], list[str]]:
    """(what is learned, the labels as encoded, notes) of a column of labels."""
    splits = {"train": labelled(*train, feature=feature)}
    if test is not None:
        splits["test"] = labelled(*test, feature=feature)
    notes: list[str] = []
    found = targets(splits, DataConfig(path="-", **options), known, notes)
    return found, {split: rows["label"][:] for split, rows in splits.items()}, notes


# several labels a row


@pytest.mark.parametrize("one", [1, 1.0])
def test_vectors_of_zeros_and_ones_are_kept(one: float) -> None:
    found, labels, notes = learned([one, 0, 0], [0, one, one], [0, 0, 0], [one, one, 0])
    assert found.labels == ("LABEL_0", "LABEL_1", "LABEL_2") and found.problem == MULTI
    assert labels["train"] == [[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0]]
    assert notes == [
        "The labels are vectors of 0 and 1: 3 labels, called LABEL_0 to LABEL_2; lists of names in their place name "
        "them."
    ]


def test_vectors_for_a_finished_model_are_in_the_order_of_its_labels() -> None:
    known = Targets(("a", "b", "c"), MULTI)
    assert learned([1, 0, 1], [0, 0, 1], known=known)[1]["train"] == [[1, 0, 1], [0, 0, 1]]


def test_lists_of_shares_are_refused() -> None:
    with pytest.raises(DataError, match=r"d\.csv, line 3: the labels are lists of numbers such as 0\.2"):
        learned([1.0, 0.0], [0.2, 0.8], [0.0, 1.0])


@pytest.mark.parametrize(
    "texts",
    [
        ["['a', 'b']", "['b']", "[]", "['a']"],
        ['["a", "b"]', '["b"]', "[]", '["a"]'],
        ["['a' 'b']", "['b']", "[]", "['a']"],  # NumPy's
        ["[a, b]", "[b]", "[]", "[a]"],
        ["a|b", "b", "", "a"],
        ["a; b", "b", "", "a"],
        ["a,b", "b", "", "a"],
        ["a b", "b", "", "a"],
    ],
)
def test_lists_written_as_text(texts: list[str]) -> None:
    found, labels, notes = learned(*texts)
    assert found.labels == ("a", "b") and found.problem == MULTI
    assert labels["train"] == [[1, 1], [0, 1], [0, 0], [1, 0]]
    assert notes[0].startswith("The labels are lists written as text (") and f"data.problem={SINGLE}" in notes[0]


def test_lists_of_numpy_with_apostrophes() -> None:
    assert learned("[\"it's\" 'b']", "['b']", '["it\'s"]')[0].labels == ("b", "it's")


def test_vectors_written_as_text() -> None:
    for texts in (
        ["[1, 0, 1]", "[0, 1, 1]"],
        ["[1 0 1]", "[0 1 1]"],
        ["1 0 1", "0 1 1"],
        ["1.0,0.0,1.0", "0.0,1.0,1.0"][:0],
    ):
        if texts:
            found, labels, _ = learned(*texts)
            assert found.labels == ("LABEL_0", "LABEL_1", "LABEL_2") and labels["train"] == [[1, 0, 1], [0, 1, 1]]


@pytest.mark.parametrize(
    "texts",
    [
        ["very good", "good", "bad", "very good", "good", "bad"],
        ["New York, NY", "Austin, TX"] * 2,
        ["golden retriever", "labrador retriever", "toy poodle"] * 2,
        ["red circle", "red square", "blue circle", "blue square"] * 2,
        ["a|x", "b|y"] * 2,  # no part recurs
        ["and/or", "or"] * 2,
        ["[draft]", "final"] * 2,
        [f"{digit} {mirror}{turn}" for digit in range(5) for mirror in ("", "mirrored ") for turn in ("up", "down")]
        * 2,
    ],
)
def test_names_with_separators_are_names(texts: list[str]) -> None:
    found, _, notes = learned(*texts)
    assert found.labels == tuple(sorted(set(texts), key=str.lower)) and found.problem == SINGLE and not notes


def test_how_lists_are_read_can_be_said() -> None:
    assert learned("a|b", "b", "a", "a|b", "b", "a", problem=SINGLE)[0].labels == ("a", "a|b", "b")
    assert learned("x,y", "x,z", "x", problem=MULTI)[0].labels == ("x", "y", "z")
    known = Targets(("a", "b"), MULTI)
    assert learned("b|a", "b", known=known)[1]["train"] == [[1, 1], [0, 1]]


def test_tags_that_recur_in_many_combinations() -> None:
    """Planet's: each row several words, never one alone."""
    texts = ["clear road", "clear water", "haze road water", "clear road water", "haze road", "haze water",
             "clear road water cars", "haze road water cars", "clear cars", "haze cars"]  # fmt: skip
    tags = ("cars", "clear", "haze", "road", "water")
    assert learned(*texts, problem=MULTI)[0].labels == tags
    assert learned(*[text.replace(" ", ",") for text in texts])[0].labels == tags


def test_a_missing_label_in_a_list_is_no_class() -> None:
    for gap in (None, "", " "):
        with pytest.raises(DataError, match=r"d\.csv, line 3: a label of the list is missing"):
            learned(["a"], ["b", gap], ["b"])
        found, labels, _ = learned(["a"], ["b", gap], ["b"], [], on_error="skip")
        assert found.labels == ("a", "b") and labels["train"] == [[1, 0], [0, 1], [0, 0]]
    negative = List(ClassLabel(names=["x", "y"]))
    with pytest.raises(DataError, match=r"line 3: a label of the list is missing"):
        learned([0], [1, -1], feature=negative)


# numbers


def test_numbers_with_gaps() -> None:
    with pytest.raises(
        DataError, match=r"d\.csv, line 4: the label is 'N/A' where the others are numbers; .*on_error=skip, or take it"
    ):
        learned("0.5", "1.5", "N/A", "2.5")
    found, labels, notes = learned("0.5", "1.5", "N/A", "2.5", on_error="skip")
    assert found.problem == REGRESSION and labels["train"] == [0.5, 1.5, 2.5]
    assert "1 labels such as 'N/A' among the numbers are taken as missing." in notes
    assert learned("0", "1", "null", "0", "1", on_error="skip")[0].labels == ("0", "1")
    kept = learned("0", "1", "N/A", "0", "1", "N/A", problem=SINGLE)[0]
    assert kept.labels == ("0", "1", "N/A")
    assert learned("01", "02", "NA", "01", "02", "NA")[0].labels == ("01", "02", "NA")  # codes
    assert learned("yes", "no", "NA", "yes", "no", "NA")[0].labels == ("NA", "no", "yes")


def test_whole_numbers_are_said_to_be_classes() -> None:
    scores = [0, 10, 50, 90, 100] * 4
    said = "The labels are 5 different whole numbers from 0 to 100, taken as classes; data.problem=regression learns"
    assert learned(*scores)[2][0].startswith(said)
    assert not learned(0, 1, 2, 0, 1, 2)[2]
    assert learned(1, 2, 3, 1, 2, 3)[2] and not learned(1, 2, 1, 2, problem=SINGLE)[2]
    assert "data.problem=single_label_classification takes each number as a class" in learned(0.5, 1.5)[2][0]


def test_minus_one_is_no_label() -> None:
    """GLUE's test splits, and a few rows of SNLI."""
    found, labels, notes = learned(0, 1, 0, 1, test=[-1, -1])
    assert (
        found.labels == ("0", "1") and "test" not in labels and "The test split has no labels and is not used." in notes
    )
    rare = [0, 1, 2] * 40 + [-1]
    with pytest.raises(DataError, match=r"line 122: the label is -1, which stands for no label in GLUE and SNLI"):
        learned(*rare)
    assert learned(*rare, on_error="skip")[0].labels == ("0", "1", "2")
    assert learned(*rare, problem=SINGLE, min_per_class=1)[0].labels == ("-1", "0", "1", "2")
    found, _, notes = learned(-1, 0, 1, -1, 0, 1)  # as many as of others: sentiment
    assert found.labels == ("-1", "0", "1") and notes[0].startswith("The label -1 is taken as a class of its own")
    assert learned(-1, 1, -1, 1)[0].labels == ("-1", "1")
    scores, labels, _ = learned(0.5, 2.5, 1.5, test=[-1.0, -1.0])
    assert scores.problem == REGRESSION and "test" not in labels  # STS-B


# names


def test_a_class_that_may_be_none_is_said() -> None:
    found, _, notes = learned("pos", "neg", "nan", "pos", "neg", "nan")
    assert found.labels == ("nan", "neg", "pos")
    assert notes == ["'nan' is taken as a class; remove such rows if it stands for a missing label."]
    assert not learned("pos", "none", "pos", "none")[2]  # usual among relations


@pytest.mark.parametrize(
    "other",
    ["cafe\u0301", "caf\u00e9\u200b", "\ufeffcaf\u00e9", "\u200ecaf\u00e9", "caf\u00e9\u200d"],
)
def test_labels_that_look_the_same_are_one(other: str) -> None:
    splits = {"train": labelled("caf\u00e9", "bar", other, "bar")}
    notes: list[str] = []
    labels = encode_labels(splits, "label", DataConfig(path="-"), None, notes)
    assert labels == ("bar", "caf\u00e9") and splits["train"]["label"][:] == [1, 0, 1, 0]
    assert notes == ["Labels 'caf\u00e9' are written in several ways that look the same; each is one class."]
    test = {"test": labelled(other)}
    assert encode_labels(test, "label", DataConfig(path="-"), ("cafe\u0301", "bar"), []) == ("cafe\u0301", "bar")
    assert test["test"]["label"][:] == [0]  # a model's names stay as they are


def test_signs_that_mean_something_stay() -> None:
    family = "\U0001f468\u200d\U0001f469"  # joined by a sign of its own
    splits = {"train": labelled(family, "a  b", family, "a  b")}
    assert set(encode_labels(splits, "label", DataConfig(path="-"), None, [])) == {family, "a  b"}
    assert splits["train"].features["label"] == Value("int64")
