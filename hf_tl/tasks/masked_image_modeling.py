"""Masked image modeling: an encoder read on in one's own unlabelled images (SimMIM, Xie et al. 2021,
https://arxiv.org/abs/2111.09886); the result is the `model` of the next run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_tl.io.data_uri import data_uri
from hf_tl.task import Defaults, Form, Inference, Task, TaskContext
from hf_tl.tasks._images import IMAGE

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hf_tl.metrics.intervals import Measurement

RATIO = 0.6
"""Share of an image that is hidden."""
PATCH = 32
"""Side of the hidden squares in pixels, where the image is large enough."""
SHOWN = 128
"""Longest side in pixels of the report's images."""

SHOWN_AS = {"original": "original", "seen": "seen", "reconstruction": "made"}
"""Key of a prediction -> of an output."""


def grid(context: TaskContext) -> tuple[int, int]:
    """(patches a side of the model, patches a side of a hidden square).

    Raises:
        ConfigError: a hidden square that is no whole number of the model's patches, or does not fit the image.
    """
    from hf_tl.data.augment import processor_size
    from hf_tl.errors import ConfigError

    config = context.model_config
    side, patch = max(processor_size(context.processor)), int(config.patch_size)
    wanted = getattr(context.preprocessing, "mask_patch_size", None)
    if wanted is None:
        wanted = patch * max(1, min(PATCH, side // 4) // patch)
    if wanted % patch or side % wanted:
        raise ConfigError(
            f"data.preprocessing.mask_patch_size: {wanted} pixels; expected a multiple of the model's patches of "
            f"{patch} that divides its images of {side}."
        )
    return side // patch, wanted // patch


def hide(patches: int, square: int, ratio: float) -> torch.Tensor:
    """bool (patches * patches,), True where hidden: random squares of `square` patches a side, at least one of them and
    never all."""
    import torch

    count = patches // square
    hidden = min(max(1, round(ratio * count * count)), count * count - 1)
    mask = torch.zeros(count * count, dtype=torch.bool)
    mask[torch.randperm(count * count)[:hidden]] = True
    return mask.reshape(count, count).repeat_interleave(square, 0).repeat_interleave(square, 1).flatten()


def configure(model: Any, context: TaskContext) -> None:
    """Raises ModelError where the decoder would not give back the pixels of a patch."""
    from hf_tl.errors import ModelError

    if model is None or context.mode != "training":
        return
    config = model.config
    layers = len(getattr(config, "depths", ())) or 1
    stride = int(config.patch_size) * 2 ** (layers - 1)  # Swin halves its map after each stage but the last
    if getattr(config, "encoder_stride", stride) != stride:
        raise ModelError(
            f"model: its decoder is for patches of {config.encoder_stride} pixels and its encoder ends in {stride}; "
            f"set model.config.encoder_stride={stride}."
        )


def preprocess(rows: Any, context: TaskContext, training: bool) -> Any:
    """Images as for classification, and `bool_masked_pos`, drawn anew each epoch in training and always the same in
    evaluation."""
    import torch

    from hf_tl.data.augment import Augmented, augmentation, pixels_of, processor_size
    from hf_tl.data.images import to_rgb
    from hf_tl.errors import ConfigError

    patches, square = grid(context)
    ratio = getattr(context.preprocessing, "mask_ratio", None) or RATIO
    names, processor = context.preprocessing.augmentations if training else (), context.processor
    for name in names:
        if name in ("erasing", "mixup", "cutmix"):
            raise ConfigError(f"data.preprocessing.augment: {name} would hide what is to be guessed; choose another.")
    size = processor_size(processor)
    if size[0] != size[1]:
        raise ConfigError(f"model: its images are {size[0]} x {size[1]}, expected squares.")
    change = augmentation(names, size) if names else None

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        image = to_rgb(row["image"])
        if change is None:
            pixels = processor(image, return_tensors="pt")["pixel_values"][0]
        else:
            pixels = pixels_of(processor, change(image))
        return {"pixel_values": torch.as_tensor(pixels), "bool_masked_pos": hide(patches, square, ratio)}

    return Augmented(rows, encode, context.seed if training else 0, fixed=not training)


def collator(context: TaskContext, training: bool) -> Any:
    """`pixel_values` float32 (batch, channels, side, side), `bool_masked_pos` bool (batch, patches)."""
    import torch

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    return collate


def by_pixel(mask: torch.Tensor, side: int) -> torch.Tensor:
    """bool (batch, 1, side, side) of a mask by patch, bool (batch, patches)."""
    count = round(mask.shape[1] ** 0.5)
    square = mask.reshape(-1, 1, count, count)
    return square.repeat_interleave(side // count, 2).repeat_interleave(side // count, 3)


def errors(out: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of absolute errors, number) over the hidden values of each image, float32 (batch,)."""
    pixels = batch["pixel_values"]
    hidden = by_pixel(batch["bool_masked_pos"], pixels.shape[-1])
    apart = (out["reconstruction"].float() - pixels).abs() * hidden
    return apart.sum((1, 2, 3)), hidden.sum((1, 2, 3)).float() * pixels.shape[1]


def loss(outputs: Any, batch: Any, context: TaskContext, items: Any) -> torch.Tensor:
    """Mean absolute error over the hidden values, in the processor's normalised units."""
    total, count = errors(outputs, batch)
    mean: torch.Tensor = total.sum() / (count.sum() if items is None else items)
    return mean


def items(batch: Any) -> int:
    pixels = batch["pixel_values"]
    return int(by_pixel(batch["bool_masked_pos"], pixels.shape[-1]).sum()) * int(pixels.shape[1])


def collect(model: Any, out: Any, batch: Any, context: TaskContext) -> list[dict[str, Any]]:
    """Of each image `sums`, float64 (3,): absolute error, hidden values, the error of guessing what is seen on
    average; and of a finished model the image, what it saw of it and what it made of that, as small JPEGs."""
    import numpy as np
    import torch

    pixels = batch["pixel_values"].float()
    hidden = by_pixel(batch["bool_masked_pos"], pixels.shape[-1])
    total, count = errors(out, batch)
    seen = (pixels * ~hidden).sum((2, 3), keepdim=True) / (~hidden).sum((2, 3), keepdim=True).clamp(min=1)
    plain = ((pixels - seen).abs() * hidden).sum((1, 2, 3))
    sums = torch.stack([total, count, plain], dim=1).double().cpu().numpy()
    found: list[dict[str, Any]] = [{"sums": np.asarray(each)} for each in sums]
    if context.mode != "training":
        made = torch.where(hidden, out["reconstruction"].float(), pixels)
        for each, *shown in zip(found, pixels, torch.where(hidden, seen, pixels), made, strict=True):
            each["original"], each["seen"], each["made"] = (_jpeg(image, context.processor) for image in shown)
    return found


def _jpeg(pixels: Any, processor: Any) -> bytes:
    import numpy as np
    from PIL import Image

    from hf_tl.data.image_values import jpeg

    values = pixels.cpu().numpy().transpose(1, 2, 0)
    if getattr(processor, "do_normalize", True):
        values = values * np.asarray(processor.image_std) + np.asarray(processor.image_mean)
    image = Image.fromarray((np.clip(values, 0, 1) * 255).round().astype(np.uint8))
    image.thumbnail((SHOWN, SHOWN))
    return jpeg(image, 80)


def postprocess(outputs: Any, samples: Any, rows: Any, context: TaskContext) -> list[dict[str, Any]]:
    """`loss`, and as data URIs `original`, `seen` (the hidden in the mean colour) and `reconstruction`."""
    return [
        {
            "loss": float(each["sums"][0] / each["sums"][1]),
            **{name: data_uri(each[key]) for name, key in SHOWN_AS.items() if key in each},
        }
        for each in outputs
    ]


def measure(outputs: Any, samples: Any, rows: Any, context: TaskContext, **options: Any) -> Measurement:
    """The loss on masks that are the same in every evaluation; its baseline guesses the mean of what is seen."""
    import numpy as np

    from hf_tl.metrics.intervals import Measurement, Score, with_intervals

    sums = np.stack([each["sums"] for each in outputs])

    def mean(drawn: np.ndarray) -> np.ndarray:
        out: np.ndarray = drawn[:, 0] / drawn[:, 1]
        return out

    total = sums.sum(0)
    scores = {"loss": Score(float(total[0] / total[1]), sums, mean)}
    return Measurement(with_intervals(scores, len(rows), **options), baseline={"loss": float(total[2] / total[1])})


def render_html(row: Any, prediction: dict[str, Any], context: TaskContext) -> str:
    """The image, what the model saw of it, and what it made of that."""
    shown = [f'<img src="{prediction[name]}" alt="{name}" title="{name}">' for name in SHOWN_AS if name in prediction]
    return f"<p>{' '.join(shown)}</p><p>mean error {prediction['loss']:.3f}</p>"


TASK = Task(
    name="masked-image-modeling",
    summary="continued pretraining of an image encoder on unlabeled images, before adapting it to another task",
    columns=(IMAGE,),
    forms=(Form(("image",), inferred=False),),
    auto_class="AutoModelForMaskedImageModeling",
    peft_task_type=None,
    metrics=("loss",),
    best_metric="loss",
    greater_is_better=False,
    preprocess=preprocess,
    collator=collator,
    loss=loss,
    items=items,
    collect=collect,
    postprocess=postprocess,
    measure=measure,
    render_html=render_html,
    configure=configure,
    label_fields=(),
    new_head=False,
    methods=("full", "lora", "scratch"),
    inference=Inference(
        snippet="""import torch
from PIL import Image""",
        example="""pixels = processor(Image.open("image.jpg").convert("RGB"), return_tensors="pt")["pixel_values"]
hidden = torch.rand(1, (pixels.shape[-1] // model.config.patch_size) ** 2) < 0.6
print(model(pixels, bool_masked_pos=hidden).reconstruction.shape)""",
    ),
    reads=(
        "data.preprocessing.image_size",
        "data.preprocessing.augment",
        "data.preprocessing.mask_ratio",
        "data.preprocessing.mask_patch_size",
    ),
    defaults=Defaults(models=("google/vit-base-patch16-224-in21k", "microsoft/swin-base-simmim-window6-192")),
)
