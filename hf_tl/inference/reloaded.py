"""Is the model on disk the one that was trained? A few validation rows are looked at before it is saved, and after it
was loaded again: weights that are lost, tied or merged wrongly on the way show in the loss, whatever the task."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
from accelerate.utils import send_to_device
from datasets import Dataset

from hf_tl.config import RunConfig
from hf_tl.errors import ProofError
from hf_tl.inference.outputs import model_inputs
from hf_tl.inference.processes import process_state
from hf_tl.models.weights import read_header
from hf_tl.run_folder import RunFolder
from hf_tl.task import Task, TaskContext

ROWS = 16
TOLERANCE, ROUNDED = 1e-3, 0.05
"""Of a loss, at values above 1 relative to it; ROUNDED where weights are saved with fewer bits."""


def few_rows(task: Task, rows: Dataset) -> Dataset:
    """Rows whose loss is compared: the first few of validation."""
    most = min(ROWS, task.defaults.batch_sizes[1]) if task.defaults.batch_sizes else ROWS
    return rows.select(range(min(most, len(rows))))


def loss_of(model: Any, task: Task, context: TaskContext, rows: Dataset, seed: int) -> float | None:
    """The plain loss of `rows`, in one batch and float32; None where it is another each time, or several processes hold
    a part of the model each."""
    state = process_state()
    if state.num_processes > 1:
        return None
    context = dataclasses.replace(
        context, mode="measuring", loss=None, class_weights=None, label_smoothing=0.0, scale=None, seed=seed, notes=[]
    )
    samples = task.preprocess(rows, context, False)
    model = model.to(state.device).eval()
    found = []
    for _ in range(2):
        torch.manual_seed(seed)
        count = min(len(samples), len(rows))
        batch = task.collator(context, False)([samples[index] for index in range(count)])
        moved = send_to_device(batch, state.device)
        with torch.no_grad(), _without_autocast(model):
            outputs = model(**model_inputs(task, moved))
            found.append(float(task.loss(outputs, moved, context, None)))
    same = found[0] == found[1] or abs(found[0] - found[1]) <= TOLERANCE / 10 * max(1.0, abs(found[0]))
    return found[0] if same and math.isfinite(found[0]) else None


@contextlib.contextmanager
def _without_autocast(model: Any) -> Iterator[None]:
    """After training in mixed precision, Accelerate's `prepare_model` has left autocast around a model's forward."""
    own = vars(model).get("_original_forward")
    if own is None:
        yield
        return
    wrapped, model.forward = model.forward, own
    try:
        yield
    finally:
        model.forward = wrapped


def check_reloaded(run: RunFolder, model: Any, task: Task, context: TaskContext, rows: Dataset | None) -> None:
    """Compares a model that was loaded from disk with what `loss_of` said of it before it was saved.

    Raises:
        ProofError: it is another one; says how far, and which of its weights the file lacks. The same command then
            saves anew.
    """
    before = run.state.get("loss_before_saving")
    if before is None or rows is None:
        return
    after = loss_of(model, task, context, few_rows(task, rows), run.config.seed)
    far = TOLERANCE if _whole(run.config) else ROUNDED
    if after is not None and abs(after - before) <= far * max(1.0, abs(before)):
        return
    file = run.model / "model.safetensors"
    absent = sorted(set(model.state_dict()) - set(read_header(file))) if file.exists() else []
    lacking = f" Not in its file: {', '.join(absent[:4])}." if absent else ""
    run.reach("trained")
    told = "not a number" if after is None else f"{after:,.6g}"
    raise ProofError(
        f"{run.model}: what was saved is not the model that was trained: its loss on "
        f"{len(few_rows(task, rows))} validation rows was {before:,.6g}, and is {told} as it is loaded again.{lacking} "
        "It is not measured or shared."
    )


def _whole(config: RunConfig) -> bool:
    """Whether weights are saved with all the bits that they were trained with."""
    return not {"dtype", "torch_dtype", "quantization_config"} & set(config.model.passed_through)
