"""Images inside HTML and JSON."""

from __future__ import annotations

import base64

PNG = b"\x89PNG"


def data_uri(image: bytes) -> str:
    """`data:image/...;base64,...` of a PNG or JPEG."""
    kind = "png" if image.startswith(PNG) else "jpeg"
    return f"data:image/{kind};base64," + base64.b64encode(image).decode("ascii")


def content_of(uri: str) -> bytes:
    """The image in what `data_uri` returned."""
    return base64.b64decode(uri.partition(",")[2])
