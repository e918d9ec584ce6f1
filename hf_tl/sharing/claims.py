"""The metrics that a card claims, wherever it does, and what is to be said of each once it was measured again."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hf_tl.errors import ConfigError
from hf_tl.io import card_text
from hf_tl.io.json_text import kind_of
from hf_tl.metrics import split_name
from hf_tl.reporting.formatting import metric_title

T = TypeVar("T")
NEAR = 0.002
"""Of a value (above 1 relative to it): what another machine's rounding may move, or one row if that is more."""
FALSE = "does not hold"
UNKNOWN = f"{FALSE}: no such metric"
NO_NUMBER = f"{FALSE}: not a number"
TWICE = f"{FALSE}: claimed twice, differently"
LEFT_OUT = f"{FALSE}: measured, but not on the card"
OTHER_DATA = "not checked: of other data"
OF_THE_HUB = "not checked: a metric of the Hub, whose code is not run"
TABLE = re.compile(r"\|\s*metric\s*\|\s*value\s*\|\s*95 % interval\s*\|\s*")
"""Header of the table of metrics that hf_tl writes."""


@dataclass(frozen=True)
class Claim:
    """A figure of the card, and what came of measuring it again."""

    metric: str
    place: str
    """`model-index`, `text` or `block`."""
    claimed: float | None
    """None: what stands there is no number, or nothing does."""
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str = ""
    """`holds`; `within its interval`; `does not hold`, with why; `not checked`, with why."""

    @property
    def holds(self) -> bool:
        return not self.verdict.startswith(FALSE)

    @property
    def confirmed(self) -> bool:
        return self.holds and self.measured is not None


def model_index(card: str, model: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(dataset, metric) of each metric in the metadata, as they stand there.

    Raises:
        ConfigError: the metadata are not YAML, or its `model-index` is built in another way than the Hub's.
    """
    place = "model-index"

    def each(value: Any, kind: type[T], what: str) -> T:
        if not isinstance(value, kind):
            expected = kind_of(kind())
            raise ConfigError(
                f"{model}: {what} in the metadata of its card: expected {expected}, found {kind_of(value)}."
            )
        return value

    for entry in each(card_text.metadata_of(card, model).get(place) or [], list, place):
        for result in each(each(entry, dict, place).get("results") or [], list, "results of model-index"):
            source = each(each(result, dict, "a result of model-index").get("dataset") or {}, dict, "dataset")
            for metric in each(result.get("metrics") or [], list, "metrics of model-index"):
                if each(each(metric, dict, "a metric of model-index").get("type"), str, "type of a metric"):
                    yield source, metric


def claims_of(card: str, model: str, data: Mapping[str, Any] | None = None) -> list[Claim]:
    """The metrics of a card: of its metadata (`model-index`) and of the table that hf_tl writes.

    Args:
        data: what the metadata call the data that are measured on (some of `type`, `config`, `split`, `revision`);
            default those of its first metric.

    Raises:
        ConfigError: the metadata are not YAML, or there are no metrics.
    """
    out: list[Claim] = []
    for source, metric in model_index(card, model):
        data = source if data is None else data
        arguments = metric.get("args")
        average = arguments.get("average") if isinstance(arguments, dict) else None
        name = "_".join([str(metric["type"]), *([str(average)] if average is not None else [])])
        other = any(source.get(key) != data.get(key) for key in ("type", "config", "split", "revision") if key in data)
        out.append(Claim(name, "model-index", number_of(metric.get("value")), verdict=OTHER_DATA if other else ""))
    out += _of_the_table(card, {metric_title(claim.metric): claim.metric for claim in out})
    if not out:
        raise ConfigError(f"{model}: its card claims no metrics (there is no model-index in its metadata).")
    return out


def _of_the_table(card: str, titles: Mapping[str, str]) -> Iterator[Claim]:
    """The rows of hf_tl's table, and others that look like them.

    Args:
        titles: title -> metric, of the metrics in the metadata.
    """
    inside = False
    for line in card.splitlines():
        inside = bool(TABLE.fullmatch(line.strip())) or (inside and line.startswith("|"))
        cells = [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in line.strip().strip("|").split("|")]
        row = line.startswith("|") and len(cells) > 2 and " to " in line
        if row and (inside or cells[0] in titles):
            yield Claim(titles.get(cells[0], cells[0]), "text", number_of(cells[1].replace(",", "")))


def number_of(value: Any) -> float | None:
    """A finite number, also written as a text; None for anything else."""
    try:
        found = None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found is not None and math.isfinite(found) else None


def of_the_block(found: Mapping[str, Any]) -> list[Claim]:
    """The metrics in the block by which hf_tl says what it measured; those that were no number had none to claim."""
    metrics = found.get("metrics")
    values = {
        str(name): each.get("value") if isinstance(each, Mapping) else each
        for name, each in (metrics.items() if isinstance(metrics, Mapping) else ())
    }
    undefined = {name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)}
    return [Claim(name, "block", number_of(value)) for name, value in values.items() if name not in undefined]


def judge(claim: Claim, found: Mapping[str, Any], exact: bool) -> Claim:
    """The claim with its verdict.

    Args:
        found: `metrics` and `samples`, as measured now.
        exact: whether model and data are those that were measured, so that the same value has to come out.
    """
    if claim.verdict:
        return claim
    value = next((value for name, value in found["metrics"].items() if same_metric(name, claim.metric)), None)
    if value is None:
        return replace(claim, verdict=OF_THE_HUB if "/" in claim.metric and not exact else UNKNOWN)
    near = max(NEAR, 1 / max(1, found["samples"])) * max(1.0, abs(value["value"]))
    if claim.claimed is None:
        verdict = NO_NUMBER
    elif abs(claim.claimed - value["value"]) <= near:
        verdict = "holds"
    elif not exact and value["low"] <= claim.claimed <= value["high"]:
        verdict = "within its interval"
    else:
        verdict = FALSE
    return replace(claim, measured=value["value"], low=value["low"], high=value["high"], verdict=verdict)


def contradicted(claims: Sequence[Claim]) -> list[Claim]:
    """The claims, those of them that say two things of one metric in one place marked as not holding."""
    said: dict[tuple[str, str], list[float | None]] = {}
    for claim in claims:
        if claim.verdict != OTHER_DATA:
            said.setdefault((claim.place, claim.metric), []).append(claim.claimed)
    out = []
    for claim in claims:
        values = said.get((claim.place, claim.metric), [])
        twice = claim.verdict != OTHER_DATA and any(value != values[0] for value in values)
        out.append(replace(claim, verdict=TWICE) if twice and claim.holds else claim)
    return out


def left_out(claims: Sequence[Claim], found: Mapping[str, Any], place: str) -> list[Claim]:
    """What was measured, has a value, and is not claimed in `place`, where hf_tl writes all."""
    here = [claim.metric for claim in claims if claim.place == place and claim.verdict != OTHER_DATA]
    return [
        Claim(name, place, None, value["value"], value["low"], value["high"], LEFT_OUT)
        for name, value in found["metrics"].items()
        if math.isfinite(value["value"]) and not any(same_metric(name, claimed) for claimed in here)
    ]


def same_metric(ours: str, theirs: str) -> bool:
    """Whether a metric of ours is what a card calls by a name, by the Hub's arguments, or by its title."""
    module, arguments = split_name(ours)
    return theirs in (ours, "_".join([module, *arguments.values()]), metric_title(ours))
