"""Which checkpoint a run may resume from. A half-written one is skipped with a sentence, never used.

Nothing in a checkpoint runs: what was pickled is read as tensors and plain values alone (`weights_only`), here and by
Trainer; `training_args.bin` is read by neither.
"""

from __future__ import annotations

import contextlib
import math
import random
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_tl.errors import InputError, ModelError
from hf_tl.io.json_text import kind_of, read_bytes, read_object
from hf_tl.models.weights import check_index, read_header

STATE = "trainer_state.json"
NEEDED = (STATE, "optimizer.pt", "scheduler.pt")
OBJECT = (
    "config.json", "generation_config.json", "adapter_config.json", "tokenizer_config.json", "special_tokens_map.json",
    "preprocessor_config.json", "processor_config.json", "added_tokens.json",
)  # fmt: skip
NAME = re.compile(r"checkpoint-(0|[1-9][0-9]{0,17})")
"""As Trainer writes it."""
UNFIT = (ArithmeticError, AssertionError, AttributeError, LookupError, ModelError, RuntimeError, TypeError, ValueError)
"""What is raised where a checkpoint does not fit what is trained."""
OF_PARAMETERS = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "sum"}
"""States of PyTorch's optimizers that have the shape of their parameter."""
STATE_BYTES = 64_000_000
CALLBACKS = {
    "Clock": {"before"},
    "EarlyStoppingCallback": {
        "early_stopping_patience", "early_stopping_threshold", "early_stopping_patience_counter",
    },
    "TrainerControl": {
        "should_training_stop", "should_epoch_stop", "should_save", "should_evaluate", "should_log",
    },
}  # fmt: skip
"""Whose state a checkpoint keeps, and what it is made of: numbers."""


def fault(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None when it can be resumed from exactly."""
    if not checkpoint.is_dir():
        return "it is no folder"
    for file in sorted(checkpoint.iterdir()):
        if not (file.is_file() or file.is_dir()):
            return f"{file.name} is neither a file nor a folder"
    for name in NEEDED:
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
    if not list(checkpoint.glob("rng_state*.pth")):
        return "rng_state.pth is missing"
    if not list(checkpoint.glob("*.safetensors")):
        return "it holds no weights"
    for file in sorted(checkpoint.iterdir()):
        check = _check_of(file)
        try:
            if check is not None:
                check(file)
        except InputError as error:
            return f"it cannot be read ({str(error).replace(str(file), file.name).rstrip('.')})"
        except Exception as error:  # pickle's errors, zip's and those of wrong values have no common root
            said = next(iter(str(error).strip().splitlines()), "")[:100]
            return f"it cannot be read ({file.name}: {type(error).__name__}{f': {said}' if said else ''})"
    return None


def _check_of(file: Path) -> Callable[[Path], Any] | None:
    """What raises when a file is not whole; None for files of other kinds."""
    checks: dict[str, Callable[[Path], Any]] = {
        STATE: read_state,
        "config.json": _model_type,
        "tokenizer.json": _closed,
        "model.safetensors.index.json": lambda index: check_index(index.parent),
        "optimizer.pt": lambda pickled: _mapping(pickled, "state", "param_groups"),
        "scheduler.pt": lambda pickled: _mapping(pickled, "last_epoch"),
        "scaler.pt": _mapping,
        "training_args.bin": _zipped,
    }
    if file.name.startswith("rng_state") and file.suffix == ".pth":
        return _random_state
    if file.suffix == ".safetensors":
        return read_header
    return checks.get(file.name) or (_object if file.name in OBJECT else None)


def _object(file: Path) -> dict[str, Any]:
    return read_object(file, error=ModelError, nan=True)


def _model_type(file: Path) -> None:
    if not isinstance(_object(file).get("model_type"), str):
        raise ModelError(f"{file}: it names no model_type")


def _closed(file: Path) -> None:
    """Large, and of use to nobody who resumes: looked at from both ends."""
    text = read_bytes(file, error=ModelError, most=200_000_000).strip()
    if not (text.startswith(b"{") and text.endswith(b"}")):
        raise ModelError(f"{file}: not a whole JSON object")


def _zipped(file: Path) -> None:
    if not zipfile.is_zipfile(file):
        raise ModelError(f"{file}: not whole")


def _mapping(file: Path, *keys: str) -> Any:
    found = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(found, Mapping) or any(key not in found for key in keys):
        raise ModelError(f"{file}: expected {', '.join(keys) or 'a mapping'}, found {kind_of(found)}")
    return found


def _random_state(file: Path) -> None:
    """Each generator's state, tried on a generator of its own."""
    from transformers.trainer_pt_utils import safe_globals

    with safe_globals():  # numpy's, as Trainer reads it
        found = _mapping(file, "python", "numpy", "cpu")
    random.Random().setstate(found["python"])
    np.random.RandomState().set_state(found["numpy"])
    torch.Generator().set_state(found["cpu"])


def read_state(file: Path) -> dict[str, Any]:
    """`trainer_state.json`.

    Raises:
        ModelError: it is damaged, of another step than its folder, or not what Trainer writes.
    """
    from transformers import TrainerState

    found = read_object(file, error=ModelError, nan=True, most=STATE_BYTES)
    step = file.parent.name.rpartition("-")[2]
    number, missing = (int, float), type(None)
    kinds: dict[str, tuple[type, ...]] = {
        "global_step": (int,), "max_steps": (int,), "epoch": number, "log_history": (list,),
        "best_metric": (*number, missing),
        "best_global_step": (int, missing), "num_train_epochs": (*number, missing), "train_batch_size": (int, missing),
    }  # fmt: skip
    for key, expected in kinds.items():
        value = found.get(key, 0.0 if key == "epoch" else None)
        if type(value) not in expected:
            raise ModelError(f"{file}: {key} is {str(value)[:40]}")
    if not (math.isfinite(found.get("epoch", 0.0)) and found.get("epoch", 0.0) >= 0):
        raise ModelError(f"{file}: epoch is {found['epoch']}")
    if step.isdigit() and found["global_step"] != int(step):
        raise ModelError(f"{file}: it is of step {found['global_step']}")
    _check_callbacks(file, found.get("stateful_callbacks", {}) or {})
    if not all(isinstance(line, dict) for line in found["log_history"]):
        raise ModelError(f"{file}: log_history is not a list of mappings")
    if not isinstance(found.get("best_model_checkpoint"), (str, type(None))):
        raise ModelError(f"{file}: best_model_checkpoint is no path")
    TrainerState(**found)
    return found


def _check_callbacks(file: Path, callbacks: Any) -> None:
    """Trainer makes the callbacks of these names anew, with these arguments: a `LogFile` of somebody else's state would
    write where they say."""
    others = sorted(set(callbacks) - set(CALLBACKS)) if isinstance(callbacks, dict) else [kind_of(callbacks)]
    if others:
        raise ModelError(f"{file}: stateful_callbacks holds {', '.join(others[:3])[:80]}")
    patience = callbacks.get("EarlyStoppingCallback")
    if patience is not None and not (
        isinstance(patience, dict)
        and "early_stopping_patience" in (patience.get("args") or {})
        and "early_stopping_patience_counter" in (patience.get("attributes") or {})
    ):
        raise ModelError(f"{file}: the state of EarlyStoppingCallback is not what Trainer writes")
    for name, parts in callbacks.items():
        for part in parts if isinstance(parts, list) else [parts]:
            values = [part.get(key) if isinstance(part, dict) else None for key in ("args", "attributes")]
            if not all(isinstance(each, dict) and set(each) <= CALLBACKS[name] for each in values):
                raise ModelError(f"{file}: the state of {name} is not what Trainer writes")
            if not all(isinstance(value, (int, float)) for each in values if each for value in each.values()):
                raise ModelError(f"{file}: the state of {name} is not what Trainer writes")


def last_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """(the newest checkpoint that is whole, sentences about newer ones that are not)."""
    found = {int(name[1]): path for path in folder.glob("checkpoint-*") if (name := NAME.fullmatch(path.name))}
    notes: list[str] = []
    for _, path in sorted(found.items(), reverse=True):
        wrong = fault(path)
        if wrong is None:
            return path, notes
        notes.append(f"{path.name} is skipped: {wrong}.")
    return None, notes


def steps_done(checkpoint: Path) -> tuple[int, int]:
    """(steps done, steps planned) of a checkpoint; where early stopping has ended a training, no more are planned."""
    state = read_state(checkpoint / STATE)
    done, planned = int(state["global_step"]), int(state["max_steps"])
    stopping = (state.get("stateful_callbacks") or {}).get("EarlyStoppingCallback")
    if stopping:
        waited, patience = (
            stopping["attributes"]["early_stopping_patience_counter"],
            stopping["args"]["early_stopping_patience"],
        )
        planned = done if waited >= patience else planned
    return done, planned


def can_go_on(folder: Path, step: int, steps: int) -> bool:
    """Whether a training that was stopped at `step` of `steps` loses nothing: a signal after the last step may find no
    checkpoint of it (`training.save_strategy: no`), and then the model is worth more than the wish."""
    checkpoint, _ = (None, []) if step < steps else last_checkpoint(folder)
    return step < steps or (checkpoint is not None and steps_done(checkpoint)[0] >= step)


@contextlib.contextmanager
def fitting(checkpoint: Path | None, first: Callable[[], bool]) -> Iterator[None]:
    """While Trainer goes on from a checkpoint.

    Args:
        first: whether no step was done since.

    Raises:
        ModelError: it is whole, and of another model or training.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except UNFIT as error:
        if checkpoint is None or not first():
            raise
        said = next(iter(str(error).strip().splitlines()), "")[:200]
        raise ModelError(
            f"{checkpoint}: cannot be resumed from ({type(error).__name__}: {said}); remove that folder, and the same "
            "command goes on from the one before it."
        ) from error


def check_restored(optimizer: Any, own: list[dict[str, Any]]) -> None:
    """An optimizer after a checkpoint's state was laid into it. Fused kernels believe whatever shapes they are given,
    and write beyond the end of a smaller tensor; the settings of its groups are the configuration's.

    Args:
        own: the groups as they were before.

    Raises:
        ModelError: a tensor is not of its parameter's shape, or a learning rate no number.
    """
    for group, before in zip(optimizer.param_groups, own, strict=True):
        rate = group.get("lr")
        if not isinstance(rate, (int, float)) or not math.isfinite(rate):
            raise ModelError(f"optimizer.pt: a learning rate is {str(rate)[:40]}")
        group.update({key: value for key, value in before.items() if key not in ("params", "lr")})
        for key in set(group) - set(before):
            del group[key]
    for parameter, state in optimizer.state.items():
        for name, value in state.items() if isinstance(state, Mapping) else ():
            if not isinstance(value, torch.Tensor):
                continue
            if name == "step" and value.numel() != 1:
                raise ModelError(f"optimizer.pt: step is of the shape {list(value.shape)}")
            if name in OF_PARAMETERS and value.shape != parameter.shape:
                shapes = f"{list(value.shape)}, its parameter of {list(parameter.shape)}"
                raise ModelError(f"optimizer.pt: {name} is of the shape {shapes}")
            if name in OF_PARAMETERS and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)  # rows may share memory
