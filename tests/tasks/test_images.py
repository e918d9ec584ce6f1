"""Images as samples: changed in training, anew each epoch and by row; in evaluation as the processor makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from hf_tl.config import Preprocessing
from hf_tl.task import TaskContext, get_task
from hf_tl.tasks import _classification as classification
from hf_tl.tasks._images import collator, preprocess

TASK = get_task("image-classification")


@pytest.fixture(scope="module")
def rows() -> Dataset:
    drawn = np.random.default_rng(0)
    images = [Image.fromarray(drawn.integers(0, 255, (48, 40, 3), dtype=np.uint8)) for _ in range(3)]
    features = Features({"image": ImageFeature(), "label": Value("int64")})
    return Dataset.from_dict({"image": images, "label": [2, 0, 1]}, features=features)


def context(seed: int = 0, augment: Any = "default") -> TaskContext:
    from transformers import ViTImageProcessor

    return TaskContext(
        labels=("a", "b", "c"), problem=classification.SINGLE, seed=seed,
        processor=ViTImageProcessor(size={"height": 32, "width": 32}), preprocessing=Preprocessing(augment=augment),
    )  # fmt: skip


def pixels(rows: Dataset, training: bool, epoch: int = 0, **about: Any) -> list[torch.Tensor]:
    samples = preprocess(rows, context(**about), training)
    samples.set_epoch(epoch)
    return [samples[index]["pixel_values"] for index in range(len(samples))]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> list[bool]:
    return [torch.equal(one, other) for one, other in zip(first, second, strict=True)]


def test_an_evaluation_sees_what_the_processor_makes(rows: Dataset) -> None:
    wanted = context().processor([row["image"] for row in rows], return_tensors="pt")["pixel_values"]
    assert same(pixels(rows, False), list(wanted)) == [True] * 3
    assert same(pixels(rows, True, augment="none"), list(wanted)) == [True] * 3
    assert [preprocess(rows, context(), False)[index]["labels"].item() for index in range(3)] == [2, 0, 1]


def test_training_changes_images_by_seed_epoch_and_row(rows: Dataset) -> None:
    first = pixels(rows, True)
    assert [image.shape for image in first] == [(3, 32, 32)] * 3
    assert same(first, pixels(rows, True)) == [True] * 3
    assert same(first, pixels(rows, True, epoch=1)) == same(first, pixels(rows, True, seed=1)) == [False] * 3
    assert same(first, pixels(rows, False)) == [False] * 3
    twice = pixels(rows.select([0, 0]), True)  # one image at two places
    assert not torch.equal(*twice)
    samples = preprocess(rows, context(), True)
    before = samples[0]["pixel_values"]
    samples.set_epoch(1)  # nothing of the last epoch is kept
    assert not torch.equal(samples[0]["pixel_values"], before)


def test_parts_of_images_are_erased_where_that_is_asked_for(rows: Dataset) -> None:
    many = rows.select([0] * 40)
    plain, erased = (
        [sample for sample in pixels(many, True, augment=names)] for names in (["none"], ["erasing"])
    )  # fmt: skip
    grey = [float((image == 0).all(0).float().mean()) for image in erased]  # of all channels
    assert max(float((image == 0).all(0).float().mean()) for image in plain) < 0.01
    assert sum(share > 0.015 for share in grey) in range(2, 25)


def test_a_batch_is_mixed_as_its_rows_say(rows: Dataset) -> None:
    about = context(augment="mixup")
    samples = preprocess(rows, about, True)
    collate = collator(about, True)
    first, again = (collate([samples[index] for index in (0, 1)]) for _ in range(2))
    assert torch.equal(first["pixel_values"], again["pixel_values"]) and first["labels"].shape == (2, 3)
    assert first["labels"].sum(1).tolist() == pytest.approx([1, 1]) and set(first) == {"pixel_values", "labels"}
    samples.set_epoch(1)
    other = collate([samples[index] for index in (0, 1)])
    assert not torch.equal(first["labels"], other["labels"])
    assert "draw" not in preprocess(rows, about, False)[0]
