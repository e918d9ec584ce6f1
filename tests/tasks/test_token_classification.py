"""Tags for words: alignment, windows, entities, and spans of characters."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, List
from seqeval.metrics import f1_score

import hf_tl
from hf_tl.config import DataConfig, Preprocessing
from hf_tl.errors import DataError
from hf_tl.task import Targets, TaskContext, get_task
from hf_tl.tasks._pipeline_words import Read
from hf_tl.tasks._tags import words_in
from hf_tl.tasks.token_classification import by_word, measure, parts, postprocess, tag_words
from tests.tiny import tiny_bert

TASK = get_task("token-classification")


def context(folder: Path, max_length: int | None = None) -> TaskContext:
    from transformers import AutoConfig, AutoTokenizer

    path = tiny_bert(folder / "bert")
    return TaskContext(
        labels=("O", "B-key", "I-key"),
        processor=AutoTokenizer.from_pretrained(path),
        preprocessing=Preprocessing(max_length=max_length),
        model_config=AutoConfig.from_pretrained(path),
    )


def test_long_texts_are_read_in_windows_and_every_word_is_trained(tmp_path: Path) -> None:
    words = ["the", "good", "film"] * 20
    rows = Dataset.from_dict({"words": [words], "tags": [[0, 1, 2] * 20]})
    about = context(tmp_path, max_length=16)
    samples = TASK.preprocess(rows, about, True)
    assert len(samples) > 3 and all(len(ids) <= 16 for ids in samples["input_ids"])
    trained = {
        word for sample in samples for word, tag in zip(sample["word_ids"], sample["labels"], strict=True) if tag >= 0
    }
    assert trained == set(range(60))
    for sample in samples:
        for word, tag in zip(sample["word_ids"], sample["labels"], strict=True):
            assert tag in (-100, [0, 1, 2][word % 3] if word >= 0 else -100)
    # what is predicted at each token comes back word by word
    outputs = [(np.array([0 if w < 0 else w % 3 for w in s["word_ids"]]), np.ones(len(s["word_ids"]))) for s in samples]
    found = by_word(outputs, samples, rows)
    assert [found[0][word].label for word in range(60)] == [0, 1, 2] * 20
    measured = measure(outputs, samples, rows, about, resamples=50)
    assert measured.values["f1"] == measured.values["accuracy"] == 1.0
    entities = postprocess(outputs, samples, rows, about)[0]["entities"]
    assert len(entities) == 20 and entities[0]["word"] == "good film"


def test_f1_is_seqevals(tmp_path: Path) -> None:
    labels = ("O", "B-a", "I-a", "B-b", "I-b")
    drawn = np.random.default_rng(0)
    words = [["the"] * 9 for _ in range(12)]
    truth = drawn.integers(0, 5, (12, 9))
    said = np.where(drawn.random((12, 9)) < 0.7, truth, drawn.integers(0, 5, (12, 9)))
    about = context(tmp_path)
    about = dataclasses.replace(about, labels=labels)
    rows = Dataset.from_dict({"words": words, "tags": truth.tolist()})
    samples = TASK.preprocess(rows, about, False)
    outputs = [(np.array([0, *line, 0]), np.ones(11)) for line in said]
    names = [[[labels[tag] for tag in line] for line in each.tolist()] for each in (truth, said)]
    assert measure(outputs, samples, rows, about, resamples=20).values["f1"] == pytest.approx(f1_score(*names))


def encoded(*tags: Any, names: list[str] | None = None, known: Targets | None = None, **options: Any) -> Any:
    """(what is learned, tags as encoded, notes) of sentences of three words."""
    rows = Dataset.from_dict({"words": [["a", "b", "c"]] * len(tags), "tags": list(tags)})
    if names:
        rows = rows.cast_column("tags", List(ClassLabel(names=names)))
    splits = {"train": rows.add_column("__file__", [f"d.jsonl, line {at + 1}" for at in range(len(tags))])}
    notes: list[str] = []
    assert TASK.targets is not None
    found = TASK.targets(splits, DataConfig(path="-", **options), known, notes)
    return found, splits["train"]["tags"][:], notes


def test_tags_that_are_left_out_are_no_class() -> None:
    """-100 is what PyTorch's losses leave out, and prepared datasets hold it."""
    found, tags, _ = encoded(["O", "B-x", "-100"], ["O", "O", "B-x"])
    assert found.labels == ("O", "B-x") and tags == [[0, 1, -100], [0, 0, 1]]
    assert encoded([0, 1, -100], [0, 0, 1], names=["O", "B-x"])[:2] == (found, tags)


def test_a_missing_tag_is_no_class() -> None:
    with pytest.raises(DataError, match=r"d\.jsonl, line 2: a tag is missing"):
        encoded(["O", "O", "B-x"], ["O", None, "B-x"])
    found, tags, _ = encoded(["O", "O", "B-x"], ["O", None, "B-x"], on_error="skip")
    assert found.labels == ("O", "B-x") and tags == [[0, 0, 1]]
    with pytest.raises(DataError, match=r"d\.jsonl, line 1: tag -1 is none of the 2 that have names"):
        encoded([0, 1, -1], names=["O", "B-x"])


def test_numbers_without_names() -> None:
    found, tags, notes = encoded([0, 0, 2], [0, 1, 0], [0, -100, 0])
    assert found.labels == ("O", "1", "2") and tags == [[0, 0, 2], [0, 1, 0], [0, -100, 0]]
    assert notes == ["The tags are numbers without names; 0, the most frequent, is taken for O, which is no entity."]
    assert encoded([0, 2, 1], known=found)[1] == [[0, 2, 1]]
    found, _, notes = encoded([1, 1, 2], [0, 1, 2])  # parts of speech: every word has one
    assert found.labels == ("0", "1", "2") and not notes


def test_words_without_a_tag_are_not_measured(tmp_path: Path) -> None:
    about = dataclasses.replace(context(tmp_path), labels=("O", "B-a"))
    rows = Dataset.from_dict({"words": [["the", "good", "film"]] * 2, "tags": [[1, -100, 0], [-100, -100, -100]]})
    samples = TASK.preprocess(rows, about, False)
    assert samples["labels"][:] == [[-100, 1, -100, 0, -100], [-100] * 5]
    found = measure([(np.array([0, 1, 1, 1, 0]), np.ones(5))] * 2, samples, rows, about, resamples=20)
    assert found.values["accuracy"] == 0.5 and found.values["precision"] == 0.5 and found.values["recall"] == 1.0
    row = {"words": ["the", "good", "film"], "tags": [1, -100, 0]}
    assert TASK.render_html is not None and "good" in TASK.render_html(row, {"tags": ["O"] * 3}, about)


def test_spans_become_words_and_tags() -> None:
    text = "Ada Lovelace lived in London."
    spans = [{"start": 0, "end": 12, "label": "PER"}, {"start": 22, "end": 28, "label": "LOC"}]
    assert tag_words(text, spans) == (
        ["Ada", "Lovelace", "lived", "in", "London", "."],
        ["B-PER", "I-PER", "O", "O", "B-LOC", "O"],
    )
    for span, words in (
        ({"start": 1, "end": 12, "label": "PER"}, "does not begin and end with words"),
        ({"start": 0, "end": 11, "label": "PER"}, "does not begin and end with words"),
        ({"start": 3, "end": 4, "label": "PER"}, "does not begin and end with words"),
        ({"start": 20, "end": 99, "label": "PER"}, "outside the text of 29 characters"),
    ):
        with pytest.raises(ValueError, match=words):
            tag_words(text, [span])
    with pytest.raises(ValueError, match="lies over another"):
        tag_words(text, [*spans, {"start": 4, "end": 12, "label": "PER"}])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("re-read 3.5_a", ["re", "-", "read", "3", ".", "5_a"]),
        ("我在北京 ok", ["我", "在", "北", "京", "ok"]),
        ("ที่กรุง", ["ที่", "ก", "รุ", "ง"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("e\u0301t", ["e\u0301t"]),
    ],
)
def test_words_of_every_script(text: str, words: list[str]) -> None:
    """Letters that follow each other without spaces are words of their own; a mark is a part of its letter."""
    assert [text[start:end] for start, end in words_in(text)] == words


def test_spans_in_a_text_without_spaces() -> None:
    assert tag_words("我在北京。", [{"start": 2, "end": 4, "label": "LOC"}]) == (
        ["我", "在", "北", "京", "。"],
        ["O", "O", "B-LOC", "I-LOC", "O"],
    )


@pytest.mark.parametrize(
    ("tag", "expected"),
    [("B-x", ("B", "x")), ("I-x", ("I", "x")), ("L-x", ("I", "x")), ("U-x", ("B", "x")), ("S-x", ("B", "x")),
     ("O", ("O", "")), ("x", ("I", "x")), ("B-x-y", ("B", "x-y"))],
)  # fmt: skip
def test_tag_schemes(tag: str, expected: tuple[str, str]) -> None:
    assert parts(tag) == expected


def write(path: Path, records: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def test_trained_on_spans(tmp_path: Path) -> None:
    texts = [f"the {noun} was {key}." for noun in ("film", "book", "meal", "song") for key in ("good", "bad") * 5]
    records = [
        {"text": text, "entities": [{"start": text.rindex(" ") + 1, "end": len(text) - 1, "label": "key"}]}
        for text in texts
    ]
    run = hf_tl.finetune(
        model=str(tiny_bert(tmp_path / "bert")), data=write(tmp_path / "d.jsonl", records),
        output=str(tmp_path / "run"), training={"num_train_epochs": 12, "learning_rate": 3e-3, "bf16": False},
    )  # fmt: skip
    assert run.metrics["metrics"]["f1"]["value"] == 1.0
    # and what was read is the text itself, "bad." as in it and not "bad ."
    asked = json.loads((run.folder / "proof" / "answers.json").read_text())["rows"]
    assert all(set(row) == {"text"} and " ." not in row["text"] for row in asked)
    (entity,) = run.predict("a meal very bad.")[0]["entities"]
    assert (entity["entity_group"], entity["start"], entity["end"]) == ("key", 12, 15)
    assert "<mark" in (run.folder / "report.html").read_text()


GOOD: list[dict[str, object]] = [{"tokens": ["the", "film"], "ner_tags": ["O", "B-x"]} for _ in range(8)]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"tokens": ["the", "film"], "ner_tags": ["O"]}, "line 9: 2 words have 1 tags; .*data.on_error=skip"),
        ({"tokens": ["the"], "ner_tags": ["O", "O"]}, "line 9: 1 words have 2 tags"),
        ({"tokens": [], "ner_tags": []}, "line 9: there are no words"),
        ({"tokens": ["the", " "], "ner_tags": ["O", "O"]}, "line 9: a word is empty"),
    ],
)
def test_bad_rows_are_named(bad: dict[str, object], words: str, tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [*GOOD, bad])
    with pytest.raises(DataError) as caught:
        hf_tl.finetune(model=str(tiny_bert(tmp_path / "bert")), data=path, output=str(tmp_path / "run"))
    assert re.search(words, str(caught.value))
    assert not (tmp_path / "run").exists()


def test_a_tag_that_train_lacks(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", GOOD)
    write(tmp_path / "test.jsonl", [{"tokens": ["the", "film"], "ner_tags": ["O", "B-y"]}])
    files = [str(tmp_path / "train.jsonl"), str(tmp_path / "test.jsonl")]
    with pytest.raises(DataError, match=r"test.jsonl, line 1: tag 'B-y' is not in train"):
        hf_tl.finetune(model=str(tiny_bert(tmp_path / "bert")), data={"path": files})


def windows(words: list[str], tags: list[int], limit: int) -> Any:
    from transformers import BertTokenizer

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##happy", "film", "good"]
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(vocabulary)}, model_max_length=limit)
    labels = ("O", *(f"I-{index}" for index in range(1, 10)))
    context = TaskContext(labels=labels, processor=tokenizer, preprocessing=Preprocessing(max_length=limit))
    return TASK.preprocess(Dataset.from_dict({"words": [words], "tags": [tags]}), context, True)


def test_the_first_token_of_a_word_carries_its_tag() -> None:
    found = windows(["unhappy", "film"], [1, 2], 16)
    assert found["labels"] == [[-100, 1, -100, 2, -100]] and found["word_ids"] == [[-1, 0, 0, 1, -1]]


def test_windows_overlap_by_a_quarter() -> None:
    found = windows(["good", "film"] * 5, list(range(10)), 8)
    assert [each[1:-1] for each in found["word_ids"]] == [[0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9]]
    assert found["labels"][1][1:-1] == [4, 5, 6, 7, 8, 9] and found["row"] == [0, 0]


def letters_read(windows: list[list[int]], rows: Iterable[int] | None = None) -> Dataset:
    """Samples of `rows`, or of one, whose words have a letter each, one token a word."""
    spans = [[[2 * word, 2 * word + 1] if word >= 0 else [0, 0] for word in window] for window in windows]
    of = [0] * len(windows) if rows is None else list(rows)
    return Dataset.from_dict({"row": of, "word_ids": windows, "opens": windows, "offsets": spans})


def test_a_word_of_two_windows_is_taken_from_the_one_where_it_is_farther_from_the_edge() -> None:
    samples = letters_read([[-1, 0, 1, 2, 3, -1], [-1, 1, 2, 3, 4, 5, -1]])
    outputs = [(np.arange(6), np.full(6, 0.1)), (np.arange(10, 17), np.full(7, 0.2))]
    (found,) = by_word(outputs, samples, [None])
    assert {word: read.label for word, read in found.items()} == {0: 1, 1: 2, 2: 3, 3: 13, 4: 14, 5: 15}


def test_entities_begin_and_end_where_their_tags_say() -> None:
    """A second B begins anew, and so does an I after O; the score is the mean over the words."""
    samples = letters_read([[-1, 0, 1, 2, 3, 4, -1]])
    outputs = [(np.array([0, 1, 1, 0, 2, 2, 0]), np.array([0.9, 0.25, 0.5, 0.9, 0.5, 1.0, 0.9]))]
    rows = Dataset.from_dict({"words": [["a", "b", "c", "d", "e"]]})
    (found,) = postprocess(outputs, samples, rows, TaskContext(labels=("O", "B-x", "I-x")))
    assert [(each["word"], each["start"], each["end"], each["score"]) for each in found["entities"]] == [
        ("a", 0, 1, 0.25), ("b", 2, 3, 0.5), ("d e", 6, 9, 0.75),
    ]  # fmt: skip
    assert found["tags"] == ["B-x", "B-x", "O", "I-x", "I-x"] and (found["label"], found["score"]) == ("x", 0.75)


def measured(labels: tuple[str, ...], true: list[list[int]], said: list[dict[int, int]]) -> Any:
    """Of rows whose words got such labels; a word that is left out was not read."""
    rows = Dataset.from_dict({"words": [["w"] * len(row) for row in true], "tags": true})
    samples = letters_read([[-1, *row] for row in said], range(len(true)))
    outputs = [(np.array([0, *row.values()]), np.ones(len(row) + 1)) for row in said]
    return measure(outputs, samples, rows, TaskContext(labels=labels), resamples=0)


def test_entities_are_counted_by_hand() -> None:
    """a: 1 of 1 found and of 3 true; b: 1 of 2 found and of 1 true; 3 of 4 and 3 of 5 words are right."""
    labels = ("O", "B-a", "I-a", "B-b")
    found = measured(
        labels, [[1, 2, 0, 3], [1, 1, 0, 0, 0]], [{0: 1, 1: 2, 2: 3, 3: 3}, {1: 0, 2: 0, 3: 0, 4: 0}]
    )  # fmt: skip
    assert found.values == pytest.approx({"f1": 4 / 7, "precision": 2 / 3, "recall": 2 / 4, "accuracy": 6 / 9})
    assert found.baseline == {"accuracy": pytest.approx(4 / 9)}  # always O
    assert found.per_class == [
        {"label": "a", "precision": 1.0, "recall": pytest.approx(1 / 3), "f1": pytest.approx(2 / 4), "support": 3},
        {"label": "b", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1},
    ]


def test_where_no_tag_is_o_each_word_is_one() -> None:
    found = measured(("NOUN", "VERB"), [[0, 0, 1]], [{0: 0, 1: 1, 2: 1}])
    assert found.values["f1"] == found.values["accuracy"] == pytest.approx(2 / 3)
    assert [row["support"] for row in found.per_class] == [2, 1]


def test_intervals_of_the_ratios_are_their_own() -> None:
    """Every second row finds too much, the others too little: resamples with more of the first have a lower precision
    and a higher recall, n / (n + 3k) and n / (4n - 3k) where k of n are of the first."""
    n = 40
    rows = Dataset.from_dict({"words": [["w"] * 4] * n, "tags": [[1, 0, 0, 0], [1, 1, 1, 1]] * (n // 2)})
    samples = letters_read([[0, 1, 2, 3]] * n, range(n))
    outputs = [(np.array([1, 1, 1, 1]), np.ones(4)), (np.array([1, 0, 0, 0]), np.ones(4))] * (n // 2)
    found = measure(outputs, samples, rows, TaskContext(labels=("O", "B-a")), resamples=400).metrics
    assert [found[name]["value"] for name in ("precision", "recall", "f1")] == pytest.approx([0.4, 0.4, 0.4])
    least, most = ((n / found["precision"][end] - n) / 3 for end in ("high", "low"))
    assert 10 < least < 17 and 23 < most < 30  # of 20, by the binomial distribution 14 to 26
    ends = [n / (4 * n - 3 * k) for k in (least, most)]
    assert [found["recall"]["low"], found["recall"]["high"]] == pytest.approx(ends, rel=0.02)


def test_the_loss_is_the_mean_over_the_words_that_are_there() -> None:
    import torch
    from torch.nn.functional import cross_entropy

    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[-100, 2, 1, -100], [-100, 0, -100, -100]])
    words = logits[labels != -100], labels[labels != -100]
    for smoothing in (0.0, 0.2):
        about = TaskContext(label_smoothing=smoothing)
        mean = float(cross_entropy(*words, label_smoothing=smoothing))
        assert float(TASK.loss({"logits": logits}, {"labels": labels}, about, None)) == pytest.approx(mean)
        assert float(TASK.loss({"logits": logits}, {"labels": labels}, about, 12)) == pytest.approx(3 * mean / 12)


@pytest.mark.parametrize("side", ["right", "left"])
def test_what_is_padded_has_no_label_and_is_not_kept(side: str, tmp_path: Path) -> None:
    import torch

    about = context(tmp_path)
    about.processor.padding_side = side
    samples = [{"input_ids": [2, 5, 3], "labels": [-100, 1, -100], "length": 3},
               {"input_ids": [2, 5, 6, 7, 3], "labels": [-100, 2, 0, 2, -100], "length": 5}]  # fmt: skip
    batch = TASK.collator(about, True)(samples)
    assert sorted(batch["labels"][0].tolist()) == [-100] * 4 + [1] and batch["labels"].shape == (2, 5)
    probabilities = torch.full((2, 5, 3), 0.25)
    probabilities[:, torch.arange(5), torch.tensor([0, 1, 2, 0, 1])] = 0.5
    first, second = TASK.collect(None, {"logits": 3 + probabilities.log()}, batch, about)
    assert first[0].tolist() == ([0, 1, 2] if side == "right" else [2, 0, 1])
    assert second[0].tolist() == [0, 1, 2, 0, 1] and second[1].tolist() == pytest.approx([0.5] * 5)


def test_a_word_of_a_text_ends_with_its_last_token() -> None:
    """`unhappy film` in bare text, cut as un, happy, film; the second window begins with the word's other half."""
    offsets = [[[0, 0], [0, 2], [2, 7], [8, 12], [0, 0]], [[0, 0], [2, 7], [8, 12], [0, 0]]]
    samples = Dataset.from_list(
        [{"row": 0, "word_ids": [-1, 0, 0, 1, -1], "opens": [-1] * 5, "offsets": offsets[0]},
         {"row": 0, "word_ids": [-1, 0, 1, -1], "opens": [-1] * 4, "offsets": offsets[1]}]
    )  # fmt: skip
    outputs = [(np.array([0, 1, 2, 1, 0]), np.full(5, 0.5)), (np.array([0, 2, 2, 0]), np.full(4, 0.75))]
    assert by_word(outputs, samples, [None]) == [{0: Read(1, 0.5, 0, 7, -1), 1: Read(1, 0.5, 8, 12, -1)}]
    rows = Dataset.from_dict({"text": ["unhappy film"]})
    (found,) = postprocess(outputs, samples, rows, TaskContext(labels=("O", "B-x", "I-x")))
    assert [(each["word"], each["start"], each["end"]) for each in found["entities"]] == [
        ("unhappy", 0, 7), ("film", 8, 12),
    ]  # fmt: skip
    assert found["tags"] == ["B-x", "B-x"]


def test_tags_are_ordered_by_entity_after_o(tmp_path: Path) -> None:
    from hf_tl.config import DataConfig
    from hf_tl.data import load_data

    tags = [["I-b", "O"], ["B-b", "I-a"], ["B-a", "O"]] * 6
    path = write(tmp_path / "d.jsonl", [{"tokens": ["the", "film"], "ner_tags": each} for each in tags])
    assert load_data(DataConfig(path=path)).labels == ("O", "B-a", "I-a", "B-b", "I-b")
