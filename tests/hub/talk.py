"""A process that asks hf_tl to push and to read, request by request: the addresses of the Hub and of the caches are
settled when its libraries are imported, so one process serves for many faults."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SHORT = {"connect": 1.0, "answer": 0.7, "effect": 0.8, "stall": 0.7, "total": 1.5, "in_all": 2.0, "first": 0.02,
         "longest": 0.2, "say_after": 0.4, "quiet": 0.15, "xet": 2.0}  # fmt: skip
"""Limits for tests."""


class Talk:
    """`ask(do=...)` does in another process what `served` below does."""

    def __init__(self, env: dict[str, str], **limits: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.hub.talk", json.dumps({**SHORT, **limits})],
            env={**env, "HF_HUB_VERBOSITY": "error"}, cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the process ended"
        out: dict[str, Any] = json.loads(line)
        return out

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


def served(request: dict[str, Any]) -> dict[str, Any]:
    from hf_tl.config import hub_config
    from hf_tl.hub import client as hubclient

    hubclient._silent_since.clear()
    if request["do"] == "limits":
        from hf_tl.hub import patience

        for name, value in request["limits"].items():
            setattr(patience.LIMITS, name, value)
        return {}
    if request["do"] == "main":
        from hf_tl.cli import main as command

        return {"code": command(request["words"])}
    if request["do"] == "downloaded":  # what the proof after a push compares, which is another test's matter
        from hf_tl.hub.upload import Pushed
        from hf_tl.run import Run
        from hf_tl.sharing import proof

        compared: list[Any] = []
        proof.compare = lambda *given, **_: compared.append(given)  # type: ignore[assignment]
        proof.prove_pushed(Run(request["run"]), Pushed(request["id"], request["commit"], "", ()))
        return {"compared": len(compared)}
    if request["do"] == "access":
        from hf_tl.hub.upload import check_access

        return {"id": check_access(hub_config(id=request["id"]))}
    if request["do"] == "push":
        from hf_tl.hub.upload import push_folder

        files = {file.name: file for file in Path(request["folder"]).iterdir()}
        done = push_folder(
            Path(request["folder"]), hub_config(**request["hub"]), files=files, resume_command="THE COMMAND"
        )
        return {"commit": done.commit, "changed": done.changed, "url": done.url}
    if request["do"] == "fetch":
        folder, commit = hubclient.fetch_model(request["id"], request.get("revision"))
        return {"folder": str(folder), "commit": commit}
    if request["do"] == "data":
        from hf_tl.data import hub_data

        found = hub_data.read(request["id"], request.get("name"), request.get("revision"))
        rows = {split: [list(row.values()) for row in part] for split, part in found.rows.items()}
        return {"rows": rows, "facts": {k: v for k, v in found.metadata.items() if k != "fingerprint"}}
    if request["do"] == "load":
        from hf_tl.config import DataConfig
        from hf_tl.data import load_data

        data = load_data(DataConfig(path=request["id"], min_per_class=1, validation=0.5))
        return {"sizes": sorted(row["image"].size for split in data.splits.values() for row in split)}
    raise AssertionError(request)


def main() -> None:
    from hf_tl.errors import HfTlError
    from hf_tl.hub import patience

    for name, value in json.loads(sys.argv[1]).items():
        setattr(patience.LIMITS, name, value)
    answers = sys.stdout
    for line in sys.stdin:
        request, err, out = json.loads(line), io.StringIO(), io.StringIO()
        began = time.monotonic()
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
            try:
                result = served(request)
            except HfTlError as error:
                result = {"said": str(error), "code": error.exit_code}
            except Exception as error:
                result = {"said": f"{type(error).__name__}: {error}", "code": 1}
        result |= {"err": err.getvalue(), "out": out.getvalue(), "seconds": time.monotonic() - began}
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main()
