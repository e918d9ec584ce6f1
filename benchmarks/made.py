"""Small models with random weights, for tasks without a local pretrained model, and datasets derived from real ones,
for tasks without a local dataset."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers


def _rt_detr(folder: Path, root: Path) -> None:
    """1 M parameters, images of 256 x 256."""
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


def _segformer(folder: Path, root: Path) -> None:
    """0.5 M parameters; a map of half the image's sides."""
    config = transformers.SegformerConfig(
        hidden_sizes=[16, 32, 64, 96], depths=[1, 1, 1, 1], strides=[2, 2, 2, 2], patch_sizes=[3, 3, 3, 3],
        num_attention_heads=[1, 2, 4, 4], mlp_ratios=[2, 2, 2, 2], decoder_hidden_size=64,
        sr_ratios=[16, 8, 4, 2], drop_path_rate=0.0, classifier_dropout_prob=0.0,
    )  # fmt: skip
    transformers.SegformerModel(config).save_pretrained(folder)
    transformers.SegformerImageProcessor(size={"height": 256, "width": 256}).save_pretrained(folder)


def _vit(folder: Path, root: Path) -> None:
    """0.5 M parameters, images of 96 x 96 in patches of 12."""
    config = transformers.ViTConfig(
        hidden_size=96, num_hidden_layers=4, num_attention_heads=4, intermediate_size=192, image_size=96, patch_size=12,
        encoder_stride=12,
    )  # fmt: skip
    transformers.ViTModel(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 96, "width": 96}).save_pretrained(folder)


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


def _pegasus(folder: Path, texts: list[str], vocabulary: int, hidden: int = 128) -> None:
    """An encoder and decoder of 2 layers, with a byte-level BPE made from `texts`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    special, alphabet = ["<s>", "<pad>", "</s>", "<unk>"], pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet)
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        model_max_length=64,
    )  # fmt: skip
    config = transformers.PegasusConfig(
        vocab_size=len(tokenizer), d_model=hidden, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=4 * hidden, decoder_ffn_dim=4 * hidden, max_position_embeddings=64,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=1, dropout=0.0, init_std=hidden**-0.5,
        scale_embedding=True,
    )  # fmt: skip
    transformers.AutoModelForSeq2SeqLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _for_vowels(folder: Path, root: Path) -> None:
    pairs = [row["translation"] for row in _vowels(root, "train")]
    _pegasus(folder, [text for pair in pairs for text in pair.values()], 400)


def _for_intents(folder: Path, root: Path) -> None:
    rows = list(_intents(root, "train"))
    _pegasus(folder, [text for row in rows for text in row.values()], 2000)


def _vowels(root: Path, split: str) -> Iterator[dict[str, Any]]:
    """Four words of a film review without their vowels, and with them; no piece occurs in two splits."""
    seen: set[str] = set()
    for name in ("train", "validation", "test"):
        with (root / "text" / "sst2" / f"{name}.csv").open(encoding="utf-8") as stream:
            texts = [next(iter(row.values())) for row in csv.DictReader(stream)]
        for text in texts:
            words = [word for word in text.split() if re.search("[a-z]", word)]
            for start in range(0, len(words) - 3, 4):
                piece = " ".join(words[start : start + 4])
                bare = re.sub("[aeiou]", "", piece).strip() or "-"
                if piece not in seen and name == split:
                    yield {"translation": {"consonants": bare, "english": piece}}
                seen.add(piece)


def _intents(root: Path, split: str) -> Iterator[dict[str, Any]]:
    """A customer's message, and in a few words what it is about."""
    with (root / "text" / "banking77" / f"{split}.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            named = row.get("label_text") or row["label"]
            yield {"document": row["text"], "summary": named.replace("_", " ")}


MODELS: dict[str, Callable[[Path, Path], None]] = {
    "rt-detr-small-random": _rt_detr,
    "segformer-small-random": _segformer,
    "vit-small-random": _vit,
    "llama-small-random": _llama,
    "pegasus-vowels-random": _for_vowels,
    "pegasus-intents-random": _for_intents,
}
DATA: dict[str, tuple[Callable[[Path, str], Iterator[dict[str, Any]]], tuple[str, ...]]] = {
    "sst2-vowels": (_vowels, ("train", "validation", "test")),
    "banking77-intents": (_intents, ("train", "test")),
}


def make_model(name: str, root: Path, folder: Path) -> Path:
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


def make_data(name: str, root: Path, folder: Path) -> Path:
    """The dataset `name` below `folder`, made when it is not there."""
    target, (rows, splits) = folder / name, DATA[name]
    target.mkdir(parents=True, exist_ok=True)
    for split in splits:
        file = target / f"{split}.jsonl"
        if not file.exists():
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows(root, split)]
            file.write_text("".join(lines if split == "train" else lines[:500]), encoding="utf-8")
    return target
