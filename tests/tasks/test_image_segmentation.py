"""Semantic segmentation: masks of every kind, what is measured, and what Transformers alone gives."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import hf_tl
from hf_tl.config import load_config
from hf_tl.data import load_data
from hf_tl.errors import ConfigError, DataError
from hf_tl.task import TaskContext
from hf_tl.tasks import _masks as masks
from hf_tl.tasks import image_segmentation as task
from tests.tiny import tiny_mobilenet

WIDTH, HEIGHT = 64, 48
QUICK = {"num_train_epochs": 15, "learning_rate": 3e-3, "bf16": False, "per_device_train_batch_size": 4}
PATHS = {"train": 12, "validation": 4, "test": 4}

CLEAN_PROCESS = """
import base64, json, sys
sys.modules["torchvision"] = None  # a machine with torch and transformers alone
sys.modules["hf_tl"] = None
import numpy as np
from transformers import pipeline
model, inputs = json.loads(sys.stdin.read())
pipe = pipeline("image-segmentation", model=model)
out = []
for one in pipe(inputs):
    ids = np.full(np.asarray(one[0]["mask"]).shape, 255, np.uint8)
    for each in one:
        ids[np.asarray(each["mask"]) > 0] = pipe.model.config.label2id[each["label"]]
    out.append([ids.shape, base64.b64encode(ids.tobytes()).decode()])
print("RESULT" + json.dumps(out))
"""


def stock_maps(model: Path, inputs: list[str]) -> list[np.ndarray]:
    """Class of each pixel, uint8 (height, width), as the stock pipeline's masks say in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", CLEAN_PROCESS], input=json.dumps([str(model), inputs]), capture_output=True, text=True,
        cwd="/", env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}, timeout=300,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert lines, done.stderr[-3000:]
    found = json.loads(lines[-1].removeprefix("RESULT"))
    return [np.frombuffer(base64.b64decode(text), np.uint8).reshape(shape) for shape, text in found]


def tiny_segformer(folder: Path) -> Path:
    """A SegFormer encoder of 32 x 32 images whose logits have a quarter of their side."""
    from transformers import SegformerConfig, SegformerImageProcessor, SegformerModel

    torch.manual_seed(0)
    config = SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[16, 32], patch_sizes=[7, 3],
        strides=[4, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=32,
        classifier_dropout_prob=0.0,
    )  # fmt: skip
    SegformerModel(config).save_pretrained(folder)
    SegformerImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def rectangles(index: int) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 image (HEIGHT, WIDTH, 3), int mask (HEIGHT, WIDTH)): a red rectangle, class 1, and a blue one, class 2,
    on noise."""
    drawn = np.random.default_rng(index)
    pixels, mask = drawn.integers(0, 90, (HEIGHT, WIDTH, 3), dtype=np.uint8), np.zeros((HEIGHT, WIDTH), int)
    for value, channel, left in ((1, 0, 0), (2, 2, WIDTH // 2)):
        x, y = left + drawn.integers(0, 8), drawn.integers(0, HEIGHT // 2)
        mask[y : y + HEIGHT // 2, x : x + WIDTH // 2 - 8] = value
        pixels[mask == value, channel] += 150
    return pixels, mask


def plain(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8))


def segmentation_folder(folder: Path, paint: Any = plain, splits: dict[str, int] | None = None) -> Path:
    """`split/metadata.jsonl` that names images and masks; `paint` makes the image of a mask (0, 1, 2)."""
    for number, (split, count) in enumerate((splits or PATHS).items()):
        (folder / split).mkdir(parents=True)
        lines = []
        for index in range(count):
            pixels, mask = rectangles(100 * number + index)
            Image.fromarray(pixels).save(folder / split / f"{index}.png")
            paint(mask).save(folder / split / f"{index}_mask.png")
            lines.append(json.dumps({"file_name": f"{index}.png", "mask_file_name": f"{index}_mask.png"}))
        (folder / split / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def read(folder: Path, **options: Any) -> Any:
    return load_data(load_config({"model": "-", "data": {"path": str(folder), **options}}).data)


def run_of(folder: Path, method: str, make: Any = tiny_segformer, **options: Any) -> hf_tl.Run:
    return hf_tl.finetune(
        model={"id": str(make(folder / "model")), **options.pop("model", {})},
        data=str(segmentation_folder(folder / "data")),
        method=method,
        output=str(folder / "run"),
        training={**QUICK, **options.pop("training", {})},
    )


def check_stock(run: hf_tl.Run, folder: Path) -> None:
    images = [str(folder / "data" / "test" / f"{index}.png") for index in range(3)]
    for ours, theirs in zip(run.predict(images), stock_maps(run.model, images), strict=True):
        assert theirs.shape == (HEIGHT, WIDTH)
        assert np.array_equal(masks.from_uri(ours["mask"]), theirs)
        shares = {each["label"]: each["share"] for each in ours["segments"]}
        for index, label in enumerate(["0", "1", "2"]):
            assert shares.get(label, 0) == pytest.approx((theirs == index).mean())


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.slow), "frozen"])
def test_every_method(method: str, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    run = run_of(tmp_path, method)
    metrics = run.metrics
    assert metrics["split"] == "test" and metrics["labels"] == ["0", "1", "2"]
    for value in metrics["metrics"].values():
        assert value["low"] <= value["value"] <= value["high"]
    assert [row["label"] for row in metrics["per_class"]] == ["0", "1", "2"]
    assert all(row["iou_low"] <= row["iou"] <= row["iou_high"] for row in metrics["per_class"])
    assert sum(row["support"] for row in metrics["per_class"]) == 4 * HEIGHT * WIDTH
    if method == "full":
        assert metrics["metrics"]["mean_iou"]["value"] > 0.6
    check_stock(run, tmp_path)
    shown = pq.read_table(run.folder / "predictions.parquet").to_pandas()["shown"]
    assert shown.iloc[0].count("data:image/jpeg;base64,") == 2
    again = run.evaluate()
    assert again["metrics"] == metrics["metrics"]


def test_backbone_of_a_classifier_sees_the_whole_image(tmp_path: Path) -> None:
    """The classifier's processor cuts out the middle; the saved one must not, or the map would be stretched."""
    options = {"model": {"config": {"output_stride": 8}}, "training": {"num_train_epochs": 2}}
    run = run_of(tmp_path, "full", tiny_mobilenet, **options)
    processor = json.loads((run.model / "preprocessor_config.json").read_text())
    assert processor["do_center_crop"] is False and processor["size"] == {"height": 32, "width": 32}
    assert json.loads((run.model / "config.json").read_text())["architectures"] == [
        "MobileNetV2ForSemanticSegmentation"
    ]
    check_stock(run, tmp_path)


def colour(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)[mask])


def palette(mask: np.ndarray) -> Image.Image:
    image = plain(mask).convert("P")
    image.putdata(mask.astype(np.uint8).ravel().tolist())
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    return image


def edged(mask: np.ndarray) -> Image.Image:
    values = mask.astype(np.uint8)
    values[:2] = 255
    return Image.fromarray(values)


PAINTED = {
    "index": (plain, ("0", "1", "2")),
    "palette": (palette, ("0", "1", "2")),
    "sparse": (lambda mask: plain(np.array([0, 7, 30])[mask]), ("0", "7", "30")),
    "16 bit": (lambda mask: Image.fromarray(np.array([0, 7, 3000], np.uint16)[mask]), ("0", "7", "3000")),
    "colour": (colour, ("#000000", "#0000ff", "#ff0000")),
    "grey in three channels": (lambda mask: plain(mask).convert("RGB"), ("0", "1", "2")),
    "black and white": (lambda mask: plain(255 * (mask > 0)), ("0", "1")),
    "one bit": (lambda mask: Image.fromarray(mask > 0), ("0", "1")),
    "ignored edge": (edged, ("0", "1", "2")),
}


@pytest.mark.parametrize("kind", PAINTED)
def test_masks(kind: str, tmp_path: Path) -> None:
    paint, labels = PAINTED[kind]
    folder = segmentation_folder(tmp_path / "data", paint)
    data = read(folder)
    assert data.task.name == "image-segmentation" and data.labels == labels
    for index, row in enumerate(data.splits["test"]):
        expected = rectangles(200 + index)[1]
        if kind == "colour":
            expected = np.array([0, 2, 1])[expected]  # blue before red
        elif len(labels) == 2:
            expected = (expected > 0).astype(int)
        elif kind == "ignored edge":
            expected[:2] = -100
        assert np.array_equal(masks.decode(row["mask"]), expected)
    # the same masks read with the labels of a finished model
    from hf_tl.data import load_rows

    config = load_config({"model": "-", "data": str(folder)}).data
    again = load_rows(config, data.task, data.targets, need_labels=True).splits["test"]
    for one, other in zip(data.splits["test"], again, strict=True):
        assert np.array_equal(np.asarray(one["mask"]), np.asarray(other["mask"]))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "ground\nroof\ntree\nwater\n"),
        ("labels.json", '{"ground": 0, "roof": 1, "tree": 2, "water": 3}'),
        ("id2label.json", '{"0": "ground", "1": "roof", "2": "tree", "3": "water"}'),
    ],
)
def test_names_beside_the_data(name: str, text: str, tmp_path: Path) -> None:
    folder = segmentation_folder(tmp_path / "data")
    (folder / name).write_text(text)
    data = read(folder)
    assert data.labels == ("ground", "roof", "tree", "water")
    assert "'water' have no pixel in train." in data.notes and f"The classes are named by {name}." in data.notes


def lesion(mask: np.ndarray) -> Image.Image:
    """0 and 255, of which 255 is a class."""
    return plain(255 * (mask > 0))


def test_255_is_a_class_where_it_is_named(tmp_path: Path) -> None:
    folder = segmentation_folder(tmp_path / "data", lesion)
    (folder / "id2label.json").write_text('{"0": "BACKGROUND", "255": "LESION"}')
    data = read(folder)
    assert data.labels == ("BACKGROUND", "LESION")
    assert np.array_equal(masks.decode(data.splits["test"][0]["mask"]), (rectangles(200)[1] > 0).astype(int))
    file = folder / "train" / "3_mask.png"
    pixels = np.asarray(Image.open(file)).copy()
    pixels[0, 0] = 1  # a stray value does not make 255 count for nothing
    Image.fromarray(pixels).save(file)
    with pytest.raises(DataError, match=r"train/metadata\.jsonl, line 4: mask value '1' has no name in id2label\.json"):
        read(folder)
    (folder / "id2label.json").unlink()
    with pytest.raises(DataError, match=r"value 255 covers \d\d% of all pixels, and would .* beside 0 and 1"):
        read(folder)
    (folder / "id2label.json").write_text('{"0": "background", "1": "dot"}')  # said so
    assert "Pixels of value 255 count for nothing" in " ".join(read(folder).notes)


def test_smoothed_edges_are_no_classes(tmp_path: Path) -> None:
    def smooth(mask: np.ndarray) -> Image.Image:
        out = 200 * (mask > 0)
        out[5, :30] = np.arange(30) * 3  # shades
        return plain(out)

    with pytest.raises(DataError, match=r"they hold 3\d values, of which two cover 9\d% .*: shades of smoothed"):
        read(segmentation_folder(tmp_path / "data", smooth))


def test_0_is_nothing_where_names_begin_at_1(tmp_path: Path) -> None:
    """As ADE20K has it."""
    folder = segmentation_folder(tmp_path / "data")
    (folder / "id2label.json").write_text('{"1": "roof", "2": "tree"}')
    data = read(folder)
    assert data.labels == ("roof", "tree")
    true = rectangles(200)[1]
    assert np.array_equal(masks.decode(data.splits["test"][0]["mask"]), np.where(true == 0, -100, true - 1))
    assert "Pixels of value 0 count for nothing, neither in training nor in the metrics." in data.notes


def test_images_and_masks_in_folders_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for index in range(8):
        pixels, mask = rectangles(index)
        for name, made in (("images", Image.fromarray(pixels)), ("masks", plain(mask))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            made.save(folder / name / f"{index}{'_mask' if name == 'masks' else ''}.png")
    data = read(folder)
    assert data.task.name == "image-segmentation" and data.labels == ("0", "1", "2")
    rows = [row for split in data.splits.values() for row in split]
    for row in rows:
        index = int(Path(row["file"]).stem)
        assert np.array_equal(masks.decode(row["mask"]), rectangles(index)[1]) and len(rows) == 8


def test_names_of_colours(tmp_path: Path) -> None:
    folder = segmentation_folder(tmp_path / "data", colour)
    (folder / "labels.json").write_text('{"#000000": "ground", "#FF0000": "roof", "#0000ff": "tree"}')
    data = read(folder)
    assert data.labels == ("ground", "tree", "roof")
    (folder / "labels.json").write_text('{"#000000": "ground", "#FF0000": "roof"}')
    with pytest.raises(DataError, match=r"metadata.jsonl, line 1: mask value '#0000ff' has no name in labels.json"):
        read(folder)


def test_more_classes_than_a_byte_holds(tmp_path: Path) -> None:
    """Rows of 300 classes, each as one 16-bit value."""
    stripes = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 300
    folder = segmentation_folder(tmp_path / "data", lambda mask: Image.fromarray((7 * stripes).astype(np.uint16)))
    data = read(folder)
    assert len(data.labels) == 299 or len(data.labels) == 300  # 255 would be left out, and is no multiple of 7
    assert np.array_equal(masks.decode(data.splits["train"][0]["mask"]), stripes)


def spoil(folder: Path, what: str) -> None:
    file = folder / "train" / "3_mask.png"
    if what == "missing file":
        file.unlink()
    elif what == "size":
        Image.new("L", (10, 12)).save(file)
    elif what == "value in test":
        Image.new("L", (WIDTH, HEIGHT), 9).save(folder / "test" / "1_mask.png")
    elif what == "jpeg":
        Image.open(file).save(file, "JPEG")
    elif what == "float":
        Image.new("F", (WIDTH, HEIGHT)).save(file, "TIFF")
    elif what == "photo":
        noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file)
    elif what == "broken":
        file.write_bytes(b"no image")
    elif what == "nothing counts":
        Image.new("L", (WIDTH, HEIGHT), 255).save(file)
    elif what == "no name":
        metadata = folder / "train" / "metadata.jsonl"
        metadata.write_text(metadata.read_text().replace('"3_mask.png"', "null"))


@pytest.mark.parametrize(
    ("what", "sentence", "rows"),
    [
        ("missing file", r"train/metadata.jsonl, line 4: column 'mask_file_name' names '3_mask.png', which is not", 0),
        ("size", r"train/metadata.jsonl, line 4: the mask is 10 x 12 pixels, its image 64 x 48", 1),
        ("value in test", r"test/metadata.jsonl, line 2: mask value '9' is not in train", 0),
        ("jpeg", r"train/metadata.jsonl, line 4: the mask is a JPEG, which changes values; save masks as PNG", 1),
        ("float", r"train/metadata.jsonl, line 4: the mask is an image of mode F, which holds no class ids", 1),
        ("photo", r"train/metadata.jsonl, line 4: the mask holds \d{4} different values, too many", 1),
        ("broken", r"train/metadata.jsonl, line 4: the mask cannot be read \(it is not an image", 1),
        ("nothing counts", r"train/metadata.jsonl, line 4: every pixel of the mask is 255, which counts for", 1),
        ("no name", r"train/metadata.jsonl, line 4: the mask is missing", 1),
    ],
)
def test_bad_masks(what: str, sentence: str, rows: int, tmp_path: Path) -> None:
    folder = segmentation_folder(tmp_path / "data")
    spoil(folder, what)
    with pytest.raises(DataError, match=sentence):
        read(folder)
    if rows:
        data = read(folder, on_error="skip")
        assert len(data.splits["train"]) == 11 and any("1 rows" in note for note in data.notes)


def test_one_class_and_a_bad_names_file(tmp_path: Path) -> None:
    folder = segmentation_folder(tmp_path / "data", lambda mask: plain(0 * mask))
    with pytest.raises(DataError, match="the masks of train hold '0' only"):
        read(folder)
    (folder / "labels.json").write_text('{"a": "b"}')
    with pytest.raises(DataError, match=r"labels.json: expected a name for each class"):
        read(folder)


def test_augmentation_that_leaves_masks_behind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without their masks"):
        hf_tl.finetune(
            model=str(tiny_segformer(tmp_path / "model")),
            data={"path": str(segmentation_folder(tmp_path / "data")), "preprocessing": {"augment": "rand"}},
            output=str(tmp_path / "run"),
        )


def samples_of(folder: Path, training: bool) -> tuple[Any, TaskContext]:
    from transformers import AutoImageProcessor

    from hf_tl.config import Preprocessing

    processor = AutoImageProcessor.from_pretrained(tiny_segformer(folder / "model"), backend="pil")
    context = TaskContext(labels=("0", "1", "2"), processor=processor, preprocessing=Preprocessing())
    task.configure(None, context)
    rows = read(segmentation_folder(folder / "data")).splits["train"]
    return task.preprocess(rows, context, training), context


def test_image_and_mask_move_together(tmp_path: Path) -> None:
    samples, context = samples_of(tmp_path, training=True)
    red = []
    for epoch in range(4):
        samples.set_epoch(epoch)
        sample = samples[0]
        pixels, labels = sample["pixel_values"].numpy(), sample["labels"].numpy()
        assert pixels.shape == (3, 32, 32) and labels.shape == (32, 32) and labels.dtype == np.int64
        mean, std = (
            np.reshape(each, (3, 1, 1)) for each in (context.processor.image_mean, context.processor.image_std)
        )
        colours = pixels * std + mean
        bright = np.where(colours[0] > 0.55, 1, np.where(colours[2] > 0.55, 2, 0))
        assert (bright == labels).mean() > 0.93  # all but the smoothed edges
        red.append(labels)
    assert not np.array_equal(red[0], red[1])
    samples.set_epoch(0)
    assert np.array_equal(samples[0]["labels"].numpy(), red[0])


def test_loss_is_the_mean_over_pixels_that_count() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 8, 8))
    labels[0, :3] = -100
    context = TaskContext(labels=("a", "b", "c"))
    larger = torch.nn.functional.interpolate(logits, size=(8, 8), mode="bilinear", align_corners=False)
    by_hand = [
        -larger[b, :, y, x].log_softmax(0)[labels[b, y, x]]
        for b in range(2) for y in range(8) for x in range(8) if labels[b, y, x] >= 0
    ]  # fmt: skip
    batch = {"labels": labels}
    assert len(by_hand) == 104
    found = task.loss({"logits": logits}, batch, context, None)
    assert found.item() == pytest.approx(torch.stack(by_hand).mean().item(), rel=1e-5)
    assert task.loss({"logits": logits}, batch, context, torch.tensor(208)).item() == pytest.approx(found.item() / 2)
    none = {"labels": torch.full((2, 8, 8), -100)}
    assert task.loss({"logits": logits}, none, context, None).item() == 0


def rows_of(true: list[np.ndarray]) -> Any:
    from datasets import Dataset, Features
    from datasets import Image as ImageFeature

    coded = [{"bytes": masks.png(Image.fromarray(each.astype(np.uint8))), "path": None} for each in true]
    return Dataset.from_dict({"mask": coded}, features=Features({"mask": ImageFeature()}))


def test_measured_by_hand() -> None:
    """Class 0: 2 of 4 right, none wrongly; class 1: 2 right, 1 wrongly; class 2: 1 wrongly and none there."""
    true = [np.array([[0, 0], [1, 255]]), np.array([[0, 0], [1, 255]])]
    found = [np.array([[0, 1], [1, 2]]), np.array([[0, 2], [1, 1]])]
    context = TaskContext(labels=("a", "b", "c", "d"))
    got = task.measure(found, None, rows_of(true), context, resamples=0)
    assert got.values["mean_iou"] == pytest.approx((2 / 4 + 2 / 3 + 0 / 1) / 3)
    assert got.values["dice"] == pytest.approx((4 / 6 + 4 / 5 + 0) / 3)
    assert got.values["pixel_accuracy"] == pytest.approx(4 / 6)
    assert [row["iou"] for row in got.per_class] == pytest.approx([1 / 2, 2 / 3, 0, 0])
    assert [row["support"] for row in got.per_class] == [4, 2, 0, 0]
    assert got.baseline["mean_iou"] == pytest.approx(4 / 6 / 2)


def test_measured_as_torchmetrics_does() -> None:
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_f1_score,
        multiclass_jaccard_index,
    )

    drawn = np.random.default_rng(0)
    true = [drawn.integers(0, 4, (20 + index, 30)) for index in range(6)]
    found = [np.where(drawn.random(each.shape) < 0.6, each, drawn.integers(0, 5, each.shape)) for each in true]
    for each in true:
        each[:3] = 255
    got = task.measure(found, None, rows_of(true), TaskContext(labels=tuple("abcdef")))
    p = torch.tensor(np.concatenate([each.ravel() for each in found]))
    r = torch.tensor(np.concatenate([each.ravel() for each in true]))
    options: dict[str, Any] = {"num_classes": 6, "ignore_index": 255}
    assert got.values["mean_iou"] == pytest.approx(multiclass_jaccard_index(p, r, **options).item(), rel=1e-5)
    assert got.values["dice"] == pytest.approx(multiclass_f1_score(p, r, average="macro", **options).item(), rel=1e-5)
    micro = multiclass_accuracy(p, r, average="micro", **options)
    assert got.values["pixel_accuracy"] == pytest.approx(micro.item(), rel=1e-5)
    each = multiclass_jaccard_index(p, r, average="none", **options).tolist()
    assert [row["iou"] for row in got.per_class] == pytest.approx(each, rel=1e-5)
    for value in got.metrics.values():
        assert value["low"] < value["value"] < value["high"]


def test_predictions_and_what_the_report_shows() -> None:
    context = TaskContext(labels=("background", "<b>roof</b>", "tree"))
    ids = np.array([[0, 0, 0], [1, 2, 2]], np.uint8)
    (found,) = task.postprocess([ids], None, None, context)
    assert found["label"] == "tree" and found["score"] == pytest.approx(1 / 3)
    assert [each["label"] for each in found["segments"]] == ["background", "tree", "<b>roof</b>"]
    json.dumps(found)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(found["mask"].split(",")[1])))), ids)
    assert task.postprocess([0 * ids], None, None, context)[0]["label"] == "background"
    streets = TaskContext(labels=("road", "<b>roof</b>", "tree"))
    assert task.postprocess([ids], None, None, streets)[0]["label"] == "road"
    html = task.render_html({"image": Image.new("L", (3, 2)), "mask": Image.fromarray(ids)}, found, context)
    assert html.count("<img ") == 2 and "<b>" not in html and "&lt;b&gt;roof" in html


# By hand


def test_the_dtype_of_a_coded_mask_has_room_for_what_is_left_out() -> None:
    values = np.arange(256, dtype=np.int32)[None]
    for count, mode, left_out in ((255, "L", 255), (256, "I;16", 65535)):
        coded = masks.Coding(tuple(map(str, range(count))), {at: at for at in range(count)}, False, False)
        image = Image.open(io.BytesIO(coded.encode(Image.fromarray(values.astype(np.uint16)))))
        assert image.mode == mode
        assert np.asarray(image)[0, :255].tolist() == list(range(255))
        assert np.asarray(image)[0, 255] == (255 if count == 256 else left_out)
        assert masks.decode(image)[0, 255] == (255 if count == 256 else -100)
        assert masks.decode(image)[0, :255].tolist() == list(range(255))


def test_the_colours_of_pascal_voc() -> None:
    assert masks.colours(9).tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128], [128, 128, 128],
        [64, 0, 0],
    ]  # fmt: skip


def test_an_overlay_shows_classes_in_their_colours_and_class_0_clear() -> None:
    from hf_tl.io.data_uri import content_of

    ids = np.zeros((64, 128), dtype=int)
    ids[:, 64:96], ids[:, 96:] = 2, -100
    image = Image.open(io.BytesIO(content_of(masks.overlay(Image.new("RGB", (128, 64), (200, 200, 200)), ids, 3, 64))))
    assert image.size == (64, 32)
    pixels = np.asarray(image)[16].astype(int)
    assert pixels[8] == pytest.approx([200] * 3, abs=6) and pixels[60] == pytest.approx([200] * 3, abs=6)
    assert pixels[40] == pytest.approx([100, 164, 100], abs=8)  # half of the image and half of (0, 128, 0)


@pytest.mark.parametrize(
    ("found", "named", "known", "labels", "ids"),
    [
        ({0, 255}, None, None, ("0", "1"), {0: 0, 255: 1}),  # black and white
        ({0, 255}, {0: "no", 1: "yes"}, None, ("no", "yes"), {0: 0, 255: 1}),
        ({0, 255}, {0: "no", 255: "yes"}, None, ("no", "yes"), {0: 0, 255: 1}),
        ({0, 1, 255}, None, None, ("0", "1"), {0: 0, 1: 1}),
        ({0, 1, 255}, {0: "no", 1: "yes", 255: "void"}, None, ("no", "yes"), {0: 0, 1: 1}),
        ({1, 255}, None, None, ("1",), {1: 0}),
        ({30, 7, 200}, None, None, ("7", "30", "200"), {7: 0, 30: 1, 200: 2}),
        ({0, 1}, {2: "c", 0: "a", 1: "b"}, None, ("a", "b", "c"), {0: 0, 1: 1, 2: 2}),
        ({0, 7}, None, ("0", "7", "9"), ("0", "7", "9"), {0: 0, 7: 1, 9: 2}),
        ({0, 1}, None, ("sky", "tree"), ("sky", "tree"), {0: 0, 1: 1}),
        ({0, 1}, {0: "tree", 1: "sky"}, ("sky", "tree"), ("sky", "tree"), {0: 1, 1: 0}),
    ],
)
def test_what_the_values_of_masks_are(found: Any, named: Any, known: Any, labels: Any, ids: Any) -> None:
    coding = masks.coding(found, named, known)
    assert (coding.labels, coding.ids) == (labels, ids)
    assert coding.ignores == (found != {0, 255})


def test_values_of_colours_and_of_grey() -> None:
    red = masks.COLOUR | 0xFF0000
    grey = masks.COLOUR | 0x070707
    assert masks.values(Image.new("RGB", (1, 1), (1, 2, 3))).tolist() == [[masks.COLOUR | 0x010203]]
    assert masks.is_grey(grey) and not masks.is_grey(red) and not masks.is_grey(masks.COLOUR | 0x070708)
    assert masks.coding({grey, masks.COLOUR}, None, None).labels == ("0", "7")
    both = masks.coding({grey, red}, None, None)
    assert both.labels == ("#070707", "#ff0000") and both.unknown({masks.COLOUR | 0x00FF00}) == ["#00ff00"]
    assert masks.coding({0, 7}, None, None).unknown({red, 9}) == ["9", "#ff0000"]
    with pytest.raises(ValueError, match="the mask holds -1, and class ids are not negative"):
        stream = io.BytesIO()
        Image.fromarray(np.full((4, 4), -1, np.int32)).save(stream, "TIFF")
        masks.values_in({"bytes": stream.getvalue(), "path": None}, {"bytes": stream.getvalue(), "path": None})


def test_the_processor_scales_the_whole_image_to_one_size() -> None:
    from transformers import MobileNetV2ImageProcessor

    processor = MobileNetV2ImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 24, "width": 40})
    processor.keep_aspect_ratio = processor.do_reduce_labels = True
    task.configure(None, TaskContext(processor=processor))
    assert dict(processor.size) == {"height": 24, "width": 40}
    assert (processor.do_center_crop, processor.keep_aspect_ratio, processor.do_reduce_labels) == (False, False, False)


def test_a_sample_for_evaluation_has_whole_classes_and_its_own_size() -> None:
    """Scaled down, a mask has no classes between two others."""
    from datasets import Dataset, Features
    from datasets import Image as ImageFeature
    from transformers import SegformerImageProcessor

    from hf_tl.config import Preprocessing

    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, WIDTH // 2 + 3 :] = 2
    mask[:4] = 255
    rows = Dataset.from_list(
        [{"image": Image.new("RGB", (WIDTH, HEIGHT)), "mask": Image.fromarray(mask)}],
        features=Features({"image": ImageFeature(), "mask": ImageFeature()}),
    )
    processor = SegformerImageProcessor(size={"height": 24, "width": 40})
    context = TaskContext(labels=("0", "1", "2"), processor=processor, preprocessing=Preprocessing())
    (sample,) = task.preprocess(rows, context, False)
    assert sample["sizes"].tolist() == [HEIGHT, WIDTH] and sample["pixel_values"].shape == (3, 24, 40)
    assert sample["labels"].shape == (24, 40) and set(sample["labels"].unique().tolist()) == {-100, 0, 2}
    assert (sample["labels"][:2] == -100).all() and (sample["labels"][4:, 23:] == 2).all()
    logits = torch.zeros(1, 3, 12, 20)
    logits[:, 2, :, 10:] = 5
    (found,) = task.collect(None, {"logits": logits}, {"sizes": sample["sizes"][None]}, context)
    assert found.shape == (HEIGHT, WIDTH) and found.dtype == np.uint8 and found[5, -1] == 2 and found[5, 0] == 0
    many = TaskContext(labels=tuple(map(str, range(300))), processor=processor)
    wide = torch.zeros(1, 300, 4, 4)
    wide[:, 299] = 1
    (found,) = task.collect(None, {"logits": wide}, {"sizes": torch.tensor([[4, 4]])}, many)
    assert found.dtype == np.uint16 and (found == 299).all()


def test_the_focal_loss_of_pixels() -> None:
    from hf_tl.config import LossConfig

    torch.manual_seed(0)
    logits, labels = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
    labels[0, 0] = -100
    each = torch.nn.functional.cross_entropy(logits, labels, reduction="none", label_smoothing=0.1)
    true = logits.softmax(1).gather(1, labels.clamp(min=0)[:, None])[:, 0]
    wanted = (each * (1 - true) ** 2)[labels >= 0].mean()
    context = TaskContext(labels=("a", "b", "c"), loss=LossConfig(focal_gamma=2.0), label_smoothing=0.1)
    assert task.loss({"logits": logits}, {"labels": labels}, context, None).item() == pytest.approx(
        wanted.item(), rel=1e-5
    )


def test_each_class_by_hand() -> None:
    """Class 0: 2 of 4 there, none too many; class 1: 2 of 2 there, 1 of 3 predicted is wrong; 4 of 6 are class 0."""
    true = [np.array([[0, 0], [1, 255]]), np.array([[0, 0], [1, 255]])]
    found = [np.array([[0, 1], [1, 2]]), np.array([[0, 2], [1, 1]])]
    got = task.measure(found, None, rows_of(true), TaskContext(labels=("a", "b", "c", "d")), resamples=0)
    assert [row["precision"] for row in got.per_class] == pytest.approx([1, 2 / 3, 0, 0])
    assert [row["recall"] for row in got.per_class] == pytest.approx([2 / 4, 1, 0, 0])
    assert [row["dice"] for row in got.per_class] == pytest.approx([4 / 6, 4 / 5, 0, 0])
    share = 4 / 6  # always class 0, of two that are there
    assert got.baseline == pytest.approx(
        {"mean_iou": share / 2, "dice": 2 * share / (1 + share) / 2, "pixel_accuracy": share}
    )
