"""What the tasks share that make vectors: losses of sentence-transformers, cosines. Not a task (leading underscore)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@functools.lru_cache(maxsize=8)
def loss_of(name: str) -> Any:
    """A loss of sentence-transformers that works on embeddings.

    Raises:
        ConfigError: `loss.name` is none.
    """
    from sentence_transformers.sentence_transformer import losses
    from torch import nn

    from hf_tl.errors import ConfigError, did_you_mean, listing

    known = sorted(
        each
        for each, cls in vars(losses).items()
        if isinstance(cls, type) and hasattr(cls, "compute_loss_from_embeddings")
    )
    if name not in known:
        raise ConfigError(
            f"loss.name: {name!r} is not a loss of sentence-transformers on embeddings"
            f"{did_you_mean(name, known) or f'; they are {listing(known, most=20)}.'}"
        )
    return getattr(losses, name)(nn.Identity())


def unit(vectors: Any) -> np.ndarray:
    """float32 (n, hidden), each of length 1 (0 stays 0)."""
    import numpy as np

    vectors = np.asarray(vectors, dtype=np.float32)
    scaled: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return scaled
