"""Boxes by hand: corners of every format, which of them lie on their image, and which format is meant."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image

from hf_tl.config import Preprocessing
from hf_tl.io.data_uri import content_of
from hf_tl.task import TaskContext
from hf_tl.tasks import _boxes as boxes_of
from hf_tl.tasks import object_detection as task

SIZE = (80, 60)  # width, height


@pytest.mark.parametrize(
    ("box", "form", "relative", "corners"),
    [
        ([8, 12, 20, 30], "xywh", False, [8, 12, 28, 42]),
        ([8, 12, 28, 42], "xyxy", False, [8, 12, 28, 42]),
        ([18, 27, 20, 30], "cxcywh", False, [8, 12, 28, 42]),
        ([0.1, 0.2, 0.25, 0.5], "xywh", True, [8, 12, 28, 42]),
        ([0.1, 0.2, 0.35, 0.7], "xyxy", True, [8, 12, 28, 42]),
        ([0.225, 0.45, 0.25, 0.5], "cxcywh", True, [8, 12, 28, 42]),
    ],
)
def test_corners_of_every_format(box: list[float], form: str, relative: bool, corners: list[float]) -> None:
    assert boxes_of.corners([box], SIZE, form, relative)[0].tolist() == pytest.approx(corners)
    sizes = np.array([SIZE, (800, 600)])
    scale = 10 if relative else 1
    both = boxes_of.corners([box, box], sizes, form, relative)  # a size for each box
    assert both[1].tolist() == pytest.approx([scale * value for value in corners])
    assert boxes_of.corners([], SIZE, form, relative).shape == (0, 4)


@pytest.mark.parametrize(
    ("box", "fits"),
    [
        ([0, 0, 80, 60], True), ([0, 0, 79, 59], True), ([0, 0, 59, 79], False),
        ([-0.8, 0, 9, 9], True), ([-0.9, 0, 9, 9], False), ([0, -0.6, 9, 9], True), ([0, -0.7, 9, 9], False),
        ([0, 0, 80.8, 9], True), ([0, 0, 80.9, 9], False), ([0, 0, 9, 60.6], True), ([0, 0, 9, 60.7], False),
        ([9, 9, 9, 20], False), ([9, 9, 20, 9], False), ([9, 9, 5, 20], False), ([9, 9, 20, 5], False),
    ],
)  # fmt: skip
def test_a_box_may_reach_a_hundredth_over_the_edge(box: list[float], fits: bool) -> None:
    assert boxes_of.fit(np.array([box], dtype=float), SIZE).tolist() == [fits]


FIT, LONG, FAR = [10, 20, 20, 20], [30, 30, 70, 50], [70, 50, 30, 30]
"""Fits as any format; as corners alone; as left and top not, nor as corners."""


@pytest.mark.parametrize(
    ("boxes", "given", "found"),
    [
        ([FIT] * 10, None, ("xywh", False, ("cxcywh",))),
        ([LONG] * 10, None, ("xyxy", False, ())),
        ([LONG] * 3 + [FIT] * 7, None, ("xywh", False, ())),  # three in ten are off, and seven as corners
        ([LONG] * 3 + [[10, 20, 30, 40]] * 7, None, ("xyxy", False, ())),
        ([LONG] * 2 + [[10, 20, 30, 40]] * 8, None, ("xywh", False, ("xyxy",))),  # a fifth: mistakes
        ([LONG] * 3 + [FAR], None, ("xywh", False, ())),  # all are off, as corners a fourth: that is not far fewer
        ([LONG] * 4 + [FAR], None, ("xyxy", False, ())),
        ([LONG] * 10, "xywh", ("xywh", False, ("xyxy",))),
        ([[0.1, 0.2, 0.3, 0.4]] * 6 + [[2, 3, 4, 5]] * 4, None, ("xywh", True, ())),
        ([[0.1, 0.2, 0.3, 0.4]] * 5 + [[2, 3, 4, 5]] * 5, None, ("xywh", False, ("xyxy", "cxcywh"))),
        ([], None, ("xywh", False, ())),
    ],
)  # fmt: skip
def test_the_format_that_is_meant(boxes: list[Any], given: str | None, found: tuple[str, bool, Any]) -> None:
    assert boxes_of.form_of([boxes[:3], boxes[3:]], [SIZE, SIZE], given) == found


def test_what_is_wrong_with_a_box() -> None:
    assert boxes_of.why_not([1, 2, float("nan"), 4], "xyxy", False, SIZE).endswith("holds a value that is not a number")
    assert boxes_of.why_not([5, 2, 5, 4], "xyxy", False, SIZE).endswith("has no area")
    assert boxes_of.why_not([5, 4, 9, 4], "xyxy", False, SIZE).endswith("has no area")
    said = boxes_of.why_not([0.5, 0.5, 0.9, 0.4], "xywh", True, SIZE)
    assert "as shares) reaches beyond the image of 80 x 60 pixels" in said


def test_a_drawn_box_is_scaled_with_its_image() -> None:
    image = Image.new("RGB", (400, 200), (90, 90, 90))
    uri = boxes_of.draw(image, [(100, 40, 300, 160)], [""], ["#ff0000"], 200)
    pixels = np.asarray(Image.open(io.BytesIO(content_of(uri)))).astype(int)
    assert pixels.shape == (100, 200, 3)
    red = pixels[..., 0] - pixels[..., 1] > 60
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    assert [rows[0], rows[-1], columns[0], columns[-1]] == pytest.approx([20, 80, 50, 150], abs=2)


# What the task makes of them


class Plain:
    """An image processor that changes nothing."""

    def __call__(self, images: Any, return_tensors: str) -> Any:
        pixels = torch.from_numpy(np.asarray(images).astype(np.float32)).permute(2, 0, 1)
        return {"pixel_values": pixels[None]}

    def post_process_object_detection(self, out: Any, threshold: float, target_sizes: Any) -> Any:
        """Middles in shares of the image -> corners in its pixels, as every image processor does."""
        assert threshold == 0.0
        found = []
        for logits, boxes, size in zip(out["logits"], out["pred_boxes"], target_sizes, strict=True):
            scores, labels = logits.softmax(-1)[:, :-1].max(-1)
            x, y, w, h = (boxes * size.flip(0).repeat(2)).unbind(1)
            corners = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1)
            found.append({"boxes": corners, "scores": scores, "labels": labels})
        return found


def about(**fields: Any) -> TaskContext:
    return TaskContext(labels=("cat", "dog"), processor=Plain(), preprocessing=Preprocessing(), **fields)


def test_a_sample_has_middles_in_shares_of_its_image() -> None:
    objects = {"boxes": List(List(Value("float32"))), "labels": List(Value("int64"))}
    rows = Dataset.from_list(
        [{"image": Image.new("RGB", SIZE), "objects": {"boxes": [[8.0, 12.0, 28.0, 42.0]], "labels": [1]}},
         {"image": Image.new("RGB", SIZE), "objects": {"boxes": [], "labels": []}}],
        features=Features({"image": ImageFeature(), "objects": objects}),
    )  # fmt: skip
    samples = task.preprocess(rows, about(), False)
    first, empty = samples[0], samples[1]
    assert first["pixel_values"].shape == (3, 60, 80) and first["size"].tolist() == [60, 80]
    assert first["labels"]["boxes"].tolist() == [pytest.approx([18 / 80, 27 / 60, 20 / 80, 30 / 60])]
    assert first["labels"]["class_labels"].tolist() == [1]
    assert empty["labels"]["boxes"].shape == (0, 4) and empty["labels"]["class_labels"].shape == (0,)
    assert "labels" not in task.preprocess(rows.remove_columns("objects"), about(), False)[0]


def test_a_flip_without_torchvision_moves_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_tl.compat.has_torchvision", lambda: False)
    image = Image.new("RGB", SIZE)
    image.putpixel((8, 12), (255, 0, 0))
    seen = set()
    for seed in range(8):
        torch.manual_seed(seed)
        changed, boxes, classes = task.augment(image, torch.tensor([[8.0, 12, 28, 42]]), torch.tensor([1]), "default")
        left = 8 if changed.getpixel((8, 12)) == (255, 0, 0) else 71
        assert changed.getpixel((left, 12)) == (255, 0, 0) and classes.tolist() == [1]
        assert boxes.tolist() == [[8, 12, 28, 42] if left == 8 else [52, 12, 72, 42]]
        seen.add(left)
    assert seen == {8, 71}


def logits(*scores: tuple[float, float]) -> torch.Tensor:
    return torch.tensor([[a, b, 1 - a - b] for a, b in scores]).log()


def test_boxes_come_back_in_pixels_of_their_own_image_surest_first() -> None:
    """The second image is padded: the model's boxes are shares of what is there and the padding."""
    out = {
        "logits": torch.stack([logits((0.2, 0.1), (0.1, 0.7)), logits((0.6, 0.1), (0.1, 0.3))]),
        "pred_boxes": torch.tensor([[[0.5, 0.5, 0.25, 0.5]] * 2] * 2),
    }
    batch = {"filled": torch.tensor([[1.0, 1.0], [0.5, 0.8]]), "sizes": torch.tensor([[60, 80], [40, 100]])}
    first, second = task.collect(None, out, batch, about())
    assert first["scores"].tolist() == pytest.approx([0.7, 0.2]) and first["labels"].tolist() == [1, 0]
    assert first["boxes"][0].tolist() == pytest.approx([30, 15, 50, 45])
    # x 0.5 / 0.8 of 100 is 62.5, 31.25 wide; y 0.5 / 0.5 of 40 is 40, 40 high
    assert second["boxes"][0].tolist() == pytest.approx([46.875, 20, 78.125, 60])
    (found,) = task.postprocess([first], None, None, about())
    assert (found["label"], found["score"]) == ("dog", pytest.approx(0.7))
    assert found["objects"] == [
        {"label": "dog", "score": pytest.approx(0.7), "box": {"xmin": 30, "ymin": 15, "xmax": 50, "ymax": 45}}
    ]  # the other is not as sure as half
    nothing = {name: value[:0] for name, value in first.items()}
    assert task.postprocess([nothing], None, None, about()) == [{"label": "", "score": 0.0, "objects": []}]


def test_a_hundred_boxes_an_image_are_kept() -> None:
    scores = [(0.9 - 0.001 * index, 0.0) for index in range(150)]
    out = {"logits": logits(*scores)[None].flip(1), "pred_boxes": torch.full((1, 150, 4), 0.5)}
    (found,) = task.collect(None, out, {"filled": torch.ones(1, 2), "sizes": torch.tensor([[60, 80]])}, about())
    assert found["scores"].tolist() == pytest.approx([a for a, _ in scores[:100]])


def test_overlaps_by_hand() -> None:
    box = np.array([0.0, 0, 10, 20])
    others = np.array([[0.0, 0, 10, 20], [5, 0, 15, 20], [0, 10, 10, 30], [10, 20, 30, 40], [0, 0, 5, 10]])
    assert task.overlap(box, others).tolist() == pytest.approx([1, 100 / 300, 100 / 300, 0, 50 / 200])


def guesses(*boxes: tuple[list[float], float, int]) -> dict[str, np.ndarray]:
    return {
        "boxes": np.array([box for box, _, _ in boxes], dtype=np.float32).reshape(-1, 4),
        "scores": np.array([score for _, score, _ in boxes], dtype=np.float32),
        "labels": np.array([label for _, _, label in boxes]),
    }


def test_each_thing_is_found_once() -> None:
    """Of class 0: two sure guesses of one thing, one unsure, one of class 1 at its place; one thing is not found."""
    here, near, there = [0.0, 0, 10, 10], [0.0, 0, 10, 6.2], [40.0, 40, 50, 50]
    found = [guesses((here, 0.9, 0), (here, 0.8, 0), (there, 0.4, 0), (near, 0.7, 1)), guesses((near, 0.6, 1))]
    true = [{"boxes": [here, there], "labels": [0, 0]}, {"boxes": [here], "labels": [1]}]
    plain = [{key: np.asarray(value) for key, value in each.items()} for each in true]
    assert task._right_and_said(found, plain, 0) == (1, 2)
    assert task._right_and_said(found, plain, 1) == (1, 2)  # an overlap of 0.62 is enough
    rows = Dataset.from_dict({"objects": true})
    measured = task.measure(found, None, rows, about(), resamples=10)
    assert [
        {key: row[key] for key in ("label", "precision", "recall", "f1", "support")} for row in measured.per_class
    ] == [
        {"label": "cat", "precision": 1 / 2, "recall": 1 / 2, "f1": 2 / 4, "support": 2},
        {"label": "dog", "precision": 1 / 2, "recall": 1.0, "f1": 2 / 3, "support": 1},
    ]
    # of class 1 an overlap of 0.62 is right at 0.5, 0.55 and 0.6, and the surer guess is wrong: half of 3 in 10
    assert measured.per_class[1]["ap"] == pytest.approx(0.15, abs=1e-3)
    # of class 0 the first of two things is found at a precision of 1, the second (unsure) at 2 of 3: of 101 recalls
    first = (51 + 50 * 2 / 3) / 101
    assert measured.values["map_50"] == pytest.approx((first + 0.5) / 2, abs=1e-3)
    assert measured.values["map_75"] == pytest.approx((first + 0) / 2, abs=1e-3)


def test_a_batch_is_padded_to_its_largest_image_and_boxes_with_it() -> None:
    """RT-DETR reads the padded image as one: a half of the height is there, and all of the width."""
    from transformers import RTDetrConfig

    label = {"boxes": torch.tensor([[0.5, 0.5, 1.0, 1.0]]), "class_labels": torch.tensor([0])}
    samples = [
        {"pixel_values": torch.ones(3, height, 96), "size": torch.tensor([60, 80]), "labels": label}
        for height in (64, 128)
    ]
    batch = task.collator(about(model_config=RTDetrConfig()), True)(samples)
    assert batch["pixel_values"].shape == (2, 3, 128, 96) and float(batch["pixel_values"][0].mean()) == 0.5
    assert batch["filled"].tolist() == [[0.5, 1.0], [1.0, 1.0]] and batch["sizes"].tolist() == [[60, 80]] * 2
    assert batch["labels"][0]["boxes"].tolist() == [[0.5, 0.25, 1.0, 0.5]]
    assert batch["labels"][1]["boxes"].tolist() == [[0.5, 0.5, 1.0, 1.0]]


def test_a_batch_weighs_as_many_boxes_as_it_has_and_one_at_least() -> None:
    def weighed(*counts: int) -> float:
        batch = {"labels": [{"class_labels": [0] * count} for count in counts]}
        return float(task.loss({"loss": torch.tensor(3.0)}, batch, about(), 8))

    assert weighed(2, 0, 3) == 3 * 5 / 8 and weighed(0, 0) == 3 / 8


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ({"bbox": [[1, 2, 3, 4]], "category": [-2]}, "box 0 is of category -2, and there are 2"),
        ({"bbox": [[1, 2, 3, 4]], "category": [2]}, "box 0 is of category 2, and there are 2"),
        ({"bbox": [[1, 2, 3, 4], None], "category": [0, 1]}, "box 1 is None, expected four numbers"),
        ({"bbox": [[1, 2, None, 4]], "category": [0]}, "expected four numbers"),
        ({"bbox": [[1, 2, float("nan"), 4]], "category": [0]}, "expected four numbers"),
        ({"bbox": [[1, 2, 3, 4]]}, "the objects have no category"),
        ({"bbox": 1e308, "category": ["cat"]}, r"the objects have 1e\+308, expected a list with a value for each"),
        ({"bbox": [[1, 2, 3, 4]], "category": 1}, "the objects have 1, expected a list"),
        ({"bbox": [7], "category": [1]}, "box 0 is 7, expected four numbers"),
    ],
)
def test_objects_that_are_none(objects: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        boxes_of.parts(objects, ["cat", "dog"])


def test_objects_as_records_and_as_lists() -> None:
    wanted = ([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], ["dog", "cat"])
    records = [{"bbox": [1, 2, 3, 4], "category": 1}, {"bbox": [5, 6, 7, 8], "category": 0}]
    lists = {"bbox": [[1, 2, 3, 4], [5, 6, 7, 8]], "category": [1, 0]}
    assert boxes_of.parts(records, ["cat", "dog"]) == boxes_of.parts(lists, ["cat", "dog"]) == wanted
    assert boxes_of.parts(None, None) == boxes_of.parts([], None) == boxes_of.parts({"bbox": []}, None) == ([], [])
