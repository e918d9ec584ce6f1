"""A model whose labels stand in another order than the data's is measured with its own numbers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from transformers import AutoModelForSequenceClassification

import hf_tl
from hf_tl.errors import ConfigError, DataError
from hf_tl.inference.held_out import with_labels
from hf_tl.run_folder import RunFolder
from hf_tl.sharing import verify
from hf_tl.sharing.push import _check_finite
from hf_tl.task import Targets
from tests.tiny import sentiment_csv, tiny_bert


def data(labels: tuple[str, ...] = ("a", "b", "c"), classes: str | None = "label") -> Any:
    rows = {"text": ["v", "w", "x", "y", "z"], "label": [0, 1, 2, 2, 0]}
    return SimpleNamespace(
        splits={"test": Dataset.from_dict(rows), "train": Dataset.from_dict({"label": [1]})},
        held_out="test", labels=labels, targets=Targets(labels, class_column=classes),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        (("a", "b", "c"), [0, 1, 2, 2, 0]),
        (
            ("c", "a", "b"),
            [1, 2, 0, 0, 1],
        ),  # a is the model's 1, b its 2, c its 0: a cycle tells a map from its inverse
        (("b", "a", "c"), [1, 0, 2, 2, 1]),
    ],
)
def test_classes_are_numbered_as_the_model_does(labels: tuple[str, ...], numbers: list[int]) -> None:
    found = with_labels(data(), "test", labels, "alice/model")
    assert found["label"] == numbers and found["text"] == ["v", "w", "x", "y", "z"]


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "d"), ("a", "b", "c", "d")])
def test_other_labels_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(
        DataError, match=r"alice/model: the model's labels are 'a', 'b'.*, those of the data 'a', 'b', 'c'"
    ):
        with_labels(data(), "test", labels, "alice/model")
    assert with_labels(data(classes=None), "test", labels, "x")["label"] == [0, 1, 2, 2, 0]


def test_a_model_whose_outputs_are_permuted_is_as_good_as_before(tmp_path: Path) -> None:
    """The same model with its outputs in another order, labels with them, measures the same."""
    path = sentiment_csv(tmp_path / "d.csv", rows=60, classes=("negative", "positive", "neutral"))
    run = hf_tl.finetune(
        model=str(tiny_bert(tmp_path / "m")), data=str(path), output=str(tmp_path / "run"),
        training={"max_steps": 40, "learning_rate": 1e-2, "bf16": False},
    )  # fmt: skip
    before = verify.measured_again(str(run.model), run.config, None, False, "x")[0]["metrics"]["accuracy"]["value"]
    model = AutoModelForSequenceClassification.from_pretrained(run.model)
    order = [2, 0, 1]
    for parameter in (model.classifier.weight, model.classifier.bias):
        parameter.data = parameter.data[order]
    names = [model.config.id2label[index] for index in order]
    model.config.id2label, model.config.label2id = dict(enumerate(names)), {name: at for at, name in enumerate(names)}
    model.save_pretrained(run.model)
    found = verify.measured_again(str(run.model), run.config, None, False, "x")[0]
    assert found["labels"] == names and found["metrics"]["accuracy"]["value"] == before > 0.5


# A model that has diverged


def of_loss(tmp_path: Path, metrics: Any) -> Any:
    return SimpleNamespace(folder=tmp_path, metrics={"metrics": metrics})


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf"), None])
def test_a_diverged_model_is_not_pushed(loss: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="training diverged, so it is not pushed"):
        _check_finite(of_loss(tmp_path, {"loss": {"value": loss}}))


@pytest.mark.parametrize("metrics", [{"loss": {"value": 0.0}}, {"loss": {"value": 9.5}}, {"accuracy": {"value": 1.0}}])
def test_any_finite_loss_is_pushed(metrics: Any, tmp_path: Path) -> None:
    _check_finite(of_loss(tmp_path, metrics))


def test_nothing_of_a_diverged_model_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_tl.config import hub_config
    from hf_tl.sharing import push as module

    (tmp_path / "config.yaml").write_text("model: m\ndata: d\n")
    run = RunFolder(tmp_path)
    monkeypatch.setattr(module, "check_kept", lambda run: {})
    monkeypatch.setattr(module, "_share", lambda *words: pytest.fail("it was sent"))
    monkeypatch.setattr(RunFolder, "reached", lambda self, stage: True)
    monkeypatch.setattr(RunFolder, "metrics", property(lambda self: {"metrics": {"loss": {"value": float("nan")}}}))
    with pytest.raises(ConfigError, match="training diverged, so it is not pushed"):
        module.push(run, hub_config(id="alice/x"))
