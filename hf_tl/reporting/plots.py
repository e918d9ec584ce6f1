"""The plots of report and card, drawn by matplotlib: SVG that takes the page's colours, PNG for files."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from hf_tl.files import replacing_file
from hf_tl.io.console import visible
from hf_tl.metrics.calibration import Calibration


@dataclass(frozen=True)
class Theme:
    """Colours of a drawing."""

    ink: str = "#1c2330"
    soft: str = "#5d6775"
    line: str = "#dfe3e8"
    background: str = "#ffffff"
    accent: str = "#2f6fb4"
    warm: str = "#d0632b"


LIGHT = Theme()
PAGE = Theme("#010101", "#010102", "#010103", "#010104", "#010105", "#010106")
"""Stand-ins that become the page's CSS variables, so that one drawing serves light and dark."""
VARIABLES = {getattr(PAGE, name): f"var(--{name})" for name in ("ink", "soft", "line", "background", "accent", "warm")}
RIGHT = LinearSegmentedColormap.from_list("right", [(0.22, 0.52, 0.82, 0.0), (0.22, 0.52, 0.82, 1.0)])
WRONG = LinearSegmentedColormap.from_list("wrong", [(0.88, 0.42, 0.18, 0.0), (0.88, 0.42, 0.18, 1.0)])
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a label may have dollar signs
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
}
Draw = Callable[[Any, Theme], None]
"""`(axes, theme)`: fills one pair of axes."""


def svg(draw: Draw, width: float = 4.6, height: float = 2.9) -> str:
    """A drawing as an `<svg>` element for HTML; width and height in inches give its shape."""
    figure = _figure([draw], PAGE, width, height, style={**STYLE, "svg.hashsalt": "hf_tl"})
    stream = io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": "hf_tl"}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that the measuring font lacks: the page has its own
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.S)  # would hold for the whole page
    text = re.sub(
        r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" xmlns:xlink="http://www.w3.org/1999/xlink">', text
    )
    for stand_in, variable in VARIABLES.items():
        text = text.replace(stand_in, variable)
    return text


def png(path: Path, draws: Sequence[Draw], width: float, height: float) -> None:
    """Drawings side by side as a PNG file on white, written at once or not at all."""
    figure = _figure(draws, LIGHT, width, height, style=STYLE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE), warnings.catch_warnings(), replacing_file(path) as temporary:
        warnings.simplefilter("ignore", UserWarning)
        FigureCanvasAgg(figure)
        figure.savefig(temporary, format="png", dpi=150, facecolor=LIGHT.background, metadata={"Software": None})


def _figure(draws: Sequence[Draw], theme: Theme, width: float, height: float, style: dict[str, Any]) -> Figure:
    with rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_alpha(0)
        for axes, draw in zip(np.atleast_1d(figure.subplots(1, len(draws))), draws, strict=True):
            axes.patch.set_alpha(0)
            for side in axes.spines.values():
                side.set_color(theme.line)
            axes.tick_params(colors=theme.soft, length=0)
            axes.xaxis.label.set_color(theme.soft)
            axes.yaxis.label.set_color(theme.soft)
            draw(axes, theme)
    return figure


def _grid(axes: Any, theme: Theme, which: str = "y") -> None:
    axes.grid(axis=which, color=theme.line, linewidth=0.7)
    axes.set_axisbelow(True)


def _legend(axes: Any, theme: Theme, **options: Any) -> None:
    axes.legend(frameon=False, labelcolor=theme.ink, fontsize=8.5, handlelength=1.4, **options)


def _epochs(axes: Any) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=axes.get_xlim()[1] >= 3))


def smooth(values: Sequence[float], reach: int) -> np.ndarray:
    """Mean of each value and its neighbours up to `reach` away on both sides, so that nothing lags."""
    window = np.ones(2 * reach + 1)
    total: np.ndarray = np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")
    return total


def loss_curve(log: Sequence[dict[str, Any]], best_step: int | None) -> Draw:
    """Training and validation loss by epoch."""

    def draw(axes: Any, theme: Theme) -> None:
        training = [(line["epoch"], line["loss"]) for line in log if "loss" in line and "epoch" in line]
        validation = [(line["epoch"], line["eval_loss"]) for line in log if "eval_loss" in line and "epoch" in line]
        if training:
            x, y = zip(*training, strict=True)
            many = len(x) > 60
            axes.plot(x, y, color=theme.accent, linewidth=0.8 if many else 1.6, alpha=0.35 if many else 1,
                      label=None if many else "training")  # fmt: skip
            if many:
                axes.plot(x, smooth(y, len(x) // 40), color=theme.accent, linewidth=1.8, label="training, smoothed")
        if validation:
            axes.plot(*zip(*validation, strict=True), color=theme.warm, linewidth=1.6, marker="o", markersize=3.5,
                      label="validation")  # fmt: skip
        _mark_best(axes, theme, log, best_step, "eval_loss")
        _grid(axes, theme)
        if min([value for _, value in training + validation], default=-1) >= 0:
            axes.set_ylim(bottom=0)
        axes.set_ylabel("loss")
        _legend(axes, theme)
        _epochs(axes)

    return draw


def metric_curve(log: Sequence[dict[str, Any]], metric: str, title: str, best_step: int | None) -> Draw:
    """The validation metric by epoch, the kept checkpoint marked."""

    def draw(axes: Any, theme: Theme) -> None:
        key = f"eval_{metric}"
        points = [(line["epoch"], line[key]) for line in log if key in line and "epoch" in line]
        axes.plot(*zip(*points, strict=True), color=theme.warm, linewidth=1.6, marker="o", markersize=3.5)
        _mark_best(axes, theme, log, best_step, key, label=True)
        _grid(axes, theme)
        axes.margins(y=0.2)
        axes.set_ylabel(f"validation {title[:1].lower()}{title[1:]}")
        _epochs(axes)

    return draw


def _mark_best(
    axes: Any, theme: Theme, log: Sequence[dict[str, Any]], step: int | None, key: str, label: bool = False
) -> None:
    for line in log:
        if step is not None and line["step"] == step and key in line and "epoch" in line:
            axes.plot([line["epoch"]], [line[key]], marker="o", markersize=10, markerfacecolor="none",
                      markeredgecolor=theme.ink, markeredgewidth=1.4, linestyle="none",
                      label=None if label else "kept checkpoint")  # fmt: skip
            if label:
                left, right = axes.get_xlim()
                late = line["epoch"] > (left + right) / 2
                axes.annotate(f"kept: {line[key]:.3f}", (line["epoch"], line[key]), xytext=(6 if late else -6, 9),
                              textcoords="offset points", ha="right" if late else "left", color=theme.ink)  # fmt: skip
            return


def rate_curve(log: Sequence[dict[str, Any]]) -> Draw:
    """The learning rate by epoch."""

    def draw(axes: Any, theme: Theme) -> None:
        points = [(line["epoch"], line["learning_rate"]) for line in log if "learning_rate" in line and "epoch" in line]
        axes.plot(*zip(*points, strict=True), color=theme.soft, linewidth=1.6)
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axes.yaxis.get_offset_text().set_color(theme.soft)
        axes.set_ylabel("learning rate")
        _grid(axes, theme)
        _epochs(axes)

    return draw


def reliability(found: Calibration) -> Draw:
    """Accuracy against confidence; the bars' width is the bin, the diagonal is perfect."""

    def draw(axes: Any, theme: Theme) -> None:
        edges, counts = np.array(found.edges), np.array(found.counts)
        full = counts > 0
        axes.bar(edges[:-1][full], np.array(found.accuracy)[full], width=np.diff(edges)[full], align="edge",
                 color=theme.accent, alpha=0.75, edgecolor=theme.background, linewidth=1)  # fmt: skip
        axes.plot([0, 1], [0, 1], color=theme.soft, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot(np.array(found.confidence)[full], np.array(found.accuracy)[full], linestyle="none", marker="o",
                  markersize=4, color=theme.warm)  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence of the prediction", ylabel="accuracy")
        _grid(axes, theme)

    return draw


def confidences(found: Calibration) -> Draw:
    """How many predictions are made with which confidence."""

    def draw(axes: Any, theme: Theme) -> None:
        edges, counts = np.array(found.edges), np.array(found.counts)
        axes.bar(edges[:-1], counts / counts.sum(), width=np.diff(edges), align="edge", color=theme.soft, alpha=0.6,
                 edgecolor=theme.background, linewidth=1)  # fmt: skip
        axes.set(xlim=(0, 1), xlabel="confidence of the prediction", ylabel="share of predictions")
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
        _grid(axes, theme)

    return draw


def class_sizes(counts: Mapping[str, Sequence[int]]) -> Draw:
    """Rows of every class, largest first, a line a split."""

    def draw(axes: Any, theme: Theme) -> None:
        colours = (theme.accent, theme.warm, theme.soft)
        for (split, values), colour in zip(counts.items(), colours, strict=False):
            ranked = sorted(values, reverse=True)
            axes.step(np.arange(len(ranked) + 1), [*ranked, ranked[-1]], where="post", color=colour, linewidth=1.6,
                      label=split)  # fmt: skip
        axes.set_ylim(bottom=0)
        axes.set(xlabel="classes, largest first", ylabel="rows")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        _grid(axes, theme)
        _legend(axes, theme)

    return draw


def order_by_confusion(share: np.ndarray) -> np.ndarray:
    """An order of the classes in which those that are taken for each other are neighbours.

    Args:
        share: confusion matrix as shares of each true class, (classes, classes).

    Returns:
        int (classes,).
    """
    near = share + share.T
    distance = 1 - near / max(1e-12, float(near[~np.eye(len(near), dtype=bool)].max()))
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    order: np.ndarray = leaves_list(tree)
    return order


def heat_map(share: np.ndarray, labels: Sequence[str], *, counts: np.ndarray | None = None) -> Draw:
    """Confusion matrix, (classes, classes), as shares of each true class: right answers in one colour, errors in the
    other. The colour goes with the square root of the share, so that rare errors are seen.

    Args:
        counts: what is written into the cells, for few classes.
    """

    def draw(axes: Any, theme: Theme) -> None:
        diagonal = np.eye(len(share), dtype=bool)
        for layer, colours in ((diagonal, RIGHT), (~diagonal, WRONG)):
            shown = np.where(layer, np.sqrt(share), 0)
            axes.imshow(shown, cmap=colours, vmin=0, vmax=1, interpolation="none", aspect="equal")
        names = [_short(label) for label in labels]
        size = min(9, 460 / len(labels))  # points that fit a map of 8 inches
        axes.set_xticks(range(len(labels)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(labels)), names, fontsize=size)
        axes.set(xlabel="predicted", ylabel="true")
        for side in axes.spines.values():
            side.set_visible(True)
        for (row, column), count in np.ndenumerate(counts if counts is not None else np.empty((0, 0))):
            if count:
                deep = share[row, column] > 0.4
                axes.text(column, row, f"{count}", ha="center", va="center", fontsize=min(9, 90 / len(share)),
                          color=theme.background if deep else theme.ink)  # fmt: skip

    return draw


def _short(label: str, most: int = 32) -> str:
    text = visible(label).replace("\n", " ")
    return text if len(text) <= most else text[: most - 1] + "…"
