"""Models of somebody else that load and then cost, name further places, or are not whole."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from hf_tl.cli import main
from hf_tl.data.image_values import image_processors
from hf_tl.errors import ModelError
from hf_tl.hub.client import fetch_model
from hf_tl.inference.finished import load_finished
from hf_tl.models.bounds import check_files
from hf_tl.models.carried import base_of, check_links
from hf_tl.models.trusted import check_configurations
from tests.security.test_bounds_models import adapter, changed, image_model, refusal, text_model

__all__ = ["adapter", "image_model", "text_model"]

PROCESSORS: dict[str, tuple[dict[str, Any], str]] = {
    "a share of nothing": ({"image_processor_type": "ConvNextImageProcessor", "crop_pct": 1e-5}, "crop_pct is 1e-05"),
    "of zero": ({"crop_pct": 0}, "crop_pct is 0, expected 0.1 to 1,000"),
    "multiples": ({"image_processor_type": "GLPNImageProcessor", "size_divisor": 10**9}, "size_divisor is 1000000000"),
    "of patches": ({"patch_size": 10**6}, "patch_size is 1000000, expected 0 to 1,024"),
    "pixels": ({"min_pixels": 10**12}, "min_pixels is 1000000000000, expected 1 to 16,777,216"),
    "tiles": ({"max_image_tiles": 10**9}, "max_image_tiles is 1000000000, expected 0 to 64"),
    "places": ({"image_grid_pinpoints": [[10**6, 10**6]]}, "image_grid_pinpoints is 1000000, expected -4096 to 4,096"),
    "any number": ({"input_size_patches": 10**6}, "input_size_patches is 1000000"),
    "deeper": ({"image_processor": {"max_size": {"longest_edge": 10**6}}}, "image_processor.max_size.longest_edge is"),
}


@pytest.mark.parametrize("what", PROCESSORS)
def test_an_image_processor_makes_no_image_of_gigabytes(what: str, image_model: Path, tmp_path: Path) -> None:
    values, words = PROCESSORS[what]
    assert words in refusal(changed(image_model, tmp_path / "m", "preprocessor_config.json", values))


@pytest.mark.parametrize("name", ["Idefics3ImageProcessor", "MllamaImageProcessor", "LayoutLMv2ImageProcessor"])
def test_image_processors_of_other_kinds_of_models(name: str, image_model: Path, tmp_path: Path) -> None:
    """They cut an image into any number of pieces, or start other programs."""
    folder = changed(image_model, tmp_path / "m", "preprocessor_config.json", {"image_processor_type": name})
    assert f"names {name}Pil as its image processor, which is none for such models" in refusal(folder)


def test_processors_of_the_tasks_models() -> None:
    usual = {"ViTImageProcessor", "ConvNextImageProcessor", "BitImageProcessor", "DetrImageProcessor",
             "SegformerImageProcessor", "CLIPImageProcessor", "TimmWrapperImageProcessor"}  # fmt: skip
    assert usual <= image_processors("vit")


@pytest.mark.parametrize(
    "values",
    [{"chunk_size_feed_forward": 10**9}, {"return_dict": False}],
    ids=["chunks", "tuples"],
)
def test_a_model_that_cannot_answer_is_not_our_fault(
    values: dict[str, Any], text_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = changed(text_model, tmp_path / "m", "config.json", values)
    assert main(["predict", str(folder), "a good film"]) == 2
    assert f"model: {folder} loads, and cannot answer: " in capsys.readouterr().err


@pytest.mark.parametrize("backbone", ["hf-hub:owner/x", "local-dir:/tmp/x", "owner/x", "/tmp/x", "../x"])
@pytest.mark.parametrize("kind", ["detr", "upernet", "timm_backbone"])
def test_a_backbone_is_no_place_to_load_from(backbone: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "backbone": backbone}))
    with pytest.raises(ModelError, match="as backbone; expected a name of timm"):
        check_configurations("m", tmp_path)


def test_a_backbone_reads_no_further_files(tmp_path: Path) -> None:
    said = {"model_type": "detr", "backbone": "resnet50", "backbone_kwargs": {"checkpoint_path": "/tmp/x.bin"}}
    (tmp_path / "config.json").write_text(json.dumps(said))
    with pytest.raises(ModelError, match="'checkpoint_path' in backbone_kwargs"):
        check_configurations("m", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**said, "backbone_kwargs": {"out_indices": [1, 2, 3, 4]}}))
    check_configurations("m", tmp_path)


PLAIN = "sentence_transformers.models"


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ([{"path": "", "type": "evil.Module"}], "names 'evil.Module'"),
        ([{"path": "", "type": f"{PLAIN}.Router"}], f"names '{PLAIN}.Router'"),
        ([{"path": "", "type": "sentence_transformers.os.system"}], "names 'sentence_transformers.os.system'"),
        ([{"path": "0_Transformer", "type": f"{PLAIN}.Transformer"}], "has Transformer in '0_Transformer'"),
        ([{"path": "../other", "type": f"{PLAIN}.Pooling"}], "has Pooling in '../other'"),
        ([{"path": "/etc", "type": f"{PLAIN}.Pooling"}], "has Pooling in '/etc'"),
        ([3], "names ''"),
        ({"a": 1}, "names ''"),
    ],
)
def test_modules_of_sentence_transformers(modules: Any, words: str, tmp_path: Path) -> None:
    """A demo and a proof load what they name; hf_tl looked at the model at the top alone."""
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=words):
        check_configurations("m", tmp_path)


def test_usual_modules(tmp_path: Path) -> None:
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense", "3_Normalize": "Normalize"}
    modules = [{"path": path, "type": f"{PLAIN}.{kind}"} for path, kind in kinds.items()]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    check_configurations("m", tmp_path)


@pytest.mark.parametrize("name", ["README.md", "chat_template.jinja", "vocab.txt", "more.safetensors", "notes"])
def test_what_is_neither_file_nor_folder_is_never_opened(name: str, text_model: Path, tmp_path: Path) -> None:
    """A pipe has no end."""
    shutil.copytree(text_model, tmp_path / "m")
    if (tmp_path / "m" / name).exists():
        (tmp_path / "m" / name).unlink()
    os.mkfifo(tmp_path / "m" / name)
    with pytest.raises(ModelError, match=f"{name} of m is neither a file nor a folder"):
        check_links("m", tmp_path / "m")
    assert "neither a file nor a folder" in refusal(tmp_path / "m")


# -- adapters ----------------------------------------------------------------------------------------------------------


def test_an_adapter_of_the_hub_reads_no_folder_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private model here would become part of what is made, and be pushed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "owner" / "private").mkdir(parents=True)
    file = tmp_path / "adapter_config.json"
    for named in (str(tmp_path / "owner" / "private"), "owner/private", "./owner", "~/owner", "."):
        file.write_text(json.dumps({"base_model_name_or_path": named}))
        with pytest.raises(ModelError, match="which lies on this machine"):
            base_of(tmp_path, pinned=True)
        assert base_of(tmp_path) == (named, None)
    file.write_text(json.dumps({"base_model_name_or_path": "google-bert/bert-base-uncased", "revision": "abc"}))
    assert base_of(tmp_path, pinned=True) == ("google-bert/bert-base-uncased", "abc")


MODULES = {"target_modules": ["query", "value"], "exclude_modules": None}


@pytest.mark.parametrize("kind", ["LOHA", "HRA", "MISS"])
def test_weights_of_another_adapter_are_not_filled_up_with_chance(kind: str, adapter: Path, tmp_path: Path) -> None:
    said = refusal(changed(adapter, tmp_path / "a", "adapter_config.json", {"peft_type": kind, **MODULES}))
    assert "adapter_model.safetensors: lacks" in said and "so it is another adapter's" in said


@pytest.mark.parametrize(
    "values",
    [
        {"peft_type": "VBLORA", "num_vectors": 60_000, "vector_length": 32, "r": 60_000, "topk": 60_000},
        {"peft_type": "VBLORA", "num_vectors": 65_536, "vector_length": 65_536},
        {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 10**6, "token_dim": 10**4},
        {"peft_type": "TRAINABLE_TOKENS", "token_indices": list(range(20_000))},
    ],
    ids=["topk", "bank", "tokens", "indices"],
)
def test_an_adapter_makes_no_tensor_larger_than_its_weights(
    values: dict[str, Any], adapter: Path, tmp_path: Path
) -> None:
    said = refusal(changed(adapter, tmp_path / "a", "adapter_config.json", {**MODULES, **values}))
    assert "far more than its weights hold" in said or "a list of 20,000" in said


@pytest.mark.parametrize("id", ["x" * 5_000, "~nobody-of-that-name/x", "a\0b"])
def test_a_name_that_is_no_path(id: str) -> None:
    with pytest.raises(ModelError) as caught:
        fetch_model(id)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("revision", ["../../x", "main\n", "x" * 300, "", "\0", "-x"])
def test_a_revision_is_a_branch_a_tag_or_a_commit(revision: str) -> None:
    """A file of the cache is named by it."""
    with pytest.raises(ModelError, match="is no revision"):
        fetch_model("owner/x", revision)


def test_every_change_leaves_honest_models_alone(text_model: Path, image_model: Path, adapter: Path) -> None:
    for folder in (text_model, image_model, adapter):
        check_files(folder)
        load_finished(str(folder))
