"""No code of somebody else runs that was not trusted, and what was trusted is that code and no other."""

from __future__ import annotations

import ast
import builtins
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hf_tl
from hf_tl.errors import ConfigError, HfTlError, ModelError, ProofError
from hf_tl.models import trusted
from hf_tl.models.custom import own_source
from hf_tl.run import Run
from hf_tl.sharing import proof
from hf_tl.sharing.staged import stage
from tests.hub.server import RunningHub
from tests.sharing.test_push import TOKEN, command
from tests.tiny import sentiment_csv, tiny_bert

PACKAGE = Path(hf_tl.__file__).parent
SETTINGS: dict[str, Any] = {
    "data": {"validation": 0.25, "preprocessing": {"augment": "none"}},
    "training": {"max_steps": 3, "per_device_train_batch_size": 4, "learning_rate": 2e-2, "bf16": False},
}


def trained(folder: Path, method: str = "full", model: dict[str, Any] | None = None, **more: Any) -> Run:
    data = sentiment_csv(folder / "reviews.csv", rows=40)
    given = {"id": str(folder / "base"), **(model or {})}
    if not (folder / "base").exists():
        tiny_bert(folder / "base")
    return hf_tl.finetune(
        model=given, data={"path": str(data), **SETTINGS["data"]}, method=method, output=str(folder / "run"),
        training=SETTINGS["training"], **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with one of hf_tl's own heads, for copying."""
    folder = tmp_path_factory.mktemp("own")
    trained(folder, "frozen", {"pooling": "mean"})
    return folder / "run"


@pytest.fixture
def attacked(own: Path, tmp_path: Path) -> tuple[Path, Path]:
    """(a copy of the run, a file that hostile code would write)."""
    shutil.copytree(own, tmp_path / "copy")
    return tmp_path / "copy", tmp_path / "ran"


def hostile(file: Path, marker: Path) -> None:
    """Code that leaves a trace as soon as it is imported."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f"open({str(marker)!r}, 'w').close()\nfrom transformers import *\n"
        "class Evil(PreTrainedConfig):\n    model_type = 'evil'\n"
    )


def change(file: Path, **values: Any) -> None:
    said = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(said | values))


def other_module(model: Path, marker: Path) -> None:
    hostile(model / "evil.py", marker)
    change(
        model / "config.json", auto_map={"AutoConfig": "evil.Evil", "AutoModelForSequenceClassification": "evil.Evil"}
    )


def in_a_subfolder(model: Path, marker: Path) -> None:
    hostile(model / "deep" / "evil.py", marker)
    change(model / "config.json", auto_map={"AutoConfig": "deep/evil.Evil"})


def changed_copy(model: Path, marker: Path) -> None:
    hostile(model / "modeling_hf_tl.py", marker)


def beside_a_true_copy(model: Path, marker: Path) -> None:
    (model.parent / "modeling_hf_tl.py").write_bytes(own_source())
    other_module(model, marker)


def of_the_tokenizer(model: Path, marker: Path) -> None:
    hostile(model / "deep" / "evil.py", marker)
    change(
        model / "tokenizer_config.json", auto_map={"AutoTokenizer": ["deep/evil.Evil", None]}, tokenizer_class="Evil"
    )


def of_the_backbone(model: Path, marker: Path) -> None:
    hostile(model / "deep" / "evil.py", marker)
    said = json.loads((model / "config.json").read_text())["backbone"]
    change(model / "config.json", backbone={**said, "auto_map": {"AutoModel": "deep/evil.Evil"}})


def elsewhere(model: Path, marker: Path) -> None:
    hostile(model.parent.parent / "evil.py", marker)
    change(model / "config.json", auto_map={"AutoConfig": f"{model.parent.parent}/evil.Evil"})


def of_another_configuration(model: Path, marker: Path) -> None:
    """Transformers reads the one of the newest version that it can, wherever it lies."""
    hostile(model / "deep" / "evil.py", marker)
    change(model / "deep" / "config.4.0.0.json", **json.loads((model / "config.json").read_text()))
    change(model / "deep" / "config.4.0.0.json", auto_map={"AutoConfig": f"{model}/deep/evil.Evil"}, model_type="evil")
    change(model / "config.json", configuration_files=["deep/config.4.0.0.json"])


def of_the_pipeline(model: Path, marker: Path) -> None:
    hostile(model / "deep" / "evil.py", marker)
    change(
        model / "config.json",
        custom_pipelines={
            "text-classification": {"impl": "deep/evil.Evil", "pt": ["AutoModelForSequenceClassification"]}
        },
    )


ATTACKS: list[Callable[[Path, Path], None]] = [
    other_module, in_a_subfolder, changed_copy, beside_a_true_copy, of_the_tokenizer, of_the_backbone, elsewhere,
    of_the_pipeline, of_another_configuration,
]  # fmt: skip


def predict(run: Path) -> None:
    hf_tl.predict(str(run / "model"), ["a good film"])


def predict_run(run: Path) -> None:
    hf_tl.predict(str(run), ["a good film"])


def evaluate(run: Path) -> None:
    hf_tl.evaluate(str(run), str(run.parent / "reviews.csv"))


def show(run: Path) -> None:
    import transformers

    from hf_tl.sharing.demo import describe_demo
    from hf_tl.sharing.demo_app import app_source

    described = describe_demo(str(run))
    assert not described.trust
    (line,) = [line for line in app_source(described).splitlines() if line.startswith("pipe = ")]
    names = {"pipeline": transformers.pipeline, "MODEL": described.model}
    exec(line, names)
    assert names["pipe"]("a good film")[0]["label"]


def verify(run: Path) -> None:
    from hf_tl.sharing.verify import verify

    verify(str(run), str(run.parent / "reviews.csv"))


def push(run: Path) -> None:
    proof.prove(Run(run))


def go_on(run: Path) -> None:
    """The run as a pretrained model, trained further."""
    trained(run.parent, "frozen", {"id": str(run)})


USES: list[Callable[[Path], None]] = [predict, predict_run, evaluate, verify, push, go_on]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("use", USES, ids=lambda each: each.__name__)
def test_a_folder_like_ours_runs_nothing(
    attack: Callable[[Path, Path], None], use: Callable[[Path], None], attacked: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Whatever its files say: our class comes from the installed package, and nothing else runs."""
    run, marker = attacked
    sentiment_csv(run.parent / "reviews.csv", rows=40)
    attack(run / "model", marker)
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("a question on standard input"))
    try:
        use(run)
    except HfTlError as error:
        assert use is push or attack in (of_the_tokenizer, of_another_configuration), error
        assert "Traceback" not in str(error)
    assert not marker.exists()


def test_our_own_head_needs_no_trust_and_travels_on(own: Path, tmp_path: Path) -> None:
    """Loaded by the installed class without its file, trained further, and saved with the file for others."""
    alone = tmp_path / "base"
    shutil.copytree(own / "model", alone)
    (alone / "modeling_hf_tl.py").unlink()
    change(alone / "config.json", auto_map={"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"})
    before, after = (hf_tl.predict(str(model), ["a good film"])[0]["scores"] for model in (own, alone))
    assert before == after
    run = trained(tmp_path, "full")
    assert (run.model / "modeling_hf_tl.py").read_bytes() == own_source()
    assert json.loads((run.model / "config.json").read_text())["auto_map"] == {
        "AutoConfig": "modeling_hf_tl.TransferConfig",
        "AutoModelForSequenceClassification": "modeling_hf_tl.TransferForSequenceClassification",
    }
    proof.prove(run)
    assert run.state["proof"]


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (changed_copy, "modeling_hf_tl.py is not that of this hf_tl"),
        (other_module, "auto_map of config.json names other classes"),
        (of_the_backbone, r"name code of others \(deep/evil.Evil\)"),
        (of_the_pipeline, r"name code of others \(deep/evil.Evil\)"),
        (of_the_tokenizer, r"name code of others \(deep/evil.Evil\)"),
    ],
)
def test_what_is_not_ours_is_not_proved(
    attack: Callable[[Path, Path], None], words: str, attacked: tuple[Path, Path]
) -> None:
    run, marker = attacked
    attack(run / "model", marker)
    with pytest.raises(ProofError, match=words):
        proof.prove(Run(run))
    assert not marker.exists()


def test_files_that_run_are_not_part_of_the_proof(attacked: tuple[Path, Path]) -> None:
    """Code that nothing names, pickles that a library would prefer: the clean process does not see them."""
    run, marker = attacked
    for name in ("transformers.py", "torch.py", "sitecustomize.py", "sub/torch.py"):
        hostile(run / "model" / name, marker)
    (run / "model" / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n(S'touch x'\ntR.")
    os.symlink(run / "model" / "torch.py", run / "model" / "evil.so")
    proof.prove(Run(run))
    assert not marker.exists()


def test_what_the_clean_process_sees(tmp_path: Path) -> None:
    """Data, and as code no more than is allowed: a copy of it, or our own file."""
    model = tmp_path / "model"
    data = ["config.json", "model.safetensors", "sub/vocab.txt"]
    code = ["a.py", "sub/b.py", "a.pyc", "c.so", "pytorch_model.bin", "x.pkl", "sub/y.pt", ".hidden", ".git/config"]
    for name in (*data, *code):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text(name)

    def seen(allowed: dict[str, str] | None) -> tuple[bool, list[str]]:
        into = Path(tempfile.mkdtemp(dir=tmp_path))
        trust = stage(model, into, allowed)
        return trust, sorted(file.relative_to(into).as_posix() for file in into.rglob("*") if file.is_file())

    assert seen({}) == (False, data)
    assert seen({"sub/b.py": "its hash"}) == (True, sorted([*data, "sub/b.py"]))
    assert seen(None) == (True, sorted([*data, "modeling_hf_tl.py"]))


def test_the_clean_process_reads_no_pickle(tmp_path: Path) -> None:
    from hf_tl.sharing import clean_process

    code = Path(clean_process.__file__).read_text(encoding="utf-8").partition('if __name__ == "__main__"')[0]
    lines = f"{code}\nimport io, torch\nbuffer = io.BytesIO()\ntorch.save({{}}, buffer)\nbuffer.seek(0)\n"
    request = {"torchvision": None, "jobs": [{"path": ".", "base": None}], "rows": [], "folder": ".", "loads": True}
    request |= {"lines": "import torch\nfound = [torch.load('x.bin')]", "readers": {}}
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{lines}main()"], input=json.dumps(request), capture_output=True, text=True,
        cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert "only safetensors are read" in done.stdout, done.stderr


@pytest.mark.parametrize("attack", [None, *ATTACKS], ids=lambda each: getattr(each, "__name__", "none"))
def test_a_demo_here_runs_our_class_and_a_space_our_file(
    attack: Callable[[Path, Path], None] | None, attacked: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here nothing is trusted; a Space, which has no hf_tl, trusts one commit, and that only where it is ours."""
    from hf_tl.sharing import demo

    run, marker = attacked
    state = json.loads((run / "state.json").read_text())
    pushed = {"stage": "pushed", "commit": "c" * 40, "pushed": {"id": "alice/x", "merge": None, "revision": None}}
    (run / "state.json").write_text(json.dumps(state | pushed))
    if attack is not None:
        attack(run / "model", marker)
    asked = []
    monkeypatch.setattr(demo, "fetch_model", lambda *words: (asked.append(words), (run / "model", "c" * 40))[1])
    if attack not in (of_another_configuration, of_the_tokenizer, of_the_pipeline):  # refused
        show(run)
    if attack is None:
        described = demo.describe_demo(str(run), shared=True)
        assert described.trust and described.revision == "c" * 40 and asked == [("alice/x", "c" * 40)]
    else:
        with pytest.raises(ModelError, match=r"a Space would run it|configuration_files"):
            demo.describe_demo(str(run), shared=True)
    assert not marker.exists()


# -- somebody else's code ---------------------------------------------------------------------------------------------

CONFIGURATION = """from transformers import BertConfig


class MineConfig(BertConfig):
    model_type = "mine"
"""
MODELING = """from transformers import BertForSequenceClassification, BertModel

from .configuration_mine import MineConfig
from .parts import trace


class MineModel(BertModel):
    config_class = MineConfig


class MineForSequenceClassification(BertForSequenceClassification):
    config_class = MineConfig

    def __init__(self, config):
        super().__init__(config)
        trace()
"""
PARTS = """import os


def trace():
    with open(os.environ.get("TRACE", os.devnull), "a") as file:
        file.write(__file__ + chr(10))
"""
AUTO_MAP = {
    "AutoConfig": "configuration_mine.MineConfig",
    "AutoModel": "modeling_mine.MineModel",
    "AutoModelForSequenceClassification": "modeling_mine.MineForSequenceClassification",
}


def foreign(folder: Path, **values: Any) -> Path:
    """A BERT with modelling code of its own, which notes where it runs."""
    tiny_bert(folder)
    (folder / "configuration_mine.py").write_text(CONFIGURATION)
    (folder / "modeling_mine.py").write_text(MODELING)
    (folder / "parts.py").write_text(PARTS)
    change(folder / "config.json", **{"model_type": "mine", "auto_map": AUTO_MAP, **values})
    return folder


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))
    return tmp_path / "trace"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on a model with code, which its configuration trusts."""
    folder = tmp_path_factory.mktemp("theirs")
    foreign(folder / "base")
    trained(folder, "full", {"trust_remote_code": True})
    return folder / "run"


def test_what_was_trusted_is_recorded(theirs: Path) -> None:
    base, run = theirs.parent / "base", Run(theirs)
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in base.glob("*.py")}
    assert len(files) == 3
    assert json.loads((theirs / "environment.json").read_text())["model"]["code"] == {"commit": None, "sha256": files}
    assert {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in run.model.glob("*.py")} == files
    card = (theirs / "README.md").read_text()
    assert "trust_remote_code=True" in card and all(digest in card for digest in files.values())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora", "frozen"])
def test_trusted_code_goes_all_the_way(
    method: str, tmp_path: Path, hub: RunningHub, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained, measured, proved and pushed, recorded by hash; loaded by others from what was pushed alone."""
    base = foreign(tmp_path / "base")
    monkeypatch.setenv("HF_TL_PROOF", "1")
    run = trained(tmp_path, method, {"trust_remote_code": True})
    assert run.state["proof"] and trace.exists()
    files = {name: hashlib.sha256((base / name).read_bytes()).hexdigest() for name in
             ("configuration_mine.py", "modeling_mine.py", "parts.py")}  # fmt: skip
    recorded = json.loads((run.folder / "environment.json").read_text())["model"]["code"]
    assert recorded == {"commit": None, "sha256": files}
    saved = json.loads((run.model / "config.json").read_text())
    assert saved["auto_map"]["AutoModelForSequenceClassification"] == AUTO_MAP["AutoModelForSequenceClassification"]
    assert not [name for name, _ in trusted.code_references("m", run.model) if "--" in name]
    for name, digest in files.items():
        assert hashlib.sha256((run.model / name).read_bytes()).hexdigest() == digest
    card = (run.folder / "README.md").read_text()
    assert "trust_remote_code=True" in card and "brings the code of its pretrained model" in card
    assert "model_code" in card and files["parts.py"] in card
    env = {**hub.env(TOKEN), "HF_TL_PROOF": "1"}
    refused = command(env, "push", run.folder, "alice/mine", code=2).stderr
    assert "--trust-remote-code allows it" in refused and "config.json" in refused
    assert not hub.store.repos.get(("model", "alice/mine"))
    command(env, "push", run.folder, "alice/mine", "--trust-remote-code")
    assert hub.files("alice/mine")["parts.py"] == PARTS.encode()
    reader = hub.env(TOKEN, home="reader")
    refused = command(reader, "predict", "alice/mine", "a good film", code=2).stderr
    assert "brings its own code" in refused
    command(reader, "predict", "alice/mine", "a good film", "--trust-remote-code")


@pytest.mark.parametrize("use", [predict, predict_run, evaluate, verify, push, show], ids=lambda each: each.__name__)
def test_a_run_folder_does_not_say_what_is_trusted(
    use: Callable[[Path], None], theirs: Path, tmp_path: Path, trace: Path
) -> None:
    """`model.trust_remote_code` in the configuration of somebody else's run is data."""
    assert Run(theirs).config.model.trust_remote_code
    shutil.copytree(theirs, tmp_path / "copy")
    sentiment_csv(tmp_path / "reviews.csv", rows=40)
    with pytest.raises(
        (ModelError, ConfigError), match=r"brings its own code|names code of its own|runs code of its own"
    ):
        use(tmp_path / "copy")
    assert not trace.exists()


def test_a_run_folder_runs_with_the_users_word(theirs: Path, trace: Path) -> None:
    found = hf_tl.predict(str(theirs), ["a good film"], trust_remote_code=True)
    assert found[0]["label"] in ("negative", "positive") and trace.exists()
    proof.prove(Run(theirs), trust=True)


def test_code_that_was_changed_since_is_not_measured(tmp_path: Path, trace: Path) -> None:
    """Going on with a run: its model has to hold the very code that the pretrained model brings."""
    foreign(tmp_path / "base")
    run = trained(tmp_path, "full", {"trust_remote_code": True})
    hostile(run.model / "modeling_mine.py", tmp_path / "ran")
    state = json.loads((run.folder / "state.json").read_text())
    (run.folder / "state.json").write_text(json.dumps(state | {"stage": "saved"}))
    with pytest.raises(ModelError, match=r"modeling_mine\.py: not the code of the pretrained model that was trusted"):
        hf_tl.finetune(run.config)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("options", [{"model": {"pooling": "mean"}}, {"model": {"head": "mlp"}}, {"hub": "merge"}])
def test_what_cannot_work_is_said_before_training(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign(tmp_path / "base")
    monkeypatch.setattr("hf_tl.commands.train.fit", lambda *_: pytest.fail("training began"))
    monkeypatch.setattr("hf_tl.commands.train.check_target", lambda hub: hub)
    more: dict[str, Any] = {"hub": {"id": "a/b", "merge": False}} if "hub" in options else {}
    model = {"trust_remote_code": True, **options.get("model", {})}
    with pytest.raises(ConfigError, match=r"leave them out|share the merged model"):
        trained(tmp_path, "lora", model, **more)


@pytest.mark.parametrize("adapter", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_an_adapter_with_our_head_is_shared_merged(
    adapter: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LoRA below a head of ours: the merged model is proved; the adapter alone nobody could load."""
    if adapter:
        monkeypatch.setattr("hf_tl.commands.train.check_target", lambda hub: hub)
        with pytest.raises(ConfigError, match="share the merged model"):
            trained(tmp_path, "lora", {"pooling": "mean"}, hub={"id": "a/b", "merge": False})
        return
    run = trained(tmp_path, "lora", {"pooling": "mean"})
    proof.prove(run)
    both = [hf_tl.predict(str(each), ["a good film"])[0]["scores"] for each in (run.model, run.model / "adapter")]
    assert both[0] == pytest.approx(both[1], abs=1e-5)


# -- pinned --------------------------------------------------------------------------------------------------------

SELF = "bob/base--configuration_mine.MineConfig"


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("config.json", {"auto_map": {**AUTO_MAP, "AutoConfig": SELF}}),
        ("config.json", {"auto_map": {"AutoConfig": "mallory/code--evil.Evil"}}),
        ("config.json", {"text_config": {"auto_map": {"AutoModel": SELF}}}),
        ("config.json", {"custom_pipelines": {"text-classification": {"impl": SELF}}}),
        ("config.5.0.0.json", {"auto_map": {"AutoConfig": SELF}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": [None, SELF]}}),
        ("tokenizer_config.json", {"auto_map": [SELF, None]}),
        ("processor_config.json", {"image_processor": {"auto_map": {"AutoImageProcessor": SELF}}}),
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": SELF}}),
        ("video_preprocessor_config.json", {"auto_map": {"AutoVideoProcessor": SELF}}),
        ("config.json", {"auto_map": {"AutoConfig": "/tmp/evil.Evil"}}),
        ("config.json", {"auto_map": {"AutoConfig": "../evil.Evil"}}),
        ("config.json", {"auto_map": {"AutoConfig": ["a.b.c"]}}),
    ],
)
def test_trusted_code_is_that_of_the_folder(file: str, values: dict[str, Any], tmp_path: Path) -> None:
    """Named by its own repository's id it would be that one's main by then, whatever was pinned."""
    base = foreign(tmp_path / "base")
    change(base / file, **values)
    with pytest.raises(ModelError, match=r"which no revision pins|expected module\.Class"):
        trained(tmp_path, "full", {"trust_remote_code": True})


@pytest.mark.parametrize("name", ["parts.py", "deep/parts.py"])
def test_a_link_out_of_the_folder_is_not_its_code(name: str, tmp_path: Path) -> None:
    base = foreign(tmp_path / "base")
    hostile(tmp_path / "evil.py", tmp_path / "ran")
    (base / name).parent.mkdir(exist_ok=True)
    (base / name).unlink(missing_ok=True)
    (base / name).symlink_to(tmp_path / "evil.py")
    with pytest.raises(ModelError, match=r"parts\.py of .* is a link to"):
        trained(tmp_path, "full", {"trust_remote_code": True})
    assert not (tmp_path / "ran").exists()


def test_the_commit_pins_the_code(tmp_path: Path, hub: RunningHub) -> None:
    """`main` has gone on to other code since."""
    marker = tmp_path / "ran"
    hub.seed_model("bob/base", foreign(tmp_path / "base"))
    first = hub.store.repos["model", "bob/base"].refs["main"]
    hostile(tmp_path / "base" / "modeling_mine.py", marker)
    hub.seed_model("bob/base", tmp_path / "base")
    data = sentiment_csv(tmp_path / "reviews.csv", rows=40)
    command(
        hub.env(TOKEN), "train", "--model", "bob/base", "--data", data, "--output", tmp_path / "run",
        f"model.revision={first}", "model.trust_remote_code=true", "training.max_steps=2",
    )  # fmt: skip
    assert not marker.exists()
    assert (tmp_path / "run" / "model" / "modeling_mine.py").read_text() == MODELING
    recorded = json.loads((tmp_path / "run" / "environment.json").read_text())["model"]["code"]
    assert recorded["commit"] == first and set(recorded["sha256"]) >= {"modeling_mine.py", "parts.py"}


def adapter_upon(base: Path, folder: Path, **values: Any) -> Path:
    """A LoRA adapter without any weights of note."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    said = {"peft_type": "LORA", "base_model_name_or_path": str(base), "target_modules": ["query"], "r": 2}
    (folder / "adapter_config.json").write_text(json.dumps(said | values))
    save_file({"x": torch.zeros(1)}, folder / "adapter_model.safetensors")
    return folder


def test_an_adapters_base_is_not_trusted_with_it(tmp_path: Path, trace: Path) -> None:
    base = foreign(tmp_path / "base")
    for inner in (foreign(tmp_path / "inner"), base):
        adapter = adapter_upon(inner, tmp_path / f"adapter-{inner.name}")
        shutil.copy(base / "config.json", adapter)
        for name in ("configuration_mine.py", "modeling_mine.py", "parts.py"):
            shutil.copy(base / name, adapter)
        with pytest.raises(ModelError, match=r"the base of an adapter brings its own code|brings its own code"):
            hf_tl.predict(str(adapter), ["a good film"], trust_remote_code=True)
        with pytest.raises(ModelError, match="brings its own code"):
            hf_tl.predict(str(adapter), ["a good film"])
    assert not trace.exists()


def test_an_adapter_upon_an_adapter_is_refused(tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "base")
    inner = adapter_upon(base, tmp_path / "inner")
    shutil.copy(base / "config.json", inner)
    with pytest.raises(ModelError, match="is an adapter too"):
        hf_tl.predict(str(adapter_upon(inner, tmp_path / "outer")), ["a good film"])


@pytest.mark.parametrize(
    "values",
    [
        {"peft_type": "XLORA", "adapters": {"0": "mallory/x"}},
        {"megatron_config": {"a": 1}, "megatron_core": "antigravity"},
        {"peft_type": "PROMPT_TUNING", "tokenizer_name_or_path": "mallory/x"},
        {"peft_type": "MULTITASK_PROMPT_TUNING", "prompt_tuning_init_state_dict_path": "x.bin"},
    ],
)
def test_an_adapter_names_its_base_alone(values: dict[str, Any], tmp_path: Path) -> None:
    adapter = adapter_upon(tiny_bert(tmp_path / "base"), tmp_path / "adapter", **values)
    with pytest.raises(ModelError, match="names further things to load"):
        hf_tl.predict(str(adapter), ["a good film"])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"attn_implementation": "mallory/kernel"}, "compiled code of the Hub"),
        ({"_attn_implementation": "mallory/kernel@main:x"}, "compiled code of the Hub"),
        ({"model_type": "timm_wrapper", "architecture": "hf-hub:mallory/x"}, "expected a name of timm"),
        ({"model_type": "timm_wrapper", "architecture": "local-dir:/tmp/x"}, "expected a name of timm"),
        (
            {"model_type": "timm_wrapper", "architecture": "vgg11", "model_args": {"checkpoint_path": "/x.npz"}},
            "timm load further files",
        ),
        ({"backbone": {"model_type": "timm_wrapper", "architecture": "hf-hub:m/x"}}, "expected a name of timm"),
        ({"backbone_config": {"model_type": "timm_backbone", "backbone": "hf-hub:m/x"}}, "expected a name of timm"),
    ],
)
def test_configurations_that_load_more_are_refused(values: dict[str, Any], words: str, tmp_path: Path) -> None:
    change(tiny_bert(tmp_path / "base") / "config.json", **values)
    with pytest.raises(ModelError, match=words):
        hf_tl.predict(str(tmp_path / "base"), ["a good film"])


def test_configurations_beside_an_adapter_are_looked_at_too(tmp_path: Path) -> None:
    adapter = adapter_upon(tiny_bert(tmp_path / "base"), tmp_path / "adapter")
    (adapter / "config.json").write_text('{"model_type": "bert", "attn_implementation": "mallory/kernel"}')
    with pytest.raises(ModelError, match="compiled code of the Hub"):
        hf_tl.predict(str(adapter), ["a good film"])


def test_a_tokenizer_with_code_says_so(tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "base")
    hostile(base / "evil.py", tmp_path / "ran")
    change(base / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]}, tokenizer_class="Evil")
    change(base / "config.json", model_type="bert")
    data = sentiment_csv(tmp_path / "reviews.csv")
    for name in ("tokenizer.json", "vocab.txt"):
        (base / name).unlink(missing_ok=True)
    with pytest.raises(ModelError, match=r"the tokenizer of .* cannot be loaded|does not fit"):
        hf_tl.finetune(model=str(base), data=str(data), output=str(tmp_path / "run"))
    assert not (tmp_path / "ran").exists()


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of Transformers' own class, beside code that its files name as well, as many on the Hub are."""
    from transformers import BertConfig, BertForSequenceClassification

    base = tiny_bert(tmp_path_factory.mktemp("stock") / "base")
    BertForSequenceClassification(BertConfig.from_pretrained(base, num_labels=2)).save_pretrained(base)
    hostile(base / "evil.py", base.parent / "ran")
    change(base / "config.json", auto_map={"AutoModelForSequenceClassification": "evil.M", "AutoModel": "evil.M"})
    change(base / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]})
    return base


@pytest.mark.parametrize(
    ("method", "model"), [("full", {}), ("scratch", {}), ("lora", {}), ("frozen", {"pooling": "mean"})]
)
def test_code_beside_a_model_of_transformers_is_left_alone(
    method: str, model: dict[str, Any], stock: Path, tmp_path: Path
) -> None:
    """It does not run, and what is saved does not name it, so that it is proved without anybody's trust."""
    assert hf_tl.predict(str(stock), ["a good film"])[0]["label"] in ("LABEL_0", "LABEL_1")
    run = trained(tmp_path, method, {"id": str(stock), **model})
    named = {reference for _, reference in trusted.code_references("m", run.model)}
    ours = {"modeling_hf_tl.TransferConfig", "modeling_hf_tl.TransferForSequenceClassification"}
    assert named == (ours if model else set())
    if method == "lora":
        assert not trusted.code_references("m", run.model / "adapter")
    assert not list(run.model.rglob("evil.py"))
    if method == "full":
        proof.prove(run)
    assert not (stock.parent / "ran").exists()


LOADERS = {"from_pretrained", "from_config", "pipeline", "SentenceTransformer"}
NO_CODE = {"GenerationConfig", "PeftModel", "PeftConfig"}
"""Classes that know no `trust_remote_code`."""


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_load_says_whether_code_is_trusted(file: Path) -> None:
    """With `None`, Transformers asks on standard input."""
    for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)
        owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        if name not in LOADERS or owner.rpartition(".")[2] in NO_CODE:
            continue
        said = [word.arg for word in call.keywords]
        unpacked = "options" in [ast.unparse(word.value) for word in call.keywords if word.arg is None]
        assert "trust_remote_code" in said or (unpacked and file.name == "clean_process.py"), ast.unparse(call)


def test_a_library_that_forgets_to_say_does_not_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoConfig

    from hf_tl.models.custom import register

    register()
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("a question on standard input"))
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        AutoConfig.from_pretrained(foreign(tmp_path / "base"))


# -- the current folder ------------------------------------------------------------------------------------------------

WINNERS = ("torch.py", "datasets.py", "numpy.py", "hf_tl/__init__.py", "transformers/__init__.py", "random.py")
"""What a library of these names in the current folder would shadow."""


@pytest.fixture
def trapped(tmp_path: Path) -> tuple[Path, Path]:
    """(a folder of modules that leave a trace when they are imported, that trace)."""
    folder, marker = tmp_path / "here", tmp_path / "ran"
    for name in WINNERS:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"open({str(marker)!r}, 'a').write(__name__ + ' ')\nraise SystemExit(77)\n")
    return folder, marker


@pytest.mark.slow
@pytest.mark.parametrize("installed", [True, False], ids=["installed", "a checkout"])
def test_processes_import_nothing_from_the_current_folder(
    installed: bool, trapped: tuple[Path, Path], tmp_path: Path
) -> None:
    """`--processes`, installed and from a checkout that no path but PYTHONPATH leads to."""
    folder, marker = trapped
    data, base = sentiment_csv(tmp_path / "reviews.csv", rows=40), tiny_bert(tmp_path / "base")
    script = "import sys; from hf_tl.cli import main; sys.exit(main())"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    if not installed:
        shutil.copytree(PACKAGE, tmp_path / "checkout" / "hf_tl", ignore=shutil.ignore_patterns("__pycache__"))
        script = f"import sys; sys.path.insert(0, {str(tmp_path / 'checkout')!r}); {script}"
    words = ["train", "--model", base, "--data", data, "--output", tmp_path / "run", "--processes", "2", "--json"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, *map(str, words), "training.max_steps=2", "proof=false"],
        capture_output=True, text=True, cwd=folder, env=env, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert not marker.exists()
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["processes"] == 2


def test_the_search_path_of_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the current folder, whichever way it would get there; this very package."""
    from hf_tl.cli.launch import safe_path

    monkeypatch.chdir(tmp_path)
    (tmp_path / "hf_tl").mkdir()
    (tmp_path / "hf_tl" / "__init__.py").write_text("raise SystemExit(77)")
    for before in (None, "", ":/usr/share", "sub:"):
        if before is None:
            monkeypatch.delenv("PYTHONPATH", raising=False)
        else:
            monkeypatch.setenv("PYTHONPATH", before)
        found = safe_path()
        code = "import hf_tl, sys; print(hf_tl.__file__); print(*sys.path, sep='\\n')"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **found}, timeout=60
        )
        origin, *entries = done.stdout.splitlines()
        assert Path(origin).parent == PACKAGE, done.stderr
        assert str(tmp_path) not in entries and "" not in entries
        assert (str(tmp_path / "sub") in entries) == (before == "sub:")


@pytest.mark.parametrize("words", [["-m", "hf_tl", "--help"], ["-m", "hf_tl", "tasks", "--json"]])
def test_the_module_imports_nothing_of_the_current_folder(
    words: list[str], trapped: tuple[Path, Path], tmp_path: Path
) -> None:
    """Python itself looks there for `hf_tl`; for nothing after that."""
    folder, marker = trapped
    shutil.rmtree(folder / "hf_tl")
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=folder, env=env, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "torch" not in (marker.read_text() if marker.exists() else "")


def test_the_clean_process_imports_nothing_of_the_current_folder(
    own: Path, trapped: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, marker = trapped
    shutil.copytree(own, tmp_path / "run")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", f":{os.environ.get('PYTHONPATH', '')}")
    proof.prove(Run(tmp_path / "run"))
    assert not marker.exists()


def test_recipes_import_nothing_of_the_current_folder(trapped: tuple[Path, Path]) -> None:
    folder, marker = trapped
    script = "import sys; from hf_tl.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, "recipes", "run", "text_classification_lora", "nonsense.key=1"],
        capture_output=True, text=True, cwd=folder, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr[-2000:]
    assert not marker.exists()


def test_a_metric_of_the_hub_is_not_the_current_folders(
    trapped: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_tl.metrics.hub_metrics import load_metric

    folder, marker = trapped
    for name in ("exact_match", "owner/metric"):
        hostile(folder / name / f"{name.rpartition('/')[2]}.py", marker)
        monkeypatch.chdir(folder)
        with pytest.raises(ConfigError, match=f"write ./{name} for that one"):
            load_metric(name)
    assert not marker.exists()
