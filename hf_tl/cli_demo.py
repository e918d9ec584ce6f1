"""The command `demo`."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from hf_tl.console import plain, show, working
from hf_tl.options import Debug, Json, Trust


def demo(
    model: Annotated[str, typer.Argument(help="Run folder, model folder, adapter or Hub id.")],
    push_space: Annotated[
        str | None, typer.Option(metavar="ME/NAME", help="Push the page as a Space in place of showing it here.")
    ] = None,
    private: Annotated[bool | None, typer.Option("--private/--public", help="Who may see the Space.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on this machine; default the first free from 7860 on.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the model.")] = None,
    trust: Trust = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show a finished model as a page in the browser, or push that page as a Space.

    The page is for this machine alone (127.0.0.1); Ctrl-C ends it.
    """
    with working():
        from hf_tl.sharing.demo import demo as run_it

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
