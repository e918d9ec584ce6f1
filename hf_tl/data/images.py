"""The one door by which image files come in: formats, size and EXIF data are checked, and any kind becomes RGB."""

from __future__ import annotations

import contextlib
import contextvars
import io
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""Pillow's decoders that are let at a file, whatever its name: others are rarely tried ones, and that of EPS starts
Ghostscript. JPEG has the images of several views (MPO) with it."""
NAMED = ("TGA",)
"""Decoders of formats without a mark of their own: let at files alone that have their ending."""
NAMED_EXTENSIONS = {end for end, kind in Image.registered_extensions().items() if kind in NAMED}
EXTENSIONS = {end for end, kind in Image.registered_extensions().items() if kind in (*FORMATS, *NAMED, "MPO")}
"""Endings of images that Pillow reads here."""
SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|BM....\0\0\0\0|RIFF....WEBP|II\*\0|MM\0\*|P[1-6]\s+\d|....ftyp(?:avif|avis)"
    rb"|\0\0\0\x0cjP  |\xff\x4f\xff\x51", re.S
)  # fmt: skip
"""How the files of FORMATS begin; TGA has no mark."""
MAX_PIXELS = 89_478_485
"""Width times height; what is larger is refused by its header, before it is decoded. Pillow's own limit, at which it
only warns."""
MOST_PIXELS: contextvars.ContextVar[int | None] = contextvars.ContextVar("MOST_PIXELS", default=None)
"""`data.max_pixels` of the data that are being read, in place of MAX_PIXELS."""
MAX_SIDE = 250_000
"""Pixels of one side: each row takes memory of its own."""
MAX_HEADER = 500_000
"""Bytes before the pixels of a GIF or PPM."""
STRIP = 64
"""Rows that are converted at once."""
FAULTS = (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, EOFError, struct.error)
"""What Pillow raises at files that are not as their format says."""
DEEP = ("I;16", "I;16B", "I;16L", "I")
"""Pillow's modes of more than eight bits a pixel."""
DEEPEST = 65535.0
"""What is white in them."""
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


def looks_like_image(file: Path) -> bool:
    """Whether a file begins as an image does, whatever it is called."""
    try:
        with file.open("rb") as stream:
            return SIGNATURES.match(stream.read(32)) is not None
    except OSError:
        return False


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
def _up_to(most: int) -> Iterator[None]:
    """Lets Pillow open images of so many pixels."""
    usual = Image.MAX_IMAGE_PIXELS
    if usual is not None and most > usual:
        Image.MAX_IMAGE_PIXELS = most
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = usual


@contextlib.contextmanager
def opened(source: Path | str | bytes | Mapping[str, Any]) -> Iterator[Image.Image]:
    """An image, not decoded yet. What Pillow finds wrong with it while it is open comes as WrongImage, too.

    Args:
        source: a file, its content, or an undecoded image of a dataset (`bytes` or `path`).

    Raises:
        WrongImage: not an image of FORMATS, more than MAX_PIXELS or MOST_PIXELS, or damaged.
    """
    given: Any = source
    if isinstance(source, Mapping):
        given = source["bytes"] if source.get("bytes") else source["path"]
    named = source.get("path") if isinstance(source, Mapping) else source
    most = MOST_PIXELS.get() or MAX_PIXELS
    formats: tuple[str, ...] = FORMATS
    if isinstance(named, (str, Path)) and Path(named).suffix.lower() in NAMED_EXTENSIONS:
        formats = (*FORMATS, *NAMED)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of what is only odd
            with _stream(given) as stream, _up_to(most), Image.open(stream, formats=formats) as image:
                stream.left = None  # its header is read
                if max(image.size) > MAX_SIDE:
                    raise WrongImage(f"{image.width} x {image.height} pixels, a side of more than {MAX_SIDE:,}")
                if image.width * image.height > most:
                    raise WrongImage(
                        f"{image.width} x {image.height} pixels, more than {most:,}; make it smaller first, or raise "
                        "data.max_pixels"
                    )
                yield image
    except WrongImage:
        raise
    except Image.DecompressionBombError:
        raise WrongImage(f"more than {2 * most:,} pixels; make it smaller first, or raise data.max_pixels") from None
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

    As Transformers' pipelines do (alpha is dropped), but 16-bit and float images are scaled, where a plain conversion
    would clip them to white: those of whole numbers by the range of their type, so that all are on one scale.
    """
    image = upright(image)
    if image.mode in DEEP or image.mode == "F":
        image = Image.fromarray(_as_bytes(np.asarray(image), integers=image.mode != "F"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _as_bytes(values: np.ndarray, integers: bool) -> np.ndarray:
    """Grey values as uint8, scaled; some rows at a time, since float64 takes eight times the memory."""
    top = DEEPEST if integers else 255.0
    if not integers and 0 <= values.min(initial=0) and values.max(initial=0) <= 1:
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
        return without_exif(image)
    return without_exif(image.transpose(turn))


def without_exif(image: Image.Image) -> Image.Image:
    """An image without its EXIF block: Pillow reads and writes it once more whenever one is turned, and fails where a
    tag is of another type than the standard's."""
    if image.format == "TIFF" or any(name in image.info for name in SAYS_ORIENTATION):
        image = image.copy()
        for name in SAYS_ORIENTATION:
            image.info.pop(name, None)
    return image


def _orientation(image: Image.Image) -> int:
    """EXIF's; 1, upright, where there is none, its data are broken, or Pillow has seen to it, as it does for TIFF: it
    says the size of the upright image from the start, and turns it when it is decoded."""
    return 1 if image.format == "TIFF" else _said_orientation(image)


def _said_orientation(image: Image.Image) -> int:
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

    most_pixels: int | None = None
    """MOST_PIXELS of the data, for processes that read rows on their own."""

    def decode_example(self, value: Any, token_per_repo_id: Any = None) -> Any:
        if not isinstance(value, (dict, str)):
            return value
        before = MOST_PIXELS.set(self.most_pixels)
        try:
            return read_image(value)
        finally:
            MOST_PIXELS.reset(before)


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
    return _turned(image.size, _orientation(image))


def stored_size(source: Path) -> tuple[tuple[int, int], int]:
    """((width, height) as stored, EXIF orientation); decodes nothing.

    Raises:
        WrongImage: as `opened`.
    """
    with opened(source) as image:
        orientation = _said_orientation(image)
        upright = size_of(image)
        return _turned(upright, orientation), orientation


def _turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size[::-1] if orientation >= 5 else size
