"""Real weights and real data: shared on the test Hub and loaded in a clean process with an empty cache."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

import hf_tl
from tests.clean_process import assert_same_scores, stock_scores
from tests.hub.server import RunningHub

TOKEN = "hf_test_alice"


def hf(env: dict[str, str], *words: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "hf_tl", *map(str, words)], capture_output=True, text=True, env=env, timeout=800
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora", "frozen"])
@pytest.mark.parametrize("kind", ["text", "image"])
def test_shared_and_loaded(
    kind: str, method: str, hub: RunningHub, tmp_path: Path, data_dir: Path, models_dir: Path
) -> None:
    if kind == "text":
        task, model, data = "text-classification", "sentence-transformers/all-MiniLM-L6-v2", data_dir / "text" / "sst2"
        hub.seed_model(model, models_dir / "all-MiniLM-L6-v2")
        with (data / "test.csv").open(encoding="utf-8") as stream:
            inputs = [row["sentence"] for row in csv.DictReader(stream)][::200]
    else:
        task, model, data = "image-classification", "google/mobilenet_v2_1.0_224", data_dir / "vision" / "ants_bees"
        hub.seed_model(model, models_dir / "mobilenet_v2_1.0_224")
        inputs = [str(path) for path in sorted((data / "test").rglob("*.jpg"))[::20]]
    mine = hub.env(TOKEN)
    hf(mine, "train", "--model", model, "--data", data, "--method", method, "--output", tmp_path / "run",
       "--push", "alice/it", "hub.private=false", "data.max_samples=120", "training.max_steps=6")  # fmt: skip
    ours = hf_tl.predict(str(tmp_path / "run"), inputs)
    files = hub.files("alice/it")
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pth"))]
    assert not [name for name, content in files.items() if TOKEN.encode() in content]
    reader = {**hub.env(home="reader"), "HF_HUB_OFFLINE": "0"}
    assert_same_scores(ours, stock_scores(task, "alice/it", inputs, env=reader))
    if method == "lora":
        hf(mine, "push", tmp_path / "run", "alice/adapter", "--no-merge", "--public")
        assert "model.safetensors" not in hub.files("alice/adapter")
        fresh = hub.env(home="third")
        lines = hf(fresh, "predict", "alice/adapter", *inputs, "--json").stdout.splitlines()
        theirs = [json.loads(line)["scores"] for line in lines]
        assert_same_scores(ours, theirs)
