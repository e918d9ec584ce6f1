"""bfloat16 where it is faster, by a stopwatch that the test holds; and nothing of the model is changed by the trial."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from hf_tl.training import precision
from hf_tl.training.precision import choose_precision, eager_attention, multiply_seconds
from tests.tiny import bert_classifier, resnet_classifier

IDS = {"input_ids": torch.tensor([[2, 5, 6, 3]])}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A CPU whose bf16 is so many times as fast: of matrix products, and of a step of the model."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)

    def has(products: float, steps: float = 1.0) -> list[bool]:
        tried: list[bool] = []

        def step(model: Any, inputs: Any, loss: Any, bf16: bool) -> float:
            tried.append(bf16)
            return 1 / steps if bf16 else 1.0

        monkeypatch.setattr(
            precision, "multiply_seconds", lambda dtype: 1 / products if dtype == torch.bfloat16 else 1.0
        )
        monkeypatch.setattr(precision, "_step_seconds", step)
        return tried

    return has


def choose(model: nn.Module | None = None) -> tuple[str, str]:
    return choose_precision(model or bert_classifier(), IDS, lambda outputs: outputs.logits.sum())


def test_slow_products_decide_at_once(machine: Any) -> None:
    tried = machine(1.1, 9.0)
    assert choose() == ("fp32", "a matrix product in bf16 is 1.1 times as fast as in fp32 on this CPU")
    assert tried == []


def test_fast_products_are_tried_on_the_model(machine: Any) -> None:
    tried = machine(5.0, 2.0)
    assert choose() == ("bf16", "a step of this model in bf16 was 2.0 times as fast as in fp32 on this CPU")
    assert tried == [False, True]
    machine(5.0, 1.1)
    assert choose()[0] == "fp32"
    machine(5.0, 0.5)
    assert choose() == ("fp32", "a step of this model in bf16 was 0.5 times as fast as in fp32 on this CPU")
    machine(1.25, 1.25)
    assert choose()[0] == "bf16"


def test_the_threshold_itself_is_worth_it(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "WORTH", 2.0)
    machine(2.0, 2.0)
    assert choose()[0] == "bf16"


def test_an_accelerator_says_it_itself(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = machine(9.0, 9.0)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert choose() == ("fp32", "Apple GPU")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for good in (True, False):
        emulated: list[Any] = []

        def supported(including_emulation: bool = True, good: bool = good, emulated: list[Any] = emulated) -> bool:
            emulated.append(including_emulation)
            return good

        monkeypatch.setattr("torch.cuda.is_bf16_supported", supported)
        assert choose()[0] == ("bf16" if good else "fp32")
        assert emulated == [False]
    assert tried == []


def test_the_trial_in_bfloat16_is_with_eager_attention(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(5.0)
    model, seen = bert_classifier(), []
    monkeypatch.setattr(precision, "_step_seconds", lambda *args: seen.append(model.config._attn_implementation) or 1.0)
    choose(model)
    assert seen == ["sdpa", "eager"] and model.config._attn_implementation == "sdpa"


def test_attention_is_eager_inside_the_block() -> None:
    model = bert_classifier()
    with pytest.raises(RuntimeError), eager_attention(model):
        assert model.config._attn_implementation == "eager"
        raise RuntimeError
    assert model.config._attn_implementation == "sdpa"
    model.set_attn_implementation("eager")
    with eager_attention(model):
        assert model.config._attn_implementation == "eager"
    assert model.config._attn_implementation == "eager"
    with eager_attention(nn.Linear(1, 1)):
        pass


def test_attention_that_cannot_be_set_stays() -> None:
    """One implementation only; a part that knows eager only, and so refuses to go back."""
    refused: list[str] = []
    allowed: tuple[str, ...] = ()

    def refuse(name: str) -> None:
        refused.append(name)
        if name not in allowed:
            raise ValueError(name)

    model: Any = SimpleNamespace(set_attn_implementation=refuse, config=SimpleNamespace(_attn_implementation="sdpa"))
    with eager_attention(model):
        pass
    allowed = ("eager",)
    with eager_attention(model):
        pass
    assert refused == ["eager", "eager", "sdpa"]
    model.config._attn_implementation = "flash_attention_2"
    with eager_attention(model):
        pass
    assert len(refused) == 3


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_trial_leaves_no_trace(bf16: bool, training: bool) -> None:
    model = resnet_classifier().train(training)
    model.register_buffer("dropped", torch.zeros(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    random = torch.get_rng_state()
    dtypes, modes, gradients = [], [], []

    def loss(outputs: Any) -> torch.Tensor:
        dtypes.append(outputs.logits.dtype)
        modes.append(model.training)
        gradients.append(model.classifier[1].weight.grad is not None)
        return outputs.logits.sum()

    pixels = {"pixel_values": torch.zeros(2, 3, 32, 32)}
    seconds = precision._step_seconds(model, pixels, loss, bf16)
    assert 0 < seconds < 60
    assert set(dtypes) == {torch.bfloat16 if bf16 else torch.float32} and modes == [False] * 3
    assert gradients == [False, True, True]  # backward is part of a step
    assert model.training == training and all(each.grad is None for each in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_the_best_of_several_times_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 9.0, 10.0, 12.0, 20.0, 25.0])  # 9, 2 and 5 seconds
    monkeypatch.setattr(precision.time, "perf_counter", lambda: next(ticks))
    assert precision._step_seconds(bert_classifier(), IDS, lambda outputs: outputs.logits.sum(), False) == 2.0
    ticks = iter([0.0, 9.0, 10.0, 12.0, 20.0, 25.0])
    assert multiply_seconds(torch.bfloat16) == 2.0


def test_products_of_both_kinds_are_timed_and_the_random_state_stays() -> None:
    torch.manual_seed(3)
    random = torch.get_rng_state()
    for dtype in (torch.float32, torch.bfloat16):
        assert 0 < multiply_seconds(dtype, size=8) < 60
    assert torch.equal(torch.get_rng_state(), random)


def test_a_frozen_model_is_timed_without_backward() -> None:
    model = bert_classifier().requires_grad_(False)
    assert precision._step_seconds(model, IDS, lambda outputs: outputs.logits.sum(), False) < 60
