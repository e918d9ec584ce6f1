"""Object detection: boxes of things and what they are (DETR and its kin, RT-DETR, D-FINE, YOLOS)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from hf_tl.task import Column, Defaults, Demo, Inference, Targets, Task, TaskContext
from hf_tl.tasks import _boxes as boxes_of
from hf_tl.tasks._images import IMAGE

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hf_tl.metrics.intervals import Measurement

THRESHOLD = 0.5
"""Score from which on a box is a prediction, as in the stock pipeline."""
SHOWN = 320
"""Longest side in pixels of the report's images."""
CROPS = 0.5
"""Share of the training images that are cropped."""


def targets(splits: Any, config: Any, known: Targets | None, notes: list[str]) -> Targets:
    """Boxes as corners in pixels and class ids, in place of `objects`, whatever format they came in."""
    from datasets import ClassLabel, List, Value

    from hf_tl.data.annotations import WRONG
    from hf_tl.data.rows import replace_column, skip_rows, sort_key
    from hf_tl.data.sources import FILE
    from hf_tl.errors import DataError, did_you_mean

    feature = next(iter(splits.values())).features["objects"]
    key, inner = boxes_of.category_key(feature), getattr(feature, "feature", feature)
    of_key: Any = inner.get(key) if key else None
    of_class = getattr(of_key, "feature", of_key)
    names = of_class.names if isinstance(of_class, ClassLabel) else None
    found = boxes_of.read(splits, names, config, notes)
    first = "train" if known is None else next(iter(splits))
    given = config.boxes or ("xywh" if WRONG in inner else None)  # annotation files say what theirs are
    form, relative, others = boxes_of.form_of(
        [boxes for boxes, _, _ in found[first]], [size for _, _, size in found[first]], given
    )
    if known is None:
        share = ", as shares of the image" if relative else ""
        also = "; they would fit as xyxy too" if "xyxy" in others and not given else ""
        notes.append(f"Boxes are {boxes_of.FORMATS[form]}{share}{also} (data.boxes says otherwise).")
    seen = {name for _, categories, _ in found[first] for name in categories}
    labels = known.labels if known else tuple(names or sorted(seen, key=sort_key))
    if not seen and known is None:
        raise DataError("data.path: no image of train has a box; there is nothing to learn.")
    ids = {label: index for index, label in enumerate(labels)}
    for split, rows in found.items():
        encoded, bad = [], {}
        for index, (boxes, categories, size) in enumerate(rows):
            corners = boxes_of.corners(boxes, size, form, relative)
            fits = boxes_of.fit(corners, size)
            if not fits.all():
                bad[index] = boxes_of.why_not(boxes[int((~fits).argmax())], form, relative, size)
                if others and not given:  # leaving it out would leave the rest misread
                    raise DataError(
                        f"{splits[split][index][FILE]}: {bad[index].partition(';')[0]}, and as {' or '.join(others)} "
                        f"every box fits; say which is meant with data.boxes={form} or data.boxes={others[0]}."
                    )
            unknown = next((name for name in categories if name not in ids), None)
            if unknown is not None:
                lacks = "is not one of the model's" if known else "is not in train"
                bad.setdefault(index, f"category {unknown!r} {lacks}{did_you_mean(unknown, labels) or ''}".rstrip("."))
            kept = corners.clip(0, [*size, *size]).tolist()
            encoded.append({"boxes": kept, "labels": [ids.get(name, -1) for name in categories]})
        skip_rows(splits, split, bad, config, notes)
        good = [each for index, each in enumerate(encoded) if index not in bad]
        replace_column(
            splits, split, "objects", good, {"boxes": List(List(Value("float32"))), "labels": List(Value("int64"))}
        )
    return Targets(labels)


def preprocess(rows: Any, context: TaskContext, training: bool) -> Any:
    """Images as the image processor makes them, with `size`, the original (height, width), and `labels`: `boxes` as
    (middle, width, height) in shares of the image, and `class_labels`."""
    import torch

    from hf_tl.data.augment import Augmented
    from hf_tl.data.images import to_rgb

    names = context.preprocessing.augmentations if training else ()
    change = next((name for name in names if name != "default"), "default") if names else "none"

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        image, objects = to_rgb(row["image"]), row.get("objects")
        boxes = torch.tensor(objects["boxes"] if objects else [], dtype=torch.float32).reshape(-1, 4)
        classes = torch.tensor(objects["labels"] if objects else [], dtype=torch.int64)
        if change != "none":
            image, boxes, classes = augment(image, boxes, classes, change)
        out = {
            "pixel_values": context.processor(images=image, return_tensors="pt")["pixel_values"][0],
            "size": torch.tensor([image.height, image.width]),
        }
        if objects is not None:
            left, top, right, bottom = (boxes / torch.tensor([image.width, image.height] * 2)).unbind(1)
            middle = torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], dim=1)
            out["labels"] = {"boxes": middle, "class_labels": classes}  # float32 (objects, 4), int64 (objects,)
        return out

    return Augmented(rows, encode, context.seed, fixed=change == "none")


def augment(image: Any, boxes: torch.Tensor, classes: torch.Tensor, name: str) -> tuple[Any, Any, Any]:
    """The image changed and its boxes (corners in pixels) moved with it, by torchvision's v2 transforms: colours, a
    crop that keeps a part of some box (Liu et al. 2015, https://arxiv.org/abs/1512.02325), a flip. Without torchvision
    only the flip. Boxes that are left with no area go.

    Raises:
        ConfigError: `name` is an augmentation of whole images.
    """
    import torch
    from PIL import Image

    from hf_tl.compat import has_torchvision
    from hf_tl.errors import ConfigError

    if name != "default":
        raise ConfigError(f"data.preprocessing.augment: {name!r} is for whole images; with boxes use default or none.")
    if not has_torchvision():
        if torch.rand(()).item() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            left, top, right, bottom = boxes.unbind(1)
            boxes = torch.stack([image.width - right, top, image.width - left, bottom], dim=1)
        return image, boxes, classes
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    given = {
        "image": image,
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(image.height, image.width)),
        "labels": classes,
    }
    steps: list[Any] = [v2.RandomPhotometricDistort(p=0.5), v2.RandomHorizontalFlip()]
    if len(boxes):
        steps.insert(1, v2.RandomApply([v2.RandomIoUCrop(min_scale=0.5)], p=CROPS))
    out = v2.Compose([*steps, v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(min_size=2)])(given)
    return out["image"], torch.as_tensor(out["boxes"]).reshape(-1, 4), out["labels"]


def collator(context: TaskContext, training: bool) -> Any:
    """Pads a batch to its largest image, to the right and below, with `pixel_mask` where the model reads one.

    `filled` is the share of the padded image, (height, width), that the model's boxes are measured in.
    """
    import torch
    import transformers

    of_model = transformers.AutoModelForObjectDetection._model_mapping[type(context.model_config)]
    masked = "pixel_mask" in inspect.signature(of_model.forward).parameters
    own = measures_by_mask(of_model)

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        images = [sample["pixel_values"] for sample in samples]  # each float32 (channels, height, width)
        shapes = torch.tensor([image.shape[-2:] for image in images])
        height, width = shapes.max(0).values.tolist()
        batch: dict[str, Any] = {
            "pixel_values": torch.stack(
                [torch.nn.functional.pad(p, (0, width - p.shape[-1], 0, height - p.shape[-2])) for p in images]
            ),
            "sizes": torch.stack([sample["size"] for sample in samples]),
            "filled": shapes / shapes if own else shapes / torch.tensor([height, width]),  # float32 (batch, 2)
        }
        if masked:
            batch["pixel_mask"] = torch.stack(
                [torch.nn.functional.pad(torch.ones(h, w), (0, width - w, 0, height - h)) for h, w in shapes.tolist()]
            ).long()
        if "labels" in samples[0]:
            batch["labels"] = [
                {**each["labels"], "boxes": each["labels"]["boxes"] * fill.flip(0).repeat(2)}
                for each, fill in zip(samples, batch["filled"], strict=True)
            ]
        return batch

    return collate


def measures_by_mask(of_model: type) -> bool:
    """Whether a class of models gives boxes in shares of the image without its padding.

    DETR and its next of kin count positions along `pixel_mask` and so cannot see the padding (Carion et al. 2020,
    https://arxiv.org/abs/2005.12872); RT-DETR, D-FINE and YOLOS read the padded image as one. Found from what their
    module holds; a test holds it against what the models compute.
    """
    parts: list[tuple[str, Any]] = inspect.getmembers(inspect.getmodule(of_model), inspect.isclass)
    return any(
        hasattr(part, "get_valid_ratio")
        or ("PositionEmbedding" in name and any("mask" in each for each in inspect.signature(part.forward).parameters))
        for name, part in parts
    )


def loss(outputs: Any, batch: Any, context: TaskContext, items: Any) -> torch.Tensor:
    """The model's own: boxes are matched to what is there, and class, distance and overlap compared (Carion et al.
    2020, https://arxiv.org/abs/2005.12872). It is a mean over boxes, so batches are weighed by theirs."""
    mean: torch.Tensor = outputs["loss"]
    return mean if items is None else mean * _count(batch) / items


def _count(batch: Any) -> int:
    return max(1, sum(len(each["class_labels"]) for each in batch["labels"]))


def collect(model: Any, out: Any, batch: Any, context: TaskContext) -> list[dict[str, np.ndarray]]:
    """Of each image its surest boxes: `boxes` float32 (n, 4) as corners in its own pixels, `scores`, `labels`."""
    height, width = batch["filled"].unbind(1)
    out["logits"], out["pred_boxes"] = out["logits"].float(), out["pred_boxes"].float()
    if bool((batch["filled"] < 1).any()):  # relative to the padded image
        import torch

        scale = torch.stack([width, height, width, height], dim=1)
        out["pred_boxes"] = out["pred_boxes"] / scale[:, None].to(out["pred_boxes"])
    found = context.processor.post_process_object_detection(out, threshold=0.0, target_sizes=batch["sizes"])
    kept = []
    for each in found:
        order = each["scores"].argsort(descending=True, stable=True)[: boxes_of.MAX_DETECTIONS]
        kept.append({name: value[order].cpu().numpy() for name, value in each.items()})
    return kept


def postprocess(outputs: Any, samples: Any, rows: Any, context: TaskContext) -> list[dict[str, Any]]:
    """`objects`, as the stock pipeline gives them; `label` and `score` are those of the surest box of all."""
    out = []
    for each in outputs:
        objects = [
            {
                "label": context.labels[label],
                "score": float(score),
                "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), map(int, box), strict=True)),
            }
            for box, score, label in zip(each["boxes"], each["scores"], each["labels"], strict=True)
        ]
        best: dict[str, Any] = objects[0] if objects else {"label": "", "score": 0.0}
        sure = [found for found in objects if found["score"] > THRESHOLD]
        out.append({"label": best["label"], "score": best["score"], "objects": sure})
    return out


def measure(outputs: Any, samples: Any, rows: Any, context: TaskContext, **options: Any) -> Measurement:
    """Mean average precision as COCO defines it (over overlaps of 0.5 to 0.95, at 0.5, at 0.75), recall with 100 boxes
    an image, and of each class its average precision; intervals by drawing images."""
    import numpy as np

    from hf_tl.metrics.intervals import Measurement, Score, with_intervals

    true = [
        {"boxes": np.asarray(each["boxes"], dtype=np.float32).reshape(-1, 4), "labels": np.asarray(each["labels"], int)}
        for each in rows["objects"]
    ]
    values, per_class = boxes_of.measure_boxes(outputs, true, len(context.labels))
    if not options.get("resamples", 1):
        return Measurement({name: {"value": value} for name, value in values.items()})
    again = boxes_of.Resampled(outputs, true)
    cached: dict[bytes, list[float]] = {}

    def of(which: int) -> Any:
        def value(index: np.ndarray) -> float:
            key = index.tobytes()
            if key not in cached:
                cached[key] = again(index)
            return cached[key][which]

        return value

    scores = {name: Score(value, recompute=of(which)) for which, (name, value) in enumerate(values.items())}
    for which, index in enumerate(again.classes, len(values)):
        if per_class[index] == per_class[index]:  # there is something to find
            scores[f"ap of {index}"] = Score(per_class[index], recompute=of(which))
    drawn = with_intervals(scores, len(rows), **options)
    support = np.bincount(np.concatenate([each["labels"] for each in true]), minlength=len(context.labels))
    classes = []
    for index, label in enumerate(context.labels):
        right, said = _right_and_said(outputs, true, index)
        precision, recall = right / max(1, said), right / max(1, int(support[index]))
        f1 = 2 * right / max(1, said + int(support[index]))
        row = {"label": label, "precision": precision, "recall": recall, "f1": f1, "support": int(support[index])}
        ap = drawn.get(f"ap of {index}", {})
        classes.append({**row, **{"ap" + end: ap[key] for key, end in ENDS.items() if key in ap}})
    return Measurement({name: drawn[name] for name in values}, classes)


ENDS = {"value": "", "low": "_low", "high": "_high"}
"""Key of a value with its interval -> how the columns of `per_class` end."""


def _right_and_said(found: Any, true: Any, label: int) -> tuple[int, int]:
    """(boxes of a class that are right at an overlap of 0.5, boxes that are predicted), each thing found once."""
    import numpy as np

    right = said = 0
    for guess, there in zip(found, true, strict=True):
        sure = (guess["labels"] == label) & (guess["scores"] > THRESHOLD)
        boxes, wanted = guess["boxes"][sure], there["boxes"][there["labels"] == label]
        said += len(boxes)
        free = np.ones(len(wanted), dtype=bool)
        for box in boxes:  # surest first
            overlaps = overlap(box, wanted) * free
            if overlaps.size and overlaps.max() >= 0.5:
                free[overlaps.argmax()] = False
                right += 1
    return right, said


def overlap(box: Any, others: Any) -> np.ndarray:
    """Intersection over union of a box with each of `others` (n, 4), corners."""
    import numpy as np

    sides = np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None)
    shared = sides.prod(1)
    area = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - shared
    out: np.ndarray = shared / np.maximum(area, 1e-9)
    return out


def render_html(row: Any, prediction: dict[str, Any], context: TaskContext) -> str:
    """The image twice: with the boxes that are right, and with those that were found."""
    from markupsafe import escape

    from hf_tl.data.images import to_rgb

    image, count = to_rgb(row["image"]), len(boxes_of.COLOURS)
    true = [(box, context.labels[label], label) for box, label in zip(*row["objects"].values(), strict=True)]
    found = [
        (list(each["box"].values()), f"{each['label']} {each['score']:.2f}", context.labels.index(each["label"]))
        for each in prediction["objects"]
    ]
    images = []
    for title, which in (("right", true), ("found", found)):
        colours = [boxes_of.COLOURS[label % count] for _, _, label in which]
        uri = boxes_of.draw(image, [box for box, _, _ in which], [text for _, text, _ in which], colours, SHOWN)
        images.append(f'{title}<br><img src="{uri}" alt="{title}" title="{title}"><br>')
    named = sorted({label for _, _, label in [*true, *found]})
    key = [
        f'<span style="border-left:.8em solid {boxes_of.COLOURS[label % count]};padding-left:.3em">'
        f"{escape(context.labels[label])}</span>"
        for label in named
    ]
    return f"<p>{' '.join(images)}</p><p>{len(true)} there, {len(found)} found. {' '.join(key)}</p>"


TASK = Task(
    name="object-detection",
    summary="bounding boxes of objects, with a class for each",
    columns=(
        IMAGE,
        Column("objects", "objects", ("objects", "annotations", "boxes", "labels"), target=True),
    ),
    auto_class="AutoModelForObjectDetection",
    peft_task_type=None,
    metrics=("map", "map_50", "map_75", f"mar_{boxes_of.MAX_DETECTIONS}"),
    best_metric="map",
    greater_is_better=True,
    targets=targets,
    preprocess=preprocess,
    collator=collator,
    loss=loss,
    items=_count,
    collect=collect,
    postprocess=postprocess,
    measure=measure,
    render_html=render_html,
    inference=Inference(
        proof=f"""found = [{{"objects": pipe(row["image"], threshold={THRESHOLD})}} for row in rows]""",
        demo=(
            Demo(
                (("image", "image"), ("least_score", "score")),
                "boxes",
                "found = pipe(image, threshold=least_score)",
                result="Found",
            ),
        ),
    ),
    support_unit="boxes",
    model_computes_loss=True,
    extra_fields=("sizes", "filled"),
    defaults=Defaults(
        # images of unequal size would be padded together, and then scores are not quite those of the stock pipeline
        batch_sizes=(8, 1),
        models=("hustvl/yolos-tiny", "PekingU/rtdetr_v2_r18vd", "ustc-community/dfine-small-coco"),
    ),
    reads=("data.preprocessing.image_size", "data.preprocessing.augment", "data.boxes"),
)
