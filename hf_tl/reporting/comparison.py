"""Methods side by side: a table for the terminal and a page that needs nothing but itself."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from hf_tl.data.kinds import main_kind
from hf_tl.files import write_text
from hf_tl.io.console import table
from hf_tl.io.data_uri import data_uri
from hf_tl.reporting.formatting import number
from hf_tl.reporting.jinja import TEMPLATES, environment
from hf_tl.reporting.plots import Draw, Theme, svg
from hf_tl.reporting.run_summary import read_log
from hf_tl.task import all_tasks

HEADER = ("method", "accuracy", "95 % interval", "over scratch", "95 % interval", "trained", "seconds")
WORDS = {
    "scratch": "all weights, from random ones: the control",
    "frozen": "the head alone, on the pretrained network's features",
    "lora": "small adapters and the head",
    "full": "all weights, from the pretrained ones",
}


def program() -> str:
    """How the command line is called from here: `hf-tl`, or its path where the environment is not activated."""
    script = Path(sys.executable).with_name("hf-tl")
    if shutil.which("hf-tl") or not script.exists():
        return "hf-tl"
    inside = script.is_relative_to(Path.cwd())
    return str(script.relative_to(Path.cwd()) if inside else script)


def next_commands(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what for, the command): what to type after this; first the tasks that a column of labels suggests."""
    out = []
    for task in all_tasks():
        own = main_kind(task).own_data
        labelled = any(column.target and column.required for column in task.columns)
        if own and task.defaults.models and task.problems and labelled:
            what = task.summary.partition(":")[0]
            out.append((what, f"{program()} train --model {task.defaults.models[0]} --data {own}"))
    out.append(("everything else that it does", f"{program()} tasks"))
    return [*out, ("every option", f"{program()} train --help"), ("what a run writes", f"ls {result['output']}/full-0")]


def rows_of(result: Mapping[str, Any]) -> list[list[str]]:
    """One row a method: accuracy and gain over scratch, each with its interval."""
    out = []
    for each in result["methods"]:
        control = each["method"] == "scratch"
        out.append(
            [
                each["method"],
                f"{each['accuracy']:.3f}",
                f"{each['low']:.3f} to {each['high']:.3f}",
                "the control" if control else f"{each['gain']:+.3f}",
                "" if control else f"{each['gain_low']:+.3f} to {each['gain_high']:+.3f}",
                f"{each['trainable']:,}",
                f"{each['seconds']:.1f}",
            ]
        )
    return out


def comparison_text(result: Mapping[str, Any]) -> str:
    """The table, what it says, and what to type next."""
    commands = [(command, f"# {what}") for what, command in next_commands(result)]
    lines = [
        f"Digits 5 to 9 from {result['labelled_per_class']} labelled images each, {_seeds(result)}, "
        f"{result['test_samples']} test images:",
        "",
        table(rows_of(result), HEADER),
        "",
        verdict(result),
        f"Report: {result['report']} ({result['seconds']:.0f} s in all)",
        "",
        "Next, with your own data:",
        *(f"  {line}" for line in table(commands).splitlines()),
    ]
    return "\n".join(lines)


def verdict(result: Mapping[str, Any]) -> str:
    """What transfer gained, as far as the intervals carry it."""
    others = [each for each in result["methods"] if each["method"] != "scratch"]
    sure = [each["method"] for each in others if each["gain_low"] > 0]
    if not sure:
        return "No method is significantly better than training from scratch here."
    best = max(others, key=lambda each: float(each["gain"]))
    names = sure[0] if len(sure) == 1 else f"{', '.join(sure[:-1])} and {sure[-1]}"
    return (
        f"Starting from the pretrained network is significantly better with {names} (the interval of the gain is above "
        f"0); most with {best['method']}, {best['gain']:+.3f}."
    )


def write_comparison(
    folder: Path, result: Mapping[str, Any], images: Sequence[tuple[str, Sequence[tuple[str, bytes]]]] = ()
) -> Path:
    """Writes `report.html`: the table, every seed, the curves of the runs `<method>-<seed>` in `folder`.

    Args:
        images: rows of (caption, [(label, PNG)]) to show.
    """
    methods = result["methods"]
    seeds = range(result["seeds"])
    page = (
        environment(html=True, number=number)
        .get_template("comparison.html.j2")
        .render(
            style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
            result=result,
            seeds=_seeds(result),
            verdict=verdict(result),
            best=max(methods, key=lambda each: float(each["gain"])),
            control=next(each for each in methods if each["method"] == "scratch"),
            words=WORDS,
            plot=Markup(svg(dots(methods), 6.0, 0.7 + 0.62 * len(methods))),
            curves=Markup(svg(curves(folder, [each["method"] for each in methods], seeds), 6.0, 3.2)),
            images=[(caption, [(label, data_uri(png)) for label, png in row]) for caption, row in images],
            commands=next_commands(result),
            runs=[(each["method"], [f"{each['method']}-{seed}" for seed in seeds]) for each in methods],
        )
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _seeds(result: Mapping[str, Any]) -> str:
    return f"{result['seeds']} seed" + ("s" if result["seeds"] != 1 else "")


def dots(methods: Sequence[Mapping[str, Any]]) -> Draw:
    """Accuracy of each method with its interval; small dots are single seeds."""

    def draw(axes: Any, theme: Theme) -> None:
        control = next(each for each in methods if each["method"] == "scratch")
        axes.axvspan(control["low"], control["high"], color=theme.line, alpha=0.55, linewidth=0)
        for at, each in enumerate(reversed(methods)):
            colour = theme.soft if each is control else theme.accent
            axes.plot(
                [each["low"], each["high"]], [at, at], color=colour, linewidth=5, alpha=0.4, solid_capstyle="butt"
            )
            axes.plot([each["accuracy"]], [at], marker="o", markersize=9, color=colour)
            axes.plot(each["accuracies"], [at - 0.24] * len(each["accuracies"]), linestyle="none", marker="o",
                      markersize=4, color=theme.warm)  # fmt: skip
            axes.annotate(f"{each['accuracy']:.3f}", (each["accuracy"], at), xytext=(0, 7), textcoords="offset points",
                          ha="center", color=theme.ink)  # fmt: skip
        axes.set_yticks(range(len(methods)), [each["method"] for each in reversed(methods)], color=theme.ink)
        axes.set_ylim(-0.6, len(methods) - 0.4)
        axes.set_xlabel("test accuracy")
        axes.grid(axis="x", color=theme.line, linewidth=0.7)
        axes.set_axisbelow(True)

    return draw


def curves(folder: Path, methods: Sequence[str], seeds: Sequence[int]) -> Draw:
    """Training loss by step, mean over seeds, of the methods that train the network itself."""

    def draw(axes: Any, theme: Theme) -> None:
        styles = {"scratch": (theme.soft, "-"), "lora": (theme.warm, "-"), "full": (theme.accent, "-")}
        for method in methods:
            if method not in styles:
                continue  # a head on cached features takes other steps
            found = [_losses(folder / f"{method}-{seed}" / "log.jsonl") for seed in seeds]
            steps = sorted(set.intersection(*(set(losses) for losses in found)))
            colour, line = styles[method]
            mean = [float(np.mean([losses[step] for losses in found])) for step in steps]
            axes.plot(steps, mean, color=colour, linestyle=line, linewidth=1.8, label=method)
        axes.set_ylim(bottom=0)
        axes.set(xlabel="step", ylabel="training loss")
        axes.grid(axis="y", color=theme.line, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.legend(frameon=False, labelcolor=theme.ink, fontsize=8.5)

    return draw


def _losses(log: Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in read_log(log.parent) if "loss" in line}
