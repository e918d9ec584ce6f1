"""What README, docs and recipes show is true: commands parse, options exist and are read, scores were measured."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import typer

from hf_tl.cli.app import app
from hf_tl.config import DataConfig, MethodConfig, load_config, parse_overrides
from hf_tl.data.load import load_data
from hf_tl.task import OPTIONS, all_tasks, get_task

ROOT = Path(__file__).parents[1]
GUIDES = {file.stem: file for file in sorted((ROOT / "docs" / "tasks").glob("*.md"))}
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), ROOT / "recipes" / "README.md"]
SECTIONS = ["Quick start", "Dataset format", "Options", "Metrics", "Load the model"]
OLD_WORDS = re.compile(
    r"\b(pictures?|strangers?|corridors?|porch|house|rooms?|witness(es)?|fences?|data sets?|upon|mend(ed|s)?)\b",
    re.IGNORECASE,
)
OLD_NAMES = re.compile(
    r"(?<![a-z\"])(pictures?|strangers?|corridors?|porch|rooms|witness(es)?|cookbook|shipped|wordings?|data sets?"
    r"|mend(ed|s)?|hold_batch_norm|copied_whole)(?![a-z])",
    re.IGNORECASE,
)
"""Also within a name, as in `test_corridor`."""


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of that language, or with "" those without one."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [block for name, block in fenced if name == language]


def commands() -> Iterator[tuple[str, list[str]]]:
    """(page, words after `hf-tl`) of every command that is shown."""
    for page in PAGES:
        for block in blocks(page, "console"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if words and words[0] == "hf-tl":
                    yield named(page), words[1:]


@pytest.mark.parametrize(("page", "words"), commands(), ids=lambda each: each if isinstance(each, str) else each[0])
def test_commands_parse(page: str, words: list[str]) -> None:
    """Options exist, and `key=value` is a configuration."""
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    context = command.make_context(command.name, words)
    options = {key: context.params.get(key) for key in ("task", "method") if context.params.get(key)}
    overrides = [word for word in words if re.match(r"[a-z_]+(\.\w+)*=", word)]
    load_config({"model": "m", "data": "d"}, options, parse_overrides(overrides))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_compiles_and_configurations_are_valid(page: Path) -> None:
    """Keywords of `hf_tl.finetune` are keys of a configuration."""
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "hf_tl.finetune":
                load_config({word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg})


SCRIPTS = [*sorted(ROOT.glob("recipes/*.py")), *sorted(ROOT.glob("benchmarks/*.py"))]


@pytest.mark.parametrize("script", SCRIPTS, ids=named)
def test_scripts_import_what_there_is(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("hf_tl"):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("name", [task.name for task in all_tasks()])
def test_every_task_has_a_guide_of_the_same_sections(name: str) -> None:
    assert name in GUIDES, f"docs/tasks/{name}.md is missing"
    lines = GUIDES[name].read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# {name}"
    assert [line[3:] for line in lines if line.startswith("## ")] == SECTIONS
    assert 40 <= len(lines) <= 90, "short enough to read, long enough to start"


@pytest.mark.parametrize("name", [task.name for task in all_tasks()])
def test_every_task_is_in_the_readme_and_has_a_recipe(name: str) -> None:
    assert f"](docs/tasks/{name}.md)" in (ROOT / "README.md").read_text(encoding="utf-8"), "the table of tasks lacks it"
    stem = name.replace("-", "_")
    recipes = [
        file
        for file in ROOT.glob("recipes/*.py")
        if file.stem.startswith(stem) or f'"{name}"' in file.read_text(encoding="utf-8")
    ]
    assert recipes, f"recipes/{stem}_full.py is missing, and no other is about {name}"


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_has_the_options_and_methods_of_its_task(name: str) -> None:
    """Options that only some tasks read, and the methods: all that the task has, and none that it refuses."""
    task, text = get_task(name), GUIDES[name].read_text(encoding="utf-8")
    text = re.sub(r"`max_target_length`", "`data.preprocessing.max_target_length`", text)
    text = re.sub(r"`target_lang`", "`data.preprocessing.target_lang`", text).replace("`generation.*`", "`generation`")
    assert {option for option in OPTIONS if re.search(rf"`{re.escape(option)}[`=]", text)} == set(task.reads)
    text = text.replace("There is no `frozen`", "")
    methods = get_args(MethodConfig.model_fields["name"].annotation)
    assert set(re.findall(rf"`({'|'.join(methods)})`", text)) == set(task.methods)


def results() -> dict[str, str]:
    """Case -> result of docs/quality.md."""
    lines = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line.startswith("| ")]
    at = cells[0].index("result")
    return {row[0]: row[at] for row in cells[1:]}


@pytest.mark.parametrize("page", [ROOT / "README.md", *GUIDES.values()], ids=named)
def test_scores_are_those_that_were_measured(page: Path) -> None:
    """Each `0.888 (0.874 to 0.902)` is a row of docs/quality.md, rounded, and each case that is named exists."""
    text, known = page.read_text(encoding="utf-8"), results()
    for words in re.findall(r"benchmarks/quality\.py ([\w -]+)`", text):
        assert set(words.split()) <= set(known)
    number = r"\d+\.\d+"
    exact = [re.findall(number, result) for result in known.values()]
    for found in re.findall(rf"({number})\s+\(({number}) to\s+({number})\)", text):
        digits = len(found[0].partition(".")[2])
        assert list(found) in [[f"{float(value):.{digits}f}" for value in row] for row in exact], found


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *SCRIPTS],
    ids=named,
)  # fmt: skip
def test_the_words_are_the_field_s(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for block in blocks(page, ""):
        text = text.replace(block, "")  # file names
    assert not [line for line in text.splitlines() if OLD_WORDS.search(line)]


def test_the_words_of_code_tests_and_templates_too() -> None:
    files = [
        file
        for folder in ("hf_tl", "tests")
        for file in (ROOT / folder).rglob("*")
        if file.suffix in (".py", ".j2", ".css", ".md") and file != Path(__file__)
    ]
    found = [
        f"{named(file)}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if OLD_NAMES.search(line) or OLD_NAMES.search(file.name)
    ]
    assert not found, "say it in the field's words:\n" + "\n".join(found)


def examples() -> Iterator[tuple[str, str, str]]:
    """(task, extension, rows) of each example of a dataset that is a table; lines with other keys are another one."""
    for name, page in GUIDES.items():
        for block in blocks(page, "csv"):
            yield name, "csv", block
        by_keys: dict[tuple[str, ...], list[str]] = {}
        for line in "".join(blocks(page, "json")).splitlines():
            by_keys.setdefault(tuple(json.loads(line)), []).append(line)
        for keys, lines in by_keys.items():
            if "file_name" not in keys:
                yield name, "jsonl", "\n".join(lines)


@pytest.mark.parametrize(("name", "extension", "rows"), examples(), ids=lambda each: each.splitlines()[0][:40])
def test_the_example_of_a_dataset_can_be_read(name: str, extension: str, rows: str, tmp_path: Path) -> None:
    """The task is inferred from it."""
    first, *rest = rows.strip().splitlines() if extension == "csv" else ["", *rows.strip().splitlines()]
    file = tmp_path / f"data.{extension}"
    file.write_text("\n".join(filter(None, [first, *rest * 10])) + "\n", encoding="utf-8")
    assert load_data(DataConfig(path=str(file)), None, seed=0).task.name == name
