"""YAML that people write, and that others may have written: read within bounds of size, depth and expansion."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from hf_tl.errors import ConfigError
from hf_tl.io.json_text import DEPTH, DIGITS, decoded, kind_of, read_bytes

CHARACTERS = 2_000_000
"""Of one text."""
NODES = 150_000
"""Keys, values and lists, each as often as aliases (`*name`) and merges (`<<`) repeat it."""
EXPANDED = 8_000_000
"""Characters of all of these."""
DIRECTIVES = 50
"""Lines that begin with a per cent sign: the parser compares each with all before."""
KEY = 2**53
"""Whole numbers as keys stay below it: beyond, many share a hash."""

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where it was built: ten times as fast


class _Loader(_Base):
    """Safe types alone; YAML 1.2 floats (`3e-4` is a number); a repeated key is an error, no silent overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, int) and abs(key) >= KEY:
                raise yaml.constructor.ConstructorError(None, None, "a key that is a huge number", key_node.start_mark)
            if isinstance(key, (str, int, float)):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {str(key)[:80]!r} stands twice", key_node.start_mark
                    )
                seen.add(key)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except Exception:  # a date of month 13, an empty !!int: whatever Python's own types raise
            what = f"{str(node.value)[:80]!r} is no {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from None

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and len(str(node.value)) > DIGITS:
            raise yaml.constructor.ConstructorError(
                None, None, f"a number of {len(node.value)} characters", node.start_mark
            )
        return super().construct_scalar(node)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)$"),
    list("-+0123456789."),
)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: no such file, not UTF-8, not YAML, too large, or not a mapping; names file and line.
    """
    if not Path(path).exists():
        raise ConfigError(f"{path}: there is no such configuration file.")
    values = parse_yaml(decoded(read_bytes(path, most=4 * CHARACTERS), str(path)), str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values such as 'model: ...', found {kind_of(values)}.")
    return values


def parse_yaml(text: str, where: str) -> Any:
    """The value in a YAML text; `where` it is from is for the sentence of an error.

    Raises:
        ConfigError: not YAML, a key that stands twice, a type of its own (`!!python/...`), or more than it may be:
            characters, depth, or nodes once its aliases are written out.
    """
    node = compose_yaml(text, where)
    if node is None:
        return None
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise _refused(error, where) from None
    finally:
        loader.dispose()


def compose_yaml(text: str, where: str) -> yaml.Node | None:
    """The nodes of a YAML text, with the places where they stand; within the bounds of `parse_yaml`.

    Raises:
        ConfigError: as `parse_yaml`.
    """
    if len(text) > CHARACTERS:
        raise ConfigError(f"{where}: longer than {CHARACTERS:,} characters, the most that is read as YAML.")
    if len(re.findall(r"^%", text, re.M)) > DIRECTIVES:
        raise ConfigError(f"{where}: not valid YAML: more than {DIRECTIVES} directives (lines that begin with %).")
    try:
        _check_expansion(text, where)
        node: yaml.Node | None = yaml.compose(text, _Loader)
    except ConfigError:
        raise
    except Exception as error:  # UnicodeEncodeError from the parser in C, RecursionError from the other
        raise _refused(error, where) from None
    return node


def _refused(error: Exception, where: str) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    place = f"{where}, line {mark.line + 1}" if mark else where
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or next(iter(str(error).splitlines()), "")
    return ConfigError(f"{place}: not valid YAML: {' '.join(str(said).split())[:200] or type(error).__name__}.")


def _check_expansion(text: str, where: str) -> None:
    """Goes through the parser's events, which it makes one by one, and stops before anything grows."""
    sizes: dict[str, tuple[int, int]] = {}
    opened: list[tuple[str | None, int, int]] = []
    nodes = characters = documents = 0
    for event in yaml.parse(text, _Base):
        line = f"{where}, line {event.start_mark.line + 1 if event.start_mark else 1}"
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                what = "holds itself" if event.anchor in [name for name, *_ in opened] else "is not defined above"
                raise ConfigError(f"{line}: not valid YAML: alias *{str(event.anchor)[:80]} {what}.")
            more = sizes[event.anchor]
            nodes, characters = nodes + more[0], characters + more[1]
        elif isinstance(event, yaml.ScalarEvent):
            nodes, characters = nodes + 1, characters + len(event.value)
            if event.anchor:
                sizes[event.anchor] = (1, len(event.value))
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, nodes, characters))
            nodes += 1
            if len(opened) > DEPTH:
                raise ConfigError(f"{line}: lists and mappings are more than {DEPTH} deep.")
        elif isinstance(event, yaml.CollectionEndEvent):
            name, *before = opened.pop()
            if name:
                sizes[name] = (nodes - before[0], characters - before[1])
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise ConfigError(f"{line}: not valid YAML: a second document begins here (---), expected one.")
        if nodes > NODES or characters > EXPANDED:
            raise ConfigError(
                f"{line}: more than {NODES:,} keys and values, or {EXPANDED:,} characters, aliases written out."
            )
