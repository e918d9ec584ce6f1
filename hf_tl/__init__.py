"""Transfer learning on the Hugging Face stack: a pretrained model and your data in, an adapted, measured model out.

    import hf_tl
    run = hf_tl.finetune(model="google/vit-base-patch16-224-in21k", data="beans", method="lora")
    run.metrics, run.predict(["leaf.jpg"]), run.push("me/vit-beans")

Importing this costs nothing: a name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hf_tl.commands.demo import demo
    from hf_tl.commands.doctor import doctor
    from hf_tl.commands.evaluate import evaluate
    from hf_tl.commands.predict import predict
    from hf_tl.commands.preview import preview
    from hf_tl.commands.push import push
    from hf_tl.commands.quickstart import quickstart
    from hf_tl.commands.reproduce import reproduce
    from hf_tl.commands.schema import schema
    from hf_tl.commands.train import finetune
    from hf_tl.commands.verify import verify
    from hf_tl.config import DataConfig, HubConfig, MethodConfig, ModelConfig, RunConfig, load_config
    from hf_tl.errors import ConfigError, DataError, HfTlError, HubError, InputError, ModelError, ProofError, Stopped
    from hf_tl.run import Run
    from hf_tl.task import all_tasks as list_tasks
    from hf_tl.task import get_task

_PUBLIC = {
    "ConfigError": "hf_tl.errors",
    "DataConfig": "hf_tl.config",
    "DataError": "hf_tl.errors",
    "HfTlError": "hf_tl.errors",
    "HubConfig": "hf_tl.config",
    "HubError": "hf_tl.errors",
    "InputError": "hf_tl.errors",
    "MethodConfig": "hf_tl.config",
    "ModelConfig": "hf_tl.config",
    "ModelError": "hf_tl.errors",
    "ProofError": "hf_tl.errors",
    "Run": "hf_tl.run",
    "RunConfig": "hf_tl.config",
    "Stopped": "hf_tl.errors",
    "demo": "hf_tl.commands.demo",
    "doctor": "hf_tl.commands.doctor",
    "evaluate": "hf_tl.commands.evaluate",
    "finetune": "hf_tl.commands.train",
    "get_task": "hf_tl.task",
    "list_tasks": "hf_tl.task:all_tasks",
    "load_config": "hf_tl.config",
    "predict": "hf_tl.commands.predict",
    "preview": "hf_tl.commands.preview",
    "push": "hf_tl.commands.push",
    "quickstart": "hf_tl.commands.quickstart",
    "reproduce": "hf_tl.commands.reproduce",
    "schema": "hf_tl.commands.schema",
    "verify": "hf_tl.commands.verify",
}
"""Public name -> the module that holds it (`module:name` where the names differ)."""

__all__ = [
    "ConfigError",
    "DataConfig",
    "DataError",
    "HfTlError",
    "HubConfig",
    "HubError",
    "InputError",
    "MethodConfig",
    "ModelConfig",
    "ModelError",
    "ProofError",
    "Run",
    "RunConfig",
    "Stopped",
    "__version__",
    "demo",
    "doctor",
    "evaluate",
    "finetune",
    "get_task",
    "list_tasks",
    "load_config",
    "predict",
    "preview",
    "push",
    "quickstart",
    "reproduce",
    "schema",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hf_tl' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    value = getattr(importlib.import_module(module), attribute or name)
    return globals().setdefault(name, value)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
