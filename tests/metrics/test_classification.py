"""What is reported of a classifier equals scikit-learn, on the whole split and on every bootstrap resample."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from hf_tl.errors import ConfigError, DataError
from hf_tl.metrics import split_name
from hf_tl.metrics.classification import METRICS, class_counts, measure, measure_multi_label
from hf_tl.metrics.hub_metrics import load_metric
from hf_tl.metrics.intervals import Score, percentiles, resamples_of, with_intervals
from tests.tiny import declare_torchvision_operators

declare_torchvision_operators()  # before `evaluate`, which imports Transformers

NAMES = ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "loss")
SKLEARN = {
    "accuracy": lambda y, p: sk.accuracy_score(y, p),
    "balanced_accuracy": lambda y, p: sk.balanced_accuracy_score(y, p),
    "f1_macro": lambda y, p: sk.f1_score(y, p, average="macro", zero_division=0),
    "f1_weighted": lambda y, p: sk.f1_score(y, p, average="weighted", zero_division=0),
    "precision_macro": lambda y, p: sk.precision_score(y, p, average="macro", zero_division=0),
    "precision_weighted": lambda y, p: sk.precision_score(y, p, average="weighted", zero_division=0),
    "precision_micro": lambda y, p: sk.precision_score(y, p, average="micro", zero_division=0),
    "recall_macro": lambda y, p: sk.recall_score(y, p, average="macro", zero_division=0),
    "recall_micro": lambda y, p: sk.recall_score(y, p, average="micro", zero_division=0),
    "recall_weighted": lambda y, p: sk.recall_score(y, p, average="weighted", zero_division=0),
    "f1_micro": lambda y, p: sk.f1_score(y, p, average="micro", zero_division=0),
}


def drawn(samples: int = 200, classes: int = 5, right: float = 0.7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(predictions, references) with unequal classes."""
    random = np.random.default_rng(seed)
    references = np.minimum(random.geometric(0.4, samples) - 1, classes - 1)
    wrong = random.integers(0, classes, samples)
    return np.where(random.random(samples) < right, references, wrong), references


def test_the_values_are_those_of_scikit_learn() -> None:
    predictions, references = drawn()
    losses = np.random.default_rng(1).exponential(size=len(references))
    found = measure(NAMES, predictions, references, list("abcde"), sample_losses=losses)

    assert list(found.metrics) == list(NAMES)
    for name in NAMES[:-1]:
        assert found.metrics[name]["value"] == pytest.approx(SKLEARN[name](references, predictions), abs=1e-12)
    assert found.metrics["loss"]["value"] == pytest.approx(losses.mean())
    assert found.confusion_matrix == sk.confusion_matrix(references, predictions).tolist()
    assert found.baseline["accuracy"] == np.bincount(references).max() / len(references)

    precision, recall, f1, support = sk.precision_recall_fscore_support(references, predictions, zero_division=0)
    for index, row in enumerate(found.per_class):
        assert row["label"] == "abcde"[index] and row["support"] == support[index]
        assert row["precision"] == pytest.approx(precision[index])
        assert row["recall"] == pytest.approx(recall[index])
        assert row["f1"] == pytest.approx(f1[index])
    for interval in found.metrics.values():
        assert interval["low"] < interval["value"] < interval["high"]


def test_every_metric_has_its_value_by_scikit_learn_here() -> None:
    assert set(SKLEARN) == set(METRICS)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_of_class_counts_is_scikit_learns_on_every_resample(name: str) -> None:
    predictions, references = drawn(samples=60, classes=9)  # small: classes fall out of resamples
    counted = class_counts(predictions, references, 9)
    value, from_counts = METRICS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert value(references, predictions) == pytest.approx(SKLEARN[name](references, predictions), abs=1e-12)
    for counts in resamples_of(60, 50, seed=3):
        right, true, predicted = np.split(counts.astype(float) @ counted, 3, axis=1)
        fast = from_counts((right, true, predicted))
        indices = [np.repeat(np.arange(60), row) for row in counts]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # balanced_accuracy_score names classes that were not drawn
            slow = [SKLEARN[name](references[index], predictions[index]) for index in indices]
        np.testing.assert_allclose(fast, slow, atol=1e-12)


def test_class_counts_of_each_sample() -> None:
    found = class_counts(np.array([0, 2, 1]), np.array([0, 1, 1]), 3).toarray()
    #                        right      true       predicted
    assert found.tolist() == [
        [1, 0, 0, 1, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0, 0, 0, 1],
        [0, 1, 0, 0, 1, 0, 0, 1, 0],
    ]


def test_metrics_of_the_same_counts_share_their_sums_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_tl.metrics.intervals.FEW", 0)
    first, second = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([3.0, 5.0, 7.0])
    scores = {
        "a": Score(0.0, first, lambda sums: sums[:, 0]),
        "b": Score(0.0, first, lambda sums: sums[:, 1] * 10),
        "c": Score(5.0, second),
    }
    found = with_intervals(scores, 3, resamples=400, confidence=0.999)
    assert (found["a"]["low"], found["a"]["high"]) == (0, 3)
    assert (found["b"]["low"], found["b"]["high"]) == (0, 30)
    assert (found["c"]["low"], found["c"]["high"]) == (3, 7)


def test_several_labels_a_sample_are_scikit_learns() -> None:
    random = np.random.default_rng(0)
    references = random.random((40, 4)) < [0.5, 0.2, 0.1, 0.0]
    predictions = references ^ (random.random((40, 4)) < 0.2)
    losses = random.exponential(size=40)
    found = measure_multi_label(predictions, references, list("abcd"), losses, resamples=300)
    assert found.values == pytest.approx(
        {
            "f1_micro": sk.f1_score(references, predictions, average="micro"),
            "f1_macro": sk.f1_score(references, predictions, average="macro", zero_division=0),
            "exact_match": (references == predictions).all(1).mean(),
            "hamming_loss": (references != predictions).mean(),
            "loss": losses.mean(),
        }
    )
    f1 = {"f1_micro": [], "f1_macro": []}  # type: ignore[var-annotated]
    for counts in resamples_of(40, 300, 42):
        for row in counts:
            at = np.repeat(np.arange(40), row)
            for average in ("micro", "macro"):
                f1[f"f1_{average}"].append(
                    sk.f1_score(references[at], predictions[at], average=average, zero_division=0)
                )
    for name, values in f1.items():
        assert (found.metrics[name]["low"], found.metrics[name]["high"]) == pytest.approx(
            tuple(np.quantile(values, [0.025, 0.975]))
        )


def test_several_labels_by_hand() -> None:
    """Of four samples `a` is true in three and said in one, `b` true in two and said in three, `c` never either."""
    truth = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]])
    guess = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]])
    found = measure_multi_label(guess, truth, ["a", "b", "c"], np.array([1.0, 2.0, 3.0, 6.0]), resamples=10)
    assert found.per_class == [
        {"label": "a", "precision": 1.0, "recall": pytest.approx(1 / 3), "f1": 0.5, "support": 3},
        {"label": "b", "precision": pytest.approx(2 / 3), "recall": 1.0, "f1": pytest.approx(0.8), "support": 2},
        {"label": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
    ]
    assert found.values == pytest.approx(
        {
            "f1_micro": 2 * 3 / (5 + 4),
            "f1_macro": (0.5 + 0.8 + 0) / 3,
            "exact_match": 0.5,
            "hamming_loss": 0.25,
            "loss": 3,
        }
    )
    # always the labels of at least half the samples, `a` and `b`: 5 right of 8 said
    assert found.baseline == {"f1_micro": pytest.approx(2 * 5 / (5 + 8))}


def test_the_interval_is_the_middle_of_the_resamples() -> None:
    predictions, references = drawn()
    found = measure(["accuracy"], predictions, references, list("abcde"), confidence=0.9, resamples=300, seed=5)
    right = predictions == references
    means = np.concatenate([counts @ right / len(right) for counts in resamples_of(len(right), 300, 5)])
    low, high = np.quantile(means, [0.05, 0.95])
    assert (found.metrics["accuracy"]["low"], found.metrics["accuracy"]["high"]) == pytest.approx((low, high))


def test_the_interval_has_the_width_that_theory_gives() -> None:
    references = np.zeros(1000, dtype=int)
    predictions = (np.arange(1000) < 200).astype(int)  # accuracy 0.8
    found = measure(["accuracy"], predictions, references, ["a", "b"], resamples=4000).metrics["accuracy"]
    half = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
    assert found["high"] - found["low"] == pytest.approx(2 * half, rel=0.06)


def test_chunks_change_the_memory_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resamples_of(50, 40, seed=1)))
    monkeypatch.setattr("hf_tl.metrics.intervals.CHUNK", 350)
    chunks = list(resamples_of(50, 40, seed=1))
    assert [len(chunk) for chunk in chunks] == [7, 7, 7, 7, 7, 5]
    np.testing.assert_array_equal(np.concatenate(chunks), whole)
    assert (whole.sum(1) == 50).all()


def test_absent_classes_bring_zeros_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measure(NAMES, [0, 1, 3], [0, 1, 1], ["a", "b", "never", "only predicted"])
    assert found.per_class[2] == {"label": "never", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert found.per_class[3]["support"] == 0
    # the mean of f1 goes over what occurs: a 1, b 2/3, 'only predicted' 0
    assert found.metrics["f1_macro"]["value"] == pytest.approx((1 + 2 / 3) / 3)
    assert found.metrics["balanced_accuracy"]["value"] == pytest.approx(0.75)
    assert "loss" not in found.metrics  # no losses were given
    assert len(found.confusion_matrix) == 4


def test_one_sample() -> None:
    found = measure(NAMES, [1], [1], ["a", "b"], sample_losses=[0.3])
    assert found.metrics["accuracy"] == {"value": 1.0, "low": pytest.approx(0.025), "high": 1.0}
    assert found.metrics["loss"]["value"] == pytest.approx(0.3)


def test_no_class_metric_is_recomputed_on_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand resamples of a thousand classes are matrix products: scikit-learn is asked for the value alone."""
    calls = {name: 0 for name in METRICS}

    def counted(name: str, value: Any) -> Any:
        def count(references: np.ndarray, predictions: np.ndarray) -> float:
            calls[name] += 1
            return float(value(references, predictions))

        return count

    for name, (value, from_counts) in list(METRICS.items()):
        monkeypatch.setitem(METRICS, name, (counted(name, value), from_counts))
    random = np.random.default_rng(0)
    references, predictions = random.integers(0, 1000, (2, 5000))
    measure(list(METRICS), predictions, references, [str(index) for index in range(1000)])
    assert set(calls.values()) == {1}


def test_the_same_seed_gives_the_same_interval() -> None:
    predictions, references = drawn()
    first, again, other = (measure(["f1_macro"], predictions, references, list("abcde"), seed=s) for s in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("predictions", "references", "sentence"),
    [
        ([], [], "no samples"),
        ([0], [0, 1], "1 predictions for 2 references"),
        ([0, 2], [0, 1], "class ids from 0 to 1"),
        ([0, 1], [0, -1], "class ids from 0 to 1"),
        ([0.5, 1.0], [0, 1], "class ids from 0 to 1"),
    ],
)
def test_what_cannot_be_measured(predictions: list[int], references: list[int], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        measure(["accuracy"], predictions, references, ["a", "b"])


def test_the_hubs_name_of_a_metric() -> None:
    assert split_name("balanced_accuracy") == ("balanced_accuracy", {})
    assert split_name("f1_weighted") == ("f1", {"average": "weighted"})
    assert split_name("precision_micro") == ("precision", {"average": "micro"})
    assert split_name("loss_macro") == ("loss_macro", {})
    assert split_name("evaluate-metric/exact_match") == ("evaluate-metric/exact_match", {})


def test_evaluate_is_imported_for_a_metric_of_its_own_alone() -> None:
    code = (
        "import sys; from hf_tl.metrics.classification import METRICS, measure\n"
        "measure([*METRICS, 'loss'], [0, 1], [0, 0], ['a', 'b'], sample_losses=[0.1, 0.2])\n"
        "assert 'evaluate' not in sys.modules and 'torch' not in sys.modules, sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_metric_is_answered_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("evaluate.load", missing)  # the Hub has none of that name
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        measure(["acuracy"], [0], [0], ["a"])


def test_a_metric_that_is_no_function_of_class_counts(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """As a Hub metric would be: loaded by name, resampled by its own code."""
    folder = tmp_path / "overlap"
    folder.mkdir()
    (folder / "overlap.py").write_text(
        "import datasets\n"
        "import evaluate\n\n\n"
        "class Overlap(evaluate.Metric):\n"
        "    def _info(self):\n"
        "        text = datasets.Value('string')\n"
        "        features = datasets.Features({'predictions': text, 'references': text})\n"
        "        return evaluate.MetricInfo(description='', citation='', inputs_description='', features=features)\n\n"
        "    def _compute(self, predictions, references):\n"
        "        pairs = list(zip(predictions, references))\n"
        "        return {'overlap': sum(len(set(p) & set(r)) / len(set(p) | set(r)) for p, r in pairs) / len(pairs)}\n",
        encoding="utf-8",
    )
    found = measure([str(folder)], ["abc", "abd", "x"], ["abc", "abc", "y"], [], resamples=200)
    assert load_metric(str(folder), tuple(METRICS)) is load_metric(str(folder), tuple(METRICS)), "once a process"
    interval = found.metrics[str(folder)]
    assert interval["value"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert interval["low"] < interval["value"] < interval["high"]
    assert found.per_class == [] and found.confusion_matrix == []


def test_percentiles_are_efrons() -> None:
    assert percentiles(np.arange(101.0), 0.9) == pytest.approx((5.0, 95.0))
