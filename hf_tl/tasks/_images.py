"""What tasks on whole images share: the column, and how images become batches. Not a task (leading underscore)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_tl.task import Column, TaskContext
from hf_tl.tasks import _classification as classification

if TYPE_CHECKING:
    from datasets import Dataset

IMAGE = Column("image", "image", ("image", "img", "file_name", "picture", "photo", "pixel_values"))

IN_PATCHES = ("pixel_attention_mask", "spatial_shapes")
"""What an image processor says beside the pixels where images keep their shape (SigLIP2 NaFlex)."""


def preprocess(rows: Dataset, context: TaskContext, training: bool) -> Any:
    """Images decoded when read. In evaluation the image processor does all, as in the stock pipeline; in training the
    augmentation brings the image to the processor's size, and the processor only rescales and normalises."""
    import torch

    from hf_tl.data.augment import MIXES, Augmented, augmentation, erase, pixels_of, processor_size
    from hf_tl.data.images import to_rgb
    from hf_tl.errors import ConfigError

    processor = context.processor
    names = context.preprocessing.augmentations if training else ()
    mixing = next((name for name in names if name in MIXES), None)
    if mixing and context.problem not in (classification.SINGLE, classification.MULTI):
        raise ConfigError(f"data.preprocessing.augment: {mixing} mixes labels, which the classes of a classifier are.")
    change = augmentation(names, processor_size(processor)) if names else None
    in_patches = getattr(processor, "max_num_patches", None) is not None  # NaFlex: each image at its own shape
    if in_patches and (mixing or "erasing" in names):
        raise ConfigError("data.preprocessing.augment: this model reads patches; take default, trivial, rand or none.")
    wanted = ("pixel_values", *IN_PATCHES)

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        image = to_rgb(row["image"])
        if change is not None and not in_patches:
            out = {"pixel_values": pixels_of(processor, change(image))}  # float32 (channels, height, width)
        else:
            made = processor(image if change is None else change(image), return_tensors="pt")
            out = {name: made[name][0] for name in made if name in wanted}
        if "erasing" in names:
            out["pixel_values"] = erase(out["pixel_values"])
        if mixing:
            out["draw"] = torch.randint(2**62, ())  # by row and epoch, so that a batch is mixed as its rows say
        if "label" in row:
            out["labels"] = torch.tensor(row["label"])  # int64 (), or float32 () or (labels,)
        return out

    return Augmented(rows, encode, context.seed, fixed=change is None)


def collator(context: TaskContext, training: bool) -> Any:
    """`pixel_values` float32 (batch, channels, height, width); `labels` int64 (batch,), or float32 (batch,) numbers, or
    (batch, labels) of several or mixed ones."""
    import torch

    from hf_tl.data.augment import mix

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        names = [name for name in ("pixel_values", *IN_PATCHES) if name in samples[0]]
        batch = {name: torch.stack([torch.as_tensor(sample[name]) for sample in samples]) for name in names}
        if "labels" in samples[0]:
            batch["labels"] = torch.stack([torch.as_tensor(sample["labels"]) for sample in samples])
        if "draw" in samples[0]:
            seed = sum(int(sample["draw"]) for sample in samples) % 2**62
            mixes, classes = context.preprocessing.augmentations, len(context.labels)
            batch["pixel_values"], batch["labels"] = mix(mixes, batch["pixel_values"], batch["labels"], classes, seed)
        return batch

    return collate
