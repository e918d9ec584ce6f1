"""Heads, depths and adapter targets are found without a table of models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from hf_tl.config import MethodConfig, ModelConfig
from hf_tl.errors import ConfigError
from hf_tl.models.layers import (
    adapter_targets,
    count_parameters,
    depths,
    freeze_batch_norm_stats,
    fully_trained_modules,
    head_modules,
    in_modules,
    loaded_note,
    output_layer,
    rescale,
    set_trainable,
    spare_single_values,
    tie_copies,
    tied,
)
from hf_tl.models.methods import get_method, optimizer_groups
from hf_tl.models.pretrained import Loaded, find_pretrained, load_model
from hf_tl.task import Targets, get_task
from tests.tiny import bert_classifier, tiny_bert, tiny_mobilenet, tiny_vit

MAKERS = {"bert": ("text-classification", tiny_bert), "vit": ("image-classification", tiny_vit),
          "mobilenet": ("image-classification", tiny_mobilenet)}  # fmt: skip


def loaded(name: str, folder: Path):
    task_name, make = MAKERS[name]
    config = ModelConfig(id=str(make(folder)))
    return load_model(find_pretrained(config), get_task(task_name), Targets(("a", "b", "c")), config), get_task(
        task_name
    )


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
    adapted = method.prepare(model, task)
    prepared = adapted.module
    args = TrainingArguments(output_dir=str(tmp_path / "o"), learning_rate=0.8, use_cpu=True, weight_decay=0.1)
    groups = optimizer_groups(prepared, adapted, {"classifier.weight"}, args)
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


@pytest.mark.parametrize(
    ("name", "peft_type"),
    [
        (name, peft_type)
        for name in MAKERS
        for peft_type in ("LORA", "IA3", "LOHA", "OFT")
        if peft_type == "LORA" or name != "mobilenet"
    ],  # not every PEFT type has convolutions
)
def test_any_peft_type_trains_the_head_and_merges(name: str, peft_type: str, tmp_path: Path) -> None:
    model, task = loaded(name, tmp_path)
    options = {"target_modules": ["query", "value"], "feedforward_modules": []} if peft_type == "IA3" else {}
    if peft_type == "IA3" and name == "vit":
        options["target_modules"] = ["q_proj", "v_proj"]
    if peft_type == "OFT":
        options["oft_block_size"] = 4
        options["r"] = 0
    method = get_method(MethodConfig(name="lora", peft_type=peft_type, **options))
    method.check(task)
    adapted = method.prepare(model, task)
    trainable = [n for n, p in adapted.module.named_parameters() if p.requires_grad]
    assert any("classifier" in n for n in trainable)
    assert len(trainable) > 2
    plain = method.finish(adapted, tmp_path / "saved")
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
    adapted = method.prepare(model, task)
    prepared = adapted.module
    callback = Unfreeze(prepared, adapted.unfreeze, steps_per_epoch=10)

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


def test_heads_of_a_model_that_lacks_its_pooler(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    small = BertForSequenceClassification(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
                                                     num_attention_heads=1, intermediate_size=8))  # fmt: skip
    assert head_modules(small, {"bert.pooler.dense.weight", "classifier.weight"}) == ["bert.pooler.dense", "classifier"]


# On small networks whose answer is plain to see


class Network(nn.Module):
    """A stem, two stages of two blocks, a norm, and a head beside the backbone."""

    base_model_prefix = "body"

    def __init__(self) -> None:
        super().__init__()
        block = lambda: nn.ModuleDict({"inner": nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])})  # noqa: E731
        self.body = nn.Module()
        self.body.stem = nn.Linear(3, 4)
        self.body.stages = nn.ModuleList([nn.ModuleList([block(), block()]), nn.ModuleList([block(), block()])])
        self.body.norm = nn.LayerNorm(4)
        self.head = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


def test_depth_counts_blocks_by_their_first_two_indices() -> None:
    found = depths(Network(), ["head"])
    block = "body.stages.{}.{}.inner.{}.weight"
    assert found["body.stem.weight"] == 0
    assert [found[block.format(stage, at, 1)] for stage in (0, 1) for at in (0, 1)] == [1, 2, 3, 4]
    assert found[block.format(1, 0, 0)] == 3  # the third index is inside the block
    assert found["body.norm.weight"] == 4  # after the last block
    assert found["head.0.weight"] == found["head.2.bias"] == 5
    assert set(found) == {name for name, _ in Network().named_parameters()}


def test_depth_without_blocks_is_stem_and_head() -> None:
    model = nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    assert depths(model, ["head"]) == {"body.weight": 0, "body.bias": 0, "head.weight": 1, "head.bias": 1}


def test_heads_are_what_is_new_and_what_is_beside_the_backbone() -> None:
    assert head_modules(Network(), ()) == ["head"]
    assert head_modules(Network(), {"head.2.weight", "body.norm.weight"}) == ["body.norm", "head"]
    without_weights = Network()
    without_weights.dropout = nn.Dropout()
    assert head_modules(without_weights, ()) == ["head"]
    alone = nn.ModuleDict({"fc": nn.Linear(2, 2), "other": nn.Linear(2, 2)})  # no backbone is named
    assert head_modules(alone, {"fc.weight", "fc.bias", "gone.weight"}) == ["fc"]


def test_heads_inside_the_backbone_are_where_timm_says() -> None:
    model = Network()
    model.body.fc, model.body.extra = nn.Linear(4, 2), nn.Linear(4, 2)
    del model.head
    model.body.get_classifier = lambda: model.body.fc
    assert head_modules(model, ()) == ["body.fc"]
    model.body.get_classifier = lambda: (model.body.fc, model.body.extra)
    assert head_modules(model, ()) == ["body.extra", "body.fc"]
    model.body.get_classifier = lambda: nn.Identity()
    assert head_modules(model, ()) == []


@pytest.mark.parametrize(
    ("name", "inside"), [("head", True), ("head.0.weight", True), ("header.weight", False), ("body.head", False)]
)
def test_a_name_is_inside_a_module_by_whole_parts(name: str, inside: bool) -> None:
    assert in_modules(name, ["norm", "head"]) == inside


def test_adapter_targets_of_a_transformer_leave_its_patches_alone() -> None:
    model = nn.ModuleDict({"patch": nn.Conv2d(3, 4, 2), "one": nn.Linear(4, 4), "two": nn.Linear(4, 4),
                           "head": nn.Linear(4, 2)})  # fmt: skip
    assert adapter_targets(model, ["head"]) == ["one", "two"]
    model["more"], model["grouped"] = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, groups=2)
    # as many convolutions as linear layers: a convolutional network
    assert adapter_targets(model, ["head"]) == ["one", "two", "patch", "more"]


def test_tied_parameters_are_found_and_stay_one_in_copies() -> None:
    model = Network()
    assert tied(model) == []
    model.head[2].weight = nn.Parameter(torch.zeros(4, 4))
    model.head[0].weight = model.head[2].weight
    assert tied(model) == [["head.0.weight", "head.2.weight"]]


def test_copies_of_a_head_leave_out_lists_and_second_names() -> None:
    model = Network()
    model.heads = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    model.body.mirror = nn.Linear(4, 4)
    model.body.mirror.weight, model.body.mirror.bias = model.heads[1].weight, model.heads[1].bias  # as D-FINE does
    assert fully_trained_modules(model, ["heads", "head"]) == ["head", "heads.0"]
    assert fully_trained_modules(model, ["unknown"]) == ["unknown"]
    model.heads[0].weight = model.heads[1].weight  # not all of it is a second name, so it is copied
    assert fully_trained_modules(model, ["heads"]) == ["heads.0"]


def test_peft_copies_that_were_one_parameter_train_as_one() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.two.weight = self.one.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.one(self.body(x)) + self.two(x)

    model = Tied()
    groups = tied(model)
    wrapped = get_peft_model(model, LoraConfig(target_modules=["body"], modules_to_save=["one", "two"], r=2))
    one, two = (getattr(wrapped.base_model.model, name).modules_to_save["default"] for name in ("one", "two"))
    assert one.weight is not two.weight
    tie_copies(wrapped, groups)
    assert one.weight is two.weight and one.weight.requires_grad and one.bias is not two.bias


def test_batch_norms_are_held_but_for_heads_and_those_without_statistics() -> None:
    model = nn.ModuleDict({
        "a": nn.BatchNorm1d(2), "b": nn.Sequential(nn.BatchNorm2d(2)),
        "c": nn.BatchNorm1d(2, track_running_stats=False), "d": nn.LayerNorm(2),
        "head": nn.Sequential(nn.BatchNorm1d(2)),
        "header": nn.BatchNorm3d(2),
    })  # fmt: skip
    assert freeze_batch_norm_stats(model, ["head"]) == 3
    model.train()
    x = torch.randn(8, 2) * 3 + 5
    assert torch.allclose(model["a"](x), x, atol=1e-3)  # statistics of a fresh one: mean 0, variance 1
    assert model["head"](x).mean().abs() < 1e-5 and model["c"](x).mean().abs() < 1e-5
    assert freeze_batch_norm_stats(nn.BatchNorm1d(2)) == 1


def test_parameters_are_counted_and_marked() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 5, bias=False))
    model[0].register_parameter("ids", nn.Parameter(torch.zeros(7, dtype=torch.int64), requires_grad=False))
    set_trainable(model, ["0.weight", "0.ids"])
    assert [name for name, each in model.named_parameters() if each.requires_grad] == ["0.weight"]
    assert count_parameters(model) == (6, 6 + 2 + 7 + 10)


def test_the_output_layer_is_the_last_linear_one_of_the_head() -> None:
    model = Network()
    assert output_layer(model, ["head"], 2) is model.head[2]
    assert output_layer(model, ["head"], 4) is model.head[0]
    assert output_layer(model, ["head"], 3) is None and output_layer(model, [], 4) is None
    model.head.append(nn.Linear(2, 2))
    assert output_layer(model, ["head"], 2) is model.head[3]
    model.head.append(nn.Linear(2, 2, bias=False))
    assert output_layer(model, ["head"], 2) is model.head[3]
    model.header = nn.Linear(4, 2)
    assert output_layer(model, ["head"], 2) is model.head[3]


def test_the_output_layer_of_an_adapter_is_the_copy_that_trains() -> None:
    method = get_method(MethodConfig(name="lora"))
    wrapped = method.prepare(Loaded(bert_classifier(1), ["classifier"]), get_task("text-classification")).module
    found = output_layer(wrapped, ["classifier"], 1)
    assert found is wrapped.base_model.model.classifier.modules_to_save["default"]


def test_rescaled_layer_gives_mean_plus_deviation_times_what_it_gave() -> None:
    layer, x = nn.Linear(3, 1), torch.randn(5, 3)
    before = layer(x).detach()
    rescale(layer, 20.0, 4.0)
    assert torch.allclose(layer(x), 20 + 4 * before, atol=1e-5)
    assert layer.weight.requires_grad


def test_what_is_carried_over_from_another_head_is_said() -> None:
    model = bert_classifier(3)
    total = sum(parameter.numel() for parameter in model.parameters())
    new = ["classifier.weight", "classifier.bias"]
    said = loaded_note(model, new, "BertForMaskedLM")
    assert said == (
        f"{total - 27:,} of {total:,} parameters are loaded from a BertForMaskedLM; newly initialized: 'classifier'."
    )
    assert loaded_note(model, [], "BertForMaskedLM") is None
    assert loaded_note(model, new, "BertModel") is None
    assert loaded_note(model, new, "BertForSequenceClassification") is None


def test_a_batch_of_one_value_uses_the_running_statistics() -> None:
    """DeepLab normalises a map of 1 x 1: a last batch of one image stopped the training."""
    norm = nn.BatchNorm2d(2)
    norm.running_mean, norm.running_var = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 9.0])
    model = nn.Sequential(norm)
    spare_single_values(model)
    model.train()
    found = model(torch.tensor([3.0, 8.0]).reshape(1, 2, 1, 1)).flatten()
    torch.testing.assert_close(found, torch.tensor([1.0, 2.0]), atol=1e-4, rtol=0)
    assert norm.training and norm.running_mean.tolist() == [1.0, 2.0]
    model(torch.tensor([[0.0, 0.0], [2.0, 2.0]]).reshape(2, 2, 1, 1))  # two values are gathered as ever
    torch.testing.assert_close(norm.running_mean, torch.tensor([1.0, 1.9]))
    norm.eval()
    assert model(torch.ones(1, 2, 1, 1)).shape == (1, 2, 1, 1) and not norm.training
