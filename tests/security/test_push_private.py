"""What leaves this machine by a push is what the run measured, where the person said, and nothing private with it."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

import hf_tl
from hf_tl.config import HubConfig, load_config
from hf_tl.errors import ConfigError, ModelError, redact
from hf_tl.hub.sealed import credential, sealed
from hf_tl.io.command_line import command_line
from hf_tl.sharing.push import push_command
from tests.hub.server import RunningHub
from tests.hub.talk import Talk
from tests.tiny import sentiment_csv, tiny_bert

ALICE = "hf_test_alice"
SECRET = "TOPSECRET-0123456789"
TOKEN = "hf_" + "a1B2c" * 7


def hashes(folder: Path) -> dict[str, str]:
    """Every file and link below a folder."""
    out = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            out[str(path)] = f"link to {os.readlink(path)}"
        elif path.is_file():
            out[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return out


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of an adapter on a base in a folder."""
    folder = tmp_path_factory.mktemp("original")
    base, data = tiny_bert(folder / "secret-place" / "base"), sentiment_csv(folder / "secret-place" / "reviews.csv")
    options = {"max_steps": 2, "bf16": False}
    run = hf_tl.finetune(model=str(base), data=str(data), method="lora", output=str(folder / "run"), training=options)
    return run.folder


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run"))


@dataclass
class Served:
    hub: RunningHub
    talk: Talk

    def main(self, *words: object, code: int = 0) -> dict[str, Any]:
        done = self.talk.ask(do="main", words=[str(word) for word in words])
        assert done.get("code") == code, (words, done)
        said = done["err"] + done["out"]
        assert ALICE not in said and TOKEN not in said
        return done

    def repo(self, id: str, kind: str = "model") -> Any:
        return self.hub.store.repos.get((kind, id))


@pytest.fixture(scope="module")
def module_served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    hub = RunningHub(tmp_path_factory.mktemp("served") / "test-hub")
    talk = Talk(hub.env(ALICE))
    yield Served(hub, talk)
    talk.close()
    hub.stop()


@pytest.fixture
def served(module_served: Served) -> Served:
    """A Hub with nothing on it, and a process that runs commands."""
    module_served.hub.faults.clear()
    module_served.hub.store.repos.clear()
    module_served.hub.hub.collections.clear()
    return module_served


def everything_sent(served: Served) -> bytes:
    return b"".join(file.read_bytes() for file in (served.hub.folder / "hub" / "blobs").iterdir())


# no links


def link(path: Path, target: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(target)


LINKS = [
    "model/config.json", "model/notes.txt", "model/new", "model/adapter", "model/adapter/adapter_config.json",
    "model/tokenizer.json", "model", "figures", "figures/curves.png", "figures/mine.png", "README.md", "metrics.json",
    "predictions.parquet", "environment.json", "proof", "log.jsonl",
]  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
def test_nothing_is_shared_through_a_link(name: str, run: Path, served: Served, tmp_path: Path) -> None:
    """Also where what it leads to is, byte for byte, what was measured."""
    private = tmp_path / "private"
    private.mkdir()
    (private / "id_rsa").write_text(SECRET)
    path = run / name
    if path.is_dir():
        shutil.copytree(path, private / "kept")
        link(path, private / "kept")
    elif path.exists():
        shutil.copyfile(path, private / "kept")
        link(path, private / "kept")
    else:
        link(path, private if name == "model/new" else private / "id_rsa")
    before = hashes(run)
    done = served.main("push", run, "alice/x", "--no-proof", code=2)
    assert f"{path}: is a link" in done["err"] and hashes(run) == before
    assert served.repo("alice/x") is None and SECRET.encode() not in everything_sent(served)


def test_a_run_reached_through_a_link_and_hard_links_are_fine(run: Path, served: Served, tmp_path: Path) -> None:
    os.link(run / "model" / "config.json", tmp_path / "other-name")
    (tmp_path / "way").symlink_to(run)
    served.main("push", tmp_path / "way", "alice/x")
    assert "config.json" in served.hub.files("alice/x")


# only what the run wrote


def test_what_the_run_did_not_write_is_named_and_left(run: Path, served: Served) -> None:
    others = ["model/.env", "model/notes.txt", "model/adapter/key.pem", "model/sub/deep.txt", "figures/mine.png"]
    (run / "model" / f"{TOKEN}.txt").write_text("its name is not printed")
    for name in others:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text(SECRET)
    os.mkfifo(run / "model" / "pipe")
    done = served.main("push", run, "alice/x")
    (line,) = [line for line in done["err"].splitlines() if line.startswith("Not shared")]
    assert all(name in line for name in [*others, "model/pipe"])
    files = served.hub.files("alice/x")
    assert SECRET.encode() not in everything_sent(served)
    assert not {name.removeprefix("model/") for name in others} & set(files)
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "figures/curves.png"} <= set(files)
    kept = json.loads((run / "state.json").read_text())["measured"]["files"]
    for name, content in files.items():
        if name != "README.md" and not name.startswith("figures/"):
            assert kept[f"model/{name}"] == hashlib.sha256(content).hexdigest()


# what is shared is what was measured


def change(name: str, **values: Any) -> Callable[[Path], None]:
    return lambda run: edit(run / name, **values)


def swap_token(run: Path) -> None:
    file = run / "model" / "tokenizer.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"good"', '"x1"').replace('"bad"', '"good"').replace('"x1"', '"bad"'))


def better_metrics(run: Path) -> None:
    found = json.loads((run / "metrics.json").read_text())
    found["metrics"]["accuracy"] = {"value": 0.999, "low": 0.99, "high": 1.0}
    (run / "metrics.json").write_text(json.dumps(found))


def other_rate(run: Path) -> None:
    file = run / "config.yaml"
    assert "\nseed: 42\n" in file.read_text()
    file.write_text(file.read_text().replace("\nseed: 42\n", "\nseed: 7\n"))


def drop(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "labels": (change("model/config.json", label2id={"negative": 1, "positive": 0}), "(label2id)"),
    "activation": (change("model/config.json", hidden_act="relu"), "model/config.json has changed (hidden_act)"),
    "alpha": (change("model/adapter/adapter_config.json", lora_alpha=1), "model/adapter/adapter_config.json has"),
    "length": (change("model/tokenizer_config.json", model_max_length=8), "model/tokenizer_config.json has changed"),
    "token": (swap_token, "model/tokenizer.json has changed"),
    "metrics": (better_metrics, "metrics.json has changed"),
    "facts": (
        change("environment.json", task="text-classification", notes=["perfect"]),
        "environment.json has changed",
    ),
    "log": (lambda run: (run / "log.jsonl").write_text(""), "log.jsonl has changed"),
    "answers": (change("proof/answers.json", answers=[]), "proof/answers.json has changed"),
    "seed": (other_rate, "config.yaml has changed"),
    "climbing": (lambda run: listed(run, "model/../../original.txt"), "original.txt is missing"),
    "absolute": (lambda run: listed(run, "/etc/passwd"), "/etc/passwd is missing"),
    "missing": (drop("model/tokenizer_config.json"), "model/tokenizer_config.json is missing"),
    "no predictions": (drop("predictions.parquet"), "predictions.parquet is missing"),
    "pipe": (lambda run: (drop("log.jsonl")(run), os.mkfifo(run / "log.jsonl"))[0], "log.jsonl: is no plain file"),
    "same size and time": (lambda run: same_time(run / "model" / "config.json"), "model/config.json has changed"),
}


def listed(run: Path, name: str) -> None:
    """A list of somebody else's, with the right hash of a file of this machine."""
    (run.parent / "original.txt").write_text("mine")
    state = json.loads((run / "state.json").read_text())
    state["measured"]["files"][name] = hashlib.sha256((run / name).read_bytes()).hexdigest()
    (run / "state.json").write_text(json.dumps(state))


def same_time(file: Path) -> None:
    before, text = file.stat(), file.read_text()
    file.write_text(text.replace('"gelu"', '"silu"'))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_file_is_not_shared(what: str, run: Path, served: Served) -> None:
    spoil, said = CHANGES[what]
    spoil(run)
    before = hashes(run)
    done = served.main("push", run, "alice/x", "--no-proof", code=2)
    assert (said in done["err"] and "Put back what was measured" in done["err"]) or "no plain file" in said, done
    assert len(done["err"].strip().splitlines()) == 1
    assert served.repo("alice/x") is None and hashes(run) == before


def test_a_run_without_a_list_is_measured_again_first(run: Path, served: Served) -> None:
    state = json.loads((run / "state.json").read_text())
    del state["measured"]
    (run / "state.json").write_text(json.dumps(state))
    done = served.main("push", run, "alice/x", code=2)
    assert "kept no list of what was measured" in done["err"]


def test_what_is_there_now_can_be_measured(original: Path, tmp_path: Path, served: Served) -> None:
    """The way out that a refusal names; what the run did not write stays out of the list."""
    run = Path(shutil.copytree(original, tmp_path / "run"))
    config = load_config({**load_config(str(run / "config.yaml")).model_dump(exclude_unset=True), "output": str(run)})
    edit(run / "model" / "tokenizer_config.json", model_max_length=8)
    (run / "model" / "extra.txt").write_text(SECRET)
    (run / "metrics.json").unlink()
    hf_tl.finetune(config)
    done = served.main("push", run, "alice/x")
    assert "extra.txt" in done["err"] and "extra.txt" not in served.hub.files("alice/x")
    assert json.loads(served.hub.files("alice/x")["tokenizer_config.json"])["model_max_length"] == 8


def test_the_card_may_be_edited_and_a_figure_is_drawn_anew(run: Path, served: Served) -> None:
    figure = (run / "figures" / "curves.png").read_bytes()
    (run / "figures" / "curves.png").write_bytes(b"\x89PNG mine")
    with (run / "README.md").open("a") as stream:
        stream.write("\nMine.\n")
    served.main("push", run, "alice/x")
    files = served.hub.files("alice/x")
    assert b"Mine." in files["README.md"] and files["figures/curves.png"] == figure


class Sent:
    """In the place of the client: what it would have sent."""

    def __init__(self, changes: Callable[[], None]) -> None:
        self.changes, self.committed = changes, False

    def preupload_lfs_files(self, id: str, operations: list[Any], **options: Any) -> None:
        self.changes()

    def create_commit(self, id: str, operations: list[Any], **options: Any) -> Any:
        self.committed = True
        self.content = {each.path_in_repo: each.path_or_fileobj for each in operations}
        return type("Commit", (), {"oid": "0" * 40})


@pytest.mark.parametrize("small", [True, False])
def test_what_was_looked_at_is_what_is_sent(small: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes, or becomes a link, between the check and the upload."""
    from hf_tl.hub import sealed as module
    from hf_tl.hub import upload as hub

    monkeypatch.setattr(module, "SMALL", 100 if small else 0)
    file, secret = tmp_path / "config.json", tmp_path / "secret"
    file.write_text("{}")
    secret.write_text(SECRET)
    parts = sealed({"config.json": file})

    def swap() -> None:
        file.unlink()
        file.symlink_to(secret)

    api = Sent(swap)
    if small:
        hub._commit(api, "alice/x", HubConfig(id="alice/x"), parts, None, "model")
        assert api.content == {"config.json": b"{}"}
    else:
        with pytest.raises(ConfigError, match="has changed while it was sent"):
            hub._commit(api, "alice/x", HubConfig(id="alice/x"), parts, None, "model")
        assert not api.committed


def test_a_file_has_to_be_the_expected_one(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text("{}")
    right = hashlib.sha256(b"{}").hexdigest()
    assert sealed({"a": file}, {"a": right})["a"].sha256 == right
    assert sealed({"a": file})["a"].git == "9e26dfeeb6e641a33dae4961196235bdb965b21b"  # git hash-object
    with pytest.raises(ConfigError, match="has changed since it was looked at"):
        sealed({"a": file}, {"a": "0" * 64})


# refusals change nothing, and a Space names what was shared


def test_a_refused_push_leaves_the_run_as_it_was(run: Path, served: Served) -> None:
    hub = served.hub
    served.main("push", run, "alice/first", "--private")
    shared = json.loads((run / "state.json").read_text())["pushed"]
    assert shared["id"] == "alice/first" and shared["private"] is True
    before = hashes(run)
    hub.store.create("model", "alice/open")
    refusals: list[tuple[list[str], str | None, int]] = [
        (["bob/typo"], None, 2),
        (["alice/open"], None, 2),
        (["alice/typo", "--no-merge"], None, 2),
        (["alice/typo"], "POST .*/commit/", 4),
        (["alice/typo2"], "POST .*repos/create", 4),
        (["alice/typo"], ".*whoami", 4),
        (["alice/typo", "--tag", "v1"], "POST .*/tag/", 4),
        (["alice/typo", "--collection", "Films"], "POST .*/api/collections", 4),
    ]
    for words, fault, code in refusals:
        if fault:
            hub.faults.plan(fault, 403, 1000)
        done = served.main("push", run, *words, code=code)
        assert hashes(run) == before, (words, done)
        hub.faults.clear()
    served.main("demo", run, "--push-space", "alice/page")
    app = hub.files("alice/page", kind="space")["app.py"].decode()
    assert '"alice/first"' in app and "typo" not in app
    assert hashes(run) == before
    # and one that succeeds names the next
    served.main("push", run, "alice/second", "--revision", "v2")
    served.main("demo", run, "--push-space", "alice/page2")
    app = hub.files("alice/page2", kind="space")["app.py"].decode()
    assert '"alice/second"' in app and 'revision="v2"' in app
    assert "alice/second" in (run / "README.md").read_text()


def test_the_card_of_a_run_names_no_repository_before_it_is_there(original: Path, tmp_path: Path) -> None:
    from hf_tl.reporting.card import write_card

    run = Path(shutil.copytree(original, tmp_path / "run"))
    with (run / "config.yaml").open("a") as stream:
        stream.write("hub: {id: me/typo}\n")
    assert "me/typo" not in write_card(run, shared=False).read_text()


# private unless public


def seen(served: Served, id: str, kind: str = "model") -> str:
    return "private" if served.repo(id, kind).private else "public"


def test_a_push_is_private_unless_it_is_said_to_be_public(run: Path, served: Served) -> None:
    first = served.main("push", run, "x")
    assert "Pushing to alice/x (private)\n" in first["err"] and seen(served, "alice/x") == "private"
    served.main("push", run, "alice/y", "--public", "--collection", "Open")
    served.main("push", run, "alice/z", "--collection", "Closed")
    assert seen(served, "alice/y") == "public"
    assert {each["title"]: each["private"] for each in served.hub.hub.collections.values()} == {
        "Open": False,
        "Closed": True,
    }
    before = hashes(run)
    refused = served.main("push", run, "alice/y", code=2)
    assert "alice/y is public, so nothing is sent; --public" in refused["err"] and hashes(run) == before
    done = served.main("push", run, "alice/y", "--private")
    assert "Pushing to alice/y (private; it was public)\n" in done["err"] and seen(served, "alice/y") == "private"
    assert "Pushing to alice/y (private)\n" in served.main("push", run, "alice/y")["err"]
    # it becomes public when what is there is whole
    served.hub.faults.plan("POST .*/commit/", 403, 1000)
    served.main("push", run, "alice/y", "--public", code=4)
    assert seen(served, "alice/y") == "private"
    served.hub.faults.clear()
    done = served.main("push", run, "alice/y", "--public")
    assert "(public; it was private)" in done["err"] and seen(served, "alice/y") == "public"


def test_a_pull_request_is_as_visible_as_its_repository(run: Path, served: Served) -> None:
    served.hub.store.create("model", "bob/open")
    for words in ((), ("--private",)):
        refused = served.main("push", run, "bob/open", "--create-pr", *words, code=2)
        assert "is public, and so is a pull request" in refused["err"]
    assert not [name for name in served.repo("bob/open").refs if "pr" in name]
    done = served.main("push", run, "bob/open", "--create-pr", "--public")
    assert "Pushing to bob/open (public)" in done["err"] and "refs/pr/1" in served.repo("bob/open").refs
    served.main("demo", run, "--push-space", "alice/page")
    app = served.hub.files("alice/page", kind="space")["app.py"].decode()
    assert f'revision="{served.repo("bob/open").refs["refs/pr/1"]}"' in app  # not what bob has on main
    served.hub.store.create("model", "acme/inside", private=True)
    served.main("push", run, "acme/inside", "--create-pr")
    assert seen(served, "acme/inside") == "private"


def test_a_name_without_an_owner_is_completed_everywhere(run: Path, served: Served) -> None:
    served.main("push", run, "x", "--public")
    card = served.hub.files("alice/x")["README.md"].decode()
    assert '"alice/x"' in card and '"x"' not in card and "hf-tl reproduce alice/x" in card
    assert json.loads((run / "state.json").read_text())["pushed"]["id"] == "alice/x"
    assert hf_tl.Run(run).config.hub.id == "alice/x"  # type: ignore[union-attr]
    served.hub.faults.plan("POST .*/commit/", 403, 1000)
    assert f"hf-tl push {run} alice/y" in served.main("push", run, "y", code=4)["err"]


def test_a_space_is_private_and_says_what_it_needs(run: Path, served: Served) -> None:
    served.main("push", run, "alice/x")
    done = served.main("demo", run, "--push-space", "page")
    assert "Pushing to alice/page (private)" in done["err"] and seen(served, "alice/page", "space") == "private"
    assert "alice/x is private: the Space loads it once its settings hold a secret HF_TOKEN" in done["err"]
    assert b"HF_TOKEN" in served.hub.files("alice/page", kind="space")["README.md"]
    served.hub.faults.plan("POST .*/commit/", 403, 1000)
    refused = served.main("demo", run, "--push-space", "other", "--private", code=4)
    assert f"continue with: hf-tl demo {run} --push-space other --private" in refused["err"]
    served.hub.faults.clear()
    served.main("demo", run, "--push-space", "page", "--public")
    assert seen(served, "alice/page", "space") == "public"
    assert "is public, so nothing is sent" in served.main("demo", run, "--push-space", "page", code=2)["err"]
    served.main("push", run, "alice/x", "--public")
    done = served.main("demo", run, "--push-space", "page", "--public")
    assert "HF_TOKEN" not in done["err"] + served.hub.files("alice/page", kind="space")["README.md"].decode()


# continuing lines

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
MORE = st.one_of(WORDS, st.sampled_from(["-x", "--public", "--", "a b", "'", '"', "\\", "$HOME", "ünï ☃", "a=b", "`x`",
                                        "*", "!", "#", "~", "a\nb", "\x1b[31m", "-", "=", "\\n'"]))  # fmt: skip
FLAG = st.sampled_from([None, True, False])


def read_back(line: str) -> list[str]:
    """The words that a shell makes of a line."""
    if "$'" not in line:
        return shlex.split(line)
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def parsed(line: str, function: str) -> dict[str, Any]:
    """What the real command line would call with the words of a line."""
    from hf_tl.cli.app import app

    words = read_back(line)
    assert words[0] == "hf-tl" and "\n" not in line and "\x1b" not in line
    command = typer.main.get_command(app)
    with command.make_context("hf-tl", words[1:]) as context:
        name, sub, rest = command.resolve_command(context, [*context._protected_args, *context.args])  # type: ignore[attr-defined]
        assert name == function
        return dict(sub.make_context(name, rest, parent=context).params)


@settings(max_examples=150, deadline=None)
@given(
    folder=MORE, id=MORE, private=FLAG, merge=FLAG, examples=FLAG, proof=FLAG, create_pr=st.booleans(),
    trust=st.booleans(),
    message=st.none() | MORE | st.just(""), revision=st.none() | MORE, tag=st.none() | MORE,
    collection=st.none() | MORE,
)  # fmt: skip
def test_a_continuing_line_of_push_gives_its_options_back(
    folder: str, id: str, proof: bool | None, message: str | None, trust: bool, **options: Any
) -> None:
    hub = HubConfig.model_construct(**{**HubConfig(id="x").__dict__, "id": id, "commit_message": message, **options})
    if "\0" in f"{folder}{id}{message}{options}":
        return
    found = parsed(push_command(folder, hub, proof, trust), "push")  # type: ignore[arg-type]
    given = {"run": folder, "id": id, "message": message, "proof": proof, "trust": trust, **options}
    assert {key: found[key] for key in given} == given
    left = set(found) - set(given)
    assert not any(found[name] for name in left), left


@settings(max_examples=60, deadline=None)
@given(model=MORE, space=MORE, private=FLAG, revision=st.none() | MORE, trust=st.booleans())
def test_a_continuing_line_of_demo_gives_its_options_back(
    model: str, space: str, private: bool | None, revision: str | None, trust: bool
) -> None:
    if "\0" in f"{model}{space}{revision}":
        return
    line = command_line("demo", model, push_space=space, private=private, revision=revision, trust_remote_code=trust)
    found = parsed(line, "demo")
    given = {"model": model, "push_space": space, "private": private, "revision": revision, "trust": trust}
    assert {key: found[key] for key in given} == given


def test_every_option_of_a_push_is_in_its_continuing_line(run: Path, served: Served) -> None:
    words = ["--public", "--revision", "v 2", "--tag=-t", "--message", "It's \"done\"", "--merge", "--collection",
             "My films", "--no-examples", "--no-proof", "--trust-remote-code"]  # fmt: skip
    served.hub.faults.plan("POST .*/commit/", 403, 1000)
    said = served.main("push", run, "alice/x", *words, code=4)["err"]
    line = said[said.index("hf-tl push") :].strip()
    assert parsed(line, "push") == parsed(shlex.join(["hf-tl", "push", str(run), "alice/x", *words]), "push")
    served.hub.faults.clear()
    served.hub.faults.plan(".*whoami", 403, 1000)
    said = served.main("push", run, "alice/x", *words, code=4)["err"]
    assert parsed(said[said.index("hf-tl push") :].strip(), "push")["private"] is False


# tokens


@pytest.mark.parametrize(
    "content",
    [
        f"the key is {TOKEN}.",
        json.dumps({"a": f"line\n{TOKEN}"}),
        json.dumps({"a": f"\t{TOKEN}_x"}),
        json.dumps({"vocab": {f"Ġ{TOKEN}": 1}}, ensure_ascii=False),
        json.dumps({"a": TOKEN}).replace("_", "\\u005f").replace("h", "\\u0068"),
        f"a{TOKEN}",
        "api_org_" + "x1Y2" * 8,
        "AKIA" + "ABCDEFGHIJ234567",
        "ghp_" + "a1B2c3" * 6,
        "-----BEGIN OPENSSH PRIVATE KEY-----\nabc",
        "-----BEGIN PRIVATE KEY-----\nabc",
        "the login's: hf_test_alice_of_another_form",
    ],
)
def test_a_file_with_a_credential_is_not_sent(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_test_alice_of_another_form")
    file = tmp_path / "README.md"
    for data in (content.encode(), content.encode("utf-16"), b"x" * ((1 << 20) - 8) + content.encode()):
        file.write_bytes(data)
        with pytest.raises(ConfigError, match=r"^README\.md: holds what looks like") as caught:
            sealed({"README.md": file})
        assert content[-20:] not in str(caught.value)


def test_a_token_in_the_metadata_of_weights_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    from hf_tl.hub import sealed as module

    for small in (module.SMALL, 0):
        monkeypatch.setattr(module, "SMALL", small)
        random = np.random.default_rng(0).integers(0, 255, 1 << 20, dtype=np.uint8)
        save_file({"a": random}, tmp_path / "fine.safetensors", {"format": "pt"})
        assert sealed({"model.safetensors": tmp_path / "fine.safetensors"})
        save_file({"a": random}, tmp_path / "bad.safetensors", {"format": "pt", "by": TOKEN})
        hidden = np.concatenate([random, np.frombuffer(TOKEN.encode(), dtype=np.uint8)])
        save_file({"a": hidden}, tmp_path / "hidden.safetensors", {"format": "pt"})
        for name in ("bad", "hidden"):
            with pytest.raises(ConfigError, match="holds what looks like a token of the Hub"):
                sealed({"model.safetensors": tmp_path / f"{name}.safetensors"})
    with pytest.raises(ConfigError, match="the name of a file looks like a credential"):
        sealed({f"{TOKEN}.json": tmp_path / "fine.safetensors"})


@pytest.mark.parametrize("before", [0, 54, 63, 64, 100])
def test_a_token_across_two_blocks_of_a_large_file_is_found(
    before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_tl.hub import sealed as module

    monkeypatch.setattr(module, "SMALL", 0)
    monkeypatch.setattr(module, "BLOCK", 64)
    (tmp_path / "m.safetensors").write_bytes(b"." * before + TOKEN.encode() + b"." * 70)
    with pytest.raises(ConfigError, match="holds what looks like a token of the Hub"):
        sealed({"m.safetensors": tmp_path / "m.safetensors"})


@pytest.mark.parametrize(
    "harmless", ["hf_tl and hf_hub_download", "-----BEGIN CERTIFICATE-----", "sk-learn", "AKIAlowercaseletters", "hf_"]
)
def test_what_is_no_credential_is_sent(harmless: str) -> None:
    assert credential(harmless.encode()) is None


def test_a_token_written_into_the_card_stops_the_push(run: Path, served: Served) -> None:
    with (run / "README.md").open("a") as stream:
        stream.write(f"\nUse {TOKEN} to load it.\n")
    before = hashes(run)
    done = served.main("push", run, "alice/x", code=2)
    assert "README.md: holds what looks like a token of the Hub" in done["err"]
    assert served.repo("alice/x") is None and hashes(run) == before


def test_a_token_in_names_is_neither_printed_nor_shared(original: Path, tmp_path: Path, served: Served) -> None:
    run = Path(shutil.copytree(original, tmp_path / TOKEN))
    served.main("push", run, "alice/x")  # `main` looks at what is printed
    assert TOKEN.encode() not in everything_sent(served)
    served.hub.faults.plan("POST .*/commit/", 403, 1000)
    served.main("push", run, "alice/y", code=4)
    served.main("push", run, f"alice/{TOKEN}", code=2)
    assert redact(json.dumps({"a": f"x\n{TOKEN}"})) == json.dumps({"a": "x\nhf_..."})
    for values in ({"loss": {"class_weights": {TOKEN: 1.0}}}, {"output": f"runs/{TOKEN}"}):
        with pytest.raises(ConfigError, match="holds a token") as caught:
            load_config({"model": "m", "data": "d", **values})
        assert TOKEN not in str(caught.value)


def test_columns_labels_and_files_called_like_a_token(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither printed nor in card and report; labels are in config.json, which then is not sent."""
    data = tmp_path / "data.csv"
    rows = sentiment_csv(tmp_path / "rows.csv").read_text().replace("text,label", f"{TOKEN},label")
    data.write_text(rows.replace("positive", TOKEN[:-1] + "x"))
    run = hf_tl.finetune(
        model=str(tiny_bert(tmp_path / "base")), output=str(tmp_path / "run"), training={"max_steps": 2, "bf16": False},
        data={"path": str(data), "columns": {"label": "label"}}, task="text-classification", method="frozen",
    )  # fmt: skip
    said = capfd.readouterr()
    for text in (said.out, said.err, *((run.folder / name).read_text() for name in ("README.md", "report.html"))):
        assert TOKEN[:-1] not in text
    with pytest.raises(ConfigError, match=r"config\.json: holds what looks like a token of the Hub") as caught:
        sealed({"config.json": run.model / "config.json"})
    assert TOKEN[:-1] not in str(caught.value)


def test_a_file_that_changes_while_it_is_proved_is_not_on_the_card(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_tl.hub.upload import Target
    from hf_tl.sharing import push as module

    class Enough(Exception):
        pass

    def proving(*_: Any, **__: Any) -> str:
        better_metrics(run)
        return ""

    def sending(card: str, *_: Any) -> None:
        assert "0.999" not in card
        raise Enough

    monkeypatch.setattr(module, "check_target", lambda hub: Target("alice/x", True, None))
    monkeypatch.setattr(module, "wanted", lambda config: True)
    monkeypatch.setattr(module, "prove", proving)
    monkeypatch.setattr(module, "merged_card", sending)
    with pytest.raises(Enough):
        module.push(run, HubConfig(id="alice/x"))


# what a pretrained model names


def saved(base: Path, folder: Path) -> bytes:
    """What is saved of a model's tokenizer: every byte."""
    from hf_tl.config import ModelConfig
    from hf_tl.models.pretrained import find_pretrained
    from hf_tl.models.processors import load_processor
    from hf_tl.task import get_task

    processor = load_processor(find_pretrained(ModelConfig(id=str(base))), get_task("text-classification"))
    processor.save_pretrained(folder)
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"the film was good bad so".split(), SECRET]


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize(
    "key", ["vocab", "vocab_file", "tokenizer_file", "merges", "init_inputs", "chat_template_file"]
)
@pytest.mark.parametrize("bare", [False, True])
def test_a_tokenizer_carries_no_further_file_along(
    file: str, key: str, bare: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by a path nor by a name that the current folder has."""
    base = tiny_bert(tmp_path / "base")
    (base / "tokenizer.json").unlink()
    (base / "vocab.txt").write_text("\n".join([*VOCABULARY[:-1], *"abcdefghij"]))
    secret = tmp_path / "private.txt"
    secret.write_text("\n".join(VOCABULARY))
    monkeypatch.chdir(tmp_path)
    named = secret.name if bare else str(secret)
    known = json.loads((base / file).read_text()) if (base / file).exists() else {}
    known.pop("added_tokens_decoder", None)
    (base / file).write_text(json.dumps({**known, key: [named] if key == "init_inputs" else named}))
    assert SECRET.encode() not in saved(base, tmp_path / "out")


@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer.json", "tokenizer_config.json", "config.json"])
def test_a_model_whose_files_lead_out_of_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "base")
    if name == "vocab.txt":
        (base / "vocab.txt").write_text("\n".join(VOCABULARY))
        (base / "tokenizer.json").unlink()
    (base / name).rename(tmp_path / "private")
    (base / name).symlink_to(tmp_path / "private")
    with pytest.raises(ModelError, match="is a link to something outside of its folder"):
        saved(base, tmp_path / "out")
    # a model folder that is itself reached through a link is a person's own
    (base / name).unlink()
    (tmp_path / "private").rename(base / name)
    (tmp_path / "way").symlink_to(base)
    assert saved(tmp_path / "way", tmp_path / "out")


def test_a_models_settings_lose_tokens_and_paths_when_saved(tmp_path: Path) -> None:
    from hf_tl.models.carried import without_paths

    home = tmp_path / "home" / "me"
    home.mkdir(parents=True)
    edits = {
        "token": TOKEN, "_name_or_path": str(home), "nested": {"cache": str(home), "list": [str(home), 1]},
        "id2label": {"0": str(home)}, "bos_token": "/tmp", "kept": "/r/news", "other": "/nowhere/at/all",
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(edits))
    (tmp_path / "tokenizer.json").write_text(json.dumps({"token": "x"}))
    without_paths(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "nested": {"cache": "path/to/me", "list": ["path/to/me", 1]}, "id2label": {"0": str(home)}, "bos_token": "/tmp",
        "kept": "/r/news", "other": "/nowhere/at/all",
    }  # fmt: skip
    assert json.loads((tmp_path / "tokenizer.json").read_text()) == {"token": "x"}


# paths of this machine


def test_no_path_of_this_machine_is_in_what_is_shared_or_shown(original: Path, served: Served, tmp_path: Path) -> None:
    run = Path(shutil.copytree(original, tmp_path / "run"))
    where = str(original.parent)
    for file in [*(run / "model").rglob("*"), *(run / "figures").rglob("*"), run / "report.html"]:
        if file.is_file():
            assert where.encode() not in file.read_bytes(), file
            assert b"secret-place" not in file.read_bytes(), file
    adapter = json.loads((run / "model" / "adapter" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "path/to/base"
    served.main("push", run, "alice/x")
    files = served.hub.files("alice/x")
    assert not [name for name, content in files.items() if b"secret-place" in content or where.encode() in content]
    refused = served.main("push", run, "alice/y", "--no-merge", code=2)["err"]
    assert "path/to/base" in refused and "secret-place" not in refused


def test_an_adapter_of_a_folder_still_works_here(original: Path, tmp_path: Path) -> None:
    ours = hf_tl.predict(str(original), ["a good film"])[0]["scores"]
    theirs = hf_tl.predict(str(original / "model" / "adapter"), ["a good film"])[0]["scores"]
    assert theirs == pytest.approx(ours, abs=1e-5)
    shutil.copytree(original / "model" / "adapter", tmp_path / "alone")
    with pytest.raises(ModelError, match="was the folder 'base' on the machine that made it"):
        hf_tl.predict(str(tmp_path / "alone"), ["a good film"])


def test_what_a_model_is_called_elsewhere(tmp_path: Path) -> None:
    from hf_tl.models.carried import shared_name

    assert shared_name("bob/base") == "bob/base"
    assert shared_name(f"/home/somebody/.cache/huggingface/hub/models--bob--base/snapshots/{'a' * 40}") == "bob/base"
    assert shared_name(str(tmp_path)) == f"path/to/{tmp_path.name}" and shared_name("/gone/x/") == "path/to/x"


# every save


def test_a_checkpoint_with_a_link_is_not_pushed(run: Path, tmp_path: Path) -> None:
    from types import SimpleNamespace

    from hf_tl.sharing.checkpoint_pushes import PushCheckpoints

    pretrained = SimpleNamespace(id="base", revision=None, adapter=None, code={})
    processor = SimpleNamespace(save_pretrained=lambda folder: None)
    saves = PushCheckpoints(hf_tl.Run(run), HubConfig(id="alice/x"), processor, pretrained)  # type: ignore[arg-type]
    saves._push = lambda *_: pytest.fail("pushed")  # type: ignore[method-assign]
    checkpoint = tmp_path / "checkpoints" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    (tmp_path / "secret").write_text("{}")
    (checkpoint / "config.json").symlink_to(tmp_path / "secret")
    state = SimpleNamespace(is_world_process_zero=True, global_step=2, max_steps=4)
    saves.on_save(SimpleNamespace(output_dir=str(checkpoint.parent)), state, None)  # type: ignore[arg-type]
    assert '"push": "failed"' in (run / "log.jsonl").read_text().splitlines()[-1]


# what is said after a push, of a download or a Hub that fails


@pytest.mark.parametrize("times", [1, 1000])
def test_a_download_damaged_after_a_push(times: int, run: Path, served: Served) -> None:
    """Once: it is fetched again. For good: the push is not called one that others cannot use, as its hashes hold."""
    pushed = served.main("push", run, "alice/x", "--no-proof", "--json")
    commit = json.loads(pushed["out"])["commit"]
    served.hub.faults.plan("GET .*/resolve/.*/model.safetensors", -1, times)
    done = served.talk.ask(do="downloaded", run=str(run), id="alice/x", commit=commit)
    if times == 1:
        assert done["compared"] == 1, done
    else:
        assert done["code"] == 4 and "came with other bytes than the Hub's hash says, twice" in done["said"], done
        assert f"Commit {commit[:8]} is on the Hub, as its hashes say" in done["said"]
        assert "The same push again proves it" in done["said"] and "STRANGER" not in done["said"]
    assert not list(run.glob(".pushed-*"))


def test_a_card_that_came_damaged_is_fetched_again(run: Path, served: Served, tmp_path: Path) -> None:
    """What people wrote into the card on the Hub is kept as they wrote it, not as a download changed it."""
    served.main("push", run, "alice/x", "--no-proof")
    theirs = served.hub.files("alice/x")["README.md"] + b"\n## Written by Alice\n\nHands off.\n"
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "README.md").write_bytes(theirs)
    done = served.talk.ask(do="push", folder=str(tmp_path / "theirs"), hub={"id": "alice/x"})
    assert done.get("changed") is True, done
    assert served.hub.files("alice/x")["README.md"] == theirs
    served.hub.faults.plan("GET .*/resolve/.*README.md", -1, 1)
    served.main("push", run, "alice/x", "--no-proof", "--message", "again")
    kept = served.hub.files("alice/x")["README.md"]
    assert b"## Written by Alice\n\nHands off.\n" in kept and kept.count(b"<!-- hf_tl:begin results -->") == 1


@pytest.mark.parametrize("route", [".*whoami", "POST .*repos/create", "POST .*/commit/"])
def test_a_space_and_a_silent_hub(route: str, run: Path, served: Served) -> None:
    served.main("push", run, "alice/x", "--no-proof")
    before = hashes(run)
    served.hub.faults.plan(route, "no answer", 1000)
    done = served.main("demo", run, "--push-space", "page", "--public", code=4)
    last = done["err"].strip().splitlines()[-1]
    assert last.endswith(f"continue with: hf-tl demo {run} --push-space page --public"), last
    assert "cannot be reached" in last and done["seconds"] < 60 and hashes(run) == before
    repo = served.repo("alice/page", "space")
    assert repo is None or not served.hub.files("alice/page", kind="space")


@pytest.mark.parametrize("answer", ["web page", "empty"])
def test_a_tag_that_was_not_made_is_not_said_to_be(answer: str, run: Path, served: Served) -> None:
    served.hub.faults.plan("POST .*/tag/", answer, 1000)
    done = served.main("push", run, "alice/x", "--no-proof", "--tag", "v1", code=4)
    assert "the Hub has no tag v1, though it says so" in done["err"] and "the tag v1 is not" in done["err"]
    served.hub.faults.clear()
    served.main("push", run, "alice/x", "--no-proof", "--tag", "v1")
    assert served.repo("alice/x").tags == {"v1": served.repo("alice/x").refs["main"]}
