"""What the finished model answered to a few held-out rows, kept beside it: what is shared is proved against this.

`proof/answers.json` holds the rows, the answers, and the hashes of the files that gave them, so that a difference can
be named; what is no JSON, such as images, lies beside it as its kind stores it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from hf_tl.data.kinds import kinds_of, stored
from hf_tl.errors import ModelError
from hf_tl.files import replacing_folder, sha256, write_json
from hf_tl.inference.outputs import outputs_of
from hf_tl.inference.processes import process_state
from hf_tl.io.json_text import read_object
from hf_tl.io.yaml_text import read_yaml
from hf_tl.models.weights import read_header
from hf_tl.task import Task, TaskContext

ROWS = 8
SLOW_ROWS = 2
"""Where looking at a row is slow (`Task.validation_rows`), or may be: texts that are written."""
CANDIDATES = 8
"""Times as many rows are looked at, for some that the proof can use."""
FOLDER = "proof"
FILE = "answers.json"
MEASURED_FILES = ("environment.json", "log.jsonl", "metrics.json", "predictions.parquet")
"""Files of the run folder, beside the model, that its card is made from."""
FREE = ("hub", "on_change", "output", "proof")
"""Keys of the configuration that no figure depends on."""


def write_reference(folder: Path, shared: Path, model: Any, task: Task, context: TaskContext, rows: Dataset) -> None:
    """Asks `model`, on the CPU as everybody has one, and writes `folder`/proof. To be called on every process."""
    context = dataclasses.replace(context, mode="predicting", notes=[])
    chosen = reference_rows(task, context, rows)
    answers: list[dict[str, Any]] = []
    if chosen is not None and len(chosen):
        samples = task.preprocess(chosen, context, False)
        outputs = outputs_of(model, task, context, samples, device=torch.device("cpu")).items
        answers = task.postprocess(outputs, samples, chosen, context)
    if not process_state().is_main_process:
        return
    with replacing_folder(folder / FOLDER) as inside:
        inputs = [_kept(task, row, index, inside) for index, row in enumerate(chosen or [])] if answers else []
        parts = {"task": task.name, "rows": inputs, "answers": answers, **hashes(shared)}
        write_json(inside / FILE, parts)


def reference_rows(task: Task, context: TaskContext, rows: Dataset) -> Dataset | None:
    """A few rows, evenly drawn, with nothing but the inputs; None where the task has no proof."""
    if task.inference.proof is None:
        return None
    most = SLOW_ROWS if task.defaults.validation_rows else ROWS
    some = rows.select(_even(len(rows), most * CANDIDATES))
    some = some.select_columns([role for role in task.input_roles if role in rows.column_names])
    some = task.inference.reference_rows(some, context) if task.inference.reference_rows else some
    return some.select(_even(len(some), most))


def _even(count: int, most: int) -> list[int]:
    found: list[int] = np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist() if count else []
    return found


def _kept(task: Task, row: dict[str, Any], index: int, folder: Path) -> dict[str, Any]:
    """A row as JSON, each value as its kind stores it: files lie in `folder` and are named."""
    kinds = kinds_of(task, row)
    files = [role for role, kind in kinds.items() if kind.read_stored]
    out: dict[str, Any] = {}
    for role, value in row.items():
        if value is not None:
            stem = str(index) if files[:1] == [role] else f"{index}_{role}"
            out[role] = stored(kinds.get(role), value, folder / stem)
    return out


def measured(folder: Path, written: Sequence[str]) -> dict[str, Any]:
    """The list that a run keeps of what was measured and is told of it: `files` (path below the run folder -> sha256)
    and `config` (the hash of the configuration, but for where the result goes).

    Args:
        written: files of `model/`, whatever else somebody put there.
    """
    files = [*(folder / name for name in MEASURED_FILES), *(folder / "model" / name for name in written)]
    files += [file for file in (folder / FOLDER).rglob("*") if file.is_file()]
    found = {}
    for file in sorted(file for file in files if file.exists()):
        with file.open("rb") as stream:
            found[file.relative_to(folder).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"files": found, "config": configuration(folder)}


def configuration(folder: Path) -> str:
    """The hash of what `config.yaml` says, but for where the result goes."""
    values = {key: value for key, value in read_yaml(folder / "config.yaml").items() if key not in FREE}
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def hashes(folder: Path) -> dict[str, Any]:
    """`files`: path -> sha256; `tensors`: weights file -> name -> sha256."""
    files = {
        file.relative_to(folder).as_posix(): file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    }
    about = files.get("config.json")
    return {
        "files": {name: sha256(file) for name, file in files.items()},
        "tensors": {name: tensors(file) for name, file in files.items() if file.suffix == ".safetensors"},
        "configuration": read_object(about, error=ModelError, nan=True) if about else {},
    }


def tensors(file: Path) -> dict[str, str]:
    """Name -> sha256 of each tensor's dtype, shape and bytes, whatever its dtype.

    Raises:
        ModelError: the file is not whole.
    """
    out = {}
    header = read_header(file)
    with file.open("rb") as stream:
        for name, tensor in header.items():
            digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)} ".encode())
            stream.seek(tensor.start)
            left = tensor.end - tensor.start
            while left > 0:
                block = stream.read(min(left, 1 << 20))
                if not block:
                    break  # cut off meanwhile: another hash
                digest.update(block)
                left -= len(block)
            out[name] = digest.hexdigest()
    return out
