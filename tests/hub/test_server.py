"""The test Hub answers the real client, and every fault reaches it."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from tests.hub.server import RunningHub


@pytest.fixture
def api(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    return HfApi(endpoint=hub.url, token="hf_test_alice")


def test_round_trip(hub: RunningHub, api: HfApi, tmp_path: Path) -> None:
    assert api.whoami()["name"] == "alice"
    api.create_repo("alice/x", private=True)
    (tmp_path / "w.safetensors").write_bytes(b"\0" * 5000)
    api.upload_file(path_or_fileobj=tmp_path / "w.safetensors", path_in_repo="w.safetensors", repo_id="alice/x")
    api.upload_file(path_or_fileobj=b'{"a": 1}', path_in_repo="sub/config.json", repo_id="alice/x")
    assert sorted(api.list_repo_files("alice/x")) == ["sub/config.json", "w.safetensors"]
    folder = Path(api.snapshot_download("alice/x", cache_dir=tmp_path / "cache"))
    assert (folder / "w.safetensors").read_bytes() == b"\0" * 5000
    assert (folder / "sub" / "config.json").read_text() == '{"a": 1}'
    api.create_branch("alice/x", branch="feat/y")
    api.create_tag("alice/x", tag="v1")
    assert {ref.name for ref in api.list_repo_refs("alice/x").branches} == {"main", "feat/y"}
    assert api.repo_info("alice/x", revision="v1").sha == api.repo_info("alice/x").sha
    assert len(api.list_repo_commits("alice/x")) == 3
    # what is kept survives a restart
    from tests.hub.store import Store

    assert set(Store(hub.folder / "hub").repos) == {("model", "alice/x")}


def test_refusals(hub: RunningHub, api: HfApi, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "config.json").write_text("{}")
    hub.seed_model("bob/secret", tmp_path / "f", private=True)
    hub.seed_model("bob/gated", tmp_path / "f")
    hub.store.repos["model", "bob/gated"].gated = True
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("bob/secret")
    with pytest.raises(GatedRepoError):
        api.model_info("bob/gated")
    with pytest.raises(RevisionNotFoundError):
        HfApi(endpoint=hub.url, token="hf_test_bob").model_info("bob/secret", revision="nope")
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("bob/mine")
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi(endpoint=hub.url, token="hf_wrong").whoami()


def test_faults(hub: RunningHub, api: HfApi) -> None:
    hub.faults.plan("GET /api/whoami-v2", 503)
    with pytest.raises(HfHubHTTPError, match="503"):
        api.whoami()
    assert api.whoami()["name"] == "alice"
    assert hub.faults.seen.count("GET /api/whoami-v2") == 2
