"""Fine-tune all weights of a small convolutional network for image classification.

    accelerate launch recipes/image_classification_full.py
    accelerate launch recipes/image_classification_full.py data=photos/ training.num_train_epochs=10

Hardware: any; minutes on one CPU core for some hundred images.
Measured: accuracy 0.915 (0.869 to 0.954) with mobilenet_v2_1.0_224 on ants_bees in place of CONFIG's dataset;
`python benchmarks/quality.py ants-full`, 6 minutes on one CPU thread.
"""

from hf_tl.cli import recipe

CONFIG = {
    "model": "google/mobilenet_v2_1.0_224",
    "data": "AI-Lab-Makerere/beans",
    "method": "full",
}

if __name__ == "__main__":
    recipe(CONFIG)
