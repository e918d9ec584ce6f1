"""What every task promises, by every method: found from its file, so a new task is covered without being listed."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import hf_tl
from hf_tl.data.kinds import main_kind
from hf_tl.inference.held_out import finished
from hf_tl.inference.outputs import model_inputs
from hf_tl.inference.predict import _rows
from hf_tl.task import Task, all_tasks, join_lines
from tests.anything import example_inputs, example_of, one_of_each, tiny_data, tiny_model
from tests.clean_process import agree, stock_answers
from tests.tiny import declare_torchvision_operators

declare_torchvision_operators()
QUICK = one_of_each(all_tasks(), lambda task: main_kind(task).name)
CASES = [
    pytest.param(
        task,
        method,
        id=f"{task.name}-{method}",
        marks=[] if method == task.methods[0] or task.name in QUICK else pytest.mark.slow,
    )
    for task in all_tasks()
    for method in task.methods
]
"""By default every task by one method, and a task of each kind of input by all of its own."""
FORWARD = """from safetensors.torch import load_file
outputs = model(**load_file(rows[0]["file"]))
found = [{"numbers": next(value for name, value in outputs.items() if name != "loss").flatten().tolist()}]"""


def numbers(value: Any) -> list[float]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] if isinstance(value, float) else [number for each in inner for number in numbers(each)]


def check_with_plain_transformers(task: Task, run: hf_tl.Run, inputs: list[dict[str, Any]], folder: Path) -> None:
    """Its predictions are what the lines of the proof find; of a task that proves none, what its model gives."""
    lines = example_of(task).lines or task.inference.proof
    if lines is not None:
        snippet = task.inference.snippet
        lines = lines if snippet is None else join_lines(snippet.replace("{model}", "path"), lines)
        ours, theirs = run.predict(inputs), stock_answers(task, run.model, inputs, lines)
        assert all("label" in each or "embedding" in each for each in ours)
    else:
        model, same, context = finished(str(run.model), None, mode="predicting")
        assert same.name == task.name
        samples = task.preprocess(_rows(inputs, task), context, False)
        batch = model_inputs(task, task.collator(context, False)([samples[at] for at in range(len(samples))]))
        save_file(batch, folder / "batch.safetensors")
        with torch.no_grad():
            outputs = model.to("cpu")(**batch)
        ours = [{"numbers": next(value for name, value in outputs.items() if name != "loss").flatten().tolist()}]
        theirs = stock_answers(task, run.model, [{"file": str(folder / "batch.safetensors")}], FORWARD)
    said = ("label", "generated_text", "entities")
    assert numbers(theirs) or any(key in each for key in said for each in theirs), (
        f"tests/anything.py: with the inputs in EXAMPLES nothing of {task.name} is compared"
    )
    assert agree(ours, theirs), (ours, theirs)


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
    for name, value in values.items():
        none = name == "generated_tokens" and math.isnan(value["low"])  # all alike
        assert none or value["low"] <= value["value"] <= value["high"], name
    report = (done.folder / "report.html").read_text(encoding="utf-8")
    card = (done.folder / "README.md").read_text(encoding="utf-8")
    assert f"pipeline_tag: {task.name}" in card and task.name in report
    assert not [path for path in done.model.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]

    assert task.inference.snippet is None or "from_pretrained" in card or "{model}" in task.inference.snippet
    check_with_plain_transformers(task, done, example_inputs(task, data), tmp_path)

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
    assert json.dumps(again.metrics["metrics"]) == json.dumps(values)  # an interval that cannot be given is no number
