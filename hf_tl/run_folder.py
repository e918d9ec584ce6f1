"""The run folder: valid at every instant, because each file is written under another name, flushed and renamed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Self

from hf_tl.config import RunConfig, load_config
from hf_tl.errors import ConfigError, listing
from hf_tl.files import write_json, write_text
from hf_tl.io.console import is_main_process, say, visible
from hf_tl.io.json_text import BYTES, read_object
from hf_tl.io.run_schemas import wrong_place
from hf_tl.io.yaml_text import read_yaml

METRICS_BYTES = 64_000_000
"""A confusion matrix of two thousand classes takes forty of them."""
AGAIN = "train it again with the same configuration and output, which goes on from what is whole."
STAGES = ("started", "trained", "saved", "measured", "reported", "pushed")


def read_config(folder: Path) -> RunConfig:
    """The configuration of a run.

    Raises:
        ConfigError: the file is damaged or holds no configuration; names it.
    """
    file = folder / "config.yaml"
    values = read_yaml(file)
    try:
        return load_config(values)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def read_part(file: Path, most: int = BYTES) -> dict[str, Any]:
    """A JSON file of a run folder.

    Raises:
        ConfigError: it is missing or damaged; names it and says what to do.
    """
    try:
        found = read_object(file, nan=True, most=most)
    except ConfigError as error:
        raise ConfigError(f"{str(error).rstrip('.')}; {AGAIN}") from None
    wrong = wrong_place(file.name, found)
    if wrong is not None:
        raise ConfigError(f"{file}: {wrong}; {AGAIN}")
    return found


def is_run_folder(folder: str | Path) -> bool:
    """Whether a run was begun there."""
    return (Path(folder) / "config.yaml").exists()


class RunFolder:
    """The folder of a run: what was configured, how far it got, what was measured."""

    def __init__(self, folder: str | Path) -> None:
        """Opens an existing run folder.

        Raises:
            ConfigError: the folder holds no run.
        """
        self.folder = Path(folder)
        if not is_run_folder(self.folder):
            raise ConfigError(f"{folder}: not the folder of a run (there is no config.yaml in it).")
        self.config = read_config(self.folder)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r}, stage={self.stage!r})"

    @classmethod
    def begin(cls, config: RunConfig) -> Self:
        """Makes the run's folder, or opens it again when it holds this very run.

        Raises:
            ConfigError: the folder holds another run, something that is no run, or links.
        """
        folder = config.folder
        if is_run_folder(folder):
            run = cls(folder)
            if _essence(run.config) != _essence(config):
                changed = _differences(_essence(run.config), _essence(config))
                raise ConfigError(
                    f"output: {folder} holds another run ({', '.join(changed[:4])}); "
                    "choose another folder with --output, or remove it."
                )
            check_plain(folder)
            run.set_back()
            return run
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"output: {folder} exists and is not the folder of a run; choose another with --output.")
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "config.yaml", config.model_copy(update={"output": str(folder)}).to_yaml())
        run = cls(folder)
        run.reach("started")
        return run

    def set_back(self) -> None:
        """Where files of the run are damaged, to the stage that makes them again, with a sentence."""
        for name, stage in (
            ("state.json", "started"),
            ("environment.json", "started"),
            ("metrics.json", "saved"),
            ("proof/answers.json", "saved"),
        ):
            file = self.folder / name
            try:
                if file.exists():
                    read_part(file, METRICS_BYTES)
                if name == "state.json":
                    self.stage  # noqa: B018  # raises where it is no stage
            except ConfigError as error:
                say(f"{str(error).removesuffix(AGAIN).rstrip('; ')}; it is moved aside and written again.")
                if is_main_process():
                    file.unlink()
                    if name == "state.json" or self.reached(stage):
                        self.reach(stage)

    @property
    def stage(self) -> str:
        file = self.folder / "state.json"
        if not file.exists():
            return "started"
        stage = self.state.get("stage")
        if stage not in STAGES:
            raise ConfigError(f"{file}: stage is {stage!r}, expected one of {listing(STAGES)}; {AGAIN}")
        return str(stage)

    def reached(self, stage: str) -> bool:
        return STAGES.index(self.stage) >= STAGES.index(stage)

    def reach(self, stage: str, **values: Any) -> None:
        write_json(self.folder / "state.json", {**self.state, **values, "stage": stage})

    @property
    def state(self) -> dict[str, Any]:
        file = self.folder / "state.json"
        return read_part(file) if file.exists() else {}

    @property
    def model(self) -> Path:
        """Folder of the adapted model, which plain Transformers loads."""
        return self.folder / "model"

    @property
    def metrics(self) -> dict[str, Any]:
        """`metrics.json`: values with 95 % intervals on the held-out split."""
        file = self.folder / "metrics.json"
        if not file.exists():
            raise ConfigError(
                f"{self.folder}: this run is not measured yet (stage {self.stage}); run it again to go on."
            )
        return read_part(file, METRICS_BYTES)


def check_plain(folder: Path) -> None:
    """Raises ConfigError where something in a run folder is a link, a pipe or a device: the run that goes on here would
    write to what a link leads to, and a pipe has no end."""
    for where, folders, files in os.walk(folder):
        # a cache of the Hub, made of links, that a proof which was killed left: nothing writes there
        folders[:] = [name for name in folders if not (where == str(folder) and name.startswith(".pushed-"))]
        for name in (*folders, *files):
            mode = (Path(where) / name).lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                kind = "a link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
                raise ConfigError(
                    f"{visible(Path(where) / name)}: is {kind}, and a run that goes on writes here; put the file or "
                    "folder itself there, or remove it."
                )


def _essence(config: RunConfig) -> dict[str, Any]:
    """What makes two runs the same: all but where the result goes."""
    return config.model_dump(mode="json", exclude={"output", "hub", "proof"}, exclude_none=True)


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    out = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            out += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            out.append(f"{prefix}{key}: {a!r} there, {b!r} here")
    return out
