"""The test Hub: a small server that the real `huggingface_hub` client talks to over HTTP."""
