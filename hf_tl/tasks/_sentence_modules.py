"""The modules of a sentence-transformers model that come after its network (pooling, Dense, Normalize, ...), its
prompts and its similarity: what makes vectors of tokens, kept as a whole. Not a task (leading underscore)."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_tl.errors import ModelError, shortened
from hf_tl.task import TaskContext
from hf_tl.tasks._embeddings import unit

if TYPE_CHECKING:
    import numpy as np

MODULES, SETTINGS, NETWORK = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
PACKAGE = "sentence_transformers"
TRANSFORMER = f"{PACKAGE}.base.modules.transformer.Transformer"
POOLING = f"{PACKAGE}.sentence_transformer.modules.pooling.Pooling"
SIZES = {"Dense": ("linear.weight", ("out_features", "in_features")), "LayerNorm": ("norm.weight", ("dimension",))}
"""Class -> a tensor of its file, and the keys of its configuration that say its shape."""
WEIGHTED = {"Dense": f"{PACKAGE}.base.modules.dense", "LayerNorm": f"{PACKAGE}.sentence_transformer.modules.layer_norm"}
PLACES = {
    **WEIGHTED,
    "Normalize": f"{PACKAGE}.base.modules.normalize",
    "Pooling": f"{PACKAGE}.sentence_transformer.modules.pooling",
}
"""Class -> the Python module of sentence-transformers that it is in."""
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


@dataclass(frozen=True)
class Step:
    """One module after the network."""

    path: str
    kind: str
    """As `modules.json` names its class."""
    module: Any


def settings(context: TaskContext, file: str = SETTINGS) -> dict[str, Any]:
    """What a file of the model that was read says; nothing where there is none."""
    return _read(context.folder / file) if context.folder is not None else {}


def _read(file: Path) -> dict[str, Any]:
    found: Any = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found if isinstance(found, dict) else {}


def steps(context: TaskContext, width: int) -> tuple[Step, ...]:
    """The modules of the model, `model.pooling` in the place of its pooling where that is given; of a network alone the
    mean of its tokens.

    Args:
        width: numbers of a token's vector.
    """
    files = [] if context.folder is None else [context.folder / MODULES, context.folder / "1_Pooling" / "config.json"]
    written = max([file.stat().st_mtime_ns for file in files if file.is_file()], default=0)
    return _steps(context.folder if written else None, written, width, context.pooling)


@functools.lru_cache(maxsize=8)
def _steps(folder: Path | None, written: int, width: int, pooling: str | None) -> tuple[Step, ...]:
    """`written`: when the list of modules was, since a folder may be written anew."""
    from importlib import import_module

    if folder is None:
        return (Step("1_Pooling", POOLING, _pooling(width, pooling or "mean")),)
    listed = [{"path": "1_Pooling", "type": POOLING}]
    if (folder / MODULES).is_file():
        listed = json.loads((folder / MODULES).read_text(encoding="utf-8"))
    out = []
    for each in listed:
        path, kind = str(each.get("path", "")), str(each["type"])
        name = kind.rpartition(".")[2]
        if name == "Transformer":
            continue
        if name == "Pooling" and pooling:
            out.append(Step(path, kind, _pooling(width, pooling)))
            continue
        try:
            if name in WEIGHTED:
                _check_sizes(folder / path, name)
            module = getattr(import_module(PLACES[name]), name).load(str(folder), subfolder=path)
        except ModelError:
            raise
        except Exception as error:  # whatever its configuration or its weights make of the class
            raise _not_loaded(path, folder, error) from None
        out.append(Step(path, kind, module.float().eval().requires_grad_(False)))
    _check_widths(tuple(out), width, folder)
    return tuple(out)


def _check_sizes(folder: Path, name: str) -> None:
    """Raises ModelError unless the weights are there, and of the shape that the configuration says: what is made for
    them is as large."""
    from safetensors import safe_open

    file = folder / "model.safetensors"
    if not file.is_file():
        raise ModelError(
            f"model: {folder.name} of {folder.parent} has no model.safetensors; hf_tl reads safetensors alone, so save "
            "the model with a newer sentence-transformers first."
        )
    tensor, keys = SIZES[name]
    said = [_read(folder / "config.json").get(key) for key in keys]
    with safe_open(file, "pt") as weights:
        shape = weights.get_slice(tensor).get_shape()
    if said != shape:
        raise ModelError(
            f"model: {folder.name} of {folder.parent}: config.json says {dict(zip(keys, said, strict=True))}, and "
            f"{tensor} has the shape {shape}."
        )


def _check_widths(modules: tuple[Step, ...], width: int, folder: Path) -> None:
    """Raises ModelError unless each module reads what the one before it gives, tried on a vector of zeros."""
    import torch

    features = {"token_embeddings": torch.zeros(1, 1, width), "attention_mask": torch.ones(1, 1, dtype=torch.int64)}
    for step in modules:
        try:
            features = step.module.to("cpu")(features)
        except Exception as error:
            raise _not_loaded(step.path, folder, error) from None


def _not_loaded(path: str, folder: Path, error: Exception) -> ModelError:
    said = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return ModelError(
        f"model: {path} of {folder} cannot be applied as sentence-transformers would ({shortened(said)})."
    )


def _pooling(width: int, mode: str) -> Any:
    from sentence_transformers.sentence_transformer.modules.pooling import Pooling

    return Pooling(width, mode)


def vectors(hidden: Any, mask: Any, context: TaskContext, prompt_length: int = 0) -> Any:
    """float32 (sentences, numbers) of `hidden` (sentences, tokens, width) and `mask` (sentences, tokens)."""
    features = {"token_embeddings": hidden.float(), "attention_mask": mask}
    if prompt_length:
        features["prompt_length"] = prompt_length
    for step in steps(context, hidden.shape[-1]):
        features = step.module.to(hidden.device)(features)
    found = features["sentence_embedding"].float()  # autocast gives what a Dense made in bf16
    width = settings(context).get("truncate_dim")
    return found[:, :width] if type(width) is int and width > 0 else found


def weighted(context: TaskContext) -> list[str]:
    """The further modules that have weights, which stay as they are."""
    file = context.folder / MODULES if context.folder is not None else None
    listed: list[Any] = json.loads(file.read_text(encoding="utf-8")) if file is not None and file.is_file() else []
    return [name for each in listed if (name := str(each["type"]).rpartition(".")[2]) in WEIGHTED]


def prompt(context: TaskContext) -> str:
    """What `SentenceTransformer.encode` puts before every text, where nobody asks for another prompt."""
    found = settings(context)
    name, prompts = found.get("default_prompt_name"), found.get("prompts")
    return str(prompts.get(name) or "") if isinstance(prompts, Mapping) and isinstance(name, str) else ""


def prompt_tokens(context: TaskContext) -> int:
    """Tokens of the prompt, the last special one left out, as a pooling that excludes it counts them."""
    text = prompt(context)
    if not text:
        return 0
    ids = context.processor(text)["input_ids"]
    return len(ids) - (ids[-1] in context.processor.all_special_ids)


def prepared(texts: list[str], context: TaskContext) -> list[str]:
    """The texts as the network's tokenizer gets them."""
    before = prompt(context)
    lower = bool(settings(context, NETWORK).get("do_lower_case"))
    return [(before + text).lower() if lower else before + text for text in texts]


def length_limit(context: TaskContext, possible: int) -> int:
    """Tokens of a sentence: what was asked for, else what the model was made for."""
    given = context.preprocessing is not None and context.preprocessing.max_length
    said = settings(context, NETWORK).get("max_seq_length")
    return possible if given or type(said) is not int or said < 1 else min(possible, said)


def similarity(context: TaskContext) -> str:
    found = settings(context).get("similarity_fn_name")
    return found if found in SIMILARITIES else "cosine"


def pairwise(a: Any, b: Any, name: str) -> np.ndarray:
    """float64 (n,): how alike each row of two (n, numbers) is; a distance with a minus."""
    import numpy as np

    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if name == "cosine":
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        found: np.ndarray = (a * b).sum(1) / np.maximum(norms, 1e-12)
    elif name == "dot":
        found = (a * b).sum(1)
    else:
        found = -np.linalg.norm(a - b, ord=1 if name == "manhattan" else 2, axis=1)
    return found


def similarities(a: Any, b: Any, name: str) -> np.ndarray:
    """(n, m): how alike each of `a` (n, numbers) and each of `b` (m, numbers) are."""
    import numpy as np

    if name in ("cosine", "dot"):
        first, second = (unit(a), unit(b)) if name == "cosine" else (np.asarray(a), np.asarray(b))
        found: np.ndarray = first @ second.T
        return found
    from scipy.spatial.distance import cdist

    apart: np.ndarray = cdist(a, b, "cityblock" if name == "manhattan" else "euclidean")
    return -apart


def save(context: TaskContext, folder: Path, width: int, limit: int) -> None:
    """What `SentenceTransformer(folder)` reads beside the weights: the modules as they were, prompts and similarity."""
    listed = [("", TRANSFORMER)]
    for step in steps(context, width):
        (folder / step.path).mkdir(parents=True, exist_ok=True)
        step.module.cpu().save(str(folder / step.path))
        listed.append((step.path, step.kind))
    files = {
        MODULES: [
            {"idx": index, "name": str(index), "path": path, "type": kind} for index, (path, kind) in enumerate(listed)
        ],
        NETWORK: {**settings(context, NETWORK), "max_seq_length": limit},
        SETTINGS: {"similarity_fn_name": "cosine", "prompts": {}, **settings(context)},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
