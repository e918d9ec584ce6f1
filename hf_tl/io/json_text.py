"""JSON that others may have written, read within bounds: of size, depth, numbers and repeated keys."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from hf_tl.errors import ConfigError, InputError
from hf_tl.files import instead_of_a_file

BYTES = 16_000_000
"""Of a text, unless more is allowed; ten thousand labels take one."""
DEPTH = 64
"""Of objects and lists inside each other; what goes through a value afterwards goes down as deep."""
CONTAINERS = 500_000
VALUES = 5_000_000
"""A short value takes up to ten times its text in memory."""
DIGITS = 40
"""Of one whole number: no file needs more, and Python takes the square of the digits to read them."""


def read_bytes(path: str | Path, *, error: type[InputError] = ConfigError, most: int = BYTES) -> bytes:
    """A file's bytes.

    Raises:
        InputError: (`error`) no such file, no plain file, not readable, or more than `most` bytes.
    """
    try:
        if found := instead_of_a_file(Path(path).stat().st_mode):
            raise error(f"{path}: expected a file, found {found}.")
        with open(path, "rb") as stream:
            data = stream.read(most + 1)
    except FileNotFoundError:
        raise error(f"{path}: there is no such file.") from None
    except (OSError, ValueError) as reason:
        raise error(f"{path}: cannot be read ({reason}).") from None
    if len(data) > most:
        raise error(f"{path}: larger than {_size(most)}, the most that is read of such a file.")
    return data


def read_text(path: str | Path, *, error: type[InputError] = ConfigError, most: int = BYTES) -> str:
    """A text file, UTF-8 with or without a mark at its start.

    Raises:
        InputError: (`error`) what `read_bytes` raises, or it is not UTF-8.
    """
    return decoded(read_bytes(path, error=error, most=most), str(path), error)


def decoded(data: bytes, where: str, error: type[InputError] = ConfigError) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise error(f"{where}: not a UTF-8 text ({reason.reason} at byte {reason.start}).") from None


def read_json(path: str | Path, *, error: type[InputError] = ConfigError, nan: bool = False, most: int = BYTES) -> Any:
    """The value in a JSON file; `parse_json` says what is refused.

    Raises:
        InputError: (`error`) names the file, the place in it and what was found.
    """
    return parse_json(read_bytes(path, error=error, most=most), str(path), error=error, nan=nan, most=most)


def read_object(
    path: str | Path, *, error: type[InputError] = ConfigError, nan: bool = False, most: int = BYTES
) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: (`error`) as `read_json`, or the file holds something else.
    """
    found = read_json(path, error=error, nan=nan, most=most)
    if not isinstance(found, dict):
        raise error(f"{path}: expected a JSON object, found {kind_of(found)}.")
    return found


def parse_json(
    text: str | bytes, where: str, *, error: type[InputError] = ConfigError, nan: bool = False, most: int = BYTES
) -> Any:
    """The value in a JSON text.

    Args:
        where: what the text is from, for the sentence of an error.
        nan: whether `NaN` and `Infinity` may stand, as Python writes them.

    Raises:
        InputError: (`error`) not JSON, not UTF-8, a key that stands twice, a number that is not finite or has too many
            digits, or too large, too deep or too many values.
    """
    if len(text) > most:
        raise error(f"{where}: larger than {_size(most)}, the most that is read of such a file.")
    text = text.removeprefix("\ufeff") if isinstance(text, str) else decoded(text, where, error)
    containers, values = CONTAINERS, VALUES
    if most > BYTES:  # of larger texts in proportion, so that memory is, too
        containers, values = max(containers, len(text) // 16), max(values, len(text) // 3)
    if text.count("[") + text.count("{") > containers or text.count(",") > values:
        raise error(f"{where}: more than {containers:,} lists and objects, or {values:,} values.")

    def refuse(sentence: str) -> NoReturn:
        raise error(f"{where}: {sentence}")

    try:
        found = json.loads(text, **_hooks(refuse, nan))
    except json.JSONDecodeError as reason:
        line = "" if re.search(r", line \d+$", where) else f", line {reason.lineno}"
        raise error(f"{where}{line}, column {reason.colno}: not JSON ({reason.msg}).") from None
    except RecursionError:
        raise error(f"{where}: lists and objects are more than {DEPTH} deep.") from None
    _check_depth(found, refuse)
    if re.search(r"\\u[dD][89a-fA-F]", text) or not _encodes(text):
        if not _encodes(json.dumps(found, ensure_ascii=False)):
            refuse("found half of a character (a lone surrogate such as \\ud800).")
    return found


def kind_of(value: Any) -> str:
    """What a value is called in JSON and YAML."""
    names: dict[type, str] = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false"}
    return "nothing" if value is None else names.get(type(value), "a number")


def _hooks(refuse: Callable[[str], NoReturn], nan: bool) -> dict[str, Any]:
    def integer(digits: str) -> int:
        if len(digits) > DIGITS:
            refuse(f"found a whole number of {len(digits)} digits ({digits[:12]}...).")
        return int(digits)

    def number(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else constant(digits)

    def constant(name: str) -> float:
        if not nan:
            refuse(f"found a number that is not finite ({name[:20]}).")
        return float(name)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(items)
        if len(out) < len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            refuse(f"key {twice[:80]!r} stands twice.")
        return out

    return {"parse_int": integer, "parse_float": number, "parse_constant": constant, "object_pairs_hook": pairs}


def _check_depth(value: Any, refuse: Callable[[str], NoReturn]) -> None:
    level = [value]
    for _ in range(DEPTH):
        level = [
            each
            for one in level
            for each in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
            if isinstance(each, (dict, list))
        ]
        if not level:
            return
    refuse(f"lists and objects are more than {DEPTH} deep.")


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _size(count: int) -> str:
    return f"{count / 1e6:g} MB"
