"""`hf-tl verify` and `hf_tl.verify`: measures a shared model again, against its card."""

from hf_tl.sharing.verify import as_rows, verify

__all__ = ["as_rows", "verify"]
