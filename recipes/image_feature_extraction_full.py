"""Train image embeddings for retrieval, duplicates and nearest neighbors.

    accelerate launch recipes/image_feature_extraction_full.py
    accelerate launch recipes/image_feature_extraction_full.py data=photos/ model=facebook/dinov2-small method=lora

Hardware: any.
Measured: map_at_r 0.850 (0.810 to 0.884) with mobilenet_v2_1.0_224 on ants_bees in place of CONFIG's dataset;
`python benchmarks/quality.py ants-embeddings`, 44 minutes on one CPU thread.
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
