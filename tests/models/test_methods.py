"""Each method trains what it says, at the rates it says, and gives back a plain model with what was learned in it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForQuestionAnswering, BertForSequenceClassification, TrainingArguments

from hf_tl.config import HubConfig, MethodConfig, RunConfig
from hf_tl.errors import ConfigError
from hf_tl.models.layers import peft_can_load
from hf_tl.models.methods import UnfreezeStep, first_step, get_method, optimizer_groups
from hf_tl.models.pretrained import Loaded
from hf_tl.task import get_task
from hf_tl.training.description import check_adapter_loads
from tests.tiny import bert_classifier, resnet_classifier, tiny_writer

TEXT, IMAGE = get_task("text-classification"), get_task("image-classification")
IDS = {
    "input_ids": torch.tensor([[2, 5, 6, 7, 3], [2, 9, 8, 3, 0]]),
    "attention_mask": torch.tensor([[1] * 5, [1, 1, 1, 1, 0]]),
}


def prepared(name: str = "full", model: Any = None, heads: tuple[str, ...] = ("classifier",), **options: Any) -> Any:
    """(method, what it makes of a small model, the module to train)."""
    method = get_method(MethodConfig(name=name, **options))
    model = bert_classifier() if model is None else model
    task = TEXT if isinstance(model, BertForSequenceClassification) else IMAGE
    adapted = method.prepare(Loaded(model, list(heads)), task)
    return method, adapted, adapted.module


def training(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def random_adapter(module: nn.Module) -> None:
    """B is zero at first; a trained adapter's is not."""
    torch.manual_seed(1)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.5)


# What trains


@pytest.mark.parametrize("name", ["full", "scratch"])
def test_full_and_scratch_train_every_parameter(name: str) -> None:
    model = bert_classifier()
    for parameter in model.bert.parameters():
        parameter.requires_grad_(False)
    *_, module = prepared(name, model)
    assert module is model
    assert training(module) == {each for each, _ in model.named_parameters()}


def test_frozen_trains_the_head_alone() -> None:
    *_, module = prepared("frozen")
    assert training(module) == {"classifier.weight", "classifier.bias"}


def test_frozen_without_a_head_is_refused() -> None:
    with pytest.raises(ConfigError, match="no new head was found"):
        prepared("frozen", heads=())


def test_lora_trains_adapters_and_a_copy_of_the_head() -> None:
    *_, module = prepared("lora")
    kinds = {"lora" if "lora_" in name else name for name in training(module)}
    head = "base_model.model.classifier.modules_to_save.default"
    assert kinds == {"lora", f"{head}.weight", f"{head}.bias"}
    # PEFT's own choice for BERT: query and value of both layers, A and B each
    adapted = {name.split(".lora_")[0] for name in training(module) if "lora_" in name}
    layers = "base_model.model.bert.encoder.layer.{}.attention.self.{}"
    assert adapted == {layers.format(layer, kind) for layer in (0, 1) for kind in ("query", "value")}


def test_lora_keeps_the_targets_that_are_given() -> None:
    *_, module = prepared("lora", target_modules=["key"])
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in training(module) if "lora_" in name} == {"key"}


def test_lora_keeps_further_modules_to_save() -> None:
    *_, module = prepared("lora", modules_to_save=["pooler"])
    saved = {name for name in training(module) if "modules_to_save" in name}
    assert {name.split(".modules_to_save")[0].rpartition(".")[2] for name in saved} == {"classifier", "pooler"}


def test_lora_without_a_table_entry_adapts_the_backbone_and_leaves_the_head() -> None:
    *_, module = prepared("lora", resnet_classifier(), heads=("classifier",))
    targets = module.peft_config["default"].target_modules
    convolutions = {name for name, each in resnet_classifier().resnet.named_modules() if isinstance(each, nn.Conv2d)}
    assert targets == {f"resnet.{name}" for name in convolutions}
    assert set(module.peft_config["default"].modules_to_save) == {"classifier"}


@pytest.mark.parametrize("kind", ["LOHA", "IA3"])
def test_other_peft_types_have_their_own_configuration(kind: str) -> None:
    options = {"target_modules": ["query"], "feedforward_modules": []} if kind == "IA3" else {"r": 2}
    *_, module = prepared("lora", peft_type=kind.lower(), **options)
    config = module.peft_config["default"]
    assert type(config) is getattr(peft, {"LOHA": "LoHaConfig", "IA3": "IA3Config"}[kind])
    if kind == "LOHA":  # no table of PEFT is LoRA's, so all linear layers of the backbone
        assert config.r == 2
        assert config.target_modules == {
            name for name, each in bert_classifier().named_modules() if isinstance(each, nn.Linear)
        } - {"classifier"}


# LoRA's size


@pytest.mark.parametrize(
    ("options", "r", "alpha"),
    [({}, 16, 32), ({"r": 4}, 4, 8), ({"r": 4, "lora_alpha": 3}, 4, 3), ({"lora_alpha": 5}, 16, 5)],
)
def test_alpha_is_twice_the_rank_unless_given(options: dict[str, int], r: int, alpha: int) -> None:
    *_, module = prepared("lora", **options)
    config = module.peft_config["default"]
    assert (config.r, config.lora_alpha) == (r, alpha)
    # what a layer adds, by hand: alpha / r * B A x
    random_adapter(module)
    layer = module.base_model.model.bert.encoder.layer[1].attention.self.query
    x = torch.randn(3, 8)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert a.shape == (r, 8) and b.shape == (8, r)
    assert torch.allclose(layer(x), layer.base_layer(x) + alpha / r * x @ a.T @ b.T, atol=1e-5)


def test_the_adapter_knows_its_base_and_its_task() -> None:
    method = get_method(MethodConfig(name="lora"))
    module = method.prepare(Loaded(bert_classifier(), ["classifier"], "abc123"), TEXT).module
    config = module.peft_config["default"]
    assert config.revision == "abc123" and config.task_type == "SEQ_CLS"
    config = prepared("lora")[-1].peft_config["default"]
    assert config.revision is None
    config = prepared("lora", task_type="TOKEN_CLS")[-1].peft_config["default"]
    assert config.task_type == "TOKEN_CLS"
    images = get_method(MethodConfig(name="lora"))
    module = images.prepare(Loaded(resnet_classifier(), ["classifier"]), IMAGE).module
    assert module.peft_config["default"].task_type is None


def test_what_peft_refuses_is_said() -> None:
    with pytest.raises(ConfigError, match="method: PEFT refuses this LoraConfig for the model"):
        prepared("lora", target_modules=["no_such_layer"])
    with pytest.raises(ConfigError, match=r"PEFT refuses this LoraConfig for the model: .*'list' object"):
        prepared("lora", rank_pattern=[5])
    with pytest.raises(ConfigError, match=r"method.peft_type: 'LORRA' is not one of PEFT's types; did you mean 'LORA'"):
        get_method(MethodConfig(name="lora", peft_type="lorra")).check(TEXT)


def test_an_adapter_whose_weights_are_no_numbers(tmp_path: Path) -> None:
    method = get_method(MethodConfig(name="lora"))
    adapted = method.prepare(Loaded(bert_classifier(), ["classifier"]), TEXT)
    for name, parameter in adapted.module.named_parameters():
        if "lora_A" in name:
            torch.nn.init.constant_(parameter, float("nan"))
    with pytest.raises(ConfigError, match="weights that were trained are not numbers, so training diverged"):
        method.finish(adapted, tmp_path)


# Batch normalisation


def running(model: nn.Module) -> torch.Tensor:
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    return torch.cat([torch.cat([norm.running_mean, norm.running_var]) for norm in norms])


@pytest.mark.parametrize(
    ("name", "given", "moves"),
    [
        ("full", None, False),
        ("full", "frozen", False),
        ("full", "train", True),
        ("frozen", None, False),
        ("lora", None, False),
        ("scratch", None, True),
        ("scratch", "frozen", False),
    ],
)
def test_batch_normalisation_keeps_its_statistics(name: str, given: str | None, moves: bool) -> None:
    model = resnet_classifier()
    options = {} if given is None else {"batch_norm": given}
    *_, module = prepared(name, model, **options)
    before = running(module).clone()
    torch.manual_seed(0)
    pixels = torch.randn(4, 3, 32, 32) + 2
    alone = copy.deepcopy(module).eval()(pixels).logits
    module.train()
    together = module(pixels).logits
    assert torch.equal(running(module), before) != moves
    assert torch.allclose(together, alone, atol=1e-5) != moves


def test_a_new_head_gathers_its_own_statistics() -> None:
    class WithNorm(nn.Module):
        base_model_prefix = "body"

        def __init__(self) -> None:
            super().__init__()
            self.body, self.classifier = nn.BatchNorm1d(4), nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.classifier(self.body(x))

    for name in ("full", "frozen"):
        *_, module = prepared(name, WithNorm())
        module.train()
        module(torch.randn(8, 4) + 3)
        assert torch.equal(module.body.running_mean, torch.zeros(4))
        assert module.classifier.running_mean.min() > 0


# What is refused before anything is loaded


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "frozen", "layer_lr_decay": 0.9}, "method.layer_lr_decay: an option of method full; this is frozen"),
        ({"name": "scratch", "unfreeze": {0: "all"}}, "method.unfreeze: an option of method full; this is scratch"),
        ({"name": "lora", "layer_lr_decay": 0.9}, "options of method full; this is lora"),
        ({"name": "lora", "unfreeze": {0: "all"}}, "options of method full; this is lora"),
        ({"name": "lora", "batch_norm": "train"}, "method.batch_norm: an adapter cannot save running statistics"),
        ({"name": "full", "r": 4}, "method.r: method full has no such option"),
        ({"name": "full", "unfreze": {0: "all"}}, "method.unfreze: .*did you mean 'unfreeze'"),
    ],
)
def test_options_of_another_method_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        get_method(MethodConfig(**options)).check(TEXT)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "full", "layer_lr_decay": 0.9, "unfreeze": {0: "head"}},
        {"name": "full", "batch_norm": "train"},
        {"name": "lora", "batch_norm": "frozen", "r": 4},
        {"name": "lora", "peft_type": "LOHA", "r": 4},
        {"name": "frozen"},
        {"name": "scratch"},
    ],
)
def test_options_of_the_method_are_taken(options: dict[str, Any]) -> None:
    get_method(MethodConfig(**options)).check(TEXT)


def test_a_task_says_which_methods_adapt_it() -> None:
    task = SimpleNamespace(name="some-task", methods=("full", "scratch"))
    get_method(MethodConfig(name="scratch")).check(task)
    for name in ("lora", "frozen"):
        with pytest.raises(ConfigError, match=f"some-task is adapted by 'full', 'scratch', not by {name}"):
            get_method(MethodConfig(name=name)).check(task)


# Depths, stages and rates

EMBEDDINGS = "bert.embeddings.word_embeddings.weight"
LOW, HIGH = (f"bert.encoder.layer.{layer}.output.dense.weight" for layer in (0, 1))
POOLER, HEAD = "bert.pooler.dense.weight", "classifier.weight"


def test_layer_decay_multiplies_once_a_layer_from_the_head_down() -> None:
    _, adapted, module = prepared(layer_lr_decay=0.5)
    rates = adapted.lr_multipliers
    assert [rates[name] for name in (HEAD, POOLER, HIGH, LOW, EMBEDDINGS)] == [1, 0.5, 0.5, 0.25, 0.125]
    assert set(rates) == {name for name, _ in module.named_parameters()}


@pytest.mark.parametrize("options", [{}, {"layer_lr_decay": 1}])
def test_without_layer_decay_all_rates_are_one(options: dict[str, Any]) -> None:
    _, adapted, _ = prepared(**options)
    assert adapted.lr_multipliers == {}
    for name in ("frozen", "lora", "scratch"):
        other = prepared(name)[1]
        assert other.lr_multipliers == {} and other.unfreeze == ()


def test_stages_take_layers_from_the_top_each_once() -> None:
    unfreeze = {2: "all", 0: "head", 1: {"layers": 1, "learning_rate": 1e-4}, 1.5: 2}
    _, adapted, module = prepared(unfreeze=unfreeze)
    head, first, second, last = adapted.unfreeze
    assert [stage.epoch for stage in (head, first, second, last)] == [0.0, 1.0, 1.5, 2.0]
    assert [stage.learning_rate for stage in (head, first, second, last)] == [None, 1e-4, None, None]
    assert set(head.names) == {"classifier.weight", "classifier.bias"}
    assert HIGH in first.names and POOLER in first.names and not any("layer.0" in name for name in first.names)
    assert LOW in second.names and not any("layer.1" in name or "embeddings" in name for name in second.names)
    assert all("embeddings" in name for name in last.names) and EMBEDDINGS in last.names
    names = [name for stage in (head, first, second, last) for name in stage.names]
    assert sorted(names) == sorted(name for name, _ in module.named_parameters())


def test_without_unfreezing_there_are_no_stages() -> None:
    _, adapted, _ = prepared()
    assert adapted.unfreeze == ()


@pytest.mark.parametrize(
    ("unfreeze", "said"),
    [
        ({1: "haed"}, r"method.unfreeze.1: found 'haed', expected head, all"),
        ({-0.5: "all"}, r"method.unfreeze.-0.5: found 'all'"),
        ({0: 0}, r"method.unfreeze.0: found 0"),
        ({0: True}, r"method.unfreeze.0: found True"),
        ({0: 1.5}, r"method.unfreeze.0: found 1.5"),
        ({0: None}, r"method.unfreeze.0: found None"),
        ({0: {"layers": "all", "rate": 1}}, r"method.unfreeze.0: found \{'layers': 'all', 'rate': 1\}"),
        ({0: {"learning_rate": 1e-3}}, r"method.unfreeze.0: found"),
        ({0: {"layers": 1, "learning_rate": 0}}, r"method.unfreeze.0.learning_rate: found 0, expected a number above"),
        ({0: {"layers": 1, "learning_rate": -1}}, r"method.unfreeze.0.learning_rate: found -1"),
        ({0: {"layers": 1, "learning_rate": "1e-3"}}, r"method.unfreeze.0.learning_rate: found '1e-3'"),
    ],
)
def test_stages_that_mean_nothing_are_refused(unfreeze: dict[Any, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared(unfreeze=unfreeze)


@pytest.mark.parametrize(
    ("epoch", "per_epoch", "step"), [(0, 10, 0), (1, 10, 10), (0.5, 5, 3), (2.05, 10, 21), (3, 1, 3)]
)
def test_a_stage_begins_with_the_first_step_of_its_epoch(epoch: float, per_epoch: int, step: int) -> None:
    assert first_step(UnfreezeStep(epoch, (), None), per_epoch) == step


def groups_of(adapted: Any, module: nn.Module, decayed: set[str], tmp_path: Path) -> dict[str, tuple[float, float]]:
    """Parameter name -> (rate, decay), of those in the optimiser."""
    args = TrainingArguments(output_dir=str(tmp_path), learning_rate=0.8, weight_decay=0.1, use_cpu=True)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    found = [
        (names[id(parameter)], (group["lr"], group["weight_decay"]))
        for group in optimizer_groups(module, adapted, decayed, args)
        for parameter in group["params"]
    ]
    assert len(found) == len(dict(found))
    keys = [(group["lr"], group["weight_decay"]) for group in optimizer_groups(module, adapted, decayed, args)]
    assert len(keys) == len(set(keys))
    return dict(found)


def test_rates_and_decay_of_the_optimizers_groups(tmp_path: Path) -> None:
    _, adapted, module = prepared(
        layer_lr_decay=0.5, unfreeze={0: "head", 1: {"layers": 1, "learning_rate": 0.2}, 2: 2}
    )
    found = groups_of(adapted, module, {HEAD, LOW}, tmp_path)
    assert found[HEAD] == (0.8, 0.1)
    assert found["classifier.bias"] == (0.8, 0.0)
    assert found[HIGH] == (pytest.approx(0.1), 0.0)  # the stage's own rate, a half for being one layer down
    assert found[LOW] == (pytest.approx(0.2), 0.1)
    assert EMBEDDINGS in found  # not of any stage, but it trains: nobody has frozen it


def test_what_does_not_train_is_not_in_the_optimizer_but_what_will_is(tmp_path: Path) -> None:
    _, adapted, module = prepared("frozen")
    assert set(groups_of(adapted, module, set(), tmp_path)) == {"classifier.weight", "classifier.bias"}
    _, adapted, module = prepared(unfreeze={0: "head", 1: 1})
    for parameter in module.bert.parameters():
        parameter.requires_grad_(False)
    found = set(groups_of(adapted, module, set(), tmp_path))
    assert HIGH in found and HEAD in found and LOW not in found and EMBEDDINGS not in found


# What comes back


def test_full_gives_back_the_model_itself(tmp_path: Path) -> None:
    for name in ("full", "frozen", "scratch"):
        method, adapted, module = prepared(name)
        assert method.finish(adapted, tmp_path) is module
        assert list(tmp_path.iterdir()) == []


def test_lora_comes_back_merged_with_the_adapter_beside_it(tmp_path: Path) -> None:
    base = bert_classifier()
    base.save_pretrained(tmp_path / "base")
    model = BertForSequenceClassification.from_pretrained(tmp_path / "base").eval()
    method, adapted, module = prepared("lora", model, r=2)
    random_adapter(module)
    with torch.no_grad():
        module.base_model.model.classifier.modules_to_save["default"].bias.add_(1.0)
        trained, before = module(**IDS).logits, base(**IDS).logits
    assert not torch.allclose(trained, before, atol=1e-3)
    plain = method.finish(adapted, tmp_path)
    assert type(plain) is BertForSequenceClassification
    assert {name for name, _ in plain.named_parameters()} == {name for name, _ in base.named_parameters()}
    assert torch.allclose(plain(**IDS).logits, trained, atol=1e-5)
    assert sorted(each.name for each in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    fresh = BertForSequenceClassification.from_pretrained(tmp_path / "base").eval()
    again = peft.PeftModel.from_pretrained(fresh, tmp_path / "adapter").eval()
    assert torch.allclose(again(**IDS).logits, trained, atol=1e-5)
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"] == 2


def test_an_adapter_on_rounded_weights_is_merged_into_whole_ones(tmp_path: Path) -> None:
    """Of a classifier with a new head, too: the adapter brings its weights, the configuration its labels."""
    bert_classifier(labels=2).save_pretrained(tmp_path / "base")
    exact = BertForSequenceClassification.from_pretrained(tmp_path / "base")
    model = BertForSequenceClassification.from_pretrained(
        tmp_path / "base", id2label={0: "a", 1: "b", 2: "c"}, label2id={"a": 0, "b": 1, "c": 2}, num_labels=3,
        ignore_mismatched_sizes=True,
    ).eval()  # fmt: skip
    method, adapted, module = prepared("lora", model, r=2)
    random_adapter(module)
    query = module.base_model.model.bert.encoder.layer[0].attention.self.query
    delta = 2 * query.lora_B["default"].weight @ query.lora_A["default"].weight
    head = module.base_model.model.classifier.modules_to_save["default"].weight.detach().clone()
    with torch.no_grad():
        query.base_layer.weight.copy_(query.base_layer.weight.round(decimals=1))
    model.is_quantized = True  # as bitsandbytes marks it
    plain = method.finish(adapted, tmp_path)
    wanted = exact.bert.encoder.layer[0].attention.self.query.weight + delta
    assert torch.allclose(plain.bert.encoder.layer[0].attention.self.query.weight, wanted, atol=1e-6)
    assert torch.equal(plain.classifier.weight, head)
    assert plain.config.id2label == {0: "a", 1: "b", 2: "c"} and plain.dtype == torch.float32


def test_a_kind_that_cannot_be_merged_is_said_and_its_adapter_kept(tmp_path: Path) -> None:
    method, adapted, _ = prepared("lora", peft_type="PROMPT_TUNING", num_virtual_tokens=2)
    with pytest.raises(ConfigError, match="cannot be merged into plain weights"):
        method.finish(adapted, tmp_path)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()


def test_padding_of_wrapped_convolutions_stays_readable() -> None:
    """MobileNet's padding reads a convolution's geometry, whoever has wrapped it."""
    *_, module = prepared("lora", resnet_classifier())
    wrapped = [each for each in module.modules() if isinstance(getattr(each, "base_layer", None), nn.Conv2d)]
    assert wrapped
    for each in wrapped:
        for name in ("stride", "kernel_size", "dilation", "padding", "groups"):
            assert getattr(each, name) == getattr(each.base_layer, name)


# Weights that two modules share


def tied_decoder() -> Any:
    """A Qwen2 in memory whose output layer has the embeddings' weight, so large that no two texts are alike."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Qwen2Config(
        **small, vocab_size=20, num_key_value_heads=2, initializer_range=0.3, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.tensor([[3, 5, 7, 9]])).logits
    return found


@pytest.mark.parametrize("kind", ["LORA", "LOHA"])
@pytest.mark.parametrize("modules", [["embed_tokens"], ["lm_head"], ["model.embed_tokens", "lm_head"]])
def test_tied_embeddings_are_trained_as_one_and_saved_so(modules: list[str], kind: str, tmp_path: Path) -> None:
    """https://github.com/huggingface/transformers/issues/45127"""
    from transformers import AutoModelForCausalLM

    method = get_method(MethodConfig(name="lora", peft_type=kind, modules_to_save=modules))
    adapted = method.prepare(Loaded(tied_decoder(), []), get_task("text-generation"))
    copies = [p for name, p in adapted.module.named_parameters() if "modules_to_save" in name]
    assert len(copies) == 1 and copies[0].requires_grad
    nn.init.normal_(copies[0], std=0.5)
    random_adapter(adapted.module)
    trained = logits(adapted.module.eval())
    assert not torch.allclose(trained, logits(tied_decoder()), atol=0.1)
    plain = method.finish(adapted, tmp_path)
    plain.save_pretrained(tmp_path / "plain")
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "plain").eval()), trained)
    base = peft.PeftModel.from_pretrained(tied_decoder(), tmp_path / "adapter")
    torch.testing.assert_close(logits(base.merge_and_unload().eval()), trained)  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_tied_embeddings_of_encoder_and_decoder(kind: str, tmp_path: Path) -> None:
    """Four names of one weight: trained as one, or refused before anything trains."""
    from transformers import AutoModelForSeq2SeqLM

    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_writer(tmp_path / "model", ["a", "b", "c"], kind)).eval()
    ids = {"input_ids": torch.tensor([[4, 5, 2]]), "decoder_input_ids": torch.tensor([[2, 6]])}
    method = get_method(MethodConfig(name="lora", modules_to_save=["lm_head"]))
    adapted = method.prepare(Loaded(model, []), get_task("summarization"))
    random_adapter(adapted.module)
    (copy,) = [p for name, p in adapted.module.named_parameters() if "modules_to_save" in name]
    nn.init.normal_(copy, std=0.5)
    with torch.no_grad():
        trained = adapted.module.eval()(**ids).logits
        method.finish(adapted, tmp_path).save_pretrained(tmp_path / "plain")
        again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "plain").eval()
        torch.testing.assert_close(again(**ids).logits, trained)


@pytest.mark.parametrize("targets", [["q_proj", "embed_tokens", "lm_head"], ["lm_head"], ["embed_tokens"]])
def test_an_adapter_of_one_of_two_tied_layers_is_refused(targets: list[str]) -> None:
    """Its merge would change both: a loss of 1.43 in training was 23.9 as saved."""
    method = get_method(MethodConfig(name="lora", target_modules=targets))
    with pytest.raises(ConfigError, match=r"share one weight, .*modules_to_save=\[(embed_tokens|lm_head)\]"):
        method.prepare(Loaded(tied_decoder(), []), get_task("text-generation"))


def test_layers_that_are_tied_are_no_targets_of_their_own_accord() -> None:
    """DistilBERT's output layer is its embeddings: an adapter on it would change both."""
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    model = DistilBertForMaskedLM(DistilBertConfig(vocab_size=20, dim=16, n_layers=1, n_heads=2, hidden_dim=16))
    method = get_method(MethodConfig(name="lora"))
    module = method.prepare(Loaded(model, []), get_task("fill-mask")).module
    adapted = {name.split(".lora_")[0].rpartition(".")[2] for name in training(module)}
    assert "vocab_projector" not in adapted and {"q_lin", "lin1", "vocab_transform"} <= adapted


def test_an_adapter_that_peft_could_not_load_is_merged_only(tmp_path: Path) -> None:
    """RT-DETR v2, D-FINE and Deformable DETR do not tell their input embeddings, which PEFT asks for."""

    def unknown() -> Any:
        raise NotImplementedError

    model = resnet_classifier()
    model.get_input_embeddings, model._tied_weights_keys = unknown, {"a": "b"}
    method, adapted, module = prepared("lora", model)
    random_adapter(module)
    plain = method.finish(adapted, tmp_path)
    assert not (tmp_path / "adapter").exists() and "get_input_embeddings" not in plain.__dict__
    config = RunConfig(model="m", data="d", hub=HubConfig(id="me/x", merge=False))
    plain.get_input_embeddings = unknown  # type: ignore[method-assign]
    assert peft_can_load(resnet_classifier())
    with pytest.raises(ConfigError, match=r"hub\.merge: false .* PEFT cannot load one of a ResNetForImageClass"):
        check_adapter_loads(config, plain)
    check_adapter_loads(config, bert_classifier())


def test_an_adapter_of_question_answering_reads_which_tokens_are_the_question() -> None:
    """PEFT's class for QUESTION_ANS takes `token_type_ids` and does not pass them on."""
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = BertForQuestionAnswering(config)
    method = get_method(MethodConfig(name="lora", r=2))
    module = method.prepare(Loaded(model, ["qa_outputs"]), get_task("question-answering")).module.eval()
    ids, types = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[0, 0, 1, 1]])
    with torch.no_grad():
        alike, told = module(input_ids=ids).start_logits, module(input_ids=ids, token_type_ids=types).start_logits
        plain = module.get_base_model()(input_ids=ids, token_type_ids=types).start_logits
    assert not torch.allclose(alike, told) and torch.equal(told, plain)
