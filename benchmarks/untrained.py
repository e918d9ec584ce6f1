"""Small models with random weights, for tasks of which no pretrained model can be had offline."""

from __future__ import annotations

import json
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


def _llama(folder: Path, root: Path) -> None:
    """0.9 M parameters, with a byte-level BPE of 1000 tokens made from the conversations and the ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    lines = (root / "text" / "seed_tasks_chat" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [turn["content"] for line in lines for turn in json.loads(line)["messages"]]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special, alphabet = ["<|im_start|>", "<|im_end|>"], pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=1000, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"], model_max_length=512
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


MODELS: dict[str, Callable[[Path, Path], None]] = {"rt-detr-small-random": _rt_detr, "llama-small-random": _llama}


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
