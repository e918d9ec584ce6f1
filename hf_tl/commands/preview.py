"""`hf-tl preview`: what the model will really see, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_tl.config import RunConfig, load_config
from hf_tl.data import load_data
from hf_tl.data.kinds import processor_of
from hf_tl.models.context import make_context
from hf_tl.models.pretrained import check_task, find_pretrained
from hf_tl.models.processors import load_processor
from hf_tl.training.options import check_options


def preview(
    config: RunConfig | Mapping[str, Any] | str | Path, *, samples: int = 8, output: str | Path | None = None
) -> dict[str, Any]:
    """The first training batch as the model gets it, the label map, and what was dropped, cut or split and why.

    Args:
        samples: size of the batch.
        output: PNG file for the grid of augmented images; default `preview.png`. Texts need none.

    Returns:
        `task`, `columns`, `labels` (id -> name), `rows`, `class_counts` and `origins` by split, `notes`, and `samples`:
        for texts the `tokens` with the number that is padding and whether the text was cut; for images the `image`.
    """
    config = load_config(config)
    data = load_data(config.data, config.task, seed=config.seed)
    task = data.task
    check_options(config, task)
    pretrained = find_pretrained(config.model)
    check_task(pretrained, task)
    processor = load_processor(pretrained, task, image_size=config.data.preprocessing.image_size, adapt=True)
    context = make_context(task, pretrained, processor, config=config, targets=data.targets, notes=data.notes)
    train = data.splits["train"]
    rows = train.shuffle(seed=config.seed).select(range(min(samples, len(train))))
    prepared = task.preprocess(rows, context, True)
    items = [prepared[index] for index in range(min(len(prepared), len(rows)))]
    batch = task.collator(context, True)(items)
    classes = data.targets.class_column
    names = [data.labels[index] for index in rows[classes]] if classes else [""] * len(rows)
    names = _shares(batch.get("labels"), data.labels) or names
    out: dict[str, Any] = {
        "task": task.name,
        "columns": data.columns,
        "labels": dict(enumerate(data.labels)),
        "rows": {split: len(part) for split, part in data.splits.items()},
        "class_counts": data.source.get("class_counts", {}),
        "origins": data.source["origins"],
        "notes": context.notes,
        "batch": {
            key: f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
            if hasattr(value, "shape")
            else f"a list of {len(value)}"
            if hasattr(value, "__len__")
            else repr(value)
            for key, value in batch.items()
        },
    }
    show = processor_of(task).preview
    path = Path(output or "preview.png")
    out["samples"] = [{"label": name} for name in names]
    return out | (show(batch, names, processor, path) if show is not None else {})


def _shares(labels: Any, names: Any) -> list[str]:
    """What a batch has for labels where each may have a share: several of them, or mixed ones."""
    if getattr(labels, "ndim", 0) != 2 or not labels.is_floating_point() or labels.shape[1] != len(names):
        return []
    return [
        ", ".join(
            names[index] if row[index] >= 0.995 else f"{names[index]} {row[index]:.0%}"
            for index in row.argsort(descending=True).tolist()
            if row[index] >= 0.005
        )
        for row in labels
    ]


def as_text(found: dict[str, Any]) -> str:
    """The preview as lines for a terminal."""
    from hf_tl.io.console import plain, shorten, table

    lines = [plain(note) for note in found["notes"]]
    lines += ["", "Rows and labels:"]
    splits = list(found["rows"])
    counts = found["class_counts"]
    head = [f"({index}) {name}" for index, name in list(found["labels"].items())[:30]]
    body = [
        [label, *(counts.get(split, {}).get(found["labels"][index], "") for split in splits)]
        for index, label in enumerate(head)
    ]
    more = len(found["labels"]) - len(body)
    lines.append(table([*body, ["all", *found["rows"].values()]], ["", *splits]))
    lines.append("from: " + "; ".join(f"{split}: {plain(found['origins'][split])}" for split in splits))
    lines += [f"... and {more} more labels"] if more > 0 else []
    lines += ["", "A training batch: " + ", ".join(f"{key} {shape}" for key, shape in found["batch"].items())]
    for sample in found["samples"]:
        if "tokens" in sample:
            lines.append(f"  [{plain(sample['label'])}] {shorten(' '.join(sample['tokens']), 100)}")
            lines.append(
                f"      {len(sample['tokens'])} tokens, {sample['padding']} padding, {sample['unknown']} unknown"
            )
            if "trained" in sample:
                lines.append(f"      trained on {len(sample['trained'])}: {shorten(' '.join(sample['trained']), 80)}")
    if "image" in found:
        lines.append(f"  as images: {found['image']}")
    return "\n".join(lines)
