"""Sentence similarity: scored pairs, pairs and triplets; the result is a SentenceTransformer."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import hf_tl
from hf_tl.config import LossConfig, Preprocessing
from hf_tl.errors import ConfigError, DataError, ModelError
from hf_tl.task import TaskContext
from hf_tl.tasks import sentence_similarity as task
from hf_tl.tasks._embeddings import unit
from hf_tl.tasks._sentence_modules import pairwise, similarities, steps, vectors
from tests.tiny import declare_torchvision_operators, tiny_bert

declare_torchvision_operators()
SUBJECTS = ("film", "book", "song", "meal", "room")
CLEAN_PROCESS = """
import json, sys
sys.modules["torchvision"] = None
sys.modules["hf_tl"] = None
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1])
vectors = model.encode(["the film was good", "a bad book"])
print("RESULT" + json.dumps([vectors.tolist(), float(model.similarity(vectors, vectors)[0, 1])]))
"""


def rows(count: int = 40) -> list[dict[str, Any]]:
    return [
        {
            "anchor": f"the {SUBJECTS[index % 5]} was good",
            "positive": f"a good {SUBJECTS[(index + 1) % 5]}",  # never the same word, so it has to be learned
            "negative": f"a good {SUBJECTS[(index + 2) % 5]}",
        }
        for index in range(count)
    ]


def write(path: Path, found: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(json.dumps(row) for row in found) + "\n", encoding="utf-8")
    return str(path)


def train(tmp_path: Path, data: str, **options: Any) -> hf_tl.Run:
    model = tmp_path / "tiny"
    if not model.exists():
        tiny_bert(model)
    training = {"max_steps": 4, "per_device_train_batch_size": 4, "bf16": False, **options.pop("training", {})}
    return hf_tl.finetune(
        model={"id": str(model), **options.pop("model", {})},
        data={"path": data, "validation": 0.3},
        output=str(tmp_path / "run"),
        training=training,
        **options,
    )


@pytest.mark.parametrize(
    ("columns", "metrics"),
    [(("anchor", "positive"), {"mrr", "recall_at_1", "recall_at_10"}),
     (("anchor", "positive", "negative"), {"mrr", "recall_at_1", "recall_at_10", "triplet_accuracy"})],
)  # fmt: skip
def test_pairs_and_triplets(columns: tuple[str, ...], metrics: set[str], tmp_path: Path) -> None:
    data = write(tmp_path / "pairs.jsonl", [{name: row[name] for name in columns} for row in rows()])
    run = train(tmp_path, data, training={"max_steps": 60, "learning_rate": 5e-3})
    assert set(run.metrics["metrics"]) == metrics
    losses = [line["loss"] for line in map(json.loads, (run.folder / "log.jsonl").open()) if "loss" in line]
    assert losses[-1] < losses[0]
    assert run.metrics["metrics"]["recall_at_1"]["value"] == 1.0  # five subjects, told apart
    # the model could do it before, after a fashion: that is measured and said
    first = json.loads((run.folder / "log.jsonl").read_text().splitlines()[0])
    assert first["step"] == 0 and first["eval_recall_at_1"] < 1
    report = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "before training)" in report and "gained nothing" not in report and "smallest class" not in report


@pytest.mark.parametrize("pooling", ["mean", *(pytest.param(each, marks=pytest.mark.slow) for each in ("cls", "max"))])
def test_sentence_transformers_gives_the_same_vectors(pooling: str, tmp_path: Path) -> None:
    data = write(tmp_path / "pairs.jsonl", [{"query": row["anchor"], "positive": row["positive"]} for row in rows()])
    run = train(tmp_path, data, model={"pooling": pooling})
    done = subprocess.run(
        [sys.executable, "-c", CLEAN_PROCESS, str(run.model)], capture_output=True, text=True, cwd="/", check=False
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT")), None)
    assert line, done.stderr[-2000:]
    vectors, cosine = json.loads(line.removeprefix("RESULT"))
    ours = run.predict(["the film was good", "a bad book"])
    np.testing.assert_allclose([each["embedding"] for each in ours], vectors, atol=1e-5)
    (pair,) = run.predict([{"sentence1": "the film was good", "sentence2": "a bad book"}])
    assert pair["score"] == pytest.approx(cosine, abs=1e-5)
    # the run is known as what it is, and goes on as the next run's model with its pooling
    again = train(tmp_path / "next", data, model={"id": str(run.folder)}) if (tmp_path / "next").mkdir() is None else 0
    assert json.loads((again.model / "1_Pooling" / "config.json").read_text())["pooling_mode"] == pooling
    card = (run.folder / "README.md").read_text(encoding="utf-8")
    assert "library_name: sentence-transformers" in card and "SentenceTransformer(" in card


def batch_of(width: int, **columns: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Outputs whose pooled vectors are given: one token a sentence."""
    vectors = torch.tensor([vector for column in columns["vectors"] for vector in column])[:, None]  # (sentences, 1, 2)
    return {"last_hidden_state": vectors}, {
        "attention_mask": torch.ones(len(vectors), 1, dtype=torch.long),
        "labels": torch.tensor(columns["labels"]),
    }


def test_losses_by_hand() -> None:
    first, second = [[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]  # cosines 1 and 0
    out, batch = batch_of(2, vectors=[first, second], labels=[0.1, 0.9])
    scored = TaskContext(problem="regression")
    # CoSENT, scale 20: log(1 + exp(20 (cos of the lower scored - cos of the higher scored)))
    assert task.loss(out, batch, scored, None).item() == pytest.approx(np.log1p(np.exp(20.0)), rel=1e-6)
    assert task.loss(out, batch, scored, 8).item() == pytest.approx(np.log1p(np.exp(20.0)) * 2 / 8, rel=1e-6)
    squared = TaskContext(problem="regression", loss=LossConfig(name="CosineSimilarityLoss"))
    assert task.loss(out, batch, squared, None).item() == pytest.approx((0.9**2 + 0.9**2) / 2, rel=1e-6)
    # in-batch negatives, scale 20: both queries are nearest to the first answer
    wanted = (np.log(1 + np.exp(-20.0)) + np.log(1 + np.exp(20.0))) / 2
    assert task.loss(out, batch, TaskContext(), None).item() == pytest.approx(wanted, rel=1e-6)


def test_ranks_count_different_answers_only() -> None:
    queries = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    answers = [[1.0, 0.1], [1.0, 0.1], [0.1, 1.0]]
    # the first two have the same answer, so it is no rival of itself
    assert task.ranks_of(queries, answers, ["a", "a", "b"]).tolist() == [1.0, 2.0, 2.0]


def test_scores_are_compared_by_rank(tmp_path: Path) -> None:
    from datasets import Dataset
    from scipy import stats

    drawn = np.random.default_rng(0)
    outputs = list(drawn.normal(size=(20, 2, 4)).astype(np.float32))
    scores = drawn.uniform(0, 5, 20)
    found = task.measure(outputs, None, Dataset.from_dict({"score": scores}), TaskContext(problem="regression"))
    cosines = [float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in outputs]
    assert found.metrics["spearman"]["value"] == pytest.approx(stats.spearmanr(cosines, scores).statistic)
    assert found.metrics["spearman"]["low"] < found.metrics["spearman"]["value"] < found.metrics["spearman"]["high"]


def test_bad_input(tmp_path: Path) -> None:
    tiny_bert(tmp_path / "tiny")
    scored = [{"sentence1": "a film", "sentence2": "a book", "score": 1.0 + index % 3} for index in range(20)]
    with pytest.raises(DataError, match=r"pairs\.jsonl, line 21: the label is not a number"):
        train(tmp_path, write(tmp_path / "pairs.jsonl", [*scored, {**scored[0], "score": None}]))
    with pytest.raises(DataError, match="sentence2 is empty"):
        train(tmp_path, write(tmp_path / "pairs.jsonl", [*scored, {**scored[0], "sentence2": " "}]))
    data = write(tmp_path / "pairs.jsonl", scored)
    with pytest.raises(ConfigError, match=r"'CosentLoss'.*did you mean 'CoSENTLoss'"):
        train(tmp_path, data, loss={"name": "CosentLoss"})
    with pytest.raises(ConfigError, match=r"method: .*not by frozen"):
        train(tmp_path, data, method="frozen")
    assert not (tmp_path / "run").exists()


def test_other_tasks_have_one_loss(tmp_path: Path) -> None:
    found = [{"text": f"the {SUBJECTS[index % 5]}", "label": index % 2} for index in range(20)]
    with pytest.raises(ConfigError, match=r"loss\.name: has no effect on text-classification"):
        train(tmp_path, write(tmp_path / "texts.jsonl", found), loss={"name": "CoSENTLoss"})


# By hand


def ranked(ranks: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Queries and answers of which the own one has such a rank: axes are the answers, and lesser ranks lie nearer."""
    answers = np.eye(len(ranks), dtype=np.float32)
    queries = np.full_like(answers, 0.0)
    for row, rank in enumerate(ranks):
        others = [each for each in range(len(ranks)) if each != row]
        queries[row, others] = np.where(np.arange(len(others)) < rank - 1, 2.0, 0.5)
        queries[row, row] = 1.0
    return queries, answers


def test_search_by_hand() -> None:
    from datasets import Dataset

    ranks = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    queries, answers = ranked(ranks)
    negatives = np.roll(answers, 1, axis=0)  # the axis before, that of another's answer
    outputs = list(np.stack([queries, answers, negatives], axis=1))
    rows_ = Dataset.from_dict({"sentence2": [str(each) for each in ranks]})
    assert task.ranks_of(queries, answers, rows_["sentence2"]).tolist() == ranks
    found = task.measure(outputs, None, rows_, TaskContext(), resamples=0)
    nearer = np.mean([queries[row, row] > queries[row, row - 1] for row in range(12)])
    assert 0 < nearer < 1
    assert found.values == pytest.approx(
        {"mrr": np.mean(1 / np.array(ranks)), "recall_at_1": 1 / 12, "recall_at_10": 10 / 12,
         "triplet_accuracy": nearer}
    )  # fmt: skip
    assert found.baseline == {"mrr": pytest.approx(np.mean([1 / rank for rank in range(1, 13)]))}


def test_search_among_more_than_one_block_of_answers() -> None:
    vectors = np.random.default_rng(0).normal(size=(1030, 64)).astype(np.float32)
    assert set(task.ranks_of(vectors, vectors, [str(index) for index in range(1030)]).tolist()) == {1.0}


def test_sentences_of_a_batch_go_by_column_and_come_back_by_row(tmp_path: Path) -> None:
    from datasets import Dataset
    from transformers import AutoConfig, AutoTokenizer

    folder = tiny_bert(tmp_path)
    context = TaskContext(
        processor=AutoTokenizer.from_pretrained(folder), model_config=AutoConfig.from_pretrained(folder),
        preprocessing=Preprocessing(max_length=5),
    )  # fmt: skip
    given = Dataset.from_dict(
        {"sentence1": ["good", "the film was very bad"], "sentence2": ["bad film", "so"], "score": [0.25, 4.0]}
    )
    samples = task.preprocess(given, context, True)
    words = context.processor
    assert [words.decode(ids) for ids in samples["sentence1_input_ids"]] == [
        "[CLS] good [SEP]", "[CLS] the film was [SEP]",
    ]  # fmt: skip
    assert samples["length"] == [4, 5] and samples["labels"] == [0.25, 4.0]
    assert context.notes == [
        "1 of 2 training rows hold a sentence longer than 5 tokens, which is truncated (data.preprocessing.max_length)."
    ]
    batch = task.collator(context, True)([samples[0], samples[1]])
    assert [words.decode(ids, skip_special_tokens=True) for ids in batch["input_ids"]] == [
        "good", "the film was", "bad film", "so",
    ]  # fmt: skip
    assert batch["labels"].tolist() == [0.25, 4.0] and task.items(batch) == 2
    # the vector of a sentence is its first token's id here
    batch["attention_mask"] = torch.ones(4, 1, dtype=torch.long)
    out = {"last_hidden_state": batch["input_ids"][:, 1].float()[:, None, None]}
    found = task.collect(None, out, batch, context)
    assert [each[:, 0].tolist() for each in found] == [
        [words.convert_tokens_to_ids("good"), words.convert_tokens_to_ids("bad")],
        [words.convert_tokens_to_ids("the"), words.convert_tokens_to_ids("so")],
    ]
    exact = dataclasses.replace(context, preprocessing=Preprocessing(max_length=7), notes=[])
    assert task.preprocess(given, exact, True)["length"] == [4, 7] and exact.notes == []
    alone = task.preprocess(given.select_columns(["sentence1"]), context, False)
    assert "labels" not in alone.column_names
    assert "labels" not in task.collator(context, False)([alone[0]])


def test_the_pooling_is_the_configured_one_else_the_models_own(tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"embedding_dimension": 2, "pooling_mode": "max"}')

    def mode(**options: Any) -> Any:
        return steps(TaskContext(**options), 2)[0].module.pooling_mode

    assert mode(folder=tmp_path) == "max" and mode(folder=tmp_path, pooling="cls") == "cls"
    assert mode(folder=tmp_path / "none") == mode() == "mean"
    states = torch.tensor([[[1.0, -4.0], [3.0, 2.0], [50.0, 60.0]]])
    batch = {"attention_mask": torch.tensor([[1, 1, 0]])}
    for pooling, vector in (("mean", [2.0, -1.0]), ("cls", [1.0, -4.0]), ("max", [3.0, 2.0])):
        found = task.embed({"last_hidden_state": states}, batch, TaskContext(pooling=pooling))
        assert found[0].tolist() == pytest.approx(vector)


def test_a_cosine_has_the_length_of_both_in_it() -> None:
    found = pairwise([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]], [[4.0, 3.0], [0.0, -5.0], [1.0, 0.0]], "cosine")
    assert found.tolist() == pytest.approx([24 / 25, -1.0, 0.0])
    assert unit([[3.0, 4.0], [0.0, 0.0], [0.0, 10.0]]).tolist() == [
        pytest.approx([0.6, 0.8]), [0.0, 0.0], pytest.approx([0.0, 1.0]),
    ]  # fmt: skip


def test_what_sentence_transformers_reads_of_a_model(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    folder = tiny_bert(tmp_path / "bert")
    context = TaskContext(
        processor=AutoTokenizer.from_pretrained(folder), model_config=AutoConfig.from_pretrained(folder),
        preprocessing=Preprocessing(max_length=9), pooling="max",
    )  # fmt: skip
    task.save(SimpleNamespace(config=context.model_config), context, tmp_path)
    read = {name: json.loads((tmp_path / name).read_text()) for name in ("modules.json", "sentence_bert_config.json")}
    assert read["sentence_bert_config.json"] == {"max_seq_length": 9}
    assert [(each["idx"], each["path"], each["type"].rpartition(".")[2]) for each in read["modules.json"]] == [
        (0, "", "Transformer"), (1, "1_Pooling", "Pooling"),
    ]  # fmt: skip
    pooling = json.loads((tmp_path / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode"] == "max" and pooling["embedding_dimension"] == 32


def sentence_transformer(folder: Path) -> Any:
    """A model of all modules, as LaBSE (Dense), E5 (prompts) and others have some of."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(0)
    network = Transformer(str(tiny_bert(folder / "bert")), max_seq_length=20)
    model = SentenceTransformer(
        modules=[network, Pooling(32, "cls", include_prompt=False), Dense(32, 8), Normalize()],
        prompts={"query": "the book: ", "passage": "passage: "},
        default_prompt_name="query",
        similarity_fn_name="dot",
        device="cpu",
    )
    model.save(str(folder / "st"))
    return model


def test_further_modules_prompts_and_similarity_are_kept(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    before = sentence_transformer(tmp_path)
    data = write(tmp_path / "pairs.jsonl", [{"query": row["anchor"], "positive": row["positive"]} for row in rows()])
    run = train(
        tmp_path, data, model={"id": str(tmp_path / "st")}, training={"max_steps": 1, "learning_rate": 1e-9},
    )  # fmt: skip
    after = SentenceTransformer(str(run.model), device="cpu")
    texts = ["the film was good", "a bad book", "never " * 30]
    np.testing.assert_allclose(after.encode(texts), before.encode(texts), atol=1e-5)
    assert after.encode(texts).shape == (3, 8)
    assert [type(each).__name__ for each in after] == ["Transformer", "Pooling", "Dense", "Normalize"]
    assert after.prompts["query"] == "the book: " and after.default_prompt_name == "query"
    assert after.similarity_fn_name == "dot" and after.max_seq_length == 20
    # and what hf_tl says is what they say
    found = run.predict(texts)
    np.testing.assert_allclose([each["embedding"] for each in found], before.encode(texts), atol=1e-5)
    (pair,) = run.predict([{"sentence1": texts[0], "sentence2": texts[1]}])
    assert pair["score"] == pytest.approx(float(after.similarity_pairwise(*after.encode(texts[:2])[:, None])), abs=1e-5)


@pytest.mark.parametrize(
    ("by", "expected"), [("cosine", 0.6), ("dot", 3.0), ("euclidean", -np.sqrt(20.0)), ("manhattan", -6.0)]
)
def test_measures_of_similarity_by_hand(by: str, expected: float) -> None:
    a, b = [[0.0, 1.0]], [[4.0, 3.0]]
    assert pairwise(a, b, by).tolist() == pytest.approx([expected if by != "euclidean" else -np.sqrt(20.0)])
    assert similarities(np.array(a), np.array([*b, *a]), by)[0].tolist() == pytest.approx(
        [expected, {"cosine": 1.0, "dot": 1.0}.get(by, 0.0)], abs=1e-6
    )


def test_ranks_are_by_the_models_own_measure() -> None:
    queries, answers = [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.2], [9.0, 3.0]]
    # by the cosine the first is nearer to its own; by the product the long vector wins
    assert task.ranks_of(queries, answers, ["a", "b"], "cosine").tolist() == [1.0, 1.0]
    assert task.ranks_of(queries, answers, ["a", "b"], "dot").tolist() == [2.0, 1.0]


def test_dense_without_safetensors_is_refused(tmp_path: Path) -> None:
    sentence_transformer(tmp_path)
    (tmp_path / "st" / "2_Dense" / "model.safetensors").rename(tmp_path / "st" / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"2_Dense of .* has no model\.safetensors"):
        steps(TaskContext(folder=tmp_path / "st"), 32)


def test_modules_that_cannot_be_applied_are_named(tmp_path: Path) -> None:
    sentence_transformer(tmp_path)
    folder = tmp_path / "st"
    file = folder / "2_Dense" / "config.json"
    written = file.read_text()
    for said, words in (
        ({"out_features": 10**9}, r"2_Dense of .*: config\.json says .*1000000000.* has the shape \[8, 32\]"),
        ({"in_features": "x"}, r"2_Dense of .*: config\.json says"),
        (
            {"activation_function": "torch.nothing.X"},
            r"2_Dense of .* cannot be applied .*No module named",
        ),
        ({"activation_function": 7}, "2_Dense of .* cannot be applied"),
    ):
        file.write_text(json.dumps({**json.loads(written), **said}))
        os.utime(folder / "modules.json", ns=(time.time_ns(),) * 2)
        with pytest.raises(ModelError, match=words):
            steps(TaskContext(folder=folder), 32)
    file.write_text(written)
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(ModelError, match=r"2_Dense of .* cannot be applied"):
        steps(TaskContext(folder=folder), 32)


def test_modules_that_do_not_fit_the_network_are_named(tmp_path: Path) -> None:
    sentence_transformer(tmp_path)
    assert len(steps(TaskContext(folder=tmp_path / "st"), 32)) == 3
    with pytest.raises(ModelError, match=r"2_Dense of .* cannot be applied"):
        steps(TaskContext(folder=tmp_path / "st"), 48)


def test_vectors_are_float32_in_mixed_precision(tmp_path: Path) -> None:
    sentence_transformer(tmp_path)
    hidden, mask = torch.randn(2, 3, 32), torch.ones(2, 3, dtype=torch.int64)
    exact = vectors(hidden, mask, TaskContext(folder=tmp_path / "st"))
    with torch.autocast("cpu", torch.bfloat16):
        found = vectors(hidden.bfloat16(), mask, TaskContext(folder=tmp_path / "st"))
    assert found.dtype == torch.float32 and found.shape == (2, 8)
    np.testing.assert_allclose(found, exact, atol=0.03)
