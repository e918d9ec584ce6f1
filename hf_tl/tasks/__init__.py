"""One file per task, named as the Hub's pipeline tag; found by file name (`hf_tl.task`)."""
