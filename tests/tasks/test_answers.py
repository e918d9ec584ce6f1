"""Spans of a context that answer: which tokens they are, which is likeliest, and SQuAD's comparison, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hf_tl.tasks._answers import best_span, check_answers, exact_and_f1, normal, tokens_of


def log(*rows: list[float]) -> np.ndarray:
    return np.log(np.array(rows)).astype(np.float32)


def test_the_likeliest_span_and_the_score_of_none() -> None:
    """Probabilities of (no answer, a, b): start 0.1, 0.6, 0.3 and end 0.2, 0.3, 0.5."""
    logits = log([0.1, 0.6, 0.3], [0.2, 0.3, 0.5])
    assert best_span(logits, [False, True, True], 0) == pytest.approx((0.6 * 0.5, 1, 2, 0.1 * 0.2))
    # tokens of the question count for nothing, however likely: 0.2, 0.2 and 0.6 are left of the ends
    logits = log([0.1, 0.6, 0.3, 50.0], [0.1, 0.1, 0.3, 50.0])
    assert best_span(logits, [False, True, True, False], 0) == pytest.approx((0.6 * 0.6, 1, 2, 0.1 * 0.2))


def test_an_answer_ends_where_it_begins_or_later_and_is_no_mark() -> None:
    logits = log([0.1, 0.1, 0.8], [0.1, 0.8, 0.1])  # the end stands before the start: a alone, b alone or both
    assert best_span(logits, [False, True, True], 0)[:3] == pytest.approx((0.1 * 0.8, 1, 1))
    logits = log([0.9, 0.06, 0.04], [0.9, 0.03, 0.07])  # the mark of no answer is no token of an answer
    assert best_span(logits, [False, True, True], 0) == pytest.approx((0.06 * 0.07, 1, 2, 0.81))
    logits = log([0.2, 0.3, 0.5], [0.1, 0.6, 0.3])  # the mark may stand last, or among the tokens
    assert best_span(logits, [True, False, True], 1) == pytest.approx((0.5 * 0.3, 2, 2, 0.3 * 0.6))


def test_an_answer_has_at_most_thirty_tokens() -> None:
    logits = np.zeros((2, 40), dtype=np.float32)
    logits[0, 3], logits[1, 33], logits[1, 32] = 30.0, 30.0, 20.0  # 31 tokens and 30
    assert best_span(logits, [False] + [True] * 39, 0)[1:3] == (3, 32)
    logits[1, 32] = 0.0
    logits[1, 31] = 20.0
    assert best_span(logits, [False] + [True] * 39, 0)[1:3] == (3, 31)


OFFSETS = [[-1, -1], [0, 3], [4, 8], [9, 12], [-1, -1]]  # "the film was" between two marks


@pytest.mark.parametrize(
    ("text", "start", "tokens"),
    [
        ("film", 4, (2, 2)), ("the film", 0, (1, 2)), ("film was", 4, (2, 3)), ("il", 5, (2, 2)),
        (" film", 3, (2, 2)), ("was ", 9, (3, 3)), (" the", -1, (1, 1)),  # space around an answer is none of it
        ("was good", 9, None), ("so the", -3, None), ("song", 20, None),  # not all of it is in the window
    ],
)  # fmt: skip
def test_the_tokens_of_an_answer(text: str, start: int, tokens: tuple[int, int] | None) -> None:
    assert tokens_of({"text": [text, "was"], "answer_start": [start, 9]}, OFFSETS) == tokens


def test_tokens_that_touch() -> None:
    """Pieces of a word have no space between them; only those inside are the answer's."""
    pieces = [[0, 1], [1, 2], [2, 3]]
    assert tokens_of({"text": ["b"], "answer_start": [1]}, pieces) == (1, 1)
    assert tokens_of({"text": [], "answer_start": []}, pieces) is None


@pytest.mark.parametrize(
    ("text", "plain"),
    [("The  FILM!", "film"), ("an apple, a day", "apple day"), ("another theatre", "another theatre"),
     ("U.S.-based", "usbased"), ("the", ""), ("#1 (of 3)", "1 of 3")],
)  # fmt: skip
def test_answers_are_compared_as_squad_does(text: str, plain: str) -> None:
    assert normal(text) == plain


@pytest.mark.parametrize(
    ("answer", "truths", "expected"),
    [
        ("good", ["good", "very good"], (1.0, 1.0)),  # the best of several, wherever it stands
        ("good", ["very good", "good"], (1.0, 1.0)),
        ("good film", ["good", "good film so", "bad"], (0.0, 4 / 5)),
        ("good good film", ["good film film"], (0.0, 2 * 2 / 6)),  # words count as often as they are there
        ("very very", ["very"], (0.0, 2 / 3)),
        ("very very", ["very very good"], (0.0, 2 * 2 / 5)),
        ("film", ["the", "a film"], (1.0, 1.0)),
        ("the", [], (1.0, 1.0)),  # nothing is left of it
    ],
)
def test_exact_match_and_f1(answer: str, truths: list[str], expected: tuple[float, float]) -> None:
    assert exact_and_f1(answer, truths) == pytest.approx(expected)


def test_an_answer_stands_at_no_place_from_the_end() -> None:
    with pytest.raises(ValueError, match=r"'film' does not stand at character -8 .*it stands at 4"):
        check_answers("the film was", {"text": ["film"], "answer_start": [-8]})
