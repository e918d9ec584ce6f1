"""Find names, places and other entities in texts: a tag for each word.

    accelerate launch recipes/token_classification_full.py
    accelerate launch recipes/token_classification_full.py data=annotated.jsonl method=lora

Hardware: any; 4 minutes of one CPU core for WNUT-17 with all-MiniLM-L6-v2.
Measured: WNUT-17 test F1 of entities 0.436 (0.401 to 0.469) with sentence-transformers/all-MiniLM-L6-v2.
"""

from hf_tl.cli import recipe

CONFIG = {
    "task": "token-classification",
    "model": "distilbert/distilbert-base-cased",
    "data": "leondz/wnut_17",
    "method": "full",
}

if __name__ == "__main__":
    recipe(CONFIG)
