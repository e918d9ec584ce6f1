"""A model in a clean process: `pipeline(task, model=...)` in a process that cannot import hf_tl."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from hf_tl.data.kinds import processor_of
from hf_tl.task import Task

CODE = """
import json, sys
sys.modules["torchvision"] = None  # a machine with torch and transformers alone
sys.modules["hf_tl"] = None
from transformers import pipeline
task, model, inputs, options = json.loads(sys.stdin.read())
found = pipeline(task, model=model, **options)(inputs, top_k=None)
print("RESULT" + json.dumps([{each["label"]: each["score"] for each in one} for one in found]))
"""


ANSWERS = """
import json, sys
sys.modules["torchvision"] = sys.modules["hf_tl"] = None
import torch, transformers
from PIL import Image
request = json.loads(sys.stdin.read())
path, names = request["path"], {"path": request["path"]}
transformers.set_seed(0)
if request["lines"] is None or "pipe(" not in request["lines"]:
    names["processor"] = getattr(transformers, request["processor"]).from_pretrained(path)
    names["model"] = getattr(transformers, request["class"]).from_pretrained(path).eval()
else:
    names["pipe"] = transformers.pipeline(request["task"], model=path)
names["rows"] = [
    {role: Image.open(value) if role in request["images"] else value for role, value in row.items()}
    for row in request["rows"]
]
with torch.no_grad():
    exec(request["lines"], names)
print("RESULT" + json.dumps(names["found"], default=lambda number: number.item()))
"""


def stock_answers(task: Task, model: Path, rows: list[dict[str, Any]], lines: str) -> list[dict[str, Any]]:
    """What `lines` find in `rows` (role -> value, images as files) with plain Transformers in a clean process: with
    `pipe` where they use it, else with `model` and `processor`, as the card has it."""
    request = {
        "task": task.name, "path": str(model), "rows": rows, "lines": lines, "class": task.auto_class,
        "processor": processor_of(task).auto_class,
        "images": [column.role for column in task.columns if column.kind == "image"],
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", ANSWERS],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
        timeout=300,
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert found, done.stderr[-3000:]
    answers: list[dict[str, Any]] = json.loads(found[-1].removeprefix("RESULT"))
    return answers


def agree(ours: Any, theirs: Any) -> bool:
    """Whether all that is in `theirs` is in `ours` too, numbers within 1e-5."""
    if isinstance(theirs, dict):
        return isinstance(ours, dict) and all(key in ours and agree(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(agree(a, b) for a, b in zip(ours, theirs, strict=True))
    if isinstance(theirs, float) and isinstance(ours, (int, float)):
        return abs(ours - theirs) < 1e-5
    return bool(ours == theirs)


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
