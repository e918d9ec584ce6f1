"""The Trainer of hf_tl: Transformers' own, with a loss that is right however the batch is cut, parameter groups of the
method, an order of samples that resumes exactly, and evaluation by the task's metrics."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PreTrainedModel, Trainer, TrainerState, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput

from hf_tl.errors import ConfigError, ModelError, did_you_mean, listing, shortened
from hf_tl.inference.outputs import count_items, model_inputs, outputs_of
from hf_tl.models.methods import Adapted, optimizer_groups
from hf_tl.task import Task, TaskContext
from hf_tl.training.checkpoints import check_restored
from hf_tl.training.sampler import EpochSampler


class TransferTrainer(Trainer):
    """Args beyond the Trainer's:

    task, context: what is computed; the task's loss is divided by the true number of items over all accumulated batches
        and processes (the stock classification losses are not: see tests/training/test_loss.py).
    adapted: groups the parameters; None for evaluation only.
    collators: (for training, for evaluation).
    lengths, classes: as in `EpochSampler`.
    """

    def __init__(
        self,
        *,
        task: Task,
        context: TaskContext,
        collators: tuple[Any, Any],
        adapted: Adapted | None = None,
        lengths: Any = None,
        classes: Any = None,
        measure: Callable[[list[Any], Any], dict[str, float]] | None = None,
        **options: Any,
    ) -> None:
        self.task, self.context, self.adapted = task, context, adapted
        self.collators, self.lengths, self.classes = collators, lengths, classes
        self.sampler: EpochSampler | None = None
        self.measure = measure
        # Trainer scales what a `compute_loss_func` gives by the number of items over the whole step.
        super().__init__(compute_loss_func=task.loss, data_collator=collators[0], **options)
        # The task's loss is the only one: the model must not be handed `num_items_in_batch` to make its own.
        self.model_accepts_loss_kwargs = False

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(**model_inputs(self.task, inputs))
        loss = self.task.loss(outputs, inputs, self.context, num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            # gradients are averaged over processes, and the items were counted over all of them
            loss = loss * (self.accelerator.num_processes if self.args.n_gpu <= 1 else self.args.n_gpu)
        return (loss, outputs) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        items = torch.tensor(sum(count_items(self.task, batch) for batch in batch_samples), device=device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            items = self.accelerator.gather(items).sum()
        return items.expand(self.args.n_gpu, 1) if self.args.n_gpu > 1 else items

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Every sample once, on all processes; metrics as the task measures them."""
        samples = dataloader.dataset
        found = outputs_of(
            self.model,
            self.task,
            self.context,
            samples,
            batch_size=self.args.eval_batch_size,
            bf16=self.args.bf16,
            collate=self.collators[1],
            device=self.args.device,
        )
        values = self.measure(found.items, samples) if self.measure else {}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in {"loss": found.loss, **values}.items()}
        if metric_key_prefix == "eval":
            self._check_best(metrics)
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=len(samples))

    def _check_best(self, metrics: dict[str, float]) -> None:
        """Raises ConfigError where the metric that picks the best checkpoint is not measured: at the first evaluation,
        which is before training, and not when it is asked for."""
        args = self.args
        if args.metric_for_best_model and args.load_best_model_at_end and metric_key(args) not in metrics:
            names = sorted(name.removeprefix("eval_") for name in metrics)
            hint = did_you_mean(args.metric_for_best_model, names) or f"; measured are {listing(names, most=20)}."
            raise ConfigError(
                f"training.metric_for_best_model: {shortened(args.metric_for_best_model)} is not measured{hint}"
            )

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int]:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        args = self.args
        group = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        lengths = self.lengths if args.train_sampling_strategy == "group_by_length" else None
        self.sampler = EpochSampler(dataset, group, args.data_seed or args.seed, lengths, self.classes)
        return self.sampler

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        return DataLoader(self.eval_dataset if eval_dataset is None else eval_dataset)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        groups, known = [dict(group) for group in self.optimizer.param_groups], set(self.lr_scheduler.state_dict())
        super()._load_optimizer_and_scheduler(checkpoint)
        check_restored(self.optimizer, groups)
        if not set(self.lr_scheduler.state_dict()) <= known:
            raise ModelError(f"{checkpoint}: scheduler.pt is not of this learning-rate schedule; remove that folder.")

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """Weight decay never reaches a normalisation layer.

        Trainer looks for `norm` as a word of the parameter's name, which misses the batch normalisations of networks
        that call them `normalization`; the layer's class says it whatever its name is.
        """
        norms = {
            f"{name}.{parameter}" if name else parameter
            for name, module in model.named_modules()
            if "norm" in type(module).__name__.lower()
            for parameter, _ in module.named_parameters(recurse=False)
        }
        return [name for name in super().get_decay_parameter_names(model) if name not in norms]

    def create_optimizer(self, model: Any = None) -> Any:
        with refusing("training.optim"):
            return self._optimizer(model)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        with refusing("training.lr_scheduler_type"):
            return super().create_scheduler(num_training_steps, optimizer)

    def _optimizer(self, model: Any) -> Any:
        made: Any = getattr(self, "optimizer", None)
        if made is None and self.adapted is not None:
            of = self.model if model is None else model
            cls, options = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(self.args, of)
            if isinstance(cls, type) and not {"params", "model", "optimizer_dict"} & set(options):
                decayed = set(self.get_decay_parameter_names(of))
                self.optimizer = cls(optimizer_groups(of, self.adapted, decayed, self.args), **options)
                return self.optimizer
        return super().create_optimizer(model)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Checkpoints under the modules' own parameter names.

        `save_pretrained` writes some architectures (ViT) under their older names, and Trainer loads checkpoints with
        `load_state_dict(..., strict=False)`: a resumed run, and the best model, would silently keep other weights.
        """
        model: Any = self.accelerator.unwrap_model(self.model)
        if not isinstance(model, PreTrainedModel):
            super()._save(output_dir, state_dict)
            return
        model.save_pretrained = functools.partial(model.save_pretrained, save_original_format=False)
        try:
            super()._save(output_dir, state_dict)
        finally:
            del model.save_pretrained

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Trainer keeps the first of equal metrics; small validation splits tie often, and the loss tells more."""
        before = self.state.best_global_step, self.state.best_metric
        better = bool(super()._determine_best_metric(metrics, trial))
        if not better and metrics[metric_key(self.args)] == before[1]:
            better = metrics.get("eval_loss", math.inf) < loss_at(self.state, before[0])
            if better:
                self.state.best_global_step = self.state.global_step
        return better


@contextlib.contextmanager
def refusing(key: str) -> Iterator[None]:
    """What a library refuses in a setting, or in its arguments, is said of it: a package that is not installed, a value
    that it does not know."""
    try:
        yield
    except (ImportError, ValueError, TypeError, AttributeError, KeyError) as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(f"{key}, or its arguments: {said.rstrip('.')}.") from error


def metric_key(args: TrainingArguments) -> str:
    """The logged name of the metric that picks the best checkpoint."""
    return f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}"


def loss_at(state: TrainerState, step: int | None) -> float:
    """Validation loss that was logged at `step`; minus infinity where there is none, which nothing is below."""
    return next(
        (log["eval_loss"] for log in state.log_history if log["step"] == step and "eval_loss" in log), -math.inf
    )


class FeatureRows(Dataset[dict[str, Any]]):
    """Cached features (samples, ...) and labels (samples, ...) as a dataset."""

    def __init__(self, features: np.ndarray, labels: np.ndarray) -> None:
        self.features, self.labels = torch.from_numpy(features), torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"features": self.features[index], "labels": self.labels[index]}


def collate_features(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
