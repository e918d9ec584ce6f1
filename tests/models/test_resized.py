"""Networks for images of another size or in colour: what the pretrained one said of them, the new one says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from PIL import Image
from torch import nn

from hf_tl.config import MethodConfig, ModelConfig
from hf_tl.errors import ModelError
from hf_tl.models.methods import get_method
from hf_tl.models.pretrained import Loaded, find_pretrained, load_model
from hf_tl.models.processors import load_processor
from hf_tl.task import Targets, get_task
from tests.tiny import tiny_bert, tiny_resnet, tiny_vit

TASK = get_task("image-classification")
TARGETS = Targets(tuple(f"LABEL_{index}" for index in range(10)))


def adapted(path: Path, size: int | None = None, **options: Any) -> tuple[Loaded, Any]:
    """(model, processor) as `hf-tl train` begins with them."""
    config = ModelConfig(id=str(path), **options)
    found = find_pretrained(config)
    processor = load_processor(found, TASK, image_size=size, adapt=True)
    return load_model(found, TASK, TARGETS, config), processor


def noise(size: int, channels: int = 3) -> Any:
    values = np.random.default_rng(0).integers(0, 256, (size, size, channels), dtype=np.uint8)
    return Image.fromarray(values if channels == 3 else values[..., 0])


def logits(model: Any, pixels: torch.Tensor, **options: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(pixel_values=pixels, **options).logits
    return found


def tiny_clip(folder: Path) -> Path:
    """Its positions are an embedding of a part of it."""
    from transformers import CLIPConfig, CLIPForImageClassification, CLIPImageProcessor

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    vision = {**small, "image_size": 32, "patch_size": 8}
    config = CLIPConfig(text_config={**small, "vocab_size": 20}, vision_config=vision, num_labels=10)
    CLIPForImageClassification(config).save_pretrained(folder)
    square = {"height": 32, "width": 32}
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=square).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("make", [tiny_vit, tiny_clip])
@pytest.mark.parametrize("size", [48, 50, 16])
def test_positions_are_those_that_transformers_interpolates(make: Any, size: int, tmp_path: Path) -> None:
    from transformers import AutoModelForImageClassification

    path = make(tmp_path / "model")
    found, processor = adapted(path, size)
    pixels = processor(noise(90), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, size, size) and found.kept_head
    before = AutoModelForImageClassification.from_pretrained(path)
    torch.testing.assert_close(logits(found.model, pixels), logits(before, pixels, interpolate_pos_encoding=True))
    # and so it is for everybody
    found.model.save_pretrained(tmp_path / "saved")
    saved = AutoModelForImageClassification.from_pretrained(tmp_path / "saved")
    torch.testing.assert_close(logits(saved, pixels), logits(found.model, pixels))


def test_tables_of_differences_are_those_that_transformers_interpolates(tmp_path: Path) -> None:
    """BEiT's, of each layer; it does so itself, at every call."""
    from transformers import BeitConfig, BeitForImageClassification, BeitImageProcessor

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = BeitConfig(**small, image_size=32, patch_size=8, use_relative_position_bias=True, num_labels=10)
    before = BeitForImageClassification(config).eval()
    for name, parameter in before.named_parameters():
        if "relative_position_bias_table" in name:
            nn.init.normal_(parameter)
    before.save_pretrained(tmp_path)
    BeitImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False).save_pretrained(tmp_path)
    found, processor = adapted(tmp_path, 48)
    pixels = processor(noise(90), return_tensors="pt")["pixel_values"]
    assert found.kept_head and pixels.shape == (1, 3, 48, 48)
    torch.testing.assert_close(logits(found.model, pixels), logits(before, pixels))


def test_the_size_that_a_configuration_names_is_no_other(tmp_path: Path) -> None:
    """`model.config.image_size` drew new positions without a word."""
    path = tiny_vit(tmp_path / "model")
    mine, same = (adapted(path, **each)[0].model for each in ({"config": {"image_size": 48}}, {"size": 48}))
    assert torch.equal(mine.vit.embeddings.position_embeddings, same.vit.embeddings.position_embeddings)


def test_positions_that_cannot_be_carried_over_are_refused(tmp_path: Path) -> None:
    config = ModelConfig(id=str(tiny_bert(tmp_path)), config={"max_position_embeddings": 128})
    said = r"position_embeddings.weight is of shape \[128, 32\] by the configuration and \[64, 32\] in the weights"
    with pytest.raises(ModelError, match=said):
        load_model(find_pretrained(config), get_task("text-classification"), Targets(("a", "b")), config)


def test_a_pooling_of_ours_goes_around_a_network_of_the_size(tmp_path: Path) -> None:
    found, processor = adapted(tiny_vit(tmp_path), 48, pooling="mean")
    pixels = processor(noise(48), return_tensors="pt")["pixel_values"]
    assert logits(found.model, pixels).shape == (1, 10) and found.heads == ["head"]


def test_a_network_for_grey_images_sees_the_same_in_colour(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = ViTConfig(**small, image_size=32, patch_size=8, num_channels=1, num_labels=10)
    before = ViTForImageClassification(config)
    before.save_pretrained(tmp_path)
    square = {"height": 32, "width": 32}
    ViTImageProcessor(size=square, image_mean=[0.4], image_std=[0.3]).save_pretrained(tmp_path)
    found, processor = adapted(tmp_path)
    assert found.model.config.num_channels == 3 and found.kept_head and processor.image_mean == [0.4] * 3
    grey = noise(32, 1)
    pixels = processor(grey.convert("RGB"), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 32, 32)
    torch.testing.assert_close(logits(found.model, pixels), logits(before, pixels[:, :1]))
    # a colour counts as much as in the grey that Pillow makes of it
    red = torch.zeros(1, 3, 32, 32)
    red[:, 0] = 1
    torch.testing.assert_close(logits(found.model, red), logits(before, torch.full((1, 1, 32, 32), 0.299)))


def test_other_channels_are_refused(tmp_path: Path) -> None:
    config = ModelConfig(id=str(tiny_vit(tmp_path)), config={"num_channels": 4})
    with pytest.raises(ModelError, match="reads images of 4 channels, expected 3, or 1 for grey ones"):
        load_processor(find_pretrained(config), TASK, adapt=True)


def test_convolutional_networks_take_the_size_as_their_processors_write_it(tmp_path: Path) -> None:
    found, processor = adapted(tiny_resnet(tmp_path), 96)
    pixels = processor(noise(40), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 96, 96) and logits(found.model, pixels).shape == (1, 10)


def test_an_adapter_brings_the_positions_of_its_size(tmp_path: Path) -> None:
    """Loaded as the proof does: the base by the adapter's configuration, its positions drawn anew."""
    from transformers import AutoConfig, AutoModelForImageClassification

    path = tiny_vit(tmp_path / "model")
    found, _ = adapted(path, 48)
    method = get_method(MethodConfig(name="lora"))
    made = method.prepare(found, TASK)
    training = {name for name, parameter in made.module.named_parameters() if parameter.requires_grad}
    assert training and not any("embeddings" in name for name in training)
    for name, parameter in made.module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.5)
    pixels = torch.randn(2, 3, 48, 48)
    trained = logits(made.module, pixels)
    plain = method.finish(made, tmp_path)
    torch.testing.assert_close(logits(plain, pixels), trained)
    plain.config.save_pretrained(tmp_path / "adapter")
    config = AutoConfig.from_pretrained(tmp_path / "adapter")
    base = AutoModelForImageClassification.from_pretrained(path, config=config, ignore_mismatched_sizes=True)
    alone: Any = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    torch.testing.assert_close(logits(alone.merge_and_unload(), pixels), trained)
