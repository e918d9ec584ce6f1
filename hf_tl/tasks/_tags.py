"""Tags of words and the entities that they spell. Not a task (leading underscore)."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Any

from hf_tl.task import Targets
from hf_tl.tasks._scripts import UNSPACED

if TYPE_CHECKING:
    from hf_tl.metrics.intervals import Measurement

SIGN = re.compile(f"[{UNSPACED}]")


def words_in(text: str) -> list[tuple[int, int]]:
    """(start, end) of the words of a text that is annotated by character spans: runs of letters and digits, and every
    other sign. Where words have no spaces between them each letter is one. Marks, such as vowel signs, belong to the
    letter that they are written on."""
    found: list[tuple[int, int]] = []
    joins = False  # whether a letter that follows belongs to the word before
    for at, sign in enumerate(text):
        mark = unicodedata.category(sign).startswith("M")
        letter = (sign.isalnum() or sign == "_") and not SIGN.match(sign)
        if sign.isspace():
            joins = False
        elif found and found[-1][1] == at and (mark or (letter and joins)):
            found[-1] = (found[-1][0], at + 1)
        else:
            found.append((at, at + 1))
            joins = letter
    return found


IGNORED = "-100"
"""A tag that is neither learned nor measured: PyTorch's `ignore_index`, as prepared datasets have it."""


def tag_name(tag: Any, names: list[str] | None, outside: bool) -> str:
    """The name of a tag.

    Args:
        names: of tags that are numbers.
        outside: whether 0 is `O`.

    Raises:
        ValueError: there is no tag, or none of that number.
    """
    text = "" if tag is None else str(tag).strip()
    if not text or text.lower() == "nan":
        raise ValueError("a tag is missing")
    if text == IGNORED:
        return IGNORED
    if names is not None:
        if not 0 <= tag < len(names):
            raise ValueError(f"tag {tag} is none of the {len(names)} that have names")
        return names[int(tag)]
    return "O" if outside and text == "0" else text


def as_records(spans: Any) -> list[dict[str, Any]]:
    """Spans as a list of records, also where Arrow keeps them as a record of lists."""
    if isinstance(spans, dict):
        return [dict(zip(spans, values, strict=True)) for values in zip(*spans.values(), strict=True)]
    return list(spans or [])


def tag_words(text: str, spans: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """(words, BIO tags) of a text with character spans.

    Raises:
        ValueError: a span outside the text, inside a word, or over another.
    """
    found = words_in(text)
    tags = ["O"] * len(found)
    for span in spans:
        start, end, label = int(span["start"]), int(span["end"]), str(span["label"])
        if not 0 <= start < end <= len(text):
            raise ValueError(f"span {start} to {end} ({label}) is outside the text of {len(text)} characters")
        inside = [index for index, (first, last) in enumerate(found) if first < end and last > start]
        if not inside or found[inside[0]][0] < start or found[inside[-1]][1] > end:
            raise ValueError(f"span {start} to {end} ({label}, {text[start:end]!r}) does not begin and end with words")
        if any(tags[index] != "O" for index in inside):
            raise ValueError(f"span {start} to {end} ({label}) lies over another")
        for index in inside:
            tags[index] = f"{'B' if index == inside[0] else 'I'}-{label}"
    return [text[first:last] for first, last in found], tags


def parts(tag: str) -> tuple[str, str]:
    """(`B`, `I` or `O`, entity); a tag without a prefix is the inside of an entity, as in the stock pipeline."""
    if tag == "O":
        return "O", ""
    match = re.fullmatch(r"([BILUSEilusebm])[-_](.+)", tag)
    if match is None:
        return "I", tag
    return ("B" if match.group(1).upper() in "BUS" else "I"), match.group(2)


def entities(tags: list[str], each_word: bool) -> set[tuple[str, int, int]]:
    """(entity, first, last) of a row's tags, by seqeval. With `each_word`, where no tag says `O`, each word is one."""
    from seqeval.metrics.sequence_labeling import get_entities

    plain = [("B", parts(tag)[1]) if each_word else parts(tag) for tag in tags]
    return set(get_entities([position if position == "O" else f"{position}-{name}" for position, name in plain]))


def spans_of(tags: list[str], words: list[str], starts: list[int], each_word: bool) -> set[tuple[str, int, int]]:
    """(entity, start, end) of each entity that tags of words spell, in characters.

    Args:
        starts: where each word begins.
    """
    return {(kind, starts[a], starts[b] + len(words[b])) for kind, a, b in entities(tags, each_word)}


def zero_is_outside(splits: Any, known: Targets | None, notes: list[str]) -> bool:
    """Whether the tags are numbers without names of which 0, the most frequent, stands for no entity."""
    values = splits[next(iter(splits))].with_format(None)["tags"]
    counts = Counter(tag for row in values for tag in row or () if tag is not None and tag != -100)
    if not all(isinstance(tag, int) for tag in counts):
        return False
    if known is not None:
        return "O" in known.labels and "0" not in known.labels
    if len(counts) < 2 or counts.most_common(1)[0][0] != 0:
        return False
    notes.append("The tags are numbers without names; 0, the most frequent, is taken for O, which is no entity.")
    return True


def measured(counts: Any, right: Any, majority: Any, kinds: list[str], options: Any) -> Measurement:
    """Metrics of `counts` (rows, right/predicted/true, kinds) of entities and `right` (rows, right/all) of words."""
    import numpy as np

    from hf_tl.metrics.intervals import Measurement, Score, with_intervals

    sums = counts.sum(2)

    def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        out: np.ndarray = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
        return out

    total = sums.sum(0, keepdims=True)
    recomputes = {
        "f1": (sums, lambda s: ratio(2 * s[:, 0], s[:, 1] + s[:, 2])),
        "precision": (sums, lambda s: ratio(s[:, 0], s[:, 1])),
        "recall": (sums, lambda s: ratio(s[:, 0], s[:, 2])),
    }
    scores = {
        name: Score(float(recompute(total)[0]), part, recompute) for name, (part, recompute) in recomputes.items()
    }
    scores["accuracy"] = Score(float(right[:, 0].sum() / right[:, 1].sum()), right, lambda s: ratio(s[:, 0], s[:, 1]))
    per_class = []
    for kind, (hit, predicted, true_count) in zip(kinds, counts.sum(0).T, strict=True):
        per_class.append(
            {
                "label": kind,
                "precision": float(hit / predicted) if predicted else 0.0,
                "recall": float(hit / true_count) if true_count else 0.0,
                "f1": float(2 * hit / (predicted + true_count)) if predicted + true_count else 0.0,
                "support": int(true_count),
            }
        )
    baseline = {"accuracy": float(majority.max() / majority.sum())}
    return Measurement(with_intervals(scores, len(counts), **options), per_class, baseline=baseline)
