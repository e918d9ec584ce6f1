"""No token leaves where it lives, and nothing runs that was not asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hf_tl.config import load_config
from hf_tl.errors import ConfigError, HfTlError, HubError, redact
from tests.hub.server import RunningHub
from tests.tiny import sentiment_csv, tiny_bert

TOKEN = "hf_test_alice"
"""What the test Hub knows; below, planted in the environment, in login files and in what others say."""
REAL = "hf_" + "a1B2" * 8
"""As the Hub's tokens are written."""


def run(env: dict[str, str], *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hf_tl", *map(str, words)], capture_output=True, text=True, env=env, timeout=300
    )


def everything_below(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("place", ["environment", "login"])
def test_a_planted_token_is_found_nowhere(place: str, hub: RunningHub, tmp_path: Path) -> None:
    """Trained, pushed, refused with the token echoed, asked with --debug: it stands in no file and no line."""
    home = tmp_path / "person"
    home.mkdir()
    (home / ".netrc").write_text(f"machine 127.0.0.1 login alice password {TOKEN}\n")
    (home / ".git-credentials").write_text(f"https://alice:{TOKEN}@huggingface.co\n")
    env = {**hub.env(TOKEN if place == "environment" else None), "HOME": str(home), "WANDB_API_KEY": TOKEN}
    if place == "login":
        (tmp_path / "test-hub" / "home").mkdir(parents=True)
        (tmp_path / "test-hub" / "home" / "token").write_text(TOKEN)
        (tmp_path / "test-hub" / "home" / "stored_tokens").write_text(f"[alice]\nhf_token = {TOKEN}\n")
    work = tmp_path / "work"
    work.mkdir()
    base, data = tiny_bert(work / "base"), sentiment_csv(work / "reviews.csv")
    said = [
        run(
            env, "train", "--model", base, "--data", data, "--method", "lora", "--output", work / "run", "--push",
            "alice/reviews", "training.max_steps=2", "--debug",
        )
    ]  # fmt: skip
    assert said[0].returncode == 0, said[0].stderr[-2000:]
    hub.faults.plan("POST .*/commit/", 403, **{"X-Error-Message": f"the token {TOKEN} may not write"})
    said.append(run(env, "push", work / "run", "alice/other", "--debug"))
    assert said[-1].returncode == 4
    said.append(run(env, "doctor", "--json"))
    said.append(run(env, "verify", "alice/reviews", "--data", data))
    assert said[-1].returncode == 0, said[-1].stderr
    for done in said:
        assert TOKEN not in done.stdout + done.stderr
    written = {**everything_below(work), **everything_below(tmp_path / "test-hub" / "hub")}
    assert any(file.name == "report.html" for file in written) and any("blobs" in file.parts for file in written)
    assert not [str(file) for file, content in written.items() if TOKEN.encode() in content]
    pushed = hub.files("alice/reviews")
    assert not [name for name, content in pushed.items() if TOKEN.encode() in content]


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"model": {"id": "m", "token": REAL}, "data": "d"}, "model.token"),
        ({"model": "m", "data": f"https://alice:{REAL}@huggingface.co/datasets/x/y"}, "data.path"),
        ({"model": "m", "data": ["a.csv", REAL]}, "data.path"),
        ({"model": "m", "data": "d", "training": {"hub_token": REAL}}, "training.hub_token"),
        ({"model": "m", "data": "d", "hub": {"id": "a/b", "commit_message": f"by {REAL}"}}, "hub.commit_message"),
    ],
)
def test_no_token_in_a_configuration(values: dict[str, object], place: str) -> None:
    """It would be written to disk, and from there to the card."""
    with pytest.raises(ConfigError) as caught:
        load_config(values)
    assert str(caught.value).startswith(f"{place}: holds a token") and REAL not in str(caught.value)


def test_exceptions_hold_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "not-of-the-usual-form")
    for error in (HfTlError(f"a {REAL}"), HubError("b not-of-the-usual-form")):
        assert str(error) in ("a hf_...", "b hf_...")
    assert redact("hf_tl and hf_hub_download stay") == "hf_tl and hf_hub_download stay"


def planted(folder: Path, text: str) -> Path:
    """A checkpoint that would write a file when it is unpickled."""
    code = f"import pickle,os\nclass A:\n  def __reduce__(self): return (os.system, ('touch {folder}/{text}',))\n"
    weights = folder / text
    subprocess.run(
        [sys.executable, "-c", f"{code}open({str(weights) + '.bin'!r}, 'wb').write(pickle.dumps(A()))"], check=True
    )
    return weights.with_suffix(".bin")


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    """Neither a model's nor an adapter's, which PEFT would take where there is no other."""
    base = tiny_bert(tmp_path / "base")
    data = sentiment_csv(tmp_path / "reviews.csv")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(base), "peft_type": "LORA", "target_modules": ["query"]})
    )
    planted(adapter, "adapter_model")
    broken = tiny_bert(tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    planted(broken, "pytorch_model")
    import hf_tl
    from hf_tl.errors import ModelError

    for model, words in ((adapter, "only 'adapter_model.bin'"), (broken, "only 'pytorch_model.bin'")):
        with pytest.raises(ModelError, match=f"{words}, which can run code when loaded.*safetensors only"):
            hf_tl.finetune(model=str(model), data=str(data), output=str(tmp_path / "run"))
        with pytest.raises(ModelError, match=words):
            hf_tl.predict(str(model), ["a film"])
    assert not [file for file in (adapter / "adapter_model", broken / "pytorch_model") if file.exists()]


def test_trusted_code_is_the_models_own(tmp_path: Path) -> None:
    """`trust_remote_code` trusts the commit that is loaded, not whatever another repository holds by then."""
    import hf_tl
    from hf_tl.errors import ModelError

    base, data = tiny_bert(tmp_path / "base"), sentiment_csv(tmp_path / "reviews.csv")
    config = json.loads((base / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mallory/code--configuration.Mine"}}
    (base / "config.json").write_text(json.dumps(config))
    options = {"data": str(data), "output": str(tmp_path / "run")}
    with pytest.raises(ModelError, match="names code in 'mallory/code', which no revision pins"):
        hf_tl.finetune(model={"id": str(base), "trust_remote_code": True}, **options)
    config |= {"auto_map": {"AutoConfig": "configuration.Mine"}}
    (base / "config.json").write_text(json.dumps(config))
    (base / "configuration.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match=r"runs only with model\.trust_remote_code=true"):
        hf_tl.finetune(model=str(base), **options)
    assert not (tmp_path / "ran").exists()
