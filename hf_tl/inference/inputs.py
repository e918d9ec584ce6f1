"""What a finished model is asked: words of a person, and data, read as the model's own run read its."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, List, Value

from hf_tl.config import DataConfig, load_config
from hf_tl.data import Data
from hf_tl.data.archives import is_archive
from hf_tl.data.formats import is_data_file
from hf_tl.data.images import EXTENSIONS
from hf_tl.data.named_files import MAX_PATH, is_address
from hf_tl.data.sources import FILE
from hf_tl.errors import ConfigError, DataError, did_you_mean
from hf_tl.run_folder import RunFolder, is_run_folder, read_part

Given = DataConfig | str | Sequence[str] | Mapping[str, Any] | None
"""Data as a person gives them: paths, or what `data` of a configuration takes."""
OF_THE_PATH = ("name", "revision", "splits", "max_samples")
"""Keys of a run's `data` that are about its own dataset, and not about how data of its kind are read."""
GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Asked:
    """The data that a finished model is asked about."""

    config: DataConfig
    own: bool = False
    """Whether they are the very data of the model's run, as nobody named others."""
    usual: dict[str, str] = field(default_factory=dict)
    """Role -> the column that the run learned from."""
    preprocessing: Any = None
    """How inputs are prepared; None: as the model's processor has it."""


def asked(model: str, given: Given = None, *, columns: bool = True) -> Asked:
    """Data for a finished model: as its run has `data`, but for what is `given`.

    Args:
        columns: whether there are any, so that those which the run learned from matter.

    Raises:
        ConfigError: an unknown key or a value of the wrong kind; no data named, and the model is no run that knows its
            own.
    """
    run = RunFolder(model) if is_run_folder(model) else None
    values = _values(given)
    own = run.config.data.model_dump(exclude_unset=True) if run else {}
    if "path" not in values and not own:
        raise ConfigError("data: missing; say which, such as --data reviews.csv.")
    others = "path" in values and values["path"] != own.get("path")
    kept = {key: value for key, value in own.items() if not (others and key in OF_THE_PATH)}
    # validated as part of a configuration, for the same sentences
    config = load_config({"model": "-", "data": kept or {"path": "-"}}, {"data": values}).data
    prepared = run is not None or "preprocessing" in values
    return Asked(
        config,
        own="path" not in values,
        usual=_learned(run) if columns else {},
        preprocessing=config.preprocessing if prepared else None,
    )


def _values(given: Given) -> dict[str, Any]:
    if given is None:
        return {}
    if isinstance(given, DataConfig):
        return given.model_dump(exclude_unset=True)
    if isinstance(given, Mapping):
        return dict(given)
    return {"path": given if isinstance(given, str) else list(given)}


def _learned(run: RunFolder | None) -> dict[str, str]:
    file = run.folder / "environment.json" if run else None
    if file is None or not file.exists():
        return {}
    return dict(read_part(file)["data"].get("columns") or {})


def read_words(words: Sequence[str | Path]) -> list[str | Path] | dict[str, Any]:
    """What a person wrote behind `hf-tl predict MODEL`: texts and image files as they are (files as `Path`s), or, as a
    path that exists is data, `{"path": ...}` where they are tables, archives or folders. Patterns such as `*.png` stand
    for the files that they match.

    Raises:
        DataError: a file that is not there, or data and other inputs at once.
    """
    found: list[str | Path] = []
    for word in words:
        found += _matches(str(word)) or [word]
    data = [str(word) for word in found if _is_data(str(word))]
    if not data:
        return [_input(str(word)) for word in found]
    if len(data) < len(found):
        other = next(str(word) for word in found if str(word) not in data)
        raise DataError(f"{data[0]}: is data, and {other!r} is an input; give data alone, or inputs alone.")
    return {"path": data[0] if len(data) == 1 else data}


def _matches(word: str) -> list[str | Path]:
    if not GLOB.search(word) or _there(word) or len(word) > MAX_PATH:
        return []
    return [*sorted(glob.glob(word, recursive=True))]


def _there(word: str) -> bool:
    try:
        return bool(word.strip()) and len(word) <= MAX_PATH and Path(word).expanduser().exists()
    except (OSError, ValueError):
        return False


def _named_as_file(word: str) -> bool:
    """Whether a word is written as the name of a file that is read, and as nothing else."""
    path = Path(word)
    known = is_data_file(path) or is_archive(path) or path.suffix.lower() in EXTENSIONS
    return not re.search(r"\s", word) and (known or word.endswith("/")) and not is_address(word) and len(path.name) > 4


def _is_data(word: str) -> bool:
    return _there(word) and (Path(word).expanduser().is_dir() or is_data_file(Path(word)) or is_archive(Path(word)))


def _input(word: str) -> str | Path:
    if _there(word):
        return Path(word).expanduser()
    if _named_as_file(word):
        parent = Path(word).expanduser().parent
        near = did_you_mean(Path(word).name, [each.name for each in parent.iterdir()]) if parent.is_dir() else ""
        raise DataError(f"{word}: there is no such file or folder{near or '.'} (A text that looks so comes through -.)")
    return word


def with_places(found: Data, rows: Dataset, predictions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each prediction with the `row` of the data that it is of, the `file` (and line) where that stands, and the data's
    own columns; one that is called as a part of the prediction is `data.<name>`."""
    assert found.as_found is not None
    names = [name for name, feature in found.as_found.features.items() if name != FILE and _is_shown(feature)]
    columns = {name: _shown(found.as_found, name) for name in names}
    out = []
    for index, place, prediction in zip(_indices(found.as_found, rows), rows["file"], predictions, strict=True):
        own = {"row": index, "file": place}
        given = {name: values[index] for name, values in columns.items()}
        taken = {*own, *prediction}
        out.append(
            {**own, **{f"data.{name}" if name in taken else name: each for name, each in given.items()}, **prediction}
        )
    return out


def _indices(as_found: Dataset, rows: Dataset) -> Iterator[int]:
    """Where each of `rows`, some of which may have been left out, stood."""
    places = enumerate(as_found.with_format(None)[FILE])
    for place in rows["file"]:
        yield next(index for index, each in places if each == place)


def _is_shown(feature: Any) -> bool:
    """Whether a value is written beside a prediction: what is no file, and holds none."""
    if isinstance(feature, dict):
        return all(map(_is_shown, feature.values()))
    if isinstance(feature, (list, tuple)):
        return all(map(_is_shown, feature))
    if isinstance(feature, List):
        return _is_shown(feature.feature)
    return isinstance(feature, ClassLabel) or (isinstance(feature, Value) and "binary" not in feature.dtype)


def _shown(rows: Dataset, name: str) -> list[Any]:
    feature, values = rows.features[name], rows.with_format(None)[name]
    if isinstance(feature, ClassLabel):
        return [feature.names[value] if value is not None and value >= 0 else None for value in values]
    return list(values)
