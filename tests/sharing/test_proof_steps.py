"""What a proof asks, of which copies, and in what surroundings; test_clean_process.py tests the process itself."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from hf_tl.config import hub_config
from hf_tl.errors import ConfigError, HubError, ModelError, ProofError
from hf_tl.hub.upload import Pushed, Target
from hf_tl.run_folder import RunFolder
from hf_tl.sharing import proof, push
from hf_tl.sharing.proof import ADAPTER_TOLERANCE, Copy

METRICS = {"split": "test", "samples": 2, "metrics": {"loss": {"value": 0.5, "low": 0.4, "high": 0.6}}}


@dataclass
class Summary:
    config: Any


PUSHED = Pushed("alice/x", "0123456789", "url", ())
KNOWN = {
    "task": "text-classification", "files": {"model.safetensors": "1"}, "tensors": {}, "configuration": {},
    "answers": [{}, {}], "rows": [{"text": "a"}],
}  # fmt: skip


def a_run(folder: Path, **state: Any) -> Any:
    (folder / "model").mkdir(exist_ok=True)
    run = SimpleNamespace(folder=folder, model=folder / "model", state=state, stage="measured")
    run.config = SimpleNamespace(model=SimpleNamespace(passed_through={}))
    run.reach = lambda stage, **values: run.state.update(values)
    return run


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is compared, in place of doing so: (copies, options)."""
    seen: list[Any] = []
    monkeypatch.setattr(proof, "compare", lambda run, copies, *rest, **options: seen.append((copies, options)))
    monkeypatch.setattr(proof, "_reference", lambda run: KNOWN)
    monkeypatch.setattr(proof, "allowed_code", lambda *words, **options: [])
    monkeypatch.setattr(proof, "hashes", lambda folder: {**KNOWN, "files": {"model.safetensors": "1", "new": "2"}})
    monkeypatch.setattr(proof, "read_part", lambda file: {"model": {"revision": f"of {file.name}"}})
    monkeypatch.setattr(proof, "base_of", lambda folder, own: ("bob/base", None))
    return seen


@pytest.mark.parametrize(
    ("asked", "switch", "wanted"), [(True, None, True), (True, "1", True), (True, "0", False), (False, None, False)]
)
def test_whether_a_proof_is_wanted(
    asked: bool, switch: str | None, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(proof.SWITCH, raising=False)
    if switch is not None:
        monkeypatch.setenv(proof.SWITCH, switch)
    assert proof.wanted(asked) is wanted


def adapter(folder: Path, **values: Any) -> None:
    folder.mkdir(exist_ok=True)
    config = {"peft_type": "LORA", "task_type": "SEQ_CLS", "base_model_name_or_path": "bob/base", **values}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file({"a": np.zeros(1, np.float32)}, folder / "adapter_model.safetensors")


def test_a_run_is_proved_once_for_the_same_files(
    compared: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tmp_path)
    key = proof.prove(run, remember=False)
    assert run.state == {} and [copy.path for copy in compared[0][0]] == [run.model]
    assert "the model predicts what was measured on 2 held-out rows." in capsys.readouterr().err
    assert proof.prove(run) == key == run.state["proof"] and len(compared) == 2
    assert capsys.readouterr().err.count("Proved: ") == 1
    assert proof.prove(run) == key and len(compared) == 2
    assert capsys.readouterr().err == ""  # this process did it
    monkeypatch.setattr(proof, "_proved", set())
    assert proof.prove(run) == key and len(compared) == 2
    assert "Not proved again: " in capsys.readouterr().err
    run.state["proof"] = "of other files"
    adapter(run.model / "adapter")
    proof.prove(run, trust=True)
    copies, options = compared[2]
    assert [copy.base for copy in copies] == [None, "bob/base"] and options == {"trust": True}
    assert copies[1].tolerance == ADAPTER_TOLERANCE
    assert "the model, and the adapter on its base, predicts" in capsys.readouterr().err


def test_files_that_have_changed_without_another_answer(
    compared: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tmp_path)
    monkeypatch.setattr(proof, "hashes", lambda folder: {**KNOWN, "files": {}})
    with pytest.raises(ConfigError, match=r"model\.safetensors is missing since it was measured, so its metrics"):
        proof.prove(run)
    assert run.state == {}


def test_what_was_pushed_is_proved_from_a_cache_of_its_own(
    compared: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole model, an adapter alone, and files that are no model."""
    seen: list[Any] = []
    there = tmp_path / "there"
    there.mkdir()

    def fetch(id: str, commit: str, what: str, cache: Any) -> Path:
        seen.append((id, commit, Path(cache).parent))
        return there

    monkeypatch.setattr(proof, "fetch", fetch)
    run = a_run(tmp_path)
    proof.prove_pushed(run, PUSHED)
    assert seen == [("alice/x", "0123456789", tmp_path)] and compared == []
    (there / "config.json").write_text("{}")
    proof.prove_pushed(run, PUSHED, trust=True)
    assert compared == [([Copy("alice/x at commit 01234567", there)], {"trust": True, "pinned": True})]
    adapter(there)
    proof.prove_pushed(run, PUSHED)
    assert compared[1][0] == [Copy("alice/x at commit 01234567", there, "bob/base", "of environment.json")]
    assert not list(tmp_path.glob(".pushed-*"))

    def gone(*words: Any, **options: Any) -> Path:
        raise HubError("no answer.")

    monkeypatch.setattr(proof, "fetch", gone)
    with pytest.raises(HubError, match=r"no answer\. Commit 01234567 is on the Hub, as its hashes say"):
        proof.prove_pushed(run, PUSHED)


def test_adapters_that_can_be_proved(compared: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, folder = a_run(tmp_path), tmp_path / "adapter"
    assert proof.adapter_copy(run, folder, "it") is None
    adapter(folder)
    assert proof.adapter_copy(run, folder, "it") == Copy("it", folder, "bob/base", "of environment.json")
    monkeypatch.setattr(proof, "base_of", lambda folder, own: ("bob/base", "v1"))
    assert proof.adapter_copy(run, folder, "it") == Copy("it", folder, "bob/base", "v1")
    monkeypatch.setattr(proof, "base_of", lambda folder, own: (str(tmp_path), "v1"))
    assert proof.adapter_copy(run, folder, "it") == Copy("it", folder, str(tmp_path), None)
    run.config.model.passed_through["quantization_config"] = {"load_in_4bit": True}
    assert proof.adapter_copy(run, folder, "it") is None
    run.config.model.passed_through.clear()
    (folder / "adapter_model.safetensors").unlink()  # a pickle is none
    with pytest.raises(ModelError, match=r"it holds no adapter_model\.safetensors"):
        proof.adapter_copy(run, folder, "it")


def test_the_clean_process_has_clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def run(command: list[str], **options: Any) -> Any:
        seen.append((command, options))
        return SimpleNamespace(stdout='noise\nRESULT[]\nRESULT[{"found": [NaN]}]\n', stderr="", returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    for name in ("RANK", "LOCAL_RANK", "HF_TL_CACHE", "ACCELERATE_USE_CPU"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("STAYS", "1")
    found = proof._answered(a_run(tmp_path), {"jobs": []}, tmp_path)
    assert str(found) == "[{'found': [nan]}]"  # of the last line
    ((command, options),) = seen
    assert command[1] == "-c" and "def answers(" in command[2] and options["input"] == '{"jobs": []}'
    environment = options["env"]
    assert (
        not {"RANK", "LOCAL_RANK", "HF_TL_CACHE", "ACCELERATE_USE_CPU"} & set(environment)
        and environment["STAYS"] == "1"
    )
    assert (environment["HF_HUB_OFFLINE"], environment["CUDA_VISIBLE_DEVICES"], environment["PYTHONSAFEPATH"]) == (
        "1",
        "",
        "1",
    )
    assert environment["HF_MODULES_CACHE"] == str(tmp_path / "modules") and options["cwd"] == tmp_path


@pytest.mark.parametrize(
    ("stderr", "said"), [("a\nlast words\n", "ended early (last words)"), ("", "ended early (exit code -9)")]
)
def test_a_clean_process_that_ends_early(
    stderr: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = SimpleNamespace(stdout="", stderr=stderr, returncode=-9)
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: done)
    with pytest.raises(ProofError) as caught:
        proof._answered(a_run(tmp_path), {}, tmp_path)
    assert said in str(caught.value)

    def late(*words: Any, **options: Any) -> Any:
        raise subprocess.TimeoutExpired("x", options["timeout"])

    monkeypatch.setattr(subprocess, "run", late)
    with pytest.raises(ProofError, match="the proof took more than 60 minutes"):
        proof._answered(a_run(tmp_path), {}, tmp_path)


def test_what_the_clean_process_is_told(compared: list[Any], tmp_path: Path) -> None:
    run = a_run(tmp_path)
    told = proof.request_for(run, {**KNOWN, "configuration": {"model_type": "bert"}})
    assert told["task"] == "text-classification" and told["auto_class"] == "AutoModelForSequenceClassification"
    assert (told["processor_class"], told["processor_argument"]) == ("AutoTokenizer", "tokenizer")
    assert told["rows"] == [{"text": "a"}] and told["folder"] == str((tmp_path / "proof").resolve())
    assert told["torchvision"] is None and told["loads"] is False and "pipe(" in told["lines"]
    timm = proof.request_for(run, {**KNOWN, "configuration": {"model_type": "timm_wrapper"}})
    assert "def declare_torchvision_operators" in timm["torchvision"]


def test_an_adapter_beside_whole_weights_is_refused(compared: list[Any], tmp_path: Path) -> None:
    run = a_run(tmp_path)
    adapter(run.model)
    with pytest.raises(ProofError, match=r"it: an adapter_config\.json lies beside whole weights"):
        proof._results(run, [Copy("it", run.model)], KNOWN, False, False)


@pytest.mark.parametrize(("asked", "proved"), [(None, True), (True, True), (False, False)])
def test_a_run_folder_does_not_leave_out_the_proof_of_a_push(
    asked: bool | None, proved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else may have written its `proof: false`."""
    monkeypatch.delenv(proof.SWITCH, raising=False)
    (tmp_path / "config.yaml").write_text("model: bob/base\ndata: bob/data\nproof: false\n")
    (tmp_path / "state.json").write_text('{"stage": "measured"}')
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    run, seen = RunFolder(tmp_path), []
    assert run.config.proof is False
    monkeypatch.setattr(push, "check_kept", lambda run: {})
    monkeypatch.setattr(push, "check_target", lambda hub: Target("alice/x", True, None))
    monkeypatch.setattr(push, "read_summary", lambda folder: Summary(run.config))
    monkeypatch.setattr(push, "card_of", lambda summary: "")
    monkeypatch.setattr(push, "merged_card", lambda *_: tmp_path / "README.md")
    monkeypatch.setattr(push, "_figures", lambda *_: {})
    monkeypatch.setattr(push, "push_folder", lambda *_, **__: seen.append("sent") or PUSHED)
    monkeypatch.setattr(push, "prove", lambda *_, **__: seen.append("proved before") or "key")
    monkeypatch.setattr(push, "prove_pushed", lambda *_, **__: seen.append("proved after"))
    push.push(run, hub_config(id="alice/x"), proof=asked)
    assert seen == (["proved before", "sent", "proved after"] if proved else ["sent"])


def test_the_lines_that_are_proved_are_those_of_the_card() -> None:
    """On the CPU, where the answers were found; a task with a pipeline has the pipeline's lines alone."""
    similar = proof.get_task("sentence-similarity")
    lines = proof.card_lines(similar) or ""
    assert 'model = SentenceTransformer(path, device="cpu")' in lines and lines.endswith(str(similar.inference.proof))
    text = proof.get_task("text-classification")
    assert proof.card_lines(text) == text.inference.proof
    assert proof._loads_itself(similar) and not proof._loads_itself(text)
