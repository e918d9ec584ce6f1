"""The backbone's features, computed once and kept on disk, for training a head alone.

The features are exactly what the stock class hands to its head: they are caught at the head's door, so the trained
head fits back into the stock class without a change.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors.numpy import load_file, save_file
from torch import nn

from hf_tl.files import replacing_file
from hf_tl.models.layers import in_modules


class HeadModel(nn.Module):
    """The head alone, on features: `features` float32 (batch, ...) -> `{"logits": (batch, labels)}`."""

    main_input_name = "features"

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.head(features)}


class FeatureModel(nn.Module):
    """The whole model, giving what reaches its head, and the mean of the backbone's tokens where there are any."""

    main_input_name = "features"

    def __init__(self, model: nn.Module, head: nn.Module, first_only: bool = False) -> None:
        super().__init__()
        self.model, self.first_only = model, first_only
        self._caught: list[torch.Tensor] = []
        self._hidden: list[torch.Tensor] = []
        self._hooks = [head.register_forward_pre_hook(self._catch)]
        backbone = getattr(model, getattr(model, "base_model_prefix", "") or "", None)
        if isinstance(backbone, nn.Module):
            self._hooks.append(backbone.register_forward_hook(self._catch_hidden))

    def _catch(self, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._caught.append(inputs[0])

    def _catch_hidden(self, _: nn.Module, __: Any, output: Any) -> None:
        hidden = getattr(output, "last_hidden_state", None)
        if hidden is not None and hidden.dim() == 3:
            self._hidden.append(hidden)

    def forward(self, **inputs: Any) -> dict[str, torch.Tensor]:
        self._caught.clear()
        self._hidden.clear()
        logits = self.model(**inputs).logits
        features = self._caught[0] if len(self._caught) == 1 else logits.new_zeros(0)
        out = {"features": (features[:, :1] if self.first_only else features).float(), "logits": logits.float()}
        mask = inputs.get("attention_mask")
        if self._hidden and mask is not None and mask.shape == self._hidden[0].shape[:2]:
            weights = mask.unsqueeze(-1).float()
            out["mean"] = (self._hidden[0].float() * weights).sum(1) / weights.sum(1).clamp(min=1)
        return out

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


def feature_model(model: nn.Module, heads: list[str], batch: Mapping[str, torch.Tensor]) -> FeatureModel | None:
    """A `FeatureModel` when the head is one module that maps its single input to the logits, tried on a real batch;
    None otherwise (the backbone then runs at every step). Heads that read only the first token get only that."""
    if len(heads) != 1:
        return None
    head = model.get_submodule(heads[0])
    features = FeatureModel(model, head)
    model.eval()
    try:
        with torch.no_grad():
            out = features(**batch)
            caught, logits = out["features"], out["logits"]
            if caught.numel() and _same(head(caught), logits):
                if caught.dim() == 3 and _same(head(caught[:, :1]), logits):
                    features.first_only = True
                return features
    except (RuntimeError, IndexError, TypeError, AttributeError):
        pass
    features.close()
    return None


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), atol=1e-4, rtol=1e-4)


def cache_folder() -> Path:
    """`HF_TL_CACHE`, or `hf_tl` beside the Hub's cache."""
    from huggingface_hub.constants import HF_HOME

    return Path(os.environ.get("HF_TL_CACHE") or Path(HF_HOME) / "hf_tl") / "features"


def content_key(inputs: Mapping[str, Any], model: nn.Module, heads: list[str], rows: Dataset) -> str:
    """sha256 over everything that the features depend on: the backbone's weights, the rows and the preprocessing."""
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not in_modules(name, heads):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    plain = rows.with_format(None)
    table = plain.data.table if plain._indices is None else plain.flatten_indices().data.table
    for column in table.columns:
        for chunk in column.chunks:
            for buffer in chunk.buffers():
                if buffer is not None:
                    digest.update(buffer)
            digest.update(f"{chunk.offset}:{len(chunk)}".encode())
    return digest.hexdigest()


def cached_features(
    key: str, compute: Callable[[], dict[str, np.ndarray]], write: bool = True
) -> dict[str, np.ndarray]:
    """Arrays from the cache, or computed and kept; a file that cannot be read is computed anew."""
    file = cache_folder() / f"{key}.safetensors"
    if file.exists():
        try:
            return dict(load_file(file))
        except Exception:  # a broken cache entry costs time, never the run
            file.unlink(missing_ok=True)
    arrays = {name: np.ascontiguousarray(value) for name, value in compute().items()}
    if write:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(file) as temporary:
            save_file(arrays, temporary)
    return arrays


def better_pooling(pooled: np.ndarray, mean: np.ndarray, labels: np.ndarray, seed: int) -> tuple[float, float] | None:
    """Cross-validated accuracy of a logistic regression on (what the head gets, the mean of the tokens), on at most
    2000 rows; None unless the mean wins by more than two standard errors of the difference."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chosen = np.random.default_rng(seed).permutation(len(labels))[:2000]
    y = labels[chosen]
    if np.bincount(y).min(initial=10) < 3 and len(np.unique(y)) > 50:
        return None
    right = []
    for features in (pooled, mean):
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, C=0.1))
        try:
            right.append(cross_val_predict(pipeline, features.reshape(len(features), -1)[chosen], y, cv=3) == y)
        except ValueError:
            return None
    difference = right[1].astype(float) - right[0].astype(float)
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    if difference.mean() <= 2 * error:
        return None
    return float(right[0].mean()), float(right[1].mean())
