"""The only door for writing to the Hub: access checked before training, one commit, and proof that it arrived."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_tl.config import HubConfig
from hf_tl.errors import ConfigError, HfTlError, HubError
from hf_tl.hubclient import PICKLES, causes, explain, retried, status_of
from hf_tl.models.trusted import sha256

FORBIDDEN = {"training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}


@dataclass(frozen=True)
class Pushed:
    """What is on the Hub, as it answered."""

    repo_id: str
    commit: str
    url: str
    files: tuple[str, ...]


def _client() -> tuple[Any, str]:
    """(client, token); the token is the environment's or the login's."""
    from huggingface_hub import HfApi, get_token

    token = get_token()
    if not token:
        raise HubError(
            "hub.id: pushing needs a login; run `hf auth login`, or set HF_TOKEN to a token with write access."
        )
    return HfApi(token=token), token


def check_access(hub: HubConfig) -> str:
    """The full repository id, when the Hub knows us and the namespace is ours; asked before anything expensive.

    Raises:
        HubError: no token, a token that is not accepted, or the Hub cannot be reached.
        ConfigError: the namespace is neither ours nor an organisation's of ours.
    """
    api, _ = _client()
    try:
        me = retried(api.whoami)
    except Exception as error:
        raise _said(error, f"hub.id: {hub.id}") from error
    owner, _, name = hub.id.rpartition("/")
    mine = [str(me["name"]), *(str(each["name"]) for each in me.get("orgs", []))]
    if owner and owner not in mine:
        raise ConfigError(
            f"hub.id: {hub.id}: the login is {mine[0]}, which cannot write to {owner!r}; it can to {mine}."
        )
    return f"{owner or mine[0]}/{name}"


def _said(error: Exception, what: str) -> HfTlError:
    """A refusal to write is the Hub's (exit code 4), whatever its reason."""
    told = explain(error, what)
    return told if isinstance(told, HubError) else HubError(str(told))


def push_folder(
    folder: Path,
    hub: HubConfig,
    *,
    files: Mapping[str, Path],
    message: str | None = None,
    resume_command: str = "",
    kind: str = "model",
) -> Pushed:
    """Uploads `files` (path in the repository -> local file) in one commit and compares what arrived, hash by hash.

    Makes the repository (`kind`: `model`, or `space` for a Gradio app), the branch `hub.revision` and the tag where
    they are missing.

    Raises:
        HubError: the Hub refused, could not be reached, or holds other bytes; says the command that continues.
        ConfigError: a file that must not be shared.
    """
    api, token = _client()
    _check_files(files, token)
    id = check_access(hub)
    goes_on = f" Everything is safe in {folder}; continue with: {resume_command}" if resume_command else ""
    try:
        commit = _commit(api, id, hub, files, message, kind)
        _compare(api, id, commit.oid, files, kind)
        if hub.tag:
            retried(lambda: api.create_tag(id, tag=hub.tag, revision=commit.oid, repo_type=kind))
    except HfTlError as error:
        raise type(error)(f"{error}{goes_on}") from error.__cause__
    except Exception as error:
        raise HubError(f"{_said(error, f'hub.id: {id}')}{goes_on}") from error
    return Pushed(id, commit.oid, commit.commit_url, tuple(sorted(files)))


def _check_files(files: Mapping[str, Path], token: str) -> None:
    for name, path in files.items():
        base = name.rpartition("/")[2]
        if base in FORBIDDEN or base.endswith(PICKLES):
            raise ConfigError(f"{name}: pickles and optimiser states are never uploaded.")
        if path.suffix != ".safetensors" and token.encode() in path.read_bytes():
            raise ConfigError(f"{name}: holds the login's token, so nothing is uploaded; remove it from {path}.")


def _commit(api: Any, id: str, hub: HubConfig, files: Mapping[str, Path], message: str | None, kind: str) -> Any:
    from huggingface_hub import CommitOperationAdd

    sdk = "gradio" if kind == "space" else None
    retried(lambda: api.create_repo(id, repo_type=kind, space_sdk=sdk, private=hub.private, exist_ok=True))
    if hub.private is not None:  # an existing repository keeps its visibility when it is only created again
        retried(lambda: api.update_repo_settings(id, repo_type=kind, private=hub.private))
    if hub.revision and hub.revision != "main":
        retried(lambda: api.create_branch(id, branch=hub.revision, repo_type=kind, exist_ok=True))

    def commit() -> Any:
        operations = [CommitOperationAdd(name, str(path)) for name, path in sorted(files.items())]
        return api.create_commit(
            id,
            operations,
            commit_message=message or "Push a model adapted with hf_tl",
            revision=hub.revision,
            repo_type=kind,
        )

    try:
        return retried(commit)
    except Exception as error:
        if status_of(error) == 412:  # somebody committed in between: ours goes on top
            return retried(commit)
        if any(isinstance(each, ConnectionError) and "xet" in str(each).lower() for each in causes(error)):
            raise HubError(
                "The Hub's Xet storage could not be used; set HF_HUB_DISABLE_XET=1 and push again."
            ) from error
        raise


def _compare(api: Any, id: str, commit: str, files: Mapping[str, Path], kind: str) -> None:
    """Raises HubError when the commit's files are not those that were sent."""
    found = {
        each.path: each
        for each in retried(lambda: api.get_paths_info(id, list(files), revision=commit, repo_type=kind))
    }
    for name, path in files.items():
        there = found.get(name)
        if there is None:
            raise HubError(f"hub.id: {id}: {name} is not in the commit {commit[:8]}.")
        same = there.lfs.sha256 == sha256(path) if there.lfs else there.blob_id == _git_blob(path)
        if not same:
            raise HubError(f"hub.id: {id}: {name} arrived with other bytes in commit {commit[:8]}.")


def _git_blob(path: Path) -> str:
    """git's hash of a file."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
