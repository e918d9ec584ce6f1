"""What is shared is what was measured: the files that a run wrote, byte for byte, by the list that it kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from hf_tl.errors import ConfigError
from hf_tl.hub.sealed import sha256_plain
from hf_tl.inference.reference import FILE, FOLDER, MEASURED_FILES, configuration, hashes
from hf_tl.io.command_line import command_line
from hf_tl.io.console import say, visible
from hf_tl.run_folder import RunFolder, read_part
from hf_tl.sharing.proof import changes

READ = ("config.yaml", "state.json", "README.md", *MEASURED_FILES)
"""Files of the run folder that a push reads."""
FIGURES = ("curves.png", "confusion_matrix.png")
MAX_NAMED = 8
"""Names in a sentence."""


def check_kept(run: RunFolder) -> dict[str, str]:
    """The files of `model/` that were measured: path below it -> sha256. Names, on stderr, those that lie beside them
    and are left.

    Raises:
        ConfigError: a file is a link, has changed since it was measured, or is missing; or the run kept no list.
    """
    known = run.state.get("measured")
    config = run.folder / "config.yaml"
    if not isinstance(known, dict) or not isinstance(known.get("files"), dict):
        raise ConfigError(
            f"{run.folder}: this run kept no list of what was measured, so nothing is shared; measure it again: remove "
            f"{run.folder / 'metrics.json'} and run {command_line('train', config)}"
        )
    found = {name: file for part in ("model", FOLDER, "figures") for name, file in _below(run.folder, part)}
    for name in READ:
        if (run.folder / name).is_symlink():
            raise ConfigError(_link(run.folder / name))
    # names of a list that somebody else may have written: of these places alone
    there = {**found, **{name: run.folder / name for name in MEASURED_FILES if os.path.lexists(run.folder / name)}}
    told = [_changed(run, name, sha256, there) for name, sha256 in known["files"].items()]
    wrong = [each for each in told if each is not None]
    wrong += ["config.yaml has changed"] if known.get("config") != configuration(run.folder) else []
    if wrong:
        raise ConfigError(
            f"{run.folder}: {_few(wrong)} since it was measured, so nothing is shared. Put back what was measured, or "
            f"measure what is there now: remove {run.folder / 'metrics.json'} and run {command_line('train', config)}"
        )
    left = sorted(set(found) - set(known["files"]) - {f"figures/{name}" for name in FIGURES})
    left = [name for name in left if not name.startswith(f"{FOLDER}/")]
    if left:
        say(f"Not shared, as the run did not write it: {_few(left)}.")
    inside = {name.removeprefix("model/"): sha256 for name, sha256 in known["files"].items() if name[:6] == "model/"}
    return {str(name): str(sha256) for name, sha256 in inside.items()}


def _below(folder: Path, part: str) -> Iterator[tuple[str, Path]]:
    """(path below the run folder, file) of everything in one of its folders; follows no link.

    Raises:
        ConfigError: something is a link.
    """
    if (folder / part).is_symlink():
        raise ConfigError(_link(folder / part))
    for where, folders, files in os.walk(folder / part):
        for name in sorted([*folders, *files]):
            if (Path(where) / name).is_symlink():
                raise ConfigError(_link(Path(where) / name))
        for name in files:
            yield (Path(where) / name).relative_to(folder).as_posix(), Path(where) / name


def _link(path: Path) -> str:
    return (
        f"{visible(path)}: is a link. Nothing is shared through links, as they may lead to anything on this machine; "
        "put the file or folder itself there."
    )


def _changed(run: RunFolder, name: str, sha256: str, there: Mapping[str, Path]) -> str | None:
    """What is wrong with a file of the list, and of the model's where."""
    if name not in there:
        return f"{name} is missing"
    if sha256_plain(there[name]) == sha256:
        return None
    file = run.folder / FOLDER / FILE
    if name.startswith("model/") and file.is_file():
        told = changes(read_part(file), hashes(run.model))
        return next((f"model/{each}" for each in told if each.startswith(f"{name[6:]} ")), f"{name} has changed")
    return f"{name} has changed"


def _few(names: list[str]) -> str:
    shown = ", ".join(visible(name) for name in names[:MAX_NAMED])
    return shown + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")
