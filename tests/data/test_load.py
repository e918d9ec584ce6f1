"""From a configuration to splits: what is cut, capped, counted and said."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hf_tl.config import DataConfig
from hf_tl.data import load_data, load_rows
from hf_tl.errors import ConfigError, DataError
from hf_tl.task import Targets, get_task


def csv(folder: Path, name: str, rows: list[tuple[Any, ...]], header: str = "text,label") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(header + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))


def rows(count: int, word: str = "row", usual: int = 4) -> list[tuple[str, str]]:
    """Of five rows one is rare."""
    return [(f"{word} number {index}", "rare" if index % (usual + 1) == 0 else "usual") for index in range(count)]


def load(folder: Path, task: str | None = None, seed: int = 42, **options: Any) -> Any:
    return load_data(DataConfig(path=str(folder), **options), task, seed=seed)


def classes(data: Any, split: str) -> dict[str, int]:
    return dict(Counter(data.labels[label] for label in data.splits[split]["label"]))


def test_validation_is_cut_from_train_by_class(tmp_path: Path) -> None:
    csv(tmp_path, "train.csv", rows(100))
    csv(tmp_path, "test.csv", rows(10, "other"))
    data = load(tmp_path, validation=0.2)
    assert list(data.splits) == ["train", "validation", "test"]
    assert classes(data, "train") == {"rare": 16, "usual": 64} and classes(data, "validation") == {
        "rare": 4,
        "usual": 16,
    }
    assert data.held_out == "test" and data.labels == ("rare", "usual")
    assert (
        "There is no validation split: 20 of the 100 training rows (20%, each class in proportion) are held out as one."
        in data.notes
    )
    assert not any("no test split" in note for note in data.notes)
    assert data.source["rows"] == {"train": 80, "validation": 20, "test": 10}
    assert data.source["class_counts"]["test"] == {"rare": 2, "usual": 8}
    assert not set(data.splits["train"]["text"]) & set(data.splits["validation"]["text"])
    assert (
        load(tmp_path, validation=0.2, seed=1).splits["validation"]["text"][:] != data.splits["validation"]["text"][:]
    )
    assert data.splits["train"].column_names == ["label", "text", "file"] or set(data.splits["train"].column_names) == {
        "text", "label", "file",
    }  # fmt: skip


def test_splits_that_are_there_are_left_alone(tmp_path: Path) -> None:
    csv(tmp_path, "validation.csv", rows(10, "other"))
    csv(tmp_path, "train.csv", rows(30))
    data = load(tmp_path)
    assert list(data.splits) == ["train", "validation"] and data.splits.num_rows == {"train": 30, "validation": 10}
    assert data.held_out == "validation"
    assert any(
        note.startswith("There is no test split: the final metrics are measured on the validation split")
        for note in data.notes
    )
    assert not any("no validation split" in note for note in data.notes)


def test_the_cap_is_of_each_split_and_keeps_its_classes(tmp_path: Path) -> None:
    csv(tmp_path, "train.csv", rows(200, usual=9))
    csv(tmp_path, "test.csv", rows(100, "other", usual=9))
    data = load(tmp_path, max_samples=20)
    assert data.splits.num_rows == {"train": 20, "validation": 20, "test": 20}
    for split in data.splits:
        assert classes(data, split) == {"rare": 2, "usual": 18}, split
    assert "At most 20 rows of each split are used (data.max_samples)." in data.notes
    assert not any("At most" in note for note in load(tmp_path).notes)
    other = load(tmp_path, max_samples=20, seed=7)
    assert other.splits["test"]["text"][:] != data.splits["test"]["text"][:]


def test_rows_that_stand_in_train_too_are_counted(tmp_path: Path) -> None:
    csv(tmp_path, "train.csv", rows(20))
    csv(tmp_path, "validation.csv", [*rows(3, "new"), ("ROW  number 3", "rare")])
    csv(tmp_path, "test.csv", [*rows(5), *rows(2, "newer")])
    notes = load(tmp_path).notes
    assert [note for note in notes if "also occur in train" in note] == [
        "1 of 4 validation rows also occur in train, so the scores are optimistic.",
        "5 of 7 test rows also occur in train, so the scores are optimistic.",
    ]
    csv(tmp_path, "validation.csv", rows(3, "new"))
    csv(tmp_path, "test.csv", rows(5, "newer"))
    assert not any("also occur in train" in note for note in load(tmp_path).notes)


def test_the_label_is_no_part_of_what_makes_rows_the_same(tmp_path: Path) -> None:
    csv(tmp_path, "train.csv", [("a b c", "x"), ("d e f", "y")] * 5)
    csv(tmp_path, "test.csv", [("a b c", "y"), ("g h i", "x")])
    assert any(note.startswith("1 of 2 test rows also occur in train") for note in load(tmp_path).notes)


def test_rows_are_the_same_when_all_their_inputs_are(tmp_path: Path) -> None:
    header = "sentence1,sentence2,score"
    csv(tmp_path, "train.csv", [("a b", "c d", 1.5), ("a b", "e f", 2.5)] * 5, header)
    csv(tmp_path, "test.csv", [("a b", "g h", 1.5), ("i j", "c d", 2.5), ("a b", "e f", 0.5)], header)
    notes = load(tmp_path, "sentence-similarity").notes
    assert any(note.startswith("1 of 3 test rows also occur in train") for note in notes)


def test_without_a_test_split_leaks_are_said_once(tmp_path: Path) -> None:
    csv(tmp_path, "train.csv", [("a b c", "x"), ("d e f", "y")] * 20)
    notes = load(tmp_path).notes
    assert sum("validation rows also occur in train" in note for note in notes) == 1


def test_the_train_split_is_needed(tmp_path: Path) -> None:
    csv(tmp_path, "test.csv", rows(10))
    csv(tmp_path, "dev.csv", rows(10))
    with pytest.raises(
        DataError, match=r"there is no train split, only '(test', 'validation|validation', 'test)'; data\.splits\.train"
    ):
        load(tmp_path)


def test_a_column_that_another_split_lacks(tmp_path: Path) -> None:
    csv(tmp_path, "train.csv", rows(20))
    csv(tmp_path, "test.csv", [("one two",), ("three four",)], "text")
    data = load(tmp_path)
    assert list(data.splits) == ["train", "validation"]  # a split without labels measures nothing
    csv(tmp_path, "test.csv", [("x",), ("y",)], "label")
    with pytest.raises(DataError, match=r"the test split has no column 'text', which train has"):
        load(tmp_path)


def test_the_task_as_given_or_inferred(tmp_path: Path) -> None:
    csv(tmp_path, "train.csv", rows(20))
    assert any(note.startswith("Task text-classification: text from column 'text'") for note in load(tmp_path).notes)
    asked = load(tmp_path, "fill-mask")
    assert asked.task.name == "fill-mask" and asked.columns == {"text": "text"}
    assert "Task fill-mask, as given: text from column 'text'." in asked.notes
    assert len(asked.splits["validation"]) == 2
    assert "There is no validation split: 2 of the 20 training rows (10%) are held out as one." in asked.notes
    with pytest.raises(ConfigError, match="is not a task"):
        load(tmp_path, "fill-mark")


def test_the_metrics_are_those_of_the_problem(tmp_path: Path) -> None:
    csv(tmp_path, "train.csv", [(f"row {index}", index / 7) for index in range(40)])
    data = load(tmp_path)
    assert data.targets.problem == "regression" and data.task.best_metric == "r2"
    assert data.source["rows"] == {"train": 36, "validation": 4} and "class_counts" not in data.source


# rows for a finished model


KNOWN = Targets(("usual", "rare"), "single_label_classification", class_column="label")


def measured(folder: Path, need_labels: bool = True, known: Targets = KNOWN, **options: Any) -> Any:
    split = options.pop("split", None)
    seed = options.pop("seed", 42)
    config = DataConfig(path=str(folder), **options)
    return load_rows(config, get_task("text-classification"), known, split=split, need_labels=need_labels, seed=seed)


def test_which_split_is_measured(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        csv(tmp_path, f"{name}.csv", rows(10, name))
    assert measured(tmp_path).held_out == "test" and list(measured(tmp_path).splits) == ["test"]
    assert measured(tmp_path, split="train").splits["train"]["text"][0] == "train number 0"
    (tmp_path / "test.csv").unlink()
    assert measured(tmp_path).held_out == "validation"
    with pytest.raises(
        DataError, match=r"split: the data have no 'test' split; they have '(train', 'validation|validation', 'train)'"
    ):
        measured(tmp_path, split="test")
    (tmp_path / "validation.csv").unlink()
    assert measured(tmp_path).held_out == "train"


def test_labels_are_the_models(tmp_path: Path) -> None:
    csv(tmp_path, "test.csv", rows(10))
    data = measured(tmp_path)
    assert list(data.splits["test"]["label"]) == [1, 0, 0, 0, 0] * 2 and data.targets is KNOWN
    assert data.source["class_counts"] == {"test": {"usual": 8, "rare": 2}}
    assert data.splits["test"][0]["file"].endswith("test.csv, line 2")


def test_labels_are_not_asked_for_where_none_are_needed(tmp_path: Path) -> None:
    csv(tmp_path, "test.csv", [("one", "no class of the model"), ("two", "")])
    data = measured(tmp_path, need_labels=False)
    assert data.columns == {"text": "text"} and set(data.splits["test"].column_names) == {"text", "file"}
    assert "class_counts" not in data.source
    with pytest.raises(DataError, match="is not one of the model's"):
        measured(tmp_path, on_error="skip")


def test_the_cap_of_rows_to_measure(tmp_path: Path) -> None:
    csv(tmp_path, "test.csv", rows(100, usual=9))
    data = measured(tmp_path, max_samples=20)
    assert dict(Counter(data.splits["test"]["label"])) == {0: 18, 1: 2}
    few = measured(tmp_path, need_labels=False, max_samples=20)
    assert len(few.splits["test"]) == 20
    assert measured(tmp_path, max_samples=20, seed=3).splits["test"]["text"][:] != data.splits["test"]["text"][:]
    csv(tmp_path, "test.csv", [("one", "usual"), ("", "usual")])
    with pytest.raises(DataError, match="line 3: the text is missing"):
        measured(tmp_path)


def test_the_share_that_is_held_out_is_said_as_it_came_to(tmp_path: Path) -> None:
    file = tmp_path / "few.csv"
    file.write_text("text,label\n" + "".join(f"text {index},{'abcd'[index % 4]}\n" for index in range(12)))
    said = next(note for note in load_data(DataConfig(path=str(file))).notes if "no validation split" in note)
    assert said == (
        "There is no validation split: 4 of the 12 training rows (33%, each class in proportion) are held out as one: "
        "10% of so few is not whole rows of every class."
    )


def test_the_hash_of_the_content_is_that_of_inputs_targets_and_splits(tmp_path: Path) -> None:
    def content(name: str, rows: list[str]) -> str:
        (tmp_path / name).write_text("text,label,id\n" + "\n".join(rows) + "\n")
        found: str = load_data(DataConfig(path=str(tmp_path / name))).source["content_sha256"]
        return found

    rows = [f"text {index},{'ab'[index % 2]},{index}" for index in range(20)]
    first = content("a.csv", rows)
    assert content("b.csv", rows) == first
    assert content("c.csv", [f"{row}0" for row in rows]) == first  # a column that nobody reads
    assert content("d.csv", [rows[0].replace("text 0", "text nought"), *rows[1:]]) != first
    swapped = [rows[0].replace(",a,", ",b,"), rows[1].replace(",b,", ",a,"), *rows[2:]]
    assert content("e.csv", swapped) != first
    assert content("f.csv", rows[:-2]) != first


def test_a_column_that_says_the_split_is_used_for_training_alone(tmp_path: Path) -> None:
    splits = ["train", "train", "train", "val", "test"]
    table = [(f"row number {at}", "xy"[at % 2], splits[at % 5]) for at in range(50)]
    csv(tmp_path, "all.csv", table, "text,label,split")
    data = load(tmp_path)
    assert data.splits.num_rows == {"train": 30, "validation": 10, "test": 10} and data.held_out == "test"
    config = DataConfig(path=str(tmp_path / "all.csv"))
    task, known = get_task("text-classification"), Targets(("x", "y"), "single_label_classification", "label")
    # a prediction is for every row of a table; what is measured is what was kept for it
    assert len(load_rows(config, task, known, need_labels=False).splits["all"]) == 50
    assert load_rows(config, task, known, need_labels=True).splits.num_rows == {"test": 10}


def test_a_summary_is_shorter_than_its_document(tmp_path: Path) -> None:
    long = "a film of many words that goes on and on about a family by the sea"
    table = [(f"{long} {at}", f"film {at}") for at in range(20)]
    csv(tmp_path / "a", "train.csv", table, "ctext,text")  # the usual name is that of the summary
    data = load(tmp_path / "a", "summarization")
    assert data.columns == {"document": "ctext", "summary": "text"}
    csv(tmp_path / "b", "train.csv", table, "body,document")
    with pytest.raises(
        DataError, match=r"the summaries have 68 characters, the documents 6 .*data\.columns\.document=NAME"
    ):
        load(tmp_path / "b", "summarization", columns={})
    given = load(tmp_path / "b", "summarization", columns={"document": "document", "summary": "body"})
    assert given.columns == {"document": "document", "summary": "body"}
