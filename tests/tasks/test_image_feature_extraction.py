"""Image embeddings: the metrics against scikit-learn and by hand, classes that train does not have, and neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

import hf_tl
from hf_tl.errors import ConfigError
from hf_tl.task import TaskContext, get_task
from hf_tl.tasks import image_feature_extraction as task
from tests.anything import tiny_model
from tests.tiny import colour_folder, declare_torchvision_operators

declare_torchvision_operators()


def test_metrics_against_scikit_learn() -> None:
    from sklearn.model_selection import LeaveOneOut, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    drawn = np.random.default_rng(0)
    labels = np.arange(40) % 4
    vectors = drawn.normal(size=(40, 8)).astype(np.float32) + np.eye(8)[labels] * 1.5
    rows = Dataset.from_dict({"label": labels.tolist()})
    found = task.measure(list(vectors), None, rows, TaskContext(), resamples=100)
    scaled = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    one = cross_val_predict(KNeighborsClassifier(1), scaled, labels, cv=LeaveOneOut())
    assert found.values["recall_at_1"] == pytest.approx((one == labels).mean())
    for name in ("map_at_r", "recall_at_1", "knn_accuracy"):
        interval = found.metrics[name]
        assert interval["low"] <= interval["value"] <= interval["high"]


def test_map_at_r_and_the_vote_by_hand() -> None:
    # on a line: a, a, b, b, with the second a nearer to the first b than to the first a
    angles = np.array([0.0, 0.5, 0.9, 1.3])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    rows = Dataset.from_dict({"label": [0, 0, 1, 1]})
    found = task.measure(list(vectors), None, rows, TaskContext(), resamples=0)
    # nearest of each: a->a right, a->b wrong; the first b is as near to a as to b: 0.4 away both, so the order decides
    assert found.values["map_at_r"] == pytest.approx(found.values["recall_at_1"])  # R is 1
    assert task._vote(np.array([[1, 0, 0], [2, 1, 0], [0, 1, 1]])).tolist() == [0, 2, 1]


def test_an_image_alone_in_its_class_is_no_query() -> None:
    vectors = [np.array(each, dtype=np.float32) for each in ([1, 0], [1, 0.1], [0, 1])]
    rows = Dataset.from_dict({"label": [0, 0, 1]})
    assert task.measure(vectors, None, rows, TaskContext(), resamples=0).values["recall_at_1"] == 1.0
    nobody = task.measure(vectors[1:], None, rows.select([1, 2]), TaskContext())
    assert all(np.isnan(value) for each in nobody.metrics.values() for value in each.values())


def test_loss_of_the_hardest_triplet_by_hand() -> None:
    out = {"pooler_output": torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])[:, :, None, None]}
    batch = {"labels": torch.tensor([0, 0, 1])}
    # unit vectors: the two of class 0 are sqrt(2) apart, the odd one 0 and sqrt(2); the odd one has no positive (0)
    root = np.sqrt(2)
    wanted = np.mean([np.log1p(np.exp(root - 0)), np.log1p(np.exp(root - root)), np.log1p(np.exp(0 - 0))])
    assert task.loss(out, batch, TaskContext(), None).item() == pytest.approx(wanted, abs=1e-3)
    assert task.loss(out, batch, TaskContext(), 6).item() == pytest.approx(wanted / 2, abs=1e-3)


def test_training_brings_classes_together(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "task": "image-feature-extraction",
        "model": str(tiny_model(get_task("image-feature-extraction"), tmp_path / "model")),
        "data": str(colour_folder(tmp_path / "data")),
        "output": str(tmp_path / "run"),
    }
    with pytest.raises(ConfigError, match=r"loss\.name.*did you mean 'TripletLoss'"):
        hf_tl.finetune(**options, loss={"name": "TripleLoss"})
    run = hf_tl.finetune(**options, training={"max_steps": 30, "learning_rate": 1e-3, "bf16": False})
    value = run.metrics["metrics"]["map_at_r"]["value"]
    assert value > 0.8
    images = sorted(str(path) for path in (tmp_path / "data").rglob("*.png"))
    again = run.predict(images[:2])
    assert len(again) == 2 and set(again[0]) == {"embedding"}
    labelled = hf_tl.predict(str(run.folder), {"path": str(tmp_path / "data")})
    assert len(labelled[0]["embedding"]) == len(again[0]["embedding"])
    measured = hf_tl.evaluate(str(run.folder), str(tmp_path / "data"))
    assert measured["metrics"]["recall_at_1"]["value"] > 0.9


def line(*angles: float) -> list[np.ndarray]:
    """Vectors whose cosines are those of the angles between them."""
    return list(3 * np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))


def test_classes_of_several_images_by_hand() -> None:
    """On a line: a, b, a, a, b. R is 2 for the a, 1 for the b; of four others all vote, the nearest decides a tie."""
    rows = Dataset.from_dict({"label": [0, 1, 0, 0, 1]})
    found = task.measure(line(0.0, 0.1, 0.3, 0.35, 1.0), None, rows, TaskContext(), resamples=0)
    # the first a: wrong, then right (1 of 2); the others: right, then wrong (1 of 1); the b: wrong
    assert found.values == pytest.approx(
        {"map_at_r": (1 / 4 + 0 + 1 / 2 + 1 / 2 + 0) / 5, "recall_at_1": 2 / 5, "knn_accuracy": 2 / 5}
    )
    assert found.baseline == pytest.approx({"recall_at_1": (3 * 2 / 4 + 2 * 1 / 4) / 5, "knn_accuracy": 3 / 5})


def test_more_right_ones_than_voters_count_within_r() -> None:
    """Eight of one class and two of another: R is 7, more than the five that vote, and beyond it nothing counts."""
    vectors = line(0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 1.0, 0.9, 0.91)
    rows = Dataset.from_dict({"label": [0] * 8 + [1] * 2})
    found = task.measure(vectors, None, rows, TaskContext(), resamples=0)
    # seven find six of theirs, then one of the others; the eighth finds the two others first: 0, 0, 1/3, ... 5/7
    last = sum(right / (right + 2) for right in range(1, 6)) / 7
    assert found.values["map_at_r"] == pytest.approx((7 * 6 / 7 + last + 2 * 1) / 10)


def test_nobody_is_its_own_neighbour() -> None:
    """Among more than one block of images, each of which is there twice."""
    half = np.random.default_rng(0).normal(size=(515, 32)).astype(np.float32)
    indices, found = task.nearest(list(np.concatenate([half, 2 * half])), 2)
    assert indices[:, 0].tolist() == [(index + 515) % 1030 for index in range(1030)]
    assert found[:, 0] == pytest.approx(1.0, abs=1e-5) and (found[:, 1] < 0.99).all()
    assert task.nearest(list(half[:3]), 5)[0].shape == (3, 2)  # there are no more


def test_a_vector_is_the_pooled_output_the_class_token_or_the_mean_of_a_map() -> None:
    tokens, image = torch.arange(12.0).reshape(1, 3, 4), torch.arange(24.0).reshape(1, 2, 3, 4)
    assert task.embed({"last_hidden_state": tokens}).tolist() == [[0, 1, 2, 3]]
    assert task.embed({"last_hidden_state": image, "pooler_output": None}).tolist() == [[5.5, 17.5]]
    assert task.embed({"last_hidden_state": tokens, "pooler_output": image[:, :, :1, :1]}).tolist() == [[0, 12]]


def test_neighbours_are_named_nearest_first() -> None:
    vectors = [np.array(each, dtype=np.float32) for each in ([1, 0], [0, 1], [1, 0.2])]
    found = task.postprocess(vectors, None, Dataset.from_dict({"label": [0, 1, 0]}), TaskContext())
    assert [[each["row"] for each in one["neighbours"]] for one in found] == [[2, 1], [2, 0], [0, 1]]
    assert found[0]["embedding"] == [1, 0]
    assert found[0]["neighbours"][0]["score"] == pytest.approx(1 / np.hypot(1, 0.2))
    assert (
        "neighbours" not in task.postprocess(vectors, None, Dataset.from_dict({"image": [0, 1, 0]}), TaskContext())[0]
    )
