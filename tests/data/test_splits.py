"""Splits in proportion, caps that keep every class, and hashes of what the model reads."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Image
from PIL import Image as Pillow

from hf_tl.data.splits import at_most, content_hashes, cut_validation, stratified
from hf_tl.errors import DataError


def counts(labels: np.ndarray, rows: np.ndarray) -> dict[int, int]:
    return dict(Counter(labels[rows].tolist()))


def numbered(count: int) -> Dataset:
    return Dataset.from_dict({"row": list(range(count))})


def mixed(*sizes: int) -> np.ndarray:
    """Labels of classes of these sizes, in random order."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(0).permutation(labels)


@pytest.mark.parametrize("seed", range(5))
def test_each_class_is_held_out_in_its_proportion(seed: int) -> None:
    labels = mixed(60, 30, 10)
    kept, held = stratified(labels, 0.1, seed)
    assert counts(labels, held) == {0: 6, 1: 3, 2: 1}
    assert sorted([*kept, *held]) == list(range(100))
    assert list(kept) == sorted(kept) and list(held) == sorted(held)


def test_a_part_of_a_row_is_held_out_as_often_as_it_says() -> None:
    """0.25 of 10 rows is 2.5: two or three, with equal probabilities."""
    held = [len(stratified(np.zeros(10, dtype=int), 0.25, seed)[1]) for seed in range(300)]
    assert set(held) == {2, 3} and np.mean(held) == pytest.approx(2.5, abs=0.1)


@pytest.mark.parametrize(
    ("size", "share", "held"), [(1, 0.5, 0), (2, 0.01, 1), (2, 0.99, 1), (4, 0.95, 3), (3, 0.01, 1)]
)
def test_small_classes_are_on_both_sides_where_they_can_be(size: int, share: float, held: int) -> None:
    labels = mixed(40, size)
    kept, out = stratified(labels, share, 0)
    assert counts(labels, out).get(1, 0) == held and counts(labels, kept)[1] == size - held


def test_which_rows_are_held_out_is_drawn_by_the_seed() -> None:
    labels = mixed(50, 50)
    first, again, other = (stratified(labels, 0.2, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again != other
    assert first != np.flatnonzero(labels >= 0)[: len(first)].tolist()
    every = np.concatenate([stratified(labels, 0.2, seed)[1] for seed in range(60)])
    assert set(every.tolist()) == set(range(100))  # any row can be


def test_validation_is_cut_from_train() -> None:
    train, validation = cut_validation(numbered(100), mixed(80, 20), 0.1, 3)
    labels = mixed(80, 20)
    assert counts(labels, np.array(validation["row"])) == {0: 8, 1: 2}
    assert sorted([*train["row"], *validation["row"]]) == list(range(100))


def test_validation_without_classes() -> None:
    train, validation = cut_validation(numbered(50), None, 0.1, 3)
    assert (len(train), len(validation)) == (45, 5)
    assert sorted([*train["row"], *validation["row"]]) == list(range(50))
    assert list(train["row"]) == sorted(train["row"]) and list(validation["row"]) == sorted(validation["row"])
    assert list(validation["row"]) != list(range(5))
    assert list(cut_validation(numbered(50), None, 0.1, 3)[1]["row"]) == list(validation["row"])
    assert list(cut_validation(numbered(50), None, 0.1, 4)[1]["row"]) != list(validation["row"])
    assert len(cut_validation(numbered(4), None, 0.01, 0)[1]) == 1  # never none


def test_too_few_rows_to_hold_any_out() -> None:
    with pytest.raises(DataError, match="train has 3 rows, too few"):
        cut_validation(numbered(3), None, 0.5, 0)
    assert len(cut_validation(numbered(4), None, 0.5, 0)[1]) == 2


def test_a_cap_keeps_the_proportions() -> None:
    labels = mixed(450, 450, 100)
    found = at_most(numbered(1000), labels, 100, 5)
    assert len(found) == 100
    assert counts(labels, np.array(found["row"])) == pytest.approx({0: 45, 1: 45, 2: 10}, abs=1)
    assert list(found["row"]) == sorted(found["row"])
    assert list(found["row"]) != list(at_most(numbered(1000), labels, 100, 6)["row"])
    assert list(found["row"]) == list(at_most(numbered(1000), labels, 100, 5)["row"])
    drawn = [row for seed in range(30) for row in at_most(numbered(1000), labels, 100, seed)["row"]]
    assert np.mean(drawn) == pytest.approx(499.5, abs=25)  # from all over, not from the beginning
    # of a class, too, any row may be drawn, not those that come first
    place = {row: at for at, row in enumerate(np.flatnonzero(labels == 0).tolist())}
    assert np.mean([place[row] for row in drawn if labels[row] == 0]) == pytest.approx(224.5, abs=20)


def test_a_cap_drops_no_class() -> None:
    labels = mixed(*[3 + index % 4 for index in range(100)])
    found = np.array(at_most(numbered(len(labels)), labels, 200, 0)["row"])
    assert set(counts(labels, found).values()) == {2} and len(counts(labels, found)) == 100
    rare = mixed(900, 90, 10)
    found = np.array(at_most(numbered(1000), rare, 20, 0)["row"])
    assert counts(rare, found) == {0: 16, 1: 2, 2: 2}


def test_a_cap_below_two_of_each_class_is_a_plain_draw() -> None:
    labels = mixed(*[10] * 20)
    found = at_most(numbered(200), labels, 39, 0)
    assert len(found) == 39 and list(found["row"]) == sorted(found["row"])
    assert list(found["row"]) == list(at_most(numbered(200), None, 39, 0)["row"])
    assert list(found["row"]) != list(range(39))
    found = np.array(at_most(numbered(200), labels, 40, 0)["row"])
    assert set(counts(labels, found).values()) == {2}


@pytest.mark.parametrize("most", [None, 10, 11])
def test_no_cap_changes_nothing(most: int | None) -> None:
    rows = numbered(10)
    assert at_most(rows, None, most, 0) is rows


def png(colour: int) -> bytes:
    stream = io.BytesIO()
    Pillow.new("RGB", (3, 3), (colour, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def test_rows_are_the_same_when_the_model_reads_the_same() -> None:
    rows = Dataset.from_dict(
        {
            "text": ["The  film\n", " the film", "the films", "the film", "the", None],
            "pair": ["a", "a", "a", "b", "film a", "a"],
            "label": [0, 1, 0, 0, 0, 0],
        }
    )
    first, same, plural, other_pair, moved, missing = content_hashes(rows, ("text", "pair"))
    assert first == same and len({first, plural, other_pair, moved, missing}) == 5
    assert len(set(content_hashes(rows, ("text",)))) == 4
    # a letter that moves from one column to the next makes another row
    moved = content_hashes(Dataset.from_dict({"a": ["xy", "x"], "b": ["z", "yz"]}), ("a", "b"))
    assert moved[0] != moved[1]


def test_images_are_compared_by_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    values = [
        {"bytes": png(1), "path": None},
        {"bytes": None, "path": str(tmp_path / "a.png")},
        {"bytes": png(2), "path": str(tmp_path / "a.png")},
    ]
    for decode in (True, False):
        rows = Dataset.from_dict({"image": values}).cast_column("image", Image(decode=decode))
        inside, file, other = content_hashes(rows, ("image",))
        assert inside == file != other
