"""Classify images: every weight of a small convolutional network is trained.

    accelerate launch recipes/image_classification_full.py
    accelerate launch recipes/image_classification_full.py data=photos/ training.num_train_epochs=10

Hardware: any; MINUTES_IMAGE_FULL
Measured: SCORE_IMAGE_FULL
"""

from hf_tl.cli import recipe

CONFIG = {
    "model": "google/mobilenet_v2_1.0_224",
    "data": "AI-Lab-Makerere/beans",
    "method": "full",
}

if __name__ == "__main__":
    recipe(CONFIG)
