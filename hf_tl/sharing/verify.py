"""`verify`: a shared model measured again, and the metrics of its card compared with that."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hf_tl.config import RunConfig, load_config
from hf_tl.data import load_data
from hf_tl.errors import ConfigError, InputError
from hf_tl.files import sha256
from hf_tl.hub.client import fetch_model
from hf_tl.inference.evaluate import evaluate
from hf_tl.inference.held_out import answering, finished, outputs_on, results, with_labels
from hf_tl.io import card_text
from hf_tl.io.console import visible
from hf_tl.models.carried import base_of
from hf_tl.reporting.card_config import allowed, hub_id
from hf_tl.reporting.formatting import number
from hf_tl.reporting.provenance import FIRST_LINE, config_of, read_block, settings, weights
from hf_tl.run_folder import is_run_folder
from hf_tl.sharing.claims import Claim, claims_of, contradicted, judge, left_out, model_index, of_the_block

LOADED = re.compile(
    r".*\.safetensors|(additional_chat_templates|custom_generate)/.*|(vocab|merges)[^/]*|"
    r"[^/]*\.(jinja|model|tiktoken|py)|[^/]*(config|token|processor|modules|chat_template|index)[^/]*\.json"
)
"""Files that libraries read of a model where they lie, whoever put them there."""


def verify(
    model: str,
    data: str | Sequence[str] | None = None,
    *,
    revision: str | None = None,
    batch_size: int | None = None,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Measures a shared model again, on the data and revision that its card names, and judges each of its metrics.

    A card that hf_tl wrote says by hashes what was measured: the model's files and the data have to be those, byte for
    byte, and every figure has to come out again but for rounding; that they are others is a failure itself, and no
    reason to look less closely. Of other cards a figure has to lie in the 95 % interval of the value measured now.

    Args:
        model: Hub id, or a run folder.
        data: for data that are on no Hub; the card has their hash.

    Returns:
        `holds` (whether all of it does), `claims`, `failures` (what was measured is not what the card is about),
        `notes`, `split`, `samples`.

    Raises:
        ConfigError: there is no card, or it claims nothing; and what `evaluate` raises.
    """
    run = is_run_folder(model)
    folder, commit = (Path(model), None) if run else fetch_model(model, revision)
    card = read_card(folder, model)
    paths = [data] if isinstance(data, str) else data
    failures: list[str] = []
    notes: list[str] = []
    if FIRST_LINE in card:
        block = read_block(card, model)
        config = config_of(block, model, data=paths, model="-")  # what it was made from is not asked for
        claims = claims_of(card, model, data_of(block)) + of_the_block(block["found"])
        failures = changed_files(folder / "model" if run else folder, block["found"])
        try:
            found, source = measured_again(str(folder), config, batch_size, trust_remote_code, model)
        except InputError as error:
            raise (ConfigError(f"{model}: {failures[0]} {error}") if failures else error) from None
        failures += changes(folder / "model" if run else folder, block, found, source, by_hand=paths is not None)
        if block["found"].get("files") is None:
            notes.append("The card, of an older hf_tl, has hashes of the weights alone; no other file was compared.")
        judged = [judge(claim, found, exact=True) for claim in claims]
        judged += [claim for place in ("model-index", "block") for claim in left_out(judged, found, place)]
    else:
        claims = claims_of(card, model)
        found = _by_model_index(card, model, folder, paths, batch_size, trust_remote_code)
        notes.append("The card does not say what exactly was measured, so metrics are compared with intervals.")
        judged = [judge(claim, found, exact=False) for claim in claims]
    judged = contradicted(judged)
    unchecked = sum(claim.holds and not claim.confirmed for claim in judged)
    if unchecked:
        notes.append(f"{unchecked} of the card's metrics were not checked.")
    return {
        "model": model,
        "commit": commit,
        "holds": not failures and all(claim.holds for claim in judged) and any(claim.confirmed for claim in judged),
        "split": found["split"],
        "samples": found["samples"],
        "claims": [asdict(claim) for claim in judged],
        "failures": failures,
        "notes": notes,
    }


def read_card(folder: Path, model: str) -> str:
    """The text of a card, with its metadata."""
    file = folder / "README.md"
    if not file.exists():
        raise ConfigError(f"{model}: there is no card (README.md) whose metrics could be checked.")
    return card_text.read_card(file)


def measured_again(
    model: str, config: RunConfig, batch_size: int | None, trust: bool, where: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(metrics.json without its `train` part, the description of the data), as `hf-tl train` measures."""
    given = load_data(config.data, config.task, seed=config.seed)
    loaded, _, context = finished(model, preprocessing=config.data.preprocessing, trust=trust)
    rows = with_labels(given, given.held_out, context.labels, where)
    size = batch_size or config.training.passed_through.get("per_device_eval_batch_size")
    with answering(where):
        outputs, samples = outputs_on(loaded, given.task, context, rows, size)
        return results(given.task, context, outputs, samples, rows, given.held_out, config.seed), given.source


def _by_model_index(
    card: str, model: str, folder: Path, paths: Sequence[str] | None, batch_size: int | None, trust: bool
) -> dict[str, Any]:
    """The metrics of a card that hf_tl did not write, on the dataset that the first of them names."""
    first, _ = next(model_index(card, model), ({}, {}))
    if not paths and not isinstance(first.get("type"), str):
        raise ConfigError(f"{model}: its card names no dataset; give yours with --data PATH.")
    given: dict[str, Any] = (
        {"path": list(paths)} if paths else {"path": hub_id(first.get("type"), model, "data", "--data")}
    )
    if not paths:
        given |= {"name": first.get("config"), "revision": first.get("revision")}
    config = load_config({"model": "-", **allowed({"data": given}, model)[0]})
    split = None if first.get("split") is None else str(first["split"])
    return evaluate(str(folder), config.data, split=split, batch_size=batch_size, trust_remote_code=trust)


def data_of(block: dict[str, Any]) -> dict[str, Any]:
    """What the metadata of a card call the data that its block is about, as hf_tl writes it."""
    said = block["config"].get("data")
    said = said if isinstance(said, dict) else {}
    revision = said.get("revision")
    return {
        "type": said.get("path") if revision else "custom",
        "split": block["found"].get("split"),
        "revision": revision,
    }


def changed_files(folder: Path, found: Mapping[str, Any]) -> list[str]:
    """Which files of a model are not, byte for byte, those that the card says were measured.

    Args:
        found: of the card's block. Cards of older versions have the hashes of weights alone.
    """
    part = "adapter/" if (folder / "adapter_config.json").exists() else ""
    told = {**(found.get("weights") or {}), **(found.get("files") or {})}
    expected = {name.removeprefix(part): hash for name, hash in told.items() if name.startswith(part)}
    there = weights(folder) | (settings(folder) if found.get("files") is not None else {})
    out = []
    for name in sorted({*expected, *there}):
        shown = visible(name)
        if name not in there:
            # of a model whose adapter lies beside it, people may take that away
            out += [] if name.startswith("adapter/") else [f"{shown}, which the card names, is missing."]
        elif name in expected and expected[name] != there[name]:
            out.append(f"{shown} is not the file that the card's metrics were measured with.")
        elif name not in expected and LOADED.fullmatch(name):
            out.append(f"{shown} was not there when the card's metrics were measured.")
    return out


def changes(
    folder: Path, block: dict[str, Any], measured: dict[str, Any], source: dict[str, Any], *, by_hand: bool
) -> list[str]:
    """What else is not, byte for byte, what the card says was measured.

    Args:
        by_hand: whether the user gave the data.
    """
    found, out = block["found"], []
    if (folder / "adapter_config.json").exists():
        base, _ = fetch_model(*base_of(folder))
        if {file.name: sha256(file) for file in sorted(base.glob("*.safetensors"))} != found.get("model_sha256"):
            out.append("The adapter's base is not the one that the card's metrics were measured with.")
    data = block["config"].get("data")
    pinned = isinstance(data, dict) and data.get("revision") and not by_hand
    if source.get("sha256") != found.get("data_sha256") or not (found.get("data_sha256") or pinned):
        way = "; other data are measured by hf-tl evaluate" if by_hand else ""
        out.append(f"The data are not those that the card's metrics were measured on{way}.")
    for key in ("split", "samples"):
        if found.get(key) != measured[key]:
            out.append(f"The card's metrics are of {key} {found.get(key)!r}, and these data give {measured[key]!r}.")
    return out


def as_rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """What the command line shows."""
    out: list[tuple[str, ...]] = []
    for each in result["claims"]:
        again = ("", "") if each["measured"] is None else (number(each["measured"]), _interval(each))
        out.append(
            (
                each["metric"],
                each["place"],
                "-" if each["claimed"] is None else number(each["claimed"]),
                *again,
                each["verdict"],
            )
        )
    return out


def _interval(each: dict[str, Any]) -> str:
    return f"{number(each['low'])} to {number(each['high'])}"


__all__ = ["Claim", "as_rows", "verify"]
