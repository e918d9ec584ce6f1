"""What was understood of the data is said before anything waits: columns, splits and where they are from, classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from PIL import Image

from hf_tl.commands.train import finetune
from hf_tl.config import load_config
from hf_tl.data import load_data
from hf_tl.data.sources import FILE
from hf_tl.data.understood import as_text, origin, unused_columns
from hf_tl.errors import InputError


def _load(data: Any, task: str | None = None) -> Any:
    return load_data(load_config({"model": "-", "data": data}).data, task)


def _table(path: Path, rows: int, header: str = "id,text,label,source") -> Path:
    lines = [f"{i},a text {i},{('pos', 'neg')[i % 2]},web" for i in range(rows)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_columns_are_said_also_when_the_task_was_given(tmp_path: Path) -> None:
    file = _table(tmp_path / "reviews.csv", 40)
    inferred, given = _load(str(file)), _load(str(file), "text-classification")
    assert "Task text-classification: text from column 'text', label from column 'label'." in inferred.notes
    assert "Task text-classification, as given: text from column 'text', label from column 'label'." in given.notes
    for data in (inferred, given):
        assert "Columns that are not used: 'id', 'source'." in data.notes
        assert data.source["unused_columns"] == ["id", "source"]
        assert data.source["origins"] == {"train": "reviews.csv", "validation": "held out from train"}
    full = _load(str(_table(tmp_path / "full.csv", 40, "label,text,score,other").parent / "full.csv"), "fill-mask")
    assert full.source["unused_columns"] == ["label", "score", "other"]


def test_splits_name_their_files(tmp_path: Path) -> None:
    for name, rows in (("train", 20), ("test", 8)):
        _table(tmp_path / f"{name}.csv", rows)
    data = _load(str(tmp_path))
    assert data.source["origins"] == {"train": "train.csv", "validation": "held out from train", "test": "test.csv"}
    assert as_text(data.labels, data.source).splitlines() == [
        "split       rows  from",
        "train       18    train.csv",
        "validation  2     held out from train",
        "test        8     test.csv",
        "2 classes, rows in train: neg 9, pos 9",
    ]


def test_splits_of_many_files_name_their_folder(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (4, 4), (index * 9, len(name), len(split) * 30)).save(folder / f"{split}{index}.png")
    data = _load(str(tmp_path / "pets"))
    assert data.source["origins"]["train"] == "12 files in train/"
    assert data.source["origins"]["test"] == "4 files in test/"


def test_origins_of_lines_and_of_the_hub() -> None:
    def rows(*places: str) -> Dataset:
        return Dataset.from_dict({FILE: list(places), "text": list(places)})

    assert origin(rows("/a/b/x.csv, line 2", "/a/b/x.csv, line 3")) == "x.csv"
    assert origin(rows("me/data test, row 0", "me/data test, row 1")) == "me/data test"
    assert origin(rows("/a/coco.json (1.jpg)", "/a/coco.json (2.jpg)")) == "coco.json"
    assert origin(rows("/a/x, line 1.csv, line 2")) == "x, line 1.csv"
    assert origin(rows(*(f"/a/b{i}/c.png" for i in range(4)))) == "4 files in a/"
    assert origin(rows("/a/b/1.png", "/a/b/2.png", "/a/b/3.png")) == "1.png, 2.png, 3.png"
    assert unused_columns(rows("/a/x.csv, line 2"), {"label": ["text"]}) == []


def test_classes_are_told_with_the_fewest_and_the_most() -> None:
    labels = tuple(f"c{i}" for i in range(12))
    counts = {name: index + 1 for index, name in enumerate(labels)}
    text = as_text(labels, {"rows": {"train": 78}, "class_counts": {"train": counts}})
    assert text.splitlines()[-1] == (
        "12 classes, rows in train: c0 1, c1 2, c2 3, c3 4, c4 5, c5 6, c6 7, c7 8, c8 9, c9 10 and 2 more; "
        "fewest c0 1, most c11 12"
    )
    tags = as_text(("O", "B-PER"), {"rows": {"train": 1234}})
    assert tags.splitlines()[1:] == ["train  1,234", "2 labels: 'O', 'B-PER'"]
    assert as_text((), {"rows": {"train": 3}}).splitlines() == ["split  rows  from", "train  3"]


def test_training_says_it_before_the_model_is_looked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _table(tmp_path / "reviews.csv", 40)
    with pytest.raises(InputError, match="no-model"):
        finetune(model=str(tmp_path / "no-model"), data=str(file), task="text-classification")
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("Task text-classification, as given: text from column 'text'")
    assert "Columns that are not used: 'id', 'source'." in said
    assert said[-1] == "2 classes, rows in train: neg 18, pos 18"
    assert said.count(said[0]) == 1
