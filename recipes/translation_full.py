"""Fine-tune T5 for translation; Marian, mBART, NLLB and other encoder-decoder models work too.

    accelerate launch recipes/translation_full.py
    accelerate launch recipes/translation_full.py model=facebook/nllb-200-distilled-600M \
        data.preprocessing.source_lang=eng_Latn data.preprocessing.target_lang=fra_Latn data.preprocessing.prefix=

Hardware: a GPU; hours on a CPU.
Measured: chrf 70.3 (68.3 to 72.2; copying the input gives 19) with pegasus-vowels-random (untrained, `method=scratch`)
on sst2-vowels in place of CONFIG's model and dataset; `python benchmarks/quality.py vowels`, 2 minutes on one CPU
thread.
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
