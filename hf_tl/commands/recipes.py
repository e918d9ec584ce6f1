"""The recipes: listed from their docstrings, copied, or run. They are scripts in `recipes/`, not a package."""

from __future__ import annotations

import ast
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_tl.errors import ConfigError, did_you_mean, listing
from hf_tl.io.project_files import project_file


def recipe_files() -> dict[str, Path]:
    """Name -> script, sorted."""
    files = sorted(project_file("recipes").glob("*.py"))
    return {file.stem: file for file in files if not file.stem.startswith("_")}


def find_recipe(name: str) -> Path:
    """The script of the recipe `name`.

    Raises:
        ConfigError: there is none of that name.
    """
    files = recipe_files()
    key = name.removesuffix(".py").replace("-", "_")
    if key not in files:
        raise ConfigError(
            f"{name!r} is not a recipe{did_you_mean(key, files) or '.'} There are {listing(files, most=30)}."
        )
    return files[key]


def describe(file: Path) -> str:
    """The first line of the script's docstring."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.strip().split("\n")[0]


def measured(file: Path) -> str:
    """What the script's docstring says was measured, in one line."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("Measured:")[2].split())


def copy_recipe(name: str, folder: Path) -> Path:
    """Copies the script into `folder`.

    Raises:
        ConfigError: no such recipe, no such folder, or the file is there already.
    """
    source = find_recipe(name)
    target = folder / source.name
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no such folder.")
    try:
        with target.open("x", encoding="utf-8") as stream:
            stream.write(source.read_text(encoding="utf-8"))
    except FileExistsError:
        raise ConfigError(f"{target} exists already; copy it elsewhere with --to FOLDER.") from None
    return target


def run_recipe(name: str, overrides: Sequence[str]) -> None:
    """Runs the script as `python recipes/NAME.py OVERRIDES...` does, in this process."""
    file = find_recipe(name)
    before, sys.argv = sys.argv, [os.fspath(file), *overrides]
    try:
        runpy.run_path(os.fspath(file), run_name="__main__")
    finally:
        sys.argv = before


def recipe_config(file: Path) -> Mapping[str, Any]:
    """The script's `CONFIG`, without running it further."""
    config = runpy.run_path(os.fspath(file), run_name="recipe").get("CONFIG")
    if not isinstance(config, Mapping):
        raise ConfigError(f"{file}: a recipe holds its configuration in a mapping called CONFIG.")
    return config
