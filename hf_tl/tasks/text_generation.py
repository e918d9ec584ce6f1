"""Text generation: a decoder that goes on with plain texts, answers prompts, or talks (causal language modelling).

Conversations, packing and batches are prepared by TRL's own functions (https://huggingface.co/docs/trl/sft_trainer).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_tl.errors import DataError
from hf_tl.task import Column, Setting, Targets, Task
from hf_tl.tasks import _chat, _writing
from hf_tl.tasks.text_classification import TEXT_NAMES, text_limit

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hf_tl.evaluation.measure import Measurement

LONGEST = 1024
"""Tokens of a sample by default, as TRL's."""
SHOWN = 800
"""Characters of a text that the report shows."""
DONE = {"drop": "left out", "truncate": "cut there", "split": "split into pieces"}


def targets(splits: Any, config: Any, known: Targets | None, notes: list[str]) -> Targets:
    """Conversations checked: turns in order, none of them empty, something of the assistant's in each."""
    from hf_tl.data.rows import skip_rows

    for split in list(splits):
        if "messages" in splits[split].column_names:
            found = enumerate(splits[split].with_format(None)["messages"])
            bad = {index: what for index, messages in found if (what := _chat.wrong(messages))}
            skip_rows(splits, split, bad, config, notes)
    return Targets()


def _where(row: Any, index: int) -> str:
    return str(row.get("file", f"input {index}"))


def preprocess(rows: Any, setting: Setting, training: bool) -> Any:
    """Samples of `input_ids` and `labels`, -100 where nothing is learned; short ones packed together in training
    (`seq_lengths`); else `row`, and `asked`: the prompt of a text that is to be written, mostly none.

    Raises:
        ModelError: no end-of-sequence token, or conversations and no chat template.
        DataError: a conversation that the template refuses, or nothing at all to train on.
    """
    _writing.check_end(setting)
    _chat.set_template(setting)
    if setting.stage == "predicting":
        return _prompts(rows, setting)
    limit = text_limit(setting, LONGEST)
    plain = "text" in rows.column_names
    wanted = setting.preprocessing.long_samples if setting.preprocessing else None
    policy = wanted or ("split" if plain else "truncate")
    read = _reader(rows, setting)
    shown = _shown(rows) if setting.stage == "measuring" else set()

    def encode(batch: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        out: dict[str, list[Any]] = {name: [] for name in ("row", "input_ids", "labels", "asked", "length", "long")}
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
                values = (index, piece, learned, _asked(row, setting, ids) if first else [], len(piece), long)
                for name, value in zip(out, values, strict=True):
                    out[name].append(value)
        return out

    from datasets import Features, List, Value

    ints, one = List(Value("int64")), Value("int64")
    features = {"row": one, "input_ids": ints, "labels": ints, "asked": ints, "length": one, "long": Value("bool")}
    found = rows.map(
        encode, batched=True, with_indices=True, remove_columns=rows.column_names, load_from_cache_file=False,
        features=Features(features),
    )  # fmt: skip
    used = [index for index, labels in enumerate(found["labels"]) if any(label != -100 for label in labels)]
    if training:
        _say(found, used, len(rows), limit, policy, plain, setting)
    if not used:
        raise DataError(
            f"data.path: not one token of the {len(rows)} {'training ' if training else ''}rows is trained on: what "
            f"follows the prompts is cut off at {limit} tokens (data.preprocessing.max_length), left out as too long "
            "(data.preprocessing.long_samples), or the chat template marks no turn as the assistant's."
        )
    # What a report shows is kept in an evaluation, though nothing of it is learned within the limit.
    kept = [
        index
        for index, (labels, asked) in enumerate(zip(found["labels"], found["asked"], strict=True))
        if asked or any(label != -100 for label in labels)
    ]
    found = found.select(kept).remove_columns("long")
    packing = setting.preprocessing.packing if setting.preprocessing else None
    if training and (plain if packing is None else packing):
        return _packed(found, limit, setting)
    return found


def _reader(rows: Any, setting: Setting) -> Any:
    """`(row, index) -> (token ids, whether each is trained on)`, whole."""
    tokenizer = setting.processor
    if "messages" in rows.column_names:
        template, marked = _chat.training_template(tokenizer, _where(rows[0], 0))
        ends = _writing.ends_of(setting)

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


def _asked(row: Any, setting: Setting, ids: list[int]) -> list[int]:
    """The prompt of a row, without its beginning where it is too long; of a plain text its first tokens."""
    tokenizer = setting.processor
    if "messages" in row:
        found = _chat.prompt_ids(_chat.asked(_chat.clean(row["messages"])), tokenizer)
    elif "prompt" in row:
        found = tokenizer(row["prompt"], verbose=False)["input_ids"]
    else:
        found = ids[: max(1, min(32, len(ids) // 4))]
    room = max(1, _writing.capacity(setting) - _writing.most_new(setting))
    return list(found[-room:])


def _shown(rows: Any) -> set[int]:
    """The rows that the report shows."""
    import numpy as np

    from hf_tl.evaluation.held_out import EXAMPLES

    return set(np.linspace(0, len(rows) - 1, min(EXAMPLES, len(rows))).astype(int).tolist())


def _prompts(rows: Any, setting: Setting) -> Any:
    """What is to be gone on with, and nothing to learn."""
    from datasets import Dataset

    out: list[dict[str, Any]] = []
    for index, row in enumerate(rows):
        if "messages" in row:
            what = _chat.wrong(row["messages"], answered=False)
            if what:
                raise DataError(f"{_where(row, index)}: {what}.")
            _chat.training_template(setting.processor, _where(row, index))
            prompt = _asked(row, setting, [])
        else:
            prompt = _asked({"prompt": row.get("prompt") or row["text"]}, setting, [])
        out.append({"row": index, "input_ids": prompt, "asked": prompt, "length": len(prompt)})
    return Dataset.from_list(out)


def _say(found: Any, used: list[int], rows: int, limit: int, policy: str, plain: bool, setting: Setting) -> None:
    long = len({row for row, long in zip(found["row"], found["long"], strict=True) if long})
    if long:
        setting.notes.append(
            f"{long} of {rows} training rows are longer than {limit} tokens and are {DONE[policy]} "
            "(data.preprocessing.long_samples and max_length)."
        )
    dropped = long if policy == "drop" else 0
    if len(found) - len(used) > dropped:
        setting.notes.append(
            f"{len(found) - len(used) - dropped} training samples are left out: no token of theirs is trained on."
        )
    if used and not plain:
        chosen = found.select(used)
        trained = sum(sum(label != -100 for label in labels) for labels in chosen["labels"])
        total = sum(chosen["length"])
        setting.notes.append(f"{trained:,} of {total:,} tokens are trained on ({trained / total:.0%}): the answers.")


def _packed(samples: Any, limit: int, setting: Setting) -> Any:
    """Several samples in one, without any being cut; the collator keeps them apart."""
    if not {"position_ids", "past_key_values"} <= _accepted(setting):
        setting.notes.append(
            f"A {setting.model_config.model_type} model cannot keep packed texts apart; each is a sample of its own."
        )
        return samples
    from trl.data_utils import pack_dataset

    packed = pack_dataset(
        samples.select_columns(["input_ids", "labels"]), limit, "bfd", {"load_from_cache_file": False}
    )
    packed = packed.add_column("length", [len(ids) for ids in packed["input_ids"]])
    setting.notes.append(
        f"{len(samples)} texts are packed into {len(packed)} samples of at most {limit} tokens, each text seeing only "
        "itself (data.preprocessing.packing)."
    )
    return packed


def _accepted(setting: Setting) -> set[str]:
    """Names of what the model's `forward` takes; `**` where it takes more."""
    import inspect

    from transformers import AutoModelForCausalLM

    known = AutoModelForCausalLM._model_mapping
    if type(setting.model_config) not in known:  # its own code: only what every model takes
        return {"input_ids", "attention_mask"}
    found = inspect.signature(known[type(setting.model_config)].forward).parameters
    return {"**" if each.kind is each.VAR_KEYWORD else name for name, each in found.items()}


def collator(setting: Setting, training: bool) -> Any:
    """TRL's: padding on the right, or for packed samples one row with the texts' own positions; `asked`, int64
    (batch, tokens) with -1 on the left, are prompts of texts to be written."""
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    tokenizer, accepted = setting.processor, _accepted(setting)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    names = ("input_ids", "labels", "seq_lengths")

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        collate_batch = DataCollatorForLanguageModeling(pad_token_id=pad, padding_free="seq_lengths" in samples[0])
        found = collate_batch([{name: sample[name] for name in names if name in sample} for sample in samples])
        keep = accepted | {"labels"} | (set(found) if "**" in accepted else set())
        batch = {name: value for name, value in found.items() if name in keep}
        if "labels" not in samples[0]:
            del batch["labels"]
        if accepted & {"use_cache", "past_key_values"}:
            batch["use_cache"] = False  # with a cache Transformers does not look for packed texts
        if not training:
            width = max(1, *(len(sample["asked"]) for sample in samples))
            prompts = [sample["asked"] for sample in samples]
            batch["asked"] = torch.tensor([[-1] * (width - len(each)) + list(each) for each in prompts])
        return batch

    return collate


def items(batch: Any) -> int:
    return int((batch["labels"][:, 1:] != -100).sum())


def loss(outputs: Any, batch: Any, setting: Setting, items: Any) -> torch.Tensor:
    """Cross-entropy of each next token that is trained on, in float32; `logits` (batch, tokens, vocabulary)."""
    from torch.nn.functional import cross_entropy

    labels = batch["labels"][:, 1:]
    counts = labels != -100
    total: torch.Tensor = cross_entropy(
        outputs["logits"][:, :-1][counts].float(), labels[counts], reduction="sum",
        label_smoothing=setting.label_smoothing,
    )  # fmt: skip
    mean: torch.Tensor = total / (counts.sum().clamp(min=1) if items is None else items)
    return mean


def outputs(model: Any, out: Any, batch: Any, setting: Setting) -> list[dict[str, Any]]:
    """Of each sample: `sums`, float64 (3,): negative log-likelihood, tokens, those guessed right; and `written`, what
    the model writes after its prompt, where it is asked."""
    import numpy as np

    found: list[dict[str, Any]] = []
    for index in range(len(out["logits"])):
        sums = np.zeros(3)
        if "labels" in batch:
            true = batch["labels"][index, 1:]
            counts = true != -100
            log_p = out["logits"][index, :-1][counts].float().log_softmax(-1)  # (tokens, vocabulary)
            true = true[counts]
            nll = -log_p.gather(1, true[:, None]).sum().item()
            sums = np.array([nll, len(true), int((log_p.argmax(-1) == true).sum())])
        found.append({"sums": sums, "written": None})
    who = (batch["asked"] >= 0).any(1).nonzero().flatten().tolist()
    if who:
        prompts = batch["asked"][who]
        prompts = prompts[:, (prompts >= 0).any(0)]
        for index, written in zip(who, _writing.write(model, prompts, setting), strict=True):
            found[index]["written"] = written
    return found


def postprocess(outputs: Any, samples: Any, rows: Any, setting: Setting) -> list[dict[str, Any]]:
    """`generated_text` as the stock pipeline gives it (prompt and text, or the conversation with the new turn), `label`
    the new text alone, `score` the mean probability of its tokens, `cut` whether it did not end by itself; of the other
    rows of an evaluation their `perplexity`."""
    import numpy as np

    sums, written = _by_row(outputs, samples, rows), {}
    for each, sample in zip(outputs, samples, strict=True):
        if each["written"] is not None:
            written[sample["row"]] = {**each["written"], "prompt": sample["asked"]}
    out: list[dict[str, Any]] = []
    for index, row in enumerate(rows):
        nll, count, _ = sums[index]
        known = {"perplexity": float(np.exp(nll / count))} if count else {}
        new = written.get(index)
        if new is None:
            out.append({"label": "", "score": 0.0, **known})
            continue
        if "messages" in row:
            turns = _chat.asked(_chat.clean(row["messages"]))
            whole: Any = [*turns, {"role": "assistant", "content": new["text"]}]
        elif setting.stage == "predicting" or "prompt" in row:
            whole = (row.get("prompt") or row["text"]) + new["text"]
        else:
            whole = setting.processor.decode(new["prompt"], skip_special_tokens=True) + new["text"]
        out.append({"label": new["text"], "score": new["score"], "generated_text": whole, "cut": new["cut"], **known})
    return out


def _by_row(outputs: Any, samples: Any, rows: Any) -> np.ndarray:
    """float64 (rows, 3): the samples' sums."""
    import numpy as np

    sums = np.zeros((len(rows), 3))
    np.add.at(sums, np.asarray(samples["row"]), np.stack([each["sums"] for each in outputs]))
    return sums


def measure(outputs: Any, samples: Any, rows: Any, setting: Setting, **options: Any) -> Measurement:
    """Perplexity, token accuracy and loss over all tokens that are learned, with the true ones before them."""
    import numpy as np

    from hf_tl.evaluation.intervals import Score, with_intervals
    from hf_tl.evaluation.measure import Measurement

    sums = _by_row(outputs, samples, rows)
    total = sums.sum(0, keepdims=True)
    formulas = {
        "perplexity": lambda s: np.exp(s[:, 0] / np.maximum(s[:, 1], 1)),
        "token_accuracy": lambda s: s[:, 2] / np.maximum(s[:, 1], 1),
        "loss": lambda s: s[:, 0] / np.maximum(s[:, 1], 1),
    }
    scores = {name: Score(float(formula(total)[0]), sums, formula) for name, formula in formulas.items()}
    return Measurement(with_intervals(scores, len(rows), **options))


def show(row: Any, prediction: dict[str, Any], setting: Setting) -> str:
    """The prompt, what was expected, and what the model writes."""
    from markupsafe import escape

    def short(text: Any) -> str:
        return str(escape(text if len(text) <= SHOWN else f"{text[:SHOWN]} …"))

    if "generated_text" not in prediction:
        return ""
    new = prediction["label"]
    if "messages" in row:
        turns = _chat.clean(row["messages"])
        before = _chat.asked(turns)
        said = "".join(f"<p><b>{escape(turn['role'])}</b> {short(turn.get('content') or '')}</p>" for turn in before)
        true = "\n".join(turn.get("content") or "" for turn in turns[len(before) :])
    elif "prompt" in row:
        said, true = f"<p><b>prompt</b> {short(row['prompt'])}</p>", row.get("completion") or ""
    else:
        whole = prediction["generated_text"]
        prompt = whole[: len(whole) - len(new)]
        at = len(prompt) if row["text"].startswith(prompt) else 0
        said, true = f"<p><b>prompt</b> {short(prompt)}</p>", row["text"][at:]
    expected = f"<p><b>expected</b> {short(true)}</p>" if true else ""
    cut = " <i>(cut at the longest length)</i>" if prediction["cut"] else ""
    return f"{said}{expected}<p><b>written</b> {short(new) or '<i>nothing</i>'}{cut}</p>"


TASK = Task(
    name="text-generation",
    summary="a decoder that goes on with texts, answers prompts, or talks",
    columns=(
        Column("messages", "messages", ("messages", "conversation", "conversations"), required=False),
        Column("prompt", "text", ("prompt",), required=False),
        Column("completion", "text", ("completion", "response"), required=False, target=True),
        Column("text", "text", TEXT_NAMES, required=False),
    ),
    forms=(("messages",), ("prompt", "completion"), ("text",)),
    asked_for=(("text",),),
    modality="text",
    auto_class="AutoModelForCausalLM",
    processor_class="AutoTokenizer",
    peft_task_type="CAUSAL_LM",
    metrics=("perplexity", "token_accuracy", "loss"),
    best_metric="perplexity",
    greater_is_better=False,
    targets=targets,
    preprocess=preprocess,
    collator=collator,
    loss=loss,
    items=items,
    outputs=outputs,
    postprocess=postprocess,
    measure=measure,
    show=show,
    ready=_writing.ready,
    save=_writing.save,
    label_fields=("labels", "asked"),
    new_head=False,
    methods=("full", "lora", "scratch"),
    widget=(
        {"text": "Once upon a time"},
        {"messages": [{"role": "user", "content": "What is the capital of France?"}]},
    ),
    batch_sizes=(8, 8),
    models=("HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen3-0.6B", "meta-llama/Llama-3.2-1B-Instruct"),
)
