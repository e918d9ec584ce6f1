"""Sentence similarity: an encoder whose vectors of two sentences are as near as their meanings (Reimers & Gurevych
2019, https://arxiv.org/abs/1908.10084), from scored pairs, pairs that belong together, or triplets. Losses and the
saved form are sentence-transformers'."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_tl.errors import listing
from hf_tl.task import Column, Defaults, Demo, Form, Inference, Library, Targets, Task, TaskContext
from hf_tl.tasks._embeddings import loss_of
from hf_tl.tasks._sentence_modules import (
    length_limit,
    pairwise,
    prepared,
    prompt_tokens,
    similarities,
    similarity,
    steps,
    vectors,
    weighted,
)
from hf_tl.tasks._sentence_modules import save as keep_modules
from hf_tl.tasks._texts import text_limit

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hf_tl.metrics.intervals import Measurement

SENTENCES = ("sentence1", "sentence2", "negative")
SCORED = "regression"
"""`problem_type` of pairs with a score; the others have none."""
LOSSES = {SCORED: "CoSENTLoss", None: "MultipleNegativesRankingLoss"}


def targets(splits: Any, config: Any, known: Targets | None, notes: list[str]) -> Targets:
    """Scores as numbers, where there are any; they are only compared with each other, so their scale is free."""
    from hf_tl.data.rows import encode_numbers

    if "score" not in next(iter(splits.values())).column_names:
        return Targets()
    encode_numbers(splits, "score", config, notes)
    return Targets(problem=SCORED)


def limit_of(context: TaskContext) -> int:
    """Tokens that a sentence may have."""
    return length_limit(context, text_limit(context))


def preprocess(rows: Any, context: TaskContext, training: bool) -> Any:
    """Token ids of each sentence, in columns `sentence1_input_ids` and so on, with the model's prompt before it, cut at
    `limit_of`; `labels` are the scores (scored pairs) or 0."""
    limit, tokenizer = limit_of(context), context.processor
    width = getattr(context.model_config, "hidden_size", None)
    if type(width) is int:
        steps(context, width)  # what cannot be applied is said before anything is tokenized
    roles = [role for role in SENTENCES if role in rows.column_names]

    def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        out: dict[str, list[Any]] = {}
        longest = [0] * len(batch[roles[0]])
        for role in roles:
            texts = prepared(batch[role], context)
            ids = tokenizer(texts, truncation=False, verbose=False)["input_ids"]
            out["cut"] = [a or len(b) > limit for a, b in zip(out.get("cut", [False] * len(ids)), ids, strict=True)]
            out[f"{role}_input_ids"] = tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
            longest = [max(a, min(len(b), limit)) for a, b in zip(longest, ids, strict=True)]
        out["length"] = longest
        if set(roles) > {"sentence1"}:
            out["labels"] = batch.get("score", [0.0] * len(longest))
        return out

    encoded = rows.map(encode, batched=True, remove_columns=rows.column_names, load_from_cache_file=False)
    cut = sum(encoded["cut"])
    if training and cut:
        context.notes.append(
            f"{cut} of {len(rows)} training rows hold a sentence longer than {limit} tokens, which is truncated "
            "(data.preprocessing.max_length)."
        )
    if training and weighted(context):
        context.notes.append(
            f"The network trains; the modules after it ({listing(weighted(context))}) are applied and stay as they are."
        )
    return encoded.remove_columns("cut")


def collator(context: TaskContext, training: bool) -> Any:
    """One batch of all sentences: first every sentence1, then every sentence2, then every negative."""
    import torch

    prompted = prompt_tokens(context)

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        columns = [f"{role}_input_ids" for role in SENTENCES if f"{role}_input_ids" in samples[0]]
        ids = [{"input_ids": sample[column]} for column in columns for sample in samples]
        batch = dict(context.processor.pad(ids, return_tensors="pt"))
        if prompted:
            batch["prompt_length"] = torch.tensor(prompted)
        if "labels" in samples[0]:
            batch["labels"] = torch.tensor([float(sample["labels"]) for sample in samples])  # float32 (samples,)
        return batch

    return collate


def embed(out: Any, batch: Any, context: TaskContext) -> torch.Tensor:
    """float32 (sentences of the batch, numbers): the token vectors through the model's further modules."""
    prompted = int(batch["prompt_length"]) if "prompt_length" in batch else 0
    found: torch.Tensor = vectors(out["last_hidden_state"], batch["attention_mask"], context, prompted)
    return found


def loss(outputs: Any, batch: Any, context: TaskContext, items: Any) -> torch.Tensor:
    """`loss.name`, or CoSENT of scored pairs (Huang et al. 2024) and in-batch negatives of the others (Henderson et al.
    2017, https://arxiv.org/abs/1705.00652).

    Both compare the samples of a batch with each other: with gradient accumulation it is those of each smaller batch.
    """
    labels = batch["labels"]
    name = getattr(context.loss, "name", None) or LOSSES[context.problem]
    parts = list(embed(outputs, batch, context).split(len(labels)))
    mean: torch.Tensor = loss_of(name).compute_loss_from_embeddings(parts, labels)
    return mean if items is None else mean * len(labels) / items


def items(batch: Any) -> int:
    return len(batch["labels"])


def collect(model: Any, out: Any, batch: Any, context: TaskContext) -> list[Any]:
    """Of each sample the vectors of its sentences, float32 (sentences, hidden)."""
    made = embed(out, batch, context)
    count = len(batch["labels"]) if "labels" in batch else len(made)
    found: Any = made.reshape(-1, count, made.shape[-1]).transpose(0, 1).cpu().numpy()
    return list(found)


def postprocess(outputs: Any, samples: Any, rows: Any, context: TaskContext) -> list[dict[str, Any]]:
    """`score`: how similar the two sentences are to the model, by the cosine unless it names another measure; of a
    sentence alone its `embedding`."""
    if not outputs:
        return []
    if len(outputs[0]) == 1:
        return [{"embedding": [float(value) for value in each[0]]} for each in outputs]
    found = pairwise([each[0] for each in outputs], [each[1] for each in outputs], similarity(context))
    return [{"score": float(value)} for value in found]


def measure(outputs: Any, samples: Any, rows: Any, context: TaskContext, **options: Any) -> Measurement:
    """Scored pairs: Spearman's and Pearson's correlation of similarity and score. Pairs: how well sentence1 finds its
    sentence2 among all of the split (equal texts are equally right): recall at 1 and 10, mean reciprocal rank; with
    negatives also how often the right one is nearer."""
    import numpy as np

    from hf_tl.metrics.intervals import Measurement, Score, with_intervals
    from hf_tl.metrics.regression import measure_regression

    made, by = np.stack(outputs), similarity(context)
    near = pairwise(made[:, 0], made[:, 1], by)
    if "score" in rows.column_names:
        references = np.asarray(rows["score"], dtype=np.float64)
        found = measure_regression(near, references, np.zeros(len(rows)), **options)
        return Measurement({name: found.metrics[name] for name in ("spearman", "pearson")})
    ranks = ranks_of(made[:, 0], made[:, 1], list(rows["sentence2"]), by)
    parts = {"mrr": 1 / ranks, "recall_at_1": (ranks <= 1) * 1.0, "recall_at_10": (ranks <= 10) * 1.0}
    if made.shape[1] > 2:
        parts["triplet_accuracy"] = (near > pairwise(made[:, 0], made[:, 2], by)) * 1.0
    scores = {name: Score(float(values.mean()), values[:, None]) for name, values in parts.items()}
    by_chance = float(np.mean(1 / np.arange(1, len(rows) + 1)))
    return Measurement(with_intervals(scores, len(rows), **options), baseline={"mrr": by_chance})


def ranks_of(queries: Any, answers: Any, texts: list[str], by: str = "cosine") -> np.ndarray:
    """Rank, from 1, of each query's own answer among the different answers, the most similar first; float64 (n,). A tie
    counts as lost."""
    import numpy as np

    first: dict[str, int] = {}
    own = np.array([first.setdefault(text, len(first)) for text in texts])
    keep = np.unique(own, return_index=True)[1]
    answers = np.asarray(answers)[keep]
    ranks = np.empty(len(queries))
    for start in range(0, len(queries), 1024):  # a block of the similarities at a time
        found = similarities(queries[start : start + 1024], answers, by)
        right = found[np.arange(len(found)), own[start : start + 1024]]
        ranks[start : start + 1024] = (found >= right[:, None]).sum(1)
    return ranks


def render_html(row: Any, prediction: Any, context: TaskContext) -> str:
    from html import escape

    said = [f"{similarity(context)} {prediction['score']:.3f}"]
    if "score" in row:
        said.append(f"given {row['score']:g}")
    return f"<p>{escape(row['sentence1'])}<br>{escape(row['sentence2'])}<br><small>{', '.join(said)}</small></p>"


def save(model: Any, context: TaskContext, folder: Path) -> None:
    """What `SentenceTransformer(folder)` reads beside the weights."""
    keep_modules(context, folder, model.config.hidden_size, limit_of(context))


TASK = Task(
    name="sentence-similarity",
    summary="sentence embeddings that are close where the meanings are: search, clustering, duplicates",
    columns=(
        Column(
            "sentence1",
            "text",
            ("sentence1", "sentence_1", "anchor", "query", "sentence_a", "text1", "text_a", "question1", "premise"),
        ),
        Column(
            "sentence2",
            "text",
            (
                "sentence2",
                "sentence_2",
                "positive",
                "answer",
                "passage",
                "sentence_b",
                "text2",
                "text_b",
                "question2",
                "hypothesis",
            ),
            required=False,
        ),
        Column("negative", "text", ("negative", "hard_negative", "negative_1"), required=False),
        Column("score", "label", ("score", "similarity_score", "similarity"), required=False, target=True),
    ),
    forms=(
        Form(("sentence1", "sentence2", "score")),
        Form(("sentence1", "sentence2", "negative")),
        Form(("sentence1", "sentence2")),
    ),
    auto_class="AutoModel",
    peft_task_type="FEATURE_EXTRACTION",
    metrics=("mrr", "recall_at_1", "recall_at_10", "triplet_accuracy"),
    best_metric="mrr",
    greater_is_better=True,
    preprocess=preprocess,
    collator=collator,
    targets=targets,
    loss=loss,
    check_loss=loss_of,
    items=items,
    collect=collect,
    postprocess=postprocess,
    measure=measure,
    render_html=render_html,
    inference=Inference(
        proof="""vectors = model.encode([row["sentence1"] for row in rows])
found = [{"embedding": vector.tolist()} for vector in vectors]""",
        reference_rows=lambda rows, context: rows.select_columns(["sentence1"]),
        snippet="""from sentence_transformers import SentenceTransformer

model = SentenceTransformer({model})""",
        example="""vectors = model.encode(["A plane is taking off.", "An air plane is taking off."])
print(model.similarity(vectors, vectors))""",
        demo=(
            Demo(
                (("sentence_1", "text"), ("sentence_2", "text")),
                "number",
                "found = float(model.similarity(*model.encode([sentence_1, sentence_2])[:, None]))",
                load="model = SentenceTransformer({model})",
                imports=("from sentence_transformers import SentenceTransformer",),
                packages=("sentence-transformers",),
                result="Similarity",
            ),
        ),
        widget=(
            {
                "source_sentence": "A plane is taking off.",
                "sentences": ["An air plane is taking off.", "A man is eating."],
            },
        ),
    ),
    library=Library(save=save, marker_files=("modules.json",), name="sentence-transformers"),
    extra_fields=("prompt_length",),
    new_head=False,
    methods=("full", "lora", "scratch"),
    problems={SCORED: {"metrics": ("spearman", "pearson"), "best_metric": "spearman"}},
    reads=("data.preprocessing.max_length", "model.pooling", "loss.name"),
    defaults=Defaults(
        models=(
            "sentence-transformers/all-MiniLM-L6-v2",
            "sentence-transformers/all-mpnet-base-v2",
            "BAAI/bge-base-en-v1.5",
        )
    ),
)
