"""`hf-tl evaluate` and `hf_tl.evaluate`: measures a finished model on data."""

from hf_tl.inference.evaluate import evaluate

__all__ = ["evaluate"]
