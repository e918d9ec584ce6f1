"""What is particular about images as values: what may be wrong with one, how one is given, kept and shown, and what an
image processor made of some."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from PIL.Image import Image

from hf_tl.data.augment import normalisation
from hf_tl.data.images import (
    DEEP,
    DEEPEST,
    MOST_PIXELS,
    CheckedImage,
    WrongImage,
    opened,
    read_image,
    to_rgb,
    unreadable,
)
from hf_tl.data.named_files import is_address, is_there
from hf_tl.data.timm_models import of_timm, resized
from hf_tl.errors import ConfigError, DataError, ModelError, shortened
from hf_tl.files import replacing_file

LEVELS = 8
"""Share of their range, as one in so many, that 16-bit images have to use."""
THUMBNAIL = 160
"""Longest side in pixels of the images kept beside predictions."""
READ_STORED = """
def read(stored, folder):
    from PIL import Image

    with Image.open(folder / stored["image"]) as image:
        return image.convert("RGB")
"""
"""How a process without hf_tl reads what `store_image` wrote."""


def wrong_image(value: Any, what: str) -> str | None:
    if value is None or not (value.get("bytes") or value.get("path")):
        return f"the {what} is missing"
    wrong = unreadable(value["bytes"] if value.get("bytes") else Path(value["path"]))
    return f"the {what} cannot be read ({wrong})" if wrong else None


def decoded_when_read(rows: Dataset, name: str) -> Dataset:
    return rows.cast_column(name, CheckedImage(most_pixels=MOST_PIXELS.get()))


def surveyed(rows: Dataset, name: str, place: str) -> list[str]:
    """A note where images hold more than eight bits a pixel.

    Args:
        place: the column that says where a row is from.

    Raises:
        DataError: they use so little of their range that hardly anything of them would be left in eight bits.
    """
    deep: list[str] = []
    top = 0
    for row in rows.select_columns([name, place]).with_format(None):
        with opened(row[name]) as image:
            if image.mode in DEEP:
                deep.append(str(row[place]))
                extrema: Any = image.getextrema()
                top = max(top, int(extrema[1]))
    if not deep:
        return []
    if top < DEEPEST / LEVELS:
        raise DataError(
            f"{deep[0]}: {len(deep)} images have 16 bits a pixel and values up to {top:,} of {DEEPEST:,.0f}: in eight "
            f"bits, which models read, {int(top / DEEPEST * 255) + 1} levels would be left. Save them with eight bits "
            f"first, all on one scale: Image.fromarray((numpy.asarray(image) / {top} * 255).round().astype('uint8'))"
        )
    return [
        f"{len(deep)} images have 16 bits a pixel; they are scaled to eight, 65535 to 255. A stock pipeline shows all "
        "above 255 as white: scale such images in the same way before it reads them."
    ]


def given_image(item: Any, _: str) -> Image:
    """A PIL image, or the file of one, in RGB; of no format, or `datasets` would encode one of a JPEG once more."""
    if isinstance(item, Image):
        return to_rgb(item).copy()
    if not isinstance(item, (str, Path)):
        raise ConfigError(f"{shortened(repr(item))}: expected the path of an image or a PIL image.")
    if is_address(str(item)):
        raise DataError(f"{shortened(str(item))}: is an address; only files are read: download it, and name the file.")
    if not is_there(Path(item)):
        raise DataError(f"{shortened(str(item))}: there is no such image file.")
    try:
        return to_rgb(read_image(Path(item))).copy()
    except WrongImage as error:
        raise DataError(f"{item}: cannot be read as an image ({error}).") from None


def store_image(image: Image, stem: Path) -> dict[str, str]:
    """Writes an image as PNG, pixel by pixel what the model sees, and names the file."""
    file = stem.with_suffix(".png")
    to_rgb(image).save(file)
    return {"image": file.name}


def thumbnail(image: Image) -> bytes:
    """A small JPEG."""
    small = to_rgb(image).copy()  # `thumbnail` changes the image itself
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return jpeg(small, 80)


def jpeg(image: Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


AUTO_CLASSES = (
    "AutoModelForImageClassification", "AutoModelForSemanticSegmentation", "AutoModelForMaskedImageModeling",
    "AutoModelForObjectDetection",
)  # fmt: skip
"""Whose models' image processors are used."""


def check_processor(processor: Any, config: Any, id: str) -> None:
    """Raises ModelError where an image processor of Transformers is none of the models for images, or of this one: a
    file may name any, and others cut an image into any number of pieces, or start other programs."""
    name = type(processor).__name__
    if type(processor).__module__.startswith("transformers.") and name.removesuffix("Pil") not in image_processors(
        config.model_type
    ):
        raise ModelError(f"model: {id} names {name} as its image processor, which is none for such models.")


def image_processors(model_type: str) -> set[str]:
    """Names of the classes for the models of `AUTO_CLASSES`, and for `model_type`."""
    import transformers
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES as known

    types = {name for auto in AUTO_CLASSES for name in getattr(transformers, auto)._model_mapping._model_mapping}
    types.add("dinov3_vit")  # whose processor is that of all DINOv3
    found = [known[name].values() for name in types | {model_type} if name in known]
    return {each.removesuffix("Pil") for names in found for each in names if each} | {"TimmWrapperImageProcessor"}


def resize(processor: Any, config: Any, size: int) -> Any:
    """An image processor for images of `size` pixels; where it is a part of the model's configuration, that says so."""
    if of_timm(config):
        return resized(processor, config, size)
    square = {"height": size, "width": size}
    if getattr(processor, "do_center_crop", False):
        old = dict(processor.crop_size).get("height", size)
        processor.crop_size = square
        edge = dict(processor.size).get("shortest_edge")
        processor.size = {"shortest_edge": round(edge * size / old)} if edge else square
    elif hasattr(processor, "crop_pct"):  # ConvNeXt's, which cuts the square out itself
        processor.size = {"shortest_edge": size}
    else:
        processor.size = square
    return processor


def show_pixels(batch: Mapping[str, Any], names: Sequence[str], processor: Any, path: Path) -> dict[str, Any]:
    """`image`: `path`, a PNG of the images of a batch as the model gets them; `samples`: the `label` of each."""
    _grid(batch["pixel_values"].numpy(), names, processor, path, batch.get("labels"))
    return {"image": str(path), "samples": [{"label": name} for name in names]}


def _grid(pixels: Any, names: Sequence[str], processor: Any, path: Path, labels: Any = None) -> None:
    """Writes the images (count, channels, height, width) with normalisation undone, four in a row, labels above;
    masks (count, height, width) are laid over them, boxes (relative: middle, width and height) drawn."""
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    mean, std = (np.asarray(each).reshape(-1, 1, 1) for each in normalisation(processor))
    pixels = pixels * std + mean
    columns = min(4, len(pixels))
    lines = -(-len(pixels) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.6 * lines), layout="constrained")
    axes = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, image, name in zip(axes, pixels, names, strict=False):
        axis.imshow(np.clip(image, 0, 1).transpose(1, 2, 0))
        axis.set_title(name.replace("$", r"\$")[:34], fontsize=8 if len(name) > 24 else 9)
    height, width = pixels.shape[-2:]
    for axis, label in zip(axes, labels if labels is not None else (), strict=False):
        if getattr(label, "ndim", 0) == 2:
            mask = np.ma.masked_less_equal(np.asarray(label), 0)  # class 0 and what does not count stay as they are
            axis.imshow(mask, alpha=0.5, cmap="tab10", vmin=0, vmax=9, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
        elif isinstance(label, Mapping) and "boxes" in label:
            for x, y, w, h in np.asarray(label["boxes"]) * [width, height, width, height]:
                axis.add_patch(Rectangle((x - w / 2, y - h / 2), w, h, fill=False, edgecolor="tab:red"))
    with replacing_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata={"Software": "hf_tl preview"})
