"""Several labels a sample, and numbers: from data to the stock pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hf_tl
from hf_tl.errors import DataError
from tests.clean_process import stock_scores
from tests.tiny import colour_folder, tiny_bert, tiny_vit

QUICK = {"num_train_epochs": 40, "learning_rate": 2e-3, "bf16": False}
TEXTS = ["the film was good", "a bad meal", "good and bad"]


def rows(count: int = 48) -> list[dict[str, object]]:
    out = []
    for index in range(count):
        good, bad = index % 2 == 0, index % 3 == 0
        words = ["the", "film", *(["good"] if good else []), *(["bad"] if bad else []), "was"]
        out.append({"text": " ".join(words), "good": int(good), "bad": int(bad)})
    return out


def jsonl(path: Path, records: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("form", [pytest.param("lists", marks=pytest.mark.slow), "columns"])
def test_several_labels_a_text(form: str, tmp_path: Path) -> None:
    found = rows()
    if form == "lists":
        found = [{"text": r["text"], "labels": [n for n in ("bad", "good") if r[n]]} for r in found]
    columns = {"label": ["bad", "good"]} if form == "columns" else {}
    run = hf_tl.finetune(
        model=str(tiny_bert(tmp_path / "bert")),
        data={"path": jsonl(tmp_path / "d.jsonl", found), "columns": columns},
        method="full", output=str(tmp_path / "run"), training=QUICK,
    )  # fmt: skip
    assert json.loads((run.model / "config.json").read_text())["problem_type"] == "multi_label_classification"
    assert run.metrics["labels"] == ["bad", "good"]
    assert run.metrics["metrics"]["f1_micro"]["value"] > 0.85
    ours = run.predict(TEXTS)
    for each in ours:
        assert each["labels"] == [name for name, score in each["scores"].items() if score >= 0.5]
    assert ours[0]["label"] == "good"
    for mine, other in zip(ours, stock_scores("text-classification", run.model, TEXTS), strict=True):
        assert mine["scores"] == pytest.approx(other, abs=1e-5)
    assert (
        run.evaluate({"path": str(tmp_path / "d.jsonl"), "columns": columns})["metrics"]["exact_match"]["value"] > 0.8
    )


@pytest.mark.parametrize("method", [pytest.param("full", marks=pytest.mark.slow), "lora", "frozen"])
def test_numbers_in_any_unit(method: str, tmp_path: Path) -> None:
    """Amounts in the thousands: the head is scaled back, so that stock classes give the data's own unit."""
    found = [{"text": r["text"], "price": 5000.5 + 2000 * r["good"] - 1000 * r["bad"]} for r in rows()]  # type: ignore[operator]
    run = hf_tl.finetune(
        model=str(tiny_bert(tmp_path / "bert")),
        data={"path": jsonl(tmp_path / "d.jsonl", found), "columns": {"label": "price"}},
        method=method, output=str(tmp_path / "run"), training=QUICK,
    )  # fmt: skip
    values = run.metrics["metrics"]
    if method == "full":
        assert values["r2"]["value"] > 0.5
    ours = run.predict(TEXTS)
    theirs = stock_scores("text-classification", run.model, TEXTS)
    assert [each["score"] for each in ours] == pytest.approx([one["value"] for one in theirs], rel=1e-5)
    assert all(2000 < each["score"] < 9000 for each in ours)
    if method == "full":  # a finished model goes on from its own head
        again = hf_tl.finetune(
            model=str(run.folder), data={"path": str(tmp_path / "d.jsonl"), "columns": {"label": "price"}},
            output=str(tmp_path / "again"), training={"max_steps": 1, "learning_rate": 1e-9, "bf16": False},
        )  # fmt: skip
        assert [each["score"] for each in again.predict(TEXTS)] == pytest.approx([e["score"] for e in ours], rel=1e-4)


@pytest.mark.slow
def test_pairs_of_texts(tmp_path: Path) -> None:
    pairs = [("good film", "good song"), ("good film", "bad song"), ("bad film", "bad song"), ("bad meal", "good book")]
    found = [
        {"sentence1": a, "sentence2": b, "label": "same" if a.split()[0] == b.split()[0] else "other"}
        for a, b in pairs * 12
    ]
    run = hf_tl.finetune(
        model=str(tiny_bert(tmp_path / "bert")), data=jsonl(tmp_path / "d.jsonl", found),
        output=str(tmp_path / "run"), training={**QUICK, "num_train_epochs": 60},
    )  # fmt: skip
    assert run.metrics["metrics"]["accuracy"]["value"] == 1.0
    asked = [{"text": "good film", "text_pair": "good song"}, {"text": "good film", "text_pair": "bad song"}]
    assert [each["label"] for each in run.predict(asked)] == ["same", "other"]
    with pytest.raises(DataError, match="text_pair"):
        run.predict([{"text": "good meal", "pair": "good film"}])


def test_images_with_a_number(tmp_path: Path) -> None:
    folder = colour_folder(tmp_path / "colours", each=8)
    lines = [
        {"file_name": f"{name}/{file.name}", "score": 3.5 if name == "red" else -1.25}
        for name in ("red", "blue")
        for file in sorted((folder / "train" / name).iterdir())
    ]
    jsonl(folder / "train" / "metadata.jsonl", lines)  # type: ignore[arg-type]
    run = hf_tl.finetune(
        model=str(tiny_vit(tmp_path / "vit")),
        data={"path": str(folder / "train"), "preprocessing": {"augment": "none"}},
        output=str(tmp_path / "run"), training={**QUICK, "num_train_epochs": 15},
    )  # fmt: skip
    images = [str(next((folder / "test" / name).iterdir())) for name in ("red", "blue")]
    red, blue = (each["score"] for each in run.predict(images))
    assert red > blue
