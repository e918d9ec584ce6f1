"""Each default by hand, and who wins over it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from hf_tl.config import MethodConfig, RunConfig, load_config
from hf_tl.errors import ConfigError
from hf_tl.models.methods import get_method
from hf_tl.task import get_task
from hf_tl.training import arguments
from hf_tl.training.arguments import (
    REPORTS,
    ChosenDefault,
    Workload,
    build_arguments,
    check_best_metric,
    check_training,
    choose,
)

TEXT = get_task("text-classification")
FACTS = Workload(samples=1000, classes=1, convolutional=False, hidden=768, has_lengths=False, processes=1)


def chosen(method: str = "full", **workload: Any) -> dict[str, Any]:
    return {each.key: each.value for each in choose(dataclasses.replace(FACTS, **workload), of(method))}


def reason(key: str, method: str = "full", **workload: Any) -> str:
    return next(each.reason for each in choose(dataclasses.replace(FACTS, **workload), of(method)) if each.key == key)


def of(method: str, **options: Any) -> Any:
    return get_method(MethodConfig(name=method, **options))


def config(**training: Any) -> RunConfig:
    return load_config({"model": "m", "data": "d", "seed": 7, "training": training})


def built(task: Any = TEXT, method: Any = None, workload: Workload = FACTS, **training: Any) -> Any:
    return build_arguments(config(**training), workload, method or of("full"), task, Path("/tmp/out"))


# Batches


@pytest.mark.parametrize(
    ("workload", "batch"),
    [
        ({}, 16),
        ({"convolutional": True}, 32),
        ({"batch": 8}, 8),
        ({"batch": 8, "convolutional": True}, 8),
        ({"features": 1.0}, 64),
        ({"features": 1.0, "batch": 8}, 64),
        ({"processes": 4}, 4),
        ({"processes": 3}, 5),
        ({"processes": 20}, 1),
    ],
)
def test_samples_a_step(workload: dict[str, Any], batch: int) -> None:
    assert chosen(**workload)["per_device_train_batch_size"] == batch


def test_samples_of_an_evaluation_and_the_share_that_is_said() -> None:
    assert chosen()["per_device_eval_batch_size"] == 64
    assert chosen(eval_batch=4)["per_device_eval_batch_size"] == 4
    assert reason("per_device_train_batch_size").endswith("adapted with")
    assert reason("per_device_train_batch_size", processes=2).endswith("with, 16 over 2 processes")


# Learning rates


@pytest.mark.parametrize(
    ("method", "transformer", "convolutional"),
    [("full", 5e-5, 5e-5), ("lora", 5e-4, 5e-4), ("frozen", 1e-3, 1e-3), ("scratch", 1e-4, 1e-3)],
)
def test_learning_rates_of_the_methods(method: str, transformer: float, convolutional: float) -> None:
    assert chosen(method)["learning_rate"] == transformer
    assert chosen(method, convolutional=True)["learning_rate"] == convolutional
    assert reason("learning_rate", method) == f"usual for {method} on a transformer"
    assert reason("learning_rate", method, convolutional=True).endswith("on a convolutional network")


@pytest.mark.parametrize("hidden", [384, 192, 767])
def test_a_narrow_transformer_learns_faster_by_its_width(hidden: int) -> None:
    assert chosen("full", hidden=hidden)["learning_rate"] == pytest.approx(5e-5 * 768 / hidden)
    assert chosen("lora", hidden=hidden)["learning_rate"] == pytest.approx(5e-4 * 768 / hidden)
    assert reason("learning_rate", "lora", hidden=hidden).endswith(f", raised for its width of {hidden}")


@pytest.mark.parametrize(
    "workload", [{"hidden": 768}, {"hidden": 1024}, {"hidden": None}, {"hidden": 384, "convolutional": True}]
)
def test_a_wide_or_convolutional_model_has_the_usual_rate(workload: dict[str, Any]) -> None:
    assert chosen("full", **workload)["learning_rate"] == 5e-5
    assert "raised" not in reason("learning_rate", **workload)


@pytest.mark.parametrize("method", ["frozen", "scratch"])
def test_width_says_nothing_where_nothing_pretrained_moves(method: str) -> None:
    assert chosen(method, hidden=192)["learning_rate"] == get_method(MethodConfig(name=method)).learning_rates[0]


@pytest.mark.parametrize(
    ("spread", "rate"), [(1.0, 1e-3), (0.5, 2e-3), (0.03, 3.3e-2), (0.001, 0.1), (4.0, 2.5e-4), (50.0, 1e-4)]
)
def test_a_head_on_features_learns_by_their_spread(spread: float, rate: float) -> None:
    """A thousandth over the standard deviation, rounded to two digits, from a ten-thousandth to a tenth."""
    assert chosen("frozen", features=spread)["learning_rate"] == pytest.approx(rate, rel=1e-9)
    assert reason("learning_rate", "frozen", features=0.25) == (
        "a head on fixed features whose standard deviation is 0.25"
    )


# Epochs


@pytest.mark.parametrize(
    ("workload", "epochs"),
    [
        # 400 steps and 30 a class are wanted, within 3 to 20 epochs
        ({"samples": 1000}, 7),  # 63 steps an epoch: 430 / 63 = 6.8
        ({"samples": 1000, "classes": 10}, 12),  # 700 / 63 = 11.1
        ({"samples": 100}, 20),  # 430 / 7 = 61
        ({"samples": 100_000}, 3),
        ({"samples": 1000, "batch": 8, "processes": 2}, 4),  # 125 steps: 3.44
        ({"samples": 1001, "batch": 10}, 5),  # 101 steps: 4.26
        ({"samples": 860, "batch": 8}, 4),  # 108 steps: 3.98
        # a head on features: 3000 steps within 10 to 100 epochs
        ({"samples": 1000, "features": 1.0}, 100),  # 16 steps: 187.5
        ({"samples": 6400, "features": 1.0, "classes": 9}, 30),  # 100 steps
        ({"samples": 64_000, "features": 1.0}, 10),
    ],
)
def test_epochs_follow_from_the_steps_that_are_wanted(workload: dict[str, Any], epochs: int) -> None:
    assert chosen(**workload)["num_train_epochs"] == epochs


def test_the_steps_are_said() -> None:
    assert reason("num_train_epochs") == "63 steps an epoch: 441 steps in all"
    assert reason("num_train_epochs", classes=2) == "63 steps an epoch, 2 classes: 504 steps in all"


# The rest


def test_warmup_decay_lengths_and_precision() -> None:
    found = chosen()
    assert (found["warmup_steps"], found["weight_decay"]) == (0.1, 0.01)
    assert "train_sampling_strategy" not in found
    assert chosen(has_lengths=True)["train_sampling_strategy"] == "group_by_length"
    assert chosen(precision=ChosenDefault("precision", "bf16", "it is fast"))["bf16"] is True
    assert chosen(precision=ChosenDefault("precision", "fp32", "it is not"))["bf16"] is False
    assert reason("bf16", precision=ChosenDefault("precision", "bf16", "it is fast")) == "it is fast"


# Arguments


def test_arguments_have_the_choices_and_what_hf_tl_decides() -> None:
    args, choices = built()
    assert {each.key for each in choices} == set(chosen())
    assert args.learning_rate == 5e-5 and args.num_train_epochs == 7 and args.per_device_train_batch_size == 16
    assert args.seed == 7 and args.output_dir == "/tmp/out"
    assert (args.eval_strategy, args.save_strategy, args.save_total_limit) == ("epoch", "epoch", 2)
    assert args.load_best_model_at_end and args.metric_for_best_model == "accuracy" and args.greater_is_better
    assert args.restore_callback_states_from_checkpoint and args.logging_nan_inf_filter is False
    assert args.remove_unused_columns is False and args.label_names == ["labels"]
    assert (args.logging_strategy, args.logging_steps) == ("steps", 10)
    assert args.disable_tqdm and args.report_to == [] and not args.ddp_find_unused_parameters
    assert not args.bf16 and not args.fp16


def test_what_is_given_wins_and_is_no_choice() -> None:
    args, choices = built(learning_rate=1e-2, per_device_train_batch_size=4, logging_steps=3, save_total_limit=9)
    assert (args.learning_rate, args.per_device_train_batch_size) == (1e-2, 4)
    assert (args.logging_steps, args.save_total_limit) == (3, 9)
    assert not {"learning_rate", "per_device_train_batch_size"} & {each.key for each in choices}
    assert "weight_decay" in {each.key for each in choices}


def test_a_choice_yields_to_what_speaks_of_the_same() -> None:
    args, choices = built(max_steps=50)
    assert args.max_steps == 50 and "num_train_epochs" not in {each.key for each in choices}
    for key in ("bf16", "fp16"):
        _, choices = built(
            workload=dataclasses.replace(FACTS, precision=ChosenDefault("precision", "bf16", "fast")), **{key: False}
        )
        assert "bf16" not in {each.key for each in choices}
    args, _ = built(workload=dataclasses.replace(FACTS, precision=ChosenDefault("precision", "bf16", "fast")))
    assert args.bf16


def test_a_head_on_features_is_trained_in_float32_whatever_the_backbone() -> None:
    args, _ = built(workload=dataclasses.replace(FACTS, features=1.0), bf16=True)
    assert not args.bf16
    args, _ = built(bf16=True)
    assert args.bf16


def test_unfreezing_lets_parameters_wait() -> None:
    args, _ = built(method=of("full", unfreeze={0: "head", 1: "all"}))
    assert args.ddp_find_unused_parameters


def test_what_a_model_can_do_before_training_is_measured_where_it_can_do_it() -> None:
    """A pretrained head that goes on is measured first; a new head, or random weights, can do nothing yet."""
    kept = get_task("fill-mask")
    assert not kept.new_head and TEXT.new_head
    assert built(kept)[0].eval_on_start
    assert not built(kept, of("scratch"))[0].eval_on_start
    assert not built()[0].eval_on_start


# Which checkpoint is the best


@pytest.mark.parametrize(
    ("given", "greater"),
    [
        ({}, True),
        ({"metric_for_best_model": "loss"}, False),
        ({"metric_for_best_model": "eval_loss"}, False),
        ({"metric_for_best_model": "f1_macro"}, True),
        ({"metric_for_best_model": "loss", "greater_is_better": True}, True),
        ({"metric_for_best_model": "f1_macro", "greater_is_better": False}, False),
    ],
)
def test_greater_is_better_but_for_losses(given: dict[str, Any], greater: bool) -> None:
    args, _ = built(**given)
    assert args.greater_is_better == greater
    assert args.metric_for_best_model == given.get("metric_for_best_model", "accuracy")


def test_a_task_whose_metric_is_a_loss_wants_less_of_it() -> None:
    task = dataclasses.replace(TEXT, best_metric="perplexity", greater_is_better=False)
    args, _ = built(task)
    assert args.metric_for_best_model == "perplexity" and args.greater_is_better is False


@pytest.mark.parametrize("strategy", ["no", False])
def test_without_evaluations_there_is_no_best(strategy: Any) -> None:
    """YAML reads a bare `no` as false."""
    args, _ = built(eval_strategy=strategy, save_strategy="epoch")
    assert (args.eval_strategy, args.save_strategy) == ("no", "epoch") and not args.load_best_model_at_end
    args, _ = built(eval_strategy=strategy, logging_strategy=strategy)
    assert (args.eval_strategy, args.save_strategy, args.logging_strategy) == ("no", "no", "no")


# How often is evaluated


def test_evaluation_is_once_an_epoch() -> None:
    args, _ = built()
    assert (args.eval_strategy, args.save_strategy) == ("epoch", "epoch")
    args, _ = built(eval_strategy="steps", eval_steps=5, save_steps=5)
    assert (args.eval_strategy, args.save_strategy, args.eval_steps, args.save_steps) == ("steps", "steps", 5, 5)


def test_what_is_evaluated_is_saved() -> None:
    args, _ = built(eval_strategy="steps", eval_steps=30)
    assert (args.eval_steps, args.save_steps) == (30, 30)
    args, _ = built(eval_strategy="steps", eval_steps=30, save_steps=60)
    assert (args.eval_steps, args.save_steps) == (30, 60)


def test_a_run_cut_short_is_evaluated_at_its_end() -> None:
    args, _ = built(max_steps=12)
    assert (args.eval_strategy, args.save_strategy, args.eval_steps, args.save_steps) == ("steps", "steps", 12, 12)
    for nothing in (-1, 0, None):
        args, choices = built(max_steps=nothing)
        assert (args.eval_strategy, args.max_steps, args.num_train_epochs) == ("epoch", -1, 7)
        assert "num_train_epochs" in {each.key for each in choices}
    args, _ = built(max_steps=12, eval_strategy="epoch")
    assert (args.eval_strategy, args.save_strategy) == ("epoch", "epoch")


@pytest.mark.parametrize(
    ("samples", "epochs", "every"),
    [
        (6400, None, 150),  # 100 steps an epoch, 30 epochs
        (640, 10, 5),  # 100 steps
        (640, 2.05, 1),  # 20.5, so 21 steps
        (640, 4, 2),
        (640, 2, None),  # 20 steps
    ],
)
def test_a_head_on_features_is_evaluated_twenty_times(samples: int, epochs: float | None, every: int | None) -> None:
    workload = dataclasses.replace(FACTS, samples=samples, features=1.0)
    given = {} if epochs is None else {"num_train_epochs": epochs}
    args, _ = built(workload=workload, method=of("frozen"), **given)
    if every is None:
        assert args.eval_strategy == "epoch"
    else:
        assert (args.eval_strategy, args.eval_steps, args.save_steps) == ("steps", every, every)


def test_evaluations_of_features_count_all_processes() -> None:
    workload = dataclasses.replace(FACTS, samples=6400, features=1.0, processes=2)
    args, _ = built(workload=workload, method=of("frozen"), num_train_epochs=10)
    assert args.eval_steps == 50  # 32 samples on each of two processes: 1000 steps


# Refused


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("hub_token", r"training.hub_token: tokens are never read from a configuration"),
        ("push_to_hub_token", r"tokens are never read"),
        ("output_dir", r"training.output_dir: decided by hf_tl; use output\."),
        ("seed", r"training.seed: decided by hf_tl; use seed\."),
        ("push_to_hub", r"use hub.id\."),
        ("hub_model_id", r"use hub.id\."),
        ("do_train", r"training.do_train: decided by hf_tl\."),
        ("remove_unused_columns", r"decided by hf_tl\."),
        ("evaluation_strategy", r"not a field of TrainingArguments; use eval_strategy"),
        ("warmup_ratio", r"use warmup_steps, which takes a share such as 0.1"),
        ("batch_size", r"use per_device_train_batch_size"),
        ("epochs", r"use num_train_epochs"),
        ("lr", r"use learning_rate"),
        ("group_by_length", r"use train_sampling_strategy: group_by_length"),
        ("learning_rat", r"training.learning_rat: not a field of TrainingArguments; did you mean 'learning_rate'"),
        ("early_stoping_patience", r"did you mean 'early_stopping_patience'"),
        ("zzzzzz", r"training.zzzzzz: not a field of TrainingArguments\.$"),
    ],
)
def test_keys_that_are_not_the_users(key: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_training(config(**{key: 1}).training)


def test_keys_of_training_arguments_and_our_two_are_taken() -> None:
    check_training(config(learning_rate=1, warmup_steps=0.1, early_stopping_patience=2, optim="sgd").training)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("learning_rate", "x", "a number"),
        ("learning_rate", float("nan"), "a number"),
        ("learning_rate", [1], "a number"),
        ("learning_rate", True, "a number"),
        ("label_smoothing_factor", 1.5, "0 to 1"),
        ("neftune_noise_alpha", 10**30, "a number"),
        ("num_train_epochs", "3", "a number"),
        ("max_steps", 2.5, "a whole number"),
        ("bf16", "yes", "true or false"),
        ("use_cpu", 1, "true or false"),
        ("optim_args", 5, "a text"),
        ("metric_for_best_model", {"a": 1}, "a text"),
        ("lr_scheduler_kwargs", 7, "a text"),
        ("include_for_metrics", "inputs", "a list"),
    ],
)
def test_values_of_another_kind_are_refused_before_anything_is_read(key: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=rf"training\.{key}: found .*, expected {expected}"):
        check_training(config(**{key: value}).training)


def test_values_of_the_kinds_that_fields_have() -> None:
    check_training(
        config(
            learning_rate=0, num_train_epochs=2, max_steps=3.0, bf16=True, tf32=None, optim="sgd", eval_steps=0.5,
            optim_args="a=1", lr_scheduler_kwargs={"num_cycles": 2}, report_to=["none"], debug="underflow_overflow",
            lr_scheduler_type="cosine", fsdp=["full_shard"], fsdp_config={"version": 2},
            include_num_input_tokens_seen="all",
            include_for_metrics=["loss"], gradient_checkpointing_kwargs={"use_reentrant": False}, deepspeed="zero.json",
        ).training
    )  # fmt: skip


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "is_liger_kernel_available", lambda: False)
    with pytest.raises(ConfigError, match="needs the package liger-kernel"):
        check_training(config(use_liger_kernel=True).training)
    check_training(config(use_liger_kernel=False).training)
    monkeypatch.setattr(arguments, "is_liger_kernel_available", lambda: True)
    check_training(config(use_liger_kernel=True).training)


def test_what_training_arguments_refuses_is_said_in_a_line() -> None:
    with pytest.raises(ConfigError, match=r"^training: TrainingArguments refuses: [^\n]+$"):
        built(eval_strategy="sometimes")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "tensorbord",
            r"'tensorbord' is nothing that Trainer reports to; did you mean 'tensorboard'\? It knows",
        ),
        ("swanlab", r"report_to: swanlab needs its package, which is missing"),
        (["none", "neptune"], r"report_to: neptune needs its package"),
    ],
)
def test_where_trainer_reports_to_is_known_and_there(given: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_training(config(report_to=given).training)


def test_what_trainer_reports_to_is_what_it_knows() -> None:
    from transformers.integrations import integration_utils

    assert set(REPORTS) == set(integration_utils.INTEGRATION_TO_CALLBACK)
    assert all(callable(getattr(integration_utils, check)) for check in REPORTS.values())
    for nothing in ("none", "all", [], None):
        check_training(config(report_to=nothing).training)


@pytest.mark.parametrize("name", ["accuracy", "eval_accuracy", "f1_macro", "loss", "eval_loss"])
def test_metrics_that_pick_the_best_checkpoint(name: str) -> None:
    check_best_metric(config(metric_for_best_model=name).training, TEXT)


@pytest.mark.parametrize(("name", "hint"), [("macro_f1", "f1_macro"), ("eval_acuracy", "accuracy"), ("mcc", None)])
def test_a_metric_that_is_not_measured_is_named_with_those_that_are(name: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as raised:
        check_best_metric(config(metric_for_best_model=name).training, TEXT)
    said = str(raised.value)
    assert said.startswith(f"training.metric_for_best_model: '{name}' is not measured for text-classification")
    assert "There are 'accuracy', 'balanced_accuracy', 'f1_macro', 'f1_weighted', 'loss'." in said
    assert hint is None or hint in said.partition(" There are ")[0]
    regression = TEXT.of_problem("regression")
    check_best_metric(config(metric_for_best_model="mae").training, regression)
    with pytest.raises(ConfigError, match="'accuracy' is not measured"):
        check_best_metric(config(metric_for_best_model="accuracy").training, regression)


@pytest.mark.parametrize(
    ("name", "greater"), [("mae", False), ("eval_mse", False), ("r2", True), ("hamming_loss", False)]
)
def test_less_of_an_error_is_better(name: str, greater: bool) -> None:
    args, _ = built(metric_for_best_model=name)
    assert args.greater_is_better is greater


def test_all_keys_that_are_wrong_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        check_training(config(lr=1, warmup_ratio=0.1, learning_rat=2, report_to="swanlab").training)
    said = str(raised.value)
    for part in (
        "training.lr: ",
        "use learning_rate.",
        "training.warmup_ratio: ",
        "training.learning_rat: ",
        "swanlab",
    ):
        assert part in said
