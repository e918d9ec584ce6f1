"""What a run was made with, for report and card: its settings, its environment, its files, the command that makes it
again."""

from __future__ import annotations

from hf_tl.reporting.formatting import remake_command, setting_value, size
from hf_tl.reporting.run_summary import RunSummary

FILES = {
    "model/": "weights, configuration with the label names, processor: what is shared",
    "metrics.json": "the metrics of this report",
    "predictions.parquet": "every held-out row with label, prediction and scores",
    "proof/": "reference predictions on a few held-out rows, against which the shared model is proved",
    "config.yaml": "the configuration, resolved",
    "environment.json": "versions, hardware, hashes, and why each default was chosen",
    "log.jsonl": "losses and validation metrics by step",
    "checkpoints/": "weights and optimizer states, to resume from; never shared",
    "figures/": "the plots of the card",
    "README.md": "the model card",
    "report.html": "this report",
}


def settings(summary: RunSummary) -> list[tuple[str, str, str]]:
    """(key, value, why) of what was configured and of each default that hf_tl chose."""
    given = [
        (f"{section}.{key}", value)
        for section in ("model", "method", "training", "loss", "generation")
        for key, value in getattr(summary.config, section).model_dump(mode="json", exclude_defaults=True).items()
        if (section, key) not in (("model", "id"), ("method", "name"))
    ]
    environment = summary.environment
    rows = [(key, setting_value(value), "as configured") for key, value in given]
    rows += [
        (str(each["key"]), setting_value(each["value"]), str(each["reason"]))
        for each in environment.get("settings", [])
    ]
    precision = environment.get("precision", {})
    if precision and not any(row[0] == "training.bf16" for row in rows):
        rows.append(("precision", str(precision["choice"]), str(precision["reason"])))
    return [*rows, ("seed", str(summary.config.seed), "of the configuration")]


def environment(summary: RunSummary) -> list[tuple[str, str]]:
    found = summary.environment
    model, hardware = found.get("model", {}), found.get("hardware", {})
    rows = [
        ("Pretrained model", summary.model_name),
        ("its commit", model.get("revision")),
        *((f"sha256 of {name}", value) for name, value in (model.get("sha256") or {}).items()),
        ("its licence", model.get("license")),
        ("Architecture", model.get("architecture")),
        ("Device", " ".join(str(hardware[key]) for key in ("device", "name") if hardware.get(key))),
        ("Memory", size(hardware["memory_bytes"]) if hardware.get("memory_bytes") else None),
        ("Processes", found.get("processes")),
        ("hf_tl", found.get("hf_tl")),
        ("Python", found.get("python")),
        *sorted((found.get("packages") or {}).items()),
        ("Git commit", found.get("git")),
        ("Made", found.get("created")),
    ]
    return [(str(key), str(value)) for key, value in rows if value]


def files(summary: RunSummary) -> list[tuple[str, str, str]]:
    """(name, size, what it is) of the run folder; the report and the card are about to be written."""
    out = []
    for name, what in FILES.items():
        path = summary.folder / name
        inside = path.rglob("*") if path.is_dir() else [path]
        held = sum(file.stat().st_size for file in inside if file.is_file())
        if name in ("README.md", "report.html"):
            out.append((name, "", what))
        elif held:
            out.append((name, size(held), what))
    return out


def command(summary: RunSummary) -> str:
    """What makes this run again."""
    found = remake_command(summary.config, {"model": _revision(summary, "model"), "data": _revision(summary, "data")})
    processes = int(summary.environment.get("processes") or 1)
    return f"{found} --processes {processes}" if processes > 1 else found


def _revision(summary: RunSummary, section: str) -> str | None:
    revision = summary.environment.get(section, {}).get("revision")
    return str(revision) if revision else None
