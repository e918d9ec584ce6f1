"""What `tokenizer.json` of somebody else may cost: the library in Rust that runs it has no bounds of its own, cannot be
interrupted, and ends the process where its reading fails."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hf_tl.errors import ModelError
from hf_tl.io.json_text import read_object

BYTES = 200_000_000
PARTS = 100
"""Normalizers, pre-tokenizers and decoders of a tokenizer; most have two or three."""
TEXT = 100
"""Characters that one of them adds."""
GROWTH = 1_000
"""Times as long as it was may a text become before it is cut into tokens."""
PATTERN = 10_000
CHOICES = 12
"""Parts of one alternative of a regular expression that may be tried in several ways."""
WORD = 10_000
"""Characters of a word that is cut into pieces, which takes the square of it."""
PADDED = 100_000
_QUANTIFIER = re.compile(r"([*+?]|\{(\d*)(,?)(\d*)\})[?+]?")
_LONG_ESCAPE = re.compile(r"\\(?:[pPx]\{[^}]*\}|.)", re.S)


def check_tokenizer_json(file: Path) -> None:
    """A `tokenizer.json`, before it is run.

    Raises:
        ModelError: it is damaged, or would take time or memory out of proportion to the texts; names file and place.
    """
    found = read_object(file, error=ModelError, nan=True, most=BYTES)
    count = 0
    for place in ("normalizer", "pre_tokenizer", "decoder", "post_processor"):
        growth = 1.0
        for part in _parts(found.get(place)):
            count += 1
            growth *= _check_part(file, place, part)
            if growth > GROWTH:
                raise ModelError(f"{file}: {place} makes texts more than {GROWTH:,} times longer.")
            if count > PARTS:
                raise ModelError(f"{file}: {place} has more than {PARTS} parts.")
    _check_model(file, found.get("model"))
    _check_padding(file, found.get("padding"))


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    """The objects of a `type`, in order, those in sequences too."""
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, Mapping):
            if isinstance(each.get("type"), str):
                yield each
            todo += reversed([item for item in each.values() if isinstance(item, (dict, list))])
        elif isinstance(each, list):
            todo += reversed([item for item in each if isinstance(item, (dict, list))])


def _check_part(file: Path, place: str, part: Mapping[str, Any]) -> float:
    """How many times longer it may make a text."""
    kind = part["type"]
    for key in ("content", "prepend", "replacement", "pattern"):
        value = part.get(key)
        if isinstance(value, str) and len(value) > TEXT:
            raise ModelError(f"{file}: {place} ({kind}) has a text of {len(value):,} characters, expected {TEXT}.")
    pattern = part.get("pattern")
    expression = pattern.get("Regex") if isinstance(pattern, Mapping) else None
    literal = pattern.get("String") if isinstance(pattern, Mapping) else None
    if isinstance(expression, str) and is_slow(expression):
        shown = expression if len(expression) <= 60 else f"{expression[:59]}…"
        raise ModelError(
            f"{file}: {place} ({kind}) has the regular expression {shown!r}, which may take for ever: "
            "what repeats or chooses is repeated in it."
        )
    if kind == "Precompiled" and not _is_charsmap(part.get("precompiled_charsmap")):
        raise ModelError(f"{file}: {place} (Precompiled) holds a damaged precompiled_charsmap.")
    for key in ("single", "pair"):
        if isinstance(part.get(key), list) and len(part[key]) > PARTS:
            raise ModelError(f"{file}: {place} ({kind}) puts {len(part[key]):,} parts around a text.")
    named = part.get("special_tokens")
    for each in named.values() if isinstance(named, Mapping) else ():
        if isinstance(each, Mapping) and len(each.get("ids") or ()) > PARTS:
            raise ModelError(f"{file}: {place} ({kind}) has a special token of {len(each['ids']):,} ids.")
    content = part.get("content")
    if kind != "Replace" or not isinstance(content, str):
        return 2.0 if kind == "ByteLevel" and place == "normalizer" else 1.0
    if isinstance(literal, str):
        return max(1.0, len(content) / len(literal)) if literal else 1.0 + len(content)
    return 1.0 + len(content) if len(content) > 1 else 1.0 + (_may_be_empty(expression) and len(content))


def _may_be_empty(expression: Any) -> bool:
    """Whether an expression may match between any two characters: where nothing in it has to be there."""
    plain = re.sub(r"\(\?[^)]*\)|[\^$]|\\[bB]", "", str(expression))
    return not plain or bool(re.search(r"[*?|]|\{0?,", plain) and not re.search(r"\+|\{[1-9]", plain))


def is_slow(pattern: str) -> bool:
    """Whether trying a regular expression may take longer than any text is worth: something that can be matched in
    several ways stands in what is repeated, or there is too much of it in a row."""
    if len(pattern) > PATTERN:
        return True
    frames: list[list[int]] = [[0, 0, 0]]  # most ways of an alternative, ways of this one, alternatives before it
    at = 0
    while at < len(pattern):
        inner, end = 0, at + 1
        sign = pattern[at]
        if sign == "\\":
            end = at + len((_LONG_ESCAPE.match(pattern, at) or [sign])[0])
        elif sign == "[":
            end = _after_class(pattern, at)
            if end < 0:
                return True
        elif sign == "(":
            head = re.compile(r"\(\?(?:[imsx-]*[:)]|<?[=!]|>|<\w+>)?").match(pattern, at)
            at = head.end() if head else end
            if not (head and head[0].endswith(")")):
                frames.append([0, 0, 0])
            continue
        elif sign == "|":
            most, ways, before = frames[-1]
            frames[-1] = [max(most, ways), 0, before + 1]
            at = end
            continue
        elif sign == ")" and len(frames) > 1:
            most, ways, before = frames.pop()
            inner = max(most, ways) + (before > 0)
        times, variable, end = _quantifier(pattern, end)
        if inner and times > 1:
            if times > CHOICES:
                return True
            inner *= times
        frames[-1][1] += inner + variable
        if frames[-1][1] > CHOICES:
            return True
        at = end
    return False


def _quantifier(pattern: str, at: int) -> tuple[int, int, int]:
    """(how often the part before `at` may be repeated, 1 if that is not fixed, where the pattern goes on)."""
    found = _QUANTIFIER.match(pattern, at)
    if not found:
        return 1, 0, at
    if found[1] in "*+?":
        return (1 if found[1] == "?" else PATTERN), 1, found.end()
    if not (found[2] or found[4]):
        return 1, 0, at + 1  # a brace that stands for itself
    least = int(found[2][:6] or 0)
    most = least if not found[3] else int(found[4][:6]) if found[4] else PATTERN
    return most, int(most != least), found.end()


def _after_class(pattern: str, at: int) -> int:
    """The place behind `[...]`, in which others may lie; -1 where it does not end."""
    depth, start = 0, at
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 1
        elif pattern[at] == "[":
            depth += 1
            start = at + 1 + (pattern[at + 1 : at + 2] == "^")
        elif pattern[at] == "]" and at != start:
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return -1


def _is_charsmap(value: Any) -> bool:
    """Whether it begins with the length of a table that is there: the library goes by it unchecked."""
    if value is None:
        return True
    try:
        content = base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        return False
    size = int.from_bytes(content[:4], "little")
    if len(content) < 4 or size % 4 or size > len(content) - 4:
        return False
    try:
        content[4 + size :].decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _check_model(file: Path, model: Any) -> None:
    if not isinstance(model, Mapping):
        return
    for key in ("continuing_subword_prefix", "end_of_word_suffix", "unk_token"):
        value = model.get(key)
        if isinstance(value, str) and len(value) > TEXT:
            raise ModelError(f"{file}: model.{key} has {len(value):,} characters, expected {TEXT}.")
    value = model.get("max_input_chars_per_word")
    if value is not None and (type(value) is not int or not 0 < value <= WORD):
        raise ModelError(f"{file}: model.max_input_chars_per_word is {str(value)[:40]}, expected 1 to {WORD:,}.")


def _check_padding(file: Path, padding: Any) -> None:
    if not isinstance(padding, Mapping):
        return
    strategy = padding.get("strategy")
    fixed = strategy.get("Fixed") if isinstance(strategy, Mapping) else None
    for name, value in (("strategy.Fixed", fixed), ("pad_to_multiple_of", padding.get("pad_to_multiple_of"))):
        if value is not None and (type(value) is not int or not 0 <= value <= PADDED):
            raise ModelError(f"{file}: padding.{name} is {str(value)[:40]}, expected at most {PADDED:,}.")
