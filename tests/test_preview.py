"""`hf-tl preview`: what the model will see is what the collator gives it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import hf_tl
from hf_tl.cli import main
from hf_tl.task import get_task
from tests.anything import tiny_data, tiny_model
from tests.tiny import colour_folder, sentiment_csv, tiny_bert, tiny_mobilenet


def test_texts(tmp_path: Path) -> None:
    data = {"path": str(sentiment_csv(tmp_path / "reviews.csv")), "preprocessing": {"max_length": 6}}
    seen = hf_tl.preview({"model": str(tiny_bert(tmp_path / "bert")), "data": data}, samples=5)
    assert seen["labels"] == {0: "negative", 1: "positive"}
    assert sum(seen["rows"].values()) == 60
    assert len(seen["samples"]) == 5
    longest = max(len(sample["tokens"]) for sample in seen["samples"])
    for sample in seen["samples"]:
        assert sample["tokens"][0] == "[CLS]" and sample["tokens"][-1] == "[SEP]"
        assert len(sample["tokens"]) + sample["padding"] == longest <= 6
    assert any("longer than 6 tokens and are truncated" in note for note in seen["notes"])


def test_images_as_a_grid(tmp_path: Path, capsys) -> None:
    model, data = tiny_mobilenet(tmp_path / "mobilenet"), colour_folder(tmp_path / "colours")
    grid = tmp_path / "grid.png"
    assert main(["preview", "--model", str(model), "--data", str(data), "--output", str(grid), "--samples", "6"]) == 0
    shown = capsys.readouterr().out
    assert "(0) blue" in shown and "(1) red" in shown and "pixel_values float32 (6, 3, 32, 32)" in shown
    pixels = np.asarray(Image.open(grid).convert("RGB")).astype(int)
    assert ((pixels[..., 0] - pixels[..., 2]) > 60).any() and ((pixels[..., 2] - pixels[..., 0]) > 60).any()


def test_masks_are_laid_over_the_images_and_tags_say_what_is_trained_on(tmp_path: Path) -> None:
    task = get_task("image-segmentation")
    model, data = tiny_model(task, tmp_path / "model"), tiny_data(task, tmp_path / "data")
    grid = tmp_path / "grid.png"
    seen = hf_tl.preview({"model": str(model), "data": str(data)}, samples=6, output=grid)
    assert seen["batch"]["labels"].startswith("int64 (6, ")
    pixels = np.asarray(Image.open(grid).convert("RGB")).astype(int)
    # grey stays grey; the red and blue squares lie under orange (class 1) and green (class 2)
    assert (abs(pixels - 90) < 12).all(-1).mean() > 0.1
    red, green, blue = np.moveaxis(pixels, -1, 0)
    assert ((red - green > 60) & (green - blue > 30)).any() and ((green - red > 20) & (blue - red > 20)).any()
    task = get_task("token-classification")
    model, data = tiny_model(task, tmp_path / "bert"), tiny_data(task, tmp_path / "tags")
    seen = hf_tl.preview({"model": str(model), "data": str(data)}, samples=3)
    for sample in seen["samples"]:  # every word of this vocabulary is one token
        assert sample["trained"] == sample["tokens"][1:-1]
