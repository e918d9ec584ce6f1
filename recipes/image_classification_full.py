"""Classify images: every weight of a small convolutional network is trained.

    accelerate launch recipes/image_classification_full.py
    accelerate launch recipes/image_classification_full.py data=photos/ training.num_train_epochs=10

Hardware: any; 14 minutes of one busy CPU core for 244 pictures of ants and bees.
Measured: ants and bees test accuracy 0.902 (0.856 to 0.941).
"""

from hf_tl.cli import recipe

CONFIG = {
    "model": "google/mobilenet_v2_1.0_224",
    "data": "AI-Lab-Makerere/beans",
    "method": "full",
}

if __name__ == "__main__":
    recipe(CONFIG)
