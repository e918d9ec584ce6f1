"""Texts of others cost what they are worth: size, depth, repetition and numbers are bounded, and said in a sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_tl.errors import ConfigError, DataError, InputError, ModelError
from hf_tl.io import card_text, json_text, yaml_text
from hf_tl.io.json_text import parse_json, read_json, read_object
from hf_tl.io.yaml_text import parse_yaml, read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefghijklm", "bcdefghijklmn", strict=True)
)
MERGES = "k0: &k0 {x: 1}\n" + "".join(f"k{i + 1}: &k{i + 1} {{<<: [*k{i}, *k{i}]}}\n" for i in range(40))
HASHES = "".join(f"{k * (2**61 - 1)}: 1\n" for k in range(1, 40_000))  # all have one hash
YAML = {
    "aliases": (BOMB, "aliases written out"),
    "merges": (MERGES, "aliases written out"),
    "long text, repeated": (f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 100)}]", "8,000,000 characters"),
    "itself": ("a: &a [*a]", "alias *a holds itself"),
    "itself in a mapping": ("&a {b: *a}", "alias *a holds itself"),
    "no anchor": ("a: *b", "alias *b is not defined above"),
    "deep list": ("[" * 300_000, "more than 64 deep"),
    "deep mapping": ("{a: " * 300_000, "more than 64 deep"),
    "deep blocks": ("- " * 300_000, "more than 64 deep"),
    "deep keys": ("? " * 300_000, "more than 64 deep"),
    "deep indents": ("".join(" " * i + "a:\n" for i in range(900)), "more than 64 deep"),
    "many nodes": ("- a\n" * 400_000, "more than 150,000 keys and values"),
    "long": ("#" * 2_000_001, "2,000,000 characters"),
    "directives": ("".join(f"%TAG !a{i}! tag:x\n" for i in range(60_000)) + "--- a", "50 directives"),
    "base sixty": ("a: 1" + ":1" * 400_000, "a number of 800001 characters"),
    "digits": ("a: " + "9" * 5_000, "a number of 5000 characters"),
    "hexadecimal": ("a: 0x" + "f" * 100_000, "a number of"),
    "one hash": (HASHES, "a key that is a huge number"),
    "twice": ("a: 1\n'a': 2", "line 2: not valid YAML: key 'a' stands twice"),
    "two documents": ("a: 1\n---\nb: 2", "line 2: not valid YAML: a second document"),
    "date": ("a: 2001-99-99", "line 1: not valid YAML: '2001-99-99' is no timestamp"),
    "empty int": ("b: 1\na: !!int ''", "line 2: not valid YAML: '' is no int"),
    "bool": ("!!bool x", "'x' is no bool"),
    "float": ("!!float x", "'x' is no float"),
    "surrogate": ("a: \ud800", "surrogates not allowed"),
    "nul": ("a: \0", "control characters"),
    "python": ("!!python/object/apply:os.system ['echo']", "could not determine a constructor"),
    "key that is a list": ("[a]: 1", "unhashable"),
    "merge of nothing": ("<<: 3", "not valid YAML"),
}
JSON: dict[str, tuple[str | bytes, str]] = {
    "deep": ("[" * 300_000, "more than 64 deep"),
    "deep and closed": ("[" * 900 + "]" * 900, "more than 64 deep"),
    "a little too deep": ('{"a":' * 65 + "1" + "}" * 65, "more than 64 deep"),
    "many lists": ("[" + "[]," * 3_000_000 + "1]", "lists and objects"),
    "many values": ("[" + "1," * 6_000_000 + "1]", "values"),
    "large": (" " * 16_000_001, "larger than 16 MB"),
    "nan": ("[NaN]", "not finite (NaN)"),
    "infinity": ('{"a": -Infinity}', "not finite (-Infinity)"),
    "overflow": ("1e999", "not finite (1e999)"),
    "digits": ("9" * 5_000, "a whole number of 5000 digits"),
    "twice": ('{"a": 1, "b": {"a": 1, "a": 2}}', "key 'a' stands twice"),
    "not utf-8": (b'["\xff"]', "not a UTF-8 text (invalid start byte at byte 2)"),
    "utf-16": ("[1]".encode("utf-16"), "not a UTF-8 text"),
    "half a character": (r'["\ud800"]', "lone surrogate"),
    "half a character as it is": ('["\ud800"]', "lone surrogate"),
    "empty": ("", "line 1, column 1: not JSON"),
    "cut off": ('{\n"a": ', "line 2, column 6: not JSON"),
}


@pytest.mark.parametrize("text, words", YAML.values(), ids=YAML)
def test_yaml_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "run.yaml")
    said = str(caught.value)
    assert said.startswith("run.yaml") and words in said and len(said) < 400 and "\n" not in said


@pytest.mark.parametrize("text, words", JSON.values(), ids=JSON)
def test_json_is_refused_in_a_sentence(text: str | bytes, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_json(text, "config.json", error=ModelError)
    said = str(caught.value)
    assert said.startswith("config.json") and words in said and len(said) < 400 and "\n" not in said


def test_what_people_write_is_read() -> None:
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\nd: 3e-4", "x") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": [{"x": 1, "y": 2}] * 2,
        "d": 3e-4,
    }
    assert parse_yaml("", "x") is None
    labels = {index: f"label {index}" for index in range(20_000)}
    assert parse_yaml("".join(f"{key}: {value}\n" for key, value in labels.items()), "x") == labels
    assert parse_yaml("[" * 64 + "]" * 64, "x")
    assert parse_json("[" * 64 + "]" * 64, "x")
    assert parse_json('\ufeff{"a": [1.5, "\\ud83d\\ude00", 1000000000000000019884624838656]}', "x") == {
        "a": [1.5, "\N{GRINNING FACE}", 1000000000000000019884624838656]
    }
    assert str(parse_json("[NaN, Infinity, -1e999]", "x", nan=True)) == "[nan, inf, -inf]"


@given(st.recursive(st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False,
       allow_infinity=False) | st.text(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner,
       max_size=4), max_leaves=20))  # fmt: skip
def test_json_reads_as_the_standard_library_does(value: Any) -> None:
    text = json.dumps(value)
    assert parse_json(text, "x") == json.loads(text)
    assert parse_json(json.dumps(value, ensure_ascii=False).encode(), "x") == value


@given(st.text(alphabet=" \n\t-?:,[]{}&*!|>'\"%@`#a1<.~=0x", max_size=40))
def test_any_yaml_is_read_or_refused(text: str) -> None:
    try:
        parse_yaml(text, "x")
    except ConfigError as error:
        assert str(error).startswith("x")


@given(st.text(alphabet='[]{}:,"\\u0d8+-.eE1NaInfity tr', max_size=40) | st.binary(max_size=12))
def test_any_json_is_read_or_refused(text: str | bytes) -> None:
    try:
        parse_json(text, "x")
    except ConfigError as error:
        assert str(error).startswith("x")


@pytest.mark.parametrize("read", [read_json, read_object, read_yaml, card_text.read_card, json_text.read_text])
def test_what_is_no_plain_file_is_not_read(read: Callable[[Path], Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, found in (("pipe", "a pipe"), ("folder", "a folder"), ("zero", "a device")):
        with pytest.raises(ConfigError, match=f"{name}: expected a file, found {found}"):
            read(tmp_path / name)
    with pytest.raises(ConfigError, match="there is no such"):
        read(tmp_path / "nothing")


def test_a_file_is_read_no_further_than_its_bound(tmp_path: Path) -> None:
    file = tmp_path / "sparse.json"
    with file.open("wb") as stream:
        stream.truncate(1 << 40)
    for read, error in ((read_json, DataError), (read_object, ModelError)):
        with pytest.raises(error, match=r"sparse\.json: larger than 16 MB"):
            read(file, error=error)
    for read, size in ((read_yaml, 8), (card_text.read_card, 2)):
        with pytest.raises(InputError, match=rf"sparse\.json: larger than {size} MB"):
            read(file)


def test_an_object_is_expected(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    for text, found in (("[]", "a list"), ("null", "nothing"), ("1", "a number"), ('""', "a text"), ("true", "true")):
        file.write_text(text)
        with pytest.raises(ConfigError, match=rf"state\.json: expected a JSON object, found {found}"):
            read_object(file)


def test_the_pure_python_parser_has_the_same_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML was built without its parser in C."""
    import importlib

    import yaml

    monkeypatch.delattr(yaml, "CSafeLoader")
    try:
        pure = importlib.reload(yaml_text)
        for name in ("aliases", "merges", "itself", "deep list", "base sixty", "twice", "directives", "date"):
            text, words = YAML[name]
            with pytest.raises(ConfigError, match="aliases written out" if name == "merges" else None) as caught:
                pure.parse_yaml(text, "run.yaml")
            assert words in str(caught.value)
        assert pure.parse_yaml("a: &a [1]\nb: *a", "x") == {"a": [1], "b": [1]}
    finally:
        monkeypatch.undo()
        importlib.reload(yaml_text)
