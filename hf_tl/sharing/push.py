"""Saving what is shared, and sharing it."""

from __future__ import annotations

import math
import shlex
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hf_tl.config import HubConfig
from hf_tl.errors import ConfigError, HfTlError, HubError
from hf_tl.hubclient import explain, retried, status_of, whole
from hf_tl.models.pretrained import quiet
from hf_tl.models.trusted import read_adapter
from hf_tl.run import Run, replacing_folder, write_text
from hf_tl.sharing.card import write_card
from hf_tl.sharing.fences import merge_cards, read_text
from hf_tl.sharing.hub import Pushed, check_access, push_folder
from hf_tl.sharing.proof import prove, prove_pushed, wanted
from hf_tl.task import Setting, Task


def save_model(
    run: Run, finish: Callable[[Any, Path], Any], trained: Any, processor: Any, task: Task, setting: Setting
) -> None:
    """Writes `model/`: plain weights as safetensors, configuration with labels, processor; for adapters `adapter/` too.

    The folder appears whole or not at all.
    """
    with replacing_folder(run.model) as folder:
        plain = finish(trained, folder)
        with quiet():
            plain.save_pretrained(folder)
            processor.save_pretrained(folder)  # timm's says that it is in config.json already
        if task.save is not None:
            task.save(plain, setting, folder)
        adapter = folder / "adapter"
        if adapter.is_dir():
            # PEFT saves neither: without them an adapter has no labels and no processor.
            plain.config.save_pretrained(adapter)
            processor.save_pretrained(adapter)
            if task.save is not None:
                task.save(plain, setting, adapter)


def push(run: Run | str | Path, hub: HubConfig, *, proof: bool | None = None) -> Pushed:
    """Pushes a finished run: model, processor, labels, card and its figures, in one commit; proves that it does for
    strangers what was measured, before and, from a cache of its own, after.

    Args:
        proof: whether to; default: as the run's configuration has it.

    Raises:
        ProofError: a stranger gets something else.
        ConfigError: the run is not finished, or `hub.merge: false` without an adapter that strangers can load.
        HubError: the Hub refused; the run is safe on disk and the sentence has the command that continues.
    """
    run = run if isinstance(run, Run) else Run(run)
    if not run.reached("measured"):
        raise ConfigError(f"{run.folder}: the run is not finished (stage {run.stage}); run it again to go on.")
    _check_finite(run)
    adapter = run.model / "adapter"
    if hub.merge is False:
        _check_adapter(run, adapter)
    proved = wanted(run.config if proof is None else run.config.model_copy(update={"proof": proof}))
    if proved:
        prove(run)
    write_text(
        run.folder / "config.yaml",
        run.config.model_copy(update={"hub": hub, "output": str(run.folder)}).to_yaml(),
    )
    run = Run(run.folder)
    write_card(run.folder)
    source = adapter if hub.merge is False else run.model
    files = {
        file.relative_to(source).as_posix(): file
        for file in sorted(source.rglob("*"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(source).parts)
    }
    for figure in sorted((run.folder / "figures").glob("*.png")):
        files[f"figures/{figure.name}"] = figure
    with tempfile.TemporaryDirectory() as scratch:
        files["README.md"] = merged_card(run.folder / "README.md", hub, Path(scratch))
        pushed = push_folder(
            run.folder, hub, files=files, message=hub.commit_message, resume_command=push_command(run.folder, hub)
        )
    if proved:
        prove_pushed(run, pushed)
    run.reach("pushed" if run.reached("reported") else run.stage, commit=pushed.commit, url=pushed.url)
    return pushed


def push_command(folder: Path, hub: HubConfig) -> str:
    """The command line of this very push."""
    words = ["hf-tl", "push", str(folder), hub.id]
    words += [] if hub.private is None else ["--private" if hub.private else "--public"]
    words += [] if hub.merge is None else ["--merge" if hub.merge else "--no-merge"]
    words += [] if hub.examples is None else ["--examples" if hub.examples else "--no-examples"]
    words += ["--create-pr"] if hub.create_pr else []
    for name, value in (("revision", hub.revision), ("tag", hub.tag), ("collection", hub.collection)):
        words += [f"--{name}", value] if value else []
    return " ".join(shlex.quote(word) for word in words)


def merged_card(card: Path, hub: HubConfig, scratch: Path) -> Path:
    """The run's card with what people wrote into the one on the Hub, as a file in `scratch`.

    Raises:
        ConfigError: the card on the Hub cannot be read.
        HubError: the Hub refused or could not be reached.
    """
    from huggingface_hub import hf_hub_download

    id = check_access(hub)
    theirs = ""
    for revision in dict.fromkeys((hub.revision, None)):  # a branch that is not there yet begins as a copy of main
        found = partial(hf_hub_download, id, "README.md", revision=revision, cache_dir=scratch / "cache")
        try:
            theirs = read_text(retried(partial(whole, found)))
            break
        except HfTlError:
            raise
        except Exception as error:
            if status_of(error) != 404:
                way_on = f"Everything is safe in {card.parent}; continue with: {push_command(card.parent, hub)}"
                raise HubError(f"{explain(error, f'hub.id: {id}')} {way_on}") from error
            if "RevisionNotFoundError" not in type(error).__name__:
                break
    merged = scratch / "README.md"
    write_text(merged, merge_cards(read_text(card), theirs))
    return merged


def _check_finite(run: Run) -> None:
    """A model whose loss is not a number is not worth a stranger's download."""
    loss = run.metrics["metrics"].get("loss", {}).get("value", 0.0)
    if loss is None or not math.isfinite(loss):
        raise ConfigError(f"{run.folder}: the loss of this model is {loss}; training diverged, so it is not pushed.")


def _check_adapter(run: Run, adapter: Path) -> None:
    if not (adapter / "adapter_config.json").exists():
        raise ConfigError("hub.merge: false pushes the adapter alone, but this run has none (method lora makes one).")
    base = read_adapter(adapter)["base_model_name_or_path"]
    if base is None or Path(base).exists():
        raise ConfigError(
            f"hub.merge: false needs a base model that strangers can find; this adapter's base is the folder {base}. "
            "Push the merged model (hub.merge: true)."
        )
