"""Augmentation: sizes, crops, and random numbers that depend on seed, epoch and row alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hf_tl.data import augment as augmenting
from hf_tl.data.augment import (
    KEEP,
    KEEP_BYTES,
    Augmented,
    augmentation,
    mix,
    normalisation,
    pixels_of,
    processor_size,
    random_box,
)
from hf_tl.errors import ConfigError
from tests.tiny import declare_torchvision_operators

declare_torchvision_operators()


def processor(**options: Any) -> Any:
    return SimpleNamespace(**options)


TIMM = processor(data_config={"input_size": (3, 20, 30), "mean": (0.5, 0.25, 0.0), "std": (0.5, 0.5, 2.0)})


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"size": {"height": 20, "width": 30}}, (20, 30)),
        ({"size": {"shortest_edge": 40}}, (40, 40)),
        ({"size": {"shortest_edge": 40, "longest_edge": 90}}, (40, 40)),
        ({"size": {"longest_edge": 50}}, (50, 50)),
        ({"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 36}}, (32, 36)),
        ({"size": {"shortest_edge": 40}, "do_center_crop": False, "crop_size": {"height": 32, "width": 36}}, (40, 40)),
        ({"size": {"height": 20, "width": 30}, "do_center_crop": True}, (20, 30)),
        ({}, (224, 224)),
    ],
)
def test_the_size_of_what_a_processor_gives(options: dict[str, Any], size: tuple[int, int]) -> None:
    assert processor_size(processor(**options)) == size
    assert processor_size(TIMM) == (20, 30)


def test_normalisation() -> None:
    assert normalisation(TIMM) == ((0.5, 0.25, 0.0), (0.5, 0.5, 2.0))
    given = processor(do_normalize=True, image_mean=[0.1] * 3, image_std=[0.2] * 3)
    assert normalisation(given) == ([0.1] * 3, [0.2] * 3)
    given.do_normalize = False
    assert normalisation(given) == ((0.0,) * 3, (1.0,) * 3)
    assert normalisation(processor()) == ((0.0,) * 3, (1.0,) * 3)
    assert normalisation(processor(image_mean=[0.1] * 3)) == ([0.1] * 3, (1.0,) * 3)


def test_pixels_are_rescaled_and_normalised_only() -> None:
    from transformers import ViTImageProcessor

    image = Image.new("RGB", (30, 20), (255, 51, 0))
    found = pixels_of(TIMM, image)
    assert found.shape == (3, 20, 30)
    assert found[:, 0, 0].tolist() == pytest.approx([(1 - 0.5) / 0.5, (0.2 - 0.25) / 0.5, 0.0])
    vit = ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=[0.5] * 3, image_std=[0.25] * 3)
    found = pixels_of(vit, image)
    assert found.shape == (3, 20, 30)  # its own size, not 8 x 8
    assert found[:, 0, 0].tolist() == pytest.approx([2.0, (0.2 - 0.5) / 0.25, -2.0])


def test_crops_are_of_the_wanted_share_and_shape() -> None:
    torch.manual_seed(0)
    width, height = 200, 100
    boxes = np.array([random_box(width, height) for _ in range(1000)])
    left, top, right, bottom = boxes.T
    assert (left >= 0).all() and (top >= 0).all() and (right <= width).all() and (bottom <= height).all()
    shares, ratios = (right - left) * (bottom - top) / (width * height), (right - left) / (bottom - top)
    whole = shares == 1.0
    assert whole.mean() < 0.1  # where nothing else fits
    cut_shares, cut_ratios = shares[~whole], ratios[~whole]
    assert cut_shares.min() >= 0.35 - 1e-6 and cut_ratios.min() >= 0.75 - 1e-6 and cut_ratios.max() <= 4 / 3 + 1e-6
    # anywhere in the image, and not bound to one side
    assert np.corrcoef(left, top)[0, 1] < 0.5 and left.max() > 100 and top.max() > 20


def test_crops_of_a_square_are_drawn_evenly() -> None:
    torch.manual_seed(1)
    boxes = np.array([random_box(64, 64) for _ in range(2000)])
    left, top, right, bottom = boxes.T
    shares = (right - left) * (bottom - top) / 64**2
    assert np.quantile(shares, [0.01, 0.99]) == pytest.approx([0.36, 0.95], abs=0.05)
    ratios = (right - left) / (bottom - top)
    assert np.median(ratios) == pytest.approx(1.0, abs=0.03)
    assert np.quantile(ratios, [0.01, 0.99]) == pytest.approx([0.755, 1.325], abs=0.02)
    middle = (left + right) / 2
    assert middle.mean() == pytest.approx(32, abs=0.7)


@pytest.mark.parametrize("size", [(1000, 10), (10, 1000)])
def test_an_image_in_which_no_crop_fits_is_kept_whole(size: tuple[int, int]) -> None:
    assert random_box(*size) == (0.0, 0.0, *map(float, size))


def halves(size: tuple[int, int] = (40, 40)) -> Image.Image:
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), (size[0] // 2, 0, *size))
    return image


def test_default_augmentation_without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmenting, "has_torchvision", lambda: False)
    change = augmentation(["default"], (24, 48))
    torch.manual_seed(0)
    found = [np.asarray(change(halves())).astype(int) for _ in range(60)]
    assert all(image.shape == (24, 48, 3) for image in found)
    # a flip brings blue, which is on the right, to the left
    flipped = np.mean([image[:, 0, 2].mean() > 250 and image[:, -1, 0].mean() > 250 for image in found])
    straight = np.mean([image[:, 0, 0].mean() > 250 and image[:, -1, 2].mean() > 250 for image in found])
    assert 0.2 < flipped < 0.6 and 0.2 < straight < 0.6
    torch.manual_seed(0)
    assert np.array_equal(np.asarray(change(halves())), found[0].astype(np.uint8))
    for names in (["trivial"], ["default", "rand"]):
        with pytest.raises(ConfigError, match=rf"augment: '{names[-1]}' needs torchvision"):
            augmentation(names, (8, 8))


def test_augmentation_with_torchvision() -> None:
    pytest.importorskip("torchvision", exc_type=ImportError)
    from torchvision.transforms import v2

    crop, flip = augmentation(["default"], (24, 48)).transforms  # type: ignore[attr-defined]
    assert (tuple(crop.size), crop.scale, crop.ratio, flip.p) == ((24, 48), (0.35, 1.0), (3 / 4, 4 / 3), 0.5)
    for names, kinds in (
        (["trivial"], [v2.TrivialAugmentWide]),
        (["rand", "erasing"], [v2.RandAugment]),
        (["mixup"], []),
        (["trivial", "rand"], [v2.TrivialAugmentWide, v2.RandAugment]),
    ):
        steps = augmentation(names, (24, 48)).transforms  # type: ignore[attr-defined]
        assert [type(step) for step in steps[2:]] == kinds
    assert np.asarray(augmentation(["trivial"], (24, 48))(halves())).shape == (24, 48, 3)


def test_mixing_leaves_the_random_numbers_as_they_were() -> None:
    pytest.importorskip("torchvision", exc_type=ImportError)
    pixels, labels = torch.rand(4, 3, 8, 8), torch.arange(4)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = mix(["mixup"], pixels, labels, 4, seed=1)
    assert torch.equal(torch.rand(3), expected)
    other = mix(["mixup"], pixels, labels, 4, seed=2)
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[1], other[1])
    # both are drawn where both are given: of a cut image some pixels are untouched, of a mixed one none
    drawn = [mix(["mixup", "cutmix"], pixels, labels, 4, seed=seed)[0] for seed in range(30)]
    cut = [bool(((one == pixels) | (one == pixels.roll(1, 0))).all()) for one in drawn]
    assert 5 < sum(cut) < 25
    alone = [mix(["default", "cutmix"], pixels, labels, 4, seed=seed)[0] for seed in range(10)]
    assert all(bool(((one == pixels) | (one == pixels.roll(1, 0))).all()) for one in alone)


# rows encoded when read


def drawing(row: int) -> dict[str, Any]:
    return {"row": row, "drawn": torch.rand(2)}


def values(samples: Augmented) -> list[list[float]]:
    return [samples[index]["drawn"].tolist() for index in range(len(samples))]


def test_random_numbers_depend_on_seed_epoch_and_row() -> None:
    samples = Augmented(list(range(5)), drawing, seed=3)
    first = values(samples)
    assert len(samples) == 5 and [samples[index]["row"] for index in range(5)] == list(range(5))
    assert len({tuple(each) for each in first}) == 5  # each row its own
    assert values(samples) == first and samples[4]["drawn"].tolist() == first[4]  # whatever was read before
    samples.set_epoch(1)
    second = values(samples)
    assert all(a != b for a, b in zip(first, second, strict=True))
    samples.set_epoch(0)
    assert values(samples) == first
    assert values(Augmented(list(range(5)), drawing, seed=4)) != first
    # the row's place counts, not what lies in it; and nothing is drawn from the training's own numbers
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    samples[0]
    assert torch.equal(torch.rand(2), expected)


def test_what_never_changes_is_encoded_once() -> None:
    asked: list[int] = []

    def encode(row: int) -> dict[str, Any]:
        asked.append(row)
        return {"pixels": torch.full((4,), float(row)), "label": row}

    samples = Augmented([5, 6], encode, seed=0, fixed=True)
    first = samples[1]
    first["label"] = 99  # what is done to a sample is not done to what is kept
    assert samples[1]["label"] == 6 and asked == [6]
    assert samples[0]["label"] == 5 and samples[0]["pixels"].tolist() == [5.0] * 4 and asked == [6, 5]
    changing = Augmented([5, 6], encode, seed=0)
    assert changing[0]["label"] == changing[0]["label"] == 5 and asked == [6, 5, 5, 5]


@pytest.mark.parametrize(("floats", "kept"), [(KEEP_BYTES // 4, True), (KEEP_BYTES // 4 + 1, False)])
def test_large_samples_are_not_kept(floats: int, kept: bool) -> None:
    asked: list[int] = []

    def encode(row: int) -> dict[str, Any]:
        asked.append(row)
        return {"a": torch.zeros(floats - 8), "b": torch.zeros(8), "n": 3}

    samples = Augmented([5], encode, seed=0, fixed=True)
    samples[0], samples[0]
    assert len(asked) == (1 if kept else 2)


@pytest.mark.parametrize(("rows", "kept"), [(KEEP, True), (KEEP + 1, False)])
def test_many_samples_are_not_kept(rows: int, kept: bool) -> None:
    asked: list[int] = []
    samples = Augmented(range(rows), lambda row: asked.append(row) or {"row": row}, seed=0, fixed=True)  # type: ignore[func-returns-value]
    samples[0], samples[0]
    assert len(asked) == (1 if kept else 2)
