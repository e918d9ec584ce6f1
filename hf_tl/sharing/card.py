"""The model card: one record of what it says, one template. What is not known is left out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hf_tl.evaluation.metrics import split_name
from hf_tl.run import write_text
from hf_tl.sharing import sections
from hf_tl.sharing.fences import merge_cards, read_text, remember
from hf_tl.sharing.markdown import Raw, code, escape, fenced, python, url
from hf_tl.sharing.origin import as_block
from hf_tl.sharing.record import Record, read_record
from hf_tl.sharing.wording import metric_title, number, visible

TEMPLATES = Path(__file__).parent / "templates"
LABELS_SHOWN = 100
WEAKEST = 5
LOW_F1 = 0.7
"""A class below this is named among the limits."""


@dataclass(frozen=True)
class Card:
    """What the card says."""

    name: str
    """The model's own name: last part of its Hub id, or of the run folder."""
    summary: str
    """What the task is, in a phrase."""
    task: str
    auto_class: str
    processor_class: str
    model_id: str
    """What a reader loads: the Hub id, or the folder while the run is not shared."""
    revision: str | None
    """Branch to load, when it is not main."""
    private: bool
    base: str
    base_id: str | None
    """Hub id of the pretrained model, None for a folder."""
    base_source: str
    """What the pretrained model is loaded by: its Hub id, or its folder."""
    base_revision: str | None
    base_license: str | None
    method: str
    adapter_only: bool
    writes: bool
    """Whether there are generation settings beside an adapter."""
    remote_code: bool
    data: str
    data_id: str | None
    labels: list[str]
    one_label: bool
    """Whether an answer is one of the labels."""
    example: str
    """Python expression of an input."""
    usage: str | None
    """Lines that print an answer, where there is no pipeline."""
    results: list[tuple[str, dict[str, float]]]
    """(title, value with interval)."""
    split: str
    samples: int
    baseline: float | None
    blind: str
    """What a model does that reaches `baseline`."""
    kept_step: int | None
    rows: dict[str, int]
    columns: dict[str, str]
    notes: list[str]
    sha256: str | None
    data_revision: str | None
    settings: list[tuple[str, str, str]]
    training: list[tuple[str, str]]
    counted: str
    """What the support of a class counts."""
    weakest: list[dict[str, Any]]
    unseen: int
    """Classes without a row in the measured split."""
    figures: list[tuple[str, str]]
    """(file below the card, caption)."""
    command: str
    shared: str | None
    """Its Hub id."""
    origin: str
    """YAML of what it was made of."""
    versions: list[tuple[str, str]]

    @property
    def load_arguments(self) -> Raw:
        """Further arguments of `from_pretrained` and `pipeline`."""
        return Raw(self.revision_argument + (", trust_remote_code=True" if self.remote_code else ""))

    @property
    def revision_argument(self) -> Raw:
        return Raw(f", revision={python(self.revision)}" if self.revision else "")

    @property
    def loads(self) -> bool:
        """Whether the lines of `usage` load the model too."""
        return "{model}" in (self.usage or "")

    @property
    def lines(self) -> Raw:
        """`usage` for this very model."""
        return Raw((self.usage or "").replace("{model}", f"{python(self.model_id)}{self.load_arguments}"))

    @property
    def base_arguments(self) -> Raw:
        """Further arguments for the pretrained model under an adapter."""
        return Raw(f", revision={python(self.base_revision)}" if self.base_revision else "")


def write_card(folder: Path) -> Path:
    """Writes the run's `README.md`, from the files of its folder alone; what a person wrote into it stays.

    Raises:
        ConfigError: the folder holds no measured run, or its `README.md` cannot be read.
    """
    record = read_record(Path(folder))
    card = describe(record)
    path = record.folder / "README.md"
    made = remember(f"---\n{metadata(record, card).to_yaml()}\n---\n\n{render(card)}")
    write_text(path, merge_cards(made, read_text(path)))
    return path


def describe(record: Record) -> Card:
    config, hub, environment = record.config, record.config.hub, record.environment
    adapter_only = hub is not None and hub.merge is False
    where = hub.id if hub else (config.folder / "model").as_posix()
    per_class = record.metrics.get("per_class", [])
    weakest = [row for row in sections.classes(record) if row["support"] and row["f1"] < LOW_F1]
    kept = record.train.get("best_step")
    files = (("curves.png", "Training curves"), ("confusion_matrix.png", "Confusion matrix"))
    packages = environment.get("packages") or {}
    return Card(
        name=(hub.id if hub else config.folder.name).rpartition("/")[2],
        summary=record.task.summary.partition(":")[0],
        task=record.task.name,
        auto_class=record.task.auto_class,
        processor_class=record.task.processor_class,
        model_id=where,
        revision=hub.revision if hub and hub.revision != "main" else None,
        private=bool(hub and hub.private),
        base=record.model_name,
        base_id=record.model_id,
        base_source=record.model_id or config.model.id,
        base_revision=environment.get("model", {}).get("revision"),
        base_license=_license(record),
        method=config.method.name,
        adapter_only=adapter_only,
        writes=(record.folder / "model" / "adapter" / "generation_config.json").exists(),
        remote_code=bool(record.model_config.get("auto_map")),
        data=record.data_name,
        data_id=record.data_id,
        labels=record.labels,
        one_label=bool(record.metrics.get("confusion_matrix")),
        example=_example(record),
        usage=record.task.usage,
        results=[(metric_title(name), value) for name, value in record.values.items()],
        split=record.metrics["split"],
        samples=record.metrics["samples"],
        baseline=record.metrics.get("baseline", {}).get(record.headline),
        blind=sections.BLIND[bool(record.labels[1:])],
        kept_step=kept if any(line["step"] == kept for line in record.evaluations) else None,
        rows=record.rows,
        columns=record.data.get("columns", {}),
        notes=[_without_paths(str(note), record) for note in record.data.get("notes", [])],
        sha256=record.data.get("sha256") if isinstance(record.data.get("sha256"), str) else None,
        data_revision=record.data.get("revision"),
        settings=sections.settings(record),
        training=_training(record),
        counted=record.task.counted,
        weakest=weakest[:WEAKEST],
        unseen=sum(row["support"] == 0 for row in per_class),
        figures=[(f"figures/{name}", what) for name, what in files if (record.folder / "figures" / name).exists()],
        command=sections.command(record),
        shared=hub.id if hub else None,
        origin=as_block(record),
        versions=[
            ("hf_tl", str(environment.get("hf_tl", ""))),
            ("Python", str(environment.get("python", ""))),
            *sorted((str(name), str(version)) for name, version in packages.items()),
        ],
    )


def metadata(record: Record, card: Card) -> ModelCardData:
    """The YAML head, which the Hub reads."""
    # scratch took the architecture alone: nothing was adapted, and no licence comes with it
    base = {"base_model": card.base_id, "base_model_relation": "adapter" if card.adapter_only else "finetune"}
    scored = {name: value["value"] for name, value in record.values.items() if _finite(value["value"])}
    return ModelCardData(
        **_known_license(card.base_license),
        library_name="peft" if card.adapter_only else record.task.library,
        pipeline_tag=card.task,
        tags=["hf_tl", "transfer-learning", *([card.method] if card.method == "lora" else [])],
        **(base if card.base_id and card.method != "scratch" else {}),
        datasets=[card.data_id] if card.data_id else None,
        metrics=list(dict.fromkeys(split_name(name)[0] for name in scored if name != "loss")) or None,
        **({"widget": _widget(record)} if record.task.widget else {}),
        model_name=visible(card.name),
        eval_results=[
            EvalResult(
                task_type=card.task,
                dataset_type=card.data_id or "custom",  # no name that could be a stranger's on the Hub
                dataset_name=visible(card.data.rpartition("/")[2]),
                dataset_config=record.config.data.name,
                dataset_split=card.split,
                dataset_revision=card.data_revision,
                metric_type=split_name(name)[0],
                metric_name=metric_title(name),
                metric_value=round(value, 6),
                metric_args=split_name(name)[1] or None,
            )
            for name, value in scored.items()
        ],
    )


def render(card: Card) -> str:
    """The text below the head. Names from the data stay text: whatever is not our own Markdown is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,  # Markdown: `finalize` escapes
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Raw) or not isinstance(value, str) else escape(value),
    )
    environment.filters |= {
        "code": code,
        "number": lambda value: Raw(number(value)),
        "fenced": fenced,
        "python": python,
        "raw": Raw,
        "url": url,
    }
    return environment.get_template("card.md.j2").render(card=card, labels_shown=LABELS_SHOWN)


def _example(record: Record) -> str:
    """A Python expression of an input of the task: its own example, or the name of a file."""
    first = next((value for example in _widget(record) for value in example.values()), None)
    if isinstance(first, list):
        return Raw(json.dumps(first))
    return python(str(first) if first is not None else f"{record.task.input_roles[0]}.jpg")


def _widget(record: Record) -> list[dict[str, Any]]:
    """The task's examples in the form of the run's data, where it has several; else the first."""
    roles, used = set(record.task.input_roles), set(record.data.get("columns") or ())
    fits = [dict(example) for example in record.task.widget if not used or not (set(example) & roles) - used]
    return fits or [dict(example) for example in record.task.widget[:1]]


def _training(record: Record) -> list[tuple[str, str]]:
    named = ("Method", "Trained parameters", "Steps", "Training time", "Most memory", "Hardware")
    found = dict(sections.facts(record))
    return [(name, found[name]) for name in named if name in found]


def _license(record: Record) -> str | None:
    """The pretrained weights' licence, which holds for what is made of them."""
    found = record.environment.get("model", {}).get("license")
    return str(found) if found and record.config.method.name != "scratch" else None


def _known_license(license: str | None) -> dict[str, Any]:
    """As the Hub takes it: an identifier, or `other` with a name."""
    if license is None:
        return {}
    if re.fullmatch(r"[a-z0-9][a-z0-9.-]*", license):
        return {"license": license}
    return {"license": "other", "license_name": _slug(license).lower()}


def _without_paths(text: str, record: Record) -> str:
    """A note without where on somebody's machine the files lie."""
    for path in record.config.data.paths:
        if record.data_id is None:
            text = text.replace(str(Path(path).resolve()), record.data_name).replace(path, record.data_name)
    return text


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "data"


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")
