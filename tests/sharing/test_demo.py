"""The demo of a model: the same `app.py` here and as a Space, for every task that has one."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from PIL import Image

import hf_tl
from hf_tl.data.kinds import KINDS, main_kind
from hf_tl.sharing.demo import describe_demo
from hf_tl.sharing.demo_app import SHOWN, WIDGETS, app_source
from hf_tl.task import all_tasks
from tests.anything import example_inputs, one_of_each
from tests.hub.server import RunningHub
from tests.sharing.demos import opened, served, tiny_run
from tests.sharing.test_push import TOKEN, command
from tests.tiny import declare_torchvision_operators, sentiment_csv, tiny_bert

declare_torchvision_operators()
TEXT = "the film was good"
NASTY = "<img src=x onerror=alert(1)> **b** [a](http://e.x)"
WITH_DEMO = [task for task in all_tasks() if task.inference.demo]
QUICK = one_of_each(WITH_DEMO, lambda task: main_kind(task).name)
APPS = [pytest.param(task.name, marks=[] if task.name in QUICK else [pytest.mark.slow]) for task in WITH_DEMO]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Task -> its tiny run, made when first asked for."""
    made: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in made:
            made[name] = tiny_run(name, tmp_path_factory.mktemp(name))
        return made[name]

    return run


def app_of(source: str, folder: Path) -> ModuleType:
    """`app.py`, imported."""
    pytest.importorskip("gradio")
    (folder / "app.py").write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("app", folder / "app.py")
    assert spec is not None and spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    return app


def test_tasks_say_what_a_demo_knows() -> None:
    kinds = {*WIDGETS, *(name for name, kind in KINDS.items() if kind.widget), "messages"}
    for task in all_tasks():
        assert not task.inference.demo or not task.inference.demo[-1].needs, (
            f"{task.name}: the last demo is for every model"
        )
        for each in task.inference.demo:
            assert each.gives in SHOWN and {kind for _, kind in each.takes} <= kinds


def shown_as(value: Any) -> Any:
    """An input as a person gives it in the browser: files of images opened."""
    return Image.open(value) if isinstance(value, str) and value.endswith(".png") else value


def labels(app: ModuleType, values: list[Any], ours: dict[str, Any]) -> None:
    masked = {each["token_str"]: each["score"] for each in ours.get("masks", [[]])[0]}
    assert app.answer(*values) == pytest.approx(ours.get("scores") or masked, abs=1e-5)


def highlights(app: ModuleType, values: list[Any], ours: dict[str, Any]) -> None:
    found, text = app.answer(*values), values[-1]
    spans = [text[each["start"] : each["end"]] for each in found["entities"]]
    answers = [text[each["start"] : each["end"]] for each in ours.get("entities", ())]
    assert found["text"] == text and spans == [each for each in (*answers, ours.get("answer")) if each]


def boxes(app: ModuleType, values: list[Any], ours: dict[str, Any]) -> None:
    (image,) = values
    (shown, frames), rows = app.answer(image, 0.0)
    assert shown is image and {label for _, label in frames} == {row[0] for row in rows}
    assert [row[0] for row in rows][:1] == [ours["label"]]
    assert float(rows[0][1]) == pytest.approx(ours["score"], abs=1e-3)
    assert app.answer(image, 1.0) == ((image, []), [])


def masks(app: ModuleType, values: list[Any], ours: dict[str, Any]) -> None:
    image, found = app.answer(*values)
    shares = {label: mask.sum() * 2 / image.width / image.height for mask, label in found}  # half opaque
    # the app resizes with torchvision where that is installed, which moves some pixels
    assert shares == pytest.approx({each["label"]: each["share"] for each in ours["segments"]}, abs=0.01)


def number(app: ModuleType, values: list[Any], ours: dict[str, Any]) -> None:
    (text,) = values
    assert app.answer(text, text) == pytest.approx(1.0) and app.answer(text, "a bad meal") < 1


def written(app: ModuleType, values: list[Any], ours: dict[str, Any]) -> None:
    assert app.answer(*values) == ours["label"] == next(ours[key] for key in ours if key.endswith("_text"))


def chat(app: ModuleType, values: list[Any], ours: dict[str, Any]) -> None:
    ((turn,),) = values
    *_, (messages, shown, line) = app.answer(turn["content"], [])
    assert messages == ours["generated_text"] and line == ""
    *_, (messages, shown, _) = app.answer(NASTY[:12], [])
    assert messages[0]["content"] == NASTY[:12] and "<" not in shown[0]["content"]


ANSWERS = {
    "labels": labels, "highlights": highlights, "boxes": boxes, "masks": masks, "number": number, "text": written,
    "chat": chat,
}  # fmt: skip
"""`Demo.gives` -> whether the app answers as `predict` does."""


def check_explanation(app: ModuleType, value: Any, ours: dict[str, Any]) -> None:
    if isinstance(value, str):
        shares = app.explain(value)
        assert [word for word, _ in shares] == value.split() and max(abs(share) for _, share in shares) == 1.0
        assert app.answer("good " * 500) and app.explain("good " * 500)  # cut at what the model can take
    else:
        seen, ((heat, label),) = app.explain(value)
        assert seen.shape == (32, 32, 3) and heat.shape == (32, 32) and label == ours["label"]
        assert heat.min() >= 0 and heat.max() <= 0.8 + 1e-6


@pytest.mark.parametrize("name", APPS)
def test_app(name: str, runs: Any, tmp_path: Path) -> None:
    """It is plain Python in good order, imports public packages only, and answers as `predict` does."""
    run = runs(name)
    described = describe_demo(str(run))
    source = app_source(described)
    imported = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name for node in imported if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in imported if isinstance(node, ast.ImportFrom)}
    assert not {each for each in names if each.startswith("hf_tl")}
    for words in (["check", "--select", "E,F,I,B"], ["format", "--diff"]):
        ruff = [sys.executable, "-m", "ruff", *words, "--isolated", "--line-length", "120", "-"]
        checked = subprocess.run(ruff, input=source, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    app = app_of(source, tmp_path)
    row = example_inputs(hf_tl.get_task(name), run.parent / "data")[0]
    (ours,) = hf_tl.predict(str(run), [row])
    assert described.demo.gives in ANSWERS, f"ANSWERS: what does a demo that gives {described.demo.gives} answer?"
    ANSWERS[described.demo.gives](app, [shown_as(value) for value in row.values()], ours)
    if described.explains is not None:
        check_explanation(app, shown_as(next(iter(row.values()))), ours)
    import gradio as gr

    empty: list[Any] = [
        None if kind == "image" else 0.5 if kind == "score" else " " for _, kind in described.demo.takes
    ]
    with pytest.raises(gr.Error, match="first"):
        next(app.answer("", [])) if described.demo.gives == "chat" else app.answer(*empty)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["pair", "number"])
def test_forms_of_text_classification(form: str, tmp_path: Path) -> None:
    """Two texts where the run learned from two; a number where it learned numbers."""
    rows = [
        {"text": f"the film was {word}", "label": label if form == "pair" else float(index)}
        | ({"text_pair": f"a {word} film"} if form == "pair" else {})
        for index, (word, label) in enumerate([("good", "yes"), ("bad", "no")] * 10)
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    run = hf_tl.finetune(
        model=str(tiny_bert(tmp_path / "bert")), output=str(tmp_path / "run"), task="text-classification",
        data={"path": str(data), **({} if form == "pair" else {"problem": "regression"})}, training={"max_steps": 2},
    )  # fmt: skip
    app = app_of(app_source(describe_demo(str(run.folder))), tmp_path)
    if form == "pair":
        (ours,) = run.predict([{"text": TEXT, "text_pair": "a good film"}])
        assert app.answer(TEXT, "a good film") == pytest.approx(ours["scores"], abs=1e-5)
    else:
        (ours,) = run.predict([TEXT])
        assert float(app.answer(TEXT)) == pytest.approx(ours["score"], rel=1e-3)


def test_no_demo_and_no_gradio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, runs: Any) -> None:
    from hf_tl.cli import main
    from hf_tl.sharing import demo

    run = runs("text-classification")
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    assert main(["demo", str(run), "--no-browser"]) == 2
    assert "pip install 'hf_tl[demo]'" in capsys.readouterr().err
    assert main(["demo", str(run), "--push-space", "alice/x"]) == 2
    assert f"share it first: hf-tl push {run}" in capsys.readouterr().err
    assert main(["demo", str(run / "model"), "--push-space", "alice/x"]) == 2
    assert "give its id" in capsys.readouterr().err
    embeddings = tiny_run("image-feature-extraction", tmp_path)
    with pytest.raises(hf_tl.ModelError, match="there is no demo for image-feature-extraction"):
        describe_demo(str(embeddings))


@pytest.mark.slow
@pytest.mark.parametrize("merge", [True, False], ids=["merged", "adapter"])
def test_space(merge: bool, hub: RunningHub, tmp_path: Path) -> None:
    """What is pushed answers as the run does, in a process that has neither hf_tl nor the run."""
    hub.seed_model("bob/tiny", tiny_bert(tmp_path / "bert"))
    data = sentiment_csv(tmp_path / "reviews.csv")
    env, run = hub.env(TOKEN), tmp_path / "run"
    command(
        env, "train", "--model", "bob/tiny", "--data", data, "--method", "lora", "--output", run,
        "training.max_steps=2", "--push", "alice/reviews", "hub.private=true", *([] if merge else ["hub.merge=false"]),
    )  # fmt: skip
    pushed = json.loads(command(env, "demo", run, "--push-space", "alice/reviews-demo", "--json").stdout)
    repo = hub.store.repos["space", "alice/reviews-demo"]
    assert pushed["id"] == "alice/reviews-demo" and pushed["commit"] == repo.refs["main"] and repo.private
    assert pushed["url"].startswith(f"{hub.url}/spaces/alice/reviews-demo/commit/")
    files = {name: content.decode() for name, content in hub.files("alice/reviews-demo", kind="space").items()}
    assert set(files) == {"README.md", "app.py", "requirements.txt"}
    _, metadata, text = files["README.md"].split("---\n", 2)
    said = yaml.safe_load(metadata)
    assert said["sdk"] == "gradio" and said["app_file"] == "app.py" and said["models"] == ["alice/reviews"]
    assert said["title"] == "reviews" and "[alice/reviews](" in text and "HF_TOKEN" in text
    wanted = {line.partition("==")[0] for line in files["requirements.txt"].split()}
    assert wanted == {"torch", "transformers", "captum"} | (set() if merge else {"peft"})
    assert (
        TOKEN not in str(files)
        and str(tmp_path) not in str(files)
        and "hf_tl" not in re.sub('^""".*', "", files["app.py"])
    )
    pytest.importorskip("gradio")
    (tmp_path / "space").mkdir()
    (tmp_path / "space" / "app.py").write_text(files["app.py"], encoding="utf-8")
    code = (
        "import sys; sys.modules['hf_tl'] = sys.modules['torchvision'] = None\n"
        f"import app, json; print('RESULT' + json.dumps(app.answer({TEXT!r})))"
    )
    reader = {**hub.env(TOKEN, home="reader"), "PYTHONPATH": "", "GRADIO_ANALYTICS_ENABLED": "False"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "space", env=reader, capture_output=True, text=True, timeout=120
    )
    assert "RESULT" in done.stdout, done.stderr[-2000:]
    theirs = json.loads(done.stdout.partition("RESULT")[2])
    assert theirs == pytest.approx(hf_tl.predict(str(run), [TEXT])[0]["scores"], abs=1e-5)


# in headless Chromium


@pytest.mark.slow
def test_text_in_the_browser(tmp_path: Path) -> None:
    """Labels and texts with HTML and Markdown in them stay text."""
    pytest.importorskip("gradio")
    rows = [{"text": f"the film was {word}", "label": label} for word, label in [("good", NASTY), ("bad", "no")] * 10]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    folder = tmp_path / "a_<b>*run*"
    run = hf_tl.finetune(
        model=str(tiny_bert(tmp_path / "bert")), data=str(data), output=str(folder), training={"max_steps": 2}
    )
    scores = run.predict([NASTY])[0]["scores"]
    with served(folder) as url, opened(url) as page:
        assert page.locator("h1").inner_text() == "a_<b>*run*" and page.title() == "a_<b>*run*"
        page.get_by_label("Text", exact=True).fill(NASTY)
        page.get_by_role("button", name="Submit").click()
        page.get_by_text(f"{max(scores.values()):.0%}", exact=True).wait_for()
        shown = page.locator("body").inner_text()
        assert NASTY in shown and page.locator("img[src=x]").count() == 0
        page.get_by_role("button", name="What mattered").click()
        page.get_by_text("Red spoke for the first label").wait_for()
        page.get_by_text("onerror").last.wait_for()
        assert page.locator("img[src=x]").count() == 0


@pytest.mark.slow
def test_image_in_the_browser(runs: Any) -> None:
    pytest.importorskip("gradio")
    run = runs("image-classification")
    image = run.parent / "data" / "0.png"
    (ours,) = hf_tl.predict(str(run), [str(image)])
    with served(run / "model") as url, opened(url) as page:
        page.set_input_files("input[type=file]", image)
        page.locator("img").first.wait_for()
        page.get_by_role("button", name="Submit").click()
        page.get_by_text(f"{ours['score']:.0%}", exact=True).wait_for()
        assert page.get_by_test_id("label-output-value").inner_text() == ours["label"]
        page.get_by_role("button", name="What mattered").click()
        page.get_by_text("What spoke for the first label").wait_for()


@pytest.mark.slow
def test_boxes_in_the_browser(runs: Any) -> None:
    pytest.importorskip("gradio")
    run = runs("object-detection")
    image = run.parent / "data" / "0.png"
    (ours,) = hf_tl.predict(str(run), [str(image)])
    with served(run) as url, opened(url) as page:
        page.set_input_files("input[type=file]", image)
        page.locator("img").first.wait_for()
        page.get_by_label("number input").fill("0")
        page.get_by_role("button", name="Submit").click()
        page.wait_for_function("text => document.body.innerText.includes(text)", arg=f"{ours['score']:.3f}")
        assert ours["label"] in page.locator("body").inner_text()


@pytest.mark.slow
def test_conversation_in_the_browser(runs: Any) -> None:
    pytest.importorskip("gradio")
    run = runs("text-generation")
    said = "<b>good</b> *film*"
    (ours,) = hf_tl.predict(str(run), [{"messages": [{"role": "user", "content": said}]}])
    with served(run) as url, opened(url) as page:
        page.get_by_label("Message", exact=True).fill(said)
        page.keyboard.press("Enter")
        page.locator(".bot").get_by_text(ours["generated_text"][-1]["content"].strip()[:20]).first.wait_for()
        assert page.locator(".user").first.inner_text().strip() == said
