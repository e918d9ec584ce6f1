"""Annotation files of boxes, read as rows: what each tool's numbers mean, and which image a file describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hf_tl.config import DataConfig
from hf_tl.data.annotations import FILE, WRONG
from hf_tl.data.sources import read_source
from hf_tl.errors import DataError, InputError

SIZE = (80, 60)


def image(path: Path, orientation: int = 1) -> Path:
    """An image of 80 x 60 pixels as they are stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", SIZE).save(path, exif=exif)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def found(path: Path, split: str = "train", **options: Any) -> dict[str, dict[str, Any]]:
    """Name of an image -> its objects."""
    rows = read_source(DataConfig(path=str(path), **options)).splits[split].with_format(None)
    return {Path(row["image"]["path"]).name if row["image"] else row[FILE]: row["objects"] for row in rows}


# COCO


def coco(file: Path, **changes: Any) -> Path:
    content = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [
            {"image_id": 1, "category_id": 9, "bbox": [1, 2, 3, 4]},
            {"image_id": 1, "category_id": 3, "bbox": [5, 6, 7.5, 8]},
        ],
    }
    return write(file, json.dumps({**content, **changes}))


def test_coco(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        image(tmp_path / name)
    file = coco(tmp_path / "boxes.json")
    objects = found(tmp_path)
    assert objects["a.png"] == {"bbox": [[1, 2, 3, 4], [5, 6, 7.5, 8]], "category": ["dog", "cat"], WRONG: None}
    assert objects["b.png"] == {"bbox": [], "category": [], WRONG: None}  # an image with nothing on it
    rows = read_source(DataConfig(path=str(file))).splits["train"]
    assert list(rows[FILE]) == [f"{file}, images[0] (a.png)", f"{file}, images[1] (b.png)"]


def test_crowds_are_no_things(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    box = {"image_id": 1, "category_id": 9}
    coco(
        tmp_path / "boxes.json",
        images=[{"id": 1, "file_name": "a.png"}],
        annotations=[
            {**box, "bbox": [1, 2, 3, 4], "iscrowd": 1}, {**box, "bbox": [5, 6, 7, 8], "iscrowd": 0},
            {"image_id": 1, "category_id": 77, "bbox": None, "iscrowd": 1},  # whatever else is wrong with it
        ],
    )  # fmt: skip
    assert found(tmp_path)["a.png"] == {"bbox": [[5, 6, 7, 8]], "category": ["dog"], WRONG: None}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"category_id": 5}, r"annotations[1]: category_id 5 is none of the file's categories"),
        ({"bbox": [1, 2, 3]}, r"annotations[1]: bbox is [1, 2, 3], expected four numbers"),
        ({"bbox": None}, r"annotations[1]: bbox is null, expected four numbers"),
        ({"bbox": [1, 2, 3, "4"]}, 'annotations[1]: bbox is [1, 2, 3, "4"], expected four numbers'),
    ],
)
def test_wrong_annotations_are_kept_for_where_rows_are_checked(bad: dict[str, Any], words: str, tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    good = {"image_id": 1, "category_id": 9, "bbox": [1, 2, 3, 4]}
    coco(
        tmp_path / "boxes.json",
        images=[{"id": 1, "file_name": "a.png"}],
        annotations=[good, {**good, **bad}, {**good, "bbox": 5}],
    )
    assert found(tmp_path)["a.png"][WRONG] == words  # the first of them


def test_of_the_files_of_coco_itself_instances_are_read(tmp_path: Path) -> None:
    """Its folder holds keypoints and captions of the same images as well."""
    for name in ("a.png", "b.png"):
        image(tmp_path / "train" / name)
    coco(tmp_path / "annotations" / "instances_train.json")
    coco(tmp_path / "annotations" / "person_keypoints_train.json", annotations=[])
    rows = read_source(DataConfig(path=str(tmp_path))).splits["train"]
    assert len(rows) == 2 and "instances" in rows[0][FILE]
    (tmp_path / "annotations" / "instances_train.json").unlink()
    assert "keypoints" in read_source(DataConfig(path=str(tmp_path))).splits["train"][0][FILE]


def test_annotations_of_no_image_and_no_images(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    file = coco(tmp_path / "boxes.json", annotations=[{"image_id": 8, "category_id": 9, "bbox": [1, 2, 3, 4]}])
    rows = read_source(DataConfig(path=str(file))).splits["train"].with_format(None)
    assert rows[2]["image"] is None and rows[2][FILE].startswith(f"{file}, annotations[0] (image_id 8 is none of")
    coco(file, annotations=[{"category_id": 9, "bbox": [1, 2, 3, 4]}] * 2)
    rows = read_source(DataConfig(path=str(file))).splits["train"]
    assert [row.partition(" (")[0] for row in rows[FILE][2:]] == [f"{file}, annotations[{index}]" for index in (0, 1)]
    for name in (None, 3, " "):
        coco(file, images=[{"id": 1, "file_name": name}], annotations=[])
        with pytest.raises(DataError, match=r"images\[0\]: file_name is .*, expected the name of an image"):
            read_source(DataConfig(path=str(file)))
    coco(file, images=[], annotations=[])
    with pytest.raises(DataError, match=r"boxes\.json: has no images"):
        read_source(DataConfig(path=str(file)))


def test_the_images_that_coco_means(tmp_path: Path) -> None:
    """The most of the path that the file names, then those of its split, then the nearest."""
    for name in ("train/x/a.png", "train/y/a.png", "val/x/a.png", "val/x/b.png", "train/y/c.png", "val/y/c.png"):
        image(tmp_path / name)
    file = tmp_path / "labels" / "train.json"
    images = [{"id": 1, "file_name": "y\\a.png"}, {"id": 2, "file_name": "b.png"}, {"id": 3, "file_name": "c.png"}]
    coco(file, images=images, annotations=[])
    rows = read_source(DataConfig(path=str(tmp_path))).splits["train"].with_format(None)
    paths = [str(Path(row["image"]["path"]).relative_to(tmp_path)) for row in rows]
    assert paths == ["train/y/a.png", "val/x/b.png", "train/y/c.png"]
    coco(file, images=[{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "no.png"}], annotations=[])
    rows = read_source(DataConfig(path=str(tmp_path))).splits["train"].with_format(None)
    assert (
        rows[0]["objects"][WRONG].startswith("file_name 'a.png' may be ")
        and "train/x/a.png" in rows[0]["objects"][WRONG]
    )
    assert rows[1]["image"]["path"] == str(tmp_path / "labels" / "no.png")  # which cannot be read
    near = image(tmp_path / "labels" / "a.png")
    rows = read_source(DataConfig(path=str(tmp_path))).splits["train"].with_format(None)
    assert rows[0]["image"]["path"] == str(near) and rows[0]["objects"][WRONG] is None


def test_what_is_coco(tmp_path: Path) -> None:
    image(tmp_path / "cat" / "a.png")
    write(tmp_path / "other.json", json.dumps({"images": [], "annotations": []}))  # no categories
    write(tmp_path / "list.json", "[1]")
    write(tmp_path / "broken.json", "{")
    rows = read_source(DataConfig(path=str(tmp_path))).splits["train"]
    assert rows.column_names == ["image", "label", FILE]  # a folder of classes, with something else beside it


# Pascal VOC


def voc(file: Path, *objects: str, filename: str = "") -> Path:
    name = f"<filename>{filename}</filename>" if filename else ""
    return write(file, f"<annotation>{name}{''.join(f'<object>{each}</object>' for each in objects)}</annotation>")


def corners(name: str, left: Any, top: Any, right: Any, bottom: Any) -> str:
    keys = zip(("xmin", "ymin", "xmax", "ymax"), (left, top, right, bottom), strict=True)
    return f"<name>{name}</name><bndbox>{''.join(f'<{key}>{value}</{key}>' for key, value in keys)}</bndbox>"


def test_voc_has_corners(tmp_path: Path) -> None:
    image(tmp_path / "JPEGImages" / "1.png")
    image(tmp_path / "JPEGImages" / "2.png")
    file = voc(tmp_path / "Annotations" / "1.xml", corners(" cat ", 10, 5, 30, 45.5), corners("dog", 1, 2, 3, 4))
    objects = found(tmp_path)
    assert objects["1.png"] == {"bbox": [[10, 5, 20, 40.5], [1, 2, 2, 2]], "category": ["cat", "dog"], WRONG: None}
    assert objects["2.png"] == {"bbox": [], "category": [], WRONG: None}
    rows = read_source(DataConfig(path=str(tmp_path))).splits["train"]
    assert list(rows[FILE]) == [str(file), str(tmp_path / "JPEGImages" / "2.png")]


def test_the_image_that_voc_names(tmp_path: Path) -> None:
    image(tmp_path / "a" / "1.png")
    image(tmp_path / "b" / "1.png")
    image(tmp_path / "b" / "photo.png")
    voc(tmp_path / "b" / "1.xml", corners("cat", 1, 2, 3, 4))
    voc(tmp_path / "b" / "other.xml", corners("dog", 1, 2, 3, 4), filename="c:\\x\\photo.JPG")
    rows = read_source(DataConfig(path=str(tmp_path))).splits["train"].with_format(None)
    by_file = {row[FILE]: row["image"]["path"] for row in rows}
    assert by_file[str(tmp_path / "b" / "1.xml")] == str(tmp_path / "b" / "1.png")  # the nearest of two
    assert by_file[str(tmp_path / "b" / "other.xml")] == str(tmp_path / "b" / "photo.png")
    assert by_file[str(tmp_path / "a" / "1.png")] == str(tmp_path / "a" / "1.png") and len(by_file) == 3


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        (["<name>cat</name>"], "object 1: expected a name and a bndbox"),
        ([corners("cat", 1, 2, 3, 4), corners(" ", 1, 2, 3, 4)], "object 2: expected a name and a bndbox"),
        ([corners("cat", 1, 2, 3, "x")], "object 1: ymax is 'x', expected a number"),
        (["<name>cat</name><bndbox><xmin>1</xmin></bndbox>"], "object 1: ymin is '', expected a number"),
    ],
)
def test_wrong_objects_of_voc(objects: list[str], words: str, tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    voc(tmp_path / "1.xml", *objects)
    assert found(tmp_path)["1.png"] == {"bbox": [], "category": [], WRONG: words}


def test_splits_of_voc_are_its_lists(tmp_path: Path) -> None:
    for name in "1234":
        image(tmp_path / "JPEGImages" / f"{name}.png")
        voc(tmp_path / "Annotations" / f"{name}.xml", corners("cat", 1, 2, 3, 4))
    write(tmp_path / "ImageSets" / "Main" / "train.txt", "1 -1\n\n")
    write(tmp_path / "ImageSets" / "Main" / "val.txt", "2  1\n")
    write(tmp_path / "ImageSets" / "Main" / "test.txt", "3\n")
    write(tmp_path / "ImageSets" / "Main" / "cat_train.txt", "4\n")
    write(tmp_path / "ImageSets" / "Layout" / "test.txt", "1\n")
    splits = read_source(DataConfig(path=str(tmp_path))).splits
    names = {
        split: sorted(Path(row["image"]["path"]).stem for row in rows.with_format(None))
        for split, rows in splits.items()
    }
    assert names == {"train": ["1"], "validation": ["2"], "test": ["3"]}
    notes = read_source(DataConfig(path=str(tmp_path))).notes
    assert notes == ["1 images are left out: the lists of images name no split for them."]
    for name in ("train", "val"):
        (tmp_path / "ImageSets" / "Main" / f"{name}.txt").unlink()
    write(tmp_path / "ImageSets" / "Main" / "trainval.txt", "1\n2\n4\n")
    assert sorted(found(tmp_path)) == ["1.png", "2.png", "4.png"] and list(found(tmp_path, "test")) == ["3.png"]


# YOLO


def yolo(folder: Path, line: str, names: str | None = "names: [cat, dog]", file: str = "data.yaml") -> dict[str, Any]:
    if not (folder / "1.jpg").exists():
        image(folder / "1.jpg")
    image(folder / "2.jpg")
    write(folder / "1.txt", line)
    write(folder / "2.txt", "0 0.5 0.5 0.5 0.5\n" * 3)
    if names is not None:
        write(folder / file, names)
    return found(folder)["1.jpg"]


def test_yolo_has_middles_and_shares(tmp_path: Path) -> None:
    objects = yolo(tmp_path, "1 0.5 0.25 0.25 0.1\n\n0 0.25 0.5 0.5 1\n")
    assert objects["category"] == ["dog", "cat"] and objects[WRONG] is None
    assert objects["bbox"][0] == pytest.approx([30, 12, 20, 6]) and objects["bbox"][1] == pytest.approx([0, 0, 40, 60])


def test_shares_are_of_the_upright_image(tmp_path: Path) -> None:
    """Stored as 80 x 60 and to be turned by a quarter: annotation tools show 60 x 80."""
    image(tmp_path / "1.jpg", orientation=6)
    objects = yolo(tmp_path, "0 0.5 0.25 0.5 0.5\n")
    assert objects["bbox"][0] == pytest.approx([15, 0, 30, 40])


def test_polygons_become_boxes(tmp_path: Path) -> None:
    objects = yolo(tmp_path, "0 0.25 0.5 0.5 0.1 0.75 0.9\n0 0.1 0.9 0.2 0.2 0.05 0.3 0.15 0.25\n")
    assert objects["bbox"][0] == pytest.approx([20, 6, 40, 48])
    assert objects["bbox"][1] == pytest.approx([4, 12, 12, 42])


def test_what_is_a_little_over_the_edge_is_cut(tmp_path: Path) -> None:
    objects = yolo(tmp_path, "0 0.0 0.0 0.08 0.08\n0 1.0 1.0 0.08 0.08\n")
    assert objects["bbox"][0] == pytest.approx([0, 0, 3.2, 2.4])
    assert objects["bbox"][1] == pytest.approx([76.8, 57.6, 3.2, 2.4])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5 0.2\n", "line 1: 3 numbers after the class, expected four"),
        ("0 0.5 0.5 0.2 0.2 0.1\n", "line 1: 5 numbers after the class, expected four"),
        ("0 0.5 0.5 0.2 0.2\n2 0.5 0.5 0.2 0.2\n", "line 2: class 2 has no name; there are 'cat', 'dog'"),
        ("0 0.0 0.5 0.2 0.2\n", "line 1: the box reaches beyond the image; YOLO coordinates are normalized, 0 to 1"),
        ("0 0.5 0.0 0.2 0.2\n", "line 1: the box reaches beyond the image; YOLO coordinates are normalized, 0 to 1"),
        ("0 1.0 0.5 0.2 0.2\n", "line 1: the box reaches beyond the image; YOLO coordinates are normalized, 0 to 1"),
        ("0 0.5 1.0 0.2 0.2\n", "line 1: the box reaches beyond the image; YOLO coordinates are normalized, 0 to 1"),
        ("\n0 x 0.5 0.2 0.2\n", "line 2: found '0 x 0.5 0.2 0.2', expected a class and four numbers"),
        ("cat 0.5 0.5 0.2 0.2\n", "line 1: found 'cat 0.5 0.5 0.2 0.2', expected a class and four numbers"),
    ],
)
def test_wrong_lines_of_yolo(line: str, words: str, tmp_path: Path) -> None:
    for name in ("3.jpg", "4.jpg"):  # most files are as they should be
        image(tmp_path / name)
        write(tmp_path / Path(name).with_suffix(".txt"), "0 0.5 0.5 0.5 0.5\n")
    assert yolo(tmp_path, line) == {"bbox": [], "category": [], WRONG: words}


@pytest.mark.parametrize(
    ("names", "file", "category"),
    [
        ("names: [cat, dog]", "data.yaml", "dog"),
        ("names: {1: hound, 0: cat}", "my.yml", "hound"),
        ("cat\n hound \n", "classes.txt", "hound"),
        ("cat\nhound\n", "obj.names", "hound"),
        ("cat\nhound\n", "others.txt", "1"),
        ("train: images", "data.yaml", "1"),
        (None, "", "1"),
    ],
)
def test_names_of_classes(names: str | None, file: str, category: str, tmp_path: Path) -> None:
    assert yolo(tmp_path, "1 0.5 0.5 0.2 0.2\n", names, file)["category"] == [category]


def test_names_that_are_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.yaml, line 2: not valid YAML"):
        yolo(tmp_path, "1 0.5 0.5 0.2 0.2\n", "names: [cat")


def test_texts_beside_images_that_are_no_boxes(tmp_path: Path) -> None:
    """Captions: most files are no lines of numbers, so the folder is one of classes."""
    for name in "123":
        image(tmp_path / "cat" / f"{name}.png")
        write(tmp_path / "cat" / f"{name}.txt", "0 0.5 0.5 0.5 0.5\n" if name == "1" else "a cat on a mat\n")
    assert read_source(DataConfig(path=str(tmp_path))).splits["train"].column_names == ["image", "label", FILE]
    write(tmp_path / "cat" / "2.txt", "0 0.5 0.5 0.5 0.5\n")  # two of three
    assert "objects" in read_source(DataConfig(path=str(tmp_path))).splits["train"].column_names


def test_yolo_splits_are_folders(tmp_path: Path) -> None:
    for split in ("train", "val"):
        image(tmp_path / "images" / split / f"{split}.jpg")
        write(tmp_path / "labels" / split / f"{split}.txt", "0 0.5 0.5 0.5 0.5\n")
    image(tmp_path / "images" / "val" / "empty.jpg")
    source = read_source(DataConfig(path=str(tmp_path)))
    assert {split: len(rows) for split, rows in source.splits.items()} == {"train": 1, "validation": 2}
    broken = tmp_path / "images" / "train" / "train.jpg"
    broken.write_bytes(b"no image")
    assert found(tmp_path)["train.jpg"] == {"bbox": [], "category": [], WRONG: None}  # said where images are checked
