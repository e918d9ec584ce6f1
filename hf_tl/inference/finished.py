"""Loading what was adapted, for prediction."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from transformers import GenerationConfig

from hf_tl.config import ModelConfig
from hf_tl.io.quiet import no_warnings, quiet
from hf_tl.models.bounds import building
from hf_tl.models.pretrained import Pretrained, find_pretrained, read_config, task_of, with_adapter
from hf_tl.models.processors import load_processor
from hf_tl.task import Task


def load_finished(id: str, revision: str | None = None, *, trust: bool = False) -> tuple[Any, Any, Task, Pretrained]:
    """A model that was adapted (a run folder, a model folder, an adapter or a Hub id), for prediction.

    Returns:
        (model in evaluation mode and float32, processor, task, what was found).
    """
    found = find_pretrained(ModelConfig(id=id, revision=revision, trust_remote_code=trust))
    labels_from = found.adapter if found.adapter and (found.adapter / "config.json").exists() else None
    config = read_config(found, labels_from) if labels_from else found.config
    task = task_of(config, id, found.adapter or found.path)
    processor = load_processor(found, task)
    auto = getattr(transformers, task.auto_class)
    with quiet(), no_warnings():
        if found.adapter is not None:
            model = with_adapter(auto, found, config, {"dtype": torch.float32})
            if (found.adapter / "generation_config.json").exists():
                model.generation_config = GenerationConfig.from_pretrained(found.adapter)
        else:
            with building(id, found.files):
                model = auto.from_pretrained(
                    found.path,
                    config=config,
                    use_safetensors=True,
                    dtype=torch.float32,
                    trust_remote_code=found.trusts(found.path),
                )
    return model.eval(), processor, task, found
