"""Datasets of the Hub: which files may be read, which copy in the cache is used, and what is said of a refusal. How
they are downloaded is tested over HTTP, in tests/security/test_hub_waits.py."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hf_tl.data import hub_data
from hf_tl.errors import DataError, HubError

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache and that of prepared rows, empty."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    return tmp_path


def prepared(cache: Path, config: str, sha: str, time: int, default: bool | None = None) -> Path:
    """Prepared rows of `bob/SomeData`; compared with the Hub's files where `default` is given."""
    folder = cache / "datasets" / "bob___some_data" / config / "0.0.0" / sha
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    (folder / "train.arrow").write_bytes(b"rows")
    if default is not None:
        mark = {"revision": sha, "files": {}, "rows": hub_data._sizes(folder), "default": default}
        (folder / hub_data.MARK).write_text(json.dumps(mark))
    os.utime(folder, (time, time))
    return folder


@pytest.mark.parametrize("url", ["a.csv", "data/train-0.parquet"])
def test_files_of_the_repository_itself(url: str) -> None:
    assert hub_data._inside(f"hf://datasets/bob/x@{OLD}/{url}", "bob/x", OLD) == url
    assert hub_data._inside(f"zip://*::hf://datasets/bob/x@{OLD}/{url}", "bob/x", OLD) == url


@pytest.mark.parametrize(
    "url",
    [
        "/etc/passwd", f"hf://datasets/bob/y@{OLD}/a.csv", f"hf://datasets/bob/x@{NEW}/a.csv", "https://e.org/a?secret",
        f"hf://datasets/bob/x@{OLD}/../../y/a.csv", f"hf://datasets/bob/x@{OLD}/",
    ],
)  # fmt: skip
def test_files_from_elsewhere(url: str) -> None:
    with pytest.raises(DataError, match="which is not in its repository") as caught:
        hub_data._inside(url, "bob/x", OLD)
    assert "secret" not in str(caught.value)


def test_prepared_rows_of_a_revision(cache: Path) -> None:
    assert hub_data._all_prepared("bob/SomeData", None, None) == []
    old, new = prepared(cache, "default", OLD, 100), prepared(cache, "default", NEW, 50)
    prepared(cache, "other", "main", 200)  # no commit
    assert hub_data._all_prepared("bob/SomeData", None, OLD) == [old]
    assert hub_data._all_prepared("bob/SomeData", "default", NEW) == [new]
    assert hub_data._all_prepared("bob/SomeData", "other", None) == []
    assert hub_data._all_prepared("bob/SomeData", None, None) == [old]  # the latest
    os.utime(new, (150, 150))
    assert hub_data._all_prepared("bob/SomeData", None, None) == [new]


def test_the_configuration_of_prepared_rows(cache: Path) -> None:
    one = prepared(cache, "one", OLD, 1)
    assert hub_data._prepared("bob/SomeData", None, OLD) == one
    two = prepared(cache, "two", OLD, 1)
    with pytest.raises(DataError, match="bob/SomeData has the configurations 'one', 'two' in the cache; choose one"):
        hub_data._prepared("bob/SomeData", None, OLD)
    assert hub_data._prepared("bob/SomeData", "two", OLD) == two
    three = prepared(cache, "three", OLD, 1, default=True)
    prepared(cache, "four", OLD, 1, default=False)
    assert hub_data._prepared("bob/SomeData", None, OLD) == three  # what was loaded without a name
    assert hub_data._prepared("bob/SomeData", None, NEW) is None


def test_rows_that_have_changed_since_they_were_compared(cache: Path) -> None:
    folder = prepared(cache, "one", OLD, 1, default=True)
    mark = hub_data._mark(folder)
    assert mark is not None and mark["default"] is True and list(mark["rows"]) == ["train.arrow"]
    (folder / "train.arrow").write_bytes(b"other rows")
    assert hub_data._mark(folder) is None
    (folder / "train.arrow").unlink()
    (folder / hub_data.MARK).write_text(json.dumps({**mark, "rows": {}}))
    assert hub_data._mark(folder) is None  # of no rows at all
    other = prepared(cache, "one", NEW, 1, default=True)
    (other / hub_data.MARK).write_text(json.dumps({**hub_data._mark(other), "revision": OLD}))  # type: ignore[dict-item]
    assert hub_data._mark(other) is None
    (other / hub_data.MARK).write_text("[]")
    assert hub_data._mark(other) is None


def test_the_commit_of_a_branch_is_remembered(cache: Path) -> None:
    assert hub_data._known_sha("bob/x", None) is None and hub_data._known_sha("bob/x", OLD) == OLD
    hub_data._remember("bob/x", None, OLD)
    hub_data._remember("bob/x", "dev", NEW)
    assert hub_data._known_sha("bob/x", None) == hub_data._known_sha("bob/x", "main") == OLD
    assert hub_data._known_sha("bob/x", "dev") == NEW and hub_data._known_sha("bob/x", "other") is None
    hub_data._remember("bob/x", None, "no commit")
    assert hub_data._known_sha("bob/x", None) is None


def test_what_the_cache_lacks(cache: Path) -> None:
    with pytest.raises(HubError, match=r"data: offline mode is on \(HF_HUB_OFFLINE\), and the cache does not hold it"):
        hub_data._from_cache("bob/x", None, None, "data", None)
    with pytest.raises(HubError, match=r"bob/x: a.csv is not in the cache after its download"):
        hub_data._cached("bob/x", "a.csv", OLD)


def test_a_file_in_the_cache_and_its_card(cache: Path) -> None:
    folder = cache / "hub" / "datasets--bob--x" / "snapshots" / OLD
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\nlanguage: de\n---\n")
    assert hub_data._cached("bob/x", "README.md", OLD) == folder / "README.md"
    assert hub_data._card("bob/x", OLD) == {"license": "mit", "language": ["de"]}
    assert hub_data._card("bob/x", NEW) == hub_data._card("bob/x", None) == {}


class DatasetGenerationError(Exception):
    """Of the name of the one in `datasets`."""


def generation(cause: Exception) -> Exception:
    error = DatasetGenerationError("An error occurred while generating the dataset")
    error.__cause__ = cause
    return error


MANY = "Config name is missing.\nPlease pick one among the available configs: ['plain', 'other']"


@pytest.mark.parametrize(
    ("error", "name", "said"),
    [
        (ValueError(MANY), None, "data.name: bob/x has the configurations 'plain', 'other'; choose one."),
        (ValueError("BuilderConfig 'plan' not found. Available: ['plain', 'other']"), "plan", "did you mean 'plain'"),
        (RuntimeError("Dataset scripts are no longer supported, but found x.py"), None, "is a loading script"),
        (generation(TypeError("Couldn't cast array.\nmore")), None, r"cannot be loaded \(Couldn't cast array\)\.$"),
        (DatasetGenerationError("first.\nsecond"), None, r"cannot be loaded \(first\)\.$"),
        (KeyError(), None, r"cannot be loaded \(KeyError\)\.$"),
    ],
)
def test_what_is_said_of_a_refusal(error: Any, name: str | None, said: str) -> None:
    found = hub_data._refused(error, "bob/x", name, "data.path: dataset bob/x")
    assert isinstance(found, DataError)
    with pytest.raises(DataError, match=said):
        raise found


def test_a_refusal_of_the_hub_is_the_hubs() -> None:
    error = type("HfHubHTTPError", (Exception,), {})("no")
    assert isinstance(hub_data._refused(error, "bob/x", None, "data"), HubError)


@pytest.mark.parametrize("name", ["x" * 300, "a*", "../x", "a/b", "[a]", "a\0", ""])
def test_a_name_that_no_configuration_has(name: str, cache: Path) -> None:
    with pytest.raises(DataError, match=r"data\.name: .* is no name of a configuration of bob/SomeData"):
        hub_data.read("bob/SomeData", name, None)
