"""Give each pixel of an image its class.

    accelerate launch recipes/image_segmentation_full.py
    accelerate launch recipes/image_segmentation_full.py data=pictures_with_masks/ model=google/mobilenet_v2_1.0_224

A folder holds pictures, masks and a metadata.jsonl with `file_name` and `mask_file_name`.
Hardware: one GPU of 8 GB; a CPU takes minutes for some tens of pictures.
Measured: not with this model; an untrained SegFormer of 0.5 M parameters on 22 membrane pictures: mean IoU 0.682.
"""

from hf_tl.cli import recipe

CONFIG = {
    "task": "image-segmentation",
    "model": "nvidia/mit-b0",
    "data": "EduardoPacheco/FoodSeg103",
    "method": "full",
}

if __name__ == "__main__":
    recipe(CONFIG)
