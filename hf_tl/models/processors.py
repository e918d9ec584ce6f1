"""The tokenizer or image processor that a pretrained model comes with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers

from hf_tl.errors import ModelError, listing, panicked
from hf_tl.models.carried import processor_folder
from hf_tl.models.pretrained import IMAGE_PROCESSORS, VOCABULARIES, Pretrained, first_line, quiet
from hf_tl.models.timm_models import of_timm, resized
from hf_tl.task import Task, all_tasks


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
    except BaseException as error:
        if not isinstance(error, Exception) and not panicked(error):
            raise
        raise ModelError(
            f"model: the {kind} of {pretrained.id} cannot be loaded: {first_line(error, pretrained)}"
        ) from error
    if not pretrained.trusts(path):
        _check_class(processor, kind, pretrained)
    if text:
        _check_tokenizer(processor, pretrained)
    elif image_size and timm:
        processor = resized(processor, pretrained.config, image_size)
    elif image_size:
        _resize(processor, image_size)
    return processor


def _check_class(processor: Any, kind: str, pretrained: Pretrained) -> None:
    """A file may name any class of Transformers: only those are used that are what is asked for, and of image
    processors those of the tasks' own models, as others cut an image into any number of pieces."""
    name = type(processor).__name__
    if kind == "tokenizer":
        fits = isinstance(processor, transformers.PreTrainedTokenizerBase) and hasattr(processor, "__len__")
    else:
        fits = name.removesuffix("Pil") in _image_processors(pretrained.config.model_type)
    if not fits:
        raise ModelError(f"model: {pretrained.id} names {name} as its {kind}, which is none for such models.")


def _image_processors(model_type: str) -> set[str]:
    """Names of the classes for the model types of the tasks on images, and for this one."""
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES as known

    autos = {task.auto_class for task in all_tasks() if task.modality == "image"} - {"AutoModel"}
    types = {name for auto in autos for name in getattr(transformers, auto)._model_mapping._model_mapping}
    found = [known[name].values() for name in types | {model_type} if name in known]
    return {each.removesuffix("Pil") for names in found for each in names if each} | {"TimmWrapperImageProcessor"}


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
