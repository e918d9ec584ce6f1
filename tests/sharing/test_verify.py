"""A shared model measured again against its card, and made again from it: over HTTP, in processes with empty caches."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hf_tl.errors import ConfigError
from hf_tl.reporting import provenance as origin
from hf_tl.sharing.claims import UNKNOWN, Claim, claims_of, judge
from tests.hub.server import RunningHub
from tests.sharing.test_push import TOKEN, command
from tests.tiny import colour_folder, sentiment_csv, tiny_bert, tiny_vit


def shared(hub: RunningHub, folder: Path, kind: str, method: str, *extra: object) -> None:
    """`alice/made`: a run on a base and data that are on the Hub too."""
    (folder / "data").mkdir()
    if kind == "text":
        base = tiny_bert(folder / "base")
        sentiment_csv(folder / "data" / "train.csv", rows=80)
        sentiment_csv(folder / "data" / "test.csv", rows=48)
    else:
        base = tiny_vit(folder / "base")
        colour_folder(folder / "data")
    hub.seed_model("bob/base", base)
    hub.seed_dataset("bob/data", folder / "data")
    command(
        hub.env(TOKEN), "train", "--model", "bob/base", "--data", "bob/data", "--method", method, "--push",
        "alice/made", "--output", folder / "run", "training.max_steps=12", "training.learning_rate=1e-2", *extra,
    )  # fmt: skip


def edit_card(hub: RunningHub, change: Any) -> None:
    """Somebody edits the card on the Hub."""
    repo = hub.store.repos["model", "alice/made"]
    text = hub.files("alice/made")["README.md"].decode()
    edited = change(text)
    assert edited != text
    entry = hub.store.add_blob(edited.encode(), lfs=False)
    hub.store.commit(repo, "main", {"README.md": entry}, "Edit")


def far_off(text: str) -> str:
    """The first metric of the metadata, made better than it is."""
    found = re.search(r"(?m)^ +value: ([01]\.\d+)$", text)
    assert found
    return f"{text[: found.start(1)]}{1.25 - float(found[1])}{text[found.end(1) :]}"


def row_far_off(text: str) -> str:
    """The same in the table that people read."""
    found = re.search(r"(?m)^\| Accuracy \| ([\d.]+)", text)
    assert found
    return f"{text[: found.start(1)]}{1.25 - float(found[1]):.3f}{text[found.end(1) :]}"


def test_verify_confirms_an_honest_card_and_catches_an_edited_one(hub: RunningHub, tmp_path: Path) -> None:
    shared(hub, tmp_path, "text", "full")
    reader = hub.env(TOKEN, home="reader")
    result = json.loads(command(reader, "verify", "alice/made", "--json").stdout)
    assert result["holds"] and result["notes"] == [] and result["split"] == "test"
    assert {claim["verdict"] for claim in result["claims"]} == {"holds"}
    assert {claim["place"] for claim in result["claims"]} == {"block", "model-index", "text"}
    original = hub.files("alice/made")["README.md"].decode()
    edit_card(hub, far_off)
    done = command(reader, "verify", "alice/made", "--json", code=1)
    wrong = [claim for claim in json.loads(done.stdout)["claims"] if claim["verdict"] == "does not hold"]
    assert [claim["place"] for claim in wrong] == ["model-index"]
    edit_card(hub, lambda _: row_far_off(original))
    shown = command(reader, "verify", "alice/made", code=1).stdout
    assert re.search(r"accuracy +text .* does not hold", shown) and "do NOT hold" in shown


@pytest.mark.slow
def test_verify_says_that_the_model_is_another(hub: RunningHub, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shared(hub, tmp_path, "text", "frozen", "model.pooling=mean")
    file = tmp_path / "run" / "model" / "model.safetensors"
    tensors = load_file(file)
    for name in tensors:
        if tensors[name].shape[:1] == (2,):  # the head: two classes
            tensors[name] = -50 * tensors[name]
    save_file(tensors, tmp_path / "other.safetensors", {"format": "pt"})
    repo = hub.store.repos["model", "alice/made"]
    entry = hub.store.add_blob((tmp_path / "other.safetensors").read_bytes(), lfs=True)
    hub.store.commit(repo, "main", {"model.safetensors": entry}, "Other weights")
    # the modelling file of the mean is hf_tl's own, byte for byte, so that no trust is asked for
    done = json.loads(command(hub.env(TOKEN, home="reader"), "verify", "alice/made", "--json", code=1).stdout)
    assert "model.safetensors is not the file" in done["failures"][0] and not done["holds"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "method"), [("text", "lora"), ("image", "full")])
def test_reproduce_makes_the_same_bits(kind: str, method: str, hub: RunningHub, tmp_path: Path) -> None:
    shared(hub, tmp_path, kind, method)
    again = hub.env(TOKEN, home="reader")
    done = command(again, "reproduce", "alice/made", "--output", tmp_path / "again", "--json")
    result = json.loads(done.stdout)
    assert result["weights"] == "identical" and result["differences"] == [], result
    assert {each["difference"] for each in result["metrics"].values()} == {0.0}
    first, second = (tmp_path / name / "model" / "model.safetensors" for name in ("run", "again"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_reproduce_uses_what_was_pinned_and_says_what_differs(hub: RunningHub, tmp_path: Path) -> None:
    shared(hub, tmp_path, "text", "frozen")
    sentiment_csv(tmp_path / "data" / "train.csv", rows=30)
    hub.seed_dataset("bob/data", tmp_path / "data")  # the data go on; the card names the commit
    edit_card(hub, lambda text: re.sub(r"(?m)^(\s+torch: ).*$", r"\g<1>1.0.0", text))
    again = hub.env(TOKEN, home="reader")
    done = command(again, "reproduce", "alice/made", "--output", tmp_path / "again")
    assert "weights: identical" in done.stdout
    assert "torch was 1.0.0 and is" in done.stdout and "torch was 1.0.0 and is" in done.stderr


@pytest.mark.slow
def test_data_of_another_machine_are_asked_for(hub: RunningHub, tmp_path: Path) -> None:
    data = sentiment_csv(tmp_path / "reviews.csv")
    command(
        hub.env(TOKEN), "train", "--model", tiny_bert(tmp_path / "bert"), "--data", data, "--method", "frozen",
       "--output", tmp_path / "run", "--push", "alice/made", "training.max_steps=4",
    )  # fmt: skip
    card = hub.files("alice/made")["README.md"].decode()
    assert str(tmp_path) not in card
    reader = hub.env(TOKEN, home="reader")
    err = command(reader, "verify", "alice/made", code=2).stderr
    assert "its data was a folder or file" in err and "reviews.csv" in err and "--data PATH" in err
    err = command(reader, "reproduce", "alice/made", "--data", data, code=2).stderr
    assert "give yours with --model PATH" in err
    assert json.loads(command(reader, "verify", "alice/made", "--data", data, "--json").stdout)["holds"]
    done = command(
        reader, "reproduce", "alice/made", "--data", data, "--model", tmp_path / "bert", "--output",
        tmp_path / "again", "--json",
    )  # fmt: skip
    assert json.loads(done.stdout)["weights"] == "identical"


def test_a_card_says_neither_where_things_go_nor_what_runs() -> None:
    values = {"model": {"id": "bob/base", "trust_remote_code": True}, "data": {"path": "/etc/passwd"}}
    block = {"config": {**values, "training": {"report_to": "wandb"}, "output": "/tmp/x"}, "found": {}}
    with pytest.raises(ConfigError, match="--trust-remote-code allows it"):
        origin.config_of(block, "alice/made")
    with pytest.raises(ConfigError, match=r"its data was a folder or file .*passwd.*give yours"):
        origin.config_of(block, "alice/made", trust=True)
    config = origin.config_of(block, "alice/made", data=["mine.csv"], trust=True)
    assert config.output is None and config.data.path == "mine.csv"
    assert config.training.passed_through == {}  # none is the default


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("# nothing", "has no block that begins with '# made by hf_tl'"),
        ("```yaml\n# made by hf_tl\na: 1\n```\n" * 2, "has 2 blocks"),
        ("```yaml\n# made by hf_tl\na: [1\n```\n", "line 2: not valid YAML"),
        ("```yaml\n# made by hf_tl\nconfig: {}\n```\n", "lacks `config` or `found`"),
    ],
)
def test_a_card_without_its_block(card: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        origin.read_block(card, "alice/made")
    assert words in str(caught.value)


def test_no_figures_to_check() -> None:
    with pytest.raises(ConfigError, match="claims no metrics"):
        claims_of("---\nlicense: mit\n---\n# A model\n", "alice/made")


@pytest.mark.parametrize(
    ("claimed", "exact", "verdict"),
    [
        (0.90, True, "holds"),
        (0.9015, True, "holds"),  # rounding on another machine
        (0.91, True, "does not hold"),  # in the interval, but the very same model and rows have to give the same
        (0.91, False, "within its interval"),
        (0.95, False, "does not hold"),
        (None, False, "does not hold: not a number"),
    ],
)
def test_verdicts(claimed: float | None, exact: bool, verdict: str) -> None:
    found = {"metrics": {"accuracy": {"value": 0.9, "low": 0.88, "high": 0.92}}, "samples": 2000}
    assert judge(Claim("accuracy", "text", claimed), found, exact).verdict == verdict
    assert judge(Claim("f1", "text", claimed), found, exact).verdict == UNKNOWN
