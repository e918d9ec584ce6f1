"""Which rows are trained on, which pick the checkpoint, and which are kept for the end."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
from datasets import Dataset

from hf_tl.errors import DataError


def stratified(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(indices kept, indices held out), each class in proportion, at least one example of every class kept and, of
    classes with two or more, at least one held out.

    Args:
        labels: int (rows,).
        share: of rows to hold out.
    """
    random = np.random.default_rng(seed)
    held = []
    for name in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == name))
        wanted = int(np.floor(len(rows) * share + random.random()))
        held.append(rows[: min(max(wanted, 1), len(rows) - 1)])
    out = np.sort(np.concatenate(held)) if held else np.array([], dtype=int)
    return np.setdiff1d(np.arange(len(labels)), out), out


def cut_validation(train: Dataset, labels: np.ndarray | None, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """(train, validation); stratified where there are classes.

    Raises:
        DataError: too few rows.
    """
    if len(train) < 4:
        raise DataError(f"data.path: train has {len(train)} rows, too few to hold some out for validation.")
    if labels is None:
        order = np.random.default_rng(seed).permutation(len(train))
        count = max(1, round(len(train) * share))
        keep, out = np.sort(order[count:]), np.sort(order[:count])
    else:
        keep, out = stratified(labels, share, seed)
    return train.select(keep), train.select(out)


def at_most(rows: Dataset, labels: np.ndarray | None, most: int | None, seed: int) -> Dataset:
    """At most `most` rows, drawn by class in proportion, in their order."""
    if most is None or len(rows) <= most:
        return rows
    if labels is None or most < 2 * len(np.unique(labels)):
        return rows.select(np.sort(np.random.default_rng(seed).permutation(len(rows))[:most]))
    random = np.random.default_rng(seed)
    # Rows in a random order within each class, ranked by their share of the class: the first `most` are in proportion.
    rank = np.empty(len(rows))
    for name in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == name))
        rank[members] = (np.arange(len(members)) + 0.5) / len(members) + random.random() * 1e-6
        rank[members[:2]] = -1 + random.random()  # two of every class
    return rows.select(np.sort(np.argsort(rank, kind="stable")[:most]))


def content_hashes(rows: Dataset, roles: tuple[str, ...]) -> list[str]:
    """A hash of what the model reads in each row (files, such as images, by their bytes)."""
    out = []
    plain = rows.with_format(None)
    for role in roles:
        feature = rows.features[role]
        if getattr(feature, "decode", False):  # an image, a sound, a film: not decoded
            plain = plain.cast_column(role, dataclasses.replace(feature, decode=False))
    for row in plain.select_columns(list(roles)):
        digest = hashlib.sha1(usedforsecurity=False)
        for role in roles:
            value = row[role]
            if isinstance(value, dict) and set(value) == {"bytes", "path"}:
                content = value["bytes"]
                if content is None:
                    with open(value["path"], "rb") as stream:
                        content = stream.read()
                digest.update(content)
            else:
                digest.update(" ".join(str(value).lower().split()).encode())
            digest.update(b"\0")
        out.append(digest.hexdigest())
    return out


EXAMPLES = 12
"""Rows that the report shows with what was predicted."""


def example_rows(count: int) -> set[int]:
    """Rows of a held-out split of `count` rows that the report shows, evenly drawn."""
    return set(np.linspace(0, count - 1, min(EXAMPLES, count)).astype(int).tolist())
