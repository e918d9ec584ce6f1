"""The only door for writing to the Hub: access checked before training, one commit, and proof that it arrived."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_tl.config import HubConfig
from hf_tl.errors import ConfigError, HfTlError, HubError
from hf_tl.hubclient import PICKLES, explain, hub_hash, of_xet, retried, sha256

FORBIDDEN = {"training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}


@dataclass(frozen=True)
class Pushed:
    """What is on the Hub, as it answered."""

    repo_id: str
    commit: str
    url: str
    """Of the commit, or of the pull request."""
    files: tuple[str, ...]
    changed: bool = True
    """False where the Hub held these very files already, so that there is no new commit."""


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
    """The full repository id, when the Hub knows us and the namespace is ours (or we open a pull request); asked before
    anything expensive.

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
    if owner and owner not in mine and not hub.create_pr:
        raise ConfigError(
            f"hub.id: {hub.id}: the login is {mine[0]}, which cannot write to {owner!r}; it can to {mine}. "
            "hub.create_pr=true opens a pull request in a repository of others."
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

    Makes the repository (`kind`: `model`, or `space` for a Gradio app), the branch `hub.revision`, the tag and the
    collection where they are missing. Files that the Hub holds already are not sent again, so the same call goes on
    where one was broken off.

    Raises:
        HubError: the Hub refused, could not be reached, or holds other bytes; says the command that continues.
        ConfigError: a file that must not be shared.
    """
    api, token = _client()
    _check_files(files, token)
    id = check_access(hub)
    state = f" Everything is safe in {folder}"
    state += f"; continue with: {resume_command}" if resume_command else "."
    try:
        if _prepare(api, id, hub, kind):
            state = f" The repository was made and is empty.{state}"
        before = None if hub.create_pr else _head(api, id, hub.revision, kind)
        commit = _commit(api, id, hub, files, message, kind)
        state = f" What was sent is commit {commit.oid[:8]}.{state}"
        _compare(api, id, commit.oid, files, kind)
        if hub.tag and _tagged(api, id, hub.tag, kind) != commit.oid:
            retried(lambda: api.create_tag(id, tag=hub.tag, revision=commit.oid, repo_type=kind))
        if hub.collection:
            _collect(api, id, hub, kind)
    except HfTlError as error:
        raise type(error)(f"{error}{state}") from error.__cause__
    except Exception as error:
        raise HubError(f"{_said(error, f'hub.id: {id}')}{state}") from error
    url = getattr(commit, "pr_url", None) or commit.commit_url
    return Pushed(id, commit.oid, url, tuple(sorted(files)), commit.oid != before)


def _prepare(api: Any, id: str, hub: HubConfig, kind: str) -> bool:
    """Makes the repository and the branch where they are missing.

    Returns:
        Whether the repository is new.
    """
    there = retried(lambda: api.repo_exists(id, repo_type=kind))
    if hub.create_pr:
        if not there:
            raise ConfigError(f"hub.create_pr: there is no repository {id} to open a pull request in.")
        return False
    if not there:
        sdk = "gradio" if kind == "space" else None
        retried(lambda: api.create_repo(id, repo_type=kind, space_sdk=sdk, private=hub.private, exist_ok=True))
    elif hub.private is not None:
        retried(lambda: api.update_repo_settings(id, repo_type=kind, private=hub.private))
    if hub.revision and hub.revision != "main":
        retried(lambda: api.create_branch(id, branch=hub.revision, repo_type=kind, exist_ok=True))
    return not there


def _head(api: Any, id: str, revision: str | None, kind: str) -> str:
    return str(retried(lambda: api.repo_info(id, revision=revision, repo_type=kind)).sha)


def _tagged(api: Any, id: str, tag: str, kind: str) -> str | None:
    """The commit that the tag names already; a tag on another one is refused by the Hub."""
    refs = retried(lambda: api.list_repo_refs(id, repo_type=kind))
    return next((str(each.target_commit) for each in refs.tags if each.name == tag), None)


def _collect(api: Any, id: str, hub: HubConfig, kind: str) -> None:
    """Adds the repository to `hub.collection`: a slug, or the title of a collection of the same owner."""
    named, owner = str(hub.collection), id.partition("/")[0]
    slug: str | None = named if re.fullmatch(r"[\w.-]+/[\w.-]+-[0-9a-f]{16,}", named) else None
    if slug is None:
        known = retried(lambda: list(api.list_collections(owner=owner)))
        slug = next((each.slug for each in known if each.title == named), None)
    if slug is None:
        made = retried(lambda: api.create_collection(named, namespace=owner, private=bool(hub.private)))
        slug = str(made.slug)
    try:
        retried(lambda: api.add_collection_item(slug, item_id=id, item_type=kind, exists_ok=True))
    except Exception as error:
        raise _said(error, f"hub.collection: {named}") from error


def _check_files(files: Mapping[str, Path], token: str) -> None:
    for name, path in files.items():
        base = name.rpartition("/")[2]
        if base in FORBIDDEN or base.endswith(PICKLES):
            raise ConfigError(f"{name}: pickles and optimiser states are never uploaded.")
        if path.suffix != ".safetensors" and token.encode() in path.read_bytes():
            raise ConfigError(f"{name}: holds the login's token, so nothing is uploaded; remove it from {path}.")


def _commit(api: Any, id: str, hub: HubConfig, files: Mapping[str, Path], message: str | None, kind: str) -> Any:
    """One commit with all of it: what is seen is whole, or what was there before."""
    from huggingface_hub import CommitOperationAdd, constants

    def commit() -> Any:
        operations = [CommitOperationAdd(name, str(path)) for name, path in sorted(files.items())]
        return api.create_commit(
            id,
            operations,
            commit_message=message or "Push a model adapted with hf_tl",
            revision=hub.revision,
            repo_type=kind,
            create_pr=hub.create_pr,
        )

    try:
        return retried(commit, also=[412])  # 412: somebody committed in between; ours goes on top
    except Exception as error:
        if constants.HF_HUB_DISABLE_XET or not of_xet(error):
            raise
        print("The Hub's Xet storage could not be used; sending the files by LFS.", file=sys.stderr, flush=True)
        constants.HF_HUB_DISABLE_XET = True
        return retried(commit, also=[412])


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
        same = there.lfs.sha256 == sha256(path) if there.lfs else there.blob_id == hub_hash(path, 40)
        if not same:
            raise HubError(f"hub.id: {id}: {name} arrived with other bytes in commit {commit[:8]}.")
