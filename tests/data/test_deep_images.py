"""Images of 16 bits a pixel, and of more pixels than usual."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_tl.config import DataConfig
from hf_tl.data import load_data
from hf_tl.errors import DataError


def deep_folder(folder: Path, *tops: int) -> Path:
    """Images of 16 bits a pixel with values up to each of `tops`, and one of eight bits."""
    for index, top in enumerate(tops):
        for name in ("a", "b"):
            file = folder / name / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.linspace(0, top, 48).reshape(6, 8).astype(np.uint16)).save(file)
    Image.new("L", (8, 6), 200).save(folder / "a" / "eight.png")
    return folder


def test_16_bits_are_on_one_scale_or_refused(tmp_path: Path) -> None:
    """A dark image stays dark beside a bright one; values of a sixteenth of the range would vanish."""
    from hf_tl.data.images import to_rgb

    data = load_data(DataConfig(path=str(deep_folder(tmp_path / "d", 65535, 250, 40000))))
    rows = [row for split in data.splits.values() for row in split]
    tops = {Path(row["file"]).name: np.asarray(to_rgb(row["image"])).max() for row in rows}
    assert tops == {"0.png": 255, "1.png": 1, "2.png": 156, "eight.png": 200}
    assert [note for note in data.notes if "16 bits" in note] == [
        "6 images have 16 bits a pixel; they are scaled to eight, 65535 to 255. A stock pipeline shows all above 255 "
        "as white: scale such images in the same way before it reads them."
    ]
    words = r"a/0\.png: 4 images have 16 bits a pixel and values up to 4,095 of .*16 levels .*\(image\) / 4095 \* 255"
    with pytest.raises(DataError, match=words):
        load_data(DataConfig(path=str(deep_folder(tmp_path / "e", 4095, 250))))


def test_images_of_more_pixels_where_the_configuration_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_tl.data import images

    monkeypatch.setattr(images, "MAX_PIXELS", 40)
    folder = deep_folder(tmp_path / "d", 65535, 65535)
    with pytest.raises(DataError, match=r"8 x 6 pixels, more than 40; .*raise data\.max_pixels"):
        load_data(DataConfig(path=str(folder)))
    data = load_data(DataConfig(path=str(folder), max_pixels=48))
    assert data.splits["train"][0]["image"].size == (8, 6)
    assert data.splits["train"].features["image"].most_pixels == 48
