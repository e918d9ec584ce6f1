"""What others wrote is shown, never obeyed: by no terminal, and by no spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hf_tl
from hf_tl.cli import main
from hf_tl.cli.exit_codes import guarded
from hf_tl.errors import DataError
from hf_tl.io import console
from tests.tiny import colour_folder, tiny_bert, tiny_vit

ESCAPES = {
    "colour": "\x1b[31m", "clear": "\x1b[2J\x1b[H", "title": "\x1b]0;owned\x07", "link": "\x1b]8;;http://x.example\x1b\\",
    "clipboard": "\x1b]52;c;ZXZpbA==\x07", "C1": "\x9b31m", "C1 string": "\x9d0;owned\x9c", "bell": "\x07",
    "backspace": "\b\b\b\b", "carriage return": "\rhf-tl: all is well", "next line": "\x85hf-tl: all is well",
    "line separator": "\u2028hf-tl: all is well", "bidi": "\u202edesrever", "isolate": "\u2066x\u2069",
    "delete": "\x7f",
    "tag": "\U000e0041", "soft": "\u00ad", "vertical tab": "\x0b", "form feed": "\x0c", "nul": "\0",
}  # fmt: skip
ALL = "".join(ESCAPES.values())


def obeyed(text: str) -> list[str]:
    """What a terminal would obey in a text, line ends aside."""
    return sorted(
        {each for each in text if each != "\n" and unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    )


# spreadsheets


@pytest.mark.parametrize("text", [
    "=1+1", "+cmd", "-cmd", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", '"=1', "'=1", "''=1", "\u00a0=1", "\u200b=1",
    "＝1+1", "＋1+x", "－1-x", "＠x", "−cmd", "=cmd|'/C calc'!A0", '=HYPERLINK("http://x.example")', "-1+cmd", "--1",
    "+-=1", "\ufeff=1",
    "-", "=", "\x0b=1", "“=1", "-1e5x", "+1 2", "\t", "\rx", "\u202e=1", "   \t  @x",
])  # fmt: skip
def test_a_text_that_a_spreadsheet_would_run_is_marked(text: str) -> None:
    assert console.cell(text) == f"'{text}"


@pytest.mark.parametrize("value", [
    "", "a film", "a=b", "1-2", "-1", "-1.5", "+2", "-.5", "-1e-5", "0", "x@y.example", "3 = 3", "nan", "-inf",
    -1, -0.5, None, 3, True,
])  # fmt: skip
def test_other_values_stay_as_they_are(value: Any) -> None:
    assert console.cell(value) is value


@given(st.text(max_size=30))
def test_no_text_begins_as_a_formula(text: str) -> None:
    found = str(console.cell(text))
    first = unicodedata.normalize("NFKC", found.lstrip())[:1]
    assert first not in ("=", "@") and found[:1] not in ("\t", "\r", "\n")
    assert first not in ("+", "-") or console.NUMBER.fullmatch(found)
    assert found in (text, f"'{text}")


def test_predictions_as_csv(tmp_path: Path) -> None:
    """Every text: labels, inputs, column names, what is nested; JSONL and Parquet have them as they are."""
    rows = [
        {"input": "=1+1", "label": "@x", "score": -0.5, "scores": {"=a": -0.5, "b": 0.25}, "-more": ["=x"]},
        {"input": "fine", "label": "-1", "score": 1e-7, "scores": {"=a": 0.0, "b": 1.0}, "-more": None},
    ]
    for ending in ("csv", "jsonl", "parquet"):
        console.write_rows(rows, tmp_path / f"x.{ending}")
    found = list(csv.reader((tmp_path / "x.csv").open(encoding="utf-8", newline="")))
    assert found == [
        ["input", "label", "score", "score: =a", "score: b", "'-more"],
        ["'=1+1", "'@x", "-0.5", "-0.5", "0.25", '["=x"]'],
        ["fine", "-1", "1e-07", "0.0", "1.0", ""],
    ]
    assert json.loads((tmp_path / "x.jsonl").read_text().splitlines()[0])["input"] == "=1+1"
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "x.parquet")["label"].to_pylist() == ["@x", "-1"]


# terminals


@pytest.mark.parametrize("name", ESCAPES)
def test_each_escape_is_written_out(name: str) -> None:
    text = f"a{ESCAPES[name]}b"
    assert not obeyed(console.plain(text)) and console.plain(text).startswith("a") and console.plain(text).endswith("b")
    assert not obeyed(console.shown(f"{text}\n{text}")) and console.shown("a\nb") == "a\nb"
    found = console.to_json({text: [text]})
    assert not obeyed(found) and json.loads(found) == {text: [text]}


@given(st.text(st.characters(), max_size=40))
def test_any_text_is_shown(text: str) -> None:
    assert not [
        each for each in obeyed(console.plain(text)) if each not in console.JOINERS
    ] and "\n" not in console.plain(text)
    assert json.loads(console.to_json(text)) == text
    assert not [each for each in obeyed(console.to_json(text)) if each not in console.JOINERS]


def test_words_and_emoji_stay_whole() -> None:
    for text in ("می\u200cخواهم", "👨\u200d👩\u200d👧", "Grüße, 東京", "é"):
        assert console.plain(text) == text and json.loads(console.to_json(text)) == text


def test_whoever_prints_in_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Libraries, warnings, progress bars, tracebacks: each escape in each."""
    from tqdm import tqdm

    def run() -> None:
        print(ALL)
        print(ALL, file=sys.stderr)
        sys.stderr.writelines([ALL])
        warnings.warn(ALL, stacklevel=1)
        for _ in tqdm(range(2), desc=ALL, file=sys.stderr):
            pass
        console.say(ALL)
        console.show({ALL: ALL}, ALL, as_json=False)
        console.show({ALL: ALL}, ALL, as_json=True)
        raise DataError(f"{ALL}: wrong")

    assert guarded(run, debug=True) == 2
    captured = capsys.readouterr()
    assert not obeyed(captured.out) and not obeyed(captured.err)
    assert "\\x1b[2J" in captured.out and "wrong" in captured.err
    assert not any(line == "hf-tl: all is well" for line in captured.out.split("\n")[-6:])


def test_a_fault_of_ours_with_an_escape_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        raise RuntimeError(f"x{ALL}")

    for debug in (False, True):
        assert guarded(run, debug) == 1
        captured = capsys.readouterr()
        assert captured.out == "" and not obeyed(captured.err)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_bars_and_colours_but_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setattr(sys, "stdout", Terminal())
    with console.nothing_steers():
        sys.stderr.write("\r 50%\x1b[A\x1b[32mgreen\x1b[0m\x1b]0;title\x07\x1b[2J\x9b1m\n")
        assert sys.stderr.isatty()
    assert out.getvalue() == "\r 50%\x1b[A\x1b[32mgreen\x1b[0m\\x1b]0;title\\x07\\x1b[2J\\x9b1m\n"
    assert sys.stderr is out


def test_a_terminal_of_another_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    with console.nothing_steers():
        print("Grüße")
    assert raw.getvalue() == b"Gr\\xfc\\xdfe\n"


@pytest.fixture(scope="module")
def evil_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of which every label holds every escape, trained in a process of its own on data that hold them."""
    folder = tmp_path_factory.mktemp("evil")
    rows = [
        {
            "text": f"the film was {'good' if index % 2 else 'bad'} {ALL}",
            "label": f"{'good' if index % 2 else 'bad'}{ALL}",
        }
        for index in range(24)
    ]
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tiny_bert(folder / "bert")
    return folder


def spoken(*words: object, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "hf_tl", *map(str, words)],
        capture_output=True, text=True, cwd=cwd, input=stdin, timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(hf_tl.__file__).parents[1])},
    )  # fmt: skip
    assert not obeyed(done.stdout), obeyed(done.stdout)
    assert not obeyed(done.stderr), obeyed(done.stderr)
    return done


def test_commands_on_data_full_of_escapes(evil_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In this process, one after the other: nothing that reaches stdout or stderr is obeyed."""

    def said(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        captured = capfd.readouterr()
        assert not obeyed(captured.out), obeyed(captured.out)
        assert not obeyed(captured.err), obeyed(captured.err)
        return code, captured.out, captured.err

    data, run = evil_run / "d.jsonl", evil_run / "run"
    train = ["train", "--model", evil_run / "bert", "--data", data, "training.max_steps=1"]
    assert said(*train, "--output", run)[0] == 0
    code, out, _ = said(*train, "--output", evil_run / "second", "--json")
    assert code == 0 and json.loads(out)["samples"]
    code, out, _ = said("preview", *train[1:5], "--samples", 2)
    assert code == 0 and "\\x1b]0;owned" in out
    said("preview", *train[1:5], "--samples", 2, "--json")
    code, out, _ = said("predict", run, f"good film{ALL}".replace("\0", ""))
    assert code == 0 and "\\x1b" in out
    code, out, _ = said("predict", run, f"good film{ALL}".replace("\0", ""), "--json")
    assert code == 0 and ALL.replace("\0", "") in json.loads(out)["input"]
    said("evaluate", run, "--data", data)
    code, out, _ = said("evaluate", run, "--data", data, "--json")
    assert code == 0 and json.loads(out)["samples"]
    broken = [{"text": "a film", "label": f"new{ALL}"}] * 8 + [{"text": None, "label": ALL}]
    (evil_run / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in broken), encoding="utf-8")
    assert said("evaluate", run, "--data", evil_run / "other.jsonl")[0] == 2
    for words in (
        ["train", "--model", f"no{ALL}", "--data", data], ["train", "--model", evil_run / "bert", "--data", f"no{ALL}"],
        ["train", f"{ALL}=1"], [ALL], ["train", f"--{ALL}"], ["predict", f"no{ALL}", "x"], ["verify", f"no{ALL}"],
        ["push", f"no{ALL}", "a/b"], ["recipes", "copy", ALL], ["tasks", ALL], ["train", "--task", ALL, *train[1:]],
        ["predict", run, "x", "--output", f"{ALL}.csv"], [*train, f"data.columns.text={json.dumps(ALL)}"],
    ):  # fmt: skip
        assert said(*words)[0] in (1, 2), words


def test_file_names_full_of_escapes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name = ALL.replace("\0", "").replace("/", "_")[:80]
    folder = colour_folder(tmp_path / "d", each=6)
    (folder / "train" / "red").rename(folder / "train" / f"red{name}")
    (folder / "test" / "red").rename(folder / "test" / f"red{name}")
    vit = tiny_vit(tmp_path / "vit")
    capfd.readouterr()
    words = ["--model", str(vit), "--data", str(folder), "training.max_steps=1"]
    assert main(["train", *words, "--output", str(tmp_path / "run")]) == 0
    (folder / "train" / f"red{name}" / f"x{name}.png").write_bytes(b"nonsense")
    assert main(["train", *words, "--output", str(tmp_path / "again")]) == 2
    assert main(["train", *words, "data.on_error=skip", "--output", str(tmp_path / "third")]) == 0
    assert main(["predict", str(tmp_path / "run"), str(folder / "train" / f"red{name}" / f"x{name}.png")]) == 2
    captured = capfd.readouterr()
    assert not obeyed(captured.out) and not obeyed(captured.err)
    assert "cannot be read" in captured.err


@pytest.mark.slow
def test_a_process_of_its_own_says_nothing_else(evil_run: Path) -> None:
    """What libraries print at import and at exit, too."""
    words = ["--model", evil_run / "bert", "--data", evil_run / "d.jsonl", "training.max_steps=1"]
    assert spoken("train", *words, "--output", evil_run / "alone", "--debug", cwd=evil_run).returncode == 0
    assert (
        spoken("predict", evil_run / "alone", "-", cwd=evil_run, stdin=f"good\t{ALL}\n".replace("\n", " ")).returncode
        == 0
    )
