"""Rows in: sources, columns, labels, splits."""

from hf_tl.compat import declare_torchvision_operators

declare_torchvision_operators()

from hf_tl.data.load import Data, load_data, load_rows  # noqa: E402

__all__ = ["Data", "load_data", "load_rows"]
