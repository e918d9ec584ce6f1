"""A tokenizer of somebody else runs in a library that nothing interrupts: what would take for ever, fill the memory or
end the process is refused before it is loaded."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hf_tl
from hf_tl.cli import main
from hf_tl.errors import ModelError
from hf_tl.inference.finished import load_finished
from hf_tl.models.tokenizer_bounds import check_tokenizer_json, is_slow
from tests.tiny import tiny_bert, tiny_chat_tokenizer

QUICK = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{M}]*[\p{Ll}\p{Lm}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|\s+(?!\S)|\s+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*""",
    r" ?[^(\s|[.,!?…。，、।۔،])]+", r"\d{1,3}(?=(?:\d{3})*\b)", r"\s|[^\s]+", r" {2,}", r"[\n\r\t]", r"(?<=\d)(?=\d)",
    r"\d+,\d+\.\d+", r"\s+@\s+@", r"(?=(\d{3})+(?!\d))", r"^\s+|\s+$", r"\w+://\w+/\w+", r" ?\p{L}++|\s++$|\s*[\r\n]",
    r"\w{1,12}\w{1,12}!", r"\w*(?:x\w*)?", "a{", "[]a]+b", r"[一-龥぀-ゟ゠-ヿ]+",
    r"<\|startoftext\|>|<\|endoftext\|>|[\p{L}]+|[\p{N}]",
]  # fmt: skip
SLOW = [
    "(a+)+$", "(a|a)*b", "((a*)*)*c", "(?:a{0,1000}){0,1000}b", r"^(([a-z])+.)+[A-Z]", "(a?){30000}a{30000}",
    r"(\w+\s?)*!", r"(?:.|.){22}x", ".?" * 23, "(?:.|.)" * 23, "(?>a+)+", "(?<n>a+)+", "((?:a|b)c)*", "(?i)(a+)+",
    "a*" * 13, "x" * 20_000, "[a(b+)+",
    # what shares the same characters out: the cube of a line's length
    r"\w*\w*(?!.)", r"\w+\w+!", r"a+a+[\w&&[^a]]", r"\w*\w*\w*\w*(?!.)\b\B", r"(?:\w*)(?:\w*)x", r"\w*-?\w*!",
    r"\w*(?:\w*x)", r"\w{2,}\w{0,900}$", r".*,.*,", r"\p{L}+,\p{L}+!", r"x|\w+\d+_", r"(?i)a+A+b",
]  # fmt: skip


@pytest.mark.parametrize("pattern", QUICK)
def test_regular_expressions_of_well_known_tokenizers(pattern: str) -> None:
    assert not is_slow(pattern)


@pytest.mark.parametrize("pattern", SLOW)
def test_regular_expressions_that_may_take_for_ever(pattern: str) -> None:
    assert is_slow(pattern)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier whose `tokenizer.json` is used as it is."""
    from transformers import BertConfig, BertForSequenceClassification

    folder = tiny_bert(tmp_path_factory.mktemp("models") / "text")
    BertForSequenceClassification(BertConfig.from_pretrained(folder, num_labels=2)).save_pretrained(folder)
    said = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**said, "tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


def changed(source: Path, target: Path, **parts: Any) -> Path:
    shutil.copytree(source, target)
    found = json.loads((source / "tokenizer.json").read_text())
    (target / "tokenizer.json").write_text(json.dumps({**found, **parts}))
    return target


def replace(pattern: str, content: str, kind: str = "String") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def sequence(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(parts)}


def charsmap(content: bytes) -> dict[str, Any]:
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()}


def template(**parts: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"single": [{"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {}}
    return {"type": "TemplateProcessing", **usual, **parts}


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


TOKEN = {"id": "[CLS]", "ids": [2] * 1000, "tokens": ["[CLS]"] * 1000}
BOMBS: dict[str, tuple[dict[str, Any], str]] = {
    "a text of 2^30": ({"normalizer": sequence(*[replace("o", "oo")] * 30)}, "more than 1,000 times longer"),
    "of 10^9": ({"normalizer": sequence(*[replace(".", "x" * 10, "Regex")] * 9)}, "more than 1,000 times longer"),
    "between all": ({"normalizer": sequence(*[replace("", "x", "Regex")] * 12)}, "more than 1,000 times longer"),
    "as it is read back": ({"decoder": {"type": "Sequence", "decoders": [replace("o", "oo")] * 30}}, "times longer"),
    "a megabyte a letter": ({"normalizer": replace("o", "x" * 1_000_000)}, "a text of 1,000,000 characters"),
    "before each": ({"normalizer": {"type": "Prepend", "prepend": "x" * 1_000_000}}, "a text of 1,000,000 characters"),
    "parts": ({"normalizer": sequence(*[{"type": "NFC"}] * 200)}, "normalizer has more than 100 parts"),
    "a slow pattern": ({"pre_tokenizer": split("(a+)+$")}, "Split) has the regular expression '(a+)+$', which may"),
    "in a sequence": ({"normalizer": sequence(replace("(a|a)*b", "", "Regex"))}, "Replace) has the regular expression"),
    "no map": ({"normalizer": charsmap(b"")}, "damaged precompiled_charsmap"),
    "a longer map": ({"normalizer": charsmap(b"\xff\xff\xff\xff\0\0\0\0")}, "damaged precompiled_charsmap"),
    "no base64": ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "A"}}, "damaged precompiled"),
    "padding": ({"padding": {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_id": 0, "pad_type_id": 0,
                             "pad_token": "[PAD]", "pad_to_multiple_of": None}}, "strategy.Fixed is 1000000000"),
    "around a text": ({"post_processor": template(single=[{"Sequence": {"id": "A", "type_id": 0}}] * 1000)},
                      "puts 1,000 parts around a text"),
    "a special token": ({"post_processor": template(special_tokens={"[CLS]": TOKEN})}, "a special token of 1,000 ids"),
    "a word": ({"model": {"type": "WordPiece", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]",
                          "continuing_subword_prefix": "##", "max_input_chars_per_word": 10**18}},
               "max_input_chars_per_word is 1000000000000000000"),
    "a prefix": ({"model": {"type": "BPE", "continuing_subword_prefix": "x" * 10**6, "vocab": {}, "merges": []}},
                 "continuing_subword_prefix has 1,000,000 characters"),
}  # fmt: skip


@pytest.mark.parametrize("what", BOMBS)
def test_a_tokenizer_out_of_proportion_is_refused(what: str, model: Path, tmp_path: Path) -> None:
    parts, words = BOMBS[what]
    with pytest.raises(ModelError) as caught:
        load_finished(str(changed(model, tmp_path / "m", **parts)))
    assert words in str(caught.value) and "tokenizer.json" in str(caught.value) and len(str(caught.value)) < 700


def test_usual_tokenizers_are_not_refused(model: Path, tmp_path: Path) -> None:
    parts = [{"type": "NFC"}, replace(" ", "▁"), replace(" {2,}", " ", "Regex"), {"type": "Prepend", "prepend": "▁"}]
    check_tokenizer_json(changed(model, tmp_path / "m", normalizer=sequence(*parts)) / "tokenizer.json")
    tiny_chat_tokenizer(tmp_path / "chat")
    check_tokenizer_json(tmp_path / "chat" / "tokenizer.json")


def cells_that_lead_out(found: dict[str, Any]) -> None:
    """Of a table whose length is right: the library gives up at the first text."""
    found["normalizer"] = charsmap(b"\x08\0\0\0" + b"\xff" * 8 + b"abc")


def a_word_beyond_the_model(found: dict[str, Any]) -> None:
    found["model"]["vocab"]["good"] = 24_999


def nothing_at_once(found: dict[str, Any]) -> None:
    found["pre_tokenizer"] = {"type": "FixedLength", "length": 0}


@pytest.mark.parametrize("attack", [cells_that_lead_out, a_word_beyond_the_model, nothing_at_once])
def test_what_fails_at_the_first_text_is_the_models_fault(
    attack: Callable[[dict[str, Any]], None], model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 with a sentence, also where a library in Rust panics, whose exception is no `Exception`."""
    shutil.copytree(model, tmp_path / "m")
    found = json.loads((model / "tokenizer.json").read_text())
    attack(found)
    (tmp_path / "m" / "tokenizer.json").write_text(json.dumps(found))
    assert main(["predict", str(tmp_path / "m"), "a good film"]) == 2
    said = capfd.readouterr().err
    assert "loads, and cannot answer" in said and "Traceback" not in said


@pytest.mark.parametrize("name", ["BertModel", "RagTokenizer", "AutoTokenizer", "pipeline"])
def test_a_class_that_is_no_tokenizer(name: str, model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "m")
    said = json.loads((model / "tokenizer_config.json").read_text())
    (tmp_path / "m" / "tokenizer_config.json").write_text(json.dumps({**said, "tokenizer_class": name}))
    try:
        hf_tl.predict(str(tmp_path / "m"), ["a good film"])
    except ModelError as error:
        assert "tokenizer" in str(error)
