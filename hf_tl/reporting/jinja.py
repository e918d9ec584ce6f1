"""The one way in which templates are rendered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"


def environment(
    *, html: bool, finalize: Callable[[Any], Any] | None = None, templates: Path = TEMPLATES, **filters: Any
) -> Environment:
    """Templates in which a name that is missing is an error.

    Args:
        html: what is inserted is escaped for HTML; otherwise `finalize` sees to it, and the last line end stays.
        finalize: is called with whatever is inserted.
        filters: by their names.
    """
    made = Environment(
        loader=FileSystemLoader(templates),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not html,
        finalize=finalize,
    )
    made.filters |= filters
    return made
