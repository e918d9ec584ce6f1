"""Answer questions by words of a text.

    accelerate launch recipes/question_answering_full.py
    accelerate launch recipes/question_answering_full.py data=questions.jsonl data.preprocessing.max_length=384

Hardware: one GPU of 8 GB; a CPU for some thousand questions.
Measured: not yet, on this data.
"""

from hf_tl.cli import recipe

CONFIG = {
    "task": "question-answering",
    "model": "distilbert/distilbert-base-uncased",
    "data": "rajpurkar/squad",
    "method": "full",
}

if __name__ == "__main__":
    recipe(CONFIG)
