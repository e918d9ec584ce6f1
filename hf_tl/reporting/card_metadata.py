"""The metadata of a card (YAML), which the Hub reads: nothing in it is guessed.

https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from hf_tl.data.kinds import main_kind
from hf_tl.errors import ConfigError
from hf_tl.io.console import visible
from hf_tl.io.json_text import read_object
from hf_tl.metrics import split_name
from hf_tl.metrics.intervals import FEW
from hf_tl.reporting.formatting import hub_metric, metric_title
from hf_tl.reporting.managed_sections import TAG
from hf_tl.reporting.run_summary import RunSummary

INTERVAL = "confidence_interval_95"
"""Among the `args` of a metric in `model-index`."""
FREE = {
    "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "isc", "zlib", "unlicense",
    "wtfpl", "cc0-1.0", "pddl", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "odc-by", "afl-3.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "etalab-2.0",
}  # fmt: skip
"""Licences of data that add no condition to what is made of them but to name the source."""
KNOWN = FREE | {
    "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0", "bigcode-openrail-m",
    "artistic-2.0", "h-research",
    "bsl-1.0", "c-uda", "cc", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
    "cdla-sharing-1.0", "ecl-2.0", "epl-1.0", "epl-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0",
    "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "intel-research", "lppl-1.3c", "ms-pl", "apple-ascl", "apple-amlr",
    "mpl-2.0", "odbl", "openrail++", "openmdw-1.0", "osl-3.0", "postgresql", "ofl-1.1", "ncsa",
    "deepfloyd-if-license", "fair-noncommercial-research-license", "llama2", "llama3", "llama3.1", "llama3.2",
    "llama3.3", "llama4", "grok2-community", "gemma", "other",
}  # fmt: skip
"""What the Hub takes as `license`, https://huggingface.co/docs/hub/repositories-licenses; it refuses a card with
another, so those are `other` with their name."""
WIDGET_ROWS = 2
WIDGET_TEXT = 300
"""Characters of a row that an example of the widget may have."""


@dataclass(frozen=True)
class License:
    """What is known of the licence of weights and data."""

    base: str | None
    """Of the pretrained weights; None: not known, or none were used."""
    data: str | None

    @property
    def ours(self) -> str | None:
        """That of the adapted weights; None where not enough is known to say.

        The conditions of the pretrained weights hold for what is made of them; data add theirs where they have any.
        """
        if self.base is None or self.data is None or self.data == self.base or self.data in FREE:
            return self.base
        return f"{self.base} and {self.data}"

    def in_words(self, adapted: bool) -> str:
        """What a reader has to know, in a sentence or two.

        Args:
            adapted: there were pretrained weights.
        """
        data = f"that of the data is {self.data}" if self.data else "that of the data is not known"
        if not adapted:
            return f"No licence is stated: the weights were made from nothing; {data}."
        if self.base is None:
            return f"No licence is stated: that of the pretrained model is not known; {data}."
        if self.ours == self.base:
            return f"The licence is that of the pretrained model ({self.base}); {data}."
        return f"Two licences hold: that of the pretrained model ({self.base}) and that of the data ({self.data})."


def license_of(summary: RunSummary) -> License:
    environment = summary.environment
    base = environment.get("model", {}).get("license") if summary.config.method.name != "scratch" else None
    data = summary.data.get("license")
    return License(*(str(each) if each else None for each in (base, data)))


def languages(summary: RunSummary) -> list[str]:
    """Of a model for values in a language: those of its data; else the one of the pretrained model, if it is of one."""
    if not main_kind(summary.task).spoken:
        return []
    declared = [str(each) for each in summary.data.get("language") or []]
    pretrained = [str(each) for each in summary.environment.get("model", {}).get("language") or []]
    return declared or (pretrained if len(pretrained) == 1 and summary.config.method.name != "scratch" else [])


def quotes(summary: RunSummary) -> bool:
    """Whether rows of the data may stand in the card: as asked, else those of data that are public on the Hub."""
    hub = summary.config.hub
    if hub is not None and hub.examples is not None:
        return hub.examples
    return summary.data_id is not None and summary.data.get("private") is False


def metadata(summary: RunSummary, name: str, adapter_only: bool) -> ModelCardData:
    """The metadata, as `huggingface_hub` writes and validates it.

    Args:
        name: the model's own.
        adapter_only: the repository holds an adapter, and not the whole model.
    """
    # scratch took the architecture alone: nothing was adapted, and no licence comes with it
    base = {"base_model": summary.model_id, "base_model_relation": "adapter" if adapter_only else "finetune"}
    method, task = summary.config.method.name, summary.task
    spoken = languages(summary)
    optional = {
        "widget": widget(summary),
        "co2_eq_emissions": emissions(summary),
        "language": spoken[0] if len(spoken) == 1 else spoken,
    }
    return ModelCardData(
        **_hub_license(license_of(summary).ours),
        **{key: value for key, value in optional.items() if value},
        library_name="peft" if adapter_only else task.library.name,
        pipeline_tag=task.name,
        tags=[TAG, "transfer-learning", *([method] if method == "lora" else [])],
        **(base if summary.model_id and method != "scratch" else {}),
        datasets=[summary.data_id] if summary.data_id else None,
        metrics=list(dict.fromkeys(filter(None, map(hub_metric, scored(summary))))) or None,
        model_name=visible(name),
        eval_results=[_result(summary, each, found) for each, found in scored(summary).items()],
    )


def scored(summary: RunSummary) -> dict[str, dict[str, float]]:
    """The metrics that have a value."""
    return {name: found for name, found in summary.values.items() if math.isfinite(found["value"])}


def _result(summary: RunSummary, name: str, found: dict[str, float]) -> EvalResult:
    metric, arguments = split_name(name)
    interval = [found["low"], found["high"]]
    known: dict[str, Any] = (
        {INTERVAL: [round(value, 6) for value in interval]} if all(map(math.isfinite, interval)) else {}
    )
    if summary.metrics["samples"] <= FEW:
        known["note"] = f"{summary.metrics['samples']} samples, too few to tell"
    return EvalResult(
        task_type=summary.task.name,
        dataset_type=summary.data_id or "custom",  # no name that could be somebody else's on the Hub
        dataset_name=visible(summary.data_name.rpartition("/")[2]),
        dataset_config=summary.config.data.name,
        dataset_split=summary.metrics["split"],
        dataset_revision=summary.data.get("revision"),
        metric_type=metric,
        metric_name=metric_title(name),
        metric_value=round(found["value"], 6),
        metric_args={**arguments, **known} or None,
    )


def widget(summary: RunSummary) -> list[dict[str, Any]]:
    """Examples to try: held-out rows where they may be quoted and are single texts, else the task's own."""
    own = own_examples(summary)
    if not quotes(summary) or not own or any(set(each) != {"text"} for each in own):
        return own
    texts = [str(text) for text in summary.predictions.get("input") or [] if text]
    short = [visible(text) for text in texts if len(text) <= WIDGET_TEXT][:WIDGET_ROWS]
    return [{"text": text} for text in short] or own


def own_examples(summary: RunSummary) -> list[dict[str, Any]]:
    """The task's examples in the form of the run's data, where it has several; else the first."""
    roles, used = set(summary.task.input_roles), set(summary.data.get("columns") or ())
    fits = [dict(example) for example in summary.task.inference.widget if not used or not (set(example) & roles) - used]
    examples = fits or [dict(example) for example in summary.task.inference.widget[:1]]
    mask = mask_token(summary)
    for example in examples:
        if mask and isinstance(example.get("text"), str):
            example["text"] = example["text"].replace("<mask>", mask)
    return examples


def mask_token(summary: RunSummary) -> str | None:
    """What stands for a hidden word in the texts of the model."""
    file = summary.folder / "model" / "tokenizer_config.json"
    try:
        found = read_object(file).get("mask_token")
    except ConfigError:
        return None
    found = found.get("content") if isinstance(found, dict) else found
    return str(found) if found else None


def emissions(summary: RunSummary) -> dict[str, Any] | None:
    """What codecarbon measured (`training.report_to: codecarbon`), in grams: https://huggingface.co/docs/hub/model-cards-co2.

    Nothing where it did not measure.
    """
    files = [folder / "emissions.csv" for folder in (summary.folder, summary.folder / "checkpoints")]
    rows: list[dict[str, str]] = []
    for file in files:
        if file.is_file():
            with file.open(encoding="utf-8", newline="") as stream:
                rows += csv.DictReader(stream)
    try:
        grams = 1000 * sum(float(row["emissions"]) for row in rows)
    except (KeyError, ValueError):
        return None
    if not rows or not math.isfinite(grams):
        return None
    named = {"geographical_location": rows[-1].get("country_name"), "hardware_used": rows[-1].get("gpu_model")}
    method = "pre-training" if summary.config.method.name == "scratch" else "fine-tuning"
    known = {key: visible(value) for key, value in named.items() if value}
    return {"emissions": round(grams, 6), "source": "codecarbon", "training_type": method, **known}


def _hub_license(license: str | None) -> dict[str, Any]:
    """As the Hub takes it: an identifier that it knows, or `other` with a name."""
    if license is None:
        return {}
    if license.lower() in KNOWN:
        return {"license": license.lower()}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9._-]+", "-", license.lower()).strip("-.") or "other"}
