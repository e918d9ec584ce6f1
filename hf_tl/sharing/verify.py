"""`verify`: a shared model measured again, and its card's figures held against that."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from hf_tl import card_text
from hf_tl.config import RunConfig, load_config
from hf_tl.data import Data, load_data
from hf_tl.errors import ConfigError, DataError, listing
from hf_tl.evaluation.held_out import finished, outputs_on, results
from hf_tl.evaluation.verbs import evaluate
from hf_tl.hubclient import fetch_model
from hf_tl.json_text import kind_of
from hf_tl.metrics import split_name
from hf_tl.sharing.card_config import allowed, hub_id
from hf_tl.sharing.origin import FIRST_LINE, config_of, read_block, weights
from hf_tl.sharing.wording import metric_title, number

T = TypeVar("T")
NEAR = 0.002
"""Of a value (above 1 relative to it): what another machine's rounding may move, or one row if that is more."""


@dataclass(frozen=True)
class Claim:
    """A figure of the card, and what came of measuring it again."""

    metric: str
    place: str
    """`model-index` or `text`."""
    claimed: float
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str = "not measured"
    """`holds`; `within its interval`; `does not hold`; `not measured`: nothing here computes it."""

    @property
    def fine(self) -> bool:
        return self.verdict != "does not hold"


def verify(
    model: str,
    data: str | Sequence[str] | None = None,
    *,
    revision: str | None = None,
    batch_size: int | None = None,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Measures a shared model again, on the data and revision that its card names, and judges each of its figures.

    Where weights and data are, byte for byte, those that the card says were measured, a figure has to come out
    again but for rounding (`holds`). Where they are not, or cannot be told, it has to lie in the 95 % interval of the
    value measured now.

    Args:
        model: Hub id, or a run folder.
        data: for data that are on no Hub; the card has their hash.

    Returns:
        `holds` (whether every figure that was measured does), `claims`, `notes`, `split`, `samples`.

    Raises:
        ConfigError: there is no card, or it claims nothing; and what `evaluate` raises.
    """
    run = (Path(model) / "config.yaml").exists()
    folder, commit = (Path(model), None) if run else fetch_model(model, revision)
    card = read_card(folder, model)
    claims = claims_of(card, model)
    paths = [data] if isinstance(data, str) else data
    if FIRST_LINE in card:
        block = read_block(card, model)
        config = config_of(block, model, data=paths, model="-")  # what it was made from is not asked for
        found, source = measured_again(str(folder), config, batch_size, trust_remote_code, model)
        notes = _changes(folder / "model" if run else folder, block["found"], source)
        exact = not notes
    else:
        found = _by_model_index(card, model, folder, paths, batch_size, trust_remote_code)
        notes, exact = (
            ["The card does not say what exactly was measured, so figures are held against intervals."],
            False,
        )
    judged = [judge(claim, found, exact) for claim in claims]
    return {
        "model": model,
        "commit": commit,
        "holds": all(claim.fine for claim in judged) and any(claim.measured is not None for claim in judged),
        "split": found["split"],
        "samples": found["samples"],
        "claims": [asdict(claim) for claim in judged],
        "notes": notes,
    }


def read_card(folder: Path, model: str) -> str:
    """The text of a card, with its head."""
    file = folder / "README.md"
    if not file.exists():
        raise ConfigError(f"{model}: there is no card (README.md) whose figures could be checked.")
    return card_text.read_card(file)


def claims_of(card: str, model: str) -> list[Claim]:
    """The figures of a card: of its head (`model-index`) and of the table that hf_tl writes.

    Raises:
        ConfigError: the head is not YAML, or there are no figures.
    """
    out = []
    for _, metric in _model_index(card, model):
        arguments = metric.get("args")
        average = arguments.get("average") if isinstance(arguments, dict) else None
        name = "_".join([str(metric["type"]), *([str(average)] if average is not None else [])])
        out.append(Claim(name, "model-index", _number(metric.get("value"))))
    titles = {metric_title(claim.metric): claim.metric for claim in out}
    for line in card.splitlines():
        cells = [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) > 2 and cells[0] in titles and " to " in line:
            out.append(Claim(titles[cells[0]], "text", _number(cells[1].replace(",", ""))))
    if not out:
        raise ConfigError(f"{model}: its card claims no figures (there is no model-index in its head).")
    return out


def _model_index(card: str, model: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(data set, metric) of each figure in the head, as they stand there.

    Raises:
        ConfigError: the head is not YAML, or its `model-index` is built in another way than the Hub's.
    """
    place = "model-index"

    def each(value: Any, kind: type[T], what: str) -> T:
        if not isinstance(value, kind):
            expected = kind_of(kind())
            raise ConfigError(f"{model}: {what} in the head of its card: expected {expected}, found {kind_of(value)}.")
        return value

    for entry in each(card_text.head_of(card, model).get(place) or [], list, place):
        for result in each(each(entry, dict, place).get("results") or [], list, "results of model-index"):
            source = each(each(result, dict, "a result of model-index").get("dataset") or {}, dict, "dataset")
            for metric in each(result.get("metrics") or [], list, "metrics of model-index"):
                if each(each(metric, dict, "a metric of model-index").get("type"), str, "type of a metric"):
                    yield source, metric


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def measured_again(
    model: str, config: RunConfig, batch_size: int | None, trust: bool, where: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(metrics.json without its `train` part, facts about the data), the way the corridor measures."""
    given = load_data(config.data, config.task, seed=config.seed)
    loaded, _, setting = finished(model, preprocessing=config.data.preprocessing, trust=trust)
    rows = _with_labels(given, setting.labels, where)
    size = batch_size or config.training.passed_through.get("per_device_eval_batch_size")
    outputs, samples = outputs_on(loaded, given.task, setting, rows, size)
    return results(given.task, setting, outputs, samples, rows, given.held_out, config.seed), given.source


def _with_labels(given: Data, labels: Sequence[str], where: str) -> Any:
    """The held-out rows, their classes numbered as the model does."""
    rows, role = given.splits[given.held_out], given.targets.classes
    if not role or tuple(labels) == given.labels:
        return rows
    if set(labels) != set(given.labels):
        raise DataError(
            f"{where}: the model's labels are {listing(labels)}, those of the data {listing(given.labels)}."
        )
    numbers = [list(labels).index(name) for name in given.labels]
    values = [numbers[index] for index in rows[role]]
    return rows.remove_columns(role).add_column(role, values)


def _by_model_index(
    card: str, model: str, folder: Path, paths: Sequence[str] | None, batch_size: int | None, trust: bool
) -> dict[str, Any]:
    """The figures of a card that hf_tl did not write, on the data set that the first of them names."""
    first, _ = next(_model_index(card, model))
    given: dict[str, Any] = (
        {"path": list(paths)} if paths else {"path": hub_id(first.get("type"), model, "data", "--data")}
    )
    if not paths:
        given |= {"name": first.get("config"), "revision": first.get("revision")}
    config = load_config({"model": "-", **allowed({"data": given}, model)[0]})
    split = None if first.get("split") is None else str(first["split"])
    return evaluate(str(folder), config.data, split=split, batch_size=batch_size, trust_remote_code=trust)


def _changes(folder: Path, found: dict[str, Any], source: dict[str, Any]) -> list[str]:
    """What is not, byte for byte, what the card says was measured."""
    told, out = found.get("weights") or {}, []
    for name, hash in weights(folder).items():
        if hash not in (told.get(name), told.get(f"adapter/{name}")):
            out.append(f"{name} is not the file that the card's figures were measured with.")
    if source.get("sha256") != found.get("data_sha256"):
        out.append("The data are not those that the card's figures were measured on.")
    return out


def judge(claim: Claim, found: dict[str, Any], exact: bool) -> Claim:
    """The claim with its verdict.

    Args:
        found: `metrics` and `samples`, as measured now.
        exact: whether model and data are those that were measured, so that the same value has to come out.
    """
    value = next((value for name, value in found["metrics"].items() if _same_metric(name, claim.metric)), None)
    if value is None:
        return claim
    near = max(NEAR, 1 / max(1, found["samples"])) * max(1.0, abs(value["value"]))
    if math.isnan(claim.claimed):
        verdict = "does not hold"
    elif abs(claim.claimed - value["value"]) <= near:
        verdict = "holds"
    elif not exact and value["low"] <= claim.claimed <= value["high"]:
        verdict = "within its interval"
    else:
        verdict = "does not hold"
    return Claim(claim.metric, claim.place, claim.claimed, value["value"], value["low"], value["high"], verdict)


def _same_metric(ours: str, theirs: str) -> bool:
    module, arguments = split_name(ours)
    return theirs in (ours, "_".join([module, *arguments.values()]))


def as_rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """What the command line shows."""
    out: list[tuple[str, ...]] = []
    for each in result["claims"]:
        again = ("", "") if each["measured"] is None else (number(each["measured"]), _interval(each))
        out.append((each["metric"], each["place"], number(each["claimed"]), *again, each["verdict"]))
    return out


def _interval(each: dict[str, Any]) -> str:
    return f"{number(each['low'])} to {number(each['high'])}"


__all__ = ["Claim", "as_rows", "claims_of", "judge", "verify"]
