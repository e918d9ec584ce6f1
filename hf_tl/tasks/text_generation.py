"""Text generation: a decoder that goes on with plain texts, answers prompts, or talks (causal language modelling)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_tl.task import Column, Defaults, Demo, Form, Inference, Library, Targets, Task, TaskContext
from hf_tl.tasks import _chat, _decoder, _generation
from hf_tl.tasks._texts import TEXT_NAMES

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hf_tl.metrics.intervals import Measurement

SHOWN = 800
"""Characters of a text that the report shows."""


def targets(splits: Any, config: Any, known: Targets | None, notes: list[str]) -> Targets:
    """Conversations checked: turns in order, none of them empty, something of the assistant's in each."""
    from hf_tl.data.rows import encode_rows

    def check(messages: Any) -> None:
        what = _chat.wrong(messages)
        if what:
            raise ValueError(what)

    for split in list(splits):
        if "messages" in splits[split].column_names:
            encode_rows(splits, split, ("messages",), check, config, notes)
    return Targets()


def items(batch: Any) -> int:
    return int((batch["labels"][:, 1:] != -100).sum())


def loss(outputs: Any, batch: Any, context: TaskContext, items: Any) -> torch.Tensor:
    """Cross-entropy of each next token that is trained on, in float32; `logits` (batch, tokens, vocabulary)."""
    from torch.nn.functional import cross_entropy

    labels = batch["labels"][:, 1:]
    counts = labels != -100
    total: torch.Tensor = cross_entropy(
        outputs["logits"][:, :-1][counts].float(), labels[counts], reduction="sum",
        label_smoothing=context.label_smoothing,
    )  # fmt: skip
    mean: torch.Tensor = total / (counts.sum().clamp(min=1) if items is None else items)
    return mean


def collect(model: Any, out: Any, batch: Any, context: TaskContext) -> list[dict[str, Any]]:
    """Of each sample: `sums`, float64 (3,): negative log-likelihood, tokens, those guessed right; and `written`, what
    the model writes after its prompt, where it has one."""
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
    who = (batch["prompt_ids"] >= 0).any(1).nonzero().flatten().tolist()
    if who:
        prompts = batch["prompt_ids"][who]
        prompts = prompts[:, (prompts >= 0).any(0)]
        for index, written in zip(who, _generation.write(model, prompts, context), strict=True):
            found[index]["written"] = written
    return found


PROOF = """found = []
for row in rows:
    prompt = row.get("messages") or row.get("prompt") or row["text"]
    found.append({"generated_text": pipe(prompt)[0]["generated_text"]})"""
PROMPT = 40
"""Characters of a text that a prompt holds."""


def prompts(rows: Any, context: TaskContext) -> Any:
    """Conversations up to what is to be answered, prompts, or the beginnings of texts, of those that leave room for an
    answer: the stock pipeline cuts none; no rows where words are drawn."""
    from transformers import GenerationConfig

    file = context.folder / "generation_config.json" if context.folder is not None else None
    settings = GenerationConfig.from_pretrained(context.folder) if file is not None and file.exists() else None
    if settings is not None and settings.do_sample:
        return rows.select([])
    new = max(_generation.most_new(context), _generation.most_new(context, settings))
    room = _generation.capacity(context) - new

    def fits(ids: list[int]) -> bool:
        return len(ids) <= room

    if "messages" in rows.column_names:
        turns: list[Any] = [_chat.prompt_turns(_chat.clean(each)) for each in rows["messages"]]
        turns = [each for each in turns if each and fits(_chat.prompt_ids(each, context.processor))]
        return type(rows).from_list([{"messages": each} for each in turns]) if turns else rows.select([])
    role = "prompt" if "prompt" in rows.column_names else "text"
    texts = [text if role == "prompt" else text[:PROMPT].rpartition(" ")[0] for text in rows[role]]
    texts = [text for text in texts if text and text.strip()]
    return type(rows).from_dict(
        {role: [text for text in texts if fits(context.processor(text, verbose=False)["input_ids"])]}
    )


def postprocess(outputs: Any, samples: Any, rows: Any, context: TaskContext) -> list[dict[str, Any]]:
    """`generated_text` as the stock pipeline gives it (prompt and text, or the conversation with the new turn), `label`
    the new text alone, `score` the mean probability of its tokens, `cut` whether it did not end by itself; of the other
    rows of an evaluation their `perplexity`."""
    import numpy as np

    sums, written = _by_row(outputs, samples, rows), {}
    for each, sample in zip(outputs, samples, strict=True):
        if each["written"] is not None:
            written[sample["row"]] = {**each["written"], "prompt": sample["prompt_ids"]}
    out: list[dict[str, Any]] = []
    for index, row in enumerate(rows):
        nll, count, _ = sums[index]
        known = {"perplexity": float(np.exp(nll / count))} if count else {}
        new = written.get(index)
        if new is None:
            out.append({"label": "", "score": 0.0, **known})
            continue
        if "messages" in row:
            turns = _chat.prompt_turns(_chat.clean(row["messages"]))
            text: Any = [*turns, {"role": "assistant", "content": new["text"]}]
        elif context.mode == "predicting" or "prompt" in row:
            text = (row.get("prompt") or row["text"]) + new["text"]
        else:
            text = context.processor.decode(new["prompt"], skip_special_tokens=True) + new["text"]
        out.append({"label": new["text"], "score": new["score"], "generated_text": text, "cut": new["cut"], **known})
    return out


def _by_row(outputs: Any, samples: Any, rows: Any) -> np.ndarray:
    """float64 (rows, 3): the samples' sums."""
    import numpy as np

    sums = np.zeros((len(rows), 3))
    np.add.at(sums, np.asarray(samples["row"]), np.stack([each["sums"] for each in outputs]))
    return sums


def measure(outputs: Any, samples: Any, rows: Any, context: TaskContext, **options: Any) -> Measurement:
    """Perplexity, token accuracy and loss over all tokens that are learned, with the true ones before them."""
    import numpy as np

    from hf_tl.metrics.intervals import Measurement, Score, with_intervals

    sums = _by_row(outputs, samples, rows)
    total = sums.sum(0, keepdims=True)
    recomputes = {
        "perplexity": lambda s: np.exp(s[:, 0] / np.maximum(s[:, 1], 1)),
        "token_accuracy": lambda s: s[:, 2] / np.maximum(s[:, 1], 1),
        "loss": lambda s: s[:, 0] / np.maximum(s[:, 1], 1),
    }
    scores = {name: Score(float(recompute(total)[0]), sums, recompute) for name, recompute in recomputes.items()}
    without = int((sums[:, 1] == 0).sum())  # longer than the limit, and cut or left out
    return Measurement(
        with_intervals(scores, len(rows), **options), extra={"rows_without_tokens": without} if without else {}
    )


def render_html(row: Any, prediction: dict[str, Any], context: TaskContext) -> str:
    """The prompt, what was expected, and what the model writes."""
    from markupsafe import escape

    def short(text: Any) -> str:
        return str(escape(text if len(text) <= SHOWN else f"{text[:SHOWN]} …"))

    if "generated_text" not in prediction:
        return ""
    new = prediction["label"]
    if "messages" in row:
        turns = _chat.clean(row["messages"])
        before = _chat.prompt_turns(turns)
        said = "".join(f"<p><b>{escape(turn['role'])}</b> {short(turn.get('content') or '')}</p>" for turn in before)
        true = "\n".join(turn.get("content") or "" for turn in turns[len(before) :])
    elif "prompt" in row:
        said, true = f"<p><b>prompt</b> {short(row['prompt'])}</p>", row.get("completion") or ""
    else:
        text = prediction["generated_text"]
        prompt = text[: len(text) - len(new)]
        at = len(prompt) if row["text"].startswith(prompt) else 0
        said, true = f"<p><b>prompt</b> {short(prompt)}</p>", row["text"][at:]
    expected = f"<p><b>expected</b> {short(true)}</p>" if true else ""
    cut = " <i>(truncated at the maximum length)</i>" if prediction["cut"] else ""
    return f"{said}{expected}<p><b>generated</b> {short(new) or '<i>nothing</i>'}{cut}</p>"


TASK = Task(
    name="text-generation",
    summary="a decoder that continues texts, answers prompts or chats",
    columns=(
        Column("messages", "messages", ("messages", "conversation", "conversations"), required=False),
        Column("prompt", "text", ("prompt",), required=False),
        Column("completion", "text", ("completion", "response"), required=False, target=True),
        Column("text", "text", TEXT_NAMES, required=False),
    ),
    forms=(
        Form(("messages",)),
        Form(("prompt", "completion")),
        Form(("text",), inferred=False),
    ),
    auto_class="AutoModelForCausalLM",
    peft_task_type="CAUSAL_LM",
    metrics=("perplexity", "token_accuracy", "loss"),
    best_metric="perplexity",
    greater_is_better=False,
    targets=targets,
    preprocess=_decoder.preprocess,
    collator=_decoder.collator,
    loss=loss,
    items=items,
    collect=collect,
    postprocess=postprocess,
    measure=measure,
    render_html=render_html,
    inference=Inference(
        proof=PROOF,
        reference_rows=prompts,
        demo=(
            Demo(
                (("messages", "messages"),),
                "chat",
                'found = pipe(messages)[0]["generated_text"][-1]["content"]',
                needs="chat_template",
            ),
            Demo((("text", "text"),), "text", 'found = pipe(text)[0]["generated_text"]', result="Goes on"),
        ),
        widget=(
            {"text": "Once upon a time"},
            {"messages": [{"role": "user", "content": "What is the capital of France?"}]},
        ),
    ),
    configure=_generation.configure,
    library=Library(save=_generation.save),
    extra_fields=("prompt_ids",),
    new_head=False,
    methods=("full", "lora", "scratch"),
    defaults=Defaults(
        batch_sizes=(8, 8),
        models=("HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen3-0.6B", "meta-llama/Llama-3.2-1B-Instruct"),
    ),
    reads=(
        "data.preprocessing.max_length",
        "data.preprocessing.long_samples",
        "data.preprocessing.packing",
        "data.preprocessing.chat_template",
        "training.label_smoothing_factor",
        "generation",
    ),
)
