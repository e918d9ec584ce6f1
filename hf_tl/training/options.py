"""Options that only some tasks read: one that would change nothing is refused, with those that the task has."""

from __future__ import annotations

from typing import Any

from hf_tl.config import GenerationSection, LossConfig, RunConfig
from hf_tl.data import Data
from hf_tl.errors import ConfigError, did_you_mean, listing
from hf_tl.task import OPTIONS, Task


def check_options(config: RunConfig, task: Task) -> None:
    """Every option that is set has an effect on `task` (of the problem that the data pose: `Task.of_problem`).

    Raises:
        ConfigError: one has none; names the options that the task reads.
    """
    for key in OPTIONS:
        if _is_set(config, key) and key not in task.reads:
            raise ConfigError(
                f"{_shown(config, key)}: has no effect on {task.name} ({task.summary.partition(':')[0]}). "
                f"Of the options that only some tasks read it has {listing(task.reads, most=len(OPTIONS))}."
            )
    _check_loss(config.loss, task)
    _check_generation(config.generation)


def check_classes(config: RunConfig, data: Data) -> None:
    """Raises ConfigError for `data.sampling: balanced` without one class a row, of which it would draw equally many."""
    if config.data.sampling == "balanced" and not data.targets.class_column:
        raise ConfigError("data.sampling: balanced draws classes, and these data do not have one class a row.")


def _is_set(config: RunConfig, key: str) -> bool:
    """Whether an option asks for something: neither left out, nor at its default, nor switched off."""
    section, _, name = key.rpartition(".")
    if key == "generation":
        return bool(config.generation.passed_through)
    if section == "training":
        return bool(config.training.passed_through.get(name))
    if name == "augment":
        return bool(set(config.data.preprocessing.augmentations) - {"default"})
    place: Any = config
    for part in section.split("."):
        place = getattr(place, part)
    return bool(getattr(place, name) != type(place).model_fields[name].default)


def _shown(config: RunConfig, key: str) -> str:
    return f"generation.{next(iter(config.generation.passed_through))}" if key == "generation" else key


def _check_loss(loss: LossConfig, task: Task) -> None:
    if loss.name is not None and task.check_loss is not None:
        task.check_loss(loss.name)


def _check_generation(generation: GenerationSection) -> None:
    given = generation.passed_through
    if not given:
        return
    from transformers import GenerationConfig

    fields = [name for name in GenerationConfig().to_dict() if not name.startswith("_")]
    for key in given:
        if key not in fields:
            raise ConfigError(f"generation.{key}: not a field of GenerationConfig{did_you_mean(key, fields) or '.'}")
