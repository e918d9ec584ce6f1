"""What the card that lies beside a model says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def license_of(folder: Path) -> str | None:
    value = _read(folder).get("license")
    return value if isinstance(value, str) else None


def tags_of(folder: Path) -> list[str]:
    """The pipeline tag, where there is one, and the other tags."""
    found = _read(folder)
    tags = found.get("tags")
    return [str(tag) for tag in (found.get("pipeline_tag"), *(tags if isinstance(tags, list) else ())) if tag]


def _read(folder: Path) -> dict[str, Any]:
    card = folder / "README.md"
    if not card.exists():
        return {}
    from huggingface_hub import ModelCard

    try:
        return dict(ModelCard.load(card).data.to_dict())
    except Exception:  # a card that cannot be parsed says nothing
        return {}
