"""Metrics of the `evaluate` library: any of the Hub, or a module in a local folder."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from hf_tl.compat import declare_torchvision_operators
from hf_tl.errors import ConfigError, HubError, did_you_mean, listing
from hf_tl.metrics.intervals import Score

UNKNOWN = (-float("inf"), float("inf"))
"""What a metric of somebody else may be."""


@functools.cache
def load_metric(name: str, known: tuple[str, ...] = ()) -> Any:
    """The `evaluate.EvaluationModule` of a Hub id (`evaluate-metric/exact_match`, `exact_match`) or a folder; once a
    process.

    Args:
        known: the metrics of hf_tl, for the hint where there is no such module.

    Raises:
        ConfigError: there is none, or a folder of that name in the current one would be run in its place.
        HubError: the Hub could not be reached.
    """
    if not name.startswith((".", "/", "~")) and os.path.exists(name):
        raise ConfigError(
            f"metric {name!r}: the current folder holds something of that name, whose code would be run in place of "
            f"the Hub's; write ./{name} for that one, or go to another folder."
        )
    declare_torchvision_operators()  # `evaluate` imports Transformers
    import evaluate

    try:
        # In memory: no cache file that two processes could fight over.
        return evaluate.load(name, module_type="metric", keep_in_memory=True)
    except FileNotFoundError:
        raise ConfigError(
            f"metric {name!r}: neither a metric of hf_tl nor one of the Hub{did_you_mean(name, known) or '.'} "
            f"hf_tl has {listing(known, most=len(known))}."
        ) from None
    except ConnectionError as error:
        raise HubError(f"metric {name!r}: the Hub could not be reached to load it ({error}).") from None


def score_of(name: str, predictions: Any, references: Any, known: Iterable[str] = ()) -> Score:
    """The value of such a metric, computed anew by its own code on each resample.

    Raises:
        ConfigError, HubError: as `load_metric`.
    """
    metric = load_metric(name, tuple(known))

    def value(rows: np.ndarray) -> float:
        # `_compute` is what a module defines; `compute` around it locks a file, and several processes may score.
        found = metric._compute(
            predictions=[predictions[row] for row in rows], references=[references[row] for row in rows]
        )
        own = name.rpartition("/")[2]
        return float(found[own if own in found else next(iter(found))])

    return Score(value(np.arange(len(references))), recompute=value, within=UNKNOWN)
