"""Fine-tune a small language model on conversations or prompts (instruction tuning).

    accelerate launch recipes/text_generation_full.py
    accelerate launch recipes/text_generation_full.py data=chats.jsonl method=lora generation.max_new_tokens=200

Hardware: a GPU; on a CPU with data.max_samples=500.
Measured: perplexity 248.0 (189.3 to 331.0) with llama-small-random (untrained) on seed_tasks_chat in place of CONFIG's
model and dataset; `python benchmarks/quality.py seed-chat`, 7 minutes on one CPU thread.
"""

from hf_tl.cli import recipe

CONFIG = {
    "task": "text-generation",
    "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "data": {
        "path": "HuggingFaceTB/everyday-conversations-llama3.1-2k",
        "splits": {"train": "train_sft", "test": "test_sft"},
    },
    "method": "full",
}

if __name__ == "__main__":
    recipe(CONFIG)
