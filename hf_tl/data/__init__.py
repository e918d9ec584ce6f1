"""Rows in: sources, columns, labels, splits."""

from hf_tl.compat import declare_torchvision_operators

declare_torchvision_operators()

import datasets  # noqa: E402

datasets.disable_progress_bars()  # hf_tl says what it does in lines of its own

from hf_tl.data.load import Data, load_data, load_rows  # noqa: E402

__all__ = ["Data", "load_data", "load_rows"]
