"""Command lines that hf_tl prints for a person to run: every option of the command, quoted for a shell."""

from __future__ import annotations

import shlex
import unicodedata

TWO_SIDED = {
    "private": ("--private", "--public"),
    "merge": ("--merge", "--no-merge"),
    "examples": ("--examples", "--no-examples"),
    "proof": ("--proof", "--no-proof"),
    "browser": ("--browser", "--no-browser"),
}
"""Options with a word for each answer; of any other flag there is one word, for yes."""


def command_line(verb: str, *arguments: object, **options: str | int | bool | None) -> str:
    """`hf-tl VERB ARGUMENTS OPTIONS`, on one line, such that a shell gives back the very arguments and options.

    Args:
        options: name -> value; None, and False of a flag with one word, are left out.
    """
    words = []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if name in TWO_SIDED and value is not None:
            words.append(TWO_SIDED[name][not value])
        elif isinstance(value, bool):
            words += [option] if value else []
        elif value is not None:
            text = str(value)
            # a value that begins with a dash, or is empty, has to be joined to its option
            words += [f"{option}={text}"] if text.startswith("-") or not text else [option, text]
    given = [str(each) for each in arguments]
    if any(each.startswith("-") for each in given):
        return " ".join(quoted(word) for word in ("hf-tl", verb, *words, "--", *given))
    return " ".join(quoted(word) for word in ("hf-tl", verb, *given, *words))


def quoted(word: str) -> str:
    """A word for a shell; control characters, which would not survive a terminal, as bash and zsh write them."""
    if not any(unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp") for each in word):
        return shlex.quote(word)
    escaped = {"\\": "\\\\", "'": "\\'"}
    return "$'" + "".join(escaped.get(each) or (each if _shown(each) else _octal(each)) for each in word) + "'"


def _shown(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _octal(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))
