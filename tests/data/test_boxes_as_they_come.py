"""Annotations of boxes as people and tools leave them: splits of a yaml, poses, other sizes, doubles, other formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_tl.config import DataConfig
from hf_tl.data.annotations import WRONG
from hf_tl.data.sources import read_source
from hf_tl.errors import DataError
from tests.data.test_boxes import SIZE, coco, corners, found, image, voc, write, yolo


def test_names_of_files_do_not_say_their_split(tmp_path: Path) -> None:
    """COCO's images keep their names in home-made splits; folders count, and of these what says nothing else."""
    for split, said, count in (("train", "val2014", 3), ("valid", "train2014", 2)):
        for index in range(count):
            image(tmp_path / "my-test-set" / split / "images" / f"COCO_{said}_{index}.jpg")
            write(tmp_path / "my-test-set" / split / "labels" / f"COCO_{said}_{index}.txt", "0 0.5 0.5 0.5 0.5\n")
    splits = read_source(DataConfig(path=str(tmp_path))).splits
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 3, "validation": 2}
    for index in range(2):  # VOC, flat
        voc(image(tmp_path / "voc" / f"pool_test_{index}.jpg").with_suffix(".xml"), corners("cat", 1, 2, 3, 4))
    assert list(read_source(DataConfig(path=str(tmp_path / "voc"))).splits) == ["train"]


YAML = "names: [cat, dog]\n"


def fold(folder: Path, *names: str) -> None:
    for name in names:
        image(folder / "images" / f"{name}.jpg")
        write(folder / "labels" / f"{name}.txt", "0 0.5 0.5 0.5 0.5\n")


def splits_of(path: Path, **options: Any) -> tuple[dict[str, list[str]], list[str]]:
    source = read_source(DataConfig(path=str(path), **options))
    return {
        split: sorted(Path(row["path"]).stem for row in rows.with_format(None)["image"])
        for split, rows in source.splits.items()
    }, source.notes


def test_the_yaml_says_the_splits(tmp_path: Path) -> None:
    fold(tmp_path, "fold1/a", "fold1/b", "fold2/c", "fold3/d")
    want = {"train": ["a", "b"], "validation": ["c"]}
    left = ["1 images are left out: the lists of images name no split for them."]
    for said in (
        "path: .\ntrain: images/fold1\nval: images/fold2\n",
        "train: ../images/fold1\nval: ../images/fold2\n",  # Roboflow's
        "path: ../elsewhere\ntrain: [images/fold1]\nval: ./images/fold2/\n",
    ):
        write(tmp_path / "data.yaml", YAML + said)
        assert splits_of(tmp_path) == (want, left), said
        assert splits_of(tmp_path / "data.yaml")[0] == want
    write(tmp_path / "data.yaml", YAML + "train: train.txt\nval: val.txt\n")
    write(tmp_path / "train.txt", "\ufeff./images/fold1/a.jpg\n/content/drive/images/fold1/b.jpg\n")
    write(tmp_path / "val.txt", "images\\fold2\\c.jpg\n")
    assert splits_of(tmp_path) == (want, left)
    write(tmp_path / "data.yaml", YAML + "train: images/fold1\nval: images/fold1\ntest: images/none\n")
    found, notes = splits_of(tmp_path)
    assert found == {"train": ["a", "b"]} and notes[:2] == [
        "data.yaml names 'images/none', where no images of the folder are.",
        "2 images are in more than one split of data.yaml; they are used in the first of them.",
    ]
    found, _ = splits_of(tmp_path, splits={"train": "fold3", "test": "fold2"})  # what the person says comes first
    assert found == {"train": ["d"], "test": ["c"]}
    write(tmp_path / "data.yaml", YAML)
    assert splits_of(tmp_path)[0] == {"train": ["a", "b", "c", "d"]}
    with pytest.raises(DataError, match=r"run\.yaml: YAML: data are read from tables"):
        read_source(DataConfig(path=str(write(tmp_path / "run.yaml", "model: x\ndata: y\n"))))


def test_letter_case_and_names_in_lists(tmp_path: Path) -> None:
    image(tmp_path / "v" / "JPEGImages" / "My dog 1.JPG")
    image(tmp_path / "v" / "JPEGImages" / "b.jpg")
    for name in ("my DOG 1", "b"):
        voc(tmp_path / "v" / "Annotations" / f"{name}.xml", corners("cat", 1, 2, 3, 4))
    write(tmp_path / "v" / "ImageSets" / "Main" / "train.txt", "\ufeffMy dog 1\r\n")
    write(tmp_path / "v" / "ImageSets" / "Main" / "val.txt", "JPEGImages\\b.jpg\r\n")
    assert splits_of(tmp_path / "v") == ({"train": ["My dog 1"], "validation": ["b"]}, [])
    fold(tmp_path / "y", "x/a")
    (tmp_path / "y" / "labels" / "x" / "a.txt").rename(tmp_path / "y" / "labels" / "x" / "A.txt")
    write(tmp_path / "y" / "data.yaml", YAML + "train: images/x/A.JPG\n")
    assert len(read_source(DataConfig(path=str(tmp_path / "y"))).splits["train"][0]["objects"]["bbox"]) == 1


def test_what_is_in_no_named_split_is_left_out(tmp_path: Path) -> None:
    fold(tmp_path, "train/a", "val/b", "extra/c")
    found, notes = splits_of(tmp_path, splits={"train": "train", "test": "val"})
    assert found == {"train": ["a"], "test": ["b"]}
    assert notes == ["1 images are left out: data.splits names none for them."]


def test_poses_are_no_polygons(tmp_path: Path) -> None:
    line = "0 0.5 0.5 0.4 0.5 0.42 0.40 0.55 0.45 0.50 0.60\n"
    expected = pytest.approx([24, 15, 32, 30])
    assert yolo(tmp_path / "a", line, YAML + "kpt_shape: [3, 2]\n")["bbox"][0] == expected
    # without kpt_shape visibilities tell them
    folder = tmp_path / "b"
    for index in (1, 2):
        image(folder / f"{index}.jpg")
        write(folder / f"{index}.txt", "0 0.5 0.5 0.4 0.5 0.42 0.40 2 0.55 0.45 1 0 0 0\n")
    assert found(folder)["1.jpg"]["bbox"][0] == expected
    folder = tmp_path / "c"
    for index in range(6):  # points in their boxes, and nothing that tells them
        image(folder / f"{index}.jpg")
        write(folder / f"{index}.txt", line)
    with pytest.raises(DataError, match=r"a box with 3 keypoints or a polygon; .*kpt_shape: \[3, 2\]"):
        found(folder)
    write(folder / "data.yaml", "names: [cat]\nkpt_shape: [0, 2]\n")
    assert found(folder)["1.jpg"]["bbox"][0] == pytest.approx([0.4 * 80, 0.4 * 60, 0.15 * 80, 0.2 * 60])


def test_numbers_of_classes_as_tables_write_them(tmp_path: Path) -> None:
    image(tmp_path / "1.jpg")
    (tmp_path / "1.txt").write_bytes(b"\xef\xbb\xbf1.0 0.5 0.5 0.5 0.5\r\n0 0.5 0.5 0.5 0.5\r\n")
    write(tmp_path / "classes.txt", "\ufeffcat\ndog\n")
    assert found(tmp_path)["1.jpg"]["category"] == ["dog", "cat"]


# the size that annotations say


@pytest.mark.parametrize(
    ("size", "orientation", "expected", "note"),
    [
        ((80, 60), 1, [8, 6, 20, 12], None),
        ((160, 120), 1, [4, 3, 10, 6], "1 images have another size than their annotations say; boxes are scaled"),
        ((40, 30), 1, [16, 12, 40, 24], "boxes are scaled"),
        ((80, 60), 6, [60 - 6 - 12, 8, 12, 20], "1 images are turned by their EXIF data, which their annotations do"),
        ((80, 60), 8, [6, 80 - 8 - 20, 12, 20], "turned by their EXIF data"),
        ((60, 80), 6, [8, 6, 20, 12], None),  # of the upright image
        ((120, 160), 6, [4, 3, 10, 6], "boxes are scaled"),
    ],
)  # fmt: skip
def test_sizes_that_annotations_say(
    size: tuple[int, int], orientation: int, expected: list[float], note: str | None, tmp_path: Path
) -> None:
    image(tmp_path / "c" / "a.jpg", orientation)
    images = [{"id": 1, "file_name": "a.jpg", "width": size[0], "height": size[1]}]
    coco(tmp_path / "c" / "x.json", images=images,
         annotations=[{"image_id": 1, "category_id": 9, "bbox": [8, 6, 20, 12]}])  # fmt: skip
    image(tmp_path / "v" / "a.jpg", orientation)
    said = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    write(tmp_path / "v" / "a.xml", f"<annotation>{said}<object>{corners('dog', 8, 6, 28, 18)}</object></annotation>")
    for folder in ("c", "v"):
        source = read_source(DataConfig(path=str(tmp_path / folder)))
        assert source.splits["train"].with_format(None)[0]["objects"]["bbox"] == [pytest.approx(expected)]
        assert (note in source.notes[0]) if note else not source.notes


def test_a_size_of_another_image(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    images = [{"id": 1, "file_name": "a.png", "width": 100, "height": 100}]
    coco(tmp_path / "x.json", images=images, annotations=[{"image_id": 1, "category_id": 9, "bbox": [8, 6, 20, 12]}])
    words = "the annotations are of an image of 100 x 100 pixels, and this one has 80 x 60"
    assert found(tmp_path)["a.png"] == {"bbox": [], "category": [], WRONG: words}


def test_two_files_about_the_same_images(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        image(tmp_path / name)
    one = coco(tmp_path / "first.json")
    notes = read_source(DataConfig(path=str(tmp_path))).notes
    assert notes == ["1 images are left out: no annotation file names them."]
    coco(tmp_path / "second.json")
    with pytest.raises(DataError, match=r"first\.json and .*second\.json are about the same images, such as a\.png"):
        read_source(DataConfig(path=str(tmp_path)))
    assert len(read_source(DataConfig(path=str(one))).splits["train"]) == 2
    image(tmp_path / "y" / "1.jpg")
    for folder in ("l1", "l2"):
        write(tmp_path / "y" / folder / "1.txt", "0 0.5 0.5 0.5 0.5\n")
    with pytest.raises(DataError, match=r"1\.jpg: is described by .*l1/1\.txt.*l2/1\.txt"):
        read_source(DataConfig(path=str(tmp_path / "y")))


def test_a_file_of_another_image_of_the_same_name(tmp_path: Path) -> None:
    """labels/b/1.txt is not about images/a/1.jpg, which has a file of its own."""
    fold(tmp_path, "a/1")
    write(tmp_path / "labels" / "b" / "1.txt", "0 0.5 0.5 0.1 0.1\n")
    rows = read_source(DataConfig(path=str(tmp_path))).splits["train"].with_format(None)
    assert [(row["image"] is None, len(row["objects"]["bbox"])) for row in rows] == [(False, 1), (True, 0)]


# other tools


def labelme(file: Path, name: str, size: tuple[int, int] = SIZE, **shapes: Any) -> Path:
    said = [{"label": "cat", "points": points, "shape_type": kind} for kind, points in shapes.items()]
    whole = {"shapes": said, "imagePath": name, "imageHeight": size[1], "imageWidth": size[0], "imageData": None}
    return write(file, json.dumps(whole))


def test_boxes_of_other_tools(tmp_path: Path) -> None:
    for folder in ("labelme", "csv", "createml", "cvat"):
        image(tmp_path / folder / "train" / "a.png")
        image(tmp_path / folder / "valid" / "b.png")
    labelme(tmp_path / "labelme" / "train" / "a.json", "..\\train\\a.png", rectangle=[[30, 18], [10, 8]],
            polygon=[[1, 1], [5, 2], [3, 9]], circle=[[20, 20], [23, 24]], point=[[1, 1]])  # fmt: skip
    labelme(tmp_path / "labelme" / "valid" / "b.json", "b.png", (160, 120), rectangle=[[20, 16], [60, 36]])
    head = "filename,width,height,class,xmin,ymin,xmax,ymax"
    write(
        tmp_path / "csv" / "train" / "_annotations.csv",
        f"{head}\na.png,80,60,cat,10,8,30,18\na.png,80,60,dog,1,1,5,9\n",
    )
    write(tmp_path / "csv" / "valid" / "_annotations.csv", f"{head}\nb.png,160,120,cat,20,16,60,36\n")
    for split, name in (("train", "a.png"), ("valid", "b.png")):
        at = {"x": 20, "y": 13, "width": 20, "height": 10}
        one = [{"image": name, "annotations": [{"label": "cat", "coordinates": at}]}]
        write(tmp_path / "createml" / split / "_annotations.createml.json", json.dumps(one))
        box = '<box label="cat" xtl="10" ytl="8" xbr="30" ybr="18"/>'
        other = '<polygon label="dog" points="1,1;5,2;3,9"/>' if split == "train" else ""
        one_image = f'<image id="0" name="{name}" width="80" height="60">{box}{other}</image>'
        write(tmp_path / "cvat" / split / "annotations.xml", f"<annotations>{one_image}</annotations>")
    first = [10, 8, 20, 10]
    assert found(tmp_path / "labelme")["a.png"]["bbox"] == [first, [1, 1, 4, 8], [15, 15, 10, 10]]
    assert found(tmp_path / "csv")["a.png"] == {"bbox": [first, [1, 1, 4, 8]], "category": ["cat", "dog"], WRONG: None}
    assert found(tmp_path / "createml")["a.png"]["bbox"] == [first]
    assert found(tmp_path / "cvat")["a.png"] == {"bbox": [first, [1, 1, 4, 8]], "category": ["cat", "dog"], WRONG: None}
    for folder in ("labelme", "csv", "createml", "cvat"):
        assert found(tmp_path / folder, "validation") == {
            "b.png": {"bbox": [first], "category": ["cat"], WRONG: None}
        }, folder
    alone = read_source(DataConfig(path=str(tmp_path / "csv" / "train" / "_annotations.csv"))).splits["train"]
    assert alone.with_format(None)[0]["objects"]["bbox"][0] == first


def test_wrong_shapes_of_labelme(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    labelme(tmp_path / "a.json", "a.png", polygon=[[1, "x"]])
    assert found(tmp_path)["a.png"][WRONG] == "shapes[0]: expected a label and the points of a shape"


BOXES = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 30), st.integers(1, 39), st.integers(1, 29),
              st.sampled_from(["cat", "dog", "Sea otter", "é"])), max_size=3
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.lists(BOXES, min_size=1, max_size=4))
def test_any_boxes_are_read_back(tmp_path_factory: pytest.TempPathFactory, drawn: list[Any]) -> None:
    """The same boxes as COCO, VOC, YOLO and csv write them come out the same."""
    top = tmp_path_factory.mktemp("d")
    names = sorted({each[4] for boxes in drawn for each in boxes})
    categories = [{"id": 7 + 2 * index, "name": name} for index, name in enumerate(names)]
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
    lines = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    for index, boxes in enumerate(drawn):
        for kind in ("coco", "voc", "yolo", "csv"):
            image(top / kind / f"val_{index}.png")
        content["images"].append({"id": index, "file_name": f"val_{index}.png", "width": 80, "height": 60})
        for x, y, w, h, name in boxes:
            content["annotations"].append(
                {"image_id": index, "category_id": 7 + 2 * names.index(name), "bbox": [x, y, w, h]}
            )
            lines.append(f"val_{index}.png,80,60,{name},{x},{y},{x + w},{y + h}")
        voc(top / "voc" / f"val_{index}.xml", *(corners(name, x, y, x + w, y + h) for x, y, w, h, name in boxes))
        shares = (
            f"{names.index(name)} {(x + w / 2) / 80} {(y + h / 2) / 60} {w / 80} {h / 60}" for x, y, w, h, name in boxes
        )
        write(top / "yolo" / f"val_{index}.txt", "\n".join(shares))
    write(top / "coco" / "all.json", json.dumps(content))
    write(top / "yolo" / "classes.txt", "\n".join(names) + "\n")
    for kind in ("coco", "voc", "yolo"):
        objects = found(top / kind)
        assert len(objects) == len(drawn), kind
        for index, boxes in enumerate(drawn):
            each = objects[f"val_{index}.png"]
            assert [pytest.approx(box) for box in each["bbox"]] == [list(map(float, box[:4])) for box in boxes], kind
            assert each["category"] == [box[4] for box in boxes] and each[WRONG] is None
    if len(lines) > 1:
        write(top / "csv" / "boxes.csv", "\n".join(lines) + "\n")
        for name, each in found(top / "csv").items():
            index = int(name[4:-4])
            assert each["bbox"] == [list(map(float, box[:4])) for box in drawn[index]]
