"""Features are what the stock head reads, kept under everything that they depend on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.numpy import load_file, save_file
from torch import nn

from hf_tl.models.features import HeadModel, better_pooling, cache_folder, cached_features, content_key, feature_model
from tests.tiny import bert_classifier, resnet_classifier

IDS = {
    "input_ids": torch.tensor([[2, 5, 6, 7, 3], [2, 9, 3, 0, 0]]),
    "attention_mask": torch.tensor([[1] * 5, [1, 1, 1, 0, 0]]),
}
ROWS = Dataset.from_dict({"text": ["a", "b", "c", "d"], "label": [0, 1, 0, 1]})


def test_a_head_alone_gives_logits_of_features() -> None:
    head = nn.Linear(4, 2)
    x = torch.randn(3, 4)
    assert torch.equal(HeadModel(head)(x)["logits"], head(x))


# What is caught


def test_pooled_features_give_the_logits_again() -> None:
    model = bert_classifier()
    found = feature_model(model, ["classifier"], IDS)
    assert found is not None and not found.first_only
    out = found(**IDS)
    pooled = model.bert(**IDS).pooler_output
    assert torch.allclose(out["features"], pooled, atol=1e-6)
    assert torch.allclose(model.classifier(out["features"]), model(**IDS).logits, atol=1e-6)


def test_the_mean_is_of_the_tokens_that_are_there() -> None:
    model = bert_classifier()
    found = feature_model(model, ["classifier"], IDS)
    assert found is not None
    hidden = model.bert(**IDS).last_hidden_state
    mean = torch.stack([hidden[0].mean(0), hidden[1, :3].mean(0)])
    assert torch.allclose(found(**IDS)["mean"], mean, atol=1e-6)
    again = found(**{key: value[:1] for key, value in IDS.items()})  # nothing of the last batch is kept
    assert torch.allclose(again["features"], model.bert(**IDS).pooler_output[:1], atol=1e-6)
    assert torch.allclose(again["mean"], mean[:1], atol=1e-6)
    assert "mean" not in found(input_ids=IDS["input_ids"])


def test_features_of_images_keep_their_shape_and_have_no_mean() -> None:
    model = resnet_classifier()
    pixels = {"pixel_values": torch.randn(2, 3, 32, 32)}
    found = feature_model(model, ["classifier"], pixels)
    assert found is not None and set(found(**pixels)) == {"features", "logits"}
    assert torch.allclose(model.classifier(found(**pixels)["features"]), model(**pixels).logits, atol=1e-6)


class Reads(nn.Module):
    """A backbone of token vectors and a head that reads them in one way or another."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.head, self.dropout = way, First() if way == "first" else nn.Linear(4, 2), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> Any:
        logits = {
            "first": lambda: self.head(x),
            "twice": lambda: self.head(x[:, 0]) + self.head(x[:, 1]),
            "after": lambda: self.head(x[:, 0]) * 2,
            "pooled": lambda: self.head(x).mean(1),
            "one": lambda: self.head(self.dropout(x[:, 0])),
            "never": lambda: x[:, 0, :2],
        }[self.way]()
        return type("Output", (), {"logits": logits})()


class First(nn.Linear):
    """A head that reads the first token of several, as RoBERTa's."""

    def __init__(self) -> None:
        super().__init__(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x[:, 0])


def test_of_a_head_that_reads_the_first_token_only_that_is_kept() -> None:
    x = torch.randn(2, 5, 4)
    model = Reads("first")
    found = feature_model(model, ["head"], {"x": x})
    assert found is not None and found.first_only
    assert torch.equal(found(x=x)["features"], x[:, :1])
    assert torch.equal(model.head(found(x=x)["features"]), found(x=x)["logits"])


@pytest.mark.parametrize("way", ["twice", "after", "pooled", "never"])
def test_a_head_that_is_not_a_function_of_what_it_gets_has_no_features(way: str) -> None:
    model = Reads(way)
    assert feature_model(model, ["head"], {"x": torch.randn(2, 5, 4)}) is None
    assert len(model.head._forward_pre_hooks) == 0


def test_features_are_tried_without_dropout() -> None:
    model = Reads("one").train()
    found = feature_model(model, ["head"], {"x": torch.randn(2, 5, 4)})
    assert found is not None
    found.close()
    assert len(model.head._forward_pre_hooks) == 0


def test_several_heads_have_no_features() -> None:
    assert feature_model(bert_classifier(), ["classifier", "bert.pooler"], IDS) is None
    assert feature_model(bert_classifier(), [], IDS) is None


# What they are kept under


def key(
    rows: Dataset = ROWS, model: nn.Module | None = None, heads: tuple[str, ...] = ("classifier",), **about: Any
) -> str:
    about = {"split": "train", "precision": "fp32", **about}
    return content_key(about, bert_classifier() if model is None else model, list(heads), rows)


def changed(name: str, by: float = 1e-3) -> nn.Module:
    model = bert_classifier()
    with torch.no_grad():
        model.get_parameter(name).view(-1)[-1] += by
    return model


def test_the_key_is_the_same_for_the_same() -> None:
    assert key() == key() == key(Dataset.from_dict(ROWS.to_dict()))
    assert len(key()) == 64


def test_the_key_changes_with_any_weight_of_the_backbone_and_none_of_the_head() -> None:
    assert key(model=changed("bert.embeddings.word_embeddings.weight")) != key()
    assert key(model=changed("bert.pooler.dense.bias")) != key()
    assert key(model=changed("classifier.weight")) == key()
    assert key(model=changed("classifier.weight"), heads=()) != key(heads=())
    norm = resnet_classifier()
    before = key(model=norm)
    next(each for each in norm.modules() if isinstance(each, nn.BatchNorm2d)).running_mean.add_(1)
    assert key(model=norm) != before  # statistics are not parameters, but the features depend on them


def test_the_key_tells_weights_of_the_same_bytes_apart() -> None:
    one, two = nn.Module(), nn.Module()
    one.a, one.b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(2))
    two.b, two.c = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(2))
    assert key(model=one) != key(model=two)


def test_the_key_changes_with_the_rows() -> None:
    other = Dataset.from_dict({"text": ["a", "b", "c", "e"], "label": [0, 1, 0, 1]})
    assert key(other) != key()
    relabelled = Dataset.from_dict({"text": ["a", "b", "c", "d"], "label": [0, 1, 1, 1]})
    assert key(relabelled) != key()


def test_the_key_changes_with_the_order_and_the_choice_of_rows() -> None:
    keys = [key(ROWS.select(rows)) for rows in ([0, 1, 2, 3], [3, 2, 1, 0], [0, 1], [2, 3], [1, 2], [0, 2])]
    assert len(set(keys)) == len(keys)
    assert keys[0] == key()


def test_the_key_changes_with_each_fact() -> None:
    keys = [key(), key(split="validation"), key(precision="bf16"), key(size=32), key(size=33)]
    assert len(set(keys)) == len(keys)
    assert content_key({"a": 1, "b": 2}, nn.Module(), [], ROWS) == content_key({"b": 2, "a": 1}, nn.Module(), [], ROWS)


# The cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_TL_CACHE", str(tmp_path))
    return tmp_path / "features"


def test_the_cache_is_where_the_environment_says(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == cache
    monkeypatch.delenv("HF_TL_CACHE")
    assert cache_folder() == Path(os.environ["HF_HOME"]) / "hf_tl" / "features"


def test_features_are_computed_once(cache: Path) -> None:
    calls = []

    def compute() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"features": np.arange(6.0).reshape(2, 3).T}  # not contiguous

    first, second = cached_features("one", compute), cached_features("one", compute)
    assert len(calls) == 1
    assert first["features"].tolist() == second["features"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert [each.name for each in cache.iterdir()] == ["one.safetensors"]
    cached_features("two", compute)
    assert len(calls) == 2


def test_only_one_process_writes(cache: Path) -> None:
    found = cached_features("one", lambda: {"features": np.ones(2)}, write=False)
    assert found["features"].tolist() == [1, 1] and not cache.exists()


def test_a_broken_entry_is_computed_anew(cache: Path) -> None:
    cache.mkdir()
    (cache / "one.safetensors").write_bytes(b"broken")
    assert cached_features("one", lambda: {"features": np.ones(2)})["features"].tolist() == [1, 1]
    assert load_file(cache / "one.safetensors")["features"].tolist() == [1, 1]
    save_file({"features": np.zeros(2)}, cache / "one.safetensors")
    assert cached_features("one", lambda: {"features": np.ones(2)})["features"].tolist() == [0, 0]


# Whether the mean of the tokens would serve better


def noise(seed: int, rows: int = 120, width: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def test_the_mean_is_proposed_only_where_it_is_clearly_better() -> None:
    labels = np.arange(120) % 2
    told = noise(1)
    told[:, 0] += 4 * labels
    pooled, mean = better_pooling(noise(0), told, labels, seed=0) or (0.0, 0.0)
    assert pooled < 0.65 and mean > 0.9
    assert better_pooling(told, noise(0), labels, seed=0) is None
    assert better_pooling(told, told, labels, seed=0) is None
    assert better_pooling(noise(0)[:, None], told[:, None], labels, seed=0) is not None  # (samples, 1, width)


def test_a_gain_within_two_standard_errors_is_not_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 rows, of which `won` are right by the mean alone: mean difference won/100, its error by hand."""
    labels = np.zeros(100, dtype=int)
    labels[50:] = 1

    def proposed(won: int, lost: int) -> Any:
        rights = iter([np.arange(100) >= won, np.arange(100) < 100 - lost])  # pooled, mean
        monkeypatch.setattr(
            "sklearn.model_selection.cross_val_predict", lambda _, x, y, cv: np.where(next(rights), y, 1 - y)
        )
        return better_pooling(noise(0, 100), noise(1, 100), labels, seed=0)

    # won 4, lost 0: 0.04 against 2 * 0.0197; won 3: 0.03 against 2 * 0.0171
    assert proposed(4, 0) == (pytest.approx(0.96), pytest.approx(1.0))
    assert proposed(3, 0) is None
    assert proposed(9, 3) is None  # 0.06 against 2 * 0.0342
    assert proposed(12, 3) == (pytest.approx(0.88), pytest.approx(0.97))  # 0.09 against 2 * 0.0379


def test_classes_of_too_few_rows_are_not_judged() -> None:
    many = np.arange(120) // 2  # 60 classes of two rows
    assert better_pooling(noise(0), noise(1), many, seed=0) is None
    assert better_pooling(noise(0), noise(1), np.zeros(120, dtype=int), seed=0) is None  # one class: no regression


def test_at_most_two_thousand_rows_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def predict(_: Any, x: np.ndarray, y: np.ndarray, cv: int) -> np.ndarray:
        seen.append((len(x), len(y)))
        return y

    monkeypatch.setattr("sklearn.model_selection.cross_val_predict", predict)
    better_pooling(noise(0, 2500, 2), noise(1, 2500, 2), np.arange(2500) % 2, seed=0)
    assert seen == [(2000, 2000)] * 2
