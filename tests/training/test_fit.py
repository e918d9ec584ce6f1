"""What `fit` hands to whom, what it keeps over a resume, and what it says in the end."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.numpy import load_file
from transformers import BertForSequenceClassification, BertTokenizer, EarlyStoppingCallback, TrainerCallback

import hf_tl
from hf_tl.config import load_config
from hf_tl.errors import HfTlError, Stopped
from hf_tl.models.pretrained import Loaded
from hf_tl.run import Run
from hf_tl.task import Targets, TaskContext, get_task
from hf_tl.training import fit as module
from hf_tl.training.fit import some_rows
from tests.tiny import (
    bert_classifier,
    colour_folder,
    resnet_classifier,
    sentiment_csv,
    tiny_bert,
    tiny_mobilenet,
    tiny_tokenizer,
    tiny_vit,
)

TEXT = get_task("text-classification")


# Validation rows


@pytest.mark.parametrize(
    ("most", "chosen"),
    [(None, range(10)), (10, range(10)), (11, range(10)), (4, [0, 3, 6, 9]), (3, [0, 4, 9]), (1, [0])],
)  # fmt: skip
def test_some_rows_are_evenly_spaced(most: int | None, chosen: Any) -> None:
    context = TaskContext()
    found = some_rows(Dataset.from_dict({"at": list(range(10))}), most, context)
    assert found["at"] == list(chosen)
    assert len(context.notes) == (most is not None and most < 10)
    assert all(f"on {most} of the 10 validation rows" in note for note in context.notes)


# Regression


def regression(model: Any, kept: bool, labels: list[float], problem: str = "regression") -> tuple[float, float] | None:
    data = SimpleNamespace(
        targets=Targets(("value",), problem),
        columns={"label": "label"},
        splits={"train": Dataset.from_dict({"label": labels}), "validation": Dataset.from_dict({"label": [1e6]})},
    )
    return module._scale_targets(model, Loaded(model, ["classifier"], kept_head=kept), data)  # type: ignore[arg-type]


def test_targets_are_scaled_by_the_mean_and_deviation_of_train() -> None:
    model = bert_classifier(1)
    before = model.classifier.weight.clone()
    assert regression(model, False, [2.0, 4.0, 6.0, 8.0]) == (5.0, pytest.approx(math.sqrt(5)))
    assert torch.equal(model.classifier.weight, before)  # a new head knows nothing that could be scaled
    assert regression(model, False, [3.0, 3.0]) is None
    assert regression(model, False, [2.0, 4.0], "single_label_classification") is None
    assert regression(bert_classifier(2), False, [2.0, 4.0]) is None


def test_a_kept_head_starts_with_what_it_gave_before() -> None:
    """In the data's unit it gives y; scaled by mean 5 and deviation 3, (y - 5) / 3."""
    model = bert_classifier(1)
    x = torch.randn(4, 8)
    before = model.classifier(x).detach()
    assert regression(model, True, [2.0, 8.0]) == (5.0, 3.0)
    assert torch.allclose(model.classifier(x), (before - 5) / 3, atol=1e-6)


def numbers_csv(path: Path, rows: int = 40) -> Path:
    drawn = np.random.default_rng(0)
    lines = ["text,score"]
    for index in range(rows):
        good = index % 2
        lines.append(f"the film was {'good' if good else 'bad'},{(1000.5 if good else 20.25) + drawn.normal():.4f}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("method", ["full", "frozen", "lora"])
def test_a_regression_answers_in_the_datas_unit(method: str, tmp_path: Path) -> None:
    """Whatever the scale it trained in: the saved head has it folded in."""
    run = hf_tl.finetune(
        model=str(tiny_bert(tmp_path / "m")), data={"path": str(numbers_csv(tmp_path / "d.csv")), "validation": 0.25},
        method=method, output=str(tmp_path / "run"),
        training={"max_steps": 60, "learning_rate": 1e-2, "bf16": False, "eval_steps": 30, "eval_strategy": "steps"},
    )  # fmt: skip
    low, high = (each["score"] for each in run.predict(["the film was bad", "the film was good"]))
    assert (low + high) / 2 == pytest.approx(510.4, abs=60)
    if method != "frozen":  # a random backbone tells a head alone little
        assert low == pytest.approx(20.25, abs=60) and high == pytest.approx(1000.5, abs=60)
        assert run.metrics["metrics"]["r2"]["value"] > 0.9
    model = BertForSequenceClassification.from_pretrained(run.model)
    processor = BertTokenizer.from_pretrained(run.model)
    plain = model.eval()(**processor("the film was good", return_tensors="pt")).logits.item()
    assert plain == pytest.approx(high, rel=1e-4)


# Precision


def fake_run(folder: Path, **state: Any) -> Any:
    (folder / "config.yaml").write_text("model: m\ndata: d\n")
    run = Run(folder)
    run.reach("started", **state)
    return run


def precision(run: Any, **training: Any) -> tuple[str, str]:
    config = load_config({"model": "m", "data": "d", "training": training})
    batch = {"input_ids": torch.tensor([[2, 5, 3]]), "labels": torch.tensor([1])}
    found = module._precision(run, config, bert_classifier(), batch, TEXT, TaskContext())
    assert found.key == "precision"
    return found.value, found.reason


@pytest.mark.parametrize(
    ("given", "choice"),
    [({"bf16": True}, "bf16"), ({"fp16": True}, "fp16"), ({"bf16": False}, "fp32"), ({"fp16": False}, "fp32"),
     ({"bf16": False, "fp16": True}, "fp16")],
)  # fmt: skip
def test_a_given_precision_is_not_measured(
    given: dict[str, bool], choice: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "choose_precision", None)
    run = fake_run(tmp_path)
    assert precision(run, **given) == (choice, "as configured") and "precision" not in run.state


def test_precision_is_measured_once_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def choose(model: Any, inputs: Any, loss: Any) -> tuple[str, str]:
        seen.append((set(inputs), float(loss(model(**inputs)))))
        return "bf16", "it is fast"

    monkeypatch.setattr(module, "choose_precision", choose)
    run = fake_run(tmp_path)
    run.reach("trained")
    assert precision(run) == ("bf16", "it is fast") == precision(run)
    assert run.state == {"stage": "trained", "precision": ["bf16", "it is fast"]}
    assert len(seen) == 1 and seen[0][0] == {"input_ids"}
    logits = bert_classifier()(input_ids=torch.tensor([[2, 5, 3]])).logits
    assert seen[0][1] == pytest.approx(-logits.log_softmax(-1)[0, 1].item(), rel=1e-5)  # the task's loss


def test_several_processes_have_one_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "choose_precision", None)  # the main process has measured
    cpu = torch.device("cpu")
    state = SimpleNamespace(num_processes=2, is_main_process=False, device=cpu)
    monkeypatch.setattr(module, "process_state", lambda: state)
    monkeypatch.setattr(module, "broadcast_object_list", lambda answer: answer.__setitem__(0, ["bf16", "there"]))
    assert precision(fake_run(tmp_path)) == ("bf16", "there")


def test_attention_is_eager_for_bfloat16_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Loaded(bert_classifier(), [])

    def inside(precision: str, **options: Any) -> str:
        config = load_config({"model": {"id": "m", **options}, "data": "d"})
        with module._attention(config, loaded, precision):
            return str(loaded.model.config._attn_implementation)

    assert inside("bf16") == "eager" and inside("fp32") == "sdpa"
    assert inside("bf16", attn_implementation="sdpa") == "sdpa"
    state = SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setattr(module, "process_state", lambda: state)
    assert inside("bf16") == "sdpa"


def test_places_between_two_rows_go_to_the_nearer() -> None:
    assert some_rows(Dataset.from_dict({"a": list(range(11))}), 4, TaskContext())["a"] == [0, 3, 7, 10]


# What the trainer is given


def test_only_what_is_trained_on_is_prepared_for_training() -> None:
    """Validation rows are neither augmented nor hidden anew each epoch."""
    task: Any = SimpleNamespace(
        preprocess=lambda rows, context, training: (rows, training), collator=lambda context, training: training,
        defaults=SimpleNamespace(validation_rows=None),
    )  # fmt: skip
    data: Any = SimpleNamespace(splits={"train": [1, 2], "validation": [3]})
    found = module._prepare_datasets(load_config({"model": "m", "data": "d"}), data, task, TaskContext())
    assert found.train == ([1, 2], True) and found.validation == ([3], False)
    assert found.rows == [3] and found.collators == (True, False) and found.lengths is None


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reviews")
    tiny_bert(folder / "bert", dropout=0.1)
    tiny_tokenizer(folder / "bert")
    sentiment_csv(folder / "data.csv", rows=60)
    return folder


def seen_trainer(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """The trainer of a run, as it is when its training would begin."""

    class Enough(Exception):
        pass

    seen: list[Any] = []

    def stop(run: Run, trainer: Any) -> int:
        seen.append(trainer)
        raise Enough

    monkeypatch.setattr(module, "_train", stop)
    data = {"path": str(folder / "data.csv"), "validation": 0.2, **options.pop("data", {})}
    with pytest.raises(Enough):
        hf_tl.finetune(model=str(folder / "bert"), data=data, output=str(tmp_path / "run"), **options)
    return seen[0]


def callback(trainer: Any, kind: type[TrainerCallback]) -> Any:
    return next((each for each in trainer.callback_handler.callbacks if isinstance(each, kind)), None)


def test_the_trainer_has_lengths_collators_and_rows(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = seen_trainer(reviews, tmp_path, monkeypatch, training={"bf16": False})
    assert len(trainer.train_dataset) == 48 and len(trainer.eval_dataset) == 12
    assert trainer.lengths.tolist() == trainer.train_dataset["length"] and trainer.classes is None
    assert trainer.args.train_sampling_strategy == "group_by_length" and trainer.args.num_train_epochs == 20
    assert trainer.args.learning_rate == pytest.approx(5e-5 * 768 / 32) and not trainer.args.bf16
    assert callback(trainer, EarlyStoppingCallback) is None and callback(trainer, module.Unfreeze) is None
    outputs = [np.array([3.0, 0.0])] * 12  # always the first class, with what the rows say about that
    share = np.mean(np.array(trainer.eval_dataset["labels"]) == 0)
    assert trainer.measure(outputs, trainer.eval_dataset)["accuracy"] == pytest.approx(share)


def test_early_stopping_has_its_patience(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = {"bf16": False, "early_stopping_patience": 4, "early_stopping_threshold": 0.25}
    found = callback(seen_trainer(reviews, tmp_path, monkeypatch, training=training), EarlyStoppingCallback)
    assert (found.early_stopping_patience, found.early_stopping_threshold) == (4, 0.25)


@pytest.mark.parametrize(("batch", "accumulation", "steps"), [(16, 1, 3), (10, 1, 5), (5, 2, 5), (7, 1, 7), (48, 1, 1)])
def test_an_epoch_of_unfreezing_has_the_steps_of_an_epoch(
    batch: int, accumulation: int, steps: int, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """48 rows: 10 a step are 5 steps, of which the last is short."""
    trainer = seen_trainer(
        reviews, tmp_path, monkeypatch, method={"name": "full", "unfreeze": {0: "head", 1: "all"}},
        training={"bf16": False, "per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation},
    )  # fmt: skip
    found = callback(trainer, module.Unfreeze)
    assert found.steps_per_epoch == steps and [each.epoch for each in found.schedule] == [0, 1]
    train = [name for name, each in trainer.model.named_parameters() if each.requires_grad]
    assert train == ["classifier.weight", "classifier.bias"]


def test_balanced_sampling_knows_the_classes(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = seen_trainer(reviews, tmp_path, monkeypatch, data={"sampling": "balanced"}, training={"bf16": False})
    assert trainer.classes.tolist() == trainer.train_dataset["labels"]


def test_checkpoints_are_compared_on_so_many_rows(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = seen_trainer(reviews, tmp_path, monkeypatch, data={"validation_rows": 5}, training={"bf16": False})
    assert len(trainer.eval_dataset) == 5
    outputs = [np.array([0.0, 3.0])] * 5
    share = np.mean(np.array(trainer.eval_dataset["labels"]) == 1)
    assert trainer.measure(outputs, trainer.eval_dataset)["accuracy"] == pytest.approx(share)


def test_a_convolutional_network_is_one(tmp_path: Path) -> None:
    assert module._convolutional(Loaded(resnet_classifier(), ["classifier"]))
    assert not module._convolutional(Loaded(bert_classifier(), ["classifier"]))
    prepared = SimpleNamespace(train=[0] * 7, lengths=None)
    data = SimpleNamespace(labels=())
    task = SimpleNamespace(defaults=SimpleNamespace(batch_sizes=(3, 5)))
    found = module._workload(prepared, data, task, Loaded(resnet_classifier(), ["classifier"]))  # type: ignore[arg-type]
    assert (found.samples, found.classes, found.convolutional, found.hidden) == (7, 1, True, None)
    assert (found.has_lengths, found.processes, found.batch, found.eval_batch) == (False, 1, 3, 5)
    prepared.lengths, data.labels, task.defaults.batch_sizes = np.ones(7), ("a", "b"), None
    found = module._workload(prepared, data, task, Loaded(bert_classifier(), ["classifier"]))  # type: ignore[arg-type]
    assert (found.classes, found.convolutional, found.hidden, found.has_lengths) == (2, False, 8, True)
    assert (found.batch, found.eval_batch) == (None, 64)


# What comes out


def test_the_best_checkpoint_comes_back_and_is_said(reviews: Path, tmp_path: Path) -> None:
    """The loss rises to a peak of the rate that spoils everything: the best is not the last."""
    run = hf_tl.finetune(
        model=str(reviews / "bert"), data={"path": str(reviews / "data.csv"), "validation": 0.2},
        output=str(tmp_path / "run"),
        training={"max_steps": 12, "eval_strategy": "steps", "eval_steps": 3, "save_steps": 3, "save_total_limit": 9,
                  "bf16": False, "learning_rate": 0.2, "lr_scheduler_type": "constant", "warmup_steps": 0,
                  "metric_for_best_model": "loss"},
    )  # fmt: skip
    logs = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    losses = {log["step"]: log["eval_loss"] for log in logs if "eval_loss" in log}
    best = min(losses, key=lambda step: losses[step])
    train = run.metrics["train"]
    assert list(losses) == [3, 6, 9, 12] and train["best_step"] == best
    assert (train["steps"], train["resumed_from_step"]) == (12, 0) and train["epochs"] == pytest.approx(4)
    checkpoint = load_file(run.folder / "checkpoints" / f"checkpoint-{best}" / "model.safetensors")
    saved = load_file(run.model / "model.safetensors")
    assert all(np.array_equal(saved[name], value) for name, value in checkpoint.items())
    assert run.metrics["metrics"]["loss"]["value"] == pytest.approx(losses[best], abs=1e-4)
    head = 32 * 2 + 2
    assert train["trainable_parameters"] == train["total_parameters"] == sum(each.size for each in saved.values())
    frozen = hf_tl.finetune(
        model=str(reviews / "bert"), data=str(reviews / "data.csv"), method="frozen", output=str(tmp_path / "frozen"),
        training={"max_steps": 2, "bf16": False},
    )  # fmt: skip
    train = frozen.metrics["train"]
    assert (train["trainable_parameters"], train["total_parameters"]) == (
        head,
        sum(each.size for each in saved.values()),
    )
    file, after = load_file(reviews / "bert" / "model.safetensors"), load_file(frozen.model / "model.safetensors")
    assert all(np.array_equal(after[f"bert.{name}"], value) for name, value in file.items())
    assert np.abs(after["classifier.weight"]).max() > 0


# Resumed


def resumed(folder: Path, at: int, options: dict[str, Any]) -> tuple[Run, Run]:
    """A whole run, and one that was killed after checkpoint `at` and went on."""
    whole = hf_tl.finetune(**options, output=str(folder / "whole"))
    shutil.copytree(folder / "whole", folder / "cut")
    cut = folder / "cut"
    for path in (cut / "checkpoints").iterdir():
        if int(path.name.split("-")[1]) > at:
            shutil.rmtree(path)
    for name in ("model", "proof"):
        shutil.rmtree(cut / name)
    for name in ("metrics.json", "predictions.parquet", "report.html", "README.md", "environment.json"):
        (cut / name).unlink()
    (cut / "state.json").write_text('{"stage": "started"}')
    (cut / "config.yaml").write_text((cut / "config.yaml").read_text().replace(str(folder / "whole"), str(cut)))
    return whole, hf_tl.finetune(**options, output=str(cut))


STEPS = {
    "max_steps": 12,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "save_steps": 2,
    "save_total_limit": 9,
    "bf16": False,
}


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ({"name": "full"}, {}),
        ({"name": "full", "unfreeze": {0: "head", 1.2: "all"}}, {}),
        ({"name": "lora"}, {"gradient_accumulation_steps": 2}),
        ({"name": "frozen"}, {}),
        ({"name": "full"}, {"sampling": "balanced"}),
    ],
    ids=["full", "unfreezing", "lora", "frozen", "balanced"],
)
def test_a_run_goes_on_within_an_epoch_to_the_same_bits(
    method: dict[str, Any], more: dict[str, Any], reviews: Path, tmp_path: Path
) -> None:
    """7 steps an epoch; cut after step 4, the fifth step has the rows that it would have had."""
    sampling = more.pop("sampling", "natural")
    options = {
        "model": str(reviews / "bert"), "method": method,
        "data": {"path": str(reviews / "data.csv"), "validation": 0.2, "sampling": sampling},
        "training": {**STEPS, "per_device_train_batch_size": 7, "learning_rate": 1e-3, **more},
    }  # fmt: skip
    whole, cut = resumed(tmp_path, 4, options)
    assert cut.metrics["train"]["resumed_from_step"] == 4 and cut.metrics["train"]["steps"] == 12
    assert (whole.model / "model.safetensors").read_bytes() == (cut.model / "model.safetensors").read_bytes()
    logs = [(run.folder / "log.jsonl").read_text().splitlines() for run in (whole, cut)]
    steps = [[json.loads(line)["step"] for line in log] for log in logs]
    assert steps[0] == steps[1] == sorted(steps[0])


def test_augmented_images_go_on_to_the_same_bits(tmp_path: Path) -> None:
    tiny_mobilenet(tmp_path / "model")
    options = {
        "model": str(tmp_path / "model"), "data": str(colour_folder(tmp_path / "data", each=12)), "method": "full",
        "training": {**STEPS, "max_steps": 6, "per_device_train_batch_size": 8},
    }  # fmt: skip
    whole, cut = resumed(tmp_path, 4, options)
    assert cut.metrics["train"]["resumed_from_step"] == 4
    assert (whole.model / "model.safetensors").read_bytes() == (cut.model / "model.safetensors").read_bytes()


@pytest.mark.parametrize("stage", ["started", "trained"])
def test_a_training_that_early_stopping_ended_is_not_stepped_again(stage: str, reviews: Path, tmp_path: Path) -> None:
    options = {
        "model": str(reviews / "bert"), "data": {"path": str(reviews / "data.csv"), "validation": 0.2},
        "output": str(tmp_path / "run"),
        "training": {**STEPS, "early_stopping_patience": 2, "early_stopping_threshold": 10.0},
    }  # fmt: skip
    run = hf_tl.finetune(**options)
    before = (run.model / "model.safetensors").read_bytes()
    first = run.metrics["train"]
    assert first["steps"] == 6
    shutil.rmtree(run.model)
    (run.folder / "metrics.json").unlink()
    (run.folder / "state.json").write_text(json.dumps({"stage": stage}))
    again = hf_tl.finetune(**options)
    assert again.metrics["train"]["steps"] == 6 and again.metrics["train"]["best_step"] == first["best_step"]
    assert again.metrics["train"]["resumed_from_step"] == 6
    assert (again.model / "model.safetensors").read_bytes() == before


# How a training ends otherwise


def ends(tmp_path: Path, train: Any, **state: Any) -> Any:
    run = fake_run(tmp_path)
    trainer: Any = SimpleNamespace(
        callbacks=[], train=train, state=SimpleNamespace(global_step=3, max_steps=10, **state),
        args=SimpleNamespace(per_device_train_batch_size=6, gradient_accumulation_steps=2, eval_on_start=True),
    )  # fmt: skip
    trainer.add_callback = trainer.callbacks.append
    return run, trainer


def test_memory_that_does_not_suffice_halves_the_batch(tmp_path: Path) -> None:
    def train(resume_from_checkpoint: Any) -> None:
        raise torch.OutOfMemoryError

    run, trainer = ends(tmp_path, train)
    with pytest.raises(HfTlError, match=r"train_batch_size=3 training.gradient_accumulation_steps=4"):
        module._train(run, trainer)
    trainer.args.per_device_train_batch_size = 1
    with pytest.raises(HfTlError, match=r"train_batch_size=1 "):
        module._train(run, trainer)


def test_a_stop_is_said_where_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal after the last step, too: what follows may take longer than a scheduler waits."""

    def train(resume_from_checkpoint: Any) -> None:
        assert resume_from_checkpoint is None
        trainer.callbacks[-1].received = 15

    run, trainer = ends(tmp_path, train)
    with pytest.raises(Stopped, match=r"Stopped at step 3 of 10 with a checkpoint"):
        module._train(run, trainer)
    assert run.stage == "started" and trainer.args.eval_on_start
    trainer.state.global_step = 10
    assert module._train(run, trainer) == 0 and run.stage == "trained"  # no checkpoint of the last step
    run.reach("started")
    asked: list[Any] = []
    monkeypatch.setattr(module, "can_go_on", lambda *words: asked.append(words) or True)
    with pytest.raises(Stopped, match=r"Stopped at step 10 of 10 with a checkpoint"):
        module._train(run, trainer)
    assert run.stage == "started" and asked == [(run.folder / "checkpoints", 10, 10)]


def test_a_resumed_training_goes_on_without_evaluating_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []
    run, trainer = ends(tmp_path, lambda resume_from_checkpoint: seen.append(resume_from_checkpoint))
    monkeypatch.setattr(
        module, "last_checkpoint", lambda folder: (folder / "checkpoint-4", ["checkpoint-6 is skipped."])
    )
    monkeypatch.setattr(module, "steps_done", lambda checkpoint: (4, 10))
    assert module._train(run, trainer) == 4 and run.stage == "trained"
    assert seen == [str(tmp_path / "checkpoints" / "checkpoint-4")] and not trainer.args.eval_on_start
    said = capsys.readouterr().err
    assert "checkpoint-6 is skipped." in said and "Resuming from step 4 of 10." in said


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    def train(resume_from_checkpoint: Any) -> None:
        raise KeyboardInterrupt

    run, trainer = ends(tmp_path, train)
    with pytest.raises(Stopped, match="Stopped at once; the same command resumes"):
        module._train(run, trainer)
    assert run.stage == "started"


# What a pretrained head gives


def test_a_kept_classifier_goes_on_from_what_it_knows(tmp_path: Path) -> None:
    """A frozen head of as many labels starts from its weights, which a rate of nearly nothing leaves alone."""
    tiny_vit(tmp_path / "vit", labels=2)
    run = hf_tl.finetune(
        model=str(tmp_path / "vit"), data=str(colour_folder(tmp_path / "data")), method="frozen",
        output=str(tmp_path / "run"), training={"max_steps": 2, "bf16": False, "learning_rate": 1e-9},
    )  # fmt: skip
    before, after = (load_file(folder / "model.safetensors") for folder in (tmp_path / "vit", run.model))
    assert np.allclose(before["classifier.weight"], after["classifier.weight"], atol=1e-7)
