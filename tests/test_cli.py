"""The command line: what reaches the functions below it, what comes out, and how each kind of error ends."""

from __future__ import annotations

import importlib
import json
import shlex
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hf_tl import errors
from hf_tl.cli import main
from hf_tl.cli.launch import without_option
from hf_tl.cli.options import flags_behind
from hf_tl.commands.recipes import recipe_files
from hf_tl.errors import Stopped
from hf_tl.io import console

METRICS = {"split": "test", "samples": 4, "metrics": {"accuracy": {"value": 0.75, "low": 0.5, "high": 1.0}}}


class FakeRun:
    folder = Path("runs/x")
    metrics = METRICS


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[..., Any]], list[Any]]]:
    """Puts a function in the place of training and gives the list of configurations that reach it."""

    def install(function: Callable[..., Any]) -> list[Any]:
        seen: list[Any] = []

        def finetune(config: Any) -> Any:
            seen.append(config)
            return function(config)

        monkeypatch.setitem(sys.modules, "hf_tl.commands.train", types.SimpleNamespace(finetune=finetune))
        return seen

    yield install


def trained(config: Any) -> FakeRun:
    print("a library prints to stdout")
    return FakeRun()


LEAST = ["--model", "bert", "--data", "reviews.csv"]


def test_flags_and_settings_become_one_configuration(training: Any, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "model: bert\ndata: {path: old.csv, validation: 0.2}\nmethod: {name: lora, r: 4}\n", encoding="utf-8"
    )
    seen = training(trained)
    words = [
        str(file),
        "--data",
        "a.csv",
        "--data",
        "b.csv",
        "training.learning_rate=3e-4",
        "method.r=16",
        "--push",
        "me/x",
    ]
    assert main(["train", *words, "--seed", "7", "--output", "out"]) == 0
    (config,) = seen
    assert config.data.path == ["a.csv", "b.csv"] and config.data.validation == 0.2
    assert config.method.passed_through == {"r": 16}
    assert config.training.passed_through == {"learning_rate": 3e-4}
    assert (config.seed, config.output, config.hub.id) == (7, "out", "me/x")


def test_json_alone_on_stdout(training: Any, capsys: pytest.CaptureFixture[str]) -> None:
    training(trained)
    assert main(["train", *LEAST, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"run": "runs/x", **METRICS}
    assert "a library prints" in err


def test_text_says_what_to_type_next(training: Any, capsys: pytest.CaptureFixture[str]) -> None:
    training(trained)
    assert main(["train", *LEAST]) == 0
    assert "hf-tl predict runs/x" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("a: wrong."), 2),
        (errors.DataError("a: wrong."), 2),
        (errors.ModelError("a: wrong."), 2),
        (errors.HubError("a: wrong."), 4),
        (errors.HfTlError("a: wrong."), 1),
    ],
)
def test_an_error_is_one_sentence_and_its_exit_code(
    training: Any, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    def fail(config: Any) -> None:
        raise error

    training(fail)
    assert main(["train", *LEAST, "--json"]) == code
    assert capsys.readouterr() == ("", "hf-tl: a: wrong.\n")


def test_a_fault_names_debug_and_debug_shows_the_traceback(training: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(config: Any) -> None:
        raise ZeroDivisionError("division by zero")

    training(fail)
    assert main(["train", *LEAST]) == 1
    assert capsys.readouterr().err.startswith("hf-tl: ZeroDivisionError: division by zero. Run it again with --debug")
    assert main(["train", *LEAST, "--debug"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--json", "train", *LEAST], ["train", *LEAST, "--json"]),
        (["--debug", "--json", "recipes", "list"], ["recipes", "list", "--debug", "--json"]),
        (["--json", "predict", "run", "--", "-x"], ["predict", "run", "--json", "--", "-x"]),
        (["--json", "train", "--json"], ["train", "--json"]),
        (["--debug"], ["--debug"]),
        (["--json", "--version"], ["--json", "--version"]),
        (["train", "--json"], ["train", "--json"]),
    ],
)
def test_json_and_debug_also_stand_before_the_verb(words: list[str], expected: list[str]) -> None:
    assert flags_behind(words) == expected


def test_json_before_the_verb_is_obeyed(training: Any, capsys: pytest.CaptureFixture[str]) -> None:
    seen = training(trained)
    assert main(["--json", "train", *LEAST, "--no-proof", "--on-change", "stop"]) == 0
    assert json.loads(capsys.readouterr().out)["run"] == "runs/x"
    assert (seen[0].proof, seen[0].on_change) == (False, "stop")


def test_interrupt_ends_with_3(training: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(config: Any) -> None:
        raise KeyboardInterrupt

    training(fail)
    words = ["train", *LEAST, "--output", "my runs/a"]
    assert main(words) == 3
    said = capsys.readouterr().err
    assert said.startswith("hf-tl: stopped. Everything that was done is kept; continue with: hf-tl train ")
    assert shlex.split(said.partition("continue with: ")[2]) == ["hf-tl", *words]


def test_a_stop_names_the_command_that_continues(
    training: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once; and one of several processes does not know how it was started."""
    said = ["Stopped at step 3 of 9.", "stopped; continue with: hf-tl push r me/x"]

    def fail(config: Any) -> None:
        raise Stopped(said[0])

    training(fail)
    assert main(["train", *LEAST]) == 3
    assert capsys.readouterr().err.startswith("hf-tl: Stopped at step 3 of 9. Everything that was done is kept; cont")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", *LEAST]) == 3
    assert capsys.readouterr().err == "hf-tl: Stopped at step 3 of 9.\n"
    monkeypatch.delenv("WORLD_SIZE")
    del said[0]
    assert main(["train", *LEAST]) == 3
    assert capsys.readouterr().err == "hf-tl: stopped; continue with: hf-tl push r me/x\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["trian"], "'trian' is not a command; did you mean 'train'?"),
        (["train", "--mdoel", "x"], "there is no option --mdoel; did you mean '--model'?"),
        (["train", "--learning-rate", "3"], "such as training.learning_rate=VALUE"),
        (["train", "--model"], "option '--model' requires an argument"),
        (["train", *LEAST, "--seed", "x"], "train: invalid value for '--seed'"),
        (["train"], "model: missing"),
        (["train", "--model", "x"], "data: missing"),
        (["train", *LEAST, "metod=lora"], "metod: unknown key; did you mean 'method'?"),
        (["train", *LEAST, "--method", "lorra"], "did you mean 'lora'?"),
        (["train", "a.yaml", "b.yaml"], "'b.yaml': expected key=value"),
        (["train", "nowhere.yaml"], "nowhere.yaml: there is no such configuration file"),
        (["evaluate", "m", "--data", "d", "seed=3"], "'seed=3': expected a setting of data, such as data.columns.text"),
        (["predict", "m"], "give either inputs"),
        (["predict", "m", "reviews.csv"], "reviews.csv: there is no such file or folder"),
        (["predict", "m", "a text", "tests"], "tests: is data, and 'a text' is an input; give data alone"),
        (["predict", "m", "a text", "data.columns.text=body"], "is a setting of data, and there are none"),
        (["predict", "m", "text", "--data", "d"], "give either inputs"),
        (["predict", "m", "text", "--output", "x.txt"], "ends in none of '.jsonl', '.csv', '.parquet'"),
        (["predict", "m", "text", "--output", "nowhere/x.csv"], "there is no folder nowhere"),
        (["push", "run"], "push: missing argument"),
        (["recipes", "run", "nothing"], "'nothing' is not a recipe"),
        (["recipes", "cpoy", "x"], "did you mean 'copy'?"),
        (["schema", "--output", "nowhere/x.json"], "there is no folder nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_commands_are_answered_in_one_line(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert sentence in err and out == ""
    assert err.startswith("hf-tl: ") and err.count("\n") == 1


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Commands:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", ["train", "evaluate", "predict", "push", "preview", "tasks", "doctor", "schema", "quickstart"]
)
def test_every_command_has_json_and_debug(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "--json" in out and "--debug" in out


def test_tasks_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--json"]) == 0
    found = {task["name"]: task for task in json.loads(capsys.readouterr().out)}
    assert "label" in found["text-classification"]["columns"]


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A `predict` that says `good` to everything; the list of what it was asked."""
    asked: list[Any] = []

    def predict(model: str, inputs: Any, **options: Any) -> list[dict[str, Any]]:
        asked.append((model, inputs, options))
        count = len(inputs) if isinstance(inputs, list) else 2
        return [{"label": "good", "score": 0.75, "scores": {"good": 0.75, "b\x1b[31mad": 0.25}} for _ in range(count)]

    monkeypatch.setitem(sys.modules, "hf_tl.commands.predict", types.SimpleNamespace(predict=predict))
    return asked


def test_predict_gives_one_json_object_per_line(predictor: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "runs/x", "what a film", "a=b", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["input"] for row in rows] == ["what a film", "a=b"]
    assert rows[0]["label"] == "good" and rows[0]["score"] == 0.75


def test_predict_reads_lines(
    predictor: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", ["one\n", "two"])
    assert main(["predict", "runs/x", "-"]) == 0
    assert predictor[0][1] == ["one", "two"]
    assert capsys.readouterr().out == "good  0.750  one\ngood  0.750  two\n"


def test_predict_on_a_data_set(predictor: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "runs/x", "--data", "d.csv", "--split", "validation", "--json"]) == 0
    assert predictor[0][1] == {"path": "d.csv", "splits": {"test": "validation"}}
    assert [json.loads(line)["row"] for line in capsys.readouterr().out.splitlines()] == [0, 1]


def test_a_path_that_exists_is_data(predictor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("a.csv", "b.csv", "x.png", "y.png", "notes.docx"):
        (tmp_path / name).write_text("text\ngood\n")
    for words, expected in (
        (["a.csv"], {"path": "a.csv"}),
        (["photos", "data.on_error=skip"], {"path": "photos", "on_error": "skip"}),
        (["a.csv", "b.csv", "data.columns.text=1"], {"path": ["a.csv", "b.csv"], "columns": {"text": "1"}}),
        (["*.csv"], {"path": ["a.csv", "b.csv"]}),
        (["?.png"], [Path("x.png"), Path("y.png")]),
        (["notes.docx"], [Path("notes.docx")]),  # which a model of texts refuses
        (
            ["what a film?", "good/bad", "see http://x.org/a.csv"],
            ["what a film?", "good/bad", "see http://x.org/a.csv"],
        ),
    ):
        assert main(["predict", "runs/x", *words]) == 0
        assert predictor[-1][1] == expected, words


def test_several_labels_are_shown_and_none_where_none_applies(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = [
        {"label": "b", "score": 0.9, "scores": {"a": 0.6, "b": 0.9}, "labels": ["a", "b"]},
        {"label": None, "score": 0.25, "scores": {"a": 0.2, "b": 0.25}, "labels": []},
    ]
    module = types.SimpleNamespace(predict=lambda *_, **__: found)
    monkeypatch.setitem(sys.modules, "hf_tl.commands.predict", module)
    assert main(["predict", "runs/x", "one", "two"]) == 0
    assert capsys.readouterr().out == "a, b    0.900  one\n(none)  0.250  two\n"
    assert main(["predict", "runs/x", "one", "two", "--output", str(tmp_path / "p.csv")]) == 0
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0] == "input,label,score,score: a,score: b,labels"
    assert lines[1:] == ['one,b,0.9,0.6,0.9,"[""a"", ""b""]"', "two,,0.25,0.2,0.25,[]"]


def test_predict_writes_files(predictor: Any, tmp_path: Path) -> None:
    import pandas

    for name in ("out.jsonl", "out.csv", "out.parquet"):
        assert main(["predict", "runs/x", "a", "b", "--output", str(tmp_path / name)]) == 0
    assert [json.loads(line)["input"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == ["a", "b"]
    table = pandas.read_csv(tmp_path / "out.csv")
    assert list(table.columns)[:4] == ["input", "label", "score", "score: good"]
    assert pandas.read_parquet(tmp_path / "out.parquet")["scores"][0]["good"] == 0.75
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.csv", "out.jsonl", "out.parquet"]


def test_terminal_escapes_stay_inert(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.plain("a\x1b[31mb\nc\u202e") == "a\\x1b[31mb\\x0ac\\u202e"
    assert main(["train", *LEAST, "\x1b[31m=3"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_json_is_strict() -> None:
    assert console.to_json({"a": [float("nan"), 1.5], 2: Path("x")}) == '{"a": [null, 1.5], "2": "x"}'


def test_doctor_checks_this_machine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://user:pass@127.0.0.1:9")
    importlib.import_module("hf_tl.hub.wire")  # as after any other command: its client tries again
    assert main(["doctor", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "Trying the Hub again" not in err  # asked once
    result = json.loads(out)
    found = {finding["about"]: finding for finding in result["findings"]}
    assert found["torch"]["status"] == "ok" and found["token"] == {"about": "token", "status": "ok", "found": "present"}
    assert "cannot be reached" in found["hub"]["found"]
    assert "hf_very_secret" not in out and "pass@" not in out
    assert all(line for line in result["lines"])


@pytest.mark.parametrize(("torch", "expected"), [("2.13.0+cpu", "0.28"), ("2.10.1", "0.25"), ("2.0.0+cu118", "0.15")])
def test_doctor_knows_the_matching_torchvision(torch: str, expected: str) -> None:
    from hf_tl.commands.doctor import matching_torchvision

    assert matching_torchvision(torch) == expected


def test_schema_knows_what_passes_through(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    sections = schema["$defs"]
    assert sections["TrainingConfig"]["properties"]["learning_rate"]["type"] == "number"
    assert "cosine" in json.dumps(sections["TrainingConfig"]["properties"]["lr_scheduler_type"])
    assert "hub_token" not in sections["TrainingConfig"]["properties"]
    assert sections["MethodConfig"]["properties"]["r"]["type"] == "integer"
    assert "attn_implementation" in sections["ModelConfig"]["properties"]
    assert {"enum": ["full", "lora", "frozen", "scratch"], "type": "string"} in schema["properties"]["method"]["anyOf"]


@pytest.mark.parametrize("name", recipe_files())
def test_recipes_are_described_and_copied(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "list", "--json"]) == 0
    listed = {recipe["name"]: recipe["summary"] for recipe in json.loads(capsys.readouterr().out)}
    assert listed[name]
    assert main(["recipes", "copy", name, "--to", str(tmp_path)]) == 0
    assert (tmp_path / f"{name}.py").read_text() == recipe_files()[name].read_text()
    assert main(["recipes", "copy", name, "--to", str(tmp_path)]) == 2


def test_options_are_taken_out_for_the_processes_started() -> None:
    words = ["train", "--processes", "2", "a=1", "--processes=3", "--seed", "2"]
    assert without_option(words, "--processes") == ["train", "a=1", "--seed", "2"]


def test_only_the_main_process_speaks(
    training: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    training(trained)
    monkeypatch.setenv("RANK", "1")
    assert main(["train", *LEAST, "--json"]) == 0
    assert capsys.readouterr().out == ""


def test_the_script_is_installed_and_help_is_quick() -> None:
    script = Path(sys.executable).with_name("hf-tl")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "quickstart" in done.stdout


def test_a_closed_pipe_is_no_fault() -> None:
    code = "from hf_tl.cli import main; import sys; sys.exit(main(['tasks', '--json']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
