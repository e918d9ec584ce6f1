"""How answers are compared before anything is shared: every row, every part, both ways, within the tolerance."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hf_tl.errors import ProofError
from hf_tl.sharing import proof
from hf_tl.sharing.proof import ADAPTER_TOLERANCE, TOLERANCE, Copy, changes, compare, difference

NAN, INFINITE = float("nan"), float("inf")


def same(mine: Any, other: Any, tolerance: float = 1e-4) -> bool:
    return difference([{"x": mine}], [{"x": other}], tolerance) is None


def test_tolerances_are_what_the_documents_say() -> None:
    assert (TOLERANCE, ADAPTER_TOLERANCE) == (1e-4, 1e-3)
    assert Copy("it", Path()).tolerance == 1e-4 and Copy("it", Path(), base="b").tolerance == 1e-3


@pytest.mark.parametrize(
    ("mine", "other", "alike"),
    [
        (0.5, 0.50009, True), (0.5, 0.49991, True),  # either way
        (0.5, 0.50011, False), (0.5, 0.49989, False), (0.5, 0.0, False), (0.0, 0.9, False), (0.0, -0.9, False),
        (0.0, 9e-5, True), (0.0, 2e-4, False),  # below 1 it is not relative
        (1000.0, 1000.09, True), (1000.0, 999.91, True), (1000.0, 1000.2, False), (1000.0, 999.8, False),
        (-1000.0, -1000.09, True), (-1000.0, -999.8, False), (-0.5, 0.5, False),
        (NAN, NAN, True), (INFINITE, INFINITE, True),
        (INFINITE, -INFINITE, False), (NAN, 0.0, False), (0.0, NAN, False),
        (INFINITE, 1.0, False), (1.0, INFINITE, False),
        (10, 11, True), (11, 10, True), (10, 12, False), (12, 10, False),  # pixels
        (10, 10.5, False), (10.5, 10, False), (10, 10.0, True),
        ("a", "a", True), ("a", "b", False), ("1", 1, False),
        (None, None, True), (None, 0.0, False), (0.0, None, False),
        ([0.1, 0.2], [0.1, 0.2], True), ([0.1, 0.2], [0.2, 0.1], False), ([0.1, 0.2], [0.1], False),
        ([0.1], [0.1, 0.2], False), ([], [0.1], False), ([0.1], [], False), ([], [], True),
        ({"a": 1.0}, {"a": 1.0}, True), ({"a": 1.0}, {"b": 1.0}, False), ({"a": 1.0}, {"a": 1.0, "b": 0.0}, False),
        ([[0.1, 0.2], [0.3]], [[0.1, 0.2], [0.4]], False), ([{"a": [0.5]}], [{"a": [0.6]}], False),
        ([0.1], 0.1, False), ({"a": 1.0}, 1.0, False),
    ],
)  # fmt: skip
def test_two_values_are_the_same_within_the_tolerance(mine: Any, other: Any, alike: bool) -> None:
    assert same(mine, other) == alike


def test_the_tolerance_is_the_one_that_is_given() -> None:
    assert same(0.5, 0.5009, 1e-3) and not same(0.5, 0.5011, 1e-3) and not same(0.5, 0.5009, 1e-4)
    assert same(0.5, 0.625, 0.125) and not same(0.5, 0.62501, 0.125)  # itself included


def test_every_row_is_compared_and_named() -> None:
    rows = [{"scores": {"a": 0.75, "b": 0.25}, "label": "a"} for _ in range(4)]
    for wrong in range(4):
        theirs: list[Any] = [dict(row) for row in rows]
        theirs[wrong] = {"scores": {"a": 0.75, "b": 0.2}}
        assert difference(rows, theirs, 1e-4) == f"row {wrong}, scores b: 0.25 measured, 0.2 now"
    assert difference(rows, rows, 1e-4) is None


def test_fewer_or_more_rows_are_a_difference() -> None:
    rows = [{"label": "a"}, {"label": "b"}]
    assert difference(rows, rows[:1], 1e-4) == "2 rows measured, 1 now"
    assert difference(rows[:1], rows, 1e-4) == "1 rows measured, 2 now"
    assert difference(rows, [], 1e-4) == "2 rows measured, 0 now" and difference([], [], 1e-4) is None


def test_a_row_may_have_fewer_parts_but_no_other_ones() -> None:
    ours = [{"scores": {"a": 0.75, "b": 0.25}, "label": "a"}]
    assert difference(ours, [{"label": "a"}], 1e-4) is None
    assert difference(ours, [{"scores": {"a": 0.75}}], 1e-4) is None
    assert difference(ours, [{"answer": "a"}], 1e-4) == 'row 0, answer: null measured, "a" now'
    assert difference(ours, [{"label": "a", "scores": {"c": 0.1}}], 1e-4) == "row 0, scores: a, b measured, c now"
    nested = [{"boxes": [{"label": "a", "box": {"xmin": 4}}, {"label": "b", "box": {"xmin": 9}}]}]
    moved = [{"boxes": [{"label": "a", "box": {"xmin": 4}}, {"label": "b", "box": {"xmin": 40}}]}]
    assert difference(nested, moved, 1e-4) == "row 0, boxes 1 box xmin: 9 measured, 40 now"
    assert difference(nested, [{"boxes": nested[0]["boxes"][:1]}], 1e-4) == "row 0, boxes: 2 measured, 1 now"


def test_long_values_are_shortened() -> None:
    said = difference([{"text": "x" * 200}], [{"text": "y" * 200}], 1e-4)
    assert said is not None and len(said) < 200 and said.count("…") == 2
    assert difference([{"v": 1 / 3}], [{"v": 0.5}], 1e-4) == "row 0, v: 0.333333 measured, 0.5 now"
    names = [{"scores": dict.fromkeys("abcdef", 0.0)}]
    assert "a, b, c, d and 2 more measured, z now" in str(difference(names, [{"scores": {"z": 0.0}}], 1e-4))


# Of each copy


def answering(monkeypatch: pytest.MonkeyPatch, *found: Any) -> None:
    monkeypatch.setattr(proof, "_results", lambda *words: list(found))


KNOWN: dict[str, Any] = {
    "answers": [{"score": 0.5}, {"score": 0.25}], "configuration": {"id2label": {"0": "a"}, "same": 1},
    "files": {"config.json": "1", "model.safetensors": "2", "gone": "3"},
    "tensors": {"model.safetensors": {"a": "1", "b": "2", "c": "3"}},
}  # fmt: skip


def test_each_copy_has_to_answer_within_its_own_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, adapter = Copy("the model", Path()), Copy("the adapter", Path(), base="b")
    good, near = {"found": KNOWN["answers"]}, {"found": [{"score": 0.5005}, {"score": 0.25}]}
    run: Any = SimpleNamespace()
    answering(monkeypatch, good, near)
    compare(run, [whole, adapter], KNOWN)
    answering(monkeypatch, near, good)
    with pytest.raises(
        ProofError, match=r"the model: its predictions differ from those that were measured: row 0, score"
    ):
        compare(run, [whole, adapter], KNOWN)
    answering(monkeypatch, good, {"found": [{"score": 0.5}, {"score": 0.2}]})
    with pytest.raises(ProofError, match=r"the adapter: .*row 1, score: 0.25 measured, 0.2 now"):
        compare(run, [whole, adapter], KNOWN)
    answering(monkeypatch, good, {"found": [{"score": 0.5}]})
    with pytest.raises(ProofError, match=r"the adapter: .*2 rows measured, 1 now"):
        compare(run, [whole, adapter], KNOWN)
    answering(monkeypatch, {"error": "OSError: no such file"}, good)
    with pytest.raises(
        ProofError, match=r"the model: it cannot be loaded in a clean process \(OSError: no such file\)"
    ):
        compare(run, [whole, adapter], KNOWN)


def test_what_has_changed_since_is_named_beside_the_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, {"found": []})
    now = {**KNOWN, "files": {**KNOWN["files"], "config.json": "9"}, "configuration": {"id2label": {}, "same": 1}}
    with pytest.raises(ProofError, match=r"0 now; since it was measured, config.json has changed \(id2label\)"):
        compare(SimpleNamespace(), [Copy("it", Path())], KNOWN, now)  # type: ignore[arg-type]


def test_changes_of_files_name_what_is_inside() -> None:
    assert changes(KNOWN, json.loads(json.dumps(KNOWN))) == []
    now = {
        "files": {"config.json": "9", "model.safetensors": "9", "new": "1"},
        "configuration": {"id2label": {"0": "b"}, "same": 1, "more": 2},
        "tensors": {"model.safetensors": {"a": "1", "b": "9", "d": "3"}},
    }  # fmt: skip
    assert changes(KNOWN, now) == [
        "config.json has changed (id2label, more)", "gone is missing", "model.safetensors has changed (b, c, d)",
        "new has come",
    ]  # fmt: skip
    assert changes({**KNOWN, "files": {"x": "1"}}, {**KNOWN, "files": {"x": "2"}}) == ["x has changed"]
