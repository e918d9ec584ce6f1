"""What a decoder is trained on: texts, prompts with completions, or conversations as samples and batches.

Conversations, packing and batches are prepared by TRL's own functions (https://huggingface.co/docs/trl/sft_trainer);
its trainer is not used, since it would bring its own preparation, loss and evaluation beside hf_tl's.
"""

from __future__ import annotations

from typing import Any

from hf_tl.errors import DataError
from hf_tl.task import TaskContext
from hf_tl.tasks import _chat, _generation
from hf_tl.tasks._texts import text_limit

MAX_LENGTH = 1024
"""Tokens of a sample by default, as TRL's."""
DONE = {"drop": "dropped", "truncate": "truncated", "split": "split into pieces"}


def _where(row: Any, index: int) -> str:
    return str(row.get("file", f"input {index}"))


def preprocess(rows: Any, context: TaskContext, training: bool) -> Any:
    """Samples of `input_ids` and `labels`, -100 where nothing is learned; short ones packed together in training
    (`seq_lengths`); else `row`, and `prompt_ids`: the prompt of a text that is to be written, mostly none.

    Raises:
        ModelError: no end-of-sequence token, or conversations and no chat template.
        DataError: a conversation that the template refuses, or nothing at all to train on.
    """
    _generation.check_end(context)
    if context.mode == "predicting":
        return _prompts(rows, context)
    limit = text_limit(context, MAX_LENGTH)
    plain = "text" in rows.column_names
    wanted = context.preprocessing.long_samples if context.preprocessing else None
    policy = wanted or ("split" if plain else "truncate")
    read = _reader(rows, context)
    from hf_tl.data.splits import example_rows

    shown = example_rows(len(rows)) if context.mode == "measuring" else set()

    def encode(batch: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        out: dict[str, list[Any]] = {
            name: [] for name in ("row", "input_ids", "labels", "prompt_ids", "length", "long", "learned")
        }
        for at, index in enumerate(indices):
            row = {name: batch[name][at] for name in batch}
            ids, trained = read(row, index)
            labels = [token if each else -100 for token, each in zip(ids, trained, strict=True)]
            long = len(ids) > limit
            most = {"drop": 0, "truncate": limit, "split": len(ids)}[policy] if long else len(ids)
            for start in range(0, most, limit) or [0]:
                piece, learned = ids[start : min(most, start + limit)], labels[start : min(most, start + limit)]
                learned = [-100, *learned[1:]] if learned else []  # nothing stands before the first
                first = index in shown and start == 0
                values = (index, piece, learned, _prompt_ids(row, context, ids) if first else [], len(piece), long,
                          sum(label != -100 for label in learned))  # fmt: skip
                for name, value in zip(out, values, strict=True):
                    out[name].append(value)
        return out

    from datasets import Features, List, Value

    ints, one = List(Value("int64")), Value("int64")
    features = {"row": one, "input_ids": ints, "labels": ints, "prompt_ids": ints, "length": one, "long": Value("bool")}
    found = rows.map(
        encode, batched=True, with_indices=True, remove_columns=rows.column_names, load_from_cache_file=False,
        features=Features({**features, "learned": one}),
    )  # fmt: skip
    used = [index for index, count in enumerate(found["learned"]) if count]
    if training:
        _say(found, used, len(rows), limit, policy, plain, context)
    if not used:
        raise DataError(
            f"data.path: not one token of the {len(rows)} {'training ' if training else ''}rows is trained on: what "
            f"follows the prompts is cut off at {limit} tokens (data.preprocessing.max_length), left out as too long "
            "(data.preprocessing.long_samples), or the chat template marks no turn as the assistant's."
        )
    # What a report shows is kept in an evaluation, though nothing of it is learned within the limit.
    shown_too = {index for index, prompt in enumerate(found["prompt_ids"]) if prompt} if shown else set()
    found = found.select(sorted({*used, *shown_too})).remove_columns(["long", "learned"])
    packing = context.preprocessing.packing if context.preprocessing else None
    if training and (plain if packing is None else packing):
        return _packed(found, limit, context)
    return found


def _reader(rows: Any, context: TaskContext) -> Any:
    """`(row, index) -> (token ids, whether each is trained on)`, untruncated."""
    tokenizer = context.processor
    if "messages" in rows.column_names:
        template, marked = _chat.training_template(tokenizer, _where(rows[0], 0))
        ends = _generation.ends_of(context)

        def of_chat(row: Any, index: int) -> tuple[list[int], list[bool]]:
            try:
                return _chat.encode(_chat.clean(row["messages"]), tokenizer, template, marked, ends)
            except ValueError as error:
                raise DataError(f"{_where(row, index)}: {error}.") from None

        return of_chat
    from trl.data_utils import common_prefix_length

    end = tokenizer.eos_token_id

    def of_text(row: Any, index: int) -> tuple[list[int], list[bool]]:
        prompt = row.get("prompt") or ""
        ids = tokenizer(prompt + (row["completion"] if prompt else row["text"]), verbose=False)["input_ids"]
        ids = ids if ids and ids[-1] == end else [*ids, end]
        before = common_prefix_length(tokenizer(prompt, verbose=False)["input_ids"], ids) if prompt else 0
        return ids, [at >= before for at in range(len(ids))]

    return of_text


def _prompt_ids(row: Any, context: TaskContext, ids: list[int]) -> list[int]:
    """The prompt of a row, without its beginning where it is too long; of a plain text its first tokens."""
    tokenizer = context.processor
    if "messages" in row:
        found = _chat.prompt_ids(_chat.prompt_turns(_chat.clean(row["messages"])), tokenizer)
    elif "prompt" in row:
        found = tokenizer(row["prompt"], verbose=False)["input_ids"]
    else:
        found = ids[: max(1, min(32, len(ids) // 4))]
    room = max(1, _generation.capacity(context) - _generation.most_new(context))
    return list(found[-room:])


def _prompts(rows: Any, context: TaskContext) -> Any:
    """What is to be gone on with, and nothing to learn."""
    from datasets import Dataset

    out: list[dict[str, Any]] = []
    for index, row in enumerate(rows):
        if "messages" in row:
            what = _chat.wrong(row["messages"], answered=False)
            if what:
                raise DataError(f"{_where(row, index)}: {what}.")
            _chat.training_template(context.processor, _where(row, index))
            prompt = _prompt_ids(row, context, [])
        else:
            prompt = _prompt_ids({"prompt": row.get("prompt") or row["text"]}, context, [])
        out.append({"row": index, "input_ids": prompt, "prompt_ids": prompt, "length": len(prompt)})
    return Dataset.from_list(out)


def _say(found: Any, used: list[int], rows: int, limit: int, policy: str, plain: bool, context: TaskContext) -> None:
    long = len({row for row, long in zip(found["row"], found["long"], strict=True) if long})
    if long:
        context.notes.append(
            f"{long} of {rows} training rows are longer than {limit} tokens and are {DONE[policy]} "
            "(data.preprocessing.long_samples and max_length)."
        )
    dropped = long if policy == "drop" else 0
    if len(found) - len(used) > dropped:
        context.notes.append(
            f"{len(found) - len(used) - dropped} training samples are skipped: no token of theirs is trained on."
        )
    if used and not plain:
        chosen = found.select(used)
        trained, total = sum(chosen["learned"]), sum(chosen["length"])
        context.notes.append(f"{trained:,} of {total:,} tokens are trained on ({trained / total:.0%}): the answers.")


def _packed(samples: Any, limit: int, context: TaskContext) -> Any:
    """Several samples in one, without any being cut; the collator keeps them apart."""
    if not {"position_ids", "past_key_values"} <= _accepted(context):
        context.notes.append(
            f"A {context.model_config.model_type} model cannot keep packed texts apart; each is a sample of its own."
        )
        return samples
    from trl.data_utils import pack_dataset

    packed = pack_dataset(
        samples.select_columns(["input_ids", "labels"]), limit, "bfd", {"load_from_cache_file": False}
    )
    packed = packed.add_column("length", [len(ids) for ids in packed["input_ids"]])
    context.notes.append(
        f"{len(samples)} texts are packed into {len(packed)} samples of at most {limit} tokens, each text seeing only "
        "itself (data.preprocessing.packing)."
    )
    return packed


def _accepted(context: TaskContext) -> set[str]:
    """Names of what the model's `forward` takes; `**` where it takes more."""
    import inspect

    from transformers import AutoModelForCausalLM

    known = AutoModelForCausalLM._model_mapping
    if type(context.model_config) not in known:  # its own code: only what every model takes
        return {"input_ids", "attention_mask"}
    found = inspect.signature(known[type(context.model_config)].forward).parameters
    return {"**" if each.kind is each.VAR_KEYWORD else name for name, each in found.items()}


def collator(context: TaskContext, training: bool) -> Any:
    """TRL's: padding on the right, packed samples with the texts' own positions; `prompt_ids`, int64
    (batch, tokens) with -1 on the left, are prompts of texts to be written."""
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    tokenizer, accepted = context.processor, _accepted(context)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    names = ("input_ids", "labels", "seq_lengths")

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        packed = "seq_lengths" in samples[0]
        # Flash attention tells packed texts apart in one long row only; others are faster with a row a sample.
        one_row = packed and "flash" in str(getattr(context.model_config, "_attn_implementation", None))
        found = DataCollatorForLanguageModeling(
            pad_token_id=pad, padding_free=one_row, return_position_ids=packed and not one_row
        )([{name: sample[name] for name in names if name in sample} for sample in samples])
        keep = accepted | {"labels"} | (set(found) if "**" in accepted else set())
        batch = {name: value for name, value in found.items() if name in keep}
        if packed and not one_row:
            del batch["attention_mask"]  # where there is none, Transformers looks for packed texts; see use_cache
        if "labels" not in samples[0]:
            del batch["labels"]
        if accepted & {"use_cache", "past_key_values"}:
            batch["use_cache"] = False  # with a cache Transformers does not look for packed texts
        if not training:
            width = max(1, *(len(sample["prompt_ids"]) for sample in samples))
            prompts = [sample["prompt_ids"] for sample in samples]
            batch["prompt_ids"] = torch.tensor([[-1] * (width - len(each)) + list(each) for each in prompts])
        return batch

    return collate
