"""Files that data name: a person's own tables reach anything of theirs, an archive and the Hub their own alone."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import hf_tl
from hf_tl.config import DataConfig
from hf_tl.data import load_data
from hf_tl.errors import ConfigError, DataError, InputError
from hf_tl.reporting.provenance import config_of
from tests.hub.server import RunningHub
from tests.hub.talk import Talk
from tests.tasks.test_object_detection import image_file, yolo
from tests.tiny import tiny_vit

TOKEN = "hf_test_alice"
OPENED = (
    "http://127.0.0.1:1/x.png", "https://huggingface.co/x.png", "file://{full}", "file:{full}", "hf://datasets/a/b/x.png",
    "zip://x.png::{full}", "memory://x.png", "data:image/png;base64,AAAA.png", "s3://bucket/x.png", "FILE://{full}",
)  # fmt: skip
"""Names that fsspec, which `datasets` decodes images by, opens; `full` is an image outside."""
CLIMBS = (
    "{full}", "../{short}", "../../{short}", "a/../../{short}", "..\\{short}", "a\\..\\..\\{short}", "./../{short}",
    "C:\\{short}", "C:/{short}", "C:{short}", "\\\\server\\share\\x.png", "//server/share/x.png", "~/{short}",
)  # fmt: skip


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """An image of the person's that lies outside of all data."""
    path = tmp_path / "private-photos" / "secret-holiday.png"
    image_file(path)
    return path


def names(private: Path, given: tuple[str, ...]) -> list[str]:
    short = f"{private.parent.name}/{private.name}"
    return [name.replace("{full}", str(private)).replace("{short}", short) for name in given]


def image(size: int = 20, channel: int = 0) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(size).integers(0, 90, (size, size, 3), dtype=np.uint8)
    pixels[..., channel] += 130
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def zipped(folder: Path, files: dict[str, bytes | str]) -> str:
    with zipfile.ZipFile(folder / "d.zip", "w") as out:
        for name, content in files.items():
            out.writestr(name, content)
    return str(folder / "d.zip")


def arrow_image(name: str) -> bytes:
    """A Parquet file whose image column holds a path in place of bytes."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    values = [{"bytes": image(20 + i, i % 2 * 2), "path": None} for i in range(8)] + [{"bytes": None, "path": name}]
    table = pa.table(
        {"image": pa.array(values, features["image"].pa_type), "label": ["a", "b"] * 4 + ["a"]},
        schema=features.arrow_schema,
    )
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def as_jsonl(name: str) -> dict[str, bytes | str]:
    rows = [{"file_name": f"{i}.png", "label": "ab"[i % 2]} for i in range(8)] + [{"file_name": name, "label": "a"}]
    files: dict[str, bytes | str] = {f"{i}.png": image(20 + i) for i in range(8)}
    return {"metadata.jsonl": "".join(json.dumps(row) + "\n" for row in rows), **files}


def as_csv(name: str) -> dict[str, bytes | str]:
    rows = "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(8))
    files: dict[str, bytes | str] = {f"{i}.png": image(20 + i) for i in range(8)}
    return {"metadata.csv": f'photo,label\n{rows}"{name}",a\n', **files}


def as_late(name: str) -> dict[str, bytes | str]:
    """The name after the rows by which a column is known."""
    rows = "".join(f"{i % 8}.png,{'ab'[i % 2]}\n" for i in range(60))
    files: dict[str, bytes | str] = {f"{i}.png": image(20 + i) for i in range(8)}
    return {"metadata.csv": f'photo,label\n{rows}"{name}",a\n', **files}


def as_parquet(name: str) -> dict[str, bytes | str]:
    return {"train.parquet": arrow_image(name)}


def as_metadata_parquet(name: str) -> dict[str, bytes | str]:
    stream = io.BytesIO()
    pq.write_table(pa.table({"file_name": ["0.png", "1.png"] * 3 + [name], "label": ["a", "b"] * 3 + ["a"]}), stream)
    return {"metadata.parquet": stream.getvalue(), "0.png": image(), "1.png": image(21)}


def as_mask(name: str) -> dict[str, bytes | str]:
    rows = [{"file_name": f"{i}.png", "mask_file_name": f"{i}.png" if i else name} for i in range(4)]
    files: dict[str, bytes | str] = {f"{i}.png": image(20 + i) for i in range(4)}
    return {"metadata.jsonl": "".join(json.dumps(row) + "\n" for row in rows), **files}


def as_coco(name: str) -> dict[str, bytes | str]:
    found = {
        "images": [*({"id": i, "file_name": "0.png"} for i in range(1, 5)), {"id": 0, "file_name": name}],
        "categories": [{"id": 0, "name": "cat"}],
        "annotations": [{"image_id": i, "category_id": 0, "bbox": [1, 1, 5, 5]} for i in range(5)],
    }
    return {"0.png": image(), "instances.json": json.dumps(found)}


def as_voc(name: str) -> dict[str, bytes | str]:
    xml = (
        f"<annotation><filename>{name}</filename><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
        "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
    )
    return {"JPEGImages/0.png": image(), "other.xml": xml, "0.xml": xml.replace(name, "0.png")}


WRITERS: dict[str, Callable[[str], dict[str, bytes | str]]] = {
    "jsonl": as_jsonl, "csv": as_csv, "late": as_late, "parquet": as_parquet, "metadata parquet": as_metadata_parquet,
    "mask": as_mask, "coco": as_coco, "voc": as_voc,
}  # fmt: skip


@pytest.fixture
def no_opening(monkeypatch: pytest.MonkeyPatch, private: Path) -> Iterator[list[str]]:
    """What is opened by Pillow or by addresses, of the private file or of an address."""
    opened: list[str] = []
    true = Image.open

    def watched(file: Any, *args: Any, **options: Any) -> Any:
        if isinstance(file, (str, Path)) and ("://" in str(file) or os.path.realpath(file) == str(private)):
            opened.append(str(file))
        return true(file, *args, **options)

    monkeypatch.setattr(Image, "open", watched)
    import fsspec

    monkeypatch.setattr(fsspec, "open", lambda *args, **options: opened.append(str(args)))
    yield opened


@pytest.mark.parametrize("kind", WRITERS)
def test_an_archive_names_files_of_its_own_only(
    kind: str, private: Path, tmp_path: Path, no_opening: list[str]
) -> None:
    for index, name in enumerate(names(private, CLIMBS + OPENED)):
        folder = tmp_path / f"packed{index}"
        folder.mkdir()
        with pytest.raises(DataError, match=r"leads out of the archive|an address; only files are read") as caught:
            load_data(DataConfig(path=zipped(folder, WRITERS[kind](name)), min_per_class=1))
        said = str(caught.value)
        assert any(file in said for file in WRITERS[kind]("x.png")) and (repr(name)[1:-1][:60] in said), said
        assert "\n" not in said and caught.value.exit_code == 2
    assert no_opening == []


@pytest.mark.parametrize("kind", WRITERS)
def test_own_data_may_name_any_file_but_no_address(
    kind: str, private: Path, tmp_path: Path, no_opening: list[str]
) -> None:
    for index, name in enumerate(names(private, OPENED)):
        folder = tmp_path / f"own{index}"
        for file, content in WRITERS[kind](name).items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(DataError, match="an address; only files are read: download it"):
            load_data(DataConfig(path=str(folder), min_per_class=1))
    assert no_opening == []


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind not in ("voc", "mask")])
@pytest.mark.parametrize("way", ["absolute", "climbing"])
def test_own_data_outside_are_read_and_said_once(kind: str, way: str, private: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    name = str(private) if way == "absolute" else f"../{private.parent.name}/{private.name}"
    for file, content in WRITERS[kind](name).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    data = load_data(DataConfig(path=str(folder), min_per_class=1, validation=0.5))
    sizes = [row["image"].size for split in data.splits.values() for row in split]
    assert (80, 60) in sizes
    said = [note for note in data.notes if "lie" in note]
    assert said == ["1 images that the data name lie outside of their folder; they are read there."]
    assert private.name not in json.dumps([data.notes, data.source])


def test_relative_names_inside_an_archive_may_climb_to_their_siblings(tmp_path: Path) -> None:
    """As COCO's exports have it: annotations/instances.json and ../images/0.png."""
    found = json.loads(str(as_coco("../images/1.png")["instances.json"]).replace('"0.png"', '"../images/0.png"'))
    files: dict[str, bytes | str] = {
        "annotations/instances.json": json.dumps(found), "images/0.png": image(), "images/1.png": image(21),
    }  # fmt: skip
    data = load_data(DataConfig(path=zipped(tmp_path, files), validation=0.5))
    assert sorted(row["image"].size for split in data.splits.values() for row in split) == [(20, 20)] * 4 + [(21, 21)]
    assert not [note for note in data.notes if "outside" in note]


def test_a_link_in_the_place_of_an_unpacked_archive_leads_nowhere(private: Path, tmp_path: Path) -> None:
    """The cache is the person's, but what was in an archive stays in it, links followed."""
    from hf_tl.data.archives import extract
    from hf_tl.data.sources import cache_folder

    packed = zipped(tmp_path, as_jsonl("photos/x.png"))
    folder = extract(Path(packed), cache_folder())
    (folder / "photos").symlink_to(private.parent)
    (folder / "photos" / "x.png").write_bytes(image())
    with pytest.raises(DataError, match="leads out of the archive"):
        load_data(DataConfig(path=packed))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_of_a_tar_are_not_extracted(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "d.tar", "w") as out:
        member = tarfile.TarInfo("train.csv")
        member.type, member.linkname = kind, "/etc/passwd"
        out.addfile(member)
    with pytest.raises(DataError, match="is a link or a device"):
        load_data(DataConfig(path=str(tmp_path / "d.tar")))


def test_links_in_a_persons_own_folder_are_followed(private: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for index in range(3):
            (folder / name / f"{index}.png").write_bytes(image(20 + index))
    (folder / "a" / "linked.png").symlink_to(private)
    data = load_data(DataConfig(path=str(folder)))
    assert sum(len(split) for split in data.splits.values()) == 7


def test_paths_in_yolo_files_are_not_followed(private: Path, tmp_path: Path, no_opening: list[str]) -> None:
    """`data.yaml` and lists of images say where they are; they are found by the folder, and nothing else is."""
    folder = yolo(tmp_path / "d")
    (folder / "data.yaml").write_text(f"path: {private.parent}\ntrain: {private}\nval: [../x]\nnames: [cat, dog]\n")
    (folder / "train.txt").write_text(f"{private}\n")
    data = load_data(DataConfig(path=str(folder)))
    assert sum(len(split) for split in data.splits.values()) == 12 and no_opening == []


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    for index, name in enumerate(("a" * 5000 + ".png", "a" * 300 + ".png", "x\0y.png", "a/" * 2000 + "x.png")):
        folder = tmp_path / str(index)
        folder.mkdir()
        for file, content in as_jsonl(name).items():
            (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(DataError, match=r"metadata.jsonl, line 9: column 'file_name' names .*, which is not there"):
            load_data(DataConfig(path=str(folder)))


def test_a_name_that_is_not_text_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    (folder / "a").mkdir(parents=True)
    (Path(os.fsdecode(os.fsencode(folder / "a") + b"/\xff.png"))).write_bytes(image())
    with pytest.raises(DataError, match="the name is not UTF-8"):
        load_data(DataConfig(path=str(folder)))


def test_nested_images_are_not_opened(private: Path, tmp_path: Path, no_opening: list[str]) -> None:
    """Reading a row opens nothing, wherever in a column an image is named."""
    features = datasets.Features(
        {
            "text": datasets.Value("string"), "label": datasets.Value("string"),
            "extra": {"photo": datasets.Image()}, "more": datasets.List(datasets.Image()),
        }
    )  # fmt: skip
    value = {"bytes": None, "path": str(private)}
    rows = {"text": ["a good film", "a bad film"] * 4, "label": ["a", "b"] * 4, "extra": [{"photo": value}] * 8,
            "more": [[value, {"bytes": None, "path": "http://127.0.0.1:1/x.png"}]] * 8}  # fmt: skip
    table = pa.Table.from_pydict(rows, schema=features.arrow_schema)
    pq.write_table(table, tmp_path / "d.parquet")
    data = load_data(DataConfig(path=str(tmp_path / "d.parquet"), validation=0.3))
    assert data.task.name == "text-classification" and no_opening == []


# what is shared


def test_private_paths_are_in_nothing_that_is_pushed(private: Path, tmp_path: Path) -> None:
    """Read from outside and left out where broken: neither the card nor the model's files say where it lay."""
    folder = tmp_path / "own"
    folder.mkdir()
    broken = private.with_name("broken-secret.png")
    broken.write_bytes(b"nonsense")
    rows = [{"file_name": f"{i}.png", "label": "ab"[i % 2]} for i in range(12)]
    for i in range(12):
        (folder / f"{i}.png").write_bytes(image(20 + i, i % 2 * 2))
    rows += [{"file_name": str(each), "label": "a"} for each in (private, broken)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = hf_tl.finetune(
        model=str(tiny_vit(tmp_path / "vit")), data={"path": str(folder), "on_error": "skip"},
        output=str(tmp_path / "run"), training={"max_steps": 1},
    )  # fmt: skip
    pushed = [run.folder / "README.md", *(run.folder / "model").rglob("*")]
    for file in pushed:
        if file.is_file():
            content = file.read_bytes()
            for secret in (private.parent.name, private.name, broken.name):
                assert secret.encode() not in content, (file, secret)
    assert "1 rows are skipped" in (run.folder / "README.md").read_text()


def test_the_cache_of_an_archive_is_not_on_the_card(tmp_path: Path) -> None:
    from hf_tl.data.sources import cache_folder

    files = {f"{name}/{i}.png": image(20 + i, c) for c, name in ((0, "red"), (2, "blue")) for i in range(8)}
    files["red/broken.png"] = b"nonsense"
    run = hf_tl.finetune(
        model=str(tiny_vit(tmp_path / "vit")), data={"path": zipped(tmp_path, files), "on_error": "skip"},
        output=str(tmp_path / "run"), training={"max_steps": 1},
    )  # fmt: skip
    card = (run.folder / "README.md").read_text()
    assert "red/broken.png" in card and str(cache_folder()) not in card


# data of the Hub


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningHub, Talk]]:
    hub = RunningHub(tmp_path_factory.mktemp("served") / "test-hub")
    talk = Talk(hub.env(TOKEN))
    yield hub, talk
    talk.close()
    hub.stop()


def seeded(hub: RunningHub, id: str, folder: Path, files: dict[str, bytes | str]) -> None:
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    hub.seed_dataset(id, folder)


@pytest.mark.parametrize("way", ["absolute", "file", "climbing", "web", "chain", "another's", "login"])
def test_rows_of_the_hub_name_files_of_their_own_only(
    way: str, served: tuple[RunningHub, Talk], private: Path, tmp_path: Path
) -> None:
    hub, talk = served
    home = hub.env(TOKEN)["HF_HOME"]
    other = Path(home) / "hub" / "datasets--alice--private" / "snapshots" / "0" / "secret.png"
    image_file(other)
    name = {
        "absolute": str(private), "file": f"file://{private}", "climbing": f"../../../../../..{private}",
        "web": "http://127.0.0.1:1/x.png", "chain": f"zip://x.png::{private}", "another's": str(other),
        "login": f"{home}/token.png",
    }[way]  # fmt: skip
    seeded(hub, f"alice/named-{way.replace(chr(39), '')}", tmp_path / "d", as_parquet(name))
    found = talk.ask(do="load", id=f"alice/named-{way.replace(chr(39), '')}")
    assert found.get("code") == 2, found
    assert "train, row 8: the path in column 'image' is" in found["said"]
    assert "which is no file of the dataset; only its own are read" in found["said"]


def test_an_image_folder_of_the_hub_is_read_and_climbs_nowhere(
    served: tuple[RunningHub, Talk], private: Path, tmp_path: Path
) -> None:
    hub, talk = served
    files = {f"train/{key}": value for key, value in as_jsonl("0.png").items()}
    seeded(hub, "alice/folder", tmp_path / "good", files)
    found = talk.ask(do="load", id="alice/folder")
    assert found.get("sizes") and len(found["sizes"]) >= 8, found
    for index, name in enumerate((str(private), f"../../../../../../../../../..{private}", f"file://{private}")):
        files = {f"train/{key}": value for key, value in as_jsonl(name).items()}
        seeded(hub, f"alice/climbs{index}", tmp_path / f"bad{index}", files)
        found = talk.ask(do="load", id=f"alice/climbs{index}")
        assert found.get("code") == 2 and "sizes" not in found, found


@pytest.mark.parametrize("listed", ["/PRIVATE", "file:///PRIVATE", "../../PRIVATE", "http://127.0.0.1:1/x.csv"])
def test_a_card_of_the_hub_lists_files_of_its_own_only(
    listed: str, served: tuple[RunningHub, Talk], tmp_path: Path
) -> None:
    """`datasets` itself would read a table of this machine that the card of a dataset names."""
    hub, talk = served
    secret = tmp_path / "secret.csv"
    secret.write_text("text,label\nmy password,a\n")
    name = listed.replace("/PRIVATE", str(secret))
    card = f"---\nconfigs:\n- config_name: default\n  data_files: {json.dumps(name)}\n---\n"
    id = f"alice/lists{abs(hash(listed))}"
    seeded(hub, id, tmp_path / "d", {"README.md": card, "train.csv": "text,label\na b,c\n" * 9})
    found = talk.ask(do="data", id=id)
    assert found.get("code") in (2, 4) and "my password" not in json.dumps(found), found


# what a card says of paths


def block(**config: Any) -> dict[str, Any]:
    values = {"task": "text-classification", "model": {"id": "a/b"}, "data": {"path": "c/d"}, "training": {}}
    return {"config": {**values, **config}, "found": {}}


@pytest.mark.parametrize("name", [
    "/etc/passwd", "~/x", "./x", "../x", "data/x.csv", "x.csv", "photos.zip", "C:\\x", "a/b/c", "..", "a/..", "file:///x",
    "https://x.example/d", "hf://datasets/a/b", "zip://a::b", "", "a b", "a/b\n", "-", "\x1b[2J", "x" * 500,
])  # fmt: skip
def test_a_card_names_ids_of_the_hub_only(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("text,label\na,b\n")
    for config, option in (({"data": {"path": name}}, "--data"), ({"data": {"path": [name, "c/d"]}}, "--data"),
                           ({"model": {"id": name}}, "--model")):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            config_of(block(**config), "alice/made")
        said = str(caught.value)
        assert (option in said or name == "") and "\x1b" not in said and "\n" not in said, said


def test_an_id_that_is_a_folder_here_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c" / "d").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"'c/d' of the Hub as its data, and .*/c/d has that name, too"):
        config_of(block(), "alice/made")
    assert config_of(block(), "alice/made", data=["c/d"]).data.path == "c/d"  # the person named it
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("x")
    with pytest.raises(ConfigError, match=r"'a/b' of the Hub as its model"):
        config_of(block(), "alice/made", data=["c/d"])


REACHES: dict[str, dict[str, Any]] = {
    "template": {"data": {"path": "c/d", "preprocessing": {"chat_template": "secret.jinja"}}},
    "template without ending": {"data": {"path": "c/d", "preprocessing": {"chat_template": "secret"}}},
    "metric as code": {"training": {"metric_for_best_model": "./metric"}},
    "metric as code, elsewhere": {"training": {"metric_for_best_model": "mallory/metric"}},
    "tokenizer": {"method": {"name": "lora", "peft_type": "PROMPT_TUNING", "tokenizer_name_or_path": "secret"}},
    "cache of corda": {"method": {"name": "lora", "corda_config": {"cache_file": "x"}}},
    "weights to start from": {"method": {"name": "lora", "init_lora_weights": "./x.bin"}},
    "generation code": {"generation": {"custom_generate": "mallory"}},
    "model's config": {"model": {"id": "a/b", "config": {"auto_map": {"AutoModel": "x.y"}}}},
    "quantization": {"model": {"id": "a/b", "quantization_config": {"quant_method": "gptq", "tokenizer": "/x"}}},
    "revision": {"model": {"id": "a/b", "revision": "main/../../etc/passwd"}},
    "revision of data": {"data": {"path": "c/d", "revision": "-x"}},
    "configuration of data": {"data": {"path": "c/d", "name": "../../x"}},
    "loss": {"loss": {"name": "../x"}},
}


@pytest.mark.parametrize("case", REACHES)
def test_a_card_reaches_for_no_file(case: str) -> None:
    with pytest.raises(ConfigError, match=r"of its card is .* (which may be a file|which is no revision)"):
        config_of(block(**REACHES[case]), "alice/made")


def test_what_a_card_has_no_say_in_is_left_out() -> None:
    wild = {
        "deepspeed": "/x.json", "fsdp_config": "/x.json", "accelerator_config": "x.json", "report_to": "wandb",
        "resume_from_checkpoint": "/x", "logging_dir": "/x", "hub_strategy": "every_save", "run_name": "x",
        "output_dir": "/x", "torch_compile_backend": "x", "liger_kernel_config": {}, "max_steps": 7,
    }  # fmt: skip
    card = block(
        training=wild, model={"id": "a/b", "cache_dir": "/x", "subfolder": "../..", "gguf_file": "/x", "head": "mlp"}
    )
    card["config"] |= {"output": "/x", "hub": {"id": "mallory/x"}, "proof": False, "metrics": ["./x"]}
    config = config_of(card, "alice/made")
    assert config.training.passed_through == {"max_steps": 7}
    assert config.model.passed_through == {} and config.model.head == "mlp"
    assert config.output is None and config.hub is None and config.proof is True


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9),
              st.sampled_from(["SECRET", "../SECRET", "./secret.json", "owner/name", "secret", "file:///SECRET"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip
KEYS = st.sampled_from([
    "task", "model", "data", "method", "training", "loss", "generation", "seed", "output", "hub", "proof", "id", "path",
    "revision", "name", "preprocessing", "chat_template", "config", "deepspeed", "resume_from_checkpoint", "subfolder",
    "splits", "columns", "peft_type", "tokenizer_name_or_path", "metric_for_best_model", "quantization_config",
    "metrics",
])  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(KEYS, st.one_of(ANYTHING, st.dictionaries(KEYS, ANYTHING, max_size=4)), max_size=6))
def test_no_file_that_a_card_names_is_opened(tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]) -> None:
    """Whatever a card says: no file is opened for it, and what is left of it names none."""
    folder = tmp_path_factory.getbasetemp() / "here"
    (folder / "owner" / "name").mkdir(parents=True, exist_ok=True)
    for name in ("secret", "secret.json", "SECRET"):
        (folder / name).write_text("x")
    before = os.getcwd()
    opened: list[str] = []
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" and WATCHED else None)
    values = {"model": {"id": "a/b"}, "data": {"path": "c/d"}, "training": {}, **config}
    values = json.loads(json.dumps(values).replace("SECRET", str(folder / "secret")))
    os.chdir(folder)
    WATCHED.append(1)
    try:
        made = config_of({"config": values, "found": {}}, "alice/made")
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert not [each for each in [made.model.id, *made.data.paths] if Path(each).exists()]
        rest = {**made.model_dump(exclude={"output", "hub"})}
        rest["data"].pop("columns"), rest["data"].pop("splits")
        assert str(folder) not in json.dumps(rest, default=str) and "chat_template" not in json.dumps(
            made.model_dump(exclude_defaults=True), default=str
        )
    finally:
        WATCHED.clear()
        os.chdir(before)
    assert not [name for name in opened if "secret" in name.lower() or "owner" in name]


WATCHED: list[int] = []


def test_verify_reads_no_file_that_the_metadata_of_a_card_name(tmp_path: Path) -> None:
    from hf_tl.sharing.verify import verify

    secret = tmp_path / "secret.csv"
    secret.write_text("text,label\nmy password,a\n")
    folder = tmp_path / "model"
    folder.mkdir()
    metadata = {
        "model-index": [{"name": "x", "results": [{
            "task": {"type": "text-classification"}, "dataset": {"name": "d", "type": str(secret)},
            "metrics": [{"type": "accuracy", "value": 0.5}],
        }]}]
    }  # fmt: skip
    (folder / "README.md").write_text(f"---\n{json.dumps(metadata)}\n---\n# x\n")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match=r"as its data, which is no id of the Hub.*--data"):
        verify(str(folder))
