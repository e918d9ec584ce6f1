"""Weight decay: every weight matrix and convolution, never a bias or a normalisation, whatever it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers
from torch import nn

from hf_tl.models.methods import Adapted
from hf_tl.task import TaskContext, get_task
from hf_tl.training.trainer import TransferTrainer
from tests.tiny import tiny_bert, tiny_mobilenet, tiny_vit

MODELS: list[tuple[Any, str, str, int]] = [
    (tiny_bert, "AutoModelForSequenceClassification", "text-classification", 5),
    (tiny_vit, "AutoModelForImageClassification", "image-classification", 5),
    (tiny_mobilenet, "AutoModelForImageClassification", "image-classification", 52),
]
"""(model, its class, task, how many normalisation layers it has)"""


@pytest.mark.parametrize(("make", "auto", "task", "norms"), MODELS)
def test_groups_of_the_optimizer(make: Any, auto: str, task: str, norms: int, tmp_path: Path) -> None:
    model = getattr(transformers, auto).from_pretrained(make(tmp_path / "model"))
    trainer = TransferTrainer(
        task=get_task(task),
        context=TaskContext(labels=()),
        adapted=Adapted(model, ()),
        collators=(None, None),
        model=model,
        args=transformers.TrainingArguments(output_dir=str(tmp_path / "out"), weight_decay=0.1, use_cpu=True),
    )
    decay = {
        id(parameter): group["weight_decay"]
        for group in trainer.create_optimizer().param_groups
        for parameter in group["params"]
    }
    kinds = (nn.LayerNorm, nn.BatchNorm2d)
    found = [module for module in model.modules() if isinstance(module, kinds)]
    assert len(found) == norms
    assert {decay[id(parameter)] for module in found for parameter in module.parameters()} == {0.0}
    weights = [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    assert {decay[id(module.weight)] for module in weights} == {0.1}
    assert {decay[id(module.bias)] for module in weights if module.bias is not None} <= {0.0}
    assert len(decay) == sum(1 for _ in model.parameters())
