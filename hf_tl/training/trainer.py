"""The Trainer of hf_tl: Transformers' own, with a loss that is right however the batch is cut, parameter groups of the
method, an order of samples that resumes exactly, and evaluation by the task's metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, Sampler
from transformers import EvalPrediction, PrinterCallback, ProgressCallback, Trainer, TrainerState, TrainingArguments

from hf_tl.models.methods import Method, optimizer_groups
from hf_tl.task import Setting, Task
from hf_tl.training.sampler import EpochSampler


class TransferTrainer(Trainer):
    """Args beyond the Trainer's:

    task, setting: what is computed; the task's loss is divided by the true number of items over all accumulated batches
        and processes (the stock classification losses are not: see tests/training/test_loss.py).
    method: groups the parameters; None for evaluation only.
    collators: (for training, for evaluation).
    lengths, classes: as in `EpochSampler`.
    """

    def __init__(
        self,
        *,
        task: Task,
        setting: Setting,
        collators: tuple[Any, Any],
        method: Method | None = None,
        lengths: Any = None,
        classes: Any = None,
        measure: Callable[[Any, Any], dict[str, float]] | None = None,
        **options: Any,
    ) -> None:
        self.task, self.setting, self.method = task, setting, method
        self.collators, self.lengths, self.classes = collators, lengths, classes
        self.sampler: EpochSampler | None = None

        def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
            value: torch.Tensor = task.loss(outputs, labels, setting, num_items_in_batch)
            return value

        def compute(prediction: EvalPrediction) -> dict[str, float]:
            assert measure is not None
            return measure(np.asarray(prediction.predictions), np.asarray(prediction.label_ids))

        super().__init__(
            compute_loss_func=loss,
            compute_metrics=compute if measure else None,
            data_collator=collators[0],
            **options,
        )
        # The loss above is the only one: the model must not be handed `num_items_in_batch` to make its own.
        self.model_accepts_loss_kwargs = False

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int]:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        args = self.args
        group = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        lengths = self.lengths if args.train_sampling_strategy == "group_by_length" else None
        self.sampler = EpochSampler(dataset, group, args.data_seed or args.seed, lengths, self.classes)
        return self.sampler

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        return self._with_collator(1, super().get_eval_dataloader, eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        return self._with_collator(1, super().get_test_dataloader, test_dataset)

    def _with_collator(self, which: int, get: Callable[[Any], Any], dataset: Any) -> Any:
        self.data_collator = self.collators[which]
        try:
            return get(dataset)
        finally:
            self.data_collator = self.collators[0]

    def create_optimizer(self, model: Any = None) -> Any:
        made: Any = getattr(self, "optimizer", None)
        if made is None and self.method is not None:
            of = self.model if model is None else model
            cls, options = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(self.args, of)
            if isinstance(cls, type) and not {"params", "model", "optimizer_dict"} & set(options):
                decayed = set(self.get_decay_parameter_names(of))
                self.optimizer = cls(optimizer_groups(of, self.method, decayed, self.args), **options)
                return self.optimizer
        return super().create_optimizer(model)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Trainer keeps the first of equal metrics; small validation splits tie often, and the loss tells more."""
        before = self.state.best_global_step, self.state.best_metric
        better = bool(super()._determine_best_metric(metrics, trial))
        if not better and metrics[metric_key(self.args)] == before[1]:
            better = metrics.get("eval_loss", math.inf) < loss_at(self.state, before[0])
            if better:
                self.state.best_global_step = self.state.global_step
        return better


def metric_key(args: TrainingArguments) -> str:
    """The logged name of the metric that picks the best checkpoint."""
    return f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}"


def loss_at(state: TrainerState, step: int | None) -> float:
    """Validation loss that was logged at `step`; minus infinity where there is none, which nothing is below."""
    return next(
        (log["eval_loss"] for log in state.log_history if log["step"] == step and "eval_loss" in log), -math.inf
    )


def collate_features(samples: list[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """float32 `features` and int64 `labels` as one batch."""
    return {
        "features": torch.stack([torch.as_tensor(sample["features"]) for sample in samples]),
        "labels": torch.tensor([int(sample["labels"]) for sample in samples]),
    }


class FeatureRows(Dataset[dict[str, Any]]):
    """Cached features (samples, ...) and labels (samples,) as a dataset."""

    def __init__(self, features: np.ndarray, labels: np.ndarray) -> None:
        self.features, self.labels = torch.from_numpy(features), labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"features": self.features[index], "labels": self.labels[index]}


def predict_outputs(
    model: nn.Module,
    task: Task,
    setting: Setting,
    dataset: Any,
    args: TrainingArguments,
    *,
    lengths: np.ndarray | None = None,
    names: Sequence[str] = ("logits",),
) -> dict[str, np.ndarray]:
    """Outputs of `model` on every sample, in the order of `dataset`, each sample once whatever the processes.

    Samples of like length (`lengths`: tokens of each) are batched together.

    Returns:
        `names` -> float array (samples, ...), in the order of the model's outputs, on every process.
    """
    collate = task.collator(setting, False)

    def inputs_only(samples: list[Any]) -> dict[str, Any]:
        return {key: value for key, value in collate(samples).items() if key not in task.label_fields}

    order = None if lengths is None else np.argsort(-np.asarray(lengths), kind="stable")
    if order is not None:
        dataset = dataset.select(order)
    trainer = TransferTrainer(task=task, setting=setting, collators=(inputs_only, inputs_only), model=model, args=args)
    trainer.label_names, trainer.can_return_loss = [], False
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    outputs = trainer.predict(dataset).predictions
    arrays = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    back = slice(None) if order is None else np.argsort(order, kind="stable")
    return {name: np.asarray(array)[back] for name, array in zip(names, arrays, strict=False)}
