"""What of a pretrained model's folder is carried into ours: its own files alone, and no path or token of a machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf_tl.config import ELSEWHERE
from hf_tl.errors import ModelError
from hf_tl.hub.client import PICKLES
from hf_tl.io.json_text import read_json, read_object
from hf_tl.io.yaml_text import read_yaml
from hf_tl.models.custom import own_auto_maps
from hf_tl.models.trusted import CODE, read_adapter

PROCESSORS = ("tokenizer_config.json", "special_tokens_map.json", "preprocessor_config.json", "processor_config.json")
NAMING = re.compile(r".*_(?:file|files|path|dir)|vocab|merges|init_inputs|source_spm|target_spm|font")
"""Keys of these files whose value Transformers may open."""
SECRET = {"token", "use_auth_token", "auth_token", "hub_token", "api_key", "hf_token"}
PRIVATE = {"name_or_path", "_name_or_path"}
BARE = re.compile(r"[\w-][\w.-]*")
WEIGHTS = (".safetensors", *PICKLES, ".onnx", ".gguf", ".msgpack", ".ot")
LABELS = {"id2label", "label2id"}
DATA = {"tokenizer.json", "vocab.json", "added_tokens.json"}
"""Vocabularies: names of words, not settings."""
_held: list[Any] = []
"""Cleaned copies, which last as long as the process: some tokenizers copy their files when they are saved."""


def check_links(id: str, folder: Path) -> None:
    """Raises ModelError where a file of a model, weights aside, is a link that leads out of its folder (or out of the
    Hub's cache, which is made of links): what it leads to would be carried into the adapted model. And where something
    is neither file nor folder: a pipe has no end."""
    if not folder.is_dir():
        return
    own = [folder.resolve()]
    if folder.parent.name == "snapshots":
        own.append(folder.parent.parent.resolve() / "blobs")
    for file in (*folder.iterdir(), *(folder / "additional_chat_templates").glob("*")):
        if file.is_symlink() and not file.name.endswith(WEIGHTS):
            where = file.resolve()
            if not any(where.is_relative_to(each) for each in own):
                raise ModelError(
                    f"model: {file.name} of {id} is a link to something outside of its folder; put the file there."
                )
        if file.exists() and not file.is_file() and not file.is_dir():
            raise ModelError(f"model: {file.name} of {id} is neither a file nor a folder; take it out.")


def processor_folder(folder: Path) -> Path:
    """Where to load a tokenizer or an image processor of `folder` from: there, or, where its configuration names files
    to open, from a copy without those names."""
    cleaned: dict[str, Any] = {}
    for name in PROCESSORS:
        if (folder / name).is_file():
            found = read_object(folder / name, error=ModelError, nan=True)
            less = _without(found, _opens)
            if less != found:
                cleaned[name] = less
    if not cleaned:
        return folder
    copy = tempfile.TemporaryDirectory(prefix="hf_tl-processor-")
    _held.append(copy)
    for file in folder.iterdir():
        if file.is_file() and not file.name.endswith(WEIGHTS):
            shutil.copyfile(file, Path(copy.name) / file.name)
    if (folder / "additional_chat_templates").is_dir():
        shutil.copytree(folder / "additional_chat_templates", Path(copy.name) / "additional_chat_templates")
    for name, values in cleaned.items():
        _write(Path(copy.name) / name, values)
    return Path(copy.name)


def _opens(key: str, value: Any) -> bool:
    """Whether Transformers may open what a key of a processor's configuration names. A bare name too would be looked
    for in the current folder; only the list of versions of tokenizer.json is read from the model's."""
    if key == "fast_tokenizer_files" and isinstance(value, list):
        return not all(isinstance(each, str) and BARE.fullmatch(each) for each in value)
    return bool(NAMING.fullmatch(key) and value and (isinstance(value, str) or key == "init_inputs"))


def without_paths(folder: Path, base: str | None = None) -> None:
    """Takes paths of this machine and tokens out of the configurations in a folder that was saved.

    Args:
        base: what an adapter's base is called, where it is on the Hub; a folder is written `path/to/<last part>`.
    """
    for file in folder.rglob("*.json"):
        if file.name in DATA or file.name.endswith(".index.json"):
            continue
        found = read_json(file, error=ModelError, nan=True)
        less = _without(found, lambda key, _: key in SECRET or key in PRIVATE)
        if file.name == "adapter_config.json" and isinstance(less, dict):
            named = less.get("base_model_name_or_path")
            if isinstance(named, str):
                less["base_model_name_or_path"] = base or shared_name(named)
        less = _elsewhere(less)
        if less != found:
            _write(file, less)


def without_code(folder: Path) -> None:
    """Takes out what configurations in a folder that was saved say of code, but for that of our own heads: where nobody
    trusted the pretrained model's, it did not run, and does not lie there."""
    for file in folder.rglob("*config*.json"):
        found = read_object(file, error=ModelError, nan=True)
        less = _without(found, lambda key, value: key in CODE and not isinstance(value, int))
        if file.name == "config.json" and found.get("auto_map") in own_auto_maps():
            less["auto_map"] = found["auto_map"]
        if less != found:
            _write(file, less)


def shared_name(named: str) -> str:
    """What others call a model: its Hub id, also of a folder of the Hub's cache; of another folder its last part."""
    cached = re.search(r"models--([^/\\]+)--([^/\\]+)[/\\]snapshots[/\\][0-9a-f]+[/\\]?$", named)
    if cached:
        return f"{cached[1]}/{cached[2]}"
    if not Path(named).exists() and not _absolute(named):
        return named
    return ELSEWHERE + re.split(r"[/\\]", os.path.abspath(named).rstrip("/\\"))[-1]


def base_of(adapter: Path, at_home: Path | None = None, *, pinned: bool = False) -> tuple[str, str | None]:
    """(id or folder, revision) that the base of an adapter is loaded by; a folder that only its run knows is that.

    Args:
        at_home: where the adapter lies in its run, where `adapter` is a copy of it.
        pinned: whether the adapter is a commit of the Hub.

    Raises:
        ModelError: the base was a folder on the machine that made the adapter, or none is named; or the adapter is the
            Hub's, and its base would be a folder of this machine.
    """
    said = read_adapter(adapter)
    named, revision = str(said["base_model_name_or_path"]), said.get("revision")
    if pinned and os.path.lexists(os.path.expanduser(named)):
        raise ModelError(
            f"model: an adapter of the Hub names {named!r} as its base, which lies on this machine; nothing here is "
            "read because a repository names it. Download the adapter and load it from its folder, or start in "
            "another folder."
        )
    if not named.startswith(ELSEWHERE):
        return named, revision
    adapter = at_home or adapter
    run = adapter.parent.parent / "config.yaml"
    if run.is_file():
        model = read_yaml(run).get("model")
        id = str(model.get("id") if isinstance(model, dict) else model)
        if shared_name(id) == named:
            return id, revision
    raise ModelError(
        f"model: the base of the adapter {adapter} was the folder {named.removeprefix(ELSEWHERE)!r} on the machine "
        "that made it; load the merged model, or write that folder into adapter_config.json (base_model_name_or_path)."
    )


def _without(value: Any, unwanted: Callable[[str, Any], bool]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, unwanted) for key, item in value.items() if not unwanted(str(key), item)}
    return [_without(item, unwanted) for item in value] if isinstance(value, list) else value


def _elsewhere(value: Any, key: str = "") -> Any:
    """Folders and files of this machine by their last part."""
    if isinstance(value, dict):
        return {name: item if name in LABELS else _elsewhere(item, str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_elsewhere(item, key) for item in value]
    here = isinstance(value, str) and not key.endswith("_token") and _absolute(value) and value.count("/") > 1
    return shared_name(value) if here and os.path.lexists(os.path.expanduser(value)) else value


def _absolute(text: str) -> bool:
    return text.startswith(("/", "~", "\\\\", "..")) or bool(re.match(r"[A-Za-z]:[\\/]", text))


def _write(file: Path, values: Any) -> None:
    file.write_text(json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
