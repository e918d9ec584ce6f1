"""Images as values: given, stored, shown, and as a processor of the asked size sees them."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from matplotlib.axes import Axes
from PIL import Image
from transformers import BertConfig, ConvNextImageProcessor, ViTConfig, ViTImageProcessor

from hf_tl.data import image_values
from hf_tl.data.image_values import (
    THUMBNAIL,
    check_processor,
    decoded_when_read,
    given_image,
    resize,
    show_pixels,
    store_image,
    thumbnail,
    wrong_image,
)
from hf_tl.errors import ConfigError, DataError, ModelError


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def test_what_is_wrong_with_an_image(tmp_path: Path) -> None:
    noise(3, 2).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    for value in ({"bytes": content, "path": None}, {"bytes": None, "path": str(tmp_path / "a.png")}):
        assert wrong_image(value, "image") is None
    for value in (None, {"bytes": None, "path": None}, {"bytes": b"", "path": ""}):
        assert wrong_image(value, "mask") == "the mask is missing"
    assert wrong_image({"bytes": content[:40], "path": None}, "mask").startswith("the mask cannot be read (")  # type: ignore[union-attr]
    # the content is looked at, not the name beside it
    assert wrong_image({"bytes": content, "path": "gone.png"}, "image") is None


def test_an_image_as_a_person_gives_it(tmp_path: Path) -> None:
    noise(3, 2, "L").save(tmp_path / "a.png")
    for item in (tmp_path / "a.png", str(tmp_path / "a.png"), noise(3, 2, "L")):
        found = given_image(item, "")
        assert found.mode == "RGB" and found.size == (3, 2)
        assert np.array_equal(np.asarray(found)[..., 1], np.asarray(noise(3, 2, "L")))
    with pytest.raises(DataError, match=r"b\.png'?: there is no such image file"):
        given_image(str(tmp_path / "b.png"), "")
    (tmp_path / "b.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"b\.png: cannot be read as an image \(it is not an image of a known format"):
        given_image(tmp_path / "b.png", "")
    with pytest.raises(ConfigError, match=r"3.*: expected the path of an image or a PIL image"):
        given_image(3, "")


@pytest.mark.parametrize("opened", [True, False])
def test_a_jpeg_is_not_encoded_once_more(opened: bool, tmp_path: Path) -> None:
    """Rows of `predict` hold, pixel by pixel, what is in the file."""
    file = tmp_path / "a.jpg"
    noise(40, 30).save(file, quality=90)
    with Image.open(file) as there:
        given = given_image(there if opened else file, "")
        rows = Dataset.from_dict({"image": [given]}, features=Features({"image": ImageFeature()}))
        assert np.array_equal(np.asarray(rows[0]["image"]), np.asarray(there))


def test_an_image_is_stored_as_the_model_sees_it_and_read_by_the_lines(tmp_path: Path) -> None:
    stored = store_image(noise(5, 4, "RGBA"), tmp_path / "row-1")
    assert stored == {"image": "row-1.png"}
    names: dict[str, Any] = {}
    exec(image_values.READ_STORED, names)
    found = names["read"](stored, tmp_path)
    assert found.mode == "RGB" and np.array_equal(np.asarray(found), np.asarray(noise(5, 4)))


def test_a_thumbnail_is_small_and_keeps_its_form() -> None:
    large = noise(400, 200)
    found = Image.open(io.BytesIO(thumbnail(large)))
    assert found.format == "JPEG" and found.size == (THUMBNAIL, THUMBNAIL // 2) == (160, 80)
    assert large.size == (400, 200)


def test_an_image_is_decoded_when_it_is_read(tmp_path: Path) -> None:
    noise(3, 2).save(tmp_path / "a.png")
    rows = Dataset.from_dict({"image": [{"bytes": None, "path": str(tmp_path / "a.png")}]})
    assert decoded_when_read(rows, "image")[0]["image"].size == (3, 2)


def test_the_size_that_is_asked_for() -> None:
    config = ViTConfig()
    plain = resize(ViTImageProcessor(size={"height": 32, "width": 32}), config, 48)
    assert dict(plain.size) == {"height": 48, "width": 48}
    cropped = ViTImageProcessor(size={"shortest_edge": 36}, do_center_crop=True, crop_size={"height": 32, "width": 32})
    found = resize(cropped, config, 64)  # the edge grows with the crop
    assert dict(found.crop_size) == {"height": 64, "width": 64} and dict(found.size) == {"shortest_edge": 72}
    whole = ViTImageProcessor(
        size={"height": 36, "width": 40}, do_center_crop=True, crop_size={"height": 32, "width": 32}
    )
    assert dict(resize(whole, config, 64).size) == {"height": 64, "width": 64}


def test_a_processor_is_one_of_the_models() -> None:
    check_processor(ViTImageProcessor(), ViTConfig(), "x")
    check_processor(SimpleNamespace(), BertConfig(), "x")  # none of Transformers'
    odd = type("Pix2StructImageProcessor", (), {"__module__": "transformers.models.pix2struct"})()
    with pytest.raises(ModelError, match="x names Pix2StructImageProcessor as its image processor"):
        check_processor(odd, ViTConfig(), "x")
    check_processor(odd, SimpleNamespace(model_type="pix2struct"), "x")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any, dict[str, Any]]]:
    """What is drawn: (image, title or patch; value; options)."""
    seen: list[tuple[str, Any, dict[str, Any]]] = []
    monkeypatch.setattr(Axes, "imshow", lambda self, value, **options: seen.append(("image", value, options)))
    monkeypatch.setattr(Axes, "set_title", lambda self, text, **options: seen.append(("title", text, options)))
    monkeypatch.setattr(Axes, "add_patch", lambda self, patch: seen.append(("box", patch.get_bbox().bounds, {})))
    return seen


def test_images_are_shown_as_they_were(drawn: list[Any], tmp_path: Path) -> None:
    """Normalisation undone, and a value beyond the range cut to it."""
    processor = ConvNextImageProcessor(image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.1, 0.5])
    pixels = torch.stack([torch.full((4, 6), value) for value in (1.0, -2.0, 9.0)])[None].repeat(5, 1, 1, 1)
    said = show_pixels({"pixel_values": pixels}, ["a$", "b", "c", "d", "e"], processor, tmp_path / "g.png")
    assert said == {
        "image": str(tmp_path / "g.png"),
        "samples": [{"label": each} for each in ("a$", "b", "c", "d", "e")],
    }
    images = [value for kind, value, _ in drawn if kind == "image"]
    assert len(images) == 5 and images[0].shape == (4, 6, 3)
    assert images[0][2, 3] == pytest.approx([0.5 + 0.2, 0.4 - 0.2, 1.0])
    assert [value for kind, value, _ in drawn if kind == "title"] == [r"a\$", "b", "c", "d", "e"]
    assert Image.open(tmp_path / "g.png").size[0] > Image.open(tmp_path / "g.png").size[1]  # four in a row, two rows


def test_masks_and_boxes_are_laid_over(drawn: list[Any], tmp_path: Path) -> None:
    processor = ConvNextImageProcessor(do_normalize=False)
    pixels = torch.zeros(1, 3, 4, 8)
    mask = torch.tensor([[-100, 0], [1, 3]])[None]
    show_pixels({"pixel_values": pixels, "labels": mask}, ["a"], processor, tmp_path / "g.png")
    shown, options = next((value, options) for kind, value, options in drawn if "alpha" in options)
    assert shown.mask.tolist() == [[True, True], [False, False]] and shown.data[1].tolist() == [1, 3]
    assert options["extent"] == (-0.5, 7.5, 3.5, -0.5) and (options["vmin"], options["vmax"]) == (0, 9)
    boxes = [{"boxes": torch.tensor([[0.5, 0.25, 0.5, 0.5]])}]  # middle, width and height, as shares of 8 x 4
    show_pixels({"pixel_values": pixels, "labels": boxes}, ["a"], processor, tmp_path / "g.png")
    assert [value for kind, value, _ in drawn if kind == "box"] == [(2.0, 0.0, 4.0, 2.0)]


def test_a_preview_is_no_data(tmp_path: Path) -> None:
    """What `hf-tl preview` writes is known again where it lies among images."""
    from hf_tl.data.folder_files import files_below

    pixels = torch.zeros(1, 3, 8, 8)
    image_values._grid(pixels.numpy(), ["a"], ViTImageProcessor(), tmp_path / "preview.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.png")
    assert [file.name for file in files_below(tmp_path).files] == ["photo.png"]
