"""Fine-tune all weights of a small encoder for text classification.

    accelerate launch recipes/text_classification_full.py
    accelerate launch recipes/text_classification_full.py data=reviews.csv hub.id=me/reviews

Hardware: any.
Measured: accuracy 0.920 (0.910 to 0.929) with all-MiniLM-L6-v2 on banking77; `python benchmarks/quality.py
banking77-full`, 11 minutes on one CPU thread.
"""

from hf_tl.cli import recipe

CONFIG = {
    "model": "sentence-transformers/all-MiniLM-L6-v2",
    "data": "mteb/banking77",
    "method": "full",
}

if __name__ == "__main__":
    recipe(CONFIG)
