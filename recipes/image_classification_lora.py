"""Fine-tune a vision transformer with LoRA for image classification.

    accelerate launch recipes/image_classification_lora.py
    accelerate launch recipes/image_classification_lora.py model=google/mobilenet_v2_1.0_224 data=photos/

Hardware: one GPU with 8 GB; minutes on a CPU for some hundred images.
Measured: accuracy 0.928 (0.882 to 0.967) with mobilenet_v2_1.0_224 on ants_bees in place of CONFIG's model and
dataset; `python benchmarks/quality.py ants-lora`, 11 minutes on one CPU thread.
"""

from hf_tl.cli import recipe

CONFIG = {
    "model": "google/vit-base-patch16-224-in21k",
    "data": "AI-Lab-Makerere/beans",
    "method": "lora",
}

if __name__ == "__main__":
    recipe(CONFIG)
