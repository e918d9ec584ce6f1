"""A model of somebody else is data: whatever its files say, it loads or is refused in a sentence, and costs no more
than its weights are worth."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hf_tl.errors import ModelError
from hf_tl.inference.finished import load_finished
from hf_tl.models.adapters import adapted_modules
from hf_tl.models.weights import INDEX, check_weights, read_header
from tests.tiny import tiny_bert, tiny_vit

HUGE = 10**9
CONFIG = {
    "hidden_size": (HUGE, "far more than its weights hold"),
    "intermediate_size": (HUGE, "far more than its weights hold"),
    "vocab_size": (10**12, "far more than its weights hold"),
    "max_position_embeddings": (10**10, "far more than its weights hold"),
    "type_vocab_size": (HUGE, "far more than its weights hold"),
    "num_hidden_layers": (10**7, "num_hidden_layers is 10000000, more layers than any model has"),
    "num_labels": (HUGE, "num_labels is 1000000000, expected at most 100,000"),
    "id2label": ([], "id2label is [], expected a mapping"),
    "label2id": (3, "label2id is 3, expected a mapping"),
    "auto_map": ([], "auto_map is [], expected a mapping"),
    "task_specific_params": ("x", "task_specific_params is 'x', expected a mapping"),
    "architectures": ([3], "architectures is [3], expected the names of classes"),
    "model_type": ("nonsense", "does not recognize this architecture"),
    "num_attention_heads": (0, "ZeroDivisionError"),
    "hidden_act": ("nope", "cannot be loaded: KeyError: 'nope'"),
    "hidden_dropout_prob": (7, "dropout probability has to be between 0 and 1"),
    "pad_token_id": (HUGE, "cannot be loaded"),
    "layer_norm_eps": ("x", "Validation error for field 'layer_norm_eps': TypeError"),
    "dtype": ("x", "cannot be read"),
}
LAYERS = {"num_hidden_layers": 1999}  # few enough to count, and far more than there are weights
PROCESSOR = {
    "size": [{"height": 10**5, "width": 10**5}, 10**5, {"shortest_edge": HUGE}, "x", [], {}, {"height": 0, "width": 0}],
    "crop_size": [10**5],
    "pad_size": [{"height": 10**6, "width": 1}],
    "image_mean": ["x", [], [0.5, 0.5]],
    "image_std": [[0, 0, 0], [{}]],
    "resample": ["x", 77],
    "do_resize": ["x"],
    "rescale_factor": ["x"],
    "image_processor_type": ["Nope", 3],
}
NO_OBJECT = {"[]": "found a list", "null": "found nothing", "3": "found a number", "": "not JSON", '{"a":': "not JSON"}


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertForSequenceClassification

    folder = tiny_bert(tmp_path_factory.mktemp("models") / "text")
    BertForSequenceClassification(BertConfig.from_pretrained(folder, num_labels=2)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def image_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vit(tmp_path_factory.mktemp("models") / "image")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, text_model: Path) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    folder = tmp_path_factory.mktemp("models") / "adapter"
    model = AutoModelForSequenceClassification.from_pretrained(text_model)
    options: dict[str, Any] = {"target_modules": r".*\.(query|value)", "modules_to_save": ["classifier"], "r": 4}
    wrapped = get_peft_model(model, LoraConfig(**options, init_lora_weights=False, task_type="SEQ_CLS"))
    wrapped.save_pretrained(folder)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(text_model / name, folder)
    return folder


def changed(source: Path, target: Path, name: str, text: str | bytes | dict[str, Any]) -> Path:
    """A copy with one file replaced, or with some keys of it."""
    shutil.copytree(source, target)
    if isinstance(text, dict):
        text = json.dumps({**json.loads((source / name).read_text()), **text})
    (target / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return target


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_finished(str(folder))
    said = str(caught.value)
    assert "\n" not in said and len(said) < 700
    return said


@pytest.mark.parametrize("key", CONFIG)
def test_a_configuration_is_refused_in_a_sentence(key: str, text_model: Path, tmp_path: Path) -> None:
    value, words = CONFIG[key]
    assert words in refusal(changed(text_model, tmp_path / "m", "config.json", {key: value}))


def test_layers_are_counted_as_they_are_built(text_model: Path, tmp_path: Path) -> None:
    assert "more than 4,164 tensors" in refusal(changed(text_model, tmp_path / "m", "config.json", LAYERS))


def test_weights_of_other_shapes(text_model: Path, tmp_path: Path) -> None:
    folder = changed(text_model, tmp_path / "m", "config.json", {"hidden_size": 64})
    assert "weights have other shapes than its configuration says" in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
@pytest.mark.parametrize("text", NO_OBJECT)
def test_a_file_that_is_no_object(name: str, text: str, text_model: Path, tmp_path: Path) -> None:
    said = refusal(changed(text_model, tmp_path / "m", name, text))
    assert name == "tokenizer.json" or (NO_OBJECT[text] in said and name in said)


def test_a_large_network_is_not_refused_for_its_size(text_model: Path) -> None:
    """What is bounded is what a configuration adds to the weights: this very model loads."""
    model, _, task, _ = load_finished(str(text_model))
    assert task.name == "text-classification"
    held = check_weights([text_model / "model.safetensors"])
    assert held == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("key", ["image_size", "patch_size", "num_channels"])
def test_sizes_of_images_in_a_configuration(key: str, image_model: Path, tmp_path: Path) -> None:
    assert refusal(changed(image_model, tmp_path / "m", "config.json", {key: 10**6 if key != "patch_size" else 0}))


@pytest.mark.parametrize("key, value", [(key, value) for key, values in PROCESSOR.items() for value in values])
def test_an_image_processor_is_refused_in_a_sentence(key: str, value: Any, image_model: Path, tmp_path: Path) -> None:
    said = refusal(changed(image_model, tmp_path / "m", "preprocessor_config.json", {key: value}))
    assert "preprocessor_config.json" in said or "image processor" in said


@pytest.mark.parametrize("key, value", [("num_beams", 10**6), ("max_length", HUGE), ("max_new_tokens", "x")])
def test_numbers_of_generation(key: str, value: Any, text_model: Path, tmp_path: Path) -> None:
    folder = changed(text_model, tmp_path / "m", "generation_config.json", json.dumps({key: value}))
    assert f"generation_config.json: {key} is" in refusal(folder)


def test_a_tokenizer_of_half_a_million_added_tokens(text_model: Path, tmp_path: Path) -> None:
    token = {"special": False, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
    many = [{"id": 25 + index, "content": f"w{index}", **token} for index in range(200_000)]
    folder = changed(text_model, tmp_path / "m", "tokenizer.json", {"added_tokens": many})
    assert "tokenizer.json: more than 50,000 added tokens" in refusal(folder)
    decoder = {str(index): {"content": f"w{index}"} for index in range(60_000)}
    folder = changed(text_model, tmp_path / "n", "tokenizer_config.json", {"added_tokens_decoder": decoder})
    assert "added_tokens_decoder holds 60,000 tokens" in refusal(folder)


def _headers(whole: bytes) -> dict[str, tuple[bytes, str]]:
    length = int.from_bytes(whole[:8], "little")
    header = {key: value for key, value in json.loads(whole[8 : 8 + length]).items() if key != "__metadata__"}
    first, second = list(header)[:2]

    def with_(value: Any) -> bytes:
        text = json.dumps({**header, first: value}).encode()
        return len(text).to_bytes(8, "little") + text + whole[8 + length :]

    good = header[first]
    return {
        "empty": (b"", "its header would take 0 bytes, the file has 0"),
        "2**60 bytes of header": ((1 << 60).to_bytes(8, "little") + whole[8:], "its header would take 1,152,921,504"),
        "cut off": (whole[:-10], "is described as"),
        "cut off in the header": (whole[:100], "its header would take"),
        "not json": (whole[:8] + b"x" * (len(whole) - 8), "the header, line 1, column 1: not JSON"),
        "a list": ((2).to_bytes(8, "little") + b"[]", "its header is a list"),
        "deep": ((200_000).to_bytes(8, "little") + b"[" * 200_000, "more than 64 deep"),
        "negative": (with_({**good, "data_offsets": [-4, 4]}), "is described as"),
        "backwards": (with_({**good, "data_offsets": [128, 0]}), "is described as"),
        "overlapping": (with_(header[second]), "is described as" if header[second] != good else ""),
        "huge shape": (with_({**good, "shape": [2**62, 4]}), "is described as"),
        "no dtype": (with_({"shape": [1], "data_offsets": [0, 4]}), "is described as"),
        "a text": (with_("x"), "is described as"),
        "more behind": (whole + b"123", "its tensors end at byte"),
        "true": (with_({**good, "shape": [True]}), "is described as"),
    }


NAMES = [
    "empty", "2**60 bytes of header", "cut off", "cut off in the header", "not json", "a list", "deep", "negative",
    "backwards", "overlapping", "huge shape", "no dtype", "a text", "more behind", "true",
]  # fmt: skip


@pytest.mark.parametrize("what", NAMES)
def test_a_header_of_weights_is_checked_before_it_is_used(
    what: str, text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, words = _headers((text_model / "model.safetensors").read_bytes())[what]
    folder = changed(text_model, tmp_path / "m", "model.safetensors", content)
    monkeypatch.setattr("transformers.AutoModelForSequenceClassification.from_pretrained", None)  # never reached
    said = refusal(folder)
    assert "model.safetensors" in said and (words in said or "overlap" in said)


def test_overlapping_tensors_of_one_shape(tmp_path: Path) -> None:
    text = json.dumps({n: {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]} for n in "ab"}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"1234")
    with pytest.raises(ModelError, match="tensors overlap"):
        read_header(tmp_path / "x.safetensors")


def test_parameters_of_packed_weights(tmp_path: Path) -> None:
    """Four bits each is the least: of 8 bytes of integers 16 parameters."""
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2, 4, dtype=torch.uint8), "b": torch.zeros(3, 5)}, tmp_path / "x.safetensors")
    assert check_weights([tmp_path / "x.safetensors"]) == 16 + 15


@pytest.mark.parametrize(
    "weight_map, words",
    [
        ({"a": "pytorch_model.bin"}, "names 'pytorch_model.bin'"),
        ({"a": "../model.safetensors"}, "names '../model.safetensors'"),
        ({"a": "/etc/passwd"}, "names '/etc/passwd'"),
        ({"a": "sub/model.safetensors"}, "names 'sub/model.safetensors'"),
        ({"a": "..\\model.safetensors"}, "names"),
        ({"a": "gone.safetensors"}, "names 'gone.safetensors', which is not there"),
        ({"a": 3}, "expected the name of a file for each tensor"),
        ([], "weight_map is a list"),
        (None, "weight_map is nothing"),
        ({}, "weight_map is"),
    ],
)
def test_an_index_names_safetensors_beside_it_alone(
    weight_map: Any, words: str, text_model: Path, tmp_path: Path
) -> None:
    folder = changed(text_model, tmp_path / "m", INDEX, json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    said = refusal(folder)
    assert words in said and INDEX in said


def test_an_adapter_with_a_regular_expression_is_read_by_its_weights(adapter: Path, text_model: Path) -> None:
    """And answers as PEFT alone makes it answer."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    ours, *_ = load_finished(str(adapter))
    base = AutoModelForSequenceClassification.from_pretrained(text_model)
    theirs = PeftModel.from_pretrained(base, adapter).eval()
    asked = AutoTokenizer.from_pretrained(text_model)(["good film", "bad meal"], return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(ours(**asked).logits, theirs(**asked).logits, atol=1e-6)
        assert not torch.allclose(ours(**asked).logits, base.eval()(**asked).logits * 0, atol=1e-6)
    assert adapted_modules(read_header(adapter / "adapter_model.safetensors"), "LORA") == [
        f"bert.encoder.layer.{layer}.attention.self.{name}" for layer in (0, 1) for name in ("query", "value")
    ]


SLOW = "(a+)+$"
ADAPTER = {
    "peft_type": [None, "NOPE", 3, []],
    "task_type": ["NOPE", 3],
    "base_model_name_or_path": [None, "", 3, []],
    "revision": [3],
    "r": [HUGE, 0, -1, "x", None, 2.5],
    "lora_alpha": ["x", []],
    "lora_dropout": ["x"],
    "target_modules": [[SLOW], {"a": 1}, [3], 3],
    "exclude_modules": [[SLOW], 3],
    "modules_to_save": [[SLOW], "(x+x+)+y", 3],
    "layers_pattern": [SLOW, [SLOW]],
    "rank_pattern": [{SLOW: 4}, {"query": HUGE}, [], {"query": "x"}],
    "alpha_pattern": [{SLOW: 4}, 3],
    "layer_replication": [[[0, 2]] * 1000],
    "megatron_config": [{"a": 1}],
    "init_lora_weights": ["nope"],
    "bias": ["nope"],
}


@pytest.mark.parametrize("key, value", [(key, value) for key, values in ADAPTER.items() for value in values])
def test_an_adapter_is_refused_in_a_sentence(key: str, value: Any, adapter: Path, tmp_path: Path) -> None:
    said = refusal(changed(adapter, tmp_path / "a", "adapter_config.json", {key: value}))
    assert "adapter" in said


@pytest.mark.parametrize("key", ["target_modules", "exclude_modules"])
def test_no_regular_expression_of_an_adapter_is_run(key: str, adapter: Path, tmp_path: Path) -> None:
    """These would take longer than the sun has."""
    slow = r"(([a-z.0-9_])+)+!"
    folder = changed(adapter, tmp_path / "a", "adapter_config.json", {key: slow})
    load_finished(str(folder))


@pytest.mark.parametrize("missing", ["peft_type", "base_model_name_or_path"])
def test_an_adapter_without_a_key(missing: str, adapter: Path, tmp_path: Path) -> None:
    found = json.loads((adapter / "adapter_config.json").read_text())
    del found[missing]
    assert missing in refusal(changed(adapter, tmp_path / "a", "adapter_config.json", json.dumps(found)))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_damaged_adapter(name: str, adapter: Path, tmp_path: Path) -> None:
    for index, content in enumerate((b"", b"[]", (adapter / name).read_bytes()[:60])):
        assert name in refusal(changed(adapter, tmp_path / f"a{index}", name, content))


MEASURED = """
import resource, sys, time
from hf_tl.errors import InputError
from hf_tl.inference.finished import load_finished
load_finished(sys.argv[1])
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
for folder in sys.argv[2:]:
    try:
        load_finished(folder)
    except InputError as error:
        continue
    sys.exit(f"{folder} loaded")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000, time.process_time() - start)
"""


def test_what_is_refused_costs_little(text_model: Path, tmp_path: Path) -> None:
    """All of the large ones, one after the other, in a process of its own."""
    sizes = {key: value for key, (value, _) in CONFIG.items() if isinstance(value, int) and value >= 10**7}
    folders = [
        str(changed(text_model, tmp_path / key, "config.json", {key: value}))
        for key, value in [*sizes.items(), *LAYERS.items()]
        if not (tmp_path / key).exists()
    ]
    command = [sys.executable, "-c", MEASURED, str(text_model), *folders]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    megabytes, seconds = map(float, done.stdout.split())
    assert megabytes < 500 and seconds < 60
