"""`hub.every_save`: each checkpoint's model is pushed while training goes on, and no failure passes in silence."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_tl.config import HubConfig
from hf_tl.run import Run, replacing_folder
from hf_tl.sharing.hub import push_folder

BRANCH = "training"
"""Where checkpoints go: main gets the finished model alone."""
KEPT = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "adapter_config.json")


class PushSaves(TrainerCallback):
    """Copies what a checkpoint shares, and pushes it from a thread of its own; while one is under way, of those that
    wait the latest is kept. A push that failed is said at once, in the terminal and in `log.jsonl`, and made up for by
    the next one, at the latest when training ends."""

    def __init__(self, run: Run, hub: HubConfig, processor: Any) -> None:
        branch = BRANCH if hub.revision in (None, "main") else f"{hub.revision}-{BRANCH}"
        self.hub = hub.model_copy(update={"revision": branch, "tag": None, "collection": None})
        self.run, self.processor = run, processor
        self.waiting: tuple[int, Path] | None = None
        self.unshared: int | None = None
        """The latest step whose push failed."""
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        step = state.global_step
        checkpoint = Path(str(args.output_dir)) / f"checkpoint-{step}"
        if not any((checkpoint / name).exists() for name in ("config.json", "adapter_config.json")):
            return  # a head on cached features is no model, and done in moments
        self._push(step, self._copy(checkpoint, step, state.max_steps))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Waits for what is under way; what failed last is tried once more."""
        self._join()
        if self.unshared is not None:
            self._push(self.unshared, self.run.folder / f".save-{self.unshared}")
            self._join()
        for folder in self.run.folder.glob(".save-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _copy(self, checkpoint: Path, step: int, steps: int) -> Path:
        """The checkpoint may be removed while it is being sent."""
        target = self.run.folder / f".save-{step}"
        with replacing_folder(target) as folder:
            for pattern in KEPT:
                for file in checkpoint.glob(pattern):
                    shutil.copyfile(file, folder / file.name)
            self.processor.save_pretrained(folder)
            text = f"Step {step} of {steps} of a run that is not finished; the finished model goes to another branch.\n"
            (folder / "README.md").write_text(text, encoding="utf-8")
        return target

    def _push(self, step: int, folder: Path) -> None:
        with self.lock:
            if self.waiting is not None:
                shutil.rmtree(self.waiting[1], ignore_errors=True)  # a later one takes its place
            self.waiting = (step, folder)
            if self.thread is None:
                self.thread = threading.Thread(target=self._work, name="hub.every_save")
                self.thread.start()

    def _work(self) -> None:
        while True:
            with self.lock:
                if self.waiting is None:
                    self.thread = None
                    return
                (step, folder), self.waiting = self.waiting, None
            try:
                files = {file.name: file for file in folder.iterdir()}
                done = push_folder(folder, self.hub, files=files, message=f"Step {step}")
            except Exception as error:  # whatever it is, training goes on
                self.unshared = step
                said = str(error) or type(error).__name__
                _say(f"step {step} could not be pushed ({said}) Training goes on; the next save is pushed again.")
                self._log(step, {"push": "failed", "said": said})
                continue
            self.unshared = None
            self._log(step, {"push": "done", "commit": done.commit})
            shutil.rmtree(folder, ignore_errors=True)

    def _join(self) -> None:
        thread = self.thread
        if thread is not None:
            thread.join()

    def _log(self, step: int, facts: dict[str, Any]) -> None:
        with (self.run.folder / "log.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **facts}, ensure_ascii=False) + "\n")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
