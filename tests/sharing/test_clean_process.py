"""What the clean process does, in this one: which lines are run with what, and what cannot be loaded."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from hf_tl.sharing import clean_process
from tests.tiny import bert_classifier, random_adapter, tiny_tokenizer


def request(**changed: Any) -> dict[str, Any]:
    return {
        "task": "text-classification", "auto_class": "AutoModelForSequenceClassification",
        "processor_class": "AutoTokenizer", "processor_argument": "tokenizer", "loads": False, "rows": [],
        "readers": {}, "lines": "found = [{'said': row['text'] + path} for row in rows]", "folder": ".",
        "torchvision": None, **changed,
    }  # fmt: skip


def job(path: object, **changed: Any) -> dict[str, Any]:
    return {"path": str(path), "base": None, "revision": None, "trust": False, **changed}


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    bert_classifier(hidden_dropout_prob=0.5).train().save_pretrained(folder)
    tiny_tokenizer(folder)
    return folder


def test_the_lines_get_rows_and_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clean_process, "load", lambda request, job: {"path": "loaded"})
    rows = [{"text": "a"}, {"text": "b"}]
    assert clean_process.answers(request(), job("x"), rows) == [{"said": "aloaded"}, {"said": "bloaded"}]
    assert clean_process.answers(request(loads=True), job("x"), rows) == [{"said": "ax"}, {"said": "bx"}]
    assert clean_process.answers(request(lines=None), job("x"), rows) == [{}, {}]


def test_an_adapter_that_loads_itself_lies_as_on_the_hub(tmp_path: Path) -> None:
    """Without the configuration of the whole model beside it, and on the base that is here."""
    for name in ("config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_text(name)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "path/to/b", "r": 8}')
    lines = (
        "import json, os\n"
        "found = [{'there': os.listdir(path), 'adapter': json.load(open(path + '/adapter_config.json'))}]"
    )
    for base, without in (("b", {"config.json"}), (None, set())):
        (found,) = clean_process.answers(request(loads=True, lines=lines), job(tmp_path, base=base), [{}])
        assert set(found["there"]) == {path.name for path in tmp_path.iterdir()} - without
        assert found["adapter"] == {"base_model_name_or_path": base or "path/to/b", "r": 8}


def test_stored_values_are_read_by_their_lines() -> None:
    lines = "def read(stored, folder):\n    return f'{folder}/{stored}'"
    rows = [{"image": "a.png", "text": "a.png"}, {"text": "b"}]
    assert clean_process.read(rows, {"image": lines}, Path("f")) == [
        {"image": "f/a.png", "text": "a.png"},
        {"text": "b"},
    ]


def test_a_model_is_loaded_in_float32_and_asked_without_dropout(classifier: Path) -> None:
    half = transformers.AutoModelForSequenceClassification.from_pretrained(classifier, dtype=torch.float16)
    half.save_pretrained(classifier)
    pipe = clean_process.load(request(), job(classifier))["pipe"]
    assert pipe.task == "text-classification" and pipe.model.dtype == torch.float32 and not pipe.model.training
    found = clean_process.load(request(task="no-pipeline"), job(classifier))
    assert set(found) == {"model", "processor"} and not found["model"].training
    assert found["model"].dtype == torch.float32 and "input_ids" in found["processor"]("the film")


def test_weights_that_are_missing_or_of_another_size(classifier: Path) -> None:
    weights = load_file(classifier / "model.safetensors")
    head = weights.pop("classifier.weight")
    save_file(weights, classifier / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"^weights are missing: classifier.weight$"):
        clean_process.load(request(task="no-pipeline"), job(classifier))
    save_file(
        {**weights, "classifier.weight": head, "more": head + 1}, classifier / "model.safetensors", {"format": "pt"}
    )
    clean_process.load(request(task="no-pipeline"), job(classifier))


def test_pickles_are_not_read(classifier: Path) -> None:
    state = load_file(classifier / "model.safetensors")
    (classifier / "model.safetensors").unlink()
    torch.save(state, classifier / "pytorch_model.bin")
    for task in ("text-classification", "no-pipeline"):
        with pytest.raises((OSError, ValueError)):
            clean_process.load(request(task=task), job(classifier))
    with pytest.raises(ValueError, match="a pickle is to be loaded"):
        clean_process.no_pickles("x", weights_only=True)


def test_each_model_answers_or_says_why_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """All that the process sets is set here for a while: no hf_tl, no torchvision, no pickles."""
    seen: list[Any] = []

    def answers(request: Any, job: Any, rows: Any) -> Any:
        seen.append((torch.load, sys.modules["hf_tl"], sys.modules["torchvision"], torch.is_grad_enabled(), rows))
        if job["path"] == "bad":
            raise OSError("first line\nsecond line")
        return [{"score": torch.tensor(0.5)}]

    monkeypatch.setattr(clean_process, "answers", answers)
    monkeypatch.setattr(torch, "load", torch.load)
    monkeypatch.setitem(sys.modules, "hf_tl", sys.modules["hf_tl"])
    monkeypatch.setitem(sys.modules, "torchvision", None)
    logger, state = transformers.utils.logging, torch.get_rng_state()
    verbosity, bars = logger.get_verbosity(), logger.is_progress_bar_enabled()
    asked = request(rows=[{"text": "a"}], jobs=[job("bad"), job("good")], folder=str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(asked)))
    sys.modules["torchvision"] = torch  # something that imports
    try:
        clean_process.main()
        assert torch.initial_seed() == 0 and logger.get_verbosity() == 40 and not logger.is_progress_bar_enabled()
    finally:
        logger.set_verbosity(verbosity)
        (logger.enable_progress_bar if bars else logger.disable_progress_bar)()
        torch.set_rng_state(state)
    line = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(line.removeprefix(clean_process.MARK)) == [
        {"error": "OSError: first line"},
        {"found": [{"score": 0.5}]},
    ]
    assert seen == [(clean_process.no_pickles, None, None, False, [{"text": "a"}])] * 2


@pytest.mark.parametrize("piped", [True, False])
def test_an_adapter_is_laid_upon_its_base(piped: bool, classifier: Path, tmp_path: Path) -> None:
    """Of other labels than its base: its own configuration counts, and its own head."""
    adapter = tmp_path / "adapter"
    adapted = random_adapter(classifier, adapter, ("a", "b"))
    task = "text-classification" if piped else "no-pipeline"
    found = clean_process.load(request(task=task), job(adapter, base=str(classifier)))
    model = found["pipe"].model if piped else found["model"]
    ids = torch.tensor([[2, 5, 6, 7, 3]])
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, adapted(ids).logits, atol=1e-5)
    assert model.config.id2label == {0: "a", 1: "b"} and not model.training
    if piped:
        assert found["pipe"].task == "text-classification" and found["pipe"]("the film")[0]["label"] in ("a", "b")


def test_what_an_adapters_base_is_loaded_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """At its commit, without code of its own, in float32 from safetensors; generation settings are the adapter's."""
    import peft

    seen: dict[str, Any] = {}
    made = SimpleNamespace(generation_config="the base's", eval=lambda: made)

    def from_pretrained(path: str, **options: Any) -> Any:
        seen[path] = options
        return made

    for auto in (transformers.AutoModelForSequenceClassification, transformers.AutoTokenizer):
        monkeypatch.setattr(auto, "from_pretrained", from_pretrained)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda path, **options: (path, options))
    merged = SimpleNamespace(merge_and_unload=lambda: made)
    monkeypatch.setattr(peft.PeftModel, "from_pretrained", lambda base, path: merged)
    asked = request(task="no-pipeline")
    found = clean_process.load(asked, job(tmp_path, base="bob/base", revision="c0ffee", trust=True))
    assert found["model"] is made and made.generation_config == "the base's"  # the adapter has none
    own, code = str(tmp_path), {"trust_remote_code": True}
    assert seen == {
        own: code,
        "bob/base": {
            "config": (own, code), "ignore_mismatched_sizes": True, "revision": "c0ffee", "trust_remote_code": False,
            "dtype": torch.float32, "use_safetensors": True,
        },
    }  # fmt: skip
    (tmp_path / "generation_config.json").write_text('{"max_new_tokens": 7}')
    clean_process.load(asked, job(tmp_path, base="bob/base"))
    assert made.generation_config.max_new_tokens == 7
    assert seen[own] == {"trust_remote_code": False} and seen["bob/base"]["revision"] is None
