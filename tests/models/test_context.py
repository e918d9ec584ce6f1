"""`make_context`: one record for a task's functions, with the processor settled before anything is prepared."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hf_tl.config import Preprocessing, load_config
from hf_tl.models.context import make_context
from hf_tl.task import Targets, TaskContext, get_task

TASK = get_task("text-classification")
PRETRAINED: Any = SimpleNamespace(path=Path("base"), adapter=Path("adapter"), config="config of the pretrained model")


def test_a_context_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TaskContext().mode = "predicting"  # type: ignore[misc]


def test_what_a_run_settles() -> None:
    config = load_config(
        {"model": "m", "data": {"path": "d", "preprocessing": {"max_length": 9}}, "seed": 7,
         "loss": {"focal_gamma": 2.0}, "training": {"label_smoothing_factor": 0.1}}
    )  # fmt: skip
    targets = Targets(("no", "yes"), "single_label_classification")
    loaded = SimpleNamespace(config="config of the loaded model")
    context = make_context(TASK, PRETRAINED, "processor", loaded, config=config, targets=targets, notes=("a",))
    assert context == TaskContext(
        labels=("no", "yes"), problem="single_label_classification", processor="processor",
        preprocessing=config.data.preprocessing, model_config="config of the loaded model", loss=config.loss,
        label_smoothing=0.1, folder=Path("base"), seed=7, notes=["a"],
    )  # fmt: skip
    assert make_context(TASK, PRETRAINED, None, config=config, targets=targets).model_config == PRETRAINED.config


def test_what_a_finished_model_says_of_itself() -> None:
    model = SimpleNamespace(config=SimpleNamespace(id2label={1: "b", 0: "a"}, problem_type="regression"))
    context = make_context(TASK, PRETRAINED, None, model, mode="measuring")
    assert (context.labels, context.problem, context.mode) == (("a", "b"), "regression", "measuring")
    assert context.folder == Path("adapter") and context.preprocessing == Preprocessing(augment="none")
    without = make_context(get_task("fill-mask"), PRETRAINED, None, model, mode="measuring")
    assert without.labels == () and without.problem is None


def test_model_and_processor_are_configured_once_with_the_whole_context() -> None:
    seen: list[Any] = []
    task = dataclasses.replace(TASK, configure=lambda model, context: seen.append((model, context)))
    model = SimpleNamespace(config=SimpleNamespace(id2label={0: "a"}))
    context = make_context(task, PRETRAINED, "processor", model)
    assert len(seen) == 1 and seen[0][0] is model and seen[0][1] is context
