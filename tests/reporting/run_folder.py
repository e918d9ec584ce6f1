"""Run folders as a finished run leaves them, with a small scikit-learn model in the place of the network: every number
in them was measured.

A softmax regression learns by minibatches, on TF-IDF of texts or on pixels, so that the log has true curves.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neural_network import MLPClassifier

from hf_tl.config import load_config
from hf_tl.metrics.classification import measure
from hf_tl.task import get_task

COMMIT = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"


@dataclass
class Rows:
    """Inputs of a split as text and, for images, as images; `features` is what the small model reads."""

    inputs: list[str]
    labels: np.ndarray
    features: Any = None
    thumbnails: list[bytes] | None = None

    def take(self, indices: Sequence[int] | np.ndarray) -> Rows:
        thumbnails = [self.thumbnails[i] for i in indices] if self.thumbnails else None
        return Rows([self.inputs[i] for i in indices], self.labels[indices], self.features[indices], thumbnails)


@dataclass
class Fit:
    model: MLPClassifier
    log: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def text_run(
    folder: Path, source: Path, *, classes: int | None = None, rename: dict[str, str] | None = None, **options: Any
) -> Path:
    """A run on a folder with `train.csv` and `test.csv` (text first, label second).

    Args:
        classes: keep only the first so many labels (in alphabetical order).
        rename: label -> what it is called here.
    """
    read = {name: list(csv.reader((source / f"{name}.csv").open(encoding="utf-8")))[1:] for name in ("train", "test")}
    known = sorted({row[1] for row in read["train"]})[:classes]
    kept = {name: [row for row in rows if row[1] in known] for name, rows in read.items()}
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    vectors.fit(row[0] for row in kept["train"])
    splits = {
        name: Rows([row[0] for row in rows], np.array([known.index(row[1]) for row in rows]))
        for name, rows in kept.items()
    }
    for rows in splits.values():
        rows.features = sparse.csr_matrix(vectors.transform(rows.inputs))
    labels = [(rename or {}).get(name, name) for name in known]
    return write_run(folder, "text-classification", splits, labels, data=source.name, **options)


def digits_run(folder: Path, **options: Any) -> Path:
    """A run on scikit-learn's handwritten digits, as images."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    rows = Rows([f"digits/{i}.png" for i in range(len(order))], digits.target, digits.data / 16, [])
    for pixels in digits.images:
        rows.thumbnails.append(_jpeg(Image.fromarray((255 - pixels * 15.9).astype(np.uint8))))  # type: ignore[union-attr]
    splits = {"train": rows.take(order[:400]), "test": rows.take(order[400:1200])}
    labels = "zero one two three four five six seven eight nine".split()
    return write_run(folder, "image-classification", splits, labels, data="digits", **options)


def photo_run(folder: Path, source: Path, **options: Any) -> Path:
    """A run on an image folder with `train/` and `test/`, judged by 24 x 24 pixels."""
    labels = sorted(each.name for each in (source / "train").iterdir())
    splits = {}
    for name in ("train", "test"):
        files = sorted((source / name).rglob("*.jpg"))
        small, thumbnails = [], []
        for file in files:
            with Image.open(file) as image:
                rgb = image.convert("RGB")
            small.append(np.asarray(rgb.resize((24, 24))).reshape(-1) / 255 - 0.5)
            rgb.thumbnail((160, 160))
            thumbnails.append(_jpeg(rgb))
        ids = np.array([labels.index(file.parent.name) for file in files])
        names = [file.relative_to(source).as_posix() for file in files]
        splits[name] = Rows(names, ids, np.stack(small), thumbnails)
    return write_run(folder, "image-classification", splits, labels, data=source.name, **options)


def _jpeg(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    if max(image.size) < 64:
        image = image.resize((64, 64), Image.Resampling.NEAREST)
    image.convert("RGB").save(stream, "JPEG", quality=85)
    return stream.getvalue()


def train(rows: Rows, validation: Rows, classes: int, epochs: int = 6, batch: int = 32, rate: float = 5e-3) -> Fit:
    """Softmax regression by Adam, logged as a run logs; the best epoch by accuracy is kept."""
    random = np.random.default_rng(0)
    model = MLPClassifier(hidden_layer_sizes=(), alpha=1e-4, batch_size=batch, random_state=0)
    fit, best = Fit(model), (-1.0, 0, ())
    samples = len(rows.labels)
    per_epoch = samples // batch
    start = time.monotonic()
    recent = []
    for step in range(1, epochs * per_epoch + 1):
        left = (epochs * per_epoch - step + 1) / (epochs * per_epoch)
        model.learning_rate_init = rate * left
        if step > 1:
            model._optimizer.learning_rate_init = rate * left
        chosen = random.integers(0, samples, batch)
        model.partial_fit(rows.features[chosen], rows.labels[chosen], classes=np.arange(classes))
        recent.append(float(model.loss_))
        if step % 10 == 0:
            line = {"step": step, "epoch": round(step / per_epoch, 4), "loss": round(float(np.mean(recent)), 4)}
            fit.log.append({**line, "grad_norm": 1.0, "learning_rate": rate * left})
            recent = []
        if step % per_epoch == 0:
            scores = model.predict_proba(validation.features)
            accuracy = float((scores.argmax(1) == validation.labels).mean())
            loss = float(_losses(scores, validation.labels).mean())
            found = {"step": step, "epoch": step / per_epoch, "eval_loss": loss, "eval_accuracy": accuracy}
            fit.log.append({**found, "eval_runtime": 0.1})
            if accuracy > best[0]:
                best = (accuracy, step, tuple(each.copy() for each in (*model.coefs_, *model.intercepts_)))
    model.coefs_, model.intercepts_ = [best[2][0]], [best[2][1]]
    parameters = int(sum(each.size for each in best[2]))
    fit.facts = {
        "seconds": round(time.monotonic() - start, 1),
        "steps": epochs * per_epoch,
        "epochs": float(epochs),
        "best_step": best[1],
        "trainable_parameters": parameters,
        "total_parameters": parameters,
        "peak_memory_bytes": 1_240_000_000,
    }
    return fit


def _losses(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    losses: np.ndarray = -np.log(np.maximum(scores[np.arange(len(labels)), labels], 1e-12))
    return losses


def write_run(
    folder: Path,
    task_name: str,
    splits: dict[str, Rows],
    labels: Sequence[str],
    *,
    data: str,
    config: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    epochs: int = 6,
    hub_data: bool = False,
) -> Path:
    """Trains, measures and writes every file of a run folder but the report and the card.

    Args:
        splits: `train` and `test`; every tenth training row becomes validation.
        config: applied to the configuration.
        environment: applied to `environment.json`.
        hub_data: the data carry a Hub id and a commit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    task = get_task(task_name)
    held = np.arange(len(splits["train"].labels)) % 10 == 9
    rows = {
        "train": splits["train"].take(np.flatnonzero(~held)),
        "validation": splits["train"].take(np.flatnonzero(held)),
        "test": splits["test"],
    }
    fit = train(rows["train"], rows["validation"], len(labels), epochs)
    test = rows["test"]
    scores = fit.model.predict_proba(test.features)
    predicted = scores.argmax(1)
    losses = _losses(scores, test.labels)
    found = measure(task.metrics, predicted, test.labels, labels, sample_losses=losses)

    where = f"PolyAI/{data}" if hub_data else f"data/{data}"
    full = {
        "task": task_name,
        "model": task.defaults.models[0],
        "data": where,
        "method": "full",
        "training": {"num_train_epochs": epochs},
        "output": f"runs/{data}",
        **(config or {}),
    }
    run = load_config(full)
    _write(folder / "config.yaml", run.to_yaml())
    names = list(labels)
    counts = {
        name: {label: int((split.labels == index).sum()) for index, label in enumerate(names)}
        for name, split in rows.items()
    }
    architecture = task.auto_class.replace("AutoModel", "Bert" if task.name.startswith("text") else "MobileNetV2")
    facts: dict[str, Any] = {
        "hf_tl": "0.1.0",
        "python": "3.11.7",
        "platform": "linux",
        "packages": {"torch": "2.13.0", "transformers": "5.23.0", "datasets": "5.2.0", "peft": "0.21.2"},
        "hardware": {"device": "cpu", "name": "Intel Xeon", "cores": 2, "threads": 2, "memory_bytes": 25_000_000_000},
        "git": None,
        "created": "2026-08-01T10:00:00+00:00",
        "model": {
            "id": run.model.id,
            "revision": COMMIT,
            "sha256": {"model.safetensors": "5" * 64},
            "architecture": architecture,
            "license": "apache-2.0",
        },
        "task": task_name,
        "data": {
            "path": where,
            "name": None,
            "revision": "57ec275a8c39e4b5f5c1f9f5b2f4e4b1a8d2f001" if hub_data else None,
            "sha256": "ab" * 32,
            "rows": {name: len(split.labels) for name, split in rows.items()},
            "class_counts": counts,
            "columns": {column.role: column.names[0] for column in task.columns},
            "labels": names,
            "notes": [
                "The data have no validation split: 10 % of train, stratified by label, was set aside with seed 42."
            ],
            "held_out": "test",
        },
        "settings": [
            {"key": "training.per_device_train_batch_size", "value": 32, "reason": "what models of this kind take"},
            {"key": "training.learning_rate", "value": 5e-3, "reason": "usual for full on a transformer"},
            {
                "key": "training.warmup_steps",
                "value": 0.1,
                "reason": "a tenth of the steps, while the new head settles",
            },
        ],
        "notes": [],
        "precision": {"choice": "bf16", "reason": "2.4 times as fast as fp32 here"},
        "processes": 1,
    }
    for key, value in (environment or {}).items():
        facts[key] = {**facts[key], **value} if isinstance(value, dict) else value
    _json(folder / "environment.json", facts)
    _write(folder / "log.jsonl", "".join(json.dumps(line) + "\n" for line in fit.log))
    _json(
        folder / "metrics.json",
        {
            "split": "test",
            "samples": len(test.labels),
            "metrics": found.metrics,
            "labels": names,
            "per_class": found.per_class,
            "confusion_matrix": found.confusion_matrix,
            "baseline": found.baseline,
            "train": fit.facts,
        },
    )
    table = {
        "row": list(range(len(test.labels))),
        "input": test.inputs,
        "image": pa.array(test.thumbnails or [None] * len(test.labels), pa.binary()),
        "label": [names[i] for i in test.labels],
        "prediction": [names[i] for i in predicted],
        "score": scores.max(1),
        "scores": [list(row) for row in scores],
        "loss": losses,
    }
    pq.write_table(pa.table(table), folder / "predictions.parquet")
    (folder / "model").mkdir(exist_ok=True)
    _json(folder / "model" / "config.json", {"architectures": [architecture]})
    _json(folder / "state.json", {"stage": "measured", "train": fit.facts})
    return folder


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _json(path: Path, value: Any) -> None:
    _write(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
