"""What `tokenizer.json` of somebody else may cost: the library in Rust that runs it has no bounds of its own, cannot be
interrupted, and ends the process where its reading fails."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
SHARING = 1
"""Parts in a row that may match any number of the same characters, before something that may fail."""
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


@dataclass
class _Alternative:
    """What is known of an alternative of a regular expression, up to a place in it."""

    ways: int = 0
    """Parts that may match in several ways."""
    endless: list[str | None] = field(default_factory=list)
    """Parts in a row that may match any number of characters, and may share these out among them; None for a group."""
    tried: int = 0
    """How many of them stand before something that may fail, at which all of their shares are tried."""

    def add(self, part: str | None, least: int, most: int, inside: _Alternative) -> None:
        """A part more, which has to match `least` times and may `most` times.

        Args:
            part: None for a group, whose alternatives are `inside`.
        """
        self.ways += inside.ways * max(1, most) + (least != most)
        fails = least > 0
        self.tried = max(self.tried, inside.tried + fails * len(self.endless), fails * len(self.endless))
        if fails and part is not None and all(_apart(each, part) for each in self.endless):
            self.endless = []  # it stands where they end, and nowhere else
        self.endless = self.endless + [None] * max(len(inside.endless), inside.tried)
        if most - least > CHOICES:
            self.endless.append(part)


def _apart(many: str | None, one: str) -> bool:
    """Whether `one` is a character that `many`, a class of characters, does not match; False where that is not sure."""
    plain = one if len(one) == 1 else one[1:] if re.fullmatch(r"\\\W", one) else ""
    if not plain or many is None or one in ".^$" or re.search(r"\\[^dws\W]|&&|\[:", many):
        return False
    with contextlib.suppress(re.error):
        return re.fullmatch(many, plain, re.I | re.S) is None
    return False


def is_slow(pattern: str) -> bool:
    """Whether trying a regular expression may take longer than any text is worth: something that can be matched in
    several ways stands in what is repeated, there is too much of it in a row, or two parts share the same characters
    out before something that may fail, which takes the cube of their number."""
    if len(pattern) > PATTERN:
        return True
    groups = [[_Alternative()]]
    at = 0
    while at < len(pattern):
        inside, end, part = _Alternative(), at + 1, None
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
                groups.append([_Alternative()])
            continue
        elif sign == "|":
            groups[-1].append(_Alternative())
            at = end
            continue
        if sign == ")" and len(groups) > 1:
            inside = _together(groups.pop())
        else:
            part = pattern[at:end]
        least, most, at = _quantifier(pattern, end)
        if inside.ways and most > CHOICES:
            return True
        groups[-1][-1].add(part, least, most, inside)
        if groups[-1][-1].ways > CHOICES or groups[-1][-1].tried > SHARING:
            return True
    return False


def _together(alternatives: list[_Alternative]) -> _Alternative:
    """A group, by the worst of its alternatives."""
    return _Alternative(
        max(each.ways for each in alternatives) + (len(alternatives) > 1),
        max((each.endless for each in alternatives), key=len),
        max(each.tried for each in alternatives),
    )


def _quantifier(pattern: str, at: int) -> tuple[int, int, int]:
    """(how often the part before `at` has to match, how often it may, where the pattern goes on)."""
    found = _QUANTIFIER.match(pattern, at)
    if not found:
        return 1, 1, at
    if found[1] in "*+?":
        return int(found[1] == "+"), 1 if found[1] == "?" else PATTERN, found.end()
    if not (found[2] or found[4]):
        return 1, 1, at + 1  # a brace that stands for itself
    least = int(found[2][:6] or 0)
    return least, least if not found[3] else int(found[4][:6]) if found[4] else max(PATTERN, least), found.end()


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
