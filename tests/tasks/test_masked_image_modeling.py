"""Masked image modeling: the masks, the loss against Transformers' own, and the encoder's way into a classifier."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image

import hf_tl
from hf_tl.config import Preprocessing
from hf_tl.errors import ConfigError, DataError, ModelError
from hf_tl.io.data_uri import content_of
from hf_tl.task import TaskContext, get_task
from hf_tl.tasks import masked_image_modeling as task
from tests.anything import tiny_model
from tests.tiny import colour_folder, declare_torchvision_operators

declare_torchvision_operators()
TASK = get_task("masked-image-modeling")


def images(folder: Path) -> Path:
    """No class folders: unlabelled images."""
    labelled = colour_folder(folder.with_name("labelled"))
    folder.mkdir(parents=True)
    for index, file in enumerate(sorted(labelled.rglob("*.png"))):
        shutil.copy(file, folder / f"{index}.png")
    return folder


def test_masks_are_squares_of_the_wanted_share() -> None:
    torch.manual_seed(0)
    mask = task.hide(12, 3, 0.5).reshape(12, 12)
    blocks = mask.reshape(4, 3, 4, 3).float().mean((1, 3))
    assert set(blocks.flatten().tolist()) == {0.0, 1.0} and blocks.sum() == 8
    assert task.hide(2, 1, 0.99).sum() == 3 and task.hide(2, 1, 0.01).sum() == 1  # never all, never none
    pixels = task.by_pixel(mask.flatten()[None], 24)
    assert pixels.shape == (1, 1, 24, 24) and torch.equal(pixels[0, 0, ::2, ::2], mask)


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_loss_is_that_of_transformers(kind: str) -> None:
    from transformers import (
        SwinConfig,
        SwinForMaskedImageModeling,
        ViTConfig,
        ViTForMaskedImageModeling,
        ViTImageProcessor,
    )

    torch.manual_seed(0)
    small = {"image_size": 32, "encoder_stride": 8, "hidden_size": 32}
    model: Any = (
        ViTForMaskedImageModeling(
            ViTConfig(**small, patch_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
        )
        if kind == "vit"
        else SwinForMaskedImageModeling(
            SwinConfig(
                image_size=32,
                encoder_stride=8,
                patch_size=4,
                embed_dim=16,
                depths=[1, 1],
                num_heads=[1, 2],
                window_size=4,
            )
        )
    ).eval()
    processor = ViTImageProcessor(size={"height": 32, "width": 32})
    context = TaskContext(processor=processor, model_config=model.config, preprocessing=Preprocessing())
    task.configure(model, context)
    patches, square = task.grid(context)
    batch = {
        "pixel_values": torch.randn(3, 3, 32, 32),
        "bool_masked_pos": torch.stack([task.hide(patches, square, 0.5) for _ in range(3)]),
    }
    with torch.no_grad():
        out = model(**batch)
    assert task.loss(out, batch, context, None).item() == pytest.approx(out.loss.item(), rel=1e-4)
    half = {name: value[:1] for name, value in batch.items()}, {name: value[1:] for name, value in batch.items()}
    whole = task.items(batch)
    with torch.no_grad():
        parts = [task.loss(model(**each), each, context, whole).item() for each in half]
    assert sum(parts) == pytest.approx(out.loss.item(), rel=1e-4)  # however the batch is cut
    found = task.collect(model, out, batch, context)
    measured = task.measure(found, None, range(3), context, resamples=50)
    assert measured.values["loss"] == pytest.approx(out.loss.item(), rel=1e-4)


def test_a_decoder_for_other_patches_is_named() -> None:
    from transformers import ViTConfig, ViTForMaskedImageModeling, ViTImageProcessor

    model = ViTForMaskedImageModeling(
        ViTConfig(image_size=32, patch_size=8, encoder_stride=8, hidden_size=32, num_hidden_layers=1,
                  num_attention_heads=2, intermediate_size=32)
    )  # fmt: skip
    model.config.encoder_stride = 16
    with pytest.raises(ModelError, match=r"model\.config\.encoder_stride=8"):
        task.configure(model, TaskContext())
    context = TaskContext(
        processor=ViTImageProcessor(size={"height": 32, "width": 32}), model_config=model.config,
        preprocessing=Preprocessing(mask_patch_size=12),
    )  # fmt: skip
    with pytest.raises(
        ConfigError, match="mask_patch_size: 12 pixels; expected a multiple of the model's patches of 8"
    ):
        task.grid(context)


def test_adapt_then_classify(tmp_path: Path) -> None:
    data = images(tmp_path / "unlabelled")
    options: dict[str, Any] = {
        "model": str(tiny_model(TASK, tmp_path / "model")), "data": str(data), "output": str(tmp_path / "adapted"),
    }  # fmt: skip
    with pytest.raises(DataError, match=r"0\.png: lies in no class folder"):
        hf_tl.finetune(**options)  # the task is asked for, never guessed
    with pytest.raises(ConfigError, match="augment: mixup would hide what is to be guessed"):
        hf_tl.finetune(
            **{
                **options,
                "data": {"path": str(data), "preprocessing": {"augment": "mixup"}},
                "output": str(tmp_path / "x"),
            },
            task=TASK.name,
        )
    adapted = hf_tl.finetune(
        **options, task=TASK.name, training={"num_train_epochs": 12, "learning_rate": 3e-3, "bf16": False}
    )
    value = adapted.metrics["metrics"]["loss"]
    assert value["value"] < adapted.metrics["baseline"]["loss"] * 1.5 and value["low"] < value["high"]
    report = (adapted.folder / "report.html").read_text(encoding="utf-8")
    assert 'alt="reconstruction"' in report
    (one,) = adapted.predict([str(data / "0.png")])
    assert one["reconstruction"].startswith("data:image/jpeg;base64,")
    again = adapted.predict([str(data / "0.png")])
    assert again == [one]  # the same squares are hidden
    run = hf_tl.finetune(
        model=str(adapted.folder), data=str(tmp_path / "labelled"), output=str(tmp_path / "run"),
        training={"max_steps": 1, "learning_rate": 1e-12, "bf16": False},
    )  # fmt: skip
    from safetensors.numpy import load_file

    before, after = (load_file(each.model / "model.safetensors") for each in (adapted, run))
    shared = [name for name in before if "layer" in name and name in after]
    assert shared and all(np.allclose(before[name], after[name], atol=1e-6) for name in shared)


def by_hand(seed: int = 0) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """(outputs, batch, pixels, what is made of them) of two images of 4 x 4 pixels in four patches."""
    drawn = np.random.default_rng(seed)
    pixels, made = (drawn.normal(size=(2, 3, 4, 4)).astype(np.float32) for _ in range(2))
    hidden = torch.tensor([[True, False, False, False], [False, True, True, False]])
    batch = {"pixel_values": torch.from_numpy(pixels), "bool_masked_pos": hidden}
    return {"reconstruction": torch.from_numpy(made)}, batch, pixels, made


HIDDEN = np.array(
    [
        [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]],
    ],
    dtype=bool,
)


def test_errors_are_absolute_and_over_what_is_hidden() -> None:
    out, batch, pixels, made = by_hand()
    mask = np.repeat(HIDDEN[:, None], 3, 1)
    apart = np.abs(pixels - made)
    sums = [float(apart[row][mask[row]].sum()) for row in (0, 1)]
    seen = [[pixels[row, c][~mask[row, c]].mean() for c in range(3)] for row in (0, 1)]
    plain = [sum(np.abs(pixels[row, c][mask[row, c]] - seen[row][c]).sum() for c in range(3)) for row in (0, 1)]
    assert task.items(batch) == 36
    assert task.loss(out, batch, TaskContext(), None).item() == pytest.approx(sum(sums) / 36, rel=1e-5)
    assert task.loss(out, batch, TaskContext(), 72).item() == pytest.approx(sum(sums) / 72, rel=1e-5)
    kept = task.collect(None, out, batch, TaskContext())
    assert [set(each) for each in kept] == [{"sums"}] * 2  # no images while training
    assert np.allclose([each["sums"] for each in kept], [[sums[0], 12, plain[0]], [sums[1], 24, plain[1]]], rtol=1e-5)
    found = task.measure(kept, None, range(2), TaskContext(), resamples=0)
    assert found.values["loss"] == pytest.approx(sum(sums) / 36, rel=1e-5)
    assert found.baseline == {"loss": pytest.approx(sum(plain) / 36, rel=1e-5)}
    assert [each["loss"] for each in task.postprocess(kept, None, None, TaskContext())] == pytest.approx(
        [sums[0] / 12, sums[1] / 24], rel=1e-5
    )


def test_images_are_shown_as_they_were() -> None:
    """Grey values of 0.5 plus a quarter of the normalised ones; the hidden in the mean of the seen, or as made."""
    pixels = torch.zeros(1, 3, 32, 32)
    pixels[..., :16] = 1.0  # the left half is 0.75, the right 0.5
    out = {"reconstruction": torch.full((1, 3, 32, 32), -1.0)}
    batch = {"pixel_values": pixels, "bool_masked_pos": torch.tensor([[False, False, True, True]])}
    processor = SimpleNamespace(do_normalize=True, image_mean=[0.5] * 3, image_std=[0.25] * 3)
    kept = task.collect(None, out, batch, TaskContext(processor=processor, mode="predicting"))
    (found,) = task.postprocess(kept, None, None, TaskContext())

    def corners(name: str) -> list[float]:
        image = np.asarray(Image.open(io.BytesIO(content_of(found[name])))).mean(2) / 255
        return [float(image[at]) for at in ((4, 4), (4, 28), (28, 4), (28, 28))]

    assert corners("original") == pytest.approx([0.75, 0.5, 0.75, 0.5], abs=0.02)
    assert corners("seen") == pytest.approx([0.75, 0.5, 0.625, 0.625], abs=0.02)
    assert corners("reconstruction") == pytest.approx([0.75, 0.5, 0.25, 0.25], abs=0.02)


def of_images(side: int, patch: int, seed: int = 0, **options: Any) -> TaskContext:
    from transformers import ViTImageProcessor

    return TaskContext(
        processor=ViTImageProcessor(size={"height": side, "width": side}), seed=seed,
        model_config=SimpleNamespace(patch_size=patch), preprocessing=Preprocessing(augment="none", **options),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("side", "patch", "wanted", "found"),
    [(224, 16, None, (14, 2)), (32, 4, None, (8, 2)), (32, 8, None, (4, 1)), (96, 8, None, (12, 3)),
     (192, 16, 48, (12, 3)), (32, 4, 16, (8, 4))],
)  # fmt: skip
def test_hidden_squares_are_patches_of_the_model(side: int, patch: int, wanted: int | None, found: Any) -> None:
    """Of 32 pixels, a quarter of a small image's side at most."""
    assert task.grid(of_images(side, patch, mask_patch_size=wanted)) == found
    for bad in (patch * 2 + 1, side - patch):  # no whole patches; they do not fill the image
        with pytest.raises(ConfigError, match=f"mask_patch_size: {bad} pixels; expected a multiple"):
            task.grid(of_images(side, patch, mask_patch_size=bad))


def test_the_encoder_halves_its_map_between_stages() -> None:
    def model(stride: int, depths: list[int] | None) -> Any:
        values = {"patch_size": 4, "encoder_stride": stride} | ({"depths": depths} if depths else {})
        return SimpleNamespace(config=SimpleNamespace(**values))

    for stride, depths in ((4, None), (4, [2]), (8, [2, 2]), (32, [1, 1, 6, 1])):
        task.configure(model(stride, depths), TaskContext())
        with pytest.raises(ModelError, match=rf"set model\.config\.encoder_stride={stride}\."):
            task.configure(model(2 * stride, depths), TaskContext())
        task.configure(model(2 * stride, depths), TaskContext(mode="measuring"))


def test_six_tenths_are_hidden_the_same_in_every_evaluation() -> None:
    rows = Dataset.from_dict({"image": [Image.new("RGB", (32, 32))] * 6})

    def masks(training: bool, seed: int, epoch: int = 0, **options: Any) -> list[list[bool]]:
        samples = task.preprocess(rows, of_images(32, 8, seed, **options), training)
        samples.set_epoch(epoch)
        return [samples[index]["bool_masked_pos"].tolist() for index in range(6)]

    first = masks(False, 1)
    assert {sum(each) for each in first} == {10} and len({tuple(each) for each in first}) > 3  # 9.6 of 16
    assert {sum(each) for each in masks(False, 1, mask_ratio=0.25)} == {4}
    assert first == masks(False, 2)
    assert masks(True, 1) != masks(True, 2) and masks(True, 1) != masks(True, 1, epoch=1)
    assert masks(True, 1) == masks(True, 1)
