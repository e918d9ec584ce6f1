"""What summarization and translation share: a text in, a text out, by a model with an encoder and a decoder.

Training is next-token cross-entropy of the target; evaluation writes texts with `model.generate` and keeps the strings.
What writing needs (lengths, beams, the prefix of the input, language codes) is settled once by `configure` and saved
with model and tokenizer, so that plain Transformers writes the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hf_tl.errors import ConfigError
from hf_tl.task import Demo, TaskContext
from hf_tl.tasks._writing import end_of, prefix_of, source_limit, start_of, target_limit

if TYPE_CHECKING:
    import torch

ROWS_IN_TRAINING = 200
"""Validation rows that are written in each evaluation during training: a text is many steps of the decoder."""
AROUND = 600
"""Characters of a text that the report shows."""
SNIPPET = """prefix = next(iter(model.config.task_specific_params.values()))["prefix"]


def write(text):
    inputs = processor(prefix + text, truncation=True, return_tensors="pt")
    return processor.decode(model.generate(**inputs)[0], skip_special_tokens=True).strip()"""
"""Where Transformers 5 has no pipeline any more; `configure` makes these lines true."""
PROOF = """found = [{{"label": write(row[{role!r}])}} for row in rows]"""
EXAMPLE = "print(write({text!r}))"


def demo(result: str) -> Demo:
    """The app of `hf-tl demo`, by the same lines."""
    return Demo((("text", "text"),), "text", "found = write(text)", result=result)


def preprocess(rows: Any, context: TaskContext, training: bool, *, name: str, source: str, target: str) -> Any:
    """`input_ids` and `attention_mask` of the prefixed source; `labels` of the target, ending in end-of-sequence;
    `length` is the source's."""
    tokenizer, prefix, end = context.processor, prefix_of(context, name), end_of(context)
    limit, target_most = source_limit(context), target_limit(context)
    if limit < 4 or target_most < 4:
        raise ConfigError("data.preprocessing: texts need at least 4 tokens (max_length, max_target_length).")
    if len(tokenizer(prefix)["input_ids"]) >= limit:
        raise ConfigError(f"data.preprocessing.prefix: leaves no room in an input of {limit} tokens (max_length).")

    def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        texts = [prefix + text for text in batch[source]]
        untruncated = tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        found = tokenizer(texts, truncation=True, max_length=limit)
        out = {key: found[key] for key in ("input_ids", "attention_mask")}
        out["length"] = [len(ids) for ids in out["input_ids"]]
        out["cut"] = [len(ids) > limit for ids in untruncated]
        out["target_cut"] = [False] * len(texts)
        if target in batch:
            untruncated = tokenizer(text_target=batch[target], truncation=False, verbose=False)["input_ids"]
            ids = tokenizer(text_target=batch[target], truncation=True, max_length=target_most)["input_ids"]
            # A language code may follow the end.
            out["labels"] = [each if end in each[-2:] else [*each[: target_most - 1], end] for each in ids]
            out["target_cut"] = [len(each) > target_most for each in untruncated]
        return out

    encoded = rows.map(encode, batched=True, remove_columns=rows.column_names, load_from_cache_file=False)
    if training:
        for column, what, most, option in (
            ("cut", source, limit, "max_length"),
            ("target_cut", target, target_most, "max_target_length"),
        ):
            cut = sum(encoded[column])
            if cut:
                context.notes.append(
                    f"{cut} of {len(rows)} training rows have a {what} longer than {most} tokens, which is truncated "
                    f"(data.preprocessing.{option})."
                )
    return encoded.remove_columns(["cut", "target_cut"])


def shifter(context: TaskContext) -> Callable[[torch.Tensor], torch.Tensor]:
    """Labels, int64 (batch, tokens), -100 where there are none, -> what the decoder reads, of the same shape.

    The model's own rule, from a copy of it without weights; where a class has none, the start token before the labels.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM

    from hf_tl.io.quiet import quiet

    config, start = copy.deepcopy(context.model_config), start_of(context)
    config.decoder_start_token_id = start
    pad = context.processor.pad_token_id
    own: Any = None
    if type(config) in AutoModelForSeq2SeqLM._model_mapping:
        with quiet(), torch.device("meta"):
            own = getattr(
                AutoModelForSeq2SeqLM.from_config(config, trust_remote_code=False),
                "prepare_decoder_input_ids_from_labels",
                None,
            )

    def shift(labels: torch.Tensor) -> torch.Tensor:
        if own is not None:
            found: torch.Tensor = own(labels=labels)
            return found
        first = labels.new_full((len(labels), 1), start)
        return torch.cat([first, labels[:, :-1].masked_fill(labels[:, :-1] == -100, pad)], dim=1)

    return shift


def collator(context: TaskContext, training: bool) -> Any:
    """Pads to the longest of a batch, labels with -100; `decoder_input_ids` are the labels shifted, or where there are
    none the start token alone."""
    import torch
    from transformers import DataCollatorForSeq2Seq

    shift, start = shifter(context), start_of(context)
    pad = DataCollatorForSeq2Seq(
        context.processor, SimpleNamespace(prepare_decoder_input_ids_from_labels=lambda labels: shift(labels))
    )
    names = ("input_ids", "attention_mask", "labels")

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = dict(pad([{key: sample[key] for key in names if key in sample} for sample in samples]))
        if batch.get("labels") is None:
            batch.pop("labels", None)
            batch["decoder_input_ids"] = torch.full((len(samples), 1), start)
        return batch

    return collate


def loss(outputs: Any, batch: Any, context: TaskContext, items: Any) -> torch.Tensor:
    """Cross-entropy over the target's tokens; `logits` (batch, tokens, vocabulary)."""
    from torch.nn.functional import cross_entropy

    labels = batch["labels"]
    total: torch.Tensor = cross_entropy(
        outputs["logits"].flatten(0, 1).float(), labels.flatten(), reduction="sum", ignore_index=-100,
        label_smoothing=context.label_smoothing,
    )  # fmt: skip
    mean: torch.Tensor = total / ((labels != -100).sum().clamp(min=1) if items is None else items)
    return mean


def collect(model: Any, out: Any, batch: Any, context: TaskContext) -> list[dict[str, Any]]:
    """Of each sample: the `text` that the model writes, its `tokens` (with the end), whether it was `cut` at the
    longest length, and the `nll` and `count` of the true target's tokens, where that is known."""
    from torch.nn.functional import cross_entropy

    generation, tokenizer = model.generation_config, context.processor
    written = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    written = written[: len(batch["input_ids"]), 1:].cpu()  # without the start token
    texts = tokenizer.batch_decode(written, skip_special_tokens=True)
    ends = generation.eos_token_id if isinstance(generation.eos_token_id, list) else [generation.eos_token_id]
    most = generation.max_new_tokens or ((generation.max_length or 1) - 1)
    found = []
    for index, (ids, text) in enumerate(zip(written.tolist(), texts, strict=True)):
        stop = next((at for at, token in enumerate(ids) if token in ends), None)
        count = len(ids) if stop is None else stop + 1
        forced = generation.forced_eos_token_id is not None and count >= most
        each = {"text": text.strip(), "tokens": count, "cut": stop is None or forced, "nll": 0.0, "count": 0}
        if "labels" in batch:
            labels = batch["labels"][index]
            each["nll"] = cross_entropy(out["logits"][index].float(), labels, reduction="sum").item()
            each["count"] = int((labels != -100).sum())
        found.append(each)
    return found


def postprocess(outputs: Any, samples: Any, rows: Any, context: TaskContext, *, key: str) -> list[dict[str, Any]]:
    """The text under the `key` of Transformers 4's pipeline, and as `label`."""
    return [{"label": each["text"], key: each["text"], "cut": each["cut"]} for each in outputs]


def lengths(outputs: Any) -> dict[str, Any]:
    """Scores of what was written whatever it says: loss, mean number of tokens, and the share cut at the longest."""
    import numpy as np

    from hf_tl.metrics.intervals import Score

    sums = np.array([[each["nll"], each["count"]] for each in outputs], dtype=np.float64)
    tokens = np.array([each["tokens"] for each in outputs], dtype=np.float64)
    cut = np.array([each["cut"] for each in outputs], dtype=np.float64)
    return {
        "loss": Score(float(sums[:, 0].sum() / max(1, sums[:, 1].sum())), sums, lambda s: s[:, 0] / s[:, 1].clip(1)),
        "generated_tokens": Score(float(tokens.mean()), tokens),
        "cut_share": Score(float(cut.mean()), cut),
    }


def render_html(row: Any, prediction: dict[str, Any], context: TaskContext, *, source: str, target: str) -> str:
    """The source, the true text and the written one."""
    from markupsafe import escape

    def short(text: str) -> str:
        return str(escape(text if len(text) <= AROUND else f"{text[:AROUND]} …"))

    cut = " <i>(truncated at the maximum length)</i>" if prediction["cut"] else ""
    true = f"<p><b>true</b> {short(row[target])}</p>" if row.get(target) else ""
    text = short(prediction["label"]) or "<i>nothing</i>"
    return f"<p>{short(row[source])}</p>{true}<p><b>generated</b> {text}{cut}</p>"
