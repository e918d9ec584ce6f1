"""Pascal VOC's annotations: a small XML file for each image, and lists of the images of each split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hf_tl.data.annotations import number_of, objects_of, size_said
from hf_tl.data.named_files import Reach, unreadable_file
from hf_tl.data.xml_text import WrongXml, read_xml
from hf_tl.errors import shortened


def is_voc(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            head = stream.read(2000).replace(b"\0", b"")  # as well in UTF-16
    except OSError as error:
        raise unreadable_file(file, error) from None
    return b"<annotation" in head and b"<annotations" not in head


def voc_image(file: Path, reach: Reach) -> str:
    """Name, without its ending, of the image that a file says that it describes. It is looked for in the folder alone,
    by that; `path`, which is of the machine that annotated, is not looked at.

    Raises:
        DataError: it names what it may not.
    """
    try:
        said = (read_xml(file).findtext("filename") or "").strip()
    except WrongXml:
        return ""
    if said:
        reach.find(said, file.parent, str(file), "filename")
    return Path(said.replace("\\", "/")).stem


def read_voc(file: Path) -> tuple[dict[str, Any], tuple[float, float] | None]:
    """(objects, size that the file says its image has); VOC has corners."""
    try:
        root = read_xml(file)
    except WrongXml as error:
        return objects_of([], [], str(error)), None
    boxes, names = [], []
    for index, each in enumerate(root.iter("object"), 1):
        name, box = each.findtext("name"), each.find("bndbox")
        if not name or not name.strip() or box is None:
            return objects_of([], [], f"object {index}: expected a name and a bndbox"), None
        corners = []
        for key in ("xmin", "ymin", "xmax", "ymax"):
            number = number_of(box.findtext(key) or "")
            if number is None:
                said = shortened(box.findtext(key) or "")
                return objects_of([], [], f"object {index}: {key} is {said}, expected a number"), None
            corners.append(number)
        left, top, right, bottom = corners
        boxes.append([left, top, right - left, bottom - top])
        names.append(name.strip())
    return objects_of(boxes, names), size_said(root.findtext("size/width"), root.findtext("size/height"))
