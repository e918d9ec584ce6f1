"""What the card that lies beside a model or data says of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_tl.errors import ConfigError
from hf_tl.io.card_text import metadata_of, read_card


def license_of(folder: Path) -> str | None:
    """The licence that its card names, as the Hub writes it; several are joined by `and`."""
    return license_in(_read(folder))


def license_in(metadata: Mapping[str, Any]) -> str | None:
    """The same of metadata already read; None where they say that nobody knows."""
    value = metadata.get("license")
    names = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str) and each.strip()]
    if names == ["other"] and isinstance(metadata.get("license_name"), str):
        names = [str(metadata["license_name"])]
    return None if "unknown" in names else " and ".join(names) or None


def languages_of(folder: Path) -> list[str]:
    """The languages that its card names, as codes: `en`, `pt-br`."""
    return languages_in(_read(folder))


def languages_in(metadata: Mapping[str, Any]) -> list[str]:
    value = metadata.get("language", metadata.get("languages"))
    given = value if isinstance(value, list) else [value]
    names = ["no" if each is False else str(each) for each in given]  # YAML takes Norwegian for a no
    return [name.lower() for name in names if re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", name)]


def tags_of(folder: Path) -> list[str]:
    """The pipeline tag, where there is one, and the other tags."""
    found = _read(folder)
    tags = found.get("tags")
    return [str(tag) for tag in (found.get("pipeline_tag"), *(tags if isinstance(tags, list) else ())) if tag]


def _read(folder: Path) -> dict[str, Any]:
    card = folder / "README.md"
    if not card.is_file():
        return {}
    try:
        return metadata_of(read_card(card), str(card))
    except ConfigError:  # a card that cannot be parsed says nothing
        return {}
