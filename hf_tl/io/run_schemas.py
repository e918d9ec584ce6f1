"""What the JSON files of a run folder hold: of a damaged one, or one that somebody else wrote, the first wrong place is
named before anything is made of it."""

from __future__ import annotations

import functools
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

_OPEN = ConfigDict(extra="allow", strict=True)


@with_config(_OPEN)
class Value(TypedDict):
    value: float
    low: float
    high: float


@with_config(_OPEN)
class OfClass(TypedDict):
    label: str | int | float | bool
    precision: float
    recall: float
    f1: float
    support: int


@with_config(_OPEN)
class Trained(TypedDict):
    seconds: NotRequired[float]
    steps: NotRequired[int]
    epochs: NotRequired[float]
    best_step: NotRequired[int | None]
    trainable_parameters: NotRequired[int | None]
    total_parameters: NotRequired[int | None]
    peak_memory_bytes: NotRequired[int | None]
    resumed_from_step: NotRequired[int | None]


@with_config(_OPEN)
class Metrics(TypedDict):
    split: str
    samples: int
    metrics: Annotated[dict[str, Value], Field(min_length=1)]
    labels: NotRequired[list[str | int | float | bool]]
    per_class: NotRequired[list[OfClass]]
    confusion_matrix: NotRequired[list[list[int]] | None]
    baseline: NotRequired[dict[str, float]]
    train: NotRequired[Trained]


@with_config(_OPEN)
class Setting(TypedDict):
    key: str
    value: Any
    reason: str


@with_config(_OPEN)
class OfModel(TypedDict):
    id: str
    revision: NotRequired[str | None]
    sha256: NotRequired[dict[str, str] | None]
    architecture: NotRequired[str | None]
    license: NotRequired[str | None]
    language: NotRequired[list[str] | None]


@with_config(_OPEN)
class OfData(TypedDict):
    id: NotRequired[str | None]
    path: NotRequired[str | list[str] | None]
    name: NotRequired[str | None]
    revision: NotRequired[str | None]
    sha256: NotRequired[str | dict[str, str] | None]
    rows: NotRequired[dict[str, int] | int | None]
    class_counts: NotRequired[dict[str, dict[str, int]] | None]
    origins: NotRequired[dict[str, str] | None]
    unused_columns: NotRequired[list[str]]
    columns: NotRequired[dict[str, str] | None]
    labels: NotRequired[list[Any] | None]
    notes: NotRequired[list[str]]
    held_out: NotRequired[str | None]
    license: NotRequired[str | None]
    language: NotRequired[list[str] | None]


@with_config(_OPEN)
class Hardware(TypedDict):
    device: NotRequired[str | None]
    name: NotRequired[str | None]
    cores: NotRequired[int | None]
    threads: NotRequired[int | None]
    memory_bytes: NotRequired[int | None]


@with_config(_OPEN)
class Environment(TypedDict):
    task: str
    problem: NotRequired[str | None]
    model: OfModel
    data: OfData
    packages: NotRequired[dict[str, str | None] | None]
    hardware: NotRequired[Hardware]
    settings: NotRequired[list[Setting]]
    notes: NotRequired[list[str]]
    precision: NotRequired[dict[str, str]]
    processes: NotRequired[int]
    created: NotRequired[str | None]


@with_config(_OPEN)
class State(TypedDict):
    stage: str
    train: NotRequired[Trained]
    precision: NotRequired[list[str]]
    made_of: NotRequired[dict[str, Any]]
    loss_before_saving: NotRequired[float | None]
    proof_failed: NotRequired[str | None]
    proof: NotRequired[str | None]
    commit: NotRequired[str | None]
    url: NotRequired[str | None]
    written: NotRequired[list[str]]
    measured: NotRequired[dict[str, Any]]


@with_config(_OPEN)
class Answers(TypedDict):
    task: str
    rows: list[dict[str, Any]]
    answers: list[Any]
    files: dict[str, str]
    tensors: dict[str, dict[str, str]]
    configuration: dict[str, Any]


@with_config(_OPEN)
class Found(TypedDict):
    """`found` in a card's block."""

    split: NotRequired[str | None]
    samples: NotRequired[int | None]
    metrics: NotRequired[dict[str, Any] | None]
    weights: NotRequired[dict[str, str | None] | None]  # None is another hash, which `verify` judges
    files: NotRequired[dict[str, str] | None]
    model_sha256: NotRequired[dict[str, str | None] | None]
    data_sha256: NotRequired[str | dict[str, str] | None]
    versions: NotRequired[dict[str, str | None] | None]
    hardware: NotRequired[Hardware | None]
    processes: NotRequired[Annotated[int, Field(ge=1, le=1024)]]


SHAPES: dict[str, type] = {
    "metrics.json": Metrics,
    "environment.json": Environment,
    "state.json": State,
    "answers.json": Answers,
    "found": Found,
}


@functools.cache
def _checker(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(SHAPES[name])


def wrong_place(name: str, value: Any) -> str | None:
    """`metrics.accuracy.value is 'x'; input should be a valid number`: what is wrong in the file called `name`."""
    if name not in SHAPES:
        return None
    try:
        _checker(name).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part)[:80] for part in first["loc"])
        if first["type"] == "missing":
            return f"{place} is missing"
        found = repr(first.get("input"))
        said = first["msg"][:1].lower() + first["msg"][1:]
        return f"{place} is {found if len(found) <= 60 else found[:59] + '…'}; {said}"
    for index, row in enumerate(value.get("per_class", ()) if name == "metrics.json" else ()):
        for key, each in row.items():  # tasks add measures of their own
            if not isinstance(each, (str, int, float, type(None))):
                return f"per_class.{index}.{key} is {str(each)[:60]}; expected a number"
    return None
