"""Fine-tune DistilBERT for named entity recognition: a tag for each word.

    accelerate launch recipes/token_classification_full.py
    accelerate launch recipes/token_classification_full.py data=annotated.jsonl method=lora

Hardware: any.
Measured: f1 0.436 (0.401 to 0.469) with all-MiniLM-L6-v2 on wnut17 in place of CONFIG's model;
`python benchmarks/quality.py wnut17`, 6 minutes on one CPU thread.
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
