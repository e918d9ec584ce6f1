"""The whole flow on tiny models: every method on text and images, what is saved, and what Transformers alone loads."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import hf_tl
from tests.clean_process import assert_same_scores, stock_scores
from tests.tiny import colour_folder, sentiment_csv, tiny_bert, tiny_mobilenet, tiny_vit

TEXTS = ["the film was very good", "a bad meal", "so was the book"]
QUICK = {"num_train_epochs": 10, "learning_rate": 2e-3, "bf16": False}


def text_run(folder: Path, method: object, **options: object) -> hf_tl.Run:
    training = {**QUICK, **options.pop("training", {})}  # type: ignore[dict-item]
    model = {"id": str(tiny_bert(folder / "bert")), **options.pop("model", {})}  # type: ignore[dict-item]
    return hf_tl.finetune(
        model=model,
        data=str(sentiment_csv(folder / "reviews.csv", rows=200)),
        method=method,
        output=str(folder / "run"),
        training=training,
        **options,
    )


def image_run(folder: Path, method: object, make=tiny_mobilenet, **options: object) -> hf_tl.Run:
    return hf_tl.finetune(
        model={"id": str(make(folder / "model")), **options.pop("model", {})},  # type: ignore[dict-item]
        data=str(colour_folder(folder / "colours")),
        method=method,
        output=str(folder / "run"),
        training={**QUICK, **options.pop("training", {})},  # type: ignore[dict-item]
        **options,
    )


def check_folder(run: hf_tl.Run) -> None:
    names = {path.name for path in run.folder.iterdir()}
    assert {"config.yaml", "environment.json", "log.jsonl", "model", "metrics.json", "predictions.parquet",
            "report.html", "README.md", "state.json"} <= names  # fmt: skip
    assert not [name for name in names if name.endswith(".tmp")]
    model = {path.name for path in run.model.iterdir()}
    assert "model.safetensors" in model and "config.json" in model
    assert not model & {"training_args.bin", "optimizer.pt", "pytorch_model.bin"}
    metrics = run.metrics
    for value in metrics["metrics"].values():
        assert value["low"] <= value["value"] <= value["high"] or math.isnan(value["low"])  # none of a constant
    assert metrics["train"]["steps"] > 0
    assert metrics["train"]["total_parameters"] >= metrics["train"]["trainable_parameters"] > 0


@pytest.mark.parametrize("method", ["full", "lora", "frozen", pytest.param("scratch", marks=pytest.mark.slow)])
def test_text(method: str, tmp_path: Path) -> None:
    run = text_run(tmp_path, method)
    check_folder(run)
    assert run.metrics["split"] == "validation"
    assert run.metrics["labels"] == ["negative", "positive"]
    ours = run.predict(TEXTS)
    assert_same_scores(ours, stock_scores("text-classification", run.model, TEXTS))
    if method in ("full", "scratch"):
        assert run.metrics["metrics"]["accuracy"]["value"] > 0.8
        assert ours[0]["label"] == "positive" and ours[1]["label"] == "negative"


@pytest.mark.parametrize(
    "method", ["full", "frozen", *(pytest.param(each, marks=pytest.mark.slow) for each in ("lora", "scratch"))]
)
def test_image(method: str, tmp_path: Path) -> None:
    # A network from random weights can be so sharp that the rounding of another batch size alone moves its scores by
    # 1e-5 (in float64 they are the same): hence a low rate, and one image at a time, as the stock pipeline does.
    run = image_run(tmp_path, method, training={"learning_rate": 1e-4} if method == "scratch" else {})
    check_folder(run)
    assert run.metrics["split"] == "test" and run.metrics["samples"] == 10
    images = [str(path) for path in sorted((tmp_path / "colours" / "test").rglob("*.png"))[:4]]
    assert_same_scores(run.predict(images, batch_size=1), stock_scores("image-classification", run.model, images))


def test_vision_transformer_with_lora(tmp_path: Path) -> None:
    run = image_run(tmp_path, {"name": "lora", "r": 4}, make=tiny_vit)
    images = [str(path) for path in sorted((tmp_path / "colours" / "test").rglob("*.png"))[:2]]
    assert_same_scores(run.predict(images), stock_scores("image-classification", run.model, images))
    assert json.loads((run.model / "adapter" / "adapter_config.json").read_text())["r"] == 4
    adapter = hf_tl.predict(str(run.model / "adapter"), images)
    assert_same_scores(adapter, [each["scores"] for each in run.predict(images)])


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_pooling_travels_with_its_code(pooling: str, tmp_path: Path) -> None:
    run = text_run(tmp_path, "full", model={"pooling": pooling})
    assert (run.model / "modeling_hf_tl.py").exists()
    theirs = stock_scores("text-classification", run.model, TEXTS, trust_remote_code=True)
    assert_same_scores(run.predict(TEXTS), theirs)
    assert "trust_remote_code" in (run.folder / "README.md").read_text()


@pytest.mark.parametrize("method", ["frozen", pytest.param("lora", marks=pytest.mark.slow)])
def test_mlp_head_on_images(method: str, tmp_path: Path) -> None:
    run = image_run(tmp_path, method, model={"head": "mlp", "head_hidden": 16})
    images = [str(path) for path in sorted((tmp_path / "colours" / "test").rglob("*.png"))[:2]]
    theirs = stock_scores("image-classification", run.model, images, trust_remote_code=True)
    assert_same_scores(run.predict(images), theirs)


def test_metrics_are_those_of_the_saved_best_checkpoint(tmp_path: Path) -> None:
    """Training goes on past its best; what is saved, measured and written on the card is the best, reloaded."""
    import pyarrow.parquet as pq

    run = text_run(tmp_path, "full", training={"num_train_epochs": 6, "learning_rate": 2e-2})
    log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    evaluations = {entry["step"]: entry for entry in log if "eval_accuracy" in entry}
    best = run.metrics["train"]["best_step"]
    top = max(entry["eval_accuracy"] for entry in evaluations.values())
    assert evaluations[best]["eval_accuracy"] == top
    ties = [entry["eval_loss"] for entry in evaluations.values() if entry["eval_accuracy"] == top]
    assert len(ties) > 1 and evaluations[best]["eval_loss"] == min(ties), "of equal accuracies the lowest loss is best"
    value = run.metrics["metrics"]["accuracy"]["value"]
    assert value == pytest.approx(evaluations[best]["eval_accuracy"])
    assert run.metrics["metrics"]["loss"]["value"] == pytest.approx(evaluations[best]["eval_loss"], rel=1e-3)
    rows = pq.read_table(run.folder / "predictions.parquet").to_pandas()
    assert (rows["label"] == rows["prediction"]).mean() == pytest.approx(value)
    assert (
        f"{value:.3f}" in (run.folder / "README.md").read_text()
        or f"{value:.4f}" in (run.folder / "README.md").read_text()
    )


def test_frozen_features_are_what_the_head_gets_and_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file

    monkeypatch.setenv("HF_TL_CACHE", str(tmp_path / "cache"))
    run = text_run(tmp_path, "frozen")
    base, saved = load_file(tmp_path / "bert" / "model.safetensors"), load_file(run.model / "model.safetensors")
    for name, tensor in base.items():
        assert np.array_equal(tensor.numpy(), saved[f"bert.{name}"].numpy())
    files = sorted((tmp_path / "cache" / "features").iterdir())
    assert len(files) == 2
    stamps = [file.stat().st_mtime_ns for file in files]
    hf_tl.finetune(run.config, output=str(tmp_path / "again"))
    assert [file.stat().st_mtime_ns for file in sorted((tmp_path / "cache" / "features").iterdir())] == stamps


def test_float16_checkpoint_is_trained_in_float32(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModel

    half = tiny_bert(tmp_path / "half")
    AutoModel.from_pretrained(half).to(torch.float16).save_pretrained(half)
    run = hf_tl.finetune(
        model=str(half), data=str(sentiment_csv(tmp_path / "d.csv")), output=str(tmp_path / "run"),
        training={"max_steps": 3},
    )  # fmt: skip
    assert {tensor.dtype for tensor in load_file(run.model / "model.safetensors").values()} == {torch.float32}


def test_same_run_again_does_nothing_and_another_is_refused(tmp_path: Path) -> None:
    run = text_run(tmp_path, "full", training={"max_steps": 3})
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file()}
    again = hf_tl.finetune(run.config)
    assert {path: path.stat().st_mtime_ns for path in again.folder.rglob("*") if path.is_file()} == before
    with pytest.raises(hf_tl.ConfigError, match=r"holds another run \(seed: 42 there, 7 here\)"):
        hf_tl.finetune(run.config, seed=7)


def test_the_same_call_after_the_data_changed_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped half-way, then a class came: neither the old metrics nor the old checkpoint are gone on with."""
    monkeypatch.chdir(tmp_path)
    tiny_bert(tmp_path / "bert")
    sentiment_csv(tmp_path / "d.csv", rows=40)
    options = {"model": "bert", "data": "d.csv", "training": {"max_steps": 2, "bf16": False}, "proof": False}
    first = hf_tl.finetune(**options)
    first.reach("started")  # as after a stop
    sentiment_csv(tmp_path / "d.csv", rows=60, classes=("negative", "neutral", "positive"))
    second = hf_tl.finetune(**options)
    assert (first.folder, second.folder) == (Path("runs/bert-d-full"), Path("runs/bert-d-full-2"))
    assert second.metrics["labels"] == ["negative", "neutral", "positive"]
    assert second.metrics["train"]["resumed_from_step"] == 0
    before = second.folder.joinpath("metrics.json").stat().st_mtime_ns
    assert hf_tl.finetune(**options).folder == second.folder
    assert second.folder.joinpath("metrics.json").stat().st_mtime_ns == before
    with pytest.raises(hf_tl.ConfigError, match="class 'neutral' is new"):
        hf_tl.finetune(**options, output="runs/bert-d-full")
