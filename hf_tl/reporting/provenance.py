"""What a model was made of, as its card carries it: enough to make the run again, and to check what it claims."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from hf_tl.config import ELSEWHERE, RunConfig, load_config
from hf_tl.errors import ConfigError
from hf_tl.files import sha256
from hf_tl.io.console import visible
from hf_tl.io.run_schemas import wrong_place
from hf_tl.io.yaml_text import parse_yaml
from hf_tl.reporting.card_config import allowed, hub_id
from hf_tl.reporting.card_numbers import check_numbers
from hf_tl.reporting.formatting import elsewhere, last_part
from hf_tl.reporting.run_summary import RunSummary
from hf_tl.run_folder import read_part

FIRST_LINE = "# made by hf_tl"
"""By which the block is known among others of a card."""


def provenance(summary: RunSummary) -> dict[str, Any]:
    """`config` (complete: chosen defaults and revisions are settled) and `found` (what came of it, and on what).

    Folders of somebody's machine are written `path/to/<last part>`; no token is part of a configuration.
    """
    config, environment = summary.config, summary.environment
    values: dict[str, Any] = config.model_dump(
        mode="json", exclude_defaults=True, exclude={"output", "on_change", "hub", "proof"}
    )
    values = {"task": summary.task.name, "model": {}, "data": {}, "method": {}, "training": {}, **values}
    values["model"] |= {"id": summary.model_id or ELSEWHERE + last_part(config.model.id)}
    paths = [summary.data_id] if summary.data_id else [ELSEWHERE + last_part(path) for path in config.data.paths]
    values["data"] |= {"path": paths[0] if len(paths) == 1 else paths}
    for section in ("model", "data"):
        if revision := environment.get(section, {}).get("revision"):
            values[section]["revision"] = str(revision)
    values["method"]["name"] = config.method.name
    values["training"] |= _chosen(summary)
    values["seed"] = config.seed
    found = {
        "split": summary.metrics["split"],
        "samples": summary.metrics["samples"],
        "metrics": summary.values,
        "weights": weights(summary.folder / "model"),
        "files": _settings(summary.folder),
        "model_sha256": environment.get("model", {}).get("sha256"),
        "data_sha256": summary.data.get("sha256"),
        **({"model_code": code} if (code := environment.get("model", {}).get("code")) else {}),
        "versions": {name: environment.get(name) for name in ("hf_tl", "python")} | (environment.get("packages") or {}),
        "hardware": environment.get("hardware"),
        "processes": environment.get("processes", 1),
    }
    return {"config": elsewhere(values), "found": found}


def _chosen(summary: RunSummary) -> dict[str, Any]:
    """Defaults that depend on data and hardware, as this run settled them."""
    given = summary.config.training.passed_through
    prefix, chosen = "training.", {}
    for each in summary.environment.get("settings", []):
        name = str(each["key"]).removeprefix(prefix)
        if name != "per_device_eval_batch_size":  # no part of what is learned
            chosen[name] = each["value"]
    if not {"bf16", "fp16"} & set(given):  # of a head on fixed features: that of its backbone
        chosen["bf16"] = summary.environment.get("precision", {}).get("choice") == "bf16"
    return chosen


def weights(folder: Path) -> dict[str, str]:
    """Path below `folder` -> sha256 of every safetensors file."""
    files = sorted(folder.rglob("*.safetensors"))
    return {file.relative_to(folder).as_posix(): sha256(file) for file in files}


def settings(folder: Path) -> dict[str, str]:
    """Path below `folder` -> sha256 of every file of a model that is neither weights nor a card: its configurations,
    its tokenizer or processor, what it writes by, its code."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix != ".safetensors")
    names = {file.relative_to(folder).as_posix(): file for file in files}
    return {
        name: sha256(file)
        for name, file in names.items()
        if file.name != "README.md" and not any(part.startswith(".") for part in name.split("/"))
    }


def _settings(run: Path) -> dict[str, str]:
    """Those that the run measured, by its list: others beside them are not shared."""
    state = read_part(run / "state.json") if (run / "state.json").exists() else {}
    listed = state.get("measured", {}).get("files")
    found = settings(run / "model")
    return {name: found[name] for name in found if not isinstance(listed, dict) or f"model/{name}" in listed}


def as_block(summary: RunSummary) -> str:
    """The text of the card's block, YAML."""
    text = yaml.safe_dump(provenance(summary), sort_keys=False, allow_unicode=False, width=100)
    return f"{FIRST_LINE}\n{text.rstrip()}"


def read_block(card: str, where: str) -> dict[str, Any]:
    """What `as_block` wrote into a card.

    Raises:
        ConfigError: there is no such block, more than one, or it is damaged.
    """
    blocks = list(_blocks(card.replace("\r\n", "\n").split("\n")))
    if len(blocks) != 1:
        raise ConfigError(
            f"{where}: its card has {len(blocks) or 'no'} block{'s' * (len(blocks) > 1)} that begin"
            f"{'s' * (len(blocks) < 2)} with {FIRST_LINE!r}, expected one: "
            "it was not made by this version of hf_tl, or was changed by hand."
        )
    found = parse_yaml(blocks[0], f"{where}: the block {FIRST_LINE!r} of its card")
    if not isinstance(found, dict) or not all(isinstance(found.get(key), dict) for key in ("config", "found")):
        raise ConfigError(f"{where}: the block {FIRST_LINE!r} of its card lacks `config` or `found`.")
    wrong = wrong_place("found", found["found"])
    if wrong is not None:
        raise ConfigError(f"{where}: the block {FIRST_LINE!r} of its card is damaged: found.{wrong}.")
    return found


def _blocks(lines: list[str]) -> Iterator[str]:
    """The texts of code blocks of YAML that begin with our line, each line looked at once."""
    closing: dict[str, list[int]] = {}
    for at, line in enumerate(lines):
        if re.fullmatch(r"`{3,}", line.rstrip(" \t")):
            closing.setdefault(line.rstrip(" \t"), []).append(at)
    free = 0
    for at, line in enumerate(lines[:-1]):
        opened = re.fullmatch(r"(`{3,})yaml", line)
        if at < free or not opened or not lines[at + 1].startswith(FIRST_LINE):
            continue
        ends = closing.get(opened[1], [])
        after = bisect.bisect_right(ends, at + 1)
        if after < len(ends):
            yield "\n".join(lines[at + 2 : ends[after]])
            free = ends[after] + 1


def config_of(
    block: dict[str, Any], where: str, model: str | None = None, data: Sequence[str] | None = None, trust: bool = False
) -> RunConfig:
    """The configuration in a block, with `model` and `data` in place of folders of another machine.

    Others wrote it: it says neither where anything goes nor what runs unasked, and no file of this machine is read
    because it names it (`card_config`).

    Raises:
        ConfigError: the block asks for something that this version does not know or that has to be allowed, or for a
            folder that is not given.
    """
    values, _ = allowed(elsewhere(block["config"]), where)
    check_numbers(values, where)
    try:
        config = load_config(values)
    except ConfigError as error:
        raise ConfigError(f"{where}: the configuration in its card: {error}") from None
    if config.model.trust_remote_code and not trust:
        raise ConfigError(f"{where}: its pretrained model runs code of its own; --trust-remote-code allows it.")
    hashes = {"model": "model_sha256", "data": "data_sha256"}
    given: dict[str, Any] = {}
    for section, paths in (("model", [config.model.id]), ("data", config.data.paths)):
        instead = data if section == "data" else [model] if model else None
        if instead:
            name = "id" if section == "model" else "path"
            given[section] = {name: instead[0] if len(instead) == 1 else list(instead), "revision": None}
        elif any(path.startswith(ELSEWHERE) for path in paths):
            told = block["found"].get(hashes[section])
            told = next(iter(told.values()), None) if isinstance(told, dict) else told
            raise ConfigError(
                f"{where}: its {section} was a folder or file on the machine that made it "
                f"({visible(', '.join(last_part(path) for path in paths))}"
                f"{f', sha256 {visible(str(told))[:12]}…' if told else ''}); give yours with --{section} PATH."
            )
        else:
            for path in paths:
                hub_id(path, where, section, f"--{section}")
    return load_config(config, given) if given else config


def _first(error: Exception) -> str:
    return visible(str(error).splitlines()[0])
