"""Finding and loading pretrained models and their processors, and finished models of hf_tl."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from hf_tl.config import ModelConfig
from hf_tl.data.card_file import license_of, tags_of
from hf_tl.data.kinds import processor_of
from hf_tl.data.timm_models import of_timm, processor_fields
from hf_tl.errors import ConfigError, ModelError, listing, shortened
from hf_tl.files import sha256
from hf_tl.hub.client import fetch_model
from hf_tl.io.quiet import no_warnings, quiet
from hf_tl.models.adapters import check_adapter_config, laid_upon
from hf_tl.models.bounds import building, check_files
from hf_tl.models.carried import base_of, check_links
from hf_tl.models.custom import MODEL_TYPE, goes_around, own_classes, register
from hf_tl.models.kept_head import kept_note
from hf_tl.models.layers import head_modules, loaded_note
from hf_tl.models.model_options import check_options
from hf_tl.models.resized import carry_over
from hf_tl.models.trusted import (
    check_adapter,
    check_base,
    check_configurations,
    safe_weights,
    trusted_code,
)
from hf_tl.run_folder import is_run_folder
from hf_tl.task import Targets, Task, all_tasks


@dataclass(frozen=True)
class Pretrained:
    """A model found and read, not yet loaded."""

    id: str
    """As the user wrote it."""
    path: Path
    """Folder with `config.json` and weights (the base's, for an adapter)."""
    revision: str | None
    """Commit sha, for a Hub id."""
    config: PreTrainedConfig
    adapter: Path | None = None
    """Folder of a PEFT adapter to apply to the base."""
    license: str | None = None
    hashes: dict[str, str] = field(default_factory=dict)
    """sha256 of each weights file."""
    trusted: Path | None = None
    """The folder whose code its user trusts: the model's, or the adapter's, but not its base's."""
    code: dict[str, str] = field(default_factory=dict)
    """Path below `trusted` -> sha256 of each file of that code; empty where it brings none."""

    def trusts(self, folder: Path) -> bool:
        return bool(self.code) and folder == self.trusted

    @property
    def files(self) -> list[Path]:
        """Its weights."""
        return [self.path / name for name in self.hashes]


@dataclass
class Loaded:
    """A model ready to be adapted."""

    model: PreTrainedModel
    heads: list[str]
    """Names of the modules that are new and must be trained and saved."""
    revision: str | None = None
    """Commit of the base model on the Hub, where it is from there."""
    notes: list[str] = field(default_factory=list)
    kept_head: bool = False
    """Whether the pretrained head does the same already, and goes on from there."""
    resized: list[str] = field(default_factory=list)
    """Names of the modules whose pretrained weights were changed to another size (`hf_tl.models.resized`), so that an
    adapter has to bring them."""


def find_pretrained(model: ModelConfig) -> Pretrained:
    """Downloads (or finds) a model, an adapter or a run, and reads its configuration.

    Code runs only with `trust_remote_code`, and then that of the folder or commit that `model` names: the base of an
    adapter is not it.

    Raises:
        ModelError: no such model, not safetensors, code that is not trusted or not pinned, or a configuration that
            Transformers does not know.
        ConfigError: a key of `model` that is neither an option of `from_pretrained` nor of the model's configuration.
        HubError: the Hub cannot be reached.
    """
    run = Path(model.id) / "model"
    path, revision = (run, None) if is_run_folder(model.id) and run.is_dir() else fetch_model(model.id, model.revision)
    adapter, pinned = None, revision is not None
    subfolder = (model.model_extra or {}).get("subfolder", "")
    named = path / subfolder
    if (path / "adapter_config.json").exists():
        adapter = named = path
        check_adapter(model.id, path)
        check_adapter_config(path)
        check_files(path)
        base, at = base_of(adapter, pinned=pinned)
        path, _ = fetch_model(base, at)
        check_base(model.id, base, path)
        check_configurations(model.id, adapter)
        check_links(model.id, adapter)
    check_links(model.id, path)
    if not (path / subfolder / "config.json").exists():
        raise ModelError(f"model: {model.id} has no config.json, so it is not a model that Transformers can load.")
    check_files(path / subfolder)
    check_configurations(model.id, path / subfolder)
    code = trusted_code(model.id, named, pinned=pinned) if model.trust_remote_code else {}
    found = Pretrained(model.id, path / subfolder, revision, PreTrainedConfig(), adapter, trusted=named, code=code)
    config = read_config(found, found.path)
    check_options(model, config)
    for key, value in model.config.items():
        try:
            setattr(config, key, value)
        except Exception as error:  # Transformers' fields have types, and rules of their own
            said = " ".join(str(error).split())[:300]
            raise ConfigError(
                f"model.config.{key}: found {shortened(value)}, which {model.id} refuses ({said})."
            ) from None
    hashes = {file.name: sha256(file) for file in safe_weights(model.id, path / subfolder)}
    return replace(found, config=config, license=license_of(path), hashes=hashes)


def read_config(found: Pretrained, folder: Path) -> PreTrainedConfig:
    """The configuration in one of the folders of a model.

    Raises:
        ModelError: Transformers does not know it, or it needs code that is not trusted.
    """
    register()
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, trust_remote_code=found.trusts(folder))
    except Exception as error:  # transformers raises ValueError, OSError, KeyError, ... with long advice
        raise ModelError(
            f"model: the configuration of {found.id} cannot be read: {first_line(error, found)}"
        ) from error
    if config.model_type == MODEL_TYPE:
        config.auto_map = {}  # whatever it says: the class is the installed one, and saving names it anew
    return config


def first_line(error: BaseException, found: Pretrained) -> str:
    """The first line of what Transformers said."""
    if "trust_remote_code" not in str(error):
        return " ".join(str(error).split("\n\n")[0].split())[:300] or type(error).__name__
    if found.adapter is not None and found.code:
        return "the base of an adapter brings its own code, which runs for a model that is named itself alone"
    return (
        "it brings its own code, which runs only with model.trust_remote_code=true (--trust-remote-code); "
        "read that code first"
    )


def architectures(task: Task) -> set[str]:
    """Names of the classes that can do `task`."""
    names = getattr(transformers, task.auto_class)._model_mapping._model_mapping.values()
    return {name for value in names for name in ((value,) if isinstance(value, str) else value)}


def task_of(config: PreTrainedConfig, where: str, folder: Path) -> Task:
    """The task that a finished model does, from its architecture and the files in its `folder`.

    Raises:
        ModelError: it has no head for any of hf_tl's tasks.
    """
    names = set(config.architectures or ())
    auto_map = set(getattr(config, "auto_map", None) or ())
    said = [list(getattr(config, "task_specific_params", None) or ()), tags_of(folder)]

    def certainty(task: Task) -> int:
        """A file that marks it, then what the configuration says, then the card."""
        heard = [any(f"{tag}_".startswith(f"{task.name}_") for tag in tags) for tags in said]
        return -1 if task.library.marker_files else heard.index(True) if True in heard else len(said)

    for task in sorted(all_tasks(), key=certainty):
        reads = processor_of(task)
        marked = all((folder / name).exists() for name in task.library.marker_files) and (
            any((folder / name).exists() for name in reads.files) or reads.in_config(config)
        )
        ours = own_classes().get(task.auto_class)
        known = names & architectures(task) or (ours and ours.__name__ in names) or task.auto_class in auto_map
        if marked and known:
            return task.of_problem(getattr(config, "problem_type", None))
    shown = listing(sorted(names)) if names else "no architecture"
    raise ModelError(
        f"model: {where} holds {shown}, which does none of the tasks {listing(task.name for task in all_tasks())}; "
        "adapt it first with `hf-tl train`."
    )


def check_task(pretrained: Pretrained, task: Task) -> None:
    """Raises ModelError when the model cannot do the task, with models that can."""
    auto = getattr(transformers, task.auto_class)
    custom = task.auto_class in (getattr(pretrained.config, "auto_map", None) or {})
    known = type(pretrained.config) in auto._model_mapping or goes_around(pretrained.config, task.auto_class)
    if not known and not custom:
        raise ModelError(
            f"model: {pretrained.id} is a {pretrained.config.model_type} model, which cannot do {task.name}; "
            f"models that can are for example {listing(task.defaults.models)}."
        )


def load_model(
    pretrained: Pretrained, task: Task, targets: Targets, model: ModelConfig, *, scratch: bool = False
) -> Loaded:
    """The model with a head for the labels of `targets`, in float32 whatever the checkpoint's dtype: training in a
    checkpoint's float16 may diverge without an error.

    With `scratch` the same architecture has random weights. With `model.pooling` or `model.head: mlp`, and of a network
    that Transformers has no classifier of, the class is `hf_tl.models.custom`'s.
    """
    options = {"dtype": torch.float32, **{k: v for k, v in model.passed_through.items() if k != "subfolder"}}
    labels, names = targets.labels, _config_fields(targets)
    auto, trust = getattr(transformers, task.auto_class), pretrained.trusts(pretrained.path)
    with quiet(), no_warnings():
        own = (model.pooling and not task.pools_itself) or model.head != "linear"
        if own or goes_around(pretrained.config, task.auto_class):
            return _custom(pretrained, task, names, model, scratch, options)
        if scratch:
            config = copy.deepcopy(pretrained.config)
            for key, value in names.items():
                setattr(config, key, value)
            with building(pretrained.id, pretrained.files):
                built = auto.from_config(config, dtype=torch.float32, trust_remote_code=trust)
            return Loaded(built, head_modules(built, ()) if task.new_head else [])
        # The configuration is passed whole, changed fields and labels in it, so that nothing is read twice.
        config = copy.deepcopy(pretrained.config)
        old, old_problem = getattr(config, "id2label", None), getattr(config, "problem_type", None)
        for key, value in names.items():
            setattr(config, key, value)
        if pretrained.adapter is not None:
            merged = Loaded(with_adapter(auto, pretrained, config, options), [], kept_head=True)
            merged.notes += kept_note(merged.model, old, labels, pretrained.id, task)
            return merged
        with building(pretrained.id, pretrained.files):
            built, new, filled = _from_weights(auto, pretrained, config, options)
    if pretrained.revision is not None:
        built.name_or_path = pretrained.id  # an adapter names its base by id, not by where the cache is
    heads = head_modules(built, new) if task.new_head else _modules_of(built, new)
    same = not new and old_problem == targets.problem
    loaded = Loaded(built, heads, pretrained.revision, kept_head=same, resized=_modules_of(built, filled))
    expected = [key for key in new if not key.startswith(tuple(name + "." for name in _outside(built)))]
    share = len(expected) / max(1, sum(1 for _ in built.parameters()))
    if share > 0.5:
        raise ModelError(
            f"model: {len(expected)} parameters of {pretrained.id} are not in its weights file, so nothing would be "
            "transferred; the weights are of another architecture."
        )
    said = loaded_note(built, new, next(iter(getattr(config, "architectures", None) or ()), ""))
    loaded.notes += [said] if said else []
    if not new:
        loaded.notes += kept_note(built, old, labels, pretrained.id, task)
    return loaded


def _from_weights(
    auto: Any, pretrained: Pretrained, config: PreTrainedConfig, options: dict[str, Any]
) -> tuple[Any, set[str], set[str]]:
    """(model, names of the parameters that are new, names of those carried over from another size)."""
    load = functools.partial(
        auto.from_pretrained, pretrained.path, ignore_mismatched_sizes=True, use_safetensors=True,
        trust_remote_code=pretrained.trusts(pretrained.path), **options,
    )  # fmt: skip
    built, info = load(config=config, output_loading_info=True)
    filled = carry_over(built, info, lambda: read_config(pretrained, pretrained.path), load)
    # tables that a network computes are no weights
    mismatched = {key[0] for key in info["mismatched_keys"]} - {name for name, _ in built.named_buffers()}
    return built, {*info["missing_keys"], *mismatched} - filled, filled


def _config_fields(targets: Targets) -> dict[str, Any]:
    """What of the targets stands in a model's configuration."""
    labels, names = targets.labels, dict(targets.config)
    if labels:
        names["num_labels"] = len(labels)
        names["id2label"] = dict(enumerate(labels))
        names["label2id"] = {label: index for index, label in enumerate(labels)}
    if targets.problem:
        names["problem_type"] = targets.problem
    return names


def _modules_of(model: PreTrainedModel, new: set[str]) -> list[str]:
    """The modules of newly made parameters, and no other."""
    return sorted({key.rpartition(".")[0] for key in new} & {name for name, _ in model.named_modules()})


def _outside(model: PreTrainedModel) -> list[str]:
    return [name for name, _ in model.named_children() if name != model.base_model_prefix] or ["classifier"]


def with_adapter(auto: Any, pretrained: Pretrained, config: PreTrainedConfig, options: dict[str, Any]) -> Any:
    """Base plus adapter, merged into plain weights."""
    assert pretrained.adapter is not None
    with building(pretrained.id, pretrained.files):
        base = auto.from_pretrained(
            pretrained.path,
            config=config,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=False,
            **options,
        )
    return laid_upon(base, pretrained.adapter)


def _custom(
    pretrained: Pretrained,
    task: Task,
    names: dict[str, Any],
    model: ModelConfig,
    scratch: bool,
    options: dict[str, Any],
) -> Loaded:
    from transformers import AutoModel

    from hf_tl.models.custom import modeling_hf_tl as custom

    cls = own_classes().get(task.auto_class)
    if cls is None:
        raise ConfigError(f"model.head and model.pooling are for classifiers; {task.name} keeps its stock head.")
    if pretrained.code:
        raise ConfigError(
            f"model.head and model.pooling: {pretrained.id} brings its own code, and these go around a backbone of "
            "Transformers alone; leave them out."
        )
    if scratch:
        with building(pretrained.id, pretrained.files):
            backbone = AutoModel.from_config(pretrained.config, dtype=torch.float32, trust_remote_code=False)
        new, filled = set[str](), set[str]()
    else:
        with building(pretrained.id, pretrained.files):
            backbone, new, filled = _from_weights(AutoModel, pretrained, pretrained.config, options)
    pooling: str | None = model.pooling
    alone = goes_around(pretrained.config, task.auto_class)
    if alone:
        pooling = pooling or ("pooler" if _pools(backbone) else "mean")
    if pooling is None:
        pooler = hasattr(backbone, "pooler") and backbone.pooler is not None
        pooler = pooler or of_timm(pretrained.config)  # timm's pool in ways of their own
        pooling = "pooler" if pooler and not any(key.startswith("pooler.") for key in new) else None
        if pooling is None:
            pooling = "mean" if _convolutional(backbone) else "cls"
    if pooling != "pooler":  # the pooler is left out then
        new = {key for key in new if not key.startswith("pooler.")}
    left_out = {"auto_map", "id2label", "label2id", "architectures", "dtype", "torch_dtype"}
    inner = {key: value for key, value in pretrained.config.to_dict().items() if key not in left_out}
    own = {"pooling": pooling, "head": model.head, "head_hidden": model.head_hidden, **processor_fields(inner)}
    config = custom.TransferConfig(backbone=inner, **own, **names)
    built = cls(config, backbone=backbone)
    built.name_or_path = str(pretrained.path)  # by which an adapter names its base
    resized = _modules_of(built, {f"backbone.{key}" for key in filled})
    said = f"Transformers has no classifier of a {pretrained.config.model_type}: this one needs trust_remote_code=True."
    heads = head_modules(built, {f"backbone.{key}" for key in new})
    return Loaded(built, heads, notes=[said] if alone else [], resized=resized)


def _pools(backbone: torch.nn.Module) -> bool:
    """Whether a backbone gives one vector of an image itself."""
    side = getattr(backbone.config, "image_size", None) or 224
    with torch.no_grad():
        return backbone(pixel_values=torch.zeros(1, 3, side, side)).get("pooler_output") is not None


def _convolutional(backbone: torch.nn.Module) -> bool:
    kinds = [type(module).__name__ for module in backbone.modules()]
    return kinds.count("Conv2d") > kinds.count("Linear")
