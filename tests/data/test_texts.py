"""Texts as values, and what a tokenizer made of some."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hf_tl.data.texts import as_text, check_tokenizer, given_text, show_tokens, wrong_text
from hf_tl.errors import DataError, ModelError
from tests.tiny import tiny_chat_tokenizer


def test_what_is_a_text() -> None:
    assert wrong_text("a", "text") is None and wrong_text(0, "text") is None
    assert wrong_text(None, "question") == "the question is missing"
    assert wrong_text(" \n", "question") == "the question is empty"
    assert given_text("a", "found") == "a"
    for item in (" ", 3, None):
        with pytest.raises(DataError, match=r"^found .*, expected a text\.$"):
            given_text(item, "found")
    assert as_text("ü") == "ü" and as_text({"a": "ü"}) == '{"a": "ü"}'


def shown(batch: dict[str, Any], names: list[str]) -> Any:
    return show_tokens(batch, names, tiny_chat_tokenizer(None), Path())


def test_the_tokens_that_are_shown() -> None:
    """Of `the film xyz`, its last two tokens trained on, and two of padding before it."""
    tokenizer = tiny_chat_tokenizer(None)
    ids = tokenizer("the film xyz")["input_ids"]
    pads, count = [tokenizer.pad_token_id] * 2, len(ids)
    batch = {
        "input_ids": torch.tensor([pads + ids]),
        "attention_mask": torch.tensor([[0, 0] + [1] * count]),
        "labels": torch.tensor([[-100] * count + ids[-2:]]),
    }
    assert shown(batch, ["a", "b"]) == {
        "samples": [
            {
                "label": "a",
                "tokens": ["the", " ", "film", " ", "<unk>"],
                "padding": 2,
                "trained": [" ", "<unk>"],
                "unknown": 1,
                "read": "the film ",
            }
        ]
    }
    assert "trained" not in shown({**batch, "labels": torch.tensor([1])}, ["a"])["samples"][0]
    plain = shown({"input_ids": batch["input_ids"]}, ["a"])["samples"][0]
    assert plain["padding"] == 0 and plain["tokens"][:2] == ["<pad>", "<pad>"] and len(plain["tokens"]) == count + 2
    assert shown({"input_ids_0": batch["input_ids"]}, ["a"]) == {}


def test_the_tokenizer_is_that_of_the_model() -> None:
    tokenizer = tiny_chat_tokenizer(None)
    size = len(tokenizer)
    check_tokenizer(tokenizer, SimpleNamespace(vocab_size=size), "x")
    check_tokenizer(tokenizer, SimpleNamespace(), "x")
    with pytest.raises(
        ModelError, match=rf"of x does not fit the model \(found {size} tokens for a model of {size - 1}"
    ):
        check_tokenizer(tokenizer, SimpleNamespace(vocab_size=size - 1), "x")
    with pytest.raises(ModelError, match="x names SimpleNamespace as its tokenizer"):
        check_tokenizer(SimpleNamespace(), SimpleNamespace(), "x")
    tokenizer.pad_token = None
    check_tokenizer(tokenizer, SimpleNamespace(), "x")
    assert tokenizer.pad_token == tokenizer.eos_token == "<|im_end|>"
    few = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer)
    few.__class__ = type("Few", (type(tokenizer),), {"__len__": lambda self: 10})
    with pytest.raises(ModelError, match=r"does not fit the model \(found 10 tokens"):
        check_tokenizer(few, SimpleNamespace(), "x")
