"""Tiny real models with their processors, made on the spot, and tiny data that can be learned."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from hf_tl.compat import declare_torchvision_operators

declare_torchvision_operators()

WORDS = "good bad fine poor great awful film book song meal the a was is very quite not so never always".split()


def tiny_tokenizer(folder: Path, words: list[str] | None = None) -> None:
    """A word-level BERT tokenizer."""
    from transformers import BertTokenizer

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(words or WORDS)]
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(vocabulary)}, model_max_length=64)
    tokenizer.save_pretrained(folder)


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The template of many chat models, which does not mark the assistant's tokens."""


def tiny_chat_tokenizer(folder: Path | None, template: str | None = CHATML, words: list[str] | None = None) -> Any:
    """A word-level tokenizer of a decoder, spaces and line breaks kept."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<unk>", "<|im_start|>", "<|im_end|>", "<|end|>"]
    vocabulary = [*special, " ", "\n", "user", "assistant", "system", *(words or WORDS)]
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s|[^\s]+"), "isolated")
    made.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", pad_token="<pad>", eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", "<|end|>"], model_max_length=64,
    )  # fmt: skip
    tokenizer.chat_template = template
    if folder is not None:
        tokenizer.save_pretrained(folder)
    return tokenizer


def tiny_bert(folder: Path, dropout: float = 0.0, seed: int = 0) -> Path:
    """A BERT encoder without head: 2 layers, hidden 32."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS) + 5,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    BertModel(config).save_pretrained(folder)
    tiny_tokenizer(folder)
    return folder


def tiny_vit(folder: Path, labels: int = 10, seed: int = 0) -> Path:
    """A ViT classifier of 32 x 32 images with its own 10 classes."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        encoder_stride=8,
        num_labels=labels,
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def tiny_mobilenet(folder: Path, labels: int = 10, seed: int = 0) -> Path:
    """A MobileNetV2 classifier (convolutions, batch normalisation, dropout)."""
    import torch
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification, MobileNetV2ImageProcessor

    torch.manual_seed(seed)
    config = MobileNetV2Config(depth_multiplier=0.35, image_size=32, num_labels=labels)
    MobileNetV2ForImageClassification(config).save_pretrained(folder)
    MobileNetV2ImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def sentiment_csv(
    path: Path, rows: int = 60, seed: int = 0, classes: tuple[str, ...] = ("negative", "positive")
) -> Path:
    """`text,label` rows in which one word decides the label."""
    drawn = random.Random(seed)
    keys = {"negative": ["bad", "poor", "awful"], "positive": ["good", "fine", "great"], "neutral": ["so", "quite"]}
    lines = ["text,label"]
    for index in range(rows):
        label = classes[index % len(classes)]
        words = drawn.choices(["the", "film", "book", "song", "meal", "was", "is", "very"], k=drawn.randint(2, 9))
        words.insert(drawn.randrange(len(words)), drawn.choice(keys[label]))
        lines.append(f"{' '.join(words)},{label}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def colour_folder(folder: Path, each: int = 10, size: int = 40, seed: int = 0) -> Path:
    """An image folder of `red/` and `blue/` noisy squares, in `train/` and `test/`."""
    import numpy as np
    from PIL import Image

    drawn = np.random.default_rng(seed)
    for split, count in (("train", each), ("test", max(4, each // 2))):
        for channel, name in ((0, "red"), (2, "blue")):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = drawn.integers(0, 90, (size, size, 3), dtype=np.uint8)
                pixels[..., channel] += 130
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")
    return folder


def tiny_resnet(folder: Path, labels: int = 10, seed: int = 0) -> Path:
    """A ResNet classifier of 32 x 32 images."""
    import torch
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

    torch.manual_seed(seed)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=labels)
    ResNetForImageClassification(config).save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0).save_pretrained(folder)
    return folder


def tiny_writer(folder: Path, words: list[str], kind: str = "bart", width: int = 48, **options: object) -> Path:
    """A BART or T5 of one layer that writes texts, untrained, with a tokenizer of whole words; `</s>` ends a text."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = {word: index for index, word in enumerate([*special, *dict.fromkeys(words)])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=48
    ).save_pretrained(folder)
    torch.manual_seed(0)
    both = {"vocab_size": len(vocabulary), "d_model": width, "pad_token_id": 1, "eos_token_id": 2}
    if kind == "bart":
        layers = {f"{part}_{name}": n for part in ("encoder", "decoder")
                  for name, n in (("layers", 1), ("attention_heads", 4), ("ffn_dim", 2 * width))}  # fmt: skip
        config = transformers.BartConfig(
            **both, **layers, max_position_embeddings=48, bos_token_id=0, decoder_start_token_id=2, dropout=0.0,
            init_std=0.1, **options,
        )  # fmt: skip
    else:
        config = transformers.T5Config(
            **both, num_layers=1, num_decoder_layers=1, num_heads=4, d_kv=width // 4, d_ff=2 * width, dropout_rate=0.0,
            **options,
        )  # fmt: skip
    transformers.AutoModelForSeq2SeqLM.from_config(config).save_pretrained(folder)
    return folder


def bert_classifier(labels: int = 3, seed: int = 0, **options: Any) -> Any:
    """A BERT classifier in memory: 2 layers, hidden 8, no dropout, and weights so large that no two texts are alike."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(seed)
    small = {
        "vocab_size": len(WORDS) + 5,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 32,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.5,
    }
    return BertForSequenceClassification(BertConfig(**{**small, **options}, num_labels=labels)).eval()


def resnet_classifier(labels: int = 3, seed: int = 0) -> Any:
    """A ResNet classifier in memory, with batch normalisation."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(seed)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=labels)
    return ResNetForImageClassification(config).eval()


def random_adapter(base: Path, folder: Path, labels: tuple[str, ...]) -> Any:
    """A LoRA adapter of random weights with labels of its own upon a text classifier, saved as a person would in
    `folder`; gives the adapted model."""
    import peft
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(
        base, dtype=torch.float32, num_labels=len(labels), id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)}, ignore_mismatched_sizes=True,
    )  # fmt: skip
    model.name_or_path = str(base)
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", r=2, modules_to_save=["classifier"]))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    adapted.save_pretrained(folder)
    model.config.save_pretrained(folder)
    tiny_tokenizer(folder)
    return adapted.eval()
