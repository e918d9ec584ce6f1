"""A model's outputs on a whole dataset: each sample once whatever the processes, in order, nothing large kept."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object, send_to_device
from torch import nn
from torch.utils.data import DataLoader, Subset

from hf_tl.inference.processes import process_state
from hf_tl.task import Task, TaskContext

BATCH = 64


@dataclass(frozen=True)
class Outputs:
    items: list[Any]
    """One a sample, in the order of the samples, on every process: what `Task.collect` keeps."""
    loss: float
    """Mean of the task's loss over all items; not a number where the samples have no labels."""


def count_items(task: Task, batch: dict[str, Any]) -> int:
    """What the loss of a batch is a mean over."""
    if task.items is not None:
        return int(task.items(batch))
    labels = batch["labels"]
    if not torch.is_floating_point(labels):
        return int(labels.ne(-100).sum())
    return len(labels)


def model_inputs(task: Task, batch: dict[str, Any]) -> dict[str, Any]:
    """What of a batch the model's `forward` gets: not the labels, unless it computes its own loss."""
    kept = () if task.model_computes_loss else task.label_fields
    return {name: value for name, value in batch.items() if name not in kept and name not in task.extra_fields}


def outputs_of(
    model: nn.Module,
    task: Task,
    context: TaskContext,
    samples: Any,
    *,
    batch_size: int | None = None,
    bf16: bool = False,
    collate: Callable[[list[Any]], dict[str, Any]] | None = None,
    collect: Callable[[nn.Module, Any, dict[str, Any], TaskContext], list[Any]] | None = None,
    device: torch.device | None = None,
) -> Outputs:
    """Runs `model` in evaluation mode over `samples`; the processes share them.

    Samples of like length (a `length` column) are batched together.

    Args:
        collate: the task's collator unless given.
        collect: the task's own unless given.
        device: where the model is moved to; default: the process's own.
    """
    state = process_state()
    device = device or state.device
    model = model.to(device)
    collate = collate or task.collator(context, False)
    collect = collect or task.collect
    if "length" in getattr(samples, "column_names", ()):
        order = np.argsort(-np.asarray(samples["length"]), kind="stable")
    else:
        order = np.arange(len(samples))
    size = batch_size or (task.defaults.batch_sizes[1] if task.defaults.batch_sizes else BATCH)
    mine = order[state.process_index :: state.num_processes]
    # Sharded models need every process at every forward, so one that has run out repeats what it has.
    batches = math.ceil(math.ceil(len(order) / state.num_processes) / size)
    found: list[tuple[int, Any]] = []
    total, count = 0.0, 0
    was_training = model.training
    model.eval()
    loader = DataLoader(Subset(samples, mine.tolist() or order[:1].tolist()), batch_size=size, collate_fn=collate)
    given = iter(loader)
    autocast = torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()
    batch: dict[str, Any] = {}
    with torch.no_grad(), autocast:
        for number in range(batches):
            fresh = next(given, None)
            real = fresh is not None and number * size < len(mine)
            batch = fresh if fresh is not None else batch
            moved = send_to_device(batch, device)
            labelled = all(field in moved for field in task.label_fields)
            outputs = model(**model_inputs(task, moved))
            kept = collect(model, outputs, moved, context)
            if not real:
                continue
            found += zip(mine[number * size : number * size + len(kept)].tolist(), kept, strict=True)
            if labelled:
                items = count_items(task, moved)
                total += float(task.loss(outputs, moved, context, None)) * items
                count += items
    model.train(was_training)
    if state.num_processes > 1:
        found = gather_object(found)
        sums = gather_object([(total, count)])
        total, count = sum(each for each, _ in sums), sum(each for _, each in sums)
    kept_by_sample = dict(found)
    return Outputs([kept_by_sample[index] for index in range(len(order))], total / count if count else float("nan"))
