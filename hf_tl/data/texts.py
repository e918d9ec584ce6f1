"""What is particular about texts: what may be wrong with one, and what a tokenizer made of some."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_tl.errors import DataError, ModelError

STRINGS = ("string", "large_string")
"""What Arrow calls texts."""


def wrong_text(value: Any, what: str) -> str | None:
    if value is None:
        return f"the {what} is missing"
    return None if str(value).strip() else f"the {what} is empty"


def given_text(item: Any, said: str) -> str:
    if isinstance(item, Path):
        raise DataError(f"{item}: is a file, expected a text, or a table of texts such as reviews.csv.")
    if not isinstance(item, str) or not item.strip():
        raise DataError(f"{said} {item!r}, expected a text.")
    return item


def as_text(value: Any) -> str:
    """A value as a person reads it: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def check_tokenizer(tokenizer: Any, config: Any, id: str) -> None:
    """Raises ModelError where a tokenizer is not that of the model; one without a padding token pads with the end's."""
    from transformers import PreTrainedTokenizerBase

    if not isinstance(tokenizer, PreTrainedTokenizerBase) or not hasattr(
        tokenizer, "__len__"
    ):  # any class may be named
        name = type(tokenizer).__name__
        raise ModelError(f"model: {id} names {name} as its tokenizer, which is none for such models.")
    size, expected = len(tokenizer), getattr(config, "vocab_size", None)
    # Transformers makes an empty tokenizer of special tokens when the vocabulary is missing.
    if size <= 10 or (expected and size > expected):
        found = f"{size} tokens" + (f" for a model of {expected}" if expected else "")
        raise ModelError(f"model: the tokenizer of {id} does not fit the model (found {found}).")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token


def show_tokens(batch: Mapping[str, Any], names: Sequence[str], tokenizer: Any, _: Path) -> dict[str, Any]:
    """`samples`: of each text of a batch its `label`, the `tokens` with the number that is padding, those that are
    `trained` on where not all are, and what is `read` of it."""
    if "input_ids" not in batch:  # several texts a sample, by other names
        return {}
    count = min(len(names), len(batch["input_ids"]))
    return {"samples": [_tokens(batch, index, names[index], tokenizer) for index in range(count)]}


def _tokens(batch: Mapping[str, Any], index: int, label: str, tokenizer: Any) -> dict[str, Any]:
    ids = batch["input_ids"][index].tolist()
    mask = batch["attention_mask"][index].tolist() if "attention_mask" in batch else [1] * len(ids)
    tokens = tokenizer.convert_ids_to_tokens(ids)
    labels = batch.get("labels")
    by_token = getattr(labels, "shape", None) == batch["input_ids"].shape
    trained = [label != -100 for label in labels[index].tolist()] if labels is not None and by_token else []
    unknown = tokenizer.unk_token
    return {
        "label": label,
        "tokens": [token for token, real in zip(tokens, mask, strict=True) if real],
        "padding": mask.count(0),
        **({"trained": [token for token, counts in zip(tokens, trained, strict=True) if counts]} if by_token else {}),
        "unknown": sum(token == unknown for token, real in zip(tokens, mask, strict=True) if real),
        "read": tokenizer.decode([i for i, real in zip(ids, mask, strict=True) if real], skip_special_tokens=True),
    }
