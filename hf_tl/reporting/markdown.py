"""Names and texts of others inside Markdown: they stay text, whatever is in them."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

from hf_tl.io.console import visible


class Raw(str):
    """Markdown of our own, which is not escaped again."""


ENTITIES = {"\\": "&#92;", "://": "&#58;//", "@": "&#64;", "www": "&#119;ww"}
"""A bare address would become a link, and two backslashes and a bracket a formula."""


def escape(text: str) -> Raw:
    """Text on one line that neither Markdown nor HTML takes for anything else."""
    flat = re.sub(r"\s+", " ", visible(text))
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    special = r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|://|@|www(?=\.)"
    flat = re.sub(special, lambda found: ENTITIES.get(found[0], f"\\{found[0]}"), flat)
    # at the start of a line: headings, lists, and lines under headings
    return Raw(re.sub(r"^(?:([#+=-])|(\d+)([.)])(?=\s|$))", r"\2\\\1\3", flat))


def code(text: object, table: bool = False) -> Raw:
    """Text as inline code, whatever backticks are in it; in a table its bars are escaped too."""
    flat = re.sub(r"\s+", " ", visible(text)) or " "
    fence = "`" * (longest_run(flat) + 1)
    space = " " if flat.startswith(("`", " ")) or flat.endswith(("`", " ")) else ""
    return Raw(f"{fence}{space}{flat.replace('|', chr(92) + '|') if table else flat}{space}{fence}")


def fenced(text: str, language: str) -> Raw:
    """A code block that its text cannot end."""
    flat = visible(text)
    fence = "`" * max(3, longest_run(flat) + 1)
    return Raw(f"{fence}{language}\n{flat}\n{fence}")


def longest_run(text: str) -> int:
    """Most backticks in a row."""
    return max((len(run) for run in re.findall(r"`+", text)), default=0)


def python(text: str) -> Raw:
    """A Python string literal on one line."""
    return Raw(json.dumps(text) if text.isascii() and text.isprintable() else repr(text))


def url(text: str) -> Raw:
    """Part of an address, inside the round brackets of a link."""
    return Raw(quote(text, safe="/"))
