"""What the sections of the report say, as plain values for its template; None where a run has nothing for one."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
from markupsafe import Markup

from hf_tl.metrics.calibration import calibration
from hf_tl.reporting import plots
from hf_tl.reporting.formatting import (
    duration,
    last_part,
    metric_title,
    mid_sentence,
    number,
    remake_command,
    setting_value,
    size,
)
from hf_tl.reporting.run_summary import Record

TABLE_CLASSES = 12
"""Up to so many classes the confusion matrix is a table of numbers."""
MAP_CLASSES = 100
"""A heat map shows at most so many, those with most errors: more would not be readable."""
PAIRS = 15
MISTAKES = 12
LONG_TEXT = 600
UNBOUNDED = ("loss", "mse", "mae", "perplexity", "bleu", "chrf", "generated_tokens")
"""Metrics that are no share, so that a strip from 0 to 1 says nothing."""
BASELINES = {True: "majority-class baseline", False: "mean-value baseline"}
"""Characters of a text that a mistake shows."""
FILES = {
    "model/": "weights, configuration with the label names, processor: what is shared",
    "metrics.json": "the metrics of this report",
    "predictions.parquet": "every held-out row with label, prediction and scores",
    "proof/": "reference predictions on a few held-out rows, against which the shared model is proved",
    "config.yaml": "the configuration, resolved",
    "environment.json": "versions, hardware, hashes, and why each default was chosen",
    "log.jsonl": "losses and validation metrics by step",
    "checkpoints/": "weights and optimizer states, to resume from; never shared",
    "figures/": "the plots of the card",
    "README.md": "the model card",
    "report.html": "this report",
}


def drawing(draw: plots.Draw, **shape: float) -> Markup:
    return Markup(plots.svg(draw, **shape))  # our own drawing, its texts escaped by matplotlib


def result(record: Record) -> dict[str, Any]:
    """The headline, and every metric with its interval."""
    name = record.headline
    value = record.values[name]
    also = []
    if record.metrics["split"] == "validation":
        also.append(
            "Measured on the validation split, which also picked the checkpoint, because the data have no test split, "
            "so these metrics are optimistic."
        )
    return {
        "title": metric_title(name),
        **_interval(name, value),
        "baseline": record.metrics.get("baseline", {}).get(name),
        "baseline_name": BASELINES[bool(record.labels[1:])],
        "right": _right(record),
        "warnings": also + warnings(record),
        "metrics": [{"title": metric_title(each), **_interval(each, found)} for each, found in record.values.items()],
    }


def warnings(record: Record) -> list[str]:
    """What speaks against the model, a sentence each."""
    name, better, blind = record.headline, record.task.greater_is_better, BASELINES[bool(record.labels[1:])]
    value, baseline = record.values[name], record.metrics.get("baseline", {}).get(name)
    out = []
    if baseline is not None and (value["low"] <= baseline if better else value["high"] >= baseline):
        out.append(
            f"The interval of {mid_sentence(metric_title(name))} reaches {'down' if better else 'up'} to "
            f"{number(baseline)}, the {blind}: this model is not significantly better."
        )
    gained = gain(record)
    if gained is not None and (gained[2] <= gained[1] if better else gained[2] >= gained[1]):
        out.append(
            f"Training did not improve the model: on validation it went from {number(gained[1])} to "
            f"{number(gained[2])}; try a smaller learning rate, or keep the pretrained model."
        )
    if not all(math.isfinite(each["value"]) for each in record.values.values()):
        out.append("A metric that is not a number means that training diverged; try a smaller learning rate.")
    return out


def _interval(name: str, found: dict[str, float]) -> dict[str, Any]:
    inside = name not in UNBOUNDED and all(0 <= found[key] <= 1 for key in ("low", "value", "high"))
    return {"value": found["value"], "low": found["low"], "high": found["high"], "strip": inside}


def _right(record: Record) -> int | None:
    matrix = record.metrics.get("confusion_matrix") or []
    return sum(row[index] for index, row in enumerate(matrix)) if matrix else None


def facts(record: Record) -> list[tuple[str, str]]:
    """What kind of run it was, in a few words each."""
    train, hardware = record.train, record.environment.get("hardware", {})
    trainable, total = train.get("trainable_parameters"), train.get("total_parameters")
    cores = f", {hardware['cores']} cores" if hardware.get("cores") else ""
    return [
        (title, value)
        for title, value in (
            ("Task", record.task.name),
            ("Method", record.config.method.name),
            ("Trained parameters", f"{number(trainable)} of {number(total)}" if trainable and total else ""),
            (
                "Steps",
                f"{number(train['steps'])} in {train['epochs']:.3g} epochs"
                if train.get("epochs") and "steps" in train
                else "",
            ),
            ("Training time", duration(train["seconds"]) if "seconds" in train else ""),
            ("Peak memory", size(train["peak_memory_bytes"]) if train.get("peak_memory_bytes") else ""),
            ("Hardware", f"{hardware.get('name') or hardware.get('device', '')}{cores}"),
            ("Finished", str(record.environment.get("created", ""))[:10]),
        )
        if value
    ]


def training(record: Record) -> dict[str, Any] | None:
    lines = [line for line in record.log if "epoch" in line]
    if not lines:
        return None
    best = record.train.get("best_step")
    curves = [("Training and validation loss by epoch", plots.loss_curve(lines, best))]
    metric = record.headline
    if any(f"eval_{metric}" in line for line in lines):
        title = metric_title(metric)
        curves.append((f"{title} on validation by epoch", plots.metric_curve(lines, metric, title, best)))
    if sum("learning_rate" in line for line in lines) > 1:
        curves.append(("Learning rate by epoch", plots.rate_curve(lines)))
    kept = next((line for line in record.evaluations if line["step"] == best), None)
    values = [line[f"eval_{metric}"] for line in record.evaluations if f"eval_{metric}" in line]
    top = max(values, default=None) if record.task.greater_is_better else min(values, default=None)
    value = (kept or {}).get(f"eval_{metric}")
    return {
        "curves": [(title, drawing(draw, width=3.9, height=2.7)) for title, draw in curves],
        "best_step": best,
        "steps": record.train.get("steps"),
        "kept": kept,
        "metric": metric_title(metric).lower(),
        "kept_value": value,
        "before": record.before,
        "rank": f"the best of {len(values)} evaluations"
        if value == top
        else f"where the best of the run was {number(top)}",
    }


def confusion(record: Record) -> dict[str, Any] | None:
    """A table of numbers for few classes, a heat map for many, and the pairs taken for each other most."""
    matrix = np.array(record.metrics.get("confusion_matrix") or [], dtype=np.int64)
    if matrix.size == 0:
        return None
    labels = record.labels
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    wrong = matrix * ~np.eye(len(matrix), dtype=bool)
    few = len(labels) <= TABLE_CLASSES
    order = np.argsort(-wrong, axis=None, kind="stable")[: 6 if few else PAIRS]
    pairs = [
        {
            "true": labels[row],
            "predicted": labels[column],
            "count": int(wrong[row, column]),
            "share": share[row, column],
        }
        for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[row, column]
    ]
    out: dict[str, Any] = {"labels": labels, "pairs": pairs if len(labels) > 2 else [], "errors": int(wrong.sum())}
    if few:
        cells = [list(zip(row.tolist(), part.tolist(), strict=True)) for row, part in zip(matrix, share, strict=True)]
        out["table"] = list(zip(labels, cells, strict=True))
    else:
        out["shown"] = min(len(labels), MAP_CLASSES)
        out["heat_map"] = drawing(confusion_map(record), width=8.6, height=8.6)
    return out


def confusion_map(record: Record) -> plots.Draw:
    """The heat map; many classes are ordered so that those taken for each other are neighbours."""
    matrix = np.array(record.metrics["confusion_matrix"], dtype=np.int64)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)  # of each true class
    errors = matrix.sum(1) + matrix.sum(0) - 2 * matrix.diagonal()
    order = np.sort(np.argsort(-errors, kind="stable")[:MAP_CLASSES])
    if len(matrix) <= TABLE_CLASSES:
        return plots.heat_map(share, record.labels, counts=matrix)
    order = order[plots.order_by_confusion(share[np.ix_(order, order)])]
    return plots.heat_map(share[np.ix_(order, order)], [record.labels[index] for index in order])


def classes(record: Record) -> list[dict[str, Any]]:
    """Per-class scores, weakest first; classes without held-out rows last. `more` are those with an interval: title,
    value, low, high."""
    trained, given = record.class_counts.get("train", {}), record.metrics.get("per_class", [])
    names = list(dict.fromkeys(key.removesuffix("_low") for row in given for key in row if key.endswith("_low")))
    rows = []
    for row in given:
        more = [(metric_title(name), *(row.get(name + end) for end in ("", "_low", "_high"))) for name in names]
        rows.append({**row, "train": trained.get(row["label"]), "more": more})
    return sorted(rows, key=lambda row: (row["support"] == 0, row["f1"], -row["support"]))


def few_classes(record: Record) -> list[dict[str, Any]]:
    """`classes` in the order of the labels, where they fit a table that is read; else nothing."""
    rows = classes(record)
    order = {label: index for index, label in enumerate(record.labels)}
    few = 1 < len(rows) <= TABLE_CLASSES
    return sorted(rows, key=lambda row: order.get(str(row["label"]), len(order))) if few else []


def balance(record: Record) -> list[tuple[str, tuple[str, int], tuple[str, int]]]:
    """(split, smallest class, largest class), each with its rows; of data with classes."""
    spreads = [(name, _spread(counts)) for name, counts in record.class_counts.items() if len(counts) > 1]
    return [(name, found["smallest"], found["largest"]) for name, found in spreads if found]


def gain(record: Record) -> tuple[str, float, float] | None:
    """(title, value before training, value of what was kept) of the headline on validation, where both are known."""
    name = record.headline
    kept = next((line for line in record.evaluations if line["step"] == record.train.get("best_step")), {})
    after = kept.get(f"eval_{name}")
    return None if record.before is None or after is None else (metric_title(name), record.before, float(after))


def confidence(record: Record) -> dict[str, Any] | None:
    """Reliability diagram and expected calibration error."""
    predictions = record.predictions
    if not predictions.get("score") or "label" not in predictions:
        return None
    scores = np.array(predictions["score"], dtype=np.float64)
    if not np.isfinite(scores).all():
        return None
    correct = np.array([a == b for a, b in zip(predictions["label"], predictions["prediction"], strict=True)])
    found = calibration(scores, correct)
    return {
        "error": found.error,
        "claimed": float(scores.mean()),
        "reached": float(correct.mean()),
        "gap": found.overconfident,
        "diagrams": [
            ("Reliability diagram", drawing(plots.reliability(found))),
            ("Confidence histogram", drawing(plots.confidences(found))),
        ],
    }


def mistakes(record: Record) -> dict[str, Any] | None:
    """The wrong predictions that the model was surest of."""
    predictions = record.predictions
    if not predictions.get("score") or "label" not in predictions:
        return None
    wrong = [i for i, (a, b) in enumerate(zip(predictions["label"], predictions["prediction"], strict=True)) if a != b]
    shown = sorted(wrong, key=lambda index: -predictions["score"][index])[:MISTAKES]
    rows = []
    for index in shown:
        image = predictions.get("image", [None] * (index + 1))[index]
        text = str(predictions["input"][index])
        rows.append(
            {
                "row": predictions["row"][index],
                "name": last_part(text),
                "text": text if len(text) <= LONG_TEXT else text[:LONG_TEXT] + " …",
                "image": _data_uri(image),
                "label": predictions["label"][index],
                "prediction": predictions["prediction"][index],
                "score": predictions["score"][index],
            }
        )
    return {"count": len(wrong), "rows": rows, "pictures": any(row["image"] for row in rows)}


def examples(record: Record) -> list[dict[str, Any]]:
    """Rows with what was predicted, as the task draws them; for tasks whose mistakes are not a wrong label."""
    predictions = record.predictions
    shown = predictions.get("shown") or []
    return [
        {
            "row": predictions["row"][index],
            "text": None if "<" in html else str(predictions["input"][index])[:LONG_TEXT],
            "image": None if "<" in html else _data_uri(predictions["image"][index]),
            "html": Markup(html),  # escaped by `Task.render_html`
        }
        for index, html in enumerate(shown)
        if html is not None
    ]


def _data_uri(image: bytes | None) -> str | None:
    if not image or not image.startswith(b"\xff\xd8\xff"):  # JPEG, as the run writes them
        return None
    return "data:image/jpeg;base64," + base64.b64encode(image).decode()


def data(record: Record) -> dict[str, Any]:
    found, counts = record.data, record.class_counts
    splits = [
        {"name": name, "rows": rows, "held_out": name == found.get("held_out"), "counts": _spread(counts.get(name, {}))}
        for name, rows in record.rows.items()
    ]
    sizes = {name: list(each.values()) for name, each in counts.items() if each}
    return {
        "source": record.data_name,
        "name": found.get("name"),
        "revision": found.get("revision"),
        "sha256": found.get("sha256") if isinstance(found.get("sha256"), str) else None,
        "columns": found.get("columns", {}),
        "splits": splits,
        "notes": [record.without_paths(str(note)) for note in found.get("notes", [])],
        "sizes": drawing(plots.class_sizes(sizes)) if sizes and len(record.labels) > 2 else None,
        "classes": len(record.labels),
    }


def _spread(counts: dict[str, int]) -> dict[str, Any] | None:
    """Smallest and largest class of a split."""
    if not counts:
        return None
    ranked = sorted(counts.items(), key=lambda item: (item[1], item[0]))
    return {"smallest": ranked[0], "largest": ranked[-1]}


def settings(record: Record) -> list[tuple[str, str, str]]:
    """(key, value, why) of what was configured and of each default that hf_tl chose."""
    given = [
        (f"{section}.{key}", value)
        for section in ("model", "method", "training", "loss", "generation")
        for key, value in getattr(record.config, section).model_dump(mode="json", exclude_defaults=True).items()
        if (section, key) not in (("model", "id"), ("method", "name"))
    ]
    environment = record.environment
    rows = [(key, setting_value(value), "as configured") for key, value in given]
    rows += [
        (str(each["key"]), setting_value(each["value"]), str(each["reason"]))
        for each in environment.get("settings", [])
    ]
    precision = environment.get("precision", {})
    if precision and not any(row[0] == "training.bf16" for row in rows):
        rows.append(("precision", str(precision["choice"]), str(precision["reason"])))
    return [*rows, ("seed", str(record.config.seed), "of the configuration")]


def environment(record: Record) -> list[tuple[str, str]]:
    found = record.environment
    model, hardware = found.get("model", {}), found.get("hardware", {})
    rows = [
        ("Pretrained model", record.model_name),
        ("its commit", model.get("revision")),
        *((f"sha256 of {name}", value) for name, value in (model.get("sha256") or {}).items()),
        ("its licence", model.get("license")),
        ("Architecture", model.get("architecture")),
        ("Device", " ".join(str(hardware[key]) for key in ("device", "name") if hardware.get(key))),
        ("Memory", size(hardware["memory_bytes"]) if hardware.get("memory_bytes") else None),
        ("Processes", found.get("processes")),
        ("hf_tl", found.get("hf_tl")),
        ("Python", found.get("python")),
        *sorted((found.get("packages") or {}).items()),
        ("Git commit", found.get("git")),
        ("Made", found.get("created")),
    ]
    return [(str(key), str(value)) for key, value in rows if value]


def files(record: Record) -> list[tuple[str, str, str]]:
    """(name, size, what it is) of the run folder; the report and the card are about to be written."""
    out = []
    for name, what in FILES.items():
        path = record.folder / name
        inside = path.rglob("*") if path.is_dir() else [path]
        held = sum(file.stat().st_size for file in inside if file.is_file())
        if name in ("README.md", "report.html"):
            out.append((name, "", what))
        elif held:
            out.append((name, size(held), what))
    return out


def command(record: Record) -> str:
    """What makes this run again."""
    found = remake_command(record.config, {"model": _revision(record, "model"), "data": _revision(record, "data")})
    processes = int(record.environment.get("processes") or 1)
    return f"{found} --processes {processes}" if processes > 1 else found


def _revision(record: Record, section: str) -> str | None:
    revision = record.environment.get(section, {}).get("revision")
    return str(revision) if revision else None
