"""Images of any kind as RGB: orientation, depth, and the check that each can be read."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_tl.data import images
from hf_tl.data.images import to_rgb, unreadable, upright_size

ORIENTATION = 0x0112


def turned(orientation: int, size: tuple[int, int] = (4, 2), kind: str = "JPEG") -> bytes:
    """An image of `size` whose EXIF data say how it is to be turned; its upper left corner is red."""
    image = Image.new("RGB", (size[0] * 16, size[1] * 16), (0, 0, 0))
    image.paste((250, 0, 0), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stream = io.BytesIO()
    image.save(stream, kind, exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("orientation", "size", "corner"),  # corner: where the stored upper left is once upright, as (right, lower)
    [(1, (64, 32), (False, False)), (2, (64, 32), (True, False)), (3, (64, 32), (True, True)),
     (4, (64, 32), (False, True)), (5, (32, 64), (False, False)), (6, (32, 64), (True, False)),
     (7, (32, 64), (True, True)), (8, (32, 64), (False, True))],
)  # fmt: skip
def test_images_are_upright(orientation: int, size: tuple[int, int], corner: tuple[bool, bool], tmp_path: Path) -> None:
    content = turned(orientation)
    found = to_rgb(Image.open(io.BytesIO(content)))
    assert found.size == size and found.mode == "RGB"
    right, lower = corner
    pixel = found.getpixel((size[0] - 5 if right else 4, size[1] - 5 if lower else 4))
    assert pixel[0] > 200 and pixel[1] < 60
    # the size is known without decoding, from a file or from what a dataset holds
    (tmp_path / "a.jpg").write_bytes(content)
    for source in (
        tmp_path / "a.jpg",
        {"bytes": content, "path": None},
        {"bytes": content, "path": "elsewhere.jpg"},
        {"bytes": None, "path": str(tmp_path / "a.jpg")},
    ):
        assert upright_size(source) == size


def of(values: list[float], dtype: type) -> list[int]:
    """Grey values of an image of one row, as RGB."""
    found = np.asarray(to_rgb(Image.fromarray(np.array([values], dtype=dtype))))
    assert found.dtype == np.uint8 and (found == found[..., :1]).all()
    return [int(value) for value in found[0, :, 0]]


def test_sixteen_bits_are_scaled_to_eight() -> None:
    assert of([0, 257, 32896, 65535], np.uint16) == [0, 1, 128, 255]
    assert of([0, 256], np.uint16) == [0, 1]  # 256 / 65535 * 255
    assert of([0, 100, 255], np.uint16) == [0, 0, 1]  # a dark image of 16 bits is no bright one of 8
    assert of([0, 128.5 * 257, 65535], np.int32) == [0, 128, 255]
    assert of([-5, 1000, 65535], np.int32) == [0, 4, 255]
    assert of([0, 65535, 131070], np.int32) == [0, 255, 255]


def test_numbers_with_a_point_are_scaled_by_their_range() -> None:
    assert of([0, 0.5, 1.0], np.float32) == [0, 128, 255]
    assert of([0, 0.2], np.float32) == [0, 51]
    assert of([0, 1.5, 200.4], np.float32) == [0, 2, 200]
    assert of([-0.5, 0.5, 1.0], np.float32) == [0, 0, 1]  # not from 0 to 1
    assert of([0, 300, 65535], np.float32) == [0, 255, 255]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
def test_eight_bits_are_as_pillow_converts_them(mode: str) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    image = Image.fromarray(colours).convert(mode)
    assert np.array_equal(np.asarray(to_rgb(image)), np.asarray(image.convert("RGB")))
    assert to_rgb(image).size == (6, 5)


def png(size: tuple[int, int] = (40, 30)) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise(size, 50).save(stream, "PNG")
    return stream.getvalue()


def test_what_can_be_decoded(tmp_path: Path) -> None:
    good = png()
    (tmp_path / "a.png").write_bytes(good)
    (tmp_path / "b.png").write_bytes(good[: len(good) // 2])
    assert unreadable(good) is None and unreadable(tmp_path / "a.png") is None
    assert unreadable(b"no image") == "it is not an image of a known format"
    for broken in (good[: len(good) // 2], tmp_path / "b.png", tmp_path / "none.png", b""):
        assert unreadable(broken)


def test_an_image_that_is_far_too_large_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes may say that they are a wall of pixels."""
    stream = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(stream, "PNG")
    decoded: list[object] = []
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: decoded.append(self))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "pixels" in str(unreadable(stream.getvalue()))
    assert not decoded


def test_the_bound_is_of_width_times_height(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    assert unreadable(png((20, 5))) is None and unreadable(png((5, 20))) is None
    for size in ((20, 6), (6, 20)):
        assert (
            unreadable(png(size))
            == f"{size[0]} x {size[1]} pixels, more than 100; make it smaller first, or raise data.max_pixels"
        )


def test_larger_images_are_read_where_that_is_said() -> None:
    """`data.max_pixels`, which goes along to where rows are decoded, also in other processes."""
    stream = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(stream, "PNG")
    content = stream.getvalue()
    assert unreadable(content) == "more than 178,956,970 pixels; make it smaller first, or raise data.max_pixels"
    before = images.MOST_PIXELS.set(200_000_000)
    try:
        assert upright_size({"bytes": content, "path": None}) == (20_000, 10_000)
    finally:
        images.MOST_PIXELS.reset(before)
    limit = Image.MAX_IMAGE_PIXELS
    found = images.CheckedImage(most_pixels=200_000_000).decode_example({"bytes": content, "path": None})
    assert found.size == (20_000, 10_000) and limit == Image.MAX_IMAGE_PIXELS and images.MOST_PIXELS.get() is None


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_sizes_are_known_before_images_are_decoded(kind: str, orientation: int) -> None:
    """TIFF is turned by Pillow itself, whose size then is that of the upright image from the start."""
    content = turned(orientation, kind=kind)
    found = images.read_image(content)
    assert upright_size({"bytes": content, "path": None}) == found.size == to_rgb(found).size
    assert found.size == ((32, 64) if orientation >= 5 else (64, 32))


@pytest.mark.parametrize("orientation", [1, 6])
def test_exif_of_odd_types_is_left_behind(orientation: int) -> None:
    """Pillow writes the rest of the block back where an image is turned, and fails at tags of types that are not the
    standard's: stock pipelines turn every image that they are given."""
    from PIL import ImageOps

    # the orientation, and the resolution as a text
    raw = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + b"\x01\x12\0\x03\0\0\0\x01\0" + bytes([orientation]) + b"\0\0"
    raw += b"\x01\x1a\0\x02\0\0\0\x04abc\0\0\0\0\0"
    stream = io.BytesIO()
    Image.new("RGB", (8, 4)).save(stream, "JPEG", exif=raw)
    found = images.read_image(stream.getvalue())
    assert found.size == ((4, 8) if orientation == 6 else (8, 4))
    assert not dict(found.getexif()) and ImageOps.exif_transpose(found).size == found.size
    given = Image.open(io.BytesIO(stream.getvalue()))
    assert ImageOps.exif_transpose(to_rgb(given)).size == found.size and given.getexif()[ORIENTATION] == orientation


def test_what_begins_as_an_image_is_one(tmp_path: Path) -> None:
    for kind in ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000"):
        Image.new("RGB", (4, 4)).save(tmp_path / kind, kind)
        assert images.looks_like_image(tmp_path / kind), kind
    for number, other in enumerate(
        (b"", b"BM is how this text begins", b"RIFF1234WAVE", b"P5 is a text", b"II", b"%PDF")
    ):
        (tmp_path / str(number)).write_bytes(other)
        assert not images.looks_like_image(tmp_path / str(number))
