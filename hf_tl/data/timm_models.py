"""What is particular about timm's models: their preprocessing is a part of their configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def of_timm(config: PreTrainedConfig) -> bool:
    """Whether the backbone is timm's."""
    return config.model_type == "timm_wrapper" or bool(getattr(config, "pretrained_cfg", None))


def processor_fields(inner: Mapping[str, Any]) -> dict[str, Any]:
    """What a model around the backbone of configuration `inner` needs in its own, for stock Transformers to find the
    image processor there; nothing for a backbone that is not timm's."""
    if inner.get("model_type") != "timm_wrapper":
        return {}
    fields = {key: inner[key] for key in ("pretrained_cfg", "architecture") if key in inner}
    return {**fields, "image_processor_type": "TimmWrapperImageProcessor"}


def resized(processor: Any, config: PreTrainedConfig, size: int) -> Any:
    """The processor for images of `size` pixels; `config` says so too, since that is what is saved."""
    given = dict(getattr(config, "pretrained_cfg", None) or {})
    config.pretrained_cfg = {**given, "input_size": [3, size, size]}
    return type(processor)(config.pretrained_cfg, architecture=processor.architecture)
