"""What is where in a model: the new head, the depth of a parameter, the layers an adapter may change, batch norms.

Found from names and loading info, with no table of models.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from hf_tl.errors import listing

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def head_modules(model: nn.Module, new_keys: Iterable[str]) -> list[str]:
    """Names of the modules that are not pretrained: those of the freshly initialised parameters, and everything with
    parameters outside the backbone (`base_model_prefix`)."""
    modules = dict(model.named_modules())
    backbone = getattr(model, "base_model_prefix", "")
    names = {key.rpartition(".")[0] for key in new_keys}
    if backbone in dict(model.named_children()):
        for name, child in model.named_children():
            if name != backbone and any(True for _ in child.parameters()):
                names.add(name)
        find = getattr(model.get_submodule(backbone), "get_classifier", None)  # timm's way to say it
        found = find() if find is not None else ()
        classifiers = [id(each) for each in (found if isinstance(found, (tuple, list)) else (found,))]
        with_weights = [name for name, module in modules.items() if next(module.parameters(), None) is not None]
        names |= {name for name in with_weights if id(modules[name]) in classifiers}
    # the outermost only
    return sorted(
        name for name in names if name in modules and not any(name.startswith(other + ".") for other in names if other)
    )


def loaded_note(model: nn.Module, new_keys: Iterable[str], before: str) -> str | None:
    """A sentence on what of a pretrained model with another head, of class `before`, goes on in `model`."""
    new = set(new_keys)
    if not new or "For" not in before or before == type(model).__name__:
        return None
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    carried = sum(size for name, size in sizes.items() if name not in new)
    made, total = listing(sorted({key.rpartition(".")[0] for key in new})), sum(sizes.values())
    return f"{carried:,} of {total:,} parameters are loaded from a {before}; newly initialized: {made}."


def in_modules(name: str, modules: Iterable[str]) -> bool:
    """Whether parameter or module `name` is one of `modules` or inside one."""
    return any(name == module or name.startswith(module + ".") for module in modules)


def depths(model: nn.Module, heads: Iterable[str]) -> dict[str, int]:
    """Parameter name -> depth: 0 for embeddings and stems, then each repeated block (the first two indices in the
    name, as in `encoder.stages.2.layers.0`), the last block's depth for what follows it, one more for the head."""
    heads = list(heads)
    keys: dict[str, tuple[int, ...] | None] = {}
    for name, _ in model.named_parameters():
        if not in_modules(name, heads):
            keys[name] = tuple(int(part) for part in name.split(".") if part.isdigit())[:2] or None
    blocks = {key: rank + 1 for rank, key in enumerate(sorted({key for key in keys.values() if key}))}
    out, reached = {}, 0
    for name, _ in model.named_parameters():
        if name not in keys:
            out[name] = len(blocks) + 1
        else:
            key = keys[name]
            reached = max(reached, blocks[key]) if key else reached
            # before the first block: the stem; after the last: the last block's depth
            out[name] = blocks[key] if key else (0 if reached == 0 else len(blocks))
    return out


def adapter_targets(model: nn.Module, heads: Iterable[str]) -> list[str]:
    """Names of the backbone's linear layers and, for convolutional networks, of its ungrouped convolutions (PEFT cannot
    merge grouped ones, nor layers whose weight is another's too: a merge would change both)."""
    heads = list(heads)
    linear, convolutions = [], []
    shared = {name.rpartition(".")[0] for names in shared_by_modules(model) for name in names}
    for name, module in model.named_modules():
        if in_modules(name, heads) or name in shared:
            continue
        if isinstance(module, nn.Linear):
            linear.append(name)
        elif isinstance(module, nn.Conv2d) and module.groups == 1:
            convolutions.append(name)
    # A transformer's only convolution is its patch embedding: left alone.
    return linear if len(linear) > len(convolutions) else [*linear, *convolutions]


def tied(model: nn.Module) -> list[list[str]]:
    """Names of parameters that are one and the same, those of each in a list."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [each for each in names.values() if len(each) > 1]


def shared_by_modules(model: nn.Module) -> list[list[str]]:
    """Those of `tied` that belong to modules of their own, as the embeddings of tokens and an output layer; a module
    with two names is one."""
    modules = dict(model.named_modules(remove_duplicate=False))

    def owner(name: str) -> int:
        return id(modules[name.rpartition(".")[0]])

    return [names for names in tied(model) if len({owner(name) for name in names}) > 1]


def with_tied(model: nn.Module, wanted: Iterable[str]) -> list[str]:
    """`wanted`, which PEFT takes for the ends of modules' names, and the modules whose weights are theirs too: copies
    of some alone would be trained apart, and saved as one."""
    wanted = list(wanted)
    out = list(wanted)
    for names in shared_by_modules(model):
        owners = [name.rpartition(".")[0] for name in names]
        if any(f".{owner}".endswith(f".{each}") for owner in owners for each in wanted):
            out += [
                owner for owner in owners if not any(owner != one and one.startswith(f"{owner}.") for one in owners)
            ]
    return list(dict.fromkeys(out))


def torn_apart(wrapped: nn.Module, groups: Iterable[Iterable[str]], embeddings: str) -> tuple[str, str] | None:
    """Two modules of one weight that an adapter changes in different ways, or both, so that no plain model is the
    same; None where there are none.

    Args:
        groups: `shared_by_modules` of the model before.
        embeddings: name of the weight of the input embeddings, of whose group all are trained copies or none is.
    """
    now = {name.removeprefix("base_model.model.") for name, _ in wrapped.named_parameters(remove_duplicate=False)}

    def has(name: str, part: str) -> bool:
        place, _, leaf = name.rpartition(".")
        return f"{place}.{part}.{leaf}" in now

    for group in groups:
        names = list(group)
        changed = [name for name in names if has(name, "base_layer")]
        copied = [name for name in names if has(name, "modules_to_save.default")] if embeddings in names else []
        if changed or 0 < len(copied) < len(names):
            first = next(iter(changed or copied))
            other = next(name for name in names if name != first and (changed or name not in copied))
            return first.rpartition(".")[0], other.rpartition(".")[0]
    return None


def fully_trained_modules(model: nn.Module, heads: Iterable[str]) -> list[str]:
    """What of the new `heads` an adapter trains and saves as copies: lists of modules opened, which PEFT refuses; and
    without modules whose parameters are other names of some inside the backbone (RT-DETR v2, D-FINE)."""
    modules = dict(model.named_modules())
    inside = getattr(model, "base_model_prefix", "") + "."
    second = {name for names in tied(model) if any(n.startswith(inside) for n in names) for name in names}
    second = {name for name in second if not name.startswith(inside)}
    out, open_ = [], list(heads)
    while open_:
        name = open_.pop(0)
        if isinstance(modules.get(name), nn.ModuleList):
            open_ += [f"{name}.{index}" for index in range(len(modules[name]))]
        elif name not in modules or {f"{name}.{own}" for own, _ in modules[name].named_parameters()} - second:
            out.append(name)
    return sorted(out)


def tie_copies(wrapped: nn.Module, groups: Iterable[Iterable[str]]) -> None:
    """Makes PEFT's copies of parameters that were tied before (`tied`) one again, so that they train as one."""
    mark = ".modules_to_save.default"
    copies = {
        name.replace(mark, "").removeprefix("base_model.model."): name
        for name, _ in wrapped.named_parameters(remove_duplicate=False)
        if mark in name
    }
    for names in groups:
        first, *others = [copies[name] for name in names if name in copies] or [""]
        for other in others:
            place, _, leaf = other.rpartition(".")
            setattr(wrapped.get_submodule(place), leaf, wrapped.get_parameter(first))


def _evaluate(module: nn.Module, _: object) -> None:
    module.training = False


def freeze_batch_norm_stats(model: nn.Module, heads: Iterable[str] = ()) -> int:
    """Makes pretrained batch normalisations use their running statistics even while training; those of new `heads`
    have none yet and gather them.

    Then a sample's gradient does not depend on which others share its batch: any batch size, accumulation and number
    of processes train the same; an adapter, which cannot save statistics, stays true to its base; and a small batch
    does not spoil what large ones measured.

    Returns:
        How many there are.
    """
    heads = tuple(heads)
    norms = [
        module
        for name, module in model.named_modules()
        if isinstance(module, NORMS) and module.track_running_stats and not in_modules(f"{name}.weight", heads)
    ]
    for module in norms:
        module.register_forward_pre_hook(_evaluate)
    return len(norms)


def spare_single_values(model: nn.Module) -> None:
    """Has batch normalisations use their running statistics where a batch holds one value a channel, which has no
    variance: a last batch of one image in a network that pools, such as DeepLab's."""
    for module in model.modules():
        if isinstance(module, NORMS) and module.track_running_stats:
            module.register_forward_pre_hook(_hold)
            module.register_forward_hook(_release)


def _hold(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    values = inputs[0] if inputs else None
    single = values is not None and values.numel() == values.shape[1]
    module.held = module.training and single  # type: ignore[assignment]
    if module.held:
        module.training = False


def _release(module: nn.Module, _inputs: object, _output: object) -> None:
    if module.held:
        module.training = True


def names_embeddings(model: nn.Module) -> bool:
    """Whether a network tells its input embeddings; some that read images raise."""
    try:
        model.get_input_embeddings()  # type: ignore[operator]
    except NotImplementedError:
        return False
    return True


def peft_can_load(model: nn.Module) -> bool:
    """Whether PEFT can load an adapter of a network: where weights are tied, it asks for the input embeddings, which
    D-FINE, RT-DETR v2 and Deformable DETR do not tell."""
    ties = any(getattr(module, "_tied_weights_keys", None) for module in model.modules())
    return names_embeddings(model) or not ties


def position_limit(model: nn.Module) -> int | None:
    """Tokens that a network has positions for, where these are counted from behind the padding's (RoBERTa, MPNet)."""
    found = [
        module.num_embeddings - module.padding_idx - 1
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and module.padding_idx is not None and name.endswith("position_embeddings")
    ]
    return min(found, default=None)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """(trainable, total) numbers of parameters."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)


def set_trainable(model: nn.Module, names: Iterable[str]) -> None:
    """Exactly the parameters called `names` train."""
    wanted = set(names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in wanted and torch.is_floating_point(parameter))


def set_fixed(wrapped: nn.Module, modules: Iterable[str]) -> None:
    """An adapter's copies of `modules` are saved with it and do not train."""
    modules = list(modules)
    for name, parameter in wrapped.named_parameters():
        place = name.removeprefix("base_model.model.")
        if any(place.startswith(f"{module}.modules_to_save.") for module in modules):
            parameter.requires_grad_(False)


def output_layer(model: nn.Module, heads: Iterable[str], outputs: int) -> nn.Linear | None:
    """The linear layer that gives a model's `outputs`; of an adapter's copies of the head, the one that trains."""
    heads = list(heads)
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module.out_features == outputs
        and module.bias is not None
        and any(f".{head}." in f".{name}." for head in heads)
        and ".original_module" not in name
    ]
    return found[-1][1] if found else None


def rescale(layer: nn.Linear, mean: float, deviation: float) -> None:
    """Makes `layer` give `mean + deviation * y` where it gave `y`."""
    with torch.no_grad():
        layer.weight.mul_(deviation)
        layer.bias.mul_(deviation).add_(mean)
