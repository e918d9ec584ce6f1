"""What the sections of the report say, as plain values for its template; None where a run has nothing for one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from markupsafe import Markup

from hf_tl.io.console import duration
from hf_tl.io.data_uri import data_uri
from hf_tl.metrics.calibration import calibration
from hf_tl.metrics.intervals import RANGES, too_few
from hf_tl.reporting import plots
from hf_tl.reporting.formatting import (
    last_part,
    metric_title,
    mid_sentence,
    number,
    size,
)
from hf_tl.reporting.run_summary import RunSummary

TABLE_CLASSES = 12
"""Up to so many classes the confusion matrix is a table of numbers."""
MAP_CLASSES = 100
"""A heat map shows at most so many, those with most errors: more would not be readable."""
PAIRS = 15
MISTAKES = 12
LONG_TEXT = 600
"""Characters of a text that a mistake shows."""
BASELINES = {True: "majority-class baseline", False: "mean-value baseline"}


def drawing(draw: plots.Draw, **shape: float) -> Markup:
    return Markup(plots.svg(draw, **shape))  # our own drawing, its texts escaped by matplotlib


def result(summary: RunSummary) -> dict[str, Any]:
    """The headline, and every metric with its interval."""
    name = summary.headline
    value = summary.values[name]
    also = []
    if summary.metrics["split"] == "validation":
        also.append(
            "Measured on the validation split, which also picked the checkpoint, because the data have no test split, "
            "so these metrics are optimistic."
        )
    return {
        "title": metric_title(name),
        **_interval(name, value),
        "baseline": summary.metrics.get("baseline", {}).get(name),
        "baseline_name": BASELINES[bool(summary.labels[1:])],
        "right": _right(summary),
        "warnings": also + warnings(summary),
        "metrics": [{"title": metric_title(each), **_interval(each, found)} for each, found in summary.values.items()],
    }


def warnings(summary: RunSummary) -> list[str]:
    """What speaks against the model, a sentence each."""
    name, better, blind = summary.headline, summary.task.greater_is_better, BASELINES[bool(summary.labels[1:])]
    value, baseline = summary.values[name], summary.metrics.get("baseline", {}).get(name)
    out = []
    if summary.proof_failed:
        out.append(
            "The proof failed, so do not use or share this model: "
            f"{summary.without_paths(summary.proof_failed).partition(' proof: false, or')[0]}"
        )
    few = too_few(summary.metrics["samples"], summary.metrics["split"], mid_sentence(metric_title(name)), value)
    out += [few] if few else []
    if baseline is not None and (value["low"] <= baseline if better else value["high"] >= baseline):
        out.append(
            f"The interval of {mid_sentence(metric_title(name))} reaches {'down' if better else 'up'} to "
            f"{number(baseline)}, the {blind}: this model is not significantly better."
        )
    gained = gain(summary)
    if gained is not None and (gained[2] <= gained[1] if better else gained[2] >= gained[1]):
        out.append(
            f"Training did not improve the model: on validation it went from {number(gained[1])} to "
            f"{number(gained[2])}; try a smaller learning rate, or keep the pretrained model."
        )
    if not all(math.isfinite(each["value"]) for each in summary.values.values()):
        out.append("A metric that is not a number means that training diverged; try a smaller learning rate.")
    return out


def _interval(name: str, found: dict[str, float]) -> dict[str, Any]:
    inside = (name not in RANGES or name == "r2") and all(0 <= found[key] <= 1 for key in ("low", "value", "high"))
    known = math.isfinite(found["low"]) and math.isfinite(found["high"])
    return {"value": found["value"], "low": found["low"], "high": found["high"], "strip": inside, "known": known}


def _right(summary: RunSummary) -> int | None:
    matrix = summary.metrics.get("confusion_matrix") or []
    return sum(row[index] for index, row in enumerate(matrix)) if matrix else None


def overview(summary: RunSummary) -> list[tuple[str, str]]:
    """What kind of run it was, in a few words each."""
    train, hardware = summary.train, summary.environment.get("hardware", {})
    trainable, total = train.get("trainable_parameters"), train.get("total_parameters")
    cores = f", {hardware['cores']} cores" if hardware.get("cores") else ""
    return [
        (title, value)
        for title, value in (
            ("Task", summary.task.name),
            ("Method", summary.config.method.name),
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
            ("Finished", str(summary.environment.get("created", ""))[:10]),
        )
        if value
    ]


def training(summary: RunSummary) -> dict[str, Any] | None:
    lines = [line for line in summary.log if "epoch" in line]
    if not lines:
        return None
    best = summary.train.get("best_step")
    curves = [("Training and validation loss by epoch", plots.loss_curve(lines, best))]
    metric = summary.headline
    if any(f"eval_{metric}" in line for line in lines):
        title = metric_title(metric)
        curves.append((f"{title} on validation by epoch", plots.metric_curve(lines, metric, title, best)))
    if sum("learning_rate" in line for line in lines) > 1:
        curves.append(("Learning rate by epoch", plots.rate_curve(lines)))
    kept = next((line for line in summary.evaluations if line["step"] == best), None)
    values = [line[f"eval_{metric}"] for line in summary.evaluations if f"eval_{metric}" in line]
    top = max(values, default=None) if summary.task.greater_is_better else min(values, default=None)
    value = (kept or {}).get(f"eval_{metric}")
    return {
        "curves": [(title, drawing(draw, width=3.9, height=2.7)) for title, draw in curves],
        "best_step": best,
        "steps": summary.train.get("steps"),
        "kept": kept,
        "metric": metric_title(metric).lower(),
        "kept_value": value,
        "before": summary.before,
        "rank": f"the best of {len(values)} evaluations"
        if value == top
        else f"where the best of the run was {number(top)}",
    }


def confusion(summary: RunSummary) -> dict[str, Any] | None:
    """A table of numbers for few classes, a heat map for many, and the pairs taken for each other most."""
    matrix = np.array(summary.metrics.get("confusion_matrix") or [], dtype=np.int64)
    if matrix.size == 0:
        return None
    labels = summary.labels
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
        out["heat_map"] = drawing(confusion_map(summary), width=8.6, height=8.6)
    return out


def confusion_map(summary: RunSummary) -> plots.Draw:
    """The heat map; many classes are ordered so that those taken for each other are neighbours."""
    matrix = np.array(summary.metrics["confusion_matrix"], dtype=np.int64)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)  # of each true class
    errors = matrix.sum(1) + matrix.sum(0) - 2 * matrix.diagonal()
    order = np.sort(np.argsort(-errors, kind="stable")[:MAP_CLASSES])
    if len(matrix) <= TABLE_CLASSES:
        return plots.heat_map(share, summary.labels, counts=matrix)
    order = order[plots.order_by_confusion(share[np.ix_(order, order)])]
    return plots.heat_map(share[np.ix_(order, order)], [summary.labels[index] for index in order])


def classes(summary: RunSummary) -> list[dict[str, Any]]:
    """Per-class scores, weakest first; classes without held-out rows last. `more` are those with an interval: title,
    value, low, high."""
    trained, given = summary.class_counts.get("train", {}), summary.metrics.get("per_class", [])
    names = list(dict.fromkeys(key.removesuffix("_low") for row in given for key in row if key.endswith("_low")))
    rows = []
    for row in given:
        more = [(metric_title(name), *(row.get(name + end) for end in ("", "_low", "_high"))) for name in names]
        rows.append({**row, "train": trained.get(row["label"]), "more": more})
    return sorted(rows, key=lambda row: (row["support"] == 0, row["f1"], -row["support"]))


def few_classes(summary: RunSummary) -> list[dict[str, Any]]:
    """`classes` in the order of the labels, where they fit a table that is read; else nothing."""
    rows = classes(summary)
    order = {label: index for index, label in enumerate(summary.labels)}
    few = 1 < len(rows) <= TABLE_CLASSES
    return sorted(rows, key=lambda row: order.get(str(row["label"]), len(order))) if few else []


def balance(summary: RunSummary) -> list[tuple[str, tuple[str, int], tuple[str, int]]]:
    """(split, smallest class, largest class), each with its rows; of data with classes."""
    spreads = [(name, _spread(counts)) for name, counts in summary.class_counts.items() if len(counts) > 1]
    return [(name, found["smallest"], found["largest"]) for name, found in spreads if found]


def gain(summary: RunSummary) -> tuple[str, float, float] | None:
    """(title, value before training, value of what was kept) of the headline on validation, where both are known."""
    name = summary.headline
    kept = next((line for line in summary.evaluations if line["step"] == summary.train.get("best_step")), {})
    after = kept.get(f"eval_{name}")
    return None if summary.before is None or after is None else (metric_title(name), summary.before, float(after))


def confidence(summary: RunSummary) -> dict[str, Any] | None:
    """Reliability diagram and expected calibration error."""
    predictions = summary.predictions
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


def mistakes(summary: RunSummary) -> dict[str, Any] | None:
    """The wrong predictions that the model was surest of."""
    predictions = summary.predictions
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
    return {"count": len(wrong), "rows": rows, "images": any(row["image"] for row in rows)}


def examples(summary: RunSummary) -> list[dict[str, Any]]:
    """Rows with what was predicted, as the task draws them; for tasks whose mistakes are not a wrong label."""
    predictions = summary.predictions
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
    return data_uri(image)


def data(summary: RunSummary) -> dict[str, Any]:
    found, counts = summary.data, summary.class_counts
    origins = found.get("origins") or {}
    splits = [
        {
            "name": name,
            "rows": rows,
            "held_out": name == found.get("held_out"),
            "counts": _spread(counts.get(name, {})),
            "origin": summary.without_paths(str(origins.get(name, ""))),
        }
        for name, rows in summary.rows.items()
    ]
    sizes = {name: list(each.values()) for name, each in counts.items() if each}
    return {
        "source": summary.data_name,
        "name": found.get("name"),
        "revision": found.get("revision"),
        "sha256": found.get("sha256") if isinstance(found.get("sha256"), str) else None,
        "columns": found.get("columns", {}),
        "splits": splits,
        "notes": [summary.without_paths(str(note)) for note in found.get("notes", [])],
        "sizes": drawing(plots.class_sizes(sizes)) if sizes and len(summary.labels) > 2 else None,
        "classes": len(summary.labels),
    }


def _spread(counts: dict[str, int]) -> dict[str, Any] | None:
    """Smallest and largest class of a split."""
    if not counts:
        return None
    ranked = sorted(counts.items(), key=lambda item: (item[1], item[0]))
    return {"smallest": ranked[0], "largest": ranked[-1]}
