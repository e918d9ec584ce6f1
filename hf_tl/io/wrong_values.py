"""What pydantic found wrong in a configuration, as a sentence with the place, what was found and what was expected."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel, ValidationError

from hf_tl.errors import did_you_mean, listing

MOST = 8
"""Sentences at once."""


def wrong_value(error: ValidationError, root: type[BaseModel]) -> str:
    """All that is wrong in a configuration of the class `root`, a sentence for each place."""
    found = error.errors()
    # A misspelt key says more than the missing one that it was meant to be.
    misspelt = [each for each in found if each["type"] == "extra_forbidden"]
    by_place: dict[str, str] = {}
    for each in misspelt or found:
        location = [part for part in each["loc"] if not _is_union_branch(part)]
        place = ".".join(str(part) for part in location)
        by_place.setdefault(place, _sentence(each, location, place, root))
    return " ".join(list(by_place.values())[:MOST])


def _sentence(first: Any, location: list[Any], place: str, root: type[BaseModel]) -> str:
    found = first.get("input")
    shown = json.dumps(found, default=str, ensure_ascii=False)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    kind = first["type"]
    if kind == "extra_forbidden":
        known = list(_section(root, location[:-1]).model_fields)
        hint = did_you_mean(location[-1], known) or f"; known here: {listing(known, most=20)}."
        return f"{place}: unknown key{hint}"
    if kind == "missing":
        example = {"model": "--model google/vit-base-patch16-224-in21k", "data": "--data reviews.csv"}.get(place, "")
        return f"{place}: missing{f'; give it in the configuration or as {example}' if example else ''}."
    if kind == "literal_error":
        expected = re.findall(r"'([^']*)'", first["ctx"]["expected"])
        hint = did_you_mean(found, expected) or "."
        return f"{place}: found {shown}, expected one of {listing(expected, most=20)}{hint}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: found {shown}; {message[0].lower()}{message[1:]}."


def _is_union_branch(part: Any) -> bool:
    return isinstance(part, str) and (
        part in {"str", "list[str]", "int", "[key]"} or part.startswith(("literal[", "dict["))
    )


def _section(section: type[BaseModel], location: list[Any]) -> type[BaseModel]:
    """The model class at a place below another."""
    for part in location:
        annotation = section.model_fields[part].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        section = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return section
