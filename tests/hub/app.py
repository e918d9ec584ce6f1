"""The routes that the client uses (model, dataset and space repositories; LFS uploads, Xet on request)."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.hub.faults import Faults, answer
from tests.hub.store import LFS_FROM, ORGS, TOKENS, Entry, Repo, Store
from tests.hub.xet import rebuilt

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
VERBS = r"revision|tree|paths-info|preupload|commit|commits|branch|tag|refs|settings|auth-check|xet-write-token"


class Refused(Exception):
    def __init__(self, status: int, message: str, code: str = "") -> None:
        self.status, self.message, self.code = status, message, code


class Hub:
    """State and handlers; `url` is what it is reached at."""

    def __init__(self, folder: Path, url: str = "", xet: bool = False) -> None:
        self.store, self.faults, self.url = Store(folder), Faults(), url
        self.xet = folder / "xet" if xet else None
        self.xet_url: str | None = None
        """Where Xet's store is said to be; default: in the folder `xet`."""
        self.collections: dict[str, dict[str, Any]] = {}

    # who asks, and what they may see

    def user(self, request: Request) -> str | None:
        header = request.headers.get("authorization", "")
        if not header:
            return None
        user = TOKENS.get(header.removeprefix("Bearer ").strip())
        if user is None:
            raise Refused(401, "Invalid credentials in Authorization header")
        return user

    def may_write(self, user: str | None, id: str) -> bool:
        return user is not None and id.partition("/")[0] in (user, *ORGS[user])

    def repo(self, request: Request, kind: str, id: str, write: bool = False) -> Repo:
        user = self.user(request)
        repo = self.store.repos.get((kind, id))
        if repo is None or (repo.private and not self.may_write(user, id)):
            raise Refused(404 if user else 401, "Repository not found", "RepoNotFound")
        if repo.gated and not self.may_write(user, id):
            raise Refused(403, "Access to this repository is restricted", "GatedRepo")
        if write and not self.may_write(user, id):
            raise Refused(403, "You have no write access to this repository")
        return repo

    @staticmethod
    def commit_of(repo: Repo, revision: str) -> str:
        commit = repo.resolve(revision)
        if commit is None:
            raise Refused(404, "Invalid rev id", "RevisionNotFound")
        return commit

    # dispatch on the raw path: revisions arrive as feat%2Fx

    async def handle(self, request: Request) -> Response:
        raw = request.scope.get("raw_path", request.url.path.encode()).decode().partition("?")[0]
        fault = self.faults.take(request.method, raw)
        if fault is not None and isinstance(fault.status, str):
            if fault.status == "lost answer":
                await self.route(request, raw)
            return await answer(fault.status, request)
        if fault is not None and fault.status > 0:
            return JSONResponse({"error": f"fault {fault.status}"}, fault.status, headers=fault.headers)
        if fault is not None and fault.status == 0 and request.method == "PUT":
            return await broken_off(request)
        try:
            response = await self.route(request, raw)
        except Refused as refused:
            headers = {"X-Error-Message": refused.message}
            if refused.code:
                headers["X-Error-Code"] = refused.code
            return JSONResponse({"error": refused.message}, refused.status, headers=headers)
        return response if fault is None else spoiled(response, cut=fault.status == 0)

    async def route(self, request: Request, raw: str) -> Response:
        parts = [unquote(part) for part in raw.strip("/").split("/")]
        if raw == "/api/whoami-v2":
            user = self.user(request)
            if user is None:
                raise Refused(401, "Invalid username or password.")
            return JSONResponse({"type": "user", "name": user, "orgs": [{"name": name} for name in ORGS[user]]})
        if raw == "/api/repos/create":
            return await self.create(request)
        if raw == "/api/validate-yaml":
            return JSONResponse({"errors": [], "warnings": []})
        if raw.startswith("/api/collections"):
            return await self.collection(request, unquote(raw.removeprefix("/api/collections").strip("/")))
        if raw == "/_test/faults":
            body = await request.json()
            self.faults.plan(body["pattern"], body["status"], body.get("times", 1), **body.get("headers", {}))
            return JSONResponse({})
        if raw.startswith("/_lfs/"):
            self.store.add_blob(await request.body(), True)
            return Response()
        if parts[0] == "api" and parts[1] in KINDS:
            return await self.api(request, KINDS[parts[1]], raw)
        lfs = re.fullmatch(r"/(?:(datasets|spaces)/)?(.+)\.git/info/lfs/objects/batch", raw)
        if lfs:
            return await self.lfs_batch(request, KINDS[lfs[1] or "models"], lfs[2])
        found = re.fullmatch(r"/(?:(datasets|spaces)/)?((?:[^/]+/)?[^/]+)/resolve/([^/]+)/(.+)", raw)
        if found:
            return self.resolve(request, KINDS[found[1] or "models"], found[2], unquote(found[3]), unquote(found[4]))
        raise Refused(404, f"no route for {request.method} {raw}")

    async def create(self, request: Request) -> Response:
        body = await request.json()
        user = self.user(request)
        kind = body.get("type") or "model"
        id = f"{body.get('organization') or user}/{body['name']}"
        prefix = "" if kind == "model" else f"/{kind}s"
        url = f"{self.url}{prefix}/{id}"
        if not self.may_write(user, id):
            raise Refused(403, "You don't have the rights to create a repository there")
        if (kind, id) in self.store.repos:
            return JSONResponse({"error": "You already created this repo", "url": url}, 409)
        self.store.create(kind, id, private=body.get("visibility") == "private" or bool(body.get("private")))
        return JSONResponse({"url": url, "name": id})

    async def api(self, request: Request, kind: str, raw: str) -> Response:
        rest = raw.split("/", 3)[3]
        found = re.fullmatch(rf"((?:[^/]+/)?[^/]+?)(?:/({VERBS})(?:/([^/]+))?(?:/(.*))?)?", rest)
        if not found:
            raise Refused(404, "no such route")
        id, verb = found[1], found[2] or "info"
        revision, path = unquote(found[3] or "main"), unquote(found[4] or "")
        # whoever may read may open a pull request
        opens = "create_pr" in request.query_params
        write = request.method != "GET" and verb not in ("paths-info",) and not opens
        repo = self.repo(request, kind, id, write=write)
        if verb in ("info", "revision"):
            return JSONResponse(self.info(repo, revision, "blobs" in request.query_params))
        if verb == "tree":
            return self.tree(repo, revision, path, request.query_params.get("recursive", "").lower() == "true")
        if verb == "paths-info":
            return await self.paths_info(request, repo, revision)
        if verb == "preupload":
            return await self.preupload(request, repo, revision)
        if verb == "commit":
            return await self.commit(request, repo, revision)
        if verb in ("branch", "tag"):
            return await self.reference(request, repo, verb, revision)
        if verb == "refs":

            def shown(refs: dict[str, str], prefix: str) -> list[dict[str, str]]:
                return [{"name": n, "ref": f"refs/{prefix}/{n}", "targetCommit": c} for n, c in refs.items()]

            return JSONResponse(
                {"branches": shown(repo.refs, "heads"), "tags": shown(repo.tags, "tags"), "converts": []}
            )
        if verb == "settings":
            body = await request.json()
            repo.private = body.get("private", body.get("visibility") == "private")
            repo.gated = bool(body.get("gated", repo.gated))
            self.store.save(repo)
            return JSONResponse({})
        if verb == "xet-write-token":
            if self.xet is None:
                raise Refused(404, "no Xet here")
            self.xet.mkdir(exist_ok=True)
            token = {
                "casUrl": self.xet_url or f"local://{self.xet}",
                "accessToken": "x",
                "exp": int(time.time()) + 3600,
            }
            headers = {"X-Xet-Cas-Url": token["casUrl"], "X-Xet-Access-Token": "x"}
            return JSONResponse(token, headers={**headers, "X-Xet-Token-Expiration": str(token["exp"])})
        if verb == "commits":
            return JSONResponse(self.history(repo, self.commit_of(repo, revision)))
        return JSONResponse({})

    def info(self, repo: Repo, revision: str, blobs: bool) -> dict[str, Any]:
        commit = self.commit_of(repo, revision)
        siblings = []
        for path, entry in repo.files(commit).items():
            one: dict[str, Any] = {"rfilename": path}
            if blobs:
                shown = entry.as_json(path)
                one |= {"size": entry.size, "blobId": entry.blob_id}
                one |= {"lfs": {**shown["lfs"], "sha256": entry.sha256}} if entry.lfs else {}
            siblings.append(one)
        return {
            "_id": repo.id, "id": repo.id, "modelId": repo.id, "sha": commit, "private": repo.private,
            "gated": "manual" if repo.gated else False, "tags": [], "siblings": siblings, "downloads": 0, "likes": 0,
            "createdAt": "2026-01-01T00:00:00.000Z", "lastModified": "2026-01-01T00:00:00.000Z",
        }  # fmt: skip

    def tree(self, repo: Repo, revision: str, below: str, recursive: bool) -> Response:
        files = repo.files(self.commit_of(repo, revision))
        prefix = f"{below}/" if below else ""
        inside = {path: entry for path, entry in files.items() if path.startswith(prefix)}
        if below and not inside:
            raise Refused(404, "not found", "EntryNotFound")
        out, folders = [], set()
        for path, entry in inside.items():
            parts = path.removeprefix(prefix).split("/")
            folders |= {prefix + "/".join(parts[:count]) for count in range(1, len(parts))}
            if recursive or len(parts) == 1:
                out.append(entry.as_json(path))
        wanted = folders if recursive else {name for name in folders if "/" not in name.removeprefix(prefix)}
        return JSONResponse(
            [*({"type": "directory", "path": n, "oid": "0" * 40, "size": 0} for n in sorted(wanted)), *out]
        )

    async def paths_info(self, request: Request, repo: Repo, revision: str) -> Response:
        body = (await request.body()).decode()
        paths = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
        files = repo.files(self.commit_of(repo, revision))
        return JSONResponse([files[path].as_json(path) for path in paths if path in files])

    async def preupload(self, request: Request, repo: Repo, revision: str) -> Response:
        there = repo.files(self.commit_of(repo, revision))
        files = (await request.json())["files"]
        out = []
        for file in files:
            lfs = file["path"].endswith(".safetensors") or (
                file["size"] >= LFS_FROM and not file["path"].endswith((".json", ".md", ".py"))
            )
            one = {"path": file["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
            if known := there.get(file["path"]):
                one["oid"] = known.sha256 if known.lfs else known.blob_id
            out.append(one)
        return JSONResponse({"files": out})

    async def lfs_batch(self, request: Request, kind: str, id: str) -> Response:
        self.repo(request, kind, id)
        if self.user(request) is None:  # whoever may open a pull request may send its files
            raise Refused(401, "Invalid username or password.")
        objects = []
        for each in (await request.json())["objects"]:
            one = {"oid": each["oid"], "size": each["size"]}
            if not self.store.blob(each["oid"]).exists():
                one["actions"] = {"upload": {"href": f"{self.url}/_lfs/{each['oid']}"}}
            objects.append(one)
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def commit(self, request: Request, repo: Repo, branch: str) -> Response:
        lines = [json.loads(line) for line in (await request.body()).decode().splitlines() if line.strip()]
        self.commit_of(repo, branch)
        header, changes = {}, dict[str, Entry | None]()
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                header = value
            elif line["key"] == "file":
                changes[value["path"]] = self.store.add_blob(base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                if not self.store.blob(value["oid"]).exists() and self.xet is not None:
                    content = rebuilt(self.xet, value["oid"], value["size"])
                    if content is not None:
                        self.store.add_blob(content, True)
                if not self.store.blob(value["oid"]).exists():
                    raise Refused(400, f"LFS pointer to a file that was not uploaded: {value['path']}")
                changes[value["path"]] = self.store.add_blob(self.store.blob(value["oid"]).read_bytes(), True)
            elif line["key"] == "deletedFile":
                changes[value["path"]] = None
        parent = header.get("parentCommit")
        if parent and parent != repo.refs.get(branch):
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        if "create_pr" in request.query_params:
            number = 1 + sum(name.startswith("refs/pr/") for name in repo.refs)
            repo.refs[f"refs/pr/{number}"] = self.commit_of(repo, branch)
            branch = f"refs/pr/{number}"
        oid = self.store.commit(repo, branch, changes, header.get("summary", ""))
        where = f"{self.url}{'' if repo.kind == 'model' else f'/{repo.kind}s'}/{repo.id}"
        answer = {"success": True, "commitOid": oid, "commitUrl": f"{where}/commit/{oid}"}
        if branch.startswith("refs/pr/"):
            answer["pullRequestUrl"] = f"{where}/discussions/{branch.rpartition('/')[2]}"
        return JSONResponse(answer)

    async def collection(self, request: Request, slug: str) -> Response:
        """Collections: listed, made, read, and added to."""
        user = self.user(request)
        if request.method == "GET" and not slug:
            owner = request.query_params.get("owner")
            found = [each for each in self.collections.values() if owner in (None, each["owner"]["name"])]
            # the client numbers those of a list itself
            return JSONResponse([{key: each[key] for key in each if key != "position"} for each in found])
        if request.method == "POST" and not slug:
            body = await request.json()
            if user is None or body["namespace"] not in (user, *ORGS[user]):
                raise Refused(403, "You have no right to create a collection there")
            name = re.sub(r"[^a-z0-9]+", "-", body["title"].lower())
            slug = f"{body['namespace']}/{name}-{len(self.collections):024x}"
            self.collections[slug] = {
                "slug": slug, "title": body["title"], "owner": {"name": body["namespace"]}, "items": [], "position": 0,
                "private": bool(body.get("private")), "theme": "green", "upvotes": 0,
                "lastUpdated": "2026-01-01T00:00:00.000Z",
            }  # fmt: skip
        slug, adds = slug.removesuffix("/items"), slug.endswith("/items")
        if slug not in self.collections:
            raise Refused(404, "Collection not found")
        if adds:
            item = (await request.json())["item"]
            items = self.collections[slug]["items"]
            if item["id"] in [each["id"] for each in items]:
                return JSONResponse({"error": "already there"}, 409)
            items.append({"_id": f"{len(items):024x}", "id": item["id"], "type": item["type"], "position": len(items)})
        return JSONResponse(self.collections[slug])

    async def reference(self, request: Request, repo: Repo, verb: str, name: str) -> Response:
        body = json.loads(await request.body() or b"{}")
        refs, name, start = (repo.refs, name, body.get("startingPoint") or "main") if verb == "branch" else (
            repo.tags, body.get("tag", name), name)  # fmt: skip
        if request.method == "DELETE":
            refs.pop(name, None)
        elif name in refs:
            return JSONResponse({"error": "Reference already exists"}, 409)
        else:
            refs[name] = self.commit_of(repo, start)
        self.store.save(repo)
        return JSONResponse({})

    def history(self, repo: Repo, commit: str) -> list[dict[str, Any]]:
        out, at = [], commit
        while at:
            facts = repo.commits[at]
            out.append(
                {"id": at, "title": facts["title"], "message": "", "authors": [], "date": "2026-01-01T00:00:00.000Z"}
            )
            at = facts["parent"]
        return out

    def resolve(self, request: Request, kind: str, id: str, revision: str, path: str) -> Response:
        repo = self.repo(request, kind, id)
        commit = self.commit_of(repo, revision)
        entry = repo.files(commit).get(path)
        headers = {"X-Repo-Commit": commit}
        if entry is None:
            return JSONResponse({"error": "Entry not found"}, 404, headers={**headers, "X-Error-Code": "EntryNotFound"})
        headers |= {"ETag": f'"{entry.sha256 if entry.lfs else entry.blob_id}"', "Accept-Ranges": "bytes"}
        headers |= {"X-Linked-Size": str(entry.size), "X-Linked-Etag": headers["ETag"]} if entry.lfs else {}
        content = self.store.blob(entry.sha256).read_bytes()
        status = 200
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if span:
            first, last = int(span[1]), min(int(span[2] or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        headers["Content-Length"] = str(len(content))
        body = b"" if request.method == "HEAD" else content
        return Response(body, status, headers=headers, media_type="application/octet-stream")


async def broken_off(request: Request) -> Response:
    """The connection is closed in the middle of an upload."""
    async for _ in request.stream():
        break

    async def part() -> AsyncIterator[bytes]:
        yield b"{"
        raise ConnectionResetError("cut")

    return StreamingResponse(part(), headers={"Content-Length": "100"})


def spoiled(response: Response, cut: bool) -> Response:
    """The same answer broken off in the middle, or with its bytes changed."""
    body = bytes(response.body)
    if not cut:
        return Response(bytes(byte ^ 0xFF for byte in body), response.status_code, headers=dict(response.headers))

    async def half() -> AsyncIterator[bytes]:
        yield body[: len(body) // 2]
        raise ConnectionResetError("cut")

    return StreamingResponse(half(), response.status_code, headers=dict(response.headers))


def make_app(hub: Hub) -> Starlette:
    methods = ["GET", "HEAD", "POST", "PUT", "DELETE"]
    return Starlette(routes=[Route("/{path:path}", hub.handle, methods=methods)])
