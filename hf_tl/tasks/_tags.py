"""Tags of words and the entities that they spell. Not a task (leading underscore)."""

from __future__ import annotations

import re
from typing import Any

WORD = re.compile(r"\w+|[^\w\s]")
"""Words of a text that is annotated by character spans: runs of letters and digits, and every other sign."""


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
    found = list(WORD.finditer(text))
    tags = ["O"] * len(found)
    for span in spans:
        start, end, label = int(span["start"]), int(span["end"]), str(span["label"])
        if not 0 <= start < end <= len(text):
            raise ValueError(f"span {start} to {end} ({label}) is outside the text of {len(text)} characters")
        inside = [index for index, word in enumerate(found) if word.start() < end and word.end() > start]
        if not inside or found[inside[0]].start() < start or found[inside[-1]].end() > end:
            raise ValueError(f"span {start} to {end} ({label}, {text[start:end]!r}) does not begin and end with words")
        if any(tags[index] != "O" for index in inside):
            raise ValueError(f"span {start} to {end} ({label}) lies over another")
        for index in inside:
            tags[index] = f"{'B' if index == inside[0] else 'I'}-{label}"
    return [word.group() for word in found], tags


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
