"""Two processes give what one gives, and evaluate every sample once."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from tests.tiny import colour_folder, sentiment_csv, tiny_bert, tiny_mobilenet

ROOT = Path(__file__).resolve().parents[1]


def launch(processes: int, recipe: str, *overrides: str) -> None:
    script = str(ROOT / "recipes" / f"{recipe}.py")
    env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        str(processes),
        script,
    ]
    done = subprocess.run(
        [*(command if processes > 1 else [sys.executable, script]), *overrides],
        capture_output=True, text=True, env=env, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", ["text_classification_full", "text_classification_lora", "image_classification_full"]
)
def test_two_processes_train_and_measure_as_one(recipe: str, tmp_path: Path) -> None:
    if recipe.startswith("text"):
        model, data = tiny_bert(tmp_path / "m"), sentiment_csv(tmp_path / "d.csv", rows=71)
    else:
        model, data = tiny_mobilenet(tmp_path / "m"), colour_folder(tmp_path / "d", each=36)
    # whole steps: Accelerate fills an epoch's short last one up with rows from its start
    common = [f"model={model}", f"data={data}", "training.max_steps=8", "training.bf16=false", "training.optim=sgd",
              "training.learning_rate=0.05"]  # fmt: skip
    if recipe.startswith("image"):
        common += ["model.config.classifier_dropout_prob=0", "training.learning_rate=0.005"]
    results = {}
    for processes in (1, 2):
        output = tmp_path / f"run{processes}"
        launch(processes, recipe, f"output={output}", *common, f"training.per_device_train_batch_size={8 // processes}")
        metrics = json.loads((output / "metrics.json").read_text())
        results[processes] = (metrics, load_file(output / "model" / "model.safetensors"))
        assert json.loads((output / "environment.json").read_text())["processes"] == processes
    one, two = results[1][0], results[2][0]
    assert one["samples"] == two["samples"] and sum(map(sum, two["confusion_matrix"])) == two["samples"]
    assert two["train"]["steps"] == one["train"]["steps"]
    assert two["metrics"]["loss"]["value"] == pytest.approx(one["metrics"]["loss"]["value"], abs=1e-4)
    assert two["confusion_matrix"] == one["confusion_matrix"]
    moved, apart = distances(load_file(Path(model) / "model.safetensors"), results[1][1], results[2][1])
    # a gradient of half the size would leave them half the way apart
    assert moved > 1e-5 and apart < 1e-3 * moved


def distances(start: Any, one: Any, two: Any) -> tuple[float, float]:
    """How far training has moved the pretrained weights, and how far apart two results of it are there."""
    moved, apart, seen = 0.0, 0.0, 0
    for name, tensor in one.items():
        before = start.get(name, start.get(name.removeprefix("bert.")))
        if before is not None and before.shape == tensor.shape and "running" not in name:
            moved += float(((tensor - before) ** 2).sum())
            apart += float(((tensor - two[name]) ** 2).sum())
            seen += 1
    assert seen >= len(start) / 3
    return math.sqrt(moved), math.sqrt(apart)
