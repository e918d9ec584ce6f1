"""The metrics that a card claims, and the verdict on each: how near, in which interval, said twice or left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hf_tl.errors import ConfigError
from hf_tl.sharing.claims import (
    FALSE,
    LEFT_OUT,
    NO_NUMBER,
    OF_THE_HUB,
    OTHER_DATA,
    TWICE,
    UNKNOWN,
    Claim,
    claims_of,
    contradicted,
    judge,
    left_out,
    number_of,
    of_the_block,
    same_metric,
)


def measured(
    value: float = 0.9, low: float = 0.85, high: float = 0.95, samples: int = 1000, name: str = "f1_macro"
) -> Any:
    return {"metrics": {name: {"value": value, "low": low, "high": high}}, "samples": samples}


def verdict(claimed: float | None, exact: bool, found: Any = None, name: str = "f1_macro") -> str:
    return judge(Claim(name, "text", claimed), found or measured(), exact).verdict


@pytest.mark.parametrize("exact", [True, False])
def test_what_rounding_may_move_holds_either_way(exact: bool) -> None:
    """0.002; of few samples what one of them is worth; above 1 relative to the value."""
    for claimed in (0.9, 0.9019, 0.8981):
        assert verdict(claimed, exact) == "holds"
    few = measured(samples=50)
    assert verdict(0.9199, exact, few) == verdict(0.8801, exact, few) == "holds"
    large = measured(100.0, 99.9, 100.1)
    assert verdict(100.19, exact, large) == verdict(99.81, exact, large) == "holds"
    assert verdict(100.21, exact, large) == verdict(99.79, exact, large) == "does not hold"
    assert verdict(-100.19, exact, measured(-100.0, -100.1, -99.9)) == "holds"
    assert verdict(0.5, exact, measured(samples=0)) == "holds"  # of no samples nothing is known


def test_the_interval_counts_where_the_data_are_not_the_very_same() -> None:
    for claimed in (0.85, 0.86, 0.94, 0.95):
        assert (
            verdict(claimed, exact=False) == "within its interval" and verdict(claimed, exact=True) == "does not hold"
        )
    for claimed in (0.8499, 0.9501, 0.0, 1.9, -0.9):
        assert verdict(claimed, exact=False) == "does not hold"


def test_what_is_told_of_a_judged_claim() -> None:
    judged = judge(Claim("f1_macro", "text", 0.7), measured(), exact=False)
    assert (judged.measured, judged.low, judged.high, judged.claimed) == (0.9, 0.85, 0.95, 0.7)
    assert not judged.holds and not judged.confirmed
    good = judge(Claim("f1_macro", "text", 0.9), measured(), exact=True)
    assert good.holds and good.confirmed
    other = Claim("f1_macro", "text", 0.7, verdict=OTHER_DATA)  # was judged already
    assert judge(other, measured(), exact=True) is other and other.holds and not other.confirmed


def test_metrics_that_are_none() -> None:
    assert verdict(None, exact=True) == verdict(None, exact=False) == NO_NUMBER
    assert verdict(0.9, exact=True, name="bleu") == verdict(0.9, exact=False, name="bleu") == UNKNOWN
    assert (
        verdict(0.9, exact=False, name="me/metric") == OF_THE_HUB
        and verdict(0.9, exact=True, name="me/metric") == UNKNOWN
    )


@pytest.mark.parametrize(
    ("theirs", "same"), [("f1_macro", True), ("F1, macro", True), ("f1", False), ("macro", False), ("f1_micro", False)]
)
def test_names_of_a_metric(theirs: str, same: bool) -> None:
    assert same_metric("f1_macro", theirs) is same


@pytest.mark.parametrize(
    ("value", "number"),
    [(0.5, 0.5), ("0.5", 0.5), (1, 1.0), (0, 0.0), (True, None), ("x", None), (None, None), (float("nan"), None),
     (float("inf"), None), ("-inf", None), (10**400, None), ([1], None)],
)  # fmt: skip
def test_numbers(value: Any, number: float | None) -> None:
    assert number_of(value) == number


HEAD = """---
model-index:
- name: x
  results:
  - dataset: {type: imdb, split: test}
    metrics:
    - {type: accuracy, value: 0.9}
    - {type: f1, value: '0.8', args: {average: macro}}
    - {type: loss, value: n/a}
  - dataset: {type: other, split: test}
    metrics:
    - {type: accuracy, value: 0.1}
---
"""
TABLE = """
| metric | value | 95 % interval |
|---|---|---|
| Accuracy | 0.91 | 0.9 to 0.92 |
| F1, macro | 1,234.5 | 0.7 to 0.8 |

| what | value | 95 % interval |
| Accuracy | 0.3 | 0.2 to 0.4 |
| Elsewhere | 0.3 | 0.2 to 0.4 |
| Accuracy | 0.3 |
"""


def test_what_a_card_claims() -> None:
    found = [(each.metric, each.place, each.claimed, each.verdict) for each in claims_of(HEAD + TABLE, "x")]
    assert found == [
        ("accuracy", "model-index", 0.9, ""),
        ("f1_macro", "model-index", 0.8, ""),
        ("loss", "model-index", None, ""),
        ("accuracy", "model-index", 0.1, OTHER_DATA),
        ("accuracy", "text", 0.91, ""),
        ("f1_macro", "text", 1234.5, ""),
        ("accuracy", "text", 0.3, ""),  # looks like one of hf_tl's rows
    ]
    second = claims_of(HEAD, "x", {"type": "other", "split": "test"})
    assert [each.verdict for each in second] == [OTHER_DATA, OTHER_DATA, OTHER_DATA, ""]
    split = claims_of(HEAD, "x", {"type": "imdb", "split": "validation"})
    assert {each.verdict for each in split} == {OTHER_DATA}
    with pytest.raises(ConfigError, match="x: its card claims no metrics"):
        claims_of("---\nlicense: mit\n---\n", "x")


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("3", "model-index in the metadata of its card: expected"),
        ("[3]", "model-index in the metadata of its card: expected"),
        ("[{results: 3}]", "results of model-index"),
        ("[{results: [3]}]", "a result of model-index"),
        ("[{results: [{dataset: 3}]}]", "dataset in the metadata"),
        ("[{results: [{metrics: 3}]}]", "metrics of model-index"),
        ("[{results: [{metrics: [3]}]}]", "a metric of model-index"),
        ("[{results: [{metrics: [{type: 3}]}]}]", "type of a metric"),
    ],
)
def test_an_index_that_is_built_otherwise(index: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"x: {said}"):
        claims_of(f"---\nmodel-index: {index}\n---\n", "x")


def test_the_block_claims_what_was_a_number() -> None:
    block = {"metrics": {"accuracy": {"value": 0.9, "low": 0.8}, "f1": 0.5, "r2": {"value": float("nan")}, "loss": {}}}
    assert [(each.metric, each.place, each.claimed) for each in of_the_block(block)] == [
        ("accuracy", "block", 0.9), ("f1", "block", 0.5), ("loss", "block", None),
    ]  # fmt: skip
    assert of_the_block({}) == of_the_block({"metrics": [1]}) == []


def test_two_values_of_one_metric_in_one_place() -> None:
    claims = [
        Claim("f1", "text", 0.9, verdict="holds"), Claim("f1", "text", 0.8, verdict="does not hold"),
        Claim("f1", "block", 0.7, verdict="holds"), Claim("loss", "text", 0.9, verdict="holds"),
        Claim("loss", "text", 0.9, verdict="holds"), Claim("loss", "text", 0.1, verdict=OTHER_DATA),
    ]  # fmt: skip
    assert [each.verdict for each in contradicted(claims)] == [
        TWICE, "does not hold", "holds", "holds", "holds", OTHER_DATA,
    ]  # fmt: skip


def test_what_was_measured_and_is_not_claimed() -> None:
    found = {
        "metrics": {
            "accuracy": {"value": 0.9, "low": 0.8, "high": 1.0}, "f1_macro": {"value": 0.5, "low": 0.4, "high": 0.6},
            "r2": {"value": float("nan"), "low": float("nan"), "high": float("nan")},
        }
    }  # fmt: skip
    claims = [
        Claim("F1, macro", "block", 0.5),
        Claim("accuracy", "text", 0.9),
        Claim("accuracy", "block", 1, verdict=OTHER_DATA),
    ]
    assert left_out(claims, found, "block") == [Claim("accuracy", "block", None, 0.9, 0.8, 1.0, LEFT_OUT)]
    assert [each.metric for each in left_out(claims, found, "text")] == ["f1_macro"]


def test_one_row_of_few_may_have_changed() -> None:
    """Of 50 rows one is 0.02; of 2000 the rounding of 0.002 is more."""
    for samples, near in ((50, 0.02), (2000, 0.002)):
        found = measured(samples=samples, low=0.9, high=0.9)
        for sign in (1, -1):
            assert verdict(0.9 + sign * 0.95 * near, True, found) == "holds"
            assert verdict(0.9 + sign * 1.05 * near, True, found) == FALSE
    found = measured(value=300.0, low=290.0, high=310.0, samples=50)  # above 1 it is relative
    assert verdict(305.9, True, found) == "holds" and verdict(306.1, True, found) == FALSE


@pytest.mark.parametrize("key", ["type", "config", "split", "revision"])
def test_another_part_of_the_data_is_other_data(key: str) -> None:
    first = {"type": "imdb", "config": "plain", "split": "test", "revision": "c0ffee"}
    results = [
        {"dataset": source, "metrics": [{"type": "accuracy", "value": 0.9}]}
        for source in (first, {**first, key: "another"}, {name: first[name] for name in first if name != key})
    ]
    card = f"---\n{json.dumps({'model-index': [{'name': 'x', 'results': results}]})}\n---\n"
    assert [each.verdict for each in claims_of(card, "x")] == ["", OTHER_DATA, OTHER_DATA]
    given = {name: first[name] for name in first if name != key}  # it is not said which
    assert [each.verdict for each in claims_of(card, "x", given)] == ["", "", ""]
