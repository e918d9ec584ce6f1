"""Datasets of the Hub: one revision, every file compared with the Hub's hash before its rows are made."""

from __future__ import annotations

import contextlib
import contextvars
import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import DatasetDict
from filelock import FileLock

from hf_tl.data.card_file import languages_of, license_of
from hf_tl.data.tables import UNREADABLE, check_parquet
from hf_tl.errors import DataError, HfTlError, HubError, did_you_mean, listing, shortened
from hf_tl.files import write_json
from hf_tl.hub.client import (
    HELD,
    checked,
    damaged_files,
    explain,
    offline,
    retried,
    silent,
    status_of,
    transient,
    without_xet,
)
from hf_tl.hub.patience import Patience, endpoint, reason, say

MARK = "hf_tl-checked.json"
"""Beside prepared rows: the hashes of the files that they were made of."""
AT_ONCE = 8
SHA = re.compile(r"[0-9a-f]{40}")
NAME = re.compile(r"[^*?/\\\[\]\0]{1,200}")
"""A configuration, which is a folder of the cache as well."""


@dataclass
class HubData:
    rows: DatasetDict
    metadata: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def read(id: str, name: str | None, revision: str | None) -> HubData:
    """A dataset of the Hub as `datasets.load_dataset` gives it; what the cache holds of it, where the Hub cannot be
    asked (which is said).

    Raises:
        DataError: unknown, private, a loading script, a configuration that it lacks, or files from elsewhere.
        HubError: the Hub cannot be reached and the cache does not hold it, or a file comes damaged, twice.
    """
    what = f"data.path: dataset {id}" + (f" at revision {revision}" if revision else "")
    if name is not None and not NAME.fullmatch(name):
        raise DataError(f"data.name: {shortened(name)} is no name of a configuration of {id}.")
    known = _known_sha(id, revision)
    have = bool((known or revision is None) and _all_prepared(id, name, known))
    info = error = None
    if not offline():
        try:
            info = retried(lambda: _api().dataset_info(id, revision=revision), seconds=HELD if have else None)
        except Exception as raised:
            if not transient(raised):
                raise explain(raised, what) from raised
            error = raised
    sha = str(info.sha) if info is not None else known
    if info is not None:
        _remember(id, revision, str(info.sha))
    rows = None
    if info is not None:
        try:
            rows = _fresh(id, name, str(info.sha), what)
        except HfTlError:
            raise
        except Exception as raised:
            if not transient(raised):
                raise _refused(raised, id, name, what) from raised
            error = raised
    if rows is None:
        rows = _from_cache(id, name, sha if sha or revision is None else "none", what, error)
    metadata = {
        "path": id,
        "name": name,
        "revision": sha,
        "private": bool(info.private or info.gated) if info is not None else None,
        **_card(id, sha),
    }
    notes = [] if info is not None or sha else [f"The revision of {id} could not be asked for."]
    return HubData(rows, metadata, notes)


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi()


def _known_sha(id: str, revision: str | None) -> str | None:
    """The commit that `revision` was when it was last asked for."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    if revision and SHA.fullmatch(revision):
        return revision
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=id, repo_type="dataset")
    file = folder / "refs" / (revision or "main")
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = file.read_text(encoding="utf-8").strip()
        return found if SHA.fullmatch(found) else None
    return None


def _remember(id: str, revision: str | None, sha: str) -> None:
    """The client does so for what it downloads by a branch's name; here all is asked for by its commit."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import _cache_commit_hash_for_specific_revision, repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=id, repo_type="dataset")
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        _cache_commit_hash_for_specific_revision(str(folder), revision or "main", sha)


# from the Hub


def _fresh(id: str, name: str | None, sha: str, what: str) -> DatasetDict:
    import datasets

    for file in ("README.md", ".huggingface.yaml", "dataset_infos.json"):  # they say what the others are
        _fetch(id, [file], sha, what, optional=True)

    def build() -> Any:
        found = datasets.load_dataset_builder(id, name, revision=sha)
        if found.hash != sha:  # `datasets` fell back to whatever its cache holds
            raise ConnectionError(f"The Hub at {endpoint()} could not be asked for the files of {id}.")
        return found

    builder = retried(build)
    files = sorted({_inside(url, id, sha) for url in _urls(builder.config.data_files)})
    folder = Path(builder.cache_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{sha}.hf_tl.lock"):
        mark = _mark(folder)
        if mark is None:
            _fetch(id, files, sha, what)
            _check_unpacked(id, files, sha)
            shutil.rmtree(folder, ignore_errors=True)  # made of files that nobody compared
            retried(lambda: without_xet(builder.download_and_prepare, "downloading by HTTP"))
            hashes = {file: _cached(id, file, sha).resolve().name for file in files}
            mark = {"revision": sha, "files": hashes, "rows": _sizes(folder), "default": False}
            write_json(folder / MARK, mark)
        if name is None and not mark.get("default"):
            write_json(folder / MARK, {**mark, "default": True})
    rows = builder.as_dataset()
    assert isinstance(rows, DatasetDict)
    return rows


def _urls(data_files: Any) -> Iterator[str]:
    for each in (data_files or {}).values():
        yield from (str(url) for url in each)


def _inside(url: str, id: str, sha: str) -> str:
    """The file's path in the repository.

    Raises:
        DataError: it lies somewhere else: a card can name files of this machine, and of the whole web.
    """
    found = re.fullmatch(rf"(?:[a-z0-9]+://[^:]*::)?hf://datasets/{re.escape(id)}@{sha}/(.+)", url)
    path = found[1] if found else ""
    if not path or ".." in path.split("/"):
        raise DataError(
            f"data.path: dataset {id}: its card names the file {url.partition('?')[0]!r}, which is not in its "
            "repository; only files of the repository itself are read."
        )
    return path


def _cached(id: str, file: str, sha: str) -> Path:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(id, file, revision=sha, repo_type="dataset")
    if not isinstance(found, str):
        raise HubError(f"data.path: dataset {id}: {file} is not in the cache after its download; try again.")
    return Path(found)


def _check_unpacked(id: str, files: list[str], sha: str) -> None:
    """Raises DataError at a Parquet file that unpacks to far more than it is: `datasets` writes its rows to disk."""
    for file in files:
        if file.lower().endswith(".parquet"):
            try:
                check_parquet(_cached(id, file, sha))
            except UNREADABLE as error:
                first = next(iter(str(error).strip().splitlines()), type(error).__name__)
                raise DataError(f"data.path: {id}: {file} cannot be read ({first.rstrip('.')}).") from error


def _fetch(id: str, files: list[str], sha: str, what: str, optional: bool = False) -> None:
    """Downloads files, and compares what the cache holds of them with the Hub's hashes.

    Args:
        optional: whether they may be missing in the repository.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def one(file: str) -> Path | None:
        try:
            return Path(hf_hub_download(id, file, repo_type="dataset", revision=sha))
        except EntryNotFoundError as error:
            if optional and not isinstance(error, LocalEntryNotFoundError):
                return None
            raise

    found: list[Path] = []

    def get() -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            tasks = [pool.submit(contextvars.copy_context().run, one, file) for file in files]
            try:
                found[:] = [path for task in tasks if (path := task.result()) is not None]
            finally:
                for task in tasks:
                    task.cancel()

    def download() -> None:
        retried(lambda: without_xet(get, "downloading by HTTP"))

    download()
    if found:
        top = next(parent for parent in found[0].parents if parent.name == sha)
        checked(top, lambda: damaged_files(top, found), download, what)


def _refused(error: Exception, id: str, name: str | None, what: str) -> HfTlError:
    """What `datasets` raised, as a sentence."""
    text = str(error).strip()
    if isinstance(error, ValueError) and ("Config name is missing" in text or "BuilderConfig" in text):
        names = re.findall(r"'([^']+)'", text.partition("[")[2].partition("]")[0])
        hint = did_you_mean(name, names) if name else ""
        return DataError(f"data.name: {id} has the configurations {listing(names)}; choose one{hint or '.'}")
    if "scripts are no longer supported" in text:
        return DataError(f"data.path: {id} is a loading script, which is code; look for a copy as Parquet.")
    names_of = {cls.__name__ for cls in type(error).__mro__}
    of_hub = names_of & {"HfHubHTTPError", "DatasetNotFoundError", "TransportError", "GivenUp"}
    if of_hub or status_of(error) not in (None, 404):
        return explain(error, what)
    cause = error.__cause__ if "DatasetGenerationError" in names_of and error.__cause__ is not None else error
    first = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
    return DataError(f"data.path: {id} cannot be loaded ({first.rstrip('.')}).")


# from the cache


def _root(id: str) -> Path:
    from datasets import config
    from datasets.naming import camelcase_to_snakecase

    parts = id.split("/")
    parts[-1] = camelcase_to_snakecase(parts[-1])
    return Path(config.HF_DATASETS_CACHE) / "___".join(parts)


def _all_prepared(id: str, name: str | None, sha: str | None) -> list[Path]:
    """The folders of prepared rows of this very revision; where none is known, of the latest."""
    found = [
        file.parent
        for file in sorted(_root(id).glob(f"{name or '*'}/*/{sha or '*'}/dataset_info.json"))
        if SHA.fullmatch(file.parent.name)
    ]
    if sha is None and found:
        latest = max(found, key=lambda each: each.stat().st_mtime).name
        found = [each for each in found if each.name == latest]
    return found


def _prepared(id: str, name: str | None, sha: str | None) -> Path | None:
    """The one to use.

    Raises:
        DataError: there are several configurations, and none is named.
    """
    found = _all_prepared(id, name, sha)
    if name is None:
        marks = {each: _mark(each) for each in found}
        chosen = [each for each, mark in marks.items() if mark and mark.get("default")]
        found = chosen or [each for each, mark in marks.items() if mark is None]
    if len(found) > 1:
        names = sorted(each.parts[-3] for each in found)
        raise DataError(f"data.name: {id} has the configurations {listing(names)} in the cache; choose one.")
    return found[0] if found else None


def _from_cache(id: str, name: str | None, sha: str | None, what: str, error: Exception | None) -> DatasetDict:
    from datasets.packaged_modules.cache.cache import Cache

    folder = _prepared(id, name, sha)
    if folder is None:
        if error is None:
            raise HubError(f"{what}: offline mode is on (HF_HUB_OFFLINE), and the cache does not hold it.")
        raise explain(error, what, looked=True) from error
    if error is not None:
        own: Patience | None = getattr(error, "hf_tl_patience", None)
        tries = f" after {own.said()}" if own is not None and own.tries else ""
        silent()
        why = f"{tries}: {reason(error)}"
        say(f"{what}: the Hub at {endpoint()} could not be used{why}; the copy in the cache is used.")
    if _mark(folder) is None:
        say(f"{what}: the copy in the cache was made by another program; its files were not compared with the Hub's.")
    config, version, hash = folder.parts[-3:]
    try:
        rows = Cache(
            dataset_name=id.rpartition("/")[2], repo_id=id, config_name=config, version=version, hash=hash
        ).as_dataset()
    except Exception as broken:
        raise DataError(f"data.path: {id}: the copy in the cache, {folder}, cannot be read; delete it.") from broken
    assert isinstance(rows, DatasetDict)
    return rows


def _sizes(folder: Path) -> dict[str, list[int]]:
    return {
        file.name: [file.stat().st_size, file.stat().st_mtime_ns]
        for file in sorted(folder.iterdir())
        if file.suffix == ".arrow"
    }


def _mark(folder: Path) -> dict[str, Any] | None:
    """What is known of prepared rows that were made of compared files, and are as they were then."""
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
        right = mark["revision"] == folder.name and mark["rows"] and mark["rows"] == _sizes(folder)
        return dict(mark) if right else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _card(id: str, sha: str | None) -> dict[str, Any]:
    """Licence and languages, as far as its card says them."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(id, "README.md", revision=sha, repo_type="dataset") if sha else None
    if not isinstance(found, str):
        return {}
    folder = Path(found).parent
    return {"license": license_of(folder), "language": languages_of(folder)}
