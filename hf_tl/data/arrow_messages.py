"""What the messages of an Arrow stream say before their columns are read.

The layout is that of Arrow's Message.fbs: https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format
"""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa

DICTIONARY, BATCH = 2, 3
"""Kinds of message: `MessageHeader` of the format."""


def packed(stream: Any) -> bool:
    """Whether any column of a stream is compressed.

    Raises:
        struct.error, pa.ArrowException: the stream is not as the format says.
    """
    reader = pa.ipc.MessageReader.open_stream(stream)
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return False
        if message is None:
            return False
        data = message.metadata.to_pybytes()
        (top,) = struct.unpack_from("<I", data, 0)
        kind, header = _field(data, top, 1), _field(data, top, 2)
        if kind is None or header is None or data[kind] not in (DICTIONARY, BATCH):
            continue
        batch = _target(data, header)
        if data[kind] == DICTIONARY:
            inner = _field(data, batch, 1)
            if inner is None:
                continue
            batch = _target(data, inner)
        if _field(data, batch, 3) is not None:
            return True


def _field(data: bytes, table: int, index: int) -> int | None:
    """Where a field of a table is; None where it has none."""
    (back,) = struct.unpack_from("<i", data, table)
    (size,) = struct.unpack_from("<H", data, table - back)
    at = 4 + 2 * index
    (offset,) = struct.unpack_from("<H", data, table - back + at) if at + 2 <= size else (0,)
    return table + offset if offset else None


def _target(data: bytes, field: int) -> int:
    """The table that a field points to."""
    return int(field + struct.unpack_from("<I", data, field)[0])
