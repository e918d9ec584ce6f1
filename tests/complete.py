"""Where everything is expected to be there (`HF_TL_TESTS_COMPLETE=1`, as in .ci/run), a test that is skipped because
something is missing has failed: a package, a browser, the real data. `HF_TL_TESTS_WITHOUT` names what cannot be there.
Skips for another reason stay."""

from __future__ import annotations

import os
from typing import Any

MISSING = ("Skipped: could not import ", "Skipped: needs ")
"""How the reasons of such skips begin: those of `pytest.importorskip`, and our own."""


def expected() -> bool:
    return os.environ.get("HF_TL_TESTS_COMPLETE") == "1"


def judged(report: Any) -> Any:
    """The report of a test or of a file, failed where a skip says that something is missing."""
    reason = str(report.longrepr[-1]) if isinstance(report.longrepr, tuple) else ""
    without = os.environ.get("HF_TL_TESTS_WITHOUT")
    if report.outcome == "skipped" and reason.startswith(MISSING) and not (without and without in reason):
        report.outcome = "failed"
        report.longrepr = f"{reason.removeprefix('Skipped: ')} (nothing may be missing: HF_TL_TESTS_COMPLETE=1)"
    return report
