"""Which checkpoint a run may resume from. A half-written one is skipped with a sentence, never used."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

NEEDED = ("trainer_state.json", "optimizer.pt", "scheduler.pt")


def fault(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None when it can be resumed from exactly."""
    for name in NEEDED:
        if not (checkpoint / name).exists():
            return f"{name} is missing"
    if not list(checkpoint.glob("rng_state*.pth")):
        return "rng_state.pth is missing"
    weights = list(checkpoint.glob("*.safetensors"))
    if not weights:
        return "it holds no weights"
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        for file in weights:
            with safe_open(file, framework="pt") as tensors:
                tensors.keys()
        for name in ("optimizer.pt", "scheduler.pt"):
            torch.load(checkpoint / name, map_location="cpu", weights_only=True)
    except (OSError, ValueError, EOFError, RuntimeError, SafetensorError) as error:
        return f"it cannot be read ({type(error).__name__})"
    except Exception as error:  # pickle errors have no common root
        return f"it cannot be read ({type(error).__name__})"
    return None


def last_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """(the newest checkpoint that is whole, sentences about newer ones that are not)."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.split("-")[-1].isdigit()]
    notes: list[str] = []
    for path in sorted(found, key=lambda path: int(path.name.split("-")[-1]), reverse=True):
        wrong = fault(path)
        if wrong is None:
            return path, notes
        notes.append(f"{path.name} is left aside: {wrong}.")
    return None, notes


def steps_done(checkpoint: Path) -> tuple[int, int]:
    """(steps done, steps planned) of a checkpoint; where early stopping has ended a training, no more are planned."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    done, planned = int(state["global_step"]), int(state["max_steps"])
    stopping = (state.get("stateful_callbacks") or {}).get("EarlyStoppingCallback")
    if stopping:
        waited, patience = (
            stopping["attributes"]["early_stopping_patience_counter"],
            stopping["args"]["early_stopping_patience"],
        )
        planned = done if waited >= patience else planned
    return done, planned
