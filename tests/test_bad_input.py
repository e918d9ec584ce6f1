"""Bad input gets one sentence that names the place, exit code 2, and nothing half-written."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import hf_tl
from hf_tl.cli import main
from hf_tl.errors import InputError
from tests.tiny import colour_folder, sentiment_csv, tiny_bert, tiny_vit

GOOD = "text,label\n" + "".join(
    f"the film was {word},{label}\n" for word, label in [("good", "pos"), ("bad", "neg")] * 6
)


def csv(folder: Path, text: str, name: str = "d.csv") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def split_csv(folder: Path, train: str = GOOD, **others: str) -> str:
    (folder / "d").mkdir()
    csv(folder / "d", train, "train.csv")
    for name, text in others.items():
        csv(folder / "d", text, f"{name}.csv")
    return str(folder / "d")


def images(folder: Path, change: Callable[[Path], Any]) -> str:
    path = colour_folder(folder / "images")
    change(path)
    return str(path)


def zipped(folder: Path, name: str) -> str:
    with zipfile.ZipFile(folder / "d.zip", "w") as archive:
        archive.writestr(name, GOOD)
    return str(folder / "d.zip")


def tarred_link(folder: Path) -> str:
    with tarfile.open(folder / "d.tar", "w") as archive:
        member = tarfile.TarInfo("train.csv")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    return str(folder / "d.tar")


def data_is(make: Callable[[Path], Any], **data: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: {"data": {"path": make(folder), **data}}


def options(**given: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: {"data": csv(folder, GOOD), **given}


def model_with(change: Callable[[Path], Any]) -> Callable[[Path], dict[str, Any]]:
    def make(folder: Path) -> dict[str, Any]:
        path = tiny_bert(folder / "changed")
        change(path)
        return {"data": csv(folder, GOOD), "model": str(path)}

    return make


CASES: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    # where the data are
    "missing file": (data_is(lambda f: str(f / "nope.csv")), r"nope\.csv: there is no such file or folder"),
    "misspelt file": (data_is(lambda f: csv(f, GOOD) + "x"), r"did you mean 'd\.csv'"),
    "missing folder": (data_is(lambda f: str(f / "a" / "b.csv")), r"there is no folder .*a either"),
    "empty folder": (data_is(lambda f: (f / "e").mkdir() or str(f / "e")), r"the folder is empty"),
    "folder of something else": (data_is(lambda f: str(Path(csv(f, "x", "a.docx")).parent)), r"no images or tables"),
    "unknown kind of file": (data_is(lambda f: csv(f, "x", "a.odd")), r"not a kind of file that hf_tl reads"),
    "two unnamed files": (
        data_is(
            lambda f: (
                (f / "d").mkdir() or (csv(f / "d", GOOD, "a.csv") and csv(f / "d", GOOD, "b.csv") and str(f / "d"))
            )
        ),
        r"which split is 'a\.csv', 'b\.csv'",
    ),
    "split that is not there": (data_is(lambda f: split_csv(f), splits={"train": "trian.csv"}), r"data\.splits\.train"),
    "no train split": (data_is(lambda f: csv(f, GOOD, "test.csv")), r"there is no train split, only 'test'"),
    "archive that escapes": (data_is(lambda f: zipped(f, "../../evil.csv")), r"outside the folder"),
    "archive with a link": (data_is(tarred_link), r"is a link or a device"),
    "broken archive": (data_is(lambda f: csv(f, "PK nonsense", "d.zip")), r"cannot be unpacked"),
    # tables
    "empty file": (data_is(lambda f: csv(f, "")), r"d\.csv: the file is empty"),
    "header only": (data_is(lambda f: csv(f, "text,label\n")), r"has columns but no rows"),
    "ragged row": (data_is(lambda f: csv(f, GOOD + "a,b,c\n")), r"d\.csv, line 14: 3 fields where the header has 2"),
    "not UTF-8": (
        data_is(lambda f: ((f / "d.csv").write_bytes("text,label\nschön,a\n".encode("latin-1")), str(f / "d.csv"))[1]),
        r"not UTF-8",
    ),
    "broken JSON line": (
        data_is(lambda f: csv(f, '{"text": "a", "label": 1}\n{"text": \n', "d.jsonl")),
        r"line 2, column \d+: not JSON",
    ),
    "JSON that is no table": (data_is(lambda f: csv(f, "3", "d.json")), r"expected a list of objects, found int"),
    "not Parquet": (data_is(lambda f: csv(f, "nonsense", "d.parquet")), r"d\.parquet: cannot be read"),
    "same column twice": (data_is(lambda f: csv(f, "text, text,label\na,b,c\nd,e,f\n")), r"same name"),
    # columns and labels
    "no label column": (
        data_is(lambda f: csv(f, "text\n" + "one two three\n" * 9)),
        r"the label column is not among them",
    ),
    "no text column": (
        data_is(lambda f: csv(f, "a,label\n" + "1.5,x\n2.5,y\n" * 5)),
        r"the text column is not among them",
    ),
    "two text columns": (
        data_is(lambda f: csv(f, "one,two,label\n" + "a b c,d e f,x\na b d,d e g,y\n" * 6)),
        r"could be any of 'one', 'two'; say which with data\.columns\.text=one",
    ),
    "misspelt column": (
        data_is(lambda f: csv(f, GOOD), columns={"text": "txt"}),
        r"no column 'txt'; did you mean 'text'",
    ),
    "misspelt role": (data_is(lambda f: csv(f, GOOD), columns={"txt": "text"}), r"columns"),
    "no number among numbers": (
        data_is(lambda f: csv(f, "text,score\n" + "".join(f"w {i},{i / 7 if i != 20 else ''}\n" for i in range(40)))),
        r"d\.csv, line 22: the label is not a number.*data\.on_error=skip",
    ),
    "label only in test": (
        data_is(lambda f: split_csv(f, test="text,label\nx,posi\ny,neg\n")),
        r"test\.csv, line 2: label 'posi' is in the test split but not in train",
    ),
    "missing label": (data_is(lambda f: csv(f, GOOD + "some words,\n")), r"d\.csv, line 14: the label is missing"),
    "one class": (data_is(lambda f: csv(f, "text,label\n" + "words here,x\n" * 9)), r"one class only \('x'\)"),
    "one example of a class": (data_is(lambda f: csv(f, GOOD + "some words,odd\n")), r"'odd': fewer than 2 examples"),
    "empty text": (data_is(lambda f: csv(f, GOOD + '"  ",pos\n')), r"line 14: the text is empty.*data\.on_error=skip"),
    "missing text": (data_is(lambda f: csv(f, GOOD + ",pos\n")), r"line 14: the text is missing"),
    # images
    "broken image": (
        data_is(lambda f: images(f, lambda p: (p / "train" / "red" / "bad.png").write_bytes(b"nonsense"))),
        r"bad\.png: the image cannot be read .*data\.on_error=skip",
    ),
    "cut image": (
        data_is(
            lambda f: images(
                f, lambda p: (p / "train/red/0.png").write_bytes((p / "train/red/0.png").read_bytes()[:300])
            )
        ),
        r"0\.png: the image cannot be read",
    ),
    "image outside a class": (
        data_is(lambda f: images(f, lambda p: (p / "train" / "red" / "0.png").rename(p / "train" / "0.png"))),
        r"0\.png: lies in no class folder",
    ),
    "metadata names a missing image": (
        data_is(
            lambda f: (
                (f / "m").mkdir(),
                csv(f / "m", json.dumps({"file_name": "a.png", "label": "x"}) + "\n", "metadata.jsonl"),
                str(f / "m"),
            )[2]
        ),
        r"names 'a\.png', which is not there",
    ),
    # configuration
    "unknown key": (options(metod="full"), r"metod: unknown key; did you mean 'method'"),
    "unknown data key": (
        data_is(lambda f: csv(f, GOOD), colums={}),
        r"data\.colums: unknown key; did you mean 'columns'",
    ),
    "unknown method": (options(method="lorra"), r"did you mean 'lora'"),
    "unknown training key": (
        options(training={"learning_rat": 1}),
        r"training\.learning_rat.*did you mean 'learning_rate'",
    ),
    "renamed training key": (options(training={"evaluation_strategy": "epoch"}), r"use eval_strategy"),
    "training value": (options(training={"lr_scheduler_type": "linaer"}), r"training: TrainingArguments refuses"),
    "token in the configuration": (
        options(training={"hub_token": "hf_x"}),
        r"tokens are never read from a configuration",
    ),
    "unknown LoRA field": (options(method={"name": "lora", "rank": 3}), r"method\.rank: LoraConfig has no such field"),
    "unknown PEFT type": (
        options(method={"name": "lora", "peft_type": "LORRA"}),
        r"did you mean LORA|did you mean 'LORA'",
    ),
    "LoRA target": (options(method={"name": "lora", "target_modules": ["nope"]}), r"method: PEFT refuses"),
    "option of another method": (
        options(method={"name": "frozen", "layer_lr_decay": 0.9}),
        r"an option of method full",
    ),
    "unknown task": (options(task="text-clasification"), r"did you mean 'text-classification'"),
    "unknown model config": (
        options(model={"id": "MODEL", "config": {"hiden_size": 3}}),
        r"did you mean 'hidden_size'",
    ),
    "unknown model option": (options(model={"id": "MODEL", "dtipe": "x"}), r"model\.dtipe: .*did you mean 'dtype'"),
    "class weight of no class": (options(loss={"class_weights": {"poss": 1, "neg": 1}}), r"did you mean 'pos'"),
    "class weight missing": (options(loss={"class_weights": {"pos": 1}}), r"no weight for 'neg'"),
    # models
    "missing model": (options(model="./nope/model"), r"there is no folder \./nope/model"),
    "no config": (model_with(lambda p: (p / "config.json").unlink()), r"has no config\.json"),
    "no weights": (model_with(lambda p: (p / "model.safetensors").unlink()), r"holds no weights"),
    "pickle only": (
        model_with(lambda p: (p / "model.safetensors").rename(p / "pytorch_model.bin")),
        r"only 'pytorch_model\.bin', which can run code",
    ),
    "no tokenizer": (
        model_with(
            lambda p: [file.unlink() for file in p.glob("*token*")] + [file.unlink() for file in p.glob("vocab*")]
        ),
        r"comes without a tokenizer",
    ),
    "unknown architecture": (
        model_with(lambda p: (p / "config.json").write_text('{"model_type": "nonsense"}')),
        r"the configuration of .* cannot be read",
    ),
    "text model on images": (
        lambda f: {"data": str(colour_folder(f / "c")), "model": str(tiny_bert(f / "b"))},
        r"is a bert model, which cannot do image-classification",
    ),
    "image model on texts": (
        lambda f: {"data": csv(f, GOOD), "model": str(tiny_vit(f / "v"))},
        r"is a vit model, which cannot do text-classification",
    ),
    "images for a text task": (
        lambda f: {"data": str(colour_folder(f / "c")), "task": "text-classification"},
        r"the text column is not among them",
    ),
    "no image processor": (
        lambda f: (
            (tiny_vit(f / "v") / "preprocessor_config.json").unlink(),
            {"data": str(colour_folder(f / "c")), "model": str(f / "v")},
        )[1],
        r"comes without an image processor",
    ),
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_bert(tmp_path_factory.mktemp("bert")))


@pytest.mark.parametrize("case", CASES)
def test_one_sentence(case: str, tmp_path: Path, bert: str) -> None:
    make, words = CASES[case]
    given = make(tmp_path)
    model = given.pop("model", bert)
    model = {**model, "id": bert} if isinstance(model, dict) else model
    with pytest.raises(InputError, match=words) as caught:
        hf_tl.finetune(model=model, output=str(tmp_path / "run"), **given)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 600
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run" / "model").exists()
    if case not in ("training value", "LoRA target"):  # these need the model itself
        assert not (tmp_path / "run").exists()


def test_on_the_command_line(tmp_path: Path, bert: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = csv(tmp_path, GOOD + ",pos\n")
    assert main(["train", "--model", bert, "--data", data, "--output", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("hf-tl: ") and "line 14: the text is missing" in captured.err
    assert "Traceback" not in captured.err


def test_skipping_bad_rows(tmp_path: Path, bert: str) -> None:
    run = hf_tl.finetune(
        model=bert, data={"path": csv(tmp_path, GOOD + ",pos\nwords,\n"), "on_error": "skip"},
        output=str(tmp_path / "run"), training={"max_steps": 1},
    )  # fmt: skip
    notes = " ".join(json.loads((run.folder / "environment.json").read_text())["data"]["notes"])
    assert "1 rows are skipped (the text is missing)" in notes and "the label is missing" in notes


def test_other_files_in_the_output_folder_are_kept(tmp_path: Path, bert: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="is not the folder of a run"):
        hf_tl.finetune(model=bert, data=csv(tmp_path, GOOD), output=str(tmp_path / "run"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def images_of_every_mode() -> dict[str, bytes]:
    """Name -> file content: images that must simply work."""
    random = np.random.default_rng(0)
    colour = Image.fromarray(random.integers(0, 255, (30, 40, 3), dtype=np.uint8))
    modes = {mode: colour.convert(mode) for mode in ("L", "LA", "RGBA", "P", "CMYK", "1", "RGB")}
    modes["I;16"] = Image.fromarray(random.integers(0, 65535, (30, 40), dtype=np.uint16))
    out = {}
    for mode, image in modes.items():
        stream = io.BytesIO()
        image.save(stream, "TIFF" if mode == "CMYK" else "PNG")
        out[f"{mode.replace(';', '')}.{'tif' if mode == 'CMYK' else 'png'}"] = stream.getvalue()
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    colour.save(stream, "JPEG", exif=exif)
    return {**out, "turned.jpg": stream.getvalue()}


def test_images_of_every_kind_work(tmp_path: Path) -> None:
    from hf_tl.data.images import to_rgb

    folder = colour_folder(tmp_path / "c")
    for name, content in images_of_every_mode().items():
        (folder / "train" / "red" / name).write_bytes(content)
        rgb = to_rgb(Image.open(io.BytesIO(content)))
        assert rgb.mode == "RGB" and rgb.size == ((30, 40) if name == "turned.jpg" else (40, 30))
        assert 60 < np.asarray(rgb).mean() < 200  # 16 bits are scaled, not clipped
    run = hf_tl.finetune(
        model=str(tiny_vit(tmp_path / "v")), data=str(folder), output=str(tmp_path / "run"), training={"max_steps": 2}
    )
    assert run.metrics["samples"] == 10


@pytest.mark.parametrize("kind", ["semicolon", "tab", "jsonl", "json", "parquet", "zip", "tar", "several", "booleans"])
def test_every_kind_of_table_reads_the_same(kind: str, tmp_path: Path) -> None:
    from hf_tl.config import DataConfig
    from hf_tl.data import load_data

    rows = [line.split(",") for line in GOOD.splitlines()[1:]]
    objects = [{"text": text, "label": label} for text, label in rows]
    path: Any
    if kind == "semicolon":
        path = csv(tmp_path, "\ufeff text ;label\n" + "".join(f"{t};{y}\n" for t, y in rows))
    elif kind == "tab":
        path = csv(tmp_path, GOOD.replace(",", "\t"), "d.tsv")
    elif kind == "jsonl":
        path = csv(tmp_path, "".join(json.dumps(row) + "\n" for row in objects), "d.jsonl")
    elif kind == "json":
        path = csv(tmp_path, json.dumps({"version": 1, "data": objects}), "d.json")
    elif kind == "parquet":
        from datasets import Dataset

        path = str(tmp_path / "d.parquet")
        Dataset.from_list(objects).to_parquet(path)
    elif kind == "zip":
        path = zipped(tmp_path, "inner/train.csv")
    elif kind == "tar":
        path = str(tmp_path / "d.tar.gz")
        with tarfile.open(path, "w:gz") as archive:
            archive.add(csv(tmp_path, GOOD, "train.csv"), "train.csv")
    elif kind == "several":
        path = [csv(tmp_path, GOOD, "a.csv"), csv(tmp_path, GOOD, "b.csv")]
    else:
        path = csv(tmp_path, GOOD.replace("pos", "True").replace("neg", "False"))
    data = load_data(DataConfig(path=path))
    assert data.labels == (("False", "True") if kind == "booleans" else ("neg", "pos"))
    assert data.held_out == "validation"
    total = sum(data.splits.num_rows.values())
    assert total == (24 if kind == "several" else 12)
    row = data.splits["train"][0]
    assert (row["label"] == 1) == ("good" in row["text"])


def test_labels_that_look_missing_and_numbers_in_order(tmp_path: Path) -> None:
    from hf_tl.config import DataConfig
    from hf_tl.data import load_data

    text = "text,label\n" + "".join(f"word number {i},{label}\n" for i, label in enumerate(["None", "NA", "null"] * 5))
    assert load_data(DataConfig(path=csv(tmp_path, text))).labels == ("NA", "None", "null")
    numbers = "text,label\n" + "".join(f"word number {i},{label}\n" for i, label in enumerate([10, 2, 1] * 5))
    assert load_data(DataConfig(path=csv(tmp_path, numbers, "n.csv"))).labels == ("1", "2", "10")


def test_validation_is_stratified_and_the_test_split_is_not_touched(tmp_path: Path) -> None:
    from hf_tl.config import DataConfig
    from hf_tl.data import load_data

    text = "text,label\n" + "".join(f"row {i} of many,{'rare' if i % 10 == 0 else 'usual'}\n" for i in range(200))
    folder = split_csv(tmp_path, text, test=text.replace("row", "other"))
    data = load_data(DataConfig(path=folder), seed=3)
    assert data.splits.num_rows == {"train": 180, "validation": 20, "test": 200}
    assert data.source["class_counts"]["validation"] == {"rare": 2, "usual": 18}
    assert data.held_out == "test"
    again = load_data(DataConfig(path=folder), seed=3)
    assert again.splits["validation"]["text"][:] == data.splits["validation"]["text"][:]
    few = load_data(DataConfig(path=folder, max_samples=40), seed=3)
    assert few.splits.num_rows == {"train": 40, "validation": 20, "test": 40}
    assert few.source["class_counts"]["train"]["rare"] == pytest.approx(4, abs=1)


def test_one_csv_is_enough(tmp_path: Path, bert: str) -> None:
    run = hf_tl.finetune(
        model=bert, data=str(sentiment_csv(tmp_path / "d.csv")), output=str(tmp_path / "r"), training={"max_steps": 1}
    )
    assert run.metrics["split"] == "validation"
