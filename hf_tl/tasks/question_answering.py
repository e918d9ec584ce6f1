"""Extractive question answering: the span of a context that answers a question, or none (SQuAD 1 and 2)."""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import TYPE_CHECKING, Any

from hf_tl.task import Column, Setting, Targets, Task
from hf_tl.tasks.token_classification import as_records

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hf_tl.evaluation.measure import Measurement

STRIDE = 128
"""Tokens that two windows of a long context share, at most half a window."""
BEST = 20
"""Starts and ends that are looked at in each window."""
LONGEST = 30
"""Tokens that an answer may have."""


def targets(splits: Any, config: Any, known: Targets | None, notes: list[str]) -> Targets:
    """Answers as records of lists, each checked to stand where it says it does; none means that there is no answer."""
    from datasets import List, Value

    from hf_tl.data.rows import replace_column, skip_rows

    for split in list(splits):
        rows = splits[split].with_format(None)
        found, bad = [], {}
        for index, (context, given) in enumerate(zip(rows["context"], rows["answers"], strict=True)):
            answers, wrong = _answers(context, given)
            if wrong:
                bad[index] = wrong
            else:
                found.append(answers)
        skip_rows(splits, split, bad, config, notes)
        feature = {"text": List(Value("string")), "answer_start": List(Value("int64"))}
        replace_column(splits, split, "answers", found, feature)
    unanswered = "train" in splits and any(not each["text"] for each in splits["train"]["answers"])
    return Targets(config={"allows_no_answer": unanswered})


def _answers(context: str, given: Any) -> tuple[dict[str, list[Any]], str | None]:
    """(answers as lists, what is wrong with them)."""
    if isinstance(given, dict):
        texts, starts = given.get("text") or [], given.get("answer_start") or []
        texts, starts = ([each] if isinstance(each, (str, int)) else list(each) for each in (texts, starts))
    else:
        records = as_records(given)
        texts, starts = [each["text"] for each in records], [each["answer_start"] for each in records]
    if len(texts) != len(starts):
        return {}, f"{len(texts)} answers have {len(starts)} values of answer_start"
    for text, start in zip(texts, starts, strict=True):
        if not text:
            return {}, "an answer is empty (a question without an answer has an empty list)"
        if context[start : start + len(text)] != text:
            elsewhere = context.find(text)
            hint = f"it stands at {elsewhere}" if elsewhere >= 0 else "it is not in the context"
            return {}, f"the answer {text[:40]!r} does not stand at character {start} of the context ({hint})"
    return {"text": texts, "answer_start": starts}, None


def preprocess(rows: Any, setting: Setting, training: bool) -> Any:
    """Windows of question and context: `row`, `offsets` of the context's tokens ([-1, -1] for all others), and with
    answers `start_positions` and `end_positions`, both the first token where the window does not hold the answer."""
    from hf_tl.tasks.text_classification import text_limit

    limit, tokenizer = text_limit(setting), setting.processor

    def encode(batch: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        found = tokenizer(
            [question.strip() for question in batch["question"]],
            batch["context"],
            truncation="only_second",
            max_length=limit,
            stride=min(STRIDE, limit // 4),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        of_row, offsets = found.pop("overflow_to_sample_mapping"), found.pop("offset_mapping")
        out = dict(found)
        out["row"] = [indices[each] for each in of_row]
        out["length"] = [len(ids) for ids in found["input_ids"]]
        out["offsets"] = [
            [list(pair) if which == 1 else [-1, -1] for pair, which in zip(window, found.sequence_ids(at), strict=True)]
            for at, window in enumerate(offsets)
        ]
        if "answers" in batch:
            spans = [
                _tokens_of(batch["answers"][row], window) for row, window in zip(of_row, out["offsets"], strict=True)
            ]
            out["start_positions"], out["end_positions"] = map(list, zip(*spans, strict=True))
        return out

    return rows.map(
        encode, batched=True, with_indices=True, remove_columns=rows.column_names, load_from_cache_file=False
    )


def _tokens_of(answers: dict[str, list[Any]], offsets: list[list[int]]) -> tuple[int, int]:
    """First and last token of the first answer; (0, 0) where the window does not hold all of it."""
    if not answers["text"]:
        return 0, 0
    first, last = answers["answer_start"][0], answers["answer_start"][0] + len(answers["text"][0])
    inside = [at for at, (start, end) in enumerate(offsets) if start >= 0 and start < last and end > first]
    if not inside or offsets[inside[0]][0] > first or offsets[inside[-1]][1] < last:
        return 0, 0
    return inside[0], inside[-1]


def collator(setting: Setting, training: bool) -> Any:
    """Pads each batch to its longest window."""
    import torch

    names = set(setting.processor.model_input_names)

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        inputs = [{name: sample[name] for name in sample if name in names} for sample in samples]
        batch = dict(setting.processor.pad(inputs, return_tensors="pt"))
        for name in ("start_positions", "end_positions"):
            if name in samples[0]:
                batch[name] = torch.tensor([sample[name] for sample in samples])  # int64 (batch,)
        return batch

    return collate


def loss(outputs: Any, batch: Any, setting: Setting, items: Any) -> torch.Tensor:
    """Mean of the cross-entropies of the first and the last token."""
    from torch.nn.functional import cross_entropy

    pairs = ((outputs["start_logits"], batch["start_positions"]), (outputs["end_logits"], batch["end_positions"]))
    total = sum(
        cross_entropy(logits.float(), wanted, reduction="sum", label_smoothing=setting.label_smoothing)
        for logits, wanted in pairs
    )
    mean: torch.Tensor = total / 2 / (len(batch["start_positions"]) if items is None else items)  # type: ignore[assignment]
    return mean


def items(batch: Any) -> int:
    return len(batch["start_positions"])


def outputs(model: Any, out: Any, batch: Any, setting: Setting) -> list[np.ndarray]:
    """float32 (2, tokens): start and end logits of each window, without its padding on the right."""
    import torch

    logits = torch.stack([out["start_logits"], out["end_logits"]], dim=1).float().cpu().numpy()
    return [each[:, :length] for each, length in zip(logits, batch["attention_mask"].sum(1).tolist(), strict=True)]


def postprocess(outputs: Any, samples: Any, rows: Any, setting: Setting) -> list[dict[str, Any]]:
    """`answer`, `score`, `start`, `end` (characters of the context); an empty answer where none scores highest.

    The score is the probability of start and end within their window.
    """
    import numpy as np
    from scipy.special import softmax

    best: list[dict[str, Any]] = [{"value": -np.inf} for _ in range(len(rows))]
    nothing = np.full(len(rows), np.inf)
    for logits, sample in zip(outputs, samples, strict=True):
        row, offsets = sample["row"], sample["offsets"]
        context = np.array([start >= 0 for start, _ in offsets])
        probability = softmax(np.where(context, logits, -np.inf), axis=-1) if context.any() else np.zeros_like(logits)
        nothing[row] = min(nothing[row], float(logits[0, 0] + logits[1, 0]))
        starts, ends = (np.argsort(-np.where(context, each, -np.inf))[:BEST] for each in logits)
        for first in starts:
            for last in ends:
                value = float(logits[0, first] + logits[1, last])
                if context[first] and context[last] and 0 <= last - first < LONGEST and value > best[row]["value"]:
                    best[row] = {
                        "value": value,
                        "score": float(probability[0, first] * probability[1, last]),
                        "start": offsets[first][0],
                        "end": offsets[last][1],
                    }
    out = []
    for index, found in enumerate(best):
        # the first token's logits are those of "no answer": only models that were taught it say so
        if found["value"] == -np.inf or (_knows_none(setting) and nothing[index] > found["value"]):
            out.append({"label": "", "answer": "", "score": found.get("score", 0.0), "start": 0, "end": 0})
            continue
        answer = rows[index]["context"][found["start"] : found["end"]]
        out.append({"label": answer, "answer": answer, **{name: found[name] for name in ("score", "start", "end")}})
    return out


def _knows_none(setting: Setting) -> bool:
    return bool(getattr(setting.model_config, "allows_no_answer", False))


def normal(text: str) -> str:
    """As SQuAD compares answers: lower case, without punctuation, articles and superfluous space."""
    text = "".join(sign for sign in text.lower() if sign not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_and_f1(answer: str, truths: list[str]) -> tuple[float, float]:
    """The official SQuAD scores of one answer (Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250): the best over
    the true answers; where there are none, whether the answer is empty."""
    said = normal(answer).split()
    exact = f1 = 0.0
    for truth in truths or [""]:
        true = normal(truth).split()
        exact = max(exact, float(said == true))
        same = sum((Counter(said) & Counter(true)).values())
        if not said or not true:
            f1 = max(f1, float(said == true))
        elif same:
            f1 = max(f1, 2 * same / (len(said) + len(true)))
    return exact, f1


def measure(outputs: Any, samples: Any, rows: Any, setting: Setting, **options: Any) -> Measurement:
    import numpy as np

    from hf_tl.evaluation.intervals import Score, with_intervals
    from hf_tl.evaluation.measure import Measurement

    found = postprocess(outputs, samples, rows, setting)
    pairs = zip(found, rows["answers"], strict=True)
    values = np.array([exact_and_f1(each["answer"], answers["text"]) for each, answers in pairs])
    names = ("exact_match", "f1")
    scores = {name: Score(float(values[:, at].mean()), values[:, at]) for at, name in enumerate(names)}
    return Measurement(with_intervals(scores, len(rows), **options))


def show(row: Any, prediction: dict[str, Any], setting: Setting) -> str:
    """The question, the true answers, and the context with what was found."""
    from markupsafe import escape

    context, start, end = row["context"], prediction["start"], prediction["end"]
    before, after = context[max(0, start - 160) : start], context[end : end + 160]
    true = ", ".join(dict.fromkeys(row["answers"]["text"])) or "no answer"
    marked = f"{escape(before)}<mark>{escape(context[start:end])}</mark>{escape(after)}"
    return f"<p><b>{escape(row['question'])}</b></p><p>{escape(true)}</p><p>… {marked} …</p>"


TASK = Task(
    name="question-answering",
    summary="the words of a text that answer a question",
    columns=(
        Column("question", "text", ("question", "query")),
        Column("context", "text", ("context", "passage", "document")),
        Column("answers", "answers", ("answers", "answer"), target=True),
    ),
    modality="text",
    auto_class="AutoModelForQuestionAnswering",
    processor_class="AutoTokenizer",
    peft_task_type="QUESTION_ANS",
    metrics=("f1", "exact_match"),
    best_metric="f1",
    greater_is_better=True,
    targets=targets,
    preprocess=preprocess,
    collator=collator,
    loss=loss,
    items=items,
    outputs=outputs,
    postprocess=postprocess,
    measure=measure,
    show=show,
    usage="""question, context = "Where do I live?", "My name is Clara and I live in Berkeley."
inputs = processor(question, context, return_tensors="pt")
found = model(**inputs)
first, last = int(found.start_logits.argmax()), int(found.end_logits.argmax())
print(processor.decode(inputs["input_ids"][0, first : last + 1]))""",
    label_fields=("start_positions", "end_positions"),
    widget=({"question": "Where do I live?", "context": "My name is Clara and I live in Berkeley."},),
    models=(
        "sentence-transformers/all-MiniLM-L6-v2",
        "distilbert/distilbert-base-uncased",
        "deepset/roberta-base-squad2",
    ),
)
