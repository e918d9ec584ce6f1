"""Token classification: a tag for each word, entities for people: names, places, parts of speech."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from hf_tl.task import Column, Defaults, Demo, Form, Inference, Targets, Task, TaskContext
from hf_tl.tasks._tags import IGNORED, as_records, entities, parts, tag_name, tag_words
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
    outside = names is None and _zero_is_outside(splits, known, notes)

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


def _zero_is_outside(splits: Any, known: Targets | None, notes: list[str]) -> bool:
    """Whether the tags are numbers without names of which 0, the most frequent, stands for no entity."""
    values = splits[next(iter(splits))].with_format(None)["tags"]
    counts = Counter(tag for row in values for tag in row or () if tag is not None and tag != -100)
    if not all(isinstance(tag, int) for tag in counts):
        return False
    if known is not None:
        return "O" in known.labels and "0" not in known.labels
    if len(counts) < 2 or counts.most_common(1)[0][0] != 0:
        return False
    notes.append("The tags are numbers without names; 0, the most frequent, is taken for O, which is no entity.")
    return True


def _from_spans(splits: Any, split: str, config: Any, notes: list[str]) -> None:
    """`text` and `spans` (start, end, label) as `words` and `tags`."""
    from datasets import List, Value

    from hf_tl.data.rows import encode_rows

    def tagged(text: str, spans: Any) -> tuple[list[str], list[str]]:
        return tag_words(text, as_records(spans))

    found = encode_rows(splits, split, ("text", "spans"), tagged, config, notes)
    rows = splits[split].remove_columns(["text", "spans"])
    for at, role in enumerate(("words", "tags")):
        rows = rows.add_column(role, [each[at] for each in found]).cast_column(role, List(Value("string")))
    splits[split] = rows


def preprocess(rows: Any, context: TaskContext, training: bool) -> Any:
    """Windows of tokens: `row`, `word_ids` (-1 for special tokens), and for bare texts the `offsets` of tokens.

    Only the first token of a word carries its tag. A text longer than the model takes becomes several windows that
    overlap, so that nothing is cut.
    """
    limit, split_words = text_limit(context), "words" in rows.column_names

    def encode(batch: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        found = context.processor(
            batch["words" if split_words else "text"],
            is_split_into_words=split_words,
            truncation=True,
            max_length=limit,
            stride=min(STRIDE, limit // 4),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        of_row = found.pop("overflow_to_sample_mapping")
        offsets = found.pop("offset_mapping")
        out = dict(found)
        out["row"] = [indices[each] for each in of_row]
        ids = [found.word_ids(window) for window in range(len(of_row))]
        out["word_ids"] = [[-1 if word is None else word for word in words] for words in ids]
        out["length"] = [len(words) for words in ids]
        if not split_words:
            out["offsets"] = [[list(pair) for pair in window] for window in offsets]
        if "tags" in batch:
            out["labels"] = [
                [
                    batch["tags"][row][word] if word is not None and word != before else -100
                    for before, word in zip([None, *words], words, strict=False)
                ]
                for row, words in zip(of_row, ids, strict=True)
            ]
        return out

    encoded = rows.map(
        encode, batched=True, with_indices=True, remove_columns=rows.column_names, load_from_cache_file=False
    )
    if training and len(encoded) > len(rows):
        more = len(encoded) - len(rows)
        context.notes.append(
            f"Texts of more than {limit} tokens are read in windows, {more} more than there are texts."
        )
    return encoded


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


def by_word(outputs: Any, samples: Any, rows: Any) -> list[dict[int, tuple[int, float, int, int]]]:
    """For each row: word -> (label, probability, start, end); a word that two windows read is taken from the one where
    it stands farther from the edge. The offsets are 0 where the words were given."""
    found: list[dict[int, tuple[int, float, int, int]]] = [{} for _ in range(len(rows))]
    margins: dict[tuple[int, int], int] = {}
    with_offsets = "offsets" in samples.column_names
    for (labels, scores), sample in zip(outputs, samples, strict=True):
        row, ids = sample["row"], sample["word_ids"]
        spans: dict[int, list[int]] = {}
        for at, word in enumerate(ids):
            if word < 0:
                continue
            start, end = sample["offsets"][at] if with_offsets else (0, 0)
            if word in spans:
                spans[word][1] = end
                continue
            spans[word] = [start, end]
            margin = min(at, len(ids) - at)
            if margin > margins.get((row, word), -1):
                margins[row, word] = margin
                found[row][word] = (int(labels[at]), float(scores[at]), start, end)
        for word, (start, end) in spans.items():
            label, score, first, _ = found[row][word]
            if first == start:
                found[row][word] = (label, score, start, end)
    return found


def postprocess(outputs: Any, samples: Any, rows: Any, context: TaskContext) -> list[dict[str, Any]]:
    """`entities`, as `pipeline(..., aggregation_strategy="first")` gives them, and `tags`, one for each word.

    Offsets are into the text, or into the words joined by spaces.
    """
    out = []
    for index, words in enumerate(by_word(outputs, samples, rows)):
        row = rows[index]
        given = row.get("words")
        text = " ".join(given) if given else row["text"]
        starts, at = [], 0
        for word in given or []:
            starts.append(at)
            at += len(word) + 1
        found: list[dict[str, Any]] = []
        tags: list[str] = ["O"] * len(given) if given else []
        previous = ""
        for word, (label, score, start, end) in sorted(words.items()):
            tag = context.labels[label]
            if given:
                start, end = starts[word], starts[word] + len(given[word])
                tags[word] = tag
            else:
                tags.append(tag)
            position, entity = parts(tag)
            if position == "O":
                previous = ""
                continue
            if position == "B" or entity != previous:
                found.append({"entity_group": entity, "scores": [], "start": start, "end": end})
            found[-1]["scores"].append(score)
            found[-1]["end"] = end
            previous = entity
        for each in found:
            scores = each.pop("scores")
            each |= {"score": sum(scores) / len(scores), "word": text[each["start"] : each["end"]]}
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
    """Entities found whole and with their kind: F1, precision, recall over all (seqeval), accuracy of words."""
    import numpy as np

    from hf_tl.metrics.intervals import Measurement, Score, with_intervals

    words = by_word(outputs, samples, rows)
    each_word = "O" not in context.labels
    kinds = sorted({parts(label)[1] for label in context.labels} - {""})
    at = {kind: index for index, kind in enumerate(kinds)}
    counts = np.zeros((len(rows), 3, len(kinds)))  # right, predicted, true
    right = np.zeros((len(rows), 2))
    majority = np.zeros(len(context.labels))
    for index, everything in enumerate(rows["tags"]):
        reference = {word: tag for word, tag in enumerate(everything) if tag != -100}
        true_tags = [context.labels[tag] for tag in reference.values()]
        given = [context.labels[words[index][word][0]] if word in words[index] else "O" for word in reference]
        true, found = entities(true_tags, each_word), entities(given, each_word)
        for which, group in enumerate((true & found, found, true)):
            for kind, _, _ in group:
                counts[index, which, at[kind]] += 1
        right[index] = sum(a == b for a, b in zip(true_tags, given, strict=True)), len(true_tags)
        majority += np.bincount(np.array([*reference.values()], dtype=int), minlength=len(context.labels))
    sums = counts.sum(2)

    def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        out: np.ndarray = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
        return out

    total = sums.sum(0, keepdims=True)
    recomputes = {
        "f1": (sums, lambda s: ratio(2 * s[:, 0], s[:, 1] + s[:, 2])),
        "precision": (sums, lambda s: ratio(s[:, 0], s[:, 1])),
        "recall": (sums, lambda s: ratio(s[:, 0], s[:, 2])),
    }
    scores = {
        name: Score(float(recompute(total)[0]), part, recompute) for name, (part, recompute) in recomputes.items()
    }
    scores["accuracy"] = Score(float(right[:, 0].sum() / right[:, 1].sum()), right, lambda s: ratio(s[:, 0], s[:, 1]))
    per_class = []
    for kind, (hit, predicted, true_count) in zip(kinds, counts.sum(0).T, strict=True):
        per_class.append(
            {
                "label": kind,
                "precision": float(hit / predicted) if predicted else 0.0,
                "recall": float(hit / true_count) if true_count else 0.0,
                "f1": float(2 * hit / (predicted + true_count)) if predicted + true_count else 0.0,
                "support": int(true_count),
            }
        )
    baseline = {"accuracy": float(majority.max() / majority.sum())}
    return Measurement(with_intervals(scores, len(rows), **options), per_class, baseline=baseline)


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
