"""Continued pretraining of an encoder on your texts, then classification: fill-mask, then text classification.

    accelerate launch recipes/adapt_then_classify.py
    accelerate launch recipes/adapt_then_classify.py data=reviews.csv adapt.data=all_our_texts.txt

The first run needs texts without labels, and many of them; its result is the `model` of the second. Keys that begin
with `adapt.` belong to the first run.
Hardware: one GPU with 8 GB; a CPU for some thousand texts.
Measured: accuracy 0.919 (0.909 to 0.929) with all-MiniLM-L6-v2 on banking77 in place of CONFIG's model and dataset;
`python benchmarks/quality.py banking77-adapted banking77-then-full`, 41 minutes on one CPU thread. Without the first
run 0.920: no gain on that dataset.
"""

import sys

from hf_tl.cli import recipe

ADAPT = {
    "task": "fill-mask",
    "model": "distilbert/distilbert-base-uncased",
    "data": "cornell-movie-review-data/rotten_tomatoes",
    "output": "runs/adapted",
}
CONFIG = {
    "model": "runs/adapted",
    "data": "cornell-movie-review-data/rotten_tomatoes",
    "method": "full",
    "output": "runs/adapted-then-classified",
}

if __name__ == "__main__":
    words = sys.argv[1:]
    first = [word.removeprefix("adapt.") for word in words if word.startswith("adapt.")]
    then = [word for word in words if not word.startswith("adapt.")]
    sys.argv[1:] = first
    recipe(ADAPT)
    sys.argv[1:] = then
    recipe(CONFIG)
