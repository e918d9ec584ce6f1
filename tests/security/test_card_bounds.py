"""Somebody else's card: what it costs to read, and what it may ask for."""

from __future__ import annotations

import contextlib
import copy
import os
import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_tl.commands.reproduce import before
from hf_tl.errors import ConfigError, InputError
from hf_tl.reporting.card_numbers import KEYED, LIMITS, check_numbers, is_quick
from hf_tl.reporting.managed_sections import merge_cards
from hf_tl.reporting.provenance import FIRST_LINE, config_of, read_block
from hf_tl.sharing.claims import claims_of

BLOCK: dict[str, Any] = {
    "config": {
        "task": "text-classification",
        "model": {"id": "bob/base", "revision": "a" * 40},
        "data": {"path": "bob/data"},
        "method": {"name": "lora", "r": 8, "target_modules": ["query", "value"]},
        "training": {"learning_rate": 1e-3, "num_train_epochs": 3},
        "seed": 42,
    },
    "found": {
        "split": "test",
        "samples": 100,
        "metrics": {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}},
        "weights": {"model.safetensors": "0" * 64},
        "model_sha256": {"model.safetensors": "0" * 64},
        "data_sha256": "0" * 64,
        "versions": {"hf_tl": "0.1.0", "python": "3.11"},
        "hardware": {"device": "cpu", "name": "a processor", "threads": 2},
        "processes": 1,
    },
}


def card(block: Any) -> str:
    return f"---\nlicense: mit\n---\n\n# A model\n\n```yaml\n{FIRST_LINE}\n{yaml.safe_dump(block)}```\n"


def with_value(place: str, value: Any) -> dict[str, Any]:
    out = copy.deepcopy(BLOCK)
    at: Any = out
    *path, last = place.split(".")
    for key in path:
        at = at.setdefault(key, {})
    at[last] = value
    return out


def test_an_honest_card_is_read() -> None:
    block = read_block(card(BLOCK), "bob/x")
    assert block == BLOCK
    config = config_of(block, "bob/x")
    assert config.method.passed_through == {"r": 8, "target_modules": ["query", "value"]} and config.seed == 42


PIECES = [
    "```yaml\n", f"```yaml\n{FIRST_LINE}\n", "<!-- hf_tl:begin usage -->\n", "<!-- hf_tl:end usage -->\n", "```\n",
    "<!-- hf_tl:wrote {} -->\n", "| a | b | 0.5 to 0.6 |\n", "#\n", "\n", "---\n", "- a\n", "`", "\\", "<!--", "a: 1\n",
]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_reading_a_card_takes_time_in_proportion(piece: str) -> None:
    """A megabyte of anything is read at once, or refused in a sentence."""
    text = f"---\nlicense: mit\n---\n{piece * (1_000_000 // len(piece))}"
    start = time.process_time()
    for read in (read_block, claims_of):
        with pytest.raises(InputError):
            read(text, "bob/x")
    ours = "---\nlicense: mit\n---\n\n<!-- hf_tl:begin usage -->\nours\n<!-- hf_tl:end usage -->\n"
    with contextlib.suppress(InputError):
        merge_cards(ours, text)
    assert time.process_time() - start < 20


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    out = copy.copy(value)
    out[path[0]] = changed(value[path[0]], path[1:], new)
    return out


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inside for place in places(item, (*path, key)))]


@settings(max_examples=400, deadline=None)
@given(
    place=st.sampled_from(places(BLOCK)),
    new=st.sampled_from([None, [], {}, "x", "", 0, -1, 10**30, 1.5, float("nan"), True, [[]], {"x": []}, ["x"]]),
)
def test_a_damaged_block_is_refused_in_a_sentence_or_harmless(place: tuple[Any, ...], new: Any) -> None:
    block = changed(BLOCK, place, new)
    try:
        read = read_block(card(block), "bob/x")
        config_of(read, "bob/x")
        before({**read["found"], "processes": 1})
        claims_of(card(block), "bob/x")
    except InputError as error:
        assert str(error) and "\n" not in str(error)


@pytest.mark.parametrize("place", LIMITS)
@pytest.mark.parametrize("value", [10**12, -(10**12), float("inf"), float("nan")])
def test_numbers_that_cannot_be_meant(place: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"bob/x: {place} of its card is .*expected"):
        check_numbers(with_value(place, value), "bob/x")


@pytest.mark.parametrize("place", LIMITS)
def test_bounds_of_numbers_are_allowed(place: str) -> None:
    for value in LIMITS[place]:
        check_numbers(with_value(place, value), "bob/x")


METHODS: dict[str, Any] = {
    "rank_pattern": {"query": 10**9}, "alpha_pattern": {"query": float("inf")}, "num_virtual_tokens": 10**7,
    "encoder_hidden_size": 10**7, "n_tasks": 65_537, "trainable_token_indices": {"word_embeddings": [10**9]},
    "layer_replication": [[0, 2]] * 2000, "adapters": {"a": "evil"}, "megatron_config": True, "megatron_core": "evil",
    "auto_mapping": {"parent_library": "os"}, "init_lora_weights": "pissa_niter_1000000000", "tinit": 10**8,
}  # fmt: skip


@pytest.mark.parametrize("key", METHODS)
def test_what_peft_would_make_large_or_load(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"bob/x: method\.{key}[. ].*of its card "):
        config_of(with_value(f"config.method.{key}", METHODS[key]), "bob/x")


def test_methods_that_people_write() -> None:
    for key, value in {
        "rank_pattern": {"query": 64}, "lora_alpha": 16.5, "init_lora_weights": "pissa_niter_16", "bias": "none",
        "num_virtual_tokens": 65_536, "total_step": 10_000_000, "projection_prng_key": 1_000_000, "use_dora": True,
    }.items():  # fmt: skip
        config_of(with_value(f"config.method.{key}", value), "bob/x")


SLOW = [
    "(a+)+$",
    "(a*)*b",
    "(a|a)*b",
    "(.*)*x",
    "((a))+",
    "(?=a)b",
    r"(a)\1+",
    "a*" * 8,
    ".*.*.*.*x",
    "(?:a+)+",
    "x" * 2000,
]
QUICK = ["query", "q_proj", "all-linear", r".*\.attention\..*", "(query|key|value)", r"layer\.[0-9]+\.query",
         r".*(q_proj|v_proj)$", r".*layers\.\d+\..*proj"]  # fmt: skip


@pytest.mark.parametrize("pattern", SLOW)
@pytest.mark.parametrize(
    "key", ["target_modules", "exclude_modules", "modules_to_save", "layers_pattern", "rank_pattern"]
)
def test_regular_expressions_that_may_take_for_ever(pattern: str, key: str) -> None:
    assert not is_quick(pattern)
    for value in ({pattern: 4},) if key in KEYED else (pattern, [pattern]):
        with pytest.raises(ConfigError, match=f"method.{key} of its card is "):
            config_of(with_value(f"config.method.{key}", value), "bob/x")


@pytest.mark.parametrize("pattern", QUICK)
def test_patterns_that_people_write(pattern: str) -> None:
    assert is_quick(pattern)
    config_of(with_value("config.method.target_modules", pattern), "bob/x")


def test_threads_beyond_this_machine_are_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    cores = max(os.cpu_count() or 1, 3)
    lines = before({"hardware": {"device": "cpu", "threads": 10**9}})
    assert (
        not asked and f"It was made with {10**9} threads; this machine has {cores} cores, so bits may differ." in lines
    )
    before({"hardware": {"device": "cpu", "threads": 2}})
    assert asked == [2]
