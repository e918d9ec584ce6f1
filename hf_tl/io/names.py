"""Names of columns, splits and revisions, whatever YAML would make of `1`, `no` or `a: b`."""

from __future__ import annotations

import re
from typing import Any

from hf_tl.errors import ConfigError
from hf_tl.io.yaml_text import parse_yaml

NAMED = re.compile(r"data\.(columns|splits)\.[^.]+|data\.(split_column|column_names|name|revision)|model\.revision")
"""Keys whose values are names."""


def as_name(value: Any) -> Any:
    """A name, or a list of names, of which YAML may have made numbers.

    Raises:
        ValueError: it made true or false of it, so that nobody knows what was written.
    """
    if isinstance(value, list):
        return [as_name(each) for each in value]
    if isinstance(value, bool):
        raise ValueError("YAML reads yes, no, on and off as true and false; put the name in quotes")
    return str(value) if isinstance(value, (int, float)) else value


def override(key: str, text: str) -> Any:
    """The value of an override `key=text`: YAML, and of names their very text.

    Raises:
        ConfigError: not YAML.
    """
    if not NAMED.fullmatch(key):
        return parse_yaml(text, key)
    try:
        value = parse_yaml(text, key)
    except ConfigError:
        return text
    if isinstance(value, list):
        written = re.split(r"\s*,\s*", text.strip()[1:-1].strip())
        if len(written) != len(value):  # commas in quotes
            return value
        return [each if isinstance(each, str) else raw for each, raw in zip(value, written, strict=True)]
    nothing = value is None or (key == "data.split_column" and value is False)
    return value if isinstance(value, str) or nothing else text
