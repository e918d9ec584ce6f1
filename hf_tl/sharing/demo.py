"""`demo`: a Gradio app for a finished model, here or as a Space.

There is one app: an `app.py` that needs public packages alone. It is written from `Task.demo`, and what is
shown here is the very file that a Space gets.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hf_tl.compat import declare_torchvision_operators
from hf_tl.config import HubConfig, ModelConfig
from hf_tl.errors import ConfigError, HubError, ModelError, listing
from hf_tl.hub.client import fetch_model
from hf_tl.hub.patience import say
from hf_tl.hub.upload import Pushed, announce, check_target, push_folder, stoppable, visibility
from hf_tl.io.command_line import command_line
from hf_tl.io.json_text import read_object
from hf_tl.io.quiet import quiet
from hf_tl.models.carried import base_of
from hf_tl.models.custom import MODEL_TYPE
from hf_tl.models.pretrained import find_pretrained, read_config, task_of
from hf_tl.models.trusted import not_ours
from hf_tl.run_folder import RunFolder, is_run_folder, read_part
from hf_tl.sharing.demo_app import DemoApp, app_source, space_files
from hf_tl.task import Demo, Task, all_tasks
from hf_tl.tasks._template_bounds import check_folder

HOST = "127.0.0.1"


def demo(
    model: str,
    *,
    push_space: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    port: int | None = None,
    browser: bool = True,
    trust_remote_code: bool = False,
) -> Any:
    """Shows a Gradio app of a finished model.

    Args:
        model: run folder, model folder, adapter or Hub id.
        push_space: id of a Space to push the app to, which loads the model from the Hub; in place of showing it here.
        private: who may see the Space; None: private, and of one that is there already as it is.
        port: None: the first that is free from 7860 on.

    Returns:
        The running app: Gradio's `Blocks`, with `local_url`, `block_thread()` and `close()`; with `push_space` what
        was `Pushed`.

    Raises:
        ConfigError: Gradio is not installed, the port is taken, or the model is not on the Hub for a Space.
        ModelError: no such model, or one whose task has no demo.
        HubError: the Hub refused or cannot be reached.
    """
    if push_space is None:
        _check_installed()
        return _show(describe_demo(model, revision, trust_remote_code), port, browser)
    app = describe_demo(model, revision, trust_remote_code, shared=True)
    hub = HubConfig(id=push_space, private=private, commit_message=f"Demo of {app.title}")
    again = command_line(
        "demo", model, push_space=push_space, private=private, revision=revision, trust_remote_code=trust_remote_code
    )
    return _push(app, model, hub, again)


def describe_demo(model: str, revision: str | None = None, trust: bool = False, *, shared: bool = False) -> DemoApp:
    """The demo app of a model; with `shared` it loads the model from the Hub.

    Here one of hf_tl's heads is loaded with the installed class, and `trust` is the user's word alone. A Space has no
    hf_tl and runs the copy beside the weights: of one commit, and only where that is the installed package's file.

    Raises:
        ConfigError: with `shared`, the model is not on the Hub.
        ModelError: no such model, one whose task has no demo, or with `shared` one of our heads with code of others.
    """
    declare_torchvision_operators()
    run = RunFolder(model) if is_run_folder(model) else None
    folder = run.model if run is not None else Path(model)
    where, at, alone = (str(folder.resolve()) if folder.is_dir() else model), revision, False
    commit: str | None = None
    if shared and run is not None:
        pushed = run.state.get("pushed")
        if not isinstance(pushed, dict):
            share = command_line("push", model, "ME/NAME")
            raise ConfigError(f"{model}: a Space loads the model from the Hub; share it first: {share}")
        where, alone, at = str(pushed["id"]), pushed.get("merge") is False, revision or pushed.get("revision")
        commit = str(run.state["commit"])
    elif shared and folder.is_dir():
        raise ConfigError(f"{model}: a Space loads the model from the Hub, so give its id; this is a folder.")
    source = str(folder / "adapter") if alone else model
    found = find_pretrained(ModelConfig(id=source, revision=None if run else revision, trust_remote_code=trust))
    own = found.adapter or found.path
    if not (own / "config.json").exists():
        raise ModelError(f"{model}: this adapter comes without config.json, so its labels are not known.")
    check_folder(own)
    config = found.config if found.adapter is None else read_config(found, own)
    if shared and not trust and config.model_type == MODEL_TYPE:
        check_shared_head(where, revision or commit or found.revision)
        trust = True
    if trust and found.adapter is None:  # code is run by its commit alone
        at = revision or commit or found.revision
    task = task_of(config, model, own)
    return DemoApp(
        demo=_choose(task, model, {*_columns(run), *(["chat_template"] if _chats(own) else [])}),
        task=task,
        config=config,
        folder=own,
        model=where,
        title=run.folder.resolve().name if run is not None and not shared else where if shared else _name(model),
        on_hub=shared or not folder.is_dir(),
        revision=at,
        trust=trust,
        base=None if found.adapter is None else base_of(found.adapter),
    )


def check_shared_head(id: str, revision: str | None) -> None:
    """Raises ModelError unless the code of a model on the Hub is that of the installed package, as a Space runs it."""
    folder, _ = fetch_model(id, revision)
    wrong = not_ours(folder)
    if wrong:
        raise ModelError(
            f"{id}: {wrong}; a Space would run it. Read that code first; --trust-remote-code allows it then."
        )


def _choose(task: Task, model: str, has: set[str]) -> Demo:
    """The first demo whose needs are met."""
    for each in task.inference.demo:
        if not each.needs or each.needs in has:
            return each
    names = listing((each.name for each in all_tasks() if each.inference.demo), most=30)
    raise ModelError(f"{model}: there is no demo for {task.name}; there are demos for {names}.")


def _name(model: str) -> str:
    return Path(model).resolve().name if Path(model).is_dir() else model


def _columns(run: RunFolder | None) -> list[str]:
    """Roles of the data that a run learned from."""
    file = run.folder / "environment.json" if run is not None else None
    if file is None or not file.exists():
        return []
    return list(read_part(file).get("data", {}).get("columns") or {})


def _chats(folder: Path) -> bool:
    """Whether the tokenizer says how a conversation is written."""
    file = folder / "tokenizer_config.json"
    return (folder / "chat_template.jinja").exists() or (
        file.exists() and "chat_template" in read_object(file, error=ModelError, nan=True)
    )


def _check_installed() -> None:
    missing = [name for name in ("gradio", "captum") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"demo needs {listing(missing)}: pip install 'hf_tl[demo]'")


def _show(app: DemoApp, port: int | None, browser: bool) -> Any:
    """The app at 127.0.0.1, in this process: nothing is sent anywhere, and uploads are gone with the process."""
    folder = Path(tempfile.mkdtemp(prefix="hf_tl-demo-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    (folder / "app.py").write_text(app_source(app), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("hf_tl_demo_app", folder / "app.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        with quiet():
            spec.loader.exec_module(module)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ModelError(f"{app.model}: it brings its own code, which runs only with --trust-remote-code.") from error
    try:
        module.demo.launch(
            theme=module.THEME,
            server_name=HOST,
            server_port=port,
            inbrowser=browser,
            share=False,
            ssr_mode=False,
            enable_monitoring=False,
            footer_links=[],
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError:
        taken = f"{port} is taken; choose another, or none" if port else "none is free from 7860 on; choose one"
        raise ConfigError(f"--port: {taken}.") from None
    return module.demo


def _push(app: DemoApp, model: str, hub: HubConfig, again: str) -> Pushed:
    try:
        target = check_target(hub, "space")
        hidden = visibility(app.model)
    except HubError as error:
        raise HubError(f"{error} Nothing was sent; continue with: {again}") from error.__cause__
    announce(target)
    if hidden is not False:
        said = "is private" if hidden else f"is not seen by the login of {target.id.partition('/')[0]}"
        say(
            f"The model {app.model} {said}: the Space loads it once its settings hold a secret HF_TOKEN that may read "
            "it; whoever sees the Space then gets the model's answers."
        )
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, text in space_files(app, private=target.private, hidden=hidden is not False).items():
            files[name] = Path(folder) / name
            files[name].write_text(text, encoding="utf-8")
        with stoppable(model, again):
            return push_folder(
                Path(model),
                hub,
                files=files,
                message=hub.commit_message,
                resume_command=again,
                kind="space",
                announced=True,
            )
