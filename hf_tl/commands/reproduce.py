"""`reproduce`: a shared model made again from its card alone, and compared."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_tl.commands.train import finetune
from hf_tl.config import RunConfig, slug
from hf_tl.errors import ConfigError
from hf_tl.hub.client import fetch_model
from hf_tl.inference.processes import process_state
from hf_tl.io.console import say, visible
from hf_tl.reporting.card_config import allowed
from hf_tl.reporting.provenance import config_of, read_block, weights
from hf_tl.run_folder import is_run_folder, read_part
from hf_tl.sharing.claims import number_of
from hf_tl.sharing.verify import read_card
from hf_tl.training.environment import environment


def reproduce(
    model: str,
    data: str | Sequence[str] | None = None,
    *,
    base: str | None = None,
    output: str | Path | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Runs what a card says a model was made of, and says what came out otherwise.

    On the same kind of machine, with the same versions and as many threads (which are set here), the weights are the
    same bits.

    Args:
        model: Hub id, or a run folder.
        data, base: in place of data or a pretrained model that are on no Hub; the card has their hashes.
        output: run folder; default `runs/<name>-again`.

    Returns:
        `run`, `weights` (`identical`, or which files differ), `metrics` (name -> card's value, value now, difference),
        `differences` of versions, hardware, data and pretrained model.

    Raises:
        ConfigError: the card has no configuration, or it needs what is not here; and what `finetune` raises.
    """
    ours = is_run_folder(model)
    folder, commit = (Path(model), None) if ours else fetch_model(model, revision)
    block = read_block(read_card(folder, model), model)
    paths = [data] if isinstance(data, str) else data
    config = config_of(block, model, base, paths, trust_remote_code)
    target = str(output or Path("runs") / f"{slug(model)}-again")
    config = RunConfig.model_validate({**config.model_dump(exclude_unset=True), "output": target})
    left = allowed(block["config"], model)[1]
    differences = [f"{visible(key)} of the card is left out." for key in left] + before(block["found"])
    for line in differences:
        _say(line)
    run = finetune(config)
    found, made = block["found"], read_environment(run.folder)
    for what, then, now in (
        ("The pretrained model's files", found.get("model_sha256"), made["model"].get("sha256")),
        ("The data", found.get("data_sha256"), made["data"].get("sha256")),
    ):
        if then != now:
            differences.append(f"{what} are not those of the card.")
    measured = run.metrics["metrics"]
    claimed = {
        name: number_of(each.get("value") if isinstance(each, dict) else each)
        for name, each in (found.get("metrics") or {}).items()
    }
    told, again = found.get("weights") or {}, weights(run.model)
    different = sorted(name for name in {*told, *again} if told.get(name) != again.get(name))
    return {
        "model": model,
        "commit": commit,
        "run": str(run.folder),
        "weights": "identical" if not different else f"different: {', '.join(different)}",
        "metrics": {
            name: {"card": value, "now": now["value"], "difference": None if value is None else now["value"] - value}
            for name, value in claimed.items()
            if (now := measured.get(name)) is not None
        },
        "differences": differences,
    }


def before(found: dict[str, Any]) -> list[str]:
    """What is not as it was, said before the work begins; sets as many threads as there were.

    Raises:
        ConfigError: it was made by several processes, and this is another number of them.
    """
    import torch

    here, there = environment(), found.get("hardware") or {}
    processes = process_state().num_processes
    if int(found.get("processes") or 1) != processes:
        raise ConfigError(
            f"It was made by {found['processes']} processes, and this is {processes}: "
            f"PYTHONSAFEPATH=1 torchrun --nproc_per_node {found['processes']} -m hf_tl reproduce ..."
        )
    out = []
    threads, cores = there.get("threads"), max(os.cpu_count() or 1, torch.get_num_threads())
    if there.get("device") == "cpu" and isinstance(threads, int) and 0 < threads != torch.get_num_threads():
        if threads <= cores:
            torch.set_num_threads(threads)  # sums are taken in another order by another number of them
        else:
            out.append(f"It was made with {threads} threads; this machine has {cores} cores, so bits may differ.")
    now = {"hf_tl": here["hf_tl"], "python": here["python"], **here["packages"]}
    for name, version in (found.get("versions") or {}).items():
        if now.get(name) != version:
            out.append(f"{name} was {version} and is {now.get(name) or 'not installed'}.")
    for name in ("device", "name"):
        if there.get(name) != here["hardware"].get(name):
            out.append(f"It was made on {there.get(name)}; this is {here['hardware'].get(name)}.")
    return out


def read_environment(folder: Path) -> dict[str, Any]:
    return read_part(folder / "environment.json")


def _say(line: str) -> None:
    if process_state().is_main_process:
        say(line)
