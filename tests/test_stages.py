"""A run killed anywhere between two writes is finished by the same command, to the same files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import hf_tl
from hf_tl.run_folder import STAGES
from tests.tiny import sentiment_csv, tiny_bert

WRITTEN = [
    ("started", "config.yaml"),
    ("trained", "checkpoints"),
    ("saved", "model"),
    ("saved", "environment.json"),
    ("measured", "proof"),
    ("measured", "predictions.parquet"),
    ("measured", "metrics.json"),
    ("reported", "report.html"),
    ("reported", "README.md"),
]
"""(stage that a run has reached once it is there, file or folder), in the order in which a run writes them."""


def options(folder: Path) -> dict[str, Any]:
    return {
        "model": str(folder / "bert"),
        "data": str(folder / "reviews.csv"),
        "output": str(folder / "run"),
        "training": {"max_steps": 4, "bf16": False},
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    tiny_bert(folder / "bert")
    sentiment_csv(folder / "reviews.csv")
    hf_tl.finetune(**options(folder))
    return folder


@pytest.mark.parametrize("last", range(1, len(WRITTEN)))
def test_a_run_killed_after_any_write_is_finished_by_the_same_call(last: int, finished: Path, tmp_path: Path) -> None:
    """`last` writes were done, and of the stages only those that come before the next write."""
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    for _, name in WRITTEN[last:]:
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
    shutil.rmtree(run / "figures", ignore_errors=True)
    state = json.loads((run / "state.json").read_text())
    reached = STAGES[STAGES.index(WRITTEN[last][0]) - 1]
    (run / "state.json").write_text(json.dumps({**state, "stage": reached}))

    again = hf_tl.finetune(**{**options(finished), "output": str(run)})
    assert again.stage == "reported"
    assert (run / "model" / "model.safetensors").read_bytes() == (
        finished / "run" / "model" / "model.safetensors"
    ).read_bytes()
    assert again.metrics["metrics"] == hf_tl.Run(finished / "run").metrics["metrics"]
    facts, expected = (json.loads((each / "environment.json").read_text()) for each in (run, finished / "run"))
    assert {key: facts[key] for key in ("model", "data", "settings", "notes")} == {
        key: expected[key] for key in ("model", "data", "settings", "notes")
    }


def test_a_run_killed_between_the_model_and_the_environment_keeps_both(
    finished: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """The stage "saved" says that everything of it is on disk: killed as soon as it is said, nothing is missing."""

    class Killed(BaseException):
        pass

    reach = hf_tl.Run.reach

    def killed(self: hf_tl.Run, stage: str, **facts: Any) -> None:
        reach(self, stage, **facts)
        if stage == "saved":
            raise Killed

    monkeypatch.setattr(hf_tl.Run, "reach", killed)
    with pytest.raises(Killed):
        hf_tl.finetune(**{**options(finished), "output": str(tmp_path / "run")})
    monkeypatch.undo()
    assert (tmp_path / "run" / "environment.json").exists()
    again = hf_tl.finetune(**{**options(finished), "output": str(tmp_path / "run")})
    assert again.stage == "reported"


def test_a_proof_that_fails_leaves_report_and_card_behind_and_marked(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    state = json.loads((run / "state.json").read_text())
    assert state["loss_before_saving"] > 0
    (run / "state.json").write_text(json.dumps({**state, "stage": "measured"}))
    (run / "report.html").unlink()
    (run / "README.md").unlink()

    def fails(*_: Any, **__: Any) -> None:
        raise hf_tl.errors.ProofError("run/model: its predictions differ from those that were measured: row 0.")

    monkeypatch.setattr("hf_tl.commands.train.proof.prove", fails)
    monkeypatch.setattr("hf_tl.commands.train.proof.wanted", lambda _: True)
    with pytest.raises(hf_tl.errors.ProofError):
        hf_tl.finetune(**{**options(finished), "output": str(run)})
    for name in ("report.html", "README.md"):
        assert "The proof failed, so do not use or share this model" in (run / name).read_text(), name
    assert hf_tl.Run(run).stage == "measured"
    monkeypatch.undo()
    assert hf_tl.finetune(**{**options(finished), "output": str(run)}).stage == "reported"
    for name in ("report.html", "README.md"):
        assert "The proof failed" not in (run / name).read_text(), name
