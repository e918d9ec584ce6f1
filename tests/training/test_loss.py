"""Gradients, losses and metrics do not depend on how a step is cut into batches, or on how many processes share it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hf_tl.config import LossConfig, ModelConfig, Preprocessing
from hf_tl.models.layers import freeze_batch_norm_stats
from hf_tl.models.pretrained import find_pretrained, load_model
from hf_tl.models.processors import load_processor
from hf_tl.task import Targets, TaskContext, get_task
from tests.tiny import tiny_bert, tiny_mobilenet


def one_step(
    model, task, context, samples, batch: int, accumulation: int, out: Path
) -> tuple[float, float, torch.Tensor]:
    """(logged loss, gradient norm, a weight) after one SGD step over 8 samples."""
    from transformers import TrainerCallback, TrainingArguments

    from hf_tl.training.trainer import TransferTrainer

    logs = {}

    class Keep(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            logs_now = logs or {}
            if "loss" in logs_now:
                keep.update(logs_now)

    keep = logs
    args = TrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        max_steps=1,
        learning_rate=0.1,
        optim="sgd",
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        max_grad_norm=1e9,
        report_to="none",
        use_cpu=True,
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    collate = task.collator(context, True)
    trainer = TransferTrainer(
        task=task,
        context=context,
        collators=(collate, collate),
        model=model,
        args=args,
        train_dataset=samples,
        callbacks=[Keep()],
    )
    trainer.train()
    return keep["loss"], float(keep["grad_norm"]), next(model.parameters()).detach().clone()


@pytest.mark.parametrize(
    "loss",
    [{}, {"focal_gamma": 2.0}, {"weights": [0.5, 1.5]}, {"smoothing": 0.1}],
    ids=["cross-entropy", "focal", "class weights", "label smoothing"],
)
def test_text_step_is_the_same_however_it_is_cut(tmp_path: Path, loss: dict) -> None:
    from datasets import Dataset

    task = get_task("text-classification")
    path = tiny_bert(tmp_path / "bert")
    pretrained = find_pretrained(ModelConfig(id=str(path)))
    context = TaskContext(
        labels=("no", "yes"),
        processor=load_processor(pretrained, task),
        preprocessing=Preprocessing(),
        loss=LossConfig(focal_gamma=loss.get("focal_gamma", 0.0)),
        class_weights=torch.tensor(loss["weights"]) if "weights" in loss else None,
        label_smoothing=loss.get("smoothing", 0.0),
    )
    texts = ["good film", "a very very bad meal was so poor", "fine", "the book was never good"] * 2
    rows = Dataset.from_dict({"text": texts, "label": [1, 0, 1, 0, 0, 1, 1, 0]})
    samples = task.preprocess(rows, context, True)
    results = []
    for batch, accumulation in ((8, 1), (2, 4), (1, 8)):
        torch.manual_seed(0)
        model = load_model(pretrained, task, Targets(context.labels), ModelConfig(id=str(path))).model
        results.append(one_step(model, task, context, samples, batch, accumulation, tmp_path / "out"))
    for value, norm, weight in results[1:]:
        assert value == pytest.approx(results[0][0], rel=1e-4)
        assert norm == pytest.approx(results[0][1], rel=1e-4)
        assert torch.allclose(weight, results[0][2], atol=1e-6)


def test_image_step_with_batch_norm_is_the_same_however_it_is_cut(tmp_path: Path) -> None:
    task = get_task("image-classification")
    path = tiny_mobilenet(tmp_path / "mobilenet")
    pretrained = find_pretrained(ModelConfig(id=str(path)))
    context = TaskContext(labels=("no", "yes"), loss=LossConfig())
    random = torch.Generator().manual_seed(0)
    samples = [{"pixel_values": torch.randn(3, 32, 32, generator=random), "labels": i % 2} for i in range(8)]
    results = []
    for batch, accumulation in ((8, 1), (2, 4), (1, 8)):
        torch.manual_seed(0)
        loaded = load_model(pretrained, task, Targets(context.labels), ModelConfig(id=str(path)))
        loaded.model.dropout.p = 0.0
        assert freeze_batch_norm_stats(loaded.model) > 10
        results.append(one_step(loaded.model, task, context, samples, batch, accumulation, tmp_path / "out"))
    for value, norm, weight in results[1:]:
        assert value == pytest.approx(results[0][0], rel=1e-4)
        assert norm == pytest.approx(results[0][1], rel=1e-3)
        assert torch.allclose(weight, results[0][2], atol=1e-5)


def test_losses_against_torch() -> None:
    task = get_task("text-classification")
    logits, labels = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3]]), torch.tensor([0, 2])
    outputs = {"logits": logits}
    plain = task.loss(outputs, {"labels": labels}, TaskContext(loss=LossConfig()), None)
    assert plain.item() == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item())
    # focal loss by hand: the mean of (1 - p)^2 * -log p over the true classes
    p = logits.softmax(-1)[[0, 1], labels]
    focal = task.loss(outputs, {"labels": labels}, TaskContext(loss=LossConfig(focal_gamma=2.0)), None)
    assert focal.item() == pytest.approx((-((1 - p) ** 2) * p.log()).mean().item(), rel=1e-5)
    halves = task.loss(outputs, {"labels": labels}, TaskContext(loss=LossConfig()), 4)
    assert halves.item() == pytest.approx(plain.item() / 2)
