"""Held-out rows as a stranger's process can ask them. Not a task (leading underscore).

A stock pipeline neither cuts a text where hf_tl does (`data.preprocessing.max_length`) nor reads it in windows, so only
rows that need neither are asked.
"""

from __future__ import annotations

from typing import Any

from hf_tl.task import TaskContext


def whole_texts(rows: Any, context: TaskContext) -> Any:
    """Rows whose texts fit into what the model reads at once."""
    from hf_tl.tasks.text_classification import text_limit

    limit = text_limit(context)
    roles = [role for role in ("question", "context", "text", "text_pair") if role in rows.column_names]

    def fits(row: dict[str, Any]) -> bool:
        texts = [row[role].strip() for role in roles if row[role] is not None]
        return all(texts) and len(context.processor(*texts, truncation=False, verbose=False)["input_ids"]) <= limit

    return rows.filter(fits, load_from_cache_file=False)


def bare_texts(rows: Any, context: TaskContext) -> Any:
    """As `whole_texts`, of rows that may be lists of words: a stranger has the text."""
    if "words" in rows.column_names:
        rows = type(rows).from_dict({"text": [" ".join(words) for words in rows["words"]]})
    return whole_texts(rows, context)
