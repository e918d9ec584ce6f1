"""`RunConfig`: one record for the YAML file, the command line's dotted overrides and the Python call.

Own options are few; every other key of `model`, `method` and `training` passes through to `from_pretrained`, PEFT and
`TrainingArguments` under its own name, and is checked against them (`hf_tl.training.arguments`, `hf_tl.models`) before
anything expensive starts.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hf_tl.errors import ConfigError
from hf_tl.io.names import as_name, override
from hf_tl.io.tokens import check_tokens
from hf_tl.io.wrong_values import wrong_value
from hf_tl.io.yaml_text import read_yaml

SHORTHAND = {"model": "id", "data": "path", "method": "name", "hub": "id"}
"""Keys that may be a plain value, and the field it stands for: `method: lora` is `method: {name: lora}`."""


REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,199}")
"""A branch, tag or commit; a file of the cache is named by it."""
ELSEWHERE = "path/to/"
"""What stands in what is shared before the last part of a path of one machine. No Hub id looks like this."""
Augment = Literal["default", "none", "trivial", "rand", "erasing", "mixup", "cutmix"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class OpenSection(Section):
    """A section whose unknown keys pass through to Hugging Face."""

    model_config = ConfigDict(extra="allow", validate_assignment=True)

    @property
    def passed_through(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class ModelConfig(OpenSection):
    """The pretrained model; further keys are `from_pretrained` arguments."""

    id: str
    """Hub id, or a folder: a model, an adapter or a run of hf_tl."""
    revision: str | None = None
    head: Literal["linear", "mlp"] = "linear"
    """`linear` is the stock class's own head; `mlp` is Linear, ReLU, Linear."""
    head_hidden: int = Field(1024, ge=1)
    """Hidden units of the `mlp` head."""
    pooling: Literal["mean", "cls", "max"] | None = None
    """How the backbone's output becomes one vector; the stock class's own way when not given."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Fields of the model's own configuration to change."""
    trust_remote_code: bool = False


class Preprocessing(Section):
    max_length: int | None = Field(None, ge=4)
    """Tokens; default: what the model can take, at most 512, or 1024 for a model that writes."""
    image_size: int | None = Field(None, ge=8)
    """Pixels, square; default: the image processor's own."""
    augment: Augment | list[Augment] = "default"
    """`default` is random resized crop and horizontal flip, to which the others are added: `trivial` (TrivialAugment),
    `rand` (RandAugment), `erasing`, and of whole batches `mixup`, `cutmix` (one of them where both are given)."""
    mask_ratio: float | None = Field(None, gt=0, lt=1)
    """Share of an image that is hidden from a model that is to guess it; default 0.6."""
    mask_patch_size: int | None = Field(None, ge=1)
    """Side of the hidden squares in pixels; default 32, or a quarter of a small image."""
    max_target_length: int | None = Field(None, ge=4)
    """Tokens of a text to be written; default 128."""
    prefix: str | None = None
    """What every input begins with, such as `summarize: ` for T5; default: what the model's configuration says."""
    source_lang: str | None = None
    """Language of the inputs: a key of a column that has a text a language, or the code that the tokenizer knows."""
    target_lang: str | None = None
    long_samples: Literal["drop", "truncate", "split"] | None = None
    """Texts to write on that are longer than `max_length`: left out, cut, or cut into pieces; counted in any case.
    Default: plain texts are split, others truncated."""
    packing: bool | None = None
    """Whether several short texts to write on share a training sample, each seeing only itself; default: plain texts
    do."""
    chat_template: str | None = None
    """Jinja file that writes a conversation as text, for a tokenizer without one or in place of its own."""

    @property
    def augmentations(self) -> tuple[str, ...]:
        """All that `augment` names, without `none`."""
        names = [self.augment] if isinstance(self.augment, str) else self.augment
        return tuple(name for name in names if name != "none")

    @field_validator("augment")
    @classmethod
    def _none_alone(cls, value: str | list[str]) -> str | list[str]:
        if isinstance(value, list) and "none" in value and len(value) > 1:
            raise ValueError("none stands alone")
        return value


class DataConfig(Section):
    path: str | list[str]
    """Hub id, folder, file, archive, or several files."""
    name: str | None = None
    """Configuration of a Hub dataset."""
    revision: str | None = None
    splits: dict[Literal["train", "validation", "test"], str] = Field(default_factory=dict)
    """Our split -> the data's own name for it (a split, folder or file)."""
    columns: dict[str, str | list[str]] = Field(default_factory=dict)
    """Role (text, image, label, ...) -> the data's own column name; for labels also a list of 0/1 columns."""
    column_names: list[str] | None = Field(None, min_length=1)
    """Names of the columns of CSV and TSV files that have no header."""
    split_column: str | Literal[False] | None = None
    """Column that says the split of each row; default: one called split, set, fold, ... with values such as train and
    test. With false, none."""
    problem: Literal["single_label_classification", "multi_label_classification", "regression"] | None = None
    """What the labels are, where their values leave it open: whole numbers may be classes or amounts."""
    boxes: Literal["xywh", "xyxy", "cxcywh"] | None = None
    """Format of boxes, in pixels or as shares of the image; default: found from their values, xywh first."""
    validation: float = Field(0.1, gt=0, lt=1)
    """Share of train that becomes validation when the data has none."""
    validation_rows: int | None = Field(None, ge=1)
    """Rows of validation that are looked at during training, evenly spaced; default all, or as many as the task says.
    The final metrics are of every row."""
    max_samples: int | None = Field(None, ge=1)
    """At most so many rows of each split, drawn with the seed."""
    sampling: Literal["natural", "balanced"] = "natural"
    """`balanced` draws every class equally often in training."""
    min_per_class: int = Field(2, ge=1)
    """Fewer training examples of a class than this stop the run."""
    max_pixels: int | None = Field(None, ge=1)
    """Width times height above which an image is refused before it is decoded; default 89,478,485."""
    on_error: Literal["stop", "skip"] = "stop"
    """What an unreadable row does: stop the run, or be left out and counted."""
    preprocessing: Preprocessing = Field(default_factory=Preprocessing)

    @field_validator("path")
    @classmethod
    def _some_path(cls, value: str | list[str]) -> str | list[str]:
        if not value:
            raise ValueError("expected a Hub id, a folder or a file")
        return value

    @field_validator("columns", "splits", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return {key: as_name(each) for key, each in value.items()} if isinstance(value, Mapping) else value

    @field_validator("column_names", mode="before")
    @classmethod
    def _parted(cls, value: Any) -> Any:
        return [each.strip() for each in value.split(",")] if isinstance(value, str) else as_name(value)

    @property
    def paths(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else list(self.path)


class MethodConfig(OpenSection):
    """How the model is adapted; further keys of `lora` are `LoraConfig` fields (any PEFT type's with `peft_type`)."""

    name: Literal["full", "lora", "frozen", "scratch"] = "full"
    layer_lr_decay: float | None = Field(None, gt=0, le=1)
    """full: each layer below the top learns at this factor of the one above."""
    unfreeze: dict[float, Any] | None = None
    """full: epoch -> `head`, a number of top layers, `all`, or {layers: ..., learning_rate: ...}."""
    batch_norm: Literal["frozen", "train"] | None = None
    """Running statistics of pretrained batch normalisation; default frozen, and train from scratch."""


class TrainingConfig(OpenSection):
    """Any `TrainingArguments` field under its own name, and these two of `EarlyStoppingCallback`."""

    early_stopping_patience: int | None = Field(None, ge=1)
    early_stopping_threshold: float = Field(0.0, ge=0)


class LossConfig(Section):
    class_weights: Literal["auto"] | dict[str, float] | None = None
    """`auto` weighs every class by the inverse of its frequency in train; or label -> weight."""
    focal_gamma: float = Field(0.0, ge=0)
    """Focal loss (Lin et al. 2017, https://arxiv.org/abs/1708.02002); 0 is cross-entropy."""
    name: str | None = None
    """Another loss, for tasks that have several."""

    @field_validator("class_weights", mode="before")
    @classmethod
    def _number_labels(cls, value: Any) -> Any:
        return {as_name(key): weight for key, weight in value.items()} if isinstance(value, Mapping) else value


class GenerationSection(OpenSection):
    """Any `GenerationConfig` field under its own name, for tasks that write texts; saved with the model."""


class HubConfig(Section):
    id: str
    private: bool | None = None
    revision: str | None = None
    """Branch to push to, made when missing."""
    tag: str | None = None
    commit_message: str | None = None
    create_pr: bool = False
    """Open a pull request in place of a commit: for repositories of others, too."""
    collection: str | None = None
    """Collection to add the model to: its slug, or a title, which is made when missing."""
    every_save: bool = False
    """Push each checkpoint's model while training goes on, to the branch `training`."""
    merge: bool | None = None
    """Adapters: push the merged model with the adapter beside it (default), or with false the adapter alone."""
    examples: bool | None = None
    """Whether the card may quote rows of the data; default: only of datasets that are public on the Hub."""

    @model_validator(mode="after")
    def _one_place(self) -> HubConfig:
        if self.create_pr and (self.tag or self.every_save or self.revision not in (None, "main")):
            raise ValueError("create_pr opens a pull request to main; leave revision, tag and every_save out")
        return self


class RunConfig(Section):
    """A whole run."""

    task: str | None = None
    model: ModelConfig
    data: DataConfig
    method: MethodConfig = Field(default_factory=MethodConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    loss: LossConfig = Field(default_factory=LossConfig)
    generation: GenerationSection = Field(default_factory=GenerationSection)
    hub: HubConfig | None = None
    output: str | None = None
    on_change: Literal["new", "stop"] | None = None
    """What is done where the run folder holds a run of other data, of another model, or of another configuration: train
    anew in the next free folder (`-2`, `-3`, ...), or stop. Default: stop, but for a changed dataset or model in a
    folder that `output` does not name, which is trained anew."""
    proof: bool = True
    """Whether the saved model is loaded again in a clean process, by plain Transformers, and has to answer as it was
    measured, before the run is done and before and after it is shared."""
    seed: int = Field(42, ge=0, lt=2**32)

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, values: Any) -> Any:
        return expand(values) if isinstance(values, Mapping) else values

    @field_validator("task")
    @classmethod
    def _known_task(cls, value: str | None) -> str | None:
        if value is not None:
            from hf_tl.task import get_task

            get_task(value)
        return value

    @property
    def folder(self) -> Path:
        """The run folder: `output`, or `runs/<model>-<data>-<method>`."""
        if self.output:
            return Path(self.output)
        parts = (self.model.id, self.data.paths[0], self.method.name)
        return Path("runs") / "-".join(slug(part) for part in parts)

    def to_yaml(self) -> str:
        return str(yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True))


def slug(text: str) -> str:
    """The last part of a path or id without its extension, in characters that are safe in a file name."""
    name = re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    name = re.sub(r"(\.(csv|tsv|jsonl?|parquet|arrow|zip|tar|tgz|gz))+$", "", name, flags=re.I)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "x"


def expand(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces shorthands (`method: lora`) by mappings, so that overrides can be merged into them."""
    out = dict(values)
    for key, field_name in SHORTHAND.items():
        if key in out and out[key] is not None and not isinstance(out[key], (Mapping, BaseModel)):
            out[key] = {field_name: out[key]}
    return out


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """`["training.learning_rate=3e-4", "method=lora"]` as nested mappings; values are YAML.

    Raises:
        ConfigError: an item without `=` or with an empty key.
    """
    out: dict[str, Any] = {}
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(f"{item!r}: an override is written key=value, for example training.num_train_epochs=5.")
        value = override(key, text) if text else None
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        out = merge(out, nested)
    return out


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` applied to `base`, mapping by mapping; other values replace. Neither argument is changed."""
    out = copy.deepcopy(expand(base))
    for key, value in expand(over).items():
        # A new method starts from its own defaults; a new model or dataset keeps the options beside it.
        if key == "method" and isinstance(value, Mapping) and set(value) == {"name"}:
            same = isinstance(out.get(key), Mapping) and out[key].get("name") == value["name"]
            out[key] = {**out[key], **value} if same else dict(value)
        elif isinstance(value, Mapping) and isinstance(out.get(key), Mapping):
            out[key] = merge(out[key], value)
        else:
            out[key] = copy.deepcopy(value)
    return out


def load_config(
    source: RunConfig | Mapping[str, Any] | str | Path | None = None, *layers: Mapping[str, Any]
) -> RunConfig:
    """A `RunConfig` from a YAML path, a mapping or a config, with `layers` of overrides applied to it in order.

    Raises:
        ConfigError: an unknown key (with the nearest known one), a missing key or a value of the wrong kind.
    """
    if isinstance(source, RunConfig):
        values: dict[str, Any] = source.model_dump(exclude_unset=True)
    elif isinstance(source, (str, Path)):
        values = read_yaml(source)
    else:
        values = dict(source or {})
    values = expand(values)
    for layer in layers:
        values = merge(values, layer)
    check_tokens(values)
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(" ".join(wrong_value(error, RunConfig).splitlines())) from None  # keys may hold anything


def hub_config(**options: Any) -> HubConfig:
    """`HubConfig(**options)`, checked as part of a configuration.

    Raises:
        ConfigError: in one sentence.
    """
    given = {key: value for key, value in options.items() if value is not None}
    found = load_config({"model": "-", "data": "-", "hub": given}).hub
    assert found is not None
    return found
