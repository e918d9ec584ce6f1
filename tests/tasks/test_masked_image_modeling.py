"""Masked image modeling: the masks, the loss against Transformers' own, and the encoder's way into a classifier."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hf_tl
from hf_tl.config import Preprocessing
from hf_tl.errors import ConfigError, DataError, ModelError
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
