"""A model in a clean process: `pipeline(task, model=...)` in a process that cannot import hf_tl.

python -m tests.clean_process TASK MODEL INPUTS.json [MODEL_KWARGS.json]   ->  one JSON list of [{label: score}, ...]
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

CODE = """
import json, sys
sys.modules["torchvision"] = None  # a machine with torch and transformers alone
sys.modules["hf_tl"] = None
from transformers import pipeline
task, model, inputs, options = json.loads(sys.stdin.read())
found = pipeline(task, model=model, **options)(inputs, top_k=None)
print("RESULT" + json.dumps([{each["label"]: each["score"] for each in one} for one in found]))
"""


def stock_scores(
    task: str, model: str | Path, inputs: list[str], env: dict[str, str] | None = None, **options: Any
) -> list[dict[str, float]]:
    """Label -> score of each input, from the stock pipeline in a fresh process outside the repository."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        input=json.dumps([task, str(model), inputs, options]),
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": "", **(env or {})},
        timeout=300,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert lines, done.stderr[-3000:]
    result: list[dict[str, float]] = json.loads(lines[-1].removeprefix("RESULT"))
    return result


def assert_same_scores(ours: list[dict[str, Any]], theirs: list[dict[str, float]], tolerance: float = 1e-5) -> None:
    """hf_tl's predictions against the stock pipeline's."""
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert set(mine["scores"]) == set(other)
        assert mine["label"] == max(other, key=lambda name: other[name])
        for name, score in other.items():
            assert abs(mine["scores"][name] - score) < tolerance, (name, mine["scores"][name], score)


def card_prints(card: Path, text: str) -> str:
    """What the Python lines of a model card print for `text` (in place of their own example), run as they stand in a
    process that cannot import hf_tl."""
    code = card.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    example = re.search(r"print\(write\(('[^'\n]*'|\"[^\"\n]*\")\)\)", code)
    assert example is not None, code
    code = code.replace(example.group(1), repr(text))
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.modules['torchvision'] = sys.modules['hf_tl'] = None\n{code}"],
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()
