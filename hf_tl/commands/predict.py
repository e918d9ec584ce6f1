"""`hf-tl predict` and `hf_tl.predict`: asks a finished model."""

from hf_tl.inference.predict import predict

__all__ = ["predict"]
