"""Object detection: every format of annotations, what is wrong with them, COCO's metric, boxes that move."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import hf_tl
from hf_tl.config import DataConfig, Preprocessing
from hf_tl.data import load_data
from hf_tl.errors import ConfigError, DataError
from hf_tl.task import Setting, get_task
from hf_tl.tasks import _boxes as boxes_of
from hf_tl.tasks import object_detection as task
from tests.anything import tiny_data, tiny_model
from tests.tiny import declare_torchvision_operators

declare_torchvision_operators()
SIZE = (80, 60)
RED, BLUE = (10, 20, 30, 40), (50, 5, 70, 25)  # corners
TRUE = {"cat": [RED], "dog": [BLUE]}


def picture(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", SIZE, (90, 90, 90))
    ImageDraw.Draw(image).rectangle((10, 20, 29, 39), fill=(200, 0, 0))
    ImageDraw.Draw(image).rectangle((50, 5, 69, 24), fill=(0, 0, 200))
    image.save(path)
    return path.name


def coco(folder: Path, ids: tuple[int, int] = (7, 90)) -> Path:
    """Category ids that are sparse and do not begin at 0, one of them unused; splits as Roboflow writes them."""
    for split in ("train", "valid"):
        names = [picture(folder / split / f"{index}.png") for index in range(6)]
        objects = [(index, ids[0], [10, 20, 20, 20]) for index in range(6)] + [(0, ids[1], [50, 5, 20, 20])]
        found = {
            "images": [{"id": 100 + index, "file_name": name} for index, name in enumerate(names)],
            "categories": [{"id": 1, "name": "animals"}, {"id": ids[0], "name": "cat"}, {"id": ids[1], "name": "dog"}],
            "annotations": [
                {"id": at, "image_id": 100 + image, "category_id": category, "bbox": box, "area": 400, "iscrowd": 0}
                for at, (image, category, box) in enumerate(objects)
            ],
        }
        (folder / split / "_annotations.coco.json").write_text(json.dumps(found))
    return folder


def voc(folder: Path) -> Path:
    for index in range(8):
        picture(folder / "JPEGImages" / f"{index}.png")
        objects = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
            "</object>"
            for name, ((a, b, c, d),) in TRUE.items()
        )
        (folder / "Annotations").mkdir(exist_ok=True)
        (folder / "Annotations" / f"{index}.xml").write_text(f"<annotation>{objects}</annotation>")
    return folder


def yolo(folder: Path) -> Path:
    for split in ("train", "val"):
        for index in range(6):
            picture(folder / "images" / split / f"{split}{index}.png")
            lines = [
                f"{label} {(a + c) / 2 / 80} {(b + d) / 2 / 60} {(c - a) / 80} {(d - b) / 60}"
                for label, ((a, b, c, d),) in enumerate(TRUE.values())
            ]
            labels = folder / "labels" / split
            labels.mkdir(parents=True, exist_ok=True)
            if index:  # the first picture is empty and has no file
                (labels / f"{split}{index}.txt").write_text("\n".join(lines) + "\n")
    (folder / "data.yaml").write_text("names: {0: cat, 1: dog}\nnc: 2\n")
    return folder


def hub(folder: Path) -> Path:
    rows = []
    for index in range(8):
        name = picture(folder / f"{index}.png")
        boxes = [[a, b, c - a, d - b] for ((a, b, c, d),) in TRUE.values()]
        rows.append(json.dumps({"file_name": name, "objects": {"bbox": boxes, "category": ["cat", "dog"]}}))
    (folder / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize("write", [coco, voc, yolo, hub])
def test_every_format_gives_the_same_boxes(write: Callable[[Path], Path], tmp_path: Path) -> None:
    data = load_data(DataConfig(path=str(write(tmp_path / "data"))))
    assert data.task.name == "object-detection" and data.labels == ("cat", "dog")
    rows = [row["objects"] for split in data.splits.values() for row in split]
    whole = [row for row in rows if len(row["labels"]) == 2]
    assert whole
    for row in whole:
        found = dict(zip(row["labels"], row["boxes"], strict=True))
        assert found[0] == pytest.approx(RED, abs=1e-3) and found[1] == pytest.approx(BLUE, abs=1e-3)
    if write is coco:
        assert {len(row["labels"]) for row in rows} == {1, 2} and len(rows) == 12
    if write is yolo:
        assert sorted(len(row["labels"]) for row in rows)[:2] == [0, 0]  # empty pictures are samples too
        assert [len(data.splits[name]) for name in ("train", "validation")] == [6, 6]


def test_a_coco_file_alone(tmp_path: Path) -> None:
    coco(tmp_path)
    data = load_data(DataConfig(path=str(tmp_path / "train" / "_annotations.coco.json"), validation=0.4))
    assert data.labels == ("cat", "dog") and len(data.splits["train"]) + len(data.splits["validation"]) == 6


def metadata(folder: Path, objects: list[dict[str, Any]]) -> str:
    lines = [
        json.dumps({"file_name": picture(folder / f"{index}.png"), "objects": each})
        for index, each in enumerate(objects)
    ]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder)


@pytest.mark.parametrize(
    ("boxes", "said"),
    [([[10, 20, 20, 20]], "left, top, width, height"),
     ([[10, 20, 30, 40], [50, 5, 79, 59]], "left, top, right, bottom"),
     ([[10 / 80, 20 / 60, 20 / 80, 20 / 60]], "left, top, width, height, as shares of the picture")],
)  # fmt: skip
def test_the_format_is_found_from_the_values(boxes: list[Any], said: str, tmp_path: Path) -> None:
    data = load_data(DataConfig(path=metadata(tmp_path, [{"bbox": boxes, "category": ["cat"] * len(boxes)}] * 8)))
    assert any(f"Boxes are {said} " in note for note in data.notes)
    assert data.splits["train"][0]["objects"]["boxes"][0] == pytest.approx(RED, abs=1e-3)


GOOD = {"bbox": [[10, 20, 20, 20]], "category": ["cat"]}


@pytest.mark.parametrize(
    ("objects", "sentence"),
    [
        ({"bbox": [[70, 20, 30, 20]], "category": ["cat"]}, r"line 9: box .* reaches beyond the picture of 80 x 60"),
        ({"bbox": [[10, 20, 0, 20]], "category": ["cat"]}, r"line 9: box .* has no area"),
        ({"bbox": [[10, 20, 20]], "category": ["cat"]}, r"line 9: box 0 is .* expected four numbers"),
        ({"bbox": [[10, 20, 20, 20]], "category": ["cat", "dog"]}, r"line 9: 1 boxes have 2 categories"),
        ({"bbox": [[10, 20, 20, 20]], "category": [None]}, r"line 9: box 0 has no category"),
    ],
)
def test_bad_boxes_are_named_or_left_out(objects: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = metadata(tmp_path, [GOOD] * 8 + [objects])
    with pytest.raises(DataError, match=sentence):
        load_data(DataConfig(path=path))
    data = load_data(DataConfig(path=path, on_error="skip"))
    assert sum(len(rows) for rows in data.splits.values()) == 8
    assert any("1 rows of train are left out" in note for note in data.notes)


def test_bad_files_are_named(tmp_path: Path) -> None:
    folder = coco(tmp_path / "coco")
    file = folder / "train" / "_annotations.coco.json"
    good = json.loads(file.read_text())
    for change, sentence in (
        ({"annotations": [{**good["annotations"][0], "category_id": 5}]}, r"annotations\[0\]: category_id 5"),
        ({"annotations": [{**good["annotations"][0], "image_id": 5}]}, r"annotations\[0\]: image_id 5"),
        (
            {"images": [*good["images"], {"id": 9, "file_name": "no.png"}]},
            r"images\[6\]: file_name 'no.png' is not there",
        ),
    ):
        file.write_text(json.dumps({**good, **change}))
        with pytest.raises(DataError, match=sentence):
            load_data(DataConfig(path=str(folder)))
    folder = yolo(tmp_path / "yolo")
    (folder / "labels" / "train" / "train1.txt").write_text("4 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DataError, match=r"train1.txt, line 1: class 4 has no name; there are 'cat', 'dog'"):
        load_data(DataConfig(path=str(folder)))
    (folder / "labels" / "train" / "train1.txt").write_text("1 50 50 10 10\n")
    with pytest.raises(DataError, match=r"train1.txt, line 1: .* shares of it"):
        load_data(DataConfig(path=str(folder)))
    folder = voc(tmp_path / "voc")
    (folder / "Annotations" / "0.xml").write_text("<annotation><object><name>cat</name></object></annotation>")
    with pytest.raises(DataError, match=r"0.xml, object 1: expected a name and a bndbox"):
        load_data(DataConfig(path=str(folder)))


def test_a_category_that_train_lacks(tmp_path: Path) -> None:
    for split, name in (("train", "cat"), ("test", "cta")):
        metadata(tmp_path / split, [{"bbox": [[10, 20, 20, 20]], "category": [name]}] * 4)
    with pytest.raises(DataError, match=r"test/metadata.jsonl, line 1: category 'cta' is not in train; did you mean"):
        load_data(DataConfig(path=str(tmp_path)))


def found(*boxes: tuple[Any, float, int]) -> dict[str, np.ndarray]:
    return {
        "boxes": np.array([box for box, _, _ in boxes], dtype=np.float32).reshape(-1, 4),
        "scores": np.array([score for _, score, _ in boxes], dtype=np.float32),
        "labels": np.array([label for _, _, label in boxes], dtype=np.int64),
    }


def test_average_precision_by_hand_and_by_the_reference() -> None:
    # an overlap of 0.9 is right at 9 of the 10 thresholds but for 0.95
    guess, true = [found(((0, 0, 10, 9), 0.9, 0))], [{"boxes": np.array([[0.0, 0, 10, 10]]), "labels": np.array([0])}]
    values, per_class = boxes_of.measure_boxes(guess, true, 2)
    assert values["map"] == pytest.approx(0.9) and values["map_50"] == 1 and per_class[0] == pytest.approx(0.9)
    assert np.isnan(per_class[1])
    # COCO's code on all pictures, as matched once, is what torchmetrics says; and a picture drawn twice counts twice
    drawn = np.random.default_rng(0)
    guess, true = [], []
    for _ in range(12):
        start = drawn.uniform(0, 50, (4, 2))
        boxes = np.concatenate([start, start + drawn.uniform(5, 40, (4, 2))], axis=1)
        labels = drawn.integers(0, 3, 4)
        true.append({"boxes": boxes.astype(np.float32), "labels": labels})
        moved = boxes + drawn.normal(0, 2, boxes.shape)
        guess.append(found(*zip(moved, drawn.uniform(0.1, 1, 4), labels, strict=True)))
    values, _ = boxes_of.measure_boxes(guess, true, 3)
    again = boxes_of.Resampled(guess, true)
    assert again(np.arange(12)) == pytest.approx(tuple(values.values()), abs=1e-6)
    index = np.array([0, 0, 3, 5, 5, 5, 7, 8, 9, 10, 11, 2])
    drawn_values, _ = boxes_of.measure_boxes([guess[i] for i in index], [true[i] for i in index], 3)
    # equal scores may stand in another order in torchmetrics, which moves the precision a little
    assert again(index) == pytest.approx(tuple(drawn_values.values()), abs=0.01)
    written_out = boxes_of.Resampled([guess[i] for i in index], [true[i] for i in index])
    assert again(index) == pytest.approx(written_out(np.arange(12)), abs=1e-9)


def test_boxes_move_with_the_picture() -> None:
    image = Image.new("RGB", (120, 90), (90, 90, 90))
    ImageDraw.Draw(image).rectangle((70, 30, 99, 59), fill=(255, 0, 0))
    boxes, classes = torch.tensor([[70.0, 30, 100, 60]]), torch.tensor([1])
    moved = 0
    for seed in range(30):
        torch.manual_seed(seed)
        changed, after, kept = task.augment(image, boxes, classes, "default")
        pixels = np.asarray(changed).astype(int)
        red = (pixels.max(-1) - pixels.min(-1)) > 40  # colours are distorted, the grey stays grey
        if not len(after):
            continue
        assert kept.tolist() == [1] and len(after) == 1
        rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
        assert after[0].tolist() == pytest.approx([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], abs=2)
        moved += after[0].tolist() != boxes[0].tolist()
    assert moved > 8
    with pytest.raises(ConfigError, match="augment: 'trivial' is for whole pictures"):
        task.augment(image, boxes, classes, "trivial")


def test_pictures_of_unequal_size_are_padded_and_their_boxes_with_them(tmp_path: Path) -> None:
    from transformers import DetrConfig

    config = DetrConfig(use_timm_backbone=False, backbone_config={"model_type": "resnet"})
    setting = Setting(model_config=config, preprocessing=Preprocessing(), labels=("cat",))
    sample = {
        "size": torch.tensor([60, 80]),
        "labels": {"boxes": torch.tensor([[0.5, 0.5, 1, 1]]), "class_labels": torch.zeros(1, dtype=torch.long)},
    }
    batch = task.collator(setting, True)(
        [{**sample, "pixel_values": torch.ones(3, 30, 40)}, {**sample, "pixel_values": torch.ones(3, 60, 20)}]
    )
    assert batch["pixel_values"].shape == (2, 3, 60, 40) and batch["pixel_mask"].sum((1, 2)).tolist() == [1200, 1200]
    assert batch["labels"][0]["boxes"].tolist() == [[0.5, 0.25, 1, 0.5]]
    assert batch["labels"][1]["boxes"].tolist() == [[0.25, 0.5, 0.5, 1]]


def test_learning_and_its_report(tmp_path: Path) -> None:
    this = get_task("object-detection")
    run = hf_tl.finetune(
        model=str(tiny_model(this, tmp_path / "model")), data=str(tiny_data(this, tmp_path / "data")),
        output=str(tmp_path / "run"), training={"num_train_epochs": 12, "learning_rate": 3e-3, "bf16": False},
    )  # fmt: skip
    losses = [line["loss"] for line in map(json.loads, (run.folder / "log.jsonl").open()) if "loss" in line]
    assert losses[-1] < 0.7 * losses[0]
    assert {row["label"] for row in run.metrics["per_class"]} == {"red", "blue"}
    report = (run.folder / "report.html").read_text(encoding="utf-8")
    assert 'alt="right"' in report and 'alt="found"' in report
    (best,) = run.predict([str(tmp_path / "data" / "0.png")])
    assert best["label"] in ("red", "blue") and 0 < best["score"] <= 1
