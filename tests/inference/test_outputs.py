"""Outputs are in the rows' order and the loss is over every item once, however rows are batched and shared."""

from __future__ import annotations

import dataclasses
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn

from hf_tl.config import LossConfig
from hf_tl.inference import outputs as module
from hf_tl.inference.outputs import count_items, model_inputs, outputs_of
from hf_tl.task import Defaults, TaskContext, get_task
from tests.tiny import bert_classifier

TASK = get_task("text-classification")
CONTEXT = TaskContext(labels=("a", "b", "c"), loss=LossConfig())


def samples(count: int = 11, labels: bool = True) -> Dataset:
    """Texts of 3 to 9 tokens in no order."""
    drawn = np.random.default_rng(0)
    lengths = drawn.integers(3, 10, count).tolist()
    columns = {"input_ids": [drawn.integers(5, 20, length).tolist() for length in lengths], "length": lengths}
    if labels:
        columns["labels"] = drawn.integers(0, 3, count).tolist()
    return Dataset.from_dict(columns)


def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    longest = max(len(row["input_ids"]) for row in rows)
    ids = [row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in rows]
    mask = [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]
    batch = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    return {**batch, "labels": torch.tensor([row["labels"] for row in rows])} if "labels" in rows[0] else batch


def one_by_one(model: nn.Module, rows: Dataset) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([row["input_ids"]])).logits for row in rows])


@pytest.mark.parametrize("batch", [1, 4, 5, 11, 64])
def test_outputs_are_in_the_rows_order_with_an_uneven_last_batch(batch: int) -> None:
    model, rows = bert_classifier(), samples()
    found = outputs_of(model, TASK, CONTEXT, rows, batch_size=batch, collate=collate)
    alone = one_by_one(model, rows)
    assert len(found.items) == 11
    assert np.allclose(np.stack(found.items), alone.numpy(), atol=1e-5)
    loss = nn.functional.cross_entropy(alone, torch.tensor(rows["labels"])).item()
    assert found.loss == pytest.approx(loss, rel=1e-5)


def test_the_loss_is_over_items_not_over_batches() -> None:
    """Batches of 3 and 1 rows; a mean of means would weigh the last row three times."""
    rows = samples(4).remove_columns("length")
    task = dataclasses.replace(
        TASK,
        loss=lambda outputs, batch, context, items: batch["labels"].float().mean(),
        collect=lambda model, outputs, batch, context: [0] * len(batch["labels"]),
    )
    rows = rows.remove_columns("labels").add_column("labels", [0, 0, 0, 2])
    assert outputs_of(bert_classifier(), task, CONTEXT, rows, batch_size=3, collate=collate).loss == 0.5


def test_rows_without_labels_have_no_loss() -> None:
    found = outputs_of(bert_classifier(), TASK, CONTEXT, samples(3, labels=False), collate=collate)
    assert len(found.items) == 3 and np.isnan(found.loss)


def test_no_rows_have_no_outputs() -> None:
    found = outputs_of(bert_classifier(), TASK, CONTEXT, samples(2).select([]), collate=collate)
    assert found.items == [] and np.isnan(found.loss)


@pytest.mark.parametrize(("count", "processes"), [(11, 2), (10, 3), (4, 3), (1, 2), (5, 4)])
def test_processes_share_the_rows_and_each_is_counted_once(
    count: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process in turn, the others' parts as `gather_object` brings them; sharded models need as many forwards on
    each."""
    model, rows = bert_classifier(), samples(count)
    parts: list[list[Any]] = []
    forwards = []

    def run(index: int, gather: Any) -> Any:
        state = type("State", (), {"process_index": index, "num_processes": processes, "device": torch.device("cpu")})
        monkeypatch.setattr(module, "process_state", lambda: state)
        monkeypatch.setattr(module, "gather_object", gather)
        calls: list[int] = []
        hook = model.register_forward_pre_hook(lambda *_: calls.append(1))
        try:
            return outputs_of(model, TASK, CONTEXT, rows, batch_size=2, collate=collate)
        finally:
            hook.remove()
            forwards.append(len(calls))

    for index in range(processes):
        given: list[Any] = []

        def own(value: Any, given: list[Any] = given) -> Any:
            given.append(value)
            return [(each, 0) for each in range(count)] if len(given) == 1 else value

        run(index, own)
        parts.append(given)
    assert len(set(forwards)) == 1
    shared = [index for found, _ in parts for index, _ in found]
    assert sorted(shared) == list(range(count))
    sizes = [len(found) for found, _ in parts]
    assert max(sizes) - min(sizes) <= 1
    merged = iter([[each for part in parts for each in part[0]], [each for part in parts for each in part[1]]])
    found = run(0, lambda value: next(merged))
    alone = one_by_one(model, rows)
    assert np.allclose(np.stack(found.items), alone.numpy(), atol=1e-5)
    loss = nn.functional.cross_entropy(alone, torch.tensor(rows["labels"])).item()
    assert found.loss == pytest.approx(loss, rel=1e-5)


def test_a_model_is_asked_in_evaluation_and_comes_back_as_it_was() -> None:
    rows = samples(6)
    model = bert_classifier(hidden_dropout_prob=0.5)
    wanted = np.stack(outputs_of(model, TASK, CONTEXT, rows, collate=collate).items)
    for training in (True, False):
        model.train(training)
        found = outputs_of(model, TASK, CONTEXT, rows, collate=collate)
        assert model.training == training and np.array_equal(np.stack(found.items), wanted)
    assert next(model.parameters()).grad is None


def test_like_lengths_share_a_batch_and_sizes_are_the_tasks() -> None:
    seen: list[list[int]] = []

    def watch(rows: list[dict[str, Any]]) -> Any:
        seen.append([len(row["input_ids"]) for row in rows])
        return collate(rows)

    rows = samples(11)
    outputs_of(bert_classifier(), TASK, CONTEXT, rows, batch_size=4, collate=watch)
    assert list(chain(*seen)) == sorted(rows["length"], reverse=True)
    seen.clear()
    outputs_of(bert_classifier(), TASK, CONTEXT, rows.remove_columns("length"), batch_size=4, collate=watch)
    assert list(chain(*seen)) == rows["length"] and [len(each) for each in seen] == [4, 4, 3]
    seen.clear()
    outputs_of(bert_classifier(), TASK, CONTEXT, samples(70), collate=watch)
    assert [len(each) for each in seen] == [64, 6]
    seen.clear()
    small = dataclasses.replace(TASK, defaults=Defaults(batch_sizes=(7, 3)))
    outputs_of(bert_classifier(), small, CONTEXT, rows, collate=watch)
    assert [len(each) for each in seen] == [3, 3, 3, 2]


def test_the_tasks_collator_for_evaluation_is_used() -> None:
    seen = []
    task = dataclasses.replace(TASK, collator=lambda context, training: seen.append((context, training)) or collate)
    outputs_of(bert_classifier(), task, CONTEXT, samples(2))
    assert seen == [(CONTEXT, False)]


def test_bfloat16_is_used_where_it_is_asked_for() -> None:
    dtypes = []
    task = dataclasses.replace(
        TASK, collect=lambda model, outputs, batch, context: dtypes.append(outputs["logits"].dtype) or [0, 0]
    )
    for bf16 in (False, True):
        outputs_of(bert_classifier(), task, CONTEXT, samples(2), bf16=bf16, collate=collate)
    assert dtypes == [torch.float32, torch.bfloat16]


def test_items_of_a_batch() -> None:
    assert count_items(TASK, {"labels": torch.tensor([[1, -100], [0, 2]])}) == 3
    assert count_items(TASK, {"labels": torch.tensor([[0.0, 1.0], [-100.0, 0.0]])}) == 2  # several labels, or numbers
    assert count_items(dataclasses.replace(TASK, items=lambda batch: 7.0), {"labels": torch.tensor([1])}) == 7


def test_a_model_gets_labels_only_where_it_computes_its_own_loss() -> None:
    task = dataclasses.replace(TASK, label_fields=("labels", "masks"), extra_fields=("draw",))
    batch = {"input_ids": 1, "labels": 2, "masks": 3, "draw": 4}
    assert model_inputs(task, batch) == {"input_ids": 1}
    assert model_inputs(dataclasses.replace(task, model_computes_loss=True), batch) == {
        "input_ids": 1,
        "labels": 2,
        "masks": 3,
    }
