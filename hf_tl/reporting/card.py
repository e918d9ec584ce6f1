"""The model card: one summary of what it says, one template. What is not known is left out."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_tl.data.kinds import main_kind, processor_of
from hf_tl.errors import redact
from hf_tl.files import write_text
from hf_tl.metrics.intervals import FEW
from hf_tl.models.custom import MODEL_TYPE
from hf_tl.reporting import run_details, sections
from hf_tl.reporting.card_metadata import license_of, metadata, own_examples, quotes
from hf_tl.reporting.formatting import interval, metric_title, mid_sentence, number
from hf_tl.reporting.jinja import environment
from hf_tl.reporting.managed_sections import merge_cards, read_text, remember
from hf_tl.reporting.markdown import Raw, code, escape, fenced, python, url
from hf_tl.reporting.provenance import as_block
from hf_tl.reporting.run_summary import RunSummary, read_summary

FIGURES = (("curves.png", "Training curves"), ("confusion_matrix.png", "Confusion matrix"))
"""(file below figures/, caption)."""
LABELS_SHOWN = 100
WEAKEST = 5
MISTAKES = 5
MISTAKE_TEXT = 200
"""Characters of a row that is quoted."""
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
    processor_argument: str
    """By which `pipeline` takes it."""
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
    license: str
    """What is known of it, in words."""
    method: str
    adapter_only: bool
    writes: bool
    """Whether there are generation settings beside an adapter."""
    remote_code: bool
    own_head: bool
    """Whether that code is hf_tl's own, which hf_tl does not need."""
    data: str
    data_id: str | None
    labels: list[str]
    one_label: bool
    """Whether an answer is one of the labels."""
    example: str
    """Python expression of an input."""
    pipeline_kwargs: str
    """Further arguments of the pipeline's call."""
    given: str
    """Python expression of the same for `hf_tl.predict`."""
    snippet: str | None
    """Lines that define what answers, where there is no pipeline, and those that print an answer."""
    results: list[tuple[str, dict[str, float]]]
    """(title, value with interval)."""
    split: str
    samples: int
    baseline: list[tuple[str, float]]
    """(title, value) of metrics."""
    baseline_name: str
    """What a model does that reaches `baseline`."""
    before: tuple[str, float, float] | None
    """Title of a metric, its value on validation before training, and with the weights that were kept."""
    per_class: list[dict[str, Any]]
    """Of few classes, in the order of the labels."""
    balance: list[tuple[str, tuple[str, int], tuple[str, int]]]
    """(split, smallest class, largest class), each with its rows."""
    warnings: list[str]
    mistakes: list[dict[str, Any]]
    """Rows that may be quoted and that the model is sure of and wrong about."""
    kept_step: int | None
    rows: dict[str, int]
    columns: dict[str, str]
    notes: list[str]
    sha256: str | None
    data_revision: str | None
    settings: list[tuple[str, str, str]]
    training: list[tuple[str, str]]
    support_unit: str
    """What the support of a class counts."""
    weakest: list[dict[str, Any]]
    unseen: int
    """Classes without a row in the measured split."""
    figures: list[tuple[str, str]]
    """(file below the card, caption)."""
    command: str
    shared: str | None
    """Its Hub id."""
    provenance: str
    """YAML of what it was made of."""
    versions: list[tuple[str, str]]

    @property
    def load_arguments(self) -> Raw:
        """Further arguments of `from_pretrained` and `pipeline`."""
        return Raw(self.revision_argument + (", trust_remote_code=True" if self.remote_code else ""))

    @property
    def predict_arguments(self) -> Raw:
        """Further arguments of `hf_tl.predict`."""
        return self.revision_argument if self.own_head else self.load_arguments

    @property
    def revision_argument(self) -> Raw:
        return Raw(f", revision={python(self.revision)}" if self.revision else "")

    @property
    def counts_known(self) -> bool:
        """Whether the training rows of each class are known."""
        return all(row["train"] is not None for row in self.per_class)

    @property
    def loads(self) -> bool:
        """Whether the lines of `snippet` load the model too."""
        return "{model}" in (self.snippet or "")

    @property
    def lines(self) -> Raw:
        """`snippet` for this very model."""
        return Raw((self.snippet or "").replace("{model}", f"{python(self.model_id)}{self.load_arguments}"))

    @property
    def base_arguments(self) -> Raw:
        """Further arguments for the pretrained model under an adapter."""
        return Raw(f", revision={python(self.base_revision)}" if self.base_revision else "")


def write_card(folder: Path, *, shared: bool = True) -> Path:
    """Writes the run's `README.md`, from the files of its folder alone; what a person wrote into it stays.

    Args:
        shared: whether it is on the Hub as `hub` of the configuration says; without, the card names the folder.

    Raises:
        ConfigError: the folder holds no measured run, or its `README.md` cannot be read.
    """
    summary = read_summary(Path(folder))
    if not shared:
        summary = replace(summary, config=summary.config.model_copy(update={"hub": None}))
    path = summary.folder / "README.md"
    write_text(path, card_of(summary))
    return path


def card_of(summary: RunSummary) -> str:
    """The card's text; what a person wrote into the run's `README.md` stays.

    Raises:
        ConfigError: that file cannot be read.
    """
    card = describe(summary)
    made = remember(f"---\n{metadata(summary, card.name, card.adapter_only).to_yaml()}\n---\n\n{render(card)}")
    return merge_cards(redact(made), read_text(summary.folder / "README.md"))


def describe(summary: RunSummary) -> Card:
    config, hub, environment = summary.config, summary.config.hub, summary.environment
    adapter_only = hub is not None and hub.merge is False
    where = hub.id if hub else (config.folder / "model").as_posix()
    kept = summary.train.get("best_step")
    return Card(
        name=(hub.id if hub else config.folder.name).rpartition("/")[2],
        summary=summary.task.summary.partition(":")[0],
        task=summary.task.name,
        auto_class=summary.task.auto_class,
        processor_class=processor_of(summary.task).auto_class,
        processor_argument=processor_of(summary.task).argument,
        model_id=where,
        revision=hub.revision if hub and hub.revision != "main" else None,
        private=bool(hub and hub.private),
        base=summary.model_name,
        base_id=summary.model_id,
        base_source=summary.model_id or config.model.id,
        base_revision=environment.get("model", {}).get("revision"),
        license=license_of(summary).in_words(adapted=config.method.name != "scratch"),
        method=config.method.name,
        adapter_only=adapter_only,
        writes=(summary.folder / "model" / "adapter" / "generation_config.json").exists(),
        remote_code=bool(summary.model_config.get("auto_map")),
        own_head=summary.model_config.get("model_type") == MODEL_TYPE,
        data=summary.data_name,
        data_id=summary.data_id,
        labels=summary.labels if summary.data.get("labels", True) else [],  # else they are the architecture's
        one_label=bool(summary.metrics.get("confusion_matrix")),
        example=_example(summary),
        pipeline_kwargs=f", {summary.task.inference.pipeline_kwargs}" if summary.task.inference.pipeline_kwargs else "",
        given=_given(summary),
        snippet=summary.task.inference.snippet_with_example,
        results=[(metric_title(name), value) for name, value in summary.values.items()],
        split=summary.metrics["split"],
        samples=summary.metrics["samples"],
        baseline=[(metric_title(name), value) for name, value in summary.metrics.get("baseline", {}).items()],
        before=sections.gain(summary),
        per_class=sections.few_classes(summary),
        balance=sections.balance(summary),
        warnings=sections.warnings(summary),
        mistakes=_mistakes(summary),
        baseline_name=sections.BASELINES[bool(summary.labels[1:])],
        kept_step=kept if any(line["step"] == kept for line in summary.evaluations) else None,
        rows=summary.rows,
        columns=summary.data.get("columns", {}),
        notes=_notes(summary),
        sha256=summary.data.get("sha256") if isinstance(summary.data.get("sha256"), str) else None,
        data_revision=summary.data.get("revision"),
        settings=run_details.settings(summary),
        training=_training(summary),
        support_unit=summary.task.support_unit,
        weakest=_weakest(summary),
        unseen=sum(row["support"] == 0 for row in summary.metrics.get("per_class", [])),
        figures=[(f"figures/{name}", what) for name, what in FIGURES if (summary.folder / "figures" / name).exists()],
        command=run_details.command(summary),
        shared=hub.id if hub else None,
        provenance=as_block(summary),
        versions=_versions(environment),
    )


def _weakest(summary: RunSummary) -> list[dict[str, Any]]:
    """Classes that the model does badly, weakest first."""
    return [row for row in sections.classes(summary) if row["support"] and row["f1"] < LOW_F1][:WEAKEST]


def _versions(environment: dict[str, Any]) -> list[tuple[str, str]]:
    packages = environment.get("packages") or {}
    return [
        ("hf_tl", str(environment.get("hf_tl", ""))),
        ("Python", str(environment.get("python", ""))),
        *sorted((str(name), str(version)) for name, version in packages.items()),
    ]


def render(card: Card) -> str:
    """The text below the metadata. Names from the data stay text: whatever is not our own Markdown is escaped."""
    made = environment(
        html=False,
        finalize=lambda value: value if isinstance(value, Raw) or not isinstance(value, str) else escape(value),
        code=code,
        number=lambda value: Raw(number(value)),
        fenced=fenced,
        interval=lambda found: Raw(interval(found)),
        mid_sentence=mid_sentence,
        python=python,
        raw=Raw,
        url=url,
    )
    return made.get_template("card.md.j2").render(card=card, labels_shown=LABELS_SHOWN, few=FEW)


def _example(summary: RunSummary) -> str:
    """A Python expression of an input of the task: its own example, or that of its kind."""
    first = next((value for example in own_examples(summary) for value in example.values()), None)
    return _literal(first) if first is not None else Raw(main_kind(summary.task).example)


def _given(summary: RunSummary) -> str:
    """The same example by the roles that hf_tl reads, where it reads several or another form than a text."""
    example = next(iter(own_examples(summary)), None)
    roles = [role for role in summary.data.get("columns") or () if role in summary.task.input_roles]
    if not example:
        return Raw(main_kind(summary.task).example)
    if set(example) == {"text"}:
        return _literal(example["text"])
    if not set(example) <= set(summary.task.input_roles):  # named otherwise by the Hub: in their order
        values = [one for value in example.values() for one in (value if isinstance(value, list) else [value])]
        example = dict(zip(roles, values, strict=False))
    return _literal(example)


def _literal(value: Any) -> str:
    return python(value) if isinstance(value, str) else Raw(json.dumps(value))


def _mistakes(summary: RunSummary) -> list[dict[str, Any]]:
    if not quotes(summary) or not main_kind(summary.task).quoted:
        return []
    found = (sections.mistakes(summary) or {}).get("rows", [])[:MISTAKES]
    return [{**row, "text": row["text"][:MISTAKE_TEXT] + " …" * (len(row["text"]) > MISTAKE_TEXT)} for row in found]


def _notes(summary: RunSummary) -> list[str]:
    """What was done with the data, dropped and cut; but for what the columns say already."""
    given = [*summary.data.get("notes", []), *summary.environment.get("notes", [])]
    said = (f"Task {summary.task.name}:", f"Task {summary.task.name}, as given:")
    return [summary.without_paths(str(note)) for note in given if not str(note).startswith(said)]


def _training(summary: RunSummary) -> list[tuple[str, str]]:
    named = ("Method", "Trained parameters", "Steps", "Training time", "Peak memory", "Hardware")
    found = dict(sections.overview(summary))
    return [(name, found[name]) for name in named if name in found]
