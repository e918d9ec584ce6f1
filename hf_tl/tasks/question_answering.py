"""Extractive question answering: the span of a context that answers a question, or none (SQuAD 1 and 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_tl.task import Column, Defaults, Demo, Inference, Targets, Task, TaskContext
from hf_tl.tasks._answers import MAX_ANSWER_TOKENS, best_span, check_answers, exact_and_f1, tokens_of
from hf_tl.tasks._texts import text_limit, untruncated_texts

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hf_tl.metrics.intervals import Measurement

STRIDE = 128
"""Tokens that two windows of a long context share, at most half a window."""
MIN_LENGTH = 24
"""Tokens that a window needs for a question and a piece of its context."""
AROUND = 160
"""Characters of the context that the report shows before and after an answer."""


SNIPPET = f"""import torch


def find_answer(question, context):
    \"\"\"The words of the context that answer the question; of a context that is too long its beginning is read.\"\"\"
    inputs = processor(
        question.strip(), context, truncation="only_second", return_offsets_mapping=True, return_tensors="pt"
    )
    offsets, ids = inputs.pop("offset_mapping")[0].tolist(), inputs["input_ids"][0].tolist()
    null = ids.index(processor.cls_token_id) if processor.cls_token_id in ids else 0  # stands for no answer
    outside = torch.tensor([part != 1 and at != null for at, part in enumerate(inputs.sequence_ids(0))])
    with torch.inference_mode():
        output = model(**inputs)
    starts, ends = (
        logits[0].double().masked_fill(outside, -torch.inf).softmax(-1)
        for logits in (output.start_logits, output.end_logits)
    )
    no_answer = float(starts[null] * ends[null])
    starts[null] = ends[null] = 0
    spans = (starts[:, None] * ends[None]).triu().tril({MAX_ANSWER_TOKENS} - 1)  # by first and last token
    first, last = divmod(int(spans.argmax()), len(ids))
    score, start, end = float(spans[first, last]), offsets[first][0], offsets[last][1]
    if model.config.to_dict().get("allows_no_answer") and no_answer > score:
        score, start, end = no_answer, 0, 0
    answer = context[start:end].strip()
    start += len(context[start:end]) - len(context[start:end].lstrip())
    return {{"answer": answer, "score": score, "start": start, "end": start + len(answer)}}"""
"""As Transformers 4's pipeline did, for a context that needs no windows."""


def targets(splits: Any, config: Any, known: Targets | None, notes: list[str]) -> Targets:
    """Answers as records of lists, each checked to stand where it says it does; none means that there is no answer."""
    from datasets import List, Value

    from hf_tl.data.rows import encode_rows

    for split in list(splits):
        given = splits[split].with_format(None)["answers"]
        if split != "train" and len(splits) > 1 and all(each is None for each in given):
            notes.append(f"The {split} split has no answers and is not used.")
            del splits[split]
            continue
        feature = {"text": List(Value("string")), "answer_start": List(Value("int64"))}
        encode_rows(splits, split, ("context", "answers"), check_answers, config, notes, feature=feature)
    unanswered = "train" in splits and any(not each["text"] for each in splits["train"]["answers"])
    return Targets(config={"allows_no_answer": unanswered})


def preprocess(rows: Any, context: TaskContext, training: bool) -> Any:
    """Windows of question and context: `row`, `null_index` (the token that stands for no answer), `offsets` of the
    context's tokens ([-1, -1] for all others), and with answers `start_positions` and `end_positions`, both
    `null_index` where the window does not hold the answer."""
    from hf_tl.errors import ConfigError

    limit, tokenizer = text_limit(context), context.processor
    if limit < MIN_LENGTH:
        raise ConfigError(
            f"data.preprocessing.max_length: {limit} tokens are too few for a question and a piece of its context; "
            f"at least {MIN_LENGTH}."
        )
    stride = min(STRIDE, limit // 2)
    # A tokenizer can neither cut both texts in windows nor share more tokens than a window has left for the context.
    room = limit - stride - tokenizer.num_special_tokens_to_add(pair=True) - max(4, limit // 16)

    def encode(batch: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        questions, long = _shortened([each.strip() for each in batch["question"]], tokenizer, room)
        found = tokenizer(
            questions,
            batch["context"],
            truncation="only_second",
            max_length=limit,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        of_row, offsets = found.pop("overflow_to_sample_mapping"), found.pop("offset_mapping")
        out = dict(found)
        out["row"] = [indices[each] for each in of_row]
        out["length"] = [len(ids) for ids in found["input_ids"]]
        out["cut"] = [long[each] for each in of_row]
        sign = tokenizer.cls_token_id
        out["null_index"] = [ids.index(sign) if sign in ids else 0 for ids in found["input_ids"]]
        out["offsets"] = [
            [list(pair) if which == 1 else [-1, -1] for pair, which in zip(window, found.sequence_ids(at), strict=True)]
            for at, window in enumerate(offsets)
        ]
        if "answers" in batch:
            spans = [
                tokens_of(batch["answers"][row], window) or (null_index, null_index)
                for row, window, null_index in zip(of_row, out["offsets"], out["null_index"], strict=True)
            ]
            out["start_positions"], out["end_positions"] = map(list, zip(*spans, strict=True))
        return out

    encoded = rows.map(
        encode, batched=True, with_indices=True, remove_columns=rows.column_names, load_from_cache_file=False
    )
    if training:
        cut = len({row for row, long in zip(encoded["row"], encoded["cut"], strict=True) if long})
        if cut:
            context.notes.append(f"{cut} questions are longer than {room} tokens and are truncated.")
        if len(encoded) > len(rows):
            context.notes.append(
                f"Contexts that do not fit into {limit} tokens beside their question are read in windows, "
                f"{len(encoded) - len(rows)} more than there are questions."
            )
    return encoded.remove_columns("cut")


def _shortened(questions: list[str], tokenizer: Any, room: int) -> tuple[list[str], list[bool]]:
    """(questions of at most `room` tokens, whether each was longer)."""
    found = tokenizer(questions, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    long = [len(each) > room for each in found]
    cut = [text[: at[room - 1][1]] if more else text for text, at, more in zip(questions, found, long, strict=True)]
    return cut, long


def collator(context: TaskContext, training: bool) -> Any:
    """Pads each batch to its longest window."""
    import torch

    names = set(context.processor.model_input_names)

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        inputs = [{name: sample[name] for name in sample if name in names} for sample in samples]
        batch = dict(context.processor.pad(inputs, return_tensors="pt"))
        width, left = batch["input_ids"].shape[1], context.processor.padding_side == "left"
        for name in ("start_positions", "end_positions"):
            if name in samples[0]:
                before = [width - len(sample["input_ids"]) if left else 0 for sample in samples]
                positions = [sample[name] + more for sample, more in zip(samples, before, strict=True)]
                batch[name] = torch.tensor(positions)  # int64 (batch,)
        return batch

    return collate


def loss(outputs: Any, batch: Any, context: TaskContext, items: Any) -> torch.Tensor:
    """Mean of the cross-entropies of the first and the last token, over all tokens of a window but its padding, so that
    it does not depend on the others in its batch; logits (batch, tokens)."""
    import torch

    real = batch["attention_mask"].bool()
    total = torch.zeros((), device=real.device)
    for ends in ("start", "end"):
        logits = outputs[f"{ends}_logits"].float()
        log_probabilities = logits.masked_fill(~real, torch.finfo(torch.float32).min).log_softmax(-1)
        right = log_probabilities.gather(1, batch[f"{ends}_positions"][:, None]).squeeze(1)  # (batch,)
        spread = log_probabilities.masked_fill(~real, 0).sum(1) / real.sum(1)
        total = total - ((1 - context.label_smoothing) * right + context.label_smoothing * spread).sum()
    mean: torch.Tensor = total / 2 / (len(real) if items is None else items)
    return mean


def items(batch: Any) -> int:
    return len(batch["start_positions"])


def collect(model: Any, out: Any, batch: Any, context: TaskContext) -> list[np.ndarray]:
    """float32 (2, tokens): start and end logits of each window, without its padding."""
    import torch

    logits = torch.stack([out["start_logits"], out["end_logits"]], dim=1).float().cpu().numpy()
    real = batch["attention_mask"].bool().cpu().numpy()
    return [each[:, mask] for each, mask in zip(logits, real, strict=True)]


def postprocess(outputs: Any, samples: Any, rows: Any, context: TaskContext) -> list[dict[str, Any]]:
    """`answer`, `score`, `start`, `end` (characters of the context), as Transformers 4's pipeline gave them; an empty
    answer where none scores higher.

    The score is the probability of start and end within their window, among the tokens of its context and the one that
    stands for no answer; the score of no answer is the lowest of a row's windows.
    """
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)] * len(rows)
    nothing = [1.0] * len(rows)
    for logits, sample in zip(outputs, samples, strict=True):
        row, offsets = sample["row"], sample["offsets"]
        score, first, last, none = best_span(logits, [start >= 0 for start, _ in offsets], sample["null_index"])
        nothing[row] = min(nothing[row], none)
        if score > best[row][0]:
            best[row] = score, offsets[first][0], offsets[last][1]
    may_be_none = _may_be_none(rows, context)
    out = []
    for (score, start, end), none, passage in zip(best, nothing, rows["context"], strict=True):
        if may_be_none and none > score:
            score, start, end = none, 0, 0
        start += len(passage[start:end]) - len(passage[start:end].lstrip())  # some tokens begin with their space
        answer = passage[start:end]
        out.append({"label": answer, "score": score, "answer": answer, "start": start, "end": end})
    return out


def _may_be_none(rows: Any, context: TaskContext) -> bool:
    """Whether the model was taught to find no answer; of a model that does not say, whether it is measured on that."""
    taught = getattr(context.model_config, "allows_no_answer", None)
    if taught is None and "answers" in rows.column_names:
        return any(not each["text"] for each in rows["answers"])
    return bool(taught)


def measure(outputs: Any, samples: Any, rows: Any, context: TaskContext, **options: Any) -> Measurement:
    import numpy as np

    from hf_tl.metrics.intervals import Measurement, Score, with_intervals

    found = postprocess(outputs, samples, rows, context)
    pairs = zip(found, rows["answers"], strict=True)
    values = np.array([exact_and_f1(each["answer"], answers["text"]) for each, answers in pairs])
    names = ("exact_match", "f1")
    scores = {name: Score(float(values[:, at].mean()), values[:, at]) for at, name in enumerate(names)}
    return Measurement(with_intervals(scores, len(rows), **options))


def render_html(row: Any, prediction: dict[str, Any], context: TaskContext) -> str:
    """The question, and the context twice: with the true answers, and with the one that was found."""
    from markupsafe import escape

    passage, answers = row["context"], row["answers"]
    true = {(start, start + len(text)) for text, start in zip(answers["text"], answers["answer_start"], strict=True)}
    found = {(prediction["start"], prediction["end"])} if prediction["answer"] else set()

    def marked(spans: set[tuple[int, int]]) -> str:
        if not spans:
            return "<i>no answer</i>"
        pieces, at = [], max(0, min(spans)[0] - AROUND)
        pieces.append("… " if at else "")
        for start, end in sorted(spans):
            if start >= at:  # true answers may lie over one another
                pieces.append(f"{escape(passage[at:start])}<mark>{escape(passage[start:end])}</mark>")
                at = end
        rest = passage[at : at + AROUND]
        return "".join([*pieces, str(escape(rest)), " …" if at + AROUND < len(passage) else ""])

    return f"<p><b>{escape(row['question'])}</b></p><p>{marked(true)}</p><p>{marked(found)}</p>"


TASK = Task(
    name="question-answering",
    summary="the span of a text that answers a question",
    columns=(
        Column("question", "text", ("question", "query")),
        Column("context", "text", ("context", "passage", "document")),
        Column("answers", "answers", ("answers", "answer"), target=True),
    ),
    auto_class="AutoModelForQuestionAnswering",
    peft_task_type=None,  # PEFT's own class for it drops `token_type_ids`: question and context would look alike
    metrics=("f1", "exact_match"),
    best_metric="f1",
    greater_is_better=True,
    targets=targets,
    preprocess=preprocess,
    collator=collator,
    loss=loss,
    items=items,
    collect=collect,
    postprocess=postprocess,
    measure=measure,
    render_html=render_html,
    inference=Inference(
        proof="""found = [find_answer(row["question"], row["context"]) for row in rows]""",
        reference_rows=untruncated_texts,
        snippet=SNIPPET,
        example="""print(find_answer("Where do I live?", "My name is Clara and I live in Berkeley."))""",
        demo=(
            Demo(
                (("question", "line"), ("context", "text")),
                "highlights",
                """found = [{"entity_group": "answer", **find_answer(question, context)}]
if not found[0]["answer"]:
    gr.Info("The model finds no answer in this text.")
    found = []""",
                imports=("import torch",),
            ),
        ),
        widget=({"question": "Where do I live?", "context": "My name is Clara and I live in Berkeley."},),
    ),
    label_fields=("start_positions", "end_positions"),
    reads=("data.preprocessing.max_length", "training.label_smoothing_factor"),
    defaults=Defaults(
        models=(
            "sentence-transformers/all-MiniLM-L6-v2",
            "distilbert/distilbert-base-uncased",
            "deepset/roberta-base-squad2",
        )
    ),
)
