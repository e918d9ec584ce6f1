"""Boxes on pictures: read, checked, measured and drawn. Not a task (leading underscore)."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

FORMATS = {"xywh": "left, top, width, height", "xyxy": "left, top, right, bottom", "cxcywh": "middle, width, height"}
CATEGORIES = ("category", "categories", "label", "labels", "category_id", "class", "classes", "name")
SLACK = 0.01
"""Share of a side that a box may reach over the edge, and is cut to it: annotation tools round."""
MOST = 100
"""Boxes of a picture that are measured, the surest, as COCO does."""
COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17becf")


def parts(objects: Any) -> tuple[list[list[float]], list[Any]]:
    """(boxes, categories) of a record of lists, or of a list of records.

    Raises:
        ValueError: lists of unequal length, a box that is not four numbers, or no categories.
    """
    if objects is None:
        return [], []
    if isinstance(objects, dict):
        record = objects
    else:
        keys = {key for each in objects for key in each}
        record = {key: [each.get(key) for each in objects] for key in keys}
    boxes = record.get("bbox") or []
    key = next((name for name in CATEGORIES if name in record), None)
    if key is None and boxes:
        raise ValueError("the objects have no category")
    categories = (record.get(key) if key else None) or []
    if len(boxes) != len(categories):
        raise ValueError(f"{len(boxes)} boxes have {len(categories)} categories")
    for index, box in enumerate(boxes):
        if box is None or len(box) != 4 or any(value is None or value != value for value in box):
            raise ValueError(f"box {index} is {box}, expected four numbers")
    if any(category is None for category in categories):
        raise ValueError(f"box {categories.index(None)} has no category")
    return [list(map(float, box)) for box in boxes], list(categories)


def category_key(feature: Any) -> str | None:
    """The field of an `objects` feature that holds the categories."""
    inner = getattr(feature, "feature", feature)
    return next((name for name in CATEGORIES if name in inner), None)


def corners(boxes: Any, size: tuple[int, int], form: str, relative: bool) -> np.ndarray:
    """float64 (n, 4): left, top, right, bottom in pixels of a picture of `size` (width, height)."""
    import numpy as np

    found = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    if relative:
        found = found * [*size, *size]
    a, b, c, d = found.T
    if form == "xywh":
        found = np.stack([a, b, a + c, b + d], axis=1)
    elif form == "cxcywh":
        found = np.stack([a - c / 2, b - d / 2, a + c / 2, b + d / 2], axis=1)
    return found


def fit(found: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """bool (n,): whether boxes have an area and lie on the picture, but for SLACK."""
    import numpy as np

    width, height = size
    left, top, right, bottom = found.T
    inside = (left >= -SLACK * width) & (top >= -SLACK * height)
    inside &= (right <= (1 + SLACK) * width) & (bottom <= (1 + SLACK) * height)
    out: np.ndarray = inside & (right > left) & (bottom > top) & np.isfinite(found).all(1)
    return out


def form_of(boxes: Sequence[Any], sizes: Sequence[tuple[int, int]], given: str | None) -> tuple[str, bool]:
    """(format, whether relative) of all boxes of a split: as given, else the first that fits every picture.

    COCO's left, top, width, height is what is meant where nothing fits, so that what is wrong can be named.
    """
    import numpy as np

    every = np.concatenate([np.asarray(each, dtype=np.float64).reshape(-1, 4) for each in boxes] or [np.zeros((0, 4))])
    relative = bool(len(every)) and bool((every >= -SLACK).all() and (every <= 1 + SLACK).all())
    if given:
        return given, relative
    for form in FORMATS:
        pairs = zip(boxes, sizes, strict=True)
        if all(fit(corners(each, size, form, relative), size).all() for each, size in pairs if len(each)):
            return form, relative
    return "xywh", relative


def why_not(box: Sequence[float], form: str, size: tuple[int, int]) -> str:
    """What is wrong with a box that does not fit."""
    import numpy as np

    found = corners([box], size, form, False)[0]
    shown = f"box {[round(value, 2) for value in box]} ({FORMATS[form]})"
    if not np.isfinite(found).all():
        return f"{shown} holds a value that is not a number"
    if found[2] <= found[0] or found[3] <= found[1]:
        return f"{shown} has no area"
    return f"{shown} reaches beyond the picture of {size[0]} x {size[1]} pixels; data.boxes names another format"


def measure_boxes(
    found: Sequence[dict[str, np.ndarray]], true: Sequence[dict[str, np.ndarray]], classes: int
) -> tuple[dict[str, float], list[float]]:
    """(map, map_50, map_75, mar_100; average precision of each class), by torchmetrics with COCO's own code.

    Args:
        found: for each picture `boxes` float (n, 4) as corners, `scores` (n,), `labels` (n,).
        true: the same without scores.
    """
    import torch
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(class_metrics=True, max_detection_thresholds=[1, 10, MOST])
    as_tensors = [
        [{key: torch.as_tensor(value) for key, value in each.items()} for each in side] for side in (found, true)
    ]
    metric.update(*as_tensors)
    computed = metric.compute()
    values = {name: _value(computed[name]) for name in ("map", "map_50", "map_75", f"mar_{MOST}")}
    per_class = [float("nan")] * classes
    indices, each = computed["classes"].reshape(-1).tolist(), computed["map_per_class"].reshape(-1).tolist()
    for index, value in zip(indices, each, strict=True):
        per_class[index] = value if value >= 0 else float("nan")
    return values, per_class


def _value(number: Any) -> float:
    return float(number) if float(number) >= 0 else float("nan")  # -1 says that there is nothing to find


class Resampled:
    """COCO's evaluation, matched once and accumulated anew for each resample of the pictures (pycocotools)."""

    def __init__(self, found: Sequence[dict[str, np.ndarray]], true: Sequence[dict[str, np.ndarray]]) -> None:
        import contextlib

        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        images = [{"id": index + 1} for index in range(len(true))]
        classes = sorted({int(label) for each in [*found, *true] for label in each["labels"]})
        annotations: list[dict[str, Any]] = []
        predictions: list[dict[str, Any]] = []
        for index, (guess, right) in enumerate(zip(found, true, strict=True)):
            sides_of: Any = ((annotations, right), (predictions, guess))
            for out, each in sides_of:
                scores = each.get("scores", [1.0] * len(each["labels"]))
                for box, label, score in zip(each["boxes"].tolist(), each["labels"], scores, strict=True):
                    left, top, right_, bottom = box
                    width, height = right_ - left, bottom - top
                    out.append(
                        {"id": len(out) + 1, "image_id": index + 1, "category_id": int(label), "iscrowd": 0,
                         "bbox": [left, top, width, height], "area": width * height, "score": float(score)}
                    )  # fmt: skip
        sides = []
        with contextlib.redirect_stdout(io.StringIO()):
            for written in (annotations, predictions):
                side = COCO()
                side.dataset = {
                    "images": images, "annotations": written, "categories": [{"id": label} for label in classes]
                }  # fmt: skip
                side.createIndex()
                sides.append(side)
            self.coco = COCOeval(*sides, iouType="bbox")
            self.coco.params.areaRng, self.coco.params.areaRngLbl = [[0, 1e10]], ["all"]
            self.coco.params.maxDets = [1, 10, MOST]
            self.coco.evaluate()
        self.matched = self.coco.evalImgs  # by class, then picture
        self.count = len(images)

    def __call__(self, index: np.ndarray) -> tuple[float, float, float, float]:
        """(map, map_50, map_75, mar_100) of the pictures `index` (samples,), which may repeat."""
        import contextlib

        of_class = [self.matched[at : at + self.count] for at in range(0, len(self.matched), self.count)]
        self.coco.evalImgs = [each[picture] for each in of_class for picture in index.tolist()]
        with contextlib.redirect_stdout(io.StringIO()):
            self.coco.accumulate()
        precision = self.coco.eval["precision"][..., 0, -1]  # (thresholds, recalls, classes), -1: nothing to find
        recall = self.coco.eval["recall"][..., 0, -1]

        def mean(values: np.ndarray) -> float:
            there = values[values > -1]
            return float(there.mean()) if there.size else float("nan")

        return mean(precision), mean(precision[0]), mean(precision[5]), mean(recall)


def draw(image: Image.Image, boxes: Any, titles: Sequence[str], colours: Sequence[str], side: int) -> str:
    """JPEG data URI of an RGB picture with boxes (corners in its pixels) and what they are."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    share = min(1.0, side / max(image.size))
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    small = image.resize(size, Pillow.Resampling.BILINEAR)
    pen, font = ImageDraw.Draw(small), ImageFont.load_default(10)
    for box, title, colour in zip(boxes, titles, colours, strict=True):
        left, top, right, bottom = (float(value) * share for value in box)
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=2)
        if title:
            where = pen.textbbox((left + 1, max(0.0, top - 11)), title, font=font)
            pen.rectangle(where, fill=colour)
            pen.text(where[:2], title, fill="white", font=font)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
