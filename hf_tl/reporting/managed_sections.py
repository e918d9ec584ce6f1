"""A card that people may edit: hf_tl owns what lies between its markers, and the keys of the metadata that it wrote.

A marker is an HTML comment on a line of its own, which no rendering shows: `<!-- hf_tl:begin NAME -->` and
`<!-- hf_tl:end NAME -->`. A last comment, `<!-- hf_tl:wrote {...} -->`, remembers what hf_tl wrote, so that the next
push can tell what a person has changed or taken out since.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from hf_tl.errors import ConfigError
from hf_tl.io.card_text import read_card, split_card
from hf_tl.io.console import visible
from hf_tl.io.json_text import parse_json
from hf_tl.io.yaml_text import compose_yaml, parse_yaml

OWN_KEYS = frozenset(
    {"base_model", "base_model_relation", "co2_eq_emissions", "library_name", "metrics", "model-index", "pipeline_tag"}
)
"""Keys of the metadata that say what is so: always hf_tl's. Of its other keys a person's change stays."""
LICENSE = ("license", "license_name", "license_link")
"""Belong together: who changes one has changed the licence."""
TAG = "hf_tl"
"""Among the tags of every card that hf_tl has made."""
WROTE = "wrote"
_MARKER = re.compile(r"<!--[ \t]*hf_tl:(begin|end)[ \t]+([A-Za-z0-9_-]+)[ \t]*-->[ \t]*\r?\n?\Z")
_WROTE = re.compile(r"<!--[ \t]*hf_tl:wrote[ \t]+(\{.*\})[ \t]*-->[ \t]*\r?\n?\Z")
_CODE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)\n?")
_NONE: Any = object()


@dataclass(frozen=True)
class _Part:
    """A piece of a card's text: a section of hf_tl with its markers, its last comment, or (no name) a person's."""

    text: str
    name: str | None = None


@dataclass(frozen=True)
class _Card:
    metadata: str
    """YAML, without its `---` lines."""
    parts: tuple[_Part, ...]
    wrote: dict[str, Any] | None
    """What hf_tl wrote: `head` (key -> value, but for `OWN_KEYS`), `facts`, `sections`, `texts`; None: unknown."""

    @cached_property
    def sections(self) -> dict[str, str]:
        return {part.name: part.text for part in reversed(self.parts) if part.name not in (None, WROTE)}

    @cached_property
    def values(self) -> dict[str, Any]:
        return dict(_yaml(self.metadata) or {})

    def known(self, what: str) -> Any:
        return (self.wrote or {}).get(what) or ({} if what == "head" else [])


def remember(card: str) -> str:
    """A card that hf_tl has just made, with the comment that remembers what it wrote."""
    read = _read(card)
    wrote = {
        "head": {key: value for key, value in read.values.items() if key not in OWN_KEYS},
        "facts": [key for key in read.values if key in OWN_KEYS],
        "sections": list(reversed(read.sections)),
    }
    return f"{card.rstrip()}\n\n{_comment(wrote)}"


def merge_cards(ours: str, theirs: str) -> str:
    """`theirs` with hf_tl's sections and metadata as `ours` has them; everything else in it stays, byte for byte.

    A section whose markers are removed is not written again, and one without its second marker is left alone. What
    a person wrote into `ours` outside the markers is added, once, after the section that it stood after. A card that
    hf_tl did not make stays, above ours.

    Args:
        ours: what `remember` gives, or the result of a merge.
        theirs: any card; it may be empty.

    Raises:
        ConfigError: the metadata of one are not YAML.
    """
    mine, other = _read(ours), _read(theirs)
    wrote = {**(mine.wrote or {"head": {}, "facts": []})}
    wrote["sections"] = _union(other.known("sections"), mine.known("sections"), list(reversed(mine.sections)))
    texts = [_digest(part) for part in mine.parts if part.name is None and part.text.strip()]
    wrote["texts"] = _union(other.known("texts"), mine.known("texts"), texts)
    if not theirs.strip():
        return _assembled(mine.metadata, list(mine.parts), wrote) if mine.wrote is not None and texts else ours
    metadata = _merged_metadata(mine, other)
    made = other.sections or other.wrote or TAG in _strings(other.values.get("tags")) or "hf_tl:begin" in theirs
    if not made:
        above = "".join(part.text for part in other.parts)
        above = above + _closing(above)
        gap = "" if not above.strip() else "\n" if above.endswith("\n") else "\n\n"
        return _assembled(metadata, [_Part(above + gap), *_without_edge(mine.parts)], wrote)
    parts = _updated(mine, other)
    for after, text in _texts(mine):
        if _digest(text) not in other.known("texts") and not any(
            each.name is None and text.text.strip() in each.text for each in parts
        ):
            _insert(parts, after, text.text.strip() + "\n")
    return _assembled(metadata, parts, wrote)


def read_text(path: Path) -> str:
    """A card's text, its line ends as they are; nothing where there is no file.

    Raises:
        ConfigError: it is not UTF-8.
    """
    return read_card(path) if path.exists() else ""


def _read(card: str) -> _Card:
    metadata, body = split_card(card)
    if not isinstance(_yaml(metadata) or {}, dict):
        metadata, body = "", card
    parts = tuple(_parts(body))
    wrote = next((_remembered(part.text) for part in parts if part.name == WROTE), None)
    return _Card(metadata, parts, wrote)


def _yaml(metadata: str) -> Any:
    try:
        return parse_yaml(metadata, "README.md: the metadata of the card")
    except ConfigError as error:
        raise ConfigError(f"{visible(str(error)).rstrip('.')}; fix it there.") from None


def _parts(body: str) -> Iterator[_Part]:
    """Pieces of the body. A marker inside a code block is code, and a marker without its fellow is text."""
    lines = re.findall(r"[^\n]*\n|[^\n]+\Z", body)
    ends = _markers(lines)
    at, text = 0, ""
    while at < len(lines):
        stop, name = ends.get(at, (at, None))
        if name is None:
            text += lines[at]
        else:
            if text:
                yield _Part(text)
            yield _Part("".join(lines[at : stop + 1]), name)
            text = ""
        at = stop + 1
    if text:
        yield _Part(text)


def _markers(lines: list[str]) -> dict[int, tuple[int, str]]:
    """Line of a first marker -> line of its second and its name; nothing is inside anything else."""
    out: dict[int, tuple[int, str]] = {}
    opened: tuple[int, str] | None = None
    code = ""
    for at, line in enumerate(lines):
        before, code = code, _code(code, line)
        if before or code:
            continue
        if found := _MARKER.match(line):
            if found[1] == "begin":
                opened = (at, found[2])
            else:
                if opened and opened[1] == found[2]:
                    out[opened[0]] = (at, found[2])
                opened = None
        elif (found := _WROTE.match(line)) and _remembered(line) is not None:
            if opened is None:
                out[at] = (at, WROTE)
    return out


def _closing(text: str) -> str:
    """What ends a code block that is still open at the end of a text."""
    code = ""
    for line in text.split("\n"):
        code = _code(code, line)
    return f"{'' if text[-1:] == chr(10) else chr(10)}{code}\n" if code else ""


def _code(code: str, line: str) -> str:
    """What opened the code block that the text after this line is in, or nothing."""
    mark = _CODE.match(line)
    if mark is None:
        return code
    if code:
        return "" if mark[1].startswith(code) and not mark[2].strip() else code
    return "" if mark[1][0] == "`" and "`" in mark[2] else mark[1]


def _updated(mine: _Card, other: _Card) -> list[_Part]:
    """The pieces of the other card with our sections in their places."""
    parts, known = [], set(other.known("sections"))
    for part in other.parts:
        if part.name in mine.sections:
            part = _Part(mine.sections[str(part.name)], part.name)
        elif part.name in known:  # says nothing this time: the place is kept
            lines = part.text.splitlines(keepends=True)
            part = _Part(lines[0] + lines[-1], part.name)
        parts.append(part)
    if other.wrote is None:  # what is not there may have been taken out
        return parts
    before: list[str] = []
    for name in reversed(mine.sections):
        if name not in other.sections and name not in known:
            _insert(parts, before, mine.sections[name], name)
        before.append(name)
    return parts


def _insert(parts: list[_Part], after: list[str], text: str, name: str | None = None) -> None:
    """Puts a piece after the last of the sections `after` that is there; else before all of hf_tl's."""
    names = [part.name for part in parts]
    there = [len(names) - 1 - names[::-1].index(each) for each in after if each in names]
    first = next((index for index, each in enumerate(names) if each is not None), len(parts))
    at = max(there) + 1 if there else first
    above = "".join(part.text for part in parts[:at])
    gap = "" if not above or above.endswith("\n\n") else "\n" if above.endswith("\n") else "\n\n"
    parts[at:at] = [_Part(each, name_) for each, name_ in ((gap, None), (text, name)) if each]
    below = "".join(part.text for part in parts[at + bool(gap) + 1 :])
    if below.strip() and not below.startswith(("\n", "\r\n")):
        parts.insert(at + bool(gap) + 1, _Part("\n"))


def _texts(card: _Card) -> list[tuple[list[str], _Part]]:
    """What a person wrote, each piece with the sections above it."""
    out: list[tuple[list[str], _Part]] = []
    above: list[str] = []
    for part in card.parts:
        if part.name is None and part.text.strip():
            out.append((list(above), part))
        elif part.name not in (None, WROTE):
            above.append(str(part.name))
    return out


def _without_edge(parts: tuple[_Part, ...]) -> list[_Part]:
    """Without the empty lines at the beginning."""
    return list(parts[1:] if parts and parts[0].name is None and not parts[0].text.strip() else parts)


def _assembled(metadata: str, parts: list[_Part], wrote: dict[str, Any]) -> str:
    """The card, with one comment that remembers: where the first stood, else at the end."""
    comment = _comment({key: value for key, value in wrote.items() if value or key != "texts"})
    text, placed = f"---\n{metadata}---\n" if metadata else "", False
    for part in parts:
        if part.name != WROTE:
            text += part.text
        elif not placed:
            text, placed = text + comment, True
    if placed:
        return text
    longer = text + ("" if text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n") + comment
    return longer if _read(longer).wrote is not None else text  # after a code block that never ends it would be code


def _merged_metadata(mine: _Card, other: _Card) -> str:
    values = dict(other.values)
    was, owned = other.known("head"), other.known("facts")
    relicensed = any(key in was and other.values.get(key, _NONE) != was[key] for key in LICENSE)
    for key in dict.fromkeys([*mine.values, *was, *owned]):
        ours, theirs = mine.values.get(key, _NONE), other.values.get(key, _NONE)
        if key in OWN_KEYS:
            value = theirs if ours is _NONE and key not in owned else ours
        elif key in LICENSE and (relicensed or (was.get("license") is None and "license" in other.values)):
            value = theirs
        else:
            value = _settled(ours, theirs, was.get(key, _NONE))
        if value is _NONE:
            values.pop(key, None)
        else:
            values[key] = value
    return _written(values, mine, other)


def _settled(ours: Any, theirs: Any, was: Any) -> Any:
    """What of a key stays: a person's change against what hf_tl wrote last; of lists item by item."""
    lists = [each for each in (ours, theirs, was) if each is not _NONE]
    if ours is not _NONE and theirs is not _NONE and all(_strings(each) for each in lists):
        before = [] if was is _NONE else was
        had = set(before)
        removed = had - set(theirs)
        own = [each for each in theirs if each not in had]
        return _union([each for each in ours if each not in removed], own)
    if was is _NONE:
        return ours if theirs is _NONE else theirs
    return ours if theirs is not _NONE and _plain(theirs) == _plain(was) else theirs


def _written(values: dict[str, Any], mine: _Card, other: _Card) -> str:
    """The metadata: their lines wherever a value is theirs still, with the comments among them; ours in the others."""
    lines = {key: text for key, text in _chunks(mine.metadata) if key}
    out, done = "", set()
    for key, text in _chunks(other.metadata):
        if key is None or (key in values and values[key] == other.values.get(key)):
            out += text
        elif key in values and key not in done:
            out += _entry(key, values, mine, lines)
        if key is not None:
            done.add(key)
        if out and not out.endswith("\n"):
            out += "\n"
    for key in values:
        if key not in done and not (key in other.values and values[key] == other.values[key] and str(key) in done):
            out += _entry(key, values, mine, lines)
    try:
        if (_yaml(out) or {}) == values:
            return out
    except ConfigError:
        pass
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True)) if values else ""  # unusual YAML


def _entry(key: str, values: dict[str, Any], mine: _Card, lines: dict[str, str]) -> str:
    if key in lines and values[key] == mine.values.get(key):
        return lines[key] if lines[key].endswith("\n") else f"{lines[key]}\n"
    return str(yaml.safe_dump({key: values[key]}, sort_keys=False, allow_unicode=True))


def _chunks(metadata: str) -> Iterator[tuple[Any, str]]:
    """(key, its lines) in order, keys as YAML reads them; comments and empty lines above and between have None.

    Metadata on one line (`{license: mit}`) or with merged keys (`<<`) have no lines of their own: one chunk.
    """
    node = compose_yaml(metadata, "README.md: the metadata of the card")
    if not isinstance(node, yaml.MappingNode) or node.flow_style or any(key.value == "<<" for key, _ in node.value):
        if metadata:
            yield None, metadata
        return
    loader = yaml.SafeLoader("")
    # from the start of the line: `? ` may stand before a key
    starts = [metadata.rfind("\n", 0, key.start_mark.index) + 1 for key, _ in node.value]
    if metadata[: starts[0]]:
        yield None, metadata[: starts[0]]
    for (key, _), start, stop in zip(node.value, starts, [*starts[1:], len(metadata)], strict=True):
        text = metadata[start:stop]
        at = len(text) - sum(len(line) for line in _loose(text))
        yield loader.construct_object(key), text[:at]
        if text[at:]:
            yield None, text[at:]


def _loose(text: str) -> list[str]:
    """The comments and empty lines at the end of a text, last line first."""
    lines = re.findall(r"[^\n]*\n|[^\n]+\Z", text)
    return list(itertools.takewhile(lambda line: line.startswith("#") or not line.strip(" \t\r\n"), reversed(lines)))


def _comment(wrote: dict[str, Any]) -> str:
    # two hyphens would end the comment
    text = json.dumps(wrote, default=str).replace("--", "-\\u002d").replace(">", "\\u003e").replace("<", "\\u003c")
    return f"<!-- hf_tl:{WROTE} {text} -->\n"


def _remembered(line: str) -> dict[str, Any] | None:
    found = _WROTE.match(line)
    try:
        wrote = parse_json(found[1], "the comment", nan=True) if found else None
    except ConfigError:
        return None
    if not isinstance(wrote, dict) or not isinstance(wrote.get("head"), dict) or "sections" not in wrote:
        return None
    lists = (wrote.get(key, []) for key in ("facts", "sections", "texts"))
    return wrote if all(each == [] or _strings(each) for each in lists) else None


def _digest(part: _Part) -> str:
    return hashlib.sha256(" ".join(part.text.split()).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _strings(value: Any) -> list[str]:
    """A list of texts; of anything else an empty one."""
    return value if isinstance(value, list) and all(isinstance(each, str) for each in value) else []


def _union(*lists: list[str]) -> list[str]:
    return list(dict.fromkeys(each for one in lists for each in one))


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
