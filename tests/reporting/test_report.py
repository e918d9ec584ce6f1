"""The report of a run: what it says is what was measured, it needs nothing but itself, and nothing in it runs."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_tl.errors import ConfigError
from hf_tl.io.console import duration, visible
from hf_tl.reporting import plots, sections
from hf_tl.reporting.formatting import elsewhere, metric_title, number, setting_value, size
from hf_tl.reporting.report import render, write_report
from hf_tl.reporting.run_summary import read_summary
from tests.reporting.run_folder import digits_run, text_run

HOSTILE = {
    "activate_my_card": "<script>alert(1)</script>",
    "age_limit": '"><img src=x onerror=alert(2)>',
    "apple_pay_or_google_pay": "$x_{1}$ \x1b[31mred\x07\u202eback",
    "atm_support": "javascript:alert(3) {{ 7 * 7 }} {% raw %}",
    "automatic_top_up": "銀行 & Söhne\n|new| `line`",
}
VOID = {"meta", "img", "br", "wbr", "use"}


class Page(HTMLParser):
    """The elements, attributes and text of a page, with a check that tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    def sections(self) -> list[str]:
        return [str(attributes["id"]) for tag, attributes in self.elements if tag == "section"]


def check_self_contained(html: str) -> Page:
    page = Page(html)
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "form", "base", "foreignobject"}
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                assert str(value).startswith(("data:image/", "#")), (tag, name, str(value)[:80])
    assert "default-src 'none'" in html
    assert not re.search(r"url\((?!#)", html) and "@import" not in html
    return page


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    return text_run(tmp_path_factory.mktemp("runs") / "six", data_dir / "text" / "banking77", classes=6)


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits_run(tmp_path_factory.mktemp("runs") / "digits")


def edit(folder: Path, name: str, **changes: object) -> None:
    values = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps({**values, **changes}), encoding="utf-8")


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "run"))


def test_a_text_run(text_folder: Path) -> None:
    path = write_report(text_folder)
    assert path == text_folder / "report.html"
    page = check_self_contained(path.read_text(encoding="utf-8"))
    assert page.sections() == [
        "result", "training", "confusion", "classes", "confidence", "mistakes", "data", "settings", "environment",
    ]  # fmt: skip

    metrics = json.loads((text_folder / "metrics.json").read_text())
    accuracy = metrics["metrics"]["accuracy"]
    for value in accuracy.values():
        assert f"{value:.3f}" in page.text
    right = sum(row[index] for index, row in enumerate(metrics["confusion_matrix"]))
    assert f"{right} of {metrics['samples']} correct" in page.text
    assert f"{metrics['baseline']['accuracy']:.3f}: majority-class baseline" in page.text
    assert f"step {metrics['train']['best_step']} of {metrics['train']['steps']} was kept" in page.text
    for label in metrics["labels"]:
        assert label in page.text

    # the most confident error comes first
    predictions = read_summary(text_folder).predictions
    rows = zip(predictions["label"], predictions["prediction"], predictions["score"], predictions["input"], strict=True)
    surest = max((score, text) for label, said, score, text in rows if label != said)
    mistakes = page.text[page.text.index("Most confident errors") :]
    assert surest[1] in mistakes[:600] and f"{100 * surest[0]:.1f}" in mistakes[:900]

    assert "hf-tl train --model sentence-transformers/all-MiniLM-L6-v2 --data data/banking77 --method full" in page.text
    assert "usual for full on a transformer" in page.text  # the reason of a default


def test_an_image_run_shows_the_images(image_folder: Path) -> None:
    page = check_self_contained(write_report(image_folder).read_text(encoding="utf-8"))
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) == 12
    for each in images:
        assert str(each["src"]).startswith("data:image/jpeg;base64,/9j/")
        assert str(each["alt"]).startswith("digits/")


def test_the_figures_for_the_card(image_folder: Path) -> None:
    write_report(image_folder)
    for name, ratio in (("curves.png", 9.2 / 3.1), ("confusion_matrix.png", 1)):
        with Image.open(image_folder / "figures" / name) as image:
            assert image.format == "PNG" and image.width >= 900
            assert image.width / image.height == pytest.approx(ratio, rel=0.01)
    assert not list(image_folder.rglob("*.tmp"))


def test_the_report_is_a_function_of_the_folder(image_folder: Path) -> None:
    first = write_report(image_folder).read_bytes()
    assert write_report(image_folder).read_bytes() == first


@pytest.mark.parametrize("classes", [6, 20])
def test_hostile_labels_and_texts_stay_text(tmp_path: Path, data_dir: Path, classes: int) -> None:
    """6 classes are a table, 20 a heat map whose labels go through matplotlib."""
    source = tmp_path / "<b onclick=alert(4)>bank"
    shutil.copytree(data_dir / "text" / "banking77", source)
    rows = (
        (source / "test.csv").read_text(encoding="utf-8").replace("my card", "<iframe src=//x.y>\x1b]0;t\x07 my card")
    )
    (source / "test.csv").write_text(rows, encoding="utf-8")
    folder = text_run(tmp_path / "run", source, classes=classes, rename=HOSTILE, epochs=2)
    html = write_report(folder).read_text(encoding="utf-8")

    page = check_self_contained(html)
    assert page.tags.isdisjoint({"script", "iframe", "b onclick=alert(4)"})
    assert all(attributes.get("src") != "x" for _, attributes in page.elements)
    shown = re.sub(r"\s+", " ", page.text)
    assert "<script>alert(1)</script>" in shown
    assert "{{ 7 * 7 }} {% raw %}" in shown
    assert "銀行 & Söhne" in shown
    assert "$x_{1}$ \\x1b[31mred\\x07\\u202eback" in shown
    assert not set(html) & {"\x1b", "\x07", "\u202e"}


def test_many_classes_become_a_heat_map(tmp_path: Path, data_dir: Path) -> None:
    folder = text_run(tmp_path / "run", data_dir / "text" / "banking77", classes=40, epochs=1)
    html = write_report(folder).read_text(encoding="utf-8")
    page = check_self_contained(html)
    assert "All 40 classes" in page.text and "Most frequent confusions" in page.text
    assert 'class="matrix"' not in html
    assert "the other 20 classes" in page.text
    # the pairs are those of the matrix
    metrics = json.loads((folder / "metrics.json").read_text())
    largest = max(count for i, row in enumerate(metrics["confusion_matrix"]) for j, count in enumerate(row) if i != j)
    assert sections.confusion(read_summary(folder))["pairs"][0]["count"] == largest  # type: ignore[index]
    assert re.search(r">share</th>.*?<td class=\"num\">(\d+)</td>", html, re.S)[1] == str(largest)  # type: ignore[index]


def test_of_very_many_classes_the_map_shows_those_with_most_errors(image_folder: Path, tmp_path: Path) -> None:
    folder = copy(image_folder, tmp_path)
    matrix = 5 * np.eye(150, dtype=int)
    matrix[140, 149] = matrix[149, 140] = 4
    names = [f"class number {index}" for index in range(150)]
    edit(folder, "metrics.json", confusion_matrix=matrix.tolist(), labels=names, per_class=[])
    page = check_self_contained(write_report(folder).read_text(encoding="utf-8"))
    assert "The 100 of 150 classes with most errors" in page.text
    drawn = re.findall(r"class number (\d+)\b", page.text[page.text.index("with most errors") :])
    assert abs(drawn.index("140") - drawn.index("149")) == 1  # what is confused stands side by side
    assert "120" not in drawn


def test_a_model_no_better_than_guessing_is_said_to_be(image_folder: Path, tmp_path: Path) -> None:
    folder = copy(image_folder, tmp_path)
    assert "not significantly better" not in render(read_summary(folder))
    edit(folder, "metrics.json", baseline={"accuracy": 0.9})
    assert "not significantly better" in render(read_summary(folder))


def test_validation_figures_are_said_to_be_optimistic(image_folder: Path, tmp_path: Path) -> None:
    folder = copy(image_folder, tmp_path)
    edit(folder, "metrics.json", split="validation")
    assert "also picked the checkpoint" in render(read_summary(folder))


def test_a_loss_that_is_not_a_number(image_folder: Path, tmp_path: Path) -> None:
    folder = copy(image_folder, tmp_path)
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    nan = float("nan")
    edit(folder, "metrics.json", metrics={**metrics, "loss": {"value": nan, "low": nan, "high": nan}})
    page = check_self_contained(write_report(folder).read_text(encoding="utf-8"))
    assert "not a number" in page.text and "training diverged" in page.text


def test_parts_that_a_run_lacks_are_left_out(image_folder: Path, tmp_path: Path) -> None:
    folder = copy(image_folder, tmp_path)
    (folder / "log.jsonl").unlink()
    (folder / "predictions.parquet").unlink()
    metrics = json.loads((folder / "metrics.json").read_text())
    few = {key: metrics[key] for key in ("split", "samples", "metrics")}
    (folder / "metrics.json").write_text(json.dumps(few), encoding="utf-8")
    page = check_self_contained(write_report(folder).read_text(encoding="utf-8"))
    assert page.sections() == ["result", "data", "settings", "environment"]


def test_a_log_cut_off_by_a_crash(image_folder: Path, tmp_path: Path) -> None:
    folder = copy(image_folder, tmp_path)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"step": 70, "lo')
    assert len(read_summary(folder).log) == len(read_summary(image_folder).log)


def test_a_perfect_model(image_folder: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    folder = copy(image_folder, tmp_path)
    table = pq.read_table(folder / "predictions.parquet")
    table = table.set_column(table.column_names.index("prediction"), "prediction", table["label"])
    pq.write_table(table, folder / "predictions.parquet")
    edit(folder, "metrics.json", confusion_matrix=[[80 * (i == j) for j in range(10)] for i in range(10)])
    page = check_self_contained(write_report(folder).read_text(encoding="utf-8"))
    assert "every test row is predicted correctly" in page.text
    assert "mistakes" not in page.sections()


@pytest.mark.parametrize(("missing", "sentence"), [("config.yaml", "not the folder of a run"), ("metrics.json", "not")])
def test_what_is_no_measured_run(image_folder: Path, tmp_path: Path, missing: str, sentence: str) -> None:
    folder = copy(image_folder, tmp_path)
    (folder / missing).unlink()
    with pytest.raises(ConfigError, match=f"{sentence}.*{missing}"):
        write_report(folder)


def test_a_damaged_file_is_named(image_folder: Path, tmp_path: Path) -> None:
    folder = copy(image_folder, tmp_path)
    (folder / "metrics.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"metrics\.json, line 1, column 2: not JSON .*; train it again"):
        write_report(folder)


def test_a_drawing_takes_the_colours_of_the_page(image_folder: Path) -> None:
    summary = read_summary(image_folder)
    drawn = plots.svg(plots.loss_curve(summary.log, summary.train["best_step"]))
    assert drawn.startswith("<svg viewBox=") and "var(--accent)" in drawn and "var(--warm)" in drawn
    assert "#0101" not in drawn and "<style" not in drawn and "width=" not in drawn.split(">")[0]


def test_words() -> None:
    assert [number(0.91449), number(3080), number(float("nan")), number(12345.6)] == [
        "0.914", "3\u202f080", "not a number", "1.235e+04",
    ]  # fmt: skip
    seconds = {0.21: "0.2 s", 9.94: "9.9 s", 45: "45 s", 89.4: "89 s", 90: "2 min", 200: "3 min", 5399: "90 min"}
    assert {each: duration(each) for each in seconds} == seconds and duration(5400) == "1.5 h"
    assert [size(12), size(1_240_000_000)] == ["12 B", "1.2 GB"]
    assert [metric_title("f1_macro"), metric_title("balanced_accuracy")] == ["F1, macro", "Balanced accuracy"]
    assert [setting_value(5e-5), setting_value(True), setting_value("adamw")] == ["5e-05", "true", "adamw"]
    assert visible("a\x1b[0m\u200f\n\tç 👩\u200d🚀\ud800") == "a\\x1b[0m\\u200f\n\tç 👩\u200d🚀\\ud800"
    assert [elsewhere("/home/me/x.csv"), elsewhere("C:\\me\\x.csv"), elsewhere("data/x.csv"), elsewhere(3)] == [
        "path/to/x.csv", "path/to/x.csv", "data/x.csv", 3,
    ]  # fmt: skip
