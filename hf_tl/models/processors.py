"""The tokenizer or image processor that a pretrained model comes with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers

from hf_tl.errors import ModelError, listing
from hf_tl.io.quiet import quiet
from hf_tl.models.carried import processor_folder
from hf_tl.models.pretrained import IMAGE_PROCESSORS, VOCABULARIES, Pretrained, first_line
from hf_tl.models.timm_models import of_timm, resized
from hf_tl.task import Task


def load_processor(pretrained: Pretrained, task: Task, *, image_size: int | None = None) -> Any:
    """The tokenizer or image processor.

    Image processors use the Pillow backend: its pixels are the same with and without torchvision, so that scores do
    not depend on what else is installed.

    Raises:
        ModelError: the model comes without one.
    """
    auto = getattr(transformers, task.processor_class)
    path = pretrained.adapter if pretrained.adapter and _has_processor(pretrained.adapter) else pretrained.path
    text = task.modality == "text"
    kind, files = ("tokenizer", VOCABULARIES) if text else ("image processor", IMAGE_PROCESSORS)
    timm = of_timm(pretrained.config)
    if not timm and not any((path / name).exists() for name in files):
        raise ModelError(
            f"model: {pretrained.id} comes without {'a' if text else 'an'} {kind} (none of {listing(files[:3])} is "
            "there); save the one it was pretrained with beside it."
        )
    backend = {} if text or timm else {"backend": "pil"}
    try:
        with quiet():
            processor = auto.from_pretrained(
                processor_folder(path), trust_remote_code=pretrained.trusts(path), **backend
            )
    except Exception as error:
        raise ModelError(
            f"model: the {kind} of {pretrained.id} cannot be loaded: {first_line(error, pretrained)}"
        ) from error
    if text:
        _check_tokenizer(processor, pretrained)
    elif image_size and timm:
        processor = resized(processor, pretrained.config, image_size)
    elif image_size:
        _resize(processor, image_size)
    return processor


def _has_processor(path: Path) -> bool:
    return any((path / name).exists() for name in (*VOCABULARIES, *IMAGE_PROCESSORS))


def _check_tokenizer(tokenizer: Any, pretrained: Pretrained) -> None:
    size, expected = len(tokenizer), getattr(pretrained.config, "vocab_size", None)
    # Transformers makes an empty tokenizer of special tokens when the vocabulary is missing.
    if size <= 10 or (expected and size > expected):
        found = f"{size} tokens" + (f" for a model of {expected}" if expected else "")
        raise ModelError(f"model: the tokenizer of {pretrained.id} does not fit the model (found {found}).")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token


def _resize(processor: Any, size: int) -> None:
    square = {"height": size, "width": size}
    if getattr(processor, "do_center_crop", False):
        old = dict(processor.crop_size).get("height", size)
        processor.crop_size = square
        edge = dict(processor.size).get("shortest_edge")
        processor.size = {"shortest_edge": round(edge * size / old)} if edge else square
    else:
        processor.size = square
