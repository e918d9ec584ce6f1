"""Semantic segmentation: a class for each pixel of an image."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hf_tl.task import Column, Defaults, Demo, Inference, Targets, Task, TaskContext
from hf_tl.tasks import _masks as masks
from hf_tl.tasks._images import IMAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch

    from hf_tl.metrics.intervals import Measurement

BACKGROUND = {"0", "#000000", "background", "bg", "unlabeled", "unlabelled", "other", "none"}
"""Names of a class 0 that is no thing of its own."""
SHOWN = 240
"""Longest side in pixels of the report's images."""


def targets(splits: Any, config: Any, known: Targets | None, notes: list[str]) -> Targets:
    """Masks as PNGs of class indices in place of `mask`, whatever ids or colours they were painted with."""
    from datasets import Image

    from hf_tl.data.images import opened
    from hf_tl.data.rows import encode_rows, replace_column, skip_rows
    from hf_tl.errors import DataError, listing

    found: dict[str, list[dict[int, int]]] = {
        split: encode_rows(splits, split, ("mask", "image"), masks.values_in, config, notes) for split in list(splits)
    }
    first = "train" if known is None else next(iter(splits))
    named = masks.names_beside(splits[first], config)
    decisive = Counter[int]()
    for each in found[first]:
        decisive.update(each)
    coding = masks.coding(decisive, named[0] if named else None, known.labels if known else None)
    if len(coding.labels) < 2:
        raise DataError(f"data.path: the masks of train hold {listing(coding.labels)} only; there is nothing to learn.")
    if len(coding.labels) > masks.MAX_CLASSES:
        raise DataError(f"data.path: the masks of train hold {len(coding.labels)} values, too many to be classes.")
    if known is None:
        doubt = masks.why_doubtful(decisive, coding) if named is None else None
        if doubt:
            raise DataError(
                f"data.path: the masks of train: {doubt} Name the classes in an id2label.json beside the data, such as "
                '{"0": "background", "255": "lesion"}: values that have a name are classes, and 255 without one counts '
                "for nothing."
            )
        notes += masks.notes_on(coding, decisive, named[1] if named else None)
    lacks = f"has no name in {named[1].name}" if named else "is not one of the model's" if known else "is not in train"
    for split, seen in found.items():
        bad = {}
        for index, each in enumerate(seen):
            unknown = coding.unknown(each)
            if unknown:
                bad[index] = f"mask value {listing(unknown, most=5)} {lacks}"
            elif not coding.counts(each):
                bad[index] = (
                    f"every pixel of the mask is {' or '.join(map(str, sorted(each)))}, which counts for nothing"
                )
        skip_rows(splits, split, bad, config, notes)
        encoded = []
        for value in splits[split].with_format(None)["mask"]:
            with opened(value) as mask:
                encoded.append({"bytes": coding.encode(mask), "path": None})
        replace_column(splits, split, "mask", encoded, Image(decode=False))
    return Targets(coding.labels)


def configure(model: Any, context: TaskContext) -> None:
    """Makes the image processor scale the whole image to one size.

    A classifier's cuts out the middle. The stock pipeline then stretches the map of the middle over the image, and
    so the processor itself is changed, and saved with the model.
    """
    from hf_tl.data.augment import processor_size

    processor = context.processor
    height, width = processor_size(processor)
    if getattr(processor, "do_center_crop", False):
        processor.do_center_crop = False
    if getattr(processor, "keep_aspect_ratio", False):
        processor.keep_aspect_ratio = False
    if getattr(processor, "do_reduce_labels", False):
        processor.do_reduce_labels = False
        context.notes.append(
            "The model's image processor takes value 0 of masks for nothing (do_reduce_labels); here 0 is a class, "
            "unless an id2label.json beside the data names the values from 1 on."
        )
    processor.size = {"height": height, "width": width}


def preprocess(rows: Any, context: TaskContext, training: bool) -> Any:
    """Images and masks decoded when read; in training both are cut and mirrored alike."""
    import torch
    from PIL import Image

    from hf_tl.data.augment import Augmented, processor_size, random_box
    from hf_tl.data.images import to_rgb
    from hf_tl.errors import ConfigError

    processor = context.processor
    height, width = processor_size(processor)
    names = context.preprocessing.augmentations if training else ()
    name = next((each for each in names if each != "default"), None)
    if name:
        raise ConfigError(
            f"data.preprocessing.augment: {name!r} would move images without their masks; choose 'default' or 'none'."
        )
    change = bool(names)

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        image, mask = to_rgb(row["image"]), row.get("mask")
        out = {"sizes": torch.tensor((image.height, image.width))}  # int64 (2,)
        box = None
        if change:
            box, flip = random_box(image.width, image.height), torch.rand(()).item() < 0.5
            image = _moved(image, (width, height), box, flip, Image.Resampling.BILINEAR)
            mask = _moved(mask, (width, height), box, flip, Image.Resampling.NEAREST)
            pixels = processor(image, return_tensors="pt", do_resize=False)["pixel_values"]
        else:
            pixels = processor(image, return_tensors="pt")["pixel_values"]
            mask = None if mask is None else mask.resize((width, height), Image.Resampling.NEAREST)
        out["pixel_values"] = pixels[0]  # float32 (channels, height, width)
        if mask is not None:
            out["labels"] = torch.from_numpy(masks.decode(mask))  # int64 (height, width)
        return out

    return Augmented(rows, encode, context.seed, fixed=not change)


def _moved(image: Any, size: tuple[int, int], box: Any, flip: bool, resample: Any) -> Any:
    from PIL import Image

    image = image.resize(size, resample, box=box)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image


def collator(context: TaskContext, training: bool) -> Any:
    import torch

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    return collate


def loss(outputs: Any, batch: Any, context: TaskContext, items: Any) -> torch.Tensor:
    """Cross-entropy over the pixels that count; `logits` (batch, labels, rows, columns) are scaled to the masks."""
    import torch
    from torch.nn.functional import cross_entropy, interpolate

    labels = batch["labels"]
    logits = interpolate(outputs["logits"].float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
    losses = cross_entropy(logits, labels, reduction="none", label_smoothing=context.label_smoothing)
    gamma = context.loss.focal_gamma if context.loss is not None else 0.0
    if gamma:
        true = logits.log_softmax(1).gather(1, labels.clamp(min=0)[:, None]).squeeze(1).exp()
        losses = losses * (1 - true).clamp(min=torch.finfo(true.dtype).tiny) ** gamma
    count = (labels != -100).sum() if items is None else torch.as_tensor(items, device=losses.device)
    mean: torch.Tensor = losses.sum() / count.clamp(min=1)  # crops may show nothing that counts
    return mean


def collect(model: Any, out: Any, batch: Any, context: TaskContext) -> list[np.ndarray]:
    """The class of each pixel of each image, by the stock post-processing: uint8 or uint16 (height, width)."""
    import numpy as np

    logits = SimpleNamespace(logits=out["logits"].float())
    sizes = [tuple(size) for size in batch["sizes"].tolist()]
    found = context.processor.post_process_semantic_segmentation(logits, target_sizes=sizes)
    dtype = np.uint8 if len(context.labels) <= 256 else np.uint16
    return [each.cpu().numpy().astype(dtype) for each in found]


def postprocess(outputs: Any, samples: Any, rows: Any, context: TaskContext) -> list[dict[str, Any]]:
    """The commonest class that is no background, its `score` (share of pixels), all `segments`, and the `mask`: class
    indices as a PNG, in a data URI."""
    import numpy as np

    background = context.labels[0].lower() in BACKGROUND
    out = []
    for ids in outputs:
        shares = np.bincount(ids.ravel(), minlength=len(context.labels)) / ids.size
        things = shares * ([0] + [1] * (len(shares) - 1)) if background else shares
        best = int(things.argmax())  # 0 where there is nothing else
        out.append(
            {
                "label": context.labels[best],
                "score": float(shares[best]),
                "segments": [
                    {"label": context.labels[index], "share": float(shares[index])}
                    for index in np.argsort(-shares, kind="stable")
                    if shares[index]
                ],
                "mask": masks.as_uri(ids),
            }
        )
    return out


def pixel_counts(outputs: Any, rows: Any, classes: int) -> np.ndarray:
    """float64 (images, 3, classes): pixels of each class that are right, predicted, true, among those that count."""
    import numpy as np

    counts = np.zeros((len(rows), 3, classes))
    for index, (ids, row) in enumerate(zip(outputs, rows.select_columns(["mask"]), strict=True)):
        true = masks.decode(row["mask"])
        counted = true >= 0
        true, found = true[counted], ids[counted]
        for which, pixels in enumerate((true[true == found], found, true)):
            counts[index, which] = np.bincount(pixels, minlength=classes)
    return counts


def measure(outputs: Any, samples: Any, rows: Any, context: TaskContext, **options: Any) -> Measurement:
    """Intersection over union and Dice, as a mean over the classes that are there or predicted; share of right pixels.

    Each from the sums of pixels over all images, as benchmarks count; intervals by drawing images.
    """
    import numpy as np

    from hf_tl.metrics.intervals import Measurement, Score, with_intervals

    classes = len(context.labels)
    counts = pixel_counts(outputs, rows, classes)
    parts = counts.reshape(len(rows), -1)

    def of(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        right, predicted, true = np.moveaxis(sums.reshape(len(sums), 3, -1), 1, 0)
        return right, predicted, true

    def iou(sums: np.ndarray) -> np.ndarray:
        right, predicted, true = of(sums)
        return ratio(right, predicted + true - right)

    def dice(sums: np.ndarray) -> np.ndarray:
        right, predicted, true = of(sums)
        return ratio(2 * right, predicted + true)

    def accuracy(sums: np.ndarray) -> np.ndarray:
        right, _, true = of(sums)
        return ratio(right.sum(1), true.sum(1))

    recomputes = {
        "mean_iou": lambda sums: np.nanmean(iou(sums), axis=1),
        "dice": lambda sums: np.nanmean(dice(sums), axis=1),
        "pixel_accuracy": accuracy,
    }
    total = parts.sum(0, keepdims=True)
    scores = {name: Score(float(recompute(total)[0]), parts, recompute) for name, recompute in recomputes.items()}
    each = {
        str(index): Score(
            float(iou(counts[:, :, index].sum(0)[None])[0, 0]), counts[:, :, index], lambda s: iou(s)[:, 0]
        )
        for index in range(classes)
    }
    true = counts.sum(0)[2]
    share = true.max() / true.sum()
    there = int((true > 0).sum())
    baseline = {"mean_iou": share / there, "dice": 2 * share / (1 + share) / there, "pixel_accuracy": share}
    return Measurement(
        with_intervals(scores, len(rows), **options),
        _per_class(counts.sum(0), context.labels, list(with_intervals(each, len(rows), **options).values())),
        baseline={name: float(value) for name, value in baseline.items()},
    )


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Not a number where there is nothing to divide by."""
    import numpy as np

    out: np.ndarray = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
    return out


def _per_class(sums: np.ndarray, labels: Sequence[str], iou: list[dict[str, float]]) -> list[dict[str, Any]]:
    """The scores of each class, from its pixels that are right, predicted and true: `sums` (3, classes)."""
    import numpy as np

    right, predicted, true = sums
    dice = np.nan_to_num(ratio(2 * right, predicted + true))
    precision, recall = np.nan_to_num(ratio(right, predicted)), np.nan_to_num(ratio(right, true))
    return [
        {
            "label": label,
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "f1": float(dice[index]),
            "dice": float(dice[index]),
            **{"iou" + end: float(np.nan_to_num(found[key])) for key, end in ENDS.items() if key in found},
            "support": int(true[index]),
        }
        for index, (label, found) in enumerate(zip(labels, iou, strict=True))
    ]


ENDS = {"value": "", "low": "_low", "high": "_high"}
"""Key of a value with its interval -> how the columns of `per_class` end."""


def render_html(row: Any, prediction: dict[str, Any], context: TaskContext) -> str:
    """The image twice, with the true mask and the one that was predicted laid over it, and what the colours
    mean."""
    import numpy as np
    from markupsafe import escape

    from hf_tl.data.images import to_rgb

    image, count = to_rgb(row["image"]), len(context.labels)
    true, found = masks.decode(row["mask"]), masks.from_uri(prediction["mask"]).astype(np.int64)
    shown = [
        f'<img src="{masks.overlay(image, ids, count, SHOWN)}" alt="{name}" title="{name}">'
        for name, ids in (("true mask", true), ("predicted mask", found))
    ]
    there = sorted({*np.unique(true[true >= 0]).tolist(), *np.unique(found).tolist()})
    key = [
        f'<span style="border-left:.8em solid rgb({red},{green},{blue});padding-left:.3em">'
        f"{escape(context.labels[index])} {np.mean(true == index):.1%}, predicted {np.mean(found == index):.1%}</span>"
        for index in there
        for red, green, blue in [masks.colours(count)[index].tolist()]
    ]
    return f"<p>{' '.join(shown)}</p><p>{' '.join(key)}</p>"


TASK = Task(
    name="image-segmentation",
    summary="a class for each pixel of an image",
    columns=(
        IMAGE,
        Column(
            "mask",
            "image",
            (
                "mask",
                "annotation",
                "label",
                "segmentation_mask",
                "labels",
                "mask_file_name",
                "annotation_file_name",
                "label_file_name",
                "segmentation_mask_file_name",
            ),
            target=True,
        ),
    ),
    auto_class="AutoModelForSemanticSegmentation",
    peft_task_type=None,
    metrics=("mean_iou", "dice", "pixel_accuracy"),
    best_metric="mean_iou",
    greater_is_better=True,
    targets=targets,
    preprocess=preprocess,
    collator=collator,
    loss=loss,
    collect=collect,
    postprocess=postprocess,
    measure=measure,
    render_html=render_html,
    configure=configure,
    inference=Inference(
        proof="""def share(mask):
    return mask.histogram()[255] / mask.width / mask.height


found = [
    {"segments": [{"label": each["label"], "share": share(each["mask"])} for each in pipe(row["image"])]}
    for row in rows
]
for each in found:
    each["segments"].sort(key=lambda segment: -segment["share"])""",
        demo=(Demo((("image", "image"),), "masks", "found = pipe(image)", result="Classes"),),
    ),
    support_unit="pixels",
    extra_fields=("sizes",),
    defaults=Defaults(
        batch_sizes=(8, 8),
        models=("nvidia/mit-b0", "google/mobilenet_v2_1.0_224", "nvidia/segformer-b0-finetuned-ade-512-512"),
    ),
    reads=(
        "data.preprocessing.image_size",
        "data.preprocessing.augment",
        "loss.focal_gamma",
        "training.label_smoothing_factor",
    ),
)
