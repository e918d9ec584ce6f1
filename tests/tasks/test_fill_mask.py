"""Domain adaptation: what is hidden, what is measured, and the chain to the next run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

import hf_tl
from hf_tl.config import Preprocessing
from hf_tl.errors import DataError
from hf_tl.task import TaskContext, get_task
from tests.anything import tiny_model
from tests.tiny import sentiment_csv

TASK = get_task("fill-mask")
TEXTS = ["the film was good and the meal was fine", "a bad book is a bad book"] * 30


@pytest.fixture
def context(tmp_path: Path) -> TaskContext:
    from transformers import AutoConfig, AutoTokenizer

    path = tiny_model(TASK, tmp_path / "model")
    return TaskContext(
        processor=AutoTokenizer.from_pretrained(path),
        preprocessing=Preprocessing(max_length=16),
        model_config=AutoConfig.from_pretrained(path),
    )


def test_what_is_hidden_is_new_each_epoch_and_the_same_again(context: TaskContext) -> None:
    samples = TASK.preprocess(Dataset.from_dict({"text": TEXTS}), context, True)
    first = [samples[index] for index in range(len(samples))]
    assert first == [samples[index] for index in range(len(samples))]
    samples.set_epoch(1)
    assert first != [samples[index] for index in range(len(samples))]
    mask, hidden, masked = context.processor.mask_token_id, 0, 0
    for sample in first:
        assert -100 in sample["labels"] and any(label >= 0 for label in sample["labels"])
        for token, label in zip(sample["input_ids"], sample["labels"], strict=True):
            hidden += label >= 0
            masked += label >= 0 and token == mask
    assert 0.65 < masked / hidden < 0.95


def test_perplexity_by_hand(context: TaskContext) -> None:
    """A model that gives each of the V tokens the same probability has perplexity V."""
    rows = Dataset.from_dict({"text": TEXTS[:4]})
    samples = TASK.preprocess(rows, context, False)
    batch = TASK.collator(context, False)([samples[index] for index in range(4)])
    size = len(context.processor)
    flat = {"logits": torch.zeros(*batch["input_ids"].shape, size)}
    assert float(TASK.loss(flat, batch, context, None)) == pytest.approx(math.log(size))
    found = TASK.measure(TASK.collect(None, flat, batch, context), samples, rows, context, resamples=20)
    assert found.values["perplexity"] == pytest.approx(size)
    right = torch.nn.functional.one_hot(batch["labels"].clamp(min=0), size).float() * 50
    sure = TASK.measure(TASK.collect(None, {"logits": right}, batch, context), samples, rows, context, resamples=20)
    assert sure.values["accuracy"] == 1.0 and sure.values["perplexity"] == pytest.approx(1.0)


def test_adapt_then_classify(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS) + "\n\n")
    adapted = hf_tl.finetune(
        task="fill-mask", model=str(tiny_model(TASK, tmp_path / "model")), data=str(texts),
        output=str(tmp_path / "adapted"), training={"num_train_epochs": 15, "learning_rate": 3e-3, "bf16": False},
    )  # fmt: skip
    assert adapted.metrics["metrics"]["perplexity"]["value"] < 8
    log = [line for line in (adapted.folder / "log.jsonl").read_text().splitlines() if "eval_perplexity" in line]
    assert len(log) == 1 + 15  # before training, and each epoch
    best = adapted.predict("the film was [MASK]")[0]
    assert len(best["masks"][0]) == 5 and best["label"] == best["masks"][0][0]["token_str"]
    run = hf_tl.finetune(
        model=str(adapted.folder), data=str(sentiment_csv(tmp_path / "reviews.csv")), output=str(tmp_path / "run"),
        training={"max_steps": 1, "learning_rate": 1e-12, "bf16": False},
    )  # fmt: skip
    from safetensors.numpy import load_file

    before, after = (load_file(each.model / "model.safetensors") for each in (adapted, run))
    name = "bert.encoder.layer.1.output.dense.weight"
    assert np.allclose(before[name], after[name], atol=1e-6)


def test_it_is_asked_for_and_not_guessed(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    with pytest.raises(DataError, match="label"):
        hf_tl.finetune(model=str(tiny_model(TASK, tmp_path / "model")), data=str(texts), output=str(tmp_path / "run"))
