"""Vectors of images that are near to those of their class: for search, duplicates and nearest neighbours.

    accelerate launch recipes/image_feature_extraction_full.py
    accelerate launch recipes/image_feature_extraction_full.py data=photos/ model=facebook/dinov2-small method=lora

Hardware: any.
Measured: EMBED_LINE
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
