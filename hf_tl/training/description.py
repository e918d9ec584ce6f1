"""What is known about a run before and after training: class weights, and `environment.json`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hf_tl.config import LossConfig, RunConfig
from hf_tl.data import Data
from hf_tl.data.card_file import languages_of
from hf_tl.errors import ConfigError, did_you_mean, listing
from hf_tl.files import sha256, write_json
from hf_tl.models.custom import MODEL_TYPE
from hf_tl.models.layers import peft_can_load
from hf_tl.models.pretrained import Pretrained
from hf_tl.run_folder import RunFolder
from hf_tl.task import Task, TaskContext
from hf_tl.training.environment import environment
from hf_tl.training.fit import Fitted


def check_adapter_alone(config: RunConfig, task: Task, pretrained: Pretrained) -> None:
    """Raises ConfigError where an adapter alone would be shared that nobody could load: its base brings code, or it
    needs a head of hf_tl's, and Transformers looks for both in the base's repository."""
    if config.hub is None or config.hub.merge is not False:
        return
    own = config.model.head != "linear" or (config.model.pooling and not task.pools_itself)
    if pretrained.code or own or pretrained.config.model_type == MODEL_TYPE:
        raise ConfigError(
            "hub.merge: false shares an adapter alone, which works on a base and a head of Transformers' own; "
            "share the merged model (hub.merge: true)."
        )


def check_adapter_loads(config: RunConfig, model: Any) -> None:
    """Raises ConfigError where PEFT could not load the adapter that alone would be shared."""
    if config.hub is not None and config.hub.merge is False and not peft_can_load(model):
        raise ConfigError(
            f"hub.merge: false shares an adapter alone, and PEFT cannot load one of a {type(model).__name__}, which "
            "does not tell its input embeddings; share the merged model (hub.merge: true)."
        )


def label_weights(loss: LossConfig, data: Data) -> torch.Tensor | None:
    """float32 (labels,), scaled to mean 1 over the training samples, so that the loss keeps its size.

    Raises:
        ConfigError: `loss.class_weights` names an unknown label, leaves one out or is not positive.
    """
    if loss.class_weights is None:
        return None
    if not data.targets.class_column:
        raise ConfigError("loss.class_weights: weighs classes, and these data do not have one class a row.")
    counts = np.bincount(
        np.asarray(data.splits["train"][data.targets.class_column]), minlength=len(data.labels)
    ).astype(np.float64)
    if loss.class_weights == "auto":
        weights = 1 / np.maximum(counts, 1)
    else:
        given = {str(key): value for key, value in loss.class_weights.items()}
        for name in given:
            if name not in data.labels:
                hint = did_you_mean(name, data.labels) or f"; labels are {listing(data.labels)}."
                raise ConfigError(f"loss.class_weights.{name}: no such label{hint}")
        missing = [name for name in data.labels if name not in given]
        if missing:
            raise ConfigError(
                f"loss.class_weights: no weight for {listing(missing)}; give one for every label, or auto."
            )
        weights = np.array([given[name] for name in data.labels], dtype=np.float64)
        if (weights <= 0).any():
            raise ConfigError("loss.class_weights: every weight must be above 0.")
    mean = (weights * counts).sum() / counts.sum()
    return torch.tensor(weights / mean, dtype=torch.float32)


def made_of(data: Data, pretrained: Pretrained) -> dict[str, Any]:
    """What a run learns from, to tell it from another of the same configuration: labels, columns and rows of the data,
    the hashes of what they hold, and those of the pretrained weights."""
    adapter = sorted(pretrained.adapter.glob("*.safetensors")) if pretrained.adapter is not None else []
    return {
        "labels": list(data.labels),
        "columns": {role: name if isinstance(name, str) else list(name) for role, name in data.columns.items()},
        "rows": {str(split): len(rows) for split, rows in data.splits.items()},
        **{key: data.source[key] for key in ("sha256", "content_sha256") if data.source.get(key)},
        "model": {**pretrained.hashes, **{f"adapter/{file.name}": sha256(file) for file in adapter}},
    }


def describe_run(run: RunFolder, pretrained: Pretrained, data: Data, context: TaskContext, fitted: Fitted) -> None:
    """Writes `environment.json`."""
    described: dict[str, Any] = {
        **environment(),
        "model": {
            "id": pretrained.id,
            "revision": pretrained.revision,
            "sha256": pretrained.hashes,
            "architecture": fitted.architecture,
            "license": pretrained.license,
            "language": languages_of(pretrained.path),
            **({"code": {"commit": pretrained.revision, "sha256": pretrained.code}} if pretrained.code else {}),
        },
        "task": data.task.name,
        "problem": data.targets.problem,
        "data": {
            **data.source,
            "columns": {
                role: name if isinstance(name, str) else ", ".join(name) for role, name in data.columns.items()
            },
            "labels": list(data.labels),
            "notes": list(data.notes),
            "held_out": data.held_out,
        },
        "settings": [
            {"key": f"training.{choice.key}", "value": choice.value, "reason": choice.reason}
            for choice in fitted.choices
        ],
        "notes": [note for note in context.notes if note not in data.notes],
        "precision": {"choice": fitted.precision.value, "reason": fitted.precision.reason},
        "processes": fitted.processes,
    }
    write_json(run.folder / "environment.json", described)
