"""Transfer learning on the Hugging Face stack: a pretrained model and your data in, an adapted, measured model out.

    import hf_tl
    run = hf_tl.finetune(model="google/vit-base-patch16-224-in21k", data="beans", method="lora")
    run.metrics, run.predict(["leaf.jpg"]), run.push("me/vit-beans")

Importing this costs nothing: a name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hf_tl.config import DataConfig, HubConfig, MethodConfig, ModelConfig, RunConfig, load_config
    from hf_tl.doctor import doctor
    from hf_tl.errors import ConfigError, DataError, HfTlError, HubError, InputError, ModelError, ProofError, Stopped
    from hf_tl.evaluation.verbs import evaluate, predict
    from hf_tl.finetune import finetune
    from hf_tl.preview import preview
    from hf_tl.quickstart import quickstart
    from hf_tl.reproduce import reproduce
    from hf_tl.run import Run
    from hf_tl.schema import schema
    from hf_tl.sharing.demo import demo
    from hf_tl.sharing.push import push
    from hf_tl.sharing.verify import verify
    from hf_tl.task import all_tasks as tasks
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
    "demo": "hf_tl.sharing.demo",
    "doctor": "hf_tl.doctor",
    "evaluate": "hf_tl.evaluation.verbs",
    "finetune": "hf_tl.finetune",
    "get_task": "hf_tl.task",
    "load_config": "hf_tl.config",
    "predict": "hf_tl.evaluation.verbs",
    "preview": "hf_tl.preview",
    "push": "hf_tl.sharing.push",
    "quickstart": "hf_tl.quickstart",
    "reproduce": "hf_tl.reproduce",
    "schema": "hf_tl.schema",
    "tasks": "hf_tl.task:all_tasks",
    "verify": "hf_tl.sharing.verify",
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
    "load_config",
    "predict",
    "preview",
    "push",
    "quickstart",
    "reproduce",
    "schema",
    "tasks",
    "verify",
]


def _load(name: str) -> Any:
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hf_tl' has no attribute {name!r}")
    value = _load(name)
    # Where a submodule has the name of a verb, its import has just put that module here: see _Verb.
    return globals().setdefault(name, value)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


class _Verb(types.ModuleType):
    """A submodule that is called as the verb of the same name, so that `hf_tl.finetune(...)` and
    `from hf_tl.finetune import finetune` both work, in any order."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return _load(self.__name__.rpartition(".")[2])(*args, **options)

    @property
    def __signature__(self) -> Any:
        import inspect

        return inspect.signature(_load(self.__name__.rpartition(".")[2]))


class _Package(types.ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        if name in _PUBLIC and type(value) is types.ModuleType:
            value.__class__ = _Verb
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
