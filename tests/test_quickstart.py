"""The quickstart: its data, its runs through real training, and what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from hf_tl.cli import main
from hf_tl.commands.quickstart import COPIES, LABELLED, quickstart, write_data
from hf_tl.errors import ConfigError
from hf_tl.reporting.comparison import next_commands, verdict
from hf_tl.task import get_task


def test_data_are_fair(tmp_path: Path) -> None:
    """Few labels, one test set for all seeds, and no image both learned from and tested on."""
    write_data(tmp_path, seeds=2)
    first, second = (
        {split: pd.read_parquet(tmp_path / f"five_to_nine-{seed}" / f"{split}.parquet") for split in ("train", "test")}
        for seed in (0, 1)
    )
    assert first["train"]["label"].value_counts().to_dict() == dict.fromkeys("56789", LABELLED)
    images = [
        {image["bytes"] for image in found["image"]} for found in (first["train"], second["train"], first["test"])
    ]
    assert images[0] != images[1]
    assert not (images[0] | images[1]) & images[2]
    assert first["test"]["label"].tolist() == second["test"]["label"].tolist()
    source = {split: pd.read_parquet(tmp_path / "zero_to_four" / f"{split}.parquet") for split in ("train", "test")}
    assert source["train"]["label"].nunique() == source["test"]["label"].nunique() == 40
    assert len(source["train"]) > COPIES * 8 * 700


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        quickstart(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_verdict_says_no_more_than_the_intervals() -> None:
    control = {"method": "scratch", "gain": 0.0, "gain_low": 0.0, "gain_high": 0.0}
    sure = {"method": "full", "gain": 0.2, "gain_low": 0.1, "gain_high": 0.3}
    unsure = {"method": "frozen", "gain": 0.3, "gain_low": -0.1, "gain_high": 0.7}
    assert "significantly better with full (" in verdict({"methods": [control, sure, unsure]})
    assert "No method is significantly better" in verdict({"methods": [control, unsure]})


def test_what_to_type_next_is_said_once_for_each_kind_of_data() -> None:
    purposes = {command: what for what, command in next_commands({"output": "out"})}
    assert len(purposes) == len(next_commands({"output": "out"}))
    own = {command.partition(" --data ")[2]: what for command, what in purposes.items() if " --data " in command}
    summaries = {
        name: get_task(name).summary.partition(":")[0] for name in ("text-classification", "image-classification")
    }
    assert own == {"reviews.csv": summaries["text-classification"], "my_photos/": summaries["image-classification"]}


@pytest.mark.slow
def test_transfer_gains_and_the_page_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "quick"
    assert main(["quickstart", "--output", str(folder), "--seeds", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    methods = {each["method"]: each for each in result["methods"]}
    assert list(methods) == ["scratch", "frozen", "lora", "full"]
    assert methods["full"]["gain_low"] > 0.05
    assert methods["frozen"]["gain_low"] > 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script" not in page
    for run in ("pretrained", "scratch-0", "frozen-0", "lora-0", "full-0"):
        assert (folder / run / "model" / "config.json").exists() and (folder / run / "report.html").exists()
        assert f'href="{run}/report.html"' in page

    assert main(["quickstart", "--output", str(folder), "--seeds", "1"]) == 0  # finished runs are kept
    out = capsys.readouterr().out
    assert "Next, with your own data" in out and "--data reviews.csv" in out
    again = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert again["methods"] == result["methods"] and again["seconds"] < result["seconds"]
    with pytest.raises(ConfigError, match="another quickstart"):
        quickstart(folder, seeds=2)
