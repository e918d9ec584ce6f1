"""Finding and loading pretrained models and their processors, and finished models of hf_tl."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from hf_tl.config import ModelConfig
from hf_tl.data.card_file import license_of, tags_of
from hf_tl.errors import ConfigError, ModelError, did_you_mean, listing
from hf_tl.hubclient import fetch_model, sha256
from hf_tl.models.adapters import check_adapter_config, laid_upon
from hf_tl.models.bounds import building, check_files
from hf_tl.models.layers import carried_over, head_modules
from hf_tl.models.timm_models import of_timm, processor_fields, resized
from hf_tl.models.trusted import check_adapter, check_code, read_adapter, safe_weights
from hf_tl.models.weights import check_index, check_weights
from hf_tl.task import Targets, Task, all_tasks

PASSED = {
    "attn_implementation", "cache_dir", "device_map", "dtype", "force_download", "local_files_only",
    "low_cpu_mem_usage", "max_memory", "offload_folder", "quantization_config", "subfolder", "tp_plan", "variant",
}  # fmt: skip
"""`from_pretrained` arguments that hide in its **kwargs; the others are read from its signature."""
SECRET = {"token", "use_auth_token"}
VOCABULARIES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
    "tokenizer.model", "tokenizer_config.json",
)  # fmt: skip
IMAGE_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


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
    """Folder of a PEFT adapter to lay upon the base."""
    license: str | None = None
    hashes: dict[str, str] = field(default_factory=dict)
    """sha256 of each weights file."""

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


@contextmanager
def quiet() -> Iterator[None]:
    """Transformers' loading report and bars are said by hf_tl in a sentence of its own."""
    logger = transformers.utils.logging
    level, bars = logger.get_verbosity(), logger.is_progress_bar_enabled()
    logger.set_verbosity_error()
    logger.disable_progress_bar()
    try:
        yield
    finally:
        logger.set_verbosity(level)
        if bars:
            logger.enable_progress_bar()


def find_pretrained(model: ModelConfig) -> Pretrained:
    """Downloads (or finds) a model, an adapter or a run, and reads its configuration.

    Raises:
        ModelError: no such model, not safetensors, or a configuration that Transformers does not know.
        ConfigError: a key of `model` that is neither an option of `from_pretrained` nor of the model's configuration.
        HubError: the Hub cannot be reached.
    """
    run = Path(model.id) / "model"
    path, revision = (
        (run, None)
        if (Path(model.id) / "config.yaml").exists() and run.is_dir()
        else fetch_model(model.id, model.revision)
    )
    adapter = None
    if (path / "adapter_config.json").exists():
        adapter = path
        check_adapter(model.id, path)
        check_adapter_config(path)
        check_files(path)
        base = read_adapter(path)
        path, _ = fetch_model(base["base_model_name_or_path"], base.get("revision"))
    subfolder = (model.model_extra or {}).get("subfolder", "")
    if not (path / subfolder / "config.json").exists():
        raise ModelError(f"model: {model.id} has no config.json, so it is not a model that Transformers can load.")
    check_files(path / subfolder)
    if model.trust_remote_code:
        check_code(model.id, path / subfolder)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(path, trust_remote_code=model.trust_remote_code, subfolder=subfolder)
    except Exception as error:  # transformers raises ValueError, OSError, KeyError, ... with long advice
        first = str(error).strip().splitlines()[0]
        if "trust_remote_code" in str(error):
            first = "it brings its own code, which runs only with model.trust_remote_code=true; read that code first"
        raise ModelError(f"model: the configuration of {model.id} cannot be read: {first}") from error
    check_options(model, config)
    for key, value in model.config.items():
        setattr(config, key, value)
    files = safe_weights(model.id, path / subfolder)
    check_weights(files)
    check_index(path / subfolder)
    hashes = {file.name: sha256(file) for file in files}
    return Pretrained(model.id, path / subfolder, revision, config, adapter, license_of(path), hashes)


def check_options(model: ModelConfig, config: PreTrainedConfig) -> None:
    """Each further key of `model` is a `from_pretrained` argument or a field of the configuration."""
    signature = inspect.signature(PreTrainedModel.from_pretrained).parameters
    own = set(type(model).model_fields)
    known = {name for name in signature if name not in ("kwargs", "model_args", "config")} | PASSED
    fields = set(config.to_dict())
    for key in model.passed_through:
        if key in SECRET:
            raise ConfigError(
                f"model.{key}: tokens are never read from a configuration; set HF_TOKEN or `hf auth login`."
            )
        if key not in known and key not in fields:
            hint = did_you_mean(key, known | fields | own) or "."
            raise ConfigError(f"model.{key}: neither an argument of from_pretrained nor a field of its config{hint}")
    for key in model.config:
        if key not in fields:
            raise ConfigError(
                f"model.config.{key}: {type(config).__name__} has no such field{did_you_mean(key, fields) or '.'}"
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
        return -1 if task.marks else heard.index(True) if True in heard else len(said)

    for task in sorted(all_tasks(), key=certainty):
        kind = VOCABULARIES if task.modality == "text" else IMAGE_PROCESSORS
        timm = of_timm(config)  # has no processor file of its own
        marked = all((folder / name).exists() for name in task.marks) and (
            any((folder / name).exists() for name in kind) or (timm and task.modality == "image")
        )
        if marked and (names & architectures(task) or task.auto_class in auto_map):
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
    if type(pretrained.config) not in auto._model_mapping and not custom:
        raise ModelError(
            f"model: {pretrained.id} is a {pretrained.config.model_type} model, which cannot do {task.name}; "
            f"models that can are for example {listing(task.models)}."
        )


def load_processor(pretrained: Pretrained, task: Task, *, image_size: int | None = None, trust: bool = False) -> Any:
    """The tokenizer or image processor.

    Image processors use the Pillow backend: its pixels are the same with and without torchvision, so that scores do
    not depend on what else is installed.

    Raises:
        ModelError: the model comes without one.
    """
    auto = getattr(transformers, task.processor_class)
    path = pretrained.adapter if pretrained.adapter and _has_processor(pretrained.adapter) else pretrained.path
    text = task.modality == "text"
    kind, files = ("tokenizer", VOCABULARIES) if text else ("image processor", IMAGE_PROCESSORS)
    timm = of_timm(pretrained.config)
    if not timm and not any((path / name).exists() for name in files):
        raise ModelError(
            f"model: {pretrained.id} comes without {'a' if text else 'an'} {kind} (none of {listing(files[:3])} is "
            "there); save the one it was pretrained with beside it."
        )
    backend = {} if text or timm else {"backend": "pil"}
    try:
        with quiet():
            processor = auto.from_pretrained(path, trust_remote_code=trust, **backend)
    except Exception as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"model: the {kind} of {pretrained.id} cannot be loaded: {first}") from error
    if text:
        _check_tokenizer(processor, pretrained)
    elif image_size and timm:
        processor = resized(processor, pretrained.config, image_size)
    elif image_size:
        _resize(processor, image_size)
    return processor


def _has_processor(path: Path) -> bool:
    return any((path / name).exists() for name in (*VOCABULARIES, *IMAGE_PROCESSORS))


def _check_tokenizer(tokenizer: Any, pretrained: Pretrained) -> None:
    size, expected = len(tokenizer), getattr(pretrained.config, "vocab_size", None)
    # Transformers makes an empty tokenizer of special tokens when the vocabulary is missing.
    if size <= 10 or (expected and size > expected):
        found = f"{size} tokens" + (f" for a model of {expected}" if expected else "")
        raise ModelError(f"model: the tokenizer of {pretrained.id} does not fit the model (found {found}).")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token


def _resize(processor: Any, size: int) -> None:
    square = {"height": size, "width": size}
    if getattr(processor, "do_center_crop", False):
        old = dict(processor.crop_size).get("height", size)
        processor.crop_size = square
        edge = dict(processor.size).get("shortest_edge")
        processor.size = {"shortest_edge": round(edge * size / old)} if edge else square
    else:
        processor.size = square


def load_model(
    pretrained: Pretrained, task: Task, targets: Targets, model: ModelConfig, *, scratch: bool = False
) -> Loaded:
    """The model with a head for the labels of `targets`, in float32 whatever the checkpoint's dtype (DESIGN.md, 3).

    With `scratch` the same architecture has random weights. With `model.pooling` or `model.head: mlp` the class is
    `hf_tl.models.custom`'s.
    """
    options = {"dtype": torch.float32, **{k: v for k, v in model.passed_through.items() if k != "subfolder"}}
    labels = targets.labels
    names: dict[str, Any] = {}
    if labels:
        names = {
            "num_labels": len(labels),
            "id2label": dict(enumerate(labels)),
            "label2id": {label: index for index, label in enumerate(labels)},
        }
    names |= targets.config
    if targets.problem:
        names["problem_type"] = targets.problem
    auto = getattr(transformers, task.auto_class)
    with quiet(), no_warnings():
        if (model.pooling and not task.pools) or model.head != "linear":
            return _custom(pretrained, task, names, model, scratch, options)
        if scratch:
            config = pretrained.config
            for key, value in names.items():
                setattr(config, key, value)
            with building(pretrained.id, pretrained.files):
                built = auto.from_config(config, dtype=torch.float32, trust_remote_code=model.trust_remote_code)
            return Loaded(built, head_modules(built, ()) if task.new_head else [])
        # The configuration is passed whole, changed fields and labels in it, so that nothing is read twice.
        config = pretrained.config
        old, old_problem = getattr(config, "id2label", None), getattr(config, "problem_type", None)
        for key, value in names.items():
            setattr(config, key, value)
        if pretrained.adapter is not None:
            return Loaded(with_adapter(auto, pretrained, config, options), [], kept_head=True)
        with building(pretrained.id, pretrained.files):
            built, info = auto.from_pretrained(
                pretrained.path,
                config=config,
                ignore_mismatched_sizes=True,
                use_safetensors=True,
                output_loading_info=True,
                trust_remote_code=model.trust_remote_code,
                **options,
            )
    new = {*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])}
    if pretrained.revision is not None:
        built.name_or_path = pretrained.id  # an adapter names its base by id, not by where the cache is
    heads = head_modules(built, new) if task.new_head else _modules_of(built, new)
    loaded = Loaded(built, heads, pretrained.revision, kept_head=not new and old_problem == targets.problem)
    expected = [key for key in new if not key.startswith(tuple(name + "." for name in _outside(built)))]
    share = len(expected) / max(1, sum(1 for _ in built.parameters()))
    if share > 0.5:
        raise ModelError(
            f"model: {len(expected)} parameters of {pretrained.id} are not in its weights file, so nothing would be "
            "transferred; the weights belong to another architecture."
        )
    said = carried_over(built, new, next(iter(getattr(config, "architectures", None) or ()), ""))
    loaded.notes += [said] if said else []
    if task.new_head and not new and labels and dict(old or {}) != names["id2label"]:
        loaded.notes.append(f"The head of {pretrained.id} has {len(labels)} outputs as well and is kept as a start.")
    return loaded


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
            pretrained.path, config=config, ignore_mismatched_sizes=True, use_safetensors=True, **options
        )
    return laid_upon(base, pretrained.adapter)


@contextmanager
def no_warnings() -> Iterator[None]:
    """`num_labels` against the old `id2label` is no news: both are set together."""
    logger = logging.getLogger("transformers.configuration_utils")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


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

    cls = getattr(custom, task.auto_class.replace("AutoModel", "Transfer"), None)
    if cls is None:
        raise ConfigError(f"model.head and model.pooling are for classifiers; {task.name} keeps its stock head.")
    if scratch:
        with building(pretrained.id, pretrained.files):
            backbone, new = AutoModel.from_config(pretrained.config, dtype=torch.float32), set()
    else:
        with building(pretrained.id, pretrained.files):
            backbone, info = AutoModel.from_pretrained(
                pretrained.path, config=pretrained.config, use_safetensors=True, output_loading_info=True, **options
            )
        new = set(info["missing_keys"])
    pooling: str | None = model.pooling
    if pooling is None:
        pooler = hasattr(backbone, "pooler") and backbone.pooler is not None
        pooler = pooler or of_timm(pretrained.config)  # timm's pool in ways of their own
        pooling = "pooler" if pooler and not any(key.startswith("pooler.") for key in new) else None
        if pooling is None:
            pooling = "cls" if task.modality == "text" or not _convolutional(backbone) else "mean"
    if pooling != "pooler":  # the pooler is left out then
        new = {key for key in new if not key.startswith("pooler.")}
    left_out = {"id2label", "label2id", "architectures", "dtype", "torch_dtype"}
    inner = {key: value for key, value in pretrained.config.to_dict().items() if key not in left_out}
    own = {"pooling": pooling, "head": model.head, "head_hidden": model.head_hidden, **processor_fields(inner)}
    config = custom.TransferConfig(backbone=inner, **own, **names)
    built = cls(config, backbone=backbone)
    custom.TransferConfig.register_for_auto_class()
    cls.register_for_auto_class(task.auto_class)
    return Loaded(built, head_modules(built, {f"backbone.{key}" for key in new}))


def _convolutional(backbone: torch.nn.Module) -> bool:
    kinds = [type(module).__name__ for module in backbone.modules()]
    return kinds.count("Conv2d") > kinds.count("Linear")
