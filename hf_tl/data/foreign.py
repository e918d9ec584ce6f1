"""Annotations of tools whose formats are not read: named, with what to export instead."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

HEAD = 20_000
"""Bytes by which a kind is told."""
MOST = 200
"""Files that are looked at."""
KINDS: tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...] = (
    ("VGG Image Annotator", (".json",), re.compile(r'"_via_|"shape_attributes"')),
    ("Supervisely", (".json",), re.compile(r'"classTitle"|"classId"\s*:')),
    ("Label Studio", (".json",), re.compile(r'"(rectanglelabels|polygonlabels|completed_by|from_name)"')),
    ("Labelbox", (".json", ".ndjson"), re.compile(r'"(Labeled Data|data_row)"')),
    ("BDD100K or Scalabel", (".json",), re.compile(r'"box2d"|"poly2d"')),
    ("Open Images", (".csv",), re.compile(r"^\ufeff?ImageID,.*XMin", re.M)),
    ("VGG Image Annotator", (".csv",), re.compile(r"region_shape_attributes")),
    ("KITTI", (".txt",), re.compile(r"^[A-Za-z_]+( -?[\d.]+){14,15}\s*$", re.M)),
    ("DOTA", (".txt",), re.compile(r"^(-?[\d.]+ ){8}[A-Za-z][\w-]* \d\s*$", re.M)),
    ("TensorFlow records", (".tfrecord", ".tfrecords", ".record"), re.compile("")),
    ("Darwin", (".json",), re.compile(r'"bounding_box"\s*:\s*\{\s*"h"')),
)
"""Name, endings of its files, and what stands in them."""


def named(files: Iterable[Path]) -> str | None:
    """A sentence where annotations of such a tool lie among files."""
    endings = {ending for _, these, _ in KINDS for ending in these}
    for file in [file for file in files if file.suffix.lower() in endings][:MOST]:
        with file.open("rb") as stream:
            head = stream.read(HEAD).decode("utf-8", "replace")
        for name, these, pattern in KINDS:
            if file.suffix.lower() in these and pattern.search(head):
                return (
                    f"{file}: annotations of {name}, a format that is not read; export them as COCO, Pascal VOC or "
                    "YOLO (for masks: PNG files with a class for each pixel), which most tools can."
                )
    return None
