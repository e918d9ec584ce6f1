"""Proof before sharing: in a clean process, plain Transformers has to answer as hf_tl measured.

The process cannot import hf_tl and reads safetensors alone; it runs on the CPU, where the answers in `proof/` were
found too, so both agree up to the order in which sums are rounded. Of the model it sees the data files, and as code the
installed package's own file for one of hf_tl's heads; code of others only where the user trusts it, whatever the run's
folder says.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_tl import compat
from hf_tl.data.kinds import kinds_of, processor_of
from hf_tl.errors import ConfigError, HfTlError, HubError, ModelError, ProofError
from hf_tl.hub.client import fetch, fetch_model
from hf_tl.hub.upload import Pushed
from hf_tl.inference.reference import FILE, FOLDER, hashes
from hf_tl.io.console import say, visible
from hf_tl.io.json_text import parse_json
from hf_tl.models.carried import base_of
from hf_tl.models.trusted import check_adapter, check_configurations, code_references
from hf_tl.run_folder import METRICS_BYTES, RunFolder, read_part
from hf_tl.sharing import clean_process
from hf_tl.sharing.staged import allowed_code, stage
from hf_tl.task import Task, get_task, join_lines
from hf_tl.tasks._template_bounds import check_folder

TOLERANCE = 1e-4
"""Of a score, a share or a coordinate of a vector, at values above 1 relative to it."""
ADAPTER_TOLERANCE = 1e-3
"""The same for an adapter applied to its base, which the measured model had merged."""
SWITCH = "HF_TL_PROOF"
"""`0` in the environment leaves proofs out, for sweeps and test suites of many short runs."""
SECONDS = 3600
OFF = "proof: false (train) or --no-proof (push) leaves this out."
STRIPPED = ("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "GROUP_", "TORCHELASTIC_", "ACCELERATE_", "FSDP_", "HF_TL_")
_proved: set[str] = set()
"""By this process."""


@dataclass(frozen=True)
class Copy:
    """One loadable form of the model."""

    what: str
    """As sentences call it."""
    path: Path
    base: str | None = None
    """For an adapter: what its base is loaded by."""
    revision: str | None = None
    """The base's commit."""

    @property
    def tolerance(self) -> float:
        return TOLERANCE if self.base is None else ADAPTER_TOLERANCE


def wanted(proof: bool) -> bool:
    """Whether there is to be one, as far as its caller and the environment say."""
    return proof and os.environ.get(SWITCH) != "0"


def prove(run: RunFolder, *, trust: bool = False, remember: bool = True) -> str:
    """Proves `model/`, and the adapter on its base; once for the same files.

    Args:
        trust: whether code of others in `model/` may run.
        remember: whether the run's state is to say so.

    Returns:
        What the state remembers as `proof`.

    Raises:
        ProofError: the predictions differ from those measured; says where.
        ConfigError: nothing was kept to prove it against, it brings code that is not trusted, or a file has changed
            though the answers have not.
    """
    allowed_code(run.model, what=str(run.model), trust=trust)  # first: that it was proved is said by the folder alone
    known = _reference(run)
    now = hashes(run.model)
    key = hashlib.sha256(json.dumps(now["files"], sort_keys=True).encode()).hexdigest()
    if run.state.get("proof") == key:
        if key not in _proved:
            say(f"Not proved again: {run.folder / 'state.json'} says that these very files were.")
        return key
    copies = [Copy(f"{run.folder / 'model'}", run.model)]
    adapter = adapter_copy(run, run.model / "adapter", str(run.model / "adapter"))
    if adapter is not None:
        copies.append(adapter)
    compare(run, copies, known, now, trust=trust)
    changed = [each for each in changes(known, now) if not each.endswith(" has come")]
    if changed:
        raise ConfigError(f"{run.model}: {_few(changed)} since it was measured, so its metrics may not hold.")
    if remember:
        run.reach(run.stage, proof=key)
    count = len(known["answers"])
    found = f"predicts what was measured on {count} held-out rows" if count else "loads; no answers were kept for it"
    forms = "the model, and the adapter on its base," if len(copies) > 1 else "the model"
    say(f"Proved: in a clean process without hf_tl, {forms} {found}.")
    _proved.add(key)
    return key


def prove_pushed(run: RunFolder, pushed: Pushed, *, trust: bool = False) -> None:
    """Proves a commit on the Hub as it is downloaded, into a cache of its own.

    Args:
        trust: whether code of others in it may run.

    Raises:
        ProofError: the predictions differ from those measured.
        HubError: the Hub could not be reached.
    """
    with tempfile.TemporaryDirectory(dir=run.folder, prefix=".pushed-") as cache:
        try:
            folder = fetch(pushed.repo_id, pushed.commit, f"hub.id: {pushed.repo_id}", cache=cache)
        except HfTlError as error:
            raise HubError(
                f"{error} Commit {pushed.commit[:8]} is on the Hub, as its hashes say; it could not be downloaded for "
                f"the proof. The same push again proves it. {OFF}"
            ) from error.__cause__
        what = f"{pushed.repo_id} at commit {pushed.commit[:8]}"
        alone = adapter_copy(run, folder, what)
        if alone is not None or (folder / "config.json").exists():
            compare(run, [alone or Copy(what, folder)], _reference(run), trust=trust, pinned=True)


def adapter_copy(run: RunFolder, folder: Path, what: str) -> Copy | None:
    """The adapter in `folder`, if there is one that can be proved: of a base in whole precision, loaded by the stock
    class. Transformers looks for any other in the base's folder."""
    file = folder / "adapter_config.json"
    # an adapter trained on a quantised base says the same only on that
    if not file.exists() or run.config.model.passed_through.get("quantization_config") or code_references(what, folder):
        return None
    check_adapter(what, folder)
    base, revision = base_of(folder, run.model / "adapter")
    environment = read_part(run.folder / "environment.json")
    return Copy(what, folder, base, None if Path(base).exists() else revision or environment["model"].get("revision"))


def compare(
    run: RunFolder,
    copies: list[Copy],
    known: dict[str, Any],
    now: dict[str, Any] | None = None,
    *,
    trust: bool = False,
    pinned: bool = False,
) -> None:
    """Raises ProofError where a clean process that loads one of `copies` does not answer what was measured.

    Args:
        known: what `proof/` holds.
        now: hashes of the model's files as they are, to say which have changed.
        trust: whether code of others in them may run.
        pinned: whether they are commits in the Hub's cache.
    """
    for copy, result in zip(copies, _results(run, copies, known, trust, pinned), strict=True):
        if "error" in result:
            said = f"it cannot be loaded in a clean process ({result['error']})"
        else:
            different = difference(known["answers"], result["found"], copy.tolerance)
            if different is None:
                continue
            said = f"its predictions differ from those that were measured: {different}"
        changed = changes(known, now) if now is not None else []
        since = f"; since it was measured, {_few(changed)}" if changed else ""
        raise ProofError(f"{copy.what}: {visible(' '.join(said.split()))}{since}. {OFF}")


def _reference(run: RunFolder) -> dict[str, Any]:
    file = run.folder / FOLDER / FILE
    if not file.exists():
        raise ConfigError(f"{run.folder}: there is no {FOLDER}/{FILE} to prove the model against; {OFF}")
    return read_part(file, METRICS_BYTES)


def _task(run: RunFolder) -> Task:
    return get_task(_reference(run)["task"])


def _loads_itself(task: Task) -> bool:
    return "{model}" in (task.inference.snippet or "")


def card_lines(task: Task) -> str | None:
    """The lines of the card, and then those that call them on the rows."""
    if task.inference.proof is None or task.inference.snippet is None:
        return task.inference.proof
    return join_lines(task.inference.snippet.replace("{model}", 'path, device="cpu"'), task.inference.proof)


def request_for(run: RunFolder, known: dict[str, Any]) -> dict[str, Any]:
    """What the clean process is told, but for the `jobs`.

    Args:
        known: what `proof/` holds.
    """
    task = _task(run)
    processor, kinds = processor_of(task), kinds_of(task, (column.role for column in task.columns))
    return {
        "task": task.name,
        "auto_class": task.auto_class,
        "processor_class": processor.auto_class,
        "processor_argument": processor.argument,
        "loads": _loads_itself(task),
        "lines": card_lines(task),
        "rows": known["rows"],
        "readers": {role: kind.read_stored for role, kind in kinds.items() if kind.read_stored},
        "folder": str((run.folder / FOLDER).resolve()),
        "torchvision": Path(compat.__file__).read_text(encoding="utf-8")
        if str(known["configuration"].get("model_type", "")).startswith("timm")
        else None,
    }


def _results(
    run: RunFolder, copies: list[Copy], known: dict[str, Any], trust: bool, pinned: bool
) -> list[dict[str, Any]]:
    """For each copy what the clean process found, or its error."""
    for copy in copies:
        if copy.base is not None and not Path(copy.base).exists():
            try:
                fetch_model(copy.base, copy.revision)
            except ModelError as error:
                raise ProofError(f"{copy.what}: it cannot be loaded in a clean process ({error}) {OFF}") from error
    with tempfile.TemporaryDirectory(prefix="hf_tl-proof-") as scratch:
        jobs = []
        for index, copy in enumerate(copies):
            folder = Path(scratch) / str(index) / "model"
            folder.mkdir(parents=True)
            if copy.base is None and (copy.path / "adapter_config.json").exists():
                raise ProofError(
                    f"{copy.what}: an adapter_config.json lies beside whole weights; others would load both."
                )
            check_configurations(copy.what, copy.path)
            check_folder(copy.path)
            code = allowed_code(copy.path, what=copy.what, trust=trust, pinned=pinned)
            runs = stage(copy.path, folder, code)
            jobs.append({"path": str(folder), "base": copy.base, "revision": copy.revision, "trust": runs})
        return _answered(run, {**request_for(run, known), "jobs": jobs}, Path(scratch))


def _answered(run: RunFolder, request: dict[str, Any], scratch: Path) -> list[dict[str, Any]]:
    """What the clean process says to a request; it starts in `scratch`, and keeps copies of code there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(STRIPPED)}
    environment["HF_HUB_OFFLINE"] = "1"  # what it needs is here, compared with the Hub's hashes; it waits for nothing
    try:
        done = subprocess.run(
            [sys.executable, "-c", Path(clean_process.__file__).read_text(encoding="utf-8")],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=scratch,
            env={
                **environment,
                "CUDA_VISIBLE_DEVICES": "",
                "PYTHONSAFEPATH": "1",
                "HF_MODULES_CACHE": str(scratch / "modules"),
            },
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ProofError(f"{run.model}: the proof took more than {SECONDS // 60} minutes. {OFF}") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith(clean_process.MARK)]
    if not lines:
        last = next(iter(reversed(done.stderr.strip().splitlines())), f"exit code {done.returncode}")
        raise ProofError(f"{run.model}: the clean process that proves it ended early ({visible(last)}). {OFF}")
    found: list[dict[str, Any]] = parse_json(lines[-1].removeprefix(clean_process.MARK), "the clean process", nan=True)
    return found


def difference(ours: Any, theirs: Any, tolerance: float) -> str | None:
    """The first part in which answers differ, in words; None where they agree. Rows of `theirs` may lack parts."""
    if len(ours) != len(theirs):
        return f"{len(ours)} rows measured, {len(theirs)} now"
    for row, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        found = _differs(mine, other, tolerance)
        if found is not None:
            return f"row {row}, {found}"
    return None


def _differs(mine: Any, other: Any, tolerance: float, where: str = "") -> str | None:
    if isinstance(mine, Mapping) and isinstance(other, Mapping):
        if where and set(other) - set(mine):
            return f"{where}: {_few(sorted(mine))} measured, {_few(sorted(other))} now"
        parts = [(f"{where} {key}".strip(), mine.get(key), value) for key, value in other.items()]
    elif isinstance(mine, list) and isinstance(other, list):
        if len(mine) != len(other):
            return f"{where}: {len(mine)} measured, {len(other)} now"
        parts = [(f"{where} {at}", *pair) for at, pair in enumerate(zip(mine, other, strict=True))]
    else:
        return None if _same(mine, other, tolerance) else f"{where}: {_short(mine)} measured, {_short(other)} now"
    return next((found for part in parts if (found := _differs(part[1], part[2], tolerance, part[0]))), None)


def _same(mine: Any, other: Any, tolerance: float) -> bool:
    numbers = isinstance(mine, (int, float)) and isinstance(other, (int, float))
    if not numbers:
        return bool(mine == other)
    if not (math.isfinite(mine) and math.isfinite(other)):  # no tolerance reaches infinity
        return bool(mine == other) or (math.isnan(mine) and math.isnan(other))
    if isinstance(mine, int) and isinstance(other, int):
        return abs(mine - other) <= 1  # pixels of a box: the next sum may be rounded to the next one
    near: bool = abs(mine - other) <= tolerance * max(1.0, abs(mine))
    return near


def _few(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:79] + "…"


def changes(known: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """`config.json has changed (id2label)`, ...: files that are not what was measured, and where."""
    out = []
    for name in sorted({*known["files"], *now["files"]}):
        before, after = known["files"].get(name), now["files"].get(name)
        if before == after:
            continue
        if after is None:
            out.append(f"{name} is missing")
        elif before is None:
            out.append(f"{name} has come")
        else:
            parts = {"config.json": (known["configuration"], now["configuration"])}
            old, new = parts.get(name) or (known["tensors"].get(name, {}), now["tensors"].get(name, {}))
            where = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
            out.append(f"{name} has changed" + (f" ({_few(where)})" if where else ""))
    return out
