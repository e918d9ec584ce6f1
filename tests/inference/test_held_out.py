"""A finished model measured on its held-out rows: its own labels, every row, and the values that are written."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from transformers import BertForSequenceClassification, BertTokenizer

from hf_tl.config import Preprocessing
from hf_tl.errors import ConfigError, DataError
from hf_tl.inference import held_out as module
from hf_tl.inference.evaluate import evaluate
from hf_tl.inference.held_out import finished, measure_saved, outputs_on, targets_of, write_predictions
from hf_tl.inference.predict import predict
from hf_tl.models.context import labels_of
from hf_tl.run import Run
from hf_tl.task import TaskContext, get_task
from tests.tiny import bert_classifier, random_adapter, tiny_tokenizer, tiny_vit

TEXT, IMAGE = get_task("text-classification"), get_task("image-classification")
LABELS = ("yes", "no", "perhaps")
TEXTS = ["good film", "a very very bad meal was so poor", "fine", "the book was never good", "poor song", "awful"]
TRUTH = [0, 1, 0, 2, 1, 1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of three classes with more than a guess to say."""
    folder = tmp_path_factory.mktemp("model")
    made = bert_classifier(id2label=dict(enumerate(LABELS)), label2id={name: at for at, name in enumerate(LABELS)})
    with torch.no_grad():
        made.classifier.weight.normal_()
    made.save_pretrained(folder)
    tiny_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def scores(model: Path) -> np.ndarray:
    """What plain Transformers gives, a text at a time."""
    plain, processor = BertForSequenceClassification.from_pretrained(model), BertTokenizer.from_pretrained(model)
    with torch.no_grad():
        logits = [plain.eval()(**processor(text, return_tensors="pt")).logits[0] for text in TEXTS]
    found: np.ndarray = torch.stack(logits).softmax(-1).numpy()
    return found


ROWS = Dataset.from_dict({"text": TEXTS, "label": TRUTH})


def test_outputs_are_of_the_rows_in_their_order(model: Path, scores: np.ndarray) -> None:
    loaded, task, context = finished(str(model))
    for size in (None, 1, 4):
        outputs, samples = outputs_on(loaded, task, context, ROWS, size)
        found = torch.from_numpy(np.stack(outputs)).softmax(-1).numpy()
        assert np.allclose(found, scores, atol=1e-5) and len(samples) == 6


def test_a_finished_model_says_its_labels_in_the_order_of_its_outputs(model: Path) -> None:
    assert labels_of(SimpleNamespace(id2label={2: "c", 0: "a", 10: "d", 1: 7})) == ("a", "7", "c", "d")
    loaded, task, context = finished(str(model))
    assert context.labels == LABELS and task.name == "text-classification" and not loaded.training
    assert context.mode == "measuring" and context.folder == model
    assert context.preprocessing == Preprocessing(augment="none")
    given = Preprocessing(max_length=8)
    assert finished(str(model), preprocessing=given)[2].preprocessing is given
    targets = targets_of(task, context)
    assert (targets.labels, targets.problem, targets.class_column) == (LABELS, context.problem, "label")
    assert targets.config["hidden_size"] == 8
    several = dataclasses.replace(context, problem="multi_label_classification")
    assert targets_of(task, several).class_column is None
    one = dataclasses.replace(context, problem="single_label_classification")
    assert targets_of(task, one).class_column == "label"
    assert (
        targets_of(get_task("fill-mask"), TaskContext()).class_column is None
        and targets_of(task, TaskContext()).config == {}
    )


def test_a_saved_model_is_measured_row_by_row(
    model: Path, scores: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    real = module.outputs_of
    monkeypatch.setattr(module, "outputs_of", lambda *a, **k: sizes.append(k["batch_size"]) or real(*a, **k))
    (tmp_path / "config.yaml").write_text("model: m\ndata: d\ntraining: {per_device_eval_batch_size: 4}\n")
    (tmp_path / "model").symlink_to(model)
    run = Run(tmp_path)
    run.reach("saved", train={"steps": 3})
    data: Any = SimpleNamespace(
        splits={"train": ROWS.select([0]), "validation": ROWS.select([0]), "test": ROWS}, held_out="test"
    )
    measure_saved(run, data)
    guesses, found = scores.argmax(-1), run.metrics
    assert (found["split"], found["samples"], found["labels"]) == ("test", 6, list(LABELS))
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(accuracy_score(TRUTH, guesses))
    assert found["metrics"]["f1_macro"]["value"] == pytest.approx(
        f1_score(TRUTH, guesses, average="macro", labels=[0, 1, 2], zero_division=0)
    )
    losses = -np.log(scores[np.arange(6), TRUTH])
    assert found["metrics"]["loss"]["value"] == pytest.approx(losses.mean(), rel=1e-4)
    assert found["confusion_matrix"] == confusion_matrix(TRUTH, guesses, labels=[0, 1, 2]).tolist()
    assert found["train"] == {"steps": 3} and run.stage == "measured" and sizes[0] == 4
    rows = pq.read_table(tmp_path / "predictions.parquet").to_pydict()
    assert rows["row"] == list(range(6)) and rows["input"] == TEXTS and rows["image"] == [None] * 6
    assert rows["label"] == [LABELS[at] for at in TRUTH] and rows["prediction"] == [LABELS[at] for at in guesses]
    assert rows["score"] == pytest.approx(scores.max(-1).tolist(), abs=1e-5)
    assert np.allclose(rows["scores"], scores, atol=1e-5) and np.allclose(rows["loss"], losses, rtol=1e-4)
    assert not (tmp_path / ".predictions.parquet.tmp").exists() and (tmp_path / "proof" / "answers.json").exists()


def test_another_process_measures_and_writes_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("model: m\ndata: d\n")
    (tmp_path / "model").symlink_to(model)
    monkeypatch.setattr(module, "process_state", lambda: SimpleNamespace(is_main_process=False))
    data: Any = SimpleNamespace(splits={"validation": ROWS.select([0]), "test": ROWS}, held_out="test")
    measure_saved(Run(tmp_path), data)
    assert not (tmp_path / "metrics.json").exists() and not (tmp_path / "predictions.parquet").exists()


def predictions(tmp_path: Path, task: Any, rows: Dataset, found: list[dict[str, Any]], context: TaskContext) -> Any:
    write_predictions(tmp_path / "p.parquet", task, context, found, [], rows)
    return pq.read_table(tmp_path / "p.parquet").to_pydict()


def test_a_score_of_nothing_has_a_loss_that_is_a_number(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"text": ["a"], "text_pair": ["b"], "label": [0]})
    scores = {"yes": 0.0, "no": 1.0}
    table = predictions(
        tmp_path, TEXT, rows, [{"label": "no", "score": 1.0, "scores": scores}], TaskContext(labels=("yes", "no"))
    )
    assert table["loss"] == [pytest.approx(-np.log(np.finfo(np.float64).tiny))] and table["input"] == ["a\nb"]


def test_images_have_a_small_image_and_their_file(tmp_path: Path) -> None:
    images = [Image.new("RGB", (640, 320), (200, 30, 30)), Image.new("RGB", (20, 10), (30, 30, 200))]
    scores = [{"label": "a", "score": 0.75, "scores": {"a": 0.75, "b": 0.25}}] * 2
    context = TaskContext(labels=("a", "b"))
    rows = Dataset.from_dict({"image": images, "label": [0, 1]})
    table = predictions(tmp_path, IMAGE, rows, scores, context)
    assert table["input"] == ["row 0", "row 1"] and table["label"] == ["a", "b"]
    assert table["loss"] == pytest.approx([-np.log(0.75), -np.log(0.25)])
    sizes = [Image.open(io.BytesIO(each)).size for each in table["image"]]
    assert sizes == [(160, 80), (20, 10)]
    assert np.allclose(np.asarray(Image.open(io.BytesIO(table["image"][0])))[40, 80], (200, 30, 30), atol=8)
    table = predictions(tmp_path, IMAGE, rows.add_column("file", ["x.png", "y.png"]), scores, context)
    assert table["input"] == ["x.png", "y.png"]


def test_other_answers_are_kept_as_json_with_what_is_right(tmp_path: Path) -> None:
    regression = TEXT.of_problem("regression")
    rows = Dataset.from_dict({"text": [f"t{at}" for at in range(30)], "label": [at / 2 for at in range(30)]})
    found = [{"label": "value", "score": float(at), "scores": {"value": float(at)}} for at in range(30)]
    context = TaskContext(labels=("value",), problem="regression")
    table = predictions(tmp_path, regression, rows, found, context)
    assert json.loads(table["prediction"][3]) == found[3] and table["label"][3] == '{"label": 1.5}'
    shown = [at for at, each in enumerate(table["shown"]) if each is not None]
    assert shown == np.linspace(0, 29, 12).astype(int).tolist() and table["shown"][29] == "14.5, predicted 29"
    assert "scores" not in table and "loss" not in table


# The commands


def test_evaluate_takes_the_split_that_is_asked_for(model: Path, scores: np.ndarray, tmp_path: Path) -> None:
    for name, rows in (("train", range(3)), ("test", range(6))):
        lines = ["text,label", *(f"{TEXTS[at]},{LABELS[TRUTH[at]]}" for at in rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    right = scores.argmax(-1) == TRUTH
    found = evaluate(str(model), str(tmp_path))
    assert (found["model"], found["split"], found["samples"]) == (str(model), "test", 6)
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(right.mean()) and found["labels"] == list(LABELS)
    found = evaluate(str(model), {"path": str(tmp_path)}, split="train")
    assert (found["split"], found["samples"]) == ("train", 3)
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(right[:3].mean())
    again = evaluate(str(model), [str(tmp_path / "test.csv")], seed=7, batch_size=2)
    assert again["metrics"]["accuracy"]["value"] == pytest.approx(right.mean())


def test_predict_answers_bare_inputs_mappings_and_data(model: Path, scores: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text\n" + "\n".join(TEXTS) + "\n")
    for inputs in (TEXTS, tuple(TEXTS), [{"text": each} for each in TEXTS], {"path": str(tmp_path / "rows.csv")}):
        found = predict(str(model), inputs, batch_size=4)
        assert np.allclose([[each["scores"][name] for name in LABELS] for each in found], scores, atol=1e-5)
        assert [each["label"] for each in found] == [LABELS[at] for at in scores.argmax(-1)]
    (alone,) = predict(str(model), TEXTS[1])
    assert alone["score"] == pytest.approx(scores[1].max(), abs=1e-5)
    assert predict(str(model), []) == []
    pair, other = predict(
        str(model), [{"text": "good film", "text_pair": "bad meal"}, {"text": "fine", "text_pair": "a"}]
    )
    plain, processor = BertForSequenceClassification.from_pretrained(model), BertTokenizer.from_pretrained(model)
    with torch.no_grad():
        wanted = plain.eval()(**processor("good film", "bad meal", return_tensors="pt")).logits.softmax(-1)[0]
    assert [pair["scores"][name] for name in LABELS] == pytest.approx(wanted.tolist(), abs=1e-5) and other


def as_run(folder: Path, model: Path, data: str, columns: dict[str, str] | None = None) -> str:
    """A run folder that says of its data what a run does."""
    folder.mkdir()
    (folder / "config.yaml").write_text(f"model: m\ndata: {data}\n")
    (folder / "model").symlink_to(model)
    about = {"task": "text-classification", "model": {"id": "m"}, "data": {"columns": columns or {}}}
    (folder / "environment.json").write_text(json.dumps(about))
    return str(folder)


def test_a_run_reads_other_data_as_it_read_its_own(model: Path, scores: np.ndarray, tmp_path: Path) -> None:
    """The columns that it was told, and those that it found, before a column with a usual name."""
    told = as_run(tmp_path / "told", model, "{path: d.csv, columns: {text: story, label: verdict}, on_error: skip}")
    found = as_run(tmp_path / "found", model, "d.csv", {"text": "story", "label": "verdict"})
    file = tmp_path / "rows.csv"
    lines = [f"{at},x,{TEXTS[at]},{LABELS[TRUTH[at]]}" for at in range(6)]
    file.write_text("id,text,story,verdict\n" + "\n".join(lines) + "\n")
    accuracy = (scores.argmax(-1) == TRUTH).mean()
    for run in (told, found):
        for each in predict(run, str(file)), predict(run, {"path": str(file)}):
            assert np.allclose([[row["scores"][name] for name in LABELS] for row in each], scores, atol=1e-5)
            assert list(each[2]) == ["row", "file", "id", "text", "story", "verdict", "label", "score", "scores"]
            assert (each[2]["id"], each[2]["story"], each[2]["verdict"]) == (2, TEXTS[2], LABELS[TRUTH[2]])
            assert each[2]["row"] == 2 and each[2]["file"] == f"{file}, line 4"
        measured_ = evaluate(run, str(file))
        assert measured_["metrics"]["accuracy"]["value"] == pytest.approx(accuracy)
        assert measured_["split"] == "all"  # nobody calls these rows train
    x = predict(told, {"path": str(file), "columns": {"text": "text"}})
    assert x[0]["scores"] == pytest.approx(x[5]["scores"], abs=1e-5)  # every text is "x": what is said wins
    with pytest.raises(ConfigError, match="there is no column 'story'"):
        (tmp_path / "bare.csv").write_text("text\nfine\n")
        predict(told, str(tmp_path / "bare.csv"))
    assert len(predict(found, str(tmp_path / "bare.csv"))) == 1  # found, not told: then by its usual name


def test_rows_that_are_left_out_do_not_shift_the_others(model: Path, scores: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(f"label,text,score\n7,{TEXTS[0]},a\n7,,b\n8,{TEXTS[2]},c\n")
    first, third = predict(str(model), {"path": str(file), "on_error": "skip"})
    assert (first["row"], third["row"], third["file"]) == (0, 2, f"{file}, line 4")
    assert (third["data.score"], third["data.label"], third["text"]) == ("c", 8, TEXTS[2])
    assert third["label"] == LABELS[scores[2].argmax()] and third["score"] == pytest.approx(scores[2].max(), abs=1e-5)
    with pytest.raises(DataError, match=r"line 3: the text is (missing|empty)"):
        predict(str(model), str(file))


def test_evaluate_of_a_run_alone_is_of_its_held_out_rows(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    lines = [f"{TEXTS[at % 6]} {'very ' * (at // 6)},{LABELS[TRUTH[at % 6]]}" for at in range(30)]
    file.write_text("text,label\n" + "\n".join(lines) + "\n")
    found = evaluate(as_run(tmp_path / "run", model, str(file)))
    assert (found["split"], found["samples"]) == ("validation", 3)  # as the run cut them
    assert [sum(row) for row in found["confusion_matrix"]] == [1, 1, 1]
    with pytest.raises(ConfigError, match="data: missing; say which, such as --data"):
        evaluate(str(model))


def test_settings_of_data_have_an_effect(model: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(f"text\n{TEXTS[1]}\n")
    (cut,) = predict(str(model), {"path": str(tmp_path / "rows.csv"), "preprocessing": {"max_length": 4}})
    (short,) = predict(str(model), "a very")
    assert cut["scores"] == pytest.approx(short["scores"], abs=1e-6)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([Path("photo.png")], r"photo.png: is a file, expected a text, or a table of texts"),
        (["good", ""], r"input 1: found '', expected a text"),
        (["good", "  "], r"input 1: found '  '"),
        ([3], r"input 0: found 3, expected a text"),
        (["good", {"text": "x"}], r"input 1: found \{'text': 'x'\}, expected a text"),
        ([{"text": "a"}, {"txt": "b"}], r"input 1: .*"),
        ([{"text": "a", "score": "b"}], r"input 0: text-classification reads 'text', 'text_pair', not 'score'"),
        ([{"text": ""}], r"input 0: text is '', expected a text"),
        ([{"text": None}], r"input 0: text is None"),
        ([{"text_pair": "x"}], r"input 0: text is None, expected a text"),
    ],
)
def test_inputs_that_are_no_texts(inputs: Any, said: str, model: Path) -> None:
    with pytest.raises(DataError, match=said):
        predict(str(model), inputs)


def test_a_task_that_reads_two_things_asks_for_both(tmp_path: Path) -> None:
    from transformers import BertForQuestionAnswering

    BertForQuestionAnswering(bert_classifier().config).save_pretrained(tmp_path)
    tiny_tokenizer(tmp_path)
    with pytest.raises(DataError, match=r"input 0: question-answering reads 'question', 'context' together: a mapping"):
        predict(str(tmp_path), "is it good")


def test_predict_reads_images_and_refuses_what_is_none(tmp_path: Path) -> None:
    model = tiny_vit(tmp_path / "vit", labels=3)
    image = Image.new("RGBA", (40, 36), (200, 30, 30, 255))
    image.save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    of_path, of_text, of_image = predict(str(model), [tmp_path / "a.png", str(tmp_path / "a.png"), image])
    for other in (of_text, of_image):  # the place in a batch changes the last bits
        assert of_path["scores"] == pytest.approx(other["scores"], abs=1e-6)
    for wrong, kind, said in (
        (tmp_path / "c.png", DataError, r"c.png': there is no such image file"),
        (tmp_path / "b.png", DataError, r"b.png: cannot be read as an image"),
        (3, ConfigError, r"'3': expected the path of an image or a PIL image"),
        ("http://127.0.0.1:9/x.jpg", DataError, r"is an address; only files are read: download it"),
    ):
        with pytest.raises(kind, match=said):
            predict(str(model), [wrong])
    (tmp_path / "b.png").unlink()
    (tmp_path / "new" / "violet").mkdir(parents=True)  # a class that the model does not know
    image.convert("RGB").save(tmp_path / "new" / "violet" / "1.png")
    Image.new("RGB", (40, 36), (9, 9, 9)).save(tmp_path / "new" / "violet" / "0.png")
    black, red = predict(str(model), str(tmp_path / "new"))
    assert [Path(each["file"]).name for each in (black, red)] == ["0.png", "1.png"]
    assert red["scores"] == pytest.approx(of_path["scores"], abs=1e-6) and red["data.label"] == "violet"


def test_a_run_folder_prepares_inputs_as_it_was_trained(model: Path, tmp_path: Path) -> None:
    """A run that cut texts at 4 tokens reads `[CLS] a very [SEP]` of a longer one."""
    (tmp_path / "config.yaml").write_text("model: m\ndata: {path: d, preprocessing: {max_length: 4}}\n")
    (tmp_path / "model").symlink_to(model)
    (cut,) = predict(str(tmp_path), TEXTS[1])
    (short,) = predict(str(model), "a very")
    (whole,) = predict(str(model), TEXTS[1])
    assert cut["scores"] == pytest.approx(short["scores"], abs=1e-6)
    assert cut["scores"] != pytest.approx(whole["scores"], abs=1e-4)


def test_a_finished_model_is_in_float32_and_an_adapter_has_its_own_labels(model: Path, tmp_path: Path) -> None:
    """Of a base in half precision with three labels, an adapter with two of its own."""
    BertForSequenceClassification.from_pretrained(model, dtype=torch.float16).save_pretrained(tmp_path / "base")
    tiny_tokenizer(tmp_path / "base")
    loaded, _, context = finished(str(tmp_path / "base"))
    assert loaded.dtype == torch.float32 and not loaded.training and context.labels == LABELS
    adapter = tmp_path / "adapter"
    adapted = random_adapter(tmp_path / "base", adapter, ("good", "bad"))
    loaded, task, context = finished(str(adapter))
    assert (task.name, context.labels, loaded.dtype) == ("text-classification", ("good", "bad"), torch.float32)
    ids = BertTokenizer.from_pretrained(adapter)(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(loaded(**ids).logits, adapted(**ids).logits, atol=1e-5)
