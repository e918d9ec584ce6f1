"""Vectors of images that are near to those of their class: for search, duplicates and nearest neighbours.

    accelerate launch recipes/image_feature_extraction_full.py
    accelerate launch recipes/image_feature_extraction_full.py data=photos/ model=facebook/dinov2-small method=lora

Hardware: any.
Measured: MobileNetV2 on ants_bees: nearest neighbours 0.941 (0.902 to 0.974), mAP at R 0.673 before, 0.850 after.
"""

from hf_tl.cli import recipe

CONFIG = {
    "task": "image-feature-extraction",
    "model": "google/mobilenet_v2_1.0_224",
    "data": "AI-Lab-Makerere/beans",
    "method": "full",
}

if __name__ == "__main__":
    recipe(CONFIG)
