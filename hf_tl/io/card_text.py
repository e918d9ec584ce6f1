"""The card (README.md) beside a model or data: its text and its metadata, whoever wrote them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hf_tl.errors import ConfigError
from hf_tl.io.json_text import kind_of, read_bytes
from hf_tl.io.yaml_text import parse_yaml

BYTES = 2_000_000
_METADATA = re.compile(r"\A\ufeff?\s*?^---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.S | re.M)


def read_card(path: Path) -> str:
    """A card's text, its line ends as they are.

    Raises:
        ConfigError: there is none, it is not UTF-8, or larger than a card is.
    """
    try:
        return read_bytes(path, most=BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the card is not UTF-8 ({error.reason} at byte {error.start}).") from None


def split_card(card: str) -> tuple[str, str]:
    """(YAML of the metadata without its `---` lines, the rest); empty metadata where there is none."""
    found = _METADATA.match(card)
    return (found[1], card[found.end() :]) if found else ("", card)


def metadata_of(card: str, where: str) -> dict[Any, Any]:
    """A card's metadata; nothing where it has none.

    Raises:
        ConfigError: the metadata are no YAML mapping, or more than `hf_tl.io.yaml_text` allows.
    """
    found = parse_yaml(split_card(card)[0], f"{where}: the metadata of the card")
    if found is not None and not isinstance(found, dict):
        raise ConfigError(f"{where}: the metadata of the card: expected keys and values, found {kind_of(found)}.")
    return found or {}
