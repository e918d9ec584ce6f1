"""Files that are no files, values that a few bytes repeat, names without an end: found by a second attack on data."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hf_tl.config import DataConfig
from hf_tl.data import load_data
from hf_tl.data.images import WrongImage, opened, to_rgb
from hf_tl.errors import DataError, did_you_mean, listing
from tests.security.test_data_bounds import MEASURE, MEMORY, SECONDS, png_header
from tests.tasks.test_object_detection import voc, yolo
from tests.tiny import colour_folder

# what is no plain file: each is opened by somebody who waits for ever


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def named_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as each:
        here = Path.cwd()
        os.chdir(path.parent)  # the length of its address is limited
        each.bind(path.name)
        os.chdir(here)


def broken_link(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def ring(path: Path) -> None:
    path.symlink_to(path.name)


def unreadable(path: Path) -> None:
    path.symlink_to("/proc/self/mem")


KINDS = {
    pipe: "found a pipe", device: "found a device", named_socket: "found a socket", broken_link: "the link is broken",
    ring: "cannot be read", unreadable: "cannot be read",
}  # fmt: skip


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_what_is_no_file_among_images(make: Callable[[Path], None], tmp_path: Path) -> None:
    folder = colour_folder(tmp_path / "d", each=4)
    make(folder / "train" / "red" / "z.png")
    with pytest.raises(DataError, match=rf"z\.png: .*{KINDS[make]}"):
        load_data(DataConfig(path=str(folder)))


@pytest.mark.parametrize("make", [pipe, device], ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", ["d.csv", "d.jsonl", "d.json", "d.parquet", "d.arrow", "d.txt", "d.zip", "d.tgz"])
def test_what_is_no_file_as_a_table(name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / name)
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(DataError, match=rf"{name}: expected a file, found a"):
            load_data(DataConfig(path=str(path)))


@pytest.mark.parametrize("name", ["metadata.jsonl", "classes.txt", "data.yaml", "x.xml", "instances.json"])
def test_a_pipe_among_annotations(name: str, tmp_path: Path) -> None:
    for make in (yolo, voc):
        folder = make(tmp_path / make.__name__)
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
        with pytest.raises(DataError, match=f"{name}: expected a file, found a pipe"):
            load_data(DataConfig(path=str(folder)))


def test_links_to_folders_are_left_alone(tmp_path: Path) -> None:
    folder = colour_folder(tmp_path / "d", each=4)
    (folder / "train" / "red" / "more").symlink_to("/")
    (folder / "train" / "red" / "z.png").symlink_to(folder / "train" / "blue")
    assert len(load_data(DataConfig(path=str(folder))).labels) == 2


# what a few bytes repeat


def repeated(rows: int, text: str) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int8)), pa.array([text]))


def parquet_dictionary(folder: Path) -> Path:
    """200 GB of text in 2 kB: one text of a megabyte, named 200,000 times."""
    column = repeated(200_000, "x " * 500_000)
    pq.write_table(pa.table({"text": column, "label": column}), folder / "d.parquet", compression="zstd")
    return folder / "d.parquet"


def parquet_records(folder: Path) -> Path:
    """The same inside a record inside a list."""
    inner = pa.StructArray.from_arrays([repeated(5000, "x" * 500_000)], ["a"])
    column = pa.ListArray.from_arrays(pa.array(range(5001), pa.int32()), inner)
    pq.write_table(pa.table({"text": column}), folder / "d.parquet", compression="zstd")
    return folder / "d.parquet"


def parquet_list(folder: Path) -> Path:
    """One row of 5 million numbers."""
    numbers = pa.array(np.zeros(5_000_000, dtype=np.int8))
    column = pa.ListArray.from_arrays(pa.array([0, len(numbers)], pa.int32()), numbers)
    pq.write_table(pa.table({"text": ["a"], "label": column}), folder / "d.parquet", compression="zstd")
    return folder / "d.parquet"


def arrow_packed(folder: Path) -> Path:
    batch = pa.record_batch({"text": ["x" * 500_000] * 20, "label": ["a", "b"] * 10})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        pa.OSFile(str(folder / "d.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, batch.schema, options=options) as out,
    ):
        out.write_batch(batch)
    return folder / "d.arrow"


def arrow_dictionary_packed(folder: Path) -> Path:
    """Only the dictionary is compressed; a batch without rows has nothing to compress."""
    batch = pa.record_batch({"text": repeated(0, "x" * 500_000)})
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with (
        pa.OSFile(str(folder / "d.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, batch.schema, options=options) as out,
    ):
        out.write_batch(batch)
    return folder / "d.arrow"


def zip_of(name: str, head: bytes, block: bytes, end: bytes = b"") -> Callable[[Path], Path]:
    """An archive of some 90 kB with a table of 20 MB."""

    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "d.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
            out.writestr(name, head + block * (20_000_000 // len(block)) + end)
        return folder / "d.zip"

    return make


REPEATS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "parquet: a text": (parquet_dictionary, "texts that repeat unpack to"),
    "parquet: a text in records": (parquet_records, "texts that repeat unpack to"),
    "parquet: a list": (parquet_list, "more than a file of its size"),
    "arrow: packed": (arrow_packed, "compressed"),
    "arrow: a packed dictionary": (arrow_dictionary_packed, "compressed"),
    "zip: csv": (zip_of("train.csv", b"text,label\n", b"a,b\n"), "5,000,001 lines, more than an archive"),
    "zip: csv of one column": (zip_of("train.csv", b"text\n", b"a\r"), "lines, more than an archive"),
    "zip: txt": (zip_of("train.txt", b"", b"a\n"), "lines, more than an archive"),
    "zip: jsonl": (zip_of("train.jsonl", b"", b"{}\n"), "lines, more than an archive"),
    "zip: json": (zip_of("train.json", b'[{"text": [0', b",0", b"]}]"), "values, more than an archive"),
    "zip: json of lists": (zip_of("train.json", b'[{"text": [0', b",[]", b"]}]"), "values, more than an archive"),
}  # fmt: skip


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    paths = [str(make(tmp_path_factory.mktemp("repeats"))) for make, _ in REPEATS.values()]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], input=json.dumps(paths), capture_output=True, text=True, timeout=300
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(found) == len(paths), f"{list(REPEATS)[len(found)]} ended the process: {done.stderr[-500:]}"
    return dict(zip(REPEATS, found, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", REPEATS)
def test_what_repeats_is_refused(name: str, attacked: dict[str, list[Any]]) -> None:
    sentence, seconds, grown = attacked[name]
    assert sentence is not None and not sentence.startswith("TRACEBACK"), sentence
    assert REPEATS[name][1] in sentence
    assert seconds < SECONDS and grown < MEMORY, (seconds, grown / 2**20)


def test_texts_that_repeat_as_data_do_are_read(tmp_path: Path) -> None:
    texts = [f"a film of kind {index % 7}" for index in range(4000)]
    table = pa.table({"text": texts, "label": pa.array([str(index % 7) for index in range(4000)])})
    pq.write_table(table, tmp_path / "d.parquet")
    with pa.OSFile(str(tmp_path / "d.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    for name in ("d.parquet", "d.arrow"):
        assert load_data(DataConfig(path=str(tmp_path / name))).labels == tuple("0123456")


# classes that a file brings along, and names of any kind


@pytest.mark.parametrize(("names", "match"), [
    ([1, 2], "expected a list of names"), ([None, "a"], "expected a list of names"), ([""], "expected a list of names"),
    (["a"], "row 2: the label is class 1, and there are 1 classes"), (["a" * 3000, "b"], "has 3,000 characters"),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_classes_of_a_table(kind: str, names: list[Any], match: str, tmp_path: Path) -> None:
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": names, "_type": "ClassLabel"}}
    table = pa.table({"text": [f"a film {index}" for index in range(12)], "label": [0, 1] * 6})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path = tmp_path / f"d.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table)
    with pytest.raises(DataError, match=match) as error:
        load_data(DataConfig(path=str(path)))
    assert len(str(error.value)) < 500


def labelled(path: Path, labels: list[str]) -> Path:
    rows = [{"text": f"a film of kind {index}", "label": labels[index % len(labels)]} for index in range(16)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("labels", [["²", "³"], ["5²", "a³"], ["①", "②"], ["٣", "٤"], ["-²", "½"]])
def test_labels_of_digits_that_are_no_numbers(labels: list[str], tmp_path: Path) -> None:
    assert set(load_data(DataConfig(path=str(labelled(tmp_path / "d.jsonl", labels)))).labels) == set(labels)


@pytest.mark.parametrize("labels", [["1" * 5000, "2" * 5000], ["a" + "1" * 5000, "b"], ["x" * 10**6, "y"]])
def test_labels_without_an_end(labels: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="characters, expected at most 1,000") as error:
        load_data(DataConfig(path=str(labelled(tmp_path / "d.jsonl", labels))))
    assert len(str(error.value)) < 500


def test_sentences_end(tmp_path: Path) -> None:
    """Long names are not compared, each with each, and stand in no sentence."""
    labelled(tmp_path / "train.jsonl", [f"{'abcdefgh' * 1000}{index}" for index in range(8)])
    labelled(tmp_path / "test.jsonl", ["abcdefgi" * 1000])
    with pytest.raises(DataError) as error:
        load_data(DataConfig(path=str(tmp_path)))
    assert len(str(error.value)) <= 4100
    with pytest.raises(DataError) as error:
        (tmp_path / "test.jsonl").unlink()
        (tmp_path / "train.jsonl").write_text(json.dumps({"q" * 10**6: "a b", "z" * 10**6: "c d"}) + "\n")
        load_data(DataConfig(path=str(tmp_path)))
    assert len(str(error.value)) <= 4100 and "say which" in str(error.value)
    assert len(listing(["a" * 10**6] * 3)) < 400
    assert did_you_mean("b" * 10**6, ["b" * 10**6] * 400) == "" and "'label'" in did_you_mean("lable", ["label"])


# images


def test_a_strip_is_no_image(tmp_path: Path) -> None:
    """Pillow keeps a pointer, and more, for each row."""
    for width, height in ((1, 80_000_000), (80_000_000, 1)):
        with pytest.raises(WrongImage, match="a side of more than"), opened(png_header(width, height)):
            pass


def test_deep_grey_is_converted_in_parts() -> None:
    """As in one go, but for the memory."""
    values = (np.arange(300 * 70, dtype=np.uint32).reshape(300, 70) * 3).astype(np.uint16)
    found = np.asarray(to_rgb(Image.fromarray(values)))[..., 0]
    assert np.array_equal(found, (values.astype(np.float64) / 65535 * 255).round().astype(np.uint8))
    shares = np.linspace(0, 1, 300 * 70, dtype=np.float32).reshape(300, 70)
    found = np.asarray(to_rgb(Image.fromarray(shares)))[..., 0]
    assert np.array_equal(found, (shares.astype(np.float64) * 255).round().astype(np.uint8))


def gif_comments() -> bytes:
    """8 MB of comments before the image; Pillow joins each to all before."""
    screen = b"GIF89a" + struct.pack("<HH", 10, 10) + b"\x80\0\0" + b"\0" * 6
    return screen + b"\x21\xfe" + (b"\xff" + b"a" * 255) * 30_000 + b"\0;"


@pytest.mark.parametrize("content", [gif_comments(), b"P5 #" + b"a" * 20_000_000 + b"\n9 9 255\n"], ids=["GIF", "PPM"])
def test_comments_before_an_image(content: bytes) -> None:
    with pytest.raises(WrongImage, match="stand before what it shows"), opened(content):
        pass
