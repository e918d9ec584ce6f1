"""Modelling code that travels with a saved model; the file is copied as it is, so it imports only public packages.

hf_tl itself never loads such a copy: its own heads are those of the installed package, whatever lies beside the
weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

MODEL_TYPE = "hf_tl_transfer"
"""`model_type` of a model with one of hf_tl's own heads."""
FILE = "modeling_hf_tl.py"


def own_classes() -> dict[str, Any]:
    """Auto class -> our class for it."""
    from hf_tl.models.custom import modeling_hf_tl as custom

    return {
        "AutoModelForSequenceClassification": custom.TransferForSequenceClassification,
        "AutoModelForImageClassification": custom.TransferForImageClassification,
    }


NO_ENCODERS = (
    "AutoModelForObjectDetection", "AutoModelForSemanticSegmentation", "AutoModelForUniversalSegmentation",
    "AutoModelForDepthEstimation", "AutoModelForImageToImage", "AutoModelForVideoClassification",
    "AutoModelForPreTraining", "AutoModelForImageTextToText",
)  # fmt: skip
"""Whose networks read images too and give no features of a whole one."""


def goes_around(config: Any, auto_class: str) -> bool:
    """Whether Transformers has a backbone for images by this configuration and no classifier (DINOv3, AIMv2), so that
    ours goes around it."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_MAPPING_NAMES as images

    if auto_class != "AutoModelForImageClassification" or config.model_type not in images:
        return False
    others = (getattr(transformers, name)._model_mapping for name in (auto_class, *NO_ENCODERS))
    return not any(type(config) in mapping for mapping in others)


def register() -> None:
    """Has Transformers load our heads with the installed package's classes, and never ask on standard input.

    Called before any configuration is read. A class that is registered so goes before a folder's own code even where
    that is trusted, and is still saved with its file, so that others load it with `trust_remote_code=True`.
    """
    import transformers
    from transformers import dynamic_module_utils

    from hf_tl.models.custom.modeling_hf_tl import TransferConfig

    # Every call of ours says whether code is trusted; where a library forgets to, this is a refusal and not a question.
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    transformers.AutoConfig.register(MODEL_TYPE, TransferConfig, exist_ok=True)
    TransferConfig.register_for_auto_class()
    for auto, cls in own_classes().items():
        getattr(transformers, auto).register(TransferConfig, cls, exist_ok=True)
        cls.register_for_auto_class(auto)


def own_auto_maps() -> list[dict[str, str]]:
    """What a saved configuration may say of code: one for each of our classes."""
    module = FILE.removesuffix(".py")
    return [
        {"AutoConfig": f"{module}.TransferConfig", auto: f"{module}.{cls.__name__}"}
        for auto, cls in own_classes().items()
    ]


def own_source() -> bytes:
    """The file as it is installed."""
    return (Path(__file__).parent / FILE).read_bytes()
