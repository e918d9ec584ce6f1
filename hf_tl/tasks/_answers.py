"""Answers that are spans of a context: checked, found among tokens, compared as SQuAD does. Not a task (leading
underscore)."""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

MAX_ANSWER_TOKENS = 30
"""Tokens that an answer may have."""


def check_answers(context: str, given: Any) -> dict[str, list[Any]]:
    """`text` and `answer_start` as lists, of a record of lists, a list of records or one record.

    Raises:
        ValueError: what is wrong, such as an answer that does not stand where it says.
    """
    from hf_tl.data.answers import whole

    if given is None:
        raise ValueError("the answers are missing (a question without an answer has an empty list)")
    if isinstance(given, dict):
        columns = [given["text"], given["answer_start"]]
        texts, starts = (list(each) if isinstance(each, list) else [] if each is None else [each] for each in columns)
    else:
        texts, starts = [each["text"] for each in given], [each["answer_start"] for each in given]
    if len(texts) != len(starts):
        raise ValueError(f"{len(texts)} answers have {len(starts)} values of answer_start")
    places = [whole(start) for start in starts]
    for text, start, place in zip(texts, starts, places, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise ValueError("an answer is empty (a question without an answer has an empty list)")
        if place < 0 or context[place : place + len(text)] != text:
            elsewhere = context.find(text)
            hint = f"it stands at {elsewhere}" if elsewhere >= 0 else "it is not in the context"
            raise ValueError(f"the answer {text[:40]!r} does not stand at character {start} of the context ({hint})")
    return {"text": texts, "answer_start": places}


def tokens_of(answers: dict[str, list[Any]], offsets: list[list[int]]) -> tuple[int, int] | None:
    """First and last token of the first answer; None where the window does not hold all of it."""
    if not answers["text"]:
        return None
    text, first = answers["text"][0], answers["answer_start"][0]
    last = first + len(text.rstrip())
    first += len(text) - len(text.lstrip())
    context = [at for at, (start, _) in enumerate(offsets) if start >= 0]
    inside = [at for at in context if offsets[at][0] < last and offsets[at][1] > first]
    if not inside or offsets[context[0]][0] > first or offsets[context[-1]][1] < last:
        return None
    return inside[0], inside[-1]


def best_span(logits: np.ndarray, context: list[bool], null_index: int) -> tuple[float, int, int, float]:
    """(score, first token, last token, score of no answer) of a window.

    Args:
        logits: float32 (2, tokens), of start and end.
        context: (tokens,), whether a token may be in an answer.
        null_index: the token that stands for no answer.
    """
    import numpy as np
    from scipy.special import softmax

    candidates = np.array(context)
    candidates[null_index] = True
    probabilities = softmax(np.where(candidates, logits.astype(np.float64), -np.inf), axis=-1)
    none = float(probabilities[0, null_index] * probabilities[1, null_index])
    probabilities[:, null_index] = 0
    starts, ends = (
        probabilities[0],
        np.concatenate([probabilities[1], np.zeros(MAX_ANSWER_TOKENS - 1, probabilities.dtype)]),
    )
    spans = starts[:, None] * np.lib.stride_tricks.sliding_window_view(
        ends, MAX_ANSWER_TOKENS
    )  # (tokens, MAX_ANSWER_TOKENS): by length
    first, more = divmod(int(spans.argmax()), MAX_ANSWER_TOKENS)
    return float(spans[first, more]), first, first + more, none


def normal(text: str) -> str:
    """As SQuAD compares answers: lower case, without punctuation, articles and superfluous space."""
    text = "".join(sign for sign in text.lower() if sign not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_and_f1(answer: str, truths: list[str]) -> tuple[float, float]:
    """The official SQuAD scores of one answer (Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250): the best over
    the true answers; where there are none, whether the answer is empty."""
    said = normal(answer).split()
    exact = f1 = 0.0
    for truth in truths or [""]:
        true = normal(truth).split()
        exact = max(exact, float(said == true))
        same = sum((Counter(said) & Counter(true)).values())
        if not said or not true:
            f1 = max(f1, float(said == true))
        elif same:
            f1 = max(f1, 2 * same / (len(said) + len(true)))
    return exact, f1
