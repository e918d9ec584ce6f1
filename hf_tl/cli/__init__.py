"""The command line. `main` is `hf-tl`; `recipe` is the main of a recipe."""

from hf_tl.cli.app import main, recipe

__all__ = ["main", "recipe"]
