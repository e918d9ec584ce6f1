"""Options that only some tasks read: one that would change nothing is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hf_tl
from hf_tl.config import MethodConfig, load_config
from hf_tl.errors import ConfigError
from hf_tl.models.methods import get_method
from hf_tl.task import OPTIONS, Task, all_tasks, get_task
from hf_tl.training.options import check_options
from tests.tiny import sentiment_csv, tiny_bert

SET: dict[str, Any] = {
    "data.problem": "regression",
    "data.boxes": "xyxy",
    "data.preprocessing.max_length": 32,
    "data.preprocessing.max_target_length": 16,
    "data.preprocessing.prefix": "summarize: ",
    "data.preprocessing.source_lang": "en",
    "data.preprocessing.target_lang": "de",
    "data.preprocessing.long_samples": "drop",
    "data.preprocessing.packing": False,
    "data.preprocessing.chat_template": "chat.jinja",
    "data.preprocessing.image_size": 64,
    "data.preprocessing.augment": "mixup",
    "data.preprocessing.mask_ratio": 0.5,
    "data.preprocessing.mask_patch_size": 16,
    "model.head": "mlp",
    "model.pooling": "mean",
    "loss.name": None,  # the tasks check the name themselves
    "loss.class_weights": "auto",
    "loss.focal_gamma": 2.0,
    "training.label_smoothing_factor": 0.1,
    "generation": {"num_beams": 2},
}


def config_with(key: str, value: Any) -> hf_tl.RunConfig:
    nested = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return load_config({"model": "m", "data": "d"}, nested)


def problems() -> list[Task]:
    return [each.of_problem(problem) for each in all_tasks() for problem in (None, *each.problems)]


def test_every_option_has_a_value_here_and_a_task_that_reads_it() -> None:
    assert set(SET) == set(OPTIONS)
    assert {key for task in all_tasks() for key in task.reads} == set(OPTIONS)


@pytest.mark.parametrize("task", problems(), ids=lambda task: f"{task.name}: {task.summary[:20]}")
def test_a_task_takes_the_options_that_it_reads_and_no_other(task: Task) -> None:
    for key, value in SET.items():
        config = config_with(key, value)
        if key in task.reads or value is None:
            check_options(config, task)
            continue
        with pytest.raises(ConfigError) as error:
            check_options(config, task)
        assert str(error.value).startswith(f"{key}.num_beams: has" if key == "generation" else f"{key}: has no effect")
        assert task.name in str(error.value) and all(repr(each) in str(error.value) for each in task.reads)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.preprocessing.augment", "none"),
        ("data.preprocessing.augment", ["none"]),
        ("data.preprocessing.max_length", None),
        ("loss.focal_gamma", 0),
        ("training.label_smoothing_factor", 0.0),
        ("model.head", "linear"),
    ],
)
def test_an_option_that_is_off_asks_for_nothing(key: str, value: Any) -> None:
    check_options(config_with(key, value), get_task("fill-mask"))


def test_the_options_of_a_problem_are_its_own() -> None:
    """Focal loss, smoothing and class weights are of classes, not of numbers; class weights of one class a row."""
    text = get_task("text-classification")
    classes = {"loss.focal_gamma", "loss.class_weights", "training.label_smoothing_factor"}
    assert classes <= set(text.reads)
    assert not classes & set(text.of_problem("regression").reads)
    assert classes - {"loss.class_weights"} == classes & set(text.of_problem("multi_label_classification").reads)


def test_lora_keeps_batch_norm_frozen_and_says_so() -> None:
    task = get_task("image-classification")
    get_method(MethodConfig(name="lora", batch_norm="frozen")).check(task)
    get_method(MethodConfig(name="full", batch_norm="train")).check(task)
    with pytest.raises(ConfigError, match=r"method\.batch_norm: .* lora keeps them frozen"):
        get_method(MethodConfig(name="lora", batch_norm="train")).check(task)


def test_nothing_is_written_for_an_option_without_effect(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.boxes: has no effect on text-classification"):
        hf_tl.finetune(
            model=str(tiny_bert(tmp_path / "bert")),
            data={"path": str(sentiment_csv(tmp_path / "reviews.csv")), "boxes": "xyxy"},
            output=str(tmp_path / "run"),
        )
    assert not (tmp_path / "run").exists()


def test_embeddings_have_no_labels_to_mix(tmp_path: Path) -> None:
    from tests.tiny import colour_folder, tiny_vit

    with pytest.raises(ConfigError, match="augment: mixup mixes labels"):
        hf_tl.finetune(
            task="image-feature-extraction",
            model=str(tiny_vit(tmp_path / "vit")),
            data={"path": str(colour_folder(tmp_path / "colours")), "preprocessing": {"augment": "mixup"}},
            training={"max_steps": 2, "bf16": False},
            output=str(tmp_path / "run"),
        )
