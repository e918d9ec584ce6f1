"""The commands about shared models: push, verify, reproduce, demo."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, Any

import typer

from hf_tl.cli.options import BatchSize, DataPaths, Debug, Json, Trust
from hf_tl.io.console import plain, show, table, working

sharing_app = typer.Typer(rich_markup_mode=None)

Shared = Annotated[str, typer.Argument(metavar="REPO", help="Hub id, or a run folder.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit.")]


@sharing_app.command()
def push(
    run: Annotated[str, typer.Argument(help="Run folder.")],
    id: Annotated[str, typer.Argument(metavar="ME/NAME", help="Hub id.")],
    private: Annotated[bool | None, typer.Option("--private/--public", help="Who may see it.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch to push to, made when missing.")] = None,
    tag: Annotated[str | None, typer.Option(help="Tag for the commit.")] = None,
    message: Annotated[str | None, typer.Option(help="Commit message.")] = None,
    merge: Annotated[
        bool | None, typer.Option("--merge/--no-merge", help="Adapters: the merged model, or the adapter alone.")
    ] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request in place of a commit.")] = False,
    collection: Annotated[str | None, typer.Option(help="Collection to add it to: slug, or title.")] = None,
    examples: Annotated[
        bool | None, typer.Option("--examples/--no-examples", help="Whether the card quotes rows of the data.")
    ] = None,
    proof: Annotated[
        bool | None,
        typer.Option("--proof/--no-proof", help="Whether a clean process checks the model, before and after."),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option("--trust-remote-code", help="Run code of others that lies in the run's model/, for the proof."),
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Share a finished run on the Hub.

    The token is that of HF_TOKEN or `hf auth login`.
    """
    from hf_tl.config import hub_config

    hub = hub_config(
        id=id,
        private=private,
        revision=revision,
        tag=tag,
        commit_message=message,
        merge=merge,
        create_pr=create_pr,
        collection=collection,
        examples=examples,
    )
    with working():
        from hf_tl.commands.push import push as run_it

        pushed = run_it(run, hub, proof=proof, trust_remote_code=trust)
    result = {"id": pushed.repo_id, "commit": pushed.commit, "url": pushed.url, "changed": pushed.changed}
    show(result, plain(pushed.url) + ("" if pushed.changed else "  (nothing has changed)"), as_json)


@sharing_app.command()
def verify(
    model: Shared,
    data: DataPaths = None,
    revision: Revision = None,
    batch_size: BatchSize = None,
    trust: Trust = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a shared model again and compare its card's metrics with that.

    Exit code 1 where a figure does not hold. --data: for data that are on no Hub.
    """
    with working():
        from hf_tl.commands.verify import as_rows
        from hf_tl.commands.verify import verify as run_it

        result = run_it(model, data, revision=revision, batch_size=batch_size, trust_remote_code=trust)
    rows = table(as_rows(result), ("metric", "place", "card", "now", "95 % interval", "verdict"))
    verdict = "The card's metrics hold." if result["holds"] else "The card's metrics do NOT hold."
    lines = [
        f"{result['split']}, {result['samples']} samples",
        rows,
        *map(plain, [*result["failures"], *result["notes"]]),
        verdict,
    ]
    show(result, "\n".join(lines), as_json)
    if not result["holds"]:
        raise typer.Exit(1)


@sharing_app.command()
def reproduce(
    model: Shared,
    data: DataPaths = None,
    base: Annotated[
        str | None, typer.Option("--model", help="Folder of the pretrained model, where it is on no Hub.")
    ] = None,
    output: Annotated[str | None, typer.Option(help="Run folder; default runs/<name>-again.")] = None,
    revision: Revision = None,
    trust: Trust = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a shared model again from its card alone, and compare weights and metrics."""
    with working():
        from hf_tl.commands.reproduce import reproduce as run_it

        result: dict[str, Any] = run_it(
            model, data, base=base, output=output, revision=revision, trust_remote_code=trust
        )
    rows = [
        (name, f"{each['card']:.4f}", f"{each['now']:.4f}", f"{each['difference']:+.4f}")
        for name, each in result["metrics"].items()
    ]
    lines = [table(rows, ("", "card", "now", "difference")), f"weights: {result['weights']}", *result["differences"]]
    show(result, "\n".join(map(_lines, lines)), as_json)


@sharing_app.command()
def demo(
    model: Annotated[str, typer.Argument(help="Run folder, model folder, adapter or Hub id.")],
    push_space: Annotated[
        str | None, typer.Option(metavar="ME/NAME", help="Push the app as a Space in place of showing it here.")
    ] = None,
    private: Annotated[bool | None, typer.Option("--private/--public", help="Who may see the Space.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on this machine; default the first free from 7860 on.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the browser.")] = True,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the model.")] = None,
    trust: Trust = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show a finished model as a Gradio app in the browser, or push that app as a Space.

    The app is for this machine alone (127.0.0.1); Ctrl-C ends it.
    """
    with working():
        from hf_tl.commands.demo import demo as run_it

        done = run_it(
            model,
            push_space=push_space,
            private=private,
            revision=revision,
            port=port,
            browser=browser,
            trust_remote_code=trust,
        )
    if push_space:
        show(
            {"id": done.repo_id, "commit": done.commit, "url": done.url},
            plain(done.url.partition("/commit/")[0]),
            as_json,
        )
        return
    show({"url": done.local_url}, f"{done.local_url}   (Ctrl-C ends it)", as_json)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # what was uploaded goes with the process
    with working():
        done.block_thread()


def _lines(text: str) -> str:
    return "\n".join(plain(line) for line in text.splitlines())
