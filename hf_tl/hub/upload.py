"""The only door for writing to the Hub: access checked before training, one commit, and proof that it arrived."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_tl.config import HubConfig
from hf_tl.errors import ConfigError, HfTlError, HubError, Stopped, redact
from hf_tl.hub.client import explain, retried, without_xet
from hf_tl.hub.patience import say
from hf_tl.hub.sealed import Sealed, sealed

ASKING = 5.0
"""Seconds for asking, after a failure, what is there."""


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


@dataclass(frozen=True)
class Target:
    """Where a push goes, and who may see it there."""

    id: str
    """Complete with its owner."""
    private: bool
    """How it is after the push."""
    now: bool | None
    """Whether it is private now; None where there is no such repository."""

    def __str__(self) -> str:
        was = "" if self.now in (None, self.private) else f"; it was {_seen(self.now)}"
        return f"{self.id} ({_seen(self.private)}{was})"


def _seen(private: bool | None) -> str:
    return "private" if private else "public"


def announce(target: Target) -> None:
    """Said before anything is sent."""
    say(f"Pushing to {target}")


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
        mine = [str(me["name"]), *(str(each["name"]) for each in me.get("orgs", []))]
    except Exception as error:
        raise _said(error, f"hub.id: {hub.id}") from error
    owner, _, name = hub.id.rpartition("/")
    if owner and owner not in mine and not hub.create_pr:
        raise ConfigError(
            f"hub.id: {hub.id}: the login is {mine[0]}, which cannot write to {owner!r}; it can to {mine}. "
            "hub.create_pr=true opens a pull request in a repository of others."
        )
    return f"{owner or mine[0]}/{name}"


def check_target(hub: HubConfig, kind: str = "model") -> Target:
    """Where a push would go, once access is checked: private unless `hub.private: false` says otherwise.

    Raises:
        HubError: as `check_access`.
        ConfigError: the namespace is not ours, or the repository is public and nobody said that it may be.
    """
    id = check_access(hub)
    what = f"hub.id: {id}"
    try:
        now = visibility(id, kind)
    except Exception as error:
        raise _said(error, what) from error
    if hub.create_pr and now is None:
        raise ConfigError(f"hub.create_pr: there is no repository {id} to open a pull request in.")
    if hub.create_pr and now is False and hub.private is not False:
        raise ConfigError(
            f"{what} is public, and so is a pull request to it; --public (hub.private: false) opens it there."
        )
    if now is False and hub.private is None:
        raise ConfigError(
            f"{what} is public, so nothing is sent; --public (hub.private: false) pushes there, --private (true) makes "
            "it private first."
        )
    return Target(id, bool(now) if hub.create_pr else hub.private is not False, now)


def visibility(id: str, kind: str = "model") -> bool | None:
    """Whether a repository is private; None where there is none that we see."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    api, _ = _client()
    try:
        return retried(lambda: api.repo_info(id, repo_type=kind)).private is True
    except RepositoryNotFoundError as error:
        if isinstance(error, GatedRepoError):
            raise
        return None


def _said(error: Exception, what: str) -> HfTlError:
    """A refusal to write is the Hub's (exit code 4), whatever its reason."""
    told = explain(error, what, writing=True)
    return told if isinstance(told, HubError) else HubError(str(told))


@contextlib.contextmanager
def stoppable(what: object, again: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM within end in the command that continues; the Hub is not asked what it holds, as it may be
    what was waited for."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(f"stopped. Everything is safe in {what}; continue with: {again}") from None


def push_folder(
    folder: Path,
    hub: HubConfig,
    *,
    files: Mapping[str, Path],
    message: str | None = None,
    expected: Mapping[str, str] | None = None,
    resume_command: str = "",
    kind: str = "model",
    announced: bool = False,
) -> Pushed:
    """Uploads `files` (path in the repository -> local file) in one commit and compares what arrived, hash by hash.

    Makes the repository (`kind`: `model`, or `space` for a Gradio app), the branch `hub.revision`, the tag and the
    collection where they are missing. Files that the Hub holds already are not sent again, so the same call goes on
    where one was broken off.

    Args:
        expected: path in the repository -> sha256, of files that have to have it.
        announced: whether it was said already where this goes.

    Raises:
        HubError: the Hub refused, could not be reached, or holds other bytes; says the command that continues.
        ConfigError: a file that must not be shared.
    """
    api, _ = _client()
    parts = sealed(files, expected)
    state = f" Everything is safe in {folder}"
    state += f"; continue with: {resume_command}" if resume_command else "."
    try:
        target = check_target(hub, kind)
    except HubError as error:
        raise HubError(f"{error}{state}") from error.__cause__
    id = target.id
    if not announced:
        announce(target)
    there = There(api, target, hub, parts, kind)
    try:
        there.prepare()
        commit = there.commit(message)
        _compare(api, id, commit.oid, parts, kind)
        if target.now and not target.private:  # last, so that nothing is shown by a push that fails
            retried(lambda: api.update_repo_settings(id, repo_type=kind, private=False))
            if retried(lambda: api.repo_info(id, repo_type=kind)).private is not False:
                raise HubError(f"hub.id: {id}: is still private, though the Hub says that it was made public.")
        if hub.tag:
            there.tag(commit.oid)
        if hub.collection:
            _collect(api, id, hub, kind)
    except HfTlError as error:
        raise type(error)(f"{error}{there.said()}{state}") from error.__cause__
    except Exception as error:
        raise HubError(f"{_said(error, f'hub.id: {id}')}{there.said()}{state}") from error
    url = getattr(commit, "pr_url", None) or commit.commit_url
    return Pushed(id, commit.oid, redact(url), tuple(sorted(files)), commit.oid != there.before)


class There:
    """What a push did, and what it found, so that nothing else is said of it."""

    def __init__(self, api: Any, target: Target, hub: HubConfig, files: Mapping[str, Sealed], kind: str) -> None:
        self.api, self.target, self.hub, self.files, self.kind = api, target, hub, files, kind
        self.id = target.id
        self.existed: bool | None = None
        """Whether the repository was there before; None where the Hub did not say."""
        self.before: str | None = None
        """The branch's commit before."""
        self.committed: str | None = None
        self.tagged = False

    def prepare(self) -> None:
        """Makes the repository and the branch where they are missing."""
        api, id, hub, kind, target = self.api, self.id, self.hub, self.kind, self.target
        self.existed = target.now is not None
        if hub.create_pr:
            return
        if not self.existed:
            sdk = "gradio" if kind == "space" else None
            retried(lambda: api.create_repo(id, repo_type=kind, space_sdk=sdk, private=target.private, exist_ok=True))
        elif target.private and not target.now:
            retried(lambda: api.update_repo_settings(id, repo_type=kind, private=True))
        if hub.revision and hub.revision != "main":
            retried(lambda: api.create_branch(id, branch=hub.revision, repo_type=kind, exist_ok=True))
        found = retried(lambda: api.repo_info(id, revision=hub.revision, repo_type=kind))
        if target.private and found.private is False:
            raise ConfigError(f"hub.id: {id} is public, though it should be private; nothing was sent.")
        self.before = str(found.sha)

    def commit(self, message: str | None) -> Any:
        commit = _commit(self.api, self.id, self.hub, self.files, message, self.kind)
        self.committed = str(commit.oid)
        return commit

    def tag(self, commit: str) -> None:
        """Where the answer is lost after the tag was made, the next try finds it; an answer alone is not believed."""

        def there() -> bool:
            return _tagged(self.api, self.id, str(self.hub.tag), self.kind) == commit

        def made() -> None:
            if not there():
                self.api.create_tag(self.id, tag=self.hub.tag, revision=commit, repo_type=self.kind)
                if not there():
                    raise HubError(f"hub.id: {self.id}: the Hub has no tag {self.hub.tag}, though it says so.")

        retried(made)
        self.tagged = True

    def said(self) -> str:
        """After a failure: what is on the Hub now, as far as it answers."""
        branch = f" on branch {self.hub.revision}" if self.hub.revision not in (None, "main") else ""
        if self.committed is not None and self.committed != self.before:
            tag = f"; the tag {self.hub.tag} is not" if self.hub.tag and not self.tagged else ""
            return f" What was sent is commit {self.committed[:8]}{branch}{tag}."
        if self.committed is not None:
            tag = f"; the tag {self.hub.tag} is not on it" if self.hub.tag and not self.tagged else ""
            return f" The Hub held these very files before, in commit {self.committed[:8]}{branch}{tag}."
        if self.existed is None or self.hub.create_pr:
            return ""
        try:
            if not retried(lambda: self.api.repo_exists(self.id, repo_type=self.kind), seconds=ASKING):
                return f" There is no repository {self.id}; nothing was made."
            found = retried(lambda: self._files_there(), seconds=ASKING)
        except Exception:
            return " What the Hub holds of it could not be asked for."
        made = f" The repository {self.id} {'existed before' if self.existed else 'was made'}"
        if not found:
            return f"{made} and holds nothing{'' if self.existed else ' yet'}{branch}."
        sent = sum(found.get(name) in one.hashes for name, one in self.files.items())
        if sent == len(self.files):
            return f"{made} and holds these very files{branch}."
        return f"{made}; nothing of this push is in it{branch}."

    def _files_there(self) -> dict[str, str]:
        """Path -> hash, of the files that are to be pushed, and of all others but git's own."""
        listed = self.api.list_repo_tree(self.id, recursive=True, revision=self.hub.revision, repo_type=self.kind)
        return {
            each.path: each.lfs.sha256 if getattr(each, "lfs", None) else each.blob_id
            for each in listed
            if hasattr(each, "blob_id") and each.path != ".gitattributes"
        }


def _tagged(api: Any, id: str, tag: str, kind: str) -> str | None:
    """The commit that the tag names already; a tag on another one is refused by the Hub."""
    refs = api.list_repo_refs(id, repo_type=kind)
    return next((str(each.target_commit) for each in refs.tags if each.name == tag), None)


def _collect(api: Any, id: str, hub: HubConfig, kind: str) -> None:
    """Adds the repository to `hub.collection`: a slug, or the title of a collection of the same owner."""
    named, owner = str(hub.collection), id.partition("/")[0]
    slug: str | None = named if re.fullmatch(r"[\w.-]+/[\w.-]+-[0-9a-f]{16,}", named) else None
    if slug is None:
        known = retried(lambda: list(api.list_collections(owner=owner)))
        slug = next((each.slug for each in known if each.title == named), None)
    if slug is None:
        made = retried(lambda: api.create_collection(named, namespace=owner, private=hub.private is not False))
        slug = str(made.slug)
    try:
        retried(lambda: api.add_collection_item(slug, item_id=id, item_type=kind, exists_ok=True))
    except Exception as error:
        raise _said(error, f"hub.collection: {named}") from error


def _commit(api: Any, id: str, hub: HubConfig, files: Mapping[str, Sealed], message: str | None, kind: str) -> Any:
    """One commit with all of it: what is seen is whole, or what was there before."""
    from huggingface_hub import CommitOperationAdd

    def commit() -> Any:
        operations = [CommitOperationAdd(name, one.content) for name, one in sorted(files.items())]
        where = {"revision": hub.revision, "repo_type": kind, "create_pr": hub.create_pr}
        api.preupload_lfs_files(id, operations, **where, free_memory=False)
        for each in operations:  # what was sent, before anybody sees it
            if each.upload_info.sha256.hex() != files[each.path_in_repo].sha256:
                raise ConfigError(f"{each.path_in_repo}: has changed while it was sent, so it is not shared.")
        return api.create_commit(
            id,
            operations,
            commit_message=message or "Push a model adapted with hf_tl",
            **where,
        )

    # 412: somebody committed in between; ours goes on top
    return retried(lambda: without_xet(commit, "sending the files by LFS"), also=[412])


def _compare(api: Any, id: str, commit: str, files: Mapping[str, Sealed], kind: str) -> None:
    """Raises HubError when the commit's files are not those that were sent."""
    found = {
        each.path: each
        for each in retried(lambda: api.get_paths_info(id, list(files), revision=commit, repo_type=kind))
    }
    for name, one in files.items():
        there = found.get(name)
        if there is None:
            raise HubError(f"hub.id: {id}: {name} is not in the commit {commit[:8]}.")
        same = there.lfs.sha256 == one.sha256 if there.lfs else there.blob_id == one.git
        if not same:
            raise HubError(f"hub.id: {id}: {name} arrived with other bytes in commit {commit[:8]}.")
