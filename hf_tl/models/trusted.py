"""What of a model's folder may be loaded: safetensors, and code that a revision pins."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hf_tl.errors import ModelError, listing
from hf_tl.hubclient import PICKLES

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


def check_code(id: str, folder: Path) -> None:
    """Trusted code is that of the commit that was fetched; code in another repository would follow that one's main.

    Raises:
        ModelError: a configuration of the model names code elsewhere.
    """
    for name in CONFIGURATIONS:
        if not (folder / name).exists():
            continue
        found = json.loads((folder / name).read_text(encoding="utf-8")).get("auto_map") or {}
        others = sorted(set(re.findall(r"'([^']+)--", str(found))) - {id})
        if others:
            raise ModelError(
                f"model: {name} of {id} names code in {listing(others)}, which no revision pins; "
                "copy that code beside the weights, read it, and load that folder."
            )
