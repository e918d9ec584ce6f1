"""Repositories on disk: blobs by sha256, and for each repository a JSON file with its branches and commits."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOKENS = {"hf_test_alice": "alice", "hf_test_bob": "bob"}
"""Token -> user; both may write to their own namespace, alice to the organisation `acme` too."""
ORGS = {"alice": ["acme"], "bob": []}
LFS_FROM = 1024
"""Bytes from which a file is stored as LFS; safetensors always are."""


@dataclass
class Entry:
    """One file of a commit."""

    sha256: str
    size: int
    lfs: bool
    blob_id: str

    def as_json(self, path: str) -> dict[str, Any]:
        out: dict[str, Any] = {"type": "file", "path": path, "oid": self.blob_id, "size": self.size}
        if self.lfs:
            out["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": 134}
        return out


@dataclass
class Repo:
    """A repository: commits are snapshots, branches and tags point to them."""

    kind: str
    id: str
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, Any]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def resolve(self, revision: str) -> str | None:
        if revision in self.commits:
            return revision
        return self.refs.get(revision) or self.tags.get(revision)

    def files(self, commit: str) -> dict[str, Entry]:
        return {path: Entry(**entry) for path, entry in self.commits[commit]["files"].items()}


class Store:
    """All repositories below a folder; every change is written at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        (folder / "blobs").mkdir(parents=True, exist_ok=True)
        (folder / "repos").mkdir(exist_ok=True)
        self.repos: dict[tuple[str, str], Repo] = {}
        for file in (folder / "repos").glob("*.json"):
            repo = Repo(**json.loads(file.read_text(encoding="utf-8")))
            self.repos[repo.kind, repo.id] = repo

    def save(self, repo: Repo) -> None:
        file = self.folder / "repos" / f"{repo.kind}--{repo.id.replace('/', '--')}.json"
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(repo.__dict__), encoding="utf-8")
        os.replace(temporary, file)

    def create(self, kind: str, id: str, private: bool = False) -> Repo:
        with self.lock:
            repo = Repo(kind, id, private)
            self.repos[kind, id] = repo
            self.commit(repo, "main", {}, "initial commit")
            return repo

    def blob(self, sha256: str) -> Path:
        return self.folder / "blobs" / sha256

    def add_blob(self, content: bytes, lfs: bool) -> Entry:
        sha = hashlib.sha256(content).hexdigest()
        if not self.blob(sha).exists():
            temporary = self.blob(f".{sha}.tmp")
            temporary.write_bytes(content)
            os.replace(temporary, self.blob(sha))
        header = b"blob %d\0" % len(content)
        return Entry(sha, len(content), lfs, hashlib.sha1(header + content, usedforsecurity=False).hexdigest())

    def commit(self, repo: Repo, branch: str, changes: dict[str, Entry | None], message: str) -> str:
        with self.lock:
            parent = repo.refs.get(branch)
            files = dict(repo.commits[parent]["files"]) if parent else {}
            for path, entry in changes.items():
                if entry is None:
                    files.pop(path, None)
                else:
                    files[path] = entry.__dict__
            facts = json.dumps([parent, files, message, len(repo.commits)], sort_keys=True)
            oid = hashlib.sha1(facts.encode(), usedforsecurity=False).hexdigest()
            repo.commits[oid] = {"files": files, "parent": parent, "title": message}
            repo.refs[branch] = oid
            self.save(repo)
            return oid

    def seed(self, kind: str, id: str, folder: Path, private: bool = False) -> str:
        """A repository with the files of a local folder; returns its commit."""
        repo = self.repos.get((kind, id)) or self.create(kind, id, private)
        changes: dict[str, Entry | None] = {}
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                content = file.read_bytes()
                plain = file.suffix in (".json", ".md")
                lfs = file.suffix == ".safetensors" or (len(content) >= LFS_FROM and not plain)
                changes[file.relative_to(folder).as_posix()] = self.add_blob(content, lfs)
        return self.commit(repo, "main", changes, "seed")
