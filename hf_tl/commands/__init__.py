"""One file a command: what `hf-tl COMMAND` and `hf_tl.COMMAND` call. `train.py` is the whole run on one page."""
