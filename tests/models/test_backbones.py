"""Backbones for images that Transformers has no classifier of get a head of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import hf_tl
from hf_tl.config import ModelConfig
from hf_tl.errors import ModelError
from hf_tl.models.custom import goes_around
from hf_tl.models.pretrained import check_task, find_pretrained, load_model
from hf_tl.models.processors import load_processor
from hf_tl.task import Targets, get_task
from tests.tiny import colour_folder

TASK = get_task("image-classification")
AB = Targets(("a", "b"), "single_label_classification")
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def tiny_dinov3(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.DINOv3ViTConfig(**SMALL, image_size=32, patch_size=8, num_register_tokens=2)
    transformers.DINOv3ViTModel(config).save_pretrained(folder)
    square = {"height": 32, "width": 32}
    transformers.DINOv3ViTImageProcessor(size=square, image_mean=[0.4, 0.5, 0.6]).save_pretrained(folder)
    return folder


def tiny_aimv2(folder: Path) -> Path:
    """Without a class token; its head pools by attention."""
    torch.manual_seed(0)
    config = transformers.Aimv2VisionConfig(**SMALL, image_size=32, patch_size=8)
    transformers.Aimv2VisionModel(config).save_pretrained(folder)
    square = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=square).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("make", [tiny_dinov3, tiny_aimv2])
def test_the_head_reads_the_vector_that_the_backbone_makes_of_an_image(make: Any, tmp_path: Path) -> None:
    config = ModelConfig(id=str(make(tmp_path / "model")))
    found = find_pretrained(config)
    check_task(found, TASK)
    processor = load_processor(found, TASK, adapt=True)
    loaded = load_model(found, TASK, AB, config)
    assert loaded.heads == ["head"] and "trust_remote_code" in loaded.notes[0]
    backbone = transformers.AutoModel.from_pretrained(tmp_path / "model").eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        wanted = loaded.model.eval().head(backbone(pixel_values=pixels).pooler_output)
        torch.testing.assert_close(loaded.model(pixel_values=pixels).logits, wanted)
    processor.save_pretrained(tmp_path / "saved")  # as Pillow alone can read it
    assert type(processor).__name__.endswith("Pil")
    again = transformers.AutoImageProcessor.from_pretrained(tmp_path / "saved", backend="pil")
    assert again.image_mean == processor.image_mean


def test_other_networks_are_refused_as_before(tmp_path: Path) -> None:
    """They read images too, and give boxes, or need a text."""
    for config in (transformers.YolosConfig(), transformers.DetrConfig(), transformers.BertConfig()):
        assert not goes_around(config, TASK.auto_class)
    assert not goes_around(transformers.DINOv3ViTConfig(), "AutoModelForSequenceClassification")
    transformers.YolosModel(transformers.YolosConfig(**SMALL, image_size=[32, 32], patch_size=8)).save_pretrained(
        tmp_path
    )
    with pytest.raises(ModelError, match="is a yolos model, which cannot do image-classification"):
        check_task(find_pretrained(ModelConfig(id=str(tmp_path))), TASK)


@pytest.mark.slow
def test_a_run_with_it_is_proved_and_predicts(tmp_path: Path) -> None:
    data = colour_folder(tmp_path / "data")
    run = hf_tl.finetune(
        model=str(tiny_dinov3(tmp_path / "model")), data=str(data), method="lora", output=str(tmp_path / "run"),
        training={"max_steps": 4, "per_device_train_batch_size": 4, "bf16": False},
    )  # fmt: skip
    assert run.predict([str(data / "test" / "red" / "0.png")])[0]["label"] in ("red", "blue")
    assert (run.model / "modeling_hf_tl.py").exists()
