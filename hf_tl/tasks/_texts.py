"""What tasks on texts share: the usual names of their columns, how many tokens a text may have, and the held-out rows
that a stock pipeline can be asked. Not a task (leading underscore)."""

from __future__ import annotations

from typing import Any

from hf_tl.task import TaskContext

TEXT_NAMES = (
    "text", "sentence", "content", "review", "comment", "utterance", "question", "title", "body", "message", "tweet",
    "description", "sentence1", "premise", "text1", "question1", "text_a", "sentence_a",
)  # fmt: skip
PAIR_NAMES = ("text_pair", "sentence2", "hypothesis", "text2", "question2", "text_b", "sentence_b")


def text_limit(context: TaskContext, most: int = 512) -> int:
    """Tokens that a text may have: what was asked for, within what tokenizer and model can take; at most `most` by
    default, since attention's cost grows with the square."""
    configured = getattr(context.model_config, "max_position_embeddings", None)
    limits = [context.processor.model_max_length, configured, context.positions]
    possible = min([limit for limit in limits if limit and limit < 10**9], default=10**9)
    if getattr(context.model_config, "pad_token_id", None) and "roberta" in context.model_config.model_type:
        possible = min(possible, context.model_config.max_position_embeddings - context.model_config.pad_token_id - 1)
    wanted = context.preprocessing.max_length if context.preprocessing else None
    return min(wanted or most, possible)


def untruncated_texts(rows: Any, context: TaskContext) -> Any:
    """Rows whose texts fit into what the model reads at once: a stock pipeline neither cuts a text where hf_tl does
    (`data.preprocessing.max_length`) nor reads it in windows."""
    limit = text_limit(context)
    roles = [role for role in ("question", "context", "text", "text_pair") if role in rows.column_names]

    def fits(row: dict[str, Any]) -> bool:
        texts = [row[role].strip() for role in roles if row[role] is not None]
        return all(texts) and len(context.processor(*texts, truncation=False, verbose=False)["input_ids"]) <= limit

    return rows.filter(fits, load_from_cache_file=False)


def bare_texts(rows: Any, context: TaskContext) -> Any:
    """As `untruncated_texts`, of rows that may be lists of words: others have the text."""
    if "text" in rows.column_names:
        rows = rows.select_columns(["text"])
    elif "words" in rows.column_names:
        rows = type(rows).from_dict({"text": [" ".join(words) for words in rows["words"]]})
    return untruncated_texts(rows, context)
