"""The head on kept features: computed of unchanged inputs, kept under all that they depend on, of the right rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image
from PIL import Image as PillowImage
from torch import nn

from hf_tl.config import load_config
from hf_tl.models.features import cache_folder
from hf_tl.models.pretrained import Loaded
from hf_tl.task import Targets, TaskContext, get_task
from hf_tl.training import head as module
from hf_tl.training.head import head_on_features
from tests.tiny import bert_classifier, resnet_classifier, tiny_tokenizer

TEXT, IMAGE = get_task("text-classification"), get_task("image-classification")
TEXTS = ["good film", "a very bad meal", "fine", "the book was never good", "poor", "so great"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TL_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer(folder)
    bert_classifier().config.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def texts(train: list[str] = TEXTS, labels: Any = (0, 1, 0, 0, 1, 0), classes: str | None = "label") -> Any:
    return SimpleNamespace(
        splits={
            "train": Dataset.from_dict({"text": train, "label": list(labels)}),
            "validation": Dataset.from_dict({"text": TEXTS[:3], "label": [1, 0, 1]}),
        },
        source={"path": "d"},
        targets=Targets(("a", "b", "c"), class_column=classes),
    )


def on_texts(tokenizer: Any, data: Any = None, model: Any = None, precision: str = "fp32", **options: Any) -> Any:
    """Features of three classes by a small BERT."""
    parts = {name: options.pop(name, {}) for name in ("model_options", "training")}
    problem = options.pop("problem", None)
    config = load_config(
        {
            "model": {"id": "m", **parts["model_options"]},
            "data": {"path": "d", **options},
            "training": parts["training"],
        }
    )
    context = TaskContext(("a", "b", "c"), problem, tokenizer, config.data.preprocessing)
    model = bert_classifier() if model is None else model
    batch = {key: value for key, value in tokenizer(TEXTS[:2], padding=True, return_tensors="pt").items()}
    found = head_on_features(config, data or texts(), TEXT, context, Loaded(model, ["classifier"]), batch, precision)
    return found, model, context


def pooled(model: Any, tokenizer: Any, texts: list[str]) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([model.bert(**tokenizer(text, return_tensors="pt")).pooler_output for text in texts])


def kept() -> int:
    return len(list(cache_folder().glob("*.safetensors")))


def test_the_features_of_both_splits_are_what_the_head_reads(tokenizer: Any) -> None:
    found, model, context = on_texts(tokenizer)
    wanted = pooled(model, tokenizer, TEXTS)
    assert torch.allclose(found.train.features, wanted, atol=1e-5)
    assert found.train.labels.tolist() == [0, 1, 0, 0, 1, 0]
    assert torch.allclose(found.validation.features, wanted[:3], atol=1e-5)
    assert found.validation.labels.tolist() == [1, 0, 1]
    assert found.model.head is model.classifier and context.notes == found.notes
    assert found.spread == pytest.approx(wanted.std(0).mean().item(), rel=1e-4)
    assert len(model.classifier._forward_pre_hooks) == 0
    batch = found.collate([found.train[1], found.train[0]])
    assert batch["labels"].tolist() == [1, 0]


def test_features_are_computed_once_for_the_same_and_anew_for_anything_else(tokenizer: Any) -> None:
    on_texts(tokenizer)
    assert kept() == 2
    on_texts(tokenizer)
    assert kept() == 2
    changed = bert_classifier()
    with torch.no_grad():
        changed.bert.embeddings.word_embeddings.weight[7] += 0.5
    found, model, _ = on_texts(tokenizer, model=changed)
    assert kept() == 4 and torch.allclose(found.train.features, pooled(model, tokenizer, TEXTS), atol=1e-5)
    found, model, _ = on_texts(tokenizer, texts([*TEXTS[:5], "awful"]))  # the validation rows are known
    assert kept() == 5 and torch.allclose(
        found.train.features, pooled(model, tokenizer, [*TEXTS[:5], "awful"]), atol=1e-5
    )
    on_texts(tokenizer, preprocessing={"max_length": 4})
    assert kept() == 7
    on_texts(tokenizer, precision="bf16")
    assert kept() == 9


def test_splits_of_the_same_rows_are_kept_apart(tokenizer: Any) -> None:
    data = texts()
    data.splits["validation"] = data.splits["train"]
    on_texts(tokenizer, data)
    assert kept() == 2


def test_what_reads_rows_another_way_is_kept_apart(tokenizer: Any) -> None:
    """A tokenizer that lowers no letters, another pooling, another version of torch, other data."""
    on_texts(tokenizer)
    other = SimpleNamespace(
        **{name: getattr(tokenizer, name) for name in ("pad", "model_max_length", "model_input_names")}
    )

    class Other:
        pad, model_max_length, model_input_names = other.pad, other.model_max_length, other.model_input_names

        def __call__(self, *texts: Any, **options: Any) -> Any:
            return tokenizer(*texts, **options)

        def __repr__(self) -> str:
            return "Other(do_lower_case=False)"

    found = kept()
    config = load_config({"model": "m", "data": "d"})
    context = TaskContext(labels=("a", "b", "c"), processor=Other(), preprocessing=config.data.preprocessing)
    batch = dict(tokenizer(TEXTS[:2], padding=True, return_tensors="pt"))
    head_on_features(config, texts(), TEXT, context, Loaded(bert_classifier(), ["classifier"]), batch, "fp32")
    assert kept() == found + 2
    on_texts(tokenizer, model_options={"pooling": "mean"})
    assert kept() == found + 4
    data = texts()
    data.source = {"path": "elsewhere"}
    on_texts(tokenizer, data)
    assert kept() == found + 6


def test_features_in_bfloat16_where_the_run_is(tokenizer: Any) -> None:
    exact, _, _ = on_texts(tokenizer)
    rounded, _, _ = on_texts(tokenizer, precision="bf16")
    assert not torch.equal(exact.train.features, rounded.train.features)
    assert torch.allclose(exact.train.features, rounded.train.features, atol=5e-2)
    assert rounded.train.features.dtype == torch.float32


def test_only_the_main_process_writes(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.process_state()
    state = SimpleNamespace(is_main_process=False, process_index=0, num_processes=1, device=real.device)
    monkeypatch.setattr(module, "process_state", lambda: state)
    found, _, _ = on_texts(tokenizer)
    assert found.model is not None and kept() == 0


def test_evaluations_batch_size_is_used_for_features_too(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = module.outputs_of
    monkeypatch.setattr(module, "outputs_of", lambda *a, **k: sizes.append(k["batch_size"]) or real(*a, **k))
    on_texts(tokenizer, training={"per_device_eval_batch_size": 2})
    assert sizes == [2, 2]


# Images


def squares(seed: int = 0, rows: int = 4) -> Dataset:
    drawn = np.random.default_rng(seed)
    images = [PillowImage.fromarray(drawn.integers(0, 255, (40, 40, 3), dtype=np.uint8)) for _ in range(rows)]
    features = Features({"image": Image()})
    return Dataset.from_dict({"image": images}, features=features).add_column("label", [0, 1, 2, 0][:rows])


def test_features_are_of_unchanged_images() -> None:
    """Whatever augmentation is asked for: features are computed once, and of what an evaluation sees."""
    from transformers import ConvNextImageProcessor

    processor = ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0)
    rows = squares()
    data = SimpleNamespace(
        splits={"train": rows, "validation": squares(1, 2)},
        source={},
        targets=Targets(("a", "b", "c"), class_column="label"),
    )
    model = resnet_classifier()
    pixels = processor([row["image"] for row in rows], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        wanted = model.resnet(pixels).pooler_output
    for augment in ("default", "trivial"):
        config = load_config({"model": "m", "data": {"path": "d", "preprocessing": {"augment": augment}}})
        context = TaskContext(labels=("a", "b", "c"), processor=processor, preprocessing=config.data.preprocessing)
        loaded = Loaded(model, ["classifier"])
        found = head_on_features(config, data, IMAGE, context, loaded, {"pixel_values": pixels[:1]}, "fp32")  # type: ignore[arg-type]
        assert torch.allclose(found.train.features, wanted, atol=1e-4)
        said = [note for note in found.notes if "unaugmented" in note]
        assert len(said) == (augment != "default") and all("'trivial'" in note for note in said)


# Where there are none


def test_a_head_that_reads_more_than_a_vector_runs_with_its_backbone(tokenizer: Any) -> None:
    no_vectors = dataclasses.replace(TEXT, cacheable_features=False)
    config = load_config({"model": "m", "data": "d"})
    context = TaskContext(labels=("a", "b"), processor=tokenizer, preprocessing=config.data.preprocessing)
    batch = dict(tokenizer(TEXTS[:2], padding=True, return_tensors="pt"))
    for task, heads in ((no_vectors, ["classifier"]), (TEXT, ["classifier", "bert.pooler"])):
        found = head_on_features(config, texts(), task, context, Loaded(bert_classifier(), heads), batch, "fp32")
        assert found.model is None and found.train is None and kept() == 0
        assert found.notes == ["The head of this model reads more than one vector, so its backbone runs each step."]


def test_features_of_several_shapes_are_not_kept(tokenizer: Any) -> None:
    """A head that takes all tokens and reads their mean has as many vectors as a text has tokens."""

    class Mean(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.mean(1))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.classifier = nn.Embedding(30, 8), Mean(8, 3)
            self.device = torch.device("cpu")

        def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
            return SimpleNamespace(logits=self.classifier(self.body(input_ids)))

    found, model, _ = on_texts(tokenizer, model=Model(), training={"per_device_eval_batch_size": 1})
    assert found.model is None and kept() == 0 and len(model.classifier._forward_pre_hooks) == 0


# Labels and what is said


def test_numbers_stay_numbers(tokenizer: Any) -> None:
    data = texts(labels=[0.5, 1.5, 2.5, 0.0, 1.0, 2.0], classes=None)
    data.splits["validation"] = data.splits["train"]
    found, _, _ = on_texts(tokenizer, data, bert_classifier(1), problem="regression")
    assert found.train.labels.dtype == torch.float32
    assert found.train.labels.tolist() == [0.5, 1.5, 2.5, 0.0, 1.0, 2.0]
    found, _, _ = on_texts(tokenizer)
    assert found.train.labels.dtype == torch.int64


def test_features_that_are_all_alike_have_a_least_spread(tokenizer: Any) -> None:
    found, _, _ = on_texts(tokenizer, texts(["good"] * 6))
    assert found.spread == pytest.approx(1e-6)


def test_a_better_pooling_is_proposed_where_the_user_has_chosen_none(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def better(pooled: Any, mean: Any, labels: Any, seed: int) -> tuple[float, float]:
        seen.append((pooled.shape, mean.shape, labels.tolist(), seed))
        return 0.5, 0.75

    monkeypatch.setattr(module, "better_pooling", better)
    found, _, context = on_texts(tokenizer)
    assert seen == [((6, 8), (6, 8), [0, 1, 0, 0, 1, 0], 42)]
    (note,) = found.notes
    assert "reaches 0.750 instead of 0.500" in note and context.notes == [note]
    assert on_texts(tokenizer, model_options={"pooling": "mean"})[0].notes == []
    assert on_texts(tokenizer, texts(classes=None))[0].notes == []
    monkeypatch.setattr(module, "better_pooling", lambda *_: None)
    assert on_texts(tokenizer)[0].notes == []
    assert len(seen) == 1
