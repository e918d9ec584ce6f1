"""Translate: Marian, T5, mBART, NLLB and others with an encoder and a decoder.

    accelerate launch recipes/translation_full.py
    accelerate launch recipes/translation_full.py model=facebook/nllb-200-distilled-600M \
        data.preprocessing.source_lang=eng_Latn data.preprocessing.target_lang=fra_Latn data.preprocessing.prefix=

Hardware: a GPU; hours on a CPU.
Measured: not with these weights; an untrained Pegasus putting vowels back into words: chrF 70.3 (copying: 19).
"""

from hf_tl.cli import recipe

CONFIG = {
    "task": "translation",
    "model": "google-t5/t5-small",
    "data": {
        "path": "Helsinki-NLP/opus_books",
        "name": "en-fr",
        "preprocessing": {"prefix": "translate English to French: ", "source_lang": "en", "target_lang": "fr"},
    },
    "method": "full",
    "training": {"learning_rate": 3e-4, "num_train_epochs": 3},
    "generation": {"num_beams": 4},
}

if __name__ == "__main__":
    recipe(CONFIG)
