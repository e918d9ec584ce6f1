"""The run folder: valid at every instant, because each file is written under another name, flushed and renamed."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator, Mapping
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
    def begin(cls, config: RunConfig, made_of: Mapping[str, Any] | None = None) -> Self:
        """Makes the run's folder, or opens it again when it holds this very run.

        Args:
            made_of: what the run learns from (`hf_tl.training.description.made_of`): a run of other data never goes on,
                whatever its configuration says. `config.on_change` says what is done then.

        Raises:
            ConfigError: the folder holds another run, something that is no run, or links.
        """
        made_of = dict(made_of or {})
        why = ""
        for folder in _numbered(config.folder):
            if not is_run_folder(folder):
                if not _taken(folder):
                    if why:
                        say(f"{why}; training anew in {folder}.")
                    return cls._made(folder, config, made_of)
                if folder == config.folder:
                    raise ConfigError(
                        f"output: {folder} exists and is not the folder of a run; choose another with --output."
                    )
                continue
            run = cls(folder)
            settings = _differences(_essence(run.config), _essence(config))
            if not settings:
                check_plain(folder)
                run.set_back()
                changed = changes(run.made_of, made_of)
                if not changed:
                    if made_of and "made_of" not in run.state:
                        run.reach(run.stage, made_of=made_of)
                    if why:
                        say(f"{why}; {folder} holds the run of these.")
                    return run
            if folder == config.folder:
                why = _or_stop(config, settings, [] if settings else changed)
        raise AssertionError("folders never end")

    @classmethod
    def _made(cls, folder: Path, config: RunConfig, made_of: Mapping[str, Any]) -> Self:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "config.yaml", config.model_copy(update={"output": str(folder)}).to_yaml())
        run = cls(folder)
        run.reach("started", **({"made_of": made_of} if made_of else {}))
        return run

    @property
    def made_of(self) -> dict[str, Any]:
        """What it learned from; of a run of an older hf_tl, what its `environment.json` says of that."""
        known = self.state.get("made_of")
        file = self.folder / "environment.json"
        if known is None and file.exists():
            data = read_part(file)["data"]
            known = {key: data[key] for key in ("sha256", "labels", "rows") if data.get(key) is not None}
        return dict(known or {})

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


def _numbered(folder: Path) -> Iterator[Path]:
    """The folder, and then those with a number behind its name."""
    yield folder
    for number in itertools.count(2):
        yield folder.with_name(f"{folder.name}-{number}")


def _taken(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def _or_stop(config: RunConfig, settings: list[str], changed: list[str]) -> str:
    """Why a folder that holds another run is left alone.

    Raises:
        ConfigError: `config.on_change` is to stop then.
    """
    folder = config.folder
    if settings:
        why, default = f"{folder} holds another run ({', '.join(settings[:4])})", "stop"
    else:
        why = f"{folder} holds a run of the same configuration and other data: {'; '.join(changed[:4])}"
        default = "stop" if config.output else "new"
    if (config.on_change or default) == "stop":
        raise ConfigError(
            f"output: {why}. Train anew in the next free folder with --on-change new, choose another folder with "
            "--output, or remove it."
        )
    return why


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What two runs of one configuration were made of, as far as both say it and it differs, in words."""
    out = []
    before, after = old.get("labels"), new.get("labels")
    if before is not None and after is not None and list(before) != list(after):
        come, gone = ([name for name in a if name not in b] for a, b in ((after, before), (before, after)))
        out += [f"class {listing(come)} is new"] if come else []
        out += [f"class {listing(gone)} is gone"] if gone else []
        out += [] if come or gone else ["the classes are in another order"]
    for key, said in (("rows", "{name} has {new} rows, had {old}"), ("columns", "{name} is column {new}, was {old}")):
        was, now = old.get(key), new.get(key)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            for name in dict.fromkeys([*now, *was]):
                if was.get(name) != now.get(name):
                    out.append(said.format(name=name, new=now.get(name, "no"), old=was.get(name, "no")))
    both = [key for key in ("sha256", "content_sha256") if old.get(key) and new.get(key)]
    if not out and any(old[key] != new[key] for key in both):
        out.append("the content of the rows has changed")
    if old.get("model") and new.get("model") and old["model"] != new["model"]:
        out.append("the weights of the pretrained model have changed")
    return out


def _essence(config: RunConfig) -> dict[str, Any]:
    """What makes two runs the same: all but where the result goes."""
    return config.model_dump(mode="json", exclude={"output", "on_change", "hub", "proof"}, exclude_none=True)


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    out = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            out += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            out.append(f"{prefix}{key}: {a!r} there, {b!r} here")
    return out
