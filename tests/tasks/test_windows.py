"""Long data are read in batches of a thousand rows: each window knows its row whatever batch that stands in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from hf_tl.config import Preprocessing
from hf_tl.task import TaskContext, get_task
from tests.anything import tiny_model

COUNT = 1002
ROWS: dict[str, dict[str, Any]] = {
    "token-classification": {"words": ["film"]},
    "question-answering": {"question": "was it", "context": "the film"},
    "fill-mask": {"text": "film"},
    "text-generation": {"text": "the film"},
}


@pytest.mark.parametrize("name", ROWS)
def test_every_window_names_its_row(name: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    task = get_task(name)
    path = tiny_model(task, tmp_path / "model")
    context = TaskContext(
        processor=AutoTokenizer.from_pretrained(path), preprocessing=Preprocessing(packing=False),
        model_config=AutoConfig.from_pretrained(path), folder=path,
    )  # fmt: skip
    found = task.preprocess(Dataset.from_list([ROWS[name]] * COUNT), context, False)
    assert list(getattr(found, "rows", found)["row"]) == list(range(COUNT))
