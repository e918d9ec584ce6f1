"""One file a verb: what `hf-tl VERB` and `hf_tl.VERB` call. `train.py` is the whole run on one page."""
