"""Loading what was adapted, for prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, GenerationConfig

from hf_tl.config import ModelConfig
from hf_tl.models.bounds import building
from hf_tl.models.pretrained import (
    Pretrained,
    find_pretrained,
    load_processor,
    no_warnings,
    quiet,
    task_of,
    with_adapter,
)
from hf_tl.task import Task


def load_finished(id: str, revision: str | None = None, *, trust: bool = False) -> tuple[Any, Any, Task, Pretrained]:
    """A model that was adapted (a run folder, a model folder, an adapter or a Hub id), for prediction.

    Returns:
        (model in evaluation mode and float32, processor, task, what was found).
    """
    # A run's own model may bring hf_tl's own modelling file, which is trusted.
    found = find_pretrained(ModelConfig(id=id, revision=revision, trust_remote_code=trust or own_code(id)))
    labels_from = found.adapter if found.adapter and (found.adapter / "config.json").exists() else None
    config = AutoConfig.from_pretrained(labels_from) if labels_from else found.config
    task = task_of(config, id, found.adapter or found.path)
    processor = load_processor(found, task, trust=trust)
    auto = getattr(transformers, task.auto_class)
    with quiet(), no_warnings():
        if found.adapter is not None:
            model = with_adapter(auto, found, config, {"dtype": torch.float32})
            if (found.adapter / "generation_config.json").exists():
                model.generation_config = GenerationConfig.from_pretrained(found.adapter)
        else:
            with building(id, found.files):
                model = auto.from_pretrained(
                    found.path, use_safetensors=True, dtype=torch.float32, trust_remote_code=trust or own_code(id)
                )
    return model.eval(), processor, task, found


def own_code(id: str) -> bool:
    """Whether a local folder's modelling file is, byte for byte, hf_tl's own."""
    from hf_tl.models.custom import modeling_hf_tl as custom

    for folder in (Path(id), Path(id) / "model"):
        file = folder / "modeling_hf_tl.py"
        others = [code for code in folder.glob("*.py") if code.name != file.name]
        if file.exists() and not others:
            return file.read_bytes() == Path(str(custom.__file__)).read_bytes()
    return False
