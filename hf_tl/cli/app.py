"""The command line: typer parses, and a command imports the one function it needs when it runs.

Exit codes: 0 done, 1 a fault in hf_tl or below, 2 the user's input, 3 stopped on request, 4 the Hub.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hf_tl import __version__
from hf_tl.cli.exit_codes import guarded
from hf_tl.cli.options import (
    SETTING,
    BatchSize,
    DataPaths,
    Debug,
    Json,
    MethodName,
    Model,
    Seed,
    Split,
    TaskName,
    Trust,
    Words,
    app,
    configure,
    data_settings,
    flags_behind,
    recipes_app,
)
from hf_tl.cli.sharing import sharing_app
from hf_tl.errors import ConfigError
from hf_tl.files import replacing_file
from hf_tl.io.command_line import command_line
from hf_tl.io.console import (
    between,
    check_rows_file,
    is_main_process,
    plain,
    say,
    shorten,
    show,
    shown,
    table,
    to_json,
    working,
    write_rows,
)

if TYPE_CHECKING:
    from hf_tl.config import RunConfig

app.add_typer(sharing_app)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"hf_tl {__version__}")
        raise typer.Exit


@app.command()
def train(
    context: typer.Context,
    words: Words = None,
    model: Model = None,
    data: DataPaths = None,
    task: TaskName = None,
    method: MethodName = None,
    output: Annotated[str | None, typer.Option(help="Run folder; default runs/<model>-<data>-<method>.")] = None,
    push: Annotated[str | None, typer.Option(metavar="ME/NAME", help="Hub id to share the result under.")] = None,
    on_change: Annotated[
        str | None,
        typer.Option(metavar="new|stop", help="Where the run folder holds a run of other data: train anew, or stop."),
    ] = None,
    proof: Annotated[
        bool | None, typer.Option("--proof/--no-proof", help="Whether a clean process checks the saved model.")
    ] = None,
    seed: Seed = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Processes on this machine, one per GPU.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Adapt a pretrained model to data and measure it.

    Example: hf-tl train --model google/vit-base-patch16-224-in21k --data beans --method lora
    """
    flags: dict[str, Any] = {"model": model, "task": task, "method": method, "output": output, "hub": push}
    config = configure(words, data=data, **flags, on_change=on_change, proof=proof, seed=seed)
    if processes and processes > 1:
        from hf_tl.cli.launch import launch, without_option

        launch(without_option(context.obj, "--processes"), processes)
        return
    _train(config, as_json)


def _train(config: RunConfig, as_json: bool) -> None:
    with working():
        from hf_tl.commands.train import finetune

        run = finetune(config)
        result = {"run": str(run.folder), **run.metrics} if is_main_process() else {}
    folder = plain(run.folder)
    shared = "" if config.hub else f"\n  {command_line('push', run.folder, 'ME/NAME')}   # share it on the Hub"
    text = f"Next:\n  {command_line('predict', run.folder, 'INPUT...')}{shared}\n  open {folder}/report.html"
    show(result, text, as_json)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Run folder, model folder, adapter or Hub id.")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", help="Hub id, folder, file or archive; may be repeated. Default: a run's held-out rows."
        ),
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Settings of data, such as data.columns.text=body."),
    ] = None,
    split: Split = None,
    batch_size: BatchSize = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the model.")] = None,
    trust: Trust = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a finished model on data, read as in its own run unless said otherwise."""
    given = data_settings(words, data)
    options: dict[str, Any] = {
        "split": split,
        "revision": revision,
        "batch_size": batch_size,
        "trust_remote_code": trust,
    }
    with working():
        from hf_tl.commands.evaluate import evaluate as run_it
        from hf_tl.metrics.intervals import too_few

        result = run_it(model, given, **options)
    for note in result.get("notes", ()):
        say(note)
    rows = [(name, f"{m['value']:.4f}", between(m, 4)) for name, m in result["metrics"].items()]
    name, value = next(iter(result["metrics"].items()))
    if few := too_few(result["samples"], result["split"], name, value):
        say(few)
    text = f"{result['split']}, {result['samples']} samples\n" + table(rows, ("", "value", "95 % interval"))
    show(result, text, as_json)


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="Run folder, model folder, adapter or Hub id.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUT]... [data.KEY=VALUE]...",
            help="Texts or image files, tables or folders; - reads one input per line from stdin.",
        ),
    ] = None,
    data: Annotated[list[str] | None, typer.Option("--data", help="A dataset in place of inputs.")] = None,
    split: Split = None,
    output: Annotated[
        Path | None,
        typer.Option(help="File to write: .jsonl, .csv or .parquet."),
    ] = None,
    batch_size: BatchSize = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the model.")] = None,
    trust: Trust = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Predict with a finished model.

    A table or folder (or --data) is read as in the model's own run, and its columns stand beside each prediction.
    With --json: one object per line and input. In CSV, a text that a spreadsheet would run has an apostrophe before it.
    """
    words = [word for word in inputs or () if SETTING.match(word)]
    given: list[Any] = [word for word in inputs or () if not SETTING.match(word)]
    if bool(given) == bool(data):
        raise ConfigError("predict: give either inputs, such as a text, an image file or a table, or --data.")
    if output:
        check_rows_file(output)
    with working():
        from hf_tl.commands.predict import predict as run_it
        from hf_tl.inference.inputs import read_words

        asked: Any = data_settings(words, data)
        if not data:
            found = [line.rstrip("\r\n") for line in sys.stdin] if given == ["-"] else read_words(given)
            if isinstance(found, list) and words:
                raise ConfigError(f"{words[0]!r}: is a setting of data, and there are none; name a table or a folder.")
            asked = {**(asked or {}), **found} if isinstance(found, dict) else found
        if isinstance(asked, dict) and split:
            asked["splits"] = {"test": split}
        options: dict[str, Any] = {"revision": revision, "batch_size": batch_size, "trust_remote_code": trust}
        predictions = run_it(model, asked, **options)
    if isinstance(asked, dict):
        rows = [{"row": index, **row} for index, row in enumerate(predictions)]
    else:
        rows = [{"input": str(item), **row} for item, row in zip(asked, predictions, strict=True)]
    if output:
        write_rows(rows, output)
        say(f"{len(rows)} predictions written to {output}")
    if as_json:
        print("\n".join(to_json(row) for row in rows), flush=True)
    elif not output:
        print(shown(_prediction_table(rows)), flush=True)


def _prediction_table(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = []
    for row in rows:
        first = shorten(row.get("input", row.get("file", row.get("row"))))
        score = f"{row['score']:.3f}" if isinstance(row.get("score"), float) else ""
        label = row.get("label", "") if "labels" not in row else ", ".join(map(str, row["labels"])) or "(none)"
        cells.append((label, score, first))
    return table(cells)


@app.command()
def preview(
    words: Words = None,
    model: Model = None,
    data: DataPaths = None,
    task: TaskName = None,
    output: Annotated[str | None, typer.Option(help="PNG file for the images.")] = None,
    samples: Annotated[int, typer.Option(min=1, max=64, help="How many rows to show.")] = 8,
    seed: Seed = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what the model will really see.

    Tokens and what is cut, augmented images, the label map, what was dropped and why.
    """
    config = configure(words, data=data, model=model, task=task, output=output, seed=seed)
    with working():
        from hf_tl.commands.preview import as_text
        from hf_tl.commands.preview import preview as run_it

        result = run_it(config, samples=samples, output=config.output)
    show(result, as_text(result), as_json)


@app.command()
def tasks(as_json: Json = False, debug: Debug = False) -> None:
    """List the tasks: what data they read, and the methods that adapt a model to them.

    Columns of a form stand together; a column is known by its usual names (--json lists them) or by data.columns.
    """
    from hf_tl.task import about, all_tasks

    found = [about(task) for task in all_tasks()]
    lines = []
    for each in found:
        columns = " | ".join(", ".join(form) for form in each["forms"])
        rows = [("columns", columns), ("methods", ", ".join(each["methods"])), ("best by", each["best_metric"])]
        rows.append(("options", ", ".join(each["options"])))
        lines += [f"{each['name']}: {each['summary']}", table([(f"  {key}", value) for key, value in rows])]
    show(found, "\n".join(lines), as_json)


@app.command()
def doctor(as_json: Json = False, debug: Debug = False) -> None:
    """Check the installation, the hardware, the Hub and the cache."""
    with working():
        from hf_tl.commands.doctor import doctor as run_it

        result = run_it()
    show(result, "\n".join(plain(line) for line in result["lines"]), as_json)
    if not result["healthy"]:
        raise typer.Exit(1)


@app.command()
def schema(
    output: Annotated[Path | None, typer.Option(help="File to write.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Print the JSON schema of the configuration, for editors."""
    import json

    if output is not None and not output.parent.is_dir():
        raise ConfigError(f"--output: there is no folder {output.parent}.")
    with working():
        from hf_tl.commands.schema import schema as run_it

        result = run_it()
    text = json.dumps(result, indent=2, ensure_ascii=False)
    if output is None:
        show(result, text, as_json)
        return
    with replacing_file(output) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    show({"path": str(output)}, f"# yaml-language-server: $schema={plain(output)}", as_json)


@app.command()
def quickstart(
    output: Annotated[Path, typer.Option(help="Folder to write.")] = Path("runs/quickstart"),
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions of every method.")] = 3,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """See transfer learning work, without network.

    Pretrains a small network on the handwritten digits 0 to 4 and transfers it to 5 to 9 in about two minutes.
    """
    with working():
        from hf_tl.commands.quickstart import quickstart as run_it
        from hf_tl.reporting.comparison import comparison_text

        result = run_it(output, seeds=seeds)
    show(result, comparison_text(result), as_json)


@recipes_app.callback(invoke_without_command=True)
def _recipes(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        recipes_list()


@recipes_app.command("list")
def recipes_list(as_json: Json = False, debug: Debug = False) -> None:
    """List the recipes."""
    from hf_tl.commands.recipes import describe, recipe_files

    found = {name: describe(file) for name, file in recipe_files().items()}
    result = [{"name": name, "summary": summary} for name, summary in found.items()]
    show(result, table(list(found.items())), as_json)


@recipes_app.command("copy")
def recipes_copy(
    name: Annotated[str, typer.Argument(help="Name from `hf-tl recipes list`.")],
    to: Annotated[Path, typer.Option(help="Folder.")] = Path("."),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Copy a recipe, to make it yours."""
    from hf_tl.commands.recipes import copy_recipe

    path = copy_recipe(name, to)
    show({"path": str(path)}, plain(path), as_json)


@recipes_app.command("run")
def recipes_run(
    name: Annotated[str, typer.Argument(help="Name from `hf-tl recipes list`.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[key=value]...")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a recipe; any field of its configuration can be overridden."""
    from hf_tl.commands.recipes import run_recipe

    run_recipe(name, [*(overrides or ()), *(["--json"] if as_json else []), *(["--debug"] if debug else [])])


def recipe(config: Mapping[str, Any]) -> None:
    """The main of a recipe: its CONFIG, with the command line's `key=value` on it, trained.

    Ends the process with the exit code of `hf-tl train` where something goes wrong.
    """
    arguments = sys.argv[1:]
    options = {word for word in arguments if word.startswith("-")}

    def run() -> None:
        unknown = sorted(options - {"--json", "--debug"})
        if unknown:
            raise ConfigError(f"{unknown[0]}: a recipe takes key=value, --json and --debug, such as method.r=16.")
        words = [word for word in arguments if word not in options]
        _train(configure(words, base=config), "--json" in options)

    code = guarded(run, debug="--debug" in options, last=True, again=("python", *sys.argv))
    if code:
        sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    words = flags_behind(list(sys.argv[1:] if arguments is None else arguments))

    def run() -> Any:
        command = typer.main.get_command(app)
        return command.main(args=words or ["--help"], prog_name="hf-tl", standalone_mode=False, obj=words)

    return guarded(run, debug="--debug" in words, last=arguments is None, again=("hf-tl", *words))
