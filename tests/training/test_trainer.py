"""The loss is over the whole step, samples come in the method's order, and the best checkpoint is the best one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import TrainerState, TrainingArguments, ViTConfig, ViTForImageClassification

from hf_tl.config import LossConfig, MethodConfig
from hf_tl.errors import ConfigError
from hf_tl.models.methods import Adapted, get_method
from hf_tl.models.pretrained import Loaded
from hf_tl.task import TaskContext, get_task
from hf_tl.training.trainer import FeatureRows, TransferTrainer, collate_features, loss_at, metric_key
from tests.tiny import bert_classifier

TASK = get_task("text-classification")
IDS = torch.tensor([[2, 5, 6, 3], [2, 9, 8, 3], [2, 7, 7, 3]])


def trainer(folder: Path, model: nn.Module | None = None, **options: Any) -> TransferTrainer:
    given = {"task": TASK, "context": TaskContext(labels=("a", "b", "c"), loss=LossConfig()), "collators": (None, None)}
    arguments = {"output_dir": str(folder), "use_cpu": True, "report_to": "none", **options.pop("args", {})}
    return TransferTrainer(
        **{**given, **options}, model=bert_classifier() if model is None else model, args=TrainingArguments(**arguments)
    )


def processes(of: TransferTrainer, count: int, others: tuple[int, ...] = ()) -> None:
    """As if `count` processes ran, of which the others have so many items."""

    def gather(items: torch.Tensor) -> torch.Tensor:
        return torch.stack([items, *map(torch.tensor, others)])

    of.accelerator = SimpleNamespace(num_processes=count, gather=gather)  # type: ignore[assignment]
    of.args = SimpleNamespace(  # type: ignore[assignment]
        average_tokens_across_devices=True, world_size=count, n_gpu=1
    )


# The loss


def test_the_loss_is_the_sum_over_the_items_of_the_whole_step(tmp_path: Path) -> None:
    of = trainer(tmp_path)
    batch = {"input_ids": IDS, "labels": torch.tensor([0, 2, 1])}
    logits = of.model(input_ids=IDS).logits
    each = nn.functional.cross_entropy(logits, batch["labels"], reduction="none")
    assert of.compute_loss(of.model, batch).item() == pytest.approx(each.mean().item(), rel=1e-5)
    assert of.compute_loss(of.model, batch, num_items_in_batch=12).item() == pytest.approx(each.sum().item() / 12)
    loss, outputs = of.compute_loss(of.model, batch, return_outputs=True)
    assert loss.item() == pytest.approx(each.mean().item()) and torch.equal(outputs.logits, logits)
    assert batch.keys() == {"input_ids", "labels"}


def test_gradients_that_are_averaged_over_processes_are_made_whole_again(tmp_path: Path) -> None:
    """Two processes of three samples each: the mean of what they compute is the loss of all six."""
    of = trainer(tmp_path)
    batch = {"input_ids": IDS, "labels": torch.tensor([0, 2, 1])}
    alone = of.compute_loss(of.model, batch, num_items_in_batch=6).item()
    processes(of, 2)
    assert of.compute_loss(of.model, batch, num_items_in_batch=6).item() == pytest.approx(2 * alone)
    assert of.compute_loss(of.model, batch).item() == pytest.approx(2 * alone)  # a mean already: nothing was counted
    of.args.average_tokens_across_devices = False  # each process counts its own
    assert of.compute_loss(of.model, batch, num_items_in_batch=6).item() == pytest.approx(alone)
    of.args = SimpleNamespace(average_tokens_across_devices=True, world_size=1, n_gpu=3)  # type: ignore[assignment]
    assert of.compute_loss(of.model, batch, num_items_in_batch=6).item() == pytest.approx(3 * alone)


def test_items_are_counted_over_accumulated_batches_and_processes(tmp_path: Path) -> None:
    of = trainer(tmp_path)
    batches = [{"labels": torch.tensor([0, 1, -100])}, {"labels": torch.tensor([2])}]
    assert of._get_num_items_in_batch(batches, torch.device("cpu")).item() == 3
    processes(of, 3, others=(4, 5))
    assert of._get_num_items_in_batch(batches, torch.device("cpu")).item() == 12
    of.args.average_tokens_across_devices = False
    assert of._get_num_items_in_batch(batches, torch.device("cpu")).item() == 3
    of.args = SimpleNamespace(average_tokens_across_devices=True, world_size=1, n_gpu=2)  # type: ignore[assignment]
    assert of._get_num_items_in_batch(batches, torch.device("cpu")).tolist() == [[3], [3]]


def test_the_tasks_loss_is_the_only_one(tmp_path: Path) -> None:
    """The model is handed neither labels nor the number of items, and Trainer scales nothing again."""
    of = trainer(tmp_path)
    assert of.model_accepts_loss_kwargs is False and of.compute_loss_func is TASK.loss
    seen = []

    def forward(**inputs: Any) -> Any:
        seen.append(set(inputs))
        return SimpleNamespace(logits=torch.zeros(3, 3), __getitem__=None)

    task = dataclasses.replace(TASK, loss=lambda outputs, batch, context, items: outputs.logits.sum())
    of.task = task
    of.compute_loss(forward, {"input_ids": IDS, "labels": torch.tensor([0, 1, 2])}, num_items_in_batch=3)  # type: ignore[arg-type]
    assert seen == [{"input_ids"}]


# Order


def sampler(folder: Path, **options: Any) -> Any:
    lengths = np.arange(40) + 1
    rows = [{"input_ids": IDS[0]}] * 40
    made = trainer(folder, train_dataset=rows, **{"lengths": lengths, **options})
    return made._get_train_sampler()


def test_samples_are_drawn_by_seed_length_and_class(tmp_path: Path) -> None:
    args = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3, "seed": 5}
    found = sampler(tmp_path, args=args)
    assert (found.group, found.seed, found.epoch) == (6, 5, 0)
    assert found.lengths is None and found.classes is None and len(found) == 40
    assert sampler(tmp_path, args={**args, "data_seed": 9}).seed == 9
    found = sampler(tmp_path, args={**args, "train_sampling_strategy": "group_by_length"})
    assert found.lengths.tolist() == list(range(1, 41))
    assert sampler(tmp_path, args=args, classes=[0, 1] * 20).classes.tolist() == [0, 1] * 20


def test_the_group_counts_every_process(tmp_path: Path) -> None:
    made = trainer(tmp_path, train_dataset=[0] * 40)
    made.args = SimpleNamespace(  # type: ignore[assignment]
        train_batch_size=2, gradient_accumulation_steps=3, world_size=4, train_sampling_strategy="random",
        data_seed=None, seed=1,
    )  # fmt: skip
    assert made._get_train_sampler().group == 24
    assert made.sampler is not None and len(made._get_train_sampler([0] * 7)) == 7  # type: ignore[arg-type]


# The optimiser


def test_rates_of_the_method_reach_the_optimizer(tmp_path: Path) -> None:
    model = bert_classifier()
    method = get_method(MethodConfig(name="full", layer_lr_decay=0.5))
    adapted = method.prepare(Loaded(model, ["classifier"]), TASK)
    made = trainer(tmp_path, model, adapted=adapted, args={"learning_rate": 0.8, "weight_decay": 0.1})
    optimizer = made.create_optimizer()
    assert optimizer is made.optimizer and made.create_optimizer() is optimizer
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(model.classifier.weight)] == (0.8, 0.1) and rates[id(model.classifier.bias)] == (0.8, 0.0)
    assert rates[id(model.bert.embeddings.word_embeddings.weight)] == (pytest.approx(0.1), 0.1)
    assert rates[id(model.bert.embeddings.LayerNorm.weight)] == (pytest.approx(0.1), 0.0)
    assert optimizer.defaults["betas"] == (0.9, 0.999) and type(optimizer) is torch.optim.AdamW


def test_another_optimizer_gets_the_same_groups(tmp_path: Path) -> None:
    adapted = Adapted(bert_classifier(), ())
    made = trainer(tmp_path, adapted=adapted, args={"optim": "sgd", "learning_rate": 0.3})
    optimizer = made.create_optimizer()
    assert type(optimizer) is torch.optim.SGD and {group["lr"] for group in optimizer.param_groups} == {0.3}
    mine = trainer(tmp_path, adapted=adapted, optimizer_cls_and_kwargs=(torch.optim.Adagrad, {"eps": 0.5}))
    assert type(mine.create_optimizer()) is torch.optim.Adagrad and mine.optimizer.defaults["eps"] == 0.5


def test_without_a_method_the_optimizer_is_trainers_own(tmp_path: Path) -> None:
    groups = trainer(tmp_path, args={"weight_decay": 0.1}).create_optimizer().param_groups
    assert len(groups) == 2 and [group["weight_decay"] for group in groups] == [0.1, 0.0]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"optim": "galore_adamw"}, r"training\.optim, or its arguments: .*galore_torch"),
        ({"optim_args": "x"}, r"training\.optim, or its arguments: "),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, r"training\.lr_scheduler_type, or its arguments: .*min_lr"),
        ({"lr_scheduler_kwargs": {"evil": 1}}, r"training\.lr_scheduler_type, or its arguments: .*'evil'"),
    ],
)
def test_what_an_optimizer_or_a_schedule_refuses_is_said(args: dict[str, Any], words: str, tmp_path: Path) -> None:
    made = trainer(tmp_path, adapted=Adapted(bert_classifier(), ()), args=args)
    with pytest.raises(ConfigError, match=words):
        made.create_optimizer_and_scheduler(10)


# Checkpoints


def test_checkpoints_hold_the_modules_own_names(tmp_path: Path) -> None:
    """ViT's `save_pretrained` writes older names, which `load_state_dict` would pass over in silence."""
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = ViTForImageClassification(ViTConfig(**small, image_size=8, patch_size=4))
    trainer(tmp_path, model)._save(str(tmp_path / "checkpoint"))
    assert set(load_file(tmp_path / "checkpoint" / "model.safetensors")) == set(model.state_dict())
    assert "save_pretrained" not in vars(model)
    model.save_pretrained(tmp_path / "plain")
    assert set(load_file(tmp_path / "plain" / "model.safetensors")) != set(model.state_dict())
    head = nn.Linear(2, 2)
    trainer(tmp_path, head)._save(str(tmp_path / "head"))
    assert set(load_file(tmp_path / "head" / "model.safetensors")) == {"weight", "bias"}


@pytest.mark.parametrize(
    ("greater", "logged", "best"),
    [
        # (step, metric, loss) of each evaluation, and the step that is the best in the end
        (True, [(1, 0.5, 1.0), (2, 0.6, 2.0), (3, 0.4, 0.1)], 2),
        (False, [(1, 0.5, 1.0), (2, 0.6, 0.1), (3, 0.4, 2.0)], 3),
        (True, [(1, 0.5, 1.0), (2, 0.5, 0.9), (3, 0.5, 0.95)], 2),  # ties: the lower loss
        (False, [(1, 0.5, 1.0), (2, 0.5, 0.9), (3, 0.5, 0.95)], 2),
        (True, [(1, 0.5, 1.0), (2, 0.5, 1.0)], 1),  # the first of all that are equal
        (True, [(1, 0.5, None), (2, 0.5, None)], 1),
        (True, [(1, 0.5, None), (2, 0.5, 0.1)], 1),  # unknown: nothing is below it
        (True, [(1, 0.5, 0.1), (2, 0.5, None)], 1),
    ],
)
def test_the_best_checkpoint_is_the_best(greater: bool, logged: list[Any], best: int, tmp_path: Path) -> None:
    of = trainer(tmp_path, args={"metric_for_best_model": "accuracy", "greater_is_better": greater})
    told = []
    for step, value, loss in logged:
        of.state.global_step = step
        metrics = {"eval_accuracy": value} if loss is None else {"eval_accuracy": value, "eval_loss": loss}
        of.state.log_history.append({"step": step, **metrics})
        if of._determine_best_metric(metrics, None):
            told.append(step)
    assert told[-1] == best == of.state.best_global_step
    assert of.state.best_metric == dict((step, value) for step, value, _ in logged)[best]


def test_the_key_and_the_loss_of_an_evaluation() -> None:
    assert metric_key(SimpleNamespace(metric_for_best_model="accuracy")) == "eval_accuracy"  # type: ignore[arg-type]
    assert metric_key(SimpleNamespace(metric_for_best_model="eval_loss")) == "eval_loss"  # type: ignore[arg-type]
    state = TrainerState()
    state.log_history = [{"step": 4, "loss": 9.0}, {"step": 4, "eval_loss": 0.5}, {"step": 8, "eval_loss": 0.25}]
    assert loss_at(state, 4) == 0.5 and loss_at(state, 8) == 0.25
    assert loss_at(state, 5) == loss_at(state, None) == float("-inf")


# Evaluation


def test_an_evaluation_is_of_the_task_and_by_its_own_collator(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def measure(outputs: Any, samples: Any) -> dict[str, float]:
        seen.update(outputs=outputs, samples=samples)
        return {"accuracy": 0.25}

    def collate(samples: list[Any]) -> Any:
        seen.setdefault("sizes", []).append(len(samples))
        return {"input_ids": torch.stack([each["input_ids"] for each in samples]),
                "labels": torch.tensor([each["labels"] for each in samples])}  # fmt: skip

    samples = [{"input_ids": ids, "labels": label} for ids, label in zip(IDS, (0, 2, 1), strict=True)]
    of = trainer(
        tmp_path, collators=(None, collate), eval_dataset=samples, measure=measure,
        args={"per_device_eval_batch_size": 2},
    )  # fmt: skip
    found = of.evaluate()
    logits = of.model.eval()(input_ids=IDS).logits
    loss = nn.functional.cross_entropy(logits, torch.tensor([0, 2, 1])).item()
    assert found["eval_loss"] == pytest.approx(loss, rel=1e-5) and found["eval_accuracy"] == 0.25
    assert seen["sizes"] == [2, 1] and seen["samples"] is samples
    assert np.allclose(seen["outputs"], logits.detach().numpy(), atol=1e-6)
    of.measure = None
    assert set(of.evaluate(samples[:2], metric_key_prefix="other")) >= {"other_loss"}


@pytest.mark.parametrize(("metric", "hint"), [("acuracy", "; did you mean 'accuracy'"), ("xyz", "; measured are 'acc")])
def test_a_metric_that_is_not_measured_picks_no_checkpoint(metric: str, hint: str, tmp_path: Path) -> None:
    strategy = {"eval_strategy": "steps", "save_strategy": "steps", "load_best_model_at_end": True}
    of = trainer(tmp_path, eval_dataset=[{}], args={**strategy, "metric_for_best_model": metric})
    with pytest.raises(ConfigError, match=f"training.metric_for_best_model: '{metric}' is not measured{hint}"):
        of._check_best({"eval_loss": 1.0, "eval_accuracy": 0.5})
    of._check_best({"eval_loss": 1.0, f"eval_{metric}": 0.5})
    trainer(tmp_path, args={"metric_for_best_model": metric})._check_best({"eval_loss": 1.0})  # none is kept


def test_features_and_labels_are_rows() -> None:
    rows = FeatureRows(np.arange(6, dtype=np.float32).reshape(3, 2), np.array([4, 5, 6]))
    assert len(rows) == 3 and rows[1]["features"].tolist() == [2, 3] and rows[1]["labels"].item() == 5
    batch = collate_features([rows[2], rows[0]])
    assert batch["features"].tolist() == [[4, 5], [0, 1]] and batch["labels"].tolist() == [6, 4]
