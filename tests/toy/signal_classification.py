"""A toy kind of value and a toy task, in this file alone: signals, lists of numbers, and one label for each.

`tests/test_toy_kind.py` puts this folder among the tasks and the kind among the kinds; nothing of hf_tl knows them.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_tl.task import Column, Defaults, Demo, Inference, Task, TaskContext
from hf_tl.tasks import _classification as classification

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_tl.data.kinds import Kind


def signal_kind() -> Kind:
    """What a person who adds a kind writes into `hf_tl/data/kinds.py`."""
    from datasets import List, Value

    from hf_tl.data.kinds import Kind, Processor, Widget
    from hf_tl.data.recognition import is_list_of

    return Kind(
        "signal",
        "lists of numbers",
        is_list_of("float"),
        decisive=True,
        noun="signal",
        check=wrong_signal,
        given=given_signal,
        feature=lambda: List(Value("float32")),
        text=lambda values: f"{len(values)} numbers from {min(values):.2f} to {max(values):.2f}",
        thumbnail=drawn,
        store=store,
        read_stored=READ_STORED,
        processor=Processor(
            "feature extractor", "AutoFeatureExtractor", "feature_extractor", ("preprocessor_config.json",)
        ),
        widget=Widget(
            "gr.Textbox(label={label})", "not {name}.strip()", "Type some numbers for {label!r} first.", is_text=True
        ),
        example="[0.0, 0.5, 1.0, 0.5] * 8",
        own_data="signals.jsonl",
    )


def wrong_signal(value: Any, what: str) -> str | None:
    if not value:
        return f"the {what} is missing"
    return None if all(map(math.isfinite, value)) else f"the {what} holds what is no number"


def given_signal(item: Any, said: str) -> list[float]:
    from hf_tl.errors import DataError

    try:
        return [float(each) for each in item]
    except (TypeError, ValueError):
        raise DataError(f"{said} {item!r}, expected a list of numbers.") from None


def drawn(values: list[float]) -> bytes:
    """A JPEG of the curve."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (64, 32), "white")
    low, high = min(values), max(values)
    at = [(63 * i / (len(values) - 1), 31 - 31 * (v - low) / (high - low or 1)) for i, v in enumerate(values)]
    ImageDraw.Draw(image).line(at, fill="black")
    stream = io.BytesIO()
    image.save(stream, "JPEG")
    return stream.getvalue()


def store(values: list[float], stem: Path) -> dict[str, str]:
    import numpy as np

    file = stem.with_suffix(".npy")
    np.save(file, np.asarray(values, dtype=np.float32))
    return {"signal": file.name}


READ_STORED = """
def read(stored, folder):
    import numpy

    return numpy.load(folder / stored["signal"], allow_pickle=False)
"""


def preprocess(rows: Dataset, context: TaskContext, training: bool) -> Dataset:
    def encode(batch: dict[str, list[Any]]) -> dict[str, Any]:
        extractor = context.processor
        out = {"input_values": extractor(batch["signal"], sampling_rate=extractor.sampling_rate)["input_values"]}
        return out | ({"labels": batch["label"]} if "label" in batch else {})

    return rows.map(encode, batched=True, remove_columns=rows.column_names, load_from_cache_file=False)


def collator(context: TaskContext, training: bool) -> Any:
    """`input_values` float32 (batch, numbers); `labels` int64 (batch,)."""
    import torch

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {name: torch.tensor([sample[name] for sample in samples]) for name in samples[0]}

    return collate


TASK = Task(
    name="signal-classification",
    summary="one label for each signal: a toy",
    columns=(
        Column("signal", "signal", ("signal", "series")),
        Column("label", "label", classification.LABEL_NAMES, target=True),
    ),
    auto_class="AutoModelForAudioClassification",
    peft_task_type=None,
    metrics=classification.METRICS,
    best_metric="accuracy",
    greater_is_better=True,
    preprocess=preprocess,
    collator=collator,
    targets=classification.targets,
    loss=classification.loss,
    collect=classification.collect,
    postprocess=classification.postprocess,
    measure=classification.measure,
    render_html=classification.render_html,
    inference=Inference(
        snippet='''import torch


def classify(signal):
    """Label -> score."""
    inputs = processor(signal, sampling_rate=processor.sampling_rate, return_tensors="pt")
    with torch.no_grad():
        scores = model(**inputs).logits.softmax(-1)[0]
    return {model.config.id2label[index]: float(score) for index, score in enumerate(scores)}''',
        example="print(classify([0.0, 0.5, 1.0, 0.5] * 8))",
        proof="""found = [{"scores": classify(row["signal"])} for row in rows]""",
        demo=(
            Demo(
                (("signal", "signal"),),
                "labels",
                "found = [{'label': k, 'score': v} for k, v in classify([float(x) for x in signal.split()]).items()]",
                result="Label",
            ),
        ),
    ),
    problems=classification.PROBLEMS,
    cacheable_features=True,
    reads=classification.READS,
    defaults=Defaults(models=("facebook/wav2vec2-base",)),
)
