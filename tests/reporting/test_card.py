"""The model card: exactly what was measured, nothing invented, code that runs, names that stay names."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from hf_tl.config import load_config, merge, parse_overrides
from hf_tl.errors import ConfigError
from hf_tl.reporting.card import describe, write_card
from hf_tl.reporting.formatting import remake_command
from hf_tl.reporting.markdown import code, escape, fenced, python
from hf_tl.reporting.report import write_report
from hf_tl.reporting.run_summary import read_summary
from tests.reporting.run_folder import digits_run, text_run
from tests.tiny import sentiment_csv, tiny_bert

GOLDEN = Path(__file__).parent / "golden_card.md"
HOSTILE = [
    "<script>alert(1)</script>",
    "[click](javascript:alert(2))",
    "`` ` end | of | cell",
    "a\n---\nlicense: mit\n---\n# heading",
    "\x1b[31mred\x07 \u202eback",
    "![](http://evil.example/pixel.png)",
    "```\n<img src=x onerror=alert(3)>",
    "\\(x\\) $y$ {{ 7 * 7 }} http://evil.example www.evil.example me@evil.example",
    "plain",
    "ünïcode 銀行",
]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = digits_run(tmp_path_factory.mktemp("runs") / "digits")
    write_report(folder)  # the figures
    return folder


def run_folder(digits: Path, to: Path, config: dict[str, Any] | None = None, **environment: Any) -> Path:
    """A copy of the run with parts of its configuration and environment changed."""
    folder = Path(shutil.copytree(digits, to / "run"))
    old = load_config(folder / "config.yaml").model_dump(exclude_defaults=True)
    (folder / "config.yaml").write_text(load_config(merge(old, config or {})).to_yaml(), encoding="utf-8")
    facts = json.loads((folder / "environment.json").read_text())
    for key, value in environment.items():
        facts[key] = {**facts[key], **value} if isinstance(value, dict) else value
    (folder / "environment.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


def rendered(card: ModelCard) -> str:
    return MarkdownIt("commonmark").enable("table").render(card.text)


def snippet(card: ModelCard) -> str:
    found = re.search(r"```python\n(.*?)```", card.text, re.S)
    assert found
    return found[1]


def test_the_golden_card(digits: Path, tmp_path: Path) -> None:
    """The whole card; measured values and times as `#`, since they may differ in the last place elsewhere.

    After a change that is meant: HF_TL_GOLDEN=write pytest tests/reporting/test_card.py
    """
    import os

    folder = run_folder(digits, tmp_path, {"hub": "me/digits"})
    found = re.sub(r"\d\.\d{3,}|\d+\.\d+ s|step \d+|\d+ rows\)", "#", write_card(folder).read_text(encoding="utf-8"))
    found = re.sub(r"(?s)(# made by hf_tl\n).*?(?=\n```)", r"\1#", found)  # tests/sharing/test_verify.py reads it
    if os.environ.get("HF_TL_GOLDEN") == "write":
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8")


def test_the_figures_are_those_of_metrics_json(digits: Path, tmp_path: Path) -> None:
    folder = run_folder(digits, tmp_path, {"hub": "me/digits"})
    card = ModelCard.load(write_card(folder))
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]

    results = {result.metric_name: result for result in card.data.eval_results}
    assert [result.metric_value for result in results.values()] == [
        round(each["value"], 6) for each in metrics.values()
    ]
    assert results["F1, macro"].metric_type == "f1" and results["F1, macro"].metric_args == {
        "average": "macro",
        "confidence_interval_95": [round(metrics["f1_macro"][end], 6) for end in ("low", "high")],
    }
    for result in results.values():
        assert (result.task_type, result.dataset_split) == ("image-classification", "test")
    for each in metrics.values():
        assert f"| {each['value']:.3f} | {each['low']:.3f} to {each['high']:.3f} |" in card.text
    assert "reloaded from disk: the best checkpoint by validation" in card.text
    assert "figures/confusion_matrix.png" in card.text and (folder / "figures" / "confusion_matrix.png").exists()


def test_the_head_for_the_hub(digits: Path, tmp_path: Path) -> None:
    folder = run_folder(digits, tmp_path, {"hub": "me/digits", "method": "lora"})
    data = ModelCard.load(write_card(folder)).data
    assert data.pipeline_tag == "image-classification"
    assert data.library_name == "transformers"
    assert data.base_model == "google/mobilenet_v2_1.0_224" and data.base_model_relation == "finetune"
    assert data.license == "apache-2.0"
    assert data.tags == ["hf_tl", "transfer-learning", "lora"]
    assert data.metrics == ["accuracy", "f1"]  # the Hub knows no balanced accuracy
    assert data.datasets is None  # files on a disk are no dataset of the Hub
    assert data.model_name == "digits"


def test_data_of_the_hub_are_linked(digits: Path, tmp_path: Path) -> None:
    folder = run_folder(digits, tmp_path, {"data": "me/beans"}, data={"path": "me/beans", "revision": "a" * 40})
    card = ModelCard.load(write_card(folder))
    assert card.data.datasets == ["me/beans"]
    assert {result.dataset_revision for result in card.data.eval_results} == {"a" * 40}
    assert "(https://huggingface.co/datasets/me/beans)" in card.text


def test_what_is_not_known_is_left_out(digits: Path, tmp_path: Path) -> None:
    here = "/home/me/models/vit"
    folder = run_folder(digits, tmp_path, {"model": here}, model={"id": here, "revision": None, "license": None})
    card = ModelCard.load(write_card(folder))
    assert card.data.base_model is None and card.data.license is None and card.data.language is None
    assert "base_model" not in str(card).split("---")[1]
    assert "vit, adapted" in card.text
    assert "No licence is stated: that of the pretrained model is not known" in card.text


def test_scratch_adapts_no_model(digits: Path, tmp_path: Path) -> None:
    card = ModelCard.load(write_card(run_folder(digits, tmp_path, {"method": "scratch"})))
    assert card.data.base_model is None and card.data.license is None
    assert "trained from random weights" in card.text


def test_an_unusual_licence_has_a_name(digits: Path, tmp_path: Path) -> None:
    card = ModelCard.load(write_card(run_folder(digits, tmp_path, model={"license": "My Own License v2"})))
    assert card.data.license == "other" and card.data.license_name == "my-own-license-v2"


def test_nothing_of_the_data_and_of_the_machine_is_told(digits: Path, tmp_path: Path) -> None:
    private = "/home/alice/secret/faces"
    folder = run_folder(
        digits, tmp_path,
        {"data": private, "hub": "me/x", "output": "/home/alice/runs/x", "model": {"cache_dir": "/home/alice/cache"}},
        data={"path": private, "notes": [f"2 of the files under {private} were left out."]},
    )  # fmt: skip
    text = write_card(folder).read_text(encoding="utf-8")
    assert "alice" not in text and "secret" not in text
    assert "2 of the files under faces were left out." in text
    assert "--data path/to/faces" in text
    for row in read_summary(folder).predictions["input"]:
        assert row not in text


def test_custom_code_needs_trust_and_stock_code_does_not(digits: Path, tmp_path: Path) -> None:
    folder = run_folder(digits, tmp_path, {"hub": {"id": "me/x", "revision": "try", "private": True}})
    plain = ModelCard.load(write_card(folder))
    assert 'pipeline("image-classification", model="me/x", revision="try")' in plain.text
    assert "trust_remote_code" not in plain.text
    assert "hf auth login" in plain.text

    (folder / "model" / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "modeling_hf_tl.X"}}))
    custom = ModelCard.load(write_card(folder))
    assert 'model="me/x", revision="try", trust_remote_code=True)' in custom.text


def test_validation_weak_classes_and_classes_never_seen_are_limits(digits: Path, tmp_path: Path) -> None:
    folder = run_folder(digits, tmp_path)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["split"] = "validation"
    metrics["per_class"][0] = {"label": "zero", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    metrics["per_class"][1].update(f1=0.123, support=79)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    text = ModelCard.load(write_card(folder)).text
    assert "also picked the checkpoint" in text
    assert "Weakest classes: `one` (F1 0.123, 79 rows)" in text
    assert "1 of its classes have no row in the validation split" in text


def test_a_value_that_is_not_a_number_is_no_result(digits: Path, tmp_path: Path) -> None:
    folder = run_folder(digits, tmp_path)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["metrics"]["loss"] = dict.fromkeys(("value", "low", "high"), float("nan"))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    card = ModelCard.load(write_card(folder))
    assert "Loss" not in {result.metric_name for result in card.data.eval_results}
    assert "| Loss | not a number |" in card.text


def test_hostile_names_stay_names(digits: Path, tmp_path: Path) -> None:
    folder = run_folder(
        digits, tmp_path,
        {"data": "data/<b>x</b>\n---\nlicense: mit", "hub": {"id": "me/x", "merge": False}, "method": "lora"},
        data={
            "notes": [*HOSTILE, "# heading", "- item", "1. one", "=== line"],
            "columns": {"image": HOSTILE[2], "label": HOSTILE[0]},
        },
    )  # fmt: skip
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["labels"] = HOSTILE
    metrics["per_class"] = [
        {**row, "label": name, "f1": 0.1} for row, name in zip(metrics["per_class"], HOSTILE, strict=True)
    ]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    text = write_card(folder).read_text(encoding="utf-8")
    assert not set(text) & {"\x1b", "\x07", "\u202e"}

    card = ModelCard(text)
    assert card.data.license == "apache-2.0"
    tokens = MarkdownIt("commonmark").enable("table").parse(card.text)
    inline = [child for token in tokens for child in token.children or []]
    assert not [child for child in inline if child.type == "text" and "---|" in child.content]  # tables are tables
    html = [token.content.strip() for token in [*tokens, *inline] if token.type in ("html_block", "html_inline")]
    names = ["title", "summary", "usage", "labels", "results", "data", "training", "limits", "versions"]
    sections = [f"<!-- hf_tl:{which} {name} -->" for name in names for which in ("begin", "end")]
    origin = ["<details><summary>Provenance</summary>", "</details>"]
    at = sections.index("<!-- hf_tl:end training -->")
    (wrote,) = [each for each in html if each.startswith("<!-- hf_tl:wrote {")]
    hint = "<!-- Text between begin and end is rewritten at every push; text elsewhere is yours and stays. -->"
    expected = [*sections[:3], hint, *sections[3:at], *origin, *sections[at:], wrote]
    # a comment below another is part of its block
    assert "\n".join(html).split("\n") == expected  # our own
    assert json.loads(wrote.removeprefix("<!-- hf_tl:wrote ").removesuffix(" -->"))["sections"] == names
    assert [token.info for token in tokens if token.type == "fence"] == ["python", "python", "sh", "sh", "yaml"]
    links = {str(token.attrs["href"]) for token in inline if token.type == "link_open"}
    assert all(link.startswith("https://huggingface.co/google/") for link in links)
    images = {str(token.attrs["src"]) for token in inline if token.type == "image"}
    assert images == {"figures/curves.png", "figures/confusion_matrix.png"}
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings == [
        "x", "How to use", "Labels", "Evaluation results", "Training and evaluation data", "Training procedure",
        "Limitations", "Framework versions",
    ]  # fmt: skip


@pytest.mark.parametrize("text", [*HOSTILE, "a_b _c_ *d* ~~e~~", "# x", "1) x", "&lt; &amp;"])
def test_escaped_text_is_read_back_as_it_was(text: str) -> None:
    plain = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    expected = " ".join(text.split()).replace("\x1b", "\\x1b").replace("\x07", "\\x07").replace("\u202e", "\\u202e")
    for markdown in (escape(text), code(text)):
        (inline,) = [token for token in plain.parse(f"{markdown}\n") if token.type == "inline"]
        kinds = {child.type for child in inline.children or []}
        assert kinds <= {"text", "text_special", "code_inline"}, kinds
        assert "".join(child.content for child in inline.children or []) == expected
    assert eval(python(text)) == text
    assert plain.parse(fenced(f"x\n```\n{text}", "sh"))[0].type == "fence"
    assert len(plain.parse(fenced(f"x\n```\n{text}", "sh"))) == 1


@pytest.mark.parametrize(
    "config",
    [
        {"method": {"name": "lora", "r": 16}, "training": {"learning_rate": 3e-4, "optim": "adamw_torch"}, "seed": 7},
        {"data": {"path": ["a.csv", "b c.csv"], "columns": {"text": "the review"}, "validation": 0.2}},
        {"method": {"name": "full", "unfreeze": {0: "head", 1.5: {"layers": "all", "learning_rate": 1e-5}}}},
        {"loss": {"class_weights": {"a.b": 2.0, "it's": 1.0, "銀行": 1.0}}, "training": {"report_to": "none"}},
        {
            "model": {"id": "me/x", "config": {"attention_dropout": 0.1}, "pooling": "mean"},
            "task": "text-classification",
        },
    ],
)
def test_the_command_makes_the_same_run(config: dict[str, Any]) -> None:
    wanted = load_config({"model": "me/base", "data": "reviews.csv", **config})
    words = shlex.split(remake_command(wanted, {}))
    assert words[:2] == ["hf-tl", "train"]
    flags = dict(zip(words[2::2], words[3::2], strict=False))
    given = {flag: flags[flag] for flag in ("--model", "--data", "--method") if flag in flags}
    overrides = parse_overrides(words[2 + 2 * len(given) :])
    again = load_config(
        {flag.removeprefix("--"): value for flag, value in given.items()} | {"data": given.get("--data", "-")},
        overrides,
    )
    assert again.model_dump() == wanted.model_dump()


def test_the_command_pins_the_commits(digits: Path, tmp_path: Path) -> None:
    folder = run_folder(
        digits, tmp_path, {"data": "me/beans"}, data={"path": "me/beans", "revision": "b" * 40}, processes=2
    )
    command = describe(read_summary(folder)).command
    assert f"data.revision={'b' * 40}" in command and "model.revision=c9745ed1" in command
    assert command.endswith("--processes 2")


def test_what_is_no_measured_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not the folder of a run"):
        write_card(tmp_path)


@pytest.mark.parametrize("labels", [2, 3])
def test_the_code_for_an_adapter_runs(tmp_path: Path, labels: int) -> None:
    """On a real adapter, in a process of its own: the printed answer is that of the merged model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    names = ["bad", "good", "so so"][:labels]
    source = tmp_path / "data"
    classes = ("negative", "positive", "neutral")[:labels]
    for split, seed in (("train", 0), ("test", 1)):
        sentiment_csv(source / f"{split}.csv", rows=200, seed=seed, classes=classes)
    base, adapter = tiny_bert(tmp_path / "base"), tmp_path / "adapter"
    torch.manual_seed(1)
    stock = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=labels, id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)}
    )
    lora = LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"], init_lora_weights=False)
    model = get_peft_model(stock, lora)
    model.save_pretrained(adapter)
    merged = model.merge_and_unload().eval()
    for piece in (merged.config, AutoTokenizer.from_pretrained(base)):
        piece.save_pretrained(adapter)  # as a run saves them; with its `config.json` there, `pipeline(adapter)` fails

    rename = dict(zip(sorted(classes), names, strict=True))
    options = {"method": "lora", "hub": {"id": "me/x", "merge": False}}
    folder = text_run(tmp_path / "run", source, rename=rename, config=options, epochs=1)
    card = ModelCard.load(write_card(folder))
    assert card.data.library_name == "peft" and card.data.base_model_relation == "adapter"

    alone = "import sys\nfor name in ('hf_tl', 'torchvision'):\n    sys.modules[name] = None\n"  # without hf_tl
    lines = alone + snippet(card).replace('"me/x"', repr(str(adapter)))
    lines = lines.replace('"sentence-transformers/all-MiniLM-L6-v2"', repr(str(base)))
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, cwd="/", timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    (theirs,) = eval(done.stdout.strip().splitlines()[-1])
    text = re.search(r'print\(pipe\("(.*)"\)\)', lines)[1]  # type: ignore[index]
    (ours,) = pipeline("text-classification", model=merged, tokenizer=AutoTokenizer.from_pretrained(base))(text)
    assert theirs["label"] == ours["label"] and theirs["label"] in names
    assert theirs["score"] == pytest.approx(ours["score"], abs=1e-6)
