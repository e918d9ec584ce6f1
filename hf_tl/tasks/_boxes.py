"""Boxes on images: read, checked, measured and drawn. Not a task (leading underscore)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_tl.io.data_uri import data_uri

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

FORMATS = {"xywh": "left, top, width, height", "xyxy": "left, top, right, bottom", "cxcywh": "middle, width, height"}
CATEGORIES = ("category", "categories", "label", "labels", "category_id", "class", "classes", "name")
SLACK = 0.01
"""Share of a side that a box may reach over the edge, and is cut to it: annotation tools round."""
MISFITS = 0.2
"""Share of all boxes that have to lie off their images for another format than xywh to be meant: fewer are mistakes
in boxes of that format."""
MAX_DETECTIONS = 100
"""Boxes of an image that are measured, the surest, as COCO does."""
COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17becf")


def parts(objects: Any, names: Sequence[str] | None) -> tuple[list[list[float]], list[str]]:
    """(boxes, names of their categories) of a record of lists, or of a list of records.

    Args:
        names: of the categories, where those are ids into them.

    Raises:
        ValueError: what is wrong with the file already, lists of unequal length, a box that is not four numbers, a
            category that is missing or has no name.
    """
    from hf_tl.data.annotations import WRONG
    from hf_tl.data.label_values import label_name

    if objects is None:
        return [], []
    if isinstance(objects, dict):
        record = objects
    else:
        keys = {key for each in objects for key in each}
        record = {key: [each.get(key) for each in objects] for key in keys}
    if record.get(WRONG):
        raise ValueError(record[WRONG])
    boxes = record.get("bbox") or []
    key = next((name for name in CATEGORIES if name in record), None)
    if key is None and boxes:
        raise ValueError("the objects have no category")
    categories = (record.get(key) if key else None) or []
    if not isinstance(boxes, list) or not isinstance(categories, list):
        odd = boxes if not isinstance(boxes, list) else categories
        raise ValueError(f"the objects have {odd!r}, expected a list with a value for each")
    if len(boxes) != len(categories):
        raise ValueError(f"{len(boxes)} boxes have {len(categories)} categories")
    found = []
    for index, (box, category) in enumerate(zip(boxes, categories, strict=True)):
        if not isinstance(box, list) or len(box) != 4 or any(value is None or value != value for value in box):
            raise ValueError(f"box {index} is {box}, expected four numbers")
        name = label_name(category)
        if name is None or (names is not None and category == -1):  # a ClassLabel's own mark
            raise ValueError(f"box {index} has no category")
        if names is not None and not 0 <= category < len(names):
            raise ValueError(f"box {index} is of category {category}, and there are {len(names)}")
        found.append(names[category] if names is not None else name)
    return [list(map(float, box)) for box in boxes], found


def category_key(feature: Any) -> str | None:
    """The field of an `objects` feature that holds the categories."""
    inner = getattr(feature, "feature", feature)
    return next((name for name in CATEGORIES if name in inner), None)


def corners(boxes: Any, size: Any, form: str, relative: bool) -> np.ndarray:
    """float64 (n, 4): left, top, right, bottom in pixels of an image of `size` (width, height), or of an image for
    each box, (n, 2)."""
    import numpy as np

    found = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    if relative:
        found = found * np.tile(np.asarray(size), 2)
    a, b, c, d = found.T
    if form == "xywh":
        found = np.stack([a, b, a + c, b + d], axis=1)
    elif form == "cxcywh":
        found = np.stack([a - c / 2, b - d / 2, a + c / 2, b + d / 2], axis=1)
    return found


def fit(found: np.ndarray, size: Any) -> np.ndarray:
    """bool (n,): whether boxes have an area and lie on the image, but for SLACK; `size` as for `corners`."""
    import numpy as np

    limits = np.tile(np.asarray(size, dtype=np.float64), 2)
    inside = ((found >= -SLACK * limits) & (found <= (1 + SLACK) * limits)).all(1)
    left, top, right, bottom = found.clip(0, limits).T
    out: np.ndarray = inside & (right > left) & (bottom > top)
    return out


def form_of(
    boxes: Sequence[Any], sizes: Sequence[tuple[int, int]], given: str | None
) -> tuple[str, bool, tuple[str, ...]]:
    """(format, whether relative, other formats that would fit every box) of all boxes of a split.

    The format is the one given. Else it is xywh, COCO's and the Hub's, unless more than MISFITS of the boxes are off
    their images in it and far fewer in another. A few boxes that do not fit say nothing about the rest.
    """
    import numpy as np

    every = np.concatenate([np.asarray(each, dtype=np.float64).reshape(-1, 4) for each in boxes] or [np.zeros((0, 4))])
    size = np.repeat(np.asarray(sizes).reshape(-1, 2), [len(each) for each in boxes], axis=0)
    relative = bool(((every >= -SLACK) & (every <= 1 + SLACK)).all(1).mean() > 0.5) if len(every) else False
    off = {form: float(np.mean(~fit(corners(every, size, form, relative), size))) for form in FORMATS if len(every)}
    form = given or "xywh"
    if not given and off and off["xywh"] > MISFITS:
        best = min(off, key=lambda each: off[each])
        form = best if off[best] < off["xywh"] / 4 else form
    return form, relative, tuple(each for each, share in off.items() if each != form and not share)


def why_not(box: Sequence[float], form: str, relative: bool, size: tuple[int, int]) -> str:
    """What is wrong with a box that does not fit."""
    import numpy as np

    found = corners([box], size, form, relative)[0]
    shown = f"box {[round(value, 4) for value in box]} ({FORMATS[form]}{', as shares' if relative else ''})"
    if not np.isfinite(found).all():
        return f"{shown} holds a value that is not a number"
    if found[2] <= found[0] or found[3] <= found[1]:
        return f"{shown} has no area"
    return f"{shown} reaches beyond the image of {size[0]} x {size[1]} pixels; data.boxes names another format"


def measure_boxes(
    found: Sequence[dict[str, np.ndarray]], true: Sequence[dict[str, np.ndarray]], classes: int
) -> tuple[dict[str, float], list[float]]:
    """(map, map_50, map_75, mar_100; average precision of each class), by torchmetrics with COCO's own code.

    Args:
        found: for each image `boxes` float (n, 4) as corners, `scores` (n,), `labels` (n,).
        true: the same without scores.
    """
    import torch
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(class_metrics=True, max_detection_thresholds=[1, 10, MAX_DETECTIONS])
    as_tensors = [
        [{key: torch.as_tensor(value) for key, value in each.items()} for each in side] for side in (found, true)
    ]
    metric.update(*as_tensors)
    computed = metric.compute()
    values = {name: _value(computed[name]) for name in ("map", "map_50", "map_75", f"mar_{MAX_DETECTIONS}")}
    per_class = [float("nan")] * classes
    indices, each = computed["classes"].reshape(-1).tolist(), computed["map_per_class"].reshape(-1).tolist()
    for index, value in zip(indices, each, strict=True):
        per_class[index] = value if value >= 0 else float("nan")
    return values, per_class


def _value(number: Any) -> float:
    return float(number) if float(number) >= 0 else float("nan")  # -1 says that there is nothing to find


class Resampled:
    """COCO's evaluation, matched once and accumulated anew for each resample of the images (pycocotools)."""

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
            self.coco.params.maxDets = [MAX_DETECTIONS]
            self.coco.evaluate()
        self.matched = self.coco.evalImgs  # by class, then image
        self.count, self.classes = len(images), classes

    def __call__(self, index: np.ndarray) -> list[float]:
        """map, map_50, map_75, mar_100, and the average precision of each of `classes`, of the images `index`
        (samples,), which may repeat; not a number where there is nothing to find."""
        import contextlib

        import numpy as np

        of_class = [self.matched[at : at + self.count] for at in range(0, len(self.matched), self.count)]
        self.coco.evalImgs = [each[image] for each in of_class for image in index.tolist()]
        with contextlib.redirect_stdout(io.StringIO()):
            self.coco.accumulate()
        precision = self.coco.eval["precision"][..., 0, -1]  # (thresholds, recalls, classes), -1: nothing to find
        recall = self.coco.eval["recall"][..., 0, -1]

        def mean(values: np.ndarray) -> float:
            there = values[values > -1]
            return float(there.mean()) if there.size else float("nan")

        each = [mean(of) for of in np.moveaxis(precision, -1, 0)]
        return [mean(precision), mean(precision[0]), mean(precision[5]), mean(recall), *each]


def draw(image: Image.Image, boxes: Any, titles: Sequence[str], colours: Sequence[str], side: int) -> str:
    """JPEG data URI of an RGB image with boxes (corners in its pixels) and what they are."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    from hf_tl.data.image_values import jpeg

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
    return data_uri(jpeg(small, 85))


def read(
    splits: Any, names: list[str] | None, config: Any, notes: list[str]
) -> dict[str, list[tuple[Any, list[str], tuple[int, int]]]]:
    """Split -> (boxes, categories, size of the image) of each row; rows that cannot be read leave `splits` too."""
    from hf_tl.data.images import upright_size
    from hf_tl.data.rows import encode_rows

    def of_row(objects: Any, image: Any) -> tuple[Any, list[str], tuple[int, int]]:
        boxes, categories = parts(objects, names)
        return boxes, categories, upright_size(image)

    return {split: encode_rows(splits, split, ("objects", "image"), of_row, config, notes) for split in list(splits)}
