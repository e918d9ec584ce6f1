"""What a person is told about mixed or unchanged images, and about the weights that a run begins with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import hf_tl
from hf_tl.reporting import sections
from hf_tl.task import get_task
from tests.tasks.test_timm import RESNET, timm_folder
from tests.tiny import colour_folder, tiny_vit


def test_preview_shows_the_shares_of_mixed_labels(tmp_path: Path) -> None:
    data = {"path": str(colour_folder(tmp_path / "d")), "preprocessing": {"augment": ["cutmix"]}}
    found = hf_tl.preview(
        {"model": str(tiny_vit(tmp_path / "vit")), "data": data}, output=tmp_path / "g.png", samples=6
    )
    assert found["batch"]["labels"] == "float32 (6, 2)"
    assert any("%" in sample["label"] for sample in found["samples"])


def test_preview_of_timm_has_the_images_own_colours(tmp_path: Path) -> None:
    """Dark images with one bright channel stay so: normalisation is undone with timm's values."""
    model, data = timm_folder(tmp_path / "m", *RESNET), colour_folder(tmp_path / "d")
    grid = tmp_path / "g.png"
    hf_tl.preview({"model": str(model), "data": {"path": str(data), "preprocessing": {"augment": "none"}}}, output=grid)
    pixels = np.asarray(Image.open(grid).convert("RGB")).astype(int).reshape(-1, 3)
    coloured = pixels[abs(pixels[:, 0] - pixels[:, 2]) > 60]
    assert np.median(coloured[:, 1]) == pytest.approx(45, abs=15)  # green is drawn from 0 to 90


def test_frozen_says_that_images_are_not_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hf_tl.finetune(
        model=str(tiny_vit(tmp_path / "vit")),
        data={"path": str(colour_folder(tmp_path / "d")), "preprocessing": {"augment": ["mixup"]}},
        method="frozen",
        output=str(tmp_path / "run"),
        training={"max_steps": 4},
    )
    assert "from unaugmented images, so 'mixup' has no effect" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "name", "value", "warned"),
    [
        ("image-classification", "accuracy", {"value": 0.7, "low": 0.6, "high": 0.8}, False),
        ("image-classification", "accuracy", {"value": 0.55, "low": 0.45, "high": 0.65}, True),
        ("masked-image-modeling", "loss", {"value": 0.3, "low": 0.25, "high": 0.35}, False),
        ("masked-image-modeling", "loss", {"value": 0.45, "low": 0.4, "high": 0.55}, True),
        ("masked-image-modeling", "loss", {"value": 0.7, "low": 0.6, "high": 0.8}, True),
    ],
)
def test_the_baseline_is_beaten_from_above_or_below(
    task: str, name: str, value: dict[str, float], warned: bool
) -> None:
    record: Any = SimpleNamespace(
        task=get_task(task), headline=name, values={name: value}, labels=(), train={}, evaluations=[], before=None,
        proof_failed=None,
        metrics={"baseline": {name: 0.5}, "split": "test", "samples": 100},
    )  # fmt: skip
    said = [each for each in sections.result(record)["warnings"] if "not significantly better" in each]
    assert bool(said) is warned


def test_weights_of_another_head_are_said_to_be_carried_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From images alone to a classifier: the encoder is the adapted one, to the bit."""
    import torch
    from safetensors.torch import load_file

    from tests.anything import tiny_data, tiny_model

    task = get_task("masked-image-modeling")
    images = tiny_data(task, tmp_path / "images")
    options = {"training": {"max_steps": 3, "learning_rate": 1e-3, "bf16": False}}
    adapted = hf_tl.finetune(
        task=task.name, model=str(tiny_model(task, tmp_path / "model")), data=str(images),
        output=str(tmp_path / "adapted"), **options,
    )  # fmt: skip
    report = (adapted.folder / "report.html").read_text(encoding="utf-8")
    assert all(f'alt="{name}"' in report for name in ("original", "seen", "reconstruction"))
    capsys.readouterr()
    then = hf_tl.finetune(
        model=str(adapted.folder), data=str(colour_folder(tmp_path / "colours")), method="frozen",
        output=str(tmp_path / "then"), **options,
    )  # fmt: skip
    said = capsys.readouterr().err
    assert "parameters are loaded from a ViTForMaskedImageModeling; newly initialized: 'classifier'" in said
    before, after = (load_file(each.model / "model.safetensors") for each in (adapted, then))
    encoder = [name for name in after if name.startswith("vit.")]
    assert len(encoder) > 30 and all(torch.equal(before[name], after[name]) for name in encoder)
