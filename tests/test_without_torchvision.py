"""A machine that has no torchvision: the same flow on Pillow alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.tiny import colour_folder, tiny_mobilenet

CODE = """
import sys
sys.modules["torchvision"] = None
from hf_tl.cli import main
sys.exit(main(sys.argv[1:]))
"""


def alone(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CODE, *map(str, words)], capture_output=True, text=True, timeout=300)


def test_train_predict_and_what_needs_it(tmp_path: Path) -> None:
    import hf_tl

    model, data = tiny_mobilenet(tmp_path / "mobilenet"), colour_folder(tmp_path / "colours")
    common = ("--model", model, "--data", data, "--method", "full", "training.num_train_epochs=3")
    done = alone("train", *common, "--output", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["samples"] == 10
    image = str(next((data / "test" / "red").iterdir()))
    there = json.loads(alone("predict", tmp_path / "run", image, "--json").stdout.splitlines()[0])
    here = hf_tl.predict(str(tmp_path / "run"), image)[0]
    assert abs(there["scores"]["red"] - here["scores"]["red"]) < 1e-5
    refused = alone("train", *common, "data.preprocessing.augment=rand", "--output", tmp_path / "other")
    assert refused.returncode == 2 and "needs torchvision" in refused.stderr
