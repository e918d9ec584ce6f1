"""Transfer learning in two minutes, without network: scikit-learn's handwritten digits.

A small vision transformer learns the digits 0 to 4, turned and mirrored (40 classes), from random weights. What it has
learned is then adapted to 5 to 9, of which it gets six images each, by every method and with several seeds;
`scratch` is the control. Each of these is an ordinary run of `hf_tl.finetune` with a folder of its own.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from hf_tl import __version__
from hf_tl.compat import declare_torchvision_operators
from hf_tl.errors import ConfigError
from hf_tl.files import replacing_folder, write_json
from hf_tl.io.console import say
from hf_tl.io.json_text import read_json

declare_torchvision_operators()

LABELLED = 6
"""Labelled images of each new digit; one of them becomes the validation split that a run cuts off."""
SIZE = 16
"""Pixels: the 8 x 8 digits at twice their size."""
COPIES = 2
"""Of every image for pretraining, each moved and zoomed a little differently."""
TURNS = ("upright", "turned left", "upside down", "turned right")
METHODS = ("scratch", "frozen", "lora", "full")
FIXED = {"bf16": False, "eval_strategy": "no", "save_strategy": "no", "per_device_train_batch_size": 16}
"""The last weights count: with so few labels none are spared to pick a checkpoint by."""
PRETRAINING = {
    "max_steps": 1000,
    "learning_rate": 1.5e-3,
    "per_device_train_batch_size": 32,
}
ADAPTING: dict[str, dict[str, Any]] = {
    "scratch": {"max_steps": 200, "learning_rate": 5e-4},  # the best of 3e-4, 5e-4, 1e-3 and 2e-3
    "frozen": {"max_steps": 300, "learning_rate": 1e-2},
    "lora": {"max_steps": 200, "learning_rate": 3e-3},
    "full": {"max_steps": 200, "learning_rate": 1e-3},
}


@dataclass(frozen=True)
class Outcome:
    """A method over all seeds, on the same test images."""

    method: str
    accuracies: list[float]
    """One a seed."""
    accuracy: float
    low: float
    high: float
    """95 % interval of the mean over seeds and images."""
    gain: float
    gain_low: float
    gain_high: float
    """What it has over scratch, paired by image, with its 95 % interval."""
    trainable: int
    seconds: float
    """Mean time of a run."""


def quickstart(output: str | Path = "runs/quickstart", *, seeds: int = 3) -> dict[str, Any]:
    """Pretrains on 0 to 4, transfers to 5 to 9 by every method, prints a table and writes `report.html`.

    Called again on the same folder, finished runs are kept.

    Raises:
        ConfigError: the folder holds something else.
    """
    start = time.monotonic()
    folder = Path(output)
    _begin(folder, seeds)
    with _one_thread():
        return _run(folder, seeds, start)


def _begin(folder: Path, seeds: int) -> None:
    """The folder with its data; one of an earlier quickstart is gone on with."""
    about = {"quickstart": __version__, "seeds": seeds}
    marker = folder / "quickstart.json"
    if marker.exists():
        found = read_json(marker)
        if found != about:
            raise ConfigError(
                f"--output: {folder} holds another quickstart ({found}); remove it or choose another folder."
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--output: {folder} holds something else; choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(marker, about)
    if not (folder / "data").is_dir():
        with _quietly(folder / "log.txt"), replacing_folder(folder / "data") as data:
            write_data(data, seeds)


def _run(folder: Path, seeds: int, start: float) -> dict[str, Any]:
    from hf_tl.reporting.comparison import write_comparison

    _say("Pretraining a small vision transformer on the digits 0 to 4, turned and mirrored (40 classes) ...")
    with _quietly(folder / "log.txt"):
        write_untrained(folder / "untrained")
    pretrained = _finetune(
        folder / "pretrained", folder / "untrained", "scratch", folder / "data" / "zero_to_four", PRETRAINING, seed=0
    )
    _say(f"  {pretrained['metrics']['accuracy']['value']:.3f} of the held-out ones right")

    runs: dict[str, list[dict[str, Any]]] = {method: [] for method in METHODS}
    for seed in range(seeds):
        _say(f"Transferring to the digits 5 to 9, {LABELLED} labelled images of each, seed {seed} ...")
        for method in METHODS:
            run = _finetune(
                folder / f"{method}-{seed}",
                folder / "pretrained",
                method,
                folder / "data" / f"five_to_nine-{seed}",
                ADAPTING[method],
                seed,
            )
            runs[method].append(run)
            _say(f"  {method:8} {run['metrics']['accuracy']['value']:.3f}")
    outcomes = compare(folder, runs)
    result = {
        "output": str(folder),
        "report": str(folder / "report.html"),
        "seconds": round(time.monotonic() - start, 1),
        "pretraining": {"accuracy": pretrained["metrics"]["accuracy"]["value"]},
        "test_samples": runs["scratch"][0]["samples"],
        "labelled_per_class": LABELLED,
        "seeds": seeds,
        "methods": [asdict(outcome) for outcome in outcomes],
    }
    write_json(folder / "metrics.json", result)
    write_comparison(folder, result, _example_images(folder))
    return result


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Networks this small gain nothing from several threads, and lose much where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def write_data(folder: Path, seeds: int) -> None:
    """`zero_to_four/` (40 classes) and `five_to_nine-<seed>/`, each with train and test as Parquet of PNG and label.

    The test images are the same for every seed: those that no seed learns from.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = digits.images, digits.target  # (1797, 8, 8), 0 to 16
    random = np.random.default_rng(0)

    old = random.permutation(np.flatnonzero(labels < 5))
    parts = {"test": old[: len(old) // 10], "train": np.tile(old[len(old) // 10 :], COPIES)}
    rows = {}
    for split, indices in parts.items():
        rows[split] = [
            (
                _png(np.rot90(images[i][:, ::-1] if mirrored else images[i], turns), random),
                f"{labels[i]} {mirror}{turn}",
            )
            for i in indices
            for mirrored, mirror in enumerate(("", "mirrored, "))
            for turns, turn in enumerate(TURNS)
        ]
    _write_splits(folder / "zero_to_four", rows)

    drawn = [
        np.concatenate([random.permutation(np.flatnonzero(labels == digit))[:LABELLED] for digit in range(5, 10)])
        for _ in range(seeds)
    ]
    learned = np.unique(np.concatenate(drawn))
    test = [(_png(images[i]), str(labels[i])) for i in np.setdiff1d(np.flatnonzero(labels >= 5), learned)]
    for seed, indices in enumerate(drawn):
        train = [(_png(images[i]), str(labels[i])) for i in indices]
        _write_splits(folder / f"five_to_nine-{seed}", {"train": train, "test": test})


def _png(values: np.ndarray, random: np.random.Generator | None = None) -> bytes:
    """An 8 x 8 image of values 0 to 16 as an RGB PNG of SIZE pixels, a little moved and zoomed by `random`."""
    image = Image.fromarray((values * 255 / 16).round().astype(np.uint8))
    image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    if random is not None:
        zoom = random.uniform(0.875, 1.125)
        x, y = (1 - zoom) * SIZE / 2 + random.uniform(-0.075, 0.075, 2) * SIZE
        image = image.transform(image.size, Image.Transform.AFFINE, (zoom, 0, x, 0, zoom, y), Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    image.convert("RGB").save(stream, format="PNG")
    return stream.getvalue()


def _write_splits(folder: Path, splits: Mapping[str, list[tuple[bytes, str]]]) -> None:
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    folder.mkdir()
    for name, rows in splits.items():
        columns = {"image": [{"bytes": png, "path": None} for png, _ in rows], "label": [label for _, label in rows]}
        features = Features({"image": ImageFeature(), "label": Value("string")})
        Dataset.from_dict(columns, features=features).to_parquet(folder / f"{name}.parquet")


def write_untrained(folder: Path) -> None:
    """A vision transformer of 0.3 million random weights with its image processor, as a pretrained folder."""
    if (folder / "config.json").exists():
        return
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        image_size=SIZE,
        patch_size=4,
        num_labels=2,
    )
    with replacing_folder(folder) as new, torch.random.fork_rng():
        torch.manual_seed(0)
        ViTForImageClassification(config).save_pretrained(new)
        ViTImageProcessor(size={"height": SIZE, "width": SIZE}).save_pretrained(new)


def _finetune(
    output: Path, model: Path, method: str, data: Path, training: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """`metrics.json` of a run; what the run says goes to `log.txt` beside its folder."""
    from hf_tl.commands.train import finetune

    with _quietly(output.parent / "log.txt"):
        run = finetune(
            model=str(model),
            data={"path": str(data), "preprocessing": {"augment": "none"}},
            method=method,
            training={**FIXED, **training},
            output=str(output),
            seed=seed,
            proof=False,  # many runs of one kind
        )
    return run.metrics


@contextlib.contextmanager
def _quietly(log: Path) -> Iterator[None]:
    with (
        log.open("a", encoding="utf-8") as stream,
        contextlib.redirect_stderr(stream),
        contextlib.redirect_stdout(stream),
    ):
        yield


def _say(text: str) -> None:
    say(text)


def compare(folder: Path, runs: Mapping[str, list[dict[str, Any]]]) -> list[Outcome]:
    """Accuracy of every method with its interval, and what it has over scratch on the same images."""
    from hf_tl.metrics.paired import paired_bootstrap

    right = {
        method: np.stack([_right(folder / f"{method}-{seed}") for seed in range(len(found))])
        for method, found in runs.items()
    }
    nothing = np.zeros(right["scratch"].shape[1])
    out = []
    for method, found in runs.items():
        mean = paired_bootstrap(right[method], nothing)
        gain = paired_bootstrap(right[method], right["scratch"])
        out.append(
            Outcome(
                method=method,
                accuracies=[float(row.mean()) for row in right[method]],
                accuracy=mean.value,
                low=mean.low,
                high=mean.high,
                gain=gain.value,
                gain_low=gain.low,
                gain_high=gain.high,
                trainable=found[0]["train"]["trainable_parameters"],
                seconds=float(np.mean([run["train"]["seconds"] for run in found])),
            )
        )
    return out


def _right(run: Path) -> np.ndarray:
    """Whether each test image was named rightly, float64 (samples,)."""
    table = pd.read_parquet(run / "predictions.parquet", columns=["row", "label", "prediction"]).sort_values("row")
    right: np.ndarray = (table["label"] == table["prediction"]).to_numpy(np.float64)
    return right


def _example_images(folder: Path) -> list[tuple[str, list[tuple[str, bytes]]]]:
    """Some images of both datasets for the report: (caption, [(label, PNG)])."""
    first = pd.read_parquet(folder / "data" / "zero_to_four" / "train.parquet")
    shown = first.groupby("label", sort=True).head(1).sort_values("label")
    then = pd.read_parquet(folder / "data" / "five_to_nine-0" / "train.parquet")
    return [
        ("Learned first: 40 classes", [(row.label, row.image["bytes"]) for row in shown.itertuples()]),
        ("Then: every labelled image of seed 0", [(row.label, row.image["bytes"]) for row in then.itertuples()]),
    ]
