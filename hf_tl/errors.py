"""The exceptions that users meet. Each carries one sentence and its exit code.

```text
HfTlError            1  a fault in hf_tl or below
├── ProofError       1  what is to be shared does not predict, loaded elsewhere, what was measured
├── InputError       2  the user's input: the sentence names what was found and what was expected
│   ├── ConfigError     a key or value of the configuration
│   ├── DataError       a file, row, column or label
│   └── ModelError      the pretrained model
├── Stopped          3  stopped on request; a resumable checkpoint exists
└── HubError         4  the Hub refused or could not be reached
```
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

TOKEN = re.compile(r"(?:hf|api_org)_[A-Za-z0-9]{16,}")
"""What the Hub's tokens look like, whatever stands before: the `n` of an escaped line end, too."""
TOKEN_NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
LOGIN = re.compile(r"(?<=://)[^/\s'\"<>]*@")
"""A name and password in an address."""
ADDRESSES = ("HF_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def redact(text: str) -> str:
    """`text` without tokens, whoever put them there: the environment's, the login's, and what looks like one; and
    without the passwords of addresses, such as that of HF_ENDPOINT or a proxy."""
    for token in secrets():
        text = text.replace(token, "hf_...")
    for login in _logins():
        text = text.replace(f"{login}@", "")
        text = text.replace(login, "...") if len(login) >= 6 else text
    return LOGIN.sub("", TOKEN.sub("hf_...", text))


def _logins() -> list[str]:
    """`name:password` of the environment's addresses, and the passwords alone."""
    found: list[str] = []
    for name in (*ADDRESSES, *(each.lower() for each in ADDRESSES)):
        login, at, _ = os.environ.get(name, "").rpartition("@")
        login = login.partition("://")[2] or login
        if at and login:
            found += [login, login.partition(":")[2]]
    return [each for text in found if text for each in dict.fromkeys((text, unquote(text)))]


def secrets() -> list[str]:
    """The tokens of the environment and of the login."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    home = os.environ.get("HF_HOME") or os.path.join(cache, "huggingface")
    found = [os.environ.get(name, "") for name in TOKEN_NAMES]
    with contextlib.suppress(OSError), open(os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")) as file:
        found.append(file.read())
    return [token.strip() for token in found if len(token.strip()) >= 8]


MAX_SENTENCE, MAX_NAME = 4000, 120
"""Characters of a sentence, and of a name in it: labels, columns and files of others may have a million."""


class HfTlError(Exception):
    """Root of the tree; `exit_code` is what the command line ends with."""

    exit_code = 1

    def __init__(self, sentence: str = "") -> None:
        super().__init__(_bounded(redact(sentence)))


class ProofError(HfTlError):
    pass


class InputError(HfTlError):
    exit_code = 2


class ConfigError(InputError):
    pass


class DataError(InputError):
    pass


class ModelError(InputError):
    pass


def together(*checks: Callable[[], Any]) -> None:
    """Calls every check, and says at once what all of them find wrong.

    Raises:
        InputError: of the one that found something, or a ConfigError with the sentences of several.
    """
    found: list[InputError] = []
    for check in checks:
        try:
            check()
        except InputError as error:
            found.append(error)
    if len(found) == 1:
        raise found[0]
    if found:
        raise ConfigError(" ".join(dict.fromkeys(map(str, found))))


class Stopped(HfTlError):
    exit_code = 3


class HubError(HfTlError):
    exit_code = 4


def _bounded(sentence: str) -> str:
    """A sentence whose middle is left out where nobody would read it; its end says what to do."""
    if len(sentence) <= MAX_SENTENCE:
        return sentence
    return f"{sentence[: MAX_SENTENCE * 3 // 4]} … {sentence[-MAX_SENTENCE // 5 :]}"


def shortened(name: object) -> str:
    """A name as a sentence quotes it."""
    text = str(name)
    return repr(text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…")


def panicked(error: BaseException) -> bool:
    """Whether a library in Rust gave up, whose exception is no `Exception` and has no public name."""
    return type(error).__name__ == "PanicException"


def did_you_mean(word: object, known: Iterable[object]) -> str:
    """`"; did you mean 'x'?"` for the nearest of `known`, or the empty string when nothing is near.

    Long names are not compared: that takes the product of their lengths.
    """
    if len(str(word)) > MAX_NAME:
        return ""
    names = {str(name).lower(): str(name) for name in known if len(str(name)) <= MAX_NAME}
    near = difflib.get_close_matches(str(word).lower(), names, n=1, cutoff=0.6)
    return f"; did you mean {names[near[0]]!r}?" if near else ""


def listing(items: Iterable[object], most: int = 8) -> str:
    """`'a', 'b', 'c' and 12 more`: quoted names for a sentence, never a screenful."""
    names = [shortened(item) if isinstance(item, str) else repr(item) for item in items]
    if len(names) > most:
        return ", ".join(names[:most]) + f" and {len(names) - most} more"
    return ", ".join(names) if names else "none"
