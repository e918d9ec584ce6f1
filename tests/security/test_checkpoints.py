"""Checkpoints and run folders that are damaged, or that somebody else made: found, left aside, and nothing runs."""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import hf_tl
from hf_tl.errors import ConfigError, InputError, ModelError
from hf_tl.files import write_text
from hf_tl.run import Run
from hf_tl.training.checkpoints import fault, last_checkpoint, read_state
from tests.reporting.run_folder import digits_run
from tests.tiny import sentiment_csv, tiny_bert

TRAINING = {
    "max_steps": 12, "eval_strategy": "steps", "eval_steps": 4, "save_steps": 4, "save_total_limit": 8, "bf16": False,
}  # fmt: skip


def train(folder: Path, **options: Any) -> Run:
    return hf_tl.finetune(
        model=str(folder / "m"), data=str(folder / "d.csv"), output=str(folder / "run"), training=TRAINING, **options
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Method -> a folder with model, data and a finished run."""
    out = {}
    for method in ("full", "lora", "frozen"):
        out[method] = folder = tmp_path_factory.mktemp(f"checkpoints-{method}")
        tiny_bert(folder / "m", dropout=0.1)
        sentiment_csv(folder / "d.csv", rows=60)
        train(folder, method=method)
    return out


@pytest.fixture
def finished(runs: dict[str, Path]) -> Path:
    return runs["full"]


@pytest.fixture(params=["full", "lora", "frozen"])
def checkpoint(request: pytest.FixtureRequest, runs: dict[str, Path], tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints" / "checkpoint-12"
    shutil.copytree(runs[request.param] / "run" / "checkpoints" / "checkpoint-12", folder)
    assert fault(folder) is None
    return folder


def damage(file: Path) -> Iterator[bytes]:
    whole = file.read_bytes()
    yield b""
    yield whole[: len(whole) // 2]
    yield whole[:-1]
    if file.suffix == ".json":
        yield from (b"[]", b"null", b"3", b"\xff\xfe")


def test_every_file_of_a_checkpoint_that_is_damaged_is_named(checkpoint: Path) -> None:
    names = sorted(file.name for file in checkpoint.iterdir())
    assert {"optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json", "training_args.bin"} <= set(names)
    for name in names:
        file = checkpoint / name
        whole = file.read_bytes()
        if file.suffix not in (".json", ".pt", ".pth", ".bin", ".safetensors"):
            continue
        for content in damage(file):
            if content.strip() == whole.strip():
                continue
            file.write_bytes(content)
            said = fault(checkpoint)
            assert said is not None and name in said and "\n" not in said, (name, content[:20], said)
            newest, notes = last_checkpoint(checkpoint.parent)
            assert newest is None and notes == [f"checkpoint-12 is skipped: {said}."]
        file.write_bytes(whole)
    assert fault(checkpoint) is None


@pytest.mark.parametrize("name", ["config.json", "trainer_state.json"])
def test_an_empty_object_is_damage(name: str, checkpoint: Path) -> None:
    if (checkpoint / name).exists():
        (checkpoint / name).write_text("{}")
        assert name in (fault(checkpoint) or "")


def test_a_loss_scale_that_is_damaged(checkpoint: Path) -> None:
    for content in (b"", b"x"):
        (checkpoint / "scaler.pt").write_bytes(content)
        assert "scaler.pt" in (fault(checkpoint) or "")
    torch.save({"scale": 2.0, "_growth_tracker": 1}, checkpoint / "scaler.pt")
    assert fault(checkpoint) is None


STATE: dict[str, Any] = {
    "global_step": [None, "12", 3, True, [], 10**30],
    "max_steps": [None, "x"],
    "epoch": [None, "x", float("nan"), float("inf"), -1.0],
    "best_metric": ["x", [1]],
    "best_global_step": ["x", 1.5],
    "num_train_epochs": ["x"],
    "train_batch_size": ["x"],
    "log_history": [None, {}, [3]],
    "best_model_checkpoint": [3, []],
    "stateful_callbacks": [
        [3],
        {"LogFile": {"args": {"path": "/tmp/written"}, "attributes": {}}},
        {"EarlyStoppingCallback": {"args": {}, "attributes": {}}},
        {"EarlyStoppingCallback": [{"args": {"early_stopping_patience": 1}, "attributes": {}}]},
        {"Clock": [[]]},
        {"Clock": 3},
        {"Clock": {"args": {"start": 1.0}, "attributes": {}}},
        {"Clock": {"args": {}, "attributes": {"before": "x"}}},
        {"Clock": {"args": {}}},
        {"TrainerControl": {"args": {"on_log": 3}, "attributes": {}}},
    ],
    "unknown": [3],
}


@pytest.mark.parametrize("key, value", [(key, value) for key, values in STATE.items() for value in values])
def test_a_state_that_trainer_did_not_write(key: str, value: Any, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-12"
    folder.mkdir()
    good = {"global_step": 12, "max_steps": 12, "epoch": 1.0, "log_history": [{"loss": float("nan"), "step": 1}]}
    (folder / "trainer_state.json").write_text(json.dumps(good))
    assert read_state(folder / "trainer_state.json")["global_step"] == 12
    (folder / "trainer_state.json").write_text(json.dumps({**good, key: value}))
    with pytest.raises((InputError, TypeError)):
        read_state(folder / "trainer_state.json")


class Runs:
    """A pickle that writes a file where it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt", "training_args.bin"])
@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_no_pickle_of_a_checkpoint_runs(name: str, how: str, finished: Path, tmp_path: Path) -> None:
    """Resumed as a whole: what hf_tl and Trainer read of it."""
    for file in ("m", "d.csv", "run"):
        (shutil.copytree if (finished / file).is_dir() else shutil.copy)(finished / file, tmp_path / file)
    mark = tmp_path / "it-ran"
    for step in (4, 8, 12):
        path = tmp_path / "run" / "checkpoints" / f"checkpoint-{step}" / name
        torch.save(Runs(mark), path) if how == "torch" else path.write_bytes(pickle.dumps(Runs(mark)))
    assert fault(path.parent) is not None or name == "training_args.bin"
    (tmp_path / "run" / "state.json").write_text('{"stage": "started"}')
    shutil.rmtree(tmp_path / "run" / "model")
    config = Run(tmp_path / "run").config
    hf_tl.finetune(config.model_copy(update={"output": str(tmp_path / "run")}))
    assert not mark.exists()


@pytest.mark.parametrize("damaged", ["rng_state.pth", "config.json", "trainer_state.json", "optimizer.pt"])
def test_a_run_goes_on_from_the_checkpoint_before_to_the_same_bits(
    damaged: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished / "run", tmp_path / "run")
    folder = tmp_path / "run"
    file = folder / "checkpoints" / "checkpoint-12" / damaged
    file.write_bytes(b"{}" if file.suffix == ".json" else file.read_bytes()[:50])
    whole = (folder / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(folder / "model")
    (folder / "state.json").write_text('{"stage": "started"}')
    again = hf_tl.finetune(Run(folder).config.model_copy(update={"output": str(folder)}))
    said = capsys.readouterr().err
    assert "checkpoint-12 is skipped: it cannot be read" in said and damaged in said
    assert "Resuming from step 8 of 12" in said
    assert again.metrics["train"]["resumed_from_step"] == 8
    assert (folder / "model" / "model.safetensors").read_bytes() == whole


def test_the_best_checkpoint_is_taken_from_the_run_itself(finished: Path, tmp_path: Path) -> None:
    """Wherever the state says that it was."""
    shutil.copytree(finished / "run", tmp_path / "run")
    folder = tmp_path / "run"
    whole = (folder / "model" / "model.safetensors").read_bytes()
    for file in (folder / "checkpoints").glob("*/trainer_state.json"):
        state = json.loads(file.read_text())
        if state["best_model_checkpoint"]:
            state["best_model_checkpoint"] = f"/elsewhere/{Path(state['best_model_checkpoint']).name}"
        file.write_text(json.dumps(state))
    shutil.rmtree(folder / "model")
    (folder / "state.json").write_text('{"stage": "started", "precision": ["fp32", "as configured"]}')
    hf_tl.finetune(Run(folder).config.model_copy(update={"output": str(folder)}))
    assert (folder / "model" / "model.safetensors").read_bytes() == whole


@pytest.mark.parametrize(
    "name, content",
    [("state.json", each) for each in (b"", b"[]", b"{}", b'{"stage": "no', b"\xff\xfe\x00", b"[" * 100_000)]
    + [(name, b"{}") for name in ("environment.json", "metrics.json", "log.jsonl")],
)
def test_a_damaged_file_of_a_run_is_made_again(
    name: str, content: bytes, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished / "run", tmp_path / "run")
    folder = tmp_path / "run"
    before = {file: (folder / file).read_bytes() for file in ("metrics.json", "model/model.safetensors")}
    values = json.loads(before["metrics.json"])["metrics"]
    (folder / name).write_bytes(content)
    if name not in ("log.jsonl", "metrics.json"):
        with pytest.raises(ConfigError, match=rf"{name}.*train it again"):
            Run(folder).stage if name == "state.json" else hf_tl.reporting.run_summary.read_summary(folder)
    again = hf_tl.finetune(Run(folder).config.model_copy(update={"output": str(folder)}))
    said = capsys.readouterr().err
    assert (f"{name}" in said and "it is moved aside and written again" in said) or name == "log.jsonl"
    assert again.stage == "reported" and again.metrics["metrics"] == values
    assert (folder / "model/model.safetensors").read_bytes() == before["model/model.safetensors"]


DELETED = object()


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    if isinstance(value, dict):
        for key in list(value)[:8]:
            yield from places(value[key], (*place, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*place, 0))


def put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    value = copy.deepcopy(value)
    inside = value
    for key in place[:-1]:
        inside = inside[key]
    if new is DELETED:
        del inside[place[-1]]
    else:
        inside[place[-1]] = new
    return value


@pytest.mark.parametrize("name", ["metrics.json", "environment.json", "state.json", "model/config.json"])
def test_a_card_of_a_damaged_run_is_written_or_refused(name: str, tmp_path: Path) -> None:
    """Each place of each file, with what does not belong there."""
    from hf_tl.reporting.card import write_card

    folder = digits_run(tmp_path / "run", epochs=1)
    whole = json.loads((folder / name).read_text())
    drawn = random.Random(0)
    refused = 0
    for place in places(whole):
        for new in drawn.sample([None, [], {}, "x", -1, 3.5, True, [[]], DELETED, 10**30], 4):
            if new is DELETED and not place:
                continue
            (folder / name).write_text(json.dumps(put(whole, place, new)))
            try:
                write_card(folder, shared=False)
            except InputError as error:
                refused += 1
                assert Path(name).name in str(error) and "\n" not in str(error)
    assert refused or name == "state.json"


def test_random_states_are_tried(tmp_path: Path, checkpoint: Path) -> None:
    good = {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.get_rng_state()}
    for key, wrong in (("python", 3), ("python", (3, (1, 2), None)), ("numpy", "x"), ("cpu", torch.zeros(3))):
        torch.save({**good, key: wrong}, checkpoint / "rng_state.pth")
        assert "rng_state.pth" in (fault(checkpoint) or ""), key
    torch.save(good, checkpoint / "rng_state.pth")
    assert fault(checkpoint) is None


# -- what goes on writes in its own folder alone -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    ["checkpoints", "checkpoints/checkpoint-12", "checkpoints/checkpoint-12/optimizer.pt", "figures", "log.jsonl",
     ".predictions.parquet.tmp", ".model.tmp"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_run_writes_through_no_link(place: str, kind: str, finished: Path, tmp_path: Path) -> None:
    """Of a run folder that somebody else made: where the next checkpoint would be saved, or an old one be removed."""
    shutil.copytree(finished / "run", tmp_path / "run")
    victim, folder = tmp_path / "mine", tmp_path / "run"
    file = folder / place
    if file.exists():
        shutil.move(file, victim)
    else:
        victim.mkdir()
    file.symlink_to(victim) if kind == "link" else os.mkfifo(file)
    before = {each: each.read_bytes() for each in [victim, *victim.rglob("*")] if each.is_file()}
    with pytest.raises(ConfigError, match=f"{re.escape(place)}: is (a link|neither a file nor a folder)"):
        hf_tl.finetune(Run(folder).config.model_copy(update={"output": str(folder)}))
    assert before == {each: each.read_bytes() for each in [victim, *victim.rglob("*")] if each.is_file()}


def test_a_temporary_file_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / f".state.json.{os.getpid()}.tmp").symlink_to(tmp_path / "mine")
    write_text(tmp_path / "state.json", "{}")
    assert (tmp_path / "mine").read_text() == "mine" and not (tmp_path / "state.json").is_symlink()


@pytest.mark.parametrize("name", ["checkpoint-1e9", "checkpoint-²", "checkpoint-٣", "checkpoint-012", "checkpoint--1"])
def test_names_that_trainer_does_not_write(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert last_checkpoint(tmp_path) == (None, [])


def test_what_is_in_the_place_of_a_checkpoint(checkpoint: Path) -> None:
    os.mkfifo(checkpoint / "rng_state_1.pth")
    assert fault(checkpoint) == "rng_state_1.pth is neither a file nor a folder"
    (checkpoint.parent / "checkpoint-20").write_text("")
    assert last_checkpoint(checkpoint.parent)[1][0] == "checkpoint-20 is skipped: it is no folder."


def half_way(finished: Path, folder: Path) -> Path:
    """A run that was stopped after step 8; its checkpoint."""
    shutil.copytree(finished / "run", folder)
    for part in ("model", "checkpoints/checkpoint-12"):
        shutil.rmtree(folder / part)
    (folder / "state.json").write_text('{"stage": "started", "precision": ["fp32", "as configured"]}')
    return folder / "checkpoints" / "checkpoint-8"


def other_shape(checkpoint: Path) -> None:
    found = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    found["state"][0]["exp_avg"] = torch.zeros(1)
    torch.save(found, checkpoint / "optimizer.pt")


def shared_memory(checkpoint: Path) -> None:
    """One number that calls itself as many as there are: taken apart, it is harmless."""
    found = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    for state in found["state"].values():
        state["exp_avg"] = torch.zeros(1).expand(state["exp_avg"].shape)
    found["param_groups"][0] |= {"weight_decay": "x", "betas": 3, "amsgrad": True}
    torch.save(found, checkpoint / "optimizer.pt")


def no_rate(checkpoint: Path) -> None:
    found = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    found["param_groups"][0]["lr"] = torch.zeros(0)
    torch.save(found, checkpoint / "optimizer.pt")


def other_schedule(checkpoint: Path) -> None:
    found = torch.load(checkpoint / "scheduler.pt", weights_only=True)
    torch.save({**found, "step": "x"}, checkpoint / "scheduler.pt")


def no_groups(checkpoint: Path) -> None:
    torch.save({"state": [], "param_groups": "x"}, checkpoint / "optimizer.pt")


def other_weights(checkpoint: Path) -> None:
    found = load_file(checkpoint / "model.safetensors")
    save_file({**found, "classifier.weight": torch.zeros(7, 3)}, checkpoint / "model.safetensors")


def test_an_optimizer_that_shares_memory_goes_on(finished: Path, tmp_path: Path) -> None:
    shared_memory(half_way(finished, tmp_path / "run"))
    again = hf_tl.finetune(Run(tmp_path / "run").config.model_copy(update={"output": str(tmp_path / "run")}))
    assert again.metrics["train"]["resumed_from_step"] == 8


@pytest.mark.parametrize("change", [other_shape, no_groups, no_rate, other_schedule, other_weights])
def test_a_checkpoint_of_another_model(change: Callable[[Path], None], finished: Path, tmp_path: Path) -> None:
    checkpoint = half_way(finished, tmp_path / "run")
    change(checkpoint)
    config = Run(tmp_path / "run").config.model_copy(update={"output": str(tmp_path / "run")})
    with pytest.raises(ModelError, match=r"checkpoint-8: cannot be resumed from .*remove that folder"):
        hf_tl.finetune(config)


def test_a_checkpoint_does_not_say_when_to_save(finished: Path, tmp_path: Path) -> None:
    checkpoint = half_way(finished, tmp_path / "run")
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    state |= {"logging_steps": 0, "eval_steps": 0, "save_steps": 1}
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    hf_tl.finetune(Run(tmp_path / "run").config.model_copy(update={"output": str(tmp_path / "run")}))
    saved = {each.name for each in (tmp_path / "run" / "checkpoints").iterdir()}
    assert saved == {"checkpoint-4", "checkpoint-8", "checkpoint-12"}
    whole, again = (each / "model" / "model.safetensors" for each in (finished / "run", tmp_path / "run"))
    assert whole.read_bytes() == again.read_bytes()
