"""Object detection: every format of annotations, what is wrong with them, COCO's metric, boxes that move."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image, ImageDraw

import hf_tl
from hf_tl.config import DataConfig, MethodConfig, ModelConfig, Preprocessing
from hf_tl.data import load_data
from hf_tl.data.sources import read_source
from hf_tl.errors import ConfigError, DataError
from hf_tl.models.layers import tied
from hf_tl.models.methods import get_method
from hf_tl.models.pretrained import find_pretrained, load_model
from hf_tl.task import Targets, TaskContext, get_task
from hf_tl.tasks import _boxes as boxes_of
from hf_tl.tasks import object_detection as task
from tests.anything import tiny_data, tiny_model
from tests.tiny import declare_torchvision_operators

declare_torchvision_operators()
SIZE = (80, 60)
RED, BLUE = (10, 20, 30, 40), (50, 5, 70, 25)  # corners
TRUE = {"cat": [RED], "dog": [BLUE]}


def image_file(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", SIZE, (90, 90, 90))
    ImageDraw.Draw(image).rectangle((10, 20, 29, 39), fill=(200, 0, 0))
    ImageDraw.Draw(image).rectangle((50, 5, 69, 24), fill=(0, 0, 200))
    image.save(path)
    return path.name


def coco(folder: Path, ids: tuple[int, int] = (7, 90)) -> Path:
    """Category ids that are sparse and do not begin at 0, one of them unused; splits as Roboflow writes them."""
    for split in ("train", "valid"):
        names = [image_file(folder / split / f"{index}.png") for index in range(6)]
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
        image_file(folder / "JPEGImages" / f"{index}.png")
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
            image_file(folder / "images" / split / f"{split}{index}.png")
            lines = [
                f"{label} {(a + c) / 2 / 80} {(b + d) / 2 / 60} {(c - a) / 80} {(d - b) / 60}"
                for label, ((a, b, c, d),) in enumerate(TRUE.values())
            ]
            labels = folder / "labels" / split
            labels.mkdir(parents=True, exist_ok=True)
            if index:  # the first image is empty and has no file
                (labels / f"{split}{index}.txt").write_text("\n".join(lines) + "\n")
    (folder / "data.yaml").write_text("names: {0: cat, 1: dog}\nnc: 2\n")
    return folder


def hub(folder: Path) -> Path:
    rows = []
    for index in range(8):
        name = image_file(folder / f"{index}.png")
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
        assert sorted(len(row["labels"]) for row in rows)[:2] == [0, 0]  # empty images are samples too
        assert [len(data.splits[name]) for name in ("train", "validation")] == [6, 6]


def test_a_coco_file_alone(tmp_path: Path) -> None:
    coco(tmp_path)
    data = load_data(DataConfig(path=str(tmp_path / "train" / "_annotations.coco.json"), validation=0.4))
    assert data.labels == ("cat", "dog") and len(data.splits["train"]) + len(data.splits["validation"]) == 6


def metadata(folder: Path, objects: list[dict[str, Any]]) -> str:
    lines = [
        json.dumps({"file_name": image_file(folder / f"{index}.png"), "objects": each})
        for index, each in enumerate(objects)
    ]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder)


@pytest.mark.parametrize(
    ("boxes", "said"),
    [([[10, 20, 20, 20]], "left, top, width, height"),
     ([[10, 20, 30, 40], [50, 5, 79, 59]], "left, top, right, bottom"),
     ([[10 / 80, 20 / 60, 20 / 80, 20 / 60]], "left, top, width, height, as shares of the image")],
)  # fmt: skip
def test_the_format_is_found_from_the_values(boxes: list[Any], said: str, tmp_path: Path) -> None:
    data = load_data(DataConfig(path=metadata(tmp_path, [{"bbox": boxes, "category": ["cat"] * len(boxes)}] * 8)))
    assert any(f"Boxes are {said} " in note for note in data.notes)
    assert data.splits["train"][0]["objects"]["boxes"][0] == pytest.approx(RED, abs=1e-3)


GOOD = {"bbox": [[10, 20, 20, 20]], "category": ["cat"]}


@pytest.mark.parametrize(
    ("objects", "sentence"),
    [
        ({"bbox": [[70, 20, 30, 20]], "category": ["cat"]}, r"line 9: box .* reaches beyond the image of 80 x 60"),
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
    assert any("1 rows of train are skipped" in note for note in data.notes)


def test_bad_files_are_named(tmp_path: Path) -> None:
    folder = coco(tmp_path / "coco")
    file = folder / "train" / "_annotations.coco.json"
    good = json.loads(file.read_text())
    for change, sentence in (
        ({"annotations": [{**good["annotations"][0], "category_id": 5}]}, r"annotations\[0\]: category_id 5"),
        (
            {"annotations": [{**good["annotations"][0], "image_id": 5}]},
            r"annotations\[0\] \(image_id 5 is none of the file's images\): the image is missing",
        ),
        (
            {"images": [*good["images"], {"id": 9, "file_name": "no.png"}]},
            r"images\[6\] \(no.png\): the image cannot be read \(.*No such file",
        ),
    ):
        file.write_text(json.dumps({**good, **change}))
        with pytest.raises(DataError, match=sentence):
            load_data(DataConfig(path=str(folder)))
    folder = yolo(tmp_path / "yolo")
    labels = folder / "labels" / "train" / "train1.txt"
    for text, sentence in (
        ("4 0.5 0.5 0.1 0.1", r"train1.txt: line 1: class 4 has no name; there are 'cat', 'dog'"),
        ("1 50 50 10 10", r"train1.txt: line 1: .* normalized, 0 to 1"),
        ("\ncat 0.5 0.5 0.1 0.1", r"train1.txt: line 2: found 'cat 0.5 0.5 0.1 0.1', expected a class"),
        ("1 0.5 0.5 0.1", r"train1.txt: line 1: 3 numbers after the class, expected four"),
    ):
        labels.write_text(text + "\n")
        with pytest.raises(DataError, match=sentence):
            load_data(DataConfig(path=str(folder)))
    assert_left_out(folder, "train1.txt", rows=11)
    folder = voc(tmp_path / "voc")
    for text, sentence in (
        ("<object><name>cat</name></object>", r"0.xml: object 1: expected a name and a bndbox"),
        ("<object>", r"0.xml: not valid XML"),
        ("<object><name>cat</name><bndbox><xmin>a</xmin></bndbox></object>", r"0.xml: object 1: xmin is 'a'"),
    ):
        (folder / "Annotations" / "0.xml").write_text(f"<annotation>{text}</annotation>")
        with pytest.raises(DataError, match=sentence):
            load_data(DataConfig(path=str(folder)))
    assert_left_out(folder, "0.xml", rows=7)
    (folder / "Annotations" / "0.xml").write_text("<annotation></annotation>")
    (folder / "Annotations" / "none.xml").write_text("<annotation></annotation>")
    with pytest.raises(DataError, match=r"none.xml: the image is missing"):
        load_data(DataConfig(path=str(folder)))


def assert_left_out(folder: Path, name: str, rows: int) -> None:
    data = load_data(DataConfig(path=str(folder), on_error="skip"))
    assert sum(len(part) for part in data.splits.values()) == rows
    assert any("1 rows of train are skipped" in note and name in note for note in data.notes)


def test_one_bad_box_does_not_change_what_the_others_mean(tmp_path: Path) -> None:
    """As middles with width and height every box of these fits, and so do all but one as left and top."""
    bad = {"bbox": [[65, 20, 20, 20]], "category": ["cat"]}
    path = metadata(tmp_path / "pixels", [GOOD] * 8 + [bad])
    for on_error in ("stop", "skip"):
        with pytest.raises(
            DataError, match=r"line 9: box .* reaches beyond .* say which is meant with data.boxes=xywh"
        ):
            load_data(DataConfig(path=path, on_error=on_error))
    data = load_data(DataConfig(path=path, boxes="xywh", on_error="skip"))
    assert all(row["objects"]["boxes"] == [list(RED)] for rows in data.splits.values() for row in rows)
    data = load_data(DataConfig(path=path, boxes="cxcywh"))
    assert data.splits["train"][0]["objects"]["boxes"][0] == pytest.approx([0, 10, 20, 30])
    # one number above 1 does not make pixels of shares
    share = {"bbox": [[10 / 80, 20 / 60, 20 / 80, 20 / 60]], "category": ["cat"]}
    bad = {"bbox": [[0.5, 0.5, 0.9, 0.4]], "category": ["cat"]}
    path = metadata(tmp_path / "shares", [share] * 8 + [bad])
    with pytest.raises(DataError, match=r"line 9: box \[0.5, 0.5, 0.9, 0.4\] \(.*, as shares\) reaches beyond"):
        load_data(DataConfig(path=path, boxes="xywh"))


def test_numbers_as_categories_are_in_their_order_and_none_is_guessed(tmp_path: Path) -> None:
    path = metadata(tmp_path / "ids", [{**GOOD, "category": [name]} for name in (10, 2, 1, 10, 2, 1, 1, 2)])
    assert load_data(DataConfig(path=path)).labels == ("1", "2", "10")
    for objects, names, sentence in (
        ({"bbox": [[1, 2, 3, 4]], "category": [-1]}, ["cat", "dog"], "box 0 has no category"),
        ({"bbox": [[1, 2, 3, 4]], "category": [2]}, ["cat", "dog"], "box 0 is of category 2, and there are 2"),
        ({"bbox": [[1, 2, 3, 4]], "category": [" "]}, None, "box 0 has no category"),
    ):
        with pytest.raises(ValueError, match=sentence):
            boxes_of.parts(objects, names)


def test_a_box_past_the_edge_has_no_area() -> None:
    found = np.array([[79.0, 10, 80.5, 20], [80.0, 10, 80.5, 20], [0, 0, 80, 60], [0, 0, np.nan, 9]])
    assert boxes_of.fit(found, SIZE).tolist() == [True, False, True, False]


def test_images_of_one_name_in_two_folders(tmp_path: Path) -> None:
    """COCO's layout: annotations/ beside a folder a split; another file of the same images is no second look."""
    for split, left in (("train", 10), ("val", 40)):
        names = [image_file(tmp_path / f"{split}2017" / f"{index}.png") for index in range(4)]
        whole = {
            "images": [{"id": index, "file_name": name} for index, name in enumerate(names)],
            "categories": [{"id": 3, "name": "cat"}],
            "annotations": [{"image_id": index, "category_id": 3, "bbox": [left, 20, 20, 20]} for index in range(4)],
        }
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(whole))
        (tmp_path / "annotations" / f"person_keypoints_{split}2017.json").write_text(json.dumps(whole))
    source = read_source(DataConfig(path=str(tmp_path)))
    for ours, split in (("train", "train"), ("validation", "val")):
        rows = source.splits[ours].with_format(None)
        assert [row["image"]["path"] for row in rows] == [str(tmp_path / f"{split}2017" / f"{n}.png") for n in range(4)]
    alone = read_source(DataConfig(path=str(tmp_path / "annotations" / "instances_train2017.json")))
    assert [Path(row["image"]["path"]).parent.name for row in alone.splits["train"]] == ["train2017"] * 4


def test_the_lists_of_pascal_voc_are_its_splits(tmp_path: Path) -> None:
    folder = voc(tmp_path)
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("".join(f"{index}\n" for index in range(5)))
    (lists / "val.txt").write_text("5\n6\n")
    data = load_data(DataConfig(path=str(folder)))
    assert "1 images are left out: the lists of images name no split for them." in data.notes
    assert [Path(row["file"]).stem for row in data.splits["validation"]] == ["5", "6"]
    assert len(data.splits["train"]) == 5


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
    # COCO's code on all images, as matched once, is what torchmetrics says; and an image drawn twice counts twice
    drawn = np.random.default_rng(0)
    guess, true = [], []
    for _ in range(12):
        start = drawn.uniform(0, 50, (4, 2))
        boxes = np.concatenate([start, start + drawn.uniform(5, 40, (4, 2))], axis=1)
        labels = drawn.integers(0, 3, 4)
        true.append({"boxes": boxes.astype(np.float32), "labels": labels})
        moved = boxes + drawn.normal(0, 2, boxes.shape)
        guess.append(found(*zip(moved, drawn.uniform(0.1, 1, 4), labels, strict=True)))
    values, of_class = boxes_of.measure_boxes(guess, true, 3)
    again = boxes_of.Resampled(guess, true)
    assert again.classes == [0, 1, 2]
    assert again(np.arange(12)) == pytest.approx([*values.values(), *of_class], abs=1e-6)
    index = np.array([0, 0, 3, 5, 5, 5, 7, 8, 9, 10, 11, 2])
    drawn_values, of_class = boxes_of.measure_boxes([guess[i] for i in index], [true[i] for i in index], 3)
    # equal scores may stand in another order in torchmetrics, which moves the precision a little
    assert again(index) == pytest.approx([*drawn_values.values(), *of_class], abs=0.02)
    written_out = boxes_of.Resampled([guess[i] for i in index], [true[i] for i in index])
    assert again(index) == pytest.approx(written_out(np.arange(12)), abs=1e-9)


def test_boxes_move_with_the_image() -> None:
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
    with pytest.raises(ConfigError, match="augment: 'trivial' is for whole images"):
        task.augment(image, boxes, classes, "trivial")


def coloured(height: int, width: int) -> torch.Tensor:
    """Smooth colours, so that scaling and padding matter little."""
    drawn = torch.randn(1, 3, height // 16, width // 16, generator=torch.Generator().manual_seed(1)) * 2
    return torch.nn.functional.interpolate(drawn, size=(height, width))[0]


@pytest.mark.parametrize("name", ["detr", "rtdetr"])
def test_boxes_are_measured_as_the_model_measures_them(name: str) -> None:
    """DETR cannot see what `pixel_mask` hides: its boxes are shares of the image; RT-DETR's of the padded image."""
    torch.manual_seed(3)
    model = transformers.AutoModelForObjectDetection.from_config(FAMILIES[name]()).eval()
    for part, weight in model.named_parameters():
        if weight.ndim == 2:  # the usual small weights put every box in the middle
            torch.nn.init.normal_(
                weight, std=(1.2 if "bbox" in part or "class" in part else 1.5) / weight.shape[1] ** 0.5
            )
    context = TaskContext(model_config=model.config, preprocessing=Preprocessing(), labels=("cat",))
    label = {"boxes": torch.tensor([[0.5, 0.5, 1, 1]]), "class_labels": torch.zeros(1, dtype=torch.long)}
    small, large = coloured(128, 192), torch.zeros(3, 256, 384)
    batch = task.collator(context, True)(
        [{"pixel_values": each, "size": torch.tensor([60, 80]), "labels": label} for each in (small, large)]
    )
    assert batch["pixel_values"].shape == (2, 3, 256, 384)
    assert batch["pixel_mask"].sum((1, 2)).tolist() == [128 * 192, 256 * 384]
    share = batch["filled"][0]
    assert batch["labels"][0]["boxes"].tolist() == [[share[1] / 2, share[0] / 2, share[1], share[0]]]
    with torch.no_grad():
        alone = model(pixel_values=small[None], pixel_mask=torch.ones(1, 128, 192).long())
        padded = model(pixel_values=batch["pixel_values"], pixel_mask=batch["pixel_mask"])
    apart = {
        scale: (alone["pred_boxes"][0] * scale - padded["pred_boxes"][0]).abs().mean().item() for scale in (1.0, 0.5)
    }
    right = share[0].item()
    assert right == {"detr": 1.0, "rtdetr": 0.5}[name]
    assert apart[right] < 0.6 * apart[1.5 - right], apart


def test_which_families_measure_by_the_mask() -> None:
    known = transformers.AutoModelForObjectDetection._model_mapping
    found = {config.model_type: task.measures_by_mask(known[config]) for config in known}
    of_mask = {"detr", "conditional_detr", "deformable_detr", "dab-detr", "table-transformer"}
    of_all = {"rt_detr", "rt_detr_v2", "d_fine", "yolos"}
    assert {name for name in of_mask | of_all if found[name]} == of_mask


def test_accumulated_batches_are_one_large_batch() -> None:
    """RT-DETR's loss is a sum over boxes divided by their number: of parts, weighed by theirs, it is that of all."""
    torch.manual_seed(0)
    model = transformers.AutoModelForObjectDetection.from_config(FAMILIES["rtdetr"]()).eval()
    context = TaskContext(model_config=model.config, preprocessing=Preprocessing(), labels=("cat", "dog"))
    samples = []
    for index, count in enumerate((1, 4, 0, 2)):
        boxes = torch.rand(count, 4, generator=torch.Generator().manual_seed(index)) * 0.3 + 0.3
        label = {"boxes": boxes, "class_labels": torch.arange(count) % 2}
        samples.append({"pixel_values": torch.rand(3, 64, 64), "size": torch.tensor([64, 64]), "labels": label})
    collate = task.collator(context, True)

    def loss_of(part: list[Any], items: int | None) -> float:
        batch = collate(part)
        inputs = {name: value for name, value in batch.items() if name not in get_task("object-detection").extra_fields}
        with torch.no_grad():
            return float(task.loss(model(**inputs), batch, context, items))

    parts = [samples[:2], samples[2:]]
    assert sum(loss_of(part, 7) for part in parts) == pytest.approx(loss_of(samples, None), rel=1e-5)


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
    for row in run.metrics["per_class"]:
        assert 0 <= row["ap_low"] <= row["ap"] <= row["ap_high"] <= 1
    assert "Average precision" in report and "boxes</th>" in report
    assert 'alt="right"' in report and 'alt="found"' in report
    (best,) = run.predict([str(tmp_path / "data" / "0.png")])
    assert best["label"] in ("red", "blue") and 0 < best["score"] <= 1


def rt_detr(kind: str = "RTDetr", backbone: Any = None) -> Any:
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]}
    backbone = backbone or transformers.RTDetrResNetConfig(
        **sizes, layer_type="basic", out_features=["stage2", "stage3", "stage4"]
    )
    return getattr(transformers, f"{kind}Config")(
        backbone_config=backbone, freeze_backbone_batch_norms=False, encoder_in_channels=[16, 16, 16],
        encoder_hidden_dim=16, encoder_ffn_dim=16, encoder_attention_heads=2, d_model=16, num_queries=12,
        decoder_in_channels=[16, 16, 16], decoder_ffn_dim=16, decoder_layers=2, decoder_attention_heads=2,
        num_denoising=4, hidden_expansion=0.5, num_labels=5,
    )  # fmt: skip


def d_fine() -> Any:
    four = [16, 16, 16, 16]
    backbone = transformers.HGNetV2Config(
        hidden_sizes=four, embedding_size=8, depths=[1] * 4, stem_channels=[3, 8, 8], stage_in_channels=[8, 16, 16, 16],
        stage_mid_channels=[8] * 4, stage_out_channels=four, stage_num_blocks=[1] * 4, stage_kernel_size=[3] * 4,
        stage_downsample=[False, True, True, True], stage_light_block=[False, False, True, True],
        stage_numb_of_layers=[1] * 4, out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    return rt_detr("DFine", backbone)


def detr() -> Any:
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    return transformers.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        backbone_config=transformers.ResNetConfig(**sizes, out_features=["stage4"]), d_model=32, encoder_layers=1,
        decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        num_queries=8, dropout=0.0, num_labels=5,
    )  # fmt: skip


def deformable() -> Any:
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    return transformers.DeformableDetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        backbone_config=transformers.ResNetConfig(**sizes, out_features=["stage2", "stage3", "stage4"]), d_model=32,
        encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, num_queries=8, dropout=0.0, num_feature_levels=3, num_labels=5,
    )  # fmt: skip


FAMILIES: dict[str, Callable[[], Any]] = {
    "detr": detr,
    "rtdetr": rt_detr,
    "rtdetr2": lambda: rt_detr("RTDetrV2"),
    "dfine": d_fine,
    "deformable": deformable,
}
QUICK = {("detr", "full"), ("rtdetr2", "lora"), ("dfine", "frozen")}


@pytest.mark.parametrize("name", ["rtdetr2", "deformable"])
def test_heads_of_many_names_train_as_one(name: str, tmp_path: Path) -> None:
    """Their parameters are tied: adapters keep them so, and the merged model is the trained one after a reload."""
    torch.manual_seed(0)
    transformers.AutoModelForObjectDetection.from_config(FAMILIES[name]()).save_pretrained(tmp_path / "base")
    found = find_pretrained(ModelConfig(id=str(tmp_path / "base")))
    this = get_task("object-detection")
    loaded = load_model(found, this, Targets(labels=("red", "blue")), ModelConfig(id=str(tmp_path / "base")))
    names = tied(loaded.model)
    assert names
    method = get_method(MethodConfig(name="lora"))
    adapted = method.prepare(loaded, this)
    wrapped = adapted.module
    trained = dict(wrapped.named_parameters())
    heads = [each for each in trained if "modules_to_save" in each and "class_embed" in each and "weight" in each]
    assert len([each for each in heads if "denoising" not in each]) == {"rtdetr2": 2, "deformable": 1}[name]
    with torch.no_grad():
        for weight in trained.values():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
    wrapped.eval()
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = wrapped(pixel_values=pixels)
        plain = method.finish(adapted, tmp_path)
        assert tied(plain) == names
        plain.save_pretrained(tmp_path / "plain")
        after = transformers.AutoModelForObjectDetection.from_pretrained(tmp_path / "plain")(pixel_values=pixels)
    assert torch.allclose(before["logits"], after["logits"], atol=1e-4)
    assert torch.allclose(before["pred_boxes"], after["pred_boxes"], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        pytest.param(name, method, marks=[] if (name, method) in QUICK else pytest.mark.slow)
        for name in FAMILIES
        for method in ("full", "lora", "frozen", "scratch")
    ],
)
def test_families_give_the_stock_pipelines_boxes(
    name: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A detector of five other classes, adapted to two: scores to 1e-5, boxes to the pixel."""
    monkeypatch.setattr(task, "THRESHOLD", 0.0)
    torch.manual_seed(0)
    folder = tmp_path / "model"
    transformers.AutoModelForObjectDetection.from_config(FAMILIES[name]()).save_pretrained(folder)
    size = {"shortest_edge": 48, "longest_edge": 64} if name == "detr" else {"height": 64, "width": 64}
    kinds = {"detr": transformers.DetrImageProcessor, "deformable": transformers.DeformableDetrImageProcessor}
    kind = kinds.get(name, transformers.RTDetrImageProcessor)
    kind(size=size).save_pretrained(folder)
    data = tiny_data(get_task("object-detection"), tmp_path / "data", rows=12)
    Image.new("RGB", (30, 50)).save(data / "0.png")
    run = hf_tl.finetune(
        model=str(folder), data={"path": str(data), "validation": 0.25}, method=method, output=str(tmp_path / "run"),
        training={"max_steps": 2, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "bf16": False},
    )  # fmt: skip
    images = [str(data / "0.png"), str(data / "1.png")]
    stock = transformers.pipeline("object-detection", model=str(run.model))
    assert set(stock.model.config.label2id) == {"red", "blue"}
    for ours, path in zip(run.predict(images), images, strict=True):
        theirs = sorted(stock(path, threshold=0.0), key=lambda each: -each["score"])[: boxes_of.MAX_DETECTIONS]
        assert len(ours["objects"]) == len(theirs) > 0
        for mine, other in zip(ours["objects"], theirs, strict=True):
            assert mine["score"] == pytest.approx(other["score"], abs=1e-5)
            assert mine["label"] == other["label"] and mine["box"] == other["box"]
