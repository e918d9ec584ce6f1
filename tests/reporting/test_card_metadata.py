"""The metadata of a card: what the Hub reads is known, never guessed; rows are quoted only where they may be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from hf_tl.data.card_file import languages_in, license_in
from hf_tl.reporting.card import write_card
from hf_tl.reporting.card_metadata import License
from hf_tl.reporting.formatting import hub_metric
from hf_tl.reporting.report import write_report
from hf_tl.sharing.verify import claims_of
from hf_tl.task import all_tasks
from tests.hub.server import RunningHub
from tests.reporting.run_folder import digits_run, text_run
from tests.reporting.test_card import HOSTILE, run_folder
from tests.tiny import sentiment_csv

PUBLIC = {"path": "me/reviews", "revision": "a" * 40, "private": False}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits_run(tmp_path_factory.mktemp("runs") / "digits", epochs=1)


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for split, seed in (("train", 0), ("test", 1)):
        sentiment_csv(folder / "reviews" / f"{split}.csv", rows=80, seed=seed)
    return text_run(folder / "run", folder / "reviews", epochs=1)


def card_of(run: Path, tmp_path: Path, config: dict[str, Any] | None = None, **environment: Any) -> ModelCard:
    return ModelCard.load(write_card(run_folder(run, tmp_path, config, **environment)))


def test_metrics_are_those_that_the_hub_knows() -> None:
    found = {name: hub_metric(name) for task in all_tasks() for name in task.metrics}
    assert found["f1_macro"] == "f1" and found["rougeL"] == "rouge" and found["bleu"] == "sacrebleu"
    assert (found["spearman"] if "spearman" in found else hub_metric("spearman")) == "spearmanr"
    assert hub_metric("r2") == "r_squared" and hub_metric("mse") == "mse" and found["mean_iou"] == "mean_iou"
    nothing = ("loss", "balanced_accuracy", "generated_tokens", "cut_share", "token_accuracy", "map", "mrr", "dice")
    assert not [name for name in nothing if hub_metric(name)]


@pytest.mark.parametrize(
    ("base", "data", "ours", "words"),
    [
        ("mit", "mit", "mit", "pretrained model (mit); that of the data is mit."),
        ("mit", None, "mit", "that of the data is not known."),
        ("llama3.2", "cc-by-4.0", "llama3.2", "that of the data is cc-by-4.0."),
        ("mit", "cc-by-nc-4.0", "mit and cc-by-nc-4.0", "Two licences hold:"),
        (
            None,
            "mit",
            None,
            "No licence is stated: that of the pretrained model is not known; that of the data is mit.",
        ),
    ],
)
def test_the_licence_comes_from_weights_and_data(
    digits: Path, tmp_path: Path, base: str | None, data: str | None, ours: str | None, words: str
) -> None:
    assert License(base, data).ours == ours
    card = card_of(digits, tmp_path, model={"license": base}, data={"license": data})
    assert words in card.text
    named = ours is not None and " and " in ours
    assert card.data.license == ("other" if named else ours)
    assert card.data.to_dict().get("license_name") == ("mit-and-cc-by-nc-4.0" if named else None)


@pytest.mark.parametrize(
    ("license", "metadata"),
    [
        ("MIT", {"license": "mit"}),
        ("llama3.2", {"license": "llama3.2"}),
        ("openrail++", {"license": "openrail++"}),
        ("house-terms-1.0", {"license": "other", "license_name": "house-terms-1.0"}),  # the Hub would refuse the card
        ("other", {"license": "other"}),
    ],
)
def test_a_licence_that_the_hub_does_not_know_is_other(
    digits: Path, tmp_path: Path, license: str, metadata: dict[str, str]
) -> None:
    said = card_of(digits, tmp_path, model={"license": license}).data.to_dict()
    assert {key: value for key, value in said.items() if key.startswith("license")} == metadata


def test_what_cards_say_of_licence_and_language() -> None:
    assert license_in({"license": ["mit"]}) == "mit" and license_in({"license": ["mit", "odbl"]}) == "mit and odbl"
    assert license_in({"license": "unknown"}) is None and license_in({"license": 3}) is None
    assert license_in({"license": "other", "license_name": "apple-ascl"}) == "apple-ascl"
    assert languages_in({"language": "en"}) == ["en"] and languages_in({"language": [False, "PT-br"]}) == [
        "no",
        "pt-br",
    ]
    assert languages_in({"language": ["English", "multilingual", None]}) == [] and languages_in({}) == []


def test_the_language_is_the_datas_else_the_one_of_the_model(reviews: Path, digits: Path, tmp_path: Path) -> None:
    for name, (data, model, expected) in enumerate(
        [(["de"], ["en"], "de"), ([], ["en"], "en"), ([], ["en", "de"], None), (["en", "fr"], [], ["en", "fr"])]
    ):
        (tmp_path / str(name)).mkdir()
        card = card_of(reviews, tmp_path / str(name), data={"language": data}, model={"language": model})
        assert card.data.language == expected
    assert card_of(digits, tmp_path, data={"language": ["en"]}).data.language is None  # images speak none


def test_results_round_trip(digits: Path, tmp_path: Path) -> None:
    folder = run_folder(digits, tmp_path, {"data": {"path": "me/d", "name": "cfg"}}, data={**PUBLIC, "path": "me/d"})
    text = write_card(folder).read_text(encoding="utf-8")
    card = ModelCard(str(ModelCard(text)))
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert len(card.data.eval_results) == len(metrics)
    for result, found in zip(card.data.eval_results, metrics.values(), strict=True):
        assert (result.dataset_config, result.dataset_split, result.dataset_revision) == ("cfg", "test", "a" * 40)
        assert result.metric_args["confidence_interval_95"] == [round(found[end], 6) for end in ("low", "high")]
    assert {claim.metric for claim in claims_of(text, "x")} == set(metrics)


def test_emissions_are_what_codecarbon_measured(digits: Path, tmp_path: Path) -> None:
    folder = run_folder(digits, tmp_path)
    assert "co2_eq_emissions" not in ModelCard.load(write_card(folder)).data.to_dict()
    (folder / "checkpoints").mkdir()
    file = folder / "checkpoints" / "emissions.csv"
    file.write_text("emissions,country_name,gpu_model\n0.001,Latvia,\n0.0025,Latvia,1 x A\n")
    assert ModelCard.load(write_card(folder)).data.to_dict()["co2_eq_emissions"] == {
        "emissions": 3.5, "source": "codecarbon", "training_type": "fine-tuning", "geographical_location": "Latvia",
        "hardware_used": "1 x A",
    }  # fmt: skip
    file.write_text("emissions\nbroken\n")
    assert "co2_eq_emissions" not in ModelCard.load(write_card(folder)).data.to_dict()


@pytest.mark.parametrize(
    ("data", "asked", "quoted"),
    [
        ({}, None, False),
        ({}, True, True),
        (PUBLIC, None, True),
        (PUBLIC, False, False),
        ({**PUBLIC, "private": True}, None, False),
        ({**PUBLIC, "private": None}, None, False),
        ({**PUBLIC, "private": True}, True, True),
    ],
)
def test_rows_are_quoted_only_where_they_may_be(
    reviews: Path, tmp_path: Path, data: dict[str, Any], asked: bool | None, quoted: bool
) -> None:
    folder = run_folder(reviews, tmp_path, {"hub": {"id": "me/x", "examples": asked}}, data=data)
    change_predictions(folder, "a private row about Alice")
    text = write_card(folder).read_text(encoding="utf-8")
    assert ("Alice" in text) == quoted == ("## Most confident errors" in text)
    assert ModelCard(text).data.to_dict()["widget"][0]["text"].startswith("a private row" if quoted else "I have been")


def change_predictions(folder: Path, text: str, wrong: bool = True) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "predictions.parquet")
    columns = {**table.to_pydict(), "input": [f"{text} {row}" for row in range(len(table))]}
    labels = sorted(set(columns["label"]))
    columns["prediction"] = [labels[0] if label == labels[-1] else labels[-1] for label in columns["label"]]
    pq.write_table(pa.table(columns), folder / "predictions.parquet")


@pytest.mark.parametrize("text", [*HOSTILE, "../../etc/passwd", "| a | b |\n|---|---|", "{% raw %}", "&lt;b&gt;"])
def test_hostile_rows_stay_inert(reviews: Path, tmp_path: Path, text: str) -> None:
    from markdown_it import MarkdownIt

    folder = run_folder(reviews, tmp_path, data=PUBLIC)
    change_predictions(folder, text)
    card = write_card(folder).read_text(encoding="utf-8")
    assert not set(card) & {"\x1b", "\x07", "\u202e"}
    tokens = MarkdownIt("commonmark").enable("table").parse(ModelCard(card).text)
    inline = [child for token in tokens for child in token.children or []]
    assert {token.type for token in inline} <= {
        "text", "text_special", "code_inline", "softbreak", "link_open", "link_close", "image",
    }  # fmt: skip
    assert all(str(token.attrs["src"]).startswith("figures/") for token in inline if token.type == "image")
    links = {str(token.attrs["href"]) for token in inline if token.type == "link_open"}
    assert all(
        link.startswith(("https://huggingface.co/sentence", "https://huggingface.co/datasets/me")) for link in links
    )
    at = next(i for i, token in enumerate(tokens) if token.content == "Most confident errors")
    table = [token.type for token in tokens[at:]]
    table = table[: table.index("table_close")]
    assert table.count("tr_open") == 6 and table.count("td_open") == 5 * 4
    report = write_report(folder).read_text(encoding="utf-8")
    assert "<script>alert" not in report and "<img src=x" not in report and "\x1b" not in report


LOAD = """
import json, sys
from hf_tl.config import load_config
from hf_tl.data.sources import read_source
print(json.dumps(read_source(load_config({"model": "-", "data": sys.argv[1]}).data).metadata))
"""


@pytest.mark.parametrize("private", [False, True])
def test_whether_data_are_private_is_asked_where_they_are_read(hub: RunningHub, tmp_path: Path, private: bool) -> None:
    sentiment_csv(tmp_path / "data" / "train.csv")
    (tmp_path / "data" / "README.md").write_text("---\nlicense: [cc-by-4.0]\nlanguage: [en]\n---\n# Reviews\n")
    hub.seed_dataset("alice/reviews", tmp_path / "data", private=private)
    environment = hub.env("hf_test_alice")
    for path, expected in (("alice/reviews", private), (str(tmp_path / "data"), None)):
        done = subprocess.run(
            [sys.executable, "-c", LOAD, path], capture_output=True, text=True, env=environment, timeout=120
        )
        assert done.returncode == 0, done.stderr[-2000:]
        facts = json.loads(done.stdout.splitlines()[-1])
        assert (facts.get("private"), facts["license"], facts["language"]) == (expected, "cc-by-4.0", ["en"])
