"""The command line answers without the heavy libraries, and the public names are complete."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import hf_tl

HEAVY = {"torch", "torchvision", "transformers", "datasets", "peft", "evaluate", "accelerate", "huggingface_hub"}
LIGHT_COMMANDS = [["--help"], ["tasks"], ["tasks", "--json"], ["train", "--help"], ["recipes", "list"], ["--version"]]


def modules_after(code: str) -> set[str]:
    """Names of the top-level modules that a fresh interpreter has loaded after `code`."""
    code += "\nimport sys\nprint('\\nLOADED', *sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.rsplit("LOADED", 1)[1].split())


@pytest.mark.parametrize("arguments", LIGHT_COMMANDS, ids=" ".join)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    loaded = modules_after(f"from hf_tl.cli import main\nassert main({arguments!r}) == 0")
    assert not loaded & (HEAVY | {"numpy", "rich", "yaml"})


@pytest.mark.parametrize("module", ["hf_tl", "hf_tl.config", "hf_tl.task", "hf_tl.errors", "hf_tl.cli"])
def test_light_modules_import_nothing_heavy(module: str) -> None:
    assert not modules_after(f"import {module}") & HEAVY


def test_describing_every_task_imports_nothing_heavy() -> None:
    assert not modules_after("import hf_tl\nassert [task.name for task in hf_tl.list_tasks()]") & HEAVY


def test_a_wrong_configuration_is_refused_before_anything_heavy_is_imported() -> None:
    loaded = modules_after("from hf_tl.cli import main\nassert main(['train', '--model', 'x', 'dat=y']) == 2")
    assert not loaded & HEAVY


def test_public_names_are_complete_and_sorted() -> None:
    assert hf_tl.__all__ == sorted([*hf_tl._PUBLIC, "__version__"])


@pytest.mark.parametrize("name", hf_tl._PUBLIC)
def test_every_public_name_can_be_used(name: str) -> None:
    assert callable(getattr(hf_tl, name))
    assert name in dir(hf_tl)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'fine_tune'"):
        hf_tl.fine_tune  # noqa: B018


def test_a_verb_is_a_function_whatever_was_imported_before() -> None:
    code = """
import hf_tl.commands.schema, hf_tl.commands.doctor, hf_tl.tasks
from hf_tl.commands.doctor import doctor
assert hf_tl.doctor is doctor
assert hf_tl.schema is hf_tl.commands.schema.schema
assert hf_tl.list_tasks()[0].name
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_verb_shows_its_signature() -> None:
    assert "samples" in inspect.signature(hf_tl.preview).parameters
