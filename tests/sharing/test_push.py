"""From a run to the Hub and back: what others load by id, with an empty cache."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import hf_tl
from tests.clean_process import assert_same_scores, stock_scores
from tests.hub.server import RunningHub
from tests.tiny import sentiment_csv, tiny_bert

TEXTS = ["the film was very good", "a bad meal"]
TOKEN = "hf_test_alice"


def command(env: dict[str, str], *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "hf_tl", *map(str, words)], capture_output=True, text=True, env=env, timeout=300
    )
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-3000:]
    assert TOKEN not in done.stdout + done.stderr
    return done


def train(hub: RunningHub, folder: Path, method: str, *extra: object, model: object = None) -> Path:
    data = sentiment_csv(folder / "reviews.csv")
    command(
        hub.env(TOKEN), "train", "--model", model or tiny_bert(folder / "bert"), "--data", data, "--method", method,
        "--output", folder / "run", "training.max_steps=6", *extra,
    )  # fmt: skip
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora", "frozen"])
def test_round_trip(method: str, hub: RunningHub, tmp_path: Path) -> None:
    run = train(hub, tmp_path, method)
    pushed = json.loads(command(hub.env(TOKEN), "push", run, "alice/reviews", "--private", "--json").stdout)
    assert pushed["id"] == "alice/reviews" and pushed["commit"] in hub.store.repos["model", "alice/reviews"].commits
    files = hub.files("alice/reviews")
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(files)
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]
    assert not [name for name, content in files.items() if TOKEN.encode() in content]
    assert hub.store.repos["model", "alice/reviews"].private
    assert ("adapter/adapter_model.safetensors" in files) == (method == "lora")
    reader = {**hub.env(TOKEN, home="reader"), "HF_HUB_OFFLINE": "0"}
    theirs = stock_scores("text-classification", "alice/reviews", TEXTS, env=reader)
    assert_same_scores(hf_tl.predict(str(run), TEXTS), theirs)
    # and by id with hf_tl, from another empty cache
    fresh = {**hub.env(TOKEN, home="third"), "HF_HUB_OFFLINE": "0"}
    ours = json.loads(command(fresh, "predict", "alice/reviews", TEXTS[0], "--json").stdout.splitlines()[0])
    assert ours["label"] == max(theirs[0], key=theirs[0].__getitem__)


@pytest.mark.slow
def test_adapter_alone(hub: RunningHub, tmp_path: Path) -> None:
    hub.seed_model("bob/tiny", tiny_bert(tmp_path / "bert"))
    run = train(hub, tmp_path, "lora", model="bob/tiny")
    command(hub.env(TOKEN), "push", run, "alice/adapter", "--no-merge")
    files = hub.files("alice/adapter")
    assert "adapter_model.safetensors" in files and "model.safetensors" not in files
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "bob/tiny"
    fresh = {**hub.env(TOKEN, home="third"), "HF_HUB_OFFLINE": "0"}
    ours = json.loads(command(fresh, "predict", "alice/adapter", TEXTS[0], "--json").stdout.splitlines()[0])
    expected = hf_tl.predict(str(run), TEXTS[:1])[0]["scores"]
    assert ours["scores"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_adapter_of_a_local_base_is_not_pushed_alone(hub: RunningHub, tmp_path: Path) -> None:
    run = train(hub, tmp_path, "lora")
    done = command(hub.env(TOKEN), "push", run, "alice/adapter", "--no-merge", code=2)
    assert "needs a base model that others can find" in done.stderr
    assert ("model", "alice/adapter") not in hub.store.repos


def test_branch_tag_and_message(hub: RunningHub, tmp_path: Path) -> None:
    run = train(hub, tmp_path, "frozen")
    command(hub.env(TOKEN), "push", run, "acme/x", "--revision", "feat/y", "--tag", "v1", "--message", "First")
    repo = hub.store.repos["model", "acme/x"]
    assert repo.commits[repo.refs["feat/y"]]["title"] == "First"
    assert repo.tags["v1"] == repo.refs["feat/y"]
    assert "model.safetensors" not in hub.files("acme/x")


@pytest.mark.slow
def test_refusals_name_the_way_on(hub: RunningHub, tmp_path: Path) -> None:
    run = train(hub, tmp_path, "frozen")
    assert "hf auth login" in command(hub.env(), "push", run, "alice/x", code=4).stderr
    assert "does not accept the token" in command(hub.env("hf_wrong"), "push", run, "alice/x", code=4).stderr
    assert "cannot write to 'bob'" in command(hub.env(TOKEN), "push", run, "bob/x", code=2).stderr
    hub.faults.plan("POST .*/commit/", 403)
    done = command(hub.env(TOKEN), "push", run, "alice/x", code=4)
    assert "may not do this" in done.stderr and f"hf-tl push {run} alice/x" in done.stderr


def test_a_gated_private_or_unknown_model_is_one_sentence(hub: RunningHub, tmp_path: Path) -> None:
    data = sentiment_csv(tmp_path / "reviews.csv")
    hub.seed_model("bob/gated", tiny_bert(tmp_path / "bert"))
    hub.store.repos["model", "bob/gated"].gated = True
    for id, words in (("bob/gated", "ask for access at"), ("bob/none", "not on the Hub, or private")):
        done = command(hub.env(TOKEN), "train", "--model", id, "--data", data, "--output", tmp_path / "r", code=2)
        lines = done.stderr.strip().splitlines()
        assert words in lines[-1] and sum(line.startswith("hf-tl:") for line in lines) == 1
        assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_shared_models_are_gone_on_with_and_work_offline(hub: RunningHub, tmp_path: Path) -> None:
    """An adapter on the Hub: predicted with, evaluated and trained on; without a Hub from the cache."""
    hub.seed_model("bob/tiny", tiny_bert(tmp_path / "bert"))
    run = train(hub, tmp_path, "lora", model="bob/tiny")
    command(hub.env(TOKEN), "push", run, "alice/adapter", "--no-merge", "--revision", "v1")
    fresh = {**hub.env(TOKEN, home="third"), "HF_HUB_OFFLINE": "0"}
    data = tmp_path / "reviews.csv"
    words = ("predict", "alice/adapter", TEXTS[0], "--revision", "v1", "--json")
    online = command(fresh, *words).stdout
    found = json.loads(command(fresh, "evaluate", "alice/adapter", "--revision", "v1", "--data", data, "--json").stdout)
    assert found["samples"] == 60
    again = ("--model", "alice/adapter", "--data", data, "--method", "full", "training.max_steps=2")
    command(fresh, "train", *again, "model.revision=v1", "--output", tmp_path / "further")
    assert json.loads((tmp_path / "further" / "model" / "config.json").read_text())["id2label"]["0"] == "negative"
    hub.stop()
    for env in (fresh, {**fresh, "HF_HUB_OFFLINE": "1"}):
        assert command(env, *words).stdout == online
    command(fresh, "train", *again, "model.revision=v1", "--output", tmp_path / "offline")
    gone = command(fresh, "predict", "alice/other", TEXTS[0], code=4).stderr
    assert "cannot be reached" in gone and "and the cache does not hold it" in gone
