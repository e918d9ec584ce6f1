"""The one door by which image files come in: formats, size and EXIF data are checked, and any kind becomes RGB."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image, UnidentifiedImageError

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"}
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""Pillow's decoders that are let at a file, whatever its name: others are rarely tried ones, and that of EPS starts
Ghostscript. JPEG has the images of several views (MPO) with it."""
MAX_PIXELS = 89_478_485
"""Width times height; what is larger is refused by its header, before it is decoded. Pillow's own limit, at which it
only warns."""
MAX_SIDE = 250_000
"""Pixels of one side: each row takes memory of its own."""
MAX_HEADER = 500_000
"""Bytes before the pixels of a GIF or PPM."""
STRIP = 64
"""Rows that are converted at once."""
FAULTS = (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, EOFError, struct.error)
"""What Pillow raises at files that are not as their format says."""
ORIENTATION = 0x0112
SAYS_ORIENTATION = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
"""Entries of `Image.info` that Pillow reads the orientation from."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes an image upright."""


class WrongImage(ValueError):
    """Why a file is no image that can be used; names no path."""


class _Stream(io.RawIOBase):
    """A file of which only so much is read while `left` is a number."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        start = inner.read(3)
        inner.seek(0)
        # comments, which Pillow takes byte by byte (PPM), or in the square of their length (GIF)
        self.left: int | None = MAX_HEADER if start == b"GIF" or start[:1] == b"P" else None

    def read(self, size: int | None = -1, /) -> bytes:
        found: bytes = self.inner.read(size)
        if self.left is not None:
            self.left -= len(found)
            if self.left < 0:
                raise WrongImage(f"more than {MAX_HEADER:,} bytes stand before what it shows")
        return found

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, *where: Any) -> int:
        return int(self.inner.seek(*where))

    def tell(self) -> int:
        return int(self.inner.tell())


@contextlib.contextmanager
def _stream(given: Any) -> Iterator[Any]:
    with io.BytesIO(given) if isinstance(given, bytes) else open(given, "rb") as inner:
        yield _Stream(inner)


@contextlib.contextmanager
def opened(source: Path | str | bytes | Mapping[str, Any]) -> Iterator[Image.Image]:
    """An image, not decoded yet. What Pillow finds wrong with it while it is open comes as WrongImage, too.

    Args:
        source: a file, its content, or an undecoded image of a dataset (`bytes` or `path`).

    Raises:
        WrongImage: not an image of FORMATS, more than MAX_PIXELS, or damaged.
    """
    given: Any = source
    if isinstance(source, Mapping):
        given = source["bytes"] if source.get("bytes") else source["path"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of what is only odd
            with _stream(given) as stream, Image.open(stream, formats=FORMATS) as image:
                stream.left = None  # its header is read
                if max(image.size) > MAX_SIDE:
                    raise WrongImage(f"{image.width} x {image.height} pixels, a side of more than {MAX_SIDE:,}")
                if image.width * image.height > MAX_PIXELS:
                    raise WrongImage(
                        f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}; make it smaller first"
                    )
                yield image
    except WrongImage:
        raise
    except Image.DecompressionBombError:
        raise WrongImage(f"more than {2 * MAX_PIXELS:,} pixels; make it smaller first") from None
    except UnidentifiedImageError:
        raise WrongImage("it is not an image of a known format") from None
    except OSError as error:  # whose text may name the file
        raise WrongImage(error.strerror or str(error) or type(error).__name__) from None
    except FAULTS as error:
        raise WrongImage(str(error) or type(error).__name__) from None
    except MemoryError:
        raise WrongImage("it does not fit in memory") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB uint8, EXIF orientation applied.

    As Transformers' pipelines do (alpha is dropped), but 16-bit and float images are scaled to their range, where a
    plain conversion would clip them to white.
    """
    image = upright(image)
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        image = Image.fromarray(_as_bytes(np.asarray(image), integers=image.mode != "F"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _as_bytes(values: np.ndarray, integers: bool) -> np.ndarray:
    """Grey values as uint8, scaled to their range; some rows at a time, since float64 takes eight times the memory."""
    least, most = values.min(initial=0), values.max(initial=0)
    top = 65535.0 if integers and most > 255 else 255.0
    if not integers and 0 <= least and most <= 1:
        top = 1.0
    out = np.empty(values.shape, dtype=np.uint8)
    for start in range(0, len(values), STRIP):
        strip = values[start : start + STRIP].astype(np.float64)
        out[start : start + STRIP] = np.clip(strip / top * 255, 0, 255).round()
    return out


def upright(image: Image.Image) -> Image.Image:
    """The image with its EXIF orientation applied; broken EXIF data say nothing."""
    turn = TURNS.get(_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    for name in SAYS_ORIENTATION:
        turned.info.pop(name, None)
    return turned


def _orientation(image: Image.Image) -> int:
    """EXIF's; 1, upright, where there is none or its data are broken."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except FAULTS:
        return 1
    return found if isinstance(found, int) and found in TURNS else 1


def read_image(source: Path | str | bytes | Mapping[str, Any]) -> Image.Image:
    """An image decoded and upright, of the kind that it is.

    Raises:
        WrongImage: as `opened`.
    """
    with opened(source) as image:
        image.load()
        return upright(image)


@dataclass
class CheckedImage(datasets.Image):
    """The feature of an image column whose files come in by this door when a row is read; nothing else is opened, no
    address in place of a file either."""

    def decode_example(self, value: Any, token_per_repo_id: Any = None) -> Any:
        if not isinstance(value, (dict, str)):
            return value
        return read_image(value)


def unreadable(source: Path | bytes) -> str | None:
    """Why an image cannot be decoded, or None when it can."""
    try:
        read_image(source)
    except WrongImage as error:
        return str(error)
    return None


def upright_size(source: Path | Mapping[str, Any]) -> tuple[int, int]:
    """(width, height) in pixels once the EXIF orientation is applied; decodes nothing.

    Args:
        source: a file, or an undecoded image of a dataset (`bytes` or `path`).

    Raises:
        WrongImage: as `opened`.
    """
    with opened(source) as image:
        return size_of(image)


def size_of(image: Image.Image) -> tuple[int, int]:
    """`upright_size` of an open image."""
    return (image.height, image.width) if _orientation(image) >= 5 else image.size
