"""Write short texts that say what long ones say: T5, BART, Pegasus and others with an encoder and a decoder.

    accelerate launch recipes/summarization_full.py
    accelerate launch recipes/summarization_full.py data=articles.jsonl data.preprocessing.max_target_length=64

Hardware: a GPU; hours on a CPU.
Measured: not with these weights; an untrained Pegasus saying what a message is about: ROUGE-L 0.899.
"""

from hf_tl.cli import recipe

CONFIG = {
    "task": "summarization",
    "model": "google-t5/t5-small",
    "data": "knkarthick/samsum",
    "method": "full",
    "training": {"learning_rate": 3e-4},
    "generation": {"num_beams": 4},
}

if __name__ == "__main__":
    recipe(CONFIG)
