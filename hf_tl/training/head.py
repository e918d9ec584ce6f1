"""`frozen` where the head reads one vector a sample: the vectors are computed once, and the head trains on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from hf_tl.config import RunConfig
from hf_tl.data import Data
from hf_tl.errors import listing
from hf_tl.inference.outputs import model_inputs, outputs_of
from hf_tl.inference.processes import process_state
from hf_tl.models.features import HeadModel, better_pooling, cached_features, content_key, feature_model
from hf_tl.models.pretrained import Loaded
from hf_tl.task import Task, TaskContext
from hf_tl.training.trainer import FeatureRows, collate_features


@dataclass
class OnFeatures:
    """What there is to train; `model` is None where the backbone has to run at every step."""

    model: nn.Module | None = None
    train: Any = None
    validation: Any = None
    spread: float = 0.0
    """Mean standard deviation of the features."""
    notes: list[str] = field(default_factory=list)

    collate = staticmethod(collate_features)


def head_on_features(
    config: RunConfig, data: Data, task: Task, context: TaskContext, loaded: Loaded, batch: Any, precision: str
) -> OnFeatures:
    """The head as a model of its own, with the features of both splits, from the cache where they are known."""
    every_step = OnFeatures(
        notes=["The head of this model reads more than one vector, so its backbone runs each step."]
    )
    if not task.cacheable_features:
        return every_step
    inputs = {key: value.to(loaded.model.device) for key, value in model_inputs(task, batch).items()}
    extractor = feature_model(loaded.model, loaded.heads, inputs)
    if extractor is None:
        return every_step
    size = config.training.passed_through.get("per_device_eval_batch_size")
    names = ("features", "mean")

    def collect(model: nn.Module, outputs: Any, batch: Any, context: TaskContext) -> list[dict[str, np.ndarray]]:
        arrays = {name: outputs[name].float().cpu().numpy() for name in names if name in outputs}
        return [dict(zip(arrays, each, strict=True)) for each in zip(*arrays.values(), strict=True)]

    arrays, state = {}, process_state()
    for split in ("train", "validation"):
        samples = task.preprocess(data.splits[split], context, False)
        about = {
            "data": data.source,
            "split": split,
            "preprocessing": config.data.preprocessing.model_dump(),
            "processor": repr(context.processor),
            "precision": precision,
            "head": [loaded.heads, config.model.pooling, extractor.first_only],
            "torch": torch.__version__,
        }

        def compute(samples: Any = samples) -> dict[str, np.ndarray]:
            found = outputs_of(
                extractor, task, context, samples, batch_size=size, bf16=precision == "bf16", collect=collect
            )
            return {name: np.stack([each[name] for each in found.items]) for name in found.items[0]}

        key = content_key(about, loaded.model, loaded.heads, data.splits[split])
        try:
            arrays[split] = cached_features(key, compute, write=state.is_main_process)
        except ValueError:  # as many vectors as tokens, so no two samples are alike
            extractor.close()
            return every_step
    extractor.close()
    labels = {split: _targets(data, split) for split in arrays}
    notes = _pooling_note(config, arrays["train"], labels["train"]) if data.targets.class_column else []
    changes = set(config.data.preprocessing.augmentations) - {"default"}
    if changes:
        notes.append(
            f"Features are computed once, from unaugmented images, so {listing(sorted(changes))} has no effect."
        )
    context.notes.extend(notes)
    rows = {split: FeatureRows(arrays[split]["features"], labels[split]) for split in arrays}
    spread = max(1e-6, float(rows["train"].features.std(0).mean()))
    head = HeadModel(loaded.model.get_submodule(loaded.heads[0]))
    return OnFeatures(head, rows["train"], rows["validation"], spread, notes)


def _targets(data: Data, split: str) -> np.ndarray:
    values = np.asarray(data.splits[split]["label"])
    return values.astype(np.float32) if np.issubdtype(values.dtype, np.floating) else values


def _pooling_note(config: RunConfig, arrays: dict[str, np.ndarray], labels: np.ndarray) -> list[str]:
    if "mean" not in arrays or config.model.pooling:
        return []
    found = better_pooling(arrays["features"], arrays["mean"], labels, config.seed)
    if not found:
        return []
    return [
        f"The mean of the tokens would serve better than what this model's stock head reads: a logistic regression on "
        f"training samples reaches {found[1]:.3f} instead of {found[0]:.3f}. "
        "Try model.pooling=mean (the result then needs trust_remote_code)."
    ]
