"""Tokens of the Hub, which belong in no file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_tl.errors import ConfigError, redact


def check_tokens(value: Any, place: str = "") -> None:
    """Raises ConfigError where a token stands: a configuration is written to disk and shared."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if redact(str(key)) != str(key):
                raise ConfigError(f"{place or 'the configuration'}: a key holds a token; take it out.")
            check_tokens(item, f"{place}.{key}".lstrip("."))
    elif isinstance(value, (list, tuple)):
        for item in value:
            check_tokens(item, place)
    elif isinstance(value, str) and redact(value) != value:
        raise ConfigError(
            f"{place}: holds a token or a password; those are read from HF_TOKEN or `hf auth login` alone."
        )
