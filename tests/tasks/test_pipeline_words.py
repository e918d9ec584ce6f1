"""What is trained, measured and predicted is what Transformers' own pipeline reads, whatever the tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from hf_tl.config import Preprocessing
from hf_tl.inference.outputs import outputs_of
from hf_tl.task import TaskContext, get_task
from hf_tl.tasks._pipeline_words import entities_of, prefix_space
from hf_tl.tasks._tags import parts
from hf_tl.tasks.token_classification import measure, postprocess

TASK = get_task("token-classification")
LABELS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
WORDS = ["Ada", "lives", "in", "U.S.", "Rome", ",", "New", "York", "."]
TAGS = ["B-PER", "O", "O", "B-LOC", "B-LOC", "O", "B-LOC", "I-LOC", "O"]
PIECES = ["▁Ad", "a", "▁lives", "▁in", "▁", "U", ".", "S", "R", "o", "me", "▁,", ",", "▁New", "▁York"]


def byte_level() -> Any:
    """As RoBERTa's, of single bytes: `ĠA`, `d`, `a`, ..."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = {token: index for index, token in enumerate([*special, *letters, "ĠR"])}
    made = Tokenizer(models.BPE(vocabulary, [("Ġ", "R")], unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return made


def unigram() -> Any:
    """As XLM-R's, where rare words begin with a lone mark: `▁`, `U`, `.`, ..."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), *((piece, -1.0) for piece in PIECES)]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    split = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    made.pre_tokenizer = pre_tokenizers.Sequence(split)
    made.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 2)])
    return made


def word_piece() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<s>", "<pad>", "</s>", "<unk>", "Ad", "##a", "lives", "in", "U", "S", ".", "Rom", "##e", "New", "York"]
    made = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 2)])
    return made


def context(made: Any, limit: int = 64) -> TaskContext:
    from transformers import PreTrainedTokenizerFast

    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=limit, **special)
    about = TaskContext(labels=LABELS, processor=tokenizer, preprocessing=Preprocessing(augment="none"))
    assert TASK.configure is not None
    TASK.configure(None, about)
    return about


def model_for(tokenizer: Any) -> Any:
    """Weights so large that no two tokens are alike."""
    from transformers import BertConfig, BertForTokenClassification

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    names = dict(enumerate(LABELS))
    config = BertConfig(**small, vocab_size=len(tokenizer), initializer_range=1.0, pad_token_id=1, id2label=names)
    return BertForTokenClassification(config).eval()


@pytest.mark.parametrize("make", [byte_level, unigram, word_piece])
def test_predictions_are_the_stock_pipelines(make: Any) -> None:
    from transformers import pipeline

    about = context(make())
    model = model_for(about.processor)
    rows = Dataset.from_dict({"text": [" ".join(WORDS), "Rome", "in New York, Ada lives."]})
    samples = TASK.preprocess(rows, about, False)
    found = postprocess(outputs_of(model, TASK, about, samples).items, samples, rows, about)
    pipe = pipeline("token-classification", model=model, tokenizer=about.processor, device="cpu")
    assert any(each["entities"] for each in found)
    for text, mine in zip(rows["text"], found, strict=True):
        theirs = pipe(text, aggregation_strategy="first")
        keys = ("entity_group", "start", "end")
        assert [[each[key] for key in keys] for each in mine["entities"]] == [
            [each[key] for key in keys] for each in theirs
        ]
        assert [each["score"] for each in mine["entities"]] == pytest.approx([float(each["score"]) for each in theirs])


@pytest.mark.parametrize("make", [byte_level, unigram, word_piece])
def test_a_model_that_learned_its_labels_gives_the_true_entities(make: Any) -> None:
    """The labels that are trained, given back as outputs, score 1 and spell the entities in the pipeline's way."""
    about = context(make())
    rows = Dataset.from_dict({"words": [WORDS], "tags": [[LABELS.index(tag) for tag in TAGS]]})
    samples = TASK.preprocess(rows, about, True)
    (labels,) = samples["labels"]
    import numpy as np

    outputs = [(np.maximum(labels, 0), np.ones(len(labels)))]
    assert measure(outputs, samples, rows, about, resamples=0).values["f1"] == 1.0
    (found,) = postprocess(outputs, samples, rows, about)
    assert [(each["entity_group"], each["word"].strip()) for each in found["entities"]] == [
        ("PER", "Ada"), ("LOC", "U.S."), ("LOC", "Rome"), ("LOC", "New York"),
    ]  # fmt: skip
    assert found["tags"] == TAGS


def test_a_lone_mark_before_an_entity_is_outside_of_it() -> None:
    """`▁` `R` `o` `me`: the pipeline takes the mark for a word, and the entity begins with R."""
    about = context(unigram())
    rows = Dataset.from_dict({"words": [["in", "Rome"]], "tags": [[0, 1]]})
    (sample,) = TASK.preprocess(rows, about, True)
    tokens = about.processor.convert_ids_to_tokens(sample["input_ids"])
    assert list(zip(tokens, sample["labels"], sample["opens"], strict=True)) == [
        ("<s>", -100, -1), ("▁in", 0, 0), ("▁", 0, -1), ("R", 1, 1), ("o", -100, -1), ("me", -100, -1),
        ("</s>", -100, -1),
    ]  # fmt: skip


def test_windows_of_a_text_count_its_words_through() -> None:
    about = context(byte_level(), limit=16)
    words = ["Rome", "in"] * 12
    rows = Dataset.from_dict({"words": [words], "tags": [[1, 0] * 12]})
    samples = TASK.preprocess(rows, about, True)
    assert len(samples) > 3
    for sample in samples:
        for word, (start, _), label in zip(sample["opens"], sample["offsets"], sample["labels"], strict=True):
            if word >= 0:
                assert (word, label) == (" ".join(words)[: start + 1].count(" "), 1 - word % 2)
    assert {word for sample in samples for word in sample["opens"]} == {-1, *range(24)}


def test_a_text_and_the_list_of_its_words_give_the_same_tokens(tmp_path: Path) -> None:
    """Also once saved and loaded by others."""
    from transformers import AutoTokenizer

    about = context(byte_level())
    about.processor.save_pretrained(tmp_path)
    for tokenizer in (about.processor, AutoTokenizer.from_pretrained(tmp_path)):
        text = tokenizer("Rome in Rome", return_offsets_mapping=True)
        assert text["input_ids"] == tokenizer(["Rome", "in", "Rome"], is_split_into_words=True)["input_ids"]
        assert tokenizer.convert_ids_to_tokens(text["input_ids"])[1] == "ĠR" and text["offset_mapping"][1] == (0, 1)


def test_other_tokenizers_are_left_as_they_are() -> None:
    about = context(unigram())
    before = about.processor.backend_tokenizer.to_str()
    prefix_space(about.processor)
    assert about.processor.backend_tokenizer.to_str() == before


def test_entities_in_the_pipelines_own_words() -> None:
    """https://huggingface.co/docs/transformers/main_classes/pipelines#transformers.TokenClassificationPipeline"""
    from hf_tl.tasks._pipeline_words import Found

    tags = ["B-A", "I-A", "B-A", "O", "A", "A", "U-A", "I-B"]
    words = [Found(tag, 0.5, at, at + 1) for at, tag in enumerate(tags)]
    assert [(each["entity_group"], each["start"], each["end"]) for each in entities_of(words)] == [
        ("A", 0, 2), ("A", 2, 3), ("A", 4, 6), ("A", 6, 7), ("B", 7, 8),
    ]  # fmt: skip
    assert parts("U-A") == ("B", "A")  # a scheme that the pipeline does not know


@pytest.mark.parametrize(("make", "apart"), [(byte_level, False), (unigram, False), (word_piece, True)])
def test_spans_of_a_text_are_read_in_the_text_itself(make: Any, apart: bool) -> None:
    """Where the tokenizer says nothing of words, the pipeline takes a sign for a part of the word before it: that is
    what a user gets, so it is measured, and said."""
    import numpy as np

    about = context(make())
    text, words = "Rome, New  York.", ["Rome", ",", "New", "York", "."]
    tags = [LABELS.index(tag) for tag in ("B-LOC", "O", "B-LOC", "I-LOC", "O")]
    rows = Dataset.from_dict({"text": [text], "words": [words], "tags": [tags]})
    samples = TASK.preprocess(rows, about, True)
    assert samples["input_ids"][0] == about.processor(text)["input_ids"]
    outputs = [(np.maximum(samples["labels"][0], 0), np.ones(len(samples["labels"][0])))]
    (found,) = postprocess(outputs, samples, rows, about)
    assert [each["word"].strip() for each in found["entities"]] == (
        ["Rome", "New  York"] if apart else ["Rome,", "New  York."]
    )
    assert measure(outputs, samples, rows, about, resamples=0).values["f1"] == float(apart)
    said = "2 of 5 words are part of another to Transformers' pipeline"
    assert any(said in note for note in about.notes) is not apart
