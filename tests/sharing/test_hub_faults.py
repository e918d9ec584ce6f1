"""What the Hub and the line to it can do to a push or a download, and what comes of it: docs/hub.md has the table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hf_tl.config import hub_config
from hf_tl.errors import ConfigError
from tests.hub.server import RunningHub
from tests.tiny import sentiment_csv, tiny_bert

TOKEN = "hf_test_alice"
WEIGHTS = bytes(range(256)) * 400
CODE = """
import json, sys, pathlib
import hf_tl.hub.client as client
from hf_tl.config import hub_config
from hf_tl.errors import HfTlError
import hf_tl.hub.patience as patience
patience.LIMITS.first = 0.01  # the waits of an unasked retry
request = json.loads(sys.stdin.read())
try:
    if request["do"] == "push":
        from hf_tl.hub.upload import push_folder
        folder = pathlib.Path(request["folder"])
        files = {file.name: file for file in folder.iterdir()}
        done = push_folder(folder, hub_config(**request["hub"]), files=files, resume_command="THE COMMAND")
        print("RESULT" + json.dumps({"commit": done.commit, "url": done.url, "changed": done.changed}))
    else:
        folder, commit = client.fetch_model(request["id"], request.get("revision"))
        print("RESULT" + json.dumps({"folder": str(folder), "commit": commit}))
except HfTlError as error:
    print("FAILED" + json.dumps({"said": str(error), "code": error.exit_code}))
"""


def ask(env: dict[str, str], **request: object) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", CODE], input=json.dumps(request), capture_output=True, text=True, env=env, timeout=240
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("RESULT", "FAILED"))]
    assert lines, done.stderr[-3000:]
    assert TOKEN not in done.stdout + done.stderr
    return {"err": done.stderr, **json.loads(lines[-1][6:])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "model"
    out.mkdir()
    (out / "model.safetensors").write_bytes(WEIGHTS)
    (out / "config.json").write_text('{"model_type": "bert"}')
    (out / "README.md").write_text("# A model\n")
    return out


def push(hub: RunningHub, folder: Path, **options: object) -> dict[str, object]:
    return ask(hub.env(TOKEN), do="push", folder=str(folder), hub={"id": "alice/x", **options})


def whole(hub: RunningHub, revision: str = "main") -> bool:
    files = hub.files("alice/x", revision=revision)
    assert set(files) in ({"model.safetensors", "config.json", "README.md"}, set()), files.keys()  # all, or nothing
    return files.get("model.safetensors") == WEIGHTS


SHARED = ["whoami-v2", "repos/create", "preupload", "/commit/main", "paths-info", "GET /api/models/alice/x"]
ROUTES = {"lfs": [*SHARED, "objects/batch", "PUT /_lfs/"], "xet": [*SHARED, "xet-write-token"]}
PASSING = {"429": (429, {"Retry-After": "0.1"}), "500": (500, {}), "502": (502, {}), "503": (503, {})}


def cases() -> list[object]:
    out = []
    for mode, routes in ROUTES.items():
        for route in routes:
            for name in PASSING:
                fast = name == "503" and mode == "lfs" and route in ("repos/create", "/commit/main", "PUT /_lfs/")
                out.append(pytest.param(mode, route, name, marks=() if fast else pytest.mark.slow))
    return out


@pytest.mark.parametrize(("mode", "route", "fault"), cases())
def test_a_passing_fault_of_any_route_is_outlived(
    mode: str, route: str, fault: str, folder: Path, tmp_path: Path
) -> None:
    hub = RunningHub(tmp_path / "test-hub", xet=mode == "xet")
    status, headers = PASSING[fault]
    hub.faults.plan(route if " " in route else f"(GET|POST|PUT) .*{route}", status, 1, **headers)
    done = push(hub, folder)
    assert "commit" in done, done
    assert hub.faults.planned[0].times == 0, "the fault was never met"
    assert whole(hub) and len(hub.store.repos["model", "alice/x"].commits) == 2
    hub.stop()


@pytest.mark.parametrize(
    ("route", "status"),
    [
        pytest.param("(POST|GET) .*whoami-v2", 503, marks=pytest.mark.slow),
        pytest.param("POST .*repos/create", 500, marks=pytest.mark.slow),
        pytest.param("POST .*/preupload/", 403, marks=pytest.mark.slow),
        pytest.param("POST .*objects/batch", 507, marks=pytest.mark.slow),
        ("POST .*/commit/", 502),
        pytest.param("POST .*/commit/", 412, marks=pytest.mark.slow),
        pytest.param("POST .*/paths-info/", 500, marks=pytest.mark.slow),
    ],
)
def test_a_lasting_fault_is_said_and_gone_on_from(route: str, status: int, hub: RunningHub, folder: Path) -> None:
    hub.faults.plan(route, status, 1000)
    done = push(hub, folder)
    assert done["code"] == 4
    said = str(done["said"])
    if "whoami" not in route:  # asked before anything is begun
        assert "Everything is safe in" in said and "continue with: THE COMMAND" in said and "\n" not in said
    before = hub.store.repos.get(("model", "alice/x"))
    if before is not None:
        assert whole(hub) == ("paths-info" in route)
        assert ("was made and holds nothing yet" in said) or ("is commit" in said)
    sent = sum(each.startswith("PUT /_lfs/") for each in hub.faults.seen)
    hub.faults.clear()
    again = push(hub, folder)
    assert "commit" in again and whole(hub)
    # what had arrived is not sent again
    assert sent + sum(each.startswith("PUT /_lfs/") for each in hub.faults.seen) == 1
    assert len(hub.store.repos["model", "alice/x"].commits) == 2


def test_a_cut_upload_goes_on(hub: RunningHub, folder: Path) -> None:
    hub.faults.plan("PUT /_lfs/", 0, 1)
    assert "commit" in push(hub, folder) and whole(hub)
    assert hub.faults.planned[0].times == 0


@pytest.mark.slow
def test_a_hub_that_is_down(hub: RunningHub, folder: Path) -> None:
    hub.stop()
    done = push(hub, folder)
    assert done["code"] == 4 and "cannot be reached" in str(done["said"])
    back = hub.again()
    assert "commit" in push(back, folder) and whole(back)
    back.stop()


def test_somebody_commits_in_between(hub: RunningHub, folder: Path) -> None:
    hub.faults.plan("POST .*/commit/", 412, 2)
    assert "commit" in push(hub, folder) and whole(hub)


def test_the_same_bytes_are_no_second_commit(any_hub: RunningHub, folder: Path) -> None:
    first = push(any_hub, folder, tag="v1")
    again = push(any_hub, folder, tag="v1")
    assert (first["changed"], again["changed"]) == (True, False) and first["commit"] == again["commit"]
    assert len(any_hub.store.repos["model", "alice/x"].commits) == 2
    (folder / "config.json").write_text("{}")
    third = push(any_hub, folder, tag="v1")
    assert third["code"] == 4 and "continue with" in str(third["said"])  # a tag is not moved


def test_without_xet_the_files_go_by_lfs(hub: RunningHub, folder: Path) -> None:
    """A Hub (or a firewall) without Xet's storage, and a client that insists on it."""
    env = {**hub.env(TOKEN), "HF_HUB_DISABLE_XET": "0"}
    done = ask(env, do="push", folder=str(folder), hub={"id": "alice/x"})
    assert "commit" in done and whole(hub)
    assert "Xet storage could not be used; sending the files by LFS" in str(done["err"])


def test_branch_pull_request_and_collection(any_hub: RunningHub, folder: Path) -> None:
    hub = any_hub
    push(hub, folder, revision="feat/y", collection="Films", private=True)
    assert whole(hub, "feat/y") and not hub.files("alice/x")
    push(hub, folder, revision="feat/y", collection="Films")
    (collection,) = hub.hub.collections.values()
    assert collection["title"] == "Films" and [each["id"] for each in collection["items"]] == ["alice/x"]
    push(hub, folder, revision="feat/y", collection=collection["slug"])
    assert len(hub.hub.collections) == 1
    # in a repository of somebody else
    other = folder.parent / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    hub.seed_model("bob/theirs", other)
    done = push(hub, folder, id="bob/theirs", create_pr=True, private=False)
    assert str(done["url"]).endswith("/bob/theirs/discussions/1")
    assert hub.files("bob/theirs", revision="refs/pr/1")["model.safetensors"] == WEIGHTS
    assert set(hub.files("bob/theirs")) == {"config.json"}
    refused = push(hub, folder, id="bob/theirs")
    assert refused["code"] == 2 and "hub.create_pr=true opens a pull request" in str(refused["said"])
    with pytest.raises(ConfigError, match="leave revision, tag"):
        hub_config(id="a/b", create_pr=True, tag="v1")


DOWNLOADS = {
    "corrupted at the same size": ("GET .*model.safetensors", -1, {}),
    "cut in the middle": ("GET .*model.safetensors", 0, {}),
    "503": ("GET .*model.safetensors", 503, {}),
    "429": ("GET .*config.json", 429, {"Retry-After": "0.1"}),
    "500 of the listing": ("GET /api/models/bob/base", 500, {}),
    "502 of a HEAD": ("HEAD .*config.json", 502, {}),
}


@pytest.mark.parametrize("fault", DOWNLOADS)
def test_a_download_is_what_the_hub_holds(fault: str, hub: RunningHub, folder: Path) -> None:
    hub.seed_model("bob/base", folder)
    pattern, status, headers = DOWNLOADS[fault]
    hub.faults.plan(pattern, status, 1, **headers)
    done = ask(hub.env(), do="fetch", id="bob/base")
    assert "folder" in done, done
    assert hub.faults.planned[0].times == 0
    assert (Path(str(done["folder"])) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_download_that_stays_corrupted_is_not_used(hub: RunningHub, folder: Path) -> None:
    hub.seed_model("bob/base", folder)
    hub.faults.plan("GET .*model.safetensors", -1, 1000)
    done = ask(hub.env(), do="fetch", id="bob/base")
    assert done["code"] == 4 and "model.safetensors came with other bytes" in str(done["said"])
    assert not list((hub.folder / "home").rglob("snapshots/*/model.safetensors"))
    hub.faults.clear()
    assert "folder" in ask(hub.env(), do="fetch", id="bob/base")


@pytest.mark.parametrize(
    ("method", "lasting"), [("lora", False), ("lora", True), pytest.param("full", False, marks=pytest.mark.slow)]
)
def test_every_save_is_pushed_and_no_failure_is_silent(
    method: str, lasting: bool, hub: RunningHub, tmp_path: Path
) -> None:
    hub.seed_model("bob/base", tiny_bert(tmp_path / "base"))
    if lasting:
        hub.faults.plan("POST .*/commit/training", 403, 1000)
    else:
        hub.faults.plan("POST .*/commit/training", 403, 1)
    data = sentiment_csv(tmp_path / "reviews.csv")
    run = tmp_path / "run"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "hf_tl", "train", "--model", "bob/base", "--data", data, "--output", run),
            *("--method", method, "training.max_steps=6", "training.save_steps=2", "training.eval_steps=2"),
            *("training.eval_strategy=steps", "hub.id=alice/x", "hub.every_save=true"),
        ],
        capture_output=True, text=True, env=hub.env(TOKEN), timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "could not be pushed (hub.id: alice/x: the token may not do this" in done.stderr
    logged = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    pushes = [(line["step"], line["push"]) for line in logged if "push" in line]
    assert pushes[0][1] == "failed"
    files = hub.files("alice/x", revision="training")
    if lasting:
        assert not files and {result for _, result in pushes} == {"failed"}
        assert [step for step, _ in pushes].count(6) == 2  # once more at the end
    else:
        assert pushes[-1] == (6, "done")
        weights = "adapter_model.safetensors" if method == "lora" else "model.safetensors"
        assert {weights, "tokenizer.json", "README.md"} <= set(files)
        assert not [name for name in files if name.endswith((".bin", ".pt", ".pth"))]
        assert b"Step 6 of 6" in files["README.md"]
    assert "model.safetensors" in hub.files("alice/x")  # the finished model, on main
    assert not list(run.glob(".save-*"))
