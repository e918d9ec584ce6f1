"""Image classification beyond the frame's tests: mixed batches, erased images, timm's networks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hf_tl
from hf_tl import compat
from hf_tl.config import LossConfig, Preprocessing
from hf_tl.data.augment import erase, mix
from hf_tl.errors import ConfigError
from hf_tl.task import TaskContext, get_task
from hf_tl.tasks import _classification as classification
from tests.anything import tiny_model
from tests.tiny import colour_folder, declare_torchvision_operators

declare_torchvision_operators()
pytest.importorskip("torchvision", exc_type=ImportError)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_labels_are_mixed_as_the_images_are(name: str) -> None:
    # image i is i everywhere, so that its mean says how much of each neighbour it holds
    pixels = torch.arange(1.0, 5.0)[:, None, None, None].expand(4, 3, 16, 16).clone()
    mixed, labels = mix([name], pixels, torch.arange(4), 4, seed=3)
    assert labels.shape == (4, 4) and torch.allclose(labels.sum(1), torch.ones(4))
    assert torch.allclose(mixed.mean((1, 2, 3)), labels @ torch.arange(1.0, 5.0), atol=1e-5)
    assert (labels.max(1).values < 1).all()
    again, _ = mix([name], pixels, torch.arange(4), 4, seed=3)
    assert torch.equal(mixed, again)
    several = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0]])
    _, both = mix([name, "mixup"], pixels, several, 2, seed=3)
    assert both.shape == (4, 2) and both.max() <= 1


def test_loss_of_mixed_labels_is_the_mix_of_the_losses() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 4)
    weights = torch.tensor([0.5, 1.0, 2.0, 0.5])
    context = TaskContext(
        labels=tuple("abcd"), class_weights=weights, label_smoothing=0.1, problem=classification.SINGLE
    )
    first, second = torch.tensor([0, 1, 2]), torch.tensor([3, 1, 0])
    one_hot = torch.nn.functional.one_hot
    soft = 0.3 * one_hot(first, 4) + 0.7 * one_hot(second, 4)
    found = classification.loss({"logits": logits}, {"labels": soft}, context, 3)
    wanted = sum(
        share * classification.loss({"logits": logits}, {"labels": hard}, context, 3)
        for share, hard in ((0.3, first), (0.7, second))
    )
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    focal = TaskContext(labels=tuple("abcd"), loss=LossConfig(focal_gamma=2.0), problem=classification.SINGLE)
    hard = classification.loss({"logits": logits}, {"labels": first}, focal, 3)
    assert classification.loss({"logits": logits}, {"labels": one_hot(first, 4).float()}, focal, 3) == pytest.approx(
        hard.item(), rel=1e-5
    )


def test_erasing_makes_a_rectangle_grey() -> None:
    torch.manual_seed(1)
    images = [erase(torch.ones(3, 32, 32)) for _ in range(40)]
    erased = [image for image in images if (image == 0).any()]
    assert 2 <= len(erased) <= 25
    rows, columns = (erased[0][0] == 0).any(1), (erased[0][0] == 0).any(0)
    assert (erased[0][:, rows][:, :, columns] == 0).all()


def run(tmp_path: Path, model: Path, data: Path, name: str, **options: Any) -> hf_tl.Run:
    training = {"max_steps": 4, "per_device_train_batch_size": 4, "bf16": False, "learning_rate": 1e-2}
    more = {"eval_strategy": "steps", "eval_steps": 2, "save_steps": 2}
    preprocessing = {"augment": options.pop("augment", "default")}
    return hf_tl.finetune(
        model=str(model), data={"path": str(data), "preprocessing": preprocessing, **options.pop("data", {})},
        output=str(tmp_path / name), training={**training, **more}, **options,
    )  # fmt: skip


def test_a_mixed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    model, data = tiny_model(get_task("image-classification"), tmp_path / "model"), colour_folder(tmp_path / "data")
    augment = ["trivial", "erasing", "mixup", "cutmix"]
    done = run(tmp_path, model, data, "run", augment=augment)
    before = (done.model / "model.safetensors").read_bytes()
    shutil.rmtree(done.folder / "checkpoints" / "checkpoint-4")
    shutil.rmtree(done.model)
    (done.folder / "metrics.json").unlink()
    state = json.loads((done.folder / "state.json").read_text())
    (done.folder / "state.json").write_text(json.dumps({**state, "stage": "started"}))
    again = run(tmp_path, model, data, "run", augment=augment)
    assert again.metrics["train"]["resumed_from_step"] == 2
    assert (again.model / "model.safetensors").read_bytes() == before


def test_numbers_cannot_be_mixed(tmp_path: Path) -> None:
    context = TaskContext(problem="regression", preprocessing=Preprocessing(augment="mixup"))
    with pytest.raises(ConfigError, match="augment: mixup mixes labels"):
        get_task("image-classification").preprocess(None, context, True)


def timm_model(architecture: str, folder: Path, **options: Any) -> Path:
    """What a timm repository of the Hub holds, with random weights."""
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model(architecture, pretrained=False, num_classes=10, **options)
    folder.mkdir(parents=True)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    about = {key: value for key, value in model.pretrained_cfg.items() if key not in ("hf_hub_id", "source")}
    config = {"architecture": architecture, "num_classes": 10, "num_features": model.num_features}
    if options:
        config["model_args"] = options
    (folder / "config.json").write_text(json.dumps({**config, "pretrained_cfg": {**about, "num_classes": 10}}))
    return folder


CLEAN_PROCESS = """
import json, runpy, sys
# torchvision beside CPU torch, as hf_tl lives with it; nothing else of hf_tl is here
kept = runpy.run_path(sys.argv[1])
kept["declare_torchvision_operators"]()
sys.modules["hf_tl"] = None
from transformers import pipeline
print("RESULT" + json.dumps(pipeline("image-classification", model=sys.argv[2], top_k=None)(sys.argv[3])))
"""


def stock_scores(model: Path, image: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", CLEAN_PROCESS, str(compat.__file__), str(model), str(image)],
        capture_output=True, text=True, cwd="/", timeout=300, check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
    )  # fmt: skip
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT")), None)
    assert line, done.stderr[-2000:]
    return {each["label"]: each["score"] for each in json.loads(line.removeprefix("RESULT"))}


@pytest.mark.parametrize("method", [pytest.param("full", marks=pytest.mark.slow), "lora", "frozen", "scratch"])
def test_a_timm_backbone(method: str, tmp_path: Path) -> None:
    model, data = timm_model("test_resnet", tmp_path / "timm"), colour_folder(tmp_path / "data")
    done = run(tmp_path, model, data, "run", method=method)
    image = next(data.rglob("*.png"))
    (ours,) = done.predict([str(image)])
    assert set(ours["scores"]) == {"blue", "red"}
    assert stock_scores(done.model, image) == pytest.approx(ours["scores"], abs=1e-5)
    if method == "full":
        again = run(tmp_path, model, data, "again", augment="none")  # the processor's own cut, as in evaluation
        assert np.isfinite(again.metrics["metrics"]["loss"]["value"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["frozen", "lora"])
def test_vgg(method: str, tmp_path: Path) -> None:
    """VGG through timm, its 4096-wide layers included; small images keep it short."""
    data = colour_folder(tmp_path / "data", each=6)
    done = run(tmp_path, timm_model("vgg11", tmp_path / "vgg"), data, "run", method=method)
    image = next(data.rglob("*.png"))
    (ours,) = done.predict([str(image)])
    assert stock_scores(done.model, image) == pytest.approx(ours["scores"], abs=1e-5)
    assert done.metrics["train"]["trainable_parameters"] < 0.1 * done.metrics["train"]["total_parameters"]


def test_images_that_keep_their_shape_reach_the_model_with_it(tmp_path: Path) -> None:
    """SigLIP2 NaFlex reads patches: how many, and in which rows, is said by its processor."""
    from datasets import Dataset
    from PIL import Image
    from transformers import Siglip2Config, Siglip2ForImageClassification, Siglip2ImageProcessorPil

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    vision = {**small, "patch_size": 8, "num_patches": 16}
    torch.manual_seed(0)
    model = Siglip2ForImageClassification(Siglip2Config(text_config=small, vision_config=vision, num_labels=2)).eval()
    processor = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    about = TaskContext(
        labels=("a", "b"), processor=processor, preprocessing=Preprocessing(augment="default"),
        problem=classification.SINGLE, model_config=model.config,
    )  # fmt: skip
    images = [Image.new("RGB", size, "red") for size in ((64, 16), (16, 64))]
    rows = Dataset.from_dict({"image": images, "label": [0, 1]})
    task = get_task("image-classification")
    for training in (False, True):
        samples = task.preprocess(rows, about, training)
        batch = task.collator(about, training)([samples[index] for index in range(2)])
        assert batch["pixel_values"].shape == (2, 16, 192) and batch["pixel_attention_mask"].shape == (2, 16)
        batch.pop("labels")
        assert model(**batch).logits.shape == (2, 2)
    evaluated = task.collator(about, False)([task.preprocess(rows, about, False)[index] for index in range(2)])
    assert evaluated["spatial_shapes"].tolist() == [[2, 8], [8, 2]]
