"""A kind of value and a task that hf_tl does not know, in `tests/toy/` alone, go through everything that it does."""

from __future__ import annotations

import importlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import hf_tl
import hf_tl.tasks
from hf_tl.data.kinds import KINDS
from hf_tl.sharing.demo import describe_demo
from hf_tl.sharing.demo_app import app_source

NUMBERS = 32
EXTRACTOR = {"feature_size": 1, "sampling_rate": 8, "padding_value": 0.0, "do_normalize": False}


@pytest.fixture(scope="module")
def signals() -> Iterator[None]:
    """Where hf_tl finds its tasks and its kinds, the toys are too."""
    folder = str(Path(__file__).parent / "toy")
    hf_tl.tasks.__path__.append(folder)
    toy = importlib.import_module("hf_tl.tasks.signal_classification")
    KINDS["signal"] = toy.signal_kind()
    yield
    del KINDS["signal"]
    hf_tl.tasks.__path__.remove(folder)


def signal(rising: bool, drawn: random.Random) -> list[float]:
    start, slope = drawn.uniform(-0.2, 0.2), drawn.uniform(0.5, 1.0) * (1 if rising else -1)
    return [round(start + slope * at / NUMBERS + drawn.gauss(0, 0.02), 4) for at in range(NUMBERS)]


def write_rows(file: Path, count: int = 24) -> Path:
    drawn = random.Random(0)
    rows = [{"series": signal(at % 2 == 0, drawn), "trend": ("up", "down")[at % 2]} for at in range(count)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for sound, of two layers."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 16),
        conv_kernel=(3, 3), conv_stride=(2, 2), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, classifier_proj_size=16, apply_spec_augment=False, layerdrop=0.0,
        hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, feat_extract_norm="layer",
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(**EXTRACTOR).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def run(signals: None, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Trained, measured, proved in a clean process, reported."""
    folder = tmp_path_factory.mktemp("signals")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TL_PROOF", "1")
        return hf_tl.finetune(
            model=str(encoder), data={"path": str(write_rows(folder / "signals.jsonl")), "validation": 0.25,
                                      "columns": {"label": "trend"}},
            method={"name": "lora", "r": 4}, output=str(folder / "run"),
            training={"max_steps": 12, "per_device_train_batch_size": 6, "learning_rate": 2e-2, "bf16": False},
        )  # fmt: skip


def test_the_task_is_found_from_the_data_and_the_run_is_whole(run: Any) -> None:
    about = json.loads((run.folder / "environment.json").read_text())
    assert about["task"] == "signal-classification"
    assert about["data"]["columns"] == {"signal": "series", "label": "trend"}
    assert run.stage == "reported" and run.metrics["samples"] == 6
    assert run.metrics["metrics"]["accuracy"]["value"] == 1.0


def test_the_clean_process_read_the_signals_and_answered_as_measured(run: Any) -> None:
    """The model and its adapter, on rows that the kind wrote and reads by its own lines."""
    assert run.state["proof"]
    known = json.loads((run.folder / "proof" / "answers.json").read_text())
    assert known["rows"][1] == {"signal": {"signal": "1.npy"}} and len(known["answers"]) == 6
    stored = np.load(run.folder / "proof" / "1.npy", allow_pickle=False)
    assert stored.dtype == np.float32 and stored.shape == (NUMBERS,)
    assert (run.model / "adapter" / "adapter_config.json").exists()


def test_predictions_and_measures_are_of_the_kind(run: Any, tmp_path: Path) -> None:
    drawn = random.Random(7)
    up, down = signal(True, drawn), signal(False, drawn)
    found = run.predict([up, tuple(down)])
    assert [each["label"] for each in found] == ["up", "down"]
    assert run.predict([{"signal": up}])[0]["scores"] == pytest.approx(found[0]["scores"], abs=1e-6)
    with pytest.raises(hf_tl.HfTlError, match=r"input 1: found 'up', expected a list of numbers"):
        run.predict([up, "up"])
    with pytest.raises(hf_tl.HfTlError, match=r"input 0: signal is None, expected a list of numbers"):
        run.predict([{}])
    assert run.predict({"path": str(write_rows(tmp_path / "new.jsonl", 4))})[3]["label"] == "down"
    again = run.evaluate({"path": str(tmp_path / "new.jsonl"), "columns": {"label": "trend"}})
    assert again["metrics"]["accuracy"]["value"] == 1.0 and again["samples"] == 4


def test_a_bad_signal_is_named_by_file_and_line(signals: None, encoder: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "signals.jsonl")
    lines = file.read_text().splitlines()
    lines[2] = json.dumps({"series": [], "trend": "up"})
    file.write_text("\n".join(lines))
    with pytest.raises(hf_tl.DataError, match=r"signals\.jsonl, line 3: the signal is missing; fix or remove it"):
        hf_tl.finetune(model=str(encoder), data={"path": str(file), "columns": {"label": "trend"}})
    with pytest.raises(hf_tl.DataError, match=r"column 'trend' is string such as .*, expected lists of numbers"):
        hf_tl.finetune(
            model=str(encoder), task="signal-classification",
            data={"path": str(file), "columns": {"signal": "trend"}},
        )  # fmt: skip


def test_a_model_without_the_processor_is_refused(signals: None, encoder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((encoder / name).read_bytes())
    data = write_rows(tmp_path / "signals.jsonl")
    with pytest.raises(hf_tl.ModelError, match=r"comes without a feature extractor \(none of 'preprocessor_config"):
        hf_tl.finetune(
            model=str(tmp_path), data={"path": str(data), "columns": {"label": "trend"}}, output=str(tmp_path / "run")
        )


def test_predictions_report_and_card_show_signals(run: Any) -> None:
    rows = pq.read_table(run.folder / "predictions.parquet").to_pydict()
    assert rows["input"][0].startswith(f"{NUMBERS} numbers from ") and rows["image"][0].startswith(b"\xff\xd8\xff")
    report = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "signal-classification" in report or "one label for each signal" in report
    card = (run.folder / "README.md").read_text(encoding="utf-8")
    assert "AutoFeatureExtractor.from_pretrained(" in card and "print(classify([0.0, 0.5, 1.0, 0.5] * 8))" in card
    assert "hf_tl.predict" in card and "[0.0, 0.5, 1.0, 0.5] * 8" in card.split("hf_tl.predict")[1]
    assert "language:" not in card  # numbers are in none


def test_the_preview_has_a_batch_and_its_labels(signals: None, encoder: Path, tmp_path: Path) -> None:
    from hf_tl.commands.preview import as_text

    data = {"path": str(write_rows(tmp_path / "signals.jsonl")), "columns": {"label": "trend"}}
    found = hf_tl.preview({"model": str(encoder), "data": data}, samples=4)
    assert found["batch"] == {"input_values": f"float32 (4, {NUMBERS})", "labels": "int64 (4,)"}
    assert {each["label"] for each in found["samples"]} <= {"up", "down"} and len(found["samples"]) == 4
    assert "signal from column 'series'" in as_text(found)


def test_the_demo_app_asks_for_a_signal(run: Any) -> None:
    page = describe_demo(str(run.model / "adapter"))
    source = app_source(page)
    compile(source, "app.py", "exec")
    assert 'signal = gr.Textbox(label="Signal")' in source and "if not signal.strip():" in source
    assert "processor = AutoFeatureExtractor.from_pretrained(MODEL)" in source
    assert page.processor_argument == "feature_extractor" and "Type some numbers for 'Signal' first." in source
    assert "peft" in page.packages
