"""What has to be there for a base in 4 or 8 bits is checked before anything is downloaded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hf_tl.config import ModelConfig
from hf_tl.errors import ConfigError
from hf_tl.models.quantized import check_quantization, full_precision, is_quantized


def check(given: Any, method: str = "lora") -> None:
    check_quantization(ModelConfig(id="x", quantization_config=given), method)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    def has(*, package: bool, gpu: bool) -> None:
        monkeypatch.setattr(
            "importlib.util.find_spec", lambda name: object() if package and name == "bitsandbytes" else None
        )
        monkeypatch.setattr("torch.accelerator.is_available", lambda: gpu)

    return has


def test_without_quantization_every_method_goes(machine: Any) -> None:
    machine(package=False, gpu=False)
    check_quantization(ModelConfig(id="x"), "full")
    check(None, "full")


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model.quantization_config: found '4bit', expected a mapping"):
        check("4bit")


@pytest.mark.parametrize("method", ["full", "frozen", "scratch"])
def test_rounded_weights_cannot_be_trained(method: str) -> None:
    with pytest.raises(ConfigError, match=f"use method lora, not {method}"):
        check({"load_in_4bit": True}, method)


@pytest.mark.parametrize(
    "given", [{"load_in_4bit": True}, {"load_in_8bit": True}, {}, {"quant_method": "bitsandbytes"}]
)
def test_four_and_eight_bits_need_a_package_and_a_gpu(given: dict[str, Any], machine: Any) -> None:
    machine(package=True, gpu=True)
    check(given)
    machine(package=False, gpu=True)
    with pytest.raises(ConfigError, match=r"bits needs the package bitsandbytes \(pip install bitsandbytes\), which"):
        check(given)
    machine(package=True, gpu=False)
    with pytest.raises(ConfigError, match="bits needs a GPU, which this machine does not have"):
        check(given)
    machine(package=False, gpu=False)
    with pytest.raises(ConfigError, match=r"the package bitsandbytes .* and a GPU"):
        check(given)


def test_another_kind_of_quantization_is_left_to_transformers(machine: Any) -> None:
    machine(package=False, gpu=False)
    check({"quant_method": "gptq"})
    with pytest.raises(ConfigError):
        check({"quant_method": "gptq", "load_in_8bit": True})


def test_a_model_says_whether_it_is_quantized() -> None:
    assert is_quantized(SimpleNamespace(is_quantized=True))
    assert not is_quantized(SimpleNamespace(is_quantized=False)) and not is_quantized(SimpleNamespace())


@pytest.mark.parametrize("revision", ["abc123", None])
@pytest.mark.parametrize("writes", [True, False])
def test_the_whole_model_is_the_same_but_for_the_rounding(revision: str | None, writes: bool) -> None:
    """Of the same commit, in float32 and safetensors alone, with the configuration that was trained with."""
    asked: dict[str, Any] = {}

    class Model:
        name_or_path = "alice/base"

        def __init__(self, config: Any) -> None:
            self.config = config
            if writes:
                self.generation_config = config.generation

        @classmethod
        def from_pretrained(cls, name: str, **options: Any) -> Any:
            asked.update(options, name=name)
            return cls(SimpleNamespace(**{**vars(options["config"]), "generation": "fresh"}))

    config = SimpleNamespace(id2label={0: "a"}, quantization_config={"load_in_4bit": True}, generation="trained")
    found = full_precision(Model(config), revision)  # type: ignore[arg-type]
    assert asked["name"] == "alice/base" and asked["revision"] == (revision or "main")
    assert asked["dtype"] == torch.float32 and asked["use_safetensors"] and asked["ignore_mismatched_sizes"]
    assert vars(asked["config"]) == {"id2label": {0: "a"}, "generation": "trained"} and not asked.get(
        "trust_remote_code"
    )
    assert getattr(found, "generation_config", None) == ("trained" if writes else None)
    assert config.quantization_config  # the trained one is left as it is
