"""What makes a model's inputs of values (a tokenizer, an image processor, ...), as a pretrained model comes with it."""

from __future__ import annotations

from typing import Any

import transformers

from hf_tl.data.kinds import processor_of
from hf_tl.errors import ModelError, listing, panicked
from hf_tl.io.quiet import quiet
from hf_tl.models.carried import processor_folder
from hf_tl.models.pretrained import Pretrained, first_line
from hf_tl.models.resized import expect_colours, expect_size
from hf_tl.task import Task

STAND_INS = {"DINOv3ViTImageProcessor": "ViTImageProcessorPil"}
"""Image processors that need torchvision -> what does the same with Pillow, so that the result works everywhere."""
SETTINGS = ("size", "resample", "image_mean", "image_std", "rescale_factor", "do_resize", "do_rescale", "do_normalize")


def load_processor(pretrained: Pretrained, task: Task, *, image_size: int | None = None, adapt: bool = False) -> Any:
    """The processor of the kind of value that the task reads.

    Args:
        image_size: of the images that the model is to read; its configuration says so then.
        adapt: whether the model goes on, with what the stock pipelines give it, and not as it is.

    Raises:
        ModelError: the model comes without one.
    """
    wanted = processor_of(task)
    auto = getattr(transformers, wanted.auto_class)
    adapter = pretrained.adapter
    path = adapter if adapter and any((adapter / name).exists() for name in wanted.files) else pretrained.path
    in_config = wanted.in_config(pretrained.config)
    if not in_config and not any((path / name).exists() for name in wanted.files):
        article = "an" if wanted.what[0] in "aeiou" else "a"
        raise ModelError(
            f"model: {pretrained.id} comes without {article} {wanted.what} (none of {listing(wanted.files[:3])} is "
            "there); save the one it was pretrained with beside it."
        )
    options = {} if in_config else dict(wanted.options)
    try:
        with quiet():
            processor = auto.from_pretrained(
                processor_folder(path), trust_remote_code=pretrained.trusts(path), **options
            )
    except BaseException as error:
        if not isinstance(error, Exception) and not panicked(error):
            raise
        raise ModelError(
            f"model: the {wanted.what} of {pretrained.id} cannot be loaded: {first_line(error, pretrained)}"
        ) from error
    if wanted.check is not None:
        wanted.check(processor, pretrained.config, pretrained.id)
    if adapt and type(processor).__name__ in STAND_INS:
        kept = {name: getattr(processor, name) for name in SETTINGS if getattr(processor, name, None) is not None}
        processor = getattr(transformers, STAND_INS[type(processor).__name__])(**kept)
    if adapt and wanted.resize is not None:
        expect_colours(pretrained.config, processor, pretrained.id)
    if image_size and wanted.resize is not None:
        processor = wanted.resize(processor, pretrained.config, image_size)
        expect_size(pretrained.config, task, image_size)
    return processor
