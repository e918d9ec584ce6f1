"""`TrainingArguments` from the configuration, with defaults that adapt to data, model, method and hardware.

Every default that hf_tl chooses itself is recorded with its reason, for the card, the report and `hf-tl plan`.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.integrations import integration_utils as integrations
from transformers.utils import is_liger_kernel_available

from hf_tl.config import RunConfig, TrainingConfig
from hf_tl.errors import ConfigError, did_you_mean, listing, shortened, together
from hf_tl.inference.processes import process_state
from hf_tl.models.methods import Method
from hf_tl.task import Task

SECRET = {"hub_token", "push_to_hub_token"}
OURS = {
    "output_dir",
    "push_to_hub",
    "hub_model_id",
    "do_train",
    "do_eval",
    "do_predict",
    "remove_unused_columns",
    "seed",
}
"""Fields that the run folder, `hub:` and `seed:` decide."""
REPORTS = {
    "azure_ml": "is_azureml_available", "clearml": "is_clearml_available", "codecarbon": "is_codecarbon_available",
    "comet_ml": "is_comet_available", "dagshub": "is_dagshub_available", "dvclive": "is_dvclive_available",
    "flyte": "is_flytekit_available", "kubeflow": "is_kubeflow_available", "mlflow": "is_mlflow_available",
    "neptune": "is_neptune_available", "swanlab": "is_swanlab_available", "tensorboard": "is_tensorboard_available",
    "trackio": "is_trackio_available", "wandb": "is_wandb_available",
}  # fmt: skip
"""What Trainer reports to -> the function of Transformers that says whether its package is there."""
LOWER = ("mse", "mae", "perplexity", "cut_share")
"""Metrics, beside losses, of which less is better."""
RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "warmup_ratio": "warmup_steps, which takes a share such as 0.1",
    "group_by_length": "train_sampling_strategy: group_by_length",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "batch_size": "per_device_train_batch_size",
    "epochs": "num_train_epochs",
    "lr": "learning_rate",
}
WIDER = {"fsdp"}
"""Fields that take more than they say: true, or a list."""


@dataclasses.dataclass(frozen=True)
class ChosenDefault:
    """A default that hf_tl chose."""

    key: str
    value: Any
    reason: str

    @property
    def told(self) -> str:
        return f"{self.value} ({self.reason})" if self.reason else str(self.value)


@dataclasses.dataclass(frozen=True)
class Workload:
    """What the defaults depend on."""

    samples: int
    """Training samples."""
    classes: int
    convolutional: bool
    hidden: int | None
    """Hidden size, where the model has one."""
    has_lengths: bool
    processes: int
    features: float | None = None
    """Mean standard deviation of the features, when the model trained is a head on cached ones."""
    precision: ChosenDefault = ChosenDefault("precision", "fp32", "")
    """`fp32`, `bf16` or `fp16`."""
    batch: int | None = None
    """Samples a step that the task wants."""
    eval_batch: int = 64


def check_training(training: TrainingConfig) -> None:
    """Every key of `training` is a `TrainingArguments` field, and the packages that it needs are there.

    Raises:
        ConfigError: names all keys that are not, and the nearest or the new one of each.
    """
    keys = [partial(_check_key, *each) for each in training.passed_through.items()]
    together(*keys, partial(_check_packages, training))


def _check_key(key: str, value: Any) -> None:
    fields = {field.name for field in dataclasses.fields(TrainingArguments) if field.init}
    if key in SECRET:
        raise ConfigError(
            f"training.{key}: tokens are never read from a configuration; set HF_TOKEN or `hf auth login`."
        )
    if key in OURS:
        other = {"output_dir": "output", "seed": "seed", "push_to_hub": "hub.id", "hub_model_id": "hub.id"}.get(key)
        raise ConfigError(f"training.{key}: decided by hf_tl" + (f"; use {other}." if other else "."))
    if key in RENAMED:
        raise ConfigError(f"training.{key}: not a field of TrainingArguments; use {RENAMED[key]}.")
    if key not in fields:
        own = {"early_stopping_patience", "early_stopping_threshold"}
        raise ConfigError(f"training.{key}: not a field of TrainingArguments{did_you_mean(key, fields | own) or '.'}")
    kind = typing.get_type_hints(TrainingArguments)[key]
    if key not in WIDER and not _is_of(value, kind):
        raise ConfigError(f"training.{key}: found {shortened(repr(value))}, expected {_described(kind)}.")
    if key == "label_smoothing_factor" and not 0 <= (value or 0) <= 1:
        raise ConfigError(f"training.label_smoothing_factor: found {value}, expected 0 to 1.")


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value is of the kind that a field of TrainingArguments is said to be, as far as plain kinds go."""
    kinds = _kinds(kind)
    if type(value) not in (bool, int, float, str, list, dict) or not all(isinstance(each, type) for each in kinds):
        return True
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, (int, float)):
        return abs(value) < 2**63 and (float in kinds or (int in kinds and value == int(value)))
    return isinstance(value, tuple(kinds))


def _kinds(kind: Any) -> list[Any]:
    """The classes of an annotation such as `dict[str, Any] | str | None`."""
    several = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return [typing.get_origin(each) or each for each in (typing.get_args(kind) if several else (kind,))]


def _described(kind: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list"}
    found = [names.get(each) for each in _kinds(kind)]
    return " or ".join(dict.fromkeys(name for name in found if name)) or "a mapping"


def _check_packages(training: TrainingConfig) -> None:
    if training.passed_through.get("use_liger_kernel") and not is_liger_kernel_available():
        raise ConfigError(
            "training.use_liger_kernel: needs the package liger-kernel (pip install liger-kernel), which is missing."
        )

    names = training.passed_through.get("report_to") or []
    for name in [names] if isinstance(names, str) else names:
        check = REPORTS.get(str(name), "" if name in ("none", "all") else None)
        if check is None:
            raise ConfigError(
                f"training.report_to: {name!r} is nothing that Trainer reports to{did_you_mean(name, REPORTS) or '.'} "
                f"It knows {listing(REPORTS, most=20)}."
            )
        if check and not getattr(integrations, check)():
            raise ConfigError(
                f"training.report_to: {name} needs its package, which is missing; install it, or leave report_to out."
            )


def check_best_metric(training: TrainingConfig, task: Task) -> None:
    """`training.metric_for_best_model` is measured of `task` (of the problem that the data pose).

    Raises:
        ConfigError: it is not; names those that are.
    """
    given = training.passed_through.get("metric_for_best_model")
    known = tuple(dict.fromkeys((*task.metrics, "loss")))
    if given is not None and str(given).removeprefix("eval_") not in known:
        raise ConfigError(
            f"training.metric_for_best_model: {given!r} is not measured for {task.name}"
            f"{did_you_mean(given, known) or '.'} There are {listing(known, most=len(known))}."
        )


def choose(workload: Workload, method: Method) -> list[ChosenDefault]:
    """hf_tl's defaults."""
    name = method.config.name
    out: list[ChosenDefault] = []

    def say(key: str, value: Any, reason: str) -> None:
        out.append(ChosenDefault(key, value, reason))

    total = 64 if workload.features else workload.batch or (32 if workload.convolutional else 16)
    per_device = max(1, total // workload.processes)
    share = f", {total} over {workload.processes} processes" if workload.processes > 1 else ""
    say("per_device_train_batch_size", per_device, f"what models of this kind are adapted with{share}")
    say("per_device_eval_batch_size", workload.eval_batch, "evaluation keeps no gradients")

    rate = method.learning_rates[1 if workload.convolutional else 0]
    reason = f"usual for {name} on a {'convolutional network' if workload.convolutional else 'transformer'}"
    if name in ("full", "lora") and not workload.convolutional and workload.hidden and workload.hidden < 768:
        rate = rate * 768 / workload.hidden
        reason += f", raised for its width of {workload.hidden}"
    if workload.features:
        # Adam moves every weight by about the rate, so what a step does to the logits grows with the features' spread.
        rate = float(f"{min(0.1, max(1e-4, 1e-3 / workload.features)):.1e}")
        reason = f"a head on fixed features whose standard deviation is {workload.features:.2g}"
    say("learning_rate", rate, reason)
    steps = math.ceil(workload.samples / (per_device * workload.processes))
    if workload.features:
        least, wanted, most = 10, 3000, 100
    else:
        least, wanted, most = 3, 400 + 30 * workload.classes, 20
    epochs = min(most, max(least, math.ceil(wanted / steps)))
    classes = f", {workload.classes} classes" if workload.classes > 1 else ""
    say("num_train_epochs", epochs, f"{steps} steps an epoch{classes}: {epochs * steps} steps in all")
    say("warmup_steps", 0.1, "a tenth of the steps, while the new head settles")
    say("weight_decay", 0.01, "usual for AdamW")
    if workload.has_lengths:
        say("train_sampling_strategy", "group_by_length", "texts of like length share a batch, which saves padding")
    say("bf16", workload.precision.value == "bf16", workload.precision.reason)
    return out


def build_arguments(
    config: RunConfig, workload: Workload, method: Method, task: Task, folder: Path
) -> tuple[TrainingArguments, list[ChosenDefault]]:
    """The arguments of a run and the defaults among them that hf_tl chose.

    Raises:
        ConfigError: a value that TrainingArguments refuses.
    """
    given = _given(config)
    # A choice yields to anything the user says about the same thing.
    rivals = {"num_train_epochs": {"max_steps"}, "bf16": {"fp16", "bf16"}}
    choices = [
        choice
        for choice in choose(workload, method)
        if choice.key not in given and not (rivals.get(choice.key, set()) & set(given))
    ]
    values: dict[str, Any] = {choice.key: choice.value for choice in choices}
    few = _few_evaluations(given, workload, {**values, **given})
    cycle = "steps" if few else "epoch"
    values |= {
        "output_dir": str(folder),
        "seed": config.seed,
        "eval_strategy": cycle,
        "save_strategy": given.get("eval_strategy", cycle),
        "logging_strategy": "steps",
        "logging_steps": 10,
        "logging_nan_inf_filter": False,
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "eval_on_start": method.pretrained and not task.new_head,  # what it can do already
        "restore_callback_states_from_checkpoint": True,  # early stopping goes on counting
        "metric_for_best_model": task.best_metric,
        "greater_is_better": task.greater_is_better,
        "remove_unused_columns": False,
        "label_names": list(task.label_fields),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "disable_tqdm": True,
        "report_to": "none",
        "ddp_find_unused_parameters": bool(method.config.unfreeze),
        "use_cpu": process_state().device.type == "cpu",
    }
    if few:
        values["eval_steps"] = values["save_steps"] = few
    elif "eval_steps" in given:
        values["save_steps"] = given["eval_steps"]  # the best of what was evaluated has to be there
    values.update(given)
    if workload.features:  # precision is that of the backbone, which has run; a head is too small to gain by it
        values |= {"bf16": False, "fp16": False}
    if "metric_for_best_model" in given and "greater_is_better" not in given:
        values["greater_is_better"] = not _lower_is_better(str(given["metric_for_best_model"]))
    if values["eval_strategy"] == "no":
        values["load_best_model_at_end"] = False
    try:
        return TrainingArguments(**values), choices
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"training: TrainingArguments refuses: {first}") from error


def _lower_is_better(metric: str) -> bool:
    name = metric.removeprefix("eval_")
    return name.endswith("loss") or name in LOWER


def _given(config: RunConfig) -> dict[str, Any]:
    """What the user says, without what says nothing: with `max_steps: -1` TrainingArguments counts epochs, and YAML
    reads a bare `no` as false."""
    given = dict(config.training.passed_through)
    if int(given.get("max_steps") or -1) <= 0:
        given.pop("max_steps", None)
    return {
        key: "no" if value is False and key in ("eval_strategy", "save_strategy", "logging_strategy") else value
        for key, value in given.items()
    }


def _few_evaluations(given: dict[str, Any], workload: Workload, values: dict[str, Any]) -> int | None:
    """Steps between evaluations where once an epoch is not fit: a run cut short by `max_steps` is evaluated at its end,
    a head on cached features, whose epochs take a moment, twenty times. None: once an epoch."""
    if "eval_strategy" in given:
        return None
    if "max_steps" in given:
        return int(given["max_steps"])
    steps = math.ceil(workload.samples / (values["per_device_train_batch_size"] * workload.processes))
    total = math.ceil(steps * float(values["num_train_epochs"]))
    return max(1, total // 20) if workload.features and total > 20 else None
