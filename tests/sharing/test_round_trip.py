"""Every task, every form in which a model is shared: pushed, loaded by its id with an empty cache, same answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hf_tl.run import Run
from hf_tl.sharing import clean_process, proof
from hf_tl.task import Task, all_tasks
from tests.anything import tiny_data, tiny_model
from tests.hub.server import RunningHub
from tests.sharing.test_push import TOKEN

SHARE = """
import json, sys
import hf_tl
request = json.loads(sys.stdin.read())
for id, method, merge in request["forms"]:
    run = hf_tl.finetune(
        task=request["task"], model="bob/base", data={"path": request["data"], "validation": 0.25}, method=method,
        output=f"{request['folder']}/{method}",
        training={"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 2e-2, "bf16": False},
    )
    run.push(id, merge=merge, private=False)
"""
FORMS = (("full", None), ("lora", True), ("lora", False), ("frozen", None))
"""(method, hub.merge)"""


def python(code: str, request: Any, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(request), capture_output=True, text=True, env=env, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert TOKEN not in done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("task", [pytest.param(task, id=task.name) for task in all_tasks()])
def test_shared_in_every_form(task: Task, any_hub: RunningHub, tmp_path: Path) -> None:
    hub = any_hub  # whose clients upload by LFS, and by Xet
    hub.seed_model("bob/base", tiny_model(task, tmp_path / "base"))
    data = tiny_data(task, tmp_path / "data")
    forms = [
        (f"alice/{method}{'-adapter' * (merge is False)}", method, merge)
        for method, merge in FORMS
        if method in task.methods
    ]
    assert {method for _, method, _ in forms} >= {"full", "lora"}
    request = {"task": task.name, "data": str(data), "folder": str(tmp_path), "forms": forms}
    python(SHARE, request, hub.env(TOKEN))
    for id, method, merge in forms:
        run = Run(tmp_path / method)
        known = json.loads((run.folder / "proof" / "answers.json").read_text(encoding="utf-8"))
        assert known["answers"] or task.inference.proof is None
        alone = merge is False
        weights = {name for name in hub.files(id) if name.endswith(".safetensors")}
        assert ("adapter_model.safetensors" in weights) == alone and ("model.safetensors" in weights) != alone
        assert not [name for name, content in hub.files(id).items() if TOKEN.encode() in content]
        job = {"path": id, "base": "bob/base" if alone else None, "revision": None, "trust": False}
        request = {**proof.request_for(run, known), "jobs": [job]}
        env = {**hub.env(home=f"reader-{id.partition('/')[2]}"), "HF_HUB_OFFLINE": "0"}
        said = python(Path(clean_process.__file__).read_text(encoding="utf-8"), request, env)
        (found,) = json.loads(said.rpartition(clean_process.MARK)[2])
        assert "error" not in found, (id, found)
        tolerance = proof.ADAPTER_TOLERANCE if alone else 1e-5
        assert proof.difference(known["answers"], found["found"], tolerance) is None, id
