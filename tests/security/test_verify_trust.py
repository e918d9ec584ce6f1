"""A card is a claim: whatever was changed in it is found, and no change makes the look at it a milder one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hf_tl.cli import main
from hf_tl.errors import ConfigError
from hf_tl.sharing import claims
from hf_tl.sharing.verify import verify
from tests.security.test_trust import trained
from tests.tiny import sentiment_csv


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `run/`, honestly measured, and its data."""
    folder = tmp_path_factory.mktemp("made")
    trained(folder, "frozen")
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "run", tmp_path / "run")
    shutil.copy(made / "reviews.csv", tmp_path / "reviews.csv")
    return tmp_path / "run"


def looked_at(run: Path) -> dict[str, Any]:
    found = verify(str(run), str(run.parent / "reviews.csv"))
    json.dumps(found, allow_nan=False)
    return found


def edit(run: Path, change: Callable[[str], str]) -> None:
    file = run / "README.md"
    text = file.read_text(encoding="utf-8")
    edited = change(text)
    assert edited != text
    file.write_text(edited, encoding="utf-8")


def head(run: Path, change: Callable[[list[dict[str, Any]]], None], **more: Any) -> None:
    """Changes the metrics in the card's metadata."""
    text = (run / "README.md").read_text(encoding="utf-8")
    _, yaml_text, rest = text.split("---\n", 2)
    found = yaml.safe_load(yaml_text)
    change(found["model-index"][0]["results"][0]["metrics"])
    found |= more
    (run / "README.md").write_text(f"---\n{yaml.safe_dump(found)}---\n{rest}", encoding="utf-8")


def verdicts(found: dict[str, Any], metric: str) -> dict[str, str]:
    return {each["place"]: each["verdict"] for each in found["claims"] if each["metric"] == metric}


def test_an_honest_card_holds(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = looked_at(run)
    assert found["holds"] and found["failures"] == [] and found["notes"] == []
    assert verdicts(found, "accuracy") == dict.fromkeys(("model-index", "text", "block"), "holds")
    assert {each["verdict"] for each in found["claims"]} == {"holds"}
    assert main(["verify", str(run), "--data", str(run.parent / "reviews.csv")]) == 0
    assert "The card's metrics hold." in capsys.readouterr().out


@pytest.mark.parametrize("key", ["data_sha256", "model.safetensors"])
@pytest.mark.parametrize("how", ["another", "none"])
def test_a_hash_that_was_altered_is_a_failure(key: str, how: str, run: Path) -> None:
    """It used to switch to the interval of few rows, in which much else holds."""
    with_hash = re.compile(rf"(?m)^( +{re.escape(key)}:) [0-9a-f]{{64}}$")
    edit(run, lambda text: with_hash.sub(rf"\1 {'ab' * 32 if how == 'another' else 'null'}", text))
    index = verdicts(looked_at(run), "accuracy")["model-index"]
    assert index == "holds"
    value = next(each["measured"] for each in looked_at(run)["claims"] if each["metric"] == "accuracy")
    head(run, lambda metrics: metrics[0].update(value=value - 0.15 if value > 0.5 else value + 0.15))
    found = looked_at(run)
    what = "data are not those" if key == "data_sha256" else "model.safetensors is not the file"
    assert not found["holds"] and what in found["failures"][0]
    assert verdicts(found, "accuracy")["model-index"] == "does not hold"


def test_other_weights_or_data_are_a_failure(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Though every figure comes out again."""
    (run / "model" / "more.safetensors").write_bytes((run / "model" / "model.safetensors").read_bytes()[:-1] + b"x")
    found = looked_at(run)
    assert found["failures"] == ["more.safetensors was not there when the card's metrics were measured."]
    assert not found["holds"] and {each["verdict"] for each in found["claims"]} == {"holds"}
    (run / "model" / "more.safetensors").unlink()
    data = run.parent / "reviews.csv"
    data.write_text(data.read_text() + "\n")
    assert main(["verify", str(run), "--data", str(data)]) == 1
    shown = capsys.readouterr().out
    assert "other data are measured by hf-tl evaluate" in shown and "do NOT hold" in shown


@pytest.mark.parametrize("name", ["accuracy_top5", "mallory/accuracy", "exact_match"])
def test_a_metric_that_nothing_computes_is_a_failure(name: str, run: Path) -> None:
    """A figure under another name is neither confirmed nor passed over; the true one is missed."""
    head(run, lambda metrics: metrics[0].update(type=name, value=0.999))
    found = looked_at(run)
    assert not found["holds"]
    assert verdicts(found, name)["model-index"] == claims.UNKNOWN
    assert verdicts(found, "accuracy")["model-index"] == claims.LEFT_OUT


def test_a_row_of_the_table_under_another_name_is_a_failure(run: Path) -> None:
    edit(run, lambda text: re.sub(r"(?m)^\| Accuracy \| [\d.]+", "| Accuracy (strict) | 0.999", text))
    found = looked_at(run)
    assert not found["holds"] and verdicts(found, "Accuracy (strict)") == {"text": claims.UNKNOWN}


def test_a_figure_that_was_taken_out_is_a_failure(run: Path) -> None:
    head(run, lambda metrics: metrics.pop(0))
    found = looked_at(run)
    assert not found["holds"] and verdicts(found, "accuracy")["model-index"] == claims.LEFT_OUT
    edit(run, lambda text: re.sub(r"(?s)model-index:.*?\n(?=\w|---)", "", text))
    assert not looked_at(run)["holds"]


def test_the_block_is_a_claim_too(run: Path) -> None:
    edit(run, lambda text: re.sub(r"(?m)^(    accuracy:\n      value:) [\d.]+$", r"\1 0.999", text))
    found = looked_at(run)
    assert not found["holds"] and verdicts(found, "accuracy")["block"] == "does not hold"
    assert verdicts(found, "accuracy")["model-index"] == "holds"


@pytest.mark.parametrize(("key", "to"), [("samples", "999"), ("split", "test")])
def test_how_many_rows_and_which_are_claims(key: str, to: str, run: Path) -> None:
    edit(run, lambda text: re.sub(rf"(?m)^(  {key}:) \w+$", rf"\1 {to}", text))
    found = looked_at(run)
    assert not found["holds"] and any(f"metrics are of {key} " in each for each in found["failures"])


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (float("nan"), claims.NO_NUMBER),
        (float("inf"), claims.NO_NUMBER),
        ("high", claims.NO_NUMBER),
        (True, claims.NO_NUMBER),
        ([0.9], claims.NO_NUMBER),
        ({"value": 0.9}, claims.NO_NUMBER),
        (None, claims.NO_NUMBER),
        ("nan", claims.NO_NUMBER),
    ],
)
def test_what_is_no_number_does_not_hold(value: Any, verdict: str, run: Path) -> None:
    head(run, lambda metrics: metrics[0].update(value=value))
    found = looked_at(run)
    assert not found["holds"] and verdicts(found, "accuracy")["model-index"] == verdict


def test_a_figure_that_is_claimed_twice(run: Path) -> None:
    """The second of them is true."""
    head(run, lambda metrics: metrics.insert(0, {**metrics[0], "value": 0.999}))
    found = looked_at(run)
    said = [each["verdict"] for each in found["claims"] if each["metric"] == "accuracy"]
    assert not found["holds"] and "does not hold" in said and claims.TWICE in said


def test_figures_of_other_data_are_not_confirmed(run: Path) -> None:
    """A person's own result stands beside ours; ours called one of other data is missed."""
    text = (run / "README.md").read_text(encoding="utf-8")
    _, yaml_text, rest = text.split("---\n", 2)
    said = yaml.safe_load(yaml_text)
    results = said["model-index"][0]["results"]
    results.append({**results[0], "dataset": {**results[0]["dataset"], "type": "imdb"}})
    (run / "README.md").write_text(f"---\n{yaml.safe_dump(said)}---\n{rest}", encoding="utf-8")
    found = looked_at(run)
    assert found["holds"] and "were not checked" in found["notes"][0]
    assert [each["verdict"] for each in found["claims"] if each["verdict"] == claims.OTHER_DATA]
    del results[0]
    (run / "README.md").write_text(f"---\n{yaml.safe_dump(said)}---\n{rest}", encoding="utf-8")
    found = looked_at(run)
    assert not found["holds"] and claims.LEFT_OUT in [each["verdict"] for each in found["claims"]]


# -- cards of others ---------------------------------------------------------------------------------------------------


def plain_card(run: Path, metrics: list[dict[str, Any]], **data: Any) -> None:
    result = {
        "task": {"type": "text-classification"},
        "dataset": {"type": "x", "name": "x", **data},
        "metrics": metrics,
    }
    index = {"model-index": [{"name": "m", "results": [result]}]}
    (run / "model" / "README.md").write_text(f"---\n{yaml.safe_dump(index)}---\n# A model\n", encoding="utf-8")


def theirs(run: Path) -> dict[str, Any]:
    return verify(str(run / "model"), str(run.parent / "reviews.csv"))


def test_a_card_of_others(run: Path) -> None:
    sentiment_csv(run.parent / "reviews.csv", rows=40)
    honest = next(each["measured"] for each in looked_at(run)["claims"] if each["metric"] == "accuracy")
    plain_card(run, [{"type": "accuracy", "value": 0.5}])
    first = theirs(run)
    measured = first["claims"][0]["measured"]
    assert isinstance(honest, float) and "with intervals" in first["notes"][0]
    plain_card(run, [{"type": "accuracy", "value": measured}])
    assert theirs(run)["holds"]
    plain_card(run, [{"type": "accuracy", "value": measured}, {"type": "perplexity", "value": 3.0}])
    found = theirs(run)
    assert not found["holds"] and verdicts(found, "perplexity") == {"model-index": claims.UNKNOWN}
    plain_card(run, [{"type": "accuracy", "value": measured}, {"type": "owner/metric", "value": 3.0}])
    found = theirs(run)
    assert found["holds"] and verdicts(found, "owner/metric") == {"model-index": claims.OF_THE_HUB}
    assert any("1 of the card's metrics were not checked" in note for note in found["notes"])
    plain_card(run, [{"type": "owner/metric", "value": 3.0}])
    assert not theirs(run)["holds"]
    plain_card(run, [{"type": "accuracy", "value": measured}, {"type": "accuracy", "value": measured + 0.01}])
    assert not theirs(run)["holds"]


@pytest.mark.parametrize("index", [[], [{"name": "m"}], [{"name": "m", "results": []}], None])
def test_a_card_without_figures(index: Any, run: Path) -> None:
    text = f"---\n{yaml.safe_dump({'model-index': index})}---\n"
    (run / "model" / "README.md").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="claims no metrics"):
        theirs(run)


def test_a_card_that_names_no_data(run: Path) -> None:
    plain_card(run, [{"type": "accuracy", "value": 0.5}], type=None)
    with pytest.raises(ConfigError, match="names no dataset"):
        verify(str(run / "model"))


# -- the model's other files -------------------------------------------------------------------------------------------


def other_labels(model: Path) -> str:
    rewrite(model / "config.json", id2label={"0": "positive", "1": "negative"}, label2id={"positive": 0, "negative": 1})
    return "config.json is not the file"


def renamed_labels(model: Path) -> str:
    rewrite(model / "config.json", id2label={"0": "bad", "1": "good"}, label2id={"bad": 0, "good": 1})
    return "config.json is not the file"


def other_words(model: Path) -> str:
    said = json.loads((model / "tokenizer.json").read_text())
    words = said["model"]["vocab"]
    words["good"], words["bad"] = words["bad"], words["good"]
    (model / "tokenizer.json").write_text(json.dumps(said))
    return "tokenizer.json is not the file"


def shorter_texts(model: Path) -> str:
    rewrite(model / "tokenizer_config.json", model_max_length=4)
    return "tokenizer_config.json is not the file"


def without_a_file(model: Path) -> str:
    (model / "tokenizer_config.json").unlink()
    return "tokenizer_config.json, which the card names, is missing"


def with_a_file(model: Path) -> str:
    rewrite(model / "added_tokens.json", **{"good film": 9})
    return "added_tokens.json was not there"


def rewrite(file: Path, **values: Any) -> None:
    said = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**said, **values}))


@pytest.mark.parametrize(
    "swap", [other_labels, renamed_labels, other_words, shorter_texts, without_a_file, with_a_file]
)
def test_every_file_that_decides_the_answers_is_compared(swap: Callable[[Path], str], run: Path) -> None:
    """Labels and words exchanged after the card was written: named, whatever the scores say."""
    said = swap(run / "model")
    try:
        found = looked_at(run)
        assert not found["holds"] and [each for each in found["failures"] if said in each], found["failures"]
    except ConfigError as error:
        assert said in str(error) and "\n" not in str(error)


def test_files_that_nothing_loads_may_come(run: Path) -> None:
    for name in ("LICENSE", "notes.txt", "figures/one.png", ".gitattributes", "README.md", "onnx/model.onnx"):
        (run / "model" / name).parent.mkdir(exist_ok=True)
        (run / "model" / name).write_text("x")
    assert looked_at(run)["holds"]


def test_a_card_of_an_older_hf_tl_is_read(run: Path) -> None:
    """It has hashes of weights alone, and that is said."""
    edit(run, lambda text: re.sub(r"(?m)^  files:\n(    .*\n)+", "", text))
    found = looked_at(run)
    assert found["holds"] and any("hashes of the weights alone" in note for note in found["notes"])
