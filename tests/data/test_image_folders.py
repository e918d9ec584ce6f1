"""Folders of images as people lay them out: wrappers, splits inside and outside of classes, tables beside, links, and
what is no class."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hf_tl.config import DataConfig
from hf_tl.data.images import EXTENSIONS
from hf_tl.data.sources import FILE, Source, read_source
from hf_tl.errors import DataError


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TL_CACHE", str(tmp_path_factory.mktemp("cache")))


def images(folder: Path, *names: str, colour: int = 0) -> Path:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        kind = None if file.suffix.lower() in EXTENSIONS else "PNG"
        Image.new("RGB", (4, 4), (colour, 0, 0)).save(file, kind)
    return folder


def read(path: Any, task: str | None = None, **options: Any) -> Source:
    paths = [str(each) for each in path] if isinstance(path, list) else str(path)
    return read_source(DataConfig(path=paths, **options), task)


def classes(source: Source) -> dict[str, dict[str, int]]:
    """Split -> class -> images."""
    out: dict[str, dict[str, int]] = {}
    for split, rows in source.splits.items():
        for label in rows["label"]:
            out.setdefault(split, {}).setdefault(label, 0)
            out[split][label] += 1
    return out


def of(source: Source, split: str, column: str = "image") -> list[str]:
    return sorted(Path(row["path"]).name for row in source.splits[split].with_format(None)[column])


# where classes and splits are


@pytest.mark.parametrize(
    ("names", "found"),
    [
        # one folder above the splits
        (["dataset/training_set/cats/1.png", "dataset/training_set/dogs/1.png", "dataset/test_set/cats/2.png"],
         {"train": {"cats": 1, "dogs": 1}, "test": {"cats": 1}}),
        # a split's own name once more
        (["training_set/training_set/cats/1.png", "training_set/training_set/dogs/1.png",
          "test_set/test_set/dogs/1.png"], {"train": {"cats": 1, "dogs": 1}, "test": {"dogs": 1}}),
        # one folder above the classes, and two
        (["PetImages/Cat/1.png", "PetImages/Dog/1.png"], {"train": {"Cat": 1, "Dog": 1}}),
        (["a/b/Cat/1.png", "a/b/Dog/1.png"], {"train": {"Cat": 1, "Dog": 1}}),
        (["images/Cat/1.png", "images/Dog/1.png"], {"train": {"Cat": 1, "Dog": 1}}),
        (["images/train/Cat/1.png", "images/val/Cat/1.png"], {"train": {"Cat": 1}, "validation": {"Cat": 1}}),
        # splits below the classes
        (["cats/train/1.png", "cats/test/2.png", "dogs/train/1.png"], {"train": {"cats": 1, "dogs": 1},
                                                                      "test": {"cats": 1}}),
        # classes that are called as splits are: CIFAR-100 has one
        (["apple/1.png", "bear/1.png", "train/1.png"], {"train": {"apple": 1, "bear": 1, "train": 1}}),
        (["train/apple/1.png", "train/train/1.png", "test/train/2.png"], {"train": {"apple": 1, "train": 1},
                                                                         "test": {"train": 1}}),
        (["beach/1.png", "train_station/1.png"], {"train": {"beach": 1, "train_station": 1}}),
        (["flask/1.png", "test_tube/1.png", "dev_board/1.png"], {"train": {"flask": 1, "test_tube": 1,
                                                                          "dev_board": 1}}),
        # masks on faces are classes, no masks of images
        (["mask/1.png", "no_mask/2.png"], {"train": {"mask": 1, "no_mask": 1}}),
        (["with_mask/1.png", "without_mask/1.png"], {"train": {"with_mask": 1, "without_mask": 1}}),
        (["photo/1.png", "painting/1.png"], {"train": {"photo": 1, "painting": 1}}),
        # test images of a competition lie in no class folder
        (["train/cat/1.png", "train/dog/1.png", "test/9.png"], {"train": {"cat": 1, "dog": 1}, "test": {None: 1}}),
    ],
)  # fmt: skip
def test_layouts(names: list[str], found: dict[str, dict[str, int]], tmp_path: Path) -> None:
    assert classes(read(images(tmp_path, *names))) == found


def test_images_to_predict_beside_splits_are_left_out(tmp_path: Path) -> None:
    images(tmp_path, *(f"seg_{split}/seg_{split}/{name}/{index}.png" for split in ("train", "test")
                       for name in ("sea", "forest") for index in range(2)), "seg_pred/seg_pred/1.png")  # fmt: skip
    source = read(tmp_path)
    assert classes(source) == {split: {"sea": 2, "forest": 2} for split in ("train", "test")}
    assert source.notes == ["1 images are left out: there are no class folders in 'seg_pred'."]
    source = read(tmp_path, splits={"train": "seg_test", "test": "seg_train"})
    assert classes(source) == {split: {"sea": 2, "forest": 2} for split in ("train", "test")}
    assert "seg_test" in source.splits["train"][0][FILE]
    assert source.notes == ["1 images are left out: data.splits names no split for 'seg_pred'."]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["images/1.png", "masks/2.png"], "'images', 'masks' would be taken for classes"),
        (["JPEGImages/1.png", "cats/2.png"], "'JPEGImages' would be taken for classes"),
        (["x_images_part_1/1.png", "x_images_part_2/2.png"], "'x_images_part_1', 'x_images_part_2' would be taken"),
        (["cats/train/1.png", "cats/val/2.png", "dogs/3.png"], "'cats/train', 'cats/val' would be classes"),
        (["train/cat/1.png", "dog/2.png"], "mixes split folders with 'dog'"),
    ],
)
def test_what_is_no_class(names: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        read(images(tmp_path, *names))


def test_folders_of_splits_given_one_by_one(tmp_path: Path) -> None:
    for split in ("train", "test", "Training", "Testing", "more"):
        images(tmp_path, *(f"{split}/{name}/1.png" for name in ("red", "blue")))
    both = {"red": 1, "blue": 1}
    assert classes(read([tmp_path / "train", tmp_path / "test"])) == {"train": both, "test": both}
    assert classes(read([tmp_path / "Training", tmp_path / "Testing"])) == {"train": both, "test": both}
    found = read([tmp_path / "train", tmp_path / "more"])
    assert classes(found) == {"train": {"red": 2, "blue": 2}}
    assert classes(read(tmp_path / "test")) == {"train": both}  # alone it is what there is


# what is an image


def test_images_are_known_by_what_they_are(tmp_path: Path) -> None:
    names = ["a/1.avif", "a/2.jp2", "a/3.tga", "a/4.jpe", "a/5", "a/6.JPG", "a/7.unknown", "b/1.png"]
    images(tmp_path, *names)
    for index in range(3):
        (tmp_path / "c").mkdir(exist_ok=True)
        (tmp_path / "c" / f"{index}.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "a" / "notes.txt").write_text("x")
    source = read(tmp_path)
    assert classes(source) == {"train": {"a": 7, "b": 1}}
    assert source.notes == ["3 files are left out, since they are not images that can be read: .heic (3)."]
    from hf_tl.data.images import read_image

    assert [read_image(row["path"]).size for row in source.splits["train"]["image"]] == [(4, 4)] * 8


def test_what_hf_tl_left_there_is_no_data(tmp_path: Path) -> None:
    images(tmp_path, "red/1.png", "blue/1.png", "runs/x/figures/loss.png", "runs/y/1.png")
    for name in ("config.yaml", "state.json"):
        (tmp_path / "runs" / "x" / name).write_text("{}")
    (tmp_path / "runs" / "y" / "1.png").unlink()
    from PIL.PngImagePlugin import PngInfo

    said = PngInfo()
    said.add_text("Software", "hf_tl preview")
    Image.new("RGB", (4, 4)).save(tmp_path / "preview.png", pnginfo=said)
    source = read(tmp_path)
    assert classes(source) == {"train": {"red": 1, "blue": 1}}
    assert source.notes == ["'x': folders of runs, which are not data, are left out."]


def test_linked_folders_are_read(tmp_path: Path) -> None:
    real = images(tmp_path / "real", "red/1.png", "blue/1.png", "blue/2.png")
    folder = images(tmp_path / "d", "train/green/1.png")
    for name in ("red", "blue"):
        (folder / "train" / name).symlink_to(real / name)
    assert classes(read(folder)) == {"train": {"blue": 2, "green": 1, "red": 1}}
    other = tmp_path / "e"
    other.mkdir()
    (other / "train").symlink_to(real)
    assert classes(read(other)) == {"train": {"blue": 2, "red": 1}}
    # a link to what holds it, to everything, and to a folder that is read at its own place
    (real / "red" / "all").symlink_to(real)
    (folder / "train" / "green" / "root").symlink_to("/")
    (folder / "train" / "grass").symlink_to(folder / "train" / "green")
    source = read(folder)
    assert classes(source) == {"train": {"blue": 2, "green": 1, "red": 1}}
    assert len(source.notes) == 1 and "are not followed" in source.notes[0] and "'root'" in source.notes[0]


# images and masks


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["images/1.jpg", "masks/1_mask.png", "images/2.jpg", "masks/2_mask.png"], {"train": ["1.jpg", "2.jpg"]}),
        (["train/images/1.jpg", "train/masks/1.png", "test/images/2.jpg", "test/masks/2.png"],
         {"train": ["1.jpg"], "test": ["2.jpg"]}),
        (["images/training/1.jpg", "annotations/training/1.png", "images/validation/2.jpg",
          "annotations/validation/2.png"], {"train": ["1.jpg"], "validation": ["2.jpg"]}),
        (["train/1.jpg", "train_masks/1_mask.gif", "train/2.jpg", "train_masks/2_mask.gif"],
         {"train": ["1.jpg", "2.jpg"]}),
        (["train/1.png", "trainannot/1.png", "val/2.png", "valannot/2.png"],
         {"train": ["1.png"], "validation": ["2.png"]}),
        (["p1/1.tif", "p1/1_mask.tif", "p2/1.tif", "p2/1_mask.tif"], {"train": ["1.tif", "1.tif"]}),
        (["leftImg8bit/train/aachen/a_leftImg8bit.png", "gtFine/train/aachen/a_gtFine_labelIds.png",
          "gtFine/train/aachen/a_gtFine_color.png"], {"train": ["a_leftImg8bit.png"]}),
        (["images/img_1.png", "labels/label_1.png"], {"train": ["img_1.png"]}),
        (["image/1.jpg", "mask/1.png", "image/2.jpg", "mask/2.png"], {"train": ["1.jpg", "2.jpg"]}),
        (["data/Images/1.jpg", "data/Ground_Truth/1.png"], {"train": ["1.jpg"]}),
    ],
)  # fmt: skip
def test_masks_beside_images(names: list[str], found: dict[str, list[str]], tmp_path: Path) -> None:
    source = read(images(tmp_path, *names))
    assert {split: of(source, split) for split in source.splits} == found
    masks = {Path(name).stem for name in names if name not in found}
    for rows in source.splits.values():
        for row in rows.with_format(None):
            assert row["image"]["path"] != row["mask"]["path"] and Path(row["mask"]["path"]).stem in masks


def test_masks_of_voc(tmp_path: Path) -> None:
    images(tmp_path, *(f"VOC/JPEGImages/{index}.jpg" for index in range(5)),
           *(f"VOC/SegmentationClass/{index}.png" for index in range(4)),
           *(f"VOC/SegmentationObject/{index}.png" for index in range(4)))  # fmt: skip
    lists = tmp_path / "VOC" / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("0\n1\n")
    (lists / "val.txt").write_text("2\n")
    notes = tmp_path / "VOC" / "Annotations" / "0.xml"
    notes.parent.mkdir()
    notes.write_text("<annotation><filename>0.jpg</filename></annotation>")
    source = read(tmp_path, "image-segmentation")
    assert {split: of(source, split) for split in source.splits} == {"train": ["0.jpg", "1.jpg"],
                                                                     "validation": ["2.jpg"]}  # fmt: skip
    assert "SegmentationClass" in source.splits["train"].with_format(None)[0]["mask"]["path"]
    assert "1 images are left out: they are in no list of ImageSets/Segmentation." in source.notes
    assert any(note.startswith("1 images are left out: they have no mask") for note in source.notes)
    assert "objects" in read(tmp_path, "object-detection").splits["train"].column_names


def test_masks_that_fit_nothing(tmp_path: Path) -> None:
    images(tmp_path, "images/1.jpg", "images/2.jpg", "masks/1.png", "masks/2.png", "masks/odd.png")
    with pytest.raises(DataError, match=r"masks/odd\.png: there is no image of this mask's name; a mask is called as"):
        read(tmp_path)
    source = read(tmp_path, on_error="skip")
    assert len(source.splits["train"]) == 2 and "1 masks are left out: there is no image of their name." in source.notes
    images(tmp_path, "masks/1_mask.png")
    with pytest.raises(DataError, match=r"images/1\.jpg: has several masks, 1\.png and 1_mask\.png"):
        read(tmp_path, on_error="skip")


def test_masks_beside_images_of_classes(tmp_path: Path) -> None:
    """As ultrasound images have it; a classifier sees no masks."""
    names = [f"{name}/{index}{end}.png" for name in ("benign", "normal") for index in "12" for end in ("", "_mask")]
    images(tmp_path, *names)
    assert read(tmp_path).splits["train"].column_names == ["image", "mask", FILE]
    source = read(tmp_path, "image-classification")
    assert classes(source) == {"train": {"benign": 2, "normal": 2}}
    assert source.notes == ["4 masks beside their images are left out: image-classification reads none."]


def test_annotations_that_are_no_masks(tmp_path: Path) -> None:
    images(tmp_path, "a.jpg", "b.jpg")
    write(tmp_path / "a.txt", "0 0.5 0.5 0.5 0.5")
    with pytest.raises(DataError, match="holds annotations of objects, and image-segmentation reads masks: PNG files"):
        read(tmp_path, "image-segmentation")


@pytest.mark.parametrize(
    ("file", "text", "tool"),
    [
        ("via.json", '{"a.jpg1": {"regions": [{"shape_attributes": {"name": "rect"}}]}}', "VGG Image Annotator"),
        ("ann/a.jpg.json", '{"size": {}, "objects": [{"classTitle": "cat"}]}', "Supervisely"),
        ("export.json", '[{"annotations": [{"result": [{"from_name": "label"}]}]}]', "Label Studio"),
        ("train-annotations-bbox.csv", "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax", "Open Images"),
        (
            "label_2/a.txt",
            "Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.7 -1.6",
            "KITTI",
        ),
        ("train.tfrecord", "x", "TensorFlow records"),
    ],
)
def test_annotations_of_other_tools_are_named(file: str, text: str, tool: str, tmp_path: Path) -> None:
    images(tmp_path, "images/a.jpg", "images/b.jpg")
    write(tmp_path / file, text)
    with pytest.raises(DataError, match=f"annotations of {tool}, a format that is not read; export them as COCO"):
        read(tmp_path)


# tables beside images


def write(file: Path, *lines: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


def test_a_table_beside_folders_that_are_no_classes(tmp_path: Path) -> None:
    images(tmp_path, "H_images_part_1/ISIC_1.jpg", "H_images_part_2/ISIC_2.jpg", "H_images_part_2/ISIC_3.jpg")
    table = write(tmp_path / "meta.csv", "lesion,image_id,dx", "H1,ISIC_1,mel", "H1,ISIC_2,nv")
    for path in (tmp_path, table):
        rows = read(path).splits["train"].with_format(None)
        assert [Path(row["image_id"]["path"]).name for row in rows] == ["ISIC_1.jpg", "ISIC_2.jpg"]
        assert rows["dx"] == ["mel", "nv"] and rows["lesion"] == ["H1", "H1"]
    notes = read(tmp_path).notes
    assert notes == ["The images are named by 'meta.csv'.", "1 images are left out: 'meta.csv' names none of them."]


def test_a_competition(tmp_path: Path) -> None:
    images(tmp_path, "train_images/0.jpg", "train_images/1.jpg", "test_images/7.jpg")
    write(tmp_path / "train.csv", "image_id,label", "0.jpg,0", "1.jpg,1")
    write(tmp_path / "sample_submission.csv", "image_id,label", "7.jpg,0")
    source = read(tmp_path)
    assert of(source, "train", "image_id") == ["0.jpg", "1.jpg"] and list(source.splits) == ["train"]


def test_a_table_and_folders_that_disagree(tmp_path: Path) -> None:
    images(tmp_path, "red/0.jpg", "blue/1.jpg")
    write(tmp_path / "labels.csv", "file,colour", "0.jpg,red", "1.jpg,blue")
    source = read(tmp_path)
    assert classes(source) == {"train": {"red": 1, "blue": 1}}
    assert source.notes == ["The classes are the folders; labels.csv says the same and is not read."]
    write(tmp_path / "labels.csv", "file,dx", "0.jpg,benign", "1.jpg,malignant")
    with pytest.raises(DataError, match=r"labels\.csv: names the images, and the folders .* \('blue', 'red'\)\. Which"):
        read(tmp_path)
    write(tmp_path / "labels.csv", "text,label", "good,1", "bad,0")  # about something else
    assert classes(read(tmp_path)) == {"train": {"red": 1, "blue": 1}}


def test_a_table_that_says_the_splits_of_class_folders(tmp_path: Path) -> None:
    images(tmp_path, "images/red/0.jpg", "images/blue/1.jpg", "images/blue/2.jpg")
    lines = ["images/red/0.jpg,red,train", "images/blue/1.jpg,blue,train", "images/blue/2.jpg,blue,test"]
    write(tmp_path / "all.csv", "filepaths,labels,data_set", *lines)
    rows = next(iter(read(tmp_path).splits.values()))
    assert {"filepaths", "labels"} <= set(rows.column_names)


def test_ids_and_names_as_other_systems_write_them(tmp_path: Path) -> None:
    images(tmp_path, "photos/A.JPG", "photos/b.png", "0.jpg", "1.jpg")
    rows = read(write(tmp_path / "a.csv", "image,label", "photos\\a.jpg,x", "PHOTOS/B.png,y")).splits["train"]
    assert [Path(row["path"]).name for row in rows.with_format(None)["image"]] == ["A.JPG", "b.png"]
    rows = read(write(tmp_path / "a.csv", "id,breed", "0,x", "1,y")).splits["train"]
    assert [Path(row["path"]).name for row in rows.with_format(None)["id"]] == ["0.jpg", "1.jpg"]
    images(tmp_path, "a/c.png", "b/c.png")
    with pytest.raises(DataError, match=r"line 2: column 'image' names 'c\.png', which may be .*a/c\.png.*b/c\.png"):
        read(write(tmp_path / "a.csv", "image,label", "c.png,x", "c.png,y"))
    # beside paths that lead to images one that does not is a mistake, whatever is called so elsewhere
    with pytest.raises(DataError, match=r"line 3: column 'image' names 'c\.png', which is not there"):
        read(write(tmp_path / "a.csv", "image,label", "0.jpg,x", "c.png,y"))
    other = images(tmp_path / "k", "train_images/0.jpg", "test_images/0.jpg")
    rows = read(write(other / "train.csv", "image,label", "0.jpg,x")).splits["train"]
    assert "train_images" in rows.with_format(None)[0]["image"]["path"]
    # a label that is also a name of an image is no id
    rows = read(write(tmp_path / "a.csv", "text,label", *(f"some text,{index % 2}" for index in range(6)))).splits[
        "train"
    ]
    assert rows["label"][:2] == [0, 1]


def test_an_empty_cell_late_in_a_table(tmp_path: Path) -> None:
    images(tmp_path, *(f"{index}.jpg" for index in range(60)))
    lines = [f"{index}.jpg,{'ab'[index % 2]}" for index in range(60)]
    rows = read(write(tmp_path / "a.csv", "image,label", *lines, ",a")).splits["train"].with_format(None)
    assert rows[59]["image"]["path"].endswith("59.jpg") and rows[60]["image"] is None
    assert rows[60][FILE].endswith("a.csv, line 62")  # named where rows are checked


def test_images_that_a_table_names_are_hashed(tmp_path: Path) -> None:
    images(tmp_path, "0.jpg", "1.jpg")
    table = write(tmp_path / "a.csv", "image,label", "0.jpg,a", "1.jpg,b")
    write(tmp_path / "m" / "metadata.jsonl", '{"file_name": "../0.jpg", "label": "a"}')
    before = [read(path).metadata["sha256"] for path in (table, tmp_path / "m")]
    images(tmp_path, "0.jpg", colour=200)
    after = [read(path).metadata["sha256"] for path in (table, tmp_path / "m")]
    assert before[0] != after[0] and before[1] != after[1]


NAMES = st.sampled_from(["cat", "dog", "Sea otter", "train", "é", "a-b", "x_val", "9", "test"])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(["train", "val", "test"]), min_size=1, max_size=3, unique=True),
    st.lists(NAMES, min_size=2, max_size=4, unique=True),
    st.lists(st.sampled_from(["dataset", "photos v2", "PetImages"]), max_size=2),
    st.sampled_from([".png", ".jpg", ".JPEG", ".webp", ""]),
)
def test_any_tree_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, splits: list[str], names: list[str], around: list[str], end: str
) -> None:
    """Splits, classes, folders around both and endings of any kind: every image in its split, under its class."""
    top = tmp_path_factory.mktemp("d")
    for split in splits:
        for index, name in enumerate(names):
            images(top, os.path.join(*around, split, name, f"{split}_val_test{index}{end}"))
    said = {"val": "validation"}
    found = classes(read(top, splits={said.get(split, split): split for split in splits} if len(splits) < 2 else {}))
    assert found == {said.get(split, split): dict.fromkeys(names, 1) for split in splits}
