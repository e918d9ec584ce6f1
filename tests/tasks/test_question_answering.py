"""Answers in their context: windows, the official scores, and what a plain forward pass gives."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import io
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset, Features, List, Value

import hf_tl
from hf_tl.config import Preprocessing
from hf_tl.errors import DataError
from hf_tl.task import TaskContext, get_task
from hf_tl.tasks.question_answering import MAX_ANSWER_TOKENS, check_answers, exact_and_f1, postprocess
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
    context = context_of(tmp_path, 24)
    passage = "the film was fine " * 12 + "a good book " + "the meal was poor " * 12
    answers = {"text": ["good book"], "answer_start": [passage.index("good book")]}
    rows = Dataset.from_list([{"question": "was the book good", "context": passage, "answers": answers}])
    samples = TASK.preprocess(rows, context, True)
    assert len(samples) > 4
    holding = [each for each in samples if each["start_positions"] > 0]
    assert holding
    for sample in holding:
        first, last = sample["start_positions"], sample["end_positions"]
        assert passage[sample["offsets"][first][0] : sample["offsets"][last][1]] == "good book"
    # a model that knows: high where the answer is, and nowhere else
    outputs = []
    for sample in samples:
        logits = np.zeros((2, len(sample["input_ids"])), dtype=np.float32)
        if sample["start_positions"]:
            logits[0, sample["start_positions"]] = logits[1, sample["end_positions"]] = 9.0
        outputs.append(logits)
    (found,) = postprocess(outputs, samples, rows, context)
    assert found["answer"] == "good book" and passage[found["start"] : found["end"]] == "good book"
    assert found["score"] > 0.9
    assert TASK.measure(outputs, samples, rows, context, resamples=10).values == {"exact_match": 1.0, "f1": 1.0}


def context_of(folder: Path, max_length: int | None = None, **changes: object) -> TaskContext:
    from transformers import AutoConfig, AutoTokenizer

    path = tiny_bert(folder / "bert")
    config = AutoConfig.from_pretrained(path)
    for key, value in changes.items():
        setattr(config, key, value)
    tokenizer = AutoTokenizer.from_pretrained(path)
    return TaskContext(processor=tokenizer, preprocessing=Preprocessing(max_length=max_length), model_config=config)


def stock(logits: list[np.ndarray], samples: Dataset, none: bool) -> tuple[float, int, int]:
    """(score, start, end) as Transformers 4's pipeline found them, by the function of it that is left."""
    from transformers.pipelines.document_question_answering import select_starts_ends

    found, null = [], 1e6
    for (start, end), sample in zip(logits, samples, strict=True):
        mask = np.array([int(each[0] < 0) for each in sample["offsets"]])
        mask[sample["input_ids"].index(2)] = 0  # [CLS] stays
        first, last, scores, null = select_starts_ends(
            start[None], end[None], mask[None], np.ones((1, len(start)), dtype=int), null,
            handle_impossible_answer=none, max_answer_len=MAX_ANSWER_TOKENS,
        )  # fmt: skip
        for a, b, score in zip(first, last, scores, strict=True):
            found.append((float(score), sample["offsets"][a][0], sample["offsets"][b][1]))
    return max([*found, (null, 0, 0)] if none else found)


@pytest.mark.parametrize("none", [False, True])
def test_answers_and_scores_are_those_of_the_stock_pipeline(none: bool, tmp_path: Path) -> None:
    drawn = np.random.default_rng(3)
    context = context_of(tmp_path, 24, allows_no_answer=none)
    rows = Dataset.from_list(
        [
            {"question": "was the book good", "context": "the film was very fine " * count}
            for count in (1, 2, 5, 20, 40, 3, 7, 30)
        ]
    )
    samples = TASK.preprocess(rows, context, False)
    logits = [drawn.normal(0, 4, (2, len(each["input_ids"]))).astype(np.float32) for each in samples]
    ours = TASK.postprocess(logits, samples, rows, context)
    for index, mine in enumerate(ours):
        windows = [at for at, row in enumerate(samples["row"]) if row == index]
        score, start, end = stock([logits[at] for at in windows], samples.select(windows), none)
        assert (mine["start"], mine["end"]) == (start, end)
        assert mine["score"] == pytest.approx(score, rel=1e-5)
        assert mine["answer"] == mine["label"] == rows[index]["context"][start:end]


def test_no_answer_by_a_model_of_others_where_the_data_have_some(tmp_path: Path) -> None:
    """A model that does not say whether it finds no answer: as the stock pipeline's default, but fairly measured."""
    context = context_of(tmp_path)
    rows = Dataset.from_list([{"question": "was it", "context": "the film was good"}])
    samples = TASK.preprocess(rows, context, False)
    logits = np.zeros((2, len(samples[0]["input_ids"])), dtype=np.float32)
    logits[:, 0] = 60.0
    (found,) = TASK.postprocess([logits], samples, rows, context)
    assert found["answer"] and found["score"] < 1e-20
    answers = Features({"text": List(Value("string")), "answer_start": List(Value("int64"))})
    measured = rows.add_column("answers", [{"text": [], "answer_start": []}]).cast_column("answers", answers)
    assert TASK.postprocess([logits], samples, measured, context)[0]["answer"] == ""
    context.model_config.allows_no_answer = False  # it says so, whatever the data have
    assert TASK.postprocess([logits], samples, measured, context)[0]["answer"]
    context.model_config.allows_no_answer = None
    assert TASK.measure([logits], samples, measured, context, resamples=0).values == {"exact_match": 1.0, "f1": 1.0}


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_loss_is_the_stock_one_whatever_shares_the_batch(side: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForQuestionAnswering

    context = context_of(tmp_path)
    context.processor.padding_side = side
    torch.manual_seed(0)
    model = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "bert").eval()
    contexts = ["the film was good", "the book was very very very good and so was the song"]
    answers = [{"text": ["good"], "answer_start": [context.index("good")]} for context in contexts]
    rows = Dataset.from_dict({"question": ["was it"] * 2, "context": contexts, "answers": answers})
    samples, collate = TASK.preprocess(rows, context, True), TASK.collator(context, True)
    alone, kept = [], []
    with torch.no_grad():
        for sample in samples:
            batch = collate([sample])
            given = {name: batch[name] for name in batch if name not in TASK.label_fields}
            out = model(**given)
            alone.append(float(TASK.loss(out, batch, context, None)))
            assert alone[-1] == pytest.approx(float(model(**batch).loss), rel=1e-5)
            kept += TASK.collect(model, out, batch, context)
        smooth = dataclasses.replace(context, label_smoothing=0.1)
        assert float(TASK.loss(out, batch, smooth, 1)) == pytest.approx(
            sum(
                float(torch.nn.functional.cross_entropy(logits, batch[f"{name}_positions"], label_smoothing=0.1))
                for name, logits in (("start", out.start_logits), ("end", out.end_logits))
            )
            / 2,
            rel=1e-5,
        )
        batch = collate(list(samples))
        assert TASK.items is not None and TASK.items(batch) == 2
        if side == "right":  # BERT counts positions from the left, padding too
            out = model(**{name: batch[name] for name in batch if name not in TASK.label_fields})
            assert float(TASK.loss(out, batch, context, 2)) == pytest.approx(sum(alone) / 2, rel=1e-5)
            together = TASK.collect(model, out, batch, context)
            for one, other in zip(kept, together, strict=True):
                assert one.shape == other.shape and np.allclose(one, other, atol=1e-5)
        else:
            positions = batch["start_positions"].tolist()
            assert [context.processor.decode(batch["input_ids"][at, each]) for at, each in enumerate(positions)] == [
                "good",
                "good",
            ]


def test_long_questions_are_cut_and_short_windows_refused(tmp_path: Path) -> None:
    context = context_of(tmp_path, 24)
    rows = Dataset.from_list(
        [
            {"question": "was the book good " * 40, "context": "the film was fine " * 20},
            {"question": "a", "context": "b"},
        ]
    )
    samples = TASK.preprocess(rows, context, True)
    assert max(samples["length"]) <= 24 and set(samples["row"]) == {0, 1}
    assert any("1 questions are longer than" in note for note in context.notes)
    read = {at for sample in samples if sample["row"] == 0 for at, _ in sample["offsets"] if at >= 0}
    assert len(read) == 80, "every word of the context is read"
    with pytest.raises(hf_tl.ConfigError, match=r"max_length: 10 tokens are too few"):
        TASK.preprocess(rows, context_of(tmp_path, 10), True)


def test_forms_of_answers() -> None:
    wanted = {"text": ["good"], "answer_start": [13]}
    for given in (wanted, [{"text": "good", "answer_start": 13}], {"text": "good", "answer_start": 13}):
        assert check_answers("the film was good", given) == wanted
    for given in ({"text": [], "answer_start": []}, [], {"text": None, "answer_start": None}):
        assert check_answers("the film was good", given) == {"text": [], "answer_start": []}


def test_report_marks_both_answers_and_escapes() -> None:
    context = "a <b>film</b> was good, the book was bad"
    answers = {"text": ["good", "was good"], "answer_start": [context.index("good"), context.index("was good")]}
    row = {"question": "<i>?", "context": context, "answers": answers}
    at = context.index("bad")
    assert TASK.render_html is not None
    html = TASK.render_html(row, {"answer": "bad", "start": at, "end": at + 3}, TaskContext())
    assert "<mark>was good</mark>" in html and "<mark>bad</mark>" in html
    assert "&lt;b&gt;film&lt;/b&gt;" in html and "&lt;i&gt;?" in html and "<b>film" not in html
    none = TASK.render_html(
        {**row, "answers": {"text": [], "answer_start": []}}, {"answer": "", "start": 0, "end": 0}, TaskContext()
    )
    assert none.count("no answer") == 2


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
    keep[0] = True  # no answer
    start, end = (each[0].masked_fill(~keep, -1e9).softmax(-1) for each in (out.start_logits, out.end_logits))
    spans = (start[1:, None] * end[None, 1:]).triu()
    first, last = divmod(int(spans.argmax()), len(spans))
    found.append([tokenizer.decode(inputs["input_ids"][0, first + 1 : last + 2]), float(spans[first, last])])
print("RESULT" + json.dumps(found))
"""


@pytest.mark.parametrize("unanswerable", [False, pytest.param(True, marks=pytest.mark.slow)])
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
    with pytest.raises(DataError, match="reads 'question', 'context' together"):
        run.predict(["is the film good"])
    if unanswerable:
        assert run.predict({"question": "is the film good", "context": "the meal was quite"})[0]["answer"] == ""
    card = (run.folder / "README.md").read_text()
    assert "pipeline(" not in card and "start_logits" in card


@pytest.mark.parametrize("none", [False, True])
def test_the_lines_of_the_card_answer_as_measured(none: bool, tmp_path: Path) -> None:
    """On a model that knows nothing, whose likeliest tokens stand in the question, out of order or far apart."""
    import torch
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    torch.manual_seed(1)
    model = AutoModelForQuestionAnswering.from_pretrained(tiny_bert(tmp_path / "bert")).eval()
    torch.nn.init.normal_(model.qa_outputs.weight, std=3.0)
    model.config.allows_no_answer = none
    model.save_pretrained(tmp_path / "bert")
    names = {"model": model, "processor": AutoTokenizer.from_pretrained(tmp_path / "bert")}
    exec(TASK.inference.snippet or "", names)
    drawn, words = random.Random(0), "the film was very good a meal quite bad never".split()
    rows = [
        {
            "question": " ".join(drawn.choices(words, k=4)),
            "context": " ".join(drawn.choices(words, k=drawn.randint(2, 50))),
        }
        for _ in range(24)
    ]
    ours = hf_tl.predict(str(tmp_path / "bert"), rows)
    for row, mine in zip(rows, ours, strict=True):
        theirs = names["find_answer"](**row)  # type: ignore[operator]
        assert theirs["score"] == pytest.approx(mine["score"], abs=1e-5)
        assert {key: theirs[key] for key in ("answer", "start", "end")} == {
            key: mine[key] for key in ("answer", "start", "end")
        }
    assert any(not mine["answer"] for mine in ours) == none
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(TASK.inference.example, names)
    assert set(ast.literal_eval(printed.getvalue())) == {"answer", "score", "start", "end"}


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
        ({"question": " "}, r"line 49: the question is empty"),
        ({"context": None}, r"line 49: the context is missing"),
        ({"answers": None}, r"line 49: the answers are missing"),
        ({"answers": {"text": ["fine"], "answer_start": [-17]}}, r"line 49: .*'fine' does not stand at character -17"),
        ({"answers": {"text": ["good"], "answer_start": [None]}}, r"line 49: .*character None .*it stands at 13"),
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


def test_the_mark_of_no_answer_may_stand_last(tmp_path: Path) -> None:
    """As XLNet has it; what a window does not hold is answered by the mark, wherever it stands."""
    from tokenizers import processors

    context = context_of(tmp_path)
    marks = [("[CLS]", 2), ("[SEP]", 3)]
    context.processor.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [SEP] [CLS]", pair="$A [SEP] $B:1 [SEP]:1 [CLS]:2", special_tokens=marks
    )
    answers = [{"text": ["film"], "answer_start": [4]}, {"text": [], "answer_start": []}]
    rows = Dataset.from_list([{"question": "was it", "context": "the film", "answers": each} for each in answers])
    samples = TASK.preprocess(rows, context, True)  # was it [SEP] the film [SEP] [CLS]
    assert samples["null_index"] == [6, 6] and samples["start_positions"] == [4, 6] == samples["end_positions"]
    context.processor.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [SEP]", pair="$A [SEP] $B:1 [SEP]:1", special_tokens=marks
    )
    assert TASK.preprocess(rows, context, True)["null_index"] == [0, 0]  # there is none


def test_of_several_windows_the_surest_answers_and_the_least_sure_says_no() -> None:
    """Windows of two tokens and the mark; tokens that begin with their space give answers that do not."""
    samples = Dataset.from_list(
        [{"row": 0, "null_index": 0, "offsets": [[-1, -1], [0, 3], [3, 8]]},
         {"row": 0, "null_index": 0, "offsets": [[-1, -1], [3, 8], [8, 12]]}]
    )  # fmt: skip
    rows = Dataset.from_dict({"context": ["the film was"]})

    def logits(none: float, first: float, second: float) -> np.ndarray:
        return np.log(np.array([[none, first, second]] * 2)).astype(np.float32)

    def answer(windows: list[np.ndarray], taught: bool | None) -> dict[str, object]:
        about = TaskContext(model_config=SimpleNamespace(allows_no_answer=taught))
        return postprocess(windows, samples, rows, about)[0]

    outputs = [logits(0.5, 0.1, 0.4), logits(0.1, 0.7, 0.2)]
    wanted = {"answer": "film", "label": "film", "start": 4, "end": 8, "score": pytest.approx(0.49)}
    assert answer(outputs, None) == answer(outputs, True) == wanted  # 0.01 for none: the lesser of 0.25 and 0.01
    assert answer(outputs[::-1], False)["answer"] == "the"
    unsure = [logits(0.8, 0.1, 0.1), logits(0.7, 0.2, 0.1)]
    none = {"answer": "", "label": "", "start": 0, "end": 0, "score": pytest.approx(0.49)}
    assert answer(unsure, True) == none
    assert answer(unsure, False) == answer(unsure, None) == {
        "answer": "film", "label": "film", "start": 4, "end": 8, "score": pytest.approx(0.04),
    }  # fmt: skip


def test_the_kept_logits_are_start_and_end_without_padding() -> None:
    import torch

    out = {"start_logits": torch.tensor([[1.0, 2, 3]]), "end_logits": torch.tensor([[4.0, 5, 6]])}
    batch = {"attention_mask": torch.tensor([[0, 1, 1]])}
    (found,) = TASK.collect(None, out, batch, TaskContext())
    assert found.tolist() == [[2, 3], [5, 6]] and found.dtype == np.float32


def test_what_a_model_is_taught_is_said_in_its_configuration(tmp_path: Path) -> None:
    from hf_tl.config import DataConfig
    from hf_tl.data import load_data

    for which, taught in (("all", False), ("some", True)):
        path = tmp_path / f"{which}.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in records(which == "some")))
        assert load_data(DataConfig(path=str(path)), "question-answering").targets.config == {
            "allows_no_answer": taught
        }


def test_windows_of_a_context_share_half_of_their_length(tmp_path: Path) -> None:
    """24 tokens, 20 of them the context's: each window begins 8 after the one before, so that 12 are shared."""
    rows = Dataset.from_list([{"question": "so", "context": "good " * 40}])
    samples = TASK.preprocess(rows, context_of(tmp_path, 24), False)
    places = [[start // 5 for start, _ in each if start >= 0] for each in samples["offsets"]]
    assert places == [list(range(at, min(40, at + 20))) for at in (0, 8, 16, 24)]


def test_a_smoothed_loss_knows_no_padding() -> None:
    """Of two windows of three and five tokens, each as by itself."""
    import torch
    from torch.nn.functional import cross_entropy

    drawn = torch.Generator().manual_seed(0)
    out = {f"{end}_logits": torch.randn(2, 5, generator=drawn) for end in ("start", "end")}
    batch = {
        "attention_mask": torch.tensor([[1, 1, 1, 0, 0], [1] * 5]),
        "start_positions": torch.tensor([1, 4]), "end_positions": torch.tensor([2, 4]),
    }  # fmt: skip
    each = [
        cross_entropy(out[f"{end}_logits"][row, :count], batch[f"{end}_positions"][row], label_smoothing=0.2)
        for row, count in ((0, 3), (1, 5))
        for end in ("start", "end")
    ]
    found = TASK.loss(out, batch, TaskContext(label_smoothing=0.2), None)
    assert float(found) == pytest.approx(float(sum(each)) / 4, rel=1e-5)


def test_a_question_of_just_the_room_is_whole(tmp_path: Path) -> None:
    """Of 24 tokens 12 are shared, 3 are marks and 4 are kept for the context: 5 are left for the question."""
    context = context_of(tmp_path, 24)
    rows = Dataset.from_dict({"question": ["was the book so good", "was the book so very good"], "context": ["a"] * 2})
    samples = TASK.preprocess(rows, context, True)
    asked = [context.processor.decode(ids[1 : ids.index(3)]) for ids in samples["input_ids"]]
    assert asked == ["was the book so good", "was the book so very"]
    assert context.notes == ["1 questions are longer than 5 tokens and are truncated."]
