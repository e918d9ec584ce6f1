"""Pretrain a network on one dataset, then transfer it to another.

    accelerate launch recipes/pretrain_then_transfer.py
    accelerate launch recipes/pretrain_then_transfer.py data=my_images/ pretrain.data=many_images/

The first run trains the architecture from random weights on the large dataset; its result is the `model` of the second
run. Keys that begin with `pretrain.` belong to the first run.
Hardware: one GPU with 8 GB (an hour); on a CPU, use smaller datasets.
Measured: accuracy 0.831 (0.790 to 0.873), without pretraining 0.645, with a vision transformer of 0.3 million
parameters on scikit-learn's handwritten digits in place of CONFIG's model and datasets; `hf-tl quickstart`, on one CPU
thread.
"""

import sys

from hf_tl.cli import recipe

PRETRAIN = {
    "model": "microsoft/resnet-18",
    "data": {"path": "uoft-cs/cifar100", "columns": {"image": "img", "label": "fine_label"}},
    "method": "scratch",
    "output": "runs/pretrained",
}
CONFIG = {
    "model": "runs/pretrained",
    "data": "AI-Lab-Makerere/beans",
    "method": "full",
    "output": "runs/transferred",
}

if __name__ == "__main__":
    words = sys.argv[1:]
    first = [word.removeprefix("pretrain.") for word in words if word.startswith("pretrain.")]
    then = [word for word in words if not word.startswith("pretrain.")]
    sys.argv[1:] = first
    recipe(PRETRAIN)
    sys.argv[1:] = then
    recipe(CONFIG)
