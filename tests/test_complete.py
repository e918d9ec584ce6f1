"""In continuous integration no test is left out because something is missing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.complete import judged


def report(outcome: str, reason: Any) -> pytest.TestReport:
    return pytest.TestReport("test_x.py::test_y", ("test_x.py", 1, "test_y"), {}, outcome, reason, "setup")  # type: ignore[arg-type]


def skipped(name: str | None = None) -> Any:
    """What pytest keeps of a skip, as its own `importorskip` or our fixtures say it."""
    with pytest.raises(pytest.skip.Exception) as caught:
        pytest.importorskip(name) if name else pytest.skip("needs the real data: there is no folder x")
    return ("test_x.py", 1, f"Skipped: {caught.value}")


@pytest.mark.parametrize("name", ["no_such_package", None])
def test_a_skip_for_what_is_missing_is_a_failure(name: str | None) -> None:
    found = judged(report("skipped", skipped(name)))
    assert found.failed and "HF_TL_TESTS_COMPLETE" in found.longrepr
    assert (name or "needs the real data: there is no folder x") in found.longrepr


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [("skipped", ("a.py", 1, "Skipped: a machine without accelerator")), ("passed", None), ("failed", "needs x")],
)
def test_other_results_stay(outcome: str, reason: Any) -> None:
    found = judged(report(outcome, reason))
    assert (found.outcome, found.longrepr) == (outcome, reason)


def test_what_cannot_be_installed_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TL_TESTS_WITHOUT", "Chromium")
    assert judged(report("skipped", ("a.py", 1, "Skipped: needs Chromium (set CHROMIUM to where it is)"))).skipped
    assert judged(report("skipped", ("a.py", 1, "Skipped: needs the real data"))).failed
