"""Token classification: a tag for each word, entities for people: names, places, parts of speech."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from hf_tl.task import Column, Defaults, Demo, Form, Inference, Targets, Task, TaskContext
from hf_tl.tasks._pipeline_words import (
    WITHOUT,
    Token,
    by_word,
    joined,
    label_at,
    numbered,
    places,
    read,
    starts_of,
    text_of,
    without_spaces,
)
from hf_tl.tasks._tags import IGNORED, as_records, measured, parts, spans_of, tag_name, tag_words, zero_is_outside
from hf_tl.tasks._texts import bare_texts, text_limit

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hf_tl.metrics.intervals import Measurement

STRIDE = 32
"""Tokens that two windows of a long text share."""


def targets(splits: Any, config: Any, known: Targets | None, notes: list[str]) -> Targets:
    """Tags as ids beside `words`; character spans become words with B- and I- tags."""
    from datasets import ClassLabel, List, Value

    from hf_tl.data.rows import encode_rows, replace_column
    from hf_tl.errors import DataError, did_you_mean, listing

    for split, rows in list(splits.items()):
        if "spans" in rows.column_names:
            _from_spans(splits, split, config, notes)
    feature = next(iter(splits.values())).features["tags"].feature
    names = feature.names if isinstance(feature, ClassLabel) else None
    outside = names is None and zero_is_outside(splits, known, notes)

    def named(words: Any, given: Any) -> list[str]:
        if not words:
            raise ValueError("there are no words")
        if given is None or len(words) != len(given):
            raise ValueError(f"{len(words)} words have {len(given or [])} tags")
        if any(word is None or not word.strip() for word in words):
            raise ValueError("a word is empty")
        return [tag_name(tag, names, outside) for tag in given]

    tags: dict[str, list[list[str]]] = {
        split: encode_rows(splits, split, ("words", "tags"), named, config, notes) for split in list(splits)
    }
    if known is not None:
        labels = known.labels
    else:
        # `O` first, then each entity's beginning before its inside
        seen = {tag for row in tags["train"] for tag in row} - {IGNORED}
        labels = tuple(names or sorted(seen, key=lambda tag: (tag != "O", parts(tag)[1], parts(tag)[0])))
    if len(labels) < 2:
        raise DataError(f"data.path: train has the tags {listing(labels)} only; there is nothing to learn.")
    ids = {label: index for index, label in enumerate(labels)} | {IGNORED: -100}
    for split, found in tags.items():
        for index, row in enumerate(found):
            for tag in row:
                if tag not in ids:
                    lacks = "is not one of the model's" if known else "is not in train"
                    where = splits[split][index]["__file__"]
                    raise DataError(f"{where}: tag {tag!r} {lacks}{did_you_mean(tag, labels) or '.'}")
        replace_column(splits, split, "tags", [[ids[tag] for tag in row] for row in found], List(Value("int64")))
    return Targets(labels)


def _from_spans(splits: Any, split: str, config: Any, notes: list[str]) -> None:
    """`text` and `spans` (start, end, label) as `words` and `tags`; the text stays, since it is what is read."""
    from datasets import List, Value

    from hf_tl.data.rows import encode_rows

    def tagged(text: str, spans: Any) -> tuple[list[str], list[str]]:
        return tag_words(text, as_records(spans))

    found = encode_rows(splits, split, ("text", "spans"), tagged, config, notes)
    rows = splits[split].remove_columns("spans")
    for at, role in enumerate(("words", "tags")):
        rows = rows.add_column(role, [each[at] for each in found]).cast_column(role, List(Value("string")))
    splits[split] = rows


def configure(model: Any, context: TaskContext) -> None:
    """For training, the tokenizer is made to split words as it splits a text."""
    from hf_tl.tasks._pipeline_words import prefix_space

    if context.mode == "training":
        prefix_space(context.processor)


def preprocess(rows: Any, context: TaskContext, training: bool) -> Any:
    """Windows of tokens of the texts, those of words joined by spaces: what the stock pipeline reads.

    Of each token: `word_ids`, the pipeline's word (-1 for special tokens), `offsets` in the text, and `opens`, the word
    that it gives the tag of (-1 for others). Only the first token of a word carries a label. A text longer than the
    model takes becomes several windows that overlap, so that nothing is cut.
    """
    limit, by_words = text_limit(context), "words" in rows.column_names
    context.processor.truncation_side = "right"  # windows are counted from the left
    ids = {label: index for index, label in enumerate(context.labels)}
    words = {"all": 0, "told": 0}

    def encode(batch: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        texts = batch["text"] if "text" in batch else [joined(words) for words in batch["words"]]
        found = context.processor(
            texts,
            truncation=True,
            max_length=limit,
            stride=min(STRIDE, limit // 4),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        of_row = found.pop("overflow_to_sample_mapping")
        offsets, special = found.pop("offset_mapping"), found.pop("special_tokens_mask")
        out = {**found, "row": [indices[each] for each in of_row], "length": [len(each) for each in special]}
        out |= {"offsets": [[list(pair) for pair in each] for each in offsets], "word_ids": [], "opens": []}
        labels: list[list[int]] = []
        for row, windows in itertools.groupby(range(len(of_row)), key=lambda window: of_row[window]):
            content = {w: [at for at, mask in enumerate(special[w]) if not mask] for w in windows}
            starts = _starts(content, min(STRIDE, limit // 4))
            tokens: dict[int, Token] = {}
            for w, places_in in content.items():
                for at, token in enumerate(places_in, starts[w]):
                    tokens[at] = Token(found["input_ids"][w][token], *offsets[w][token])
            whole = [tokens[at] for at in range(len(tokens))]
            numbers = numbered(whole, texts[row], context.processor)
            given = places(whole, numbers, batch["words"][row], texts[row]) if by_words else None
            if given is not None:
                words["all"] += len(batch["words"][row])
                words["told"] += sum(what == "opens" for _, what in given)
            tags = [_name(tag, context) for tag in batch["tags"][row]] if "tags" in batch else None
            for w, places_in in content.items():
                index = {token: starts[w] + at for at, token in enumerate(places_in)}
                width = range(len(special[w]))
                out["word_ids"].append([numbers[index[t]] if t in index else -1 for t in width])
                opened = [given[index[t]] if given is not None and t in index else (-1, "") for t in width]
                out["opens"].append([word if what == "opens" else -1 for word, what in opened])
                if tags is not None:
                    labels.append([label_at(each, tags, ids) if each[1] else WITHOUT for each in opened])
        return {**out, "labels": labels} if "tags" in batch else out

    encoded = rows.map(
        encode, batched=True, with_indices=True, remove_columns=rows.column_names, load_from_cache_file=False
    )
    if training:
        context.notes.extend(_notes(len(encoded) - len(rows), limit, words))
    return encoded


def _notes(more: int, limit: int, words: dict[str, int]) -> list[str]:
    """What there is to say of `more` windows than texts, and of words that the pipeline does not tell apart."""
    out = []
    if more:
        out.append(f"Texts of more than {limit} tokens are read in windows, {more} more than there are texts.")
    if words["told"] < words["all"]:
        out.append(
            f"{words['all'] - words['told']} of {words['all']} words are part of another to Transformers' pipeline, "
            'which with this tokenizer takes "Rome," for one; tokenizers of BERT\'s kind tell them apart.'
        )
    return out


def _name(tag: int, context: TaskContext) -> str | None:
    return None if tag == WITHOUT else context.labels[tag]


def _starts(content: dict[int, list[int]], stride: int) -> dict[int, int]:
    """Of each window of a text the index of its first token among all of the text, special ones left out."""
    step = max(1, len(next(iter(content.values()))) - stride)
    return {window: index * step for index, window in enumerate(content)}


def collator(context: TaskContext, training: bool) -> Any:
    """Pads each batch to its longest window; labels with -100, which the loss leaves out."""
    import torch

    names = set(context.processor.model_input_names)

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        inputs = [{name: sample[name] for name in sample if name in names} for sample in samples]
        batch = dict(context.processor.pad(inputs, return_tensors="pt"))
        if "labels" in samples[0]:
            width = batch["input_ids"].shape[1]
            padded = [sample["labels"] + [-100] * (width - len(sample["labels"])) for sample in samples]
            batch["labels"] = torch.tensor(padded)  # int64 (batch, tokens)
        return batch

    return collate


def loss(outputs: Any, batch: Any, context: TaskContext, items: Any) -> torch.Tensor:
    """Cross-entropy over the words of a batch; `logits` (batch, tokens, labels)."""
    from torch.nn.functional import cross_entropy

    logits, labels = outputs["logits"].float(), batch["labels"]
    total: torch.Tensor = cross_entropy(
        logits.flatten(0, 1), labels.flatten(), reduction="sum", label_smoothing=context.label_smoothing
    )
    mean: torch.Tensor = total / ((labels != -100).sum().clamp(min=1) if items is None else items)
    return mean


def collect(model: Any, out: Any, batch: Any, context: TaskContext) -> list[tuple[np.ndarray, np.ndarray]]:
    """(best label, its probability) of each token: int16 and float32 (tokens,)."""
    import numpy as np

    scores, best = out["logits"].float().softmax(-1).max(-1)  # (batch, tokens)
    lengths = batch["attention_mask"].sum(1).tolist()
    left = context.processor.padding_side == "left"
    cut = [slice(-length, None) if left else slice(0, length) for length in lengths]
    pairs = zip(best.cpu().numpy().astype(np.int16), scores.cpu().numpy(), cut, strict=True)
    return [(labels[where], probabilities[where]) for labels, probabilities, where in pairs]


def postprocess(outputs: Any, samples: Any, rows: Any, context: TaskContext) -> list[dict[str, Any]]:
    """`entities`, as `pipeline(..., aggregation_strategy="first")` gives them, and `tags`, one for each word.

    Offsets are into the text, or into the words joined by spaces.
    """
    out = []
    for index, words in enumerate(by_word(outputs, samples, rows)):
        row = rows[index]
        text = text_of(row)
        found, tags = read(words, row, context.labels)
        for each in found:
            each["word"] = text[each["start"] : each["end"]]
        best = max(found, key=lambda each: each["score"], default=None)
        out.append(
            {
                "label": best["entity_group"] if best else "O",
                "score": best["score"] if best else 0.0,
                "entities": found,
                "tags": tags,
            }
        )
    return out


def measure(outputs: Any, samples: Any, rows: Any, context: TaskContext, **options: Any) -> Measurement:
    """Entities found whole and with their kind: F1, precision, recall over all (seqeval), accuracy of words.

    What is found is what the stock pipeline gives, where it knows the tags (O, B-x and I-x).
    """
    import numpy as np

    words = by_word(outputs, samples, rows)
    each_word = "O" not in context.labels
    piped = all(label == "O" or label[:2] in ("B-", "I-") for label in context.labels)
    kinds = sorted({parts(label)[1] for label in context.labels} - {""})
    at = {kind: index for index, kind in enumerate(kinds)}
    counts = np.zeros((len(rows), 3, len(kinds)))  # right, predicted, true
    right = np.zeros((len(rows), 2))
    majority = np.zeros(len(context.labels))
    for index, row in enumerate(rows):
        spans, said = read(words[index], row, context.labels)
        text = text_of(row)
        told = [tag != WITHOUT for tag in row["tags"]]  # words of which nothing is known are not asked
        true_tags = [context.labels[tag] for tag in row["tags"] if tag != WITHOUT]
        given, starts, tags = (list(itertools.compress(each, told)) for each in
                               (row["words"], starts_of(row["words"], text), said))  # fmt: skip
        true, found = (spans_of(each, given, starts, each_word) for each in (true_tags, tags))
        if piped and not each_word and all(told):
            found = {(each["entity_group"], *without_spaces(each, text)) for each in spans}
        for which, group in enumerate((true & found, found, true)):
            for kind, _, _ in group:
                counts[index, which, at[kind]] += 1
        right[index] = sum(a == b for a, b in zip(true_tags, tags, strict=True)), len(true_tags)
        asked = np.array([tag for tag in row["tags"] if tag != WITHOUT], dtype=int)
        majority += np.bincount(asked, minlength=len(context.labels))
    return measured(counts, right, majority, kinds, options)


def render_html(row: Any, prediction: dict[str, Any], context: TaskContext) -> str:
    """The text twice: with the entities that are right, and with those that were found."""
    from markupsafe import escape

    def marked(tags: list[str]) -> str:
        pieces = []
        for word, tag in zip(row["words"], tags, strict=True):
            position, entity = parts(tag)
            if position == "O":
                pieces.append(str(escape(word)))
            else:
                pieces.append(f'<mark title="{escape(entity)}">{escape(word)}<sub>{escape(entity)}</sub></mark>')
        return " ".join(pieces)

    true = marked([context.labels[tag] if tag != -100 else "O" for tag in row["tags"]])
    return f"<p>{true}</p><p>{marked(prediction['tags'])}</p>"


TASK = Task(
    name="token-classification",
    summary="a tag for each word: names, places, parts of speech",
    columns=(
        Column("words", "words", ("tokens", "words"), required=False),
        Column("text", "text", ("text", "sentence", "content"), required=False),
        Column("tags", "tags", ("ner_tags", "tags", "labels", "pos_tags", "bio_tags"), required=False, target=True),
        Column("spans", "spans", ("entities", "spans", "label", "labels"), required=False, target=True),
    ),
    forms=(
        Form(("words", "tags")),
        Form(("text", "spans")),
    ),
    auto_class="AutoModelForTokenClassification",
    peft_task_type="TOKEN_CLS",
    metrics=("f1", "precision", "recall", "accuracy"),
    best_metric="f1",
    greater_is_better=True,
    targets=targets,
    preprocess=preprocess,
    collator=collator,
    loss=loss,
    collect=collect,
    postprocess=postprocess,
    measure=measure,
    configure=configure,
    render_html=render_html,
    inference=Inference(
        proof="""keys = ("entity_group", "score", "start", "end")
found = [
    {"entities": [{key: each[key] for key in keys} for each in pipe(row["text"], aggregation_strategy="first")]}
    for row in rows
]""",
        reference_rows=bare_texts,
        demo=(
            Demo((("text", "text"),), "highlights", 'found = pipe(text, aggregation_strategy="first")', result="Found"),
        ),
        pipeline_kwargs='aggregation_strategy="first"',
        widget=({"text": "My name is Clara and I live in Berkeley, California."},),
    ),
    support_unit="entities",
    reads=("data.preprocessing.max_length", "training.label_smoothing_factor"),
    defaults=Defaults(
        models=("sentence-transformers/all-MiniLM-L6-v2", "distilbert/distilbert-base-cased", "FacebookAI/roberta-base")
    ),
)
