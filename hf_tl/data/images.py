"""Pictures of any kind as RGB, and the check that each can be read."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"}


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB uint8, EXIF orientation applied.

    As Transformers' pipelines do (alpha is dropped), but 16-bit and float pictures are scaled to their range, where a
    plain conversion would clip them to white.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode != "F" and values.max(initial=0) > 255 else 255.0
        if image.mode == "F" and 0 <= values.min(initial=0) and values.max(initial=0) <= 1:
            top = 1.0
        image = Image.fromarray(np.clip(values / top * 255, 0, 255).round().astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def unreadable(source: Path | bytes) -> str | None:
    """Why a picture cannot be decoded, or None when it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                image.load()
    except UnidentifiedImageError:
        return "it is not an image of a known format"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        return str(error) or type(error).__name__
    return None


def upright_size(picture: Path | Mapping[str, Any]) -> tuple[int, int]:
    """(width, height) in pixels once the EXIF orientation is applied; decodes nothing.

    Args:
        picture: a file, or an undecoded picture of a data set (`bytes` or `path`).
    """
    if isinstance(picture, Mapping):
        source: Any = io.BytesIO(picture["bytes"]) if picture.get("bytes") else picture["path"]
    else:
        source = picture
    with Image.open(source) as image:
        turned = image.getexif().get(0x0112, 1) >= 5
        return (image.height, image.width) if turned else image.size
