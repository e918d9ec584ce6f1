"""Numbers in, numbers out: metrics with their intervals."""

from __future__ import annotations

AVERAGED = ("f1", "precision", "recall")
AVERAGES = ("macro", "weighted", "micro")


def split_name(name: str) -> tuple[str, dict[str, str]]:
    """The metric and its arguments, as the Hub has them, that a name stands for: `f1_macro` is `f1` with
    `average="macro"`. Any other name stands for itself."""
    metric, _, average = name.rpartition("_")
    return (metric, {"average": average}) if metric in AVERAGED and average in AVERAGES else (name, {})
