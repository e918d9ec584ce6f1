"""Would the tests notice a small bug? Puts one at a time into a copy of the tree and runs the tests of that line.

    python benchmarks/mutation.py hf_tl/metrics --tests tests/metrics --sample 40 --seed 1
    python benchmarks/mutation.py hf_tl/data/splits.py:40-80 --tests tests/data        # every mutant of these lines

A first run notes which test runs which line (those of module-scoped fixtures too). Each mutant then runs the tests of
its line alone, the fastest first, in a process forked after the heavy libraries were imported. Prints the mutants that
no test noticed, as differences, and the share that was noticed. A timeout or a failed import counts as noticed; a line
that no test runs here as unnoticed (`--all` runs all tests for it). A survivor can be equivalent code. Needs `fork`.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "torch", "transformers", "datasets", "peft", "accelerate", "sklearn.metrics", "scipy.stats", "pandas", "trl",
    "torchvision.transforms.v2", "timm", "torchmetrics", "seqeval.metrics", "sentence_transformers", "pytest",
)  # fmt: skip
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mod,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
OTHER_NAME = {
    "min": "max", "max": "min", "any": "all", "all": "any", "mean": "sum", "sum": "mean", "argmax": "argmin",
    "argmin": "argmax", "ceil": "floor", "floor": "ceil", "width": "height", "height": "width", "first": "last",
    "startswith": "endswith", "endswith": "startswith", "minimum": "maximum", "maximum": "minimum",
}  # fmt: skip
KEPT = ("min", "max", "gcd", "isclose", "accuracy_score", "hamming_loss", "isinstance", "getattr", "hasattr", "cast")
"""Calls whose first two arguments are not swapped: it would change nothing, or be noticed by anything."""
DROPPED = ("abs", "sorted", "sum", "round", "set", "reversed", "softmax", "sigmoid", "log", "sqrt", "strip", "lower")


@dataclass(frozen=True)
class Mutant:
    """One changed node: bytes `start` to `end` of the file become `text`."""

    path: str
    line: int
    start: int
    end: int
    text: str

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]

    def difference(self, source: bytes) -> str:
        before = source.count(b"\n", 0, source.rfind(b"\n", 0, self.start) + 1)
        old, new = source.decode().splitlines(), self.applied(source).decode().splitlines()
        after = len(old) - source.count(b"\n", 0, self.end) - 1
        return "\n".join(
            [f"- {line.strip()}" for line in old[before : len(old) - after]]
            + [f"+ {line.strip()}" for line in new[before : len(new) - after]]
        )


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in place of a node."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
        yield _with(node, ops=[COMPARISONS[type(node.ops[0])]()])
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and not _of_text(node):
        yield _with(node, op=OPERATORS[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(
            {0: 1, 1: 0}.get(node.value, node.value + 1 if isinstance(node.value, int) else node.value * 2)
        )
    elif isinstance(node, ast.IfExp):
        yield _with(node, body=node.orelse, orelse=node.body)
    elif (
        isinstance(node, ast.If)
        and not node.orelse
        and isinstance(node.body[-1], ast.Raise | ast.Return | ast.Continue)
    ):
        yield _with(node, test=ast.Constant(False))
    elif isinstance(node, ast.If) and isinstance(node.test, ast.Name | ast.Attribute | ast.Call):
        yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    elif (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)) or isinstance(node, ast.AugAssign):
        yield ast.Pass()
    elif isinstance(node, ast.comprehension) and node.ifs:
        yield _with(node, ifs=node.ifs[1:])
    elif isinstance(node, ast.Attribute) and node.attr in OTHER_NAME and isinstance(node.ctx, ast.Load):
        yield _with(node, attr=OTHER_NAME[node.attr])
    elif isinstance(node, ast.Call):
        yield from _calls(node)


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    if isinstance(node.func, ast.Name) and name in OTHER_NAME:
        yield _with(node, func=ast.Name(OTHER_NAME[name]))
    if name in DROPPED:
        inside = node.args[0] if node.args and not isinstance(node.args[0], ast.Constant) else None
        if inside is None and isinstance(node.func, ast.Attribute):
            inside = node.func.value
        if inside is not None and not isinstance(inside, ast.GeneratorExp | ast.Starred):
            yield inside
    if len(node.args) > 1 and not any(isinstance(each, ast.Starred) for each in node.args[:2]):
        if ast.dump(node.args[0]) != ast.dump(node.args[1]) and name not in KEPT:
            yield _with(node, args=[node.args[1], node.args[0], *node.args[2:]])


def _with(node: Any, **fields: Any) -> Any:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _of_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(
        isinstance(x, ast.JoinedStr) or (isinstance(x, ast.Constant) and isinstance(x.value, str)) for x in sides
    )


def mutants(path: str, source: bytes) -> list[Mutant]:
    """All of one file. Strings, annotations, imports and what only a type checker sees stay as they are."""
    begins = [0]
    for line in source.splitlines(keepends=True):
        begins.append(begins[-1] + len(line))
    found = []

    def visit(node: Any) -> None:
        if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom):
            return  # places inside an f-string are not known to Python 3.11
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        for new in changes(node):
            old, text = node, f"({ast.unparse(new)})" if isinstance(node, ast.expr) else ""
            if isinstance(node, ast.If):  # its condition alone
                old, text = node.test, ast.unparse(new.test)
            elif isinstance(node, ast.comprehension):
                old, text = node.ifs[0], "True"
            elif isinstance(new, ast.Pass):
                text = "pass"
            found.append(Mutant(path, old.lineno, *_place(old, begins), text))
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list"):
                continue
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, ast.AST):
                    visit(each)

    visit(ast.parse(source))
    return found


def _place(node: Any, begins: list[int]) -> tuple[int, int]:
    return begins[node.lineno - 1] + node.col_offset, begins[node.end_lineno - 1] + node.end_col_offset


class Trace:
    """A pytest plugin: which test, or which fixture of several tests, runs which lines of some files."""

    def __init__(self, files: set[str]) -> None:
        self.files, self.lines = files, defaultdict(set)
        self.seconds: dict[str, float] = {}
        self.fixtures: dict[str, list[str]] = {}
        self.failed: list[str] = []
        self.now = ["import"]

    def _call(self, frame: Any, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename in self.files else None

    def _line(self, frame: Any, event: str, argument: Any) -> Any:
        self.lines[f"{frame.f_code.co_filename}:{frame.f_lineno}"].add(self.now[-1])
        return self._line

    def pytest_sessionstart(self) -> None:
        threading.settrace(self._call)
        sys.settrace(self._call)

    def pytest_runtest_protocol(self, item: Any) -> None:
        self.now = [item.nodeid]
        self.seconds[item.nodeid] = 0.0
        self.fixtures[item.nodeid] = list(item.fixturenames)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed.append(report.nodeid)

    def fixture(self, fixturedef: Any, request: Any) -> Iterator[None]:
        shared = fixturedef.scope != "function"
        if shared:
            self.now.append(f"fixture {fixturedef.baseid}::{fixturedef.argname}")
        yield
        if shared:
            self.now.pop()

    def tests(self) -> dict[str, list[str]]:
        """Of each line the tests that run it, the fastest first; those of an import are all."""
        of_fixture = defaultdict(set)
        for test, names in self.fixtures.items():
            for name in names:
                of_fixture[name].add(test)
        found = {}
        for line, places in self.lines.items():
            tests: set[str] = set()
            for place in places:
                if place.startswith("fixture "):
                    base, _, name = place[8:].rpartition("::")
                    tests |= {test for test in of_fixture[name] if test.startswith(base)}
                else:
                    tests |= set(self.seconds) if place == "import" else {place}
            found[line] = sorted(tests & set(self.seconds) - set(self.failed), key=lambda test: self.seconds[test])
        return found


def forked(work: Path, arguments: list[str], seconds: float, trace: Trace | None = None) -> int | None:
    """Exit status of pytest in a copy of the tree, in a process of its own; None when it ran out of time."""
    child = os.fork()
    if child == 0:
        os.setsid()
        log = os.open(work / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1), os.dup2(log, 2)
        os.chdir(work / "tree")
        sys.path[:] = [
            str(work / "tree"),
            *(each for each in sys.path if each not in (str(ROOT), "", str(ROOT / "benchmarks"))),
        ]
        os.environ["PYTHONPATH"] = str(work / "tree")
        status = 70
        try:
            import pytest

            if trace:
                Trace.pytest_fixture_setup = pytest.hookimpl(wrapper=True)(Trace.fixture)
            status = int(
                pytest.main(
                    [*arguments, "-q", "-p", "no:cacheprovider", f"--basetemp={work / 'tmp'}"], [trace] if trace else []
                )
            )
            sys.settrace(None)
            if trace:
                (work / "trace.json").write_text(json.dumps([trace.tests(), trace.seconds, trace.failed]))
        finally:
            os._exit(status)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def copied(work: Path) -> Path:
    """The tree, without what git or a cache keeps."""
    ignore = shutil.ignore_patterns(".git", ".venv", "runs", ".*_cache")
    shutil.copytree(ROOT, work / "tree", ignore=ignore, symlinks=True)
    return work


def chosen(root: Path, places: list[str], sample: int | None, seed: int) -> list[Mutant]:
    found = []
    for place in places:
        name, _, lines = place.partition(":")
        path = root / name
        low, high = (int(x) for x in lines.split("-")) if lines else (1, 10**9)
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            all_of_it = mutants(str(file.relative_to(root)), file.read_bytes())
            found += [each for each in all_of_it if low <= each.line <= high]
    return found if sample is None else random.Random(seed).sample(found, min(sample, len(found)))


def by_hand(root: Path, file: Path) -> list[Mutant]:
    """The changes that a file lists; a text has to occur, and its first place is meant."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        path, old, new = json.loads(line)
        source = (root / path).read_bytes()
        start = source.find(old.encode())
        if start < 0:
            print(f"{path}: does not hold {old!r}", file=sys.stderr)
            continue
        same = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), 0)
        line_of = source.count(b"\n", 0, start) + old.count("\n", 0, same) + 1
        found.append(Mutant(path, line_of, start, start + len(old.encode()), new))
    return found


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("places", nargs="*", help="file, folder, or file:first-last")
    parse.add_argument(
        "--by-hand", type=Path, help="bugs of one's own: lines of JSON, each [file, text, text in its place]"
    )
    parse.add_argument("--tests", nargs="+", required=True)
    parse.add_argument("--sample", type=int)
    parse.add_argument("--seed", type=int, default=1)
    parse.add_argument("--jobs", type=int, default=1)
    parse.add_argument("--timeout", type=float, default=240, help="seconds for one mutant")
    parse.add_argument("--all", action="store_true", help="run all the tests for a line that none runs here")
    options = parse.parse_args()
    top = Path(tempfile.mkdtemp(prefix="mutation-"))
    try:
        run(top, options)
    finally:
        shutil.rmtree(top, ignore_errors=True)


def _import_heavy(top: Path) -> Any:
    os.environ.update(HF_HOME=str(top / "hf"), HF_HUB_DISABLE_TELEMETRY="1", PYTHONDONTWRITEBYTECODE="1")
    os.environ.setdefault("HF_TL_TEST_DATA", str(ROOT.parent / "shared" / "data"))
    sys.dont_write_bytecode = True
    from hf_tl import compat

    compat.declare_torchvision_operators()
    for name in HEAVY:
        try:
            __import__(name)
        except ImportError as error:
            print(f"not imported: {name} ({error})", file=sys.stderr)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("hf_tl", "tests")]:
        del sys.modules[name]
    return compat  # it keeps the operators


def run(top: Path, options: argparse.Namespace) -> None:
    works = [copied(top / str(index)) for index in range(options.jobs)]  # at once: the tree may change meanwhile
    drawn = chosen(works[0] / "tree", options.places, options.sample, options.seed)
    if options.by_hand:
        drawn += by_hand(works[0] / "tree", options.by_hand)
    keep = _import_heavy(top)
    files = {str(works[0] / "tree" / each.path) for each in drawn}
    began = time.monotonic()
    status = forked(works[0], options.tests, 3600, Trace(files))
    if not (works[0] / "trace.json").exists():
        sys.exit(f"the tests did not run ({status}):\n{(works[0] / 'log.txt').read_text()[-3000:]}")
    tests, seconds, failed = json.loads((works[0] / "trace.json").read_text())
    print(
        f"{len(drawn)} mutants, {len(seconds)} tests in {time.monotonic() - began:.0f} s; "
        f"failed without a mutant: {failed}\n",
        flush=True,
    )
    free, survivors, finished = list(works), [], [0]

    def judge(mutant: Mutant) -> None:
        work = free.pop()
        file = work / "tree" / mutant.path
        source = file.read_bytes()
        own = tests.get(f"{works[0] / 'tree' / mutant.path}:{mutant.line}", [])
        noticed = ""
        if own or options.all:
            for cache in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
                cache.unlink()
            file.write_bytes(mutant.applied(source))
            arguments = own or [f"--deselect={each}" for each in failed] + options.tests
            status = forked(work, [*arguments, "-x"], options.timeout)
            noticed = {0: "", None: "timeout"}.get(status, "failed")
            file.write_bytes(source)
        finished[0] += 1
        if not noticed:
            survivors.append(mutant)
            print(
                f"{mutant.path}:{mutant.line}  ({len(own)} tests run the line)\n{mutant.difference(source)}\n",
                flush=True,
            )
        free.append(work)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(judge, drawn))
    good = len(drawn) - len(survivors)
    print(f"noticed {good} of {len(drawn)} ({good / max(1, len(drawn)):.0%}) in {time.monotonic() - began:.0f} s")
    del keep


if __name__ == "__main__":
    main()
