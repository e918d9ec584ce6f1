"""Image classification: one label an image, several, or a number."""

from __future__ import annotations

from hf_tl.task import Column, Defaults, Demo, Inference, Task
from hf_tl.tasks import _classification as classification
from hf_tl.tasks._images import IMAGE, collator, preprocess

TASK = Task(
    name="image-classification",
    summary="one label for each image: objects, species, defects; several labels or a number too",
    columns=(
        IMAGE,
        Column("label", "label", classification.LABEL_NAMES, target=True),
    ),
    auto_class="AutoModelForImageClassification",
    peft_task_type=None,
    metrics=classification.METRICS,
    best_metric="accuracy",
    greater_is_better=True,
    preprocess=preprocess,
    collator=collator,
    targets=classification.targets,
    loss=classification.loss,
    collect=classification.collect,
    postprocess=classification.postprocess,
    measure=classification.measure,
    render_html=classification.render_html,
    inference=Inference(
        proof="""found = [
    {"scores": {each["label"]: each["score"] for each in pipe(row["image"], top_k=None)}} for row in rows
]""",
        demo=(Demo((("image", "image"),), "labels", "found = pipe(image, top_k=10)", result="Label"),),
    ),
    problems=classification.PROBLEMS,
    cacheable_features=True,
    reads=("data.preprocessing.image_size", "data.preprocessing.augment", *classification.READS),
    defaults=Defaults(
        models=("google/mobilenet_v2_1.0_224", "microsoft/resnet-50", "google/vit-base-patch16-224-in21k")
    ),
)
