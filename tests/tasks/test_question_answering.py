"""Answers in their context: windows, the official scores, and what a stranger's plain forward gives."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

import hf_tl
from hf_tl.config import Preprocessing
from hf_tl.errors import DataError
from hf_tl.task import Setting, get_task
from hf_tl.tasks.question_answering import exact_and_f1, postprocess
from tests.tiny import tiny_bert

TASK = get_task("question-answering")


@pytest.mark.parametrize(
    ("answer", "truths", "expected"),
    [
        ("The film.", ["film"], (1.0, 1.0)),  # articles and punctuation do not count
        ("very good film", ["good film", "book"], (0.0, 0.8)),  # 2 of 3 and 2 of 2 words
        ("song", ["film"], (0.0, 0.0)),
        ("", [], (1.0, 1.0)),
        ("film", [], (0.0, 0.0)),
        ("", ["film"], (0.0, 0.0)),
    ],
)
def test_the_official_scores(answer: str, truths: list[str], expected: tuple[float, float]) -> None:
    assert exact_and_f1(answer, truths) == pytest.approx(expected)


def test_windows_hold_the_answer_and_give_it_back(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    path = tiny_bert(tmp_path / "bert")
    setting = Setting(
        processor=AutoTokenizer.from_pretrained(path),
        preprocessing=Preprocessing(max_length=24),
        model_config=AutoConfig.from_pretrained(path),
    )
    context = "the film was fine " * 12 + "a good book " + "the meal was poor " * 12
    answers = {"text": ["good book"], "answer_start": [context.index("good book")]}
    rows = Dataset.from_list([{"question": "was the book good", "context": context, "answers": answers}])
    samples = TASK.preprocess(rows, setting, True)
    assert len(samples) > 4
    holding = [each for each in samples if each["start_positions"] > 0]
    assert holding
    for sample in holding:
        first, last = sample["start_positions"], sample["end_positions"]
        assert context[sample["offsets"][first][0] : sample["offsets"][last][1]] == "good book"
    # a model that knows: high where the answer is, and nowhere else
    outputs = []
    for sample in samples:
        logits = np.zeros((2, len(sample["input_ids"])), dtype=np.float32)
        if sample["start_positions"]:
            logits[0, sample["start_positions"]] = logits[1, sample["end_positions"]] = 9.0
        outputs.append(logits)
    (found,) = postprocess(outputs, samples, rows, setting)
    assert found["answer"] == "good book" and context[found["start"] : found["end"]] == "good book"
    assert found["score"] > 0.9
    assert TASK.measure(outputs, samples, rows, setting, resamples=10).values == {"exact_match": 1.0, "f1": 1.0}


def records(unanswerable: bool) -> list[dict[str, object]]:
    out = []
    for index in range(48):
        key = ("good", "bad")[index % 2]
        context = f"the {('film', 'book', 'meal')[index % 3]} was {'very ' * (index % 4)}{key}"
        none = unanswerable and index % 4 == 3
        context = context.replace(key, "quite") if none else context
        found = {"text": [] if none else [key], "answer_start": [] if none else [context.index(key)]}
        out.append({"question": "is the film good", "context": context, "answers": found})
    return out


CODE = """
import json, sys
sys.modules["hf_tl"] = sys.modules["torchvision"] = None
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer
path, pairs = json.loads(sys.stdin.read())
model, tokenizer = AutoModelForQuestionAnswering.from_pretrained(path), AutoTokenizer.from_pretrained(path)
found = []
for question, context in pairs:
    inputs = tokenizer(question, context, return_tensors="pt")
    with torch.no_grad():
        out = model(**inputs)
    keep = torch.tensor([each == 1 for each in inputs.sequence_ids(0)])
    start = out.start_logits[0].masked_fill(~keep, -1e9)
    end = out.end_logits[0].masked_fill(~keep, -1e9)
    first, last = int(start.argmax()), int(end.argmax())
    found.append([tokenizer.decode(inputs["input_ids"][0, first : last + 1]),
                  float(start.softmax(-1)[first] * end.softmax(-1)[last])])
print("RESULT" + json.dumps(found))
"""


@pytest.mark.parametrize("unanswerable", [False, True])
def test_trained_shared_and_asked(unanswerable: bool, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in records(unanswerable)))
    run = hf_tl.finetune(
        model=str(tiny_bert(tmp_path / "bert")), data=str(path), output=str(tmp_path / "run"),
        training={"num_train_epochs": 25, "learning_rate": 3e-3, "bf16": False},
    )  # fmt: skip
    assert run.metrics["metrics"]["f1"]["value"] > 0.7
    pairs = [("is the film good", "the song was very bad"), ("is the film good", "the meal was good")]
    ours = run.predict([{"question": question, "context": context} for question, context in pairs])
    assert [each["answer"] for each in ours] == ["bad", "good"]
    done = subprocess.run(
        [sys.executable, "-c", CODE], input=json.dumps([str(run.model), pairs]), capture_output=True, text=True,
        cwd="/", env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}, timeout=300,
    )  # fmt: skip
    theirs = json.loads(done.stdout.split("RESULT")[1])
    for mine, (answer, score) in zip(ours, theirs, strict=True):
        assert mine["answer"] == answer and mine["score"] == pytest.approx(score, abs=1e-5)
    if unanswerable:
        assert run.predict({"question": "is the film good", "context": "the meal was quite"})[0]["answer"] == ""
    card = (run.folder / "README.md").read_text()
    assert "pipeline(" not in card and "start_logits" in card


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"answers": {"text": ["good"], "answer_start": [0]}},
            r"line 49: the answer 'good' does not stand at character 0",
        ),
        ({"answers": {"text": ["song"], "answer_start": [0]}}, r"line 49: .*it is not in the context"),
        ({"answers": {"text": ["good"], "answer_start": []}}, r"line 49: 1 answers have 0 values of answer_start"),
        ({"answers": {"text": [""], "answer_start": [0]}}, r"line 49: an answer is empty"),
        ({"question": " "}, r"line 49: the text is empty"),
    ],
)
def test_bad_rows_are_named(change: dict[str, object], words: str, tmp_path: Path) -> None:
    row = {"question": "is it", "context": "the film was good", "answers": {"text": ["good"], "answer_start": [13]}}
    lines = [*records(False), {**row, **change}]
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    with pytest.raises(DataError) as caught:
        hf_tl.finetune(model=str(tiny_bert(tmp_path / "bert")), data=str(path), output=str(tmp_path / "run"))
    assert re.search(words, str(caught.value)), caught.value
