"""Safetensors files, checked before anything reads them: the header, and the index of a model in several files."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_tl.errors import ModelError, listing
from hf_tl.io.json_text import kind_of, parse_json, read_object

INDEX = "model.safetensors.index.json"
HEADER_BYTES = 32_000_000
"""A tensor takes about a hundred of them."""
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Of its bytes, from the start of the file."""
    end: int

    @property
    def parameters(self) -> int:
        """At most: of packed integers as many as four bits each could hold."""
        return math.prod(self.shape) if "F" in self.dtype else 2 * (self.end - self.start)


def read_header(file: Path) -> dict[str, Tensor]:
    """Name -> place of each tensor in a safetensors file.

    https://huggingface.co/docs/safetensors/index#format: 8 bytes of length, a JSON header, the bytes.

    Raises:
        ModelError: the file is cut off, or its header is not what the format says; names what was found.
    """

    def refused(said: str) -> ModelError:
        return ModelError(f"{file}: not a whole safetensors file: {said}; download it, or save the model, again.")

    try:
        if not file.is_file():
            raise ModelError(f"{file}: there is no such file.")
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > size - 8:
                raise refused(f"its header would take {length:,} bytes, the file has {size:,}")
            if length > HEADER_BYTES:
                raise refused(f"its header takes {length:,} bytes, expected at most {HEADER_BYTES:,}")
            text = stream.read(length)
    except OSError as error:
        raise refused(str(error)) from None
    header = parse_json(text, f"{file}: the header", error=ModelError, most=HEADER_BYTES)
    if not isinstance(header, dict):
        raise refused(f"its header is {kind_of(header)}, expected a mapping")
    out = {}
    for name, entry in header.items():
        if name != "__metadata__":
            found = _tensor(entry, 8 + length)
            if found is None or found.end > size:
                raise refused(f"tensor {name[:80]!r} is described as {str(entry)[:120]}, the file has {size:,} bytes")
            out[name] = found
    at = 8 + length
    for each in sorted(out.values(), key=lambda tensor: (tensor.start, tensor.end)):
        if each.start != at:
            raise refused(f"tensors overlap, or leave a gap, at byte {min(at, each.start):,}")
        at = each.end
    if at != size:
        raise refused(f"its tensors end at byte {at:,}, the file at {size:,}")
    return out


def _tensor(entry: Any, offset: int) -> Tensor | None:
    """One entry of a header; None where it is not one."""
    if not isinstance(entry, dict):
        return None
    dtype, shape, places = entry.get("dtype"), _integers(entry.get("shape")), _integers(entry.get("data_offsets"))
    if not isinstance(dtype, str) or shape is None or places is None or len(places) != 2:
        return None
    if dtype in BITS and math.prod(shape) * BITS[dtype] != 8 * (places[1] - places[0]):
        return None
    return Tensor(dtype, tuple(shape), offset + places[0], offset + places[1]) if places[0] <= places[1] else None


def _integers(value: Any) -> list[int] | None:
    """A short list of whole numbers; None for anything else."""
    good = isinstance(value, list) and len(value) < 33 and all(type(each) is int and each >= 0 for each in value)
    return value if good else None


def check_weights(files: Iterable[Path]) -> int:
    """How many parameters the files hold, at most.

    Raises:
        ModelError: one is not a whole safetensors file.
    """
    return sum(tensor.parameters for file in files for tensor in read_header(file).values())


def check_index(folder: Path) -> None:
    """Transformers follows the index where a model is in several files.

    Raises:
        ModelError: it is damaged, or names what is no safetensors file beside it.
    """
    file = folder / INDEX
    if not file.exists():
        return
    named = read_object(file, error=ModelError).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
        raise ModelError(f"{file}: weight_map is {kind_of(named)}, expected the name of a file for each tensor.")
    names = sorted(set(named.values()))
    outside = [name for name in names if Path(name).name != name or "\\" in name or not name.endswith(".safetensors")]
    if outside:
        raise ModelError(
            f"{file}: names {listing(outside)}; hf_tl loads safetensors files that lie beside it, and no others."
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{file}: names {listing(missing)}, which is not there; download the model again.")
