"""Text classification: one label a text or pair of texts, several, or a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_tl.task import Column, Defaults, Demo, Inference, Task, TaskContext
from hf_tl.tasks import _classification as classification
from hf_tl.tasks._texts import PAIR_NAMES, TEXT_NAMES, text_limit, untruncated_texts

if TYPE_CHECKING:
    from datasets import Dataset


def configure(model: Any, context: TaskContext) -> None:
    """A decoder is told what is padding, or it would read the label from there; and where the label is read from the
    token that ends a text (BART, T5), a text that spells that token has only the one at its end.

    Raises:
        ModelError: no token ends a text, or none can pad.
    """
    from transformers import PreTrainedModel

    from hf_tl.errors import ModelError

    if not isinstance(model, PreTrainedModel):
        return
    tokenizer, config = context.processor, model.config
    if tokenizer.pad_token_id is None:
        raise ModelError("model: its tokenizer has no token to pad with; set pad_token on it and save it again.")
    if not hasattr(config, "pad_token_id"):  # our own head reads all tokens, by the mask
        return
    if config.pad_token_id is None or (hasattr(model, "score") and config.pad_token_id != tokenizer.pad_token_id):
        config.pad_token_id = tokenizer.pad_token_id
    if not config.is_encoder_decoder or context.mode != "training":
        return
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    if not set(ends) & set(tokenizer("a")["input_ids"]):
        raise ModelError(
            f"model: {type(model).__name__} reads the label from the token that ends a text ({tokenizer.eos_token!r}, "
            f"id {config.eos_token_id}), and its tokenizer ends none with it; give the tokenizer a post-processor that "
            "does, or choose another model."
        )
    if tokenizer.is_fast:
        tokenizer.split_special_tokens = tokenizer._tokenizer.encode_special_tokens = True
        tokenizer.init_kwargs["split_special_tokens"] = True  # saved so, for all who load it


def preprocess(rows: Dataset, context: TaskContext, training: bool) -> Dataset:
    """Texts as token ids, cut at `text_limit`; `length` is the number of tokens."""
    limit = text_limit(context)
    ends = bool(getattr(context.model_config, "is_encoder_decoder", False))

    def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        # Tokenized without truncation first, so that what is cut can be counted.
        texts = [batch[role] for role in ("text", "text_pair") if role in batch]
        untruncated = context.processor(*texts, truncation=False, verbose=False)["input_ids"]
        out = dict(context.processor(*texts, truncation=True, max_length=limit, return_special_tokens_mask=ends))
        if ends:
            out = _with_own_ends(out, context.processor.eos_token_id)
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


def _with_own_ends(encoded: dict[str, list[Any]], end: int) -> dict[str, list[Any]]:
    """The tokens without those that end a text and were spelled in it: BART and T5 read the label from that token, and
    want as many in each text of a batch."""
    special = encoded.pop("special_tokens_mask")
    kept = [
        [at for at, (token, ours) in enumerate(zip(ids, mask, strict=True)) if token != end or ours]
        for ids, mask in zip(encoded["input_ids"], special, strict=True)
    ]
    return {
        name: [[values[at] for at in places] for values, places in zip(rows, kept, strict=True)]
        for name, rows in encoded.items()
    }


def plain_texts(rows: Any, context: TaskContext) -> Any:
    """As `untruncated_texts`, without texts that spell the token that ends one, which a stock pipeline keeps."""
    rows, end = untruncated_texts(rows, context), context.processor.eos_token
    if not getattr(context.model_config, "is_encoder_decoder", False):
        return rows
    roles = [role for role in ("text", "text_pair") if role in rows.column_names]
    return rows.filter(lambda row: not any(end in (row[role] or "") for role in roles), load_from_cache_file=False)


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
    configure=configure,
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
