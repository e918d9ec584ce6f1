"""Find things in images: boxes, and what is in them.

    accelerate launch recipes/object_detection_full.py
    accelerate launch recipes/object_detection_full.py data=annotated/ data.preprocessing.image_size=480

A folder with COCO, Pascal VOC or YOLO annotations, or a metadata.jsonl with `file_name` and `objects`.
Hardware: one GPU of 8 GB.
Measured: not yet, with this model; a small one with random weights: BCCD_LINE
"""

from hf_tl.cli import recipe

CONFIG = {
    "task": "object-detection",
    "model": "hustvl/yolos-tiny",
    "data": "rishitdagli/cppe-5",
    "method": "full",
}

if __name__ == "__main__":
    recipe(CONFIG)
