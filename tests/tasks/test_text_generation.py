"""Text generation: what is trained on, how texts are packed, cut and measured, and that a model learns to stop."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy

import hf_tl
from hf_tl.config import Preprocessing, load_config
from hf_tl.errors import ConfigError, DataError, ModelError
from hf_tl.task import TaskContext, get_task
from hf_tl.tasks import _chat, _generation, text_generation
from tests.anything import tiny_model
from tests.tiny import CHATML, sentiment_csv, tiny_chat_tokenizer

TASK = get_task("text-generation")
MARKED = CHATML.replace(
    "{{ m['content'] }}<|im_end|>\n",
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}<|im_end|>{% endgeneration %}\n"
    "{% else %}{{ m['content'] }}<|im_end|>\n{% endif %}",
)
ENDLESS = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }}\n{% endfor %}"
"""Ends no turn, and has no prompt for the assistant."""
CHAT = [
    {"role": "system", "content": "very good"},
    {"role": "user", "content": "was the film bad"},
    {"role": "assistant", "content": "never"},
    {"role": "user", "content": "the book"},
    {"role": "assistant", "content": "not so bad"},
]


def context_of(path: Path, **options: Any) -> TaskContext:
    from transformers import AutoConfig, AutoTokenizer

    return TaskContext(
        processor=AutoTokenizer.from_pretrained(path),
        preprocessing=Preprocessing(**options),
        model_config=AutoConfig.from_pretrained(path),
        folder=path,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny_model(TASK, tmp_path / "model")


def trained(ids: list[int], mask: list[bool], tokenizer: Any) -> str:
    return str(tokenizer.decode([token for token, each in zip(ids, mask, strict=True) if each]))


@pytest.mark.parametrize(
    ("template", "marked", "expected"),
    [
        (CHATML, False, "never<|im_end|>not so bad<|im_end|>"),
        (MARKED, True, "never<|im_end|>not so bad<|im_end|>"),
        # no turn is ended: the last one is, by an added end-of-sequence token
        (ENDLESS, False, "assistant never\nassistant not so bad\n<|im_end|>"),
    ],
    ids=["unmarked", "marked", "endless"],
)
def test_the_assistants_turns_and_their_ends_are_trained_on(template: str, marked: bool, expected: str) -> None:
    tokenizer = tiny_chat_tokenizer(None, template)
    assert _chat.training_template(tokenizer, "a.jsonl") == (None, marked)
    ids, mask = _chat.encode(CHAT, tokenizer, None, marked, {tokenizer.eos_token_id})
    assert trained(ids, mask, tokenizer) == expected
    assert not all(mask)
    text = tokenizer.decode(ids).removesuffix("<|im_end|>" if template == ENDLESS else "")
    assert text == tokenizer.apply_chat_template(CHAT, tokenize=False)


def test_the_mask_is_that_of_trl(path: Path) -> None:
    """On the same conversation as `SFTTrainer` with `assistant_only_loss` prepares it."""
    from trl.data_utils import _tokenize

    tokenizer = tiny_chat_tokenizer(None, MARKED)
    theirs = _tokenize(tokenizer, CHAT, return_assistant_tokens_mask=True)
    ids, mask = _chat.encode(CHAT, tokenizer, None, True, {tokenizer.eos_token_id})
    assert ids == theirs["input_ids"] and [int(each) for each in mask] == theirs["assistant_masks"]


def test_a_template_that_rewrites_earlier_turns_is_refused(path: Path) -> None:
    template = "{% for m in messages %}{{ m['role'] }} {% if loop.last %}{{ m['content'] }}{% endif %}{% endfor %}"
    context = context_of(path)
    context.processor.chat_template = template
    rows = Dataset.from_dict({"messages": [CHAT], "file": ["a.jsonl, line 7"]})
    with pytest.raises(DataError, match=r"a\.jsonl, line 7: the chat template has no .*generation.* markers"):
        TASK.preprocess(rows, context, True)


def test_a_mask_that_trains_on_nothing_stops(path: Path) -> None:
    context = context_of(path)
    context.processor.chat_template = MARKED.replace("== 'assistant'", "== 'model'")
    rows = Dataset.from_dict({"messages": [CHAT], "file": ["a.jsonl, line 1"]})
    with pytest.raises(DataError, match="not one token of the 1 training rows is trained on"):
        TASK.preprocess(rows, context, True)
    long = Dataset.from_dict({"prompt": ["the film was " * 9], "completion": ["good"], "file": ["a.jsonl, line 1"]})
    with pytest.raises(DataError, match="cut off at 16 tokens"):
        TASK.preprocess(long, context_of(path, max_length=16), True)


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        ([], "the conversation is empty"),
        (None, "the conversation is empty"),
        ([{"role": "assistant", "content": "good"}], r"turn 1 is the assistant's and comes first"),
        ([*CHAT[:2], CHAT[1]], "turn 3 is the user's and follows one of the user's"),
        ([CHAT[1], CHAT[2], CHAT[0]], "turn 3 is the system's"),
        ([{"role": "narrator", "content": "good"}], "turn 1 has the role 'narrator', expected one of 'system'"),
        ([CHAT[1], {"role": "assistant", "content": " "}], r"turn 2 \(of the assistant\) is empty"),
        ([CHAT[1]], "no turn is the assistant's"),
    ],
)
def test_conversations_that_are_wrong(messages: Any, what: str, path: Path, tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    good = json.dumps({"messages": CHAT})
    file.write_text("\n".join([good, good, json.dumps({"messages": messages}), *[good] * 9]))
    options = {"model": str(path), "output": str(tmp_path / "run"), "training": {"max_steps": 1, "bf16": False}}
    with pytest.raises(DataError, match=rf"chats\.jsonl.*3.*{what}"):
        hf_tl.finetune(data=str(file), **options)


def test_bad_rows_are_left_out_and_counted(path: Path, tmp_path: Path) -> None:
    from hf_tl.data import load_data

    file = tmp_path / "chats.jsonl"
    good = json.dumps({"messages": CHAT})
    file.write_text("\n".join([good, json.dumps({"messages": []}), *[good] * 9]))
    data = load_data(load_config({"model": "-", "data": {"path": str(file), "on_error": "skip"}}).data)
    assert data.task.name == "text-generation" and sum(len(rows) for rows in data.splits.values()) == 10
    assert any("1 rows of train are skipped (the conversation is empty)" in note for note in data.notes)


def test_no_chat_template(path: Path, tmp_path: Path) -> None:
    context = context_of(path)
    context.processor.chat_template = None
    rows = Dataset.from_dict({"messages": [CHAT], "file": ["a.jsonl, line 1"]})
    with pytest.raises(ModelError, match=r"a\.jsonl, line 1: the tokenizer has no chat template"):
        TASK.preprocess(rows, context, True)
    file = tmp_path / "chat.jinja"
    file.write_text(CHATML)
    TASK.configure(None, dataclasses.replace(context, preprocessing=Preprocessing(chat_template=str(file))))
    assert len(TASK.preprocess(rows, context, True)) == 1 and context.processor.chat_template == CHATML
    missing = dataclasses.replace(context, preprocessing=Preprocessing(chat_template=str(tmp_path / "none.jinja")))
    with pytest.raises(ConfigError, match=r"data\.preprocessing\.chat_template: .*none\.jinja cannot be read"):
        TASK.configure(None, missing)


def test_no_end_of_sequence(path: Path) -> None:
    context = context_of(path)
    context.processor.eos_token = None
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        TASK.preprocess(Dataset.from_dict({"text": ["the film was good"]}), context, True)


@pytest.mark.parametrize("pad", ["<|im_end|>", None])
def test_the_end_is_trained_on_though_it_pads_too(path: Path, pad: str | None) -> None:
    context = context_of(path)
    tokenizer = context.processor
    tokenizer.pad_token = pad
    rows = Dataset.from_dict(
        {"prompt": ["the film was ", "a very good "], "completion": ["good", "book was not so bad"]}
    )
    samples = TASK.preprocess(rows, context, True)
    batch = TASK.collator(context, True)([samples[0], samples[1]])
    end = tokenizer.eos_token_id
    for index in range(2):
        labels = [token for token in batch["labels"][index].tolist() if token != -100]
        assert labels[-1] == end and labels.count(end) == 1
        assert tokenizer.decode(labels) == rows[index]["completion"] + "<|im_end|>"
        assert int(batch["attention_mask"][index].sum()) == len(samples[index]["input_ids"])


@pytest.mark.parametrize(("policy", "pieces", "note"), [
    ("drop", [8], "1 of 2 training rows are longer than 16 tokens and are dropped"),
    ("truncate", [8, 16], "are truncated"),
    ("split", [8, 16, 16, 8], "are split into pieces"),
    (None, [8, 16, 16, 8], "are split into pieces"),
])  # fmt: skip
def test_long_samples_are_counted(path: Path, policy: Any, pieces: list[int], note: str) -> None:
    context = context_of(path, max_length=16, long_samples=policy, packing=False)
    rows = Dataset.from_dict({"text": ["the film was good", " ".join(["bad"] * 20)]})  # 7 and 39 tokens, and the end
    samples = TASK.preprocess(rows, context, True)
    assert samples["length"] == pieces
    assert any(note in each for each in context.notes)
    # each token but the first of a piece is learned once
    assert sum(label != -100 for labels in samples["labels"] for label in labels) == sum(pieces) - len(pieces)


def models(path: Path) -> list[Any]:
    from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    llama = AutoModelForCausalLM.from_pretrained(path)
    small = GPT2Config(
        vocab_size=llama.config.vocab_size, n_positions=64, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, eos_token_id=3, bos_token_id=None,
    )  # fmt: skip
    return [llama, GPT2LMHeadModel(small)]


TEXTS = ["the film was good", "a very bad book", "great", "the song is not so awful as the meal was poor"]


@pytest.mark.parametrize("attention", ["sdpa", "eager", "flash"])
def test_packed_texts_do_not_see_each_other(path: Path, attention: str) -> None:
    """The summed loss of packed texts is that of the texts one by one, by Transformers' own loss."""
    for model in models(path):
        context = context_of(path, max_length=48)
        if attention == "flash":  # its layout of a batch, by an attention that this machine has
            config = type(model.config)(**model.config.to_dict())
            config._attn_implementation = "flash_attention_2"
        else:
            model.set_attn_implementation(attention)
            config = model.config
        context = dataclasses.replace(context, model_config=config)
        samples = TASK.preprocess(Dataset.from_dict({"text": TEXTS}), context, True)
        assert len(samples) < len(TEXTS) and any("packed" in note for note in context.notes)
        batch = TASK.collator(context, True)([samples[index] for index in range(len(samples))])
        assert len(batch["input_ids"]) == (1 if attention == "flash" else len(samples))
        for mode in (model.train(), model.eval()):
            with torch.no_grad():
                out = mode(**{name: value for name, value in batch.items() if name != "labels"})
            packed = float(TASK.loss(out, batch, context, 1))
            alone, count = 0.0, 0
            for text in TEXTS:
                ids = torch.tensor([[*context.processor(text)["input_ids"], context.processor.eos_token_id]])
                with torch.no_grad():
                    alone += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
                count += ids.shape[1] - 1
            assert packed == pytest.approx(alone, rel=1e-5)
            assert TASK.items is not None and TASK.items(batch) == count


def test_packed_conversations_are_trained_on_the_same_tokens(path: Path) -> None:
    rows = Dataset.from_dict({"messages": [CHAT, CHAT[1:3], CHAT[1:]], "file": ["a", "b", "c"]})
    found = []
    for packing in (True, False):
        context = context_of(path, packing=packing, max_length=64)
        samples = TASK.preprocess(rows, context, True)
        batch = TASK.collator(context, True)([samples[index] for index in range(len(samples))])
        found.append(sorted(batch["labels"][batch["labels"] != -100].tolist()))
        assert len(samples) == (2 if packing else 3)
        assert any("tokens are trained on" in note for note in context.notes)
    assert found[0] == found[1]


def test_loss_after_the_shift_and_under_accumulation(path: Path) -> None:
    model = models(path)[0]
    context = context_of(path)
    rows = Dataset.from_dict({"prompt": ["the film ", "a ", "the "], "completion": ["was good", "bad book", "meal"]})
    samples = TASK.preprocess(rows, context, True)
    collate = TASK.collator(context, True)
    chosen = [samples[index] for index in range(3)]
    assert TASK.items is not None

    def gradient(batches: list[Any]) -> torch.Tensor:
        model.zero_grad()
        count = sum(TASK.items(batch) for batch in batches)
        for batch in batches:
            out = model(**{name: value for name, value in batch.items() if name != "labels"})
            TASK.loss(out, batch, context, count).backward()
        return model.lm_head.weight.grad.clone()

    whole = collate(chosen)
    assert torch.allclose(gradient([whole]), gradient([collate(chosen[:1]), collate(chosen[1:])]), atol=1e-6)
    with torch.no_grad():
        logits = model(input_ids=whole["input_ids"], attention_mask=whole["attention_mask"]).logits
        by_hand = [
            cross_entropy(logits[index, at - 1], whole["labels"][index, at])
            for index in range(3)
            for at in range(1, whole["labels"].shape[1])
            if whole["labels"][index, at] != -100
        ]
        ours = TASK.loss({"logits": logits}, whole, context, None)
    assert float(ours) == pytest.approx(float(torch.stack(by_hand).mean()), rel=1e-5)


def test_perplexity_by_hand(path: Path) -> None:
    """A model that gives each of the V tokens the same probability has perplexity V; intervals are over rows."""
    context = context_of(path)
    rows = Dataset.from_dict({"text": TEXTS})
    samples = TASK.preprocess(rows, context, False)
    batch = TASK.collator(context, False)([samples[index] for index in range(4)])
    size = len(context.processor)
    flat = {"logits": torch.zeros(*batch["input_ids"].shape, size)}
    kept = TASK.collect(None, flat, batch, context)
    assert all(set(each) == {"sums", "written"} and each["sums"].shape == (3,) for each in kept)  # no logits
    found = TASK.measure(kept, samples, rows, context, resamples=20)
    assert found.values["perplexity"] == pytest.approx(size) and found.values["loss"] == pytest.approx(math.log(size))
    true = batch["input_ids"].roll(-1, 1)
    sure = TASK.collect(None, {"logits": torch.nn.functional.one_hot(true, size).float() * 50}, batch, context)
    assert TASK.measure(sure, samples, rows, context, resamples=20).values["token_accuracy"] == 1.0
    wrong = [kept[0], *sure[1:]]
    values = TASK.measure(wrong, samples, rows, context, resamples=200).metrics["perplexity"]
    assert values["low"] < values["value"] < values["high"]
    sums = np.stack([each["sums"] for each in wrong]).sum(0)
    assert values["value"] == pytest.approx(math.exp(sums[0] / sums[1]))


def test_learned_to_answer_and_to_stop(path: Path, tmp_path: Path) -> None:
    """The answer depends on the prompt, ends by itself, and is what plain Transformers writes."""
    from transformers import pipeline

    rows = [
        {"messages": [{"role": "user", "content": f"was the {what} {how}"}, {"role": "assistant", "content": answer}]}
        for what in ("film", "book", "song", "meal") * 4
        for how, answer in (("good", "great"), ("bad", "not so fine"))
    ]
    file = tmp_path / "chats.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    run = hf_tl.finetune(
        model=str(path), data=str(file), output=str(tmp_path / "run"), generation={"max_new_tokens": 12},
        training={"num_train_epochs": 15, "learning_rate": 1e-2, "bf16": False},
    )  # fmt: skip
    values = {name: each["value"] for name, each in run.metrics["metrics"].items()}
    assert values["perplexity"] < 1.2 and values["token_accuracy"] > 0.9
    settings = json.loads((run.model / "generation_config.json").read_text())
    assert settings["max_new_tokens"] == 12 and settings["do_sample"] is False and settings["eos_token_id"] == 3
    chats = [[{"role": "user", "content": f"was the song {how}"}] for how in ("good", "bad")]
    found = run.predict([{"messages": chat} for chat in chats])
    assert [each["label"] for each in found] == ["great", "not so fine"]
    assert not any(each["cut"] for each in found) and all(0.5 < each["score"] <= 1 for each in found)
    pipe = pipeline("text-generation", model=str(run.model))
    assert [each["generated_text"] for each in found] == [pipe(chat)[0]["generated_text"] for chat in chats]
    report = (run.folder / "report.html").read_text()
    assert "expected" in report and "generated" in report
    assert '[{"role": "user"' in (run.folder / "README.md").read_text()
    # the whole of a dataset is answered, though it holds answers
    again = run.predict({"path": str(file)})
    assert len(again) == len(rows) and again[0]["label"] == "great"
    assert hf_tl.evaluate(str(run.folder), str(file))["metrics"]["perplexity"]["value"] < 1.2


def test_what_data_suggest(path: Path, tmp_path: Path) -> None:
    from hf_tl.data import load_data

    def task(name: str, row: dict[str, Any]) -> str:
        file = tmp_path / f"{name}.jsonl"
        file.write_text("\n".join([json.dumps(row)] * 12))
        return load_data(load_config({"model": "-", "data": str(file)}).data).task.name

    assert task("chat", {"messages": CHAT}) == "text-generation"
    assert task("pairs", {"prompt": "is the film good", "completion": "the film is good"}) == "text-generation"
    with pytest.raises(DataError, match="label"):
        task("plain", {"text": "the film is good"})
    labelled = load_data(load_config({"model": "-", "data": str(sentiment_csv(tmp_path / "a.csv"))}).data)
    assert labelled.task.name == "text-classification"


def test_generation_settings(path: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path)
    model.generation_config.do_sample, model.generation_config.temperature = True, 0.6
    model.generation_config.eos_token_id = 4  # a base model's, where the tokenizer ends turns by 3
    context = context_of(path)
    TASK.configure(model, context)
    generation = model.generation_config
    assert generation.do_sample is False and generation.temperature is None and generation.max_new_tokens == 32
    assert (
        set(generation.eos_token_id) >= {3}
        if isinstance(generation.eos_token_id, list)
        else generation.eos_token_id == 3
    )
    assert any("decodes greedily" in note for note in context.notes)
    context = dataclasses.replace(context, generation={"do_sample": False, "temperature": 0.3})
    with pytest.raises(ConfigError, match="generation: "):
        TASK.configure(model, context)
    data = sentiment_csv(tmp_path / "a.csv")
    options = {"model": str(path), "data": str(data), "output": str(tmp_path / "run")}
    with pytest.raises(ConfigError, match=r"generation\.max_new_token: not a field .*'max_new_tokens'"):
        hf_tl.finetune(task="text-generation", generation={"max_new_token": 3}, **options)
    with pytest.raises(ConfigError, match=r"generation\.num_beams: has no effect on text-classification"):
        hf_tl.finetune(task="text-classification", generation={"num_beams": 3}, **options)


def test_qlora_where_it_cannot_be(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS * 4))
    options = {"task": "text-generation", "data": str(file), "output": str(tmp_path / "run")}
    quantized = {"id": str(path), "quantization_config": {"load_in_4bit": True}}
    with pytest.raises(ConfigError, match="use method lora, not full"):
        hf_tl.finetune(model=quantized, method="full", **options)
    monkeypatch.setattr("hf_tl.training.arguments.is_liger_kernel_available", lambda: False)
    with pytest.raises(ConfigError, match="needs the package liger-kernel"):
        hf_tl.finetune(model=str(path), training={"use_liger_kernel": True}, **options)
    monkeypatch.setattr("hf_tl.models.quantized.importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"needs the package bitsandbytes .* and a GPU, which this machine does not"):
        hf_tl.finetune(model=quantized, method="lora", **options)


def test_an_adapter_of_a_quantized_base_is_merged_into_whole_weights(path: Path, tmp_path: Path) -> None:
    """With a base that only says it is quantized, since this machine cannot have one."""
    from transformers import AutoModelForCausalLM

    from hf_tl.config import MethodConfig
    from hf_tl.models.methods import get_method
    from hf_tl.models.pretrained import Loaded

    model = AutoModelForCausalLM.from_pretrained(path)
    model.is_quantized = True
    method = get_method(MethodConfig(name="lora"))
    adapted = method.prepare(Loaded(model, []), TASK)
    wrapped = adapted.module
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    ids = torch.tensor([[6, 7, 8]])
    expected = wrapped.eval()(input_ids=ids).logits
    plain = method.finish(adapted, tmp_path)
    assert plain is not model and not getattr(plain, "is_quantized", False)
    assert torch.allclose(plain(input_ids=ids).logits, expected, atol=1e-4)


def test_show_escapes(path: Path) -> None:
    bad = "<script>alert(1)</script>"
    prediction = {"label": bad, "score": 0.5, "generated_text": "the film" + bad, "cut": True}
    context = context_of(path)
    chat = [{"role": "user", "content": bad}, {"role": "assistant", "content": bad}]
    for row in ({"messages": chat}, {"prompt": bad, "completion": bad}, {"text": "the film" + bad}):
        html = TASK.render_html(row, prediction, context) if TASK.render_html else ""
        assert "<script" not in html and html.count("&lt;script&gt;") >= 2
    assert TASK.render_html is not None and TASK.render_html({"text": "a"}, {"label": "", "score": 0.0}, context) == ""


@pytest.mark.parametrize("packing", [True, False])
def test_plain_texts_by_lora(path: Path, tmp_path: Path, packing: bool) -> None:
    """From a text file, packed, with GPT-2: its weights are transposed, and it has places of its own."""
    from transformers import pipeline

    models(path)[1].save_pretrained(path)
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS * 8))
    run = hf_tl.finetune(
        task="text-generation", model=str(path), method="lora", output=str(tmp_path / "run"),
        data={"path": str(file), "preprocessing": {"packing": packing}},
        training={"num_train_epochs": 2, "learning_rate": 1e-2, "bf16": False},
    )  # fmt: skip
    log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    losses = [line["eval_loss"] for line in log if "eval_loss" in line]
    assert losses[-1] < losses[0]
    pipe = pipeline("text-generation", model=str(run.model))
    found = run.predict(["the film", "a very bad book was"])
    assert [each["generated_text"] for each in found] == [pipe(text)[0]["generated_text"] for text in
                                                          ["the film", "a very bad book was"]]  # fmt: skip
    seen = hf_tl.preview(
        {
            "task": "text-generation",
            "model": str(path),
            "data": {"path": str(file), "preprocessing": {"packing": packing}},
        },
        samples=4,
    )
    assert len(seen["samples"]) == (1 if packing else 4)


@pytest.mark.slow
def test_real_conversations(data_dir: Path, tmp_path: Path) -> None:
    """From random weights and a tokenizer of the same texts, since nothing pretrained is at hand."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers import models as kinds
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    data = data_dir / "text" / "seed_tasks_chat"
    lines = (data / "train.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [turn["content"] for line in lines for turn in json.loads(line)["messages"]]
    made = Tokenizer(kinds.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special, alphabet = ["<|im_start|>", "<|im_end|>"], pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=1000, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"], model_max_length=512
    )
    tokenizer.chat_template = CHATML
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    run = hf_tl.finetune(
        model=str(tmp_path / "model"), data=str(data), output=str(tmp_path / "run"),
        generation={"max_new_tokens": 16}, training={"num_train_epochs": 6, "learning_rate": 2e-3, "bf16": False},
    )  # fmt: skip
    log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    before = next(line["eval_perplexity"] for line in log if "eval_perplexity" in line)
    assert 900 < before < 1200  # as good as drawing one of the 1000 tokens
    assert run.metrics["metrics"]["perplexity"]["high"] < before / 2


# By hand


def turns(*roles: str, **more: Any) -> list[dict[str, Any]]:
    return [{"role": role, "content": "good", **more} for role in roles]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        # marked is what is said, and not what ends it: its first end is trained on all the same
        ("<|im_end|>\n", "never<|im_end|>not so bad<|im_end|>"),
        ("<|im_end|><|im_end|>", "never<|im_end|>not so bad<|im_end|>"),
        # nothing ends it: the last turn is ended, with what the template writes after it
        (" ", "nevernot so bad <|im_end|>"),
    ],
)
def test_the_end_of_a_marked_turn(after: str, expected: str) -> None:
    assistant = "{% generation %}{{ m['content'] }}{% endgeneration %}" + after
    kinds = f"{{% if m['role'] == 'assistant' %}}{assistant}{{% else %}}{{{{ m['content'] }}}}\n{{% endif %}}"
    whole = f"{{% for m in messages %}}{kinds}{{% endfor %}}"
    tokenizer = tiny_chat_tokenizer(None, whole)
    ids, mask = _chat.encode(CHAT, tokenizer, None, True, {tokenizer.eos_token_id})
    assert trained(ids, mask, tokenizer) == expected


def test_a_conversation_that_waits_for_an_answer_gets_no_end() -> None:
    tokenizer = tiny_chat_tokenizer(None, ENDLESS)
    ids, mask = _chat.encode(CHAT[:4], tokenizer, None, False, {tokenizer.eos_token_id})
    assert trained(ids, mask, tokenizer) == "assistant never\n" and ids[-1] != tokenizer.eos_token_id


def test_turns_of_tools() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "x"}]}
    chat = [*turns("user"), call, *turns("tool", "tool", "assistant")]
    assert _chat.wrong(chat) is None and _chat.prompt_turns(chat) == chat[:4]
    assert _chat.prompt_turns(CHAT) == CHAT[:4] and _chat.prompt_turns(turns("assistant")) == []
    assert _chat.wrong([*turns("user"), {**call, "tool_calls": None}]) == "turn 2 (of the assistant) is empty"
    assert _chat.wrong(turns("user"), answered=False) is None
    assert str(_chat.wrong(turns("user", "tool"))).startswith("turn 2 is the tool's and follows one of the user's")
    assert _chat.wrong({"role": "user"}) == "the conversation is a dict, expected a list of turns"
    said = _chat.wrong([{"role": "user", "content": {"a": 1}}])
    assert said == "the content of turn 1 is a dict, expected a text"


def test_parts_of_a_text_become_one() -> None:
    parts = [{"type": "text", "text": "the "}, {"type": "text", "text": None}, {"type": "text", "text": "film"}]
    assert _chat.clean([{"role": "user", "content": parts, "name": None}]) == [{"role": "user", "content": "the film"}]
    image = [{"type": "image", "url": "x"}]
    assert _chat.clean([{"role": "user", "content": image}]) == [{"role": "user", "content": image}]
    assert _chat.clean(None) == []


def test_a_sample_of_just_the_limit_is_not_long(path: Path) -> None:
    context = context_of(path, max_length=8, packing=False, long_samples="drop")
    rows = Dataset.from_dict({"text": ["the film was good", "the film was good "]})  # 8 and 9 tokens with the end
    samples = TASK.preprocess(rows, context, True)
    assert samples["length"] == [8] and samples["row"] == [0]
    (note,) = context.notes
    assert note.startswith("1 of 2 training rows are longer than 8 tokens and are dropped")


def test_what_is_not_trained_on_is_counted(path: Path) -> None:
    """Of three answers one is cut off as a whole: the others have 2 and 4 of 8 and 8 tokens, ends included."""
    context = context_of(path, max_length=8, packing=False)
    rows = Dataset.from_dict(
        {"prompt": ["the film was ", "the film ", "the film was very bad "], "completion": ["bad", "is so", "good"]}
    )
    samples = TASK.preprocess(rows, context, True)
    learned = [[token for token in labels if token != -100] for labels in samples["labels"]]
    assert [context.processor.decode(each) for each in learned] == ["bad<|im_end|>", "is so<|im_end|>"]
    assert context.notes == [
        "1 of 3 training rows are longer than 8 tokens and are truncated (data.preprocessing.long_samples and "
        "max_length).",
        "1 training samples are skipped: no token of theirs is trained on.",
        "6 of 16 tokens are trained on (38%): the answers.",
    ]


def test_prompts_of_an_evaluation_stand_on_the_right(path: Path) -> None:
    """Of a text in pieces the first alone is asked to go on; in training nothing is."""
    context = dataclasses.replace(context_of(path, max_length=8), mode="measuring")
    rows = Dataset.from_dict({"text": ["the film was good", " ".join(["bad"] * 10)], "file": ["a", "b"]})
    samples = TASK.preprocess(rows, context, False)
    assert samples["row"] == [0, 1, 1, 1] and [bool(asked) for asked in samples["prompt_ids"]] == [
        True,
        True,
        False,
        False,
    ]
    chosen = [{**samples[index], "prompt_ids": prompt} for index, prompt in enumerate(([5, 6, 7], [8], []))]
    batch = TASK.collator(context, False)(chosen)
    assert batch["prompt_ids"].tolist() == [[5, 6, 7], [-1, -1, 8], [-1, -1, -1]]
    assert "prompt_ids" not in TASK.collator(context, True)(chosen)


class Says:
    """A decoder that writes what it is told to, each token with a probability of its own."""

    def __init__(self, out: list[list[int]], probabilities: torch.Tensor) -> None:
        self.out, self.probabilities, self.seen = torch.tensor(out), probabilities, {}
        self.generation_config = SimpleNamespace(max_new_tokens=3, eos_token_id=[3, 4])

    def generate(self, **options: Any) -> torch.Tensor:
        self.seen["generate"] = options
        return self.out

    def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any) -> Any: ...

    def __call__(self, **inputs: Any) -> Any:
        self.seen["forward"] = inputs
        return {"logits": self.probabilities.log()}


def test_what_is_written_ends_with_its_first_end(path: Path) -> None:
    """Two prompts of two and three tokens; three are written after each, and the first text ends at the second."""
    context = context_of(path)
    probabilities = torch.full((2, 6, 20), 0.01)
    # the token at place n is told by the logits at n - 1
    for row, tokens in ((0, ((2, 12, 0.5), (3, 4, 0.125))), (1, ((2, 13, 0.5), (3, 14, 0.25), (4, 15, 0.125)))):
        for place, token, value in tokens:
            probabilities[row, place] = (1 - value) / 19
            probabilities[row, place, token] = value
    probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    model = Says([[0, 8, 9, 12, 4, 16], [5, 6, 7, 13, 14, 15]], probabilities)
    first, second = _generation.write(model, torch.tensor([[-1, 8, 9], [5, 6, 7]]), context)
    given = model.seen["generate"]
    assert given["input_ids"].tolist() == [[0, 8, 9], [5, 6, 7]] and given["pad_token_id"] == 0
    assert given["attention_mask"].tolist() == [[0, 1, 1], [1, 1, 1]]
    again = model.seen["forward"]
    assert again["attention_mask"].tolist() == [[0, 1, 1, 1, 1, 0], [1] * 6]
    assert again["position_ids"].tolist() == [[0, 0, 1, 2, 3, 3], [0, 1, 2, 3, 4, 5]]
    decode = context.processor.decode
    assert (first["text"], first["cut"]) == (decode([12]), False)
    assert (second["text"], second["cut"]) == (decode([13, 14, 15]), True)
    assert first["score"] == pytest.approx((0.5 * 0.125) ** (1 / 2), rel=1e-5)
    assert second["score"] == pytest.approx((0.5 * 0.25 * 0.125) ** (1 / 3), rel=1e-5)


def test_the_tokens_that_end_a_text_and_how_long_it_may_be(path: Path) -> None:
    context = context_of(path)
    file = path / "generation_config.json"
    for ends, found in ((4, {3, 4}), ([4, 0], {0, 3, 4}), (None, {3})):
        file.write_text(json.dumps({"eos_token_id": ends}))
        assert _generation.ends_of(context) == found
    file.unlink()
    assert _generation.ends_of(context) == {3}
    assert _generation.capacity(context) == 64 and _generation.most_new(context) == 32
    context.processor.model_max_length = 40
    assert _generation.capacity(context) == 40 and _generation.most_new(context) == 20
    context.processor.model_max_length, context.model_config.max_position_embeddings = 10**30, 4096
    assert _generation.capacity(context) == 4096 and _generation.most_new(context) == 256
    assert _generation.most_new(dataclasses.replace(context, generation={"max_new_tokens": 7})) == 7


def test_what_a_prediction_says(path: Path) -> None:
    """The perplexity of a row over its pieces, and the text after its prompt."""
    context = context_of(path)
    rows = Dataset.from_dict({"prompt": ["the film ", "a "], "completion": ["was good", "book"]})
    samples = Dataset.from_dict({"row": [0, 0, 1], "prompt_ids": [[6, 5, 7], [], []]})
    written = {"text": "was so", "score": 0.25, "cut": True}
    outputs = [
        {"sums": np.array([2.0, 2, 1]), "written": written}, {"sums": np.array([4.0, 1, 0]), "written": None},
        {"sums": np.zeros(3), "written": None},
    ]  # fmt: skip
    first, second = TASK.postprocess(outputs, samples, rows, context)
    assert first == {
        "label": "was so", "score": 0.25, "generated_text": "the film was so", "cut": True,
        "perplexity": pytest.approx(math.exp(6 / 3)),
    }  # fmt: skip
    assert second == {"label": "", "score": 0.0}
    found = TASK.measure(outputs, samples, rows, context, resamples=0)
    assert found.values == pytest.approx({"perplexity": math.exp(2), "token_accuracy": 1 / 3, "loss": 2.0})
    assert found.extra == {"rows_without_tokens": 1}


def test_what_a_proof_asks_of_a_decoder(path: Path) -> None:
    context = dataclasses.replace(context_of(path), generation={"max_new_tokens": 8})
    ask = text_generation.prompts
    chats = Dataset.from_dict({"messages": [CHAT, CHAT[2:3]]})
    assert ask(chats, context).to_list() == [{"messages": CHAT[:4]}]  # nothing is left of the other
    assert ask(Dataset.from_dict({"prompt": ["the film", " "]}), context)["prompt"] == ["the film"]
    long = "the film was very good and so was the book"
    assert ask(Dataset.from_dict({"text": [long, "film"]}), context)["text"] == [long[:40].rpartition(" ")[0]]
    (path / "generation_config.json").write_text('{"do_sample": true, "eos_token_id": 3}')
    assert len(ask(chats, context)) == 0  # words are drawn: nobody gets the same


def test_how_much_is_written_is_said_once(path: Path) -> None:
    """`max_new_tokens` that is given takes the place of a `max_length` that the model brings; else that stays."""
    from transformers import AutoModelForCausalLM

    for given, found in (({"max_new_tokens": 7}, (7, None)), ({"max_length": 30}, (None, 30)), ({}, (None, 20))):
        model = AutoModelForCausalLM.from_pretrained(path)
        model.generation_config.max_length = 20
        TASK.configure(model, dataclasses.replace(context_of(path), generation=given))
        assert (model.generation_config.max_new_tokens, model.generation_config.max_length) == found
