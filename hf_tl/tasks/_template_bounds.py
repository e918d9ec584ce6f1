"""A chat template of somebody else is a program: it writes a conversation in bounded time and memory, or not at all.
Not a task (leading underscore)."""

from __future__ import annotations

import contextlib
import functools
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hf_tl.errors import ModelError
from hf_tl.io.json_text import read_object, read_text

CHARACTERS = 1_000_000
GROWTH = 10
SECONDS = 10.0
"""For one conversation, which takes milliseconds."""
BYTES = 1_000_000_000
"""That the process may grow meanwhile."""
BETWEEN = 0.1


@functools.lru_cache(maxsize=16)
def check_template(text: str) -> None:
    """Raises ModelError where a template is larger than any is, or multiplies: one such step may fill the memory."""
    from jinja2 import Environment, TemplateSyntaxError

    if len(text) > CHARACTERS:
        raise ModelError(f"model: its chat template has {len(text):,} characters, expected at most {CHARACTERS:,}.")
    with contextlib.suppress(TemplateSyntaxError):  # said where it is used
        for line, kind, value in Environment().lex(text):
            if kind == "operator" and value in ("*", "**"):
                raise ModelError(f"model: its chat template multiplies in line {line}, which hf_tl does not run.")
            if kind in ("string", "integer") and re.search(r"\d{7}", value):  # a width fills the memory as well
                raise ModelError(f"model: its chat template holds the number {value[:40]} in line {line}.")


def check_length(text: str, messages: list[dict[str, Any]]) -> None:
    """Raises ModelError where a conversation became far longer than it is: nothing would interrupt the library
    that then cuts it into tokens."""
    if len(text) > CHARACTERS + GROWTH * sum(len(str(message)) for message in messages):
        raise ModelError(f"model: its chat template writes {len(text):,} characters for one conversation.")


@contextlib.contextmanager
def in_bounds(tokenizer: Any) -> Iterator[None]:
    """While the template of a tokenizer writes one conversation.

    Raises:
        ModelError: it takes too long, or too much memory.
    """
    own = tokenizer.chat_template
    for each in own.values() if isinstance(own, dict) else [own]:
        if isinstance(each, str):
            check_template(each)
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield  # nothing can interrupt it there
        return
    end, most = time.monotonic() + SECONDS, _peak() + BYTES

    def look(number: int, frame: object) -> None:
        for over, what in ((time.monotonic() > end, f"{SECONDS:.0f} seconds"), (_peak() > most, "1 GB of memory")):
            if over:
                raise ModelError(f"model: its chat template takes more than {what} for one conversation.")

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, BETWEEN, BETWEEN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check_folder(folder: Path) -> None:
    """Of a model that is about to be run elsewhere, in a demo app or a clean process: its templates write one short
    conversation here, in bounds.

    Raises:
        ModelError: one does not.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    talk = [{"role": "user", "content": "Hello"}]
    for text in _templates(folder):
        with in_bounds(SimpleNamespace(chat_template=text)):
            try:
                written = render_jinja_template([talk], chat_template=text, add_generation_prompt=True)[0][0]
            except ModelError:
                raise
            except Exception:  # a template may refuse such a conversation; one that is broken is said where it is used
                continue
        check_length(written, talk)


def _templates(folder: Path) -> Iterator[str]:
    """The chat templates beside a tokenizer or processor, as Transformers finds them."""
    for file in (*folder.glob("chat_template.jinja"), *folder.glob("additional_chat_templates/*.jinja")):
        yield read_text(file, error=ModelError)
    for name in ("tokenizer_config.json", "processor_config.json", "chat_template.json"):
        file = folder / name
        given = read_object(file, error=ModelError).get("chat_template") if file.is_file() else None
        named = given.values() if isinstance(given, dict) else given if isinstance(given, list) else [given]
        for each in named:
            text = each.get("template") if isinstance(each, dict) else each
            if isinstance(text, str):
                yield text


def _peak() -> int:
    """Bytes that this process has had at most."""
    import resource  # not on every system; where it is missing, nothing interrupts either

    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else 1024 * found
