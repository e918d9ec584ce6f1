"""Losses, scores and labels of the three problems of classification, against torch and by hand; what texts share."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn import functional as f

from hf_tl.config import LossConfig, Preprocessing
from hf_tl.task import TaskContext, get_task
from hf_tl.tasks import _classification as classification
from hf_tl.tasks._classification import MULTI, REGRESSION, SINGLE
from hf_tl.tasks._texts import text_limit, untruncated_texts
from tests.tiny import bert_classifier, tiny_tokenizer

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, -2.0], [0.3, 0.2, 0.1], [-1.0, 0.0, 3.0]])
CLASSES = torch.tensor([0, 2, 1, 2])
SEVERAL = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
NUMBERS = torch.tensor([10.0, 30.0, 20.0, 5.0])


def loss(logits: torch.Tensor, labels: torch.Tensor, items: int | None = None, **context: Any) -> float:
    about = TaskContext(labels=("a", "b", "c"), **{"loss": LossConfig(), **context})
    return float(classification.loss({"logits": logits}, {"labels": labels}, about, items))


def test_classes_weigh_as_they_are_told() -> None:
    weights = torch.tensor([0.5, 2.0, 1.25])
    for smoothing in (0.0, 0.1):
        each = f.cross_entropy(LOGITS, CLASSES, weight=weights, reduction="none", label_smoothing=smoothing)
        found = loss(LOGITS, CLASSES, problem=SINGLE, class_weights=weights, label_smoothing=smoothing)
        assert found == pytest.approx(float(each.sum()) / 4)
        assert loss(
            LOGITS, CLASSES, 16, problem=SINGLE, class_weights=weights, label_smoothing=smoothing
        ) == pytest.approx(float(each.sum()) / 16)


def test_several_labels_are_smoothed_and_focused_each_for_itself() -> None:
    wanted = SEVERAL * 0.9 + 0.05
    each = f.binary_cross_entropy_with_logits(LOGITS, wanted, reduction="none")
    assert loss(LOGITS, SEVERAL, problem=MULTI, label_smoothing=0.1) == pytest.approx(float(each.mean()))
    plain = f.binary_cross_entropy_with_logits(LOGITS, SEVERAL, reduction="none")
    missed = torch.where(SEVERAL > 0, 1 - LOGITS.sigmoid(), LOGITS.sigmoid())
    found = loss(LOGITS, SEVERAL, problem=MULTI, loss=LossConfig(focal_gamma=3.0))
    assert found == pytest.approx(float((plain * missed**3).mean()), rel=1e-5)
    assert loss(LOGITS, SEVERAL, 8, problem=MULTI) == pytest.approx(float(plain.mean(1).sum()) / 8)


def test_numbers_are_learned_in_deviations_and_given_in_their_unit() -> None:
    logits = torch.tensor([[-0.5], [1.5], [0.25], [0.0]])
    by_hand = ((logits[:, 0] - (NUMBERS - 15) / 10) ** 2).mean()
    assert loss(logits, NUMBERS, problem=REGRESSION, scale=(15.0, 10.0)) == pytest.approx(float(by_hand))
    assert loss(logits, NUMBERS, problem=REGRESSION) == pytest.approx(float(((logits[:, 0] - NUMBERS) ** 2).mean()))
    about = TaskContext(labels=("value",), problem=REGRESSION, scale=(15.0, 10.0))
    kept = classification.collect(None, {"logits": logits}, {}, about)
    assert np.concatenate(kept).tolist() == pytest.approx([10.0, 30.0, 17.5, 15.0])
    assert classification.probabilities(kept, about)[:, 0].tolist() == pytest.approx([10.0, 30.0, 17.5, 15.0])


def test_scores_are_probabilities_of_one_label_or_of_each() -> None:
    outputs = list(LOGITS.numpy())
    one, several = (TaskContext(labels=("a", "b", "c"), problem=problem) for problem in (SINGLE, MULTI))
    assert np.allclose(classification.probabilities(outputs, one), LOGITS.softmax(-1), atol=1e-6)
    assert np.allclose(classification.probabilities(outputs, several), LOGITS.sigmoid(), atol=1e-6)
    first = classification.postprocess(outputs, None, None, one)[0]
    assert first["label"] == "a" and first["score"] == pytest.approx(float(LOGITS[0].softmax(-1)[0]))
    assert list(first["scores"]) == ["a", "b", "c"] and "labels" not in first
    found = classification.postprocess(outputs, None, None, several)
    assert [each["labels"] for each in found] == [["a", "c"], ["a", "b"], ["a", "b", "c"], ["b", "c"]]  # 0.5 included
    assert [each["label"] for each in found] == ["a", "b", "a", "c"]


def test_the_loss_of_a_sample_is_torchs() -> None:
    outputs = list(LOGITS.numpy())
    about = {problem: TaskContext(labels=("a", "b", "c"), problem=problem) for problem in (SINGLE, MULTI, REGRESSION)}
    found = classification.sample_losses(outputs, CLASSES.numpy(), about[SINGLE])
    assert np.allclose(found, f.cross_entropy(LOGITS, CLASSES, reduction="none"), atol=1e-6)
    found = classification.sample_losses(outputs, SEVERAL.numpy(), about[MULTI])
    wanted = f.binary_cross_entropy_with_logits(LOGITS, SEVERAL, reduction="none").mean(1)
    assert np.allclose(found, wanted, atol=1e-6)
    found = classification.sample_losses([row[:1] for row in outputs], NUMBERS.numpy(), about[REGRESSION])
    assert np.allclose(found, (LOGITS[:, 0] - NUMBERS) ** 2)


def test_what_is_measured_is_what_was_said() -> None:
    outputs = list(LOGITS.numpy())
    several = TaskContext(labels=("a", "b", "c"), problem=MULTI)
    found = classification.measure(outputs, None, Dataset.from_dict({"label": SEVERAL.tolist()}), several, resamples=0)
    # said: ac, ab, abc, bc; true: ac, -, abc, b: 6 are right, 3 too many, none is missing
    assert found.values["f1_micro"] == pytest.approx(12 / (12 + 3)) and found.values["exact_match"] == 0.5
    assert found.values["hamming_loss"] == pytest.approx(3 / 12)
    one = TaskContext(labels=("a", "b", "c"), problem=SINGLE)
    found = classification.measure(outputs, None, Dataset.from_dict({"label": CLASSES.tolist()}), one, resamples=0)
    assert found.values["accuracy"] == 0.5
    assert found.values["loss"] == pytest.approx(float(f.cross_entropy(LOGITS, CLASSES)))


# Texts


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> TaskContext:
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer(folder)
    config = bert_classifier().config
    config.save_pretrained(folder)
    return TaskContext(
        processor=AutoTokenizer.from_pretrained(folder), model_config=config,
        preprocessing=Preprocessing(max_length=5), notes=[],
    )  # fmt: skip


def test_a_text_of_just_the_limit_is_whole(context: TaskContext) -> None:
    task = get_task("text-classification")
    rows = Dataset.from_dict({"text": ["the film was", "the film was good"], "label": [1, 0]})  # 5 and 6 tokens
    samples = task.preprocess(rows, context, True)
    assert samples["length"] == [5, 5] and samples["labels"] == [1, 0] and len(context.notes) == 1
    assert context.notes[0].startswith("1 of 2 training texts are longer than 5 tokens")
    assert untruncated_texts(rows, context)["text"] == ["the film was"]
    pairs = Dataset.from_dict({"text": ["a", "the"], "text_pair": ["film", "film was"]})
    assert untruncated_texts(pairs, context)["text"] == ["a"]
    first = task.preprocess(pairs, context, False)[0]
    assert context.processor.decode(first["input_ids"]) == "[CLS] a [SEP] film [SEP]"


@pytest.mark.parametrize(
    ("own", "config", "asked", "limit"),
    [
        (64, {"max_position_embeddings": 32}, None, 32),
        (16, {"max_position_embeddings": 32}, None, 16),
        (10**30, {"max_position_embeddings": 4096}, None, 512),
        (10**30, {"max_position_embeddings": 4096}, 2000, 2000),
        (10**30, {"max_position_embeddings": 256}, 2000, 256),
        (10**30, {}, None, 512),
        (10**30, {}, 2000, 2000),  # positions are relative: nothing is too long
        (None, {"max_position_embeddings": None}, 2000, 2000),
        # positions of RoBERTa begin after the one of padding
        (10**30, {"max_position_embeddings": 514, "pad_token_id": 1, "model_type": "roberta"}, None, 512),
        (10**30, {"max_position_embeddings": 102, "pad_token_id": 1, "model_type": "xlm-roberta"}, None, 100),
        (10**30, {"max_position_embeddings": 102, "pad_token_id": 1, "model_type": "bert"}, None, 102),
    ],
)
def test_how_long_a_text_may_be(own: int, config: dict[str, Any], asked: int | None, limit: int) -> None:
    about = TaskContext(
        processor=SimpleNamespace(model_max_length=own), preprocessing=Preprocessing(max_length=asked),
        model_config=SimpleNamespace(**{"model_type": "x", **config}),
    )  # fmt: skip
    assert text_limit(about) == limit
