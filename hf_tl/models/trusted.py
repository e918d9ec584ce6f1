"""What of a model's folder may be loaded: safetensors, data, and code of a pinned commit where its user trusts it.

Everything here is read, nothing is run: configurations are checked before a library acts on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hf_tl.errors import ModelError, listing
from hf_tl.files import sha256
from hf_tl.hub.client import PICKLES
from hf_tl.io.json_text import read_json, read_object
from hf_tl.models.custom import FILE, MODEL_TYPE, own_auto_maps, own_source
from hf_tl.models.weights import check_index, check_weights

CODE = ("auto_map", "custom_pipelines")
"""Keys of a configuration, at any depth, below which classes of code are named."""
GENERATE = "custom_generate/generate.py"
"""What Transformers runs in place of `generate` where the model is trusted."""
LOCAL = re.compile(r"[A-Za-z_][\w-]*(/[A-Za-z_][\w-]*)*\.[A-Za-z_]\w*")
"""`module.Class` of a file in the model's own folder."""
OTHER_MODELS = (
    "adapters",
    "shadow_model",
    "megatron_config",
    "tokenizer_name_or_path",
    "prompt_tuning_init_state_dict_path",
)
"""Fields of an adapter's configuration by which PEFT reads further models or imports packages."""
KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
"""Fields of a model's configuration for which Transformers can fetch compiled code."""
TIMM = {"timm_wrapper": "architecture", "timm_backbone": "backbone"}
"""Model type -> the field that names an architecture of timm, which may be a place to load from as well."""
MODULES = {"Transformer", "Pooling", "Normalize", "Dense", "LayerNorm"}
"""Classes of sentence-transformers that a model may be made of: they read their settings and safetensors alone."""
TIMM_FILES = ("checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
"""Arguments of timm's `create_model` that name files."""


def safe_weights(id: str, folder: Path) -> list[Path]:
    """The safetensors files of a model, their headers and the index checked.

    Raises:
        ModelError: there are none, or one is damaged.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickles = sorted(file.name for file in folder.iterdir() if file.name.endswith(PICKLES))
        what = f"only {listing(pickles)}, which can run code when loaded" if pickles else "no weights"
        raise ModelError(
            f"model: {id} holds {what}; hf_tl loads safetensors only. "
            "The Hub's space 'safetensors/convert' makes a pull request with them."
        )
    check_weights(weights)
    check_index(folder)
    return weights


def check_adapter(id: str, folder: Path) -> None:
    """Raises ModelError unless the adapter's weights are safetensors, as PEFT would take a pickle, and its base is all
    that it needs."""
    if not (folder / "adapter_model.safetensors").exists():
        pickles = sorted(file.name for file in folder.glob("adapter_model.*"))
        what = f"only {listing(pickles)}, which can run code when loaded" if pickles else "no adapter_model.safetensors"
        raise ModelError(f"model: the adapter {id} holds {what}; hf_tl loads safetensors only.")
    said = read_adapter(folder)
    others = [name for name in OTHER_MODELS if said.get(name)]
    if others:
        raise ModelError(
            f"model: adapter_config.json of {id} names further things to load ({listing(others)}); "
            "hf_tl loads adapters on one base model and nothing else."
        )


def read_adapter(folder: Path) -> dict[str, Any]:
    """What an adapter's `adapter_config.json` says.

    Raises:
        ModelError: it is damaged, or names no base model.
    """
    file = folder / "adapter_config.json"
    found = read_object(file, error=ModelError)
    base, revision = found.get("base_model_name_or_path"), found.get("revision")
    if not isinstance(base, str) or not base.strip():
        raise ModelError(f"{file}: base_model_name_or_path is {base!r}, expected the id or folder of the base model.")
    if revision is not None and not isinstance(revision, str):
        raise ModelError(f"{file}: revision is {revision!r}, expected a branch, tag or commit of the base model.")
    return found


def check_base(id: str, base: str, folder: Path) -> None:
    """Raises ModelError where an adapter's base is itself an adapter, which would name a base of its own."""
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"model: the base of the adapter {id}, {base}, is an adapter too; merge that into its base first."
        )


def check_configurations(id: str, folder: Path) -> None:
    """Raises ModelError where a configuration has a library fetch compiled code or read files of its choice."""
    for name, said in configurations(id, folder).items():
        for part in _mappings(said):
            for key in KERNELS:
                if "/" in str(part.get(key) or ""):
                    raise ModelError(
                        f"model: {name} of {id} asks for compiled code of the Hub ({key}: {part[key]!r}), which no "
                        f"revision pins; set model.attn_implementation to sdpa or eager, or take {key} out."
                    )
            field = TIMM.get(str(part.get("model_type")))
            field = field or ("backbone" if isinstance(part.get("backbone"), str) else None)
            if field and not re.fullmatch(r"[\w.-]*", str(part.get(field) or "")):
                raise ModelError(
                    f"model: {name} of {id} names {part[field]!r} as {field}; expected a name of timm "
                    "such as resnet50, not a place to load from."
                )
            for key in ("model_args", "backbone_kwargs") if field else ():
                given = part.get(key)
                files = [each for each in TIMM_FILES if each in given] if isinstance(given, Mapping) else []
                if files:
                    raise ModelError(
                        f"model: {name} of {id} has timm load further files ({listing(files)} in {key}); take them out."
                    )
    _check_modules(id, folder)


def _check_modules(id: str, folder: Path) -> None:
    """What sentence-transformers would load by `modules.json`: classes of its own, and only the model that was looked
    at, which lies at the top."""
    file = folder / "modules.json"
    if not file.exists():
        return
    found = read_json(file, error=ModelError)
    for each in found if isinstance(found, list) else [found]:
        kind, path = (str(each.get(key, "")) for key in ("type", "path")) if isinstance(each, Mapping) else ("", "")
        known = re.fullmatch(r"sentence_transformers(\.\w+)*\.(\w+)", kind)
        if not known or known[2] not in MODULES:
            raise ModelError(
                f"model: modules.json of {id} names {kind!r}; hf_tl reads the modules {listing(sorted(MODULES))} "
                "of sentence_transformers."
            )
        if not re.fullmatch(r"[\w-]*", path) or (path and known[2] == "Transformer"):
            raise ModelError(
                f"model: modules.json of {id} has {known[2]} in {path!r}; expected the model at the top, and its "
                "further modules in folders of it."
            )
        if path and (folder / path / "config.json").exists():  # Normalize has none
            read_object(folder / path / "config.json", error=ModelError)


def configurations(id: str, folder: Path) -> dict[str, dict[str, Any]]:
    """File name -> what it says, of every configuration at the top of the folder: of the model in each of its
    versions, tokenizer, processors, generation, adapter.

    Raises:
        ModelError: one of them cannot be read, or has Transformers read another file in its place.
    """
    found = {file.name: read_object(file, error=ModelError, nan=True) for file in sorted(folder.glob("*config*.json"))}
    for name, said in found.items():
        if "configuration_files" in said:
            raise ModelError(
                f"model: {name} of {id} names other files to be read in its place (configuration_files), which hf_tl "
                "does not follow; take that key out."
            )
    return found


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping in a JSON value, at any depth."""
    todo = [value]
    while todo:
        found = todo.pop()
        if isinstance(found, Mapping):
            yield found
            todo += found.values()
        elif isinstance(found, list):
            todo += found


def code_references(id: str, folder: Path) -> list[tuple[str, str]]:
    """(file, `module.Class`) of all code that configurations name; of `custom_generate/generate.py` the file alone."""
    out = []
    for name, said in configurations(id, folder).items():
        for part in _mappings(said):
            out += [(name, reference) for key in CODE if key in part for reference in _strings(key, part[key])]
    return out + ([(GENERATE, "generate.generate")] if (folder / GENERATE).exists() else [])


def _strings(key: str, value: Any) -> list[str]:
    if key == "auto_map":  # {"AutoModel": "module.Class"}, lists of them, or a bare list in old tokenizers
        parts = list(value.values()) if isinstance(value, Mapping) else [value]
    else:  # {"task": {"impl": "module.Class", "pt": [stock classes]}}
        parts = (
            [each.get("impl") for each in value.values() if isinstance(each, Mapping)]
            if isinstance(value, Mapping)
            else []
        )
    flat = [one for part in parts for one in (part if isinstance(part, list) else [part])]
    return [str(one) for one in flat if one is not None]


def trusted_code(id: str, folder: Path, *, pinned: bool) -> dict[str, str]:
    """Path below `folder` -> sha256 of each Python file of a model that its user trusts; empty where none is named.

    Trusted code is that of the folder, or of the commit that was fetched; code in another repository would follow that
    one's main, and so would code that is named by this repository's own id.

    Args:
        pinned: whether the folder is a commit in the Hub's cache, whose files are links.

    Raises:
        ModelError: a configuration of the model names code elsewhere.
    """
    named = code_references(id, folder)
    for name, reference in named:
        repo, dashes, _ = reference.rpartition("--")
        if dashes:
            raise ModelError(
                f"model: {name} of {id} names code in {repo!r}, which no revision pins; "
                "copy that code beside the weights, read it, name it without the repository, and load that folder."
            )
        if not LOCAL.fullmatch(reference):
            raise ModelError(
                f"model: {name} of {id} names code as {reference!r}, expected module.Class of its own folder."
            )
    if not named:
        return {}
    files = sorted(file for file in folder.rglob("*.py") if file.is_file())
    outside = [] if pinned else [file for file in files if not file.resolve().is_relative_to(folder.resolve())]
    if outside:
        raise ModelError(
            f"model: {outside[0].relative_to(folder)} of {id} is a link to {outside[0].resolve()}; "
            "code runs from the folder that was trusted alone."
        )
    return {file.relative_to(folder).as_posix(): sha256(file) for file in files}


def check_same_code(folder: Path, code: Mapping[str, str]) -> None:
    """Raises ModelError where a model that was saved has other code beside it than was trusted.

    Args:
        code: path -> sha256 of what was trusted.
    """
    for file in sorted(folder.rglob("*.py")):
        if sha256(file) not in code.values():
            raise ModelError(f"{file}: not the code of the pretrained model that was trusted; it is not run.")


def has_own_head(folder: Path) -> bool:
    """Whether the model has one of hf_tl's own heads, by what its configuration says."""
    file = folder / "config.json"
    return file.exists() and read_object(file, error=ModelError, nan=True).get("model_type") == MODEL_TYPE


def not_ours(folder: Path) -> str | None:
    """Why a model with one of our heads may not be run by others as it lies there; None where its code is ours alone.

    Others run the copy that lies beside the weights, so it has to be, byte for byte, that of the installed package, and
    nothing else may be named.
    """
    said = read_object(folder / "config.json", error=ModelError, nan=True)
    if said.get("auto_map") not in own_auto_maps():
        return "auto_map of config.json names other classes than hf_tl's"
    ours = sorted(said["auto_map"].values())
    others = sorted(reference for _, reference in code_references(str(folder), folder))
    if others != ours:
        return f"its configurations name code of others ({', '.join(sorted({*others} - {*ours})) or 'twice'})"
    file = folder / FILE
    if not file.is_file() or file.read_bytes() != own_source():
        return f"{FILE} is not that of this hf_tl: of another version, or of somebody else"
    return None
