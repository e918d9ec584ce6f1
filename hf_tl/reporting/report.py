"""`report.html`: a finished run on one page that needs nothing but itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup, escape

from hf_tl.errors import redact
from hf_tl.files import write_text
from hf_tl.io.console import visible
from hf_tl.metrics.intervals import FEW
from hf_tl.reporting import plots, run_details, sections
from hf_tl.reporting.formatting import elsewhere, last_part, metric_title, number
from hf_tl.reporting.jinja import TEMPLATES, environment
from hf_tl.reporting.run_summary import RunSummary, read_summary


def write_report(folder: Path) -> Path:
    """Writes `report.html` and the PNGs under `figures/`, from the files of the run folder alone.

    Raises:
        ConfigError: the folder holds no measured run.
    """
    summary = read_summary(Path(folder))
    write_figures(summary)
    path = summary.folder / "report.html"
    write_text(path, render(summary))
    return path


def render(summary: RunSummary) -> str:
    """The page. Whatever the data, labels and names hold stays text: escaped for HTML, control characters shown."""
    made = environment(html=True, finalize=_plain, number=number, share=share, label=label)
    return made.get_template("report.html.j2").render(
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        title=f"{last_part(summary.model_name)} on {last_part(summary.data_name)}",
        summary=summary.task.summary,
        split=summary.metrics["split"],
        samples=summary.metrics["samples"],
        few=FEW,
        support_unit=summary.task.support_unit,
        result=sections.result(summary),
        overview=sections.overview(summary),
        training=sections.training(summary),
        confusion=sections.confusion(summary),
        classes=sections.classes(summary),
        confidence=sections.confidence(summary),
        mistakes=sections.mistakes(summary),
        examples=sections.examples(summary),
        data=sections.data(summary),
        settings=run_details.settings(summary),
        notes=[summary.without_paths(str(note)) for note in summary.environment.get("notes", [])],
        configuration=_configuration(summary),
        environment=run_details.environment(summary),
        files=run_details.files(summary),
        command=run_details.command(summary),
    )


def _plain(value: Any) -> Any:
    return redact(visible(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def _configuration(summary: RunSummary) -> str:
    """The configuration as YAML, without where on somebody's machine anything lies."""
    values = summary.config.model_dump(mode="json", exclude_none=True, exclude={"output"})
    text: str = yaml.safe_dump(elsewhere(values), sort_keys=False, allow_unicode=True)
    return summary.without_paths(text)


def share(value: float) -> str:
    """`0.914` as `91.4 %`."""
    return f"{100 * value:.1f}\u202f%"


def label(name: object) -> Markup:
    """A class name, set off, that may break after its underscores and dashes."""
    text = re.sub(r"([_/.-])(?=\w)", r"\1<wbr>", str(escape(visible(name))))
    return Markup(f'<span class="label">{text}</span>')


def write_figures(summary: RunSummary, folder: Path | None = None) -> list[Path]:
    """`curves.png` and `confusion_matrix.png`, where the run has something to draw, in `folder` (default: `figures/` of
    the run); returns them."""
    folder = folder or summary.folder / "figures"
    out: list[Path] = []
    lines: list[dict[str, Any]] = [line for line in summary.log if "epoch" in line]
    best, metric = summary.train.get("best_step"), summary.headline
    if lines:
        draws = [plots.loss_curve(lines, best)]
        if any(f"eval_{metric}" in line for line in lines):
            draws.append(plots.metric_curve(lines, metric, metric_title(metric), best))
        out.append(folder / "curves.png")
        plots.png(out[-1], draws, 4.6 * len(draws), 3.1)
    if summary.metrics.get("confusion_matrix"):
        side = min(9.0, 3.2 + 0.35 * len(summary.labels))
        out.append(folder / "confusion_matrix.png")
        plots.png(out[-1], [sections.confusion_map(summary)], side, side)
    return out
