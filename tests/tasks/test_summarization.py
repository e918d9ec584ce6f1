"""Summarization, and what it shares with translation: loss, ends of texts, generation settings, what is cut."""

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
import transformers
from datasets import Dataset

import hf_tl
from hf_tl.config import DataConfig, Preprocessing
from hf_tl.data import load_data
from hf_tl.errors import ConfigError, ModelError
from hf_tl.models.pretrained import task_of
from hf_tl.task import TaskContext, get_task
from hf_tl.tasks import _seq2seq, _writing
from hf_tl.tasks._writing import configure
from tests.clean_process import card_prints
from tests.tiny import tiny_tokenizer, tiny_writer

TASK = get_task("summarization")
WORDS = "the a film book was is good bad very so".split()
ROWS = Dataset.from_dict(
    {
        "document": ["the film was good", "a book", "the book is very bad so bad"],
        "summary": ["good film", "book", "the very bad bad bad bad bad"],
    }
)


def context_of(folder: Path, **options: Any) -> TaskContext:
    return TaskContext(
        processor=transformers.AutoTokenizer.from_pretrained(folder),
        preprocessing=Preprocessing(**options),
        model_config=transformers.AutoConfig.from_pretrained(folder),
    )


def written(*texts: str, **options: Any) -> list[dict[str, Any]]:
    return [{"text": text, "tokens": 3, "cut": False, "nll": 1.0, "count": 2, **options} for text in texts]


def test_rouge_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_tl.metrics.intervals.FEW", 0)  # what is added for few rows: test_few_rows.py
    rows = Dataset.from_dict({"summary": ["the cat sat down", "a dog"]})
    found = TASK.measure(written("the cat ran", ""), None, rows, TaskContext(), resamples=100)
    # unigrams: 2 of 3 written, 2 of 4 true; bigrams: 1 of 2 and 1 of 3; longest common: as unigrams
    by_hand = {"rouge1": 4 / 7, "rouge2": 2 / 5, "rougeL": 4 / 7}
    for name, value in by_hand.items():
        assert found.values[name] == pytest.approx(value / 2)
        assert found.metrics[name]["low"] == 0 and found.metrics[name]["high"] == pytest.approx(value)
    assert found.values["loss"] == pytest.approx(0.5) and found.values["generated_tokens"] == 3


@pytest.mark.parametrize(
    ("true", "said", "f1"),
    [
        ("хороший фильм", "плохой фильм", 0.5),
        ("这部电影很好", "这部电影很差", 5 / 6),
        ("the films", "a film", 0.5),
        ("une belle soirée", "une belle journée", 3 / 4),  # as rouge-score has it: accents part words
    ],
)
def test_rouge_counts_words_of_any_script(true: str, said: str, f1: float) -> None:
    found = TASK.measure(written(said), None, Dataset.from_dict({"summary": [true]}), TaskContext(), resamples=0)
    assert found.values["rouge1"] == pytest.approx(f1)


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_the_loss_is_the_models_own(kind: str, tmp_path: Path) -> None:
    """Equal to what the model computes from `labels`, which shifts them itself; and to Transformers' own smoothing."""
    context = context_of(tiny_writer(tmp_path, WORDS, kind))
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    configure(model, context, name="summarization")
    samples = TASK.preprocess(ROWS, context, True)
    batch = TASK.collator(context, True)(list(samples))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        mine = model(**inputs, decoder_input_ids=batch["decoder_input_ids"])
        own = model(**inputs, labels=batch["labels"])
    assert torch.equal(mine.logits, own.logits)
    assert float(TASK.loss(mine, batch, context, None)) == pytest.approx(float(own.loss), rel=1e-6)
    assert float(TASK.loss(mine, batch, context, 40)) == pytest.approx(float(own.loss) * 13 / 40, rel=1e-6)
    parts = 0.0  # accumulated batches, padded each for itself, are one large one
    for some in ([0], [1, 2]):
        part = TASK.collator(context, True)([samples[index] for index in some])
        with torch.no_grad():
            out = model(**{name: part[name] for name in (*inputs, "decoder_input_ids")})
        parts += float(TASK.loss(out, part, context, 13))
    assert parts == pytest.approx(float(own.loss), rel=1e-5)
    context = dataclasses.replace(context, label_smoothing=0.1)
    from transformers.trainer_pt_utils import LabelSmoother

    smooth = LabelSmoother(0.1)({"logits": own.logits}, batch["labels"])
    assert float(TASK.loss(mine, batch, context, None)) == pytest.approx(float(smooth), rel=1e-6)
    flat = {"logits": torch.zeros(*batch["labels"].shape, 14)}
    assert float(TASK.loss(flat, batch, context, None)) == pytest.approx(math.log(14))
    kept = TASK.collect(model, own, batch, context)
    assert sum(each["nll"] for each in kept) / sum(each["count"] for each in kept) == pytest.approx(float(own.loss))


def test_every_target_ends(tmp_path: Path) -> None:
    """Also one that is cut, one of a tokenizer that adds no end, and one that is padded with the end's token."""
    context = context_of(tiny_writer(tmp_path, WORDS), max_target_length=4, max_length=6)
    samples = TASK.preprocess(ROWS, context, True)
    assert [len(ids) for ids in samples["labels"]] == [3, 2, 4] and {ids[-1] for ids in samples["labels"]} == {2}
    assert max(len(ids) for ids in samples["input_ids"]) == 6
    assert [note.partition(" longer")[0] for note in context.notes] == [
        "1 of 3 training rows have a document", "1 of 3 training rows have a summary",
    ]  # fmt: skip
    from tokenizers import processors

    context.processor.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    samples = TASK.preprocess(ROWS, context, True)
    assert [ids[-1] for ids in samples["labels"]] == [2, 2, 2] and max(map(len, samples["labels"])) == 4
    context.processor.pad_token = context.processor.eos_token
    batch = TASK.collator(context, True)(list(samples))
    assert batch["labels"][1].tolist()[1:] == [2, -100, -100]  # the end trains, padding does not


def test_what_is_cut_is_counted(tmp_path: Path) -> None:
    context = context_of(tiny_writer(tmp_path, WORDS))
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    model.generation_config.max_new_tokens = 4
    batch = TASK.collator(context, False)([{"input_ids": [4, 5, 2], "attention_mask": [1, 1, 1]}] * 3)
    assert batch["decoder_input_ids"].tolist() == [[2]] * 3 and "labels" not in batch
    said = torch.tensor([[2, 4, 2, 1, 1], [2, 4, 5, 6, 7], [2, 4, 5, 6, 2]])
    for forced, cut in ((None, [False, True, False]), (2, [False, True, True])):  # a forced end is no end
        model.generation_config.forced_eos_token_id = forced
        fake = SimpleNamespace(generation_config=model.generation_config, generate=lambda **_: said)
        found = TASK.collect(fake, {}, batch, context)
        assert [each["cut"] for each in found] == cut
        assert [each["tokens"] for each in found] == [2, 4, 4]
        assert found[0]["text"] == "the"


def data(folder: Path, count: int = 60, **names: str) -> str:
    nouns = ["film", "book"]
    rows = [
        {
            names.get("document", "article"): f"{'the a'.split()[i % 2]} {nouns[i // 2 % 2]} "
            f"{'is was'.split()[i // 4 % 2]} {'very so'.split()[i // 8 % 2]} {'good bad'.split()[i // 16 % 2]}",
            names.get("summary", "highlights"): f"{'good bad'.split()[i // 16 % 2]} {nouns[i // 2 % 2]}",
        }
        for i in range(count)
    ]
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.slow
def test_a_bart_learns_to_summarize_and_the_card_gives_the_same(tmp_path: Path) -> None:
    """The best checkpoint is chosen by the loss this time."""
    tiny_writer(tmp_path / "bart", WORDS)
    run = hf_tl.finetune(
        model=str(tmp_path / "bart"), data=data(tmp_path, 240), method="full", output=str(tmp_path / "run"),
        training={"num_train_epochs": 6, "learning_rate": 1e-2, "bf16": False, "metric_for_best_model": "loss"},
    )  # fmt: skip
    values = run.metrics["metrics"]
    assert values["rougeL"]["value"] > 0.9 and values["rouge2"]["value"] > 0.8, values
    assert values["cut_share"]["value"] == 0 and values["generated_tokens"]["value"] == pytest.approx(3, abs=0.2)
    log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    evaluations = [line for line in log if "eval_loss" in line]
    assert evaluations[0]["step"] == 0 and evaluations[0]["eval_rougeL"] < 0.5 < evaluations[-1]["eval_rougeL"]
    best = min(evaluations[1:], key=lambda line: line["eval_loss"])
    assert run.metrics["train"]["best_step"] == best["step"]
    texts = ["the film was so bad", "a book"]
    found = run.predict(texts)
    assert found[0]["summary_text"] == found[0]["label"] == "bad film"
    assert [each["label"] for each in found] == [card_prints(run.folder / "README.md", text) for text in texts]
    with pytest.raises(KeyError, match="removed"):  # why the card has lines of its own
        transformers.pipeline("summarization", model=str(run.model))


def test_a_tokenizer_with_token_types(tmp_path: Path) -> None:
    """BERT's gives what BART does not take: what is saved no longer does."""
    folder = tiny_writer(tmp_path, WORDS)
    tiny_tokenizer(folder, WORDS[:9])
    context = context_of(folder)
    assert "token_type_ids" in context.processor("the film")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    configure(model, context, name="summarization")
    context.processor.save_pretrained(folder)
    inputs = transformers.AutoTokenizer.from_pretrained(folder)("the film", return_tensors="pt")
    assert set(inputs) == {"input_ids", "attention_mask"}
    written = model.generate(**inputs, max_new_tokens=2, min_new_tokens=2)
    assert written.shape == (1, 3) and written[0, 0] == model.config.decoder_start_token_id


def test_generation_settings(tmp_path: Path) -> None:
    folder = tiny_writer(tmp_path, WORDS)

    def settled(brought: dict[str, Any], given: dict[str, Any], **options: Any) -> tuple[Any, TaskContext]:
        model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
        model.generation_config.update(**brought)
        context = dataclasses.replace(context_of(folder, **options), generation=given)
        configure(model, context, name="summarization")
        model.save_pretrained(tmp_path / "saved")
        return transformers.GenerationConfig.from_pretrained(tmp_path / "saved"), context

    assert settled({}, {})[0].max_new_tokens == 48  # 128, within the positions
    assert settled({}, {}, max_target_length=20)[0].max_new_tokens == 20
    large_cnn = {"max_length": 40, "min_length": 6, "num_beams": 4, "early_stopping": True, "length_penalty": 2.0}
    found, context = settled(large_cnn, {})
    assert (found.max_length, found.max_new_tokens, found.num_beams) == (40, None, 4)
    assert "max_length 40, min_length 6, num_beams 4" in context.notes[-1]
    found, context = settled(large_cnn, {"num_beams": 1, "max_new_tokens": 9, "min_length": 0})
    assert (found.max_length, found.max_new_tokens, found.early_stopping) == (None, 9, None) and not context.notes
    assert settled(large_cnn, {}, max_target_length=30)[0].max_new_tokens == 30
    for given, what in (
        ({"max_new_tokens": 400}, "generation.max_new_tokens: 400 tokens.*positions for 48"),
        ({"num_return_sequences": 3}, "generation.num_return_sequences: one text"),
        ({"early_stopping": True}, "generation: .*early_stopping"),
    ):
        with pytest.raises(ConfigError, match=what):
            settled({}, given)


@pytest.mark.parametrize(
    ("task", "options", "what"),
    [
        ("summarization", {"generation": {"num_beam": 2}}, "generation.num_beam: .*'num_beams'"),
        (
            "text-classification",
            {"generation": {"num_beams": 2}},
            "generation.num_beams: has no effect on text-classification",
        ),
        ("summarization", {"method": "frozen"}, "method: summarization is adapted by"),
        ("summarization", {"data": {"preprocessing": {"prefix": "the " * 50}}}, "prefix: leaves no room"),
    ],
)
def test_wrong_options(task: str, options: dict[str, Any], what: str, tmp_path: Path) -> None:
    path = data(tmp_path, 64, **({"document": "text", "summary": "label"} if "class" in task else {}))
    with pytest.raises(ConfigError, match=what):
        hf_tl.finetune(
            {"task": task, "model": str(tiny_writer(tmp_path / "bart", WORDS)), "output": str(tmp_path / "run"),
             **options, "data": {"path": path, **options.get("data", {})}},
        )  # fmt: skip


def test_it_is_suggested_by_names_only(tmp_path: Path) -> None:
    for document, summary in (("article", "highlights"), ("document", "summary"), ("dialogue", "Summary"),
                              ("text", "summary")):  # fmt: skip
        found = load_data(DataConfig(path=data(tmp_path, document=document, summary=summary)))
        assert found.task.name == "summarization" and found.columns == {"document": document, "summary": summary}
    found = load_data(DataConfig(path=data(tmp_path, document="text", summary="label_text")))
    assert found.task.name == "text-classification"
    found = load_data(DataConfig(path=data(tmp_path, document="text", summary="brief")), "summarization")
    assert found.columns == {"document": "text", "summary": "brief"}


def test_which_of_the_two_a_model_does(tmp_path: Path) -> None:
    """Both have the same architecture: the configuration says, as T5's does, or the card."""
    config = transformers.BartConfig(architectures=["BartForConditionalGeneration"])
    tiny_tokenizer(tmp_path)
    assert task_of(config, "x", _card(tmp_path, "pipeline_tag: translation")).name == "translation"
    assert task_of(config, "x", _card(tmp_path, "tags: [summarization]")).name == "summarization"
    config.task_specific_params = {"translation_en_to_de": {"prefix": "translate English to German: "}}
    assert task_of(config, "x", _card(tmp_path, "tags: [summarization, bart]")).name == "translation"
    (tmp_path / "README.md").unlink()
    assert task_of(config, "x", tmp_path).name == "translation"


def _card(folder: Path, head: str) -> Path:
    (folder / "README.md").write_text(f"---\n{head}\n---\n", encoding="utf-8")
    return folder


def test_the_prefix_of_t5(tmp_path: Path) -> None:
    """As its configuration has it for the task and direction, unless it is given."""
    folder = tiny_writer(tmp_path, ["summarize:", *WORDS], "t5")
    params = {"summarization": {"prefix": "summarize: "}, "translation_en_to_de": {"prefix": "de: "},
              "translation_en_to_fr": {"prefix": "fr: "}}  # fmt: skip

    def prefix(name: str, **options: Any) -> str:
        context = context_of(folder, **options)
        model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
        model.config.task_specific_params = context.model_config.task_specific_params = params
        configure(model, context, name=name)
        return str(next(iter(model.config.task_specific_params.values()))["prefix"])

    assert prefix("summarization") == "summarize: "
    assert prefix("summarization", prefix="") == ""
    assert prefix("translation", source_lang="en", target_lang="fr") == "fr: "
    assert prefix("translation", source_lang="en", target_lang="es") == ""
    ids = TASK.preprocess(ROWS.select([1]), context_of(folder, prefix="summarize: "), True)["input_ids"][0]
    assert ids == [4, 6, 8, 2]
    assert np.isfinite(ids).all()


# By hand


def test_exactly_as_long_as_the_limit_is_whole(tmp_path: Path) -> None:
    """`the film was good </s>` has five tokens, `good film </s>` three, and the longest target here is four."""
    context = context_of(tiny_writer(tmp_path, WORDS), max_length=5, max_target_length=4)
    samples = TASK.preprocess(ROWS.select([0, 1]), context, True)
    assert samples["length"] == [5, 3] and [len(ids) for ids in samples["labels"]] == [3, 2] and context.notes == []
    exact = Dataset.from_dict({"document": ["the film"], "summary": ["very good film"]})
    assert len(TASK.preprocess(exact, context, True)["labels"][0]) == 4 and context.notes == []
    unended = dataclasses.replace(context, notes=[])
    TASK.preprocess(Dataset.from_dict({"document": ["so " * 5], "summary": ["very good film so"]}), unended, True)
    assert [note[:40] for note in unended.notes] == [
        "1 of 1 training rows have a document lon", "1 of 1 training rows have a summary long",
    ]  # fmt: skip


def test_where_a_model_has_no_rule_the_start_comes_before_the_labels() -> None:
    config = SimpleNamespace(decoder_start_token_id=9)
    context = TaskContext(processor=SimpleNamespace(pad_token_id=1), model_config=config)
    shift = _seq2seq.shifter(context)
    assert shift(torch.tensor([[4, 5, 2], [6, -100, -100]])).tolist() == [[9, 4, 5], [9, 6, 1]]


def test_the_start_of_the_processor_where_the_model_has_none(tmp_path: Path) -> None:
    """BART's own rule takes it from the configuration, in which it is put."""
    context = context_of(tiny_writer(tmp_path, WORDS))
    context.model_config.decoder_start_token_id = None
    context.processor.bos_token = "<s>"
    assert _writing.start_of(context) == 0
    assert _seq2seq.shifter(context)(torch.tensor([[4, 5, 2]])).tolist() == [[0, 4, 5]]
    assert context.model_config.decoder_start_token_id is None
    context.processor.bos_token = None
    assert _writing.start_of(context) == 1  # padding, as T5's


def test_the_end_is_the_models_else_the_tokenizers(tmp_path: Path) -> None:
    context = context_of(tiny_writer(tmp_path, WORDS))
    context.model_config.eos_token_id = [7, 8]
    assert _writing.end_of(context) == 7
    context.model_config.eos_token_id = None
    assert _writing.end_of(context) == 2
    context.processor.eos_token, context.processor.sep_token = None, "<s>"
    assert _writing.end_of(context) == 0
    context.processor.sep_token = None
    with pytest.raises(ModelError, match="neither model nor tokenizer has an end-of-sequence token"):
        _writing.end_of(context)


@pytest.mark.parametrize(
    ("own", "positions", "asked", "limits"),
    [
        (48, 48, {}, (48, 48)),
        (10**30, 512, {}, (512, 128)),  # a tokenizer that knows no limit
        (10**30, None, {}, (1024, 128)),
        (100, 512, {"max_length": 200, "max_target_length": 300}, (200, 300)),
        (100, 150, {"max_length": 200, "max_target_length": 300}, (150, 150)),
    ],
)
def test_how_long_texts_may_be(own: int, positions: int | None, asked: dict[str, int], limits: Any) -> None:
    config = SimpleNamespace(max_position_embeddings=positions)
    context = TaskContext(
        processor=SimpleNamespace(model_max_length=own), model_config=config, preprocessing=Preprocessing(**asked)
    )
    assert (_writing.source_limit(context), _writing.target_limit(context)) == limits
    config.max_encoder_position_embeddings, config.max_decoder_position_embeddings = 90, 60
    assert (_writing.source_limit(context), _writing.target_limit(context)) == (min(limits[0], 90), 60)


def test_which_language_goes_before_which(tmp_path: Path) -> None:
    config = SimpleNamespace(source_lang="en", target_lang="de")
    both = Preprocessing(source_lang="fr", target_lang="es")
    assert _writing.direction(TaskContext(model_config=config)) == ("en", "de")
    assert _writing.direction(TaskContext(model_config=config, preprocessing=both)) == ("fr", "es")
    several = SimpleNamespace(
        task_specific_params={"translation_en_to_de": {"prefix": "a"}, "translation_en_to_fr": {}}
    )
    assert _writing.prefix_of(TaskContext(model_config=several), "translation") == ""  # it could be either
    one = SimpleNamespace(task_specific_params={"translation_en_to_de": {"prefix": "a"}, "summarization": {}})
    assert _writing.prefix_of(TaskContext(model_config=one), "translation") == "a"


def test_settings_of_beams_stay_where_they_mean_something(tmp_path: Path) -> None:
    folder = tiny_writer(tmp_path, WORDS)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    context = context_of(folder)
    model.generation_config.update(num_beams=4, early_stopping=True, length_penalty=2.0)
    configure(model, context, name="summarization")
    found = model.generation_config
    assert (found.early_stopping, found.length_penalty, found.num_beams) == (True, 2.0, 4)
    assert context.processor.model_max_length == 48
    short = context_of(folder, max_length=7)
    configure(model, short, name="summarization")
    assert short.processor.model_max_length == 7
    just = dataclasses.replace(context_of(folder), generation={"max_new_tokens": 48})
    configure(model, just, name="summarization")  # as many as there are positions
    assert model.generation_config.max_new_tokens == 48


def test_the_loss_of_what_was_written_is_over_tokens() -> None:
    """Texts of one and of three tokens: a mean of means would be another figure."""
    outputs = [{"nll": 1.0, "count": 1, "tokens": 2, "cut": True}, {"nll": 9.0, "count": 3, "tokens": 5, "cut": False}]
    found = {name: score.value for name, score in _seq2seq.lengths(outputs).items()}
    assert found == {"loss": 10 / 4, "generated_tokens": 3.5, "cut_share": 0.5}
    logits = torch.zeros(1, 3, 8)
    said = SimpleNamespace(
        generation_config=SimpleNamespace(
            eos_token_id=[2, 3], max_new_tokens=None, max_length=4, forced_eos_token_id=None
        ),
        generate=lambda **_: torch.tensor([[0, 5, 3, 1, 1]]),
    )
    batch = {"input_ids": torch.ones(1, 2), "attention_mask": None, "labels": torch.tensor([[5, 2, -100]])}
    tokenizer = SimpleNamespace(
        batch_decode=lambda ids, skip_special_tokens: [str(ids.tolist()) + str(skip_special_tokens)]
    )
    (each,) = _seq2seq.collect(said, {"logits": logits}, batch, TaskContext(processor=tokenizer))
    assert each == {"text": "[[5, 3, 1, 1]]True", "tokens": 2, "cut": False, "count": 2,
                    "nll": pytest.approx(2 * math.log(8))}  # fmt: skip
    said.generation_config.forced_eos_token_id = 3  # at the third token, the last that there may be
    said.generate = lambda **_: torch.tensor([[0, 5, 5, 3]])
    assert _seq2seq.collect(said, {"logits": logits}, batch, TaskContext(processor=tokenizer))[0]["cut"] is True
