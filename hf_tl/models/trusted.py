"""What of a model's folder may be loaded: safetensors, and code that a revision pins."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hf_tl.errors import ModelError, listing
from hf_tl.hubclient import PICKLES
from hf_tl.json_text import read_object

CONFIGURATIONS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")


def safe_weights(id: str, folder: Path) -> list[Path]:
    """The safetensors files of a model.

    Raises:
        ModelError: there are none.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickles = sorted(file.name for file in folder.iterdir() if file.name.endswith(PICKLES))
        what = f"only {listing(pickles)}, which can run code when loaded" if pickles else "no weights"
        raise ModelError(
            f"model: {id} holds {what}; hf_tl loads safetensors only. "
            "The Hub's space 'safetensors/convert' makes a pull request with them."
        )
    return weights


def check_adapter(id: str, folder: Path) -> None:
    """Raises ModelError unless the adapter's weights are safetensors: PEFT would take a pickle."""
    if not (folder / "adapter_model.safetensors").exists():
        pickles = sorted(file.name for file in folder.glob("adapter_model.*"))
        what = f"only {listing(pickles)}, which can run code when loaded" if pickles else "no adapter_model.safetensors"
        raise ModelError(f"model: the adapter {id} holds {what}; hf_tl loads safetensors only.")


def read_adapter(folder: Path) -> dict[str, Any]:
    """What an adapter's `adapter_config.json` says.

    Raises:
        ModelError: it is damaged, or names no base model.
    """
    file = folder / "adapter_config.json"
    found = read_object(file, error=ModelError)
    base, revision = found.get("base_model_name_or_path"), found.get("revision")
    if not isinstance(base, str) or not base.strip():
        raise ModelError(f"{file}: base_model_name_or_path is {base!r}, expected the id or folder of the base model.")
    if revision is not None and not isinstance(revision, str):
        raise ModelError(f"{file}: revision is {revision!r}, expected a branch, tag or commit of the base model.")
    return found


def check_code(id: str, folder: Path) -> None:
    """Trusted code is that of the commit that was fetched; code in another repository would follow that one's main.

    Raises:
        ModelError: a configuration of the model names code elsewhere.
    """
    for name in CONFIGURATIONS:
        if not (folder / name).exists():
            continue
        found = read_object(folder / name, error=ModelError, nan=True).get("auto_map") or {}
        others = sorted(set(re.findall(r"'([^']+)--", str(found))) - {id})
        if others:
            raise ModelError(
                f"model: {name} of {id} names code in {listing(others)}, which no revision pins; "
                "copy that code beside the weights, read it, and load that folder."
            )
