"""Lists and records that were written into a cell of a table as text: as JSON, or as Python and pandas print them."""

from __future__ import annotations

import ast
from typing import Any

from hf_tl.errors import DataError
from hf_tl.io.json_text import BYTES, DEPTH, parse_json

MAX_TEXT, MAX_BRACKETS = 1_000_000, 20_000
"""Characters of a value that is read as Python, and brackets in it: reading one takes far more memory than its text."""


def from_text(text: str) -> Any:
    """The list or record that a text stands for.

    Raises:
        ValueError: it is none, or too long or deep.
    """
    text = text.strip()
    if text[:1] not in ("[", "{"):
        raise ValueError("expected a list or a record")
    try:
        return parse_json(text, "value", error=DataError, nan=True, most=BYTES)
    except DataError as error:
        said = str(error)
    if len(text) > MAX_TEXT or sum(text.count(each) for each in "[({") > MAX_BRACKETS:
        raise ValueError(said)
    try:
        return ast.literal_eval(_Arrays().visit(ast.parse(text, mode="eval")))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("not a list or a record as JSON or Python writes them") from None


class _Arrays(ast.NodeTransformer):
    """`array([...], dtype=...)`, as pandas prints the lists of a record, as the list alone."""

    depth = 0

    def visit(self, node: ast.AST) -> Any:
        self.depth += 1
        if self.depth > DEPTH:
            raise ValueError(f"more than {DEPTH} deep")
        try:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "array" and node.args:
                return self.visit(node.args[0])
            return self.generic_visit(node)
        finally:
            self.depth -= 1
