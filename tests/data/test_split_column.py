"""A column that says the split of each row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hf_tl.config import DataConfig
from hf_tl.data.sources import Source, read_source
from hf_tl.errors import ConfigError, DataError


def read(folder: Path, header: str, *values: str, **options: Any) -> Source:
    path = folder / "all.csv"
    path.write_text(f"text,{header}\n" + "".join(f"text {at},{value}\n" for at, value in enumerate(values)))
    return read_source(DataConfig(path=str(path), **options))


def rows(source: Source) -> dict[str, list[str]]:
    return {split: part["text"][:] for split, part in source.splits.items()}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("split", ("train", "valid", "test")),
        ("data set", ("TRAIN", "dev", "Test ")),
        ("Usage", ("Training", "PublicVal", "PrivateTest")),
        ("data_set", ("train_1", "val_1", "test_1")),
        ("fold", ("train", "validation", "heldout")),
        ("Set", ("trn", "val", "tst")),
    ],
)
def test_it_is_the_split(name: str, values: tuple[str, ...], tmp_path: Path) -> None:
    source = read(tmp_path, name, values[0], values[0], *values)
    assert rows(source) == {"train": ["text 0", "text 1", "text 2"], "validation": ["text 3"], "test": ["text 4"]}
    assert source.notes == [
        f"Column {name!r} says the split of each row: 3 rows of train, 1 rows of validation, 1 rows of test "
        "(data.split_column=false leaves it alone)."
    ]
    assert name not in source.splits["train"].column_names


def test_it_can_be_left_alone(tmp_path: Path) -> None:
    source = read(tmp_path, "split", "train", "test", split_column=False)
    assert len(source.splits["train"]) == 2 and not source.notes
    used = read(tmp_path, "split", "train", "test", columns={"label": "split"})  # it is to be learned
    assert list(used.splits) == ["train"]


@pytest.mark.parametrize(
    ("name", "values"),
    [("fold", ("1", "2")), ("split", ("train", "train")), ("set", ("red", "blue")), ("label", ("train", "test")),
     ("set", ("bus", "express train", "test"))],
)  # fmt: skip
def test_what_is_no_split(name: str, values: tuple[str, ...], tmp_path: Path) -> None:
    assert list(read(tmp_path, name, *values).splits) == ["train"]


def test_rows_of_no_split_are_counted(tmp_path: Path) -> None:
    source = read(tmp_path, "split", "train", "test", "unlabelled", "")
    assert rows(source) == {"train": ["text 0"], "test": ["text 1"]}
    assert "2 rows of which 'split' is 'unlabelled', 'None' are of no split and not used." in source.notes


def test_it_can_be_named(tmp_path: Path) -> None:
    named = read(tmp_path, "when", "2019", "2020", split_column="when", splits={"train": "2019", "test": "2020"})
    assert rows(named) == {"train": ["text 0"], "test": ["text 1"]}
    with pytest.raises(ConfigError, match=r"data\.split_column: there is no column 'whn'; did you mean 'when'"):
        read(tmp_path, "when", "2019", split_column="whn")
    with pytest.raises(
        DataError, match=r"column 'when' holds '2019', '2020'; name the splits with data\.splits\.train="
    ):
        read(tmp_path, "when", "2019", "2020", split_column="when")


def test_files_that_are_split_already(tmp_path: Path) -> None:
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text("text,split\na,train\nb,test\n")
    source = read_source(DataConfig(path=str(tmp_path)))
    assert {split: len(part) for split, part in source.splits.items()} == {"train": 2, "test": 2}
