"""Fine-tune T5 for summarization; BART, Pegasus and other encoder-decoder models work too.

    accelerate launch recipes/summarization_full.py
    accelerate launch recipes/summarization_full.py data=articles.jsonl data.preprocessing.max_target_length=64

Hardware: a GPU; hours on a CPU.
Measured: rougeL 0.899 (0.875 to 0.922) with pegasus-intents-random (untrained, `method=scratch`) on banking77-intents
in place of CONFIG's model and dataset; `python benchmarks/quality.py intents`, 15 minutes on one CPU thread.
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
