"""How a pretrained model is adapted: one small object a method, found by name.

A method prepares a model (`Adapted`: what trains, and how fast) and gives back a plain Transformers model at the end;
nothing of a model stays on it. `frozen`'s feature cache is `hf_tl.models.features`.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_tl.config import MethodConfig
from hf_tl.errors import ConfigError, did_you_mean, listing
from hf_tl.models.layers import (
    adapter_targets,
    count_parameters,
    depths,
    freeze_batch_norm_stats,
    fully_trained_modules,
    in_modules,
    names_embeddings,
    peft_can_load,
    set_fixed,
    set_trainable,
    shared_by_modules,
    spare_single_values,
    tie_copies,
    tied,
    torn_apart,
    with_tied,
)
from hf_tl.models.pretrained import Loaded
from hf_tl.models.quantized import full_precision, is_quantized
from hf_tl.task import Task

Groups = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class UnfreezeStep:
    """From `epoch` on, the parameters called `names` train too, at `learning_rate` (None: the run's)."""

    epoch: float
    names: tuple[str, ...]
    learning_rate: float | None


@dataclasses.dataclass(frozen=True)
class Adapted:
    """A model as a method trains it."""

    module: nn.Module
    """What to train, trainable parameters marked."""
    modules_to_save: tuple[str, ...]
    """The new modules, by their names in the loaded model: they train whole and are saved whole."""
    lr_multipliers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Parameter name -> factor on the learning rate, where it is not 1."""
    unfreeze: tuple[UnfreezeStep, ...] = ()
    """In order of epochs."""
    base_revision: str | None = None
    """Commit of the base model on the Hub, where it is from there."""


class Method:
    """Base: everything trains."""

    caches_features = False
    pretrained = True
    learning_rates = (5e-5, 5e-5)
    """Default for transformers and for convolutional networks (`hf_tl.training.arguments` adapts them)."""

    def __init__(self, config: MethodConfig) -> None:
        self.config = config

    def check(self, task: Task) -> None:
        """Raises ConfigError for options that this method does not have, before anything is downloaded."""
        check_method(self.config.name, task)
        given = self.config.model_fields_set & {"layer_lr_decay", "unfreeze"}
        if self.config.name != "full" and given:
            raise ConfigError(f"method.{sorted(given)[0]}: an option of method full; this is {self.config.name}.")
        if self.config.passed_through:
            key = next(iter(self.config.passed_through))
            own = [name for name in type(self.config).model_fields if name != "name"]
            hint = did_you_mean(key, own) or f"; it knows {listing(own)}."
            raise ConfigError(f"method.{key}: method {self.config.name} has no such option{hint}")

    def prepare(self, loaded: Loaded, task: Task) -> Adapted:
        """Marks what trains, in place, and says how fast.

        Raises:
            ConfigError: options that do not fit the model.
        """
        model, heads = loaded.model, tuple(loaded.heads)
        spare_single_values(model)
        if (self.config.batch_norm or ("frozen" if self.pretrained else "train")) == "frozen":
            freeze_batch_norm_stats(model, heads)
        set_trainable(model, self.trainable(model, heads))
        return Adapted(
            model, heads, self.lr_multipliers(model, heads), tuple(self.unfreeze_steps(model, heads)), loaded.revision
        )

    def trainable(self, model: PreTrainedModel, heads: Sequence[str]) -> list[str]:
        """Names of the parameters that train."""
        return [name for name, _ in model.named_parameters()]

    def lr_multipliers(self, model: nn.Module, heads: Sequence[str]) -> dict[str, float]:
        return {}

    def unfreeze_steps(self, model: nn.Module, heads: Sequence[str]) -> list[UnfreezeStep]:
        return []

    def finish(self, adapted: Adapted, folder: Path) -> PreTrainedModel:
        """The plain model to save; what else belongs into `folder` is written there."""
        model = adapted.module
        assert isinstance(model, PreTrainedModel)
        return model


class Full(Method):
    def lr_multipliers(self, model: nn.Module, heads: Sequence[str]) -> dict[str, float]:
        decay = self.config.layer_lr_decay
        if not decay or decay == 1:
            return {}
        depth = depths(model, heads)
        top = max(depth.values())
        return {name: decay ** (top - level) for name, level in depth.items()}

    def unfreeze_steps(self, model: nn.Module, heads: Sequence[str]) -> list[UnfreezeStep]:
        """`unfreeze` of the configuration.

        Raises:
            ConfigError: an epoch below 0, or layers that are neither `head`, `all` nor a number of them.
        """
        if not self.config.unfreeze:
            return []
        depth = depths(model, heads)
        top = max(depth.values())
        out, done = [], set[str]()
        for epoch, value in sorted(self.config.unfreeze.items()):
            where = f"method.unfreeze.{epoch:g}"
            options = value if isinstance(value, dict) else {"layers": value}
            unknown = set(options) - {"layers", "learning_rate"}
            layers, rate = options.get("layers"), options.get("learning_rate")
            number = isinstance(layers, int) and not isinstance(layers, bool) and layers >= 1
            if epoch < 0 or unknown or not (layers in ("head", "all") or number):
                raise ConfigError(
                    f"{where}: found {value!r}, expected head, all, a number of top layers, "
                    "or {layers: ..., learning_rate: ...}, at an epoch of 0 or more."
                )
            if rate is not None and not (isinstance(rate, (int, float)) and rate > 0):
                raise ConfigError(f"{where}.learning_rate: found {rate!r}, expected a number above 0.")
            lowest = {"head": top, "all": 0}[layers] if isinstance(layers, str) else top - int(layers or 0)
            names = [name for name, level in depth.items() if level >= lowest and name not in done]
            done.update(names)
            out.append(UnfreezeStep(float(epoch), tuple(names), rate))
        return out


class Scratch(Method):
    """The control: the same architecture from random weights."""

    pretrained = False
    learning_rates = (1e-4, 1e-3)


class Frozen(Method):
    """Only the new head trains; the backbone's features are computed once where the head permits."""

    caches_features = True
    learning_rates = (1e-3, 1e-3)
    """Where the features cannot be cached; otherwise their spread decides."""

    def trainable(self, model: PreTrainedModel, heads: Sequence[str]) -> list[str]:
        names = [name for name, _ in model.named_parameters() if in_modules(name, heads)]
        if not names:
            raise ConfigError("method: frozen trains a new head, but no new head was found in this model; use full.")
        return names


class Lora(Method):
    """LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685) or any other PEFT type, with the new head trained and
    saved beside the adapter."""

    learning_rates = (5e-4, 5e-4)

    def _config_class(self) -> type:
        from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftType

        name = str(self.config.passed_through.get("peft_type", "LORA")).upper()
        if name not in PeftType.__members__:
            hint = did_you_mean(name, PeftType.__members__) or "."
            raise ConfigError(f"method.peft_type: {name!r} is not one of PEFT's types{hint}")
        cls: type = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[name]]
        return cls

    def check(self, task: Task) -> None:
        check_method(self.config.name, task)
        extra = self.config.passed_through
        cls = self._config_class()
        fields = {field.name for field in dataclasses.fields(cls)}
        for key in extra:
            if key not in fields:
                raise ConfigError(f"method.{key}: {cls.__name__} has no such field{did_you_mean(key, fields) or '.'}")
        if "layer_lr_decay" in self.config.model_fields_set or "unfreeze" in self.config.model_fields_set:
            raise ConfigError("method: layer_lr_decay and unfreeze are options of method full; this is lora.")
        if self.config.batch_norm == "train":
            raise ConfigError("method.batch_norm: an adapter cannot save running statistics; lora keeps them frozen.")

    def _options(self, cls: type, loaded: Loaded, task: Task) -> dict[str, Any]:
        """Arguments of PEFT's configuration."""
        from peft import TaskType
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as defaults

        fields = {field.name for field in dataclasses.fields(cls)}
        options = {key: value for key, value in self.config.passed_through.items() if key != "peft_type"}
        lora = cls.__name__ == "LoraConfig"
        if lora:
            options.setdefault("r", 16)
            options.setdefault("lora_alpha", 2 * options["r"])
        model_type = getattr(loaded.model.config, "model_type", None)
        if "target_modules" in fields and "target_modules" not in options and not (lora and model_type in defaults):
            options["target_modules"] = adapter_targets(loaded.model, loaded.heads)
        if "modules_to_save" in fields and (loaded.heads or loaded.resized or options.get("modules_to_save")):
            trained_heads = fully_trained_modules(loaded.model, loaded.heads)
            given = with_tied(loaded.model, options.get("modules_to_save") or [])
            options["modules_to_save"] = [*trained_heads, *given, *loaded.resized]
        if "revision" in fields and loaded.revision is not None:
            options.setdefault("revision", loaded.revision)
        if task.peft_task_type is not None:
            options.setdefault("task_type", TaskType[task.peft_task_type])
        return options

    def prepare(self, loaded: Loaded, task: Task) -> Adapted:
        from peft import get_peft_model

        spare_single_values(loaded.model)
        freeze_batch_norm_stats(loaded.model, loaded.heads)  # an adapter cannot save running statistics
        cls = self._config_class()
        options = self._options(cls, loaded, task)
        if not names_embeddings(loaded.model):
            loaded.model.get_input_embeddings = nn.Module
        if is_quantized(loaded.model):
            from peft import prepare_model_for_kbit_training

            prepare_model_for_kbit_training(loaded.model, use_gradient_checkpointing=False)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # between PEFT and Transformers
                warnings.filterwarnings("ignore", ".*tie_word_embeddings")  # looked at below
                ties, shared = tied(loaded.model), shared_by_modules(loaded.model)
                embeddings = _embeddings(loaded.model)
                wrapped: nn.Module = get_peft_model(loaded.model, cls(**options))
                tie_copies(wrapped, ties)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever its tuners raise at values that they do not expect
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
            raise ConfigError(f"method: PEFT refuses this {cls.__name__} for the model: {first}") from error
        torn = torn_apart(wrapped, shared, embeddings)
        if torn is not None:
            raise ConfigError(
                f"method: {torn[0]} and {torn[1]} share one weight, and merging this adapter would change both; leave "
                f"{torn[0]} out of method.target_modules, or train both whole with "
                f"method.modules_to_save=[{torn[0].rpartition('.')[2]}]."
            )
        set_fixed(wrapped, loaded.resized)
        _show_geometry(wrapped)
        return Adapted(wrapped, tuple(loaded.heads), base_revision=loaded.revision)

    def finish(self, adapted: Adapted, folder: Path) -> PreTrainedModel:
        model = adapted.module
        model.save_pretrained(folder / "adapter")  # type: ignore[operator]
        readme = folder / "adapter" / "README.md"  # PEFT's empty card
        readme.unlink(missing_ok=True)
        base = model.get_base_model()  # type: ignore[operator]
        if is_quantized(base):
            from peft import PeftModel

            model = PeftModel.from_pretrained(full_precision(base, adapted.base_revision), folder / "adapter")
        try:
            plain: PreTrainedModel = model.merge_and_unload(safe_merge=True)  # type: ignore[operator]
        except ValueError as error:
            if "NaN" not in str(error):
                raise
            raise ConfigError(
                "method: the weights that were trained are not numbers, so training diverged; lower "
                "training.learning_rate."
            ) from error
        except (AttributeError, NotImplementedError) as error:
            raise ConfigError(
                f"method: this PEFT type cannot be merged into plain weights ({error}); "
                f"the adapter is in {folder / 'adapter'}."
            ) from error
        plain.__dict__.pop("get_input_embeddings", None)
        if not peft_can_load(plain):
            shutil.rmtree(folder / "adapter")
        plain.tie_weights()  # second names of a head that was trained as a copy
        return plain


def _embeddings(model: nn.Module) -> str:
    """Name of the weight of the input embeddings; empty where a network reads no tokens."""
    found: Any = getattr(model.get_input_embeddings(), "weight", None)  # type: ignore[operator]
    return next((name for name, parameter in model.named_parameters() if parameter is found), "")


def _show_geometry(wrapped: nn.Module) -> None:
    """Some networks (MobileNet's padding) read a convolution's geometry, which PEFT's wrapper does not show."""
    for module in wrapped.modules():
        base = getattr(module, "base_layer", None)
        if isinstance(base, nn.Conv2d):
            for name in ("stride", "kernel_size", "dilation", "padding", "groups"):
                if not hasattr(module, name):
                    setattr(module, name, getattr(base, name))


def check_method(name: str, task: Task) -> None:
    if name not in task.methods:
        raise ConfigError(f"method: {task.name} is adapted by {listing(task.methods)}, not by {name}.")


METHODS: dict[str, type[Method]] = {"full": Full, "lora": Lora, "frozen": Frozen, "scratch": Scratch}


def get_method(config: MethodConfig) -> Method:
    return METHODS[config.name](config)


def optimizer_groups(model: nn.Module, adapted: Adapted, decayed: set[str], args: Any) -> Groups:
    """Parameter groups for any optimiser: with and without weight decay, each learning rate its own group.

    Args:
        model: `adapted.module`, or what of it trains alone.
        decayed: names of the parameters that weight decay applies to.
        args: `TrainingArguments`.
    """
    rates = {name: step.learning_rate for step in adapted.unfreeze for name in step.names if step.learning_rate}
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in _trainable(model, adapted):
        rate = rates.get(name, args.learning_rate) * adapted.lr_multipliers.get(name, 1.0)
        decay = args.weight_decay if name in decayed else 0.0
        group = groups.setdefault((rate, decay), {"params": [], "lr": rate, "weight_decay": decay})
        group["params"].append(parameter)
    return list(groups.values())


def _trainable(model: nn.Module, adapted: Adapted) -> Iterator[tuple[str, nn.Parameter]]:
    later = {name for step in adapted.unfreeze for name in step.names}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or name in later:
            yield name, parameter


def first_step(unfreeze: UnfreezeStep, steps_per_epoch: int) -> int:
    """The optimiser step from which its parameters train."""
    return math.ceil(unfreeze.epoch * steps_per_epoch)


__all__ = [
    "METHODS",
    "Adapted",
    "Method",
    "UnfreezeStep",
    "count_parameters",
    "first_step",
    "get_method",
    "optimizer_groups",
]
