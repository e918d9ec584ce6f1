"""Text classification: one label a text or pair of texts, several, or a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_tl.task import Column, Defaults, Demo, Inference, Task, TaskContext
from hf_tl.tasks import _classification as classification
from hf_tl.tasks._texts import PAIR_NAMES, TEXT_NAMES, text_limit, untruncated_texts

if TYPE_CHECKING:
    from datasets import Dataset


def preprocess(rows: Dataset, context: TaskContext, training: bool) -> Dataset:
    """Texts as token ids, cut at `text_limit`; `length` is the number of tokens."""
    limit = text_limit(context)

    def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        # Tokenized without truncation first, so that what is cut can be counted.
        texts = [batch[role] for role in ("text", "text_pair") if role in batch]
        untruncated = context.processor(*texts, truncation=False, verbose=False)["input_ids"]
        out = dict(context.processor(*texts, truncation=True, max_length=limit))
        out["length"] = [len(ids) for ids in out["input_ids"]]
        out["cut"] = [len(ids) > limit for ids in untruncated]
        if "label" in batch:
            out["labels"] = batch["label"]
        return out

    encoded = rows.map(encode, batched=True, remove_columns=rows.column_names, load_from_cache_file=False)
    cut = sum(encoded["cut"])
    if training and cut:
        context.notes.append(
            f"{cut} of {len(rows)} training texts are longer than {limit} tokens and are truncated "
            "(data.preprocessing.max_length)."
        )
    return encoded.remove_columns("cut")


def collator(context: TaskContext, training: bool) -> Any:
    """Pads each batch to its longest text."""
    names = {*context.processor.model_input_names, "labels"}

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = [{name: sample[name] for name in sample if name in names} for sample in samples]
        return dict(context.processor.pad(batch, return_tensors="pt"))

    return collate


TASK = Task(
    name="text-classification",
    summary="one label for each text or pair of texts: sentiment, topic, intent; several labels or a number too",
    columns=(
        Column("text", "text", TEXT_NAMES),
        Column("text_pair", "text", PAIR_NAMES, required=False),
        Column("label", "label", classification.LABEL_NAMES, target=True),
    ),
    auto_class="AutoModelForSequenceClassification",
    peft_task_type="SEQ_CLS",
    metrics=classification.METRICS,
    best_metric="accuracy",
    greater_is_better=True,
    preprocess=preprocess,
    collator=collator,
    targets=classification.targets,
    loss=classification.loss,
    collect=classification.collect,
    postprocess=classification.postprocess,
    measure=classification.measure,
    render_html=classification.render_html,
    inference=Inference(
        proof="""found = [
    {"scores": {each["label"]: each["score"] for each in pipe(row, top_k=None)}} for row in rows
]""",
        reference_rows=untruncated_texts,
        demo=(
            Demo(
                (("text", "text"), ("text_pair", "text")),
                "labels",
                'found = pipe({"text": text, "text_pair": text_pair}, top_k=None, truncation=True)',
                needs="text_pair",
                result="Label",
            ),
            Demo((("text", "text"),), "labels", "found = pipe([text], top_k=None, truncation=True)[0]", result="Label"),
        ),
        widget=({"text": "I have been waiting for a week. Where is my card?"},),
    ),
    problems=classification.PROBLEMS,
    cacheable_features=True,
    defers_to=("sentence-similarity",),  # two sentences and a score
    reads=("data.preprocessing.max_length", *classification.READS),
    defaults=Defaults(
        models=(
            "sentence-transformers/all-MiniLM-L6-v2",
            "distilbert/distilbert-base-uncased",
            "FacebookAI/roberta-base",
        )
    ),
)
