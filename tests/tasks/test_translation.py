"""Translation: sacreBLEU's scores on every resample, directions and languages, and what the card's lines write."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

import hf_tl
from hf_tl.config import Preprocessing, load_config
from hf_tl.data import load_data
from hf_tl.errors import ConfigError, DataError
from hf_tl.task import TaskContext, get_task
from hf_tl.tasks import _scripts, translation
from hf_tl.tasks._writing import configure
from tests.clean_process import card_prints
from tests.tiny import tiny_writer

TASK = get_task("translation")
ENGLISH = "the a good bad film book meal song was is very".split()
FRENCH = "le un bon mauvais cinéma livre repas chanson était est très".split()
PAIR = dict(zip(ENGLISH, FRENCH, strict=True))


def pairs(count: int, seed: int = 0) -> list[dict[str, Any]]:
    drawn = random.Random(seed)
    kinds = (["the", "a"], ["film", "book", "meal", "song"], ["was", "is"], ["", "very"], ["good", "bad"])
    words = [" ".join(drawn.choice(kind) for kind in kinds).split() for _ in range(count)]
    return [{"translation": {"en": " ".join(each), "fr": " ".join(PAIR[word] for word in each)}} for each in words]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def written(texts: list[str]) -> list[dict[str, Any]]:
    return [{"text": text, "tokens": 3, "cut": False, "nll": 1.0, "count": 2} for text in texts]


def test_bleu_and_chrf_are_sacrebleus_on_every_resample() -> None:
    import sacrebleu
    from sacrebleu.metrics import BLEU, CHRF

    drawn = random.Random(1)
    true = [" ".join(drawn.choices(FRENCH, k=drawn.randint(1, 12))) for _ in range(40)]
    said = [" ".join(w if drawn.random() < 0.7 else drawn.choice(FRENCH) for w in text.split()) for text in true]
    said[3], said[7], said[9] = "", "chat", said[9] + " et encore , oui ."
    rows = Dataset.from_dict({"source": true, "target": true})
    found = TASK.measure(written(said), None, rows, TaskContext(), resamples=50)
    assert found.values["bleu"] == pytest.approx(sacrebleu.corpus_bleu(said, [true]).score, abs=1e-9)
    assert found.values["chrf"] == pytest.approx(sacrebleu.corpus_chrf(said, [true]).score, abs=1e-9)
    assert "tok:13a" in found.extra["signatures"]["bleu"] and found.metrics["bleu"]["low"] < found.values["bleu"]
    bleu, chrf = BLEU(force=True), CHRF()
    for size in (1, 2, 3, 40):  # few rows: orders without a match
        for _ in range(25):
            chosen = [drawn.randrange(40) for _ in range(size)]
            some = [said[index] for index in chosen], [[true[index] for index in chosen]]
            for metric, recompute in ((bleu, translation.bleu_of_sums), (chrf, translation.chrf_of_sums)):
                sums = np.array([metric._extract_corpus_statistics(*some)], dtype=float).sum(1)
                assert recompute(sums)[0] == pytest.approx(metric.corpus_score(*some).score, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "way"),
    [("le film", "13a"), ("хороший фильм", "13a"), ("这部电影很好", "zh"), ("いい映画でした", "char")],
)
def test_texts_without_spaces_are_cut_otherwise(text: str, way: str) -> None:
    found = TASK.measure(
        written([text] * 2), None, Dataset.from_dict({"target": [text] * 2}), TaskContext(), resamples=0
    )
    assert f"tok:{way}" in found.extra["signatures"]["bleu"] and found.values["chrf"] == pytest.approx(100)


@pytest.mark.slow
def test_a_t5_learns_to_translate_and_the_card_gives_the_same(tmp_path: Path, capsys: Any) -> None:
    """From a `translation` column, with T5's prefix, generation settings and all; a tiny T5 starts from nothing."""
    data = write(tmp_path / "train.jsonl", pairs(600))
    model = tiny_writer(tmp_path / "t5", ["translate:", *ENGLISH, *FRENCH], "t5")
    run = hf_tl.finetune(
        model=str(model), data={"path": data, "validation_rows": 30, "preprocessing": {"prefix": "translate: "}},
        method="scratch", output=str(tmp_path / "run"), generation={"num_beams": 2, "max_new_tokens": 12},
        training={"num_train_epochs": 12, "learning_rate": 1e-2, "bf16": False, "eval_strategy": "epoch",
                  "per_device_train_batch_size": 32},
    )  # fmt: skip
    said = capsys.readouterr().err
    assert "Task translation" in said and "from en to fr" in said and "30 of the 60 validation rows" in said
    values = run.metrics["metrics"]
    assert run.metrics["samples"] == 60  # the final metrics are of all
    assert values["chrf"]["value"] > 80 and values["bleu"]["value"] > 60, values
    assert values["cut_share"]["value"] < 0.1  # the end was learned
    config = json.loads((run.model / "config.json").read_text())
    assert config["task_specific_params"] == {"translation_en_to_fr": {"prefix": "translate: "}}
    generation = json.loads((run.model / "generation_config.json").read_text())
    assert generation["num_beams"] == 2 and generation["max_new_tokens"] == 12
    text = "the song is very good"
    mine = run.predict([text])[0]
    assert mine["translation_text"] == mine["label"] == card_prints(run.folder / "README.md", text)
    # the model alone, without its run: task, prefix and direction are known from it
    alone = hf_tl.predict(str(run.model), [text])[0]
    assert alone == mine
    turned = write(tmp_path / "turned.jsonl", [{"translation": {"fr": a["fr"], "en": a["en"]}} for a in
                                               (row["translation"] for row in pairs(20, seed=5))])  # fmt: skip
    again = hf_tl.evaluate(str(run.model), turned)
    assert again["metrics"]["chrf"]["value"] > 70
    assert len(hf_tl.predict(str(run.model), {"path": turned})) == 20
    report = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "<b>generated</b>" in report and "BLEU" in report and "cinéma" in report


def test_an_adapter_writes_as_it_was_set(tmp_path: Path) -> None:
    model = tiny_writer(tmp_path / "bart", [*ENGLISH, *FRENCH])
    run = hf_tl.finetune(
        model=str(model), data=write(tmp_path / "train.jsonl", pairs(40)), method={"name": "lora", "r": 4},
        output=str(tmp_path / "run"), generation={"max_new_tokens": 5},
        training={"max_steps": 2, "learning_rate": 1e-2, "bf16": False},
    )  # fmt: skip
    adapter = run.model / "adapter"
    assert json.loads((adapter / "generation_config.json").read_text())["max_new_tokens"] == 5
    assert hf_tl.predict(str(adapter), ["the film"]) == run.predict(["the film"])
    assert run.predict(["the film"])[0]["label"] == card_prints(run.folder / "README.md", "the film")


def read(tmp_path: Path, rows: list[dict[str, Any]], **options: Any) -> Any:
    config = load_config({"model": "-", "data": {"path": write(tmp_path / "rows.jsonl", rows), **options}})
    return load_data(config.data, options.get("task"))


def test_direction(tmp_path: Path) -> None:
    found = read(tmp_path, pairs(30))
    assert found.task.name == "translation" and found.splits["train"].column_names == ["file", "source", "target"]
    assert found.targets.config == {"source_lang": "en", "target_lang": "fr"}
    turned = read(tmp_path, pairs(30), preprocessing={"source_lang": "fra_Latn", "target_lang": "eng_Latn"})
    assert turned.splits["train"][0]["target"] == found.splits["train"][0]["source"]
    assert turned.targets.config == {"source_lang": "fra_Latn", "target_lang": "eng_Latn"}
    assert translation.of_keys(["es", "en"], "spa_Latn", "eng_Latn") == ("es", "en")  # of two, the other one
    three = [{"translation": {**row["translation"], "de": "gut"}} for row in pairs(30)]
    with pytest.raises(ConfigError, match=r"source_lang.*'en', 'fr', 'de'"):
        read(tmp_path, three)
    assert read(tmp_path, three, preprocessing={"source_lang": "de", "target_lang": "en"}).splits["train"][0][
        "source"
    ] == "gut"  # fmt: skip
    with pytest.raises(ConfigError, match="target_lang"):
        read(tmp_path, three, preprocessing={"source_lang": "de", "target_lang": "it"})


def test_two_columns_are_suggested_by_their_names_only(tmp_path: Path) -> None:
    rows = [{"source": row["translation"]["en"], "target": row["translation"]["fr"]} for row in pairs(30)]
    assert read(tmp_path, rows).task.name == "translation"
    named = [{"english": f"{row['source']} {i}", "french": f"{row['target']} {i}"} for i, row in enumerate(rows)]
    with pytest.raises(DataError):
        read(tmp_path, named)
    columns = {"source": "english", "target": "french"}
    config = load_config({"model": "-", "data": {"path": write(tmp_path / "n.jsonl", named), "columns": columns}})
    assert load_data(config.data).task.name == "translation"
    with pytest.raises(DataError, match=r"source and target or translation.*data.columns.source=NAME"):
        load_data(load_config({"model": "-", "data": str(tmp_path / "n.jsonl")}).data, "translation")


def test_a_missing_text_is_named(tmp_path: Path) -> None:
    rows = pairs(30)
    rows[4]["translation"]["fr"] = None  # type: ignore[index]
    rows[6]["translation"]["en"] = "  "  # type: ignore[index]
    with pytest.raises(DataError, match=r"rows.jsonl.*5.*'fr' is missing"):
        read(tmp_path, rows)
    found = read(tmp_path, rows, on_error="skip")
    assert sum(len(split) for split in found.splits.values()) == 28
    assert any("2 rows of train are skipped" in note for note in found.notes)


def nllb() -> Any:
    from transformers import NllbTokenizer

    words = {word: index + 4 for index, word in enumerate([f"▁{each}" for each in ENGLISH])}
    return NllbTokenizer(vocab={"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, **words}, merges=[])


@pytest.mark.parametrize("kind", ["nllb", "mbart"])
def test_languages_are_chosen_and_saved(kind: str, tmp_path: Path) -> None:
    """NLLB's texts begin with their language, which is forced; mBART's end in it, and its decoder begins with it."""
    import transformers
    from transformers import AutoTokenizer

    if kind == "nllb":
        tokenizer, codes = nllb(), ("eng_Latn", "fra_Latn")
        cls: Any = transformers.M2M100Config
    else:
        tokenizer, codes = transformers.MBartTokenizer(), ("en_XX", "fr_XX")
        cls = transformers.MBartConfig
    config = cls(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32,
    )  # fmt: skip
    model = transformers.AutoModelForSeq2SeqLM.from_config(config)
    code = tokenizer.convert_tokens_to_ids(codes[1])

    def context(**options: Any) -> TaskContext:
        return TaskContext(processor=tokenizer, preprocessing=Preprocessing(**options), model_config=model.config)

    with pytest.raises(ConfigError, match="choose with source_lang and target_lang"):
        configure(model, context(), name="translation")
    with pytest.raises(ConfigError, match=f"'fr' is no language.*{codes[1][:3] if kind == 'mbart' else 'ace_Latn'}"):
        configure(model, context(source_lang=codes[0], target_lang="fr"), name="translation")
    chosen = context(source_lang=codes[0], target_lang=codes[1])
    configure(model, chosen, name="translation")
    if kind == "nllb":
        assert model.generation_config.forced_bos_token_id == code
    else:
        assert model.generation_config.decoder_start_token_id == code == model.config.decoder_start_token_id
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (loaded.src_lang, loaded.tgt_lang) == codes
    rows = Dataset.from_dict({"source": ["good film"], "target": ["good"]})
    samples = TASK.preprocess(rows, chosen, True)
    batch = TASK.collator(chosen, True)([samples[0]])
    labels, before = batch["labels"][0].tolist(), batch["decoder_input_ids"][0].tolist()
    assert (labels[0] if kind == "nllb" else labels[-1]) == code and 2 in labels
    assert before[0] == (2 if kind == "nllb" else code)
    assert before[1:] == labels[:-1]


@pytest.mark.parametrize(
    ("keys", "given", "found"),
    [
        (["de", "en"], (None, None), ("de", "en")),  # in their order
        (["de", "en"], ("en", None), ("en", "de")),
        (["de", "en"], (None, "de"), ("en", "de")),
        (["eng_Latn", "fra_Latn"], ("en", "fr"), ("eng_Latn", "fra_Latn")),
        (["en", "fr", "de"], ("eng_Latn", "de_DE"), ("en", "de")),
        (["en", "english", "fr"], ("english", "fr"), ("english", "fr")),  # the very name first
    ],
)
def test_languages_of_a_column(keys: list[str], given: Any, found: tuple[str, str]) -> None:
    assert translation.of_keys(keys, *given) == found


def test_a_language_is_not_translated_into_itself() -> None:
    with pytest.raises(ConfigError, match="say which two"):
        translation.of_keys(["en", "fr", "de"], "en", "eng_Latn")


def test_how_texts_are_cut_into_words() -> None:
    assert _scripts.Words().tokenize("The Film, été 2 这部") == ["the", "film", "été", "2", "这", "部"]
    assert not _scripts.is_other_script(["abcdefghié"]) and _scripts.is_other_script(["abcdefghé"])  # over a tenth
    assert not _scripts.is_other_script(["12 ..."])
    assert [_scripts.bleu_words([text]) for text in ("ab这部", "ab这部电", "いい映", "映画")] == [
        "13a",
        "zh",
        "char",
        "zh",
    ]
