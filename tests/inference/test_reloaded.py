"""What was saved is what was trained, or the run stops: the loss of a few rows, before and after."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from torch.nn import functional as f
from transformers import BertForSequenceClassification, BertTokenizer

from hf_tl.config import LossConfig
from hf_tl.errors import ProofError
from hf_tl.inference.held_out import finished
from hf_tl.inference.reloaded import check_reloaded, few_rows, loss_of
from hf_tl.run import Run
from hf_tl.task import get_task
from tests.tiny import bert_classifier, tiny_tokenizer

TEXTS = ["good film", "a very very bad meal was so poor", "fine", "the book was never good"] * 5
ROWS = Dataset.from_dict({"text": TEXTS, "label": [0, 1, 0, 2] * 5})
TASK = get_task("text-classification")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "config.yaml").write_text("model: m\ndata: d\n")
    bert_classifier().save_pretrained(tmp_path / "model")
    tiny_tokenizer(tmp_path / "model")
    made = Run(tmp_path)
    model, _, context = finished(str(made.model))
    made.reach("saved", loss_before_saving=loss_of(model, TASK, context, few_rows(TASK, ROWS), 42))
    return made


def test_the_loss_is_that_of_plain_transformers(run: Run) -> None:
    model = BertForSequenceClassification.from_pretrained(run.model).eval()
    rows = few_rows(TASK, ROWS)
    inputs = BertTokenizer.from_pretrained(run.model)(rows["text"][:], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = float(f.cross_entropy(model(**inputs).logits, torch.tensor(rows["label"][:])))
    assert len(rows) == 16 and run.state["loss_before_saving"] == pytest.approx(expected, rel=1e-5)
    # what only training weighs, smooths or scales is no part of it
    _, _, context = finished(str(run.model))
    weighed = {"class_weights": torch.tensor([1.0, 5.0, 9.0]), "label_smoothing": 0.5, "scale": (3.0, 2.0)}
    for name, value in {**weighed, "loss": LossConfig(focal_gamma=2.0)}.items():
        object.__setattr__(context, name, value)
    assert loss_of(model, TASK, context, rows, 42) == pytest.approx(expected, rel=1e-5)


def test_the_same_model_passes_and_another_stops_the_run(run: Run) -> None:
    model, _, context = finished(str(run.model))
    check_reloaded(run, model, TASK, context, ROWS)
    with torch.no_grad():
        model.classifier.weight += 1e-6  # rounding
    check_reloaded(run, model, TASK, context, ROWS)
    assert run.stage == "saved"
    with torch.no_grad():
        model.classifier.weight[0] += 0.5
    with pytest.raises(ProofError, match=r"not the model that was trained: its loss on 16 validation rows was 1\.\d+"):
        check_reloaded(run, model, TASK, context, ROWS)
    assert run.stage == "trained"  # the same command saves anew
    with torch.no_grad():
        model.classifier.weight[0] = float("nan")
    with pytest.raises(ProofError, match="is not a number as it is loaded again"):
        check_reloaded(run, model, TASK, context, ROWS)


def test_nothing_is_compared_where_nothing_was_kept_or_the_loss_is_another_each_time(run: Run) -> None:
    run.reach("saved", loss_before_saving=None)
    check_reloaded(run, None, TASK, None, ROWS)  # type: ignore[arg-type]
    model, _, context = finished(str(run.model))
    values = itertools.count(1.0)
    draws = dataclasses.replace(TASK, loss=lambda *_: torch.tensor(next(values)))
    assert loss_of(model, draws, context, few_rows(TASK, ROWS), 42) is None


def test_a_model_trained_in_mixed_precision_is_looked_at_in_float32(run: Run) -> None:
    """Accelerate's autocast around the forward rounds what the model answers; what was loaded from disk has none."""
    model, _, context = finished(str(run.model))
    plain = loss_of(model, TASK, context, few_rows(TASK, ROWS), 42)
    wrapped = Accelerator(mixed_precision="bf16", cpu=True).prepare_model(model, evaluation_mode=True)
    assert wrapped.__dict__["_original_forward"] is not None
    forward = wrapped.forward
    assert loss_of(wrapped, TASK, context, few_rows(TASK, ROWS), 42) == plain and wrapped.forward == forward
