"""What every task promises, by every method: found from its file, so a new task is covered without being listed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hf_tl
from hf_tl.data.kinds import main_kind
from hf_tl.task import Task, all_tasks
from tests.anything import tiny_data, tiny_model
from tests.tiny import declare_torchvision_operators

declare_torchvision_operators()
CASES = [pytest.param(task, method, id=f"{task.name}-{method}") for task in all_tasks() for method in task.methods]
CLEAN_PROCESS = """
import json, sys
sys.modules["torchvision"] = None
sys.modules["hf_tl"] = None
from transformers import pipeline
task, model, inputs, options = json.loads(sys.stdin.read())
found = pipeline(task, model=model)
print("RESULT" + json.dumps([found(each, **options) for each in inputs], default=str))
"""
OPTIONS = {
    "token-classification": {"aggregation_strategy": "first"},
    "text-classification": {"top_k": None},
    "image-feature-extraction": {"pool": True},
    "object-detection": {"threshold": 0.0},
}


def top(found: Any) -> tuple[str, float] | None:
    """(answer, score) that a stock pipeline puts first."""
    while isinstance(found, list) and found and isinstance(found[0], list):
        found = found[0]
    found = [found] if isinstance(found, dict) else found
    best = max(found, key=lambda each: each.get("score") or 0.0, default=None)
    if best is None or best.get("score") is None:
        return None
    name = next(best[key] for key in ("label", "entity_group", "answer", "token_str") if key in best)
    return str(name), float(best["score"])


@pytest.mark.parametrize(("task", "method"), CASES)
def test_contract(task: Task, method: str, tmp_path: Path) -> None:
    """Four steps, evaluated, saved, loaded in a clean process; interrupted and resumed with the same result."""
    model, data = tiny_model(task, tmp_path / "model"), tiny_data(task, tmp_path / "data")

    def run(name: str) -> hf_tl.Run:
        return hf_tl.finetune(
            task=task.name,
            model=str(model),
            data={"path": str(data), "validation": 0.25, "preprocessing": {"augment": "none"}},
            method=method,
            output=str(tmp_path / name),
            training={
                "max_steps": 4,
                "per_device_train_batch_size": 4,
                "learning_rate": 2e-2,
                "bf16": False,
                "eval_strategy": "steps",
                "eval_steps": 2,
                "save_steps": 2,
            },
        )

    done = run("run")
    values = done.metrics["metrics"]
    assert done.metrics["samples"] == 6 and done.metrics["train"]["steps"] == 4
    problem = json.loads((done.folder / "environment.json").read_text())["problem"]
    assert task.of_problem(problem).best_metric in values
    for value in values.values():
        assert value["low"] <= value["value"] <= value["high"]
    report = (done.folder / "report.html").read_text(encoding="utf-8")
    card = (done.folder / "README.md").read_text(encoding="utf-8")
    assert f"pipeline_tag: {task.name}" in card and task.name in report
    assert not [path for path in done.model.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]

    # the same again, from what the data hold without the targets
    inputs: list[Any] = []
    images = main_kind(task).name == "image"
    if images and task.inference.snippet is not None:
        assert "from_pretrained" in card  # no pipeline: the card says how
    elif images:
        inputs = [str(path) for path in sorted(data.glob("[0-9].png"))[:3]]
    else:
        column = next(c for c in task.columns if not c.target and c.kind == "text")
        assert column.kind == "text"
        inputs = ["the film was good", "a very bad book"] if task.inference.snippet is None else []
        if not task.target_roles:
            inputs = ["the film was [MASK]", "a very [MASK] book"]
    if inputs:
        ours = done.predict(inputs)
        assert len(ours) == len(inputs) and all({"label", "score"} <= set(each) or "embedding" in each for each in ours)
        theirs = subprocess.run(
            [sys.executable, "-c", CLEAN_PROCESS],
            input=json.dumps([task.name, str(done.model), inputs, OPTIONS.get(task.name, {})]),
            capture_output=True, text=True, cwd="/", timeout=300,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
        )  # fmt: skip
        lines = [line for line in theirs.stdout.splitlines() if line.startswith("RESULT")]
        assert lines, theirs.stderr[-2000:]
        for mine, other in zip(ours, json.loads(lines[-1].removeprefix("RESULT")), strict=True):
            if "generated_text" in mine:
                assert other == [{"generated_text": mine["generated_text"]}]
            if "embedding" in mine:
                assert mine["embedding"] == pytest.approx(other[0], abs=1e-5)
                continue
            best = top(other)
            if best is not None:
                assert mine["label"] == best[0]
                assert mine["score"] == pytest.approx(best[1], abs=1e-5)

    # what a kill after step 2 leaves, resumed: the same weights
    before = (done.model / "model.safetensors").read_bytes()
    shutil.rmtree(done.folder / "checkpoints" / "checkpoint-4")
    shutil.rmtree(done.model)
    (done.folder / "metrics.json").unlink()
    state = json.loads((done.folder / "state.json").read_text())
    (done.folder / "state.json").write_text(json.dumps({**state, "stage": "started"}))
    again = run("run")
    assert again.metrics["train"]["resumed_from_step"] == 2
    assert (again.model / "model.safetensors").read_bytes() == before
    assert again.metrics["metrics"] == values
