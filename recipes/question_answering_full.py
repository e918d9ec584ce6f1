"""Fine-tune DistilBERT for extractive question answering.

    accelerate launch recipes/question_answering_full.py
    accelerate launch recipes/question_answering_full.py data=questions.jsonl data.preprocessing.max_length=384

Hardware: one GPU with 8 GB; a CPU for some thousand questions.
Measured: f1 0.491 (0.432 to 0.548) with all-MiniLM-L6-v2 on xquad_en (957 training questions) in place of CONFIG's
model and dataset; `python benchmarks/quality.py xquad`, 29 minutes on one CPU thread.
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
