"""`hub.every_save`: each checkpoint's model is pushed while training goes on, and no failure passes in silence."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_tl.config import HubConfig
from hf_tl.errors import HfTlError
from hf_tl.files import replacing_folder
from hf_tl.hub.patience import Patience, operation, say
from hf_tl.hub.sealed import open_plain
from hf_tl.hub.upload import push_folder
from hf_tl.models.carried import without_code, without_paths
from hf_tl.models.pretrained import Pretrained
from hf_tl.run_folder import RunFolder

BRANCH = "training"
"""Where checkpoints go: main gets the finished model alone."""
MAX_STALL, MAX_WAIT = 60.0, 900.0
"""Seconds for which the end of training waits for pushes: without anything getting on, and in all."""
IN_VAIN = 10.0
"""Seconds lost with a Hub that cannot be reached."""
KEPT = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "adapter_config.json")


class PushCheckpoints(TrainerCallback):
    """Copies what a checkpoint shares, and pushes it from a thread of its own; while one is under way, of those that
    wait the latest is kept. A push that failed is said at once, in the terminal and in `log.jsonl`, and made up for by
    the next one, at the latest when training ends. None of it holds training, or its end for longer than a minute
    without progress."""

    def __init__(self, run: RunFolder, hub: HubConfig, processor: Any, pretrained: Pretrained) -> None:
        branch = BRANCH if hub.revision in (None, "main") else f"{hub.revision}-{BRANCH}"
        self.hub = hub.model_copy(update={"revision": branch, "tag": None, "collection": None})
        self.run, self.processor = run, processor
        self.base = pretrained.id if pretrained.revision and pretrained.adapter is None else None
        self.code = pretrained.code
        self.announced = False
        self.waiting: tuple[int, Path] | None = None
        self.unshared: int | None = None
        """The latest step whose push failed."""
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None
        self.patience: Patience | None = None
        self.given_up = False
        self.step = 0
        """The one that is being pushed."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        step = state.global_step
        checkpoint = Path(str(args.output_dir)) / f"checkpoint-{step}"
        if not any((checkpoint / name).exists() for name in ("config.json", "adapter_config.json")):
            return  # a head on cached features is no model, and done in moments
        try:
            copied = self._copy(checkpoint, step, state.max_steps)
        except Exception as error:  # whatever it is, training goes on
            said = _said(error)
            say(f"step {step} is not pushed ({said}) Training goes on.")
            self._log(step, {"push": "failed", "said": said})
            return
        self._push(step, copied)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Waits for what is under way, within bounds; what failed last is tried once more, unless the Hub was waited
        for in vain: the finished model is pushed next."""
        ends = time.monotonic() + MAX_WAIT
        self._join(ends)
        in_vain = self.patience is not None and self.patience.lost > IN_VAIN
        if self.unshared is not None and not self.given_up and not in_vain:
            self._push(self.unshared, self.run.folder / f".save-{self.unshared}")
            self._join(ends)
        for folder in self.run.folder.glob(".save-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _copy(self, checkpoint: Path, step: int, steps: int) -> Path:
        """The checkpoint may be removed while it is being sent."""
        target = self.run.folder / f".save-{step}"
        with replacing_folder(target) as folder:
            for pattern in KEPT:
                for file in checkpoint.glob(pattern):
                    with open_plain(file) as source, (folder / file.name).open("wb") as copy:
                        shutil.copyfileobj(source, copy, 1 << 20)
            self.processor.save_pretrained(folder)
            if not self.code:
                without_code(folder)
            without_paths(folder, self.base)
            text = f"Step {step} of {steps} of a run that is not finished; the finished model goes to another branch.\n"
            (folder / "README.md").write_text(text, encoding="utf-8")
        return target

    def _push(self, step: int, folder: Path) -> None:
        with self.lock:
            if self.waiting is not None:
                shutil.rmtree(self.waiting[1], ignore_errors=True)  # a later one takes its place
            self.waiting = (step, folder)
            if self.thread is None:
                # a daemon, so that the process can end whatever it does
                self.thread = threading.Thread(target=self._work, name="hub.every_save", daemon=True)
                self.thread.start()

    def _work(self) -> None:
        while True:
            with self.lock:
                if self.waiting is None or self.given_up:
                    self.thread = None
                    return
                (step, folder), self.waiting = self.waiting, None
                self.step = step
                self.patience = Patience()
            try:
                files = {file.name: file for file in folder.iterdir()}
                with operation(patience=self.patience):
                    done = push_folder(
                        self.run.folder, self.hub, files=files, message=f"Step {step}", announced=self.announced
                    )
                if self.given_up:
                    return  # the run is measured by now, its log with it
            except Exception as error:  # whatever it is, training goes on
                if self.given_up:
                    return
                self.unshared = step
                said = _said(error)
                say(f"step {step} could not be pushed ({said}) Training goes on; the next save is pushed again.")
                self._log(step, {"push": "failed", "said": said})
                continue
            self.unshared, self.announced = None, True
            self._log(step, {"push": "done", "commit": done.commit})
            shutil.rmtree(folder, ignore_errors=True)

    def _join(self, ends: float) -> None:
        """Waits while the push gets on."""
        began = time.monotonic()
        while (thread := self.thread) is not None and thread.is_alive():
            thread.join(min(0.5, MAX_STALL / 4))
            now = time.monotonic()
            moved = max(began, self.patience.moved if self.patience is not None else 0.0)
            if thread.is_alive() and (now - moved > MAX_STALL or now > ends):
                with self.lock:
                    self.given_up, self.waiting = True, None
                if self.patience is not None:
                    self.patience.cancelled.set()
                say(
                    f"hub.every_save: a push was still under way {now - began:.0f} s after training; it is broken off, "
                    f"so branch {self.hub.revision} may lack the last save. The run goes on."
                )
                self._log(self.step, {"push": "broken off"})
                return

    def _log(self, step: int, values: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # a full disk ends training itself, and no push does
            with (self.run.folder / "log.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": step, **values}, ensure_ascii=False) + "\n")


def _said(error: Exception) -> str:
    """The sentence of ours, or what a library said, with what kind of error it is."""
    said = " ".join(str(error).split())[:300]
    return str(error) if isinstance(error, HfTlError) else f"{type(error).__name__}{f': {said}' if said else ''}."
