"""A tiny model, tiny data and example inputs for any task: all that the tests of every task need to know of one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from PIL import Image, ImageDraw

from hf_tl.data.kinds import main_kind
from hf_tl.task import Task
from tests.tiny import WORDS, tiny_chat_tokenizer, tiny_tokenizer


def save_image_processor(name: str) -> Callable[[Path], Any]:
    def save(folder: Path) -> None:
        getattr(transformers, name)(size={"height": 32, "width": 32}).save_pretrained(folder)

    return save


@dataclass(frozen=True)
class Network:
    """A tiny architecture: the options of its configuration."""

    kinds: tuple[str, ...]
    """Of the inputs that its processor reads (`hf_tl.data.kinds.main_kind`)."""
    options: dict[str, Any]
    save_processor: Callable[[Path], Any]


SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
NETWORKS = {
    "BertConfig": Network(
        ("text", "words"),
        {
            **SMALL,
            "vocab_size": len(WORDS) + 5,
            "max_position_embeddings": 64,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        tiny_tokenizer,
    ),
    "BartConfig": Network(
        ("text",),
        {
            "vocab_size": len(WORDS) + 5,
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "max_position_embeddings": 64,
            "dropout": 0.0,
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "decoder_start_token_id": 3,
            "forced_eos_token_id": None,
        },
        tiny_tokenizer,
    ),
    "LlamaConfig": Network(
        ("messages",),
        {
            **SMALL,
            "vocab_size": len(WORDS) + 10,
            "max_position_embeddings": 64,
            "pad_token_id": 0,
            "bos_token_id": None,
            "eos_token_id": 3,
        },
        tiny_chat_tokenizer,
    ),
    "ViTConfig": Network(
        ("image",),
        {**SMALL, "image_size": 32, "patch_size": 8, "encoder_stride": 8, "num_labels": 10},
        save_image_processor("ViTImageProcessor"),
    ),
    "SegformerConfig": Network(
        ("image",),
        {
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [8, 16, 16, 16],
            "num_attention_heads": [1, 1, 1, 1],
            "decoder_hidden_size": 16,
        },
        save_image_processor("SegformerImageProcessor"),
    ),
    "YolosConfig": Network(
        ("image",),
        {**SMALL, "image_size": [32, 32], "patch_size": 8, "num_detection_tokens": 6, "num_labels": 3},
        save_image_processor("YolosImageProcessor"),
    ),
}


@dataclass(frozen=True)
class Example:
    """What a task is called with in the tests that cover every task."""

    inputs: tuple[dict[str, Any], ...]
    """Role -> value; of images the names of files that `tiny_data` writes."""
    lines: str | None = None
    """Python lines in place of the record's `proof`, where those find nothing in the answers of a tiny model."""


_IMAGES = tuple({"image": f"{index}.png"} for index in range(3))
_TEXTS = ("the film was good", "a very bad book")
EXAMPLES = {
    "fill-mask": Example(({"text": "the film was [MASK]"}, {"text": "a very [MASK] book"})),
    "image-classification": Example(_IMAGES),
    "image-feature-extraction": Example(_IMAGES),
    "image-segmentation": Example(_IMAGES),
    "masked-image-modeling": Example(_IMAGES),
    "object-detection": Example(
        _IMAGES,
        """found = []
for row in rows:
    best = max(pipe(row["image"], threshold=0.0), key=lambda each: each["score"])
    found.append({"label": best["label"], "score": best["score"]})""",
    ),
    "question-answering": Example(
        ({"question": "is it good", "context": _TEXTS[0]}, {"question": "was it bad", "context": _TEXTS[1]})
    ),
    "sentence-similarity": Example(tuple({"sentence1": text} for text in _TEXTS)),
    "summarization": Example(tuple({"document": text} for text in _TEXTS)),
    "text-classification": Example(tuple({"text": text} for text in _TEXTS)),
    "text-generation": Example(tuple({"messages": [{"role": "user", "content": text}]} for text in _TEXTS)),
    "token-classification": Example(tuple({"text": text} for text in _TEXTS)),
    "translation": Example(tuple({"source": text} for text in _TEXTS)),
}


def example_of(task: Task) -> Example:
    assert task.name in EXAMPLES, f"tests/anything.py: EXAMPLES has no inputs for {task.name}; add some"
    return EXAMPLES[task.name]


def example_inputs(task: Task, data: Path) -> list[dict[str, Any]]:
    """Example inputs, images as files of `data`, which `tiny_data` has written."""
    images = {column.role for column in task.columns if column.kind == "image"}
    return [
        {role: str(data / value) if role in images else value for role, value in row.items()}
        for row in example_of(task).inputs
    ]


def one_of_each(tasks: Iterable[Task], what: Any) -> set[str]:
    """Names of tasks, the first for each value of `what`: the tests of these are run by default, others are slow."""
    first: dict[Any, str] = {}
    for task in tasks:
        first.setdefault(what(task), task.name)
    return set(first.values())


def tiny_model(task: Task, folder: Path) -> Path:
    """The first network of the list that can do the task, with its processor."""
    import torch

    torch.manual_seed(0)
    known = getattr(transformers, task.auto_class)._model_mapping
    kind = main_kind(task).name
    for name, network in NETWORKS.items():
        config = getattr(transformers, name)(**network.options)
        if kind in network.kinds and type(config) in known:
            auto = transformers.AutoModel if task.new_head else getattr(transformers, task.auto_class)
            auto.from_config(config).save_pretrained(folder)
            network.save_processor(folder)
            return folder
    raise AssertionError(f"tests/anything.py: NETWORKS has none for {task.auto_class} and inputs of kind {kind}")


def sentence(drawn: random.Random, key: str) -> str:
    words = drawn.choices(["the", "film", "book", "song", "meal", "was", "is", "very"], k=drawn.randint(3, 8))
    words.insert(drawn.randrange(len(words)), key)
    return " ".join(words)


def tiny_data(task: Task, folder: Path, rows: int = 24) -> Path:
    """Rows that can be learned, in the first form of the task's data."""
    folder.mkdir(parents=True)
    roles = task.forms[0].roles if task.forms else tuple(column.role for column in task.columns if column.required)
    drawn = random.Random(0)
    records = []
    for index in range(rows):
        good = index % 2 == 0
        text = sentence(drawn, "good" if good else "bad")
        record: dict[str, Any] = {}
        for role in roles:
            column = task.column(role)
            assert column is not None
            if column.kind == "image" and not column.target:
                _square(folder / f"{index}.png", good, index)
                record["file_name"] = f"{index}.png"
            elif column.kind == "image":
                _square(folder / f"{index}_mask.png", good, index, mask=True)
                record["mask_file_name"] = f"{index}_mask.png"
            else:
                record[column.names[0]] = _value(column.kind, role, text, good, index)
        records.append(json.dumps(record))
    images = main_kind(task).name == "image"
    file = folder / ("metadata.jsonl" if images else "train.jsonl")
    file.write_text("\n".join(records) + "\n", encoding="utf-8")
    return folder if images else file


def _value(kind: str, role: str, text: str, good: bool, index: int) -> Any:
    words = text.split()
    if kind == "text":
        return {"question": "is the film good", "sentence2": "a good film"}.get(role, text)
    if role == "score":
        return 4.0 if good else 1.0 + index % 3 / 2
    if kind == "label":
        return "positive" if good else "negative"
    if kind == "words":
        return words
    if kind == "tags":
        return ["B-key" if word in ("good", "bad") else "O" for word in words]
    if kind == "answers":
        key = "good" if good else "bad"
        return {"text": [key], "answer_start": [text.index(key)]}
    if kind == "objects":
        return {"bbox": [[4 + index % 5, 6, 12, 10]], "category": ["red" if good else "blue"]}
    if kind == "messages":
        return [{"role": "user", "content": text}, {"role": "assistant", "content": "good" if good else "bad"}]
    raise AssertionError(f"tests/anything.py has no value for a column of kind {kind}")


def _square(path: Path, good: bool, index: int, mask: bool = False) -> None:
    """A red or blue square on grey; its mask is 1 or 2 where it is."""
    colour = (200, 30, 30) if good else (30, 30, 200)
    image = Image.new("L" if mask else "RGB", (40, 36), 0 if mask else (90, 90, 90))
    left = 4 + index % 5
    ImageDraw.Draw(image).rectangle((left, 6, left + 11, 15), fill=(1 if good else 2) if mask else colour)
    image.save(path)
