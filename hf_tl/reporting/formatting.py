"""How report and card say things: numbers, names, the command that makes a run again. Nothing in them hides."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from hf_tl.config import RunConfig
from hf_tl.metrics import split_name


def last_part(path: str) -> str:
    """`reviews.csv` of `/home/someone/secret/reviews.csv`: a path on somebody's machine is not for others."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or path


TITLES = {
    "r2": "R²",
    "mse": "Mean squared error",
    "mae": "Mean absolute error",
    "map": "mAP",
    "map_50": "mAP at IoU 0.5",
    "map_75": "mAP at IoU 0.75",
    "mar_100": "mAR at 100 detections",
    "ap": "Average precision",
    "iou": "IoU",
    "mean_iou": "Mean IoU",
    "map_at_r": "mAP at R",
    "mrr": "Mean reciprocal rank",
    "knn_accuracy": "Nearest-neighbor accuracy",
    "bleu": "BLEU",
    "chrf": "chrF",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "cut_share": "Truncated at the maximum length",
}


HUB_METRICS = frozenset(
    "accuracy bertscore bleu bleurt brier_score cer chrf code_eval comet exact_match f1 google_bleu mae mape mase "
    "matthews_correlation mauve mean_iou meteor mse pearsonr perplexity precision r_squared recall roc_auc rouge "
    "sacrebleu sari seqeval smape spearmanr squad squad_v2 ter wer".split()
)
"""Ids of the metrics that the Hub knows, which `metrics` of a card may list: https://huggingface.co/evaluate-metric."""
ON_HUB = {
    "r2": "r_squared",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "bleu": "sacrebleu",
    "rouge1": "rouge",
    "rouge2": "rouge",
    "rougeL": "rouge",
}
"""Ours -> the Hub's id of what computes the same."""


def hub_metric(name: str) -> str | None:
    """The Hub's id of one of our metrics; None for one that it has no page for."""
    module = split_name(name)[0]
    found = ON_HUB.get(name) or ON_HUB.get(module, module)
    return found if found in HUB_METRICS else None


def metric_title(name: str) -> str:
    """`f1_macro` as a person writes it: F1, macro."""
    if name in TITLES:
        return TITLES[name]
    module, arguments = split_name(name)
    title = module.rpartition("/")[2].replace("_", " ")
    return ", ".join([title[:1].upper() + title[1:], *map(str, arguments.values())])


def mid_sentence(title: str) -> str:
    """A title in the middle of a sentence: `accuracy`, and `F1` as it is."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def number(value: Any, digits: int = 3) -> str:
    """A measured value for people: `0.914`, `1 234`, `not a number`."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "not a number"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")  # narrow no-break space
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.4g}"


def interval(found: Mapping[str, float]) -> str:
    """`0.541 to 1.000`, or that a metric has none."""
    known = math.isfinite(found["low"]) and math.isfinite(found["high"])
    return f"{number(found['low'])} to {number(found['high'])}" if known else "none"


def setting_value(value: Any) -> str:
    """A configured value, short: `5e-05`, `true`, `group_by_length`."""
    if isinstance(value, float):
        return f"{value:.4g}"
    value = elsewhere(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 200 else text[:199] + "…"


def size(count: float) -> str:
    """Bytes for people: `1.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def remake_command(config: RunConfig, revisions: dict[str, str | None]) -> str:
    """The command that makes a run again, for a shell; folders of this machine are written `path/to/...`.

    Args:
        revisions: `model` and `data` -> commit sha, where they came from the Hub.
    """
    values = config.model_dump(mode="json", exclude_defaults=True, exclude={"output", "on_change", "hub"})
    values = json.loads(json.dumps(values))
    model, data = values["model"], values["data"]
    words = ["hf-tl", "train", "--model", elsewhere(model.pop("id"))]
    paths = [elsewhere(path) for path in config.data.paths]
    data.pop("path")
    if len(paths) == 1:
        words += ["--data", paths[0]]
    else:
        data["path"] = paths
    words += ["--method", values.get("method", {}).pop("name", config.method.name)]
    for section, revision in revisions.items():
        if revision:
            values[section]["revision"] = revision
    for key, value in values.items():
        # One level of keys: those below may be labels, and a label may have dots.
        for name, item in value.items() if isinstance(value, dict) else [(None, value)]:
            words.append(f"{key}{'' if name is None else f'.{name}'}={_yaml(elsewhere(item))}")
    return " ".join(shlex.quote(word) for word in words)


def elsewhere(value: Any) -> Any:
    """`path/to/reviews.csv` for a path that is of use on one machine only, also inside lists and mappings; anything
    else as it is."""
    if isinstance(value, dict):
        return {key: elsewhere(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [elsewhere(item) for item in value]
    outside = isinstance(value, str) and re.match(r"/|~|\.\.|file:|\\\\|[A-Za-z]:[\\/]", value)
    return f"path/to/{last_part(value)}" if outside else value


def _yaml(value: Any) -> str:
    """A value in one line that YAML reads back."""
    if isinstance(value, str) and value.isascii() and value.isprintable():
        try:
            if yaml.safe_load(value) == value:
                return value
        except yaml.YAMLError:
            pass
    return json.dumps(value)
