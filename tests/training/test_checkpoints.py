"""Every way in which a checkpoint can be half-written, and the newest that is whole."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hf_tl.training import checkpoints
from hf_tl.training.checkpoints import fault, last_checkpoint, steps_done


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    state = {"global_step": step, "max_steps": 50, "log_history": []}
    (path / "trainer_state.json").write_text(json.dumps(state))
    torch.save({"state": {}, "param_groups": []}, path / "optimizer.pt")
    torch.save({"last_epoch": step}, path / "scheduler.pt")
    torch.save(random_state(), path / "rng_state.pth")
    save_file({"weight": torch.ones(100)}, path / "model.safetensors")
    return path


def random_state() -> dict[str, object]:
    """As Trainer saves it."""
    return {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.get_rng_state()}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


NEEDED = ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors")


def test_a_whole_checkpoint_has_no_fault(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 3)
    assert fault(path) is None and steps_done(path) == (3, 50)
    for rank in range(2):  # several processes keep a random state each
        torch.save(random_state(), path / f"rng_state_{rank}.pth")
    (path / "rng_state.pth").unlink()
    assert fault(path) is None


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_file_is_a_fault(name: str, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 3)
    (path / name).unlink()
    assert fault(path) == ("it holds no weights" if name == "model.safetensors" else f"{name} is missing")


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("spoil", [cut, lambda path: path.write_bytes(b"")], ids=["cut", "empty"])
def test_a_damaged_file_is_a_fault(name: str, spoil: Callable[[Path], None], tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 3)
    spoil(path / name)
    assert fault(path) is not None


def test_one_of_several_weights_is_damaged(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 3)
    save_file({"other": torch.ones(9)}, path / "model-2.safetensors")
    assert fault(path) is None
    cut(path / "model-2.safetensors")
    assert fault(path) is not None


def test_the_newest_whole_checkpoint_by_number(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-x").mkdir()
    (tmp_path / "tmp-checkpoint-300").mkdir()
    assert last_checkpoint(tmp_path) == (tmp_path / "checkpoint-100", [])
    (tmp_path / "checkpoint-100" / "scheduler.pt").unlink()
    found, notes = last_checkpoint(tmp_path)
    assert found == tmp_path / "checkpoint-20"
    assert notes == ["checkpoint-100 is skipped: scheduler.pt is missing."]
    for step in (20, 9):
        (tmp_path / f"checkpoint-{step}" / "optimizer.pt").unlink()
    found, notes = last_checkpoint(tmp_path)
    assert found is None and [note.split()[0] for note in notes] == ["checkpoint-100", "checkpoint-20", "checkpoint-9"]
    assert last_checkpoint(tmp_path / "nothing") == (None, [])


@pytest.mark.parametrize(
    ("waited", "patience", "planned"), [(0, 2, 50), (1, 2, 50), (2, 2, 30), (3, 2, 30), (None, None, 50)]
)
def test_where_early_stopping_has_ended_a_training_no_more_is_planned(
    waited: int | None, patience: int | None, planned: int, tmp_path: Path
) -> None:
    path = checkpoint(tmp_path, 30)
    state = json.loads((path / "trainer_state.json").read_text())
    if waited is not None:
        state["stateful_callbacks"] = {
            "EarlyStoppingCallback": {
                "args": {"early_stopping_patience": patience, "early_stopping_threshold": 0.0},
                "attributes": {"early_stopping_patience_counter": waited},
            }
        }
    (path / "trainer_state.json").write_text(json.dumps(state))
    assert steps_done(path) == (30, planned)


@pytest.mark.parametrize(("step", "found", "lost"), [(3, None, False), (9, 9, False), (9, 8, True), (9, None, True)])
def test_what_is_lost_by_a_stop(step: int, found: int | None, lost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 9 steps; before the last one a checkpoint was saved because of the stop itself."""
    monkeypatch.setattr(checkpoints, "last_checkpoint", lambda folder: (found and Path(str(found)), []))
    monkeypatch.setattr(checkpoints, "steps_done", lambda checkpoint: (int(checkpoint.name), 9))
    assert checkpoints.can_go_on(Path("checkpoints"), step, 9) is not lost
