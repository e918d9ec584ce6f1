"""A run folder read for the report and the card: both are functions of these files alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hf_tl.config import RunConfig
from hf_tl.data.sources import cache_folder
from hf_tl.errors import ConfigError
from hf_tl.io.json_text import parse_json, read_text
from hf_tl.reporting.formatting import last_part
from hf_tl.run_folder import METRICS_BYTES, read_config, read_part
from hf_tl.task import Task, get_task


@dataclass(frozen=True)
class RunSummary:
    """What a finished run left; parts that a run may lack are empty."""

    folder: Path
    config: RunConfig
    environment: dict[str, Any]
    metrics: dict[str, Any]
    log: tuple[dict[str, Any], ...]
    model_config: dict[str, Any]
    proof_failed: str | None = None
    """What the proof said of a model that does not predict elsewhere what was measured."""

    @cached_property
    def task(self) -> Task:
        return get_task(self.environment["task"]).of_problem(self.environment.get("problem"))

    @cached_property
    def predictions(self) -> dict[str, list[Any]]:
        """Columns of `predictions.parquet`, without `scores`; empty when there is none."""
        file = self.folder / "predictions.parquet"
        if not file.exists():
            return {}
        names = [name for name in pq.read_schema(file).names if name != "scores"]
        columns: dict[str, list[Any]] = pq.read_table(file, columns=names).to_pydict()
        return columns

    @property
    def labels(self) -> list[str]:
        return [str(label) for label in self.metrics.get("labels", [])]

    @property
    def values(self) -> dict[str, dict[str, float]]:
        """Metric -> value, low, high."""
        return dict(self.metrics["metrics"])

    @property
    def headline(self) -> str:
        """The metric that the run is about: the task's, or else the first that was measured."""
        best = self.task.best_metric
        return best if best in self.values else next(iter(self.values))

    @property
    def train(self) -> dict[str, Any]:
        return dict(self.metrics.get("train", {}))

    @property
    def data(self) -> dict[str, Any]:
        return dict(self.environment.get("data", {}))

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """Lines of the log about the validation split, from the first step on."""
        return [line for line in self.log if "eval_loss" in line and line["step"]]

    @property
    def before(self) -> float | None:
        """The headline's value on the validation split before training, of models that could do the task already."""
        lines = [line for line in self.log if "eval_loss" in line and not line["step"]]
        return lines[0].get(f"eval_{self.headline}") if lines else None

    @property
    def rows(self) -> dict[str, int]:
        """Split -> number of rows."""
        given = self.data.get("rows")
        if isinstance(given, dict):
            return {str(name): int(count) for name, count in given.items()}
        return {name: sum(counts.values()) for name, counts in self.class_counts.items()}

    @property
    def class_counts(self) -> dict[str, dict[str, int]]:
        """Split -> label -> number of rows."""
        return dict(self.data.get("class_counts") or {})

    @property
    def data_id(self) -> str | None:
        """The data's Hub id, or None for files and folders."""
        found = self.data.get("id") or self.data.get("path")
        return str(found) if self.data.get("revision") and isinstance(found, str) else None

    @property
    def data_name(self) -> str:
        """What the data are called, without the path that leads to them."""
        return self.data_id or ", ".join(last_part(path) for path in self.config.data.paths)

    @property
    def model_id(self) -> str | None:
        """The pretrained model's Hub id, or None for a folder."""
        model = self.environment.get("model", {})
        return str(model["id"]) if model.get("revision") else None

    @property
    def model_name(self) -> str:
        return self.model_id or last_part(self.config.model.id)

    def without_paths(self, text: str) -> str:
        """A text without where on somebody's machine model, data and run lie."""
        own = [(path, self.data_name) for path in self.config.data.paths if self.data_id is None]
        if self.model_id is None:
            own.append((self.config.model.id, self.model_name))
        own.append((str(self.folder), self.folder.name))
        for path, name in own:
            given = Path(path).expanduser()
            for written in (str(given.resolve()), str(given.absolute()), str(given), path):
                # a short relative name may be a part of any word
                text = name.join(re.split(rf"(?<![\w./-]){re.escape(written)}(?![\w.-])", text))
        unpacked = re.escape(str(cache_folder()))
        return re.sub(rf"{unpacked}/[0-9a-f]{{32}}", lambda _: self.data_name, text)


def read_summary(folder: Path) -> RunSummary:
    """Reads a measured run.

    Raises:
        ConfigError: the folder holds no run, the run is not measured yet, or a file of it is damaged.
    """
    folder = Path(folder)
    for name, what in (("config.yaml", "not the folder of a run"), ("metrics.json", "this run is not measured yet")):
        if not (folder / name).exists():
            raise ConfigError(f"{folder}: {what} (there is no {name} in it).")
    return RunSummary(
        folder,
        read_config(folder),
        read_part(folder / "environment.json"),
        read_part(folder / "metrics.json", METRICS_BYTES),
        tuple(read_log(folder)),
        read_part(folder / "model" / "config.json") if (folder / "model" / "config.json").exists() else {},
        read_part(folder / "state.json").get("proof_failed") if (folder / "state.json").exists() else None,
    )


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Lines of the log; a last line that was cut off by a crash is skipped."""
    file = folder / "log.jsonl"
    out = []
    for number, line in enumerate(read_text(file, most=METRICS_BYTES).splitlines() if file.exists() else [], start=1):
        try:
            entry = parse_json(line, f"{file}, line {number}", nan=True)
        except ConfigError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            out.append(entry)
    return out
