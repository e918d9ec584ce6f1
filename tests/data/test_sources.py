"""Where rows come from: files, folders, archives, and which split each of them is."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict
from PIL import Image

from hf_tl.config import DataConfig
from hf_tl.data import sources
from hf_tl.data.hub_data import HubData
from hf_tl.data.sources import FILE, Source, cache_folder, read_source
from hf_tl.data.split_names import split_of
from hf_tl.errors import DataError, HubError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TL_CACHE", str(tmp_path / "cache"))


def read(path: Any, **options: Any) -> Source:
    paths = [str(each) for each in path] if isinstance(path, list) else str(path)
    return read_source(DataConfig(path=paths, **options))


def texts(source: Source) -> dict[str, list[str]]:
    return {split: list(rows["text"]) for split, rows in source.splits.items()}


def table(folder: Path, name: str, *rows: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("text,label\n" + "".join(f"{row},x\n" for row in rows))
    return path


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path


# names of splits


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("Training", "train"), ("my-train-2017", "train"), ("data_trn", "train"), ("trains", None),
        ("val", "validation"), ("valid", "validation"), ("dev_set", "validation"), ("validation.old", "validation"),
        ("test", "test"), ("heldout", "test"), ("tst1", "test"), ("latest", None), ("contest", None),
        ("evaluation", None),
        ("train2", "train"), ("", None), ("train_test", "train"),
    ],
)  # fmt: skip
def test_the_split_that_a_name_says(name: str, split: str | None) -> None:
    assert split_of(name, DataConfig(path="-")) == split


def test_configured_names_are_the_only_ones() -> None:
    config = DataConfig(path="-", splits={"train": "fold1", "test": "train"})
    assert split_of("fold1", config) == "train" and split_of("train", config) == "test"
    assert split_of("x", config, "fold1") == "train" and split_of("validation", config) is None


# files


def test_rows_carry_their_place(tmp_path: Path) -> None:
    csv = table(tmp_path, "a.csv", "one", "two")
    assert list(read(csv).splits["train"][FILE]) == [f"{csv}, line 2", f"{csv}, line 3"]
    tsv = tmp_path / "a.tsv"
    tsv.write_text("text\tlabel\none\tx\n")
    assert list(read(tsv).splits["train"][FILE]) == [f"{tsv}, line 2"]
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"text": "one"}\n{"text": "two"}\n')
    assert list(read(lines).splits["train"][FILE]) == [f"{lines}, line 1", f"{lines}, line 2"]


def test_several_files(tmp_path: Path) -> None:
    files = [
        table(tmp_path, "train_a.csv", "one"),
        table(tmp_path, "test.csv", "two"),
        table(tmp_path, "b.csv", "three"),
    ]
    source = read(files)
    assert texts(source) == {"train": ["one", "three"], "test": ["two"]}
    assert source.metadata["path"] == [str(file) for file in files]
    assert texts(read(files, splits={"train": "b.csv", "validation": "train_a"})) == {
        "validation": ["one"], "train": ["two", "three"],
    }  # fmt: skip


def test_files_that_do_not_fit_together(tmp_path: Path) -> None:
    first, second = table(tmp_path, "a.csv", "one"), tmp_path / "b.csv"
    second.write_text("text,kind\none,x\n")
    with pytest.raises(
        DataError, match=r"files of train have different columns: .*b\.csv has 'kind', 'text', .*a\.csv 'label', 'text'"
    ):
        read([first, second])
    second.write_text("body,kind\none,x\n")
    with pytest.raises(DataError, match=r"files of train have different columns: .*b\.csv has 'body', 'kind', "):
        read([first, second])


def test_the_content_is_hashed(tmp_path: Path) -> None:
    file = table(tmp_path / "d", "train.csv", "one")
    found = read(file).metadata["sha256"]
    assert found == hashlib.sha256(file.read_bytes()).hexdigest()
    assert read(tmp_path / "d").metadata["sha256"] == found
    table(tmp_path / "d", "train.csv", "two")
    assert read(file).metadata["sha256"] != found
    images = image(tmp_path / "p" / "a" / "1.png")
    image(tmp_path / "p" / "b" / "1.png")
    before = read(tmp_path / "p").metadata["sha256"]
    images.rename(tmp_path / "p" / "b" / "2.png")  # another class: the same bytes are other data
    assert read(tmp_path / "p").metadata["sha256"] != before


def test_a_misspelt_file_that_could_be_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path, "reviews.csv", "one")
    monkeypatch.chdir(tmp_path)

    def nothing(*_: Any, **__: Any) -> HubData:
        raise HubError("data.path: dataset reviews.cvs: not on the Hub, or private.")

    monkeypatch.setattr("hf_tl.data.hub_data.read", nothing)
    with pytest.raises(
        HubError,
        match=r"not on the Hub, or private\. There is no file 'reviews\.cvs' here; did you mean 'reviews\.csv'",
    ):
        read("reviews.cvs")
    for other in ("zzz", "alice/reviews"):
        with pytest.raises(HubError, match=r"or private\.$"):
            read(other)


def test_what_is_not_there(tmp_path: Path) -> None:
    file = table(tmp_path, "reviews.csv", "one")
    with pytest.raises(DataError, match=r"reviws\.csv: there is no such file or folder; did you mean 'reviews\.csv'"):
        read(tmp_path / "reviws.csv")
    with pytest.raises(DataError, match=r"there is no folder .*nowhere either\."):
        read(tmp_path / "nowhere" / "a.csv")
    with pytest.raises(DataError, match=r"zzz: there is no such file or folder\.$"):
        read([file, tmp_path / "zzz"])
    with pytest.raises(DataError, match=r"no such file or folder"):
        read("nothing.csv")
    other = tmp_path / "a.doc"
    other.write_text("x")
    with pytest.raises(DataError, match=r"a\.doc: a Word document: save its text"):
        read(other)


class Hub:
    """A stand-in for what reads the Hub."""

    def __init__(self, **splits: list[str]) -> None:
        self.rows = DatasetDict({name: Dataset.from_dict({"text": found}) for name, found in splits.items()})
        self.asked: list[tuple[Any, ...]] = []

    def read(self, *given: Any) -> HubData:
        self.asked.append(given)
        return HubData(self.rows, {"path": given[0], "revision": "abc"}, ["A note."])


@pytest.fixture
def hub_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(**splits: list[str]) -> Hub:
        made = Hub(**splits)
        monkeypatch.setattr("hf_tl.data.hub_data.read", made.read)
        return made

    return make


def test_what_looks_like_a_name_on_the_hub_is_asked_for_there(hub_of: Any) -> None:
    made = hub_of(train=["one"])
    for name in ("imdb", "me/reviews", "me/reviews.v2"):
        read(name)
    read("imdb", name="plain", revision="v1")
    assert made.asked == [(name, None, None) for name in ("imdb", "me/reviews", "me/reviews.v2")] + [
        ("imdb", "plain", "v1")
    ]
    for name in ("./imdb", "a/b/c", "me/reviews.csv", "me/photos.zip", "a.png", "me/", "~/x"):
        with pytest.raises(DataError, match="no such file or folder"):
            read(name)
    assert len(made.asked) == 4


def test_the_splits_of_the_hub(hub_of: Any) -> None:
    hub_of(train=["one", "two"], dev=["three"], valid=["four"], extra=["five"])
    source = read("imdb")
    assert texts(source) == {"train": ["one", "two"], "validation": ["three"]}  # the first that is one
    assert list(source.splits["train"][FILE]) == ["imdb train, row 0", "imdb train, row 1"]
    assert source.notes == ["A note.", "Split 'valid' of imdb is not used.", "Split 'extra' of imdb is not used."]
    assert (source.metadata["path"], source.metadata["revision"]) == ("imdb", "abc")
    assert set(source.metadata["fingerprint"]) == {"train", "dev", "valid", "extra"}
    found = read("imdb", splits={"train": "extra", "test": "valid"})
    assert texts(found) == {"train": ["five"], "test": ["four"]}
    assert found.notes[1:] == ["Split 'train' of imdb is not used.", "Split 'dev' of imdb is not used."]
    with pytest.raises(DataError, match=r"data\.splits\.train: imdb has no split 'extr'; did you mean 'extra'"):
        read("imdb", splits={"train": "extr"})
    with pytest.raises(
        DataError, match=r"data\.splits\.test: imdb has no split 'zz'; it has 'train', 'dev', 'valid', 'extra'"
    ):
        read("imdb", splits={"test": "zz"})


def test_a_column_of_the_hub_that_has_our_name(hub_of: Any) -> None:
    hub_of(train=["one"])
    rows = Dataset.from_dict({"text": ["one"], FILE: ["/etc/passwd"]})
    with pytest.raises(DataError, match=f"imdb has a column '{FILE}', which hf_tl keeps for itself"):
        sources._hub_rows(rows, "imdb", "train")


def test_the_only_split_of_the_hub_is_trained_on(hub_of: Any) -> None:
    hub_of(everything=["one"])
    source = read("imdb")
    assert texts(source) == {"train": ["one"]} and source.notes == ["A note."]
    assert list(source.splits["train"][FILE]) == ["imdb everything, row 0"]
    with pytest.raises(DataError, match=r"has no split 'x'"):
        read("imdb", splits={"train": "x"})


def test_where_archives_are_unpacked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache" / "data"
    monkeypatch.delenv("HF_TL_CACHE")
    from huggingface_hub.constants import HF_HOME

    assert cache_folder() == Path(HF_HOME) / "hf_tl" / "data"


# folders of tables


def test_a_folder_of_tables(tmp_path: Path) -> None:
    table(tmp_path, "train/a.csv", "one")
    table(tmp_path, "train/b.csv", "two")
    table(tmp_path, "en/dev.csv", "three")
    table(tmp_path, "test.csv", "four")
    table(tmp_path, ".hidden/train.csv", "no")
    table(tmp_path, "__MACOSX/train.csv", "no")
    (tmp_path / ".DS_Store").write_text("x")
    (tmp_path / "notes.doc").write_text("x")
    assert texts(read(tmp_path)) == {"train": ["one", "two"], "validation": ["three"], "test": ["four"]}


def test_the_nearest_name_says_the_split(tmp_path: Path) -> None:
    table(tmp_path, "train/test.csv", "one")
    table(tmp_path, "test/train/part.csv", "two")
    assert texts(read(tmp_path)) == {"test": ["one"], "train": ["two"]}


def test_tables_whose_split_nobody_can_know(tmp_path: Path) -> None:
    table(tmp_path, "one.csv", "one")
    assert texts(read(tmp_path)) == {"train": ["one"]}  # one alone is what there is to learn from
    table(tmp_path, "test.csv", "two")
    with pytest.raises(
        DataError, match=r"holds 'one\.csv', 'test\.csv'; which split is 'one\.csv'\? .*data\.splits\.train=one\.csv"
    ):
        read(tmp_path)
    assert texts(read(tmp_path, splits={"train": "one.csv"})) == {"train": ["one"]}
    assert texts(read(tmp_path, splits={"train": "one", "validation": "test.csv"})) == {
        "train": ["one"], "validation": ["two"],
    }  # fmt: skip
    with pytest.raises(DataError, match=r"data\.splits\.validation: .* has no 'three\.csv'"):
        read(tmp_path, splits={"train": "one.csv", "validation": "three.csv"})


def test_folders_with_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: the folder is empty"):
        read(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.doc").write_text("x")
    (tmp_path / "other" / "README").write_text("x")
    with pytest.raises(DataError, match=r"other holds no images or tables, only '\.doc', 'README'"):
        read(tmp_path / "other")


def test_the_card_beside_a_folder(tmp_path: Path) -> None:
    file = table(tmp_path, "train.csv", "one")
    (tmp_path / "README.md").write_text("---\nlicense: mit\nlanguage: [en, fr]\n---\n")
    found = read(tmp_path).metadata
    assert (found["license"], found["language"]) == ("mit", ["en", "fr"])
    assert "license" not in read(file).metadata  # the card beside a single file may be about something else


# folders of images


def classes(source: Source) -> dict[str, dict[str, str]]:
    return {
        split: {Path(row[FILE]).name: row["label"] for row in rows.remove_columns("image")}
        for split, rows in source.splits.items()
    }


def test_classes_are_folders(tmp_path: Path) -> None:
    image(tmp_path / "cat" / "1.png")
    image(tmp_path / "dog" / "big" / "2.JPG")
    image(tmp_path / "dog" / ".hidden.png")
    (tmp_path / "dog" / "notes.md").write_text("x")
    source = read(tmp_path)
    assert classes(source) == {"train": {"1.png": "cat", "2.JPG": "dog/big"}}
    rows = source.splits["train"]
    assert not rows.features["image"].decode and rows[0]["image"]["path"] == rows[0][FILE] == str(
        tmp_path / "cat" / "1.png"
    )


def test_splits_and_classes_are_folders(tmp_path: Path) -> None:
    image(tmp_path / "train" / "cat" / "1.png")
    image(tmp_path / "val" / "cat" / "2.png")
    image(tmp_path / "test" / "test" / "3.png")
    assert classes(read(tmp_path)) == {
        "train": {"1.png": "cat"}, "validation": {"2.png": "cat"}, "test": {"3.png": "test"},
    }  # fmt: skip
    found = classes(read(tmp_path, splits={"train": "val", "test": "test"}))
    assert found == {"train": {"2.png": "cat"}, "test": {"3.png": "test"}}
    with pytest.raises(DataError, match=r"data\.splits\.validation: .* has no 'dev'"):
        read(tmp_path, splits={"train": "train", "validation": "dev"})


def test_a_folder_that_is_no_split_beside_splits(tmp_path: Path) -> None:
    image(tmp_path / "train" / "cat" / "1.png")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / ".git").mkdir()
    assert list(read(tmp_path).splits) == ["train"]
    image(tmp_path / "dog" / "2.png")
    with pytest.raises(DataError, match=r"mixes split folders with 'dog'; name the splits with data\.splits"):
        read(tmp_path)
    assert classes(read(tmp_path, splits={"train": "train"})) == {"train": {"1.png": "cat"}}


def test_images_without_classes(tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    image(tmp_path / "2.webp")
    assert read(tmp_path).splits["train"].column_names == ["image", FILE]
    image(tmp_path / "cat" / "3.png")
    with pytest.raises(DataError, match=r"1\.png: lies in no class folder; expected .*/CLASS/image or .*/train/CLASS/"):
        read(tmp_path)
    one_split = tmp_path / "other"
    image(one_split / "test" / "1.png")
    image(one_split / "train" / "cat" / "1.png")
    assert classes(read(one_split)) == {"train": {"1.png": "cat"}, "test": {"1.png": None}}  # as competitions have it
    image(one_split / "test" / "cat" / "2.png")
    with pytest.raises(DataError, match=r"test/1\.png: lies in no class folder"):
        read(one_split)


# tables that name images


def metadata(folder: Path, rows: list[dict[str, Any]], name: str = "metadata.jsonl") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_metadata_name_images(tmp_path: Path) -> None:
    image(tmp_path / "train" / "sub" / "1.png")
    image(tmp_path / "train" / "2.png")
    metadata(tmp_path / "train", [{"file_name": "sub/1.png", "label": "a"}, {"file_name": "2.png", "label": "b"}])
    image(tmp_path / "val" / "3.png")
    metadata(tmp_path / "val", [{"file_name": "3.png", "label": "a"}])
    source = read(tmp_path)
    rows = source.splits["train"]
    assert [row["path"] for row in rows["file_name"]] == [
        str(tmp_path / "train" / name) for name in ("sub/1.png", "2.png")
    ]
    assert list(rows["label"]) == ["a", "b"] and not rows.features["file_name"].decode
    assert rows[1][FILE] == f"{tmp_path / 'train' / 'metadata.jsonl'}, line 2"
    assert len(source.splits["validation"]) == 1


def test_a_table_of_its_own_names_images(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    image(tmp_path / "b.jpeg")
    file = tmp_path / "d.csv"
    file.write_text("photo,other,label\na.png,a.txt,x\nb.jpeg,b.png,y\n")
    rows = read(file).splits["train"]
    assert [row["path"] for row in rows["photo"]] == [str(tmp_path / "a.png"), str(tmp_path / "b.jpeg")]
    assert list(rows["other"]) == ["a.txt", "b.png"]  # not all are images
    file.write_text("photo,label\na.png,x\nc.png,y\n")
    with pytest.raises(DataError, match=r"d\.csv, line 3: column 'photo' names 'c\.png', which is not there"):
        read(file)


def test_gaps_among_named_images(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    metadata(tmp_path, [{"file_name": "a.png", "mask_file_name": None, "photo": None},
                        {"file_name": "a.png", "mask_file_name": "a.png", "photo": "a.png"}])  # fmt: skip
    rows = read(tmp_path).splits["train"]
    assert [None if row is None else Path(row["path"]).name for row in rows["mask_file_name"]] == [None, "a.png"]
    assert list(rows["photo"]) == [None, "a.png"]  # only a column that says that it names files may leave some out


# archives


def test_an_archive_is_a_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("reviews/v1/train.csv", "text,label\none,x\n")
        archive.writestr("reviews/v1/test.csv", "text,label\ntwo,x\n")
        archive.writestr("__MACOSX/reviews", "x")
    assert texts(read(tmp_path / "d.zip")) == {"train": ["one"], "test": ["two"]}
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        for name in ("1.png", "2.png"):
            archive.write(image(tmp_path / name), f"train/cat/{name}")
    # the folder of a split is not taken off
    assert classes(read(tmp_path / "e.zip")) == {"train": {"1.png": "cat", "2.png": "cat"}}
    assert read(tmp_path / "e.zip").metadata["path"] == str(tmp_path / "e.zip")
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        archive.writestr("a/b.doc", "x")
    with pytest.raises(DataError, match=r"f\.zip holds no images or tables, only '\.doc'"):
        read(tmp_path / "f.zip")
