"""Fine-tune sentence embeddings on scored pairs, positive pairs or triplets.

    accelerate launch recipes/sentence_similarity_full.py
    accelerate launch recipes/sentence_similarity_full.py data=pairs.csv data.columns.sentence1=question

Hardware: any.
Measured: spearman 0.856 (0.839 to 0.869) with all-MiniLM-L6-v2 on stsb; `python benchmarks/quality.py stsb`, 5 minutes
on one CPU thread.
"""

from hf_tl.cli import recipe

CONFIG = {
    "task": "sentence-similarity",
    "model": "sentence-transformers/all-MiniLM-L6-v2",
    "data": "sentence-transformers/stsb",
    "method": "full",
}

if __name__ == "__main__":
    recipe(CONFIG)
