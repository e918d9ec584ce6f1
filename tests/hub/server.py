"""The server in a thread, and the environment for processes that talk to it."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import uvicorn

from tests.hub.app import Hub, make_app


class RunningHub:
    """A test Hub at `url`; `store`, `faults` and `seed_*` reach behind it."""

    def __init__(self, folder: Path, xet: bool = False, port: int | None = None) -> None:
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port or 0))
            port = free.getsockname()[1]
        self.port, self.xet = port, xet
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder
        self.hub = Hub(folder / "hub", self.url, xet)
        self.store, self.faults = self.hub.store, self.hub.faults
        config = uvicorn.Config(
            make_app(self.hub), host="127.0.0.1", port=port, log_level="critical", timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        deadline = time.monotonic() + 20
        while not self.server.started:
            if time.monotonic() > deadline:
                raise RuntimeError("the test Hub did not start")
            time.sleep(0.02)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)

    def again(self) -> RunningHub:
        """The same Hub, started again at the same address."""
        return RunningHub(self.folder, self.xet, self.port)

    def env(self, token: str | None = None, home: str = "home") -> dict[str, str]:
        """The environment of a process that uses this Hub, with a cache of its own."""
        out = {
            **{name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_HUB_OFFLINE")},
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(self.folder / home),
            "HF_HUB_DISABLE_XET": "0" if self.xet else "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        return {**out, "HF_TOKEN": token} if token else out

    def seed_model(self, id: str, folder: Path, private: bool = False) -> str:
        return self.store.seed("model", id, folder, private)

    def seed_dataset(self, id: str, folder: Path, private: bool = False) -> str:
        return self.store.seed("dataset", id, folder, private)

    def files(self, id: str, kind: str = "model", revision: str = "main") -> dict[str, bytes]:
        """Path -> content of what is on the Hub."""
        repo = self.store.repos[kind, id]
        commit = repo.resolve(revision)
        assert commit is not None
        return {path: self.store.blob(entry.sha256).read_bytes() for path, entry in repo.files(commit).items()}
