"""Fill-mask: an encoder read on in the texts of one's own field (domain adaptation); the result is the `model` of the
next run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_tl.task import Column, Defaults, Demo, Form, Inference, Task, TaskContext
from hf_tl.tasks._texts import TEXT_NAMES, text_limit, untruncated_texts

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hf_tl.metrics.intervals import Measurement

SHARE = 0.15
"""Of the words that are hidden (Devlin et al. 2018, https://arxiv.org/abs/1810.04805)."""
TOP = 5
"""Words that a prediction offers for each mask, as the stock pipeline does."""


PROOF = """found = [
    {"masks": [[{"token_str": each["token_str"].strip(), "score": each["score"]} for each in pipe(row["text"])]]}
    for row in rows
]"""


def one_mask(rows: Any, context: TaskContext) -> Any:
    """Texts with one word hidden, that in the middle."""
    sign = context.processor.mask_token

    def hidden(text: str) -> str:
        words = text.split()
        return " ".join([*words[: len(words) // 2], sign, *words[len(words) // 2 + 1 :]])

    texts = [hidden(text) for text in rows["text"] if sign not in text]
    return untruncated_texts(type(rows).from_dict({"text": texts}), context)


def preprocess(rows: Any, context: TaskContext, training: bool) -> Any:
    """Windows of tokens with whole words hidden, drawn anew each epoch in training and once in evaluation; `row`.

    A text that holds the mask token already is left as it is: something is asked of it.
    """
    from hf_tl.data.augment import Augmented

    limit, tokenizer = text_limit(context), context.processor

    def encode(batch: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        found = tokenizer(batch["text"], truncation=True, max_length=limit, return_overflowing_tokens=True)
        of_row = found.pop("overflow_to_sample_mapping")
        out = dict(found)
        out["row"] = [indices[each] for each in of_row]
        out["word_ids"] = [
            [-1 if word is None else word for word in found.word_ids(window)] for window in range(len(of_row))
        ]
        return out

    windows = rows.map(
        encode, batched=True, with_indices=True, remove_columns=rows.column_names, load_from_cache_file=False
    )
    return Augmented(windows, lambda sample: hide(sample, tokenizer), context.seed if training else 0)


def hide(sample: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """Hides whole words: of the chosen tokens 80 % become the mask, 10 % any token, 10 % stay (BERT's shares).

    Random numbers are torch's, which `Augmented` seeds by epoch and row. `labels` are -100 where nothing is hidden.
    """
    import torch

    ids = list(sample["input_ids"])
    words = sorted({word for word in sample["word_ids"] if word >= 0})
    labels = [-100] * len(ids)
    if words and tokenizer.mask_token_id not in ids:
        count = max(1, round(len(words) * SHARE))
        chosen = {words[index] for index in torch.randperm(len(words))[:count].tolist()}
        fate = {word: float(torch.rand(())) for word in sorted(chosen)}
        for at, word in enumerate(sample["word_ids"]):
            if word not in chosen:
                continue
            labels[at] = ids[at]
            if fate[word] < 0.8:
                ids[at] = tokenizer.mask_token_id
            elif fate[word] < 0.9:
                ids[at] = int(torch.randint(len(tokenizer), ()))
    return {**{name: sample[name] for name in sample if name != "word_ids"}, "input_ids": ids, "labels": labels}


def collator(context: TaskContext, training: bool) -> Any:
    """Pads each batch to its longest window; labels with -100."""
    import torch

    names = set(context.processor.model_input_names)

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        inputs = [{name: sample[name] for name in sample if name in names} for sample in samples]
        batch = dict(context.processor.pad(inputs, return_tensors="pt"))
        width = batch["input_ids"].shape[1]
        padded = [sample["labels"] + [-100] * (width - len(sample["labels"])) for sample in samples]
        batch["labels"] = torch.tensor(padded)  # int64 (batch, tokens)
        return batch

    return collate


def loss(outputs: Any, batch: Any, context: TaskContext, items: Any) -> torch.Tensor:
    """Cross-entropy over the hidden tokens; `logits` (batch, tokens, vocabulary)."""
    from torch.nn.functional import cross_entropy

    labels = batch["labels"]
    hidden = labels != -100
    total: torch.Tensor = cross_entropy(
        outputs["logits"][hidden].float(), labels[hidden], reduction="sum", label_smoothing=context.label_smoothing
    )
    mean: torch.Tensor = total / (hidden.sum().clamp(min=1) if items is None else items)
    return mean


def collect(model: Any, out: Any, batch: Any, context: TaskContext) -> list[dict[str, Any]]:
    """Of each window: `sums`, float64 (3,): negative log-likelihood, hidden tokens, those guessed right; and `masks`,
    for each mask that nobody knows the answer of, its best tokens with their probabilities."""
    import numpy as np

    mask, found = context.processor.mask_token_id, []
    for logits, labels, ids in zip(out["logits"], batch["labels"], batch["input_ids"], strict=True):
        hidden, open_masks = labels != -100, (ids == mask) & (labels == -100)
        log_p = logits[hidden].float().log_softmax(-1)  # (hidden, vocabulary)
        true = labels[hidden]
        nll = -log_p.gather(1, true[:, None]).sum().item() if len(true) else 0.0
        right = int((log_p.argmax(-1) == true).sum()) if len(true) else 0
        scores, tokens = logits[open_masks].float().softmax(-1).topk(min(TOP, logits.shape[-1]))
        masks = [list(zip(s, t, strict=True)) for s, t in zip(scores.tolist(), tokens.tolist(), strict=True)]
        found.append({"sums": np.array([nll, len(true), right]), "masks": masks})
    return found


def postprocess(outputs: Any, samples: Any, rows: Any, context: TaskContext) -> list[dict[str, Any]]:
    """`label` and `score`: the best word for the row's first mask; `masks`: the best words of each; for a text without
    one, the perplexity of what was hidden in it."""
    import numpy as np

    sums = _by_row(outputs, samples, rows)
    by_row: list[list[Any]] = [[] for _ in range(len(rows))]
    for each, row in zip(outputs, samples.rows["row"], strict=True):
        by_row[row] += each["masks"]
    out = []
    for index, masks in enumerate(by_row):
        words = [
            [{"token_str": context.processor.decode([token]).strip(), "score": score} for score, token in each]
            for each in masks
        ]
        if words:
            first = words[0][0]
            out.append({"label": first["token_str"], "score": first["score"], "masks": words})
        else:
            nll, count, _ = sums[index]
            out.append({"label": "", "score": 0.0, "masks": [], "perplexity": float(np.exp(nll / max(count, 1)))})
    return out


def _by_row(outputs: Any, samples: Any, rows: Any) -> np.ndarray:
    """float64 (rows, 3): the windows' sums."""
    import numpy as np

    sums = np.zeros((len(rows), 3))
    np.add.at(sums, np.asarray(samples.rows["row"]), np.stack([each["sums"] for each in outputs]))
    return sums


def measure(outputs: Any, samples: Any, rows: Any, context: TaskContext, **options: Any) -> Measurement:
    """Perplexity and accuracy of the hidden tokens."""
    import numpy as np

    from hf_tl.metrics.intervals import Measurement, Score, with_intervals

    sums = _by_row(outputs, samples, rows)
    total = sums.sum(0, keepdims=True)
    recomputes = {
        "perplexity": lambda s: np.exp(s[:, 0] / np.maximum(s[:, 1], 1)),
        "accuracy": lambda s: s[:, 2] / np.maximum(s[:, 1], 1),
        "loss": lambda s: s[:, 0] / np.maximum(s[:, 1], 1),
    }
    scores = {name: Score(float(recompute(total)[0]), sums, recompute) for name, recompute in recomputes.items()}
    return Measurement(with_intervals(scores, len(rows), **options))


TASK = Task(
    name="fill-mask",
    summary="continued pretraining of an encoder on your own texts, before adapting it to another task",
    columns=(Column("text", "text", TEXT_NAMES),),
    forms=(Form(("text",), inferred=False),),
    auto_class="AutoModelForMaskedLM",
    peft_task_type=None,
    metrics=("perplexity", "accuracy", "loss"),
    best_metric="perplexity",
    greater_is_better=False,
    preprocess=preprocess,
    collator=collator,
    loss=loss,
    collect=collect,
    postprocess=postprocess,
    measure=measure,
    inference=Inference(
        proof=PROOF,
        reference_rows=one_mask,
        demo=(
            Demo(
                (("text", "text"),),
                "labels",
                """for sign in ("[MASK]", "<mask>"):  # as tokenizers write it, whichever this one does
    text = text.replace(sign, pipe.tokenizer.mask_token)
if text.count(pipe.tokenizer.mask_token) != 1:
    raise gr.Error("Write [MASK] once, where a word is to be found.", print_exception=False)
found = [{"label": each["token_str"], "score": each["score"]} for each in pipe(text)]""",
                result="Likely words",
            ),
        ),
        widget=({"text": "Paris is the <mask> of France."},),
    ),
    new_head=False,
    methods=("full", "lora", "scratch"),
    defaults=Defaults(
        batch_sizes=(16, 16),
        models=("distilbert/distilbert-base-uncased", "google-bert/bert-base-uncased", "FacebookAI/roberta-base"),
    ),
    reads=("data.preprocessing.max_length", "training.label_smoothing_factor"),
)
