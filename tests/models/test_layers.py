"""Heads, depths and adapter targets are found without a table of models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hf_tl.config import MethodConfig, ModelConfig
from hf_tl.errors import ConfigError
from hf_tl.models.layers import adapter_targets, depths, head_modules
from hf_tl.models.methods import get_method, optimizer_groups
from hf_tl.models.pretrained import find_pretrained, load_model
from hf_tl.task import Targets, get_task
from tests.tiny import tiny_bert, tiny_mobilenet, tiny_vit

MAKERS = {"bert": ("text-classification", tiny_bert), "vit": ("image-classification", tiny_vit),
          "mobilenet": ("image-classification", tiny_mobilenet)}  # fmt: skip


def loaded(name: str, folder: Path):
    task_name, make = MAKERS[name]
    config = ModelConfig(id=str(make(folder)))
    return load_model(find_pretrained(config), get_task(task_name), Targets(("a", "b", "c")), config), get_task(task_name)


@pytest.mark.parametrize("name", MAKERS)
def test_head_is_what_is_not_pretrained(name: str, tmp_path: Path) -> None:
    model, _ = loaded(name, tmp_path)
    assert model.heads == ["classifier"]
    assert model.model.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert model.model.dtype == torch.float32


def test_depths_rise_from_stem_to_head(tmp_path: Path) -> None:
    model, _ = loaded("bert", tmp_path)
    depth = depths(model.model, model.heads)
    assert depth["bert.embeddings.word_embeddings.weight"] == 0
    assert depth["bert.encoder.layer.0.attention.self.query.weight"] == 1
    assert depth["bert.encoder.layer.1.output.dense.weight"] == 2
    assert depth["bert.pooler.dense.weight"] == 2
    assert depth["classifier.weight"] == 3


def test_layer_decay_gives_each_depth_its_rate(tmp_path: Path) -> None:
    from transformers import TrainingArguments

    model, task = loaded("bert", tmp_path)
    method = get_method(MethodConfig(name="full", layer_lr_decay=0.5))
    prepared = method.prepare(model, task)
    args = TrainingArguments(output_dir=str(tmp_path / "o"), learning_rate=0.8, use_cpu=True, weight_decay=0.1)
    groups = optimizer_groups(prepared, method, {"classifier.weight"}, args)
    assert sorted({round(group["lr"], 6) for group in groups}) == [0.1, 0.2, 0.4, 0.8]
    assert sum(p.numel() for group in groups for p in group["params"]) == sum(p.numel() for p in prepared.parameters())
    decayed = [p for group in groups if group["weight_decay"] for p in group["params"]]
    assert [p.shape for p in decayed] == [prepared.classifier.weight.shape]


def test_adapter_targets_leave_out_head_and_grouped_convolutions(tmp_path: Path) -> None:
    model, _ = loaded("mobilenet", tmp_path)
    targets = adapter_targets(model.model, model.heads)
    modules = dict(model.model.named_modules())
    assert "classifier" not in targets and len(targets) > 20
    assert all(modules[name].groups == 1 for name in targets if isinstance(modules[name], torch.nn.Conv2d))
    vit, _ = loaded("vit", tmp_path / "v")
    assert all(isinstance(dict(vit.model.named_modules())[name], torch.nn.Linear) for name in
               adapter_targets(vit.model, vit.heads))  # fmt: skip


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("peft_type", ["LORA", "IA3", "LOHA", "OFT"])
def test_any_peft_type_trains_the_head_and_merges(name: str, peft_type: str, tmp_path: Path) -> None:
    if peft_type != "LORA" and name == "mobilenet":
        pytest.skip("not every PEFT type has convolutions; LoRA does")
    model, task = loaded(name, tmp_path)
    options = {"target_modules": ["query", "value"], "feedforward_modules": []} if peft_type == "IA3" else {}
    if peft_type == "IA3" and name == "vit":
        options["target_modules"] = ["q_proj", "v_proj"]
    if peft_type == "OFT":
        options["oft_block_size"] = 4
        options["r"] = 0
    method = get_method(MethodConfig(name="lora", peft_type=peft_type, **options))
    method.check(task)
    wrapped = method.prepare(model, task)
    trainable = [n for n, p in wrapped.named_parameters() if p.requires_grad]
    assert any("classifier" in n for n in trainable)
    assert len(trainable) > 2
    plain = method.finish(wrapped, tmp_path / "saved")
    assert type(plain).__name__.endswith("Classification")
    assert (tmp_path / "saved" / "adapter" / "adapter_model.safetensors").exists()


def test_unknown_field_of_peft_is_named(tmp_path: Path) -> None:
    method = get_method(MethodConfig(name="lora", lora_alfa=3))
    with pytest.raises(ConfigError, match=r"method.lora_alfa: LoraConfig has no such field; did you mean 'lora_alpha'"):
        method.check(get_task("text-classification"))


def test_stages_of_unfreezing(tmp_path: Path) -> None:
    from hf_tl.training.callbacks import Unfreeze

    model, task = loaded("bert", tmp_path)
    unfreeze = {0: "head", 1: {"layers": 1, "learning_rate": 1e-4}, 2.5: "all"}
    method = get_method(MethodConfig(name="full", unfreeze=unfreeze))
    prepared = method.prepare(model, task)
    callback = Unfreeze(prepared, method.stages(prepared), steps_per_epoch=10)

    def training() -> set[str]:
        return {name.split(".")[0] + "." + ".".join(name.split(".")[1:4]) for name, p in prepared.named_parameters()
                if p.requires_grad}  # fmt: skip

    assert training() == {"classifier.weight", "classifier.bias"}
    callback.apply(9)
    assert len(training()) == 2
    callback.apply(10)
    assert any("layer.1" in name for name in training()) and not any("layer.0" in name for name in training())
    callback.apply(24)
    assert not any("embeddings" in name for name in training())
    callback.apply(25)
    assert all(p.requires_grad for p in prepared.parameters())
    with pytest.raises(ConfigError, match=r"method.unfreeze.1: found 'haed'"):
        get_method(MethodConfig(name="full", unfreeze={1: "haed"})).prepare(model, task)
        m = get_method(MethodConfig(name="full", unfreeze={1: "haed"}))
        m.heads = model.heads
        m.stages(prepared)


def test_heads_of_a_model_that_lacks_its_pooler(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    small = BertForSequenceClassification(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
                                                     num_attention_heads=1, intermediate_size=8))  # fmt: skip
    assert head_modules(small, {"bert.pooler.dense.weight", "classifier.weight"}) == ["bert.pooler.dense", "classifier"]
