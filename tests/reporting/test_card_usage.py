"""The Python on a card runs as it stands, for every task: in a clean process with an empty cache, and with hf_tl."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hf_tl.task import Task, all_tasks, get_task
from tests.anything import tiny_data, tiny_model
from tests.hub.server import RunningHub

TOKEN = "hf_test_alice"
SHORT = (
    "training.max_steps=2",
    "training.per_device_train_batch_size=4",
    "training.bf16=false",
    "data.validation=0.25",
)
CASES = [
    pytest.param(task, kind, id=f"{task.name}-{kind}")
    for task in all_tasks()
    for kind in ("full", "adapter")
    if kind == "full" or "lora" in task.methods
]


def python_blocks(card: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", card, re.S | re.M)


def shared(hub: RunningHub, folder: Path, task: Task, *options: str, model: Path | None = None) -> str:
    """The card on the Hub of a short run on a base of the Hub, trained and pushed by one command."""
    hub.seed_model("bob/base", model or tiny_model(task, folder / "model"))
    done = subprocess.run(
        [
            sys.executable, "-m", "hf_tl", "train", "--task", task.name, "--model", "bob/base", "--data",
            str(tiny_data(task, folder / "data")), "--output", str(folder / "run"), *SHORT,
            "hub.id=alice/x", "hub.private=false", *options,
        ],
        capture_output=True, text=True, env=hub.env(TOKEN), timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return hub.files("alice/x")["README.md"].decode()


def run_blocks(hub: RunningHub, folder: Path, card: str) -> list[str]:
    """What each block prints, in a process of its own, with an image at hand as a reader would have."""
    here = folder / "reader"
    here.mkdir()
    Image.new("RGB", (40, 36), (200, 30, 30)).save(here / "image.jpg")
    out = []
    blocks = python_blocks(card)
    assert len(blocks) == 2 and "import hf_tl" in blocks[1] and "hf_tl" not in blocks[0]
    for block in blocks:
        alone = (
            "" if "import hf_tl" in block else "import sys\nsys.modules['hf_tl'] = sys.modules['torchvision'] = None\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", alone + block],
            capture_output=True,
            text=True,
            cwd=here,
            env=hub.env(home=f"reader{len(out)}"),
            timeout=300,
        )
        assert done.returncode == 0, block + done.stderr[-3000:]
        assert done.stdout.endswith("\n"), block  # a tiny model may well answer nothing
        out.append(done.stdout.strip())
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("task", "kind"), CASES)
def test_the_lines_of_the_card_run(task: Task, kind: str, hub: RunningHub, tmp_path: Path) -> None:
    options = ("--method", "lora", "hub.merge=false") if kind == "adapter" else ("--method", "full")
    card = shared(hub, tmp_path, task, *options)
    assert ("PeftModel" in card) == (kind == "adapter" and "{model}" not in (task.inference.snippet or ""))
    theirs, ours = run_blocks(hub, tmp_path, card)
    (mine,) = ast.literal_eval(ours)
    try:
        # numbers of NumPy's and images are printed in forms of their own
        printed = ast.literal_eval(re.sub(r"<PIL[^>]*>", "None", re.sub(r"np\.float\d+\(([^)]*)\)", r"\1", theirs)))
    except (SyntaxError, ValueError):  # a text, or a tensor's own form
        written = mine.get("label")
        assert theirs == written or re.search(r"tensor\(|torch\.Size", theirs), (theirs, ours)
        return
    told = list(leaves(printed))
    known = [*leaves(mine), *mine.get("scores", {})]
    strange = [each for each in told if not any(same(each, other) for other in known)]
    assert (told or not printed) and not strange, (strange, theirs, ours)  # a tiny model may find nothing


def leaves(value: Any) -> Iterator[Any]:
    """The texts and the numbers with decimals in a printed answer; one vector for all of an embedding."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item) if key not in ("index", "token", "sequence") else ()  # what hf_tl does not tell
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, (str, float)):
        yield value.strip() if isinstance(value, str) else value


def same(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, float) and isinstance(ours, float):
        return theirs == pytest.approx(ours, abs=1e-4)
    return bool(theirs == ours)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text-classification", "image-classification"])
def test_the_lines_for_a_head_with_code_of_its_own_run(name: str, hub: RunningHub, tmp_path: Path) -> None:
    from tests.tiny import tiny_resnet

    model = tiny_resnet(tmp_path / "resnet") if name.startswith("image") else None
    card = shared(hub, tmp_path, get_task(name), "--method", "frozen", "model.pooling=max", model=model)
    assert 'model="alice/x", trust_remote_code=True)' in card and "modelling file of its own" in card
    run_blocks(hub, tmp_path, card)
