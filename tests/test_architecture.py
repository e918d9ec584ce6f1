"""The layers, checked in the source: imports go one way, and the engine knows no task by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import hf_tl
from hf_tl.task import task_names

PACKAGE = Path(hf_tl.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(file for file in PACKAGE.rglob("*.py") if "_package_data" not in file.parts)

LAYERS = (
    "errors",
    "compat",
    "files",
    "io",
    "task",
    "protocols",
    "config",
    "run_folder",
    "hub",
    "metrics",
    "data",
    "tasks",
    "models",
    "inference",
    "training",
    "analysis",
    "reporting",
    "sharing",
    "run",
    "commands",
    "cli",
    "__main__",
)
"""Modules and packages of `hf_tl/` in the order of imports: each imports from itself and from what stands above."""
MODULES = {
    ".".join(("hf_tl", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): file
    for file in FILES
}


def layer_of(module: str) -> int:
    """Where a module stands in `LAYERS`; the package itself, which is a lazy table of names, above all."""
    name = module.partition(".")[2].partition(".")[0]
    assert not name or name in LAYERS, f"{module}: in no layer of LAYERS; give it a place"
    return LAYERS.index(name) if name else -1


def imports_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(module of hf_tl, line) of every import, also inside functions, without what only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [each if each in MODULES else str(node.module) for each in inside]
        else:
            yield from imports_of(node)
            continue
        yield from ((name, node.lineno) for name in names if name.partition(".")[0] == "hf_tl")


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    for other, line in imports_of(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        assert other in MODULES, f"{module}, line {line}: there is no {other}"
        assert layer_of(other) <= layer_of(module), f"{module}, line {line}: imports {other}, which stands below it"


def test_there_is_no_cycle_of_imports() -> None:
    """`pytest -s` prints the order in which the modules can be read: each after what it imports."""
    graph = {
        module: {other for other, _ in imports_of(ast.parse(file.read_text(encoding="utf-8")))}
        for module, file in MODULES.items()
    }
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' <- '.join(error.args[1])}")
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=lambda module: (layer_of(module), module))
        order += ready
        sorter.done(*ready)
    order.sort(key=layer_of)  # stable: within a layer, after what it imports
    print()
    for number, layer in enumerate(LAYERS):
        inside = [module.removeprefix("hf_tl.") for module in order if layer_of(module) == number]
        print(f"{layer:<12}", *inside)


def test_the_root_is_small() -> None:
    names = {module.removeprefix("hf_tl.") for module, file in MODULES.items() if file.parent == PACKAGE}
    assert names == {
        "hf_tl",
        "__main__",
        "errors",
        "compat",
        "config",
        "task",
        "protocols",
        "files",
        "run_folder",
        "run",
    }


def test_reporting_needs_no_network_and_no_model() -> None:
    """Pure functions of a run folder; the model type of our own heads is all that they know of `models`."""
    far = {"hub", "inference", "training", "sharing"}
    for module, file in MODULES.items():
        if module.startswith("hf_tl.reporting."):
            for other, line in imports_of(ast.parse(file.read_text(encoding="utf-8"))):
                assert other.split(".")[1] not in far, f"{module}, line {line}: imports {other}"


def test_no_module_is_called_as_a_public_function() -> None:
    functions = {name for name in hf_tl.__all__ if callable(getattr(hf_tl, name)) and name.islower()}
    assert not functions & {child.stem for child in PACKAGE.iterdir()}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_the_engine_knows_no_task_by_name(file: Path) -> None:
    if file.parent.name == "tasks":
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


PAGES = {("hf_tl/commands/train.py", "finetune")}
"""Functions that are read from top to bottom, as a page: the whole run."""


SCRIPTS = [*sorted(ROOT.glob("recipes/*.py")), *sorted(ROOT.glob("benchmarks/*.py"))]


@pytest.mark.parametrize("file", [*FILES, *SCRIPTS], ids=lambda file: str(file.relative_to(ROOT)))
def test_files_and_functions_stay_short(file: Path) -> None:
    text, name = file.read_text(encoding="utf-8"), file.relative_to(ROOT).as_posix()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or (name, node.name) in PAGES:
            continue
        signature = node.body[0].lineno - node.lineno if name.startswith("hf_tl/cli/") else 0  # options, one a line
        first = node.body[0]
        written = ast.get_docstring(node, clean=False) is not None
        docstring = (first.end_lineno or 0) - first.lineno + 1 if written else 0
        length = (node.end_lineno or 0) - node.lineno + 1 - docstring - signature
        assert length <= 60, f"line {node.lineno}: {node.name} has {length} lines"


@pytest.mark.parametrize("file", sorted((PACKAGE / "tasks").glob("*.py")), ids=lambda file: file.stem)
def test_no_task_imports_a_task(file: Path) -> None:
    """What several tasks share is in a file whose name begins with an underscore."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hf_tl.tasks"):
            parts = [*str(node.module).split(".")[2:], *(alias.name for alias in node.names)]
            assert parts[0].startswith("_"), f"line {node.lineno}: {ast.unparse(node)}"


def test_every_task_is_called_as_its_file() -> None:
    assert [task.name for task in hf_tl.list_tasks()] == task_names()


def test_a_task_names_what_it_uses() -> None:
    for task in hf_tl.list_tasks():
        assert task.best_metric in task.metrics
        assert task.input_roles
        assert task.summary and not task.summary.endswith(".")
