"""timm's preprocessing is a part of the model's configuration, so that is where a change of size is kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hf_tl.data.timm_models import of_timm, processor_fields, resized


def test_timms_backbones_are_told_by_type_or_by_their_preprocessing() -> None:
    assert of_timm(SimpleNamespace(model_type="timm_wrapper"))  # type: ignore[arg-type]
    assert of_timm(SimpleNamespace(model_type="hf_tl_transfer", pretrained_cfg={"mean": 1}))  # type: ignore[arg-type]
    assert not of_timm(SimpleNamespace(model_type="vit"))  # type: ignore[arg-type]
    assert not of_timm(SimpleNamespace(model_type="vit", pretrained_cfg={}))  # type: ignore[arg-type]


def test_a_model_around_a_timm_backbone_says_where_its_processor_is() -> None:
    inner = {"model_type": "timm_wrapper", "pretrained_cfg": {"mean": 1}, "architecture": "vgg16", "other": 3}
    assert processor_fields(inner) == {
        "pretrained_cfg": {"mean": 1},
        "architecture": "vgg16",
        "image_processor_type": "TimmWrapperImageProcessor",
    }
    assert processor_fields({**inner, "model_type": "vit"}) == {}


def test_another_size_is_of_the_processor_and_of_the_configuration() -> None:
    class Processor:
        def __init__(self, given: dict[str, Any], architecture: str) -> None:
            self.given, self.architecture = given, architecture

    config = SimpleNamespace(pretrained_cfg={"input_size": [3, 32, 32], "mean": [0.5]})
    before = config.pretrained_cfg
    found = resized(Processor({}, "vgg16"), config, 48)  # type: ignore[arg-type]
    wanted = {"input_size": [3, 48, 48], "mean": [0.5]}
    assert found.given == config.pretrained_cfg == wanted and found.architecture == "vgg16"
    assert before["input_size"] == [3, 32, 32]
