"""Find things in images: boxes, and what is in them.

    accelerate launch recipes/object_detection_full.py
    accelerate launch recipes/object_detection_full.py data=annotated/ data.preprocessing.image_size=480

A folder with COCO, Pascal VOC or YOLO annotations, or a metadata.jsonl with `file_name` and `objects`.
Hardware: one GPU of 8 GB.
Measured: not with this model; an untrained RT-DETR of 1 M parameters on BCCD: mAP at IoU 0.5 0.512.
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
