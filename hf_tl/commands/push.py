"""`hf-tl push` and `hf_tl.push`: shares a run on the Hub."""

from hf_tl.sharing.push import push

__all__ = ["push"]
