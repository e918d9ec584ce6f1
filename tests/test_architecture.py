"""The plan of the house, checked in the source: imports go one way, and the engine knows no task by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import hf_tl
from hf_tl.task import task_names

PACKAGE = Path(hf_tl.__file__).parent
FILES = sorted(file for file in PACKAGE.rglob("*.py") if "_shipped" not in file.parts)

LAYERS = (
    {"errors", "files", "shipped", "compat"},
    {"json_text", "yaml_text", "card_text"},
    {"config", "task", "console", "failures", "options", "command_line"},
    {"patience"},
    {"hubanswer"},
    {"hubwire"},
    {"tasks", "hubclient", "run", "run_shapes"},
    {"metrics"},
    {"data"},
    {"models"},
    {"training"},
    {"evaluation"},
    {"sharing"},
    {"finetune"},
    {"quickstart", "preview", "doctor", "schema", "cookbook", "launch", "reproduce"},
    {"cli_options"},
    {"cli_sharing"},
    {"cli", "__main__"},
)
"""A file imports from its own layer and those before it."""
FACADES = {"__init__", "run", "config", "task", "tasks"}
"""These call later layers inside functions: what they import when they are imported is light."""


def name_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def layer_of(name: str) -> int:
    found = [index for index, layer in enumerate(LAYERS) if name in layer]
    assert found, f"hf_tl/{name}: in no layer of LAYERS; give it a place"
    return found[0]


def imported(tree: ast.AST, inside_functions: bool) -> Iterator[str]:
    """First part below hf_tl of everything imported, without what only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not inside_functions:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"hf_tl.{alias.name}" for alias in node.names] if node.module == "hf_tl" else [node.module]
        yield from (name.split(".")[1] for name in names if name.startswith("hf_tl."))
        yield from imported(node, inside_functions)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_one_way(file: Path) -> None:
    name = name_of(file)
    if name == "__init__":
        return
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for other in set(imported(tree, inside_functions=name not in FACADES)):
        if other.startswith("__"):  # the package's own version
            continue
        assert layer_of(other) <= layer_of(name), f"hf_tl/{name} imports the later hf_tl/{other}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_the_engine_knows_no_task_by_name(file: Path) -> None:
    if name_of(file) == "tasks":
        return
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            named = [task for task in task_names() if task in node.value]
            assert not named, f"line {node.lineno}: {node.value!r}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_files_stay_short(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 420


def test_every_task_is_called_as_its_file() -> None:
    assert [task.name for task in hf_tl.tasks()] == task_names()


def test_a_task_names_what_it_uses() -> None:
    for task in hf_tl.tasks():
        assert task.best_metric in task.metrics
        assert task.input_roles
        assert task.summary and not task.summary.endswith(".")
