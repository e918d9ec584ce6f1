"""`hf-tl demo` and `hf_tl.demo`: a Gradio app for the model, here or as a Space."""

from hf_tl.sharing.demo import demo

__all__ = ["demo"]
