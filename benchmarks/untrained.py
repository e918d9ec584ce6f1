"""Small models with random weights, for tasks of which no pretrained model can be had offline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import transformers


def _rt_detr(folder: Path, root: Path) -> None:
    """1 M parameters, pictures of 256 x 256."""
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64, 96, 128], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.RTDetrConfig(
        backbone_config=backbone, freeze_backbone_batch_norms=False, encoder_in_channels=[64, 96, 128],
        encoder_hidden_dim=64, encoder_ffn_dim=128, encoder_attention_heads=4, d_model=64, num_queries=60,
        decoder_in_channels=[64, 64, 64], decoder_ffn_dim=128, decoder_layers=3, decoder_attention_heads=4,
        num_denoising=60, hidden_expansion=0.5,
    )  # fmt: skip
    transformers.RTDetrModel(config).save_pretrained(folder)
    transformers.RTDetrImageProcessor(size={"height": 256, "width": 256}).save_pretrained(folder)


MODELS: dict[str, Callable[[Path, Path], None]] = {"rt-detr-small-random": _rt_detr}


def make(name: str, root: Path, folder: Path) -> Path:
    """The model `name` below `folder`, made when it is not there.

    Args:
        root: folder of the benchmark's data, for vocabularies.
    """
    target = folder / name
    if not (target / "config.json").exists():
        target.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        MODELS[name](target, root)
    return target
