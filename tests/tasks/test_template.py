"""`tasks/_template.py`, copied under a name of its own as one who adds a task would, trains and predicts."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import hf_tl
import hf_tl.tasks
from hf_tl.task import Task, TaskContext, get_task, task_names
from tests.tiny import sentiment_csv, tiny_bert

TEXTS = ["the film was good", "a very bad book"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Task]:
    folder = tmp_path_factory.mktemp("tasks")
    source = Path(hf_tl.tasks.__path__[0]) / "_template.py"
    shutil.copyfile(source, folder / "template.py")
    hf_tl.tasks.__path__.append(str(folder))
    importlib.invalidate_caches()
    yield get_task("template")
    hf_tl.tasks.__path__.remove(str(folder))
    sys.modules.pop("hf_tl.tasks.template", None)


def test_the_template_itself_is_no_task() -> None:
    assert not [name for name in task_names() if "template" in name]


def test_loss_and_metric_by_hand(template: Task) -> None:
    out, batch = {"logits": torch.tensor([[0.0, 0.0], [0.0, 3.0]])}, {"labels": torch.tensor([0, 1])}
    wanted = np.log(2) + np.log(1 + np.exp(-3))
    assert float(template.loss(out, batch, TaskContext(), None)) == pytest.approx(wanted / 2)
    assert float(template.loss(out, batch, TaskContext(), 8)) == pytest.approx(wanted / 8)
    kept = template.collect(None, out, batch, TaskContext())
    found = template.measure(kept, None, {"label": [1, 1]}, TaskContext(), resamples=0)
    assert found.values == {"accuracy": 0.5}  # of equal scores the first label's counts


def test_a_copy_trains_and_predicts_as_the_stock_pipeline(template: Task, tmp_path: Path) -> None:
    done: Any = hf_tl.finetune(
        task="template", model=str(tiny_bert(tmp_path / "model")), output=str(tmp_path / "run"),
        data={"path": str(sentiment_csv(tmp_path / "data.csv", rows=32)), "validation": 0.25},
        training={"max_steps": 8, "learning_rate": 1e-2, "bf16": False},
    )  # fmt: skip
    assert done.metrics["samples"] == 8 and set(done.metrics["metrics"]) == {"accuracy"}
    assert "pipeline_tag: template" in (done.folder / "README.md").read_text(encoding="utf-8")
    pipe = transformers.pipeline("text-classification", model=str(done.model), top_k=None)
    for mine, theirs in zip(done.predict(TEXTS), pipe(TEXTS), strict=True):
        assert mine["scores"] == pytest.approx({each["label"]: each["score"] for each in theirs}, abs=1e-5)
        assert mine["label"] == theirs[0]["label"]
