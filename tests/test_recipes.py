"""Every recipe: what its docstring says was measured, and, unmodified, from download to push: the test Hub has small
stand-ins under the recipes' own ids."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from PIL import Image as PillowImage

from hf_tl.commands.recipes import describe, measured, recipe_config, recipe_files, run_recipe
from hf_tl.task import get_task
from tests.anything import tiny_data, tiny_model
from tests.clean_process import stock_scores
from tests.hub.server import RunningHub
from tests.tiny import tiny_bert, tiny_mobilenet, tiny_resnet, tiny_vit, tiny_writer

TOKEN = "hf_test_alice"
WORDS = [["bad", "poor", "awful"], ["good", "fine", "great"]]


def texts(label: Any, rows: int, names: tuple[str, str] | None = None) -> Dataset:
    """Sentences of two classes; `names` adds a `label_text`, as MTEB and SetFit have it."""
    found: dict[str, list[Any]] = {"text": [], "label": []}
    for index in range(rows):
        found["text"].append(f"the {['film', 'book', 'meal'][index % 3]} was {WORDS[index % 2][index // 2 % 3]}")
        found["label"].append(index % 2)
    features = {"text": Value("string"), "label": label}
    if names:
        found["label_text"] = [names[index] for index in found["label"]]
        features["label_text"] = Value("string")
    return Dataset.from_dict(found, features=Features(features))


def images(columns: dict[str, Any], image: str, classes: int, rows: int) -> Dataset:
    drawn = np.random.default_rng(0)
    found: dict[str, list[Any]] = {name: [] for name in columns}
    for index in range(rows):
        pixels = drawn.integers(0, 90, (32, 32, 3), dtype=np.uint8)
        pixels[..., index % classes] += 130
        for name in columns:
            if name == image:
                found[name].append(PillowImage.fromarray(pixels))
            else:
                found[name].append(f"{index}.jpg" if name.endswith("path") else index % classes)
    return Dataset.from_dict(found, features=Features(columns))


def share(hub: RunningHub, id: str, folder: Path, splits: dict[str, Dataset]) -> None:
    """As `push_to_hub` lays a dataset out: Parquet with the features inside."""
    (folder / "data").mkdir(parents=True)
    for split, rows in splits.items():
        rows.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    hub.seed_dataset(id, folder)


def stock(hub: RunningHub, folder: Path) -> None:
    """The models and datasets that the recipes name: other weights, the same columns and classes of model."""
    hub.seed_model("sentence-transformers/all-MiniLM-L6-v2", tiny_bert(folder / "bert"))
    hub.seed_model("google/mobilenet_v2_1.0_224", tiny_mobilenet(folder / "mobilenet"))
    hub.seed_model("google/vit-base-patch16-224-in21k", tiny_vit(folder / "vit"))
    hub.seed_model("microsoft/resnet-18", tiny_resnet(folder / "resnet"))
    sentiment = ClassLabel(names=["neg", "pos"])
    three = {split: texts(sentiment, rows) for split, rows in (("train", 60), ("validation", 20), ("test", 20))}
    share(hub, "cornell-movie-review-data/rotten_tomatoes", folder / "rotten", three)
    named: dict[str, tuple[str, str]] = {
        "mteb/banking77": ("card_lost", "top_up"),
        "SetFit/sst2": ("negative", "positive"),
    }
    for id, names in named.items():
        two = {split: texts(Value("int64"), rows, names) for split, rows in (("train", 60), ("test", 20))}
        share(hub, id, folder / id.rpartition("/")[2], two)
    leaves = {
        "image_file_path": Value("string"),
        "image": Image(),
        "labels": ClassLabel(names=["angular_leaf_spot", "bean_rust", "healthy"]),
    }
    beans = {split: images(leaves, "image", 3, rows) for split, rows in (("train", 30), ("validation", 9), ("test", 9))}
    share(hub, "AI-Lab-Makerere/beans", folder / "beans", beans)
    cifar = {
        "img": Image(),
        "fine_label": ClassLabel(names=["apple", "bear", "clock"]),
        "coarse_label": ClassLabel(names=["fruit", "animal", "thing"]),
    }
    share(
        hub,
        "uoft-cs/cifar100",
        folder / "cifar",
        {split: images(cifar, "img", 3, rows) for split, rows in (("train", 30), ("test", 9))},
    )

    encoder = tiny_model(get_task("fill-mask"), folder / "encoder")
    for id in ("distilbert/distilbert-base-cased", "distilbert/distilbert-base-uncased"):
        hub.seed_model(id, encoder)
    hub.seed_model("nvidia/mit-b0", tiny_model(get_task("image-segmentation"), folder / "mit"))
    words = {"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "B-key"]))}
    lines = [("the film was", ["good", "bad"][index % 2]) for index in range(40)]
    tagged = [{"tokens": [*a.split(), b], "ner_tags": [0, 0, 0, 1]} for a, b in lines]
    rows = Dataset.from_list(tagged, features=Features(words))
    share(hub, "leondz/wnut_17", folder / "wnut", {"train": rows, "validation": rows.select(range(8))})
    talked = [
        {"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}], "topic": "films"}
        for a, b in lines
    ]
    rows = Dataset.from_list(talked)
    splits = {"train_sft": rows, "test_sft": rows.select(range(8))}
    share(hub, "HuggingFaceTB/everyday-conversations-llama3.1-2k", folder / "talks", splits)
    hub.seed_model("HuggingFaceTB/SmolLM2-135M-Instruct", tiny_model(get_task("text-generation"), folder / "decoder"))
    squad = {
        "question": Value("string"),
        "context": Value("string"),
        "answers": {"text": List(Value("string")), "answer_start": List(Value("int32"))},
    }
    asked = [
        {"question": "is it good", "context": f"{a} {b}", "answers": {"text": [b], "answer_start": [len(a) + 1]}}
        for a, b in lines
    ]
    rows = Dataset.from_list(asked, features=Features(squad))
    share(hub, "rajpurkar/squad", folder / "squad", {"train": rows, "validation": rows.select(range(8))})
    scored = [
        {"sentence1": "the film was", "sentence2": text, "score": float(index % 2)}
        for index, (_, text) in enumerate(lines)
    ]
    rows = Dataset.from_list(scored)
    share(hub, "sentence-transformers/stsb", folder / "stsb", {"train": rows, "validation": rows.select(range(8))})
    hub.seed_model(
        "google-t5/t5-small",
        tiny_writer(folder / "t5", "summarize: translate English to French: the film was good bad".split(), "t5"),
    )
    talks = Dataset.from_list([{"id": str(i), "dialogue": f"{a} {b}", "summary": b} for i, (a, b) in enumerate(lines)])
    few = talks.select(range(8))
    share(hub, "knkarthick/samsum", folder / "samsum", {"train": talks, "validation": few, "test": few})
    books = Dataset.from_list([{"id": str(i), "translation": {"en": a, "fr": b}} for i, (a, b) in enumerate(lines)])
    (folder / "books" / "en-fr").mkdir(parents=True)
    books.to_parquet(folder / "books" / "en-fr" / "train-00000-of-00001.parquet")
    (folder / "books" / "README.md").write_text(
        "---\nconfigs:\n- config_name: en-fr\n  data_files:\n  - split: train\n    path: en-fr/train-*\n---\n"
    )
    hub.seed_dataset("Helsinki-NLP/opus_books", folder / "books")
    food: dict[str, list[Any]] = {"image": [], "label": []}
    for index in range(16):
        mask = np.zeros((32, 32), dtype=np.uint8)
        mask[8:20, 4 + index : 16 + index] = 1
        food["image"].append(PillowImage.fromarray(np.where(mask[..., None] > 0, [200, 40, 40], 90).astype(np.uint8)))
        food["label"].append(PillowImage.fromarray(mask))
    hub.seed_model("hustvl/yolos-tiny", tiny_model(get_task("object-detection"), folder / "yolos"))
    things: dict[str, list[Any]] = {"image": food["image"], "objects": []}
    for index in range(16):
        things["objects"].append({"bbox": [[4.0 + index, 8.0, 12.0, 12.0]], "category": [0]})
    kinds = {"bbox": List(List(Value("float32"))), "category": List(ClassLabel(names=["Coverall"]))}
    rows = Dataset.from_dict(things, features=Features({"image": Image(), "objects": kinds}))
    share(hub, "rishitdagli/cppe-5", folder / "cppe", {"train": rows, "test": rows.select(range(4))})
    rows = Dataset.from_dict(food, features=Features({"image": Image(), "label": Image()}))
    share(hub, "EduardoPacheco/FoodSeg103", folder / "food", {"train": rows, "validation": rows.select(range(4))})


LABELS: dict[str, set[str] | None] = {
    "token_classification_full": {"O", "B-key"},
    "adapt_then_classify": {"neg", "pos"},
    "image_segmentation_full": {"0", "1"},
    "image_feature_extraction_full": None,
    "object_detection_full": {"Coverall"},
    "question_answering_full": None,
    "masked_image_modeling_full": None,
    "sentence_similarity_full": None,
    "summarization_full": None,
    "translation_full": None,
    "text_classification_full": {"card_lost", "top_up"},
    "text_generation_full": None,
    "text_classification_lora": {"negative", "positive"},
    "image_classification_full": {"angular_leaf_spot", "bean_rust", "healthy"},
    "image_classification_lora": {"angular_leaf_spot", "bean_rust", "healthy"},
    "pretrain_then_transfer": {"angular_leaf_spot", "bean_rust", "healthy"},
}


def test_every_recipe_is_in_the_readme_with_what_was_measured() -> None:
    assert set(LABELS) == set(recipe_files()), "LABELS says which labels a recipe's model has"
    readme = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    for name, file in recipe_files().items():
        assert measured(file), name
        assert f"| `{name}` | {describe(file)} | {measured(file)} |" in readme


ROOT = Path(__file__).parents[1]
BENCHMARKS = runpy.run_path(str(ROOT / "benchmarks" / "quality.py"), run_name="quality")["CASES"]
STAND_IN = re.compile(r"in place of CONFIG's (model and datasets?|model|dataset)")


def plain_name(id: str) -> str:
    """`leondz/wnut_17` and `text/wnut17` are the same dataset."""
    return re.sub(r"[^a-z0-9.]", "", id.rpartition("/")[2].lower())


def quality(case: str) -> dict[str, str]:
    """The row of `case` in docs/quality.md, by column."""
    lines = [
        line for line in (ROOT / "docs" / "quality.md").read_text(encoding="utf-8").splitlines() if line[:1] == "|"
    ]
    head, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines)
    return next(dict(zip(head, row, strict=True)) for row in rows if row[0] == case)


@pytest.mark.parametrize("name", recipe_files())
def test_a_recipe_says_which_model_and_dataset_were_measured(name: str) -> None:
    """The score is the benchmark's, and where its model, dataset or method is not CONFIG's the docstring says so."""
    file = recipe_files()[name]
    said, held = measured(file), runpy.run_path(str(file), run_name="recipe")
    config = held["CONFIG"]
    first = held.get("ADAPT") or held.get("PRETRAIN") or config  # whose model is a pretrained one
    stand_in = STAND_IN.search(said)
    replaced = set(stand_in[1].replace("datasets", "dataset").split(" and ")) if stand_in else set()
    if "`hf-tl quickstart`" in said:
        assert replaced == {"model", "dataset"}, "the quickstart's network and digits are no recipe's"
        return
    cases = re.findall(r"`python benchmarks/quality.py ([\w -]+)`", said)[0].split()
    row, case = quality(cases[-1]), BENCHMARKS[cases[-1]]
    model = BENCHMARKS[cases[0]].model.rpartition("/")[2]
    dataset = case.data.rpartition("/")[2]
    path = config["data"] if isinstance(config["data"], str) else config["data"]["path"]
    differ = {
        part
        for part, used, own in (("model", model, first["model"]), ("dataset", dataset, path))
        if plain_name(used) != plain_name(own)
    }
    assert f"with {model}" in said and f"on {dataset}" in said, "names what was measured"
    assert replaced == differ, "says which of them are not CONFIG's, and no other"
    assert row["method"] == config["method"] or f"`method={row['method']}`" in said
    metric, *values = re.findall(r"^(\w+) ([\d.]+) \(([\d.]+) to ([\d.]+)", said)[0]
    true_metric, *true = re.findall(r"^(\w+) ([\d.]+) \(([\d.]+) to ([\d.]+)\)$", row["result"])[0]
    assert metric == true_metric
    for value, exact in zip(values, true, strict=True):
        assert value == f"{float(exact):.{len(value.partition('.')[2])}f}"


ALONE = [name for name in recipe_files() if name not in ("adapt_then_classify", "pretrain_then_transfer")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_recipe_on_local_data(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a recipe is written for, it takes a folder's model and data, and needs no network for them."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    config = recipe_config(recipe_files()[name])
    task = get_task(str(config.get("task") or "-".join(name.split("_")[:2])))
    words = {"model": tiny_model(task, tmp_path / "model"), "data": tiny_data(task, tmp_path / "data")}
    overrides = [f"{key}={value}" for key, value in words.items()]
    run_recipe(name, [*overrides, "training.max_steps=1", "training.bf16=false", f"output={tmp_path / 'run'}"])
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["task"] == task.name
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", recipe_files())
def test_recipe_from_download_to_push(name: str, hub: RunningHub, tmp_path: Path) -> None:
    stock(hub, tmp_path / "stock")
    script = recipe_files()[name]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "--num_machines", "1",
              "--mixed_precision", "no", "--dynamo_backend", "no"]  # fmt: skip
    start = [*launch, script] if name.startswith("text") else [sys.executable, "-m", "hf_tl", "recipes", "run", name]
    id = f"alice/{name}"
    done = subprocess.run(
        [*map(str, start), f"hub.id={id}", "hub.private=false"], cwd=tmp_path, env=hub.env(TOKEN),
        capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"Pushed to {hub.url}/{id}" in done.stderr, done.stderr[-2000:]
    files = hub.files(id)
    if LABELS[name] is not None:
        assert set(json.loads(files["config.json"])["label2id"]) == LABELS[name]
    if "classif" not in name or "token" in name:
        assert "model.safetensors" in files and "README.md" in files
        return
    if name.startswith(("text", "adapt")):
        inputs = ["the film was great", "an awful book"]
        task = "text-classification"
    else:
        PillowImage.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "red.png")
        inputs = [str(tmp_path / "red.png")]
        task = "image-classification"
    found = stock_scores(task, id, inputs, env={**hub.env(home="reader"), "HF_HUB_OFFLINE": "0"})
    assert [set(scores) for scores in found] == [LABELS[name]] * len(inputs)
