"""timm's backbones through Transformers' wrapper: checkpoint folders as timm pushes them, VGG16 among them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import hf_tl
from hf_tl import compat
from hf_tl.data.augment import pixels_of, processor_size
from hf_tl.models.pretrained import find_pretrained
from hf_tl.models.processors import load_processor
from hf_tl.task import get_task
from tests.tiny import colour_folder

timm = pytest.importorskip("timm")
TASK = get_task("image-classification")
RESNET = ("resnet10t", {})
VIT = ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 32, "num_heads": 2})
CLEAN_PROCESS = """
import importlib.util, json, sys
sys.modules["hf_tl"] = None
there = importlib.util.spec_from_file_location("compat", sys.argv[1])
compat = importlib.util.module_from_spec(there)
there.loader.exec_module(compat)
compat.declare_torchvision_operators()  # what this machine's torchvision lacks
from transformers import pipeline
found = pipeline("image-classification", model=sys.argv[2])(sys.argv[3:], top_k=None)
print("RESULT" + json.dumps([{each["label"]: each["score"] for each in one} for one in found]))
"""


def timm_folder(folder: Path, name: str, options: dict[str, Any], classes: int = 10, size: int = 32) -> Path:
    """Files as `timm.models.push_to_hf_hub` leaves them: weights under timm's names, and timm's own config.json."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=classes, **options)
    folder.mkdir(parents=True)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    known = {key: model.pretrained_cfg[key] for key in ("mean", "std", "interpolation")}
    config = {
        "architecture": name, "num_classes": classes, "num_features": model.num_features, "model_args": options,
        "pretrained_cfg": {**known, "input_size": [3, size, size], "crop_pct": 0.875},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def stock_scores(model: Path, images: list[str]) -> list[dict[str, float]]:
    command = [sys.executable, "-c", CLEAN_PROCESS, compat.__file__, str(model), *images]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=300)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert lines, done.stderr[-3000:]
    found: list[dict[str, float]] = json.loads(lines[-1].removeprefix("RESULT"))
    return found


def run(weights: Path, data: Path, output: Path, method: str = "full", **options: Any) -> hf_tl.Run:
    training = {"max_steps": 3, "bf16": False, "learning_rate": 1e-3, "per_device_train_batch_size": 6}
    preprocessing = options.pop("preprocessing", {})
    return hf_tl.finetune(
        model=options.pop("model", str(weights)),
        data={"path": str(data), "preprocessing": preprocessing},
        method=method,
        output=str(output),
        training=training,
        **options,
    )


@pytest.mark.parametrize(("name", "options"), [RESNET, VIT], ids=["resnet", "vit"])
@pytest.mark.parametrize("method", TASK.methods)
def test_every_method(name: str, options: dict[str, Any], method: str, tmp_path: Path) -> None:
    """Two classes over a head of two: the head is found where timm says that it is, not by its missing weights."""
    model = timm_folder(tmp_path / name, name, options, classes=2)
    data = colour_folder(tmp_path / "colours")
    done = run(model, data, tmp_path / "run", method)
    images = [str(path) for path in sorted((data / "test").rglob("*.png"))[:2]]
    ours = done.predict(images)
    for mine, scores in zip(ours, stock_scores(done.model, images) if method == "lora" else [], strict=False):
        for label, score in scores.items():
            assert mine["scores"][label] == pytest.approx(score, abs=1e-5)
    before = _weights(model)
    after = {name.removeprefix("timm_model."): value for name, value in _weights(done.model).items()}
    head = ("fc.", "head.")
    changed = {key for key in after if not torch.equal(before[key].float(), after[key].float())}
    assert any(key.startswith(head) for key in changed)
    if method == "frozen":
        assert all(key.startswith(head) for key in changed)
    if method == "lora":
        adapter = json.loads((done.model / "adapter" / "adapter_config.json").read_text())
        assert adapter["modules_to_save"] in (["timm_model.fc"], ["timm_model.head"])
        assert not any(target.endswith(("fc", "head")) and "mlp" not in target for target in adapter["target_modules"])


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def test_cached_features_are_what_the_head_reads(tmp_path: Path) -> None:
    """The head trained on cached features gives, in the whole model, what it gave on them."""
    from transformers import AutoModelForImageClassification

    model, data = timm_folder(tmp_path / "m", *RESNET), colour_folder(tmp_path / "colours")
    done = run(model, data, tmp_path / "run", "frozen")
    assert done.metrics["train"]["trainable_parameters"] == 2 * 512 + 2
    whole = AutoModelForImageClassification.from_pretrained(done.model).eval()
    processor = load_processor(find_pretrained(done.config.model.model_copy(update={"id": str(done.model)})), TASK)
    pixels = torch.stack(
        [processor(Image.open(path))["pixel_values"][0] for path in sorted((data / "test").rglob("*.png"))]
    )
    with torch.no_grad():
        pooled = whole.timm_model.forward_head(whole.timm_model.forward_features(pixels), pre_logits=True)
        logits = whole(pixel_values=pixels).logits
    assert torch.allclose(whole.timm_model.get_classifier()(pooled), logits, atol=1e-5)
    classes = torch.tensor([0] * 5 + [1] * 5)  # blue before red
    loss = torch.nn.functional.cross_entropy(logits, classes).item()
    assert loss == pytest.approx(done.metrics["metrics"]["loss"]["value"], abs=1e-5)


def test_images_of_the_right_size_are_only_normalised(tmp_path: Path) -> None:
    model = hf_tl.config.ModelConfig(id=str(timm_folder(tmp_path / "m", *RESNET)))
    processor = load_processor(find_pretrained(model), TASK)
    assert processor_size(processor) == (32, 32)
    values = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    found = pixels_of(processor, Image.fromarray(values))
    mean, std = (np.array(processor.data_config[key])[:, None, None] for key in ("mean", "std"))
    assert np.allclose(found.numpy(), (values.transpose(2, 0, 1) / 255 - mean) / std, atol=1e-6)


def test_another_size_travels_with_the_model(tmp_path: Path) -> None:
    model, data = timm_folder(tmp_path / "m", *RESNET), colour_folder(tmp_path / "colours")
    done = run(model, data, tmp_path / "run", preprocessing={"image_size": 48})
    assert json.loads((done.model / "config.json").read_text())["pretrained_cfg"]["input_size"] == [3, 48, 48]
    image = str(next((data / "test" / "red").iterdir()))
    (mine,), (theirs,) = done.predict([image]), stock_scores(done.model, [image])
    assert mine["scores"]["red"] == pytest.approx(theirs["red"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "frozen", "lora"])
def test_vgg16_as_in_the_seed_document(method: str, tmp_path: Path) -> None:
    """Its own head of one layer, and the seed document's: a hidden layer of 1024 with ReLU."""
    import unittest.mock

    # VGG16's thirteen convolutions, an eighth as wide
    plan = [8, 8, "M", 16, 16, "M", 32, 32, 32, "M", 64, 64, 64, "M", 64, 64, 64, "M"]
    with unittest.mock.patch.dict("timm.models.vgg.cfgs", {"vgg16": plan}):
        model = timm_folder(tmp_path / "vgg16", "vgg16", {})
        data = colour_folder(tmp_path / "colours")
        assert run(model, data, tmp_path / "stock", method).metrics["samples"] == 10
        if method == "lora":
            return
        done = run(model, data, tmp_path / "mlp", method, model={"id": str(model), "head": "mlp"})
        image = str(next((data / "test" / "red").iterdir()))
        assert set(done.predict([image])[0]["scores"]) == {"red", "blue"}
        assert _weights(done.model)["head.0.weight"].shape == (1024, 4096)
