"""Data that would fill the memory or never end are refused in a sentence; odd annotations are never a fault of ours."""

from __future__ import annotations

import bz2
import copy
import gzip
import io
import json
import lzma
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hf_tl.config import DataConfig
from hf_tl.data import load_data
from hf_tl.data.images import unreadable
from hf_tl.errors import DataError, InputError
from tests.tasks.test_object_detection import coco, image_file, voc, yolo
from tests.tiny import colour_folder

MEMORY = 500 * 1024**2
SECONDS = 20  # two are meant; the machine of the tests is busy
MEASURE = """
import json, resource, sys, time
from hf_tl.config import DataConfig
from hf_tl.data import load_data
from hf_tl.errors import InputError
import datasets
datasets.disable_progress_bars()
here = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (here + (3 << 30), here + (3 << 30)))
for path in json.loads(sys.stdin.read()):
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        load_data(DataConfig(path=path))
        said = None
    except InputError as error:
        said = str(error)
    except BaseException as error:
        said = "TRACEBACK " + repr(error)[:300]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(json.dumps([said, time.process_time() - start, grown]), flush=True)
"""


def header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def zeros(stream: Any, count: int) -> None:
    block = b"\0" * (1 << 20)
    for _ in range(count >> 20):
        stream.write(block)


def pax_header(kind: bytes, fill: bytes = b"\0") -> Callable[[Path], Path]:
    """A tar whose first member has 2 GB of extended header, 2 MB when packed."""

    def make(folder: Path) -> Path:
        with gzip.open(folder / "d.tgz", "wb", compresslevel=1) as out:
            out.write(header("x", kind, 2 << 30))
            for _ in range(300):
                out.write(fill * (1 << 20))
        return folder / "d.tgz"

    return make


def pax_digits(folder: Path) -> Path:
    """CVE-2024-6232: digits without an end in a header."""
    body = b"1" * 200_000
    with tarfile.open(folder / "d.tar", "w"):
        pass
    content = header("x", tarfile.XHDTYPE, len(body)) + body + b"\0" * (-len(body) % 512)
    (folder / "d.tar").write_bytes(content + header("train.csv", tarfile.REGTYPE, 0) + b"\0" * 1024)
    return folder / "d.tar"


def pax_chain(folder: Path) -> Path:
    """Headers of headers of headers."""
    body = b"9 a=b\n".ljust(512, b"\0")
    (folder / "d.tar").write_bytes((header("x", tarfile.XHDTYPE, 6) + body) * 5000)
    return folder / "d.tar"


def sparse_file(folder: Path) -> Path:
    """Holes of a terabyte."""
    pax = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 40)}
    with tarfile.open(folder / "d.tar", "w", format=tarfile.PAX_FORMAT, pax_headers={}) as out:
        info = tarfile.TarInfo("train.csv")
        info.size, info.pax_headers = 1, pax
        out.addfile(info, io.BytesIO(b"x"))
    return folder / "d.tar"


def gz_bomb(folder: Path) -> Path:
    with gzip.open(folder / "d.tar.gz", "wb", compresslevel=1) as out:
        out.write(header("train.csv", tarfile.REGTYPE, 4 << 30))
        zeros(out, 300 << 20)
    return folder / "d.tar.gz"


def many_members(folder: Path) -> Path:
    with gzip.open(folder / "d.tgz", "wb", compresslevel=1) as out:
        for index in range(100_000):
            out.write(header(f"{index % 7}", tarfile.DIRTYPE, 0))
    return folder / "d.tgz"


def xz_dictionary(folder: Path) -> Path:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1536 << 20, "preset": 0}]
    packer = lzma.LZMACompressor(format=lzma.FORMAT_XZ, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}])
    plain = packer.compress(header("train.csv", tarfile.REGTYPE, 0) + b"\0" * 1024) + packer.flush()
    del filters
    # the dictionary's size is one byte of the block header, and that has a checksum of its own
    block = bytearray(plain[12 : 12 + (plain[12] + 1) * 4])
    block[block.index(b"\x21\x01") + 2] = 38  # 2 GB
    block[-4:] = struct.pack("<I", zlib.crc32(block[:-4]))
    (folder / "d.tar.xz").write_bytes(plain[:12] + bytes(block) + plain[12 + len(block) :])
    return folder / "d.tar.xz"


def zip_of(*members: tuple[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "d.zip", "w", kind) as out:
            for name, content in members:
                out.writestr(name, content)
        return folder / "d.zip"

    return make


def zip_bomb(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "d.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        with out.open("train.csv", "w", force_zip64=True) as stream:
            zeros(stream, 400 << 20)
    return folder / "d.zip"


def zip_overlapping(folder: Path) -> Path:
    """Two entries of the directory for one content."""
    packed = zip_of(("a.csv", b"text,label\n" * 50), ("b.csv", b"text,label\n" * 50))(folder)
    content = bytearray(packed.read_bytes())
    second = content.rindex(b"PK\1\2")
    content[second + 42 : second + 46] = struct.pack("<I", 0)
    packed.write_bytes(content)
    return packed


def zip_encrypted(folder: Path) -> Path:
    packed = zip_of(("train.csv", b"text,label\n"))(folder)
    content = bytearray(packed.read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + place] |= 1
    packed.write_bytes(content)
    return packed


def zip_damaged(folder: Path) -> Path:
    packed = zip_of(("train.csv", bytes(np.random.default_rng(0).integers(0, 9, 4000, dtype=np.uint8))))(folder)
    content = bytearray(packed.read_bytes())
    content[60:80] = b"\xff" * 20
    packed.write_bytes(content)
    return packed


def damaged(name: str, pack: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        noise = np.random.default_rng(0).integers(0, 256, 9000, dtype=np.uint8).tobytes()
        content = bytearray(pack(header("train.csv", tarfile.REGTYPE, len(noise)) + noise))
        content[len(content) // 2 : len(content) // 2 + 40] = b"\xaa" * 40
        (folder / name).write_bytes(content)
        return folder / name

    return make


def text(name: str, content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(content, encoding="utf-8")
        return folder / name

    return make


def parquet_rows(folder: Path) -> Path:
    """Some kilobytes that say half a billion rows, which a column that never changes can."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000_000, dtype=np.int8)), pa.array(["a text"]))
    table = pa.table({"text": pa.chunked_array([column] * 20), "label": pa.chunked_array([column] * 20)})
    pq.write_table(table, folder / "d.parquet", row_group_size=20_000_000)
    return folder / "d.parquet"


def parquet_bomb(folder: Path) -> Path:
    values = pa.array(["x" * 1_000_000] * 600)
    pq.write_table(
        pa.table({"text": values}), folder / "d.parquet", compression="zstd", use_dictionary=False, row_group_size=100
    )
    return folder / "d.parquet"


def arrow_rows(folder: Path) -> Path:
    batch = pa.record_batch({"text": pa.nulls(2_000_000_000)})
    with pa.OSFile(str(folder / "d.arrow"), "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as out:
        out.write_batch(batch)
    return folder / "d.arrow"


def arrow_lies(folder: Path) -> Path:
    """Offsets that point outside of what is there: reading them ends the process."""
    with pa.OSFile(str(folder / "d.arrow"), "wb") as sink:
        batch = pa.record_batch({"text": ["good film"] * 64, "label": ["a", "b"] * 32})
        with pa.ipc.new_stream(sink, batch.schema) as out:
            out.write_batch(batch)
    content = bytearray((folder / "d.arrow").read_bytes())
    place = content.index(struct.pack("<4i", 9, 18, 27, 36))
    content[place : place + 4] = struct.pack("<i", 1_000_000_000)
    (folder / "d.arrow").write_bytes(content)
    return folder / "d.arrow"


def nested(folder: Path) -> Path:
    kind: Any = pa.int8()
    for _ in range(200):
        kind = pa.struct([("a", kind)])
    pq.write_table(pa.table({"text": pa.nulls(4, kind)}), folder / "d.parquet")
    return folder / "d.parquet"


def png_header(width: int, height: int) -> bytes:
    """A PNG that says its size and has no more in it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def images(name: str, content: bytes) -> Callable[[Path], Path]:
    """An image folder of which one file is this."""

    def make(folder: Path) -> Path:
        made = colour_folder(folder / "images")
        (made / "train" / "red" / name).write_bytes(content)
        return made

    return make


def bilevel(side: int) -> bytes:
    stream = io.BytesIO()
    Image.new("1", (side, side)).save(stream, "PNG")
    return stream.getvalue()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n%%EOF\n"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><annotation><filename>&i;</filename></annotation>"
)
READS = '<!DOCTYPE annotation [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object><name>&x;</name></object></annotation>'


def voc_with(xml: str, encoding: str = "utf-8") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        made = voc(folder / "voc")
        (made / "Annotations" / "3.xml").write_bytes(xml.encode(encoding))
        return made

    return make


def yolo_with(text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        made = yolo(folder / "yolo")
        (made / "data.yaml").write_text(text)
        return made

    return make


ALIASES = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(f'*{a}' for _ in range(9))}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
DEEP = "[" * 200_000 + "]" * 200_000

ATTACKS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "tar: extended header of 2 GB": (pax_header(tarfile.XHDTYPE), "headers of a member are too long"),
    "tar: global header of 2 GB": (pax_header(tarfile.XGLTYPE), "headers of a member are too long"),
    "tar: Solaris header of 2 GB": (pax_header(tarfile.SOLARIS_XHDTYPE), "headers of a member are too long"),
    "tar: name of 2 GB": (pax_header(tarfile.GNUTYPE_LONGNAME, b"a"), "headers of a member are too long"),
    "tar: link's name of 2 GB": (pax_header(tarfile.GNUTYPE_LONGLINK, b"a"), "headers of a member are too long"),
    "tar: digits": (pax_digits, "headers of a member are too long"),
    "tar: chain of headers": (pax_chain, "cannot be unpacked"),
    "tar: holes": (sparse_file, "has holes"),
    "tar: 4 GB of zeros": (gz_bomb, "unpacks to more than"),
    "tar: members": (many_members, "too many for its size"),
    "tar: xz's dictionary": (xz_dictionary, "cannot be unpacked"),
    "tar: damaged gz": (damaged("d.tgz", gzip.compress), "cannot be unpacked"),
    "tar: damaged bz2": (damaged("d.tar.bz2", bz2.compress), "cannot be unpacked"),
    "tar: damaged xz": (damaged("d.tar.xz", lzma.compress), "cannot be unpacked"),
    "tar: cut xz": (
        lambda f: ((f / "d.tar.xz").write_bytes(lzma.compress(b"a" * 999)[:40]), f / "d.tar.xz")[1],
        "cannot be unpacked",
    ),
    "tar: nothing": (text("d.tar", "nonsense " * 300), "cannot be unpacked"),
    "zip: 400 MB of zeros": (zip_bomb, "unpacks to more than"),
    "zip: overlapping": (zip_overlapping, "overlaps"),
    "zip: encrypted": (zip_encrypted, "encrypted"),
    "zip: damaged": (zip_damaged, "cannot be unpacked"),
    "zip: LZMA": (zip_of(("train.csv", b"a"), kind=zipfile.ZIP_LZMA), "pack it again"),
    "zip: bzip2": (zip_of(("train.csv", b"a"), kind=zipfile.ZIP_BZIP2), "pack it again"),
    "zip: deep": (zip_of(("a/" * 5000 + "train.csv", b"text,label\n")), "expected at most"),
    "zip: long name": (zip_of(("a" * 5000, b"text,label\n")), "expected at most"),
    "zip: long part": (zip_of(("a" * 900, b"text,label\n")), "cannot be unpacked"),
    "zip: only zips": (zip_of(("inner.zip", b"PK")), "holds no images or tables"),
    "json: deep": (text("d.json", DEEP), "deep"),
    "jsonl: deep": (text("d.jsonl", '{"text": ' + DEEP + "}\n"), "line 1.*deep"),
    "coco: deep": (
        text("d.json", '{"images": [], "categories": [], "annotations": ' + DEEP + "}"),
        "deep",
    ),
    "json: number": (text("d.jsonl", '{"text": "a", "label": 1' + "0" * 30 + "}\n"), "one class only"),
    "json: long number": (text("d.jsonl", '{"text": "a", "label": 1' + "0" * 100_000 + "}\n"), "digits"),
    "json: surrogate": (text("d.jsonl", '{"text": "\\ud800", "label": 1}\n'), "surrogate"),
    "json: many keys": (text("d.json", json.dumps([{f"k{i}": 1 for i in range(50_000)}])), "50,000 columns"),
    "csv: one long line": (text("d.csv", '"' + "x" * 60_000_000), "first line is longer"),
    "csv: columns": (text("d.csv", ",".join(f"c{i}" for i in range(50_000)) + "\n"), "50,000 columns"),
    "csv: an open quote": (text("d.csv", 'text,label\n"' + "x,y\n" * 100_000), "one class only"),  # read as it stands
    "parquet: rows": (parquet_rows, "more than a file of its size"),
    "parquet: bomb": (parquet_bomb, "unpacks to"),
    "parquet: nested": (nested, "deep"),
    "arrow: rows": (arrow_rows, "more than a file of its size"),
    "arrow: lies": (arrow_lies, "cannot be read"),
    "arrow: nothing": (text("d.arrow", "nonsense " * 30), "cannot be read"),
    "reserved column": (text("d.csv", "text,__file__,label\na,b,c\n"), "keeps for itself"),
    "image: size in its header": (images("z.png", png_header(2**31 - 1, 2**31 - 1)), "pixels; make it smaller"),
    "image: 150 million pixels": (images("z.png", png_header(15_000, 10_000)), "15000 x 10000 pixels"),
    "image: 150 million real ones": (images("z.png", bilevel(12_000)), "12000 x 12000 pixels"),
    "image: EPS": (images("z.png", EPS), "not an image of a known format"),
    "image: SVG": (images("z.png", SVG), "not an image of a known format"),
    "image: cut off": (images("z.png", png_header(30, 30)[:45]), "cannot be read"),
    "voc: a billion laughs": (voc_with(LAUGHS), "DOCTYPE"),
    "voc: a billion laughs in UTF-16": (voc_with(LAUGHS, "utf-16"), "DOCTYPE"),
    "voc: an entity of a file": (voc_with(READS), "DOCTYPE"),
    "voc: deep": (voc_with("<annotation>" * 200_000), "deep|not valid"),
    "voc: large": (voc_with("<annotation>" + "<a/>" * 6_000_000 + "</annotation>"), "larger than"),
    "voc: an encoding": (voc_with('<?xml version="1.0" encoding="nope"?><annotation/>'), "not valid XML"),
    "yolo: aliases": (yolo_with(ALIASES + "names: *i\n"), "aliases"),
    "yolo: deep": (yolo_with("names: " + "[" * 20_000 + "]" * 20_000), "deep"),
}


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Attack -> sentence, seconds, bytes that it made the process grow; all in one process."""
    paths = []
    for name, (make, _) in ATTACKS.items():
        folder = tmp_path_factory.mktemp("attack")
        paths.append(str(make(folder)))
        assert Path(paths[-1]).exists(), name
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], input=json.dumps(paths), capture_output=True, text=True, timeout=600
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(found) == len(paths), f"{list(ATTACKS)[len(found)]} ended the process: {done.stderr[-500:]}"
    return dict(zip(ATTACKS, found, strict=True))


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused_in_a_sentence(name: str, attacked: dict[str, list[Any]]) -> None:
    sentence, seconds, grown = attacked[name]
    assert sentence is not None, "it was read"
    assert not sentence.startswith("TRACEBACK"), sentence
    assert re.search(ATTACKS[name][1], sentence), sentence
    assert "\n" not in sentence and len(sentence) < 700
    assert seconds < SECONDS and grown < MEMORY, (seconds, grown / 2**20)


# what a mutation of good data may do: load, or be refused in a sentence


JUNK: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.just(2**70), st.just(1e308), st.just(float("nan")),
    st.just(float("inf")), st.just(""), st.just("x"), st.just("0"), st.just("../../../etc/passwd"),
    st.just("/etc/passwd"), st.just("http://127.0.0.1:1/x.png"), st.just("a" * 5000 + ".png"), st.just("\0.png"),
    st.lists(st.integers(0, 2), max_size=3), st.just({}), st.just({"a": [None]}), st.just([[]]),
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


def mutated(data: st.DataObject, value: Any) -> Any:
    """The value with one or two of its parts replaced, left out, or doubled."""
    value = copy.deepcopy(value)
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(places(value)))
        if not place:
            return data.draw(JUNK)
        inside = value
        for key in place[:-1]:
            inside = inside[key]
        what = data.draw(st.sampled_from(["replace", "remove", "double"]))
        if what == "replace":
            inside[place[-1]] = data.draw(JUNK)
        elif what == "remove":
            del inside[place[-1]]
        elif isinstance(inside, list):
            inside.append(copy.deepcopy(inside[place[-1]]))
    return value


FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def loads_or_says(path: Path) -> None:
    try:
        load_data(DataConfig(path=str(path), min_per_class=1))
    except InputError as error:
        assert str(error) and "\n" not in str(error)


@pytest.fixture(scope="module")
def coco_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco(tmp_path_factory.mktemp("coco") / "d")


@FEW
@given(st.data())
def test_any_coco_file_loads_or_is_refused(coco_folder: Path, data: st.DataObject) -> None:
    file = coco_folder / "valid" / "_annotations.coco.json"
    good = coco_folder.parent / "good.json"
    if not good.exists():
        good.write_text(file.read_text())
    file.write_text(json.dumps(mutated(data, json.loads(good.read_text()))))
    loads_or_says(coco_folder)


ODD_COCO: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "images null": (lambda d: d.update(images=None), r"images is null, expected a list"),
    "images an object": (lambda d: d.update(images={"1": {}}), r"images is an object, expected a list"),
    "an image a text": (lambda d: d["images"].insert(1, "x"), r"images\[1\]: found a text, expected an object"),
    "annotations a number": (lambda d: d.update(annotations=3), r"annotations is a number"),
    "an annotation null": (lambda d: d["annotations"].insert(0, None), r"annotations\[0\]: found null"),
    "categories null": (lambda d: d.update(categories=None), r"categories is null"),
    "a category a list": (lambda d: d["categories"].append([1]), r"categories\[3\]: found a list"),
    "category without id": (lambda d: d["categories"][0].pop("id"), r"categories\[0\]: id is missing"),
    "category without name": (lambda d: d["categories"][1].pop("name"), r"categories\[1\]: name is missing"),
    "category id twice": (
        lambda d: d["categories"].append({"id": 7, "name": "cow"}),
        r"categories\[3\]: id 7 is that of 'cat' already",
    ),
    "image id a list": (lambda d: d["images"][0].update(id=[1]), r"images\[0\]: id is \[1\], expected a whole number"),
    "image id twice": (lambda d: d["images"][1].update(id=100), r"images\[1\]: id 100 stands twice"),
    "file name a number": (lambda d: d["images"][0].update(file_name=3), r"images\[0\]: file_name is 3"),
    "no file name": (lambda d: d["images"][0].pop("file_name"), r"images\[0\]: file_name is missing"),
    "image_id an object": (
        lambda d: d["annotations"][0].update(image_id={}),
        r"annotations\[0\] \(image_id \{\} is none",
    ),
    "category_id a list": (lambda d: d["annotations"][0].update(category_id=[1]), r"category_id \[1\] is none of"),
    "category_id missing": (lambda d: d["annotations"][0].pop("category_id"), r"category_id missing is none of"),
    "box of texts": (lambda d: d["annotations"][0].update(bbox=["1"] * 4), r"bbox is \[\"1\".*expected four numbers"),
    "box null": (lambda d: d["annotations"][0].update(bbox=None), r"bbox is null, expected four numbers"),
    "box not a number": (lambda d: d["annotations"][0].update(bbox=[float("nan")] * 4), r"bbox is \[NaN"),
    "box infinite": (lambda d: d["annotations"][0].update(bbox=[0, 0, float("inf"), 1]), r"Infinity.*four numbers"),
    "box of true": (lambda d: d["annotations"][0].update(bbox=[True] * 4), r"expected four numbers"),
    "box negative": (lambda d: d["annotations"][0].update(bbox=[10, 10, -5, 5]), r"box \[.*has no area"),
    "box empty": (lambda d: d["annotations"][0].update(bbox=[10, 10, 0, 0]), r"box \[.*has no area"),
}


@pytest.mark.parametrize("case", ODD_COCO)
def test_odd_coco_names_file_and_place(case: str, tmp_path: Path) -> None:
    change, words = ODD_COCO[case]
    file = coco(tmp_path / "d") / "train" / "_annotations.coco.json"
    found = json.loads(file.read_text())
    change(found)
    file.write_text(json.dumps(found))
    with pytest.raises(DataError, match=words) as caught:
        load_data(DataConfig(path=str(tmp_path / "d")))
    assert "_annotations.coco.json" in str(caught.value)


def test_category_0_whole_floats_and_masks_are_read(tmp_path: Path) -> None:
    """What is odd, but means something."""
    file = coco(tmp_path / "d", ids=(0, 2)) / "train" / "_annotations.coco.json"
    found = json.loads(file.read_text())
    for each in found["annotations"]:
        each["image_id"] = float(each["image_id"])
        each["segmentation"] = {"counts": [1, 2, 3], "size": [60, 80]}
    file.write_text(json.dumps(found))
    data = load_data(DataConfig(path=str(tmp_path / "d")))
    assert data.labels == ("cat", "dog") and len(data.splits["train"][0]["objects"]["labels"]) == 2


@pytest.fixture(scope="module")
def voc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voc(tmp_path_factory.mktemp("voc") / "d")


@FEW
@given(st.data())
def test_any_voc_file_loads_or_is_refused(voc_folder: Path, data: st.DataObject) -> None:
    good = (
        "<annotation><filename>3.png</filename><object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin>"
        "<xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"
    )
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 30)))
    new = data.draw(
        st.sampled_from(["", "nan", "1e999", "<a>", "</a>", "&x;", "\0", "../../x.png", "-5", "ü", "<![CDATA["])
    )
    (voc_folder / "Annotations" / "3.xml").write_text(good[:start] + new + good[end:], encoding="utf-8")
    loads_or_says(voc_folder)


@pytest.fixture(scope="module")
def yolo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return yolo(tmp_path_factory.mktemp("yolo") / "d")


WORDS = st.sampled_from(
    ["0", "1", "7", "-1", "0.5", "nan", "inf", "1e999", "x", "", "0.1", "9" * 5000, "\u0663", "0x1"]
)


@FEW
@given(st.lists(WORDS, max_size=9), st.data())
def test_any_yolo_line_loads_or_is_refused(yolo_folder: Path, words: list[str], data: st.DataObject) -> None:
    (yolo_folder / "labels" / "train" / "train1.txt").write_text(" ".join(words) + "\n", encoding="utf-8")
    names = mutated(data, {"names": {0: "cat", 1: "dog"}, "nc": 2})
    (yolo_folder / "data.yaml").write_text(json.dumps(names))
    loads_or_says(yolo_folder)


@FEW
@given(st.data())
def test_any_metadata_loads_or_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("metadata")
    rows = [
        {"file_name": image_file(folder / f"{i}.png"), "objects": {"bbox": [[10, 20, 20, 20]], "category": ["cat"]}}
        for i in range(4)
    ]
    rows = mutated(data, rows)
    lines = rows if isinstance(rows, list) else [rows]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    loads_or_says(folder)


def test_yolo_numbers_that_cannot_be_counted_with(tmp_path: Path) -> None:
    folder = yolo(tmp_path / "d")
    for line in ("0 nan nan nan nan", "0 0.5 0.5 inf 0.1", "-1 0.5 0.5 0.1 0.1", "0 1e999 0 0 0"):
        (folder / "labels" / "train" / "train1.txt").write_text(line + "\n")
        with pytest.raises(DataError, match=r"train1\.txt: line 1: found .*expected a class and four numbers"):
            load_data(DataConfig(path=str(folder)))
    (folder / "labels" / "train" / "train1.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    for names in ("{x: cat}", "{0: [a]}", "[a, null]", "{-1: a}", "[[]]"):
        (folder / "data.yaml").write_text(f"names: {names}\n")
        with pytest.raises(DataError, match=r"data\.yaml: names has .* expected the name of a class"):
            load_data(DataConfig(path=str(folder)))


# images


def with_exif(exif: bytes) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (30, 20), (200, 0, 0)).save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def frames(kind: str) -> bytes:
    stream = io.BytesIO()
    pages = [Image.new("P" if kind == "GIF" else "RGB", (20, 20), index % 250) for index in range(400)]
    pages[0].save(stream, kind, save_all=True, append_images=pages[1:])
    return stream.getvalue()


def tiff_orientation(value: bytes, kind: int, count: int) -> bytes:
    """EXIF with an orientation of any type."""
    entry = struct.pack("<HHI", 0x0112, kind, count) + value.ljust(4, b"\0")
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + b"\0\0\0\0"


FINE = {
    "exif of 60 kB": with_exif(b"Exif\0\0II*\0" + b"\x08\0\0\0\0\0" + b"x" * 60_000),
    "exif cut": with_exif(b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "exif of nonsense": with_exif(b"Exif\0\0" + b"\xff" * 100),
    "orientation a text": with_exif(tiff_orientation(b"six", 2, 4)),
    "orientation 99": with_exif(tiff_orientation(struct.pack("<H", 99), 3, 1)),
    "orientation of many": with_exif(tiff_orientation(struct.pack("<HH", 6, 6), 3, 2)),
    "orientation a fraction": with_exif(tiff_orientation(b"\x08\0\0\0", 5, 1)),
    "a GIF of 400": frames("GIF"),
    "a TIFF of 400": frames("TIFF"),
    "a PNG of 400": frames("PNG"),
    "a WebP of 400": frames("WEBP"),
}


def test_odd_images_are_read(tmp_path: Path) -> None:
    """EXIF that says nothing is no reason to refuse an image, and of many frames it is the first."""
    folder = colour_folder(tmp_path / "d")
    for index, content in enumerate(FINE.values()):
        (folder / "train" / "red" / f"odd{index}.png").write_bytes(content)
    data = load_data(DataConfig(path=str(folder)))
    odd = [row["image"].size for split in data.splits.values() for row in split if "odd" in Path(row["file"]).name]
    assert len(odd) == len(FINE) and {tuple(sorted(size)) for size in odd} == {(20, 30), (20, 20)}


@FEW
@given(st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"]), st.data())
def test_any_damage_to_an_image_is_a_sentence(kind: str, data: st.DataObject) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (24, 16), (9, 99, 199)).save(stream, kind)
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    found = unreadable(bytes(content))
    assert found is None or "Traceback" not in found
