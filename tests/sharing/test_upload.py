"""The door to the Hub: whose namespace it is, what is tried again, and that what arrived is what was sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from huggingface_hub.errors import HfHubHTTPError

from hf_tl.config import hub_config
from hf_tl.errors import ConfigError, HubError
from hf_tl.hub import client, patience, upload
from hf_tl.hub.sealed import Sealed


def login(monkeypatch: pytest.MonkeyPatch, **api: Any) -> None:
    me = {"name": "alice", "orgs": [{"name": "lab"}]}
    monkeypatch.setattr(upload, "_client", lambda: (SimpleNamespace(whoami=lambda: me, **api), "token"))


@pytest.mark.parametrize(("id", "full"), [("x", "alice/x"), ("alice/x", "alice/x"), ("lab/x", "lab/x")])
def test_namespaces_of_our_own(id: str, full: str, monkeypatch: pytest.MonkeyPatch) -> None:
    login(monkeypatch)
    assert upload.check_access(hub_config(id=id)) == full


@pytest.mark.parametrize("id", ["bob/x", "Alice/x", "labs/x"])
def test_namespaces_of_others(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    login(monkeypatch)
    with pytest.raises(ConfigError, match=r"is alice, which cannot write to .*; it can to \['alice', 'lab'\]"):
        upload.check_access(hub_config(id=id))
    assert upload.check_access(hub_config(id=id, create_pr=True)) == id


@pytest.mark.parametrize(
    ("now", "asked", "private"),
    [(None, None, True), (None, False, False), (None, True, True), (True, None, True), (True, True, True),
     (True, False, False), (False, False, False), (False, True, True)],
)  # fmt: skip
def test_who_sees_a_push(now: bool | None, asked: bool | None, private: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    login(monkeypatch)
    monkeypatch.setattr(upload, "visibility", lambda id, kind: now)
    assert upload.check_target(hub_config(id="x", private=asked)) == upload.Target("alice/x", private, now)


def test_nothing_goes_to_a_public_place_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    login(monkeypatch)
    monkeypatch.setattr(upload, "visibility", lambda id, kind: False)
    with pytest.raises(ConfigError, match="alice/x is public, so nothing is sent; --public"):
        upload.check_target(hub_config(id="x"))
    with pytest.raises(ConfigError, match="bob/x is public, and so is a pull request to it"):
        upload.check_target(hub_config(id="bob/x", create_pr=True))
    assert upload.check_target(hub_config(id="bob/x", create_pr=True, private=False)).private is False
    monkeypatch.setattr(upload, "visibility", lambda id, kind: True)  # a pull request is as its repository
    assert upload.check_target(hub_config(id="bob/x", create_pr=True, private=False)).private is True
    monkeypatch.setattr(upload, "visibility", lambda id, kind: None)
    with pytest.raises(ConfigError, match="there is no repository bob/x to open a pull request in"):
        upload.check_target(hub_config(id="bob/x", create_pr=True))


@pytest.mark.parametrize("now", [None, False])
def test_a_repository_that_stays_public_gets_nothing(now: bool | None) -> None:
    """Whatever the Hub said when it was made, or made private."""
    asked: list[str] = []
    api = SimpleNamespace(
        create_repo=lambda *_, private, **__: asked.append(f"made, private={private}"),
        update_repo_settings=lambda *_, private, **__: asked.append(f"private={private}"),
        repo_info=lambda *_, **__: SimpleNamespace(private=False, sha="0" * 40),
    )
    push = upload.There(api, upload.Target("alice/x", True, now), hub_config(id="alice/x"), {}, "model")
    with pytest.raises(ConfigError, match=r"alice/x is public, though it should be private; nothing was sent"):
        push.prepare()
    assert asked == (["made, private=True"] if now is None else ["private=True"])
    assert push.committed is None


SENT: Any = {
    "model.safetensors": Sealed(None, "sha-1", "git-1"),  # type: ignore[arg-type]
    "README.md": Sealed(None, "sha-2", "git-2"),  # type: ignore[arg-type]
}


def there(path: str, git: str, lfs: str | None = None) -> Any:
    return SimpleNamespace(path=path, blob_id=git, lfs=None if lfs is None else SimpleNamespace(sha256=lfs))


def compared(*found: Any) -> None:
    api = SimpleNamespace(
        get_paths_info=lambda id, names, revision, repo_type: list(found) if revision == "0123456789" else []
    )
    upload._compare(api, "alice/x", "0123456789", SENT, "model")


def test_what_arrived_is_what_was_sent() -> None:
    """A file of LFS by its sha256, whatever its pointer is called; any other by what git calls it."""
    compared(there("model.safetensors", "pointer", "sha-1"), there("README.md", "git-2"), there("more", "x"))
    compared(there("model.safetensors", "git-1"), there("README.md", "pointer", "sha-2"))


@pytest.mark.parametrize(
    ("model", "card", "said"),
    [
        (there("model.safetensors", "git-1", "sha-9"), there("README.md", "git-2"), "model.safetensors arrived with"),
        (
            there("model.safetensors", "git-9"),
            there("README.md", "git-2"),
            "model.safetensors arrived with other bytes",
        ),
        (there("model.safetensors", "x", "sha-1"), there("README.md", "sha-2"), "README.md arrived with other bytes"),
        (there("model.safetensors", "x", "sha-1"), there("other", "git-2"), "README.md is not in the commit 01234567"),
    ],
)
def test_what_arrived_otherwise(model: Any, card: Any, said: str) -> None:
    with pytest.raises(HubError, match=f"alice/x: {said}"):
        compared(model, card)


@pytest.mark.parametrize(
    ("status", "also", "tries"),
    [(429, [], 3), (408, [], 3), (500, [], 3), (503, [], 3), (412, [412], 3), (412, [], 1), (403, [], 1), (404, [], 1)],
)
def test_which_answers_are_tried_again(
    status: int, also: list[int], tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience.Patience, "again", lambda self, error: True)
    seen: list[int] = []

    def call() -> str:
        seen.append(status)
        if len(seen) < 3:
            answer = httpx.Response(status, request=httpx.Request("GET", "http://127.0.0.1/x"))
            raise HfHubHTTPError("no", response=answer)
        return "done"

    if tries == 1:
        with pytest.raises(HfHubHTTPError):
            client.retried(call, also=also)
    else:
        assert client.retried(call, also=also) == "done"
    assert len(seen) == tries


@pytest.mark.parametrize(
    ("named", "private", "slug", "made"),
    [
        ("lab/films-0123456789abcdef", None, "lab/films-0123456789abcdef", None),  # a slug
        ("Films", None, "lab/films-2", None),  # a title of the same owner's
        ("Books", None, "lab/new", {"private": True}),  # as private as the model
        ("Books", False, "lab/new", {"private": False}),
    ],
)
def test_the_collection_that_is_meant(named: str, private: bool | None, slug: str, made: Any) -> None:
    seen: dict[str, Any] = {}

    def create(title: str, namespace: str, private: bool) -> Any:
        seen["made"] = {"title": title, "namespace": namespace, "private": private}
        return SimpleNamespace(slug="lab/new")

    known = [SimpleNamespace(title="Songs", slug="lab/songs-1"), SimpleNamespace(title="Films", slug="lab/films-2")]
    api = SimpleNamespace(
        list_collections=lambda owner: known if owner == "lab" else [], create_collection=create,
        add_collection_item=lambda slug, **item: seen.update(added=(slug, item)),
    )  # fmt: skip
    upload._collect(api, "lab/x", hub_config(id="lab/x", collection=named, private=private), "model")
    assert seen.pop("added") == (slug, {"item_id": "lab/x", "item_type": "model", "exists_ok": True})
    assert seen == ({"made": {"title": named, "namespace": "lab", **made}} if made else {})


def test_a_file_that_changes_while_it_is_sent_is_not_committed() -> None:
    api = SimpleNamespace(create_commit=lambda *words, **options: "done")

    def sent(digest: bytes) -> Any:
        def preupload(id: str, operations: list[Any], **options: Any) -> None:
            for each in operations:
                each.upload_info = SimpleNamespace(sha256=digest)

        api.preupload_lfs_files = preupload
        file: Any = {"a.txt": Sealed(b"content", bytes(32).hex(), "git")}  # type: ignore[arg-type]
        return upload._commit(api, "alice/x", hub_config(id="alice/x"), file, None, "model")

    assert sent(bytes(32)) == "done"
    with pytest.raises(ConfigError, match=r"a\.txt: has changed while it was sent, so it is not shared"):
        sent(bytes([1] * 32))


@pytest.mark.parametrize(
    ("writing", "said"),
    [
        (True, "the token may not do this; it needs the right to write there"),
        (False, "refuses it to this login (status 403)"),
    ],
)
def test_a_refusal_is_of_what_was_asked(writing: bool, said: str) -> None:
    answer = httpx.Response(403, request=httpx.Request("GET", "http://127.0.0.1/x"))
    error = client.explain(HfHubHTTPError("no", response=answer), "data.path: bob/x", writing=writing)
    assert isinstance(error, HubError) and said in str(error)
