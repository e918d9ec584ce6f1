"""fastText's lines of labels and a text (https://fasttext.cc/docs/en/supervised-tutorial.html)."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from datasets import Dataset

from hf_tl.data.table import Table
from hf_tl.errors import DataError

MARK = "__label__"
HEAD, MAX_LINE = 50, 1_000_000


def is_fasttext(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            lines = list(islice(iter(lambda: stream.readline(MAX_LINE), ""), HEAD))
    except (OSError, ValueError):
        return False
    filled = [line for line in lines if line.strip()]
    return bool(filled) and all(line.lstrip().startswith(MARK) for line in filled)


def read_fasttext(path: Path) -> Table:
    """`text` and `label`, which is a list where any line has several labels or none."""
    texts, labels, places = [], list[list[str]](), []
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE), ""), 1):
            if len(line) >= MAX_LINE:
                raise DataError(f"{path}, line {number}: has more than {MAX_LINE:,} characters.")
            words = line.split()
            if not words:
                continue
            count = next((at for at, word in enumerate(words) if not word.startswith(MARK)), len(words))
            labels.append([word.removeprefix(MARK) for word in words[:count]])
            texts.append(line.strip().split(None, count)[count] if count < len(words) else "")
            places.append(f"line {number}")
    single = all(len(each) == 1 for each in labels)
    found = {"text": texts, "label": [each[0] for each in labels] if single else labels}
    return Table(Dataset.from_dict(found), places)
