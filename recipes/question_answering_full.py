"""Answer questions by words of a text.

    accelerate launch recipes/question_answering_full.py
    accelerate launch recipes/question_answering_full.py data=questions.jsonl data.preprocessing.max_length=384

Hardware: one GPU of 8 GB; a CPU for some thousand questions.
Measured: XQuAD (957 English questions to learn from) test F1 0.491 (0.432 to 0.548) with all-MiniLM-L6-v2.
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
