"""Archives: what is extracted, and that links, bombs and members that leave the folder are not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hf_tl.data import archives
from hf_tl.data.archives import extract, is_archive, safe_parts
from hf_tl.errors import DataError

CONTENT = {"train/a.txt": b"first", "train/b/c.txt": b"second" * 30_000, "empty.txt": b""}
PACKED = {".tar": bytes, ".tar.gz": gzip.compress, ".tgz": gzip.compress, ".tar.bz2": bz2.compress,
          ".tar.xz": lzma.compress}  # fmt: skip


def tar(*members: tuple[str, bytes, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive of (name, type, content); the content of a link is what it leads to."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as packed:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = content.decode()
            else:
                info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(archive: Path, match: str) -> None:
    cache = archive.parent / f"cache of {archive.name}"
    with pytest.raises(DataError, match=match) as caught:
        extract(archive, cache)
    assert str(archive) in str(caught.value)
    assert not files(cache) and not list(cache.iterdir())  # nothing half-done is left


@pytest.mark.parametrize("suffix", [".zip", *PACKED])
def test_every_format_gives_the_same_files(suffix: str, tmp_path: Path) -> None:
    archive = tmp_path / f"data{suffix}"
    if suffix == ".zip":
        zipped(archive, {**CONTENT, "folder/": b""})
    else:
        members = [(name, tarfile.REGTYPE, content) for name, content in CONTENT.items()]
        archive.write_bytes(PACKED[suffix](tar(("train", tarfile.DIRTYPE, b""), *members)))
    assert is_archive(archive)
    folder = extract(archive, tmp_path / "cache")
    assert files(folder) == CONTENT and folder.parent == tmp_path / "cache"
    (folder / "empty.txt").write_text("kept")  # the same content is extracted once
    again = extract(written(tmp_path / f"copy{suffix}", archive.read_bytes()), tmp_path / "cache")
    assert again == folder and (folder / "empty.txt").read_text() == "kept"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]


def test_several_xz_streams_are_one_archive(tmp_path: Path) -> None:
    whole = tar(*((name, tarfile.REGTYPE, content) for name, content in CONTENT.items()))
    halves = lzma.compress(whole[:9000]) + lzma.compress(whole[9000:]) + b"\0" * 8
    assert files(extract(written(tmp_path / "a.tar.xz", halves), tmp_path / "cache")) == CONTENT
    refused(written(tmp_path / "b.tar.xz", lzma.compress(whole)[:-40]), "cannot be unpacked")


def test_an_xz_that_wants_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = written(tmp_path / "a.tar.xz", lzma.compress(tar(("a.txt", tarfile.REGTYPE, b"a")), preset=9))
    monkeypatch.setattr(archives, "MAX_DICTIONARY", 1 << 20)
    refused(archive, "cannot be unpacked")
    assert archives.MAX_DIRECTORY == 2**29 and archives.MAX_BYTES == 200 * 2**30  # and of those that are meant:
    monkeypatch.undo()
    assert archives.MAX_DICTIONARY == 2**28
    assert files(extract(archive, tmp_path / "cache")) == {"a.txt": b"a"}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a/b.txt", ("a", "b.txt")), ("./a//b", ("a", "b")), ("a\\b", ("a", "b")), ("..a/b..", ("..a", "b..")),
        ("/a", None), ("\\a", None), ("a/../b", None), ("..", None), ("a\\..\\..\\b", None), ("C:/a", None),
        ("a/b:c", None), ("a\0b", None), ("", None), (".", None),
    ],
)  # fmt: skip
def test_paths_stay_in_the_folder(name: str, parts: tuple[str, ...] | None) -> None:
    assert safe_parts(name) == parts


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt", "C:\\out.txt"])
def test_a_member_that_leaves_the_folder(name: str, tmp_path: Path) -> None:
    refused(zipped(tmp_path / "a.zip", {"good.txt": b"good", name: b"bad"}), "would be written outside the folder")
    members = [("good.txt", tarfile.REGTYPE, b"good"), (name, tarfile.REGTYPE, b"bad")]
    refused(written(tmp_path / "a.tar", tar(*members)), "would be written outside the folder")
    assert not (tmp_path / "out.txt").exists()


def test_long_paths(tmp_path: Path) -> None:
    deep, long = "/".join(["a"] * 64), "/".join(["b" * 99] * 10)  # 999 characters
    assert set(files(extract(zipped(tmp_path / "a.zip", {deep: b"", long: b""}), tmp_path / "cache"))) == {deep, long}
    refused(zipped(tmp_path / "b.zip", {f"{deep}/a": b""}), "has a path of 129 characters and 65 parts")
    refused(zipped(tmp_path / "c.zip", {f"{long}bb": b""}), "has a path of 1001 characters and 10 parts")


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    bad = tar(("a\udcff.txt", tarfile.REGTYPE, b"a"), form=tarfile.GNU_FORMAT)
    refused(written(tmp_path / "a.tar", bad), "is not UTF-8; rename it")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_of_a_tar(kind: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    leads = str(tmp_path / "secret.txt").encode() if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else b""
    members = [("good.txt", tarfile.REGTYPE, b"good"), ("bad.txt", kind, leads)]
    refused(written(tmp_path / "a.tar", tar(*members)), "'bad.txt' is a link or a device or has holes")


def test_links_of_a_zip(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("bad.txt")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("good.txt", "good")
        packed.writestr(link, "/etc/passwd")
    refused(tmp_path / "a.zip", "member 'bad.txt' is a link")


def test_members_packed_in_rare_ways(tmp_path: Path) -> None:
    refused(zipped(tmp_path / "a.zip", {"a.txt": b"a" * 99}, zipfile.ZIP_LZMA), "is packed in a way that is not read")
    assert files(extract(zipped(tmp_path / "b.zip", {"a": b"a"}, zipfile.ZIP_STORED), tmp_path / "c")) == {"a": b"a"}


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    """One content, listed twice: the second entry of the directory is made to lead to the first member."""
    path = zipped(tmp_path / "a.zip", {"a.txt": b"a" * 1000, "b.txt": b"a" * 1000}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    second = content.rfind(b"PK\x01\x02")
    content[second + 42 : second + 46] = bytes(4)
    path.write_bytes(content)
    refused(path, "overlaps another one")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_bomb(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks to more than 200 times its size, counted over all members."""
    monkeypatch.setattr(archives, "FREE_BYTES", 50_000)
    assert archives.MAX_RATIO == 200
    names = [f"{index}.txt" for index in range(6)]
    path = tmp_path / f"a{suffix}"
    if suffix == ".zip":
        zipped(path, dict.fromkeys(names, bytes(40_000)))
        limit = max(50_000, 200 * path.stat().st_size)
    else:
        path.write_bytes(gzip.compress(tar(*((name, tarfile.REGTYPE, bytes(40_000)) for name in names))))
        limit = max(50_000, 200 * path.stat().st_size)
    assert limit < 240_000
    refused(path, f"unpacks to more than {limit:,} bytes")
    monkeypatch.setattr(archives, "FREE_BYTES", 240_000)
    assert len(files(extract(path, tmp_path / "cache"))) == 6
    monkeypatch.setattr(archives, "MAX_BYTES", 239_999)
    refused(written(tmp_path / f"b{suffix}", path.read_bytes()), "unpacks to more than 239,999 bytes")


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_too_many_members(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{index}.txt" for index in range(100)]
    path = tmp_path / f"a{suffix}"
    if suffix == ".zip":
        zipped(path, dict.fromkeys(names, b""))
    else:
        path.write_bytes(tar(*((f"{name}/", tarfile.DIRTYPE, b"") for name in names)))  # folders count too
    own = path.stat().st_size // archives.BYTES_A_FILE
    monkeypatch.setattr(archives, "FREE_FILES", 99 - own)
    refused(path, "has more than 99 members, too many for its size")
    monkeypatch.setattr(archives, "FREE_FILES", 100 - own)
    assert len(list(extract(path, tmp_path / "cache").iterdir())) == (100 if suffix == ".zip" else 0)


@pytest.mark.parametrize(
    ("name", "content"), [("a.zip", b"no zip"), ("a.tar", b"x" * 600), ("a.tar.gz", b"\x1f\x8bxx")]
)
def test_what_is_no_archive(name: str, content: bytes, tmp_path: Path) -> None:
    refused(written(tmp_path / name, content), "cannot be unpacked")


def held(content: bytes, most: int) -> Any:
    return archives._Held(io.BytesIO(content), most)


def test_single_reads_are_bounded() -> None:
    assert held(b"abc", 3).read() == b"abc" and held(b"abc", 3).read(3) == b"abc" and held(b"", 3).read() == b""
    assert held(b"abcd", 3).read(0) == b""
    with pytest.raises(ValueError, match="longer than 3 bytes"):
        held(b"abcd", 3).read(4)
    with pytest.raises(ValueError, match="more than 3 bytes where a header should be"):
        held(b"abcd", 3).read()
    stream = held(b"abcdef", 3)
    stream.left = 4
    assert stream.read(3) == b"abc" and stream.left == 1 and stream.tell() == 3
    with pytest.raises(ValueError, match="headers of a member are too long"):
        stream.read(2)
    stream = held(b"0" * 200, 300)
    assert stream.read() == b"0" * 200  # a content may be anything
    stream.seek(0)
    stream.left = 300
    with pytest.raises(ValueError, match="headers of a member are too long"):
        stream.read()
