"""Fine-tune YOLOS for object detection: boxes, labels and scores.

    accelerate launch recipes/object_detection_full.py
    accelerate launch recipes/object_detection_full.py data=annotated/ data.preprocessing.image_size=480

Data: a folder with COCO, Pascal VOC or YOLO annotations, or a metadata.jsonl with `file_name` and `objects`.
Hardware: one GPU with 8 GB.
Measured: map 0.209 (0.189 to 0.228) with rt-detr-small-random (untrained, `method=scratch`) on bccd_detection in place
of CONFIG's model and dataset; `python benchmarks/quality.py bccd`, 29 minutes on one CPU thread.
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
