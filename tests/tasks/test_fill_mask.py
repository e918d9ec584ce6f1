"""Domain adaptation: what is hidden, what is measured, and the chain to the next run."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

import hf_tl
from hf_tl.config import Preprocessing
from hf_tl.errors import DataError
from hf_tl.task import TaskContext, get_task
from hf_tl.tasks import fill_mask
from tests.anything import tiny_model
from tests.tiny import sentiment_csv

TASK = get_task("fill-mask")
TEXTS = ["the film was good and the meal was fine", "a bad book is a bad book"] * 30


@pytest.fixture
def context(tmp_path: Path) -> TaskContext:
    from transformers import AutoConfig, AutoTokenizer

    path = tiny_model(TASK, tmp_path / "model")
    return TaskContext(
        processor=AutoTokenizer.from_pretrained(path),
        preprocessing=Preprocessing(max_length=16),
        model_config=AutoConfig.from_pretrained(path),
    )


def test_what_is_hidden_is_new_each_epoch_and_the_same_again(context: TaskContext) -> None:
    samples = TASK.preprocess(Dataset.from_dict({"text": TEXTS}), context, True)
    first = [samples[index] for index in range(len(samples))]
    assert first == [samples[index] for index in range(len(samples))]
    samples.set_epoch(1)
    assert first != [samples[index] for index in range(len(samples))]
    mask, hidden, masked = context.processor.mask_token_id, 0, 0
    for sample in first:
        assert -100 in sample["labels"] and any(label >= 0 for label in sample["labels"])
        for token, label in zip(sample["input_ids"], sample["labels"], strict=True):
            hidden += label >= 0
            masked += label >= 0 and token == mask
    assert 0.65 < masked / hidden < 0.95


def test_perplexity_by_hand(context: TaskContext) -> None:
    """A model that gives each of the V tokens the same probability has perplexity V."""
    rows = Dataset.from_dict({"text": TEXTS[:4]})
    samples = TASK.preprocess(rows, context, False)
    batch = TASK.collator(context, False)([samples[index] for index in range(4)])
    size = len(context.processor)
    flat = {"logits": torch.zeros(*batch["input_ids"].shape, size)}
    assert float(TASK.loss(flat, batch, context, None)) == pytest.approx(math.log(size))
    found = TASK.measure(TASK.collect(None, flat, batch, context), samples, rows, context, resamples=20)
    assert found.values["perplexity"] == pytest.approx(size)
    right = torch.nn.functional.one_hot(batch["labels"].clamp(min=0), size).float() * 50
    sure = TASK.measure(TASK.collect(None, {"logits": right}, batch, context), samples, rows, context, resamples=20)
    assert sure.values["accuracy"] == 1.0 and sure.values["perplexity"] == pytest.approx(1.0)


def test_adapt_then_classify(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS) + "\n\n")
    adapted = hf_tl.finetune(
        task="fill-mask", model=str(tiny_model(TASK, tmp_path / "model")), data=str(texts),
        output=str(tmp_path / "adapted"), training={"num_train_epochs": 15, "learning_rate": 3e-3, "bf16": False},
    )  # fmt: skip
    assert adapted.metrics["metrics"]["perplexity"]["value"] < 8
    log = [line for line in (adapted.folder / "log.jsonl").read_text().splitlines() if "eval_perplexity" in line]
    assert len(log) == 1 + 15  # before training, and each epoch
    best = adapted.predict("the film was [MASK]")[0]
    assert len(best["masks"][0]) == 5 and best["label"] == best["masks"][0][0]["token_str"]
    run = hf_tl.finetune(
        model=str(adapted.folder), data=str(sentiment_csv(tmp_path / "reviews.csv")), output=str(tmp_path / "run"),
        training={"max_steps": 1, "learning_rate": 1e-12, "bf16": False},
    )  # fmt: skip
    from safetensors.numpy import load_file

    before, after = (load_file(each.model / "model.safetensors") for each in (adapted, run))
    name = "bert.encoder.layer.1.output.dense.weight"
    assert np.allclose(before[name], after[name], atol=1e-6)


def test_it_is_asked_for_and_not_guessed(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    with pytest.raises(DataError, match="label"):
        hf_tl.finetune(model=str(tiny_model(TASK, tmp_path / "model")), data=str(texts), output=str(tmp_path / "run"))


def long_sample(words: int) -> dict[str, Any]:
    """Two tokens a word between two special ones, none of them the mask."""
    ids = [5 + index % 20 for index in range(2 * words)]
    return {
        "input_ids": [2, *ids, 3],
        "word_ids": [-1, *(index // 2 for index in range(2 * words)), -1],
        "attention_mask": [1] * (2 * words + 2),
    }


def test_a_seventh_of_the_words_is_hidden_whole(context: TaskContext) -> None:
    """BERT's shares: 15 % of the words, 80 % of them by the mask, 10 % by any token, 10 % not at all."""
    torch.manual_seed(0)
    tokenizer, words = context.processor, 20_000
    sample = long_sample(words)
    found = fill_mask.hide(sample, tokenizer)
    assert set(found) == {"input_ids", "labels", "attention_mask"}
    before, after, labels = (np.array(each) for each in (sample["input_ids"], found["input_ids"], found["labels"]))
    assert labels[0] == labels[-1] == -100 and (after[labels == -100] == before[labels == -100]).all()
    hidden = labels[1:-1].reshape(words, 2) != -100
    assert (hidden[:, 0] == hidden[:, 1]).all() and hidden[:, 0].sum() == 3000
    assert (labels[labels != -100] == before[labels != -100]).all()  # what was there is asked for
    masked = after[1:-1].reshape(words, 2)[hidden[:, 0]] == tokenizer.mask_token_id
    # of the words that get other tokens, one in as many as there are tokens gets the mask by chance
    assert masked.all(1).mean() == pytest.approx(0.8, abs=0.02) and (masked.all(1) == masked[:, 0]).mean() > 0.98
    same = (after == before)[1:-1].reshape(words, 2)[hidden[:, 0]].all(1)
    assert same.mean() == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(("words", "count"), [(1, 1), (3, 1), (9, 1), (11, 2), (20, 3), (40, 6)])
def test_at_least_one_word_is_hidden(words: int, count: int, context: TaskContext) -> None:
    for seed in range(4):
        torch.manual_seed(seed)
        labels = fill_mask.hide(long_sample(words), context.processor)["labels"]
        assert sum(label != -100 for label in labels) == 2 * count


def test_nothing_more_is_hidden_where_something_is_asked(context: TaskContext) -> None:
    sample = long_sample(30)
    sample["input_ids"][7] = context.processor.mask_token_id
    found = fill_mask.hide(sample, context.processor)
    assert found["input_ids"] == sample["input_ids"] and set(found["labels"]) == {-100}
    assert fill_mask.hide({"input_ids": [2, 3], "word_ids": [-1, -1]}, context.processor)["labels"] == [-100] * 2


def test_an_evaluation_hides_the_same_whatever_the_seed(context: TaskContext) -> None:
    rows = Dataset.from_dict({"text": TEXTS[:20]})

    def hidden(seed: int, training: bool) -> list[Any]:
        samples = TASK.preprocess(rows, dataclasses.replace(context, seed=seed), training)
        return [samples[index]["labels"] for index in range(len(samples))]

    assert hidden(1, False) == hidden(2, False)
    assert hidden(1, True) != hidden(2, True)


def test_what_is_asked_and_what_is_hidden_are_kept_apart(context: TaskContext) -> None:
    """Two windows of a row, by hand: a word that was hidden is measured, a mask without an answer is answered."""
    mask = context.processor.mask_token_id
    ids = torch.tensor([[2, mask, 7, 8, 3], [2, 9, mask, mask, 3]])
    labels = torch.tensor([[-100, 6, 7, -100, -100], [-100] * 5])  # one hidden by the mask, one left as it is
    probabilities = torch.full((2, 5, 12), 0.01)
    probabilities[0, 1, 6], probabilities[0, 2, 5] = 0.5, 0.5  # right, and wrong
    for place, order in ((2, (11, 10, 9, 8, 7, 6)), (3, (5, 6, 7, 8, 9, 10))):
        for rank, token in enumerate(order):
            probabilities[1, place, token] = 0.3 - 0.04 * rank
    batch, out = {"input_ids": ids, "labels": labels}, {"logits": probabilities.log()}
    first, second = TASK.collect(None, out, batch, context)
    each = probabilities / probabilities.sum(-1, keepdim=True)
    nll = -float(each[0, 1, 6].log() + each[0, 2, 7].log())
    assert first["sums"].tolist() == pytest.approx([nll, 2, 1]) and first["masks"] == []
    assert second["sums"].tolist() == [0, 0, 0] and len(second["masks"]) == 2
    assert [[token for _, token in place] for place in second["masks"]] == [[11, 10, 9, 8, 7], [5, 6, 7, 8, 9]]
    assert second["masks"][0][0][0] == pytest.approx(float(each[1, 2, 11]))
    assert float(TASK.loss(out, batch, context, None)) == pytest.approx(nll / 2)
    assert float(TASK.loss(out, batch, context, 8)) == pytest.approx(nll / 8)
    samples: Any = SimpleNamespace(rows={"row": [0, 1]})
    rows = Dataset.from_dict({"text": ["a", "b"]})
    hidden, asked = TASK.postprocess([first, second], samples, rows, context)
    assert hidden["label"] == "" and hidden["perplexity"] == pytest.approx(math.exp(nll / 2))
    words = [context.processor.decode([token]) for token in (11, 5)]
    assert [place[0]["token_str"] for place in asked["masks"]] == words and asked["label"] == words[0]
    assert asked["score"] == asked["masks"][0][0]["score"]
    values = TASK.measure([first, first], samples, rows, context, resamples=0).values
    assert values == pytest.approx({"perplexity": math.exp(nll / 2), "accuracy": 0.5, "loss": nll / 2})
    samples.rows = {"row": [1, 1]}  # two windows of one row
    again = TASK.postprocess([first, first], samples, rows, context)
    assert again[0]["perplexity"] == 1.0 and again[1]["perplexity"] == pytest.approx(math.exp(nll / 2))
