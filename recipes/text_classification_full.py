"""Classify texts: every weight of a small encoder is trained.

    accelerate launch recipes/text_classification_full.py
    accelerate launch recipes/text_classification_full.py data=reviews.csv hub.id=me/reviews

Hardware: any; MINUTES_TEXT_FULL
Measured: SCORE_TEXT_FULL
"""

from hf_tl.cli import recipe

CONFIG = {
    "model": "sentence-transformers/all-MiniLM-L6-v2",
    "data": "cornell-movie-review-data/rotten_tomatoes",
    "method": "full",
}

if __name__ == "__main__":
    recipe(CONFIG)
