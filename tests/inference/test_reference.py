"""Which rows are inputs as a proof, what is kept of them, and the hashes of the files that answered."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image
from PIL import Image as PillowImage
from safetensors.torch import save_file

from hf_tl.errors import ModelError
from hf_tl.inference import reference as module
from hf_tl.inference.reference import hashes, reference_rows, tensors, write_reference
from hf_tl.task import TaskContext, get_task

TEXT, IMAGE = get_task("text-classification"), get_task("image-classification")


def plain(validation_rows: int | None = None, inference: dict[str, Any] | None = None, **fields: Any) -> Any:
    """A task that asks any rows."""
    of_rows = dataclasses.replace(TEXT.inference, **{"reference_rows": None, **(inference or {})})
    defaults = dataclasses.replace(TEXT.defaults, validation_rows=validation_rows)
    return dataclasses.replace(TEXT, inference=of_rows, defaults=defaults, **fields)


def texts(count: int) -> Dataset:
    return Dataset.from_dict(
        {"text": [f"text {at}" for at in range(count)], "label": [0] * count, "file": ["f"] * count}
    )


@pytest.mark.parametrize(
    ("count", "fields", "chosen"),
    [
        (3, {}, [0, 1, 2]),
        (8, {}, range(8)),
        (15, {}, [0, 2, 4, 6, 8, 10, 12, 14]),
        (64, {}, [0, 9, 18, 27, 36, 45, 54, 63]),
        (15, {"validation_rows": 100}, [0, 14]),  # a row takes long
        (0, {}, []),
    ],
)
def test_rows_are_evenly_drawn_and_hold_inputs_alone(count: int, fields: dict[str, Any], chosen: Any) -> None:
    found = reference_rows(plain(**fields), TaskContext(), texts(count))
    assert found is not None and found.column_names == ["text"]
    assert found["text"] == [f"text {at}" for at in chosen]


def test_of_many_rows_eight_times_as_many_are_looked_at() -> None:
    seen = []

    def inputs(rows: Dataset, context: TaskContext) -> Dataset:
        seen.append(rows["text"])
        return rows.select(range(5))

    found = reference_rows(plain(inference={"reference_rows": inputs}), TaskContext(), texts(1000))
    assert len(seen[0]) == 64 and seen[0][0] == "text 0" and seen[0][-1] == "text 999"
    assert found is not None and found["text"] == seen[0][:5]
    seen.clear()
    reference_rows(plain(inference={"reference_rows": inputs}, validation_rows=9), TaskContext(), texts(1000))
    assert len(seen[0]) == 16


def test_a_task_without_a_proof_has_no_reference_rows() -> None:
    assert reference_rows(plain(inference={"proof": None}), TaskContext(), texts(3)) is None


class Answers(torch.nn.Module):
    """Gives the first token's number as the second class's logit."""

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        return {"logits": torch.stack([torch.zeros(len(input_ids)), input_ids[:, 0].float()], 1)}


def answering(**fields: Any) -> Any:
    task = plain(
        preprocess=lambda rows, context, training: [torch.tensor([int(row["text"].split()[1])]) for row in rows],
        collator=lambda context, training: lambda samples: {"input_ids": torch.stack(samples)},
        **fields,
    )  # fmt: skip
    return task


def test_the_rows_and_what_was_answered_are_written(tmp_path: Path) -> None:
    shared = tmp_path / "model"
    shared.mkdir()
    (shared / "config.json").write_text('{"a": 1}')
    context = TaskContext(labels=("no", "yes"), mode="measuring", notes=["x"])
    write_reference(tmp_path, shared, Answers(), answering(), context, texts(3))
    found = json.loads((tmp_path / "proof" / "answers.json").read_text())
    assert found["task"] == "text-classification" and found["rows"] == [{"text": f"text {at}"} for at in range(3)]
    wanted = [1 / (1 + np.exp(-at)) for at in range(3)]
    assert [each["scores"]["yes"] for each in found["answers"]] == pytest.approx(wanted, abs=1e-6)
    assert found["configuration"] == {"a": 1} and set(found["files"]) == {"config.json"}
    assert context.mode == "measuring" and context.notes == ["x"]
    write_reference(tmp_path, shared, Answers(), answering(inference={"proof": None}), context, texts(3))
    found = json.loads((tmp_path / "proof" / "answers.json").read_text())
    assert found["rows"] == found["answers"] == [] and found["configuration"] == {"a": 1}


def test_only_the_main_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "process_state", lambda: type("State", (), {"is_main_process": False}))
    write_reference(tmp_path, tmp_path, Answers(), answering(), TaskContext(labels=("a", "b")), texts(2))
    assert list(tmp_path.iterdir()) == []


def test_images_lie_beside_pixel_by_pixel(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (2, 5, 4, 3), dtype=np.uint8)
    rows = Dataset.from_dict(
        {"image": [PillowImage.fromarray(each) for each in values]}, features=Features({"image": Image()})
    )
    for index, row in enumerate(rows):
        task = get_task("image-classification")
        assert module._kept(task, {**row, "note": None, "size": [1, 2]}, index, tmp_path) == {
            "image": {"image": f"{index}.png"}, "size": [1, 2],
        }  # fmt: skip
        with PillowImage.open(tmp_path / f"{index}.png") as image:
            assert image.mode == "RGB" and np.array_equal(np.asarray(image), values[index])


def test_hashes_are_of_every_file_and_tensor(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "config.json").write_text('{"a": 1}')
    (tmp_path / ".hidden").write_text("x")
    weights = {"b": torch.ones(2, 3), "a": torch.zeros(3, dtype=torch.bfloat16)}
    save_file(weights, tmp_path / "adapter" / "w.safetensors", {"format": "pt"})
    found = hashes(tmp_path)
    assert found["configuration"] == {"a": 1}
    assert found["files"] == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in ("config.json", "adapter/w.safetensors")
    }
    wanted = {
        "b": hashlib.sha256(b"F32 [2, 3] " + weights["b"].numpy().tobytes()).hexdigest(),
        "a": hashlib.sha256(b"BF16 [3] " + bytes(6)).hexdigest(),
    }
    assert found["tensors"] == {"adapter/w.safetensors": wanted}
    assert hashes(tmp_path / "adapter")["configuration"] == {}


def test_the_hash_of_a_tensor_knows_its_kind_and_its_shape(tmp_path: Path) -> None:
    def of(value: torch.Tensor) -> str:
        save_file({"a": value}, tmp_path / "w.safetensors")
        return tensors(tmp_path / "w.safetensors")["a"]

    same = [torch.zeros(4), torch.zeros(2, 2), torch.zeros(4, dtype=torch.int32), torch.zeros(8, dtype=torch.float16)]
    assert len({of(value) for value in same}) == 4
    large = torch.zeros((1 << 20) // 4 + 5)  # more than is read at once
    large[-1] = 1.0
    found = of(large)
    assert found == hashlib.sha256(f"F32 [{len(large)}] ".encode() + large.numpy().tobytes()).hexdigest()
    file = tmp_path / "w.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4] + bytes(4))
    assert tensors(file)["a"] != found
    file.write_bytes(whole[:-4])
    with pytest.raises(ModelError, match=r"w\.safetensors: not a whole safetensors file"):
        tensors(file)
