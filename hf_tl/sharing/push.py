"""Saving what is shared, and sharing it."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from hf_tl.config import ELSEWHERE, HubConfig
from hf_tl.errors import ConfigError, HfTlError, HubError
from hf_tl.files import replacing_folder, write_text
from hf_tl.hub.client import complete, explain, retried, status_of
from hf_tl.hub.upload import Pushed, announce, check_access, check_target, push_folder, stoppable
from hf_tl.io.command_line import command_line
from hf_tl.io.quiet import quiet
from hf_tl.io.yaml_text import read_yaml
from hf_tl.models.carried import shared_name, without_code, without_paths
from hf_tl.models.pretrained import Pretrained
from hf_tl.models.trusted import code_references, read_adapter
from hf_tl.reporting.card import card_of
from hf_tl.reporting.managed_sections import merge_cards, read_text
from hf_tl.reporting.report import write_figures
from hf_tl.reporting.run_summary import RunSummary, read_summary
from hf_tl.run_folder import RunFolder
from hf_tl.sharing.kept import check_kept
from hf_tl.sharing.proof import prove, prove_pushed, wanted
from hf_tl.task import Task, TaskContext


def save_model(
    run: RunFolder,
    finish: Callable[[Any, Path], Any],
    trained: Any,
    processor: Any,
    task: Task,
    context: TaskContext,
    pretrained: Pretrained,
) -> list[str]:
    """Writes `model/`: plain weights as safetensors, configuration with labels, processor; for adapters `adapter/` too.

    Code of the pretrained model that was trusted comes along as it was.

    The folder appears whole or not at all.

    Returns:
        The files, by their paths below it.
    """
    with replacing_folder(run.model) as folder:
        plain = finish(trained, folder)
        with quiet():
            plain.save_pretrained(folder)
            processor.save_pretrained(folder)  # timm's says that it is in config.json already
        if task.library.save is not None:
            task.library.save(plain, context, folder)
        for name in pretrained.code:  # Transformers copies a part of it, all into one folder
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(pretrained.path / name, folder / name)
        adapter = folder / "adapter"
        if adapter.is_dir():
            # PEFT saves neither: without them an adapter has no labels and no processor.
            plain.config.save_pretrained(adapter)
            processor.save_pretrained(adapter)
            if task.library.save is not None:
                task.library.save(plain, context, adapter)
        if not pretrained.code:
            without_code(folder)
        without_paths(folder, pretrained.id if pretrained.revision and pretrained.adapter is None else None)
        return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def push(
    run: RunFolder | str | Path, hub: HubConfig, *, proof: bool | None = None, trust_remote_code: bool = False
) -> Pushed:
    """Pushes a finished run: model, processor, labels, card and its figures, in one commit; proves that it
    predicts what was measured, before and, from a cache of its own, after.

    The files are those that the run measured, byte for byte. Nothing in the run's folder changes before it is done.

    Args:
        proof: whether to; None: yes. That a run's configuration leaves it out is no reason to: somebody else may have
            written that.
        trust_remote_code: whether the proof may run code that lies in `model/` and is not hf_tl's; a run folder does
            not say so itself.

    Raises:
        ProofError: the predictions differ from those measured.
        ConfigError: the run is not finished, a file of it has changed or is a link, the repository is public and
            `hub.private` does not say that it may be, or `hub.merge: false` without an adapter that others can load.
        HubError: the Hub refused; the run is safe on disk and the sentence has the command that continues.
        Stopped: on a signal; the sentence has that command too.
    """
    run = run if isinstance(run, RunFolder) else RunFolder(run)
    if not run.reached("measured"):
        raise ConfigError(f"{run.folder}: the run is not finished (stage {run.stage}); run it again to go on.")
    model = check_kept(run)
    _check_finite(run)
    if hub.merge is False:
        _check_adapter(run, run.model / "adapter")
    with stoppable(run.folder, push_command(run.folder, hub, proof, trust_remote_code)):
        return _share(run, hub, model, proof, trust_remote_code)


def _share(
    run: RunFolder, hub: HubConfig, model: dict[str, str], proof: bool | None, trust_remote_code: bool
) -> Pushed:
    """`push` of a run that may be pushed.

    Args:
        model: path below `model/` -> sha256 of what was measured.
    """
    again = push_command(run.folder, hub, proof, trust_remote_code)
    try:
        target = check_target(hub)
    except HubError as error:
        raise HubError(f"{error} Everything is safe in {run.folder}; continue with: {again}") from error.__cause__
    announce(target)
    given = hub.model_copy(update={"id": target.id})
    hub = given.model_copy(update={"private": target.private})
    again = push_command(run.folder, given, proof, trust_remote_code)
    summary = read_summary(run.folder)
    summary = replace(summary, config=summary.config.model_copy(update={"hub": hub}))
    card = card_of(summary)  # now: a proof takes minutes, in which a file may change
    proved = wanted(proof is not False)
    key = {"proof": prove(run, trust=trust_remote_code, remember=False)} if proved else {}
    part = "adapter/" if hub.merge is False else ""
    expected = {name.removeprefix(part): sha256 for name, sha256 in model.items() if name.startswith(part)}
    files = {name: run.model / part / name for name in expected}
    with tempfile.TemporaryDirectory() as scratch:
        files |= _figures(summary, Path(scratch))
        with _way_on(run.folder, again):
            files["README.md"] = merged_card(card, hub, Path(scratch))
        pushed = push_folder(
            run.folder,
            given,
            files=files,
            message=hub.commit_message,
            expected=expected,
            resume_command=again,
            announced=True,
        )
    if proved:
        prove_pushed(run, pushed, trust=trust_remote_code)
    _remember(run, hub, pushed, card, key)
    return pushed


def _figures(summary: RunSummary, scratch: Path) -> dict[str, Path]:
    """Path in the repository -> file, of the figures that the run's report has, drawn anew from what was measured."""
    drawn = write_figures(summary, scratch / "figures")
    return {f"figures/{file.name}": file for file in drawn if (summary.folder / "figures" / file.name).exists()}


def _remember(run: RunFolder, hub: HubConfig, pushed: Pushed, card: str, state: dict[str, Any]) -> None:
    """What is on the Hub now, in the run's folder."""
    values = read_yaml(run.folder / "config.yaml")
    values["hub"] = hub.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    write_text(run.folder / "config.yaml", str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True)))
    write_text(run.folder / "README.md", card)
    shared = {
        "id": pushed.repo_id,
        "private": hub.private,
        "merge": hub.merge,
        # a pull request is no branch of the repository
        "revision": pushed.commit if hub.create_pr else None if hub.revision == "main" else hub.revision,
    }
    stage = "pushed" if run.reached("reported") else run.stage
    run.reach(stage, commit=pushed.commit, url=pushed.url, pushed=shared, **state)


def push_command(folder: Path, hub: HubConfig, proof: bool | None = None, trust: bool = False) -> str:
    """The command line of this very push."""
    options = {name: getattr(hub, name) for name in ("private", "revision", "tag", "merge", "collection", "examples")}
    return command_line(
        "push",
        folder,
        hub.id,
        **options,
        message=hub.commit_message,
        create_pr=hub.create_pr,
        proof=proof,
        trust_remote_code=trust,
    )


@contextlib.contextmanager
def _way_on(folder: Path, again: str) -> Iterator[None]:
    """Refusals of the Hub end with the command that continues."""
    try:
        yield
    except HubError as error:
        raise HubError(f"{error} Everything is safe in {folder}; continue with: {again}") from error.__cause__


def merged_card(card: str, hub: HubConfig, scratch: Path) -> Path:
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
            theirs = read_text(retried(partial(complete, found)))
            break
        except HfTlError:
            raise
        except Exception as error:
            if status_of(error) != 404:
                raise HubError(str(explain(error, f"hub.id: {id}"))) from error
            if "RevisionNotFoundError" not in type(error).__name__:
                break
    merged = scratch / "README.md"
    write_text(merged, merge_cards(card, theirs))
    return merged


def _check_finite(run: RunFolder) -> None:
    """A model whose loss is not a number is not worth anybody's download."""
    loss = run.metrics["metrics"].get("loss", {}).get("value", 0.0)
    if loss is None or not math.isfinite(loss):
        raise ConfigError(f"{run.folder}: the loss of this model is {loss}; training diverged, so it is not pushed.")


def _check_adapter(run: RunFolder, adapter: Path) -> None:
    if not (adapter / "adapter_config.json").exists():
        raise ConfigError("hub.merge: false pushes the adapter alone, but this run has none (method lora makes one).")
    base = read_adapter(adapter)["base_model_name_or_path"]
    if code_references(str(adapter), adapter):
        raise ConfigError(
            "hub.merge: false: nobody can load this adapter alone, as Transformers would look for its model's code in "
            "the base's repository; push the merged model (hub.merge: true)."
        )
    if base is None or Path(base).exists() or base.startswith(ELSEWHERE):
        raise ConfigError(
            "hub.merge: false needs a base model that others can find; this adapter's base is the folder "
            f"{shared_name(str(base))}. Push the merged model (hub.merge: true)."
        )
