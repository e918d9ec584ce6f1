"""Metric modules of the `evaluate` library, found by file name and loaded by path, so that they work without network.

`metrics/<name>/<name>.py` is one metric. Inside such a file every import has its own line: `evaluate` reads them with a
regular expression.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import evaluate

from hf_tl.errors import ConfigError, HubError, did_you_mean, listing

FOLDER = Path(__file__).parent


def local_metrics() -> list[str]:
    """Names of the metrics that come with hf_tl, sorted."""
    return sorted(folder.name for folder in FOLDER.iterdir() if (folder / f"{folder.name}.py").exists())


def split_name(name: str) -> tuple[str, dict[str, Any]]:
    """The module and its arguments that a metric's name stands for: `f1_macro` is `f1` with `average="macro"`.

    A name that is neither a local module nor such a pair is a Hub id and stands for itself.
    """
    module, _, average = name.rpartition("_")
    known = local_metrics()
    if name not in known and module in known and average in {"macro", "weighted", "micro"}:
        return module, {"average": average}
    return name, {}


@functools.cache
def load_metric(name_or_hub_id: str) -> evaluate.EvaluationModule:
    """A local metric module, or any metric of the Hub (`evaluate-metric/exact_match`, `exact_match`); once a process.

    Raises:
        ConfigError: neither a local metric nor one of the Hub.
        HubError: the Hub could not be reached.
    """
    folder = FOLDER / name_or_hub_id
    local = name_or_hub_id in local_metrics()
    try:
        # In memory: no cache file that two processes could fight over.
        return evaluate.load(str(folder) if local else name_or_hub_id, module_type="metric", keep_in_memory=True)
    except FileNotFoundError:
        hint = did_you_mean(name_or_hub_id, local_metrics()) or "."
        raise ConfigError(
            f"metric {name_or_hub_id!r}: neither a metric of hf_tl nor one of the Hub{hint} "
            f"hf_tl has {listing(local_metrics())}."
        ) from None
    except ConnectionError as error:
        raise HubError(f"metric {name_or_hub_id!r}: the Hub could not be reached to load it ({error}).") from None
