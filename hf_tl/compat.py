"""torchvision beside a torch that its compiled operators were not built for.

PyPI's torchvision is built for CUDA torch. Beside a CPU torch its library does not load, and `import torchvision` (and
with it much of Transformers) fails with "operator torchvision::nms does not exist". The transforms need none of those
operators: declaring their schemas before the import is enough. Modules call `declare_torchvision_operators` when they
are imported; calling an operator still fails with torchvision's own explanation.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

_BOXES = "Tensor input, Tensor rois"
_POOL = f"{_BOXES}, float spatial_scale, SymInt pooled_height, SymInt pooled_width"
_BACK = (
    "Tensor grad, Tensor rois{extra}, float spatial_scale, SymInt pooled_height, SymInt pooled_width{more}, "
    "SymInt batch_size, SymInt channels, SymInt height, SymInt width"
)
_DEFORM = "Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias"
_INTS = ", ".join(f"SymInt i{n}" for n in range(8)) + ", bool use_mask"
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    f"roi_align({_POOL}, int sampling_ratio, bool aligned) -> Tensor",
    f"qroi_align({_POOL}, int sampling_ratio, bool aligned) -> Tensor",
    f"roi_pool({_POOL}) -> (Tensor, Tensor)",
    f"ps_roi_align({_POOL}, int sampling_ratio) -> (Tensor, Tensor)",
    f"ps_roi_pool({_POOL}) -> (Tensor, Tensor)",
    f"deform_conv2d({_DEFORM}, {_INTS}) -> Tensor",
    f"_roi_align_backward({_BACK.format(extra='', more='')}, int sampling_ratio, bool aligned) -> Tensor",
    f"_roi_pool_backward({_BACK.format(extra=', Tensor argmax', more='')}) -> Tensor",
    f"_ps_roi_align_backward({_BACK.format(extra=', Tensor channel_mapping', more=', int sampling_ratio')}) -> Tensor",
    f"_ps_roi_pool_backward({_BACK.format(extra=', Tensor channel_mapping', more='')}) -> Tensor",
    f"_deform_conv2d_backward(Tensor grad, {_DEFORM}, {_INTS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
_library = None  # keeps the declarations alive


@functools.cache
def declare_torchvision_operators() -> bool:
    """Declares torchvision's operators when it is installed and its own library does not load.

    Returns:
        True when declarations were needed (`hf-tl doctor` then names the matching version).
    """
    global _library
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return False
    import torch

    for library in Path(next(iter(spec.submodule_search_locations))).glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))
            return False
        except OSError:
            pass
    try:
        torch.ops.torchvision.nms  # noqa: B018  # somebody declared them already
        return False
    except (AttributeError, RuntimeError):
        pass
    _library = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        _library.define(schema)
    return True


def has_torchvision() -> bool:
    """Whether torchvision's transforms can be used."""
    try:
        declare_torchvision_operators()
        import torchvision.transforms.v2  # noqa: F401
    except (ImportError, RuntimeError, ValueError):
        return False
    return True
