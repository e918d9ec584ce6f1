"""A Hub, or what stands between, that is silent, slow, or says what no Hub says: nothing waits for ever, nothing is
said that is not so, and what the cache holds is used."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.hub.server import RunningHub
from tests.hub.talk import Talk
from tests.tiny import sentiment_csv, tiny_bert

TOKEN = "hf_test_alice"
WEIGHTS = bytes(range(256)) * 400
SILENCES = ["no answer", "drip", "reset"]
NONSENSE = ["web page", "empty", "half a JSON", "no object"]
PARSER = ("Expecting", "KeyError", "JSONDecode", "char 0", "NoneType", "Traceback", "httpx", "object has no")
numbers = count()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningHub, Talk]]:
    hub = RunningHub(tmp_path_factory.mktemp("served") / "test-hub")
    talk = Talk(hub.env(TOKEN))
    yield hub, talk
    talk.close()
    hub.stop()


@pytest.fixture
def both(served: tuple[RunningHub, Talk]) -> tuple[RunningHub, Talk]:
    served[0].faults.clear()
    return served


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights of its own: what the Hub holds already is not sent."""
    out = tmp_path / "run" / "model"
    out.mkdir(parents=True)
    (out / "model.safetensors").write_bytes(WEIGHTS + str(next(numbers)).encode())
    (out / "config.json").write_text('{"model_type": "bert"}')
    (out / "README.md").write_text("# A model\n")
    return out


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def new(what: str = "x") -> str:
    return f"alice/{what}{next(numbers)}"


def plain(said: str) -> None:
    """A sentence of ours: no parser's word in it, and no second line."""
    assert "\n" not in said
    assert not [word for word in PARSER if word in said], said


# a Hub that is silent, or says what no Hub says, on every route

ROUTES = {
    "whoami": "GET .*whoami-v2", "info": "GET /api/models/alice/[^/]+$", "create": "POST .*repos/create",
    "yaml": "POST .*validate-yaml", "preupload": "POST .*/preupload/", "batch": "POST .*objects/batch",
    "send": "PUT /_lfs/", "commit": "POST .*/commit/", "compare": "POST .*/paths-info/", "refs": "GET .*/refs",
}  # fmt: skip
FAST = {("no answer", "whoami"), ("no answer", "commit"), ("no answer", "send"), ("drip", "preupload"),
        ("reset", "create"), ("web page", "create"), ("half a JSON", "preupload"), ("empty", "commit"),
        ("no object", "whoami"), ("web page", "batch"), ("no object", "refs"), ("no answer", "yaml")}  # fmt: skip
GRID = sorted(FAST)
"""`python -m tests.hub.fault_table` goes through every fault on every route."""


@pytest.mark.parametrize(("kind", "route"), GRID)
def test_a_push_ends_with_a_sentence(kind: str, route: str, both: tuple[RunningHub, Talk], folder: Path) -> None:
    hub, talk = both
    id = new()
    hub.faults.plan(ROUTES[route], kind, 1000)
    done = talk.ask(do="push", folder=str(folder), hub={"id": id, "tag": "v1"})
    assert done.get("code") == 4, done
    plain(done["said"])
    assert done["seconds"] < 30
    if route != "whoami":
        assert "Everything is safe in" in done["said"] and done["said"].endswith("continue with: THE COMMAND")
    repo = hub.store.repos.get(("model", id))
    there = hub.files(id) if repo else {}
    assert set(there) in (set(), {"model.safetensors", "config.json", "README.md"})
    if there:
        assert "What was sent is commit" in done["said"] or "holds these very files" in done["said"], done["said"]
    else:
        assert "is commit" not in done["said"]
    hub.faults.clear()
    again = talk.ask(do="push", folder=str(folder), hub={"id": id, "tag": "v1"})
    assert "commit" in again, again
    repo = hub.store.repos["model", id]
    assert (
        hub.files(id)["model.safetensors"] == weights(folder)
        and len(repo.commits) == 2
        and repo.tags == {"v1": again["commit"]}
    )


def test_a_line_after_a_while(both: tuple[RunningHub, Talk]) -> None:
    hub, talk = both
    hub.faults.plan(ROUTES["whoami"], "no answer", 1000)
    done = talk.ask(do="access", id="alice/x")
    assert done["code"] == 4
    lines = [line for line in done["err"].splitlines() if line.startswith("Waiting for the Hub at ")]
    assert len(lines) == 1 and hub.url in lines[0], done["err"]
    assert "2 tries in 1 s" in done["said"], done["said"]  # 0.7 s each, and a third would be too many
    assert sum("whoami" in each for each in hub.faults.seen) == 2


@pytest.mark.parametrize("route", ["repos/create", "/commit/"])
@pytest.mark.parametrize("kind", ["lost answer", "empty"])
def test_an_answer_that_is_lost_is_no_second_commit(
    kind: str, route: str, both: tuple[RunningHub, Talk], folder: Path
) -> None:
    hub, talk = both
    id = new()
    hub.faults.plan(f"POST .*{route}", kind, 1)
    done = talk.ask(do="push", folder=str(folder), hub={"id": id})
    assert "commit" in done, done
    assert len(hub.store.repos["model", id].commits) == 2 and hub.files(id)["model.safetensors"] == weights(folder)


@pytest.mark.parametrize("route", ["repos/create", "/commit/", "/tag/"])
def test_answers_that_are_lost_for_good_are_said_as_they_are(
    route: str, both: tuple[RunningHub, Talk], folder: Path
) -> None:
    """The Hub did it each time, and its answer never came."""
    hub, talk = both
    id = new()
    hub.faults.plan(f"POST .*{route}", "lost answer", 1000)
    done = talk.ask(do="push", folder=str(folder), hub={"id": id, "tag": "v1"})
    if route == "repos/create":  # the second try finds the repository: 409, whose answer is lost, too
        assert done["code"] == 4 and "was made and holds nothing" in done["said"], done
    else:
        assert "commit" in done, done  # the next try found what was done
        assert len(hub.store.repos["model", id].commits) == 2
        assert hub.store.repos["model", id].tags == {"v1": done["commit"]}


def test_what_is_there_is_what_is_said(both: tuple[RunningHub, Talk], folder: Path, tmp_path: Path) -> None:
    hub, talk = both
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"theirs": 1}')
    there = new()
    hub.seed_model(there, other)
    hub.faults.plan("POST .*/commit/", 403, 1000)
    said = talk.ask(do="push", folder=str(folder), hub={"id": there, "private": False})["said"]
    assert f"The repository {there} existed before; nothing of this push is in it." in said
    assert "it needs the right to write there" in said
    fresh = new()
    said = talk.ask(do="push", folder=str(folder), hub={"id": fresh})["said"]
    assert f"The repository {fresh} was made and holds nothing yet." in said
    hub.faults.clear()
    hub.faults.plan("POST .*repos/create", 403, 1000)
    none = new()
    said = talk.ask(do="push", folder=str(folder), hub={"id": none})["said"]
    assert f"There is no repository {none}; nothing was made." in said
    hub.faults.clear()
    hub.faults.plan("POST .*/tag/", 403, 1000)
    tagged = new()
    said = talk.ask(do="push", folder=str(folder), hub={"id": tagged, "tag": "v1"})["said"]
    (commit,) = hub.store.repos["model", tagged].refs.values()
    assert f"What was sent is commit {commit[:8]}; the tag v1 is not." in said
    said = talk.ask(do="push", folder=str(folder), hub={"id": tagged, "tag": "v1"})["said"]
    assert f"The Hub held these very files before, in commit {commit[:8]}; the tag v1 is not on it." in said


def test_what_the_hub_asks_for(both: tuple[RunningHub, Talk]) -> None:
    hub, talk = both
    hub.faults.plan(ROUTES["whoami"], 429, 2, **{"Retry-After": "0.3"})
    done = talk.ask(do="access", id="alice/x")
    assert done["id"] == "alice/x" and done["seconds"] >= 0.6
    assert done["err"].count("Trying the Hub again in 0 s (asks for it)") == 2, done["err"]
    hub.faults.plan(ROUTES["whoami"], 429, 2, **{"Retry-After": "9999"})
    done = talk.ask(do="access", id="alice/x")
    assert done["code"] == 4 and "asks to come back in 9999 s" in done["said"] and done["seconds"] < 10
    hub.faults.clear()
    hub.faults.plan(ROUTES["whoami"], 429, 1, RateLimit='"api";r=0;t=1')
    done = talk.ask(do="access", id="alice/x")
    assert done["id"] == "alice/x" and 1 <= done["seconds"] < 10


def test_tries_are_counted_as_they_were(both: tuple[RunningHub, Talk]) -> None:
    hub, talk = both
    hub.faults.plan("GET /api/models/bob/none", 503, 1000)
    done = talk.ask(do="fetch", id="bob/none")
    asked = sum("bob/none" in each for each in hub.faults.seen)
    assert done["code"] == 4 and f"the Hub answered 503, also after {asked} tries in " in done["said"], (asked, done)


# reading: models and datasets, with a warm cache and without


def table(tmp_path: Path, rows: int = 40, word: str = "good") -> Path:
    out = tmp_path / "data"
    out.mkdir(exist_ok=True)
    lines = "".join(f"{word} {index},{'pos' if index % 2 else 'neg'}\n" for index in range(rows))
    (out / "train.csv").write_text("text,label\n" + lines * 3)
    (out / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\nWords.\n")
    return out


BROKEN = [*SILENCES, "web page", "empty", "half a JSON", 502]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_cached_model_is_used_and_that_is_said(kind: str | int, both: tuple[RunningHub, Talk], folder: Path) -> None:
    hub, talk = both
    id = new("base")
    commit = hub.seed_model(id, folder)
    assert talk.ask(do="fetch", id=id)["commit"] == commit
    hub.faults.plan(".*", kind, 1000)
    done = talk.ask(do="fetch", id=id)
    assert done.get("commit") == commit, done
    assert "the copy in the cache is used" in done["err"] and hub.url in done["err"]
    assert talk.ask(do="fetch", id=id, revision=commit)["commit"] == commit
    cold = talk.ask(do="fetch", id="bob/never")
    assert cold["code"] == 4 and "the cache does not hold it" in cold["said"], cold
    plain(cold["said"])
    assert cold["seconds"] < 20


@pytest.mark.parametrize("kind", BROKEN)
def test_cached_data_is_used_and_that_is_said(kind: str | int, both: tuple[RunningHub, Talk], tmp_path: Path) -> None:
    hub, talk = both
    id = new("data")
    commit = hub.seed_dataset(id, table(tmp_path))
    first = talk.ask(do="data", id=id)
    assert len(first["rows"]["train"]) == 120 and first["facts"]["revision"] == commit, first
    assert first["facts"]["license"] == "mit"
    hub.faults.plan(".*", kind, 1000)
    done = talk.ask(do="data", id=id)
    assert done.get("rows") == first["rows"], done
    assert "the copy in the cache is used" in done["err"]
    assert done["facts"]["revision"] == commit and done["facts"]["license"] == "mit"
    other = talk.ask(do="data", id=id, revision="v2")
    assert other["code"] == 4 and "the cache does not hold it" in other["said"], other
    cold = talk.ask(do="data", id="bob/never")
    assert cold["code"] == 4 and "the cache does not hold it" in cold["said"], cold
    plain(cold["said"])


@pytest.mark.parametrize("route", ["GET /api/datasets/", "HEAD .*/resolve/", "GET .*/resolve/.*csv", "GET .*/tree/"])
def test_data_that_the_hub_refuses(route: str, both: tuple[RunningHub, Talk], tmp_path: Path) -> None:
    hub, talk = both
    id = new("data")
    hub.seed_dataset(id, table(tmp_path))
    hub.faults.plan(route, 403, 1000)
    done = talk.ask(do="data", id=id)
    assert done["code"] == 4 and "the Hub refuses it to this login (status 403)" in done["said"], done
    assert "write" not in done["said"]


@pytest.mark.parametrize("route", ["GET /api/datasets/[^/]+/[^/]+$", "GET .*/resolve/.*train.csv", "GET .*/tree/"])
@pytest.mark.parametrize("kind", [503, "reset", "no answer", "web page"])
def test_a_passing_fault_of_data_is_outlived(
    kind: str | int, route: str, both: tuple[RunningHub, Talk], tmp_path: Path
) -> None:
    hub, talk = both
    id = new("data")
    hub.seed_dataset(id, table(tmp_path))
    hub.faults.plan(route, kind, 1)
    done = talk.ask(do="data", id=id)
    assert len(done.get("rows", {}).get("train", ())) == 120, done
    if "tree" not in route:
        assert hub.faults.planned[0].times == 0


# bytes that are not the Hub's


def blobs(hub: RunningHub, id: str) -> list[Path]:
    cache = hub.folder / "home" / "hub" / f"datasets--{id.replace('/', '--')}"
    return [file for file in (cache / "blobs").iterdir() if not file.name.endswith(".lock")]


@pytest.mark.parametrize("rows", [3, 400], ids=["git", "lfs"])
def test_a_data_file_is_what_the_hub_holds(rows: int, both: tuple[RunningHub, Talk], tmp_path: Path) -> None:
    hub, talk = both
    id = new("data")
    hub.seed_dataset(id, table(tmp_path, rows))
    hub.faults.plan("GET .*/resolve/.*train.csv", -1, 1)
    done = talk.ask(do="data", id=id)
    assert len(done["rows"]["train"]) == 3 * rows and done["rows"]["train"][0] == ["good 0", "neg"]
    assert hub.faults.planned[0].times == 0


def test_a_data_file_that_stays_damaged_is_not_used_and_not_kept(both: tuple[RunningHub, Talk], tmp_path: Path) -> None:
    hub, talk = both
    id = new("data")
    hub.seed_dataset(id, table(tmp_path, 400))
    hub.faults.plan("GET .*/resolve/.*train.csv", -1, 1000)
    done = talk.ask(do="data", id=id)
    assert done["code"] == 4 and "train.csv came with other bytes than the Hub's hash says, twice" in done["said"]
    assert not [file for file in blobs(hub, id) if file.stat().st_size > 2000]
    assert not list((hub.folder / "home" / "datasets").rglob(f"{id.partition('/')[2]}*.arrow"))
    hub.faults.clear()
    assert talk.ask(do="data", id=id)["rows"]["train"][0] == ["good 0", "neg"]


def test_a_damaged_card_of_data_configures_nothing(both: tuple[RunningHub, Talk], tmp_path: Path) -> None:
    hub, talk = both
    id = new("data")
    hub.seed_dataset(id, table(tmp_path))
    hub.faults.plan("GET .*/resolve/.*README.md", -1, 1)
    assert talk.ask(do="data", id=id)["facts"]["license"] == "mit"


def test_rows_made_of_a_damaged_file_are_made_anew(both: tuple[RunningHub, Talk], tmp_path: Path) -> None:
    """By `datasets` itself, which compares sizes alone: the file in the cache and the rows are both wrong."""
    hub, talk = both
    id = new("data")
    hub.seed_dataset(id, table(tmp_path, 400))
    content = hub.files(id, "dataset")["train.csv"]
    wrong = content.replace(b"good", b"evil")
    commit = hub.store.repos["dataset", id].refs["main"]
    sha = hub.store.repos["dataset", id].commits[commit]["files"]["train.csv"]["sha256"]
    hub.store.blob(sha).write_bytes(wrong)
    code = f"import datasets; print(datasets.load_dataset({id!r})['train'][0])"
    plain_load = subprocess.run([sys.executable, "-c", code], env=hub.env(TOKEN), capture_output=True, text=True)
    assert "evil 0" in plain_load.stdout, plain_load.stderr[-2000:]
    hub.store.blob(sha).write_bytes(content)
    done = talk.ask(do="data", id=id)
    assert done["rows"]["train"][0] == ["good 0", "neg"], done
    hub.faults.clear()
    again = talk.ask(do="data", id=id)  # and not once more
    assert again["rows"] == done["rows"] and not [each for each in hub.faults.seen if "GET" in each and "csv" in each]


def test_files_of_elsewhere_are_not_read(both: tuple[RunningHub, Talk], tmp_path: Path) -> None:
    """A card can name any file of this machine, and any address."""
    hub, talk = both
    secret = tmp_path / "secret.csv"
    secret.write_text("text,label\nmy diary,1\n")
    for url in (str(secret), "hf://datasets/alice/other@main/train.csv", "https://example.org/a.csv"):
        id = new("data")
        out = table(tmp_path)
        head = f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {url}\n---\n"
        (out / "README.md").write_text(head)
        hub.seed_dataset(id, out)
        done = talk.ask(do="data", id=id)
        assert done["code"] in (2, 4) and "diary" not in json.dumps(done), done
        if url == str(secret):
            assert done["code"] == 2 and f"Data files don't belong to {id}" in done["said"], done


def test_a_parquet_file_that_understates_its_size_is_not_unpacked(
    both: tuple[RunningHub, Talk], tmp_path: Path
) -> None:
    import pyarrow as pa

    from tests.data.test_parquet_pages import LARGE, lying

    hub, talk = both
    id = new("data")
    (tmp_path / "repo").mkdir()
    lying(tmp_path / "repo" / "train.parquet", pa.table({"text": [LARGE] * 270}), use_dictionary=False)
    hub.seed_dataset(id, tmp_path / "repo")
    done = talk.ask(do="data", id=id)
    assert done["code"] == 2 and "train.parquet: unpacks to 270," in done["said"], done
    assert not list((hub.folder / "home" / "datasets").rglob(f"*{id.partition('/')[2]}*/**/*.arrow"))


def test_configurations_splits_and_private_data(both: tuple[RunningHub, Talk], tmp_path: Path) -> None:
    hub, talk = both
    out = tmp_path / "many"
    for name in ("en", "fr"):
        (out / name).mkdir(parents=True)
        for split in ("train", "test"):
            (out / name / f"{split}.csv").write_text(f"text,label\n{name} {split},1\n")
    (out / "README.md").write_text(
        "---\nconfigs:\n- config_name: en\n  data_files:\n  - split: train\n    path: en/train.csv\n"
        "  - split: test\n    path: en/test.csv\n- config_name: fr\n  data_files: fr/*.csv\n---\n"
    )
    id = new("data")
    hub.seed_dataset(id, out, private=True)
    done = talk.ask(do="data", id=id, name="en")
    assert done["rows"] == {"train": [["en train", 1]], "test": [["en test", 1]]} and done["facts"]["private"]
    missing = talk.ask(do="data", id=id)
    assert missing["code"] == 2 and "has the configurations 'en', 'fr'; choose one" in missing["said"], missing
    wrong = talk.ask(do="data", id=id, name="frr")
    assert wrong["code"] == 2 and "did you mean 'fr'?" in wrong["said"], wrong
    hub.faults.plan(".*", "reset", 1000)
    assert talk.ask(do="data", id=id, name="en")["rows"] == done["rows"]
    other = talk.ask(do="data", id=id, name="fr")  # not what was asked for
    assert other["code"] == 4, other
    unnamed = talk.ask(do="data", id=id)
    assert unnamed["code"] == 4, unnamed


def test_a_new_revision_is_not_mixed_up_with_the_one_in_the_cache(
    both: tuple[RunningHub, Talk], tmp_path: Path
) -> None:
    """The Hub says that there is a new one, and then is silent."""
    hub, talk = both
    id = new("data")
    hub.seed_dataset(id, table(tmp_path))
    assert "rows" in talk.ask(do="data", id=id)
    hub.seed_dataset(id, table(tmp_path, word="new"))
    hub.faults.plan("(GET|HEAD) .*/(resolve|tree)/", "no answer", 1000)
    done = talk.ask(do="data", id=id)
    assert done["code"] == 4 and "the cache does not hold it" in done["said"], done


# the commands


def command(hub: RunningHub, *words: object, seconds: float = 2.0, home: str = "home") -> tuple[int, str]:
    """Exit code and stderr of a command that waits `seconds` for the Hub, and is killed where it waits for ever."""
    done = subprocess.run(
        [sys.executable, "-m", "hf_tl", *map(str, words)], capture_output=True, text=True, timeout=200,
        env={**hub.env(TOKEN, home), "HF_TL_HUB_SECONDS": str(seconds), "HF_TL_PROOF": "0"},
    )  # fmt: skip
    return done.returncode, done.stderr


def test_training_that_is_to_be_pushed_does_not_begin(hub: RunningHub, tmp_path: Path) -> None:
    hub.faults.plan(".*", "no answer", 1000)
    run = tmp_path / "run"
    code, said = command(
        hub, "train", "--model", tiny_bert(tmp_path / "base"), "--data", sentiment_csv(tmp_path / "reviews.csv"),
        "--output", run, "--push", "alice/x",
    )  # fmt: skip
    assert code == 4 and not run.exists()
    assert "Nothing was begun: run the same command again" in said and "/run alice/x" in said


@pytest.mark.parametrize("words", [("predict", "bob/base", "a film"), ("verify", "bob/base"), ("demo", "bob/base")])
def test_reading_commands_end(words: tuple[str, ...], hub: RunningHub) -> None:
    hub.faults.plan(".*", "no answer", 1000)
    code, said = command(hub, *words)
    assert code == 4 and "cannot be reached" in said and "the cache does not hold it" in said, said
    assert "Traceback" not in said


@pytest.mark.slow
def test_checkpoints_that_cannot_be_pushed_hold_nothing(hub: RunningHub, tmp_path: Path) -> None:
    """The Hub falls silent once training has begun."""
    hub.faults.plan("POST .*/(preupload|commit)/|POST .*repos/create", "no answer", 10_000)
    run = tmp_path / "run"
    words = (
        "train", "--model", tiny_bert(tmp_path / "base"), "--data", sentiment_csv(tmp_path / "reviews.csv"),
        "--output", run, "training.max_steps=6", "training.eval_steps=2", "hub.id=alice/x", "hub.every_save=true",
    )  # fmt: skip
    code, said = command(hub, *words)
    assert code == 4, said
    assert "could not be pushed" in said and "Training goes on" in said and "continue with: hf-tl push" in said
    assert (run / "metrics.json").exists()
    hub.faults.clear()
    assert command(hub, "push", run, "alice/x", seconds=20)[0] == 0
    assert "model.safetensors" in hub.files("alice/x")


def test_the_end_of_training_waits_for_no_push_that_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hf_tl.config import hub_config
    from hf_tl.hub.patience import current
    from hf_tl.sharing import checkpoint_pushes as saves

    held, seen = threading.Event(), []

    def push(folder: object, *_: object, **__: object) -> None:
        assert folder == tmp_path  # where all is safe: the copy that is sent goes with the run
        seen.append(current())
        held.wait(60)
        raise OSError("broken off")

    run = SimpleNamespace(folder=tmp_path)
    monkeypatch.setattr(saves, "push_folder", push)
    monkeypatch.setattr(saves, "MAX_STALL", 0.4)
    base = SimpleNamespace(revision=None, adapter=None, code={})
    callback = saves.PushCheckpoints(run, hub_config(id="alice/x", every_save=True), None, base)  # type: ignore[arg-type]
    (tmp_path / ".save-2").mkdir()
    callback._push(2, tmp_path / ".save-2")
    thread = callback.thread
    callback.on_train_end(None, None, None)  # type: ignore[arg-type]
    assert thread is not None and thread.is_alive()  # it was not waited for
    assert thread.daemon and seen[0].cancelled.is_set()
    assert "was still under way" in capsys.readouterr().err
    assert json.loads((tmp_path / "log.jsonl").read_text())["push"] == "broken off"
    held.set()
    thread.join(10)
    assert len(seen) == 1  # and not tried once more


# below HTTP


class Raw:
    """A server below HTTP: `answer` gets each connection."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.answer, self.connections = answer, 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                self.connections += 1
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(65536)
            self.answer(connection)


def dripping(connection: socket.socket) -> None:
    """Headers, a byte at a time: each read succeeds."""
    for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 100_000:
        connection.sendall(bytes([byte]))
        time.sleep(0.2)


def no_http(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")


def dropped(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("answer", [dripping, no_http, dropped], ids=["headers drip", "no HTTP", "reset"])
def test_a_server_below_http(answer: Callable[[socket.socket], None], tmp_path: Path, folder: Path) -> None:
    raw = Raw(answer)
    hub = RunningHub(tmp_path / "test-hub")
    talk = Talk({**hub.env(TOKEN), "HF_ENDPOINT": raw.url})
    for asked in (
        {"do": "access", "id": "alice/x"},
        {"do": "fetch", "id": "bob/base"},
        {"do": "data", "id": "bob/data"},
        {"do": "push", "folder": str(folder), "hub": {"id": "alice/x"}},
    ):
        done = talk.ask(**asked)
        assert done["code"] == 4 and done["seconds"] < 20 and raw.url in done["said"], done
        plain(done["said"])
    talk.close()
    hub.stop()
    raw.listening.close()


# Xet, whose client is another one


def test_a_store_of_xet_that_is_silent(tmp_path: Path, folder: Path) -> None:
    pytest.importorskip("hf_xet")
    raw = Raw(lambda connection: time.sleep(60))
    hub = RunningHub(tmp_path / "test-hub", xet=True)
    hub.hub.xet_url = raw.url
    talk = Talk(hub.env(TOKEN))
    done = talk.ask(do="push", folder=str(folder), hub={"id": "alice/x"})
    assert "commit" in done and done["seconds"] < 30, done
    assert "Xet storage could not be used; sending the files by LFS" in done["err"] and raw.connections
    assert hub.files("alice/x")["model.safetensors"] == weights(folder)
    assert any(each.startswith("PUT /_lfs/") for each in hub.faults.seen)
    talk.close()
    hub.stop()


# passwords in addresses


def test_the_password_of_an_address_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_tl.errors import HubError, redact

    monkeypatch.setenv("HF_ENDPOINT", "https://ann:s3cret%21pw@hub.example.org")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxyuser:p@ss/word@proxy.example.org:3128")
    said = redact(
        "at https://ann:s3cret%21pw@hub.example.org/api and ('ann', 's3cret!pw'), via "
        "http://proxyuser:p@ss/word@proxy.example.org:3128 or https://x:y@z.org"
    )
    for secret in ("s3cret", "ann:", "p@ss", "word", "proxyuser", "x:y"):
        assert secret not in said, said
    assert "https://hub.example.org/api" in said and "z.org" in said
    assert "s3cret" not in str(HubError("https://ann:s3cret%21pw@hub.example.org cannot be reached"))
    assert redact("https://hub.example.org/a@b me@example.org") == "https://hub.example.org/a@b me@example.org"


def test_the_password_of_the_endpoint_is_never_printed(tmp_path: Path, folder: Path) -> None:
    hub = RunningHub(tmp_path / "test-hub")
    hub.seed_model("bob/base", folder)
    env = hub.env(TOKEN)
    env["HF_ENDPOINT"] = hub.url.replace("://", "://ann:s3cretpw@")
    talk = Talk({**env, "HF_HUB_VERBOSITY": "debug"})
    hub.faults.plan(".*/_lfs/|.*bob/base", 503, 1000)
    for asked in (
        {"do": "push", "folder": str(folder), "hub": {"id": "alice/x"}},
        {"do": "fetch", "id": "bob/base"},
        {"do": "data", "id": "bob/base"},
    ):
        done = talk.ask(**asked)
        assert "s3cret" not in json.dumps(done), done
    talk.close()
    hub.stop()


@pytest.mark.parametrize("raised", [OSError(28, "No space left on device"), ValueError("of a library"), RuntimeError()])
def test_a_checkpoint_that_cannot_be_copied_does_not_end_training(
    raised: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hf_tl.config import hub_config
    from hf_tl.sharing import checkpoint_pushes as saves

    checkpoint = tmp_path / "checkpoints" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.json").write_text("{}")

    def save_pretrained(folder: Path) -> None:
        raise raised

    pushed: list[object] = []
    monkeypatch.setattr(saves, "push_folder", lambda *words, **options: pushed.append(words))
    run, base = SimpleNamespace(folder=tmp_path), SimpleNamespace(revision=None, adapter=None, code={})
    processor = SimpleNamespace(save_pretrained=save_pretrained)
    callback = saves.PushCheckpoints(run, hub_config(id="alice/x", every_save=True), processor, base)  # type: ignore[arg-type]
    state = SimpleNamespace(is_world_process_zero=True, global_step=2, max_steps=4)
    args = SimpleNamespace(output_dir=str(tmp_path / "checkpoints"))
    callback.on_save(args, state, None)  # type: ignore[arg-type]
    callback.on_train_end(args, state, None)  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert f"step 2 is not pushed ({type(raised).__name__}" in said and said.rstrip().endswith("Training goes on.")
    assert json.loads((tmp_path / "log.jsonl").read_text())["push"] == "failed"
    assert not pushed and not list(tmp_path.glob(".save-*"))
    (tmp_path / "log.jsonl").unlink()
    (tmp_path / "log.jsonl").mkdir()  # nor does one that cannot be logged
    callback.on_save(args, state, None)  # type: ignore[arg-type]
    assert "step 2 is not pushed" in capsys.readouterr().err
