"""Class weights by hand, and what `environment.json` says of a run."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset

from hf_tl.config import LossConfig, load_config
from hf_tl.errors import ConfigError
from hf_tl.models.custom import MODEL_TYPE
from hf_tl.task import Targets, TaskContext, get_task
from hf_tl.training.arguments import ChosenDefault
from hf_tl.training.description import check_adapter_alone, describe_run, label_weights

LABELS = ("few", "many", "some")
ROWS = [1] * 6 + [0] + [2] * 3  # one of few, six of many, three of some


def data(rows: list[int] = ROWS, classes: str | None = "label") -> Any:
    return SimpleNamespace(
        splits={"train": Dataset.from_dict({"label": rows}), "validation": Dataset.from_dict({"label": [1, 1]})},
        labels=LABELS,
        targets=Targets(LABELS, "single_label_classification", class_column=classes),
    )


def weights(given: Any, rows: list[int] = ROWS) -> list[float] | None:
    found = label_weights(LossConfig(class_weights=given), data(rows))
    assert found is None or found.dtype == torch.float32
    return None if found is None else found.tolist()


def test_weights_are_inverse_to_the_frequency_and_of_mean_one_over_the_samples() -> None:
    """1, 1/6 and 1/3 by label; each class then weighs 1 together, so the mean over 10 samples is 3 / 10."""
    assert weights("auto") == pytest.approx([10 / 3, 10 / 18, 10 / 9])


def test_a_class_without_samples_has_a_weight_that_nothing_asks_for() -> None:
    assert weights("auto", [1, 1, 0, 0]) == pytest.approx([1.0, 1.0, 2.0])


def test_given_weights_are_in_the_order_of_the_labels() -> None:
    """few 4, many 1, some 2: 4 + 6 + 6 over 10 samples is a mean of 1.6."""
    assert weights({"some": 2, "few": 4, "many": 1}) == pytest.approx([4 / 1.6, 1 / 1.6, 2 / 1.6])


def test_without_weights_there_are_none() -> None:
    assert weights(None) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"few": 1, "many": 1, "som": 1}, r"loss.class_weights.som: no such label; did you mean 'some'"),
        ({"few": 1, "many": 1, "zzz": 1}, r"loss.class_weights.zzz: no such label; labels are 'few', 'many', 'some'"),
        ({"few": 1, "many": 1}, r"loss.class_weights: no weight for 'some'; give one for every label"),
        ({"few": 1, "many": 0, "some": 1}, r"every weight must be above 0"),
        ({"few": 1, "many": -1, "some": 1}, r"every weight must be above 0"),
    ],
)
def test_weights_that_do_not_fit_the_labels(given: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        weights(given)


def test_weights_need_one_class_a_row() -> None:
    with pytest.raises(ConfigError, match=r"loss.class_weights: weighs classes, and these data do not have one"):
        label_weights(LossConfig(class_weights="auto"), data(classes=None))


def test_the_environment_of_a_run(tmp_path: Path) -> None:
    pretrained: Any = SimpleNamespace(id="m", revision="abc", hashes={"w": "1"}, license="mit", path=tmp_path, code={})
    rows: Any = data()
    rows.task, rows.source, rows.notes = get_task("text-classification"), {"path": "d"}, ["about the data"]
    rows.columns, rows.held_out = {"text": "body", "label": ["a", "b"]}, "validation"
    fitted: Any = SimpleNamespace(
        architecture="BertForSequenceClassification", precision=ChosenDefault("precision", "fp32", "why"), processes=2,
        choices=[ChosenDefault("learning_rate", 0.5, "because")],
    )  # fmt: skip
    describe_run(
        SimpleNamespace(folder=tmp_path),
        pretrained,
        rows,
        TaskContext(notes=["about the data", "about the model"]),
        fitted,
    )  # type: ignore[arg-type]
    found = json.loads((tmp_path / "environment.json").read_text())
    assert found["model"] == {
        "id": "m", "revision": "abc", "sha256": {"w": "1"}, "architecture": "BertForSequenceClassification",
        "license": "mit", "language": found["model"]["language"],
    }  # fmt: skip
    assert found["task"] == "text-classification" and found["problem"] == "single_label_classification"
    assert found["data"] == {
        "path": "d", "columns": {"text": "body", "label": "a, b"}, "labels": list(LABELS), "notes": ["about the data"],
        "held_out": "validation",
    }  # fmt: skip
    assert found["settings"] == [{"key": "training.learning_rate", "value": 0.5, "reason": "because"}]
    assert found["notes"] == ["about the model"]
    assert found["precision"] == {"choice": "fp32", "reason": "why"} and found["processes"] == 2
    assert {"hf_tl", "python", "packages", "hardware", "created"} <= set(found)


@pytest.mark.parametrize(
    ("hub", "model", "code", "model_type", "refused"),
    [
        ({"merge": False}, {}, {}, "bert", False),
        ({"merge": False}, {"head": "mlp"}, {}, "bert", True),
        ({"merge": False}, {"pooling": "mean"}, {}, "bert", True),
        ({"merge": False}, {}, {"modeling_x.py": "0"}, "bert", True),
        ({"merge": False}, {}, {}, MODEL_TYPE, True),
        ({"merge": True}, {"head": "mlp"}, {"modeling_x.py": "0"}, MODEL_TYPE, False),
        ({}, {"head": "mlp"}, {}, "bert", False),
        (None, {"head": "mlp"}, {}, "bert", False),
    ],
)
def test_an_adapter_alone_needs_a_base_and_a_head_of_transformers_own(
    hub: Any, model: dict[str, Any], code: dict[str, str], model_type: str, refused: bool
) -> None:
    config = load_config(
        {"model": {"id": "m", **model}, "data": "d", **({} if hub is None else {"hub": {"id": "me/x", **hub}})}
    )
    pretrained: Any = SimpleNamespace(code=code, config=SimpleNamespace(model_type=model_type))
    task = get_task("text-classification")
    if not refused:
        check_adapter_alone(config, task, pretrained)
        return
    with pytest.raises(ConfigError, match=r"hub\.merge: false shares an adapter alone"):
        check_adapter_alone(config, task, pretrained)


def test_a_task_that_pools_itself_has_a_head_of_its_own() -> None:
    config = load_config({"model": {"id": "m", "pooling": "mean"}, "data": "d", "hub": {"id": "me/x", "merge": False}})
    pretrained: Any = SimpleNamespace(code={}, config=SimpleNamespace(model_type="bert"))
    check_adapter_alone(config, get_task("sentence-similarity"), pretrained)
