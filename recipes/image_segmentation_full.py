"""Fine-tune SegFormer for semantic segmentation: a class for each pixel of an image.

    accelerate launch recipes/image_segmentation_full.py
    accelerate launch recipes/image_segmentation_full.py data=scans/ model=google/mobilenet_v2_1.0_224

A folder holds images, masks and a metadata.jsonl with `file_name` and `mask_file_name`.
Hardware: one GPU with 8 GB; minutes on a CPU for some tens of images.
Measured: mean_iou 0.682 (0.669 to 0.692) with segformer-small-random (untrained, `method=scratch`) on
membrane_segmentation in place of CONFIG's model and dataset; `python benchmarks/quality.py membrane-small`, 2 minutes
on one CPU thread.
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
