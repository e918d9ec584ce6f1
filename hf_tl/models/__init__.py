"""Pretrained models in, adapted models out: loading, heads, methods, feature cache."""

from hf_tl.compat import declare_torchvision_operators

declare_torchvision_operators()
