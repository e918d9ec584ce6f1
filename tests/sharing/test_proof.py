"""Nothing is shared that does not predict, loaded elsewhere, what was measured: every task, and what can go wrong."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hf_tl
from hf_tl.data.kinds import main_kind
from hf_tl.errors import ProofError
from hf_tl.run import Run
from hf_tl.sharing import proof
from hf_tl.sharing.proof import card_lines
from hf_tl.task import Task, all_tasks
from tests.anything import one_of_each, tiny_data, tiny_model
from tests.hub.server import RunningHub
from tests.sharing.test_push import TOKEN, command
from tests.tiny import colour_folder, declare_torchvision_operators, sentiment_csv, tiny_bert, tiny_vit

declare_torchvision_operators()


def trained(folder: Path, method: str = "full", task: Task | None = None, kind: str = "text", **more: Any) -> Run:
    """A run of a few steps, on text or images, or of any task."""
    if task is not None:
        model, data = tiny_model(task, folder / "model"), tiny_data(task, folder / "data")
    elif kind == "text":
        model, data = tiny_bert(folder / "model"), sentiment_csv(folder / "reviews.csv")
    else:
        model, data = tiny_vit(folder / "model"), colour_folder(folder / "data")
    return hf_tl.finetune(
        task=task.name if task else None,
        model=str(model),
        data={"path": str(data), "validation": 0.25, "preprocessing": {"augment": "none"}},
        method=method,
        output=str(folder / "run"),
        training={"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 2e-2, "bf16": False},
        **more,
    )


FAST = one_of_each(all_tasks(), lambda task: (main_kind(task).name == "image", task.inference.snippet is None))


@pytest.mark.parametrize(
    ("task", "method"),
    [
        pytest.param(task, method, id=f"{task.name}-{method}", marks=() if task.name in FAST else pytest.mark.slow)
        for task in all_tasks()
        for method in ("lora", "full")
        if method in task.methods and (method == "lora" or task.name not in FAST)
    ],
)
def test_every_task_is_proved(task: Task, method: str, tmp_path: Path) -> None:
    run = trained(tmp_path, method, task)
    known = json.loads((run.folder / "proof" / "answers.json").read_text(encoding="utf-8"))
    if task.inference.proof is not None:
        assert 1 <= len(known["rows"]) == len(known["answers"]) <= 8
    proof.prove(run)
    assert run.state["proof"] and run.stage == "reported"


@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.name)
def test_the_proof_runs_the_lines_of_the_card(task: Task) -> None:
    """What a card tells its readers to run is what was proved: the same definitions, the same arguments."""
    assert (task.inference.snippet is None) == (task.inference.example == "")
    if task.inference.proof is None:
        return
    lines = card_lines(task) or ""
    if task.inference.snippet is not None:
        assert lines.startswith(task.inference.snippet.replace("{model}", 'path, device="cpu"')) and lines.endswith(
            task.inference.proof
        )
        defined = [node.name for node in ast.parse(lines).body if isinstance(node, ast.FunctionDef)]
        for name in defined:
            assert f"{name}(" in task.inference.proof and f"{name}(" in task.inference.example
    else:
        assert f", {task.inference.pipeline_kwargs})" in lines if task.inference.pipeline_kwargs else "pipe(" in lines


def test_a_task_with_a_pipeline_says_what_it_is_called_with() -> None:
    from transformers.pipelines import get_supported_tasks

    assert not [
        task.name for task in all_tasks() if task.name in get_supported_tasks() and task.inference.proof is None
    ]


def spoil_head(model: Path) -> str:
    """One tensor of the head, its sign turned."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(model / "model.safetensors")
    tensors["classifier.weight"] = -tensors["classifier.weight"]
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    return "model.safetensors has changed (classifier.weight)"


def shuffle_labels(model: Path) -> str:
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["id2label"] = {"0": config["id2label"]["1"], "1": config["id2label"]["0"]}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return "config.json has changed (id2label)"


def drop_processor(model: Path) -> str:
    (model / "preprocessor_config.json").unlink()
    return "preprocessor_config.json is missing"


def drop_tokenizer(model: Path) -> str:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    return "tokenizer.json is missing"


def another_crop(model: Path) -> str:
    file = model / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "image_mean": [0.1, 0.1, 0.1]}), encoding="utf-8")
    return "preprocessor_config.json has changed"


CORRUPTIONS: list[tuple[str, Callable[[Path], str]]] = [
    ("text", spoil_head),
    ("image", shuffle_labels),
    ("image", drop_processor),
    ("text", drop_tokenizer),
    ("text", shuffle_labels),
    ("image", spoil_head),
    ("image", another_crop),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    return {kind: trained(tmp_path_factory.mktemp(kind), kind=kind) for kind in ("text", "image")}


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        pytest.param(kind, spoil, id=f"{kind}-{spoil.__name__}", marks=[pytest.mark.slow] if at > 2 else [])
        for at, (kind, spoil) in enumerate(CORRUPTIONS)
    ],
)
def test_what_is_spoiled_is_not_shared(
    kind: str, spoil: Callable[[Path], str], runs: dict[str, Run], tmp_path: Path, hub: RunningHub
) -> None:
    import shutil

    shutil.copytree(runs[kind].folder, tmp_path / "run")
    named = spoil(tmp_path / "run" / "model")
    if (kind, spoil) != CORRUPTIONS[2]:
        with pytest.raises(ProofError) as caught:
            proof.prove(Run(tmp_path / "run"))
        assert named in str(caught.value) and "\n" not in str(caught.value)
        return
    env = {**hub.env(TOKEN), "HF_TL_PROOF": "1"}
    done = command(env, "push", tmp_path / "run", "alice/spoiled", code=2)
    assert named in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert ("model", "alice/spoiled") not in hub.store.repos


@pytest.mark.slow
def test_proved_once_and_again_after_the_push(
    runs: dict[str, Run], tmp_path: Path, hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs["text"]
    proof.prove(run)
    monkeypatch.setattr(proof, "_results", lambda *_: pytest.fail("proved twice"))
    proof.prove(run)
    monkeypatch.undo()
    env = {**hub.env(TOKEN), "HF_TL_PROOF": "1"}
    command(env, "push", run.folder, "alice/fine")
    assert not list(run.folder.glob(".pushed-*"))
    assert not list(Path(env["HF_HOME"]).rglob("*.safetensors"))  # the user's own cache holds nothing of it
    # somebody else's commit between ours and the check would be seen
    hub.store.seed("model", "alice/fine", seeded(tmp_path, run))
    monkeypatch.setenv("HF_TL_PROOF", "1")
    with pytest.raises(ProofError, match="alice/fine at commit"):
        pushed_check(run, hub)


def seeded(folder: Path, run: Run) -> Path:
    other = folder / "other"
    other.mkdir()
    (other / "config.json").write_bytes((run.model / "config.json").read_bytes())
    shuffle_labels(other)
    return other


def pushed_check(run: Run, hub: RunningHub) -> None:
    from huggingface_hub import snapshot_download

    from hf_tl.hub.upload import Pushed

    commit = hub.store.repos["model", "alice/fine"].refs["main"]
    original = snapshot_download

    def download(id: str, **options: Any) -> str:
        return str(original(id, endpoint=hub.url, token=TOKEN, **options))

    import huggingface_hub

    huggingface_hub.snapshot_download = download
    try:
        proof.prove_pushed(run, Pushed("alice/fine", commit, "", ()))
    finally:
        huggingface_hub.snapshot_download = original


def test_an_adapter_is_proved_upon_its_base(tmp_path: Path, hub: RunningHub) -> None:
    run = trained(tmp_path, "lora")
    proof.prove(run)
    from safetensors.torch import load_file, save_file

    file = run.model / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("classifier.weight"))
    tensors[name] = -tensors[name]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ProofError, match=r"adapter: its predictions differ .*adapter_model.safetensors has"):
        proof.prove(run)


def test_training_ends_with_the_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TL_PROOF", "1")
    seen = []
    real = proof.compare
    monkeypatch.setattr(proof, "compare", lambda *words, **more: (seen.append(1), real(*words, **more)))
    run = trained(tmp_path, "frozen")
    assert seen == [1] and run.state["proof"]
    trained_again = Run(run.folder)
    spoil_head(trained_again.model)
    with pytest.raises(ProofError, match="classifier"):
        hf_tl.finetune(run.config)
    assert hf_tl.finetune(run.config, proof=False).stage == "reported"


def test_what_differs_is_named() -> None:
    ours = [{"scores": {"a": 0.9, "b": 0.1}, "label": "a", "boxes": [{"x": 10}]}]
    assert proof.difference(ours, [{"scores": {"a": 0.90005, "b": 0.1}}], 1e-4) is None
    assert proof.difference(ours, [{"boxes": [{"x": 11}]}], 1e-4) is None
    assert "row 0, scores a: 0.9 measured, 0.8 now" == proof.difference(ours, [{"scores": {"a": 0.8}}], 1e-4)
    assert "scores: a, b measured, c now" in str(proof.difference(ours, [{"scores": {"c": 0.8}}], 1e-4))
    assert "boxes: 1 measured, 0 now" in str(proof.difference(ours, [{"boxes": []}], 1e-4))
    assert 'label: "a" measured, "b" now' in str(proof.difference(ours, [{"label": "b"}], 1e-4))
    nan = float("nan")
    assert proof.difference([{"score": nan}], [{"score": nan}], 1e-4) is None
    assert proof.difference([{"score": nan}], [{"score": 0.0}], 1e-4)
