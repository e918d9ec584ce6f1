"""What is loaded: the weights that are there, in float32, with a head for the data's labels; and what is said of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, BertForMaskedLM, BertForSequenceClassification, ViTImageProcessor

from hf_tl.config import ModelConfig
from hf_tl.data.texts import check_tokenizer
from hf_tl.errors import ConfigError, ModelError
from hf_tl.files import sha256
from hf_tl.io.quiet import no_warnings, quiet
from hf_tl.models.model_options import check_options
from hf_tl.models.pretrained import (
    Loaded,
    architectures,
    check_task,
    find_pretrained,
    load_model,
    task_of,
)
from hf_tl.models.processors import load_processor
from hf_tl.task import Targets, get_task
from tests.tiny import bert_classifier, tiny_bert, tiny_mobilenet, tiny_resnet, tiny_tokenizer, tiny_vit

TEXT, IMAGE = get_task("text-classification"), get_task("image-classification")
SINGLE = "single_label_classification"
AB = Targets(("a", "b"), SINGLE)


def classifier(folder: Path, labels: int = 2, **options: Any) -> Path:
    """A finished classifier of texts, on disk."""
    bert_classifier(labels, **options).save_pretrained(folder)
    tiny_tokenizer(folder)
    return folder


def loaded(path: Path, targets: Targets = AB, *, task: Any = TEXT, scratch: bool = False, **options: Any) -> Loaded:
    config = ModelConfig(id=str(path), **options)
    return load_model(find_pretrained(config), task, targets, config, scratch=scratch)


# Weights


def test_the_weights_are_those_of_the_file(tmp_path: Path) -> None:
    model = loaded(tiny_bert(tmp_path)).model
    file = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(model.bert.state_dict()[name], value) for name, value in file.items())


def test_half_precision_weights_are_trained_in_float32(tmp_path: Path) -> None:
    bert_classifier().half().save_pretrained(tmp_path)
    tiny_tokenizer(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).dtype == torch.float16
    for scratch in (False, True):
        assert {each.dtype for each in loaded(tmp_path, scratch=scratch).model.parameters()} == {torch.float32}
    assert loaded(tmp_path, dtype=torch.bfloat16).model.dtype == torch.bfloat16


def test_scratch_is_random_weights_of_the_same_architecture(tmp_path: Path) -> None:
    tiny_bert(tmp_path)
    file = load_file(tmp_path / "model.safetensors")
    torch.manual_seed(7)
    found = loaded(tmp_path, Targets(("a", "b", "c"), SINGLE), scratch=True)
    model = found.model
    assert found.heads == ["classifier"] and not found.kept_head and not found.notes
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert model.config.label2id == {"a": 0, "b": 1, "c": 2} and model.config.problem_type == SINGLE
    matrices = [name for name, value in file.items() if value.dim() > 1]
    assert matrices and not any(torch.equal(model.bert.state_dict()[name], file[name]) for name in matrices)
    std = model.bert.state_dict()["embeddings.position_embeddings.weight"].std()
    assert std == pytest.approx(0.02, rel=0.1)  # BERT's initializer_range
    assert loaded(tmp_path).model.bert.state_dict()[matrices[0]].equal(file[matrices[0]])


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    tiny_bert(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    names = sorted(weights)
    # 39 of the classifier's 41 parameters should be there: with 18 there is more missing than not
    save_file({f"x.{name}" if at % 2 else name: weights[name] for at, name in enumerate(names)}, file, {"format": "pt"})
    assert loaded(tmp_path).model is not None  # 19 of 41 are missing
    few = {f"x.{name}" if at > 17 else name: weights[name] for at, name in enumerate(names)}
    save_file(few, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"21 parameters of .* are not in its weights file, so nothing would be"):
        loaded(tmp_path)


# The head and what is said of it


def test_a_head_of_another_size_is_made_anew_and_the_backbone_kept(tmp_path: Path) -> None:
    classifier(tmp_path, 3)
    file = load_file(tmp_path / "model.safetensors")
    found = loaded(tmp_path)
    assert found.model.classifier.weight.shape == (2, 8)
    assert found.model.config.id2label == {0: "a", 1: "b"} and found.model.config.label2id == {"a": 0, "b": 1}
    assert torch.equal(found.model.bert.pooler.dense.weight, file["bert.pooler.dense.weight"])
    assert found.heads == ["classifier"] and not found.kept_head and found.notes == []


def test_a_head_of_the_same_size_is_kept_and_that_is_said(tmp_path: Path) -> None:
    classifier(tmp_path, problem_type=SINGLE)
    found = loaded(tmp_path)
    assert torch.equal(found.model.classifier.weight, load_file(tmp_path / "model.safetensors")["classifier.weight"])
    assert found.kept_head and found.heads == ["classifier"]
    assert found.notes == [f"The head of {tmp_path} has 2 labels as well and is kept as the initialization."]
    assert found.model.config.id2label == {0: "a", 1: "b"}


def test_a_head_of_the_same_labels_in_another_order_keeps_their_meaning(tmp_path: Path) -> None:
    classifier(tmp_path, id2label={0: "b", 1: "a"}, label2id={"b": 0, "a": 1}, problem_type=SINGLE)
    found = loaded(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert torch.equal(found.model.classifier.weight, stored["classifier.weight"][[1, 0]])
    assert torch.equal(found.model.classifier.bias, stored["classifier.bias"][[1, 0]])
    assert (
        found.kept_head
        and found.model.config.id2label == {0: "a", 1: "b"}
        and found.notes
        == [f"The head of {tmp_path} is kept; its outputs are put in the order of the data's labels, by their names."]
    )


def test_a_head_of_the_same_labels_goes_on_without_a_word(tmp_path: Path) -> None:
    classifier(tmp_path, id2label={0: "a", 1: "b"}, label2id={"a": 0, "b": 1}, problem_type=SINGLE)
    found = loaded(tmp_path)
    assert found.kept_head and found.notes == []
    assert not loaded(tmp_path, Targets(("a", "b"), "multi_label_classification")).kept_head


def test_a_head_for_another_problem_is_not_said_to_be_kept(tmp_path: Path) -> None:
    classifier(tmp_path, 1)
    assert not loaded(tmp_path, Targets(("value",), "regression")).kept_head
    classifier(tmp_path, 1, problem_type="regression")
    assert loaded(tmp_path, Targets(("value",), "regression")).kept_head


def test_what_is_carried_over_from_another_head_is_said(tmp_path: Path) -> None:
    BertForMaskedLM(bert_classifier().config).save_pretrained(tmp_path)
    tiny_tokenizer(tmp_path)
    (said,) = loaded(tmp_path).notes
    assert " parameters are loaded from a BertForMaskedLM; " in said
    assert said.endswith("newly initialized: 'bert.pooler.dense', 'classifier'.")


def test_a_task_without_a_new_head_marks_nothing_but_what_is_missing(tmp_path: Path) -> None:
    task = get_task("fill-mask")
    BertForMaskedLM(bert_classifier().config).save_pretrained(tmp_path)
    tiny_tokenizer(tmp_path)
    found = loaded(tmp_path, Targets(), task=task)
    assert found.heads == [] and found.kept_head
    assert loaded(tmp_path, Targets(), task=task, scratch=True).heads == []
    weights = load_file(tmp_path / "model.safetensors")
    del weights["cls.predictions.transform.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    found = loaded(tmp_path, Targets(), task=task)
    assert found.heads == ["cls.predictions.transform.dense"] and not found.kept_head


def test_further_fields_of_the_targets_reach_the_configuration(tmp_path: Path) -> None:
    classifier(tmp_path)
    targets = Targets(("a", "b"), SINGLE, {"classifier_dropout": 0.25})
    assert loaded(tmp_path, targets).model.config.classifier_dropout == 0.25
    assert loaded(tmp_path, Targets()).model.config.id2label == {0: "LABEL_0", 1: "LABEL_1"}


def test_fields_of_the_configuration_can_be_changed(tmp_path: Path) -> None:
    found = loaded(tiny_bert(tmp_path), config={"hidden_dropout_prob": 0.3})
    assert found.model.config.hidden_dropout_prob == 0.3 and found.model.bert.embeddings.dropout.p == 0.3


# Adapters


def test_an_adapter_is_merged_into_its_base(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = classifier(tmp_path / "base", id2label={0: "a", 1: "b"}, label2id={"a": 0, "b": 1})
    model = get_peft_model(
        BertForSequenceClassification.from_pretrained(base), LoraConfig(target_modules=["query"], task_type="SEQ_CLS")
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    model.save_pretrained(tmp_path / "adapter")
    found = loaded(tmp_path / "adapter")
    assert found.kept_head and found.heads == [] and type(found.model) is BertForSequenceClassification
    ids = torch.tensor([[2, 6, 7, 3]])
    assert torch.allclose(found.model.eval()(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-5)
    pretrained = find_pretrained(ModelConfig(id=str(tmp_path / "adapter")))
    assert pretrained.path == base and pretrained.adapter == tmp_path / "adapter"
    # the tokenizer is the base's until the adapter brings one
    assert len(load_processor(pretrained, TEXT)) == 25
    tiny_tokenizer(tmp_path / "adapter", [*"abcdefghijklmno"])
    assert len(load_processor(pretrained, TEXT)) == 20


# Finding


def test_what_is_found_is_read_and_hashed(tmp_path: Path) -> None:
    path = tiny_bert(tmp_path / "bert")
    (path / "README.md").write_text("---\nlicense: mit\n---\n")
    found = find_pretrained(ModelConfig(id=str(path)))
    assert (found.id, found.path, found.revision, found.adapter, found.license) == (str(path), path, None, None, "mit")
    assert found.hashes == {"model.safetensors": sha256(path / "model.safetensors")}


def test_a_run_folder_stands_for_its_model(tmp_path: Path) -> None:
    tiny_bert(tmp_path / "run" / "model")
    (tmp_path / "run" / "config.yaml").write_text("model: x\ndata: y\n")
    assert find_pretrained(ModelConfig(id=str(tmp_path / "run"))).path == tmp_path / "run" / "model"
    (tmp_path / "run" / "config.yaml").unlink()
    with pytest.raises(ModelError):
        find_pretrained(ModelConfig(id=str(tmp_path / "run")))


def test_a_model_may_lie_in_a_subfolder(tmp_path: Path) -> None:
    tiny_bert(tmp_path / "inner")
    config = ModelConfig(id=str(tmp_path), subfolder="inner")
    found = find_pretrained(config)
    assert found.path == tmp_path / "inner" and found.config.hidden_size == 32
    model = load_model(found, TEXT, AB, config).model  # not from scratch, unless that is asked for
    file = load_file(tmp_path / "inner" / "model.safetensors")
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, file["embeddings.word_embeddings.weight"])


def test_a_folder_without_configuration_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config.json, so it is not a model"):
        find_pretrained(ModelConfig(id=str(tmp_path)))


# Options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"atn_implementation": "eager"}, r"model.atn_implementation: neither .*did you mean 'attn_implementation'"),
        ({"token": "hf_x"}, r"model.token: tokens are never read from a configuration"),
        ({"use_auth_token": "hf_x"}, r"model.use_auth_token: tokens are never"),
        ({"kwargs": 1}, r"model.kwargs: neither"),
        ({"config": {"hidden_dropout": 0.1}}, r"model.config.hidden_dropout: BertConfig has no such field; did you"),
    ],
)
def test_options_that_nobody_reads_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_options(ModelConfig(id="x", **options), bert_classifier().config)


@pytest.mark.parametrize(("key", "value"), [("num_hidden_layers", "x"), ("hidden_act", {"a": 1})])
def test_a_field_of_another_kind_is_refused(key: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"model.config.{key}: found .*, which .*m refuses \(.*expected "):
        find_pretrained(ModelConfig(id=str(tiny_bert(tmp_path / "m")), config={key: value}))


def test_options_of_from_pretrained_and_of_the_configuration_are_taken() -> None:
    options = {"attn_implementation": "eager", "force_download": True, "hidden_dropout_prob": 0.1, "subfolder": "x"}
    check_options(ModelConfig(id="x", **options, config={"classifier_dropout": 0.1}), bert_classifier().config)


# Processors


def test_the_processor_has_the_size_that_is_asked_for(tmp_path: Path) -> None:
    vit = find_pretrained(ModelConfig(id=str(tiny_vit(tmp_path / "vit"))))
    assert dict(load_processor(vit, IMAGE).size) == {"height": 32, "width": 32}
    assert dict(load_processor(vit, IMAGE, image_size=48).size) == {"height": 48, "width": 48}


def test_a_processor_that_crops_keeps_its_share_of_the_edge(tmp_path: Path) -> None:
    """36 pixels are resized and 32 of them cut out: for 64 pixels 72 are resized."""
    found = find_pretrained(ModelConfig(id=str(tiny_mobilenet(tmp_path / "mobilenet"))))
    processor = load_processor(found, IMAGE, image_size=64)
    assert dict(processor.crop_size) == {"height": 64, "width": 64} and dict(processor.size) == {"shortest_edge": 72}
    assert dict(load_processor(found, IMAGE, image_size=48).size) == {"shortest_edge": 54}
    assert dict(load_processor(found, IMAGE).size) == {"shortest_edge": 36}


def test_a_processor_that_crops_a_square_resizes_to_a_square(tmp_path: Path) -> None:
    tiny_mobilenet(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    given = json.loads(file.read_text())
    file.write_text(json.dumps({**given, "size": {"height": 36, "width": 36}}))
    processor = load_processor(find_pretrained(ModelConfig(id=str(tmp_path))), IMAGE, image_size=64)
    assert dict(processor.crop_size) == dict(processor.size) == {"height": 64, "width": 64}


def test_images_are_processed_by_pillow(tmp_path: Path) -> None:
    processor = load_processor(find_pretrained(ModelConfig(id=str(tiny_vit(tmp_path)))), IMAGE)
    assert "Pil" in type(processor).__name__ or "pil" in type(processor).__module__


def test_a_model_without_a_processor_is_refused(tmp_path: Path) -> None:
    bert_classifier().save_pretrained(tmp_path / "text")
    with pytest.raises(ModelError, match=r"comes without a tokenizer \(none of 'tokenizer.json', 'vocab.txt'"):
        load_processor(find_pretrained(ModelConfig(id=str(tmp_path / "text"))), TEXT)
    tiny_vit(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="comes without an image processor"):
        load_processor(find_pretrained(ModelConfig(id=str(tmp_path / "vit"))), IMAGE)


@pytest.mark.parametrize(("words", "size", "fits"), [(21, 26, True), (21, 25, False), (6, 26, True), (5, 26, False)])
def test_a_tokenizer_fits_its_model(words: int, size: int, fits: bool, tmp_path: Path) -> None:
    """It has more than the special tokens that Transformers makes up, and no more than the model has vectors for."""
    bert_classifier(vocab_size=size).save_pretrained(tmp_path)
    tiny_tokenizer(tmp_path, [f"word{index}" for index in range(words)])
    pretrained = find_pretrained(ModelConfig(id=str(tmp_path)))
    if fits:
        assert len(load_processor(pretrained, TEXT)) == words + 5
        return
    with pytest.raises(ModelError, match=rf"does not fit the model \(found {words + 5} tokens for a model of {size}"):
        load_processor(pretrained, TEXT)


def test_a_tokenizer_that_cannot_pad_pads_with_its_end() -> None:
    from tests.tiny import tiny_chat_tokenizer

    tokenizer = tiny_chat_tokenizer(None)
    check_tokenizer(tokenizer, SimpleNamespace(), "x")
    assert tokenizer.pad_token == "<pad>"
    tokenizer.pad_token = None
    check_tokenizer(tokenizer, SimpleNamespace(), "x")
    assert tokenizer.pad_token == "<|im_end|>"


# Which task a finished model does


def config(*names: str, **fields: Any) -> Any:
    return SimpleNamespace(**{"architectures": list(names), "model_type": "bert", **fields})


def test_a_finished_model_does_what_its_class_is_for(tmp_path: Path) -> None:
    tiny_tokenizer(tmp_path)
    assert "BertForSequenceClassification" in architectures(TEXT) and "BertForMaskedLM" not in architectures(TEXT)
    for name, task in (
        ("BertForSequenceClassification", "text-classification"), ("BertForMaskedLM", "fill-mask"),
        ("BertForTokenClassification", "token-classification"), ("BertForQuestionAnswering", "question-answering"),
    ):  # fmt: skip
        assert task_of(config(name), "x", tmp_path).name == task
    found = task_of(config("BertForSequenceClassification", problem_type="regression"), "x", tmp_path)
    assert found.best_metric == "r2"
    own = config("TransferForSequenceClassification", auto_map={"AutoModelForSequenceClassification": "x.Y"})
    assert task_of(own, "x", tmp_path).name == "text-classification"
    with pytest.raises(ModelError, match="x holds 'BertModel', which does none of the tasks"):
        task_of(config("BertModel"), "x", tmp_path)
    with pytest.raises(ModelError, match="x holds no architecture"):
        task_of(config(), "x", tmp_path)


def test_a_finished_model_needs_the_processor_of_its_task(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        task_of(config("BertForSequenceClassification"), "x", tmp_path)
    with pytest.raises(ModelError):
        task_of(config("ViTForImageClassification"), "x", tmp_path)
    timm = config("TimmWrapperForImageClassification", model_type="timm_wrapper")
    assert task_of(timm, "x", tmp_path).name == "image-classification"
    ViTImageProcessor().save_pretrained(tmp_path)
    assert task_of(config("ViTForImageClassification"), "x", tmp_path).name == "image-classification"


def test_where_a_class_does_two_tasks_the_model_says_which(tmp_path: Path) -> None:
    """A T5 may summarise or translate: the configuration says, else its card."""
    tiny_tokenizer(tmp_path)
    found = {}
    for name in ("summarization", "translation"):
        said = config("T5ForConditionalGeneration", task_specific_params={name: {}})
        found[name] = task_of(said, "x", tmp_path).name
    assert found == {"summarization": "summarization", "translation": "translation"}
    said = config("T5ForConditionalGeneration", task_specific_params={"translation_en_to_de": {}})
    assert task_of(said, "x", tmp_path).name == "translation"
    for name in found:
        (tmp_path / "README.md").write_text(f"---\npipeline_tag: {name}\n---\n")
        assert task_of(config("T5ForConditionalGeneration"), "x", tmp_path).name == name
    said = config("T5ForConditionalGeneration", task_specific_params={"summarization": {}})
    assert task_of(said, "x", tmp_path).name == "summarization"  # before the card, which says translation


def test_a_model_that_cannot_do_a_task_is_refused(tmp_path: Path) -> None:
    found = find_pretrained(ModelConfig(id=str(tiny_bert(tmp_path))))
    check_task(found, TEXT)
    with pytest.raises(ModelError, match="is a bert model, which cannot do image-classification; models that can are"):
        check_task(found, IMAGE)
    found.config.auto_map = {"AutoModelForImageClassification": "modeling.X"}
    check_task(found, IMAGE)


# Our own heads


def test_an_mlp_head_and_a_pooling_are_of_our_own_class(tmp_path: Path) -> None:
    tiny_bert(tmp_path)
    found = loaded(tmp_path, head="mlp", head_hidden=5)
    head = [(layer.in_features, layer.out_features) for layer in found.model.head if hasattr(layer, "in_features")]
    assert head == [(32, 5), (5, 2)] and found.heads == ["head"]
    assert found.model.config.id2label == {0: "a", 1: "b"} and found.model.config.problem_type == SINGLE
    file = load_file(tmp_path / "model.safetensors")
    assert torch.equal(
        found.model.backbone.embeddings.word_embeddings.weight, file["embeddings.word_embeddings.weight"]
    )
    assert found.model.dtype == torch.float32
    inner = found.model.config.backbone
    assert inner["hidden_size"] == 32 and inner["model_type"] == "bert"
    assert not {"id2label", "label2id", "architectures", "dtype", "torch_dtype", "auto_map"} & set(inner)
    torch.manual_seed(1)
    random = loaded(tmp_path, scratch=True, head="mlp").model.backbone.embeddings.word_embeddings.weight
    assert not torch.equal(random, file["embeddings.word_embeddings.weight"])


def test_the_pooling_of_our_own_class_is_the_backbones_where_it_has_one(tmp_path: Path) -> None:
    path = tiny_bert(tmp_path / "bert")
    for given, pooling in ((None, "pooler"), ("mean", "mean"), ("max", "max"), ("cls", "cls")):
        found = loaded(path, pooling=given, head="mlp")
        assert found.model.config.pooling == pooling
        assert (found.model.backbone.pooler is None) == (pooling != "pooler")
    weights = load_file(path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("pooler.")}
    save_file(kept, path / "model.safetensors", {"format": "pt"})
    found = loaded(path, head="mlp")  # a pooler that was never trained is none
    assert found.model.config.pooling == "cls" and found.heads == ["head"]
    resnet = loaded(tiny_resnet(tmp_path / "resnet"), task=IMAGE, head="mlp")
    assert resnet.model.config.pooling == "pooler"
    vit = loaded(tiny_vit(tmp_path / "vit"), task=IMAGE, head="mlp")
    assert vit.model.config.pooling == "cls" and type(vit.model).__name__ == "TransferForImageClassification"


def test_a_task_that_is_no_classifier_keeps_its_stock_head(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.head and model.pooling are for classifiers; fill-mask keeps"):
        loaded(tiny_bert(tmp_path), Targets(), task=get_task("fill-mask"), head="mlp")


# What Transformers says meanwhile


def test_transformers_is_quiet_for_a_while_only() -> None:
    logger = transformers.utils.logging
    before, bars = logger.get_verbosity(), logger.is_progress_bar_enabled()
    plain = logging.getLogger("transformers.configuration_utils")
    try:
        for on in (True, False):
            (logger.enable_progress_bar if on else logger.disable_progress_bar)()
            logger.set_verbosity(logging.INFO)
            level = plain.level
            with pytest.raises(RuntimeError), quiet(), no_warnings():
                assert logger.get_verbosity() == logging.ERROR and not logger.is_progress_bar_enabled()
                assert plain.level == logging.ERROR
                raise RuntimeError
            assert logger.get_verbosity() == logging.INFO and logger.is_progress_bar_enabled() == on
            assert plain.level == level
    finally:
        logger.set_verbosity(before)
        (logger.enable_progress_bar if bars else logger.disable_progress_bar)()
