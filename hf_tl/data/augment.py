"""Training-time augmentation of single images: PIL in, PIL of the processor's size out.

torchvision's v2 transforms where torchvision imports; where it is not installed, the default augmentation is done with
Pillow and draws its random numbers from torch as well, so that a resumed run repeats them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from hf_tl.compat import has_torchvision
from hf_tl.errors import ConfigError

Change = Callable[[Image.Image], Image.Image]
SCALE = (0.35, 1.0)
"""Share of the image's area that a crop keeps: milder than ImageNet's (0.08, 1), as small datasets want."""
RATIO = (3 / 4, 4 / 3)
KEEP, KEEP_BYTES = 20_000, 16_384
"""Small images that are not augmented are decoded once: at most so many, of at most so many bytes each (0.3 GB)."""


def processor_size(processor: Any) -> tuple[int, int]:
    """(height, width) in pixels of what an image processor gives the model."""
    if getattr(processor, "do_center_crop", False) and getattr(processor, "crop_size", None):
        size = dict(processor.crop_size)
    else:
        size = dict(getattr(processor, "size", None) or {})
    if not size and hasattr(processor, "data_config"):  # timm: (channels, height, width)
        _, height, width = processor.data_config["input_size"]
        return int(height), int(width)
    edge: Any = size.get("shortest_edge") or size.get("longest_edge") or 224
    return int(size.get("height") or edge), int(size.get("width") or edge)


def pixels_of(processor: Any, image: Image.Image) -> torch.Tensor:
    """float32 (channels, height, width): an image that has the processor's size, rescaled and normalised only."""
    if hasattr(processor, "data_config"):  # timm's cannot be told to leave the size alone
        mean, std = (torch.tensor(processor.data_config[name])[:, None, None] for name in ("mean", "std"))
        pixels: torch.Tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
        return (pixels - mean) / std
    found: torch.Tensor = processor(image, return_tensors="pt", do_resize=False, do_center_crop=False)["pixel_values"]
    return found[0]


def normalisation(processor: Any) -> tuple[Any, Any]:
    """(mean, standard deviation) by channel that an image processor normalises with; (0, 1) where it does not."""
    if hasattr(processor, "data_config"):  # timm's
        return processor.data_config["mean"], processor.data_config["std"]
    if not getattr(processor, "do_normalize", True):
        return (0.0,) * 3, (1.0,) * 3
    return getattr(processor, "image_mean", None) or (0.0,) * 3, getattr(processor, "image_std", None) or (1.0,) * 3


def augmentation(names: Sequence[str], size: tuple[int, int]) -> Change:
    """Random resized crop and flip, and those of `names` that change an image: `trivial` (TrivialAugment, Müller and
    Hutter 2021, https://arxiv.org/abs/2103.10158) and `rand` (RandAugment, Cubuk et al. 2019,
    https://arxiv.org/abs/1909.13719).

    Raises:
        ConfigError: a transform needs torchvision and it is not installed.
    """
    if not has_torchvision():
        other = next((name for name in names if name != "default"), None)
        if other:
            raise ConfigError(
                f"data.preprocessing.augment: {other!r} needs torchvision, which is not installed; "
                "pip install 'hf_tl[vision]', or choose 'default' or 'none'."
            )
        return lambda image: _crop_and_flip(image, size)
    from torchvision.transforms import v2

    more = {"trivial": v2.TrivialAugmentWide, "rand": v2.RandAugment}
    steps = [v2.RandomResizedCrop(size, scale=SCALE, ratio=RATIO), v2.RandomHorizontalFlip()]
    change: Change = v2.Compose([*steps, *(more[name]() for name in names if name in more)])
    return change


def erase(pixels: torch.Tensor) -> torch.Tensor:
    """A random rectangle of some images made grey (Zhong et al. 2017, https://arxiv.org/abs/1708.04896); pixels are
    normalised, float32 (channels, height, width)."""
    from torchvision.transforms import v2

    erased: torch.Tensor = v2.RandomErasing(p=0.25)(pixels)
    return erased


MIXES = ("mixup", "cutmix")


def mix(
    names: Sequence[str], pixels: torch.Tensor, labels: torch.Tensor, classes: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of which each image is mixed with its neighbour, and the labels in the same proportion: by `mixup`
    (Zhang et al. 2017, https://arxiv.org/abs/1710.09412) or `cutmix` (Yun et al. 2019, https://arxiv.org/abs/1905.04899),
    where both are given by either.

    Args:
        pixels: float32 (batch, channels, height, width).
        labels: int64 (batch,) or float32 (batch, classes).

    Returns:
        Pixels, and labels as float32 (batch, classes).
    """
    from torchvision.transforms import v2

    known = {"mixup": v2.MixUp, "cutmix": v2.CutMix}
    number = classes if labels.ndim == 1 else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        chosen = [known[name](num_classes=number) for name in names if name in known]
        change = chosen[int(torch.randint(len(chosen), ()))]
        mixed: tuple[torch.Tensor, torch.Tensor] = change(pixels, labels)
    return mixed


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()


def random_box(width: int, height: int) -> tuple[float, float, float, float]:
    """(left, upper, right, lower) in pixels of a random crop (Szegedy et al. 2014, https://arxiv.org/abs/1409.4842)."""
    for _ in range(10):
        area = width * height * _uniform(*SCALE)
        ratio = math.exp(_uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        crop_width, crop_height = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if crop_width <= width and crop_height <= height:
            left, top = _uniform(0, width - crop_width), _uniform(0, height - crop_height)
            return left, top, left + crop_width, top + crop_height
    return 0.0, 0.0, float(width), float(height)


def _crop_and_flip(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Random resized crop and horizontal flip."""
    image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=random_box(*image.size))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(()).item() < 0.5 else image


class Augmented(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows encoded when read, with random numbers that depend only on (seed, epoch, row).

    So an image is cut the same way whatever the number of processes or workers, and a run that resumes in the middle
    of an epoch sees the very images that it would have seen.
    """

    def __init__(
        self, rows: Any, encode: Callable[[dict[str, Any]], dict[str, Any]], seed: int, fixed: bool = False
    ) -> None:
        self.rows, self.encode, self.seed, self.epoch = rows, encode, seed, 0
        self.kept: dict[int, dict[str, Any]] | None = {} if fixed and len(rows) <= KEEP else None

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.kept is not None and index in self.kept:
            return dict(self.kept[index])
        row = self.rows[index]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hash((self.seed, self.epoch, index)) & 0x7FFFFFFFFFFFFFFF)
            sample = self.encode(row)
        if self.kept is not None and sum(v.nbytes for v in sample.values() if torch.is_tensor(v)) <= KEEP_BYTES:
            self.kept[index] = dict(sample)
        return sample
