"""The chat template of somebody else's tokenizer ends, whatever it says, and with a sentence."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from hf_tl.errors import ModelError
from hf_tl.sharing import proof
from hf_tl.sharing.demo import describe_demo
from hf_tl.tasks import _template_bounds
from hf_tl.tasks._chat import encode, prompt_ids
from tests.tiny import CHATML, tiny_bert, tiny_chat_tokenizer

TALK: list[dict[str, Any]] = [{"role": "user", "content": "good film"}, {"role": "assistant", "content": "so so"}]
FOR_EVER = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}x"
DOUBLES = (
    "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}"
)


@pytest.mark.parametrize("template", [FOR_EVER, DOUBLES], ids=["time", "memory"])
def test_a_template_ends(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In training as well as for an answer."""
    monkeypatch.setattr(_template_bounds, "SECONDS", 0.5)
    monkeypatch.setattr(_template_bounds, "BYTES", 200_000_000)
    tokenizer = tiny_chat_tokenizer(None, template)
    with pytest.raises(ModelError, match=r"its chat template takes more than .* for one conversation"):
        prompt_ids(TALK[:1], tokenizer)
    with pytest.raises(ModelError, match=r"its chat template takes more than .* for one conversation"):
        encode(TALK, tokenizer, None, False, {tokenizer.eos_token_id})


@pytest.mark.parametrize("template", ["{{ 'a' * 10000000000 }}", "{% set n = 10 ** 10 %}{{ n }}", "a\n{{ 3*'b' }}"])
def test_a_template_does_not_multiply(template: str) -> None:
    with pytest.raises(ModelError, match="multiplies in line"):
        prompt_ids(TALK[:1], tiny_chat_tokenizer(None, template))


@pytest.mark.parametrize("template", ["{{ '%1000000000d' % 1 }}", "{{ 'a'|center(1000000000) }}"])
def test_a_template_has_no_width_of_gigabytes(template: str) -> None:
    with pytest.raises(ModelError, match="holds the number"):
        prompt_ids(TALK[:1], tiny_chat_tokenizer(None, template))


def test_a_template_writes_no_megabytes() -> None:
    """That a tokenizer would then read without end."""
    longer = "{% for i in range(500) %}" + "x" * 5_000 + "{% endfor %}"
    with pytest.raises(ModelError, match="writes 2,500,000 characters"):
        prompt_ids(TALK[:1], tiny_chat_tokenizer(None, longer))
    with pytest.raises(ModelError, match="writes 2,500,000 characters"):
        encode(TALK, tiny_chat_tokenizer(None, longer), None, False, {1})


def test_a_template_of_megabytes() -> None:
    with pytest.raises(ModelError, match="has 2,000,000 characters"):
        prompt_ids(TALK[:1], tiny_chat_tokenizer(None, "x" * 2_000_000))


def test_an_honest_template_is_left_alone() -> None:
    """A `*` in its text is none of its steps; another thread has no signals."""
    tokenizer = tiny_chat_tokenizer(None, "** bold ** " + CHATML)
    found: list[Any] = [prompt_ids(TALK[:1], tokenizer)]
    other = threading.Thread(target=lambda: found.append(prompt_ids(TALK[:1], tokenizer)))
    other.start()
    other.join()
    assert found[0] == found[1] != []


PLACES = {
    "chat_template.jinja": lambda text: text,
    "additional_chat_templates/tools.jinja": lambda text: text,
    "tokenizer_config.json": lambda text: json.dumps({"chat_template": text}),
    "processor_config.json": lambda text: json.dumps({"chat_template": {"default": text}}),
    "chat_template.json": lambda text: json.dumps({"chat_template": [{"name": "default", "template": text}]}),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_template_that_runs_elsewhere_is_tried_here(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A demo app and the clean process of a proof run it without these limits."""
    monkeypatch.setattr(_template_bounds, "SECONDS", 0.5)
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    for text, said in ((FOR_EVER, "takes more than"), ("{{ 'a' * 10000000000 }}", "multiplies in line 1")):
        file.write_text(PLACES[place](text), encoding="utf-8")
        with pytest.raises(ModelError, match=f"its chat template {said}"):
            _template_bounds.check_folder(tmp_path)
    for text in (CHATML, "{{ raise_exception('only tools') }}", "{% broken"):
        file.write_text(PLACES[place](text), encoding="utf-8")
        _template_bounds.check_folder(tmp_path)


@pytest.mark.parametrize("runs", ["demo", "proof"])
def test_no_demo_and_no_proof_of_a_template_without_bounds(runs: str, tmp_path: Path) -> None:
    tiny_bert(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ 'a' * 10000000000 }}", encoding="utf-8")
    with pytest.raises(ModelError, match="multiplies in line 1"):
        if runs == "demo":
            describe_demo(str(tmp_path))
        else:
            proof._results(None, [proof.Copy("m", tmp_path)], {}, False, False)  # type: ignore[arg-type]
