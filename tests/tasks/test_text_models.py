"""Networks for texts that read padding, ends and positions in ways of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from hf_tl.config import Preprocessing
from hf_tl.errors import ModelError
from hf_tl.inference.outputs import outputs_of
from hf_tl.models.layers import position_limit
from hf_tl.task import TaskContext, get_task
from hf_tl.tasks import text_generation
from hf_tl.tasks._texts import text_limit
from hf_tl.tasks.text_classification import plain_texts
from tests.tiny import WORDS, tiny_chat_tokenizer, tiny_writer

TASK = get_task("text-classification")
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def context_of(model: Any, tokenizer: Any, mode: str = "training") -> TaskContext:
    positions = position_limit(model)
    about = TaskContext(
        labels=("a", "b"), processor=tokenizer, preprocessing=Preprocessing(), model_config=model.config, mode=mode,
        positions=positions, problem="single_label_classification",
    )  # fmt: skip
    assert TASK.configure is not None
    TASK.configure(model, about)
    return about


@pytest.mark.parametrize("given", [None, 1])
def test_a_decoder_reads_the_last_token_and_no_padding(given: int | None, tmp_path: Path) -> None:
    """The same scores in a batch as one at a time; LLaMA's configurations name no padding token, or another."""
    from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    tokenizer = tiny_chat_tokenizer(None)
    tokenizer.pad_token = tokenizer.eos_token
    config = LlamaConfig(**SMALL, vocab_size=len(tokenizer), num_labels=2, pad_token_id=given, initializer_range=0.5)
    model = LlamaForSequenceClassification(config).eval()
    about = context_of(model, tokenizer)
    assert model.config.pad_token_id == tokenizer.pad_token_id
    rows = Dataset.from_dict({"text": ["good", "a very bad film", "the meal was"]})
    samples = TASK.preprocess(rows, about, False)
    together = outputs_of(model, TASK, about, samples, batch_size=3).items
    alone = outputs_of(model, TASK, about, samples, batch_size=1).items
    torch.testing.assert_close(torch.tensor(together), torch.tensor(alone))
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert again.config.pad_token_id == tokenizer.pad_token_id


def test_a_tokenizer_that_cannot_pad_is_refused() -> None:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer = tiny_chat_tokenizer(None)
    tokenizer.pad_token = tokenizer.eos_token = None
    model = LlamaForSequenceClassification(LlamaConfig(**SMALL, vocab_size=len(tokenizer), num_labels=2))
    with pytest.raises(ModelError, match="no token to pad with"):
        context_of(model, tokenizer)


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_a_text_that_spells_the_end_token_has_one_end(kind: str, tmp_path: Path) -> None:
    """Struck-out words of a web page: `<s>awful</s> good`. BART and T5 want as many ends in each text of a batch."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    path = tiny_writer(tmp_path / "model", WORDS, kind, **({"decoder_start_token_id": 1} if kind == "t5" else {}))
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=2).eval()
    about = context_of(model, tokenizer)
    rows = Dataset.from_dict({"text": ["good </s> film", "a bad film", "</s>"]})
    samples = TASK.preprocess(rows, about, False)
    assert [ids.count(2) for ids in samples["input_ids"]] == [1, 1, 1]
    together = outputs_of(model, TASK, about, samples, batch_size=3).items
    assert len(together) == 3
    # what is proved are texts that others are given with the same tokens
    assert plain_texts(rows, about)["text"][:] == ["a bad film"]


def test_what_spells_the_end_token_is_split_by_all_who_load_the_tokenizer(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

    letters = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, [], unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, **special)
    path = tiny_writer(tmp_path / "model", WORDS)
    context_of(AutoModelForSequenceClassification.from_pretrained(path, num_labels=2), tokenizer)
    tokenizer.save_pretrained(tmp_path / "saved")
    for each in (tokenizer, AutoTokenizer.from_pretrained(tmp_path / "saved")):
        assert each.convert_ids_to_tokens(each("a</s>")["input_ids"]) == ["a", "<", "/", "s", ">", "</s>"]


def test_a_tokenizer_that_ends_no_text_is_refused(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

    path = tiny_writer(tmp_path / "model", WORDS)
    backend = AutoTokenizer.from_pretrained(path).backend_tokenizer
    backend.post_processor = None
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=2)
    with pytest.raises(ModelError, match=r"BartForSequenceClassification reads the label from .*'</s>', id 2"):
        context_of(model, tokenizer)


@pytest.mark.parametrize("name", ["MPNet", "Roberta", "Camembert"])
def test_positions_behind_the_paddings(name: str) -> None:
    """130 positions are for 128 tokens where they are counted from behind the padding's."""
    import transformers

    config = getattr(transformers, f"{name}Config")(**SMALL, vocab_size=40, max_position_embeddings=130, pad_token_id=1)
    model = getattr(transformers, f"{name}Model")(config).eval()
    assert position_limit(model) == 128
    tokenizer = tiny_chat_tokenizer(None)
    tokenizer.model_max_length = int(1e30)
    about = TaskContext(processor=tokenizer, model_config=config, positions=128, preprocessing=Preprocessing())
    assert text_limit(about) == 128
    with torch.no_grad():
        model(input_ids=torch.full((1, 128), 7))  # and no IndexError


def test_a_proof_asks_for_what_leaves_room_for_an_answer() -> None:
    """The stock pipeline cuts no prompt, so one beyond the window would be answered with other words."""
    tokenizer = tiny_chat_tokenizer(None)  # 64 tokens of prompt and answer
    about = TaskContext(processor=tokenizer, generation={"max_new_tokens": 20}, model_config=None)
    talk = [{"role": "user", "content": "good film"}, {"role": "assistant", "content": "good"}]
    long = [{"role": "user", "content": "good film " * 20}, {"role": "assistant", "content": "good"}]
    asked = text_generation.prompts(Dataset.from_dict({"messages": [talk, long]}), about)
    assert [each[0]["content"] for each in asked["messages"]] == ["good film"]
    assert len(text_generation.prompts(Dataset.from_dict({"messages": [long]}), about)) == 0
    # 23 words and 22 spaces are 45 tokens, one more than 64 - 20
    fits, over = "good " * 21 + "film", "good " * 22 + "film"
    found = text_generation.prompts(Dataset.from_dict({"prompt": [fits, over]}), about)
    assert found["prompt"][:] == [fits]
